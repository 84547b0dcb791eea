//! Why something could not be carried.

use host::{FileError, GitError};

/// Why something could not be carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Git did not run, or did not finish.
    #[error(transparent)]
    NotRun(#[from] GitError),
    /// A temporary file or the depot cannot be used.
    #[error("cannot use a temporary directory: {0}")]
    File(#[from] FileError),
    /// Git says no.
    #[error("cannot read the project at {worktree}: git {command} failed: {reason}")]
    Git {
        /// The project.
        worktree: String,
        /// Git's subcommand.
        command: String,
        /// Git's words.
        reason: String,
    },
    /// Too much to upload.
    #[error("the project at {worktree} has {} MB to carry into a sandbox, in {files} files, and at most {} MB are carried{}. Leave out what the agent does not need with .gitignore or the option `carry.paths`, or raise the option `carry.maxMegabytes`.", size.div_ceil(1_000_000), limit / 1_000_000, named(largest))]
    TooLarge {
        /// The project.
        worktree: String,
        /// Bytes, as git keeps them; those of a file that git does not have yet as they are.
        size: u64,
        /// How many files they are in.
        files: usize,
        /// The largest files, with their bytes of that.
        largest: Vec<(String, u64)>,
        /// Bytes that are carried.
        limit: u64,
    },
    /// A partial clone without some files of the commit that it is at.
    #[error(
        "{worktree} is a partial clone that lacks files of its own HEAD which no sparse checkout leaves out, and nothing is fetched without being asked for. Fetch them (`git checkout .` does), then try again."
    )]
    Incomplete {
        /// The project.
        worktree: String,
    },
    /// Git on this machine is too old.
    #[error(
        "this machine has {found}, and version {needed} or newer is needed to carry a project into a sandbox and its work home. Update git, and see with `git --version` that it comes first on the PATH."
    )]
    OldGit {
        /// What it says of itself.
        found: String,
        /// The oldest version that will do.
        needed: String,
    },
    /// A directory that nobody means as a project.
    #[error(
        "{worktree} is the root of the file system, the home directory or above it; it is not uploaded. Start OpenCode in a project's directory."
    )]
    NotAProject {
        /// The directory.
        worktree: String,
    },
    /// A repository, and nothing that is checked out.
    #[error(
        "{directory} is inside a git repository that has no files checked out there (a bare repository, or the directory around its worktrees), so there is nothing to carry into a sandbox. Start OpenCode in {help}."
    )]
    NoWorktree {
        /// The directory.
        directory: String,
        /// Where to start it.
        help: String,
    },
    /// A repository of another user's.
    #[error(
        "{path} is a git repository that belongs to another user, so git refuses to use it and no work could come home there. If you trust it, run `git config --global --add safe.directory '{path}'` and start OpenCode again."
    )]
    NotTrusted {
        /// Its worktree.
        path: String,
    },
    /// A repository that git cannot read.
    #[error(
        "{path} does not lead to a git repository that can be read ({reason}), so no work could come home there. Repair it (`git worktree repair` and `git init` do that), or move it away, and start OpenCode again."
    )]
    Damaged {
        /// Its `.git`.
        path: String,
        /// Git's words.
        reason: String,
    },
    /// The sandbox sent something that is not taken.
    #[error(
        "what the sandbox sent was refused: {0}. Nothing of it was taken; the work is still in the sandbox."
    )]
    Refused(String),
    /// More new work than is taken.
    #[error("the sandbox has {} MB of new work, and at most {} MB are brought home{}. Raise the option `carry.maxMegabytes`, or delete or ignore in the sandbox what is not needed; until then all of it stays there.", size.div_ceil(1_000_000), limit / 1_000_000, named(largest))]
    TooMuch {
        /// Bytes, packed.
        size: u64,
        /// Bytes that are taken.
        limit: u64,
        /// The largest files, with the bytes that they take of that, if they are known.
        largest: Vec<(String, u64)>,
    },
    /// The user's repository does not take the branch.
    #[error(
        "cannot write branch {branch}: {reason}. Rename what is in the way, or set the option `branchPrefix`."
    )]
    Branch {
        /// Its name.
        branch: String,
        /// Git's words.
        reason: String,
    },
    /// Somebody else's branch has the name.
    #[error("there is a branch {0} already that is not this session's")]
    Taken(String),
}

/// A file with fewer bytes is not named as large.
const SMALL: u64 = 50_000;

/// Files and their sizes, in words.
fn named(files: &[(String, u64)]) -> String {
    let mut files = files.iter().filter(|(_, size)| *size >= SMALL).peekable();
    if files.peek().is_none() {
        return String::new();
    }
    let megabytes = |size: &u64| match *size as f64 / 1e6 {
        size if size < 10.0 => format!("{size:.1}"),
        size => format!("{size:.0}"),
    };
    let files = files.map(|(path, size)| format!("{path} ({} MB)", megabytes(size)));
    format!(
        "; the largest files: {}",
        files.collect::<Vec<_>>().join(", ")
    )
}
