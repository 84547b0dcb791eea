//! Bodies of requests and replies, in the service's own spelling.

use crate::daemon::is_too_old;
use crate::error::{Error, Result};
use crate::toolbox::Toolbox;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a new sandbox shall be (`POST /sandbox`). Absent fields take the server's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSandbox {
    /// Unique in the organization.
    pub name: String,
    /// Snapshot to start from, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Image to build from; the service takes it as a Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<BuildInfo>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Environment of every process in it.
    pub env: BTreeMap<String, String>,
    /// Labels; all strings.
    pub labels: BTreeMap<String, String>,
    /// Minutes without activity before it is stopped; 0 means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    /// Minutes stopped before it is archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    /// Minutes stopped before it is deleted; -1 means never, 0 at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_delete_interval: Option<i64>,
    /// Processors, memory, disk; only together with an image.
    #[serde(flatten)]
    pub resources: Resources,
}

/// A Dockerfile to build from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Its text.
    pub dockerfile_content: String,
}

/// Size of a sandbox. Cores, and GiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
}

impl CreateSandbox {
    /// Starts from an image instead of a snapshot.
    pub fn image(&mut self, image: &str) {
        self.build_info = Some(BuildInfo {
            dockerfile_content: format!("FROM {image}\n"),
        });
    }
}

/// A sandbox, as far as this client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// UUID.
    pub id: String,
    /// Name; the id if none was given.
    #[serde(default)]
    pub name: String,
    /// Where it stands.
    #[serde(default)]
    pub state: SandboxState,
    /// Why it is in [`SandboxState::Error`].
    #[serde(default)]
    pub error_reason: Option<String>,
    /// The service can bring it out of [`SandboxState::Error`].
    #[serde(default)]
    pub recoverable: Option<bool>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Base URL of the toolbox proxy; differs by region.
    #[serde(default)]
    pub toolbox_proxy_url: String,
    /// ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Size of its disk in GiB, if the service says it.
    #[serde(default)]
    pub disk: Option<f64>,
    /// Version of the daemon in it; not every service says it.
    #[serde(default)]
    pub daemon_version: Option<String>,
}

/// Ports of Daytona's own servers in every sandbox: the toolbox, SSH, a terminal in the browser,
/// recordings.
const RESERVED_PORTS: [u16; 4] = [2280, 22220, 22222, 33333];

/// True for a port that no link may lead to: whoever reaches it needs no key.
pub fn is_reserved_port(port: u16) -> bool {
    RESERVED_PORTS.contains(&port)
}

impl Sandbox {
    /// True if it runs, or can be made to.
    pub fn can_run(&self) -> bool {
        match self.state {
            SandboxState::Error => self.recoverable == Some(true),
            SandboxState::BuildFailed | SandboxState::Destroyed | SandboxState::Destroying => false,
            _ => true,
        }
    }

    /// The sandbox, unless its daemon is known to be too old to work in it.
    pub fn fit(self) -> Result<Sandbox> {
        match self.daemon_version {
            Some(version) if is_too_old(&version) => Err(Error::OldDaemon {
                version,
                id: self.id,
            }),
            _ => Ok(self),
        }
    }

    /// Where its toolbox is.
    pub fn toolbox(&self) -> Toolbox {
        Toolbox {
            id: self.id.clone(),
            proxy_url: self.toolbox_proxy_url.clone(),
        }
    }
}

/// Where a sandbox stands. The service has more states than these; every other one is on its way
/// to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// Usable.
    Started,
    /// Can be started.
    Stopped,
    /// Can be started, slowly.
    Archived,
    /// Can be started; virtual machines only.
    Paused,
    /// Dead, with a reason.
    Error,
    /// Dead: its image did not build.
    BuildFailed,
    /// Gone.
    Destroyed,
    /// About to be gone.
    Destroying,
    /// Any other state, known or not: in transition.
    Changing(Way),
}

impl Default for SandboxState {
    fn default() -> Self {
        SandboxState::Changing(Way::Unknown)
    }
}

impl<'de> Deserialize<'de> for SandboxState {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "started" => SandboxState::Started,
            "stopped" => SandboxState::Stopped,
            "archived" => SandboxState::Archived,
            "paused" => SandboxState::Paused,
            "error" => SandboxState::Error,
            "build_failed" => SandboxState::BuildFailed,
            "destroyed" => SandboxState::Destroyed,
            "destroying" => SandboxState::Destroying,
            word => SandboxState::Changing(Way::of(word)),
        })
    }
}

/// What happens to a sandbox in transition, for the user who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is being made.
    Creating,
    /// Its image waits to be built.
    PendingBuild,
    /// Its image is being built.
    Building,
    /// Its snapshot is being brought to the machine.
    Pulling,
    /// It is being started.
    Starting,
    /// It is being brought out of an error.
    Recovering,
    /// It comes back from the archive.
    Restoring,
    /// It is being stopped.
    Stopping,
    /// It is being archived.
    Archiving,
    /// Something else.
    Unknown,
}

