//! What the doctor finds, and what corrects it.

/// What was found about one matter.
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) text: String,
    pub(super) fix: Option<Fix>,
}

impl Finding {
    pub(super) fn new(what: &'static str, verdict: Verdict, text: impl Into<String>) -> Finding {
        Finding {
            what,
            verdict,
            text: text.into(),
            fix: None,
        }
    }

    pub(super) fn good(what: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(what, Verdict::Good, text)
    }

    pub(super) fn corrected_by(mut self, fix: Fix) -> Finding {
        self.fix = Some(fix);
        self
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Good,
    /// Worth knowing.
    Note,
    Bad,
}

/// A correction of OpenCode's configuration.
#[derive(Clone, PartialEq)]
pub(super) enum Fix {
    Add,
    Rename,
    Pin,
    Deny(Vec<&'static str>),
    Shell,
    Undo,
}
