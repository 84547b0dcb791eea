//! A program that is kept running.

use super::RUNNER;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn runner(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(RUNNER);
    command.arg(args[0]).arg(dir).args(&args[1..]);
    command.output().expect("the runner starts")
}

/// Waits for what a file of the directory says.
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn state(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(dir.join("state.json")).ok()?).ok()
}

/// The program's process after so many starts.
fn started(dir: &Path, starts: u64) -> u64 {
    until("it has started", || {
        let state = state(dir).filter(|state| state["starts"] == starts)?;
        state["pid"].as_u64()
    })
}

fn lives(pid: u64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Keeps a shell script, which has the path of its directory in `$D`.
fn keep(dir: &Path, script: &str) {
    let kept = json!({
        "program": "/bin/sh", "args": ["-c", script], "cwd": dir,
        "env": { "D": dir, "PATH": std::env::var("PATH").expect("a path") }, "secrets": { "PASSWORD": "password" },
    });
    fs::write(dir.join("keep.json"), kept.to_string()).expect("written");
    let output = runner(&["--keep"], dir);
    assert!(output.status.success(), "{output:?}");
}

/// Ends what a test leaves, whatever becomes of it.
struct Dir(tempfile::TempDir);

impl Drop for Dir {
    fn drop(&mut self) {
        runner(&["--end"], self.0.path());
    }
}

#[test]
fn a_kept_program_comes_back_and_nothing_of_the_one_before_is_left() {
    let dir = Dir(tempfile::tempdir().expect("a directory"));
    let at = dir.0.path();
    // What it starts makes a session of its own, as a server that an agent leaves behind.
    keep(
        at,
        "setsid sleep 1000 & echo $! >> $D/orphans; echo $PASSWORD >> $D/said; exec sleep 1000",
    );
    let first = started(at, 1);
    let orphan = || {
        let text = fs::read_to_string(at.join("orphans")).ok()?;
        text.lines().last()?.parse::<u64>().ok()
    };
    let left = until("it has a child", orphan);
    signal("-KILL", first);
    let second = started(at, 2);
    assert_ne!(first, second);
    assert!(!lives(left), "what the first one started goes on");
    assert_eq!(state(at).expect("a state")["end"], "signal: 9 (SIGKILL)");

    // Both had the same secret, which is in no argument and for this user alone.
    let secret = fs::read_to_string(at.join("password")).expect("a secret");
    let said = until("both have said it", || {
        let said = fs::read_to_string(at.join("said")).ok()?;
        (said.lines().count() == 2).then_some(said)
    });
    assert_eq!(said, format!("{secret}\n{secret}\n"));
    assert!(secret.len() >= 32, "{secret}");

    // Another keeper of the same directory leaves it alone.
    assert!(runner(&["--keep", "--apart"], at).status.success());
    assert_eq!(started(at, 2), second);

    let left = until("it has a child", orphan);
    assert!(runner(&["--end"], at).status.success());
    assert!(
        !lives(second) && !lives(left),
        "something goes on after the end"
    );
}

#[test]
fn a_program_that_cannot_start_is_tried_again_and_the_reason_is_told() {
    let dir = Dir(tempfile::tempdir().expect("a directory"));
    let at = dir.0.path();
    let kept =
        |program: &str| json!({ "program": program, "args": ["1000"], "cwd": at }).to_string();
    let nowhere = at.join("nowhere");
    fs::write(at.join("keep.json"), kept(&nowhere.to_string_lossy())).expect("written");
    assert!(runner(&["--keep"], at).status.success());
    until("the reason is told", || {
        state(at)?["end"]
            .as_str()?
            .contains("cannot be started: No such file")
            .then_some(())
    });
    // Put there later, as an upload is.
    let sleep = std::env::split_paths(&std::env::var_os("PATH").expect("a path"))
        .map(|dir| dir.join("sleep"))
        .find(|path| path.exists());
    std::os::unix::fs::symlink(sleep.expect("sleep is there"), &nowhere).expect("linked");
    started(at, 1);
}

#[test]
fn what_cannot_be_kept_is_an_error_of_the_one_who_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    for (text, part) in [
        (None, "No such file"),
        (Some("{}"), "missing field"),
        (Some("{\"more\":1}"), "unknown field"),
    ] {
        if let Some(text) = text {
            fs::write(dir.path().join("keep.json"), text).expect("written");
        }
        let output = runner(&["--keep"], dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(part),
            "{text:?}: {said}"
        );
    }
}
