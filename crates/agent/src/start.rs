//! An OpenCode that is started in a sandbox and kept running there, and the connection to it.
//!
//! ```text
//! HOME/.opencode-daytona/agent/opencode/   what the runner keeps (`--keep`): `opencode serve`
//!   password                               made in the sandbox
//! HOME/.opencode-daytona/agent/carrier/    and the sandbox's end of the connection (`--carry`)
//!   secret                                 tells our end to theirs
//! ```
//!
//! Files go by the file API, and so do secrets: none is in a command.

use crate::api::{Api, ApiError};
use crate::connection::{Address, Connection, Locate, Secret};
use crate::place::{PlaceError, Placed, Placer};
use async_trait::async_trait;
use daytona::{Client, Toolbox, Upload, UploadSource};
use runner_client::RunnerClient;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Ports of the sandbox's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// OpenCode's.
    pub opencode: u16,
    /// That of the sandbox's end of the connection.
    pub carrier: u16,
    /// That of whoever wants to speak to the program: models, git.
    pub outward: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports {
            opencode: 41_100,
            carrier: 41_101,
            outward: 41_102,
        }
    }
}

/// What is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Absolute path of the directory that OpenCode works in, which is there.
    pub directory: String,
    /// OpenCode's configuration. It has no key.
    pub config: Value,
    /// The repository may configure OpenCode and bring plugins.
    pub trusts_project: bool,
    /// Where everything listens.
    pub ports: Ports,
    /// How long the start may take.
    pub limit: Duration,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program could not be brought.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The service, or the sandbox, did not answer.
    #[error(transparent)]
    Service(#[from] daytona::Error),
    /// The runner could not be installed or called.
    #[error("the runner could not be used in the sandbox: {0}")]
    Runner(String),
    /// A file of this machine.
    #[error("no temporary file could be made: {0}")]
    Local(#[from] std::io::Error),
    /// The password that was made in the sandbox is no password.
    #[error("the sandbox gave no password of OpenCode. See whether its disk is full")]
    Password,
    /// It does not serve.
    #[error("OpenCode was started and does not serve: {error}. Its log ends with: {log}")]
    Silent {
        /// The last try.
        error: Box<ApiError>,
        /// What it printed last.
        log: String,
    },
}

/// An OpenCode in a sandbox.
pub struct Agent {
    /// The connection; what the sandbox opens is accepted from it.
    pub connection: Arc<Connection>,
    /// Its API.
    pub api: Api,
    /// Its version.
    pub version: String,
}

/// Starts agents.
pub struct Starter {
    client: Client,
    runners: RunnerClient,
    placer: Placer,
    http: reqwest::Client,
}

/// The preview of the sandbox's end, asked for anew before each try, because its token changes.
struct Preview {
    client: Client,
    sandbox: String,
    port: u16,
}

#[async_trait]
impl Locate for Preview {
    async fn locate(&self) -> Result<Address, Box<dyn std::error::Error + Send + Sync>> {
        let preview = self.client.preview_url(&self.sandbox, self.port).await?;
        Ok(Address {
            url: preview.url,
            headers: vec![("x-daytona-preview-token".into(), preview.token)],
        })
    }
}

impl Starter {
    /// `http` is for the connection, and follows no redirect.
    pub fn new(
        client: Client,
        runners: RunnerClient,
        placer: Placer,
        http: reqwest::Client,
    ) -> Self {
        Self {
            client,
            runners,
            placer,
            http,
        }
    }

    /// Starts OpenCode in a sandbox that runs, and waits until it serves. One that runs there already, with the same settings, goes on.
    pub async fn start(
        &self,
        toolbox: &Toolbox,
        settings: &Settings,
        secret: Secret,
    ) -> Result<Agent, StartError> {
        let placed = self.placer.place(toolbox).await?;
        let base = format!("{}/.opencode-daytona/agent", placed.home);
        let (opencode, carrier) = (format!("{base}/opencode"), format!("{base}/carrier"));
        let file = |path: String, bytes: Vec<u8>| Upload {
            path,
            source: UploadSource::Bytes(bytes),
        };
        let files = [
            file(
                format!("{opencode}/keep.json"),
                keep_opencode(&placed, settings),
            ),
            file(
                format!("{carrier}/keep.json"),
                keep_carrier(&carrier, settings.ports),
            ),
            file(format!("{carrier}/secret"), secret.expose().into()),
        ];
        self.client.upload(toolbox, &files).await?;
        for dir in [&opencode, &carrier] {
            let dir = quoted(dir);
            let args = ["--keep", dir.as_str()];
            let kept = self.runners.invoke::<Infallible>(toolbox, &args, 60);
            let kept = kept
                .await
                .map_err(|error| StartError::Runner(error.to_string()))?;
            if kept.exit_code != 0 {
                let said = kept.result.trim().chars().take(300).collect();
                return Err(StartError::Runner(said));
            }
        }
        let locate = Preview {
            client: self.client.clone(),
            sandbox: toolbox.id.clone(),
            port: settings.ports.carrier,
        };
        let connection = Connection::start(self.http.clone(), Arc::new(locate), secret);
        let connection = Arc::new(connection);
        let password = self
            .password(toolbox, &format!("{opencode}/password"))
            .await?;
        let api = Api::new(connection.clone(), &password, &settings.directory);
        match api.healthy(settings.limit).await {
            Ok(version) => Ok(Agent {
                connection,
                api,
                version,
            }),
            Err(error) => Err(StartError::Silent {
                error: Box::new(error),
                log: self.log(toolbox, &format!("{opencode}/log")).await,
            }),
        }
    }

    /// The password that the keeper has made, as soon as it has.
    async fn password(&self, toolbox: &Toolbox, path: &str) -> Result<String, StartError> {
        for _ in 0..100 {
            match self.read(toolbox, path, 256).await {
                Ok(text)
                    if text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
                {
                    return Ok(text);
                }
                Ok(_) => return Err(StartError::Password),
                Err(StartError::Service(error)) if is_missing(&error) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StartError::Password)
    }

    /// What OpenCode printed last, in words.
    async fn log(&self, toolbox: &Toolbox, path: &str) -> String {
        match self.read(toolbox, path, 1 << 20).await {
            Ok(text) if !text.trim().is_empty() => {
                let end: Vec<char> = text.trim().chars().rev().take(500).collect();
                end.into_iter().rev().collect()
            }
            Ok(_) => "(nothing)".into(),
            Err(error) => format!("({error})"),
        }
    }

    /// A small file of the sandbox.
    async fn read(&self, toolbox: &Toolbox, path: &str, most: u64) -> Result<String, StartError> {
        let file = tempfile::NamedTempFile::new()?;
        let to = file.path().to_string_lossy().into_owned();
        self.client
            .download(toolbox, path, &to, 0..most, most)
            .await?;
        let bytes = std::fs::read(file.path())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// True if the daemon says that there is no such file.
fn is_missing(error: &daytona::Error) -> bool {
    matches!(
        error,
        daytona::Error::Refused { status: 404, .. } | daytona::Error::Toolbox { status: 404, .. }
    )
}

/// A path as a word of a shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''"))
}

/// What the runner keeps: OpenCode with nothing of this program in its environment.
fn keep_opencode(placed: &Placed, settings: &Settings) -> Vec<u8> {
    let beside = placed.ripgrep.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut env = BTreeMap::from([
        ("HOME", placed.home.clone()),
        ("PATH", format!("{}:{beside}", placed.path)),
        ("OPENCODE_CONFIG_CONTENT", settings.config.to_string()),
    ]);
    let mut switches = vec![
        "OPENCODE_DISABLE_MODELS_FETCH",
        "OPENCODE_DISABLE_AUTOUPDATE",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_SHARE",
    ];
    if !settings.trusts_project {
        switches.push("OPENCODE_DISABLE_PROJECT_CONFIG");
    }
    env.extend(switches.into_iter().map(|name| (name, "1".to_owned())));
    let port = settings.ports.opencode.to_string();
    let kept = json!({
        "program": placed.opencode,
        "args": ["serve", "--hostname", "127.0.0.1", "--port", port],
        "cwd": settings.directory,
        "env": env,
        "secrets": { "OPENCODE_SERVER_PASSWORD": "password" },
    });
    kept.to_string().into_bytes()
}

/// The sandbox's end, which is the runner itself.
fn keep_carrier(dir: &str, ports: Ports) -> Vec<u8> {
    let port = |port: u16| port.to_string();
    let secret = format!("{dir}/secret");
    let args = [
        "--carry".into(),
        port(ports.carrier),
        port(ports.opencode),
        port(ports.outward),
        secret,
    ];
    json!({ "args": args, "cwd": dir }).to_string().into_bytes()
}
