//! What a sandbox is on the wire and on disk, and the rules that need no process to decide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth;
use super::network::policy::Policy;
use super::snapshots::{self, Quirk, Size};
use crate::clock::rfc3339;
use crate::ids;
use crate::installation::{OLD_DAEMON_VERSION, ORGANIZATION, REGION};
use crate::options::Daemon;
use crate::problem::{Fields, Problem};

const USER: &str = "daytona";
const MAX_ARCHIVE_MINUTES: i64 = 43_200;

/// Where a sandbox is in its life. Only these occur here; Daytona has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SandboxState {
    Creating,
    Starting,
    Restoring,
    Started,
    Stopping,
    Stopped,
    Snapshotting,
    Archiving,
    Archived,
    Destroying,
    /// In memory only, for those who wait: its record is gone.
    Destroyed,
    Error,
}

impl SandboxState {
    /// Between two states: every other transition is refused until it ends.
    pub(crate) fn is_transition(self) -> bool {
        use SandboxState::*;
        matches!(
            self,
            Creating | Starting | Restoring | Stopping | Snapshotting | Archiving | Destroying
        )
    }

    fn desired(self) -> &'static str {
        use SandboxState::*;
        match self {
            Creating | Starting | Restoring | Started | Snapshotting | Error => "started",
            Stopping | Stopped => "stopped",
            Archiving | Archived => "archived",
            Destroying | Destroyed => "destroyed",
        }
    }
}

/// A link that needs no other key, for one port, until it expires.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SignedPreview {
    pub(crate) token: String,
    pub(crate) port: u16,
    pub(crate) expires_at: i64,
}

/// Everything the server remembers of a sandbox.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: SandboxState,
    #[serde(default)]
    pub(crate) error_reason: Option<String>,
    /// Its error ends with a recovery.
    #[serde(default)]
    pub(crate) recoverable: bool,
    pub(crate) snapshot: Option<String>,
    /// The snapshots whose files its own lie on, by their ids, the lowest first.
    #[serde(default)]
    pub(crate) layers: Vec<String>,
    /// The one that it was last started with.
    #[serde(default)]
    pub(crate) daemon: Daemon,
    pub(crate) user: String,
    pub(crate) target: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) public: bool,
    pub(crate) cpu: u32,
    pub(crate) memory: u32,
    pub(crate) disk: u32,
    /// Minutes; 0 is never.
    pub(crate) auto_stop: i64,
    /// Minutes after the stop.
    pub(crate) auto_archive: i64,
    /// Minutes after the stop; negative is never, 0 is with the stop.
    pub(crate) auto_delete: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) last_activity_at: i64,
    pub(crate) preview_token: String,
    /// Signs links to its files; empty if nobody has asked for it yet.
    #[serde(default)]
    pub(crate) signing_key: String,
    #[serde(default)]
    pub(crate) signed_previews: Vec<SignedPreview>,
    /// Ports of this machine, by the ports inside that they are the previews of.
    #[serde(default)]
    pub(crate) preview_ports: BTreeMap<u16, u16>,
    /// What it may reach.
    #[serde(default)]
    pub(crate) network: Policy,
}

/// What the clock asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Stop,
    Archive,
    Delete,
}

impl Record {
    /// Checks a create request and makes the record it asks for.
    pub(crate) fn from_request(
        body: &Value,
        now: i64,
        size_of: impl Fn(&str) -> Option<Size>,
    ) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let name: Option<String> = fields.get("name", "a string");
        let snapshot: Option<String> = fields.get("snapshot", "a string");
        let env = fields
            .get("env", "an object of strings")
            .unwrap_or_default();
        let labels = fields
            .get("labels", "an object of strings")
            .unwrap_or_default();
        let user = fields
            .get("user", "a string")
            .unwrap_or_else(|| USER.to_owned());
        if user != USER {
            fields.complain(format!(
                "user must be {USER}, others are not supported by daytona-local"
            ));
        }
        let target = fields
            .get("target", "a string")
            .unwrap_or_else(|| REGION.to_owned());
        let public = fields.get("public", "a boolean").unwrap_or(false);
        let cpu: Option<u32> = fields.get("cpu", "a non-negative integer");
        let memory: Option<u32> = fields.get("memory", "a non-negative integer");
        let disk: Option<u32> = fields.get("disk", "a non-negative integer");
        let auto_stop: i64 = fields.get("autoStopInterval", "an integer").unwrap_or(15);
        let auto_archive: i64 = fields
            .get("autoArchiveInterval", "an integer")
            .unwrap_or(10_080);
        let auto_delete: i64 = fields.get("autoDeleteInterval", "an integer").unwrap_or(-1);
        refuse_unsupported(&mut fields);
        let mut network = Policy::default();
        network.change(&mut fields);
        if auto_stop < 0 {
            fields.complain("autoStopInterval must not be negative".to_owned());
        }
        if let Some(name) = &name
            && let Err(why) = check_name(name)
        {
            fields.complain(why.to_owned());
        }
        fields.finish()?;

