//! The snapshots a sandbox can be made from: three sizes of one, those that tests need, and those
//! that were made of a sandbox's files.
//!
//! Sizes are what the API reports; nothing enforces them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::ids;
use crate::installation::ORGANIZATION;
use crate::problem::Problem;

pub(crate) const DEFAULT: &str = "daytona-small";

/// Cores, GiB of memory and GiB of disk.
pub(crate) type Size = (u32, u32, u32);

const SIZES: &[(&str, Size)] = &[
    ("daytona-small", (1, 1, 3)),
    ("daytona-medium", (2, 4, 8)),
    ("daytona-large", (4, 8, 10)),
];

/// A sandbox that is wrong in one way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quirk {
    /// The home directory is not writable.
    ReadonlyHome,
    /// Home, `/tmp` and `/dev/shm` are 8 MiB each and do not survive a stop.
    SmallDisk,
    /// `uname` says aarch64.
    Aarch64,
    /// Shells print when they start and when they exit.
    NoisyShell,
    /// There is no git.
    NoGit,
    /// Create answers 400 and leaves a sandbox in state `error` behind.
    CreateFails,
    /// Create takes two seconds.
    SlowCreate,
    /// The daemon is older than 0.167: it ignores the environment of a request.
    OldDaemon,
}

const QUIRKS: &[(&str, Quirk)] = &[
    ("test-readonly-home", Quirk::ReadonlyHome),
    ("test-small-disk", Quirk::SmallDisk),
    ("test-aarch64", Quirk::Aarch64),
    ("test-noisy-shell", Quirk::NoisyShell),
    ("test-no-git", Quirk::NoGit),
    ("test-create-fails", Quirk::CreateFails),
    ("test-slow-create", Quirk::SlowCreate),
    ("test-old-daemon", Quirk::OldDaemon),
];

/// `None` if there is no such built-in snapshot.
pub(crate) fn size(name: &str, with_tests: bool) -> Option<Size> {
    let size = SIZES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, size)| *size);
    size.or_else(|| quirk(name).filter(|_| with_tests).map(|_| SIZES[0].1))
}

/// What is wrong with a test snapshot.
pub(crate) fn quirk(name: &str) -> Option<Quirk> {
    QUIRKS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, quirk)| *quirk)
}

/// How far the making of a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Snapshotting,
    Active,
    /// Nobody used it for long, or it was deactivated: no sandbox starts from it.
    Inactive,
    /// In memory only: its name is free again.
    Error,
}

/// A snapshot that was made of a sandbox's files.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Its directory's name.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) stage: Stage,
    #[serde(default)]
    pub(crate) error_reason: Option<String>,
    pub(crate) size: Size,
    pub(crate) source: Option<String>,
    /// The snapshots that its own files lie on, by their ids, the lowest first.
    #[serde(default)]
    pub(crate) layers: Vec<String>,
    pub(crate) created_at: i64,
}

impl Made {
    /// One of the sandbox `source`, whose files lie on those of `layers`.
    pub(crate) fn new(name: &str, source: &str, layers: Vec<String>, size: Size, now: i64) -> Self {
        Self {
            id: ids::uuid(),
            name: name.to_owned(),
            stage: Stage::Snapshotting,
            error_reason: None,
            size,
            source: Some(source.to_owned()),
            layers,
            created_at: now,
        }
    }

    /// Every directory that a sandbox of it lies on, the lowest first.
    pub(crate) fn all_layers(&self) -> Vec<String> {
        let own = std::iter::once(&self.id);
        self.layers.iter().chain(own).cloned().collect()
    }

    /// The wire object; one without a source is built in.
    pub(crate) fn dto(&self) -> Value {
        let (cpu, memory, disk) = self.size;
        json!({
            "id": self.id,
            "organizationId": ORGANIZATION,
            "general": self.source.is_none(),
            "name": self.name,
            "state": self.stage,
            "size": null,
            "entrypoint": null,
            "cpu": cpu,
            "gpu": 0,
            "mem": memory,
            "disk": disk,
            "errorReason": self.error_reason,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.created_at),
            "lastUsedAt": null,
            "sourceSandboxId": self.source,
            "sandboxClass": "container",
        })
    }
}

/// What a list of snapshots is to have. Numbers come as texts.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Listing {
    page: Option<String>,
    limit: Option<String>,
    name: Option<String>,
    source_sandbox_id: Option<String>,
    sort: Option<String>,
    order: Option<String>,
}

/// One page of snapshots.
pub(crate) fn page(mut all: Vec<Made>, query: &Listing) -> Result<Value, Problem> {
    let number = |name: &str, given: &Option<String>, default: usize, most: usize| {
        let given = given.as_deref().map_or(Ok(default), str::parse);
        let wrong = || Problem::bad_request(format!("{name} must be between 1 and {most}"));
        given
            .ok()
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(wrong)
    };
    let page = number("page", &query.page, 1, 1_000_000)?;
    let limit = number("limit", &query.limit, 100, 200)?;
    all.retain(|made| {
        let is_named = query
            .name
            .as_deref()
            .is_none_or(|part| made.name.contains(part));
        let source = query.source_sandbox_id.as_deref();
        is_named && source.is_none_or(|source| made.source.as_deref() == Some(source))
    });
    match query.sort.as_deref() {
        // When one was used last is not known here; those of the list's own order come first.
        None | Some("lastUsedAt") => {}
        Some("name") => all.sort_by(|a, b| b.name.cmp(&a.name)),
        Some("state") => all.sort_by_key(|made| std::cmp::Reverse(made.dto()["state"].to_string())),
        Some("createdAt") => all.sort_by_key(|made| std::cmp::Reverse(made.created_at)),
        Some(_) => {
            return Err(Problem::bad_request(
                "sort must be one of name, state, lastUsedAt, createdAt",
            ));
        }
    }
    match query.order.as_deref() {
        None | Some("desc") => {}
        Some("asc") => all.reverse(),
        Some(_) => return Err(Problem::bad_request("order must be asc or desc")),
    }
    let total = all.len();
    let items = all.iter().skip((page - 1) * limit).take(limit);
    let items: Vec<Value> = items.map(Made::dto).collect();
    let pages = total.div_ceil(limit).max(1);
    Ok(json!({ "items": items, "total": total, "page": page, "totalPages": pages }))
}

/// The built-in snapshots, as if they had been made.
pub(crate) fn built_in() -> Vec<Made> {
    let one = |(name, size): &(&str, Size)| Made {
        id: (*name).to_owned(),
        name: (*name).to_owned(),
        stage: Stage::Active,
        error_reason: None,
        size: *size,
        source: None,
        layers: Vec::new(),
        created_at: 0,
    };
    SIZES.iter().map(one).collect()
}
