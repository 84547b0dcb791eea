//! `.env`, as dotenv for Node.js reads it, which people know and Daytona's SDK uses.
//!
//! A line is `NAME=value` or `NAME: value`, after `export` and white space if that is there. A value
//! in single, double or back quotes may have several lines; in double quotes, `\n` and `\r` are line
//! ends. Otherwise it ends with the line, or at a `#` after white space. A byte-order mark and every
//! kind of line end are read. Of a name that is there twice the last value counts. Nothing is expanded.

/// The file's name, in the project's root.
pub(crate) const NAME: &str = ".env";

/// Names and values of Daytona, in their order; everything else in the file is none of ours.
pub(crate) fn parse(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = entry(rest);
        found.extend(entry.filter(|(name, _)| name.starts_with("DAYTONA_")));
        rest = after;
    }
    found
}

/// The value of a name.
pub(crate) fn value<'a>(entries: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let last = entries.iter().rev().find(|(known, _)| known == name);
    last.map(|(_, value)| value.as_str())
}

/// What is at the start of the text, and what follows it.
fn entry(text: &str) -> (Option<(String, String)>, &str) {
    let (line, below) = text.split_once('\n').unwrap_or((text, ""));
    let Some((name, value)) = assignment(line) else {
        return (None, below);
    };
    let value = &text[line.len() - value.len()..];
    let start = value.trim_start_matches(is_space);
    for quote in ['\'', '"', '`'] {
        let Some(quoted) = start.strip_prefix(quote) else {
            continue;
        };
        // As JavaScript does, a quote that is not closed is a part of the value.
        if let Some(end) = closing(quoted, quote) {
            let mut value = quoted[..end].to_string();
            if quote == '"' {
                value = value.replace("\\n", "\n").replace("\\r", "\r");
            }
            let after = &quoted[end + 1..];
            let after = after.split_once('\n').map_or("", |(_, after)| after);
            return (Some((name.into(), value)), after);
        }
    }
    let value = value.split('\n').next().unwrap_or_default();
    let mut space = true;
    let comment = value.char_indices().find(|(_, c)| {
        let starts = *c == '#' && space;
        space = c.is_whitespace();
        starts
    });
    let value = &value[..comment.map_or(value.len(), |(at, _)| at)];
    (Some((name.into(), trimmed(value).into())), below)
}

/// A line's name, and what stands behind the sign.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches(is_space);
    let exported = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with(is_space));
    let line = exported.unwrap_or(line).trim_start_matches(is_space);
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = line.find(|c| !is_part(c))?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let value = match rest.strip_prefix(':') {
        Some(value) if value.starts_with(is_space) => value,
        _ => rest.trim_start_matches(is_space).strip_prefix('=')?,
    };
    Some((name, value))
}

/// Where the quote is closed: a backslash before it says that it is not meant.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_dotenv_reads_it() {
        let name = "DAYTONA_API_KEY";
        for (text, expected) in [
            ("DAYTONA_API_KEY=k", Some("k")),
            ("\u{feff}DAYTONA_API_KEY=k", Some("k")),
            ("\u{feff}# first\r\nDAYTONA_API_KEY=k\r\n", Some("k")),
            ("OTHER=1\rDAYTONA_API_KEY=k\rMORE=2", Some("k")),
            ("export DAYTONA_API_KEY=k", Some("k")),
            ("export\tDAYTONA_API_KEY=k", Some("k")),
            ("\texport \t DAYTONA_API_KEY = \t k \t", Some("k")),
            ("export\u{a0}DAYTONA_API_KEY=k", Some("k")),
            ("DAYTONA_API_KEY: k", Some("k")),
            ("DAYTONA_API_KEY=k # mine", Some("k")),
            ("DAYTONA_API_KEY=k\t# mine", Some("k")),
            ("DAYTONA_API_KEY=k#1", Some("k#1")),
            ("DAYTONA_API_KEY=#k", Some("")),
            ("DAYTONA_API_KEY=", Some("")),
            ("DAYTONA_API_KEY='k # 1' # mine", Some("k # 1")),
            ("DAYTONA_API_KEY=\"k\"", Some("k")),
            ("DAYTONA_API_KEY=`k'\"`", Some("k'\"")),
            ("DAYTONA_API_KEY=\"a\\nb\"", Some("a\nb")),
            ("DAYTONA_API_KEY='a\\nb'", Some("a\\nb")),
            ("DAYTONA_API_KEY=\"a\nb\"\nX=1", Some("a\nb")),
            ("DAYTONA_API_KEY=\"a\\\"b\"", Some("a\\\"b")),
            ("A=\"\nDAYTONA_API_KEY=no\n\"\nDAYTONA_API_KEY=k", Some("k")),
            ("DAYTONA_API_KEY=\"k", Some("\"k")),
            ("DAYTONA_API_KEY=a=b", Some("a=b")),
            ("DAYTONA_API_KEY=1\nDAYTONA_API_KEY=2", Some("2")),
            ("DAYTONA_API_KEY=1\nDAYTONA_API_KEY=", Some("")),
            ("#DAYTONA_API_KEY=k", None),
            ("exportDAYTONA_API_KEY=k", None),
            ("DAYTONA_API_KEY", None),
            ("X DAYTONA_API_KEY=k", None),
            ("=k\nDAYTONA_API_KEY=k", Some("k")),
            ("", None),
        ] {
            let found = parse(text.as_bytes());
            assert_eq!(value(&found, name), expected, "{text:?}");
        }
        let found = parse(b"A=1\nDAYTONA_TARGET=\xff\nPATH=/evil\n");
        assert_eq!(found.len(), 1);
    }
}
