//! The binary in the sandbox: reads one request, runs one tool, prints one framed reply.
//!
//! A request comes in the environment, in a file or on stdin ([`input`]). Exactly one frame goes
//! to stdout and the exit code is 0, also for a request that cannot be read and for a panic: the
//! frame is the answer, and an exit code would only be a second, weaker one.
//!
//! Never: talk to a network beyond loopback, read stdin unless told to, or keep a file descriptor of whoever
//! started it in a process that outlives the request.
//!
//! Surprise: a command is run by a second process of this same binary (`--supervise`), which
//! outlives the request; see [`job`]. A third is git's filter (`--lfs`); see [`lfs`]. A fourth keeps a program running (`--keep`);
//! see [`keep`]. A fifth is the sandbox's end of a hosted agent's connection (`--carry`), which listens on
//! loopback; see [`carry`].

mod answer;
mod carry;
mod exclude;
mod git;
mod input;
mod job;
mod keep;
mod lfs;
mod partial;
mod port;
mod record;
mod serve;
mod setup;
mod storage;
mod web;
mod work;

use answer::{error, reply};
use protocol::{Code, Reply, frame};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// musl takes one lock for every allocation of every thread: with it, `glob` over 100,000 files takes
/// 2.4 times as long (November 2026, two processors).
#[global_allocator]
static ALLOCATOR: rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;

/// The id that the panic hook answers for.
static CURRENT: Mutex<String> = Mutex::new(String::new());

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let first = args.first().and_then(|arg| arg.to_str());
    match first {
        Some("--version") => println!(
            "opencode-runner {} {} protocol {}",
            env!("CARGO_PKG_VERSION"),
            env!("RUNNER_COMMIT"),
            protocol::VERSION
        ),
        Some("--supervise") => job::supervise(),
        Some(carry::FLAG) => carry::run(&args[1..]),
        Some(flag @ (keep::FLAG | keep::END_FLAG)) => {
            let dir = Path::new(
                args.get(1)
                    .map_or("", |dir| dir.to_str().unwrap_or_default()),
            );
            let rest = args.get(2).and_then(|arg| arg.to_str());
            if let Err(error) = keep::serve(flag, dir, rest) {
                eprintln!("opencode-runner {flag}: {}: {error}", dir.display());
                std::process::exit(1);
            }
        }
        Some(lfs::FLAG) => lfs::serve(Path::new(&args.get(1).cloned().unwrap_or_default())),
        _ => {
            answer_panics();
            let reply = match input::read(&args) {
                Ok(request) => {
                    set_current(&request.id);
                    serve::serve(&request)
                }
                Err(bad) => reply(
                    bad.id.as_deref().unwrap_or("invalid"),
                    false,
                    Err(bad.error),
                ),
            };
            print(&reply);
        }
    }
}

fn set_current(id: &str) {
    if let Ok(mut current) = CURRENT.lock() {
        *current = id.to_string();
    }
}

/// The reply as JSON, or a short refusal in its place if it is larger than the host accepts.
fn to_json(whole: &Reply) -> String {
    let text = serde_json::to_string(whole).unwrap_or_default();
    if text.len() <= protocol::MAX_REPLY && !text.is_empty() {
        return text;
    }
    let message = format!(
        "The result has {} bytes and at most {} can be returned. Ask for a part of it, for example with offset and limit.",
        text.len(),
        protocol::MAX_REPLY
    );
    serde_json::to_string(&reply(
        &whole.id,
        whole.replayed,
        Err(error(Code::Tool, message)),
    ))
    .unwrap_or_default()
}

fn print(reply: &Reply) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell if stdout is gone.
    let _ = out.write_all(frame::encode(&reply.id, &to_json(reply)).as_bytes());
    let _ = out.flush();
}

/// Turns a panic into a frame. The profile aborts on panic, so this is the last thing that runs.
fn answer_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let id = CURRENT.try_lock().map(|id| id.clone()).unwrap_or_default();
        let id = if protocol::is_id(&id) {
            id
        } else {
            "invalid".to_string()
        };
        let message = format!("The runner failed, which is a defect of it: {panic}");
        print(&reply(&id, false, Err(error(Code::Internal, message))));
        std::process::exit(0);
    }));
}
