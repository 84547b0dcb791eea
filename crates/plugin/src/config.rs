//! Options, environment and `.env`: read, checked, and explained when wrong.
//!
//! An option beats the environment, and the environment beats `.env` in the project's root, from
//! which only `DAYTONA_*` is read. An unknown option is an error, because a misspelled one would
//! silently not hold.

mod carry;
mod error;
mod options;
mod value;

use crate::dotenv;
pub(crate) use carry::Carry;
pub use error::ConfigError;
pub use options::{KEYS, OPTIONS};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use value::{address, clean, only_graphic};

/// Where the project is in a sandbox, unless `projectDir` says otherwise.
pub const DEFAULT_PROJECT_DIR: &str = "/home/daytona/project";
const DEFAULT_API_URL: &str = "https://app.daytona.io/api";

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the service is, and the key.
    pub settings: daytona::Settings,
    /// What a sandbox starts from, without name and session labels.
    pub template: sessions::Template,
    /// Absolute, normalized.
    pub project_dir: String,
    /// Create with the first message.
    pub prewarm: bool,
    /// What becomes of the work.
    pub sync: SyncMode,
    /// What stands before a branch's number.
    pub branch_prefix: String,
    /// Commits of history that the sandbox gets.
    pub history: usize,
    /// What of the project is carried, and how much.
    pub carry: Carry,
    /// The agent's commits are the user's.
    pub identity: bool,
    /// Where the web tools send their requests from.
    pub network: Network,
    /// Commands that the user types run on the user's machine.
    pub shell_on_host: bool,
    /// Blocked built-ins that the user allows.
    pub allow_tools: Vec<String>,
}

/// What becomes of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// It comes home as a branch.
    Branch,
    /// And into the working tree.
    Apply,
    /// It stays in the sandbox.
    Off,
}

/// Where `webfetch` and `websearch` send their requests from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The sandbox.
    Sandbox,
    /// The user's machine: OpenCode's own tools.
    Host,
    /// Nowhere.
    Off,
}

/// A shorter key may be a part of anything.
const SHORTEST_KEY: usize = 8;

/// Reads the options one by one and knows which were read.
struct Options<'a>(&'a Map<String, Value>);

impl Options<'_> {
    fn get<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(ConfigError::Type {
                name: name.into(),
                expected,
                got: describe(value),
            }),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        self.get(name, "a string that is not empty", |v| {
            v.as_str()
                .filter(|s| !s.trim().is_empty())
                .map(str::to_string)
        })
    }

    fn minutes(&self, name: &str, least: i64) -> Result<Option<i64>, ConfigError> {
        let expected = if least < 0 {
            "a whole number of minutes, or -1"
        } else {
            "a whole number of minutes"
        };
        self.get(name, expected, |v| {
            v.as_i64().filter(|n| *n >= least && *n <= 10_000_000)
        })
    }

    fn strings(&self, name: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let read = |v: &Value| {
            v.as_object()?
                .iter()
                .map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())))
                .collect::<Option<BTreeMap<_, _>>>()
        };
        Ok(self
            .get(name, "an object of strings", read)?
            .unwrap_or_default())
    }
}

