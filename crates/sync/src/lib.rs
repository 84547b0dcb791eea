//! Carrying the worktree into the sandbox, with git.
//!
//! [`pack`] turns the worktree as it is (tracked and untracked files, uncommitted edits, nothing
//! that is ignored) into one commit and a pack that holds it. The user's repository is only read:
//! index, objects and git directory are temporary ones, and the user's own objects are borrowed as
//! alternates. So a detached HEAD, a shallow clone, a repository without commits and a directory
//! without git are all the same case.
//!
//! It never writes into the worktree or its repository. Surprise: git's own filters (line endings)
//! apply on the way, as with `git add`.

use host::{FileError, GitCall, GitError, GitOutput, Host};

/// Largest pack that is carried into a sandbox, in bytes.
pub const MAX_PACK: u64 = 512 * 1024 * 1024;

/// The worktree, packed. Call [`Packed::discard`] when it has been uploaded.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Pack file on the host.
    pub pack: String,
    /// Full hash of the commit in it. It has no parent.
    pub commit: String,
    /// Branch to check it out on, without `refs/heads/`.
    pub branch: String,
    /// The host's HEAD, if it has a commit.
    pub host_head: Option<String>,
    dir: String,
}

/// Why the project cannot be carried into the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No git on the host.
    #[error(transparent)]
    NoGit(#[from] GitError),
    /// The temporary directory cannot be used.
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
    #[error("the project at {worktree} packs to {} MB, more than the {} MB that are uploaded. Add what the agent does not need to .gitignore.", size / 1_000_000, limit / 1_000_000)]
    TooLarge {
        /// The project.
        worktree: String,
        /// Bytes.
        size: u64,
        /// Bytes that are carried.
        limit: u64,
    },
    /// A directory that nobody means as a project.
    #[error(
        "{worktree} is the root of the file system, the home directory or above it; it is not uploaded. Start OpenCode in a project's directory."
    )]
    NotAProject {
        /// The directory.
        worktree: String,
    },
}

/// Runs git for one worktree.
struct Git<'a> {
    host: &'a dyn Host,
    worktree: &'a str,
    env: Vec<(String, String)>,
}

impl Git<'_> {
    async fn run(
        &self,
        args: &[&str],
        stdin: &str,
        stdout_file: Option<String>,
    ) -> Result<GitOutput, Error> {
        let call = GitCall {
            args: args.iter().map(|a| a.to_string()).collect(),
            cwd: self.worktree.into(),
            env: self.env.clone(),
            stdin: stdin.into(),
            stdout_file,
            ..GitCall::default()
        };
        Ok(self.host.git(call).await?)
    }

    /// Standard output of a git that must succeed, without the line end.
    async fn line(&self, args: &[&str]) -> Result<String, Error> {
        let output = self.checked(args, "", None).await?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_string())
    }

    async fn checked(
        &self,
        args: &[&str],
        stdin: &str,
        stdout_file: Option<String>,
    ) -> Result<GitOutput, Error> {
        let output = self.run(args, stdin, stdout_file).await?;
        if output.code == 0 {
            return Ok(output);
        }
        let command = args
            .iter()
            .find(|a| !a.starts_with('-') && !a.contains('='))
            .unwrap_or(&"")
            .to_string();
        let reason = output.stderr.trim().chars().take(500).collect();
        Err(Error::Git {
            worktree: self.worktree.into(),
            command,
            reason,
        })
    }
}

/// Packs `worktree` without the files in `keep_out` (paths relative to it). `repository` says
/// whether it belongs to a git repository.
pub async fn pack(
    host: &dyn Host,
    worktree: &str,
    repository: bool,
    keep_out: &[&str],
) -> Result<Packed, Error> {
    pack_within(host, worktree, repository, keep_out, MAX_PACK).await
}

/// True for a root of a file system, the home directory, and, unless it is a repository, for a
/// directory that holds the home directory.
fn is_no_project(host: &dyn Host, worktree: &str, repository: bool) -> bool {
    let trim = |path: &str| path.trim_end_matches(['/', '\\']).to_string();
    let worktree = trim(worktree);
    let is_drive = worktree.len() == 2 && worktree.ends_with(':');
    let homes = ["HOME", "USERPROFILE"]
        .into_iter()
        .filter_map(|n| host.env(n));
    worktree.is_empty()
        || is_drive
        || homes.map(|home| trim(&home)).any(|home| {
            let below = home.strip_prefix(&worktree);
            below.is_some_and(|rest| {
                rest.is_empty() || (!repository && rest.starts_with(['/', '\\']))
            })
        })
}

/// Like [`pack`], with another limit than [`MAX_PACK`].
pub async fn pack_within(
    host: &dyn Host,
    worktree: &str,
    repository: bool,
    keep_out: &[&str],
    limit: u64,
) -> Result<Packed, Error> {
    if is_no_project(host, worktree, repository) {
        return Err(Error::NotAProject {
            worktree: worktree.into(),
        });
    }
    let dir = host.temp_dir().await?;
    let result = pack_in(host, worktree, repository, keep_out, limit, &dir).await;
    if result.is_err() {
        let _ = host.remove_temp_dir(&dir).await;
    }
    result
}

