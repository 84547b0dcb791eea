//! Secrets are taken out of every text before it is written to the spool or sent: what looks like one, by the
//! rules of the crate `redact-secret`, and the very values that are known here (the project's `.env`, and
//! the environment's). A text that cannot be searched does not leave.

use redact_secret::{
    DefaultPolicy, DetectorRegistry, Finding, FormatterFailure, PlaceholderContext, scan_and_redact,
};
use serde_json::{Map, Value};

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

/// Takes secrets out.
pub struct Redactor {
    rules: Option<DetectorRegistry>,
    /// The longest first: one may be a part of another.
    values: Vec<String>,
}

impl Redactor {
    /// Knows the rules, and the values among these variables that are secrets by their names.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Redactor {
        let mut values: Vec<String> = variables
            .into_iter()
            .filter(|(name, _)| is_secret(name))
            .map(|(_, value)| value.trim().to_string())
            .filter(|value| value.len() >= MIN_VALUE)
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        let rules = DetectorRegistry::with_built_in([]).ok();
        Redactor { rules, values }
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
        let Some(rules) = &self.rules else {
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
    NAMES.iter().any(|part| name.contains(part))
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
        ]);
        for (text, expected) in [
            ("it is tuesday afternoon", "it is [redacted]"),
            ("plainword9!", "[redacted]!"),
            ("abc in /home/me/shop", "abc in /home/me/shop"),
        ] {
            assert_eq!(redactor.text(text), expected);
        }
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
