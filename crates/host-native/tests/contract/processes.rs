//! Git, and programs of the user's.

use crate::world::{Kind, World, until};
use host::{GitCall, GitError, Host, Listener};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

fn call(world: &World, args: &[&str]) -> GitCall {
    GitCall {
        args: args.iter().map(|arg| arg.to_string()).collect(),
        cwd: world.dir(),
        timeout_ms: 60_000,
        ..GitCall::default()
    }
}

/// A git that runs this script.
fn script(world: &World, script: &str) -> GitCall {
    call(world, &["-c", &format!("alias.script=!{script}"), "script"])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

/// True while a process runs; one that nobody has waited for does not.
fn runs(pid: u32) -> bool {
    let state = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .expect("ps runs");
    let state = text(&state.stdout);
    !state.is_empty() && !state.starts_with('Z')
}

fn number(path: &str) -> Option<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.strip_suffix('\n')?.parse().ok()
}

pub(crate) async fn git_gives_its_code_its_output_and_its_words(world: &World) {
    let version = world
        .host
        .git(call(world, &["--version"]))
        .await
        .expect("runs");
    assert_eq!(version.code, 0);
    assert!(text(&version.stdout).starts_with("git version"));
    let odd = world
        .host
        .git(call(world, &["no-such-command"]))
        .await
        .expect("runs");
    assert_eq!((odd.code, &*odd.stdout), (1, &b""[..]));
    assert!(
        odd.stderr.contains("is not a git command"),
        "{}",
        odd.stderr
    );
    let both = script(world, "pwd; printf 'a\\377\\000b'; echo why >&2; exit 3");
    let both = world.host.git(both).await.expect("runs");
    let expected = [format!("{}\n", world.dir()).as_bytes(), b"a\xff\0b"].concat();
    assert_eq!(
        (both.code, both.stdout, &*both.stderr),
        (3, expected, "why\n")
    );
    let killed = world
        .host
        .git(script(world, "kill -9 $PPID"))
        .await
        .expect("ran");
    assert_eq!(killed.code, -1);
}

pub(crate) async fn of_the_variables_of_git_only_those_that_are_kept_are_inherited(world: &World) {
    let host = world.with(&[
        ("GIT_NAMESPACE", "x"),
        ("GIT_DIR", "/nowhere"),
        ("git_lower", "x"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "my.key"),
        ("GIT_CONFIG_VALUE_0", ""),
        ("OTHER", "stays"),
        ("LC_ALL", "de_DE.UTF-8"),
    ]);
    let names = [
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_KEY_0",
        "GIT_CONFIG_VALUE_0",
        "GIT_MISSING",
    ];
    let shown = host.git(GitCall {
        keep: names.map(str::to_string).into(),
        env: vec![
            ("GIT_OWN".into(), "own".into()),
            ("GIT_TERMINAL_PROMPT".into(), "7".into()),
        ],
        ..script(world, "env")
    });
    let shown = text(&shown.await.expect("runs").stdout);
    let mut shown: Vec<_> = shown
        .lines()
        .filter(|line| {
            line.to_uppercase().starts_with("GIT_")
                || line.starts_with("OTHER")
                || line.starts_with("LC_ALL")
        })
        // Git tells its aliases these itself.
        .filter(|line| {
            !line.starts_with("GIT_PREFIX")
                && !line.starts_with("GIT_EXEC_PATH")
                && !line.starts_with("GIT_CONFIG_PARAMETERS")
        })
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "GIT_CONFIG_COUNT=1",
            "GIT_CONFIG_KEY_0=my.key",
            "GIT_CONFIG_VALUE_0=",
            "GIT_OWN=own",
            "GIT_TERMINAL_PROMPT=7",
            "LC_ALL=C",
            "OTHER=stays",
        ]
    );
    let plain = world
        .host
        .git(script(world, "echo $GIT_TERMINAL_PROMPT"))
        .await;
    assert_eq!(text(&plain.expect("runs").stdout), "0");
}

