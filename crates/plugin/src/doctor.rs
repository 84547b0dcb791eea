//! `opencode-daytona-sandbox doctor` and `init`: is this project set up so that nothing of the agent
//! runs on the host, and does the sandbox service answer? What is wrong in OpenCode's configuration
//! can be corrected; `init` is the same, for a project that does not name the plugin yet.
//!
//! Nothing that is printed holds a key: it leaves the core by a call (`dispatch.rs`), as everything does.

mod finding;
mod guards;
mod release;

use crate::secrets::Secrets;
use crate::wire::{Cli, CliDone};
use daytona::Client;
use finding::{Finding, Fix, Verdict};
use host::{Host, Platform};
use opencode_config::{Entry, File, KEYS};
use release::Installed;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub(crate) use guards::is_no_shell;

/// Name of the package, as users write it in `plugin`.
const PACKAGE: &str = "opencode-daytona-sandbox";
const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(crate) const HELP: &str = "\
Checks that OpenCode works in a Daytona sandbox and nowhere else.

Usage: opencode-daytona-sandbox <command>

  init            add the plugin to opencode.json here, with the denials that hold if it does not load
  doctor          check this project: OpenCode, configuration, version, key, API, snapshot, runners
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

/// Where everything is.
struct Setup<'a> {
    host: Arc<dyn Host>,
    secrets: &'a Secrets,
    assets: &'a str,
    shell: &'a str,
    platform: Platform,
    directory: String,
    root: String,
}

/// Runs the command line program.
pub(crate) async fn run(
    host: Arc<dyn Host>,
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
    let setup = Setup::new(host, secrets, assets, shell, &cli.directory).await;
    let installed = release::installed(&*setup.host, &setup.directory).await;
    let mut output = format!("{PACKAGE} {VERSION}\n\n");
    if fix && let Some(why) = installed.refuses_settings() {
        return done(format!("{output}Nothing was changed: {why}\n"), 1);
    }
    let mut findings = setup.examine(&installed).await;
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
            findings = setup.examine(&installed).await;
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
    host: Arc<dyn Host>,
    secrets: &Secrets,
    assets: &str,
    directory: &str,
) -> Result<Value, String> {
    let setup = Setup::new(host, secrets, assets, "", directory).await;
    let files = setup.files().await?;
    let paths = setup.paths(&files).await;
    let mut entries = files.iter().rev();
    let entry = entries.find_map(|file| file.entry(KEYS[0], PACKAGE, &paths));
    Ok(entry.map_or(Value::Null, |entry| entry.options))
}

impl<'a> Setup<'a> {
    async fn new(
        host: Arc<dyn Host>,
        secrets: &'a Secrets,
        assets: &'a str,
        shell: &'a str,
        directory: &str,
    ) -> Setup<'a> {
        let platform = host.platform();
        let directory = platform.slashed(directory);
        Setup {
            root: opencode_config::root(&*host, &directory).await,
            host,
            secrets,
            assets,
            shell,
            platform,
            directory,
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        self.host.env(name).filter(|value| !value.is_empty())
    }

    fn home(&self) -> String {
        self.platform
            .home(|name| self.env(name))
            .unwrap_or_default()
    }

    async fn exists(&self, path: &str) -> bool {
        self.host.file_size(path).await.is_ok()
    }

    /// OpenCode's configuration files that are there, weakest first.
    async fn files(&self) -> Result<Vec<File>, String> {
        opencode_config::files(&*self.host, &self.root, &self.directory).await
    }

    /// Paths of entries that hold this package.
    async fn paths(&self, files: &[File]) -> Vec<String> {
        opencode_config::paths(&*self.host, files, PACKAGE).await
    }

    /// The version of this package at a path, if it is this package.
    async fn version_in(&self, path: &str) -> Option<String> {
        opencode_config::version_at(&*self.host, path, PACKAGE).await
    }

    async fn examine(&self, installed: &Installed) -> Vec<Finding> {
        let (verdict, text) = installed.served();
        let mut findings = vec![Finding::new("opencode", verdict, text)];
        let files = match self.files().await {
            Ok(files) => files,
            Err(why) => {
                let text = format!("{why}. OpenCode does not start with it: correct the file.");
                findings.push(Finding::new("config", Verdict::Bad, text));
                return findings;
            }
        };
        let options = self.entries(installed, &files, &mut findings).await;
        let config = opencode_config::merged(&files);
        findings.extend(guards::examine(&config, self.platform));
        let (mut open, ruled) = guards::denials(&config);
        open.extend(ruled);
        if let Some((verdict, text)) = installed.engine(&open) {
            findings.push(Finding::new("engine", verdict, text));
        }
        let package = self.package().await;
        let service = self.service(&options).await;
        findings.extend(
            package
                .into_iter()
                .chain(service)
                .map(|(what, good, text)| {
                    let verdict = if good { Verdict::Good } else { Verdict::Bad };
                    Finding::new(what, verdict, text)
                }),
        );
        findings
    }

