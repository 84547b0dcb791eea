//! Secrets are taken out of every text before it is written to the spool or sent: what looks like one, by the
//! rules of the crate `redact-secret`, and the very values that are known here (the project's `.env`, and
//! the environment's). A text that cannot be searched does not leave.

use crate::digest::short_hash;
use redact_secret::{
    DefaultPolicy, DetectorRegistry, Finding, FormatterFailure, PlaceholderContext, scan_and_redact,
};
use serde_json::{Map, Value};
use std::rc::Rc;

/// Stands for a secret.
const HIDDEN: &str = "[redacted]";
/// Stands for a text that could not be searched.
const UNSEARCHED: &str = "[not sent: this text could not be searched for secrets]";
/// A shorter value is a word that may stand anywhere.
const MIN_VALUE: usize = 8;
/// What the name of a variable with a secret has in it.
const NAMES: &[&str] = &[
    "AUTH",
    "CREDENTIAL",
    "KEY",
    "PASS",
    "PRIVATE",
    "PWD",
    "SECRET",
    "TOKEN",
];
/// The store's own keys, which the rules do not know: `osk_` and 32 characters.
const STORE_KEY: (&str, usize) = ("osk_", 32);

/// Values that stand in many environments and texts, whatever the name of their variable.
const COMMON: &[&str] = &[
    "administrator",
    "changeme",
    "change-me",
    "change_me",
    "database",
    "debugging",
    "development",
    "disabled",
    "localhost",
    "password",
    "passw0rd",
    "postgres",
    "postgresql",
    "production",
    "undefined",
    "username",
    "your-api-key",
    "your_api_key",
];

/// Takes secrets out.
#[derive(Clone)]
pub struct Redactor {
    rules: Option<Rc<DetectorRegistry>>,
    /// The longest first: one may be a part of another.
    values: Vec<String>,
}

