//! Host paths and sandbox paths: the model works with sandbox paths, but it may have read the
//! host's in a file or in what the user typed.
//!
//! Only the host's worktree is translated. Any other path is simply a path in the sandbox: no
//! argument ever names a file of the host. A path that leads into the worktree through a link is one
//! in the worktree (`links.rs` finds them). The form of the worktree tells whether it is on Windows,
//! where a path has two separators and letters of any case, and Git's shell writes `/c/w` for `C:\w`.

use host::Platform;
use protocol::ToolArgs;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The two roots, and where in them the session works.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The worktree on the host, in the core's form, without a final separator.
    host: String,
    platform: Platform,
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
pub fn normalize(path: &str) -> String {
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

/// Free text with every mention of one path, and on Windows of what is below it, replaced.
fn replace(platform: Platform, text: &str, path: &str, by: &str) -> String {
    if path.is_empty() {
        return text.to_string();
    }
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, length)) = find(platform, rest, path) {
        let after = &rest[at + length..];
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
        let is_it = starts && ends;
        out.push_str(&rest[..at]);
        out.push_str(if is_it { by } else { &rest[at..at + length] });
        let below = match is_it && platform.is_windows() {
            true => after.find(ends_path).unwrap_or(after.len()),
            false => 0,
        };
        out.push_str(&after[..below].replace("\\\\", "/").replace('\\', "/"));
        rest = &after[below..];
    }
    out + rest
}

/// Stands behind a path in free text.
fn ends_path(c: char) -> bool {
    c.is_whitespace() || "'\"`;|&<>()*?,$".contains(c)
}

/// Where a path is mentioned first, and how long the mention is.
fn find(platform: Platform, text: &str, path: &str) -> Option<(usize, usize)> {
    if !platform.is_windows() {
        return text.find(path).map(|at| (at, path.len()));
    }
    let starts = text.char_indices().map(|(at, _)| at);
    let mut found = starts.filter_map(|at| Some((at, mention(&text[at..], path)?)));
    found.next()
}

/// How much of the text's start is a path of Windows, whose separators may be doubled, as in JSON.
fn mention(text: &str, path: &str) -> Option<usize> {
    let mut rest = text;
    for wanted in path.chars() {
        let found = rest.chars().next()?;
        rest = &rest[found.len_utf8()..];
        let is_same = match wanted {
            '/' => matches!(found, '/' | '\\'),
            _ => found == wanted || found.to_lowercase().eq(wanted.to_lowercase()),
        };
        if !is_same {
            return None;
        }
        if found == '\\' {
            rest = rest.strip_prefix('\\').unwrap_or(rest);
        }
    }
    Some(text.len() - rest.len())
}

impl Paths {
    /// `worktree` is OpenCode's; outside git it is `/`, and then the directory is the project.
    pub fn new(worktree: &str, directory: &str, project_dir: &str) -> Paths {
        let host = if worktree == "/" || worktree.is_empty() {
            directory
        } else {
            worktree
        };
        let platform = Platform::of_path(host);
        let host = platform.slashed(host);
        let mut paths = Paths {
            host: host.trim_end_matches('/').into(),
            platform,
            root: project_dir.to_string(),
            cwd: project_dir.to_string(),
            real: None,
            links: Rc::default(),
        };
        paths.starts_in(directory);
        paths
    }

    /// The session works in this directory of the host, if it is in the worktree.
    pub fn starts_in(&mut self, directory: &str) {
        if let Some(cwd) = self.inside(directory) {
            self.cwd = cwd;
        }
    }

    /// The rules that paths of the host have.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The worktree has this path without links.
    pub fn is_really(&mut self, real: String) {
        let real = self.platform.slashed(&real);
        self.links_to(&real, &self.host.clone());
        self.real = Some(real);
    }

    /// Notes that `way` leads to `real` through a link; false if that is not in the worktree.
    pub fn links_to(&self, way: &str, real: &str) -> bool {
        let below = |root: &String| {
            let rest = self.platform.below(real, root)?;
            Some(format!("{}{rest}", self.root))
        };
        let place = below(&self.host).or_else(|| below(self.real.as_ref()?));
        let place = place.filter(|_| !self.host.is_empty() && way.len() > 1);
        let is_found = place.is_some();
        let new = place.map(|place| (self.platform.slashed(way), place));
        self.links.borrow_mut().extend(new);
        is_found
    }

    /// True if it is known where the path leads without looking.
    pub fn is_known(&self, path: &str) -> bool {
        self.is_inside(path) || self.inside(path).is_some()
    }

