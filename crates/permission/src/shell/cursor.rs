//! Where the parser of a command line stands, and what it has found.

/// Nesting that is looked into: nobody writes more, and the stack ends.
const MAX_DEPTH: usize = 50;

pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) words: Vec<String>,
}

pub(super) struct Heredoc {
    pub(super) delimiter: String,
    /// Nothing in its body is expanded.
    pub(super) quoted: bool,
    /// Tabs before a line do not count.
    pub(super) tabs: bool,
    /// The command whose text goes on to the end of the body.
    pub(super) command: Option<usize>,
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    /// Where the part that is being read ends.
    pub(super) end: usize,
    pub(super) depth: usize,
    pub(super) found: Vec<Found>,
    /// Here-documents whose bodies start after the next newline.
    pub(super) heredocs: Vec<Heredoc>,
    /// Something was not understood.
    pub(super) broken: bool,
}

impl Parser<'_> {
    pub(super) fn at(&self, offset: usize) -> Option<u8> {
        let pos = self.pos + offset;
        (pos < self.end).then(|| self.bytes[pos])
    }

    pub(super) fn looking_at(&self, text: &str) -> bool {
        self.bytes[self.pos..self.end].starts_with(text.as_bytes())
    }

    /// Skips `text` if it stands here.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let here = self.looking_at(text);
        if here {
            self.pos += text.len();
        }
        here
    }

    pub(super) fn expect(&mut self, text: &str) {
        if !self.eat(text) {
            self.broken = true;
        }
    }

    /// Runs `inner` one level deeper; too deep, the rest of this part is given up.
    pub(super) fn deeper(&mut self, inner: impl FnOnce(&mut Self)) {
        if self.depth >= MAX_DEPTH {
            self.broken = true;
            self.pos = self.end;
            return;
        }
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }
}