        let asks_resources = [cpu, memory, disk].iter().any(|n| n.unwrap_or(0) != 0);
        let snapshot = snapshot.unwrap_or_else(|| snapshots::DEFAULT.to_owned());
        let Some(resources) = size_of(&snapshot) else {
            return Err(Problem::bad_request(format!(
                "Snapshot {snapshot} not found. Did you add it through the Daytona Dashboard?"
            )));
        };
        if asks_resources {
            return Err(Problem::bad_request(
                "Cannot specify Sandbox resources when using a snapshot",
            ));
        }
        let id = ids::uuid();
        Ok(Self {
            name: name.filter(|n| !n.is_empty()).unwrap_or_else(|| id.clone()),
            id,
            state: SandboxState::Creating,
            error_reason: None,
            recoverable: false,
            snapshot: Some(snapshot),
            layers: Vec::new(),
            daemon: Daemon::default(),
            user,
            target,
            env,
            labels,
            public,
            cpu: resources.0,
            memory: resources.1,
            disk: resources.2,
            auto_stop,
            auto_archive: clamp_archive(auto_archive),
            auto_delete,
            created_at: now,
            updated_at: now,
            last_activity_at: now,
            preview_token: ids::token(),
            signing_key: String::new(),
            signed_previews: Vec::new(),
            preview_ports: BTreeMap::new(),
            network,
        })
    }

    /// Whether a token is that of a signed link to the port, which has not expired.
    pub(crate) fn is_signed(&self, port: u16, token: &str, now: i64) -> bool {
        self.signed_previews.iter().any(|signed| {
            signed.port == port && signed.expires_at > now && auth::same(&signed.token, token)
        })
    }

    fn daemon_version(&self) -> &'static str {
        match self.snapshot.as_deref().and_then(snapshots::quirk) {
            Some(Quirk::OldDaemon) => OLD_DAEMON_VERSION,
            _ => self.daemon.version(),
        }
    }

    /// The full wire object.
    pub(crate) fn dto(&self, toolbox_url: &str) -> Value {
        let mut dto = self.item(toolbox_url);
        dto["env"] = json!(self.env);
        dto["volumes"] = json!([]);
        dto
    }

    /// The wire object of a list, which lacks `env` and `volumes`.
    pub(crate) fn item(&self, toolbox_url: &str) -> Value {
        let mut item = json!({
            "id": self.id,
            "organizationId": ORGANIZATION,
            "name": self.name,
            "user": self.user,
            "labels": self.labels,
            "public": self.public,
            "kvm": false,
            "target": self.target,
            "cpu": self.cpu,
            "gpu": 0,
            "memory": self.memory,
            "disk": self.disk,
            "state": self.state,
            "desiredState": self.state.desired(),
            "recoverable": self.recoverable,
            "sandboxClass": "container",
            "backupState": "None",
            "autoStopInterval": self.auto_stop,
            "autoArchiveInterval": self.auto_archive,
            "autoDeleteInterval": self.auto_delete,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            "lastActivityAt": rfc3339(self.last_activity_at),
            "daemonVersion": self.daemon_version(),
            "runnerId": REGION,
            "toolboxProxyUrl": toolbox_url,
        });
        self.network.write(&mut item);
        for (field, value) in [
            ("snapshot", &self.snapshot),
            ("errorReason", &self.error_reason),
        ] {
            if let Some(value) = value {
                item[field] = json!(value);
            }
        }
        item
    }

    /// What the sandbox's own timers ask for at `now`.
    pub(crate) fn due(&self, now: i64) -> Option<Due> {
        let idle = now - self.last_activity_at;
        let past = |minutes: i64| idle >= minutes.saturating_mul(60_000);
        match self.state {
            SandboxState::Started if self.auto_stop > 0 && past(self.auto_stop) => Some(Due::Stop),
            SandboxState::Stopped | SandboxState::Archived
                if self.auto_delete >= 0 && past(self.auto_delete) =>
            {
                Some(Due::Delete)
            }
            SandboxState::Stopped if past(self.auto_archive) => Some(Due::Archive),
            _ => None,
        }
    }
}

/// 0 or too much is the maximum, as the API has it.
pub(crate) fn clamp_archive(minutes: i64) -> i64 {
    if (1..=MAX_ARCHIVE_MINUTES).contains(&minutes) {
        minutes
    } else {
        MAX_ARCHIVE_MINUTES
    }
}

