//! The text of a patch as sections and chunks. Forgiving as OpenCode is: text around the markers,
//! a heredoc around the whole and lines that are nothing are skipped.

/// What to do with one file.
#[derive(Debug, PartialEq)]
pub(super) enum Section {
    Add {
        path: String,
        content: String,
    },
    Delete {
        path: String,
    },
    Update {
        path: String,
        move_to: Option<String>,
        chunks: Vec<Chunk>,
    },
}

/// One place in a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chunk {
    /// A line that comes before.
    pub(super) context: Option<String>,
    pub(super) old: Vec<String>,
    pub(super) new: Vec<String>,
    pub(super) at_end: bool,
}

impl Section {
    /// The files that it touches.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let (path, to) = match self {
            Section::Add { path, .. } | Section::Delete { path } => (path, None),
            Section::Update { path, move_to, .. } => (path, move_to.as_deref()),
        };
        std::iter::once(path.as_str()).chain(to)
    }
}

/// The sections between the markers.
pub(super) fn parse(text: &str) -> Result<Vec<Section>, &'static str> {
    let lines: Vec<&str> = heredoc(text.trim()).split('\n').collect();
    let marker = |wanted: &str| lines.iter().position(|line| line.trim() == wanted);
    let (begin, end) = match (marker("*** Begin Patch"), marker("*** End Patch")) {
        (Some(begin), Some(end)) if begin < end => (begin, end),
        _ => return Err("Invalid patch format: missing Begin/End markers"),
    };
    let mut rest = Rest {
        lines: &lines[begin + 1..end],
    };
    let mut sections = Vec::new();
    while let Some(line) = rest.next() {
        if let Some(path) = header(line, "*** Add File:") {
            sections.push(Section::Add {
                path,
                content: rest.added(),
            });
        } else if let Some(path) = header(line, "*** Delete File:") {
            sections.push(Section::Delete { path });
        } else if let Some(path) = header(line, "*** Update File:") {
            let move_to = rest.next_if(|line| line.starts_with("*** Move to:"));
            let move_to = move_to.and_then(|line| header(line, "*** Move to:"));
            sections.push(Section::Update {
                path,
                move_to,
                chunks: rest.chunks(),
            });
        }
    }
    Ok(sections)
}

fn header(line: &str, start: &str) -> Option<String> {
    let path = line.strip_prefix(start)?.trim();
    (!path.is_empty()).then(|| path.to_string())
}

/// The body of `cat <<'EOF'` … `EOF`, if the text is one.
fn heredoc(text: &str) -> &str {
    let inner = || {
        let after = text
            .strip_prefix("cat")
            .map_or(text, str::trim_start)
            .strip_prefix("<<")?;
        let after = after.strip_prefix(['\'', '"']).unwrap_or(after);
        let word = &after[..after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(after.len())];
        let (line, body) = after[word.len()..].split_once('\n')?;
        let closed = line
            .strip_prefix(['\'', '"'])
            .unwrap_or(line)
            .trim()
            .is_empty();
        let body = body.trim_end().strip_suffix(word)?.strip_suffix('\n')?;
        (closed && !word.is_empty()).then_some(body)
    };
    inner().unwrap_or(text)
}

struct Rest<'a> {
    lines: &'a [&'a str],
}

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.next_if(|_| true)
    }

    fn next_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        let (first, rest) = self
            .lines
            .split_first()
            .filter(|(first, _)| wanted(first))?;
        self.lines = rest;
        Some(first)
    }

    fn added(&mut self) -> String {
        let mut added = Vec::new();
        while let Some(line) = self.next_if(|line| !line.starts_with("***")) {
            added.extend(line.strip_prefix('+'));
        }
        added.join("\n")
    }

    fn chunks(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let is_end = |line: &str| line == "*** End of File";
        while let Some(line) = self.next_if(|line| !line.starts_with("***") || is_end(line)) {
            let Some(context) = line.strip_prefix("@@") else {
                continue;
            };
            let context = context.trim();
            let mut chunk = Chunk {
                context: (!context.is_empty()).then(|| context.to_string()),
                ..Chunk::default()
            };
            while let Some(line) =
                self.next_if(|line| !line.starts_with("@@") && !line.starts_with("***"))
            {
                if let Some(same) = line.strip_prefix(' ') {
                    chunk.old.push(same.to_string());
                    chunk.new.push(same.to_string());
                } else if let Some(old) = line.strip_prefix('-') {
                    chunk.old.push(old.to_string());
                } else if let Some(new) = line.strip_prefix('+') {
                    chunk.new.push(new.to_string());
                }
            }
            chunk.at_end = self.next_if(is_end).is_some();
            chunks.push(chunk);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    #[test]
    fn all_kinds_of_sections() {
        let patch = "*** Begin Patch\n*** Add File: a/b.txt\n+one\n+\n*** Delete File: c\n*** Update File: d\n\
                     *** Move to: e\n@@ fn x()\n same\n-old\n+new\nnoise\n*** End of File\n@@\n+more\n*** End Patch";
        let expected = vec![
            Section::Add {
                path: "a/b.txt".into(),
                content: "one\n".into(),
            },
            Section::Delete { path: "c".into() },
            Section::Update {
                path: "d".into(),
                move_to: Some("e".into()),
                chunks: vec![
                    Chunk {
                        context: Some("fn x()".into()),
                        old: strings(&["same", "old"]),
                        new: strings(&["same", "new"]),
                        at_end: true,
                    },
                    Chunk {
                        new: strings(&["more"]),
                        ..Chunk::default()
                    },
                ],
            },
        ];
        assert_eq!(parse(patch).unwrap(), expected);
        for wrapped in [
            format!("cat <<'EOF'\n{patch}\nEOF"),
            format!("<<X\n{patch}\nX\n"),
            format!("Here:\n{patch}\nDone"),
        ] {
            assert_eq!(parse(&wrapped).unwrap(), expected, "{wrapped}");
        }
    }

    #[test]
    fn markers_are_needed_in_order() {
        for patch in [
            "",
            "*** Begin Patch",
            "*** End Patch\n*** Begin Patch",
            "cat <<EOF",
        ] {
            assert!(parse(patch).is_err(), "{patch:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_patch_makes_it_panic(lines in proptest::collection::vec(
            "(\\*\\*\\* (Begin Patch|End Patch|Add File: ?|Update File: x|Delete File:|Move to:|End of File)|cat ?<<'?E|E|@@ ?x?|[ +-]?[a-cé]{0,2})", 0..20,
        )) {
            let _ = parse(&lines.join("\n"));
        }
    }
}