impl Config {
    /// Checks `options` (as in `opencode.json`), `env` and the names and values in `.env`.
    pub fn read(
        options: &Value,
        env: impl Fn(&str) -> Option<String>,
        dotenv: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        let empty = Map::new();
        let map = match options {
            Value::Null => &empty,
            Value::Object(map) => map,
            other => {
                let got = describe(other);
                return Err(ConfigError::Type {
                    name: "options".into(),
                    expected: "an object",
                    got,
                });
            }
        };
        if let Some(unknown) = map
            .keys()
            .find(|key| !OPTIONS.iter().any(|o| o.0 == key.as_str()))
        {
            return Err(ConfigError::Unknown(unknown.clone()));
        }
        let options = Options(map);

        let template = template(&options, &env, dotenv)?;
        let sync = options
            .get("sync", "\"branch\", \"apply\" or \"off\"", |v| {
                Some(match v.as_str()? {
                    "branch" => SyncMode::Branch,
                    "apply" => SyncMode::Apply,
                    "off" => SyncMode::Off,
                    _ => return None,
                })
            })?
            .unwrap_or(SyncMode::Branch);
        let branch_prefix = options
            .get(
                "branchPrefix",
                "the beginning of a branch name, such as \"opencode/\"",
                |v| v.as_str().filter(|p| is_prefix(p)).map(str::to_string),
            )?
            .unwrap_or_else(|| "opencode/".into());
        let history = options
            .get("history", "a whole number of commits", |v| {
                v.as_u64().filter(|n| *n <= 1_000_000)
            })?
            .unwrap_or(50) as usize;
        let project_dir = options
            .get("projectDir", "an absolute path below /", |v| {
                let path = permission::normalize(v.as_str()?.strip_prefix('/')?);
                (!path.is_empty() && !path.starts_with("..")).then(|| format!("/{path}"))
            })?
            .unwrap_or_else(|| DEFAULT_PROJECT_DIR.to_string());

        let carry = options.get("carry", carry::EXPECTED, carry::read)?;
        let allow_tools = options
            .get("allowTools", "an array of tool names", |v| {
                v.as_array()?
                    .iter()
                    .map(|v| v.as_str().map(str::to_string))
                    .collect::<Option<Vec<_>>>()
            })?
            .unwrap_or_default();
        let network = options
            .get("network", "\"sandbox\", \"host\" or \"off\"", |v| {
                Some(match v.as_str()? {
                    "sandbox" => Network::Sandbox,
                    "host" => Network::Host,
                    "off" => Network::Off,
                    _ => return None,
                })
            })?
            .unwrap_or(Network::Sandbox);
        let shell_on_host = options
            .get("shellMode", "\"sandbox\" or \"host\"", |v| {
                Some(match v.as_str()? {
                    "sandbox" => false,
                    "host" => true,
                    _ => return None,
                })
            })?
            .unwrap_or(false);
        let flag = |name| options.get(name, "true or false", Value::as_bool);
        let prewarm = flag("prewarm")?.unwrap_or(true);
        let identity = flag("identity")?.unwrap_or(true);

        let settings = service(&options, &env, dotenv)?;
        let key = &settings.api_key;
        let holds_key = |value: &str| key.len() >= SHORTEST_KEY && value.contains(key);
        if let Some((name, _)) = template.env.iter().find(|(_, value)| holds_key(value)) {
            return Err(ConfigError::KeyInSandbox(name.clone()));
        }
        Ok(Config {
            settings,
            template,
            project_dir,
            prewarm,
            sync,
            branch_prefix,
            history,
            carry: carry.unwrap_or_default(),
            identity,
            network,
            shell_on_host,
            allow_tools,
        })
    }
}

/// What a sandbox starts from.
fn template(
    options: &Options<'_>,
    env: &impl Fn(&str) -> Option<String>,
    dotenv: &[(String, String)],
) -> Result<sessions::Template, ConfigError> {
    let key = |name: &str| given(name, env, dotenv);
    let snapshot = options.text("snapshot")?;
    let image = options.text("image")?;
    if snapshot.is_some() && image.is_some() {
        return Err(ConfigError::Exclusive("snapshot", "image"));
    }
    let resources = options.get(
        "resources",
        "an object of cpu, memory and disk (whole numbers)",
        |v| serde_json::from_value::<daytona::Resources>(v.clone()).ok(),
    )?;
    if resources.is_some() && image.is_none() {
        return Err(ConfigError::Needs("resources", "image"));
    }
    let mut template = sessions::Template {
        snapshot: if image.is_some() {
            None
        } else {
            snapshot.or_else(|| key("DAYTONA_SNAPSHOT"))
        },
        target: options.text("target")?.or_else(|| key("DAYTONA_TARGET")),
        env: options.strings("env")?,
        labels: options.strings("labels")?,
        auto_stop_interval: options.minutes("autoStopMinutes", 0)?,
        auto_archive_interval: options.minutes("autoArchiveMinutes", 0)?,
        auto_delete_interval: options.minutes("autoDeleteMinutes", -1)?,
        resources: resources.unwrap_or_default(),
        ..Default::default()
    };
    if let Some(image) = &image {
        template.image(image);
    }
    Ok(template)
}