    /// Where the plugin is named, and whether OpenCode reads it there; gives its options.
    async fn entries(
        &self,
        installed: &Installed,
        files: &[File],
        findings: &mut Vec<Finding>,
    ) -> Value {
        let paths = self.paths(files).await;
        let [one, two] = KEYS;
        let under = |key: &'static str| -> Vec<(&File, Entry)> {
            let named = |file: &'_ File| file.entry(key, PACKAGE, &paths);
            let found = files.iter().rev();
            found
                .filter_map(|file| Some((file, named(file)?)))
                .collect()
        };
        let (named, misnamed) = (under(one), under(two));
        let key = installed.key();
        // The last file counts, and of one file `plugin` comes first.
        let mut read = named.iter().map(|found| (one, found));
        let mut read_by_two = misnamed.iter().map(|found| (two, found));
        let found = match installed.is_two() {
            true => read.next().or_else(|| read_by_two.next()),
            false => read.next(),
        };
        let options = match (found, misnamed.first()) {
            (Some((key, (file, entry))), _) => {
                let text = format!("{} names {} under `{key}`", file.path, entry.spec);
                findings.push(Finding::good("plugin", text));
                let (verdict, text, fix) = self.version(installed, file, &entry.spec).await;
                let mut found = Finding::new("version", verdict, text);
                found.fix = fix;
                findings.push(found);
                entry.options.clone()
            }
            (None, Some((file, _))) => {
                let text = format!(
                    "{} names it under `{two}`, which OpenCode ignores without a word: {key}.",
                    file.path
                );
                let found = Finding::new("plugin", Verdict::Bad, text);
                findings.push(found.corrected_by(Fix::Rename));
                return Value::Null;
            }
            (None, None) => {
                let text = format!(
                    "No configuration file of OpenCode names it ({key}), so the agent's tools run on this machine."
                );
                let found = Finding::new("plugin", Verdict::Bad, text);
                findings.push(found.corrected_by(Fix::Add));
                return Value::Null;
            }
        };
        if !installed.is_two() {
            for (file, entry) in &misnamed {
                let text = format!(
                    "{} names {} under `{two}`, too, which OpenCode ignores without a word: {key}. What stands there, options as well, has no effect.",
                    file.path, entry.spec
                );
                findings.push(Finding::new("plugin", Verdict::Note, text));
            }
        }
        options
    }

    /// Is the version named, and is it the one that OpenCode has?
    async fn version(
        &self,
        installed: &Installed,
        file: &File,
        spec: &str,
    ) -> (Verdict, String, Option<Fix>) {
        if let Some(dir) = file.path_of(spec) {
            return match self.version_in(&dir).await {
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
        // OpenCode 2 has it under a number that only OpenCode 2 knows.
        if installed.is_two() {
            return (Verdict::Good, format!("{wanted} is named"), None);
        }
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
        let git = match git_bridge::git_version(&*self.host, &self.directory).await {
            Ok(said) if !said.is_empty() => {
                match git_bridge::ground(&*self.host, &self.directory).await {
                    Err(error) => (false, error.to_string()),
                    Ok(_) => (true, said),
                }
            }
            Err(error @ git_bridge::Error::OldGit { .. }) => (false, error.to_string()),
            _ => (
                false,
                "git cannot be run: install it, it carries your files into the sandbox.".into(),
            ),
        };
        vec![("package", complete, package), ("git", git.0, git.1)]
    }

    /// Does the service answer, and has it what the options name?
    async fn service(&self, options: &Value) -> Vec<(&'static str, bool, String)> {
        let config = self.secrets.settings(&*self.host, options, &self.root);
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
        let client = Client::new(Arc::clone(&self.host), config.settings.clone());
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
        for place in self.platform.places_of(program, |name| self.env(name)) {
            if self.exists(&place).await {
                return true;
            }
        }
        false
    }

    /// Makes the corrections in one file: the one that names the plugin, else the project's.
    async fn correct(&self, fixes: &[Fix]) -> Result<String, String> {
        let files = self.files().await?;
        let paths = self.paths(&files).await;
        let names_us = |file: &File| {
            KEYS.iter()
                .any(|key| file.entry(key, PACKAGE, &paths).is_some())
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
                Fix::Add => file.add(&spec)?,
                Fix::Rename => file.rename(PACKAGE, &paths)?,
                Fix::Pin => file.pin(PACKAGE, &spec),
                Fix::Deny(names) => file.deny(names),
                Fix::Shell => file.set("shell", guards::no_shell(self.platform)),
                Fix::Undo => file.turn_off("snapshot"),
            }
        }
        file.write(&*self.host).await?;
        Ok(file.path)
    }
}

fn is_local(url: &str) -> bool {
    ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"]
        .iter()
        .any(|local| url.starts_with(local))
}

// They have shell scripts in the place of OpenCode.
#[cfg(all(test, unix))]
mod tests;