pub(crate) async fn standard_input_is_bytes_or_a_file_from_a_byte_on(world: &World) {
    let path = world.file("framed", "head\nhello\n");
    let of_file = |offset| GitCall {
        stdin_file: Some((path.clone(), offset)),
        stdin: b"not this".into(),
        ..script(world, "cat")
    };
    let bytes = GitCall {
        stdin: b"hello\n".into(),
        ..script(world, "cat")
    };
    for (call, expected) in [
        (bytes, "hello\n"),
        (of_file(5), "hello\n"),
        (of_file(0), "head\nhello\n"),
        (of_file(11), ""),
        (of_file(100), ""),
    ] {
        let read = world.host.git(call).await.expect("runs");
        assert_eq!(String::from_utf8_lossy(&read.stdout), expected);
    }
    let long = [vec![b'x'; 300_000], b"the end".to_vec()].concat();
    let far = GitCall {
        stdin_file: Some((world.file("long", long), 300_000)),
        ..script(world, "cat")
    };
    assert_eq!(world.host.git(far).await.expect("runs").stdout, b"the end");
    let large = vec![b'x'; 8 << 20];
    let echoed = world.host.git(GitCall {
        stdin: large.clone(),
        ..script(world, "cat")
    });
    assert!(echoed.await.expect("runs").stdout == large);
    let missing = Some((world.path("missing"), 0));
    let missing = world
        .host
        .git(GitCall {
            stdin_file: missing,
            ..call(world, &["--version"])
        })
        .await;
    assert!(matches!(missing, Err(GitError::NotRun(_))), "{missing:?}");
}

pub(crate) async fn git_tells_that_something_is_behind_a_pack_in_a_file(world: &World) {
    let git = async |args: &[&str], stdin_file, stdin: &[u8]| {
        let stdin = stdin.to_vec();
        let call = GitCall {
            stdin_file,
            stdin,
            ..call(world, args)
        };
        world.host.git(call).await.expect("runs")
    };
    assert_eq!(git(&["init", "--quiet"], None, b"").await.code, 0);
    let blob = git(&["hash-object", "-w", "--stdin"], None, b"content").await;
    let pack = git(&["pack-objects", "--stdout", "--quiet"], None, &blob.stdout).await;
    let framed = [b"head", &*pack.stdout].concat();
    for (name, behind, is_taken) in [("exact", "", true), ("more", "junk", false)] {
        let path = world.file(name, [&*framed, behind.as_bytes()].concat());
        let taken = git(&["index-pack", "--stdin"], Some((path, 4)), b"").await;
        assert_eq!(taken.code == 0, is_taken, "{name}: {}", taken.stderr);
    }
}

pub(crate) async fn a_git_that_reads_nothing_ends_all_the_same(world: &World) {
    let path = world.file("large", vec![0; 1 << 20]);
    let version = call(world, &["--version"]);
    let bytes = GitCall {
        stdin: vec![0; 1 << 20],
        ..version.clone()
    };
    let file = GitCall {
        stdin_file: Some((path, 0)),
        ..version
    };
    for call in [bytes, file] {
        assert_eq!(world.host.git(call).await.expect("runs").code, 0);
    }
    // One that waits for the end of its input gets it.
    let read = world
        .host
        .git(script(world, "cat; echo end"))
        .await
        .expect("runs");
    assert_eq!(text(&read.stdout), "end");
}

