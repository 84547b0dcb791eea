//! Settings: where the store is, its key, and what may leave. They stand in one file,
//! `opencode-sync/config.json` in the user's configuration directory; the environment beats it.

use crate::record::Include;
use crate::store::base_url;
use fast_glob::glob_match;
use host::{FileErrorKind, Host, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The store's URL, and its key.
pub const URL_VARIABLE: &str = "OPENCODE_SYNC_URL";
/// See [`URL_VARIABLE`].
pub const KEY_VARIABLE: &str = "OPENCODE_SYNC_API_KEY";
/// A session with this word in its title stays on the machine.
pub const PRIVATE: &str = "[private]";

/// Every setting: its name, its default, and what it means.
pub const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "url",
        "none",
        "The store: a Convex deployment, or the address of your own",
    ),
    ("apiKey", "none", "The store's key for you"),
    (
        "exclude",
        "[]",
        "Projects that stay on this machine: paths, in which `*` is any part of a name and `**` any names; one that is not absolute is a project's name",
    ),
    (
        "include.toolOutput",
        "true",
        "What tools gave: output of commands, files that were read",
    ),
    ("include.reasoning", "false", "What the model thought"),
    (
        "include.files",
        "false",
        "Names and types of attached files; their content never leaves",
    ),
];

/// The file, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "see SETTINGS")]
pub struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<IncludeFile>,
}

/// What may leave, as it stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "see SETTINGS")]
pub struct IncludeFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_output: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<bool>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Environment,
    /// The file.
    File,
    /// Nobody has set it.
    Default,
}

impl Source {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Source::Environment => "environment",
            Source::File => "file",
            Source::Default => "default",
        }
    }
}

/// What is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The store's HTTP interface; none before `login`.
    pub url: Option<String>,
    /// Its key; none before `login`.
    pub key: Option<String>,
    /// Projects that stay here.
    pub exclude: Vec<String>,
    /// What may leave.
    pub include: Include,
    /// Where URL and key come from.
    pub sources: (Source, Source),
}

/// Where the file is, by the rules of a platform.
pub fn path(platform: Platform, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let config = env("XDG_CONFIG_HOME")
        .map(|dir| platform.slashed(&dir))
        .or_else(|| Some(format!("{}/.config", platform.home(&env)?)))
        .ok_or(
            "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for the configuration",
        )?;
    Ok(format!("{config}/opencode-sync/config.json"))
}

/// The directory of what is to be remembered, by the rules of a platform.
pub fn state(platform: Platform, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let state = env("XDG_STATE_HOME")
        .map(|dir| platform.slashed(&dir))
        .or_else(|| Some(format!("{}/.local/state", platform.home(&env)?)))
        .ok_or("neither XDG_STATE_HOME nor HOME is set, so there is no place for what waits")?;
    Ok(format!("{state}/opencode-sync"))
}

/// What is in force on a machine.
pub async fn load(host: &dyn Host) -> Result<Config, String> {
    let env = |name: &str| host.env(name);
    let file = read(host, &path(host.platform(), env)?).await?;
    config(&file, env)
}

/// Reads the file; one that is not there is empty.
pub async fn read(host: &dyn Host, path: &str) -> Result<File, String> {
    let bytes = match host.read_file(path).await {
        Err(error) if error.kind == FileErrorKind::NotFound => return Ok(File::default()),
        other => other.map_err(|error| error.to_string())?,
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        let names: Vec<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
        format!(
            "{path} cannot be used: {error}. It has {}",
            names.join(", ")
        )
    })
}

/// Writes the file, for the user alone.
pub async fn write(host: &dyn Host, path: &str, file: &File) -> Result<(), String> {
    if let Some((dir, _)) = path.rsplit_once('/') {
        host.make_dir(dir)
            .await
            .map_err(|error| error.to_string())?;
    }
    let text = serde_json::to_string_pretty(file).expect("settings are JSON") + "\n";
    let written = host.replace_file(path, text.as_bytes()).await;
    written.map_err(|error| error.to_string())
}

/// What is in force.
pub fn config(file: &File, env: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
    let pick = |variable: &str, value: &Option<String>| match (env(variable), value) {
        (Some(value), _) => (Some(value.trim().to_string()), Source::Environment),
        (None, Some(value)) => (Some(value.trim().to_string()), Source::File),
        (None, None) => (None, Source::Default),
    };
    let (url, url_source) = pick(URL_VARIABLE, &file.url);
    let (key, key_source) = pick(KEY_VARIABLE, &file.api_key);
    let include = file.include.clone().unwrap_or_default();
    Ok(Config {
        url: url.map(|url| base_url(&url)).transpose()?,
        key: key.filter(|key| !key.is_empty()),
        exclude: file.exclude.clone().unwrap_or_default(),
        include: Include {
            tool_output: include.tool_output.unwrap_or(true),
            reasoning: include.reasoning.unwrap_or(false),
            files: include.files.unwrap_or(false),
        },
        sources: (url_source, key_source),
    })
}

