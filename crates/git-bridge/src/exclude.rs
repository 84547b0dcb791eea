//! What git on the host ignores beside what `.gitignore` files say: the sandbox gets these rules, so that
//! what they ignore does not come home either.
//!
//! | rules | relative to |
//! | --- | --- |
//! | `core.excludesFile`, or `git/ignore` in the directory of the user's settings | any directory |
//! | `info/exclude` of the repository, for all of its worktrees | the repository's root |
//! | `.gitignore` files above a project that is a part of a repository | their directory |
//!
//! Later ones overrule earlier ones, as they do for git.

use crate::error::Error;
use crate::git::{self, Git};
use crate::layout::{Layout, absolute};
use crate::project::Project;
use crate::settings::values;
use host::Level;

/// Most bytes of rules that are carried.
const MAX_RULES: usize = 1024 * 1024;

impl Project {
    /// The rules, as an exclude file of the project's root has them. `settings` are all that git has,
    /// as `config -z --list` writes them.
    pub(crate) async fn rules(
        &self,
        layout: Option<&Layout>,
        settings: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let prefix = layout.map_or("", |layout| &layout.prefix);
        let top = self.worktree.trim_end_matches('/');
        let top = top.strip_suffix(prefix.trim_end_matches('/'));
        let top = top.unwrap_or(&self.worktree).trim_end_matches('/');
        let mut rules = Vec::new();
        if let Some(file) = self.excludes_file(settings).await? {
            let file = absolute(top, &file);
            append(
                &mut rules,
                &self.host.read_file(&file).await.unwrap_or_default(),
                "",
            );
        }
        if let Some(layout) = layout {
            let own = self.host.read_file(&layout.exclude).await;
            append(&mut rules, &own.unwrap_or_default(), prefix);
            for (at, _) in std::iter::once((0, "")).chain(prefix.match_indices('/')) {
                let (above, rest) = match at {
                    0 => ("", prefix),
                    at => prefix.split_at(at + 1),
                };
                if !rest.is_empty() {
                    let file = format!("{top}/{above}.gitignore");
                    let above = self.host.read_file(&file).await;
                    append(&mut rules, &above.unwrap_or_default(), rest);
                }
            }
        }
        if rules.len() > MAX_RULES {
            let message = format!(
                "the rules for ignored files of this machine have {} bytes, and at most {MAX_RULES} are brought into a sandbox: what only they ignore comes home from there",
                rules.len()
            );
            self.host.log(Level::Warn, &message);
            rules.clear();
        }
        Ok(rules)
    }

    /// The file that `core.excludesFile` names, or git's own place for it; none if there is to be none.
    async fn excludes_file(&self, settings: &[u8]) -> Result<Option<String>, Error> {
        let value = values(settings, "core.excludesfile").last();
        let home = || {
            self.host
                .env("HOME")
                .or_else(|| self.host.env("USERPROFILE"))
        };
        let Some(value) = value else {
            let users = self.host.env("XDG_CONFIG_HOME");
            let users = users.or_else(|| Some(format!("{}/.config", home()?)));
            return Ok(users.map(|users| format!("{users}/git/ignore")));
        };
        if let (Some(rest), Some(home)) = (value.strip_prefix("~/"), home()) {
            return Ok(Some(format!("{home}/{rest}")));
        }
        if value.starts_with(['~', '%']) {
            // Only git knows whose home or which directory that is.
            let ask = ["config", "--type=path", "--get", "core.excludesFile"];
            let git = Git::users(&*self.host, &self.worktree);
            let asked = git.run(&ask, "").await?;
            return Ok((asked.code == 0).then(|| git::text(&asked.stdout)));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }
}

/// Adds the rules of a file whose directory has the project at `prefix`.
fn append(rules: &mut Vec<u8>, file: &[u8], prefix: &str) {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    for line in file.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        for rule in below(line, prefix) {
            rules.extend(rule);
            rules.push(b'\n');
        }
    }
}

/// A rule as it is further down; none if it says nothing there.
fn below(line: &[u8], prefix: &str) -> Vec<Vec<u8>> {
    let (not, pattern) = match line.strip_prefix(b"!") {
        Some(pattern) => (&b"!"[..], pattern),
        None => (&b""[..], line),
    };
    let path = pattern.strip_suffix(b"/").unwrap_or(pattern);
    if prefix.is_empty() || !path.contains(&b'/') {
        return vec![line.to_vec()];
    }
    let parts: Vec<&[u8]> = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
        .collect();
    let above: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    let end = if pattern.ends_with(b"/") {
        &b"/"[..]
    } else {
        b""
    };
    let mut rests = Vec::new();
    rest(&parts, &above, &mut rests);
    let rule = |rest: Vec<u8>| [not, b"/", &rest, end].concat();
    rests.into_iter().map(rule).collect()
}

/// What remains of a pattern below some directories.
fn rest(parts: &[&[u8]], above: &[&str], found: &mut Vec<Vec<u8>>) {
    let Some((dir, further)) = above.split_first() else {
        if !parts.is_empty() {
            found.push(parts.join(&b'/'));
        }
        return;
    };
    match parts.split_first() {
        Some((part, tail)) if *part == b"**" => {
            rest(tail, above, found);
            rest(parts, further, found);
        }
        Some((part, tail)) if matches(part, dir.as_bytes()) => rest(tail, further, found),
        _ => {}
    }
}

/// Whether a part of a pattern matches a name. A pattern with a set of characters is taken to match
/// none: it would have to name a directory that the project is in.
fn matches(part: &[u8], name: &[u8]) -> bool {
    match (part.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', tail)), _) => {
            matches(tail, name)
                || name
                    .split_first()
                    .is_some_and(|(_, name)| matches(part, name))
        }
        (Some((b'?', tail)), Some((_, name))) => matches(tail, name),
        (Some((b'\\', tail)), Some(_)) if !tail.is_empty() => {
            tail[0] == name[0] && matches(&tail[1..], &name[1..])
        }
        (Some((a, tail)), Some((b, name))) => a == b && matches(tail, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn a_rule_keeps_its_meaning_further_down() {
        for (rule, prefix, expected) in [
            ("*.log", "", "*.log"),
            ("/build", "", "/build"),
            ("*.log", "sub/", "*.log"),
            ("node_modules/", "sub/", "node_modules/"),
            ("!keep.log", "sub/", "!keep.log"),
            ("/build", "sub/", ""),
            ("/sub/build/", "sub/", "/build/"),
            ("!sub/build", "sub/", "!/build"),
            ("sub/a/b", "sub/", "/a/b"),
            ("su?/*.o", "sub/", "/*.o"),
            ("s*/x/y", "sub/x/", "/y"),
            ("other/x", "sub/", ""),
            ("**/out/x", "sub/", "/**/out/x"),
            ("**/sub/x", "sub/", "/x /**/sub/x"),
            ("sub/**/x", "sub/deep/", "/**/x"),
            ("sub", "sub/", "sub"),
        ] {
            let found = below(rule.as_bytes(), prefix).join(&b' ');
            assert_eq!(
                String::from_utf8_lossy(&found),
                expected,
                "{rule} in {prefix}"
            );
        }
    }
}
