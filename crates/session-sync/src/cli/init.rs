//! OpenCode's configuration: which plugins it names, and `init`, which adds ours.

use super::{Cli, Done, Problem};
use opencode_config::{File, KEYS};
use serde_json::json;

/// Name of the package, as users write it in `plugin`.
pub(super) const PACKAGE: &str = "opencode-session-sync";
/// Another plugin that sends to the same stores.
pub(super) const OTHER: &str = "opencode-sync-plugin";
/// A new file.
const START: &str = "{\n  \"$schema\": \"https://opencode.ai/config.json\"\n}\n";

/// OpenCode's configuration here.
pub(super) struct Setup {
    /// The project's root.
    root: String,
    /// Directory of the user's own configuration.
    home: String,
    /// The files, weakest first.
    files: Vec<File>,
    /// Paths that hold our package.
    ours: Vec<String>,
}

/// Where a plugin is named.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    /// In which of the files.
    at: usize,
    /// Its path.
    pub(super) path: String,
    /// What stands there.
    pub(super) spec: String,
}

impl Setup {
    /// Where a plugin is named under a key, the strongest file first.
    pub(super) fn named(&self, key: &str, package: &str) -> Vec<Named> {
        let ours: &[String] = if package == PACKAGE { &self.ours } else { &[] };
        let named = |(at, file): (usize, &File)| {
            let spec = file.entry(key, package, ours)?.spec;
            let path = file.path.clone();
            Some(Named { at, path, spec })
        };
        self.files
            .iter()
            .enumerate()
            .rev()
            .filter_map(named)
            .collect()
    }

    /// Whether a file is the user's own, or else belongs to a project.
    fn is_own(&self, path: &str) -> bool {
        path.strip_prefix(&self.home)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// What to say if the other plugin is named as well; nothing if it is not.
    pub(super) fn other(&self) -> Option<String> {
        let named = self.named(KEYS[0], OTHER);
        let first = named.first()?;
        Some(format!(
            "{} names {} as well: take it out, or every session is sent twice.",
            first.path, first.spec
        ))
    }
}

impl Cli {
    /// OpenCode's configuration in this directory.
    pub(super) async fn setup(&self) -> Result<Setup, String> {
        let host = &*self.host;
        let directory = host.platform().slashed(&self.directory);
        let root = opencode_config::root(host, &directory).await;
        let home = opencode_config::home(host).ok_or(
            "neither XDG_CONFIG_HOME nor HOME is set, so OpenCode's configuration is not found",
        )?;
        let files = opencode_config::files(host, &root, &directory).await?;
        let ours = opencode_config::paths(host, &files, PACKAGE).await;
        let home = format!("{home}/opencode");
        Ok(Setup {
            root,
            home,
            files,
            ours,
        })
    }

    /// Adds the plugin to the user's own configuration, or to the project's.
    pub(super) async fn init(&self, in_project: bool) -> Result<Done, Problem> {
        let mut setup = self.setup().await?;
        let other = setup.other();
        let with_other = |text: String| match &other {
            Some(other) => format!("{text}\n{other}"),
            None => text,
        };
        // The user's own configuration holds in every project; a project's in no other.
        let counts = |named: &Named| in_project || setup.is_own(&named.path);
        if let Some(named) = setup.named(KEYS[0], PACKAGE).into_iter().find(counts) {
            let text = format!(
                "{} names {} already; nothing was changed.",
                named.path, named.spec
            );
            let json = json!({ "ok": true, "changed": false, "file": named.path, "spec": named.spec, "other": other });
            return Ok(Done::new(with_other(text), json));
        }
        let misplaced = setup.named(KEYS[1], PACKAGE).into_iter().find(counts);
        let (file, how) = match misplaced {
            Some(named) => {
                let mut file = setup.files.swap_remove(named.at);
                file.rename(PACKAGE, &setup.ours)?;
                (
                    file,
                    format!(
                        "moved {} from `{}`, which OpenCode 1 does not read, to `{}`",
                        named.spec, KEYS[1], KEYS[0]
                    ),
                )
            }
            None => {
                let mut file = self.place(&mut setup, in_project)?;
                file.add(PACKAGE)?;
                (file, format!("added \"{PACKAGE}\" to `{}`", KEYS[0]))
            }
        };
        file.write(&*self.host).await?;
        let text = format!(
            "In {}: {how}. OpenCode loads the plugin when it starts next.",
            file.path
        );
        let json = json!({ "ok": true, "changed": true, "file": file.path, "spec": PACKAGE, "other": other });
        Ok(Done::new(with_other(text), json))
    }

    /// The file that an entry goes to: one that names plugins, else one that is there, else a new one.
    fn place(&self, setup: &mut Setup, in_project: bool) -> Result<File, String> {
        let dirs = match in_project {
            true => vec![setup.root.clone(), format!("{}/.opencode", setup.root)],
            false => vec![setup.home.clone()],
        };
        let is_in = |file: &File, dir: &String| {
            file.path
                .strip_prefix(dir.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !name.contains('/'))
        };
        let mut found = None;
        for dir in dirs.iter().rev() {
            for (at, file) in setup.files.iter().enumerate() {
                let names = file.value.get(KEYS[0]).is_some();
                let better = |(_, named): (usize, bool)| names || !named;
                if is_in(file, dir) && found.is_none_or(better) {
                    found = Some((at, names));
                }
            }
        }
        match found {
            Some((at, _)) => Ok(setup.files.swap_remove(at)),
            None => File::parse(&format!("{}/opencode.json", dirs[0]), START),
        }
    }
}
