//! The user's operating system, as far as paths and homes have other rules on it.
//!
//! On Windows a path has one form in the core: with `/`, as git writes it (`C:/w/app`,
//! `//server/share/app`). The runtimes and git take that form everywhere, so what is joined with `/`
//! stays right. [`Platform::slashed`] makes it; paths are compared without regard to case there.

/// A kind of operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// Linux, and every other system of its kind.
    #[default]
    Linux,
    /// macOS.
    Mac,
    /// Windows.
    Windows,
}

impl Platform {
    /// By the name that JavaScript's `process.platform` has for it.
    pub fn named(name: &str) -> Platform {
        match name {
            "win32" => Platform::Windows,
            "darwin" => Platform::Mac,
            _ => Platform::Linux,
        }
    }

    /// By the form of an absolute path.
    pub fn of_path(path: &str) -> Platform {
        let is_share = path.starts_with("\\\\") || path.starts_with("//");
        match is_share || drive(path).is_some() {
            true => Platform::Windows,
            false => Platform::Linux,
        }
    }

    /// True for Windows.
    pub fn is_windows(self) -> bool {
        self == Platform::Windows
    }

    /// The user's home directory, where JavaScript's `os.homedir()` has it.
    pub fn home(self, env: impl Fn(&str) -> Option<String>) -> Option<String> {
        match self {
            Platform::Windows => env("USERPROFILE").or_else(|| env("HOME")),
            Platform::Linux | Platform::Mac => env("HOME"),
        }
        .map(|home| self.slashed(&home))
    }

    /// The directory of programs' data.
    pub fn data_dir(self, env: impl Fn(&str) -> Option<String>) -> Option<String> {
        let windows = |name| env(name).filter(|_| self.is_windows());
        env("XDG_DATA_HOME")
            .or_else(|| windows("LOCALAPPDATA"))
            .or_else(|| windows("APPDATA"))
            .map(|dir| self.slashed(&dir))
            .or_else(|| Some(format!("{}/.local/share", self.home(&env)?)))
    }

    /// A path in the form that the core has of it.
    pub fn slashed(self, path: &str) -> String {
        if !self.is_windows() {
            return path.to_string();
        }
        let path = path.replace('\\', "/");
        // What takes long paths: `\\?\C:\a`, `\\?\UNC\server\share`.
        match path.strip_prefix("//?/") {
            Some(rest) => match rest.strip_prefix("UNC/") {
                Some(share) => format!("//{share}"),
                None => rest.to_string(),
            },
            None => path,
        }
    }

    /// True if nothing is missing in front of a path.
    pub fn is_absolute(self, path: &str) -> bool {
        match self {
            Platform::Windows => Platform::of_path(path).is_windows(),
            Platform::Linux | Platform::Mac => path.starts_with('/'),
        }
    }

    /// How many bytes of an absolute path in the core's form are the root that it starts from, without
    /// the separator behind it.
    pub fn root_length(self, path: &str) -> usize {
        if !self.is_windows() {
            return 0;
        }
        let Some(share) = path.strip_prefix("//") else {
            return drive(path).map_or(0, str::len);
        };
        let mut ends = share.match_indices('/').map(|(at, _)| at + 2);
        ends.nth(1).unwrap_or(path.len())
    }

