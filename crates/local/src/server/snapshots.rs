//! The snapshots a sandbox can be made from: three sizes of one, and those that tests need.
//!
//! Sizes are what the API reports; nothing enforces them.

pub(crate) const DEFAULT: &str = "daytona-small";

const SIZES: &[(&str, (u32, u32, u32))] = &[
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
}

const QUIRKS: &[(&str, Quirk)] = &[
    ("test-readonly-home", Quirk::ReadonlyHome),
    ("test-small-disk", Quirk::SmallDisk),
    ("test-aarch64", Quirk::Aarch64),
    ("test-noisy-shell", Quirk::NoisyShell),
    ("test-no-git", Quirk::NoGit),
    ("test-create-fails", Quirk::CreateFails),
    ("test-slow-create", Quirk::SlowCreate),
];

/// Cores, GiB of memory and GiB of disk; `None` if there is no such snapshot.
pub(crate) fn size(name: &str, with_tests: bool) -> Option<(u32, u32, u32)> {
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
