//! What each tool does to a file tree, with OpenCode's own results.
//!
//! One entrance: [`run`]. A [`Tree`] says where the project is; every tool is one module with one
//! function that takes the tree and its arguments.
//!
//! Never: start a process, follow a symlink loop, open anything but regular files and directories
//! (a read of a FIFO would hang), or leave a file half written.

mod apply_patch;
mod diff;
mod edit;
mod glob;
mod grep;
mod js;
mod path;
mod read;
mod replace;
mod text;
mod walk;
mod write;

pub use edit::{WAYS, ways};
pub use path::resolve;
pub use text::incomplete;

use protocol::{Change, Code, ToolArgs, ToolError, ToolOutput};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where the tools work.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The project: titles are relative to it.
    pub root: PathBuf,
    /// Where relative paths start.
    pub cwd: PathBuf,
    /// Directory for lock files, so that writers of one file wait for each other; none if there is
    /// no place for it, and then writers are atomic but not serialized.
    pub locks: Option<PathBuf>,
    /// Instruction files that `read` must not append again.
    pub loaded: Vec<String>,
    /// Everything is read and checked, and nothing is written.
    pub preview: bool,
}

/// Runs one tool. `bash` is not one of them: it is a process, not a change of files.
pub fn run(tree: &Tree, args: &ToolArgs) -> Result<ToolOutput, ToolError> {
    match args {
        ToolArgs::Read(args) => read::run(tree, args),
        ToolArgs::Write(args) => write::run(tree, args),
        ToolArgs::Edit(args) => edit::run(tree, args),
        ToolArgs::ApplyPatch(args) => apply_patch::run(tree, args),
        ToolArgs::Glob(args) => glob::run(tree, args),
        ToolArgs::Grep(args) => grep::run(tree, args),
        ToolArgs::Bash(_)
        | ToolArgs::Job(_)
        | ToolArgs::Preview(_)
        | ToolArgs::Sync(_)
        | ToolArgs::Webfetch(_)
        | ToolArgs::Websearch(_) => Err(fail(
            "this tool is run by the runner, not by the file tools",
        )),
    }
}

/// What a tool would change, or why it refuses; none for a tool that changes no files.
pub fn preview(tree: &Tree, args: &ToolArgs) -> Option<Result<Change, ToolError>> {
    let tree = Tree {
        preview: true,
        locks: None,
        ..tree.clone()
    };
    let is_change = matches!(
        args,
        ToolArgs::Write(_) | ToolArgs::Edit(_) | ToolArgs::ApplyPatch(_)
    );
    is_change.then(|| {
        run(&tree, args).map(|output| Change {
            diff: output.metadata["diff"].as_str().unwrap_or_default().into(),
            files: output.metadata["files"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        })
    })
}

impl Tree {
    /// `path` as an absolute path: kept as it is when absolute, else joined to `cwd` and tidied.
    pub fn absolute(&self, path: &str) -> PathBuf {
        if path.starts_with('/') {
            PathBuf::from(path)
        } else {
            path::resolve(&self.cwd, path)
        }
    }

    /// Like [`Tree::absolute`], but a slash at the end stays, as with `path.join`.
    fn joined(&self, path: &str) -> PathBuf {
        let absolute = self.absolute(path);
        if path.ends_with('/') {
            absolute.join("")
        } else {
            absolute
        }
    }

    fn title(&self, path: &Path) -> String {
        path::relative(&self.root, path)
            .to_string_lossy()
            .into_owned()
    }

    /// Takes the locks of `paths`; they are held until the result is dropped.
    ///
    /// There is a fixed set of lock files, so two files may share one. They are taken in order, so
    /// two writers cannot wait for each other.
    fn lock(&self, paths: &[&Path]) -> Vec<File> {
        let Some(locks) = &self.locks else {
            return Vec::new();
        };
        let mut names: Vec<u8> = paths.iter().map(|path| bucket(path)).collect();
        names.sort_unstable();
        names.dedup();
        let open = |name: u8| -> io::Result<File> {
            let path = locks.join(format!("{name:02x}"));
            let file = File::options().create(true).append(true).open(path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        };
        // Without a lock the write is still atomic, and a full disk must not stop a read-only fix.
        names
            .into_iter()
            .filter_map(|name| open(name).ok())
            .collect()
    }
}

/// FNV-1a over the real path: the same in every process.
fn bucket(path: &Path) -> u8 {
    use std::os::unix::ffi::OsStrExt;
    let real = path
        .canonicalize()
        .unwrap_or_else(|_| path::resolve(path, ""));
    let hash = real
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    (hash >> 32) as u8 ^ hash as u8
}

/// The tool says no; the model reads `message`.
fn fail(message: impl Into<String>) -> ToolError {
    ToolError {
        code: Code::Tool,
        message: message.into(),
        metadata: None,
    }
}

/// An I/O failure as OpenCode words it (`NotFound: FileSystem.readFile (/a)`), or in plain words
/// where the sandbox itself is the cause.
fn io_error(action: &str, path: &Path, error: &io::Error) -> ToolError {
    let path = path.display();
    let sandbox = |message: String| ToolError {
        code: Code::Sandbox,
        message,
        metadata: None,
    };
    match error.kind() {
        io::ErrorKind::NotFound => fail(format!("NotFound: FileSystem.{action} ({path})")),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            fail(format!("BadResource: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::AlreadyExists => {
            fail(format!("AlreadyExists: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::PermissionDenied => {
            fail(format!("PermissionDenied: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => sandbox(format!(
            "The sandbox's disk is full: {path} was left as it was. Free space with bash (for example `rm` a large file) and try again."
        )),
        io::ErrorKind::ReadOnlyFilesystem => sandbox(format!(
            "{path} is on a read-only file system in the sandbox and was left as it was. Write somewhere else."
        )),
        _ => fail(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod preview_test;
