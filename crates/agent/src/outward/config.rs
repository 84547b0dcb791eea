//! Where requests of sandboxes may go, with which keys, and within which limits.

use reqwest::Url;
use reqwest::header::HeaderValue;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// A key or a token. Nothing prints it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The text without this secret.
    pub(super) fn cut_from(&self, text: &str) -> String {
        match self.0.is_empty() {
            true => text.into(),
            false => text.replace(&self.0, "[secret]"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Which API a provider of models speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// OpenAI's, or one like it. The base URL ends before `chat/completions`, as in `https://api.openai.com/v1`.
    OpenAiCompatible,
    /// Anthropic's. The base URL ends before `v1/messages`.
    Anthropic,
    /// Google's Generative Language API. The base URL ends before `v1beta/models`.
    Google,
    /// OpenCode's own gateway, which speaks all of these, each model one of them. Its name is `opencode`,
    /// because OpenCode's catalog tells by that name which one.
    Zen,
}

impl ModelKind {
    /// The version in the paths of this kind that users often have in the base URL.
    pub(super) fn version(self) -> Option<&'static str> {
        match self {
            ModelKind::Anthropic => Some("/v1"),
            ModelKind::Google => Some("/v1beta"),
            ModelKind::OpenAiCompatible | ModelKind::Zen => None,
        }
    }
}

/// A provider of models.
#[derive(Clone, Debug)]
pub struct ModelRoute {
    /// OpenCode's name of the provider, which is in the path of its requests.
    pub name: String,
    /// Which API it speaks.
    pub kind: ModelKind,
    /// Where it is. See [`ModelKind`] for where each ends.
    pub base_url: String,
    /// What it wants to see of us.
    pub key: Secret,
    /// The models that may be asked for, by the provider's own names.
    pub models: Vec<String>,
}

/// What a git host wants to see of us.
#[derive(Clone, Debug)]
pub struct GitLogin {
    /// The user: `x-access-token` for tokens of GitHub, `oauth2` for those of GitLab.
    pub user: String,
    /// The token.
    pub token: Secret,
}

/// A git host.
#[derive(Clone, Debug)]
pub struct GitHost {
    /// The host in the addresses of its repositories: `github.com`.
    pub name: String,
    /// Where its repositories are: `https://github.com`.
    pub base_url: String,
    /// None for a host whose repositories are public.
    pub login: Option<GitLogin>,
    /// Whether `Owner/Name` and `owner/name` are one repository there, as on GitHub and GitLab.
    pub ignores_case: bool,
}

/// A repository that a sandbox may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The name of a [`GitHost`].
    pub host: String,
    /// The owner; with slashes where groups are in groups.
    pub owner: String,
    /// The name, without `.git`.
    pub name: String,
    /// Whether commits may be pushed.
    pub may_push: bool,
}

/// What a request may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes in the body of a request to a model.
    pub model_body: u64,
    /// Bytes in the body of a request of git.
    pub git_body: u64,
    /// How long a connection to a provider or host may take to come about.
    pub connect: Duration,
    /// From the end of a request to the first byte of its answer. A model that thinks sends none for minutes.
    pub first_byte: Duration,
    /// How long nothing may move in the middle of a request or an answer.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            model_body: 32 << 20,
            git_body: 2 << 30,
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
        }
    }
}

/// All that a [`Gateway`](super::Gateway) knows.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The providers of models.
    pub models: Vec<ModelRoute>,
    /// The git hosts.
    pub git: Vec<GitHost>,
    /// What a request may take.
    pub limits: Limits,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A name that no path can have.
    #[error(
        "`{0}` cannot be the name of a provider or a git host; use letters, digits, `.`, `-` and `_`"
    )]
    Name(String),
    /// Two of one name.
    #[error("`{0}` is configured twice; remove one of the two")]
    Twice(String),
    /// A base URL that is none.
    #[error(
        "the base URL of `{name}` cannot be used: {reason}; write it as in `https://api.example.com/v1`"
    )]
    Url {
        /// Of what.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A key that no header can carry.
    #[error(
        "the key of `{0}` is empty or has a letter that no HTTP header can carry; copy it again"
    )]
    Key(String),
    /// Zen by another name.
    #[error(
        "the provider of the kind Zen is named `{0}`; OpenCode knows it as `opencode`, so name it so"
    )]
    Zen(String),
    /// The HTTP client.
    #[error("the HTTP client could not be made: {0}")]
    Client(#[source] reqwest::Error),
}

