//! Paths that lead into the project through a link: a project is one, by whatever path it is reached.
//!
//! The core cannot ask where a path leads while it translates, so what a call names is looked at before
//! ([`learn`]), and what was found is kept with the roots ([`Paths`]). Only the way to the project is
//! looked at, never what is in it: links of the project are the sandbox's.

use host::{Host, Platform};
use permission::Paths;
use protocol::ToolArgs;
use std::collections::BTreeSet;

/// Paths that are looked at for one call, and how long one may be.
const MAX_PATHS: usize = 64;
const MAX_LENGTH: usize = 4096;

/// Learns what the worktree and the session's directory are without links, and how the user's shell
/// reached it.
pub(crate) async fn start(host: &dyn Host, paths: &mut Paths, directory: &str) {
    if let Ok(real) = host.real_path(paths.host()).await
        && !paths.platform().is_same(&real, paths.host())
    {
        paths.is_really(real);
    }
    follow(host, paths, directory).await;
    paths.starts_in(directory);
    if let Some(shells) = host.env("PWD") {
        follow(host, paths, &shells).await;
    }
}

/// Learns which of the paths that a call names lead into the project through a link.
pub(crate) async fn learn(host: &dyn Host, paths: &Paths, args: &ToolArgs) {
    for path in named(paths, args) {
        follow(host, paths, &path).await;
    }
}

/// Learns whether an absolute path leads into the project through a link.
pub(crate) async fn follow(host: &dyn Host, paths: &Paths, path: &str) {
    let platform = paths.platform();
    if !platform.is_absolute(path) || paths.is_known(path) || path.len() > MAX_LENGTH {
        return;
    }
    let path = platform.slashed(path);
    let root = platform.root_length(&path);
    let ends = path.match_indices('/').map(|(at, _)| at);
    for end in ends.filter(|end| *end > root).chain([path.len()]) {
        let way = &path[..end];
        let Ok(real) = host.real_path(way).await else {
            return;
        };
        if !platform.is_same(&real, way) && paths.links_to(way, &real) {
            return;
        }
    }
}

/// Paths of a call that may lead into the project.
fn named(paths: &Paths, args: &ToolArgs) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut one = |path: &str| {
        found.insert(paths.on_host(path));
    };
    match args {
        ToolArgs::Read(a) => one(&a.file_path),
        ToolArgs::Write(a) => one(&a.file_path),
        ToolArgs::Edit(a) => one(&a.file_path),
        ToolArgs::ApplyPatch(a) => {
            let lines = a.patch_text.lines();
            let named = lines.filter_map(|line| line.strip_prefix("*** ")?.split_once(": "));
            named.take(MAX_PATHS).for_each(|(_, path)| one(path));
        }
        ToolArgs::Glob(a) => {
            one(&a.pattern);
            a.path.iter().for_each(|path| one(path));
        }
        ToolArgs::Grep(a) => a.path.iter().for_each(|path| one(path)),
        ToolArgs::Bash(a) => {
            a.workdir.iter().for_each(|path| one(path));
            found.extend(absolute(paths.platform(), &a.command));
        }
        ToolArgs::Job(_)
        | ToolArgs::Preview(_)
        | ToolArgs::Sync(_)
        | ToolArgs::Webfetch(_)
        | ToolArgs::Websearch(_) => {}
    }
    found
}

/// Words of a command that begin as absolute paths do.
pub(crate) fn absolute(platform: Platform, text: &str) -> Vec<String> {
    // A drive has a `:` of its own.
    let ends = if platform.is_windows() {
        "'\"`;|&<>()=,$"
    } else {
        "'\"`;|&<>()=:,$"
    };
    let is_end = |c: char| c.is_whitespace() || ends.contains(c);
    let words = text.split(is_end).filter(|word| word.len() > 1);
    let paths = words.filter(|word| platform.is_absolute(word));
    paths.take(MAX_PATHS).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::absolute;
    use host::Platform::{Linux, Windows};

    #[test]
    fn absolute_paths_are_found_in_a_command() {
        for (platform, command, expected) in [
            (
                Linux,
                "cd '/a/b' && X=/c cat </d/e.txt>/f; ls a/b / \"/g\"",
                &["/a/b", "/c", "/d/e.txt", "/f", "/g"][..],
            ),
            (Linux, r"cd C:\a", &[]),
            (
                Windows,
                r#"cd 'C:\a' && X=d:/b cat <\\s\h\e.txt; dir "E:\""#,
                &[r"C:\a", "d:/b", r"\\s\h\e.txt", r"E:\"],
            ),
        ] {
            assert_eq!(absolute(platform, command), expected);
        }
    }
}