    /// What is left of a path behind a directory that it is, or is in: empty, or with the separator in
    /// front. Both may have either form.
    pub fn below(self, path: &str, dir: &str) -> Option<String> {
        let (path, dir) = (self.slashed(path), self.slashed(dir));
        let mut rest = path.chars();
        for wanted in dir.trim_end_matches('/').chars() {
            let found = rest.next()?;
            let is_same = found == wanted
                || (self.is_windows() && found.to_lowercase().eq(wanted.to_lowercase()));
            if !is_same {
                return None;
            }
        }
        let rest = rest.as_str();
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_string())
    }

    /// True if two paths are spellings of one.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        let below = self.below(one, other);
        below.is_some_and(|rest| rest.trim_end_matches('/').is_empty())
    }

    /// The directory around a path in the core's form; none around a root.
    pub fn parent(self, path: &str) -> Option<&str> {
        let at = path.rfind('/')?;
        (at > self.root_length(path)).then(|| &path[..at])
    }

    /// Where a program may be, by what `PATH` and, on Windows, `PATHEXT` say, first that which a shell
    /// would start.
    pub fn places_of(self, program: &str, env: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let between = if self.is_windows() { ';' } else { ':' };
        let endings = match self {
            Platform::Windows => env("PATHEXT").unwrap_or_else(|| ".COM;.EXE;.BAT;.CMD".into()),
            Platform::Linux | Platform::Mac => String::new(),
        };
        let path = env("PATH").unwrap_or_default();
        let dirs = path.split(between).filter(|dir| !dir.is_empty());
        let mut places = Vec::new();
        for dir in dirs {
            let dir = self.slashed(dir.trim_matches('"'));
            let dir = dir.trim_end_matches('/');
            for ending in endings.split(';') {
                places.push(format!("{dir}/{program}{}", ending.to_lowercase()));
            }
        }
        places
    }
}

/// The drive that a path of Windows begins with.
fn drive(path: &str) -> Option<&str> {
    let [letter, b':', rest @ ..] = path.as_bytes() else {
        return None;
    };
    let ends = rest.first().is_none_or(|next| matches!(next, b'/' | b'\\'));
    (letter.is_ascii_alphabetic() && ends).then(|| &path[..2])
}

#[cfg(test)]
mod tests {
    use super::Platform::{self, *};

