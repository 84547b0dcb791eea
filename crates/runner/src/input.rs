//! Where a request comes from: the environment (in chunks, because Linux bounds one string), a
//! file that is deleted when it has been read, or stdin.
//!
//! Surprise: the variables are not unset here, which would need `unsafe`; whoever starts a process
//! removes them with [`is_request_variable`].

use crate::answer::error;
use protocol::{Code, ENV_REQUEST, Request, ToolError, VERSION};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;

/// Largest request in a file or on stdin: a `write` may carry a whole file.
const MAX_REQUEST: u64 = 64 * 1024 * 1024;

/// A request that could not be read, with its id if that much could.
pub(crate) struct Bad {
    pub(crate) id: Option<String>,
    pub(crate) error: ToolError,
}

/// Reads the request that the arguments point to.
pub(crate) fn read(args: &[OsString]) -> Result<Request, Bad> {
    let text = match (args.first().and_then(|arg| arg.to_str()), args.get(1)) {
        (Some("--request-file"), Some(path)) => file(Path::new(path)),
        (Some("--stdin"), None) => bounded(std::io::stdin().lock(), "stdin"),
        (None, None) => environment(),
        _ => Err("usage: opencode-runner [--request-file PATH | --stdin | --version]".to_string()),
    };
    parse(&text.map_err(|message| Bad {
        id: None,
        error: error(Code::BadRequest, message),
    })?)
}

/// True for a variable that carries a part of a request.
pub(crate) fn is_request_variable(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with(ENV_REQUEST))
}

fn environment() -> Result<String, String> {
    let chunks = (0..).map_while(|n| std::env::var(format!("{ENV_REQUEST}{n}")).ok());
    let text: String = chunks.collect();
    if text.is_empty() {
        Err(format!("there is no request: {ENV_REQUEST}0 is not set"))
    } else {
        Ok(text)
    }
}

fn file(path: &Path) -> Result<String, String> {
    let text = std::fs::File::open(path)
        .map_err(|error| format!("cannot open the request file {}: {error}", path.display()))
        .and_then(|file| bounded(file, "the request file"));
    let _ = std::fs::remove_file(path);
    text
}

fn bounded(from: impl Read, what: &str) -> Result<String, String> {
    let mut text = String::new();
    from.take(MAX_REQUEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {what}: {error}"))?;
    if text.len() as u64 > MAX_REQUEST {
        return Err(format!("{what} has more than {MAX_REQUEST} bytes"));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Request, Bad> {
    let bad = |id: Option<String>, code, message: String| Bad {
        id,
        error: error(code, message),
    };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        bad(
            None,
            Code::BadRequest,
            format!("the request is not JSON: {error}"),
        )
    })?;
    let id = value["id"]
        .as_str()
        .filter(|id| protocol::is_id(id))
        .map(str::to_string);
    if id.is_none() {
        let message =
            "the request has no valid id (letters, digits, `-` and `_`, at most 64)".to_string();
        return Err(bad(None, Code::BadRequest, message));
    }
    // Before the rest: another version may have other fields.
    if value["protocol"] != VERSION {
        let message = format!(
            "this runner speaks protocol {VERSION}, the request is for {}",
            value["protocol"]
        );
        return Err(bad(id, Code::Protocol, message));
    }
    serde_json::from_value(value).map_err(|error| {
        bad(
            id,
            Code::BadRequest,
            format!("the request cannot be understood: {error}"),
        )
    })
}
