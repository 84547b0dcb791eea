//! The questions OpenCode's own tool would ask, in its order and its words (1.18.33, November
//! 2026), so that a user's rules keep their effect. "Outside the project" means outside the
//! project's directory in the sandbox.
//!
//! Some of them show or depend on what is in the sandbox: the diff of an edit, and whether a path
//! outside the project is a directory. That costs a request, so it is only looked up when
//! [`crate::rules`] say that OpenCode will do more than nod.

use crate::bash;
use crate::paths::Paths;
use crate::question::{Facts, Permission, ask, inside, is_saved_output, parent};
use protocol::args::Bash;
use protocol::{Change, ToolArgs};
use serde_json::{Value, json};
use std::cell::RefCell;

/// What happens before a call, in order.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// A question.
    Ask(Permission),
    /// The tool refuses here, so nothing more is asked.
    Refuse(String),
}

/// What must be known of the sandbox to ask as OpenCode does.
#[derive(Debug)]
pub struct Needed {
    /// Paths that may be directories.
    pub paths: Vec<String>,
    /// All questions that may come of it.
    pub questions: Vec<Permission>,
}

/// None if the questions are the same whatever is in the sandbox.
pub fn needed(args: &ToolArgs, paths: &Paths) -> Option<Needed> {
    let questions = |facts: &Facts| -> Vec<Permission> {
        let asked = steps(args, paths, facts).into_iter();
        asked
            .filter_map(|step| match step {
                Step::Ask(question) => Some(question),
                Step::Refuse(_) => None,
            })
            .collect()
    };
    let files = Facts::Files(RefCell::default());
    let mut all = questions(&files);
    all.extend(questions(&Facts::Directories));
    let Facts::Files(wanted) = files else {
        return None;
    };
    let wanted = wanted.into_inner();
    let is_edit = all.iter().any(|question| question.permission == "edit");
    (is_edit || !wanted.is_empty()).then_some(Needed {
        paths: wanted,
        questions: all,
    })
}

/// All questions of one call, in order. A call that its tool refuses anyway asks nothing.
pub fn steps(args: &ToolArgs, paths: &Paths, facts: &Facts) -> Vec<Step> {
    let questions = match args {
        ToolArgs::Read(a) => {
            let path = written(paths, &a.file_path);
            let own = ask("read", vec![relative(paths, &path)], any(), json!({}));
            let external = outside(paths, &path, |path| facts.is_directory(path));
            external.into_iter().chain([own]).collect()
        }
        ToolArgs::Write(a) => return edit(&a.file_path, paths, facts),
        ToolArgs::Edit(a) if a.file_path.is_empty() || a.old_string == a.new_string => Vec::new(),
        ToolArgs::Edit(a) => return edit(&a.file_path, paths, facts),
        ToolArgs::ApplyPatch(a) => return patch(&a.patch_text, paths, facts),
        ToolArgs::Glob(a) => {
            let own = ask(
                "glob",
                vec![a.pattern.clone()],
                any(),
                object(&[("pattern", Some(&a.pattern)), ("path", a.path.as_ref())]),
            );
            let path = a.path.as_ref().map(|path| written(paths, path));
            let external = path.and_then(|path| outside(paths, &path, |_| true));
            [own].into_iter().chain(external).collect()
        }
        ToolArgs::Grep(a) if a.pattern.is_empty() => Vec::new(),
        ToolArgs::Grep(a) => {
            let metadata = object(&[
                ("pattern", Some(&a.pattern)),
                ("path", a.path.as_ref()),
                ("include", a.include.as_ref()),
            ]);
            let own = ask("grep", vec![a.pattern.clone()], any(), metadata);
            let path = a.path.as_ref().map(|path| written(paths, path));
            let external =
                path.and_then(|path| outside(paths, &path, |path| facts.is_directory(path)));
            [own].into_iter().chain(external).collect()
        }
        ToolArgs::Webfetch(a) => {
            let mut metadata = json!({ "url": a.url, "format": a.format });
            if let Some(timeout) = a.timeout {
                metadata["timeout"] = json!(timeout);
            }
            vec![ask("webfetch", vec![a.url.clone()], any(), metadata)]
        }
        ToolArgs::Websearch(a) => {
            let mut metadata = json!(a);
            metadata["provider"] = json!("exa");
            vec![ask("websearch", vec![a.query.clone()], any(), metadata)]
        }
        ToolArgs::Preview(a) => {
            let port = a.port.to_string();
            vec![ask("preview", vec![port], any(), json!({ "port": a.port }))]
        }
        ToolArgs::Sync(_) => vec![ask("sync", any(), any(), json!({}))],
        ToolArgs::Bash(a) => bash::questions(a, paths, facts),
        // What is typed into a shell is a command.
        ToolArgs::Job(a) => a.input.as_ref().map_or_else(Vec::new, |input| {
            let typed = Bash {
                command: input.clone(),
                timeout: None,
                workdir: None,
                background: None,
            };
            bash::questions(&typed, paths, facts)
        }),
    };
    questions.into_iter().map(Step::Ask).collect()
}

