//! What a sandbox's shell is asked to do: run the runner, or install it where it can be run.
//!
//! Plain POSIX shell, fit for dash, bash, busybox and zsh. What the scripts print is marked, and
//! everything that is read of it is a word of ours.

/// How much of what a sandbox printed in place of a reply is shown.
pub(crate) const SHOWN_CHARS: usize = 300;

/// Printed by the script when there is no runner.
pub(crate) const MISSING: &str = "<<<opencode-runner-missing:";
/// Printed by the install script when it has the wrong binary.
pub(crate) const OTHER_ARCH: &str = "<<<opencode-runner-arch:";
/// Printed by the install script when nothing can unpack.
pub(crate) const NO_GZIP: &str = "<<<opencode-runner-no-gzip>>>";
/// Printed by the install script when no directory takes the binary and runs it: a word for each, and
/// `>>>`.
const NO_PLACE: &str = "<<<opencode-runner-no-place:";

/// Makes the function `unpack`, from standard input to standard output, of whatever can do that. What follows says what is done
/// where nothing can: `else …; fi`.
pub const UNPACK: &str = r#"if command -v gzip >/dev/null 2>&1; then unpack() { gzip -dc; }
elif command -v busybox >/dev/null 2>&1; then unpack() { busybox gunzip -c; }
elif command -v python3 >/dev/null 2>&1; then unpack() { python3 -c 'import sys,gzip,shutil; shutil.copyfileobj(gzip.open(sys.stdin.buffer), sys.stdout.buffer)'; }"#;

/// Directories that may hold the runner, most durable first; the runner keeps its state there too.
/// `id` is only run if the first one does not have it.
const PLACES: &str = r#""$HOME/.opencode-daytona" "/tmp/.opencode-daytona-$(id -u)" "/dev/shm/.opencode-daytona-$(id -u)""#;

/// [`PLACES`], as the user knows them.
const PLACE_NAMES: [&str; 3] = ["the home directory", "/tmp", "/dev/shm"];

/// Runs the installed runner with the script's own arguments. Plain POSIX shell, fit for zsh.
pub(crate) fn call_script(hashes: &[String]) -> String {
    let mut script = String::new();
    for hash in hashes {
        script.push_str(&format!("r=\"$HOME/.opencode-daytona/bin/runner-{hash}\"; [ -x \"$r\" ] && exec \"$r\" \"$@\" </dev/null\n"));
    }
    let names: Vec<String> = hashes
        .iter()
        .map(|hash| format!("\"$d/bin/runner-{hash}\""))
        .collect();
    script.push_str(&format!(
        "for d in {PLACES}; do for r in {}; do [ -x \"$r\" ] && exec \"$r\" \"$@\" </dev/null; done; done\necho \"{MISSING}$(uname -m)>>>\"\n",
        names.join(" "),
    ));
    script
}

/// Unpacks the uploaded runner where it can be run, and runs it: a directory may take the file and
/// not run it, as a mount with `noexec` does. Only what has run is put in its place, in one step. A
/// repeated script finds the upload used up and the runner in place.
pub(crate) fn install_script(packed: &str, arch: &str, sha256: &str) -> String {
    let name = format!("runner-{}", short(sha256));
    let others = match arch {
        "x86_64" => "x86_64|amd64",
        "aarch64" => "aarch64|arm64",
        other => other,
    };
    format!(
        r#"a="$(uname -m)"
case "$a" in {others}) ;; *) echo "{OTHER_ARCH}$a>>>"; rm -f "{packed}"; exit 0;; esac
{UNPACK}
else echo "{NO_GZIP}"; rm -f "{packed}"; exit 0; fi
runs() {{ [ -x "$1" ] && said="$("$1" --version 2>&1 </dev/null)"; }}
umask 077
s= said=
for d in {PLACES}; do
  r="$d/bin/{name}" n="$d/bin/.{name}.$$"
  if [ -e "$r" ]; then
    runs "$r" && umask 022 && rm -f "{packed}" && exec "$r" "$@" </dev/null
    rm -f "$r" 2>/dev/null
  fi
  [ -e "{packed}" ] || continue
  if mkdir -p "$d/bin" 2>/dev/null && unpack <"{packed}" 2>/dev/null >"$n" && chmod 700 "$n" 2>/dev/null; then
    if runs "$n"; then
      mv -f "$n" "$r" && umask 022 && rm -f "{packed}" && exec "$r" "$@" </dev/null
      w=full
    elif [ -x "$n" ]; then w=fails
    else case "$(ls -l "$n")" in -rwx*) w=noexec;; *) w=nobit;; esac; fi
  else w=full; fi
  rm -f "$n" 2>/dev/null
  s="$s$w,"