pub(crate) async fn standard_output_may_go_to_a_private_file(world: &World) {
    let path = world.path("out");
    for (written, expected) in [("first and longer", "first and longer"), ("b", "b")] {
        let stdout_file = Some(path.clone());
        let printed = script(world, &format!("printf '{written}'"));
        let output = world
            .host
            .git(GitCall {
                stdout_file,
                ..printed
            })
            .await;
        assert_eq!(output.expect("runs").stdout, b"");
        assert_eq!(fs::read_to_string(&path).expect("written"), expected);
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let stdout_file = Some(world.path("missing/out"));
    let unwritten = GitCall {
        stdout_file,
        ..call(world, &["--version"])
    };
    let unwritten = world.host.git(unwritten).await;
    assert!(
        matches!(unwritten, Err(GitError::NotRun(_))),
        "{unwritten:?}"
    );
}

pub(crate) async fn what_git_says_is_told_while_it_runs(world: &World) {
    // It waits for a file that is made when it has been heard.
    let heard = world.path("heard");
    let says = format!(
        "echo first >&2; while ! test -e '{heard}'; do sleep 0.01; done; printf last >&2; exit 3"
    );
    let told = Arc::new(Mutex::new(String::new()));
    let (all, file) = (Arc::clone(&told), heard.clone());
    let listener = move |text: &str| {
        let mut all = all.lock().expect("a text");
        all.push_str(text);
        if *all == "first\n" {
            fs::write(&file, "").expect("written");
        }
    };
    let listener = Some(Listener(Arc::new(listener)));
    let output = world
        .host
        .git(GitCall {
            listener,
            ..script(world, &says)
        })
        .await;
    let output = output.expect("runs");
    assert_eq!((output.code, &*output.stderr), (3, "first\nlast"));
    assert_eq!(*told.lock().expect("a text"), "first\nlast");
}

pub(crate) async fn of_what_git_says_the_end_is_kept(world: &World) {
    let says = "yes 0123456789 | head -n 20000 >&2; printf 'the end' >&2";
    let output = world.host.git(script(world, says)).await.expect("runs");
    assert_eq!(output.stderr.len(), 64 * 1024);
    assert!(output.stderr.ends_with("0123456789\nthe end"));
}

/// A git that starts a program, whose number goes to a file, and waits for it.
fn endless(world: &World) -> (GitCall, String) {
    let path = world.path("number");
    let both = script(world, "sleep 1000 & echo $!; wait");
    let stdout_file = Some(path.clone());
    (
        GitCall {
            stdout_file,
            ..both
        },
        path,
    )
}

pub(crate) async fn a_git_that_takes_too_long_is_ended_with_what_it_started(world: &World) {
    let (call, path) = endless(world);
    let mut timeout_ms = 300;
    while number(&path).is_none() {
        timeout_ms *= 2;
        let late = world
            .host
            .git(GitCall {
                timeout_ms,
                ..call.clone()
            })
            .await;
        assert_eq!(late.expect_err("late"), GitError::TooSlow { timeout_ms });
    }
    let pid = number(&path).expect("a number");
    until("what it started has ended", || !runs(pid)).await;
}

pub(crate) async fn a_git_whose_future_is_dropped_is_ended_with_what_it_started(world: &World) {
    let (call, path) = endless(world);
    let open = world.path("open");
    let waiting = format!("while ! test -e '{open}'; do sleep 0.01; done; echo goes on");
    let other = script(world, &waiting);
    let other = world.host.git(other);
    let ended = async {
        tokio::select! {
            output = world.host.git(call) => panic!("it ended: {output:?}"),
            () = until("it runs", || number(&path).is_some()) => {}
        }
        let pid = number(&path).expect("a number");
        until("what it started has ended", || !runs(pid)).await;
        fs::write(&open, "").expect("written");
    };
    let (other, ()) = tokio::join!(other, ended);
    assert_eq!(text(&other.expect("runs").stdout), "goes on");
}

/// Runs one git that ends and one that does not.
pub(crate) async fn run_endless(host: &dyn Host, dir: &str) {
    let call = |args: &[&str]| GitCall {
        args: args.iter().map(|arg| arg.to_string()).collect(),
        cwd: dir.into(),
        ..GitCall::default()
    };
    host.git(call(&["--version"])).await.expect("runs");
    let both = call(&["-c", "alias.both=!sleep 1000 & echo $!; wait", "both"]);
    let stdout_file = Some(format!("{dir}/number"));
    // It never comes back.
    let _ = host
        .git(GitCall {
            stdout_file,
            ..both
        })
        .await;
}

pub(crate) async fn a_git_ends_with_a_process_that_is_killed(world: &World) {
    let (path, dir) = (world.path("number"), world.dir());
    if world.kind == Kind::Bun {
        let bun = world.bun();
        let process = bun.process();
        tokio::select! {
            () = run_endless(&bun, &dir) => panic!("it ended"),
            () = until("it runs", || number(&path).is_some()) => {}
        }
        // The future was dropped with the `select`, so a Bun that can still do something ends the git.
        assert!(process != 0);
        drop(bun);
    } else {
        let mut process = std::process::Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "a_native_process_that_runs_git"])
            .env("HOST_CONTRACT_DIRECTORY", &dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        until("it runs", || number(&path).is_some()).await;
        process.kill().expect("killed");
        process.wait().expect("waited for");
    }
    let pid = number(&path).expect("a number");
    until("what git started has ended", || !runs(pid)).await;
}