fn any() -> Vec<String> {
    vec!["*".into()]
}

/// An object without the fields that are not there.
fn object(fields: &[(&str, Option<&String>)]) -> Value {
    fields
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), Value::String((*value)?.clone()))))
        .collect()
}

/// An absolute path as it was written, a relative one made absolute.
fn written(paths: &Paths, path: &str) -> String {
    match path.starts_with('/') {
        true => path.into(),
        false => paths.absolute(path),
    }
}

fn relative(paths: &Paths, path: &str) -> String {
    paths.relative(&paths.absolute(path))
}

/// `write` and `edit`.
fn edit(file: &str, paths: &Paths, facts: &Facts) -> Vec<Step> {
    let path = written(paths, file);
    let mut steps: Vec<Step> = outside(paths, &path, |_| false)
        .map(Step::Ask)
        .into_iter()
        .collect();
    let diff = match facts.change() {
        Some(Err(error)) => {
            steps.push(Step::Refuse(error.message.clone()));
            return steps;
        }
        Some(Ok(change)) => &change.diff,
        None => "",
    };
    let metadata = json!({ "filepath": path, "diff": diff });
    let own = ask("edit", vec![relative(paths, &path)], any(), metadata);
    steps.push(Step::Ask(own));
    steps
}

/// `apply_patch`: sections are looked at one by one, and the patch is refused at the first that
/// does not fit.
fn patch(text: &str, paths: &Paths, facts: &Facts) -> Vec<Step> {
    let sections = sections(text);
    let refusal = facts.change().and_then(|change| change.as_ref().err());
    let refused_at = refusal.map(|error| {
        let section = error.metadata.as_ref().and_then(|m| m["section"].as_u64());
        section.map_or(0, |section| section as usize + 1)
    });
    let mut steps: Vec<Step> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        if refused_at.is_some_and(|at| index >= at) {
            break;
        }
        let is_last = refused_at == Some(index + 1);
        let target = section.target.filter(|_| !is_last);
        for path in [Some(section.path), target].into_iter().flatten() {
            let path = paths.absolute(path);
            steps.extend(outside(paths, &path, |_| false).map(Step::Ask));
        }
        names.push(relative(paths, section.path));
    }
    if let Some(error) = refusal {
        steps.push(Step::Refuse(error.message.clone()));
    } else if !names.is_empty() {
        let shown = match facts.change() {
            Some(Ok(change)) => change.clone(),
            _ => Change::default(),
        };
        let metadata = json!({
            "filepath": names.join(", "), "diff": shown.diff, "files": shown.files,
        });
        steps.push(Step::Ask(ask("edit", names, any(), metadata)));
    }
    steps
}

/// The question about a path outside the project: about itself if it is a directory, else about
/// the one it is in.
fn outside(paths: &Paths, path: &str, is_directory: impl Fn(&str) -> bool) -> Option<Permission> {
    let tidy = paths.absolute(path);
    if paths.is_inside(&tidy) || is_saved_output(&tidy) {
        return None;
    }
    let dir = match is_directory(&tidy) {
        true => path,
        false => parent(path),
    };
    let patterns = vec![inside(dir)];
    Some(ask(
        "external_directory",
        patterns.clone(),
        patterns,
        json!({ "filepath": path, "parentDir": dir }),
    ))
}

/// A section of a patch: the file it is about, and where that moves.
struct Section<'a> {
    path: &'a str,
    target: Option<&'a str>,
}

fn sections(patch: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in patch.lines() {
        let path = ["*** Add File:", "*** Update File:", "*** Delete File:"]
            .iter()
            .find_map(|header| line.strip_prefix(header));
        if let Some(path) = path {
            let path = path.trim();
            sections.push(Section { path, target: None });
        } else if let (Some(path), Some(last)) =
            (line.strip_prefix("*** Move to:"), sections.last_mut())
        {
            last.target = Some(path.trim());
        }
    }
    sections
}