    /// A path of a call as an absolute one of the host.
    pub fn on_host(&self, path: &str) -> String {
        let below = self.cwd.strip_prefix(&self.root).unwrap_or_default();
        let cwd = format!("{}{below}", self.host);
        if !self.platform.is_windows() {
            return self.absolute_from(&cwd, path);
        }
        let path = self.platform.slashed(path);
        let path = match self.platform.is_absolute(&path) || path.starts_with('/') {
            true => path,
            false => format!("{cwd}/{path}"),
        };
        let (root, rest) = path.split_at(self.platform.root_length(&path));
        format!("{root}/{}", normalize(rest))
    }

    /// The worktree on the host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The project in the sandbox.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The session's directory in the sandbox.
    pub fn cwd(&self) -> &str {
        &self.cwd
    }

    /// The sandbox's name of a path in the host's worktree; none for any other path.
    pub fn inside(&self, path: &str) -> Option<String> {
        self.below(path).or_else(|| self.linked(path))
    }

    /// The sandbox's name of a path that leads into the worktree through a link.
    fn linked(&self, path: &str) -> Option<String> {
        let links = self.links.borrow();
        let found = links.iter().rev().find_map(|(way, place)| {
            let rest = self.platform.below(path, way)?;
            Some((place, rest))
        });
        let (place, rest) = found?;
        Some(match normalize(&rest).as_str() {
            "" => place.clone(),
            rest => format!("{place}/{rest}"),
        })
    }

    fn below(&self, path: &str) -> Option<String> {
        if self.host.is_empty() {
            return None;
        }
        let by = |host: &str| self.platform.below(path, host);
        let rest = by(&self.host).or_else(|| by(&self.unix_form()?))?;
        Some(match normalize(&rest).as_str() {
            "" => self.root.clone(),
            rest => format!("{}/{rest}", self.root),
        })
    }

    /// The worktree as Git's shell on Windows writes it.
    fn unix_form(&self) -> Option<String> {
        let (drive, rest) = self.host.split_once(':')?;
        let is_drive = self.platform.is_windows() && drive.len() == 1;
        is_drive.then(|| format!("/{drive}{rest}"))
    }

    /// A path argument as the sandbox knows it. One that leaves the worktree may come back through a
    /// link.
    pub fn path(&self, path: &str) -> String {
        let back = || match path.split('/').any(|part| part == "..") && !path.starts_with('/') {
            true => self.linked(&self.on_host(path)),
            false => None,
        };
        let found = self.inside(path).or_else(back);
        found.unwrap_or_else(|| path.to_string())
    }

    /// Free text (a command, a prompt) with every mention of the host's worktree replaced.
    pub fn text(&self, text: &str) -> String {
        let links = self.links.borrow();
        // The longest first: one way may begin with another.
        let links = links.iter().rev();
        let by_unix = |text: String| match self.unix_form() {
            Some(form) => replace(self.platform, &text, &form, &self.root),
            None => text,
        };
        let text = by_unix(replace(self.platform, text, &self.host, &self.root));
        links.fold(text, |text, (way, place)| {
            replace(self.platform, &text, way, place)
        })
    }

