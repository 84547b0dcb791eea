//! Makes a fresh sandbox useful: the runner and the project go up in one request, a second one
//! unpacks both.

use crate::remote::{Remote, RemoteError};
use async_trait::async_trait;
use daytona::{Toolbox, Upload, UploadSource};
use host::{Host, Level};
use protocol::{Base, Code, Op, Outcome, Request, Setup, ToolError};
use sessions::{Prepare, Prepared};
use std::rc::Rc;

/// Carries one project.
pub(crate) struct Carry {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) remote: Rc<Remote>,
    /// Worktree on the host.
    pub(crate) worktree: String,
    /// It belongs to a git repository.
    pub(crate) repository: bool,
    /// Project directory in the sandbox.
    pub(crate) root: String,
}

/// The project's settings, which may hold the API key.
const DOTENV: &str = ".env";

/// True if a base is in the sandbox already.
fn is_at_work(error: &ToolError) -> bool {
    error.code == Code::HoldsWork
}

impl Carry {
    /// True if there are commits in the project directory of somebody else's sandbox. If not, it is
    /// now at least a repository.
    async fn holds_work(&self, toolbox: &Toolbox) -> Result<bool, String> {
        let setup = Setup {
            root: self.root.clone(),
            base: None,
        };
        let request = Request::new(self.remote.id(), Op::Setup(setup));
        let reply = self
            .remote
            .install_first(toolbox, Vec::new(), &request)
            .await;
        match reply.map_err(|error| error.to_string())?.result {
            Ok(Outcome::Ready(ready)) => Ok(ready.head.is_some()),
            Ok(_) => Err("the runner answered another question than was asked".into()),
            Err(error) => Err(error.message),
        }
    }
}

impl Carry {
    /// Files that stay on the host: no key of ours may reach a sandbox.
    async fn keep_out(&self) -> &'static [&'static str] {
        let path = format!("{}/{DOTENV}", self.worktree);
        let text = self.host.read_file(&path).await.unwrap_or_default();
        if !crate::config::has_key(&String::from_utf8_lossy(&text)) {
            return &[];
        }
        self.host.log(
            Level::Info,
            &format!("{path} holds the API key of Daytona, so it is not brought into the sandbox"),
        );
        &[DOTENV]
    }
}

#[async_trait(?Send)]
impl Prepare for Carry {
    async fn prepare(&self, toolbox: &Toolbox, foreign: bool) -> Result<Prepared, String> {
        if foreign && self.holds_work(toolbox).await? {
            return Ok(Prepared::default());
        }
        let keep_out = self.keep_out().await;
        let packed = match sync::pack(&*self.host, &self.worktree, self.repository, keep_out).await
        {
            Ok(packed) => Some(packed),
            Err(error @ sync::Error::NotAProject { .. }) => {
                self.host.log(Level::Warn, &error.to_string());
                None
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut files = Vec::new();
        let base = packed.as_ref().map(|packed| {
            let path = format!("/tmp/.opencode-upload-{}-base.pack", self.remote.id());
            files.push(Upload {
                path: path.clone(),
                source: UploadSource::File(packed.pack.clone()),
            });
            Base {
                pack: path,
                commit: packed.commit.clone(),
                branch: packed.branch.clone(),
            }
        });
        let request = Request::new(
            self.remote.id(),
            Op::Setup(Setup {
                root: self.root.clone(),
                base,
            }),
        );
        let result = self.remote.install_first(toolbox, files, &request).await;
        let mut prepared = Prepared::default();
        if let Some(packed) = packed {
            prepared.base_commit = Some(packed.commit.clone());
            prepared.host_head = packed.host_head.clone();
            packed.discard(&*self.host).await;
        }
        match result {
            Ok(reply) => match reply.result {
                Ok(_) => Ok(prepared),
                // An earlier preparation got this far, and was not written down: work may be there.
                Err(error) if is_at_work(&error) => Ok(Prepared::default()),
                Err(error) => Err(error.message),
            },
            Err(error @ RemoteError::Daytona(_)) => Err(format!(
                "The project could not be brought into the sandbox. {error}"
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}
