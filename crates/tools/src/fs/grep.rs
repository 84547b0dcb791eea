//! `grep`: finds lines by regular expression, with ripgrep's own engine.
//!
//! Surprises: a `path` that is a file, or that does not exist, searches its whole parent directory,
//! as in OpenCode. Unlike there, a line that is not UTF-8 or is very long is one bad line and not
//! the end of the search.

use super::failure::fail;
use super::tree::Tree;
use super::walk::{self, Best, CAP, Hit};
use super::{js, path};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, MmapChoice, Searcher, SearcherBuilder, Sink, SinkMatch};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;
use std::io;
use std::path::Path;

const MAX_LINE: usize = 2000;
/// A file with a longer line than this is not text that anyone greps for.
const MAX_BUFFER: usize = 64 * 1024 * 1024;

pub(super) fn run(tree: &Tree, args: &args::Grep) -> Result<ToolOutput, ToolError> {
    if args.pattern.is_empty() {
        return Err(fail("pattern is required"));
    }
    let asked = path::resolve(&tree.cwd, args.path.as_deref().unwrap_or("."));
    let dir = if asked.is_dir() {
        asked.as_path()
    } else {
        asked.parent().unwrap_or(Path::new("/"))
    };
    if !dir.is_dir() {
        return Err(fail("ripgrep execution failed"));
    }
    // As ripgrep does, since 14: `a)(b` is a pattern there, and an error shows the group.
    let pattern = format!("(?:{})", args.pattern);
    // ripgrep reads the globs before the pattern. An invalid one finds nothing, as in OpenCode, and the
    // pattern is not looked at then.
    let globs = walk::globs(dir, args.include.as_deref());
    if globs.is_ok()
        && let Some(why) = fault(&pattern)
    {
        return Err(fail(why));
    }
    let matcher = RegexMatcherBuilder::new()
        .line_terminator(Some(b'\n'))
        .multi_line(true)
        .build(&pattern);
    let best = Best::default();
    // A pattern that cannot be used though it is well formed (it names a newline, or grows too large)
    // finds nothing, as in OpenCode.
    if let (Ok(globs), Ok(matcher)) = (globs, matcher) {
        walk::files(dir, globs, true, &best, || {
            let matcher = matcher.clone();
            let mut searcher = searcher();
            let best = &best;
            move |path: &Path| search(&mut searcher, &matcher, path, best)
        });
    }
    let hits = best.into_hits();
    let truncated = hits.len() == CAP;
    let output = if hits.is_empty() {
        "No files found".to_string()
    } else {
        render(&hits, truncated)
    };
    Ok(ToolOutput {
        title: args.pattern.clone(),
        output,
        metadata: json!({ "matches": hits.len(), "truncated": truncated }),
        attachments: Vec::new(),
    })
}

/// What is wrong with the pattern, in the words of the ripgrep that OpenCode 1.18.33 brings (15.1.0,
/// November 2026).
fn fault(pattern: &str) -> Option<String> {
    let error = regex_syntax::Parser::new().parse(pattern).err()?;
    let mut text = format!("rg: {}", error.to_string().trim());
    if text.contains("backreferences") || text.contains("look-around") {
        text += "\n\nConsider enabling PCRE2 with the --pcre2 flag, which can handle backreferences\nand look-around.";
    }
    Some(text)
}

fn searcher() -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .binary_detection(BinaryDetection::quit(0))
        .memory_map(MmapChoice::never())
        .heap_limit(Some(MAX_BUFFER))
        .build()
}

fn search(searcher: &mut Searcher, matcher: &RegexMatcher, path: &Path, best: &Best) {
    let mut lines = Lines(Vec::new());
    // A file that cannot be read is left out; what was found before that counts.
    let _ = searcher.search_path(matcher, path, &mut lines);
    if !lines.0.is_empty() {
        best.add(lines.0.into_iter().map(|(line, text)| Hit {
            path: path.to_path_buf(),
            line,
            text,
        }));
    }
}

/// The first matching lines of one file.
struct Lines(Vec<(u64, String)>);

impl Sink for Lines {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        // Enough bytes for the characters that are shown.
        let bytes = found.bytes();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_LINE + 4)]);
        let head = js::head(&text, MAX_LINE);
        let text = if head.len() < text.len() {
            format!("{head}...")
        } else {
            text.into_owned()
        };
        self.0.push((found.line_number().unwrap_or(0), text));
        Ok(self.0.len() < CAP)
    }
}

fn render(hits: &[Hit], truncated: bool) -> String {
    let more = if truncated {
        " (more matches available)"
    } else {
        ""
    };
    let mut lines = vec![format!("Found {} matches{more}", hits.len())];
    let mut before: Option<&Path> = None;
    for hit in hits {
        if before != Some(&hit.path) {
            if before.is_some() {
                lines.push(String::new());
            }
            before = Some(&hit.path);
            lines.push(format!("{}:", hit.path.display()));
        }
        lines.push(format!("  Line {}: {}", hit.line, hit.text));
    }
    if truncated {
        lines.push(String::new());
        lines.push(
            "(Results truncated. Consider using a more specific path or pattern.)".to_string(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use crate::fs::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn the_ignore_files_of_ripgrep_count() {
        let fixture = Fixture::new(
            "//- /.rgignore\n!b.txt\na.txt\n//- /.ignore\nb.txt\nc.txt\n//- /a.txt\nx\n//- /b.txt\nx\n//- /c.txt\nx\n",
        );
        let found = fixture.run("grep", json!({ "pattern": "^x$" })).unwrap();
        assert_eq!(found.output, "Found 1 matches\n/T/b.txt:\n  Line 1: x\n");
    }

    #[test]
    fn a_pattern_is_refused_only_if_it_is_malformed() {
        let fixture = Fixture::new("//- /a.txt\nalpha\nbeta\n");
        let grep = |pattern: &str| fixture.run("grep", json!({ "pattern": pattern }));
        for pattern in ["alpha\\nbeta", "(a{1000}){1000}"] {
            assert_eq!(grep(pattern).unwrap().output, "No files found");
        }
        let found = grep("al)(pha").unwrap().output;
        assert!(
            found.ends_with("Line 1: alpha\n") || found.ends_with("Line 1: alpha"),
            "{found}"
        );
        let advice = "\n\nConsider enabling PCRE2 with the --pcre2 flag, which can handle backreferences\nand look-around.";
        for (pattern, end) in [
            ("(a", "error: unclosed group"),
            ("(?=a)", advice),
            ("\\1", advice),
        ] {
            let error = grep(pattern).unwrap_err().message;
            assert!(error.starts_with("rg: regex parse error:"), "{error}");
            assert!(error.ends_with(end), "{error}");
        }
        let args = json!({ "pattern": "(a", "include": "[" });
        let found = fixture.run("grep", args).unwrap();
        assert_eq!(found.output, "No files found", "the glob is read first");
    }
}