impl Settings {
    /// Base URLs in one form, and an error for what could never work.
    pub(super) fn checked(mut self) -> Result<Self, SettingsError> {
        let mut names = HashSet::new();
        for route in &mut self.models {
            name(&route.name)?;
            if !names.insert(route.name.clone()) {
                return Err(SettingsError::Twice(route.name.clone()));
            }
            if route.kind == ModelKind::Zen && route.name != "opencode" {
                return Err(SettingsError::Zen(route.name.clone()));
            }
            key(&route.name, &route.key)?;
            let url = base(&route.name, &route.base_url)?;
            let version = route.kind.version().unwrap_or_default();
            route.base_url = url.strip_suffix(version).unwrap_or(&url).to_string();
        }
        let mut names = HashSet::new();
        for host in &mut self.git {
            name(&host.name)?;
            host.name.make_ascii_lowercase();
            if !names.insert(host.name.clone()) {
                return Err(SettingsError::Twice(host.name.clone()));
            }
            if let Some(login) = &host.login {
                key(&host.name, &login.token)?;
            }
            host.base_url = base(&host.name, &host.base_url)?;
        }
        Ok(self)
    }
}

fn name(name: &str) -> Result<(), SettingsError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    match name.chars().all(fits) && !["", ".", ".."].contains(&name) {
        true => Ok(()),
        false => Err(SettingsError::Name(name.into())),
    }
}

fn key(name: &str, key: &Secret) -> Result<(), SettingsError> {
    let fits = HeaderValue::from_str(key.expose()).is_ok_and(|value| value.to_str().is_ok());
    match fits && !key.expose().is_empty() {
        true => Ok(()),
        false => Err(SettingsError::Key(name.into())),
    }
}

/// A base URL without the slash at its end.
fn base(name: &str, text: &str) -> Result<String, SettingsError> {
    let wrong = |reason: &str| SettingsError::Url {
        name: name.into(),
        reason: reason.into(),
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(wrong("it is not of the form http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it has a user or a password, which belong into the key",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, kind: ModelKind, base_url: &str) -> Settings {
        let route = ModelRoute {
            name: name.into(),
            kind,
            base_url: base_url.into(),
            key: Secret::new("k"),
            models: Vec::new(),
        };
        Settings {
            models: vec![route],
            ..Settings::default()
        }
    }

    #[test]
    fn a_base_url_has_one_form_however_it_is_written() {
        for (kind, written, form) in [
            (
                ModelKind::OpenAiCompatible,
                "https://API.example/v1/",
                "https://api.example/v1",
            ),
            (
                ModelKind::Anthropic,
                "https://api.example",
                "https://api.example",
            ),
            (
                ModelKind::Anthropic,
                "https://api.example/v1/",
                "https://api.example",
            ),
            (
                ModelKind::Google,
                "https://api.example/v1beta",
                "https://api.example",
            ),
        ] {
            let checked = route("a", kind, written).checked().unwrap();
            assert_eq!(checked.models[0].base_url, form, "{written}");
        }
    }

    #[test]
    fn settings_that_could_never_work_are_refused_with_a_sentence() {
        let kind = ModelKind::OpenAiCompatible;
        let mut twice = route("a", kind, "http://h");
        twice.models.extend(twice.models.clone());
        let mut keyless = route("a", kind, "http://h");
        keyless.models[0].key = Secret::new("");
        for (settings, words) in [
            (route("a/b", kind, "http://h"), "cannot be the name"),
            (route("..", kind, "http://h"), "cannot be the name"),
            (route("a", kind, "ftp://h"), "http:// or https://"),
            (route("a", kind, "h"), "cannot be used"),
            (route("a", kind, "http://u:p@h"), "user or a password"),
            (route("a", kind, "http://h/?a=b"), "a query"),
            (route("zen", ModelKind::Zen, "http://h"), "name it so"),
            (twice, "configured twice"),
            (keyless, "copy it again"),
        ] {
            let error = settings.checked().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let printed = format!("{:?}", route("a", ModelKind::Google, "http://h"));
        assert!(printed.contains("key: Secret,"), "{printed}");
    }
}
