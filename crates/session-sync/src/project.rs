//! What a project keeps secret: the values in its `.env` files. They are read where a session works and at the
//! root of its worktree, and taken out of what leaves, literally.

use host::Host;

/// A project has so many files with values, and one is so large, at most: more are not read.
const MAX_FILES: usize = 16;
const MAX_BYTES: u64 = 64 * 1024;
/// Endings of files that show which values there are, and have none.
const EXAMPLES: &[&str] = &["dist", "example", "sample", "template"];

/// Names and values in the `.env` files of a directory, and of the root of its worktree.
pub async fn values(host: &dyn Host, directory: &str) -> Vec<(String, String)> {
    let directory = host.platform().slashed(directory);
    if directory.is_empty() {
        return Vec::new();
    }
    let root = opencode_config::root(host, &directory).await;
    let mut dirs = vec![directory];
    if !dirs.contains(&root) {
        dirs.push(root);
    }
    let (mut values, mut files) = (Vec::new(), 0);
    for dir in dirs {
        let mut names = host.list_dir(&dir).await.unwrap_or_default();
        names.retain(|name| has_values(name));
        names.sort();
        for name in names {
            files += 1;
            let path = format!("{dir}/{name}");
            if files > MAX_FILES {
                return values;
            }
            if let Ok(bytes) = host.read_part(&path, 0, MAX_BYTES).await {
                values.extend(parse(&String::from_utf8_lossy(&bytes)));
            }
        }
    }
    values
}

fn has_values(name: &str) -> bool {
    let rest = match name.strip_prefix(".env") {
        Some("") => return true,
        Some(rest) => rest,
        None => return false,
    };
    let ending = rest.rsplit('.').next().unwrap_or_default();
    rest.starts_with('.') && !EXAMPLES.contains(&ending)
}

/// `NAME=value` in each line, with quotes, `export` and comments as the usual readers of such files take them; a
/// value in quotes may have several lines.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let assignment = line.trim_start();
        let assignment = assignment.strip_prefix("export ").unwrap_or(assignment);
        let named = assignment.split_once('=');
        let named = named.filter(|(name, _)| !name.starts_with('#'));
        let Some((name, value)) = named else {
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| "'\"`".contains(*c));
        // The value up to its second quote, which may be in a later line.
        let start = line.len() - value.len();
        let quoted = quote.and_then(|quote| {
            let inner = &rest[start + 1..];
            inner.find(quote).map(|end| (&inner[..end], &inner[end..]))
        });
        let value = match quoted {
            Some((value, behind)) => {
                rest = behind.split_once('\n').map_or("", |(_, after)| after);
                value
            }
            None => {
                rest = after;
                value.split(" #").next().unwrap_or_default().trim()
            }
        };
        values.push((name.trim().to_string(), value.to_string()));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::{TestHost, run};

    #[test]
    fn lines_become_values_as_the_usual_readers_take_them() {
        for (text, expected) in [
            (
                "A=1\nB = two words # said\r\n",
                vec![("A", "1"), ("B", "two words")],
            ),
            ("export A=\"x # y\" # z\n", vec![("A", "x # y")]),
            ("# A=1\n\nno assignment\nB='it''s'", vec![("B", "it")]),
            (
                "K=\"-----BEGIN\nabc\n-----END\"\nB=2",
                vec![("K", "-----BEGIN\nabc\n-----END"), ("B", "2")],
            ),
            ("A=\"open\nB=2", vec![("A", "\"open"), ("B", "2")]),
            ("A=\nB=`x`", vec![("A", ""), ("B", "x")]),
            ("=x\nü='ö'\n", vec![("", "x"), ("ü", "ö")]),
        ] {
            let found = parse(text);
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_files_of_the_directory_and_of_the_root_are_read_and_examples_are_not() {
        run(async {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name);
            std::fs::create_dir_all(at("shop/.git")).expect("made");
            std::fs::create_dir_all(at("shop/api")).expect("made");
            for (name, text) in [
                (".env", "ABOVE=1"),
                ("shop/.env", "ROOT=1"),
                ("shop/.env.example", "EXAMPLE=1"),
                ("shop/.envrc", "RC=1"),
                ("shop/api/.env.local", "LOCAL=1"),
                ("shop/api/.env.production.local", "PRODUCTION=1"),
            ] {
                std::fs::write(at(name), text).expect("written");
            }
            let host = TestHost::new(&[]);
            let found = values(&host, &at("shop/api").to_string_lossy()).await;
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["LOCAL", "PRODUCTION", "ROOT"]);
            assert_eq!(values(&host, "/there/is/none").await, []);
            for n in 0..40 {
                std::fs::write(
                    at(&format!("shop/api/.env.{n:02}")),
                    format!("A=1\n#{}\nB=2", "x".repeat(70_000)),
                )
                .expect("written");
            }
            let found = values(&host, &at("shop/api").to_string_lossy()).await;
            assert_eq!(found.len(), MAX_FILES);
        });
    }
}
