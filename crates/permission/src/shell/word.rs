//! Words of a command line, with the quotes and expansions in them.

use super::cursor::Parser;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Piece {
    Plain,
    Quoted,
    Expanded,
}

pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
    /// What it is made of, if that is one piece.
    pub(super) only: Option<Piece>,
}

impl Parser<'_> {
    /// One word, with all that is nested in it.
    pub(super) fn word(&mut self) -> Option<Word> {
        let start = self.pos;
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some(c) = self.at(0) {
            let piece = match c {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | b';' | b'&' | b'|' | b'(' | b')' => {
                    break;
                }
                b'<' | b'>' if !self.substitutes_process() => break,
                b'<' | b'>' => {
                    self.pos += 2;
                    self.substitution();
                    Piece::Expanded
                }
                b'\\' if self.at(1) == Some(b'\n') => break,
                b'\\' => {
                    self.pos += 1;
                    if self.pos < self.end {
                        self.skip_char();
                    }
                    Piece::Plain
                }
                b'\'' => {
                    self.pos += 1;
                    self.single_quoted();
                    Piece::Quoted
                }
                b'"' => {
                    self.pos += 1;
                    self.deeper(|parser| parser.quoted(Some(b'"')));
                    Piece::Quoted
                }
                b'`' | b'$' => self.expansion(false),
                _ => {
                    self.pos += 1;
                    Piece::Plain
                }
            };
            if !(piece == Piece::Plain && pieces.last() == Some(&Piece::Plain)) {
                pieces.push(piece);
            }
        }
        let only = match pieces[..] {
            [] => return None,
            [only] => Some(only),
            _ => None,
        };
        Some(Word {
            start,
            end: self.pos,
            only,
        })
    }

    fn single_quoted(&mut self) {
        while let Some(c) = self.at(0) {
            self.pos += 1;
            if c == b'\'' {
                return;
            }
        }
        self.broken = true;
    }

    /// Text in which only expansions count: to the quote that ends it, or to the end of the part.
    pub(super) fn quoted(&mut self, close: Option<u8>) {
        while let Some(c) = self.at(0) {
            match c {
                _ if Some(c) == close => {
                    self.pos += 1;
                    return;
                }
                b'\\' => self.pos = (self.pos + 2).min(self.end),
                b'`' | b'$' => drop(self.expansion(true)),
                _ => self.pos += 1,
            }
        }
        self.broken = self.broken || close.is_some();
    }

    /// What starts with a dollar or a backtick.
    fn expansion(&mut self, in_quotes: bool) -> Piece {
        if self.eat("`") {
            let start = self.pos;
            let mut end = start;
            while end < self.end && self.bytes[end] != b'`' {
                end += if self.bytes[end] == b'\\' { 2 } else { 1 };
            }
            if end >= self.end {
                self.broken = true;
                end = self.end;
            }
            self.part(start, end, Self::program);
            self.eat("`");
            return Piece::Expanded;
        }
        self.pos += 1;
        if self.looking_at("((") && self.is_arithmetic(2) {
            self.pos += 2;
            self.deeper(Self::arithmetic);
        } else if self.eat("(") {
            self.substitution();
        } else if self.eat("{") {
            self.deeper(|parser| parser.braces(in_quotes));
        } else if self.eat("[") {
            while self.at(0).is_some_and(|c| c != b']' && c != b'\n') {
                match self.at(0) {
                    Some(b'`' | b'$') => drop(self.expansion(in_quotes)),
                    _ => self.pos += 1,
                }
            }
            self.eat("]");
        } else if !in_quotes && self.eat("'") {
            while let Some(c) = self.at(0) {
                self.pos = (self.pos + if c == b'\\' { 2 } else { 1 }).min(self.end);
                if c == b'\'' {
                    return Piece::Expanded;
                }
            }
            self.broken = true;
        } else if !in_quotes && self.eat("\"") {
            self.deeper(|parser| parser.quoted(Some(b'"')));
            return Piece::Quoted;
        } else {
            match self.at(0) {
                Some(c) if c.is_ascii_alphabetic() || c == b'_' => {
                    while self
                        .at(0)
                        .is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_')
                    {
                        self.pos += 1;
                    }
                }
                Some(c) if c.is_ascii_digit() || b"?#@*!$-".contains(&c) => self.pos += 1,
                _ => return Piece::Plain,
            }
        }
        Piece::Expanded
    }

    /// Commands up to the parenthesis that closes them.
    fn substitution(&mut self) {
        self.deeper(Self::statements);
        while self.pos < self.end && self.at(0) != Some(b')') {
            // A closing word without its opening.
            self.broken = true;
            let before = self.pos;
            self.deeper(|parser| parser.simple(true));
            if self.pos == before {
                self.skip_char();
            }
            self.deeper(Self::statements);
        }
        self.expect(")");
    }

    /// `${…}` behind its opening.
    fn braces(&mut self, in_quotes: bool) {
        while let Some(c) = self.at(0) {
            match c {
                b'}' => {
                    self.pos += 1;
                    return;
                }
                b'\\' => self.pos = (self.pos + 2).min(self.end),
                b'\'' if !in_quotes => {
                    self.pos += 1;
                    self.single_quoted();
                }
                b'"' => {
                    self.pos += 1;
                    self.deeper(|parser| parser.quoted(Some(b'"')));
                }
                b'`' | b'$' => drop(self.expansion(in_quotes)),
                b'<' | b'>' if self.substitutes_process() => {
                    self.pos += 2;
                    self.substitution();
                }
                _ => self.pos += 1,
            }
        }
        self.broken = true;
    }

    /// True if the parenthesis that closes the inner one of `((` is followed by another.
    pub(super) fn is_arithmetic(&self, skip: usize) -> bool {
        let (mut at, mut depth) = (self.pos + skip, 1);
        while at < self.end {
            match self.bytes[at] {
                b'\\' => at += 1,
                quote @ (b'\'' | b'"') => {
                    let rest = &self.bytes[at + 1..self.end];
                    match rest.iter().position(|c| *c == quote) {
                        Some(close) => at += close + 1,
                        None => return false,
                    }
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                return at < self.end && self.bytes[at] == b')';
            }
        }
        false
    }

    /// `((…))` behind its opening.
    pub(super) fn arithmetic(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.at(0) {
            match c {
                b'(' => depth += 1,
                b')' if depth == 0 => {
                    self.pos += 1;
                    return self.expect(")");
                }
                b')' => depth -= 1,
                b'\\' => {
                    self.pos = (self.pos + 2).min(self.end);
                    continue;
                }
                b'\'' => {
                    self.pos += 1;
                    self.single_quoted();
                    continue;
                }
                b'"' => {
                    self.pos += 1;
                    self.deeper(|parser| parser.quoted(Some(b'"')));
                    continue;
                }
                b'`' | b'$' => {
                    self.expansion(false);
                    continue;
                }
                _ => {}
            }
            self.pos += 1;
        }
        self.broken = true;
    }
}

/// A number is no word in OpenCode's grammar.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix("0x").unwrap_or(text);
    match text.split_once('#') {
        None => digits(text),
        Some((base, number)) => {
            let in_base = |c: u8| c.is_ascii_alphanumeric() || c == b'@' || c == b'_';
            digits(base) && !number.is_empty() && number.bytes().all(in_base)
        }
    }
}

/// `{1..3}` is none either.
pub(super) fn is_range(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    inner
        .and_then(|inner| inner.split_once(".."))
        .is_some_and(|(a, b)| {
            [a, b]
                .iter()
                .all(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
        })
}
