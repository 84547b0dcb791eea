//! What is wrong in the plugin's options.

use super::options::OPTIONS;

/// Why the plugin cannot work. The text reaches the model and the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name that is no option.
    #[error("opencode-daytona-sandbox has no option \"{0}\". Options: {names}.", names = OPTIONS.iter().map(|o| o.0).collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// A value of the wrong kind.
    #[error("option \"{name}\" of opencode-daytona-sandbox must be {expected}, but it is {got}")]
    Type {
        /// The option.
        name: String,
        /// What it takes.
        expected: &'static str,
        /// What it has.
        got: String,
    },
    /// Options that exclude each other.
    #[error(
        "options \"{0}\" and \"{1}\" of opencode-daytona-sandbox exclude each other: remove one"
    )]
    Exclusive(&'static str, &'static str),
    /// `.env` names a server, but the key is not its own.
    #[error(
        "DAYTONA_API_URL in .env is only used with a DAYTONA_API_KEY that is in .env too: put both there, or set the URL in the environment or as option \"apiUrl\""
    )]
    ForeignUrl,
    /// An option that needs another.
    #[error(
        "option \"{0}\" of opencode-daytona-sandbox needs option \"{1}\": set it, or remove \"{0}\""
    )]
    Needs(&'static str, &'static str),
    /// No key.
    #[error(
        "DAYTONA_API_KEY is not set. Set it in the environment or in .env in the project's root; without an account, run daytona-local (see the README)."
    )]
    NoKey,
    /// The key itself among what every sandbox gets.
    #[error(
        "{0} in the option \"env\" of opencode-daytona-sandbox holds the API key of Daytona, and no key of yours may get into a sandbox: remove it"
    )]
    KeyInSandbox(String),
    /// A key, an organization, a URL or a proxy with a character that it cannot have.
    #[error(
        "{name} has {kind} (U+{code:04X}) at position {at} of {of}, and neither a key nor a URL can have one. Copy it again, without what came along."
    )]
    Character {
        /// What it is called, and where it came from.
        name: String,
        /// What kind of character.
        kind: &'static str,
        /// Its number.
        code: u32,
        /// Where it stands, from 1 on.
        at: usize,
        /// How many there are.
        of: usize,
    },
    /// A URL that is none.
    #[error(
        "the Daytona API URL \"{0}\" is not an http or https URL. Correct apiUrl or DAYTONA_API_URL."
    )]
    Url(String),
}
