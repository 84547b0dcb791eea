//! The questions OpenCode's own tool would ask, in its order and its words (1.18.33, November
//! 2026), so that a user's rules keep their effect. "Outside the project" means outside the
//! project's directory in the sandbox.
//!
//! Not yet as OpenCode does it: the diff in an edit's question, and `external_directory` for paths
//! inside a command line. A command is split conservatively, so that a rule about `rm` also sees
//! the `rm` in `true && rm x`.

use crate::edge::Permission;
use crate::paths::Paths;
use protocol::ToolArgs;
use serde_json::{Value, json};

/// All questions of one call, in order.
pub(crate) fn questions(args: &ToolArgs, paths: &Paths) -> Vec<Permission> {
    match args {
        ToolArgs::Read(a) => {
            let path = paths.absolute(&a.file_path);
            let own = ask("read", vec![relative(paths, &path)], any(), json!({}));
            outside(paths, &path).into_iter().chain([own]).collect()
        }
        ToolArgs::Write(a) => edit(paths, &[paths.absolute(&a.file_path)]),
        ToolArgs::Edit(a) => edit(paths, &[paths.absolute(&a.file_path)]),
        ToolArgs::ApplyPatch(a) => {
            let files: Vec<String> = patched(&a.patch_text)
                .map(|path| paths.absolute(path))
                .collect();
            edit(paths, &files)
        }
        ToolArgs::Glob(a) => {
            let own = ask(
                "glob",
                vec![a.pattern.clone()],
                any(),
                object(&[("pattern", Some(&a.pattern)), ("path", a.path.as_ref())]),
            );
            let dir = a
                .path
                .as_ref()
                .and_then(|path| outside_directory(paths, &paths.absolute(path)));
            [own].into_iter().chain(dir).collect()
        }
        ToolArgs::Grep(a) => {
            let metadata = object(&[
                ("pattern", Some(&a.pattern)),
                ("path", a.path.as_ref()),
                ("include", a.include.as_ref()),
            ]);
            let own = ask("grep", vec![a.pattern.clone()], any(), metadata);
            let dir = a
                .path
                .as_ref()
                .and_then(|path| outside_directory(paths, &paths.absolute(path)));
            [own].into_iter().chain(dir).collect()
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
        ToolArgs::Bash(a) => {
            let dir = a
                .workdir
                .as_ref()
                .and_then(|path| outside_directory(paths, &paths.absolute(path)));
            let commands = commands(&a.command);
            let always = commands.iter().map(|command| prefix(command)).collect();
            let own = ask("bash", commands, always, json!({ "command": a.command }));
            dir.into_iter()
                .chain([own].into_iter().filter(|own| !own.patterns.is_empty()))
                .collect()
        }
    }
}

fn ask(
    permission: &str,
    patterns: Vec<String>,
    always: Vec<String>,
    metadata: Value,
) -> Permission {
    Permission {
        permission: permission.into(),
        patterns,
        always,
        metadata,
    }
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

fn relative(paths: &Paths, path: &str) -> String {
    paths.relative(path)
}

fn edit(paths: &Paths, files: &[String]) -> Vec<Permission> {
    let mut questions: Vec<Permission> = Vec::new();
    for question in files.iter().filter_map(|path| outside(paths, path)) {
        if !questions.contains(&question) {
            questions.push(question);
        }
    }
    let names: Vec<String> = files.iter().map(|path| relative(paths, path)).collect();
    let filepath = match files {
        [one] => one.clone(),
        _ => names.join(", "),
    };
    questions.push(ask(
        "edit",
        names,
        any(),
        json!({ "filepath": filepath, "diff": "" }),
    ));
    questions
}

/// The question for a file outside the project: about its directory.
fn outside(paths: &Paths, path: &str) -> Option<Permission> {
    if paths.is_inside(path) || is_saved_output(path) {
        return None;
    }
    let parent = path.rsplit_once('/').map_or(
        "/",
        |(parent, _)| if parent.is_empty() { "/" } else { parent },
    );
    Some(external(path, parent))
}

/// The question for a directory outside the project.
fn outside_directory(paths: &Paths, path: &str) -> Option<Permission> {
    (!paths.is_inside(path) && !is_saved_output(path)).then(|| external(path, path))
}

fn external(path: &str, dir: &str) -> Permission {
    let patterns = vec![format!("{}/*", dir.trim_end_matches('/'))];
    ask(
        "external_directory",
        patterns.clone(),
        patterns,
        json!({ "filepath": path, "parentDir": dir }),
    )
}

/// Output of a command that was cut and saved by the runner: OpenCode allows its own such files.
fn is_saved_output(path: &str) -> bool {
    path.split('/')
        .any(|part| part == ".opencode-daytona" || part.starts_with(".opencode-daytona-"))
        && path.contains("/jobs/")
}

/// Files that a patch names.
fn patched(patch: &str) -> impl Iterator<Item = &str> {
    patch.lines().filter_map(|line| {
        [
            "*** Add File: ",
            "*** Update File: ",
            "*** Delete File: ",
            "*** Move to: ",
        ]
        .iter()
        .find_map(|header| line.strip_prefix(header))
        .map(str::trim)
    })
}

/// Substitutions inside substitutions that are looked into: nobody writes more, and the stack ends.
const MAX_NESTING: usize = 16;

/// The simple commands of a command line: cut at every operator outside quotes, and what stands in
/// `$(…)`, backticks and subshells is listed beside what holds it. Rather one pattern too many: an
/// extra pattern can only make a rule hold more often.
fn commands(line: &str) -> Vec<String> {
    commands_within(line, MAX_NESTING)
}

fn commands_within(line: &str, depth: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut nested: Vec<String> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut quote: Option<char> = None;
    let mut push = |text: &mut String| {
        let command = text.trim().to_string();
        if !command.is_empty() && !found.contains(&command) {
            found.push(command);
        }
        text.clear();
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') => (quote, current) = (None, current + "'"),
            (Some('\''), c) => current.push(c),
            (_, '\\') => {
                current.push(c);
                current.extend(chars.next());
            }
            (Some('"'), '"') => (quote, current) = (None, current + "\""),
            (None, '\'' | '"') => (quote, current) = (Some(c), current + &c.to_string()),
            (_, '`') => {
                let inner: String = chars.by_ref().take_while(|c| *c != '`').collect();
                current.push_str(&format!("`{inner}`"));
                nested.push(inner);
            }
            (_, '$') if chars.peek() == Some(&'(') => {
                chars.next();
                let inner = until_close(&mut chars);
                current.push_str(&format!("$({inner})"));
                nested.push(inner);
            }
            (None, '<' | '>') if chars.peek() == Some(&'(') => {
                chars.next();
                let inner = until_close(&mut chars);
                current.push_str(&format!("{c}({inner})"));
                nested.push(inner);
            }
            // `2>&1` and `&>file` are redirections, not operators.
            (None, '&') if current.ends_with('>') || chars.peek() == Some(&'>') => current.push(c),
            (None, ';' | '\n' | '|' | '&' | '(' | ')' | '{' | '}') => push(&mut current),
            (_, c) => current.push(c),
        }
    }
    push(&mut current);
    for inner in nested.iter().filter(|_| depth > 0) {
        for command in commands_within(inner, depth - 1) {
            if !found.contains(&command) {
                found.push(command);
            }
        }
    }
    found
        .into_iter()
        .map(|command| strip_keyword(&command).to_string())
        .filter(|c| !c.is_empty() && !is_cd(c))
        .collect()
}

/// Text up to the parenthesis that closes the one just read.
fn until_close(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let (mut depth, mut inner) = (1, String::new());
    for c in chars.by_ref() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        inner.push(c);
    }
    inner
}

