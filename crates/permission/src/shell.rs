//! The simple commands of a command line, as OpenCode's own parser (tree-sitter with its bash
//! grammar) finds them: their source text, and the words that count as arguments.
//!
//! A parser of our own, by recursive descent over the source: `brush-parser` (0.4, MIT) adds half
//! a megabyte to a core of 0.7, recurses without a bound (a deep line would kill the core) and
//! stops at the first error. This one knows where everything stands, looks into every quote and
//! expansion, and never fails: a line that it does not understand to the end is also cut at every
//! operator, quoted or not, so that a rule rather sees a command too many.
//!
//! Surprises, all OpenCode's: a redirection belongs to a command's text only at the start of a
//! pipeline or list; words behind a redirection are no arguments; `export`, `[` and bare
//! assignments are no commands; `time` is one.

mod cursor;
mod word;

use cursor::{Found, Heredoc, Parser};
use word::{Piece, Word, is_number, is_range};

/// One simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its source, with its redirections where OpenCode counts them.
    pub(crate) text: String,
    /// Its name and the arguments that OpenCode looks at, as they are written.
    pub(crate) words: Vec<String>,
}

/// All simple commands of `source`, in the order in which they start.
pub(crate) fn commands(source: &str) -> Vec<Command> {
    let mut parser = Parser {
        source,
        bytes: source.as_bytes(),
        pos: 0,
        end: source.len(),
        depth: 0,
        found: Vec::new(),
        heredocs: Vec::new(),
        broken: false,
    };
    parser.program();
    let Parser {
        mut found, broken, ..
    } = parser;
    found.sort_by_key(|found| found.start);
    let mut commands: Vec<Command> = found
        .into_iter()
        .map(|found| Command {
            text: source[found.start..found.end].trim().into(),
            words: found.words,
        })
        .collect();
    if broken {
        commands.extend(cut(source));
    }
    commands
}

/// What stands between operators and quotes, whatever they mean there.
fn cut(source: &str) -> impl Iterator<Item = Command> {
    source
        .split(|c: char| ";&|(){}<>`'\"\n".contains(c))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            // `then rm x` is about `rm x`, too.
            let inner = part
                .split_once(char::is_whitespace)
                .filter(|(first, _)| is_keyword(first))
                .map(|(_, rest)| rest.trim_start());
            [Some(part), inner].into_iter().flatten()
        })
        .map(|part| Command {
            text: part.into(),
            words: part.split_whitespace().map(str::to_string).collect(),
        })
}

fn is_keyword(word: &str) -> bool {
    is_closing(word)
        || matches!(
            word,
            "if" | "while"
                | "until"
                | "for"
                | "case"
                | "select"
                | "function"
                | "time"
                | "!"
                | "coproc"
        )
}

/// Words that end a list of commands, where a command could start.
fn is_closing(word: &str) -> bool {
    matches!(
        word,
        "then" | "else" | "elif" | "fi" | "do" | "done" | "esac" | "}"
    )
}