/// Where the service is, and what opens it.
fn service(
    options: &Options<'_>,
    env: &impl Fn(&str) -> Option<String>,
    dotenv: &[(String, String)],
) -> Result<daytona::Settings, ConfigError> {
    let in_dotenv = |name: &str| dotenv::value(dotenv, name).map(str::to_string);
    let key = |name: &str| given(name, env, dotenv);
    let source = |name: &str| match env(name) {
        Some(_) => "in the environment",
        None => "in .env",
    };
    // A project's file must not send a key that it does not hold to a server of its choice.
    let of_dotenv = |name: &str| env(name).is_none() && in_dotenv(name).is_some();
    if options.text("apiUrl")?.is_none()
        && of_dotenv("DAYTONA_API_URL")
        && !of_dotenv("DAYTONA_API_KEY")
        && key("DAYTONA_API_KEY").is_some()
    {
        return Err(ConfigError::ForeignUrl);
    }
    let (url, from) = match options.text("apiUrl")? {
        Some(url) => (url, "the option apiUrl".to_string()),
        None => match key("DAYTONA_API_URL") {
            Some(url) => (
                url,
                format!("DAYTONA_API_URL ({})", source("DAYTONA_API_URL")),
            ),
            None => (DEFAULT_API_URL.into(), String::new()),
        },
    };
    let api_url = address(&url, &from)?;
    for name in host::proxy::VARIABLES {
        if let Some(proxy) = env(name) {
            only_graphic(proxy.trim(), || format!("{name} (in the environment)"))?;
        }
    }
    let header = |name: &str| {
        let Some(value) = key(name) else {
            return Ok(None);
        };
        let value = clean(&value);
        only_graphic(value, || format!("{name} ({})", source(name)))?;
        Ok::<_, ConfigError>(Some(value.to_string()))
    };
    Ok(daytona::Settings {
        api_url,
        api_key: header("DAYTONA_API_KEY")?.ok_or(ConfigError::NoKey)?,
        organization: header("DAYTONA_ORGANIZATION_ID")?,
    })
}

/// What the environment or `.env` has under a name, if it is anything.
fn given(
    name: &str,
    env: &impl Fn(&str) -> Option<String>,
    dotenv: &[(String, String)],
) -> Option<String> {
    let value = env(name).or_else(|| dotenv::value(dotenv, name).map(str::to_string));
    value.filter(|value| !clean(value).is_empty())
}

/// True if a number behind it makes a branch name, by git's own rules.
fn is_prefix(prefix: &str) -> bool {
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '+' | '=' | ',');
    !prefix.is_empty()
        && prefix.len() <= 100
        && prefix.chars().all(is_plain)
        && !prefix.starts_with(['/', '-', '.'])
        && !["//", "..", "/.", "./"]
            .iter()
            .any(|bad| prefix.contains(bad))
        && !prefix.contains(".lock/")
}

