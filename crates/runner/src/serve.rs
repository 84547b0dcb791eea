//! From a request to a reply: which requests are answered from a record, and who does the work.

use crate::answer::{error, reply};
use crate::record::{Claim, Records};
use crate::storage::Storage;
use crate::{job, port, setup, web, work};
use protocol::{
    Code, Op, Outcome, Preview, Previewed, Reply, Request, ToolArgs, ToolCall, ToolError,
};
use std::path::{Path, PathBuf};
use tools::catalog;
use tools::fs::Tree;

/// Answers one request.
pub(crate) fn serve(request: &Request) -> Reply {
    let storage = Storage::open();
    let id = &request.id;
    let site = work::Site {
        storage: &storage,
        sandbox: request.sandbox.as_deref(),
    };
    match &request.op {
        Op::Tool(call) => {
            if let Err(error) = check_directories(call) {
                return reply(id, false, Err(error));
            }
            if let Err(error) = work::checkpoint(site, call) {
                return reply(id, false, Err(error));
            }
            match &call.args {
                // No record is needed: where a job of this id was begun, its supervisor or its directory
                // has the answer.
                ToolArgs::Bash(bash) => {
                    let (replayed, result) = job::start(&storage, id, call, bash);
                    reply(id, replayed, result)
                }
                // No record is needed: a second look is harmless, and the supervisor takes the input of
                // one request once.
                ToolArgs::Job(args) => reply(id, false, job::visit(&storage, id, args)),
                ToolArgs::Sync(_) => {
                    let message = "only the host can bring the work home: send `sync` as an operation, not as a tool";
                    reply(id, false, Err(error(Code::BadRequest, message)))
                }
                _ => tool(&storage, id, call),
            }
        }
        Op::Preview(preview) => reply(id, false, look(preview).map(Outcome::Previewed)),
        Op::JobWait(wait) => reply(id, false, job::wait(&storage, wait)),
        Op::JobStop(stop) => reply(id, false, job::stop(&storage, stop)),
        Op::Setup(setup) => reply(
            id,
            false,
            setup::run(&storage, setup, site.sandbox).map(Outcome::Ready),
        ),
        Op::Sync(sync) => repeatable(&storage, id, || work::sync(site, sync).map(Outcome::Synced)),
        Op::Restore(restore) => repeatable(&storage, id, || {
            work::restore(site, id, restore).map(Outcome::Restored)
        }),
    }
}

/// Work that may be done again after it was interrupted, because it ends the same; but while its
/// answer is known it is not, because a second bundle would replace the one that is fetched.
fn repeatable(
    storage: &Storage,
    id: &str,
    work: impl FnOnce() -> Result<Outcome, ToolError>,
) -> Reply {
    let claim = match Records::open(storage).claim(id) {
        Claim::Answered(reply) => {
            return Reply {
                replayed: true,
                ..*reply
            };
        }
        Claim::Interrupted(claim) | Claim::Mine(claim) => claim,
    };
    let answer = reply(id, false, work());
    claim.answer(&answer, false);
    answer
}

fn tool(storage: &Storage, id: &str, call: &ToolCall) -> Reply {
    let records = Records::open(storage);
    let mutates = catalog::find(call.args.tool()).is_none_or(|tool| tool.mutates);
    let claim = match records.claim(id) {
        Claim::Answered(reply) => {
            return Reply {
                replayed: true,
                ..*reply
            };
        }
        Claim::Interrupted(_) if mutates => return reply(id, true, Err(interrupted(&call.args))),
        Claim::Interrupted(claim) | Claim::Mine(claim) => claim,
    };
    let tree = Tree {
        root: PathBuf::from(&call.root),
        cwd: PathBuf::from(&call.cwd),
        locks: if mutates { storage.sub("locks") } else { None },
        loaded: call.loaded.clone(),
        preview: false,
    };
    let answer = reply(
        id,
        false,
        match &call.args {
            ToolArgs::Webfetch(args) => web::fetch(storage, id, args),
            ToolArgs::Websearch(args) => web::search(storage, id, args),
            ToolArgs::Preview(args) => port::await_listener(args),
            args => tools::fs::run(&tree, args),
        }
        .map(Outcome::Done),
    );
    claim.answer(&answer, mutates);
    answer
}

/// Reads, and changes nothing; so a repeated request may look again.
fn look(preview: &Preview) -> Result<Previewed, ToolError> {
    let call = &preview.call;
    check_directories(call)?;
    let tree = Tree {
        root: PathBuf::from(&call.root),
        cwd: PathBuf::from(&call.cwd),
        ..Tree::default()
    };
    let directories = preview.paths.iter().filter(|path| Path::new(path).is_dir());
    Ok(Previewed {
        directories: directories.cloned().collect(),
        change: tools::fs::preview(&tree, &call.args),
    })
}

fn interrupted(args: &ToolArgs) -> ToolError {
    error(
        Code::Tool,
        format!(
            "The {} call was interrupted in the sandbox and its outcome is unknown: the change may or may not have been made. Read the file before you try again.",
            args.tool()
        ),
    )
}

fn check_directories(call: &ToolCall) -> Result<(), ToolError> {
    for (name, dir) in [("root", &call.root), ("cwd", &call.cwd)] {
        if !Path::new(dir).is_absolute() {
            return Err(error(
                Code::BadRequest,
                format!("{name} must be an absolute path, not `{dir}`"),
            ));
        }
    }
    Ok(())
}
