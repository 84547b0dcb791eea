//! What nobody may read: the API key, passwords in addresses, tokens of links. They are taken out of
//! every text that leaves the core.
//!
//! There are three ways out, and each is closed at its end and not where texts are made. What a call
//! gives back goes through [`Secrets::hide_in`] in the one place that turns results into JSON
//! (`dispatch.rs`). What the core says by itself goes through `Screen` (`screen.rs`), which stands between the core
//! and its host and its OpenCode: log lines, toasts, questions, live output. The reasons in the
//! store go through it when the file is written.
//!
//! A secret is known in the forms in which programs write it: as it is, percent-encoded, escaped for
//! JSON and for a log, in hexadecimal, in base64 wherever it begins, and cut off at either end.

use crate::config::{Config, ConfigError};
use crate::dotenv;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use host::*;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A shorter secret is only known where it stands in its form (`user:password@`): what is replaced
/// wherever it stands must not be a part of other words.
const SHORTEST: usize = 8;
/// So many characters of a longer secret are enough to know it: a text may be cut in it.
const TELLING: usize = 12;
/// Variables that hold keys of Daytona.
const KEYS: &[&str] = &["DAYTONA_API_KEY", "DAYTONA_JWT_TOKEN"];

/// What stands in the place of a link.
const LINK: &str = "[hidden: link]";

/// All that is known so far.
#[derive(Default)]
pub(crate) struct Secrets {
    known: Mutex<Vec<Secret>>,
}

#[derive(Clone, PartialEq)]
struct Secret {
    /// What stands in its place.
    label: String,
    /// As it is; files that hold it stay on the host.
    value: String,
    forms: Vec<Form>,
}

/// How a secret may be written.
#[derive(Clone, PartialEq)]
struct Form {
    text: String,
    /// How much of its beginning is enough.
    telling: usize,
}

impl Secrets {
    fn known(&self) -> MutexGuard<'_, Vec<Secret>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration of a project. What is secret in it is known before anything is said
    /// about it.
    pub(crate) async fn settings(
        &self,
        host: &dyn Host,
        options: &Value,
        root: &str,
    ) -> Result<Config, ConfigError> {
        let path = format!("{}/{}", root.trim_end_matches('/'), dotenv::NAME);
        let dotenv = dotenv::parse(&host.read_file(&path).await.unwrap_or_default());
        self.learn_settings(options, |name| host.env(name), &dotenv);
        Config::read(options, |name| host.env(name), &dotenv)
    }

    /// Learns what options, environment and `.env` hold, right or wrong.
    pub(crate) fn learn_settings(
        &self,
        options: &Value,
        env: impl Fn(&str) -> Option<String>,
        dotenv: &[(String, String)],
    ) {
        for name in KEYS {
            self.key(name, &env(name).unwrap_or_default());
        }
        for name in proxy::VARIABLES.iter().chain(&["DAYTONA_API_URL"]) {
            self.address(name, &env(name).unwrap_or_default());
        }
        for (name, value) in dotenv {
            match KEYS.contains(&name.as_str()) {
                true => self.key(name, value),
                false => self.address(name, value),
            }
        }
        let url = options.get("apiUrl").and_then(Value::as_str);
        self.address("apiUrl", url.unwrap_or_default());
    }

    /// Learns a key. One with characters that it should not have is known without them, too.
    fn key(&self, name: &str, value: &str) {
        let label = format!("[hidden: {name}]");
        let value = value.trim();
        let plain: String = value.chars().filter(char::is_ascii_graphic).collect();
        self.learn(&label, value, forms(value));
        if plain != value {
            self.learn(&label, &plain, forms(&plain));
            for piece in value.split(|c: char| !c.is_ascii_graphic()) {
                self.learn(&label, piece, forms(piece));
            }
        }
    }

