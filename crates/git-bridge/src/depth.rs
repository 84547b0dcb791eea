//! How much history goes along: the commits within so many steps of one, and where they are cut.

use crate::error::Error;
use crate::git::Git;
use crate::layout::Layout;
use crate::project::Project;
use crate::snapshot::Snapshot;
use crate::start::Start;
use host::Level;
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

impl Project {
    /// How many commits of history may go along.
    pub(crate) async fn history(
        &self,
        git: &Git<'_>,
        snapshot: &Snapshot,
        start: &Start,
    ) -> Result<usize, Error> {
        let Some(head) = snapshot.head.as_ref().filter(|_| start.history > 0) else {
            return Ok(0);
        };
        if !start.keep_out.is_empty() {
            let mut args = vec!["rev-list", "--max-count=1", "--full-history"];
            args.extend([head.as_str(), &snapshot.commit, "--"]);
            args.extend(start.keep_out.iter().map(String::as_str));
            if !git.line(&args).await?.is_empty() {
                self.host.log(
                    Level::Warn,
                    "history stays on the host, because it holds a file that must not leave it",
                );
                return Ok(0);
            }
        }
        // What is on top of HEAD is no part of the user's history.
        let on_top = ["rev-list", "--count", &snapshot.commit, &format!("^{head}")];
        let on_top: usize = git.line(&on_top).await?.parse().unwrap_or(0);
        Ok(start.history + on_top)
    }

    /// Where the history of `tips` is cut, and what goes.
    pub(crate) async fn shallow(
        &self,
        git: &Git<'_>,
        root: Option<&Layout>,
        tips: &[&str],
        depth: usize,
    ) -> Result<(Vec<String>, BTreeSet<String>), Error> {
        let depth = depth.max(1);
        let mut count = depth.saturating_mul(4).max(1_000);
        let cut: Cut = loop {
            let max = format!("--max-count={count}");
            let list = ["rev-list", "--parents", &max];
            let log = git.line(&[&list[..], tips, &["--"]].concat()).await?;
            let complete = log.lines().count() < count;
            match cut(&log, tips, depth, complete) {
                Some(cut) => break cut,
                None => count = count.saturating_mul(16),
            }
        };
        // Where the user's own clone is cut, so is the sandbox's.
        let users = match root {
            Some(layout) => self.host.read_file(&layout.shallow).await,
            None => Ok(Vec::new()),
        };
        let users = users.unwrap_or_default();
        let users = String::from_utf8_lossy(&users);
        let users = users
            .lines()
            .filter(|commit| cut.commits.contains(*commit))
            .map(str::to_string);
        let all: BTreeSet<String> = cut.shallow.iter().cloned().chain(users).collect();
        Ok((all.into_iter().collect(), cut.commits))
    }
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
