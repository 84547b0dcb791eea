//! Makes a fresh sandbox useful: the runner and the project go up in one request, a second one
//! unpacks both.

use crate::remote::{Remote, RemoteError};
use async_trait::async_trait;
use daytona::{Toolbox, Upload, UploadSource};
use host::{Host, Level};
use protocol::{Base, Op, Request, Setup};
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

#[async_trait(?Send)]
impl Prepare for Carry {
    async fn prepare(&self, toolbox: &Toolbox) -> Result<Prepared, String> {
        let packed = match sync::pack(&*self.host, &self.worktree, self.repository).await {
            Ok(packed) => Some(packed),
            Err(error @ sync::Error::NotAProject { .. }) => {
                self.host.log(Level::Warn, &error.to_string());
                None
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut files = Vec::new();
        let base = packed.as_ref().map(|packed| {
            let path = format!("/tmp/.opencode-upload-{}/base.pack", self.remote.id());
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
                Err(error) => Err(error.message),
            },
            Err(error @ RemoteError::Daytona(_)) => Err(format!(
                "The project could not be brought into the sandbox. {error}"
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}