    /// Learns the password that an address may have.
    fn address(&self, name: &str, value: &str) {
        let Some(login) = login(value) else {
            return;
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let label = format!("[hidden: password in {name}]");
        let decoded = [user, password].map(host::percent_decoded);
        let pair = format!("{}:{}", decoded[0], decoded[1]);
        let mut all = base64_of(&pair);
        all.extend([format!("{login}@"), format!("{pair}@")]);
        all.retain(|form| form.len() > 2);
        all.sort();
        all.dedup();
        // Without a password it is the user's name that is one.
        let alone = if password.is_empty() {
            &decoded[0]
        } else {
            &decoded[1]
        };
        let mut forms: Vec<Form> = all.into_iter().map(Form::whole).collect();
        if is_telling(alone) {
            forms.extend(self::forms(alone));
        }
        self.put(&label, &format!("{login}@"), forms);
    }

    /// Learns the address of a link: whoever has it needs no key. Daytona's has its token in the name of
    /// the host, daytona-local's in the path.
    pub(crate) fn link(&self, url: &str) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let mut parts = rest.split(['/', '?', '#']);
        let name = parts.next().unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default();
        let in_name = name.split_once('-').map_or(name, |(_, token)| token);
        let mut tokens = std::iter::once(in_name).chain(parts);
        let token = tokens.find(|token| token.len() >= SHORTEST);
        let token = token.unwrap_or(rest);
        self.learn(LINK, token, vec![Form::whole(token.into())]);
    }

    /// Lets the address of a link be read again.
    pub(crate) fn forget_link(&self, url: &str) {
        self.known().retain(|secret| !url.contains(&secret.value));
    }

    fn learn(&self, label: &str, value: &str, forms: Vec<Form>) {
        if value.len() >= SHORTEST {
            self.put(label, value, forms);
        }
    }

    fn put(&self, label: &str, value: &str, forms: Vec<Form>) {
        let (label, value) = (label.to_string(), value.to_string());
        let mut known = self.known();
        if !known.iter().any(|secret| secret.value == value) {
            known.push(Secret {
                label,
                value,
                forms,
            });
        }
    }

    /// Values that no file and no commit may bring into a sandbox.
    pub(crate) fn values(&self) -> git_bridge::Secrets {
        let known = self.known();
        let own = known.iter().filter(|secret| secret.label != LINK);
        git_bridge::Secrets::new(own.map(|secret| secret.value.clone()).collect())
    }