impl Parser<'_> {
    /// Everything up to the end of this part.
    fn program(&mut self) {
        loop {
            self.statements();
            if self.pos >= self.end {
                return;
            }
            // A closing word or sign without its opening: go on behind it.
            self.broken = true;
            let before = self.pos;
            if !matches!(self.at(0), Some(b')' | b';')) {
                self.simple(true);
            }
            if self.pos == before {
                self.skip_char();
            }
        }
    }

    fn skip_char(&mut self) {
        self.pos += 1;
        while self.pos < self.end && !self.source.is_char_boundary(self.pos) {
            self.pos += 1;
        }
    }

    /// Blanks, comments and joined lines.
    fn blanks(&mut self) {
        loop {
            match (self.at(0), self.at(1)) {
                (Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c), _) => self.pos += 1,
                (Some(b'\\'), Some(b'\n')) => self.pos += 2,
                (Some(b'#'), _) => {
                    while self.at(0).is_some_and(|c| c != b'\n') {
                        self.pos += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Blanks and newlines, with the bodies of here-documents behind the newlines.
    fn lines(&mut self) {
        loop {
            self.blanks();
            if self.at(0) != Some(b'\n') {
                return;
            }
            self.pos += 1;
            for heredoc in std::mem::take(&mut self.heredocs) {
                self.body(&heredoc);
            }
        }
    }

    /// The body of a here-document.
    fn body(&mut self, heredoc: &Heredoc) {
        let start = self.pos;
        let mut line = start;
        let (body_end, end, next) = loop {
            let rest = &self.source[line..self.end];
            let text = rest.split('\n').next().unwrap_or_default();
            let bare = match heredoc.tabs {
                true => text.trim_start_matches('\t'),
                false => text,
            };
            let next = (line + text.len() + 1).min(self.end);
            if bare == heredoc.delimiter {
                // The newline behind it may bring the next body.
                break (line, line + text.len(), line + text.len());
            }
            if line + text.len() >= self.end {
                self.broken = true;
                break (self.end, self.end, self.end);
            }
            line = next;
        };
        if !heredoc.quoted {
            self.part(start, body_end, |parser| parser.quoted(None));
        }
        if let Some(command) = heredoc.command {
            self.found[command].end = end;
        }
        self.pos = next;
    }

    /// Reads only `start..end` with `inner`.
    fn part(&mut self, start: usize, end: usize, inner: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.end, end);
        self.pos = start;
        self.deeper(inner);
        self.end = outer;
        self.pos = end;
    }

    /// Statements up to what ends a list: a closing word, `)` or `;;`.
    fn statements(&mut self) {
        loop {
            self.lines();
            match self.at(0) {
                None | Some(b')') => return,
                Some(b';') if matches!(self.at(1), Some(b';' | b'&')) => return,
                Some(b';' | b'&') => {
                    // Nothing stands before it.
                    self.broken = true;
                    self.pos += 1;
                    continue;
                }
                Some(b'|') => {
                    self.broken = true;
                    self.pos += 1;
                    continue;
                }
                _ => {}
            }
            if is_closing(self.keyword()) {
                return;
            }
            let before = self.pos;
            self.statement();
            self.blanks();
            if self.at(0) == Some(b';') && matches!(self.at(1), Some(b';' | b'&')) {
                return;
            }
            let separated = self.eat(";") || self.eat("&");
            if !separated && !matches!(self.at(0), None | Some(b'\n' | b')')) {
                // Two statements in a row: `(a) b`.
                self.broken = !is_closing(self.keyword()) || self.broken;
                if self.pos == before {
                    self.skip_char();
                }
            }
        }
    }

    /// Pipelines and lists.
    fn statement(&mut self) {
        let mut first = true;
        loop {
            let waiting = self.heredocs.len();
            self.deeper(|parser| parser.element(first));
            self.blanks();
            let joined = ["&&", "||", "|&", "|"].iter().any(|sign| self.eat(sign));
            if !joined {
                return;
            }
            // What follows on the line of a here-document is a statement inside of it.
            first = self.heredocs.len() > waiting;
            self.lines();
            if matches!(self.at(0), None | Some(b')' | b';' | b'&' | b'|')) {
                self.broken = true;
                return;
            }
        }
    }

    /// The plain word that stands here.
    fn keyword(&self) -> &str {
        let rest = &self.source[self.pos..self.end];
        let end = rest
            .find(|c: char| c.is_whitespace() || ";&|()<>".contains(c))
            .unwrap_or(rest.len());
        &rest[..end]
    }

    /// One command of a pipeline, simple or compound.
    fn element(&mut self, first: bool) {
        if self.looking_at("((") && self.is_arithmetic(2) {
            let start = self.pos;
            self.pos += 2;
            self.arithmetic();
            self.arithmetic_command(start);
            return self.redirections(None);
        }
        if self.eat("(") {
            self.statements();
            self.expect(")");
            return self.redirections(None);
        }
        match self.keyword() {
            "!" => {
                self.pos += 1;
                self.blanks();
                self.deeper(|parser| parser.element(false));
            }
            "{" => {
                self.pos += 1;
                self.statements();
                self.expect("}");
                self.redirections(None);
            }
            "[[" => self.test("[[", "]]"),
            "[" => self.test("[", "]"),
            "if" => {
                self.pos += 2;
                self.condition();
                self.redirections(None);
            }
            word @ ("while" | "until") => {
                self.pos += word.len();
                self.statements();
                self.loop_body();
            }
            word @ ("for" | "select") => {
                self.pos += word.len();
                self.blanks();
                if self.eat("((") {
                    self.arithmetic();
                } else {
                    self.word();
                    self.lines();
                    if self.keyword() == "in" {
                        self.arguments(&mut Vec::new(), true);
                    }
                }
                self.blanks();
                self.eat(";");
                self.lines();
                if self.eat("{") {
                    self.statements();
                    self.expect("}");
                    self.redirections(None);
                } else {
                    self.loop_body();
                }
            }
            "case" => {
                self.pos += 4;
                self.case();
                self.redirections(None);
            }
            "function" => {
                self.pos += 8;
                self.blanks();
                self.word();
                self.blanks();
                if self.eat("(") {
                    self.blanks();
                    self.expect(")");
                }
                self.lines();
                self.deeper(|parser| parser.element(true));
            }
            "export" | "declare" | "typeset" | "local" | "readonly" | "unset" | "unsetenv" => {
                self.arguments(&mut Vec::new(), true);
                self.redirections(None);
            }
            _ => self.simple(first),
        }
    }

    fn condition(&mut self) {
        self.statements();
        self.expect("then");
        loop {
            self.statements();
            if self.eat("elif") {
                self.statements();
                self.expect("then");
            } else if !self.eat("else") {
                return self.expect("fi");
            }
            if self.pos >= self.end {
                self.broken = true;
                return;
            }
        }
    }

    fn loop_body(&mut self) {
        self.expect("do");
        self.statements();
        self.expect("done");
        self.redirections(None);
    }

    fn case(&mut self) {
        self.blanks();
        self.word();
        self.lines();
        self.expect("in");
        loop {
            self.lines();
            if self.pos >= self.end {
                self.broken = true;
                return;
            }
            if self.keyword() == "esac" {
                self.pos += 4;
                return;
            }
            let before = self.pos;
            self.eat("(");
            loop {
                self.blanks();
                self.word();
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            self.expect(")");
            self.statements();
            let _ = self.eat(";;&") || self.eat(";;") || self.eat(";&");
            if self.pos == before {
                self.broken = true;
                return;
            }
        }
    }

    /// `[ … ]` and `[[ … ]]`: no command, but there may be some in it.
    fn test(&mut self, open: &str, close: &str) {
        let start = self.pos;
        self.pos += open.len();
        loop {
            self.lines();
            if self.keyword() == close {
                self.pos += close.len();
                return self.redirections(None);
            }
            let operator = b"<>&|()";
            match self.at(0) {
                None | Some(b';') => break,
                Some(b'|' | b'&') if open == "[" => break,
                Some(c) if operator.contains(&c) && !self.substitutes_process() => self.pos += 1,
                _ => {
                    if self.word().is_none() {
                        break;
                    }
                }
            }
        }
        self.broken = true;
        self.found.push(Found {
            start,
            end: self.pos,
            words: vec![open.into()],
        });
    }

    fn substitutes_process(&self) -> bool {
        matches!(self.at(0), Some(b'<' | b'>')) && self.at(1) == Some(b'(')
    }

    /// A simple command; or a function's definition, which starts like one.
    fn simple(&mut self, first: bool) {
        let start = self.pos;
        loop {
            self.blanks();
            if !self.assignment() && !self.redirection(None, false) {
                break;
            }
        }
        let Some(name) = self.word() else {
            return;
        };
        let bare = self.pos;
        self.blanks();
        if name.start == start && name.only == Some(Piece::Plain) && self.eat("(") {
            self.blanks();
            if self.eat(")") {
                self.lines();
                self.deeper(|parser| parser.element(true));
                return;
            }
        }
        self.pos = bare;
        let mut words = vec![self.counted_text(&name)];
        let end = self.arguments(&mut words, false).max(bare);
        let index = self.found.len();
        self.found.push(Found { start, end, words });
        let waiting = self.heredocs.len();
        self.redirections(first.then_some(index));
        if first {
            let end = self.pos;
            if self.heredocs.len() == waiting {
                self.found[index].end = end;
            }
        }
    }

    /// Arguments up to an operator or a redirection, of a declaration or another command; gives
    /// the end of the last.
    fn arguments(&mut self, words: &mut Vec<String>, declares: bool) -> usize {
        let mut end = self.pos;
        loop {
            self.blanks();
            if self.eat("<<<") {
                self.blanks();
                self.word();
            } else if self.at(0) == Some(b'(') {
                // `time (a)`: bash takes it nowhere else.
                self.pos += 1;
                self.deeper(Self::statements);
                self.expect(")");
            } else if self.is_redirection()
                || !(declares && self.assignment() || self.argument(words))
            {
                self.pos = end;
                return end;
            }
            end = self.pos;
        }
    }

    fn argument(&mut self, words: &mut Vec<String>) -> bool {
        let Some(word) = self.word() else {
            return false;
        };
        let counts = match word.only {
            None | Some(Piece::Quoted) => true,
            Some(Piece::Expanded) => false,
            Some(Piece::Plain) => {
                let text = &self.source[word.start..word.end];
                !is_number(text) && !is_range(text)
            }
        };
        if counts {
            words.push(self.counted_text(&word));
        }
        true
    }

    /// A word as OpenCode reads it: `$"a"` without its dollar.
    fn counted_text(&self, word: &Word) -> String {
        let text = &self.source[word.start..word.end];
        match word.only {
            Some(Piece::Quoted) => text.strip_prefix('$').unwrap_or(text).into(),
            _ => text.into(),
        }
    }

    /// `NAME=value`, `NAME+=value`, `NAME[i]=value`, `NAME=(…)`.
    fn assignment(&mut self) -> bool {
        let rest = &self.bytes[self.pos..self.end];
        let name = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == b'_')
            .count();
        if name == 0 || rest[0].is_ascii_digit() {
            return false;
        }
        let mut at = name;
        if rest.get(at) == Some(&b'[') {
            match rest[at..].iter().position(|c| matches!(c, b']' | b'\n')) {
                Some(close) if rest[at + close] == b']' => at += close + 1,
                _ => return false,
            }
        }
        if rest.get(at) == Some(&b'+') {
            at += 1;
        }
        if rest.get(at) != Some(&b'=') {
            return false;
        }
        if rest.get(at + 1) == Some(&b'(') {
            self.pos += at + 2;
            loop {
                self.lines();
                if self.eat(")") {
                    return true;
                }
                if self.word().is_none() {
                    self.broken = true;
                    return true;
                }
            }
        }
        // The index may hold an expansion, so name and value are read as one word.
        self.word();
        true
    }

    fn is_redirection(&self) -> bool {
        let digits = self.bytes[self.pos..self.end]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .count();
        match (self.at(digits), self.at(digits + 1)) {
            (Some(b'<' | b'>'), Some(b'(')) => digits > 0,
            (Some(b'<' | b'>'), _) => true,
            (Some(b'&'), Some(b'>')) => digits == 0,
            _ => false,
        }
    }

    /// All redirections that stand here, with the words behind them.
    fn redirections(&mut self, command: Option<usize>) {
        loop {
            let before = self.pos;
            self.blanks();
            if !self.redirection(command, true) {
                self.pos = before;
                return;
            }
        }
    }

    /// One redirection; `greedy` takes every word that follows.
    fn redirection(&mut self, command: Option<usize>, greedy: bool) -> bool {
        if !self.is_redirection() {
            return false;
        }
        while self.at(0).is_some_and(|c| c.is_ascii_digit()) {
            self.pos += 1;
        }
        if self.eat("<<<") {
            self.blanks();
            self.word();
            return true;
        }
        if self.looking_at("<<") {
            self.pos += 2;
            let tabs = self.eat("-");
            self.blanks();
            let start = self.pos;
            self.word();
            let written = &self.source[start..self.pos];
            let quoted = written.contains(['\'', '"', '\\']);
            self.heredocs.push(Heredoc {
                delimiter: written.replace(['\'', '"', '\\'], ""),
                quoted,
                tabs,
                command,
            });
        } else {
            let _ = ["&>>", "&>", ">>", ">&", ">|", "<>", "<&", ">", "<"]
                .iter()
                .any(|sign| self.eat(sign));
            self.eat("-");
            self.blanks();
            self.word();
        }
        if greedy {
            loop {
                let before = self.pos;
                self.blanks();
                if self.is_redirection() || self.word().is_none() {
                    self.pos = before;
                    break;
                }
            }
        }
        true
    }

    /// OpenCode's grammar reads some `((…))` as a command of that name.
    fn arithmetic_command(&mut self, start: usize) {
        let text = &self.source[start..self.pos];
        if !text.contains("++") && !text.contains("--") {
            self.found.push(Found {
                start,
                end: self.pos,
                words: vec![text.into()],
            });
        }
    }
}