done
if [ -e "{packed}" ]; then echo "{NO_PLACE}$s>>>$said"; rm -f "{packed}"; else echo "{MISSING}$a>>>"; fi
"#
    )
}

/// Why the install script could not put the runner anywhere, if it says so.
pub(crate) fn unfit(text: &str) -> Option<String> {
    match text.contains(NO_GZIP) {
        true => Some("the image has no gzip to unpack it. Use an image with gzip.".into()),
        false => no_place(text),
    }
}

/// What the install script says of the places, in their order, as a sentence for the user.
fn no_place(text: &str) -> Option<String> {
    let rest = &text[text.find(NO_PLACE)? + NO_PLACE.len()..];
    let (words, said) = rest.split_once(">>>")?;
    let said: String = said.trim().chars().take(SHOWN_CHARS).collect();
    let is_refused = said.contains("ermission denied");
    let kind = |word: &str| match word {
        "noexec" => Some(Unfit::NoExec),
        // A shell that looks at the mode alone takes such a file for a program.
        "fails" if is_refused => Some(Unfit::NoExec),
        "nobit" => Some(Unfit::NoBit),
        "full" => Some(Unfit::Full),
        "fails" => Some(Unfit::Fails),
        _ => None,
    };
    let mut places = Vec::new();
    for (name, word) in PLACE_NAMES.into_iter().zip(words.split(',')) {
        places.push((name, kind(word)?));
    }
    if places.len() != PLACE_NAMES.len() {
        return None;
    }
    let of = |wanted: Unfit| {
        let names = places.iter().filter(|(_, unfit)| *unfit == wanted);
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    for (unfit, what) in [
        (
            Unfit::NoExec,
            "mounted noexec, so that no program runs from there",
        ),
        (Unfit::NoBit, "keeps no file executable"),
        (Unfit::Full, "takes no file (disk full, or read-only)"),
        (Unfit::Fails, "takes it, and it does not run from there"),
    ] {
        let names = of(unfit);
        if !names.is_empty() {
            parts.push(format!("{names}: {what}"));
        }
    }
    let mut sentence = format!(
        "no directory of the sandbox takes it and runs it ({}). ",
        parts.join("; ")
    );
    if places.iter().any(|(_, unfit)| *unfit == Unfit::Fails) {
        sentence.push_str(&format!("It said {said:?}. "));
    }
    sentence.push_str(
        "Free some space, mount one of them without noexec, or use another snapshot or image.",
    );
    Some(sentence)
}

/// Why a directory cannot hold the runner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    NoExec,
    NoBit,
    Full,
    Fails,
}

