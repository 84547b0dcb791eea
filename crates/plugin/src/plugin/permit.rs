//! Permission for a call: every question OpenCode's own tool would ask, before anything is done.

use super::call::{ABORTED, Cancel, failed};
use super::{Asked, Core, Plugin};
use crate::error::Error;
use crate::release::Lack;
use crate::trust;
use crate::wire::*;
use futures::channel::oneshot;
use futures::future::{Either, select};
use host::Level;
use permission::{Facts, Needed, Step, rules};
use protocol::{Op, Outcome, Preview, Previewed, Request, ToolArgs, ToolCall, Wait};
use std::cell::RefCell;
use std::rc::Rc;

/// What a preview came to, and the sandbox that took a deleted one's place meanwhile.
type Looked = Result<(Previewed, Option<String>), Error>;

impl Plugin {
    /// Asks; an error is how the call ends. What must be shown and is only known in the sandbox is
    /// looked up there, by a request of its own, unless every rule says "allow" already.
    ///
    /// The files may change between that look and the call. The call then goes by its own checks:
    /// what was allowed is the call, and an edit that no longer fits is refused by the runner.
    pub(super) async fn permit(
        self: &Rc<Self>,
        core: &Rc<Core>,
        call: &Execute,
        args: &ToolArgs,
        cancel: &Cancel,
    ) -> Result<Option<String>, Executed> {
        let (mut facts, mut replaced) = (Facts::Files(RefCell::default()), None);
        if let Some(needed) = permission::needed(args, &core.paths)
            && !self.is_allowed(call, &needed).await
        {
            let look = self.look(core, call, args, needed.paths);
            let looked = match select(Box::pin(look), cancel.clone()).await {
                Either::Left((looked, _)) => looked,
                Either::Right(_) => return Err(failed(ABORTED.into())),
            };
            let (preview, instead) = looked.map_err(|error| failed(error.to_string()))?;
            (facts, replaced) = (Facts::found(preview), instead);
        }
        for step in permission::steps(args, &core.paths, &facts) {
            let question = match step {
                Step::Ask(question) => self.without_editor(question),
                Step::Refuse(message) => return Err(failed(trust::text(message))),
            };
            // OpenCode leaves the question of an aborted call open for ever.
            let asked = self.opencode.ask(call.call, &question);
            match select(asked, cancel.clone()).await {
                Either::Left((Asked::Allowed, _)) => {}
                Either::Left((Asked::Rejected, _)) => return Err(Executed::Rejected),
                Either::Left((Asked::Unasked, _)) => {
                    return Err(failed(self.lacks(Lack::Questions)));
                }
                Either::Right(_) => return Err(failed(ABORTED.into())),
            }
        }
        Ok(replaced)
    }

    /// Under ACP, OpenCode has the editor write the file of an edit that was allowed, by the path and the diff of
    /// the question: on the user's machine (1.18.33, November 2026). So the question has no path there.
    fn without_editor(&self, mut question: Permission) -> Permission {
        if self.host.env("OPENCODE_CLIENT").as_deref() == Some("acp")
            && let Some(metadata) = question.metadata.as_object_mut()
        {
            metadata.remove("filepath");
        }
        question
    }

    /// True if OpenCode will allow all of it without a word. If the rules are not to be had, that
    /// is not known: one look too many costs less than a question without its diff.
    async fn is_allowed(&self, call: &Execute, needed: &Needed) -> bool {
        let known = match self.opencode.rules(&call.session_id).await {
            Ok(known) => known,
            Err(reason) => {
                let message = format!("OpenCode does not tell its permission rules: {reason}");
                self.host.log(Level::Warn, &message);
                return false;
            }
        };
        rules::of(&call.agent, &known)
            .is_some_and(|rules| self.approvals.borrow().allow(&rules, &needed.questions))
    }

    /// Looks at what the questions must show. Goes on if the call is aborted: half a created
    /// sandbox helps nobody.
    async fn look(
        self: &Rc<Self>,
        core: &Rc<Core>,
        call: &Execute,
        args: &ToolArgs,
        paths: Vec<String>,
    ) -> Looked {
        let (done, looked) = oneshot::channel();
        let (plugin, core) = (Rc::clone(self), Rc::clone(core));
        let (session, args) = (call.session_id.clone(), args.clone());
        self.host.spawn(Box::pin(async move {
            let _ = done.send(plugin.look_now(&core, &session, args, paths).await);
        }));
        looked.await.unwrap_or(Err(Error::Answer))
    }

    async fn look_now(
        &self,
        core: &Core,
        session: &str,
        args: ToolArgs,
        paths: Vec<String>,
    ) -> Looked {
        let session = self.root(session).await?;
        self.active(&session);
        // An undo may be under way, and the question shows the files as they are after it.
        self.settle(core, &session).await?;
        let call = ToolCall {
            root: core.paths.root().into(),
            cwd: core.paths.cwd().into(),
            args,
            wait: Wait::default(),
            env: Default::default(),
            loaded: Vec::new(),
            turn: None,
        };
        let request = Request::new(core.remote.id(), Op::Preview(Preview { call, paths }));
        let answer = core
            .remote
            .call(&core.sessions, &session, &request, || false)
            .await?;
        match answer.result {
            Ok(Outcome::Previewed(mut preview)) => {
                if let Some(Ok(change)) = &mut preview.change {
                    change.diff = trust::text(std::mem::take(&mut change.diff));
                }
                Ok((preview, answer.replaced))
            }
            Ok(_) => Err(Error::Answer),
            Err(error) => Err(trust::text(error.message).into()),
        }
    }
}