/// Complains of what Daytona does and this server does not, where a request asks for it.
fn refuse_unsupported(fields: &mut Fields<'_>) {
    for name in [
        "volumes",
        "secrets",
        "buildInfo",
        "linkedSandbox",
        "outboundProxyUrl",
        "otelEndpointOverride",
        "gpu",
        "gpuType",
        "kvm",
        "spot",
        "ttlMinutes",
        "autoPauseInterval",
    ] {
        let value: Option<Value> = fields.get(name, "JSON");
        // What clients send for "none".
        let empty = [json!(0), json!(false), json!(""), json!([]), json!({})];
        if value.is_some_and(|value| !empty.contains(&value)) {
            fields.complain(format!("{name} is not supported by daytona-local"));
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.chars().any(char::is_control) {
        return Err("name must not contain control characters");
    }
    if name.contains(['<', '>']) || name.contains("://") {
        return Err("name must not contain HTML or URLs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(name: &str) -> Option<Size> {
        snapshots::size(name, false)
    }

    fn record(extra: Value) -> Record {
        Record::from_request(&extra, 0, built_in).expect("a valid request")
    }

    #[test]
    fn timers_ask_for_the_right_thing() {
        use SandboxState::*;
        let minute = 60_000;
        for (state, body, now, want) in [
            (Started, json!({"autoStopInterval": 2}), minute, None),
            (
                Started,
                json!({"autoStopInterval": 2}),
                2 * minute,
                Some(Due::Stop),
            ),
            (Started, json!({"autoStopInterval": 0}), i64::MAX / 2, None),
            (Stopping, json!({"autoStopInterval": 1}), 9 * minute, None),
            (
                Stopped,
                json!({"autoDeleteInterval": 0}),
                0,
                Some(Due::Delete),
            ),
            (Stopped, json!({"autoDeleteInterval": 5}), 4 * minute, None),
            (
                Stopped,
                json!({"autoArchiveInterval": 3}),
                3 * minute,
                Some(Due::Archive),
            ),
            (
                Archived,
                json!({"autoDeleteInterval": 5}),
                5 * minute,
                Some(Due::Delete),
            ),
            (Archived, json!({}), i64::MAX / 2, None),
        ] {
            let mut record = record(body.clone());
            record.state = state;
            assert_eq!(record.due(now), want, "{state:?} {body} at {now}");
        }
    }

    #[test]
    fn a_bad_create_request_names_every_wrong_field() {
        let body = json!({"name": 1, "labels": {"a": 1}, "autoStopInterval": -1, "unknown": []});
        let Err(problem) = Record::from_request(&body, 0, built_in) else {
            panic!("accepted")
        };
        assert_eq!(
            problem.message,
            "name must be a string, labels must be an object of strings, \
             autoStopInterval must not be negative"
        );
    }

    #[test]
    fn a_create_request_that_cannot_be_met_is_refused() {
        for (body, part) in [
            (json!([]), "JSON object"),
            (json!({"snapshot": "nope"}), "Snapshot nope not found"),
            (
                json!({"snapshot": "test-no-git"}),
                "Snapshot test-no-git not found",
            ),
            (
                json!({"snapshot": "daytona-small", "cpu": 2}),
                "Cannot specify Sandbox resources",
            ),
            (
                json!({"buildInfo": {"dockerfileContent": "FROM nonexistent"}}),
                "buildInfo is not supported",
            ),
            (json!({"cpu": 2}), "Cannot specify Sandbox resources"),
            (json!({"user": "root"}), "user must be daytona"),
            (
                json!({"volumes": [{"volumeId": "v", "mountPath": "/v"}], "gpu": 1}),
                "volumes is not supported by daytona-local, gpu is not supported",
            ),
            (json!({"secrets": [{"A": "b"}]}), "secrets is not"),
            (json!({"linkedSandbox": "a"}), "linkedSandbox is not"),
            (
                json!({"outboundProxyUrl": "http://a"}),
                "outboundProxyUrl is not",
            ),
            (json!({"spot": true}), "spot is not"),
            (json!({"gpuType": ["H100"]}), "gpuType is not"),
            (json!({"ttlMinutes": 1}), "ttlMinutes is not"),
            (json!({"autoPauseInterval": 1}), "autoPauseInterval is not"),
            (json!({"domainAllowList": "a.b"}), "domainAllowList is not"),
            (json!({"name": "a<b>"}), "HTML"),
        ] {
            let Err(problem) = Record::from_request(&body, 0, built_in) else {
                panic!("{body}")
            };
            assert!(
                problem.message.contains(part),
                "{body}: {}",
                problem.message
            );
        }
    }
}
