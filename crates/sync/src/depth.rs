//! How much history goes along: the commits within so many steps of one, and where they are cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A part of a history: what to cut, and what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Commits whose parents stay behind, as in git's `shallow` file.
    pub(crate) shallow: BTreeSet<String>,
    /// All commits that go.
    pub(crate) commits: BTreeSet<String>,
}

/// Cuts the history of `tips` as `git clone --depth` does. `log` is `git rev-list --parents`, maybe
/// not all of it: `None` if it is too short to tell.
pub(crate) fn cut(log: &str, tips: &[&str], depth: usize, complete: bool) -> Option<Cut> {
    let parents: BTreeMap<&str, Vec<&str>> = log
        .lines()
        .filter_map(|line| {
            let mut hashes = line.split(' ');
            Some((hashes.next()?, hashes.collect()))
        })
        .collect();
    let mut cut = Cut::default();
    let mut queue = VecDeque::new();
    for tip in tips {
        if cut.commits.insert(tip.to_string()) {
            queue.push_back((*tip, 1));
        }
    }
    while let Some((commit, at)) = queue.pop_front() {
        let Some(above) = parents.get(commit) else {
            if complete {
                continue;
            }
            return None;
        };
        if at >= depth {
            if !above.is_empty() {
                cut.shallow.insert(commit.to_string());
            }
            continue;
        }
        for parent in above {
            if cut.commits.insert(parent.to_string()) {
                queue.push_back((parent, at + 1));
            }
        }
    }
    Some(cut)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_history_is_cut_where_git_would_cut_it() {
        // e merges d and b; all begin at a.
        let log = "e d b\nd c\nc a\nb a\na\n";
        for (depth, shallow, commits) in [
            (1, "e", "e"),
            (2, "bd", "bde"),
            // `a` is three steps away by `b`, so `c`, whose parent it is, needs no cut.
            (3, "c", "abcde"),
            (9, "", "abcde"),
        ] {
            let cut = cut(log, &["e"], depth, true).expect("complete");
            let join = |set: &std::collections::BTreeSet<String>| {
                set.iter().map(String::as_str).collect::<String>()
            };
            assert_eq!(join(&cut.shallow), shallow, "depth {depth}");
            assert_eq!(join(&cut.commits), commits, "depth {depth}");
        }
    }

    #[test]
    fn several_tips_are_cut_at_the_same_depth() {
        // `e` and `m` go apart at `b`.
        let log = "e d\nm l\nd b\nl b\nb a\na\n";
        let cut = cut(log, &["e", "m"], 3, true).expect("complete");
        let commits: String = cut.commits.iter().map(String::as_str).collect();
        let shallow: String = cut.shallow.iter().map(String::as_str).collect();
        assert_eq!((commits.as_str(), shallow.as_str()), ("bdelm", "b"));
    }

    #[test]
    fn a_log_that_ends_too_early_is_no_answer() {
        assert_eq!(cut("c b\n", &["c"], 5, false), None);
        assert!(cut("c b\n", &["c"], 1, false).is_some());
    }
}