async fn pack_in(
    host: &dyn Host,
    worktree: &str,
    repository: bool,
    keep_out: &[&str],
    limit: u64,
    dir: &str,
) -> Result<Packed, Error> {
    let plain = Git {
        host,
        worktree,
        env: Vec::new(),
    };
    // A git directory of our own: nothing we write can reach the user's.
    let git_dir = format!("{dir}/git");
    let format = match repository {
        true => plain.line(&["rev-parse", "--show-object-format"]).await?,
        false => "sha1".to_string(),
    };
    let format = format!("--object-format={format}");
    let init = [
        "init",
        "--quiet",
        "--bare",
        "--template=",
        &format,
        &git_dir,
    ];
    plain.checked(&init, "", None).await?;

    let mut env = vec![
        ("GIT_DIR".to_string(), git_dir.clone()),
        ("GIT_WORK_TREE".to_string(), worktree.to_string()),
        ("GIT_INDEX_FILE".to_string(), format!("{dir}/index")),
        // Set by a git that runs OpenCode in a hook: nothing may be written to the user's objects.
        (
            "GIT_OBJECT_DIRECTORY".to_string(),
            format!("{git_dir}/objects"),
        ),
        ("GIT_OPTIONAL_LOCKS".to_string(), "0".to_string()),
    ];
    for role in ["AUTHOR", "COMMITTER"] {
        env.push((
            format!("GIT_{role}_NAME"),
            "opencode-daytona-sandbox".to_string(),
        ));
        env.push((
            format!("GIT_{role}_EMAIL"),
            "opencode-daytona-sandbox@localhost".to_string(),
        ));
        env.push((
            format!("GIT_{role}_DATE"),
            format!("{} +0000", host.now_ms() / 1000),
        ));
    }

    let (mut host_head, mut branch) = (None, "main".to_string());
    if repository {
        // The user's objects are borrowed, so that nothing that has not changed is hashed into
        // our own directory, and a shallow clone's missing parents do not matter.
        let objects = plain
            .line(&[
                "rev-parse",
                "--path-format=absolute",
                "--git-path",
                "objects",
            ])
            .await?;
        env.push((
            "GIT_ALTERNATE_OBJECT_DIRECTORIES".to_string(),
            quote_alternate(&objects),
        ));
        let head = plain
            .run(
                &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
                "",
                None,
            )
            .await?;
        if head.code == 0 {
            host_head = Some(String::from_utf8_lossy(&head.stdout).trim().to_string());
        }
        let name = plain
            .run(&["symbolic-ref", "--quiet", "--short", "HEAD"], "", None)
            .await?;
        if name.code == 0 {
            branch = String::from_utf8_lossy(&name.stdout).trim().to_string();
        }
        // Ignore rules that live in the repository, not in the worktree.
        let exclude = plain
            .line(&[
                "rev-parse",
                "--path-format=absolute",
                "--git-path",
                "info/exclude",
            ])
            .await?;
        if let Ok(rules) = host.read_file(&exclude).await {
            host.replace_file(&format!("{git_dir}/info/exclude"), &rules)
                .await?;
        }
    }

    let git = Git {
        host,
        worktree,
        env,
    };
    let add = [
        "-c",
        "core.safecrlf=false",
        "-c",
        "core.fsmonitor=false",
        "add",
        "--all",
        "--",
        ".",
    ];
    let index = format!("{dir}/index");
    let mut added = false;
    if repository {
        // A copy of the user's index saves hashing what has not changed. It may be of a kind that
        // does not work away from its repository (a split one): then we start from HEAD.
        let users = plain
            .line(&["rev-parse", "--path-format=absolute", "--git-path", "index"])
            .await?;
        if let Ok(bytes) = host.read_file(&users).await {
            host.replace_file(&index, &bytes).await?;
            added = git.run(&add, "", None).await?.code == 0;
        }
    }
    if !added {
        host.remove_file(&index).await?;
        if let Some(head) = &host_head {
            // So that tracked files count as tracked even if a rule ignores them.
            git.checked(&["read-tree", head], "", None).await?;
        }
        git.checked(&add, "", None).await?;
    }
    if !keep_out.is_empty() {
        let remove = ["rm", "--quiet", "--cached", "--ignore-unmatch", "-f", "--"];
        git.checked(&[&remove, keep_out].concat(), "", None).await?;
    }
    let tree = git.line(&["write-tree"]).await?;
    let commit = git
        .line(&[
            "commit-tree",
            "--no-gpg-sign",
            "-m",
            "Project as it was on the host",
            &tree,
        ])
        .await?;
    let pack = format!("{dir}/base.pack");
    git.checked(
        &[
            "pack-objects",
            "--revs",
            "--stdout",
            "--quiet",
            "--delta-base-offset",
        ],
        &format!("{commit}\n"),
        Some(pack.clone()),
    )
    .await?;
    let size = host.file_size(&pack).await?;
    if size > limit {
        return Err(Error::TooLarge {
            worktree: worktree.into(),
            size,
            limit,
        });
    }
    Ok(Packed {
        pack,
        commit,
        branch,
        host_head,
        dir: dir.into(),
    })
}

/// `GIT_ALTERNATE_OBJECT_DIRECTORIES` is a list: a path with a separator or a quote in it must be
/// quoted as git's C-style strings are.
fn quote_alternate(path: &str) -> String {
    if path.contains([':', '"', '\n']) && !path.contains('\\') {
        format!("\"{}\"", path.replace('"', "\\\"").replace('\n', "\\n"))
    } else {
        path.to_string()
    }
}

impl Packed {
    /// Removes the temporary files.
    pub async fn discard(self, host: &dyn Host) {
        let _ = host.remove_temp_dir(&self.dir).await;
    }
}
