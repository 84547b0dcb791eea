//! Which versions of the daemon in a sandbox can be worked with.

/// The oldest daemon that passes on the environment of a request (`envs` of execute): major and
/// minor version. Older ones ignore it without a word.
pub(crate) const OLDEST_DAEMON: (u64, u64) = (0, 167);

/// True for a version that is known to be older than [`OLDEST_DAEMON`].
pub(crate) fn is_too_old(version: &str) -> bool {
    parse_version(version).is_some_and(|version| version < OLDEST_DAEMON)
}

/// Major and minor number of `v0.190.0-x`; none if it is no version.
fn parse_version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.');
    let mut number = || {
        let digits: String = (numbers.next()?.chars())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    Some((number()?, number()?))
}