pub(crate) async fn a_git_that_cannot_be_run_says_so(world: &World) {
    let host = world.with(&[("PATH", "/nowhere")]);
    let elsewhere = GitCall {
        cwd: world.path("missing"),
        ..call(world, &["--version"])
    };
    for (host, call) in [
        (&host, call(world, &["--version"])),
        (&world.host, elsewhere),
    ] {
        let error = host.git(call).await.expect_err("not run");
        assert!(matches!(error, GitError::NotRun(_)), "{error:?}");
    }
}

pub(crate) async fn a_program_gives_what_it_writes(world: &World) {
    let dir = world.dir();
    let run = async |script: &str, max_bytes| {
        let args = ["-c", script, "a name", "an argument"];
        let output = world.host.output_of("sh", &args, &dir, 60_000, max_bytes);
        output.await.expect("an output")
    };
    assert_eq!(run("echo no >&2; cat; pwd", 1024).await, format!("{dir}\n"));
    assert_eq!(
        run("printf '%s|' \"$0\" \"$1\" \"$GIVEN\"", 1024).await,
        "a name|an argument||"
    );
    assert_eq!(
        run("printf '\\303'; sleep 0.1; printf '\\251'", 2).await,
        "é"
    );
    let host = world.with(&[("GIVEN", "a b"), ("GIT_DIR", "stays")]);
    let seen = host.output_of("sh", &["-c", "echo $GIVEN $GIT_DIR"], &dir, 60_000, 99);
    assert_eq!(seen.await.expect("an output"), "a b stays\n");
}

pub(crate) async fn a_program_that_gives_nothing_says_why(world: &World) {
    let (dir, path) = (world.dir(), world.path("number"));
    let run = async |program: &str, script: &str, timeout_ms, max_bytes| {
        let args = ["-c", script];
        let output = world
            .host
            .output_of(program, &args, &dir, timeout_ms, max_bytes);
        output.await.expect_err("no output")
    };
    assert_eq!(
        run("sh", "echo x; exit 3", 60_000, 99).await,
        "it ended with exit code 3"
    );
    let too_much = "it wrote more than 1024 bytes";
    assert_eq!(run("sh", "yes; sleep 1000", 60_000, 1024).await, too_much);
    assert_eq!(
        run("sh", "head -c 1025 /dev/zero", 60_000, 1024).await,
        too_much
    );
    assert!(!run(&world.path("missing"), "", 60_000, 99).await.is_empty());
    // Ended with what it has started.
    let mut timeout_ms = 300;
    while number(&path).is_none() {
        timeout_ms *= 2;
        let script = format!("sleep 1000 & echo $! > '{path}'; wait");
        let late = run("sh", &script, timeout_ms, 99).await;
        assert_eq!(
            late,
            format!("it did not end within {} s", timeout_ms as f64 / 1000.0)
        );
    }
    let pid = number(&path).expect("a number");
    until("what it started has ended", || !runs(pid)).await;
}