/// A value for an error text that the model and the log see: of a list or an object only what it
/// is, because there may be secrets in it.
fn describe(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object with other values".into(),
        scalar => scalar.to_string().chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(options: Value, env: &[(&str, &str)], dotenv: &str) -> Result<Config, String> {
        let env: BTreeMap<String, String> = env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let dotenv = dotenv::parse(dotenv.as_bytes());
        Config::read(&options, |name| env.get(name).cloned(), &dotenv).map_err(|e| e.to_string())
    }

    #[test]
    fn every_bad_input_says_what_is_wrong_and_what_is_expected() {
        let key = [("DAYTONA_API_KEY", "k")];
        for (options, env, expected) in [
            (
                json!({ "snapshoot": "x" }),
                &key[..],
                "no option \"snapshoot\". Options: apiUrl, target, snapshot,",
            ),
            (
                json!({ "snapshot": 1 }),
                &key,
                "\"snapshot\" of opencode-daytona-sandbox must be a string that is not empty, but it is 1",
            ),
            (
                json!({ "snapshot": "" }),
                &key,
                "must be a string that is not empty",
            ),
            (
                json!({ "env": { "A": 1, "TOKEN": "secret" } }),
                &key,
                "must be an object of strings, but it is an object with other values",
            ),
            (
                json!({ "autoStopMinutes": -1 }),
                &key,
                "must be a whole number of minutes",
            ),
            (json!({ "autoStopMinutes": "5" }), &key, "but it is \"5\""),
            (json!({ "autoDeleteMinutes": -2 }), &key, "or -1"),
            (json!({ "prewarm": "yes" }), &key, "must be true or false"),
            (json!({ "identity": "me" }), &key, "must be true or false"),
            (
                json!({ "projectDir": "work" }),
                &key,
                "must be an absolute path below /",
            ),
            (
                json!({ "projectDir": "/" }),
                &key,
                "must be an absolute path below /",
            ),
            (
                json!({ "projectDir": "/../x" }),
                &key,
                "must be an absolute path below /",
            ),
            (
                json!({ "allowTools": "webfetch" }),
                &key,
                "must be an array of tool names",
            ),
            (
                json!({ "resources": { "cpu": 2 } }),
                &key,
                "\"resources\" of opencode-daytona-sandbox needs option \"image\"",
            ),
            (
                json!({ "image": "a", "resources": { "cores": 2 } }),
                &key,
                "cpu, memory and disk",
            ),
            (
                json!({ "image": "a", "snapshot": "b" }),
                &key,
                "exclude each other",
            ),
            (
                json!({ "sync": "push" }),
                &key,
                "must be \"branch\", \"apply\" or \"off\"",
            ),
            (
                json!({ "branchPrefix": "a..b" }),
                &key,
                "the beginning of a branch name",
            ),
            (
                json!({ "apiUrl": "app.daytona.io" }),
                &key,
                "is not an http or https URL",
            ),
            (
                json!({ "env": { "A": "b", "URL": "https://dtn_0123456@host" } }),
                &[("DAYTONA_API_KEY", "dtn_0123456")],
                "URL in the option \"env\" of opencode-daytona-sandbox holds the API key",
            ),
            (
                json!([1]),
                &key,
                "\"options\" of opencode-daytona-sandbox must be an object",
            ),
            (json!({}), &[], "DAYTONA_API_KEY is not set"),
            (
                json!({}),
                &[("DAYTONA_API_KEY", "  ")],
                "DAYTONA_API_KEY is not set",
            ),
        ] {
            let error = read(options.clone(), env, "").expect_err(&options.to_string());
            assert!(error.contains(expected), "{options}: {error}");
        }
    }

    #[test]
    fn option_beats_environment_beats_dotenv() {
        let dotenv = "DAYTONA_API_KEY=\"from-file\"\nDAYTONA_TARGET=file # comment\nexport DAYTONA_SNAPSHOT='file'\nPATH=/evil\n";
        let env = [("DAYTONA_TARGET", "env"), ("DAYTONA_SNAPSHOT", "env")];
        let config = read(json!({ "snapshot": "option" }), &env, dotenv).expect("reads");
        assert_eq!(config.settings.api_key, "from-file");
        assert_eq!(config.template.target.as_deref(), Some("env"));
        assert_eq!(config.template.snapshot.as_deref(), Some("option"));
    }

    #[test]
    fn a_file_of_the_project_does_not_choose_who_gets_the_users_key() {
        let key = [("DAYTONA_API_KEY", "k")];
        let dotenv = "DAYTONA_API_URL=https://elsewhere.example/api\n";
        let error = read(json!({}), &key, dotenv).expect_err("refused");
        assert!(error.contains("DAYTONA_API_URL in .env"), "{error}");
        let own = format!("{dotenv}DAYTONA_API_KEY=own\n");
        assert!(
            read(json!({}), &key, &own).is_err(),
            "the environment's key would be sent"
        );
        let config = read(json!({}), &[], &own).expect("its own key");
        assert_eq!(config.settings.api_key, "own");
        let env = [key[0], ("DAYTONA_API_URL", "https://mine.example/api")];
        let config = read(json!({}), &env, dotenv).expect("the environment wins");
        assert_eq!(config.settings.api_url, "https://mine.example/api");
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_refused_and_not_shown() {
        for (key, expected) in [
            (
                "dtn_ab\u{200b}cdefgh",
                "an invisible character (U+200B) at position 7 of 13",
            ),
            (
                "\u{feff}dtn_abcdefgh",
                "an invisible character (U+FEFF) at position 1 of 13",
            ),
            ("dtn_ab\rcdefgh", "a line end (U+000D) at position 7"),
            (
                "dtn_ab\u{0}cdefgh",
                "a control character (U+0000) at position 7",
            ),
            ("dtn_ab cdefgh", "white space (U+0020) at position 7"),
            ("dtn_ab\u{a0}cdefgh", "white space (U+00A0) at position 7"),
            (
                "dtn_abécdefgh",
                "a character that is not ASCII (U+00E9) at position 7",
            ),
        ] {
            let env = [("DAYTONA_API_KEY", key)];
            let dotenv = format!("DAYTONA_API_KEY='{key}'");
            for (env, dotenv, source) in [
                (&env[..], "", "DAYTONA_API_KEY (in the environment) has "),
                (&[], dotenv.as_str(), "DAYTONA_API_KEY (in .env) has "),
            ] {
                // dotenv reads a line end of any kind as the same.
                if key.contains('\r') && env.is_empty() {
                    continue;
                }
                let error = read(json!({}), env, dotenv).expect_err(key);
                assert!(
                    error.starts_with(source) && error.contains(expected),
                    "{error}"
                );
                assert!(
                    !error.contains("dtn_") && !error.contains("cdef"),
                    "{error}"
                );
            }
        }
        let env = [
            ("DAYTONA_API_KEY", "k"),
            ("DAYTONA_ORGANIZATION_ID", "o\u{200b}"),
        ];
        let error = read(json!({}), &env, "").expect_err("refused");
        assert!(error.starts_with("DAYTONA_ORGANIZATION_ID (in"), "{error}");
        let env = [
            ("DAYTONA_API_KEY", "k"),
            ("HTTPS_PROXY", "http://u:p\u{200b}w@p"),
        ];
        let error = read(json!({}), &env, "").expect_err("refused");
        assert!(error.starts_with("HTTPS_PROXY (in"), "{error}");
    }

    #[test]
    fn what_came_along_with_a_key_or_a_url_is_cut_off() {
        for key in [" dtn_k\n", "\"dtn_k\"", "'dtn_k'\r\n", "dtn_k\u{a0}"] {
            let config = read(json!({}), &[("DAYTONA_API_KEY", key)], "").expect(key);
            assert_eq!(config.settings.api_key, "dtn_k");
        }
        for (url, expected) in [
            (" https://a.example/api \n", "https://a.example/api"),
            ("\"https://a.example/api\"", "https://a.example/api"),
            (
                "\u{feff}https://a.example/api\u{200b}",
                "https://a.example/api",
            ),
            ("HTTPS://a.example/api", "https://a.example/api"),
            (
                "https://me:pw@a.example:1/api?x=@",
                "https://a.example:1/api?x=@",
            ),
        ] {
            let env = [("DAYTONA_API_KEY", "k"), ("DAYTONA_API_URL", url)];
            let config = read(json!({}), &env, "").expect(url);
            assert_eq!(config.settings.api_url, expected);
        }
        for (url, expected) in [
            (
                "https://a\u{200b}b.example",
                "DAYTONA_API_URL (in the environment) has an invisible",
            ),
            (
                "https://a b.example",
                "has white space (U+0020) at position 10 of 19",
            ),
            ("https://", "is not an http or https URL"),
            ("https://me:pw@", "is not an http or https URL"),
            ("https:///api", "is not an http or https URL"),
            ("ftp://a.example", "is not an http or https URL"),
        ] {
            let env = [("DAYTONA_API_KEY", "k"), ("DAYTONA_API_URL", url)];
            let error = read(json!({}), &env, "").expect_err(url);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_image_goes_on_the_wire_as_a_dockerfile() {
        let config = read(
            json!({ "image": "debian:12", "resources": { "cpu": 2 } }),
            &[("DAYTONA_API_KEY", "k"), ("DAYTONA_SNAPSHOT", "s")],
            "",
        )
        .expect("reads");
        let wire = serde_json::to_value(&config.template).expect("serializes");
        assert_eq!(wire["buildInfo"]["dockerfileContent"], "FROM debian:12\n");
        assert_eq!(wire["cpu"], 2);
        assert_eq!(wire.get("snapshot"), None);
    }
}