/// Sets one setting by its name; a list is written with commas. An empty text takes it out.
pub fn set(file: &File, name: &str, text: &str) -> Result<File, String> {
    let known = SETTINGS.iter().find(|(known, ..)| *known == name);
    let Some((_, default, _)) = known else {
        let names: Vec<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
        return Err(format!(
            "there is no setting {name:?}; there are {}",
            names.join(", ")
        ));
    };
    let value = match (text, *default) {
        ("", _) => Value::Null,
        (text, "[]") => text
            .split(',')
            .map(|entry| Value::from(entry.trim()))
            .collect(),
        ("true" | "false", "true" | "false") => Value::Bool(text == "true"),
        (_, "true" | "false") => return Err(format!("{name} is true or false, not {text:?}")),
        (text, _) if name == "url" => base_url(text)?.into(),
        (text, _) => text.into(),
    };
    let mut whole = serde_json::to_value(file).expect("settings are JSON");
    let mut at = &mut whole;
    let mut names = name.split('.').peekable();
    while let Some(name) = names.next() {
        let fields = at.as_object_mut().expect("an object");
        if names.peek().is_none() {
            match value {
                Value::Null => drop(fields.remove(name)),
                value => drop(fields.insert(name.into(), value)),
            }
            break;
        }
        at = fields
            .entry(name)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    serde_json::from_value(whole).map_err(|error| error.to_string())
}

/// True if a project's sessions stay on this machine: it is excluded, or is below what is.
pub fn is_excluded(exclude: &[String], directory: &str) -> bool {
    let directory = directory.replace('\\', "/");
    exclude.iter().any(|pattern| {
        let pattern = pattern.replace('\\', "/");
        let pattern = pattern.trim_end_matches('/');
        let is_path = pattern.starts_with('/') || pattern.contains(":/");
        let whole = if is_path {
            pattern.to_string()
        } else {
            format!("**/{pattern}")
        };
        !pattern.is_empty()
            && (glob_match(&whole, &directory) || glob_match(format!("{whole}/**"), &directory))
    })
}

/// True if a title says that the session stays on this machine.
pub fn is_private(title: &str) -> bool {
    title.to_lowercase().contains(PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(value: Value) -> File {
        serde_json::from_value(value).expect("settings")
    }

    #[test]
    fn the_environment_beats_the_file_and_each_value_says_where_it_comes_from() {
        let file = file(
            json!({ "url": "https://a-1.convex.cloud", "apiKey": " osk_file ", "include": { "reasoning": true } }),
        );
        let of = |variables: &[(&str, &str)]| {
            let env = |name: &str| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.to_string())
            };
            config(&file, env).expect("settings")
        };
        let plain = of(&[]);
        assert_eq!(plain.url.as_deref(), Some("https://a-1.convex.site"));
        assert_eq!(plain.key.as_deref(), Some("osk_file"));
        assert_eq!(plain.sources, (Source::File, Source::File));
        assert_eq!(
            plain.include,
            Include {
                tool_output: true,
                reasoning: true,
                files: false
            }
        );
        let beaten = of(&[(KEY_VARIABLE, "osk_env")]);
        assert_eq!(beaten.key.as_deref(), Some("osk_env"));
        assert_eq!(beaten.sources, (Source::File, Source::Environment));
        assert!(
            config(&File::default(), |_| None)
                .expect("settings")
                .key
                .is_none()
        );
        let wrong = config(&File::default(), |name| {
            (name == URL_VARIABLE).then(|| "nonsense".into())
        });
        assert!(wrong.expect_err("no URL").contains("is no URL"));
    }

    #[test]
    fn settings_are_set_by_name_and_wrong_ones_name_those_that_exist() {
        let start = file(json!({ "apiKey": "osk_1" }));
        for (name, text, expected) in [
            (
                "url",
                "https://a-1.convex.cloud/",
                json!({ "apiKey": "osk_1", "url": "https://a-1.convex.site" }),
            ),
            (
                "exclude",
                "/home/me/secret, notes",
                json!({ "apiKey": "osk_1", "exclude": ["/home/me/secret", "notes"] }),
            ),
            (
                "include.reasoning",
                "true",
                json!({ "apiKey": "osk_1", "include": { "reasoning": true } }),
            ),
            ("apiKey", "", json!({})),
        ] {
            assert_eq!(
                set(&start, name, text).expect(name),
                file(expected),
                "{name}"
            );
        }
        for (name, text, reason) in [
            (
                "colour",
                "red",
                "there is no setting \"colour\"; there are url, apiKey, exclude",
            ),
            ("include.files", "yes", "include.files is true or false"),
            ("url", "nonsense", "is no URL"),
        ] {
            let error = set(&start, name, text).expect_err(name);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn which_projects_stay() {
        for (pattern, directory, expected) in [
            ("/home/me/secret", "/home/me/secret", true),
            ("/home/me/secret", "/home/me/secret/api", true),
            ("/home/me/secret", "/home/me/secrets", false),
            ("/home/*/secret", "/home/you/secret", true),
            ("/home/**/private", "/home/me/work/deep/private/x", true),
            ("notes", "/home/me/notes", true),
            ("client-*", "/srv/client-acme/shop", true),
            ("client-*", "/srv/myclient-acme", false),
            ("C:/work/secret", r"C:\work\secret\api", true),
            ("", "/home/me", false),
            ("/", "/home/me", false),
        ] {
            assert_eq!(
                is_excluded(&[pattern.into()], directory),
                expected,
                "{pattern} {directory}"
            );
        }
    }

    #[test]
    fn which_titles_are_private() {
        for (title, expected) in [
            ("[private] taxes", true),
            ("Taxes [Private]", true),
            ("a private matter", false),
        ] {
            assert_eq!(is_private(title), expected, "{title}");
        }
    }
}
