//! The options of the two programs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Options of `serve`.
#[derive(clap::Args, Clone)]
pub(crate) struct ServeOptions {
    /// Where sandboxes and the key live [default: the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// API key to accept [default: generated once and kept in the data directory]
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// What separates a sandbox from this machine
    #[arg(long, value_enum, default_value_t = Isolation::Bwrap)]
    pub(crate) isolation: Isolation,
    /// What a sandbox can reach: only itself, what is outside of this machine, or whatever this machine can
    #[arg(long, value_enum, default_value_t = Network::None)]
    pub(crate) network: Network,
    /// What links of previews look like: http://127.0.0.1:PORT, or http://PORT-ID.localhost:PORT
    #[arg(long, value_enum, default_value_t = PreviewAddress::Port)]
    pub(crate) previews: PreviewAddress,
    /// With `--network outbound`: a TCP port of this machine that sandboxes reach under this same address, as 127.0.0.1:3000; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) allow_host: Vec<SocketAddr>,
    /// Directory of the only programs that sandboxes find [default: those of this machine]
    #[arg(long, value_name = "DIR", env = "DAYTONA_LOCAL_PROGRAMS")]
    pub(crate) programs: Option<PathBuf>,
    /// Whose answers a sandbox's daemon gives
    #[arg(long, value_enum, default_value_t = Daemon::V0_216)]
    pub(crate) daemon: Daemon,
    /// Add the /_test routes and the test-* snapshots
    #[arg(long)]
    pub(crate) test_controls: bool,
    /// How to print the URL and the key once it listens
    #[arg(long, value_enum, default_value_t = Print::Text)]
    pub(crate) print: Print,
    /// Stop when standard input closes, that is when the parent is gone
    #[arg(long)]
    pub(crate) exit_with_parent: bool,
}

/// Options of the hidden `toolbox`, which finds its listening socket on standard input.
#[derive(clap::Args)]
pub(crate) struct ToolboxOptions {
    /// Home and work directory
    #[arg(long)]
    pub(crate) home: PathBuf,
    /// Every process it can see is the sandbox's own
    #[arg(long)]
    pub(crate) own_pid_namespace: bool,
    /// Whose answers to give
    #[arg(long, value_enum)]
    pub(crate) daemon: Daemon,
    /// Ignore the environment of a request, as daemons before 0.167 do
    #[arg(long)]
    pub(crate) ignore_envs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// Namespaces and a private file tree, by bubblewrap
    Bwrap,
    /// None: sandboxes run as you, with your files in reach
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// A loopback of its own and nothing else
    None,
    /// A network of its own with access outward, and to no address of this machine
    Outbound,
    /// This machine's network
    Host,
}

/// A version of Daytona's daemon. The default is the newest that is known: today's clients make
/// terminals with a route that 0.190 lacks, and tell errors apart by bodies that it does not send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Daemon {
    /// The last one whose source is public: errors of files have no body
    #[value(name = "0.190")]
    #[serde(rename = "0.190")]
    V0_190,
    /// Errors as the specification has them
    #[default]
    #[value(name = "0.216")]
    #[serde(rename = "0.216")]
    V0_216,
}

impl Daemon {
    /// What it is called in options.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V0_190 => "0.190",
            Self::V0_216 => "0.216",
        }
    }

    /// What it says that it is.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V0_190 => "v0.190.0-local",
            Self::V0_216 => "v0.216.0-local",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreviewAddress {
    /// A port of 127.0.0.1 for each preview, which every program can reach
    Port,
    /// A name as Daytona's, which browsers know to be this machine, and few other programs do
    Name,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Print {
    /// One line of JSON
    Json,
    /// For people
    Text,
}