    /// All arguments as the sandbox knows them. File content is never touched.
    pub fn arguments(&self, args: ToolArgs) -> ToolArgs {
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
    pub fn absolute(&self, path: &str) -> String {
        self.absolute_from(&self.cwd, path)
    }

    /// A path made absolute where it starts from another directory.
    pub fn absolute_from(&self, cwd: &str, path: &str) -> String {
        match path.strip_prefix('/') {
            Some(rest) => format!("/{}", normalize(rest)),
            None => format!("/{}", normalize(&format!("{cwd}/{path}"))),
        }
    }

    /// What `~` is in the sandbox, as far as the project's place tells.
    pub fn home(&self) -> String {
        let mut parts = self.root.split('/').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("home"), Some(user), Some(_)) => format!("/home/{user}"),
            (Some("root"), Some(_), _) => "/root".into(),
            _ => "/home/daytona".into(),
        }
    }

    /// True if an absolute path is the project or in it.
    pub fn is_inside(&self, absolute: &str) -> bool {
        absolute
            .strip_prefix(&self.root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// An absolute path relative to the project, with `..` where it must.
    pub fn relative(&self, absolute: &str) -> String {
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
        assert_eq!(
            Paths::new("/", "/srv/notes", "/p").path("/srv/notes/a"),
            "/p/a"
        );
    }

    #[test]
    fn paths_of_a_worktree_on_windows_are_translated_in_every_spelling() {
        for (worktree, path, sandbox) in [
            (r"C:\w\app", r"C:\w\app\src\a.rs", "/p/src/a.rs"),
            (r"C:\w\app", "C:/w/app/src/a.rs", "/p/src/a.rs"),
            (r"C:\w\app", r"C:\w/app/src\a.rs", "/p/src/a.rs"),
            (r"C:\w\app", r"c:\W\App\Src\a.rs", "/p/Src/a.rs"),
            (r"C:\w\app", "/c/w/app/src/a.rs", "/p/src/a.rs"),
            (r"C:\w\app", r"\\?\C:\w\app\a", "/p/a"),
            (r"C:\w\app\", r"C:\w\app", "/p"),
            ("C:/w/app", r"C:\w\app\src\..\a", "/p/a"),
            (r"C:\", r"C:\a", "/p/a"),
            (r"\\srv\share\app", r"\\SRV\share\app\a", "/p/a"),
            (r"\\srv\share\app", "//srv/share/app/a", "/p/a"),
            // None of the worktree's.
            (r"C:\w\app", r"C:\w\application", r"C:\w\application"),
            (r"C:\w\app", r"D:\w\app\a", r"D:\w\app\a"),
            (r"C:\w\app", "/w/app/a", "/w/app/a"),
            (r"C:\w\app", "/etc/passwd", "/etc/passwd"),
            (r"C:\w\app", "src/a.rs", "src/a.rs"),
            ("/w/app", "/W/app/a", "/W/app/a"),
            ("/w/app", r"\w\app\a", r"\w\app\a"),
        ] {
            let paths = Paths::new(worktree, worktree, "/p");
            assert_eq!(paths.path(path), sandbox, "{worktree} {path}");
        }
        let paths = Paths::new(r"C:\w\app", r"C:\w\app", "/p");
        assert!(paths.links_to(r"S:\link", r"c:\W\app\sub"));
        assert!(!paths.links_to(r"S:\other", r"C:\w\application"));
        assert_eq!(paths.path(r"s:\Link\x\a"), "/p/sub/x/a");
        assert_eq!(paths.text(r"dir S:\link\x"), "dir /p/sub/x");
        for (worktree, directory, cwd) in [
            (r"C:\w\app", r"C:\w\app\sub\x", "/p/sub/x"),
            ("C:/w/app", r"c:\w\app\sub", "/p/sub"),
            (r"\\srv\share\app", r"\\srv\share\app\sub", "/p/sub"),
            // Outside git.
            ("/", r"C:\notes", "/p"),
            ("", r"\\srv\share", "/p"),
        ] {
            let paths = Paths::new(worktree, directory, "/p");
            assert_eq!(paths.cwd(), cwd, "{worktree} {directory}");
            assert!(!paths.host().contains('\\'), "{}", paths.host());
        }
    }

    #[test]
    fn a_path_of_a_call_is_one_of_the_host() {
        for (directory, path, expected) in [
            ("/w/app/sub", "../a", "/w/app/a"),
            ("/w/app/sub", "/x/./y", "/x/y"),
            (r"C:\w\app\sub", r"..\a", "C:/w/app/a"),
            (r"C:\w\app\sub", r"D:\x\.\y", "D:/x/y"),
            (r"C:\w\app\sub", r"\\s\h\x\..\y", "//s/h/y"),
            (r"C:\w\app\sub", "/etc/x", "/etc/x"),
        ] {
            let worktree = directory.trim_end_matches(['s', 'u', 'b']);
            let paths = Paths::new(worktree, directory, "/p");
            assert_eq!(paths.on_host(path), expected, "{directory} {path}");
        }
    }

    #[test]
    fn text_with_paths_of_windows_is_translated() {
        let paths = Paths::new(r"C:\w\app", r"C:\w\app", "/p");
        for (text, expected) in [
            (r"cd C:\w\app && dir", "cd /p && dir"),
            (r"type 'c:\W\app\src\a b'", r"type '/p/src/a b'"),
            (r#""C:\\w\\app\\src\\a.rs""#, r#""/p/src/a.rs""#),
            ("cat /c/w/app/src/a.rs", "cat /p/src/a.rs"),
            ("in C:/w/app.", "in /p."),
            (r"C:\w\app2 xC:\w\app", r"C:\w\app2 xC:\w\app"),
            (r"C:\w\app\a C:\w\app\b\c", "/p/a /p/b/c"),
            (r"echo \n; é C:\w\app\é", r"echo \n; é /p/é"),
        ] {
            assert_eq!(paths.text(text), expected);
        }
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
