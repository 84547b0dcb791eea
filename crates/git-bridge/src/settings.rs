//! The ways from a repository to a program, closed: a repository may be a stranger's (an archive, a
//! shared directory), and its configuration names programs that git would run.
//!
//! | way | closed by |
//! | --- | --- |
//! | hooks of the hooks directory, and `core.hooksPath` | `core.hooksPath=/dev/null` (`git.rs`) |
//! | hooks of the configuration, from git 2.54 on | `hook.NAME.enabled=false`, below |
//! | filters (`clean`, `smudge`, `process`), also with names that are no text | emptied, below |
//! | what a submodule configures for itself | no submodule is entered (`pack.rs`) |
//! | `core.fsmonitor` | `core.fsmonitor=false` (`git.rs`) |
//! | fetching what a partial clone lacks: `uploadpack`, `core.sshCommand`, helpers, credentials | `GIT_NO_LAZY_FETCH`; for git before 2.44, no protocol is allowed (`git.rs`) |
//! | `commit.gpgSign`, `gpg.program` | `--no-gpg-sign` wherever a commit is made |
//! | `diff.external`, `textconv`, `merge` drivers | diffs are made in the depot, which has no configuration but its own |
//! | pagers, editors, prompts | there is no terminal, and `GIT_TERMINAL_PROMPT=0` |
//!
//! `tests/programs.rs` has a case for each.

/// The values of a setting, in the order in which later ones count more. `settings` are all, as
/// `config -z --list` writes them; section and key of `name` are in small letters.
pub(crate) fn values<'a>(settings: &'a [u8], name: &'a str) -> impl Iterator<Item = String> + 'a {
    settings
        .split(|byte| *byte == 0)
        .filter_map(move |setting| {
            let value = setting.strip_prefix(name.as_bytes())?.strip_prefix(b"\n")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
}

/// Settings that put every filter and every configured hook out of force, in the form of a
/// configuration file; empty if there are none. `settings` are all, each with a NUL behind it and the
/// value on lines of its own, as bytes: a name need not be text.
pub(crate) fn overrides(settings: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for setting in settings.split(|byte| *byte == 0) {
        // A line end may be in a name only between dots, where git allows none.
        let name = setting
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let Some(first) = name.iter().position(|byte| *byte == b'.') else {
            continue;
        };
        let last = name.iter().rposition(|byte| *byte == b'.').unwrap_or(first);
        if first == last {
            continue;
        }
        let (section, own, key) = (&name[..first], &name[first + 1..last], &name[last + 1..]);
        let line: &[u8] = match (section, key) {
            (b"filter", b"clean" | b"smudge" | b"process") => key,
            (b"filter", b"required") => b"required = false",
            (b"hook", _) => b"enabled = false",
            _ => continue,
        };
        let mut setting = [b"[", section, b" \""].concat();
        for byte in own {
            if matches!(byte, b'"' | b'\\') {
                setting.push(b'\\');
            }
            setting.push(*byte);
        }
        setting.extend([b"\"]\n\t", line].concat());
        if matches!(line, b"clean" | b"smudge" | b"process") {
            setting.extend(b" =");
        }
        setting.push(b'\n');
        if !lines.contains(&setting) {
            lines.push(setting);
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::{overrides, values};

    #[test]
    fn the_values_of_a_setting_come_in_order_and_those_of_no_other() {
        let settings = b"user.name\na\0user.named\nx\0user.name\0user.name\nb\nc\0";
        let found: Vec<String> = values(settings, "user.name").collect();
        assert_eq!(found, ["a", "b\nc"]);
    }

    #[test]
    fn every_filter_and_configured_hook_is_put_out_of_force() {
        for (names, expected) in [
            (&b""[..], &b""[..]),
            (b"core.bare\0user.name\0filter.clean\0hook.jobs\0", b""),
            (b"filter.a.clean\0", b"[filter \"a\"]\n\tclean =\n"),
            (
                b"filter.a.clean\nx.y\nfilter.b.clean\0",
                b"[filter \"a\"]\n\tclean =\n",
            ),
            (
                b"filter.a.required\0",
                b"[filter \"a\"]\n\trequired = false\n",
            ),
            (
                b"filter.\xff\"\\.x.process\0",
                b"[filter \"\xff\\\"\\\\.x\"]\n\tprocess =\n",
            ),
            (
                b"hook.lint.command\0hook.lint.event\0hook.lint.event\0",
                b"[hook \"lint\"]\n\tenabled = false\n",
            ),
        ] {
            let found = overrides(names);
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&found));
        }
    }
}
