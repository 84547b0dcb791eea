//! `opencode-daytona-sandbox doctor` and `init`: is this project set up so that nothing of the agent
//! runs on the host, and does the sandbox service answer? What is wrong in OpenCode's configuration
//! can be corrected; `init` is the same, for a project that does not name the plugin yet.
//!
//! Nothing that is printed holds a key: it leaves the core by a call (`edge.rs`), as everything does.

mod files;

use crate::edge::{Cli, CliDone};
use crate::guard::SERVED;
use crate::secrets::Secrets;
use daytona::Client;
use files::{File, PACKAGE};
use host::Host;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(crate) const HELP: &str = "\
Checks that OpenCode works in a Daytona sandbox and nowhere else.

Usage: opencode-daytona-sandbox <command>

  init            add the plugin to opencode.json here, with the denials that hold if it does not load
  doctor          check this project: configuration, version, key, API, snapshot, runners
  doctor --fix    correct what can be corrected in OpenCode's configuration
  snapshot create NAME
                  make a Daytona snapshot with this project in it; its later sessions start from that
                  and are sent only the difference
      --run COMMAND   run this in it first, for example 'npm ci'
      --minutes N     how long that may take (30)
      --replace       then delete the snapshot that this one takes the place of
  snapshot list   the snapshot that sessions of this project start from
  snapshot forget let sessions start from the default again
  help, --help    this text
  --version       the version
";
/// A label that no sandbox carries: a list by it only shows whether the key is accepted.
const NOBODY: (&str, &str) = ("opencode-daytona-sandbox-doctor", "none");
/// The program that stands in for a shell when the plugin does not load.
pub(crate) const NO_SHELL: &str = "false";

/// What was found about one matter.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
    fix: Option<Fix>,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Good,
    /// Worth knowing.
    Note,
    Bad,
}

/// A correction of OpenCode's configuration.
#[derive(Clone, PartialEq)]
enum Fix {
    Add,
    Rename,
    Pin,
    Deny(Vec<&'static str>),
    Shell,
    Undo,
}

/// Where everything is.
struct Setup<'a> {
    host: &'a Rc<dyn Host>,
    secrets: &'a Secrets,
    assets: &'a str,
    shell: &'a str,
    directory: String,
    root: String,
}

/// Runs the command line program.
pub(crate) async fn run(
    host: &Rc<dyn Host>,
    secrets: &Secrets,
    assets: &str,
    shell: &str,
    cli: Cli,
) -> CliDone {
    let done = |output: String, exit| CliDone { output, exit };
    let args: Vec<&str> = cli.args.iter().map(String::as_str).collect();
    let fix = match args[..] {
        ["init"] | ["doctor", "--fix"] => true,
        ["doctor"] => false,
        ["--version" | "-V"] => return done(format!("{VERSION}\n"), 0),
        ["help" | "--help" | "-h"] | [] => return done(HELP.into(), 0),
        _ => {
            return done(
                format!("There is no command `{}`.\n\n{HELP}", args.join(" ")),
                2,
            );
        }
    };
    let setup = Setup {
        host,
        secrets,
        assets,
        shell,
        root: root(host, &cli.directory).await,
        directory: cli.directory,
    };
    let (mut output, mut findings) = (format!("{PACKAGE} {VERSION}\n\n"), setup.examine().await);
    if fix {
        let fixes: Vec<Fix> = findings
            .iter()
            .filter_map(|finding| finding.fix.clone())
            .collect();
        if !fixes.is_empty() {
            match setup.correct(&fixes).await {
                Ok(path) => writeln!(output, "Changed {path}.\n").expect("a string takes all"),
                Err(why) => return done(format!("{output}Nothing was changed: {why}\n"), 1),
            }
            findings = setup.examine().await;
        }
    }
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    for finding in &findings {
        let verdict = match finding.verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Bad => "BAD",
        };
        writeln!(output, "{verdict:<5} {:<10} {}", finding.what, finding.text)
            .expect("a string takes all");
    }
    let fixable = findings
        .iter()
        .filter(|finding| finding.fix.is_some())
        .count();
    let bad = count(Verdict::Bad);
    output += match bad {
        0 => "\nEverything is in place.\n".to_string(),
        1 => "\n1 problem.\n".to_string(),
        bad => format!("\n{bad} problems.\n"),
    }
    .as_str();
    if fixable > 0 {
        output += &format!("`npx {PACKAGE} doctor --fix` corrects {fixable} of the above.\n");
    }
    done(output, i32::from(bad > 0))
}