impl Way {
    fn of(word: &str) -> Way {
        match word {
            "creating" => Way::Creating,
            "pending_build" => Way::PendingBuild,
            "building_snapshot" => Way::Building,
            "pulling_snapshot" => Way::Pulling,
            "starting" | "resuming" => Way::Starting,
            "restoring" => Way::Restoring,
            "stopping" | "pausing" => Way::Stopping,
            "archiving" => Way::Archiving,
            _ => Way::Unknown,
        }
    }

    /// What a sandbox does, as the end of a sentence that begins with it.
    pub fn text(self) -> &'static str {
        match self {
            Way::Creating => "is being created",
            Way::Recovering => "is being recovered from an error",
            Way::PendingBuild => "waits for its image to be built",
            Way::Building => "has its image built",
            Way::Pulling => "has its snapshot brought to the machine that it will run on",
            Way::Starting => "is starting",
            Way::Restoring => "is being restored from the archive",
            Way::Stopping => "is being stopped, and is started after that",
            Way::Archiving => "is being archived, and is started after that",
            Way::Unknown => "is in transition",
        }
    }
}

/// An address of a port that needs no key (`GET /sandbox/{id}/ports/{port}/signed-preview-url`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SignedPreview {
    /// `http` or `https`.
    pub url: String,
    /// What is signed into the address.
    pub token: String,
}

/// The address of a port (`GET /sandbox/{id}/ports/{port}/preview-url`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Preview {
    /// `http` or `https`.
    pub url: String,
    /// Goes with each request, in the header `x-daytona-preview-token`.
    pub token: String,
}

/// Which snapshot shall be made (`POST /sandbox/{id}/snapshot`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MakeSnapshot {
    /// Unique in the organization.
    pub(crate) name: String,
}

/// What sandboxes start from (`GET /snapshots/{id}`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// What it is deleted by.
    #[serde(default)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// `active`, or why it cannot be used: `inactive`, `building`, `error`, …
    pub state: String,
    /// Why it failed.
    #[serde(default)]
    pub error_reason: Option<String>,
    /// The sandbox that it was made of, if it was made of one.
    #[serde(default)]
    pub source_sandbox_id: Option<String>,
    /// How large the service says that it is, in GB.
    #[serde(default)]
    pub size: Option<f64>,
}

/// Whether a sandbox can be made of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// It can.
    Yes,
    /// Not yet: it is on its way, as is every state that is not known.
    NotYet,
    /// It cannot, and will not without somebody's doing.
    No,
}

impl Snapshot {
    /// Whether a sandbox can be made of it.
    pub fn usable(&self) -> Usable {
        match self.state.as_str() {
            "active" => Usable::Yes,
            "inactive" | "error" | "build_failed" | "removing" => Usable::No,
            _ => Usable::NotYet,
        }
    }
}

/// A page of `GET /sandbox`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    pub(crate) items: Vec<Sandbox>,
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

/// A shell script to run (`POST process/execute`). It is fed to a shell's standard input.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Execute {
    /// The script.
    pub command: String,
    /// Additional environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub envs: BTreeMap<String, String>,
    /// Seconds until the service kills it.
    pub timeout: u64,
}

/// What the script printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecuteResult {
    /// -1 if it could not start.
    #[serde(default)]
    pub exit_code: i64,
    /// Standard output and error, merged.
    #[serde(default)]
    pub result: String,
}

/// One file to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Absolute path in the sandbox.
    pub path: String,
    /// What to put there.
    pub source: UploadSource,
}

/// Where an upload's content comes from.
#[derive(Clone, Debug)]
pub enum UploadSource {
    /// A file on this machine, streamed.
    File(String),
    /// At most `length` bytes of one from `offset` on.
    Slice {
        /// The file.
        path: String,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_too_old_only_if_its_version_says_so() {
        for (version, fits) in [
            (None, true),
            (Some(""), true),
            (Some("dev"), true),
            (Some("v0.190.0-local"), true),
            (Some("0.167.0"), true),
            (Some("v0.167"), true),
            (Some("1.0.0"), true),
            (Some("0.166.9"), false),
            (Some("v0.99.200"), false),
            (Some("0.166-rc.1"), false),
        ] {
            let json = serde_json::json!({ "id": "a", "daemonVersion": version });
            let sandbox: Sandbox = serde_json::from_value(json).expect("parses");
            match sandbox.fit() {
                Ok(_) => assert!(fits, "{version:?}"),
                Err(error) => {
                    assert!(!fits, "{version:?}");
                    let said = error.to_string();
                    assert!(said.contains("0.167 or newer is needed"), "{said}");
                }
            }
        }
    }
}
