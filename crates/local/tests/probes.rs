//! What each version of Daytona's daemon answers, as data: `probes.json` has a request in every row,
//! and the status, the media type and the body that it gets.
//!
//! The rows of 0.190 are what a daemon of that version answers that was built and run. Those of 0.216
//! are what its specification says, and where it says nothing, what 0.190 does. Rows go from top to
//! bottom in one sandbox. In a body, `"*"` stands for any value and `"..."` for any ending of a text.

mod common;

use std::collections::HashMap;

use common::{Answer, Server, until};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// Versions; none is all.
    #[serde(default)]
    of: Vec<String>,
    /// Method and path, below the toolbox of the sandbox or, from `/toolbox` on, as it is.
    send: String,
    /// A body; a string is sent as it is.
    #[serde(default)]
    body: Value,
    #[serde(default)]
    headers: HashMap<String, String>,
    status: u16,
    /// The media type; empty is none.
    #[serde(default, rename = "type")]
    kind: String,
    /// The body; absent is none.
    answer: Option<Value>,
    /// A field of the answer that later rows use as `{cmdId}`.
    keep: Option<String>,
}

const FILES: &str = "mkdir -p dir/deep; echo needle > dir/one.txt; printf 'needle\\0' > dir/binary; \
                     ln -s none dir/dangling; : > dir/two.md";

#[test]
fn every_probe_is_answered_as_that_version_does() {
    let all: Vec<Probe> =
        serde_json::from_str(include_str!("probes.json")).expect("a list of probes");
    for version in ["0.190", "0.216"] {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start_with(data.path(), &["--daemon", version]);
        let id = server.create(json!({}));
        assert_eq!(server.exec(&id, FILES), (0, String::new()));
        let mut kept = HashMap::from([("id".to_owned(), id)]);
        let mut wrong = Vec::new();
        for probe in &all {
            if probe.of.is_empty() || probe.of.iter().any(|of| of == version) {
                let answer = ask(&server, probe, &kept);
                if let Err(difference) = compare(probe, &answer) {
                    wrong.push(format!("{}: {difference}", probe.send));
                }
                if let Some(field) = &probe.keep {
                    let value = answer.json()[field].as_str().map(str::to_owned);
                    kept.insert(field.clone(), value.unwrap_or_default());
                }
            }
        }
        assert!(wrong.is_empty(), "of {version}:\n{}", wrong.join("\n"));
    }
}

fn ask(server: &Server, probe: &Probe, kept: &HashMap<String, String>) -> Answer {
    let mut line = probe.send.clone();
    for (name, value) in kept {
        line = line.replace(&format!("{{{name}}}"), value);
    }
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let path = match path.starts_with("/toolbox") {
        true => path.to_owned(),
        false => format!("/toolbox/{}{path}", kept["id"]),
    };
    let body = match &probe.body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let headers: Vec<(&str, &str)> = probe
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let send = || server.try_send_text(method, &path, body.clone(), &headers);
    let mut answer = send().expect("an answer");
    if probe.status == 410 {
        // That a command has ended shows a moment later than its input is read.
        until(&line, || {
            answer = send().expect("an answer");
            answer.status != 204
        });
    }
    answer
}

fn compare(probe: &Probe, answer: &Answer) -> Result<(), String> {
    let said = format!("{} {:?}", answer.status, answer.text);
    if answer.status != probe.status {
        return Err(format!("not {}: {said}", probe.status));
    }
    let kind = answer.headers.get("content-type");
    let kind = kind.map_or("", |kind| kind.to_str().unwrap_or_default());
    let kind = kind.split(';').next().unwrap_or_default();
    let expected = match (&probe.answer, probe.kind.as_str()) {
        (Some(Value::String(_)) | None, kind) => kind,
        (_, "") => "application/json",
        (_, kind) => kind,
    };
    if kind != expected {
        return Err(format!("type {kind:?} instead of {expected:?}: {said}"));
    }
    let is_as_expected = match &probe.answer {
        None => answer.text.is_empty(),
        Some(Value::String(text)) => fits_text(text, &answer.text),
        Some(shape) => serde_json::from_str(&answer.text).is_ok_and(|body| fits(shape, &body)),
    };
    match is_as_expected {
        true => Ok(()),
        false => Err(format!("{said} instead of {:?}", probe.answer)),
    }
}

fn fits_text(shape: &str, text: &str) -> bool {
    match shape.strip_suffix("...") {
        Some(start) => text.starts_with(start),
        None => shape == text,
    }
}

/// Whether a body has this shape: the same fields, and their values.
fn fits(shape: &Value, body: &Value) -> bool {
    match (shape, body) {
        (Value::String(any), _) if any == "*" => true,
        (Value::String(shape), Value::String(text)) => fits_text(shape, text),
        (Value::Object(shape), Value::Object(body)) => {
            shape.len() == body.len()
                && shape
                    .iter()
                    .all(|(name, shape)| body.get(name).is_some_and(|body| fits(shape, body)))
        }
        (Value::Array(shape), Value::Array(body)) => {
            shape.len() == body.len() && shape.iter().zip(body).all(|(s, b)| fits(s, b))
        }
        _ => shape == body,
    }
}
