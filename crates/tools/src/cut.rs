//! A long output, cut as OpenCode 1.18.33 cuts that of a plugin's tool (November 2026): its head is
//! kept, the rest is named. Only the place is ours: a file in the sandbox, never one on the host.

const MAX_LINES: usize = 2000;
const MAX_BYTES: usize = 50 * 1024;

/// The part of an output that is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut<'a> {
    head: &'a str,
    /// What was left out, in words.
    left: String,
}

/// The first lines that fit both limits; none if all of it does.
pub fn cut(text: &str) -> Option<Cut<'_>> {
    let lines = text.split('\n').count();
    if lines <= MAX_LINES && text.len() <= MAX_BYTES {
        return None;
    }
    let (mut end, mut kept) = (0, 0);
    let mut full = false;
    for line in text.split('\n').take(MAX_LINES) {
        let next = end + line.len() + usize::from(kept > 0);
        full = next > MAX_BYTES;
        if full {
            break;
        }
        (end, kept) = (next, kept + 1);
    }
    let left = match full {
        true => format!("{} bytes truncated", text.len() - end),
        false => format!("{} lines truncated", lines - kept),
    };
    Some(Cut {
        head: &text[..end],
        left,
    })
}

impl Cut<'_> {
    /// The text for the model. `saved` is the file in the sandbox that holds all of it.
    pub fn explain(&self, saved: Option<&str>) -> String {
        let place = match saved {
            Some(path) => format!(
                "Full output saved to: {path}\nUse the Task tool to have explore agent process this file with Grep and Read (with offset/limit). Do NOT read the full file yourself - delegate to save context."
            ),
            None => "The full output could not be saved in the sandbox.".to_string(),
        };
        format!(
            "{}\n\n...{}...\n\nThe tool call succeeded but the output was truncated. {place}",
            self.head, self.left
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_whole_lines_within_both_limits() {
        let many = "x\n".repeat(3000);
        let wide = format!("{}\n{}\nend", "a".repeat(40_000), "b".repeat(20_000));
        let line = "w".repeat(60_000);
        for (text, expected) in [
            ("a\nb\n", None),
            (many.as_str(), Some((&many[..3999], "1001 lines truncated"))),
            (
                wide.as_str(),
                Some((&wide[..40_000], "20005 bytes truncated")),
            ),
            (line.as_str(), Some(("", "60000 bytes truncated"))),
        ] {
            let cut = cut(text);
            let found = cut.as_ref().map(|cut| (cut.head, cut.left.as_str()));
            assert_eq!(found, expected);
        }
    }
}
