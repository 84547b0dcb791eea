//! What the proxy remembers of whom the key opens: a yes for two minutes, a no for five seconds.

use std::collections::HashMap;

const YES_MS: i64 = 120_000;
const NO_MS: i64 = 5_000;

/// Answers to "does the key open this sandbox?", and when they were given.
#[derive(Default)]
pub(super) struct Access(HashMap<String, (bool, i64)>);

impl Access {
    /// The answer that is remembered, or else that of `ask`.
    pub(super) fn is_open(&mut self, id: &str, now: i64, ask: impl FnOnce() -> bool) -> bool {
        let fresh = |(yes, at): &(bool, i64)| now - at < if *yes { YES_MS } else { NO_MS };
        self.0.retain(|_, answer| fresh(answer));
        let (yes, _) = *self.0.entry(id.to_owned()).or_insert_with(|| (ask(), now));
        yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_holds_for_two_minutes_and_a_no_for_five_seconds() {
        let mut access = Access::default();
        // Time, sandbox, what is so, what is answered.
        for (now, id, is_so, want) in [
            (0, "a", true, true),
            (0, "b", false, false),
            (4_999, "b", true, false),
            (5_000, "b", true, true),
            (119_999, "a", false, true),
            (120_000, "a", false, false),
            (124_999, "a", true, false),
            (125_000, "b", false, false),
        ] {
            assert_eq!(access.is_open(id, now, || is_so), want, "{id} at {now}");
        }
    }
}