    /// The text without any secret.
    pub(crate) fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        // Nothing is known for sure while it is being changed: that is a panic's text.
        let Ok(known) = self.known.try_lock() else {
            return Cow::Borrowed("[hidden]");
        };
        let mut found: Vec<(usize, usize, &str)> = Vec::new();
        for secret in &*known {
            for form in &secret.forms {
                let places = form.places(text).into_iter();
                found.extend(places.map(|(from, to)| (from, to, secret.label.as_str())));
            }
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_unstable_by_key(|(from, to, _)| (*from, usize::MAX - to));
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for (from, to, label) in found {
            if from >= at {
                out.push_str(&text[at..from]);
                out.push_str(label);
            }
            at = at.max(to);
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }

    /// The same for every text in a value but names of fields and kinds.
    pub(crate) fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(hidden) = self.hide(text) {
                    *text = hidden;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.hide_in(item));
                // Names of files may be names of fields.
                let odd = |name: &&String| matches!(self.hide(name), Cow::Owned(_));
                let odd: Vec<String> = map.keys().filter(odd).cloned().collect();
                for name in odd {
                    if let Some(item) = map.remove(&name) {
                        map.insert(self.hide(&name).into_owned(), item);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Form {
    fn whole(text: String) -> Form {
        let telling = text.len();
        Form { text, telling }
    }

    /// Where it stands in a text, whole or cut off.
    fn places(&self, text: &str) -> Vec<(usize, usize)> {
        let Some(start) = self.text.get(..self.telling) else {
            return Vec::new();
        };
        let mut places: Vec<(usize, usize)> = (text.match_indices(start))
            .map(|(at, _)| {
                let same = |(a, b): &(u8, u8)| a == b;
                let pairs = text.as_bytes()[at..].iter().copied().zip(self.text.bytes());
                let mut to = at + pairs.take_while(same).count();
                while !text.is_char_boundary(to) {
                    to -= 1;
                }
                (at, to)
            })
            .collect();
        // What is shown of a long text may be its end.
        if self.telling < self.text.len() {
            let rests =
                (1..self.text.len().saturating_sub(SHORTEST)).filter_map(|n| self.text.get(n..));
            if let Some(rest) = rests.into_iter().find(|rest| text.starts_with(rest)) {
                places.push((0, rest.len()));
            }
        }
        places
    }
}

/// All ways in which a secret may be written.
fn forms(value: &str) -> Vec<Form> {
    let hex = |upper: bool| -> String {
        let digits = |byte: u8| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        value.bytes().map(digits).collect()
    };
    let percent = |upper: bool| -> String {
        let digits = |byte: u8| match (byte, upper) {
            (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~', _) => {
                (byte as char).to_string()
            }
            (_, true) => format!("%{byte:02X}"),
            (_, false) => format!("%{byte:02x}"),
        };
        value.bytes().map(digits).collect()
    };
    let json = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_string()
    };
    let debug = format!("{value:?}");
    let once = json(value);
    let mut all = vec![
        value.to_string(),
        percent(true),
        percent(false),
        json(&once),
        once,
        debug[1..debug.len() - 1].to_string(),
        hex(true),
        hex(false),
    ];
    all.extend(base64_of(value));
    all.sort();
    all.dedup();
    // Of a key of Daytona the beginning is enough; tokens in base64, and keys that people make up,
    // begin with words.
    let telling = |text: &str| match text.strip_prefix("dtn_") {
        Some(_) => TELLING,
        None => TELLING.max(text.len() * 2 / 3),
    };
    all.into_iter()
        .map(|text| Form {
            telling: telling(&text).min(text.len()),
            text,
        })
        .collect()
}

/// What stands for a text in base64, in either alphabet and wherever it begins in what was encoded.
fn base64_of(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for before in 0..3 {
        let bytes = [&vec![0; before][..], text.as_bytes()].concat();
        // Characters that hold bits of what is around it.
        let from = (before * 8_usize).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        for encoded in [
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            // It may be the end of what was encoded, or not.
            let pieces = [encoded.get(from..), encoded.get(from..to)];
            all.extend(pieces.into_iter().flatten().map(str::to_string));
        }
    }
    all.retain(|form| form.len() >= SHORTEST);
    all
}

/// True for a password that is no word: a word would be taken out of every text.
fn is_telling(password: &str) -> bool {
    let has = |kind: fn(&char) -> bool| password.chars().any(|c| kind(&c));
    password.len() >= SHORTEST
        && !(has(char::is_ascii_alphabetic) && password.chars().all(|c| c.is_ascii_alphabetic()))
}

/// `user:password` of an address.
fn login(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, _) = host.rsplit_once('@')?;
    (!login.is_empty()).then_some(login)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    const KEY: &str = "dtn_0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    fn of(env: &[(&str, &str)]) -> Secrets {
        let secrets = Secrets::default();
        let env = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        secrets.learn_settings(&json!({}), env, &[]);
        secrets
    }

    #[test]
    fn a_key_is_hidden_in_every_form_in_which_it_may_be_written() {
        let secrets = of(&[("DAYTONA_API_KEY", KEY)]);
        let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
        let base64 = |text: String| STANDARD.encode(text);
        for (text, rest) in [
            (format!("Bearer {KEY}"), "Bearer "),
            (format!("{KEY}{KEY}"), ""),
            (hex, ""),
            (base64(format!("user:{KEY}")), "dXNlcj"),
            (base64(format!("user1:{KEY}")), "dXNlcjE"),
            (base64(format!("user12:{KEY}")), "dXNlcjEy"),
            (format!("cut {}", &KEY[..15]), "cut "),
            (format!("{} is its end", &KEY[9..]), " is its end"),
        ] {
            let hidden = secrets.hide(&text);
            assert!(
                hidden.contains("[hidden: DAYTONA_API_KEY]"),
                "{text}: {hidden}"
            );
            assert!(
                hidden.contains(rest) && !hidden.contains(&KEY[4..14]),
                "{hidden}"
            );
        }
        for text in [
            "",
            "dtn_",
            "DAYTONA_API_KEY is not set",
            "0a1b2c3d is a word",
        ] {
            assert_eq!(secrets.hide(text), text);
        }
    }

    #[test]
    fn what_a_key_should_not_have_does_not_show_it() {
        for odd in ['\u{200b}', '\r', '\0', ' ', 'ä', '"', '\\'] {
            let key = format!("{}{odd}{}", &KEY[..16], &KEY[16..]);
            let secrets = of(&[("DAYTONA_API_KEY", &key)]);
            for text in [
                format!("Header '14' has invalid value: 'Bearer {key}'"),
                json!({ "key": key }).to_string(),
                json!(json!({ "key": key }).to_string()).to_string(),
                format!("{key:?}"),
                match odd.is_ascii_graphic() {
                    true => key.clone(),
                    false => format!("{KEY} {}\u{fffd}{}", &KEY[..16], &KEY[16..]),
                },
            ] {
                let hidden = secrets.hide(&text);
                let shown = hidden.contains(&KEY[4..14]) || hidden.contains(&KEY[18..]);
                assert!(!shown, "{odd:?} {text}: {hidden}");
            }
        }
    }

    #[test]
    fn a_password_is_hidden_where_it_stands_and_words_are_left_alone() {
        for (address, text, expected) in [
            (
                "http://me:s3cret-pw@proxy:3128",
                "to http://me:s3cret-pw@proxy:3128/",
                Some("to http://[hidden: password in HTTPS_PROXY]proxy:3128/"),
            ),
            (
                "http://me:s3cret-pw@proxy:3128",
                "it is s3cret-pw",
                Some("it is [hidden: password in HTTPS_PROXY]"),
            ),
            (
                "me:s3cret-pw@proxy:3128",
                "it is s3cret-pw",
                Some("it is [hidden: password in HTTPS_PROXY]"),
            ),
            (
                "http://me:p%40ssword1@proxy",
                "p@ssword1",
                Some("[hidden: password in HTTPS_PROXY]"),
            ),
            (
                "http://me:pass@proxy",
                "http://me:pass@proxy passes",
                Some("http://[hidden: password in HTTPS_PROXY]proxy passes"),
            ),
            (
                "http://me:pass@proxy",
                "Basic bWU6cGFzcw==",
                Some("Basic [hidden: password in HTTPS_PROXY]=="),
            ),
            ("http://me:password@proxy", "the password of me", None),
            ("http://proxy:3128", "http://proxy:3128", None),
            ("http://proxy/a@b", "a@b", None),
        ] {
            let secrets = of(&[("HTTPS_PROXY", address)]);
            assert_eq!(secrets.hide(text), expected.unwrap_or(text), "{address}");
        }
    }

    #[test]
    fn names_of_fields_stay_and_everything_else_is_hidden() {
        let secrets = of(&[("DAYTONA_API_KEY", "dtn_message-output")]);
        let mut value =
            json!({ "message": ["a dtn_message-output", { "dtn_message-output": 1 }], "n": 2 });
        secrets.hide_in(&mut value);
        let hidden = "[hidden: DAYTONA_API_KEY]";
        assert_eq!(
            value,
            json!({ "message": [format!("a {hidden}"), { hidden: 1 }], "n": 2 })
        );
    }

    #[test]
    fn a_link_is_hidden_until_it_is_given_again() {
        for (url, said, hidden) in [
            (
                "https://3000-abcdefgh12345.proxy.example",
                "curl https://3000-abcdefgh12345.proxy.example/a",
                "curl https://3000-[hidden: link].proxy.example/a",
            ),
            (
                "http://127.0.0.1:3000/abcdefgh12345",
                "curl http://localhost:3000/abcdefgh12345/a",
                "curl http://localhost:3000/[hidden: link]/a",
            ),
            (
                "https://a.example/b",
                "curl https://a.example/b",
                "curl https://[hidden: link]",
            ),
        ] {
            let secrets = Secrets::default();
            secrets.link(url);
            assert_eq!(secrets.hide(said), hidden);
            secrets.forget_link(url);
            assert_eq!(secrets.hide(said), said);
        }
    }
}