/// `then rm x` is about `rm x`.
fn strip_keyword(command: &str) -> &str {
    let mut command = command.trim();
    while let Some((first, rest)) = command.split_once(char::is_whitespace) {
        if !matches!(
            first,
            "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "!" | "time"
        ) {
            break;
        }
        command = rest.trim_start();
    }
    if matches!(command, "fi" | "done" | "esac" | "then" | "do" | "else") {
        ""
    } else {
        command
    }
}

/// `cd` alone asks for nothing, as in OpenCode.
fn is_cd(command: &str) -> bool {
    command == "cd" || command.starts_with("cd ")
}

/// What "always allow" would add: the command with its subcommand, where it has one.
fn prefix(command: &str) -> String {
    let mut words = command
        .split_whitespace()
        .skip_while(|word| is_assignment(word));
    let Some(first) = words.next() else {
        return format!("{command} *");
    };
    let sub = match first {
        "npm" | "pnpm" | "yarn" | "bun" => match words.next() {
            Some("run") => words.next().map(|script| format!("run {script}")),
            other => other.map(str::to_string),
        },
        "git" | "cargo" | "go" | "docker" | "kubectl" | "apt" | "apt-get" | "pip" | "brew" => {
            words.next().map(str::to_string)
        }
        _ => None,
    };
    match sub {
        Some(sub) if !sub.starts_with('-') => format!("{first} {sub} *"),
        _ => format!("{first} *"),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(tool: &str, args: Value) -> Vec<(String, Vec<String>)> {
        let paths = Paths::new("/w", "/w/sub", "/p");
        let args = tools::catalog::parse(tool, &args).expect("valid");
        questions(&args, &paths)
            .into_iter()
            .map(|q| (q.permission, q.patterns))
            .collect()
    }

    fn expect(tool: &str, args: Value, expected: &[(&str, &[&str])]) {
        let expected: Vec<(String, Vec<String>)> = expected
            .iter()
            .map(|(p, patterns)| {
                (
                    p.to_string(),
                    patterns.iter().map(|s| s.to_string()).collect(),
                )
            })
            .collect();
        assert_eq!(of(tool, args.clone()), expected, "{tool} {args}");
    }

    #[test]
    fn each_tool_asks_what_opencodes_own_asks() {
        expect("read", json!({ "filePath": "a" }), &[("read", &["sub/a"])]);
        expect(
            "read",
            json!({ "filePath": "/etc/x" }),
            &[("external_directory", &["/etc/*"]), ("read", &["../etc/x"])],
        );
        expect(
            "write",
            json!({ "filePath": "/p/a", "content": "" }),
            &[("edit", &["a"])],
        );
        expect(
            "edit",
            json!({ "filePath": "/x", "oldString": "a", "newString": "b" }),
            &[("external_directory", &["/*"]), ("edit", &["../x"])],
        );
        expect(
            "apply_patch",
            json!({ "patchText": "*** Begin Patch\n*** Add File: a\n+x\n*** Delete File: /p/b\n*** End Patch" }),
            &[("edit", &["sub/a", "b"])],
        );
        expect(
            "glob",
            json!({ "pattern": "*.rs", "path": "/etc" }),
            &[("glob", &["*.rs"]), ("external_directory", &["/etc/*"])],
        );
        expect("grep", json!({ "pattern": "x" }), &[("grep", &["x"])]);
        expect(
            "bash",
            json!({ "command": "ls", "workdir": "/etc" }),
            &[("external_directory", &["/etc/*"]), ("bash", &["ls"])],
        );
    }

    #[test]
    fn a_rule_about_a_command_sees_it_wherever_it_stands() {
        for (line, expected) in [
            (
                "git status --short | head -1 && npm run build; echo hi > /tmp/zz; FOO=1 ls -la",
                &[
                    "git status --short",
                    "head -1",
                    "npm run build",
                    "echo hi > /tmp/zz",
                    "FOO=1 ls -la",
                ][..],
            ),
            ("cd x && rm -rf y", &["rm -rf y"]),
            ("echo 'a; rm b'", &["echo 'a; rm b'"]),
            ("echo $(rm a)", &["echo $(rm a)", "rm a"]),
            ("echo \"`rm a`\"", &["echo \"`rm a`\"", "rm a"]),
            ("(rm a) 2>&1", &["rm a", "2>&1"]),
            ("if true; then rm a; fi", &["true", "rm a"]),
            ("a & b", &["a", "b"]),
            ("diff <(rm a) b", &["diff <(rm a) b", "rm a"]),
        ] {
            assert_eq!(commands(line), expected, "{line}");
        }
    }

    #[test]
    fn a_command_nested_without_end_is_not_followed_to_its_end() {
        for (open, close) in [("$(", ")"), ("<(", ")"), ("`", "`")] {
            let line = format!("{}rm x{}", open.repeat(20_000), close.repeat(20_000));
            assert!(!commands(&line).is_empty());
        }
        assert!(commands("echo $(a $(b $(rm x)))").contains(&"rm x".to_string()));
    }

    #[test]
    fn always_allows_a_prefix() {
        for (command, expected) in [
            ("git status --short", "git status *"),
            ("npm run build", "npm run build *"),
            ("FOO=1 ls -la", "ls *"),
            ("git --version", "git *"),
        ] {
            assert_eq!(prefix(command), expected);
        }
    }

    proptest! {
        #[test]
        fn no_command_line_panics_or_hides_all(line in "[a-z;&|()`'\"$<>{} \\\\\n]{0,60}") {
            commands(&line);
        }
    }
}
