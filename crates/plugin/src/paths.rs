//! Host paths and sandbox paths: the model works with sandbox paths, but it may have read the
//! host's in a file or in what the user typed.
//!
//! Only the host's worktree is translated. Any other path is simply a path in the sandbox: no
//! argument ever names a file of the host. A path that leads into the worktree through a link is one
//! in the worktree (`links.rs` finds them).

use protocol::ToolArgs;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The two roots, and where in them the session works.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The worktree on the host, without a final separator.
    host: String,
    /// The project in the sandbox.
    root: String,
    /// The session's directory in the sandbox.
    cwd: String,
    /// The worktree on the host without links, if it has another path so.
    real: Option<String>,
    /// Paths on the host that lead into the worktree through a link, and what they are in the sandbox.
    links: Rc<RefCell<BTreeMap<String, String>>>,
}

/// Resolves `.`, `..` and doubled separators. A `..` that leads above the start is kept.
pub(crate) fn normalize(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Free text with every mention of one path replaced by another.
fn replace(text: &str, path: &str, by: &str) -> String {
    if path.is_empty() || !text.contains(path) {
        return text.to_string();
    }
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(path) {
        let after = &rest[at + path.len()..];
        let starts = !out
            .chars()
            .chain(rest[..at].chars())
            .next_back()
            .is_some_and(|c| part_of_name(c) || c == '/');
        let mut following = after.chars();
        let ends = match following.next() {
            // A sentence may end here; a longer name may not begin.
            Some('.') => !following.next().is_some_and(part_of_name),
            Some(c) => !part_of_name(c),
            None => true,
        };
        out.push_str(&rest[..at]);
        out.push_str(if starts && ends { by } else { path });
        rest = after;
    }
    out + rest
}

impl Paths {
    /// `worktree` is OpenCode's; outside git it is `/`, and then the directory is the project.
    pub(crate) fn new(worktree: &str, directory: &str, project_dir: &str) -> Paths {
        let host = if worktree == "/" || worktree.is_empty() {
            directory
        } else {
            worktree
        };
        let host = host.trim_end_matches(['/', '\\']).to_string();
        let mut paths = Paths {
            host,
            root: project_dir.to_string(),
            cwd: project_dir.to_string(),
            real: None,
            links: Rc::default(),
        };
        paths.starts_in(directory);
        paths
    }

    /// The session works in this directory of the host, if it is in the worktree.
    pub(crate) fn starts_in(&mut self, directory: &str) {
        if let Some(cwd) = self.inside(directory) {
            self.cwd = cwd;
        }
    }

    /// The worktree has this path without links.
    pub(crate) fn is_really(&mut self, real: String) {
        self.links_to(&real, &self.host.clone());
        self.real = Some(real);
    }

    /// Notes that `way` leads to `real` through a link; false if that is not in the worktree.
    pub(crate) fn links_to(&self, way: &str, real: &str) -> bool {
        let below = |root: &String| {
            let rest = real.strip_prefix(root.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.root))
        };
        let place = below(&self.host).or_else(|| below(self.real.as_ref()?));
        let place = place.filter(|_| !self.host.is_empty() && way.len() > 1);
        let is_found = place.is_some();
        let new = place.map(|place| (way.to_string(), place));
        self.links.borrow_mut().extend(new);
        is_found
    }

    /// True if it is known where the path leads without looking.
    pub(crate) fn is_known(&self, path: &str) -> bool {
        self.is_inside(path) || self.inside(path).is_some()
    }

    /// A path of a call as an absolute one of the host.
    pub(crate) fn on_host(&self, path: &str) -> String {
        let below = self.cwd.strip_prefix(&self.root).unwrap_or_default();
        self.absolute_from(&format!("{}{below}", self.host), path)
    }

    /// The worktree on the host.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The project in the sandbox.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The session's directory in the sandbox.
    pub(crate) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// The sandbox's name of a path in the host's worktree; none for any other path.
    pub(crate) fn inside(&self, path: &str) -> Option<String> {
        self.below(path).or_else(|| self.linked(path))
    }

    /// The sandbox's name of a path that leads into the worktree through a link.
    fn linked(&self, path: &str) -> Option<String> {
        let links = self.links.borrow();
        let found = links.iter().rev().find_map(|(way, place)| {
            let rest = path.strip_prefix(way.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((place, rest))
        });
        let (place, rest) = found?;
        Some(match normalize(rest).as_str() {
            "" => place.clone(),
            rest => format!("{place}/{rest}"),
        })
    }

    fn below(&self, path: &str) -> Option<String> {
        if self.host.is_empty() {
            return None;
        }
        // On Windows a model writes either separator, and both mean the same.
        let slashes = |path: &str| path.replace('\\', "/");
        let rest = match self.host.contains('\\') {
            true => slashes(path)
                .strip_prefix(&slashes(&self.host))?
                .to_string(),
            false => path.strip_prefix(&self.host)?.to_string(),
        };
        match rest.chars().next() {
            None => Some(self.root.clone()),
            Some('/' | '\\') => {
                let rest = normalize(&rest.replace('\\', "/"));
                Some(if rest.is_empty() {
                    self.root.clone()
                } else {
                    format!("{}/{rest}", self.root)
                })
            }
            Some(_) => None,
        }
    }

    /// A path argument as the sandbox knows it. One that leaves the worktree may come back through a
    /// link.
    pub(crate) fn path(&self, path: &str) -> String {
        let back = || match path.split('/').any(|part| part == "..") && !path.starts_with('/') {
            true => self.linked(&self.on_host(path)),
            false => None,
        };
        let found = self.inside(path).or_else(back);
        found.unwrap_or_else(|| path.to_string())
    }

    /// Free text (a command, a prompt) with every mention of the host's worktree replaced.
    pub(crate) fn text(&self, text: &str) -> String {
        let links = self.links.borrow();
        // The longest first: one way may begin with another.
        let links = links.iter().rev();
        let text = replace(text, &self.host, &self.root);
        links.fold(text, |text, (way, place)| replace(&text, way, place))
    }

    /// All arguments as the sandbox knows them. File content is never touched.
    pub(crate) fn arguments(&self, args: ToolArgs) -> ToolArgs {
        let path = |p: Option<String>| p.map(|p| self.path(&p));
        match args {
            ToolArgs::Read(mut a) => {
                a.file_path = self.path(&a.file_path);
                ToolArgs::Read(a)
            }
            ToolArgs::Write(mut a) => {
                a.file_path = self.path(&a.file_path);
                ToolArgs::Write(a)
            }
            ToolArgs::Edit(mut a) => {
                a.file_path = self.path(&a.file_path);
                ToolArgs::Edit(a)
            }
            ToolArgs::ApplyPatch(mut a) => {
                a.patch_text = self.patch(&a.patch_text);
                ToolArgs::ApplyPatch(a)
            }
            ToolArgs::Glob(mut a) => {
                (a.pattern, a.path) = (self.path(&a.pattern), path(a.path));
                ToolArgs::Glob(a)
            }
            ToolArgs::Grep(mut a) => {
                a.path = path(a.path);
                ToolArgs::Grep(a)
            }
            ToolArgs::Bash(mut a) => {
                (a.command, a.workdir) = (self.text(&a.command), path(a.workdir));
                ToolArgs::Bash(a)
            }
            other @ (ToolArgs::Job(_)
            | ToolArgs::Preview(_)
            | ToolArgs::Sync(_)
            | ToolArgs::Webfetch(_)
            | ToolArgs::Websearch(_)) => other,
        }
    }

    /// A patch with the paths in its headers translated, and no other line.
    fn patch(&self, patch: &str) -> String {
        let line = |line: &str| {
            for header in [
                "*** Add File: ",
                "*** Update File: ",
                "*** Delete File: ",
                "*** Move to: ",
            ] {
                if let Some(path) = line.strip_prefix(header) {
                    return format!("{header}{}", self.path(path));
                }
            }
            line.to_string()
        };
        patch.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }

    /// A path argument made absolute.
    pub(crate) fn absolute(&self, path: &str) -> String {
        self.absolute_from(&self.cwd, path)
    }

    /// A path made absolute where it starts from another directory.
    pub(crate) fn absolute_from(&self, cwd: &str, path: &str) -> String {
        match path.strip_prefix('/') {
            Some(rest) => format!("/{}", normalize(rest)),
            None => format!("/{}", normalize(&format!("{cwd}/{path}"))),
        }
    }

    /// What `~` is in the sandbox, as far as the project's place tells.
    pub(crate) fn home(&self) -> String {
        let mut parts = self.root.split('/').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("home"), Some(user), Some(_)) => format!("/home/{user}"),
            (Some("root"), Some(_), _) => "/root".into(),
            _ => "/home/daytona".into(),
        }
    }

    /// True if an absolute path is the project or in it.
    pub(crate) fn is_inside(&self, absolute: &str) -> bool {
        absolute
            .strip_prefix(&self.root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// An absolute path relative to the project, with `..` where it must.
    pub(crate) fn relative(&self, absolute: &str) -> String {
        let from: Vec<&str> = self.root.split('/').filter(|p| !p.is_empty()).collect();
        let to: Vec<&str> = absolute.split('/').filter(|p| !p.is_empty()).collect();
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let up = std::iter::repeat_n("..", from.len() - common);
        up.chain(to[common..].iter().copied())
            .collect::<Vec<_>>()
            .join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths() -> Paths {
        Paths::new("/home/me/app", "/home/me/app/sub", "/home/daytona/project")
    }

    #[test]
    fn paths_of_the_worktree_are_translated_and_no_other() {
        for (host, sandbox) in [
            ("/home/me/app", "/home/daytona/project"),
            ("/home/me/app/", "/home/daytona/project"),
            (
                "/home/me/app/src/a b.rs",
                "/home/daytona/project/src/a b.rs",
            ),
            ("/home/me/app/../../x", "/home/daytona/project/../../x"),
            ("/home/me/application/a", "/home/me/application/a"),
            ("/etc/passwd", "/etc/passwd"),
            ("src/a.rs", "src/a.rs"),
            ("~/x", "~/x"),
        ] {
            assert_eq!(paths().path(host), sandbox);
        }
        assert_eq!(paths().cwd(), "/home/daytona/project/sub");
        for path in [
            "C:\\w\\app\\src\\a.rs",
            "C:/w/app/src/a.rs",
            "C:\\w/app/src\\a.rs",
        ] {
            let windows = Paths::new("C:\\w\\app", "C:\\w\\app", "/p");
            assert_eq!(windows.path(path), "/p/src/a.rs");
        }
        assert_eq!(
            Paths::new("/", "/srv/notes", "/p").path("/srv/notes/a"),
            "/p/a"
        );
    }

    #[test]
    fn text_is_translated_at_the_bounds_of_a_path() {
        for (host, sandbox) in [
            ("cd /home/me/app && ls", "cd /home/daytona/project && ls"),
            ("cat '/home/me/app/a'", "cat '/home/daytona/project/a'"),
            ("in /home/me/app.", "in /home/daytona/project."),
            ("/home/me/app.old", "/home/me/app.old"),
            (
                "/home/me/app2 /mnt/home/me/app",
                "/home/me/app2 /mnt/home/me/app",
            ),
            (
                "X=/home/me/app:/home/me/app/bin",
                "X=/home/daytona/project:/home/daytona/project/bin",
            ),
        ] {
            assert_eq!(paths().text(host), sandbox);
        }
    }

    #[test]
    fn a_patch_changes_in_its_headers_only() {
        let patch =
            "*** Begin Patch\n*** Update File: /home/me/app/a\n-/home/me/app/a\n+b\n*** End Patch";
        let expected = "*** Begin Patch\n*** Update File: /home/daytona/project/a\n-/home/me/app/a\n+b\n*** End Patch";
        assert_eq!(paths().patch(patch), expected);
    }

    #[test]
    fn outside_and_relative() {
        let p = paths();
        for (path, absolute, inside, relative) in [
            ("a", "/home/daytona/project/sub/a", true, "sub/a"),
            ("../a", "/home/daytona/project/a", true, "a"),
            ("../../a", "/home/daytona/a", false, "../a"),
            (
                "/home/daytona/project2",
                "/home/daytona/project2",
                false,
                "../project2",
            ),
            (
                "/home/daytona/project/../x",
                "/home/daytona/x",
                false,
                "../x",
            ),
            ("/etc", "/etc", false, "../../../etc"),
            ("..", "/home/daytona/project", true, ""),
        ] {
            assert_eq!(p.absolute(path), absolute);
            assert_eq!(p.is_inside(absolute), inside, "{absolute}");
            assert_eq!(p.relative(absolute), relative);
        }
    }

    proptest! {
        #[test]
        fn no_argument_keeps_the_worktree_in_it(rest in "(/[a-z.]{0,5}){0,4}") {
            let out = paths().path(&format!("/home/me/app{rest}"));
            prop_assert!(out.starts_with("/home/daytona/project"), "{out}");
        }

        #[test]
        fn normalizing_twice_changes_nothing(path in "[a-z./]{0,30}") {
            let once = normalize(&path);
            prop_assert_eq!(normalize(&once), once);
        }
    }
}
