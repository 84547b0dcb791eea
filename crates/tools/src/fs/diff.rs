//! Unified diffs, line by line, the same as those of the JavaScript package `diff` 8 that OpenCode
//! uses: the same choice among equally short diffs, four lines of context, the same headers.
//!
//! Surprise: a search that would take more than [`MAX_EDITS`] edits is given up, and the part that
//! differs is shown as removed and added whole. The original would search for minutes.

/// With this bound the search takes at most some 0.1 s and 50 MB.
const MAX_EDITS: usize = 5_000;
const CONTEXT: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Same,
    Added,
    Removed,
}

/// A run of lines of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    kind: Kind,
    count: usize,
}

/// Lines added and removed.
pub(super) fn counts(old: &str, new: &str) -> (usize, usize) {
    let runs = runs(&lines(old), &lines(new));
    let sum = |kind| {
        runs.iter()
            .filter(|run| run.kind == kind)
            .map(|run| run.count)
            .sum()
    };
    (sum(Kind::Added), sum(Kind::Removed))
}

/// The diff that OpenCode shows for the file `name`: a patch without the indentation that all its
/// lines share.
pub(super) fn patch(name: &str, old: &str, new: &str) -> String {
    dedent(&unified(name, old, new))
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn unified(name: &str, old: &str, new: &str) -> String {
    let (old, new) = (lines(old), lines(new));
    let mut out = format!(
        "Index: {name}\n{}\n--- {name}\n+++ {name}\n",
        "=".repeat(67)
    );
    for hunk in hunks(&runs(&old, &new)) {
        // An empty side is said to start one line earlier.
        let start = |start: usize, count: usize| if count == 0 { start } else { start + 1 };
        let (old_start, new_start) = (
            start(hunk.old, hunk.old_count),
            start(hunk.new, hunk.new_count),
        );
        out += &format!(
            "@@ -{old_start},{} +{new_start},{} @@\n",
            hunk.old_count, hunk.new_count
        );
        let (mut old_at, mut new_at) = (hunk.old, hunk.new);
        for run in hunk.runs {
            let (sign, from) = match run.kind {
                Kind::Same => (' ', &old[old_at..old_at + run.count]),
                Kind::Removed => ('-', &old[old_at..old_at + run.count]),
                Kind::Added => ('+', &new[new_at..new_at + run.count]),
            };
            for line in from {
                out.push(sign);
                out += line;
                if !line.ends_with('\n') {
                    out += "\n\\ No newline at end of file\n";
                }
            }
            old_at += if run.kind == Kind::Added {
                0
            } else {
                run.count
            };
            new_at += if run.kind == Kind::Removed {
                0
            } else {
                run.count
            };
        }
    }
    out
}

struct Hunk {
    old: usize,
    new: usize,
    old_count: usize,
    new_count: usize,
    runs: Vec<Run>,
}

/// Groups the changes with their context; changes that are up to eight lines apart share a hunk.
fn hunks(runs: &[Run]) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut open = false;
    let (mut old, mut new) = (0, 0);
    for (at, run) in runs.iter().enumerate() {
        let is_last = at + 1 == runs.len();
        if run.kind == Kind::Same {
            if open {
                open = run.count <= CONTEXT * 2 && !is_last;
                let shown = if open {
                    run.count
                } else {
                    run.count.min(CONTEXT)
                };
                if let Some(hunk) = hunks.last_mut() {
                    hunk.take(Run {
                        kind: Kind::Same,
                        count: shown,
                    });
                }
            }
            old += run.count;
            new += run.count;
            continue;
        }
        if !open {
            open = true;
            let before = if at > 0 {
                runs[at - 1].count.min(CONTEXT)
            } else {
                0
            };
            let mut hunk = Hunk {
                old: old - before,
                new: new - before,
                old_count: 0,
                new_count: 0,
                runs: Vec::new(),
            };
            hunk.take(Run {
                kind: Kind::Same,
                count: before,
            });
            hunks.push(hunk);
        }
        if let Some(hunk) = hunks.last_mut() {
            hunk.take(*run);
        }
        old += if run.kind == Kind::Removed {
            run.count
        } else {
            0
        };
        new += if run.kind == Kind::Added {
            run.count
        } else {
            0
        };
    }
    hunks
}

impl Hunk {
    fn take(&mut self, run: Run) {
        self.old_count += if run.kind == Kind::Added {
            0
        } else {
            run.count
        };
        self.new_count += if run.kind == Kind::Removed {
            0
        } else {
            run.count
        };
        self.runs.push(run);
    }
}

/// The shortest edit script, by Myers' greedy search over the diagonals in the order of the
/// original, which decides between scripts of equal length.
fn runs(old: &[&str], new: &[&str]) -> Vec<Run> {
    let mut script = match search(old, new) {
        Some(script) => script,
        None => whole(old, new),
    };
    script.retain(|run| run.count > 0);
    let mut runs: Vec<Run> = Vec::new();
    for run in script {
        match runs.last_mut().filter(|last| last.kind == run.kind) {
            Some(last) => last.count += run.count,
            None => runs.push(run),
        }
    }
    runs
}

