//! Keys and URLs as people paste them: cleaned, and refused where a character cannot be sent.

use super::error::ConfigError;

/// A value without what people copy along with it: white space and quotes around it.
pub(super) fn clean(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\'', '`'] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|v| v.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.trim();
        }
    }
    value
}

/// The URL of the API: without what is around it, and without a login, which would be sent in the
/// place of the key.
pub(super) fn address(url: &str, from: &str) -> Result<String, ConfigError> {
    let url = clean(url).trim_matches(|c| kind_of(c) == Some(INVISIBLE));
    only_graphic(url, || from.to_string())?;
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let is_web = ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if !is_web || host.is_empty() {
        return Err(ConfigError::Url(url.into()));
    }
    Ok(format!("{}://{host}{path}", scheme.to_ascii_lowercase()))
}

/// Refuses what no header and no URL can hold. The value itself is never shown.
pub(super) fn only_graphic(value: &str, name: impl Fn() -> String) -> Result<(), ConfigError> {
    let odd = |(_, c): &(usize, char)| kind_of(*c).is_some();
    let Some((at, c)) = value.chars().enumerate().find(odd) else {
        return Ok(());
    };
    Err(ConfigError::Character {
        name: name(),
        kind: kind_of(c).unwrap_or_default(),
        code: c.into(),
        at: at + 1,
        of: value.chars().count(),
    })
}

const INVISIBLE: &str = "an invisible character";

/// What is wrong with a character in a key or an address, if anything is.
fn kind_of(c: char) -> Option<&'static str> {
    Some(match c {
        '!'..='~' => return None,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => INVISIBLE,
        '\n' | '\r' => "a line end",
        c if c.is_control() => "a control character",
        c if c.is_whitespace() => "white space",
        _ => "a character that is not ASCII",
    })
}