    fn environment<'a>(
        env: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<String> + Copy + 'a {
        move |name| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        }
    }

    #[test]
    fn data_is_where_each_platform_has_it() {
        let windows = [
            ("HOME", "/c/Users/me"),
            ("USERPROFILE", r"C:\Users\me"),
            ("APPDATA", r"C:\Users\me\AppData\Roaming"),
            ("LOCALAPPDATA", r"C:\Users\me\AppData\Local"),
            ("XDG_DATA_HOME", r"D:\data"),
        ];
        for (platform, env, expected) in [
            (Windows, &windows[..], Some("D:/data")),
            (Windows, &windows[..4], Some("C:/Users/me/AppData/Local")),
            (Windows, &windows[..3], Some("C:/Users/me/AppData/Roaming")),
            (Windows, &windows[..2], Some("C:/Users/me/.local/share")),
            (Windows, &windows[..1], Some("/c/Users/me/.local/share")),
            (Windows, &[], None),
            (Linux, &windows[..4], Some("/c/Users/me/.local/share")),
            (Linux, &windows[1..4], None),
            (Mac, &windows[..4], Some("/c/Users/me/.local/share")),
            (Mac, &[("XDG_DATA_HOME", "/d"), ("HOME", "/h")], Some("/d")),
            (Linux, &[("XDG_DATA_HOME", r"/a\b")], Some(r"/a\b")),
        ] {
            let found = platform.data_dir(environment(env));
            assert_eq!(found.as_deref(), expected, "{platform:?} {env:?}");
        }
    }

    #[test]
    fn the_home_is_the_one_that_javascript_has() {
        let both = [("HOME", "/h"), ("USERPROFILE", r"C:\Users\me")];
        for (platform, env, expected) in [
            (Linux, &both[..], Some("/h")),
            (Linux, &both[1..], None),
            (Windows, &both[..], Some("C:/Users/me")),
            (Windows, &both[..1], Some("/h")),
        ] {
            let found = platform.home(environment(env));
            assert_eq!(found.as_deref(), expected, "{platform:?} {env:?}");
        }
    }

    #[test]
    fn a_path_has_one_form() {
        for (platform, path, expected) in [
            (Windows, r"C:\w\app", "C:/w/app"),
            (Windows, "C:/w/app", "C:/w/app"),
            (Windows, r"\\server\share\app", "//server/share/app"),
            (Windows, r"\\?\C:\w", "C:/w"),
            (Windows, r"\\?\UNC\server\share\a", "//server/share/a"),
            (Linux, r"/w/a\b", r"/w/a\b"),
            (Mac, r"/w/a\b", r"/w/a\b"),
        ] {
            assert_eq!(platform.slashed(path), expected);
        }
    }

    #[test]
    fn the_form_of_a_path_tells_its_platform() {
        for (path, platform) in [
            (r"C:\w", Windows),
            ("c:/w", Windows),
            ("C:", Windows),
            (r"\\server\share", Windows),
            ("//server/share", Windows),
            ("/w", Linux),
            ("C:w", Linux),
            ("ab:/w", Linux),
            ("1:/w", Linux),
            ("w", Linux),
            ("", Linux),
        ] {
            assert_eq!(Platform::of_path(path), platform, "{path}");
            assert_eq!(Windows.is_absolute(path), platform == Windows, "{path}");
            assert_eq!(Linux.is_absolute(path), path.starts_with('/'), "{path}");
        }
    }

    #[test]
    fn what_is_below_a_directory() {
        for (platform, path, dir, rest) in [
            (Linux, "/w/app/a", "/w/app", Some("/a")),
            (Linux, "/w/app", "/w/app", Some("")),
            (Linux, "/w/app", "/w/app/", Some("")),
            (Linux, "/w/app/", "/w/app", Some("/")),
            (Linux, "/w/application", "/w/app", None),
            (Linux, "/W/app", "/w/app", None),
            (Linux, r"/w/app\a", "/w/app", None),
            (Mac, "/W/app", "/w/app", None),
            (Windows, r"C:\w\app\a", "C:/w/app", Some("/a")),
            (Windows, r"c:\W\App\A b", r"C:\w\app", Some("/A b")),
            (Windows, r"C:\ÄÖ\x", "C:/äö", Some("/x")),
            (Windows, r"C:\w\application", r"C:\w\app", None),
            (Windows, r"D:\w\app", r"C:\w\app", None),
            (Windows, r"\\S\share\p\a", "//s/share/p", Some("/a")),
            (Windows, r"\\?\C:\w\a", r"C:\w", Some("/a")),
        ] {
            let found = platform.below(path, dir);
            assert_eq!(found.as_deref(), rest, "{platform:?} {path} {dir}");
        }
        assert!(Windows.is_same(r"C:\W\app\", "c:/w/app"));
        assert!(!Windows.is_same(r"C:\W\app\a", "c:/w/app"));
        assert!(!Linux.is_same("/W", "/w"));
    }

    #[test]
    fn directories_end_at_their_root() {
        for (platform, path, parents) in [
            (Linux, "/a/b/c", &["/a/b", "/a"][..]),
            (Windows, "C:/a/b", &["C:/a"]),
            (Windows, "//server/share/a/b", &["//server/share/a"]),
            (Windows, "//server/share", &[]),
            (Windows, "C:/", &[]),
        ] {
            let mut found = Vec::new();
            let mut dir = path;
            while let Some(parent) = platform.parent(dir) {
                found.push(parent);
                dir = parent;
            }
            assert_eq!(found, parents, "{path}");
        }
    }

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let unix = [("PATH", "/a:/b c:")];
        let windows = [("PATH", r#"C:\a;"C:\b c\";;"#), ("PATHEXT", ".EXE;.CMD")];
        for (platform, env, expected) in [
            (Linux, &unix[..], &["/a/x", "/b c/x"][..]),
            (Mac, &unix[..], &["/a/x", "/b c/x"]),
            (
                Windows,
                &windows[..],
                &["C:/a/x.exe", "C:/a/x.cmd", "C:/b c/x.exe", "C:/b c/x.cmd"],
            ),
            (
                Windows,
                &windows[..1],
                &[
                    "C:/a/x.com",
                    "C:/a/x.exe",
                    "C:/a/x.bat",
                    "C:/a/x.cmd",
                    "C:/b c/x.com",
                    "C:/b c/x.exe",
                    "C:/b c/x.bat",
                    "C:/b c/x.cmd",
                ],
            ),
            (Linux, &[], &[]),
        ] {
            assert_eq!(platform.places_of("x", environment(env)), expected);
        }
    }

    #[test]
    fn platforms_have_the_names_of_javascript() {
        for (name, platform) in [
            ("win32", Windows),
            ("darwin", Mac),
            ("linux", Linux),
            ("freebsd", Linux),
        ] {
            assert_eq!(Platform::named(name), platform);
        }
    }
}