/// What is common at both ends, and between them everything removed and added.
fn whole(old: &[&str], new: &[&str]) -> Vec<Run> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    vec![
        Run {
            kind: Kind::Same,
            count: head,
        },
        Run {
            kind: Kind::Removed,
            count: old.len() - head - tail,
        },
        Run {
            kind: Kind::Added,
            count: new.len() - head - tail,
        },
        Run {
            kind: Kind::Same,
            count: tail,
        },
    ]
}

/// Where a path ends: how many old lines it has used, and whether its last edit was a removal.
#[derive(Clone, Copy)]
struct End {
    old: u32,
    removed: bool,
}

/// A diagonal is old lines used minus new lines used. `paths[e]` holds the ends after `e` edits of
/// the diagonals `-e, -e + 2, …, e`; none where no path leads on.
fn search(old: &[&str], new: &[&str]) -> Option<Vec<Run>> {
    let (old_len, new_len) = (old.len() as i64, new.len() as i64);
    let slide = |mut from: i64, diagonal: i64| {
        while from < old_len
            && from - diagonal < new_len
            && old[from as usize] == new[(from - diagonal) as usize]
        {
            from += 1;
        }
        from
    };
    let first = slide(0, 0);
    let mut paths = vec![vec![Some(End {
        old: first as u32,
        removed: false,
    })]];
    if first >= old_len && first >= new_len {
        return Some(trace(&paths, 0));
    }
    let (mut least, mut most) = (i64::MIN, i64::MAX);
    for edits in 1..=(old_len + new_len).min(MAX_EDITS as i64) {
        let before = &paths[(edits - 1) as usize];
        let end_of = |diagonal: i64| -> Option<i64> {
            let at = usize::try_from(diagonal + edits - 1).ok()?;
            if at % 2 == 1 {
                None
            } else {
                before.get(at / 2)?.map(|end| i64::from(end.old))
            }
        };
        let mut ends = vec![None; edits as usize + 1];
        let (low, high) = (least.max(-edits), most.min(edits));
        // Bounds have the parity of the edits that set them.
        let low = low + (low + edits).rem_euclid(2);
        let mut diagonal = low;
        while diagonal <= high {
            let at = ((diagonal + edits) / 2) as usize;
            let remove = end_of(diagonal - 1).filter(|from| *from < old_len);
            let add =
                end_of(diagonal + 1).filter(|from| (0..new_len).contains(&(from - diagonal - 1)));
            let step = match (remove, add) {
                (None, None) => None,
                (Some(remove), Some(add)) if remove < add => Some((add, false)),
                (Some(remove), _) => Some((remove + 1, true)),
                (None, Some(add)) => Some((add, false)),
            };
            if let Some((from, removed)) = step {
                let end = slide(from, diagonal);
                ends[at] = Some(End {
                    old: end as u32,
                    removed,
                });
                let new_end = end - diagonal;
                if end >= old_len && new_end >= new_len {
                    paths.push(ends);
                    return Some(trace(&paths, diagonal));
                }
                if end >= old_len {
                    most = most.min(diagonal - 1);
                }
                if new_end >= new_len {
                    least = least.max(diagonal + 1);
                }
            }
            diagonal += 2;
        }
        paths.push(ends);
    }
    None
}

/// The script that ends on `diagonal` after all edits.
fn trace(paths: &[Vec<Option<End>>], mut diagonal: i64) -> Vec<Run> {
    let mut script = Vec::new();
    for edits in (0..paths.len()).rev() {
        let at = ((diagonal + edits as i64) / 2) as usize;
        let Some(end) = paths[edits].get(at).copied().flatten() else {
            break;
        };
        if edits == 0 {
            script.push(Run {
                kind: Kind::Same,
                count: end.old as usize,
            });
            break;
        }
        let from = if end.removed {
            diagonal - 1
        } else {
            diagonal + 1
        };
        let before = ((from + edits as i64 - 1) / 2) as usize;
        let start = paths[edits - 1]
            .get(before)
            .copied()
            .flatten()
            .map_or(0, |end| end.old);
        let edited = start + u32::from(end.removed);
        script.push(Run {
            kind: Kind::Same,
            count: (end.old - edited) as usize,
        });
        script.push(Run {
            kind: if end.removed {
                Kind::Removed
            } else {
                Kind::Added
            },
            count: 1,
        });
        diagonal = from;
    }
    script.reverse();
    script
}

/// Takes away the indentation that all lines with text share.
fn dedent(patch: &str) -> String {
    let is_content = |line: &str| {
        line.starts_with(['+', '-', ' ']) && !line.starts_with("---") && !line.starts_with("+++")
    };
    let indent = patch
        .split('\n')
        .filter(|line| is_content(line))
        .map(|line| &line[1..])
        .filter(|line| !super::js::trim(line).is_empty())
        .map(|line| line.chars().take_while(|c| super::js::is_space(*c)).count())
        .min()
        .unwrap_or(0);
    if indent == 0 {
        return patch.to_string();
    }
    let cut = |line: &str| {
        let rest: String = line[1..].chars().skip(indent).collect();
        format!("{}{rest}", &line[..1])
    };
    let lines: Vec<String> = patch
        .split('\n')
        .map(|line| {
            if is_content(line) {
                cut(line)
            } else {
                line.to_string()
            }
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