impl Redactor {
    /// Knows the rules, and the values among these variables that are secrets by their names.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Redactor {
        let secrets = variables.into_iter().filter(|(name, _)| is_secret(name));
        let rules = DetectorRegistry::with_built_in([]).ok().map(Rc::new);
        let values = Vec::new();
        Redactor { rules, values }.knowing(secrets.map(|(_, value)| value))
    }

    /// Knows the values in a project's `.env` files as well: all but those that are no secret to the eye.
    pub fn in_project(&self, variables: &[(String, String)]) -> Redactor {
        let secrets = variables
            .iter()
            .filter(|(name, value)| is_secret(name) || !is_plain(value));
        self.clone()
            .knowing(secrets.map(|(_, value)| value.as_str()))
    }

    fn knowing<'a>(mut self, values: impl Iterator<Item = &'a str>) -> Redactor {
        for value in values.map(str::trim) {
            // As it stands there, as programs read it, as JSON has it, and each line of a long one.
            let read = value.replace("\\n", "\n");
            let json = Value::from(read.as_str()).to_string();
            let lines: Vec<&str> = read.split('\n').map(str::trim).collect();
            let forms = [value, &read, json.trim_matches('"')]
                .into_iter()
                .chain(lines);
            let is_known = |form: &&str| form.len() >= MIN_VALUE && !is_common(form);
            self.values
                .extend(forms.filter(is_known).map(str::to_string));
        }
        self.values
            .sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        self.values.dedup();
        self
    }

    /// Names the values that are known here, and tells none.
    pub fn name(&self) -> String {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        short_hash(&values)
    }

    /// A text without secrets.
    pub fn text(&self, given: &str) -> String {
        let known = self.values.iter().fold(given.to_string(), |text, value| {
            match text.contains(value) {
                true => text.replace(value, HIDDEN),
                false => text,
            }
        });
        let known = without_store_keys(known);
        let Some(rules) = self.rules.as_deref() else {
            return UNSEARCHED.into();
        };
        let formatter = |_: &Finding, _: &PlaceholderContext| -> Result<String, FormatterFailure> {
            Ok(HIDDEN.into())
        };
        match scan_and_redact(&known, rules, &DefaultPolicy, &formatter) {
            Ok(searched) => searched.text().into(),
            Err(_) => UNSEARCHED.into(),
        }
    }

    /// A value without secrets in its texts. The name of a field tells what its value is.
    pub fn value(&self, given: &Value) -> Value {
        match given {
            Value::String(text) => self.text(text).into(),
            Value::Array(entries) => entries.iter().map(|entry| self.value(entry)).collect(),
            Value::Object(fields) => {
                let field =
                    |(name, value): (&String, &Value)| (self.text(name), self.named(name, value));
                Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn named(&self, name: &str, value: &Value) -> Value {
        let Value::String(text) = value else {
            return self.value(value);
        };
        let before = format!("{name}=");
        let searched = self.text(&format!("{before}{text}"));
        match searched.strip_prefix(&before) {
            Some(searched) => searched.into(),
            None => self.text(text).into(),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    // Where the shell is is not a password, and who wrote something has none.
    if name == "PWD" || name == "OLDPWD" {
        return false;
    }
    let name = name.replace("AUTHORIZ", "AUTH").replace("AUTHOR", "");
    NAMES.iter().any(|part| name.contains(part))
}

fn is_common(value: &str) -> bool {
    COMMON.contains(&value.to_lowercase().as_str())
}

/// True for a value that nobody would call a secret: words, numbers, an address without a password. It would be
/// taken out of many a text that has nothing to do with it.
fn is_plain(value: &str) -> bool {
    let value = value.trim();
    let rest = match value.split_once("://") {
        Some((_, rest)) if rest.contains(['@', '?']) => return false,
        Some((_, rest)) => rest,
        None => value,
    };
    if rest.contains('@') {
        return false;
    }
    let is_lettered = |word: &str| {
        let inner = word.chars().skip(1).filter(|c| c.is_uppercase()).count();
        word.len() <= 20
            && word.chars().all(char::is_alphabetic)
            && (inner <= 2 || word.chars().all(char::is_uppercase))
    };
    let is_number = |word: &str| word.len() <= 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    let words = rest.split(|c: char| " -_./:,\\".contains(c));
    // One may be something like `v1`; several of the kind are a code.
    let others: Vec<&str> = words
        .filter(|word| !is_lettered(word) && !is_number(word))
        .collect();
    others.len() <= 1 && others.iter().all(|word| word.len() <= 3)
}

fn without_store_keys(text: String) -> String {
    let (prefix, length) = STORE_KEY;
    if !text.contains(prefix) {
        return text;
    }
    let mut out = String::new();
    for (n, piece) in text.split(prefix).enumerate() {
        let is_key = piece.bytes().take_while(u8::is_ascii_alphanumeric).count() >= length;
        match (n, is_key) {
            (0, _) => out.push_str(piece),
            (_, true) => {
                out.push_str(HIDDEN);
                out.push_str(piece.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
            }
            (_, false) => {
                out.push_str(prefix);
                out.push_str(piece);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Made up, in the forms that services give. The part between the marks must go.
    const SECRETS: &[&str] = &[
        "token «ghp_16C7e42F292c6912E7710c838347Ae178B4a» here",
        "«AKIAIOSFODNN7EXAMPLQ»",
        "aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzQRSTUVWX»",
        "OPENAI_API_KEY=«sk-proj-abcdEFGH1234ijklMNOP5678qrstUVWX9012yzABcdEFgh34»",
        "«sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUv-abcdefgAA»",
        "«xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx»",
        "«sk_live_4eC39HqLyjWDarjtT1zdp7dcAbCd»",
        "«AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY»",
        "«eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U»",
        "postgres://admin:«Sup3rS3cretPw»@db.example.org:5432/app",
        "password: \"«correct-horse-9battery-staple»\"",
        "curl -H 'Authorization: Bearer «9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c»'",
        "//npm.example.org/:_authToken=«npm_abcdefghijklmnopqrstuvwxyz0123456789»",
        "DAYTONA_API_KEY=«dtn_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef»",
        "glpat «glpat-AbCdEfGhIjKlMnOpQrSt»",
        "«hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh»",
        "Authorization: Basic «dXNlcjpzZWNyZXRwYXNzd29yZA==»",
        "«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»",
        "opencode-sync login with «osk_AbCdEfGhIjKlMnOpQrStUvWxYz012345»",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n«b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ»\n-----END OPENSSH PRIVATE KEY-----",
    ];

    /// What a session is full of, and no secret.
    const HARMLESS: &[&str] = &[
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "const token = await getToken(user)",
        "password: process.env.PASSWORD",
        "id: 550e8400-e29b-41d4-a716-446655440000",
        "https://example.org/a/b?c=d&e=f",
        "fn key(&self) -> &str { &self.api_key }",
        "if (!apiKey) throw new Error('no API key')",
        "import { secret } from './secrets.js'",
        "DAYTONA_API_KEY=...",
        "export API_KEY=<your key>",
        "max_tokens: 4096, tokens: 1200",
        "ses_4f2a9c8b1ffeXYZabcdefghijk msg_b0d563740001ABCDEFGHIJKLMN",
        "git@github.com:example/shop.git",
        "The prefix osk_ stands before a key.",
        "test result: ok. 103 passed; 0 failed; 0 ignored; finished in 36.02s",
        "    at Object.<anonymous> (/home/me/shop/src/index.js:12:34)",
        "PASSWORD=\"$(cat /run/secrets/password)\"",
    ];

    #[test]
    fn secrets_of_known_forms_are_taken_out_and_nothing_else() {
        let redactor = Redactor::new([]);
        let mut missed = Vec::new();
        for marked in SECRETS {
            let secret = marked.split(['«', '»']).nth(1).expect("a mark");
            let text = marked.replace(['«', '»'], "");
            let searched = redactor.text(&text);
            if searched.contains(secret) {
                missed.push(text);
            }
        }
        let alarms: Vec<String> = HARMLESS
            .iter()
            .map(|text| redactor.text(text))
            .filter(|searched| !HARMLESS.contains(&searched.as_str()))
            .collect();
        assert_eq!((missed, alarms), (Vec::new(), Vec::new()));
    }

    #[test]
    fn values_of_variables_with_the_name_of_a_secret_are_taken_out_literally() {
        let redactor = Redactor::new([
            ("DB_PASSWORD", "tuesday afternoon"),
            ("DB_PASSWORD_OLD", "tuesday after"),
            ("my_token", " plainword9 "),
            ("SHORT_KEY", "abc"),
            ("HOME", "/home/me/shop"),
            ("PWD", "/home/me/shop"),
            ("OLDPWD", "/home/me/shop"),
            ("GIT_AUTHOR_NAME", "/home/me/shop"),
            ("PROXY_AUTHORIZATION", "by my word"),
        ]);
        for (text, expected) in [
            ("it is tuesday afternoon", "it is [redacted]"),
            ("plainword9!", "[redacted]!"),
            ("by my word", "[redacted]"),
            ("abc in /home/me/shop", "abc in /home/me/shop"),
        ] {
            assert_eq!(redactor.text(text), expected);
        }
    }

    #[test]
    fn of_a_projects_values_all_but_the_plain_ones_are_taken_out() {
        for (name, value, is_hidden) in [
            ("DEBUG", "true", false),
            ("PORT", "3000", false),
            ("HOST", "localhost", false),
            ("NODE_ENV", "development", false),
            ("DB_PASSWORD", "postgres", false),
            ("DB_PASSWORD", "abc", false),
            ("SESSION_SECRET", "changeme", false),
            ("REGION", "eu-central-1", false),
            ("APP_NAME", "my-little-shop", false),
            ("API", "https://api.example.com/v1", false),
            ("BIND", "127.0.0.1:8080", false),
            ("DATA", "./var/data/files", false),
            ("LOCALE", "en_US.UTF-8", false),
            ("DB_PASSWORD", "tuesday afternoon", true),
            (
                "DSN",
                "postgres://shop:s3cr3tword@db.example.com/shop",
                true,
            ),
            ("HOOK", "https://hooks.example.com/x?sig=Zk81", true),
            ("ACCOUNT", "AC5f2c9e1b77d04a", true),
            ("LICENSE", "9X7Q-22KF-PL0A-77TT", true),
            ("LICENSE", "9X7-22K-PL0-A77", true),
            ("SALT", "kQzWbXrTnLpVd", true),
            ("NAME", "myLittleShop", false),
            ("LEVEL", "INFORMATION", false),
            ("CUSTOMER", "me@example.com", true),
            ("ID", "550e8400-e29b-41d4-a716-446655440000", true),
        ] {
            let redactor = Redactor::new([]).in_project(&[(name.into(), value.into())]);
            let text = format!("it is {value}, you know");
            // Rules may find it without being told, but for what is plain.
            assert_eq!(redactor.text(&text) != text, is_hidden, "{name}={value}");
        }
    }

    #[test]
    fn a_value_is_found_in_every_form_that_it_is_shown_in() {
        let value = r"first 1ine!\nsecond 1ine!";
        let redactor = Redactor::new([]).in_project(&[("NOTE".into(), value.into())]);
        for shown in [
            value,
            "first 1ine!\nsecond 1ine!",
            "second 1ine!",
            "{\"a\":\"first 1ine!\\nsecond 1ine!\"}",
        ] {
            let text = redactor.text(shown);
            assert!(!text.contains("1ine"), "{text}");
        }
        let quoted = Redactor::new([]).in_project(&[("NOTE".into(), "9 \"quoted\" words".into())]);
        assert_eq!(
            quoted.text(r#"{"a":"9 \"quoted\" words"}"#),
            r#"{"a":"[redacted]"}"#
        );
    }

    #[test]
    fn in_arguments_the_name_of_a_field_tells_what_its_value_is() {
        let redactor = Redactor::new([]);
        let given = json!({ "command": "ls", "env": { "password": "correct-horse-9battery-staple" }, "n": 1, "list": ["AKIAIOSFODNN7EXAMPLQ"] });
        let expected = json!({ "command": "ls", "env": { "password": "[redacted]" }, "n": 1, "list": ["[redacted]"] });
        assert_eq!(redactor.value(&given), expected);
    }

    #[test]
    fn what_was_searched_once_stays_as_it_is() {
        let redactor = Redactor::new([("API_KEY", "wonderful-value")]);
        for text in SECRETS.iter().chain(HARMLESS) {
            let once = redactor.text(&text.replace(['«', '»'], ""));
            assert_eq!(redactor.text(&once), once);
        }
    }
}
