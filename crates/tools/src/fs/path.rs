//! Lexical paths, as `path.resolve` and `path.relative` make them: no look at the file system, so
//! `..` goes up in the text even through a symlink.

use std::path::{Component, Path, PathBuf};

/// `path` from `base`, without `.`, `..` and repeated slashes.
pub fn resolve(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in base.join(path.as_ref()).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// The way from directory `from` to `to`; empty if they are the same.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (resolve(from, ""), resolve(to, ""));
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_tidies() {
        for (base, path, out) in [
            ("/a", "b", "/a/b"),
            ("/a", "/b/./c//d/", "/b/c/d"),
            ("/a/b", "../../../x", "/x"),
            ("/a", "", "/a"),
            ("/a", ".", "/a"),
        ] {
            assert_eq!(
                resolve(Path::new(base), path),
                Path::new(out),
                "{base} {path}"
            );
        }
    }

    #[test]
    fn relative_goes_up_where_it_must() {
        for (from, to, out) in [
            ("/a", "/a", ""),
            ("/a", "/a/b/c", "b/c"),
            ("/a/b", "/a/c", "../c"),
            ("/a", "/ab", "../ab"),
            ("/", "/x", "x"),
            ("/p", "/p/../q", "../q"),
        ] {
            assert_eq!(
                relative(Path::new(from), Path::new(to)),
                Path::new(out),
                "{from} {to}"
            );
        }
    }
}
