//! The questions of `bash`: one about the directories outside the project that a command line
//! names, one about its commands.

use crate::paths::Paths;
use crate::question::{Facts, Permission, ask, inside, is_saved_output, parent};
use crate::shell::{self, Command};
use protocol::args::Bash;
use serde_json::json;

/// Commands that go somewhere and do nothing there: no rule is asked about them.
const MOVES: &[&str] = &[
    "cd",
    "chdir",
    "popd",
    "pushd",
    "push-location",
    "set-location",
];

/// Commands whose arguments are paths, beside those.
const FILES: &[&str] = &[
    "rm",
    "cp",
    "mv",
    "mkdir",
    "touch",
    "chmod",
    "chown",
    "cat",
    "get-content",
    "set-content",
    "add-content",
    "copy-item",
    "move-item",
    "remove-item",
    "new-item",
    "rename-item",
];

pub(crate) fn questions(args: &Bash, paths: &Paths, facts: &Facts) -> Vec<Permission> {
    let cwd = match args.workdir.as_deref() {
        None | Some("") => paths.cwd().to_string(),
        Some(dir) => paths.absolute(dir),
    };
    let commands = shell::commands(&args.command);
    let mut directories: Vec<String> = Vec::new();
    for path in commands.iter().flat_map(path_arguments) {
        let Some(path) = resolve(path, &cwd, paths) else {
            continue;
        };
        if paths.is_inside(&path) || is_saved_output(&path) {
            continue;
        }
        let directory = match facts.is_directory(&path) {
            true => path,
            false => parent(&path).to_string(),
        };
        add(&mut directories, directory);
    }
    if !paths.is_inside(&cwd) && !is_saved_output(&cwd) {
        add(&mut directories, cwd);
    }
    let (mut patterns, mut always) = (Vec::new(), Vec::new());
    for command in &commands {
        let name = command.words.first().map_or("", String::as_str);
        if !MOVES.contains(&name) {
            add(&mut patterns, command.text.clone());
            add(&mut always, format!("{} *", prefix(&command.words)));
        }
    }
    let mut questions = Vec::new();
    if !directories.is_empty() {
        let globs: Vec<String> = directories.iter().map(|dir| inside(dir)).collect();
        let metadata = json!({
            "command": args.command, "directories": directories, "patterns": globs,
        });
        questions.push(ask("external_directory", globs.clone(), globs, metadata));
    }
    if !patterns.is_empty() {
        let metadata = json!({ "command": args.command });
        questions.push(ask("bash", patterns, always, metadata));
    }
    questions
}

fn add(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// What a file command may be about.
fn path_arguments(command: &Command) -> impl Iterator<Item = &str> {
    let mut words = command.words.iter().map(String::as_str);
    let name = words.next().unwrap_or_default();
    let is_about_files = MOVES.contains(&name) || FILES.contains(&name);
    words
        .filter(move |_| is_about_files)
        .filter(|word| !word.starts_with('-'))
        .filter(move |word| !(name == "chmod" && word.starts_with('+')))
}

/// The path of an argument as it is written; none if it is only known when the command runs.
fn resolve(word: &str, cwd: &str, paths: &Paths) -> Option<String> {
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| word.strip_prefix(*quote)?.strip_suffix(*quote));
    let word = quoted.unwrap_or(word);
    let word = match word.strip_prefix('~') {
        Some("") => paths.home(),
        Some(rest) if rest.starts_with(['/', '\\']) => format!("{}/{}", paths.home(), &rest[1..]),
        _ => word.to_string(),
    };
    // A glob is about the directory in which it starts.
    let literal = word.split(['?', '*', '[']).next().unwrap_or_default();
    let is_dynamic =
        literal.starts_with('(') || literal.starts_with("@(") || literal.contains(['$', '`']);
    (!literal.is_empty() && !is_dynamic).then(|| paths.absolute_from(cwd, literal))
}

/// The words of a command that say what it does: `git status` of `git status --short`.
fn prefix(words: &[String]) -> String {
    let two = words
        .get(1)
        .map(|second| (words[0].as_str(), second.as_str()));
    let is_listed = |list: &str, word: &str| list.split(' ').any(|listed| listed == word);
    let count = match words.first().map(String::as_str) {
        None => 0,
        Some(_)
            if two.is_some_and(|(a, b)| {
                THREE
                    .iter()
                    .any(|(name, subs)| *name == a && is_listed(subs, b))
            }) =>
        {
            3
        }
        Some(name) if is_listed(ALWAYS_THREE, name) => 3,
        Some(name) if is_listed(TWO, name) => 2,
        Some(_) => 1,
    };
    words[..count.min(words.len())].join(" ")
}

// How many words, in OpenCode's table (1.18.33); one for all others.
const TWO: &str = "bazel brew bun cargo cdk cf cmake composer consul crictl deno docker eksctl \
    firebase flyctl git go gradle helm heroku hugo ip kind kubectl kustomize make mc minikube \
    mongosh mysql mvn ng npm nvm nx openssl pip pipenv pnpm poetry podman psql pulumi pyenv python \
    rake rbenv redis-cli rustup serverless skaffold sls sst swift systemctl terraform tmux turbo \
    ufw vault vercel volta wp yarn";
const ALWAYS_THREE: &str = "aws az doctl gcloud gh sfdx";
const THREE: &[(&str, &str)] = &[
    ("bun", "run x"),
    ("cargo", "add run"),
    ("consul", "kv"),
    ("deno", "task"),
    ("docker", "builder compose container image network volume"),
    ("eksctl", "create"),
    ("git", "config remote stash"),
    ("ip", "addr link netns route"),
    ("kind", "create"),
    ("kubectl", "kustomize rollout"),
    ("mc", "admin"),
    ("npm", "exec init run view"),
    ("openssl", "req x509"),
    ("pnpm", "dlx exec run"),
    ("podman", "container image"),
    ("pulumi", "stack"),
    ("terraform", "workspace"),
    ("vault", "auth kv"),
    ("yarn", "dlx run"),
];
