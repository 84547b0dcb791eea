//! Where git keeps what belongs to a worktree, asked for in one call.
//!
//! Surprise: git before 2.31 does not know `--path-format` and prints it, as it prints every option
//! that it does not know. That tells the two apart, and is what stands between the answers here: a path
//! may have line ends in it.

/// Stands between two answers.
pub(crate) const BETWEEN: &str = "--opencode-daytona-sandbox-next";

/// The places, as absolute paths.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `sha1` or `sha256`.
    pub(crate) format: String,
    /// The worktree within the repository: empty for its root, else with a separator behind it.
    pub(crate) prefix: String,
    pub(crate) dir: String,
    pub(crate) objects: String,
    pub(crate) index: String,
    pub(crate) shallow: String,
    pub(crate) exclude: String,
}

/// What git answers to the questions of `Project::layout`.
pub(crate) fn read(output: &str, worktree: &str) -> Option<Layout> {
    let known = output.strip_prefix("--path-format=absolute\n");
    let mut answers = between(known.unwrap_or(output));
    let (format, prefix) = (answers.next()?, answers.next()?);
    let mut path = || Some(absolute(worktree, &answers.next()?));
    Some(Layout {
        format,
        prefix,
        dir: path()?,
        objects: path()?,
        index: path()?,
        shallow: path()?,
        exclude: path()?,
    })
}

/// The answers of a git that was asked with [`BETWEEN`] between the questions.
pub(crate) fn between(output: &str) -> impl Iterator<Item = String> {
    let between = format!("{BETWEEN}\n");
    let parts: Vec<String> = (output.split(&between))
        .map(|part| part.strip_suffix('\n').unwrap_or(part).to_string())
        .collect();
    parts.into_iter()
}

/// A path that git gave, which old gits give from the directory that they were started in.
pub(crate) fn absolute(from: &str, path: &str) -> String {
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    match path.starts_with(['/', '\\']) || is_drive {
        true => path.to_string(),
        false => format!("{}/{path}", from.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::{BETWEEN, read};

    #[test]
    fn new_and_old_git_are_understood() {
        let answers = |head: &str, prefix: &str, paths: [&str; 5]| {
            let parts = ["sha1", prefix].into_iter().chain(paths);
            let parts: Vec<String> = parts.map(|part| format!("{part}\n")).collect();
            head.to_string() + &parts.join(&format!("{BETWEEN}\n"))
        };
        let new = answers("", "", ["/w/.git", "/w/.git/o", "/w/.git/i", "/s", "/e\nx"]);
        let layout = read(&new, "/w").expect("whole");
        assert_eq!(layout.prefix, "");
        assert_eq!(layout.objects, "/w/.git/o");
        assert_eq!(layout.exclude, "/e\nx");
        let paths = ["/w/.git", ".git/o", "../.git/i", "s", "C:/e"];
        let old = answers("--path-format=absolute\n", "sub/", paths);
        let layout = read(&old, "/w/").expect("whole");
        assert_eq!(layout.prefix, "sub/");
        assert_eq!(layout.objects, "/w/.git/o");
        assert_eq!(layout.index, "/w/../.git/i");
        assert_eq!(layout.exclude, "C:/e");
        assert!(read("sha1\n", "/w").is_none());
    }
}