/// The plugin's options, as OpenCode's configuration of a directory has them; null where nothing names
/// the plugin.
pub(crate) async fn options(
    host: &Rc<dyn Host>,
    secrets: &Secrets,
    assets: &str,
    directory: &str,
) -> Result<Value, String> {
    let setup = Setup {
        host,
        secrets,
        assets,
        shell: "",
        root: root(host, directory).await,
        directory: directory.into(),
    };
    let files = setup.files().await?;
    let directories = setup.directories(&files).await;
    let mut entries = files.iter().rev();
    let entry = entries.find_map(|file| file.entry("plugin", &directories));
    Ok(entry.map_or(Value::Null, |entry| entry.options))
}

/// The project's root: the nearest directory with a `.git`, else this one.
async fn root(host: &Rc<dyn Host>, directory: &str) -> String {
    let mut dir = directory;
    loop {
        let names = host.list_dir(dir).await.unwrap_or_default();
        if names.iter().any(|name| name == ".git") {
            return dir.to_string();
        }
        match dir.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => dir = parent,
            _ => return directory.to_string(),
        }
    }
}

impl Setup<'_> {
    fn env(&self, name: &str) -> Option<String> {
        self.host.env(name).filter(|value| !value.is_empty())
    }

    fn home(&self) -> String {
        self.env("HOME")
            .or_else(|| self.env("USERPROFILE"))
            .unwrap_or_default()
    }

    async fn exists(&self, path: &str) -> bool {
        self.host.file_size(path).await.is_ok()
    }

    /// OpenCode's configuration files that are there, weakest first.
    async fn files(&self) -> Result<Vec<File>, String> {
        let config = self
            .env("XDG_CONFIG_HOME")
            .unwrap_or_else(|| format!("{}/.config", self.home()));
        let mut found = Vec::new();
        for place in files::places(
            &config,
            self.env("OPENCODE_CONFIG"),
            &self.root,
            &self.directory,
        ) {
            found.extend(File::read(&**self.host, &place).await?);
        }
        Ok(found)
    }

    /// Entries of `plugin` that are directories which hold this package.
    async fn directories(&self, files: &[File]) -> Vec<String> {
        let mut ours = Vec::new();
        for spec in files.iter().flat_map(File::directories) {
            let dir = files::directory(&spec).unwrap_or_default();
            if self.version_in(dir).await.is_some() {
                ours.push(spec);
            }
        }
        ours
    }

    /// The version of this package in a directory, if it is this package.
    async fn version_in(&self, dir: &str) -> Option<String> {
        let text = self
            .host
            .read_file(&format!("{dir}/package.json"))
            .await
            .ok()?;
        let package: Value = serde_json::from_slice(&text).ok()?;
        let ours = package["name"] == PACKAGE;
        package["version"]
            .as_str()
            .filter(|_| ours)
            .map(str::to_string)
    }

    async fn examine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |what, verdict, text: String, fix| {
            findings.push(Finding {
                what,
                verdict,
                text,
                fix,
            })
        };
        let files = match self.files().await {
            Ok(files) => files,
            Err(why) => {
                say(
                    "config",
                    Verdict::Bad,
                    format!("{why}. OpenCode does not start with it: correct the file."),
                    None,
                );
                return findings;
            }
        };
        let directories = self.directories(&files).await;
        let named = files
            .iter()
            .rev()
            .find_map(|file| Some((file, file.entry("plugin", &directories)?)));
        let misnamed = files
            .iter()
            .find(|file| file.entry("plugins", &directories).is_some());
        let mut options = Value::Null;
        match (&named, misnamed) {
            (Some((file, entry)), _) => {
                options = entry.options.clone();
                say("plugin", Verdict::Good, format!("{} names {}", file.path, entry.spec), None);
                let (verdict, text, fix) = self.version(&entry.spec).await;
                say("version", verdict, text, fix);
            }
            (None, Some(file)) => say(
                "plugin",
                Verdict::Bad,
                format!("{} names it under `plugins`, which OpenCode ignores: the key is `plugin`.", file.path),
                Some(Fix::Rename),
            ),
            (None, None) => say(
                "plugin",
                Verdict::Bad,
                "No configuration file of OpenCode names it, so the agent's tools run on this machine.".into(),
                Some(Fix::Add),
            ),
        }

        let all = files::merged(&files);
        let (open, ruled) = denials(&all);
        if open.is_empty() {
            say(
                "denials",
                Verdict::Good,
                "If the plugin does not load, OpenCode has no tools for this machine.".into(),
                None,
            );
        } else {
            let text = format!(
                "If the plugin does not load, these run on this machine: {}.",
                open.join(", ")
            );
            say("denials", Verdict::Bad, text, Some(Fix::Deny(open)));
        }
        if !ruled.is_empty() {
            let text = format!(
                "Your own rules for {} hold in the sandbox; if the plugin does not load, they are all that guards this machine.",
                ruled.join(", ")
            );
            say("denials", Verdict::Note, text, None);
        }
        match all.get("shell").and_then(Value::as_str) {
            Some(NO_SHELL) => say("shell", Verdict::Good, "If the plugin does not load, `!command` runs nothing.".into(), None),
            Some(_) => say("shell", Verdict::Note, "You name a shell: if the plugin does not load, `!command` runs in it on this machine.".into(), None),
            None => say(
                "shell",
                Verdict::Bad,
                "If the plugin does not load, `!command` runs on this machine.".into(),
                Some(Fix::Shell),
            ),
        }

        match all.get("snapshot") {
            Some(Value::Bool(false)) => say(
                "undo",
                Verdict::Good,
                "If the plugin does not load, undo and redo write no file.".into(),
                None,
            ),
            _ => say(
                "undo",
                Verdict::Bad,
                "If the plugin does not load, undo and redo of messages write files of this machine."
                    .into(),
                Some(Fix::Undo),
            ),
        }

        for (what, good, text) in self.package().await {
            say(
                what,
                if good { Verdict::Good } else { Verdict::Bad },
                text,
                None,
            );
        }
        for (what, good, text) in self.service(&options).await {
            say(
                what,
                if good { Verdict::Good } else { Verdict::Bad },
                text,
                None,
            );
        }
        findings
    }

    /// Is the version named, and is it the one that OpenCode has?
    async fn version(&self, spec: &str) -> (Verdict, String, Option<Fix>) {
        if let Some(dir) = files::directory(spec) {
            return match self.version_in(dir).await {
                Some(version) => (Verdict::Good, format!("{version}, from a directory"), None),
                None => (
                    Verdict::Bad,
                    format!("{dir} does not hold {PACKAGE}."),
                    None,
                ),
            };
        }
        let Some((_, wanted)) = spec.rsplit_once('@').filter(|(name, _)| !name.is_empty()) else {
            return (
                Verdict::Bad,
                "No version is named: OpenCode stays with the first one that it installs.".into(),
                Some(Fix::Pin),
            );
        };
        let cache = self
            .env("XDG_CACHE_HOME")
            .unwrap_or_else(|| format!("{}/.cache", self.home()));
        let dir = format!("{cache}/opencode/packages/{spec}/node_modules/{PACKAGE}");
        match self.version_in(&dir).await {
            Some(version) => (Verdict::Good, format!("{version} is installed"), None),
            None => (
                Verdict::Note,
                format!("{wanted} is not installed yet: OpenCode does so when it starts."),
                None,
            ),
        }
    }

    /// Is this package complete?
    async fn package(&self) -> Vec<(&'static str, bool, String)> {
        let index = self
            .host
            .read_file(&format!("{}/runners.json", self.assets))
            .await
            .unwrap_or_default();
        let index: Value = serde_json::from_slice(&index).unwrap_or_default();
        let mut missing = Vec::new();
        let machines: Vec<String> = index
            .as_object()
            .map(|index| index.keys().cloned().collect())
            .unwrap_or_default();
        for (_, runner) in index.as_object().into_iter().flatten() {
            let file = runner["file"].as_str().unwrap_or_default();
            if !self.exists(&format!("{}/{file}", self.assets)).await {
                missing.push(file.to_string());
            }
        }
        if !self.exists(self.shell).await {
            missing.push("sandbox-shell".into());
        }
        let complete = missing.is_empty() && !machines.is_empty();
        let package = match complete {
            true => format!("complete, with runners for {}", machines.join(" and ")),
            false => format!(
                "not complete ({}): install it again",
                if missing.is_empty() {
                    "runners.json".into()
                } else {
                    missing.join(", ")
                }
            ),
        };
        let git = match sync::git_version(&**self.host, &self.directory).await {
            Ok(said) if !said.is_empty() => {
                match sync::ground(&**self.host, &self.directory).await {
                    Err(error) => (false, error.to_string()),
                    Ok(_) => (true, said),
                }
            }
            Err(error @ sync::Error::OldGit { .. }) => (false, error.to_string()),
            _ => (
                false,
                "git cannot be run: install it, it carries your files into the sandbox.".into(),
            ),
        };
        vec![("package", complete, package), ("git", git.0, git.1)]
    }

    /// Does the service answer, and has it what the options name?
    async fn service(&self, options: &Value) -> Vec<(&'static str, bool, String)> {
        let config = self.secrets.settings(&**self.host, options, &self.root);
        let config = match config.await {
            Ok(config) => config,
            Err(error) => return vec![("options", false, error.to_string())],
        };
        let mut found = vec![(
            "options",
            true,
            "options, environment and .env are understood".to_string(),
        )];
        let url = config.settings.api_url.clone();
        if is_local(&url) {
            found.push(match self.in_path("bwrap").await {
                true => ("local", true, "bubblewrap is installed".into()),
                false => ("local", false, "daytona-local isolates sandboxes with bubblewrap, which is not installed: `sudo apt-get install bubblewrap`.".into()),
            });
        }
        if let Some(proxy) = host::proxy::of(&url, |name| self.host.env(name)) {
            let how = match self.host.uses_proxies() {
                true => "and so does this program",
                false => "and this program does not: what it finds is without the proxy",
            };
            let text = format!(
                "OpenCode goes through {}, which {} names, {how}",
                proxy.address, proxy.variable
            );
            found.push(("proxy", true, text));
        }
        let client = Client::new(Rc::clone(self.host), config.settings.clone());
        let nobody = BTreeMap::from([(NOBODY.0.to_string(), NOBODY.1.to_string())]);
        match client.list(&nobody).await {
            Ok(_) => found.push(("API", true, format!("{url} accepts the key"))),
            Err(error) => {
                found.push(("API", false, error.to_string()));
                return found;
            }
        }
        if let Some(name) = &config.template.snapshot {
            found.push(match client.snapshot(name).await {
                Ok(snapshot) if snapshot.state == "active" => {
                    ("snapshot", true, format!("{name} is active"))
                }
                Ok(snapshot) => (
                    "snapshot",
                    false,
                    format!(
                        "{name} is {}: activate it in the Daytona dashboard.",
                        snapshot.state
                    ),
                ),
                Err(error) => ("snapshot", false, error.to_string()),
            });
        }
        found
    }

    async fn in_path(&self, program: &str) -> bool {
        for dir in self.env("PATH").unwrap_or_default().split(':') {
            if self.exists(&format!("{dir}/{program}")).await {
                return true;
            }
        }
        false
    }

    /// Makes the corrections in one file: the one that names the plugin, else the project's.
    async fn correct(&self, fixes: &[Fix]) -> Result<String, String> {
        let files = self.files().await?;
        let directories = self.directories(&files).await;
        let names_us = |file: &File| {
            ["plugin", "plugins"]
                .iter()
                .any(|key| file.entry(key, &directories).is_some())
        };
        let here = |file: &File| {
            file.path
                .starts_with(&format!("{}/opencode.json", self.root))
        };
        let chosen = files
            .iter()
            .rposition(names_us)
            .or_else(|| files.iter().rposition(here));
        let mut file = match chosen.and_then(|index| files.into_iter().nth(index)) {
            Some(file) => file,
            None => {
                let start = "{\n  \"$schema\": \"https://opencode.ai/config.json\"\n}\n";
                File::parse(&format!("{}/opencode.json", self.root), start)?
            }
        };
        let spec = format!("{PACKAGE}@{VERSION}");
        for fix in fixes {
            match fix {
                Fix::Add => file.add(&spec),
                Fix::Rename => file.rename(),
                Fix::Pin => file.pin(&spec),
                Fix::Deny(names) => file.deny(names),
                Fix::Shell => {
                    file.set("shell", NO_SHELL);
                }
                Fix::Undo => file.turn_off("snapshot"),
            }
        }
        let written = self
            .host
            .replace_file(&file.path, file.text().as_bytes())
            .await;
        written.map_err(|error| error.to_string())?;
        Ok(file.path)
    }
}

/// Served permissions that nothing denies, and those that have rules of the user's own.
fn denials(config: &Value) -> (Vec<&'static str>, Vec<&'static str>) {
    let rules = config.get("permission");
    let (mut open, mut ruled) = (Vec::new(), Vec::new());
    for name in SERVED {
        match rules.and_then(|rules| rules.get(*name)) {
            Some(Value::String(rule)) if rule == "deny" => {}
            Some(Value::Object(rule))
                if rule.len() == 1 && rule.get("*").is_some_and(|rule| rule == "deny") => {}
            Some(_) => ruled.push(*name),
            None => open.push(*name),
        }
    }
    (open, ruled)
}

fn is_local(url: &str) -> bool {
    ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"]
        .iter()
        .any(|local| url.starts_with(local))
}