/// What tells one runner from another in a name.
pub(crate) fn short(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    const SHA: &str = "0123456789abcdef0123456789abcdef";
    /// Stands for the runner.
    const PROGRAM: &str = "#!/bin/sh\necho \"ran $0 $*\"\n";

    /// The three places and the upload are in a directory of the test's own; `mounts` makes them
    /// what they are.
    fn in_a_sandbox(shell: &str, mounts: &str, program: &str) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        for place in ["home", "tmp", "shm"] {
            fs::create_dir(root.join(place)).expect("a directory");
        }
        fs::write(root.join("program"), program).expect("written");
        let here = |script: String| {
            script
                .replace("/tmp/", &format!("{}/tmp/", root.display()))
                .replace("/dev/shm/", &format!("{}/shm/", root.display()))
        };
        let machine = std::env::consts::ARCH;
        let install = here(install_script("UPLOAD", machine, SHA))
            .replace("UPLOAD", &format!("{}/runner.gz", root.display()));
        fs::write(root.join("install"), install).expect("written");
        let call = here(call_script(&["fedcba9876543210".into(), short(SHA).into()]));
        fs::write(root.join("call"), call).expect("written");
        let script = format!(
            "set -e; export HOME=$PWD/home; {mounts}\ngzip <program >runner.gz\nset +e\n\
             {shell} install one; echo =; {shell} install two; echo =; {shell} call three\n\
             ls -A home/.opencode-daytona/bin tmp/.opencode-daytona-*/bin 2>/dev/null"
        );
        let output = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", &script])
            .current_dir(root)
            .output()
            .expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stdout).replace(&*root.to_string_lossy(), "");
        let parts = text.splitn(3, "=\n").map(str::to_string);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        parts.chain([errors]).collect()
    }

    fn can_mount() -> bool {
        let mut mount = Command::new("unshare");
        mount.args(["--mount", "--", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        mount.output().is_ok_and(|output| output.status.success())
    }

    const NOEXEC: &str = "mount -t tmpfs -o noexec tmpfs";

    #[test]
    fn the_runner_is_put_where_it_runs_or_each_place_is_named_with_its_reason() {
        if !can_mount() {
            return testkit::skip(
                "the_runner_is_put_where_it_runs_or_each_place_is_named_with_its_reason",
                "this user cannot mount anything",
            );
        }
        let full = "mount -t tmpfs -o ro tmpfs";
        let home = "/home/.opencode-daytona/bin/";
        let uid = "/tmp/.opencode-daytona-0/bin/";
        let shm = "/shm/.opencode-daytona-0/bin/";
        let noexec = "the home directory, /tmp, /dev/shm: mounted noexec";
        for (mounts, program, expected) in [
            (String::new(), PROGRAM, home),
            (format!("{NOEXEC} home"), PROGRAM, uid),
            (format!("{full} home"), PROGRAM, uid),
            ("rmdir home; echo file >home".into(), PROGRAM, uid),
            (format!("{NOEXEC} home; {NOEXEC} tmp"), PROGRAM, shm),
            (format!("{full} home; {NOEXEC} tmp"), PROGRAM, shm),
            // An older runner of the same name does not run any more.
            (
                format!(
                    "mkdir -p home/.opencode-daytona/bin; echo 'exit 3' >home/.opencode-daytona/bin/runner-{0}; chmod +x home/.opencode-daytona/bin/*; mount --bind home home; mount -o remount,bind,noexec home",
                    short(SHA)
                ),
                PROGRAM,
                uid,
            ),
            (
                format!("{NOEXEC} home; {NOEXEC} tmp; {NOEXEC} shm"),
                PROGRAM,
                noexec,
            ),
            (
                format!("{full} home; {NOEXEC} tmp; {full} shm"),
                PROGRAM,
                "(/tmp: mounted noexec, so that no program runs from there; the home directory, /dev/shm: takes no file",
            ),
            (
                String::new(),
                "#!/bin/sh\necho what is this\nexit 1\n",
                "it does not run from there). It said \"what is this\"",
            ),
        ] {
            for shell in ["sh", "bash"] {
                let said = in_a_sandbox(shell, &mounts, program);
                let case = format!("{shell} {mounts:?}: {said:#?}");
                assert_eq!(said[3], "", "{case}");
                if let Some(why) = no_place(&said[0]) {
                    assert!(why.contains(expected), "{why}\n{case}");
                    // The answer was lost, and the script is repeated: it is installed again.
                    assert!(said[1].contains(MISSING), "{case}");
                    assert!(said[2].contains(MISSING), "{case}");
                    continue;
                }
                let runner = format!("ran {expected}runner-{}", short(SHA));
                assert_eq!(said[0], format!("{runner} one\n"), "{case}");
                assert_eq!(said[1], format!("{runner} two\n"), "{case}");
                let (called, left) = said[2].split_once('\n').expect(&case);
                assert_eq!(called, format!("{runner} three"), "{case}");
                assert!(!left.contains("/.runner"), "{case}");
                let others = left.lines().filter(|line| line.starts_with(".runner"));
                assert_eq!(others.count(), 0, "{case}");
            }
        }
    }

    #[test]
    fn a_sandbox_cannot_put_words_of_its_own_into_the_reason() {
        for (text, is_read) in [
            (format!("noise{NO_PLACE}full,noexec,fails,>>>x"), true),
            (format!("{NO_PLACE}full,noexec,>>>x"), false),
            (format!("{NO_PLACE}full,noexec,lies,>>>x"), false),
            (format!("{NO_PLACE}full,noexec,fails"), false),
        ] {
            assert_eq!(no_place(&text).is_some(), is_read, "{text}");
        }
        let long = format!("{NO_PLACE}fails,fails,fails,>>>{}", "x".repeat(10_000));
        assert!(no_place(&long).is_some_and(|why| why.len() < 1000));
    }
}
