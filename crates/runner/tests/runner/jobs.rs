//! Commands: their ends, their output, and what outlives a request.

use super::*;
use protocol::Code;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

fn bash(sandbox: &Sandbox, command: &str) -> ToolOutput {
    sandbox.run("bash", json!({ "command": command })).unwrap()
}

#[test]
fn a_command_says_what_it_printed_and_how_it_ended() {
    let sandbox = Sandbox::with("//- /sub dir/f\n");
    let out = bash(&sandbox, "echo out; echo err >&2; echo out2; exit 3");
    let note = "\n\n<shell_metadata>\nThe command ended with exit code 3.\n</shell_metadata>";
    assert_eq!(out.output, format!("out\nerr\nout2\n{note}"));
    assert_eq!(out.title, "echo out; echo err >&2; echo out2; exit 3");
    assert_eq!(
        out.metadata,
        json!({ "output": "out\nerr\nout2\n", "exit": 3, "truncated": false })
    );
    assert_eq!(bash(&sandbox, "true").output, "(no output)");
    let out = sandbox
        .run("bash", json!({ "command": "pwd", "workdir": "sub dir" }))
        .unwrap();
    assert_eq!(
        out.output,
        format!("{}\n", sandbox.path("sub dir").display())
    );
    let out = sandbox
        .run(
            "bash",
            json!({ "command": "pwd", "workdir": "gone/../sub dir/" }),
        )
        .unwrap();
    assert_eq!(
        out.output,
        format!("{}\n", sandbox.path("sub dir").display())
    );
    let error = sandbox
        .run("bash", json!({ "command": "pwd", "workdir": "nope" }))
        .unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "NotFound: FileSystem.access ({})",
            sandbox.path("nope").display()
        )
    );
    let error = sandbox.run("bash", json!({ "command": "" })).unwrap_err();
    assert_eq!(
        error.message,
        "The argument 'file' cannot be empty. Received ''"
    );
    // The shell has a full path, and says so.
    let said = bash(&sandbox, "no-such-command").output;
    assert!(said.starts_with('/'), "{said}");
    assert!(
        said.contains("/bash: line 1: no-such-command: command not found\n"),
        "{said}"
    );
    assert_eq!(bash(&sandbox, "echo [$OLDPWD]").output, "[]\n");
    // Nobody types: a reader of stdin is at the end at once.
    assert_eq!(bash(&sandbox, "cat; read x; echo \"[$?]\"").output, "[1]\n");
    let mut call = sandbox.call("bash", json!({ "command": "echo $GREETING" }));
    call["env"] = json!({ "GREETING": "it's \"me\"" });
    assert_eq!(
        done(sandbox.send(&call).result).unwrap().output,
        "it's \"me\"\n"
    );
    assert_eq!(bash(&sandbox, "printf 'a\\xffb'").output, "a\u{fffd}b");
}

#[test]
fn a_timeout_kills_the_whole_group_and_stubborn_children() {
    let sandbox = Sandbox::new();
    let command = "(trap '' TERM; echo $BASHPID > stubborn; while :; do sleep 0.05; done) & \
                   set -m; sleep 300 > /dev/null 2>&1 & echo $! > own-group; set +m; echo waiting; wait";
    let out = sandbox
        .run("bash", json!({ "command": command, "timeout": 400 }))
        .unwrap();
    assert_eq!(
        out.output,
        "waiting\n\n\n<shell_metadata>\nshell tool terminated command after exceeding timeout 400 ms. If this command is expected to take longer and is not waiting for interactive input, retry with a larger timeout value in milliseconds.\n</shell_metadata>"
    );
    assert_eq!(out.metadata["exit"], Value::Null);
    for name in ["stubborn", "own-group"] {
        let pid = sandbox.text(name);
        eventually(name, || !lives(&pid));
    }
}

#[test]
fn a_stop_kills_the_command_and_says_that_the_user_did_it() {
    let sandbox = Sandbox::new();
    let job = sandbox.start("echo $$ > pid; echo begun; sleep 300", 600_000);
    eventually("started", || {
        sandbox.path("pid").exists() && sandbox.text("pid").ends_with('\n')
    });
    let stop = sandbox.op("job_stop", json!({ "job": job, "reason": "abort" }));
    let out = done(sandbox.send(&stop).result).unwrap();
    assert_eq!(
        out.output,
        "begun\n\n\n<shell_metadata>\nUser aborted the command\n</shell_metadata>"
    );
    assert!(!lives(&sandbox.text("pid")));
    // Again, and by waiting: the same end.
    assert_eq!(done(sandbox.send(&stop).result).unwrap(), out);
    assert_eq!(done(sandbox.wait(&job)).unwrap(), out);
}

#[test]
fn a_background_child_with_its_own_output_survives_and_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let start = Instant::now();
    let out = bash(
        &sandbox,
        "sleep 60 > /dev/null 2>&1 & echo $! > pid; echo started",
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(out.output, "started\n");
    assert!(lives(&sandbox.text("pid")));
    bash(&sandbox, "kill $(cat pid)");
}

#[test]
fn a_child_that_holds_the_pipe_is_waited_for_and_a_killed_shell_is_not() {
    let sandbox = Sandbox::new();
    let out = bash(
        &sandbox,
        "(while [ ! -e go ]; do sleep 0.02; done; echo late) & (sleep 0.1; touch go) & echo early",
    );
    assert_eq!(out.output, "early\nlate\n");
    let start = Instant::now();
    let out = bash(
        &sandbox,
        "sleep 60 & echo $! > pid; echo last words; kill -9 $$",
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(out.metadata["exit"], 137);
    assert!(
        out.output.starts_with("last words\n\n\n<shell_metadata>\n"),
        "{}",
        out.output
    );
    bash(&sandbox, "kill $(cat pid)");
}

#[test]
fn a_job_outlives_its_request_and_is_followed_to_its_end() {
    let sandbox = Sandbox::new();
    let job = sandbox.start(
        "for i in 1 2 3; do while [ ! -e go$i ]; do sleep 0.01; done; echo line $i; done",
        600_000,
    );
    let (mut seen, mut offset) = (String::new(), 0);
    for step in 1..=2 {
        std::fs::write(sandbox.path(format!("go{step}")), "").unwrap();
        let ask = sandbox.op(
            "job_wait",
            json!({ "job": job, "offset": offset, "wait": { "output_ms": 0, "max_ms": 60_000 } }),
        );
        match sandbox.send(&ask).result.unwrap() {
            Outcome::Running(state) => {
                seen += &state.output;
                offset = state.offset;
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(seen.lines().count(), step, "{seen}");
    }
    std::fs::write(sandbox.path("go3"), "").unwrap();
    let out = done(sandbox.wait(&job)).unwrap();
    assert_eq!(out.output, "line 1\nline 2\nline 3\n");
    assert_eq!(done(sandbox.wait(&job)).unwrap(), out);
}

#[test]
fn a_command_that_ends_with_its_first_words_takes_one_request() {
    let sandbox = Sandbox::new();
    // Nothing else holds the request: neither when the text comes at once nor when it comes late.
    for command in ["echo x", "sleep 0.5; echo x"] {
        let mut call = sandbox.call("bash", json!({ "command": command }));
        call["wait"] = json!({ "output_ms": 0, "max_ms": 60_000 });
        let out = done(sandbox.send(&call).result).unwrap();
        assert_eq!(out.output, "x\n", "{command}");
    }
    // One that goes on is not waited for.
    let mut call = sandbox.call("bash", json!({ "command": "echo x; sleep 300" }));
    call["wait"] = json!({ "output_ms": 0, "max_ms": 60_000 });
    let start = Instant::now();
    let Ok(Outcome::Running(state)) = sandbox.send(&call).result else {
        panic!("it has ended");
    };
    assert_eq!(state.output, "x\n");
    assert!(start.elapsed() < Duration::from_secs(20));
    let stop = sandbox.op("job_stop", json!({ "job": state.job, "reason": "abort" }));
    sandbox.send(&stop).result.unwrap();
}

#[test]
fn a_silent_command_of_ten_minutes_is_asked_again_and_again() {
    let sandbox = Sandbox::new();
    let mut call = sandbox.call(
        "bash",
        json!({ "command": "sleep 600", "timeout": 660_000 }),
    );
    for _ in 0..3 {
        call["wait"] = json!({ "output_ms": 0, "max_ms": 100 });
        let Ok(Outcome::Running(state)) = sandbox.send(&call).result else {
            panic!("it has ended");
        };
        assert_eq!((state.output.as_str(), state.offset), ("", 0));
        call = sandbox.op("job_wait", json!({ "job": state.job, "offset": 0 }));
    }
    let stop = sandbox.op("job_stop", json!({ "job": call["job"], "reason": "abort" }));
    let out = done(sandbox.send(&stop).result).unwrap();
    assert!(
        out.output
            .ends_with("User aborted the command\n</shell_metadata>")
    );
}

#[test]
fn the_starter_gets_its_pipes_back_while_the_job_runs() {
    let sandbox = Sandbox::new();
    let mut call = sandbox.call("bash", json!({ "command": "sleep 60" }));
    call["wait"] = json!({ "output_ms": 0, "max_ms": 0 });
    // An inherited descriptor that is not marked to be closed, as a careless daemon leaves it.
    let mut shell = Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("exec 7>&1; {RUNNER}"))
        .env("HOME", &sandbox.home);
    shell.env(format!("{}0", protocol::ENV_REQUEST), call.to_string());
    let start = Instant::now();
    let reply = parse("id-0", &shell.output().unwrap());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "output() waits for the pipe to close"
    );
    assert!(matches!(reply.result, Ok(Outcome::Running(_))));
    sandbox
        .send(&sandbox.op("job_stop", json!({ "job": "id-0", "reason": "abort" })))
        .result
        .unwrap();
}

#[test]
fn a_supervisor_that_died_leaves_a_clear_answer_and_the_output_so_far() {
    let sandbox = Sandbox::new();
    let job = sandbox.start(
        "echo before; echo $$ > shell; echo $PPID > supervisor; exec sleep 300",
        600_000,
    );
    eventually("started", || {
        sandbox.path("supervisor").exists() && sandbox.text("supervisor").ends_with('\n')
    });
    let saved = sandbox
        .home
        .join(".opencode-daytona/jobs")
        .join(&job)
        .join("out");
    eventually("saved", || {
        std::fs::read_to_string(&saved).is_ok_and(|text| text == "before\n")
    });
    let supervisor = sandbox.text("supervisor");
    Command::new("kill")
        .args(["-9", supervisor.trim()])
        .status()
        .unwrap();
    eventually("dead", || !lives(&supervisor));
    let error = sandbox.wait(&job).unwrap_err();
    assert_eq!(error.code, Code::NoSuchJob);
    assert!(
        error.message.contains("restarted") && error.message.ends_with("Output so far:\nbefore\n"),
        "{error:?}"
    );
    // The same request again must not run the command again.
    let mut call = sandbox.call("bash", json!({ "command": "echo again >> again" }));
    call["id"] = json!(job);
    assert_eq!(
        sandbox.send(&call).result.unwrap_err().code,
        Code::NoSuchJob
    );
    assert!(!sandbox.path("again").exists());
    bash(&sandbox, "kill $(cat shell)");
}

#[test]
fn a_hundred_megabytes_are_cut_honestly() {
    let sandbox = Sandbox::new();
    let out = sandbox
        .run(
            "bash",
            json!({ "command": "yes 0123456789 | head -c 100000000; echo; echo the end" }),
        )
        .unwrap();
    assert!(
        out.output
            .starts_with("...output truncated...\n\nFull output saved to: "),
        "{}",
        &out.output[..200]
    );
    assert!(out.output.ends_with("\nthe end\n") && out.output.len() < 52_000);
    let saved = PathBuf::from(out.metadata["outputPath"].as_str().unwrap());
    assert!(saved.starts_with(&sandbox.home));
    assert!(saved.metadata().unwrap().len() < 18 << 20);
    let read = sandbox.run("bash", json!({ "command": format!("grep -a -c 'bytes of output were left out' '{}'", saved.display()) })).unwrap();
    assert_eq!(read.output, "1\n");
}

#[test]
fn cut_output_names_a_file_that_holds_all_of_it() {
    let sandbox = Sandbox::new();
    let out = bash(&sandbox, "seq 5000");
    let saved = out.metadata["outputPath"].as_str().unwrap();
    let expected: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    assert_eq!(std::fs::read_to_string(saved).unwrap(), expected);
    let shown: String = (3002..=5000).map(|n| format!("{n}\n")).collect();
    assert_eq!(
        out.output,
        format!("...output truncated...\n\nFull output saved to: {saved}\n\n{shown}")
    );
    // Short output leaves no file behind.
    bash(&sandbox, "echo short");
    assert!(
        !sandbox
            .home
            .join(".opencode-daytona/jobs/id-1/out")
            .exists()
    );
}

/// What the model reads of a visit, and the metadata.
fn visit(sandbox: &Sandbox, args: Value) -> (String, Value) {
    let out = sandbox.run("job", args).expect("the job is known");
    (out.output, out.metadata)
}

#[test]
fn a_job_in_the_background_reads_input_and_is_read_from_where_one_was() {
    let sandbox = Sandbox::new();
    let command = "echo ready; while read line; do echo got $line; done; echo over; exit 4";
    let mut call = sandbox.call("bash", json!({ "command": command, "background": true }));
    call["wait"] = json!({ "output_ms": 0, "max_ms": 5_000 });
    let Ok(Outcome::Running(job)) = sandbox.send(&call).result else {
        panic!("it does not run in the background");
    };
    assert_eq!((job.output.as_str(), job.offset), ("ready\n", 6));

    let input = json!({ "job": job.job, "input": "one\n", "wait": 5_000, "offset": job.offset });
    let request = sandbox.call("job", input);
    let Ok(Outcome::Done(first)) = sandbox.send(&request).result else {
        panic!("no answer");
    };
    let note = |text: &str| format!("\n\n<shell_metadata>\n{text}\n</shell_metadata>");
    assert_eq!(
        first.output,
        format!("got one\n{}", note("The command still runs."))
    );
    // The same request again, as a proxy may send it, is not typed again.
    sandbox.send(&request);
    let (said, metadata) = visit(
        &sandbox,
        json!({ "job": job.job, "input": "two\n", "wait": 5_000, "offset": first.metadata["offset"] }),
    );
    assert_eq!(
        said,
        format!("got two\n{}", note("The command still runs."))
    );

    let (said, end) = visit(
        &sandbox,
        json!({ "job": job.job, "stop": true, "offset": metadata["offset"] }),
    );
    let ended = "The command has ended: it was stopped, or its time was over.";
    assert_eq!(said, format!("(no new output){}", note(ended)));
    // It can be read from the start after its end, also by another OpenCode.
    let (said, again) = visit(&sandbox, json!({ "job": job.job }));
    assert_eq!(said, format!("ready\ngot one\ngot two\n{}", note(ended)));
    assert_eq!(again["offset"], end["offset"]);
}

#[test]
fn a_job_in_the_background_that_ends_tells_its_exit_code() {
    let sandbox = Sandbox::new();
    let mut call = sandbox.call(
        "bash",
        json!({ "command": "until [ -e go ]; do sleep 0.02; done; echo end; exit 7", "background": true }),
    );
    call["wait"] = json!({ "output_ms": 0, "max_ms": 1 });
    let Ok(Outcome::Running(job)) = sandbox.send(&call).result else {
        panic!("it does not run in the background");
    };
    std::fs::write(sandbox.path("go"), "").unwrap();
    eventually("it has ended", || {
        let (said, metadata) = visit(&sandbox, json!({ "job": job.job }));
        metadata["exit"] == 7 && said.starts_with("end\n") && said.contains("exit code 7")
    });
    let error = sandbox.run("job", json!({ "job": "nobody" })).unwrap_err();
    assert_eq!(error.code, Code::NoSuchJob);
    assert!(
        error.message.contains("no job nobody here")
            && error.message.contains("start the command again"),
        "{error:?}"
    );
}

/// A connection to a job's supervisor. Its name is found where the kernel lists it.
fn connect(job: &str) -> UnixStream {
    let listed = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ends = format!("-{job}");
    let name = listed.lines().find_map(|line| {
        let name = line.split(' ').next_back()?.strip_prefix('@')?;
        name.ends_with(&ends).then_some(name)
    });
    let address = SocketAddr::from_abstract_name(name.expect("the job listens")).unwrap();
    UnixStream::connect_addr(&address).unwrap()
}

/// Asks a supervisor as a runner does, and gives its answer.
fn ask(job: &str, ask: &Value) -> String {
    let mut stream = connect(job);
    stream.write_all(ask.to_string().as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_supervisor_takes_no_more_memory_the_more_it_is_asked() {
    let sandbox = Sandbox::new();
    let command = "echo $PPID > pid.new; mv pid.new pid; while read line; do echo $line; done";
    let mut call = sandbox.call("bash", json!({ "command": command, "background": true }));
    // The name must be no other test's: all share the kernel's list.
    let job = format!("asked-{}-{}", std::process::id(), line!());
    call["id"] = json!(job);
    call["wait"] = json!({ "output_ms": 0, "max_ms": 0 });
    sandbox.send(&call).result.unwrap();
    eventually("it runs", || sandbox.path("pid").exists());
    let pid = sandbox.text("pid");
    let resident = || {
        let path = format!("/proc/{}/statm", pid.trim());
        let pages = std::fs::read_to_string(path).unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let asked = |n: usize| {
        let input = [format!("request-{n}"), format!("line {n}\n")];
        let input = n.is_multiple_of(10).then_some(input);
        let wait = json!({ "output_ms": 0, "max_ms": 0 });
        let answer = ask(
            &job,
            &json!({ "offset": 1u64 << 40, "wait": wait, "input": input }),
        );
        assert!(answer.contains(&job), "{answer}");
    };
    (0..200).for_each(asked);
    let before = resident();
    (200..2200).for_each(asked);
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "grown by {grown} bytes");
    // Questions that wait hold up no other one.
    let waiting: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = connect(&job);
            let wait = json!({ "output_ms": 60_000, "max_ms": 60_000 });
            let ask = json!({ "offset": 1u64 << 40, "wait": wait });
            stream.write_all(ask.to_string().as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    let stop = json!({ "offset": 0, "wait": { "output_ms": 0, "max_ms": 0 }, "stop": "asked" });
    let stopped = ask(&job, &stop);
    assert!(stopped.contains("The command was stopped"), "{stopped}");
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("The command was stopped"), "{answer}");
    }
}

#[test]
fn a_job_without_a_name_lists_what_runs_and_what_has_ended_in_the_background() {
    let sandbox = Sandbox::new();
    let nothing = visit(&sandbox, json!({}));
    assert_eq!(nothing.0, "No command runs.");
    bash(&sandbox, "echo ended in the foreground");
    let background = |command: &str| {
        let args = json!({ "command": command, "background": true });
        let mut call = sandbox.call("bash", args);
        call["wait"] = json!({ "output_ms": 10_000, "max_ms": 10_000 });
        match sandbox.send(&call).result {
            Ok(Outcome::Running(job)) => job.job,
            Ok(Outcome::Done(_)) => call["id"].as_str().unwrap().to_string(),
            other => panic!("{other:?}"),
        }
    };
    let server = background("echo up; read line # serves\nexit 1");
    let build = background("exit 3");
    // As a call whose answer was lost.
    let lost = sandbox.start("sleep 300", 600_000);
    let (said, metadata) = visit(&sandbox, json!({}));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert_eq!(lines[0], "2 commands run:");
    let both = lines[1..3].join("\n");
    assert!(
        both.contains(&format!("{lost} (in the foreground, for ")) && both.contains("): sleep 300"),
        "{said}"
    );
    assert!(
        both.contains(&format!("{server} (in the background, for "))
            && both.contains("): echo up; read line # serves …"),
        "{said}"
    );
    assert_eq!(lines[3], "Ended in the background:");
    assert!(
        lines[4].starts_with(&format!("{build} (exit code 3, "))
            && lines[4].ends_with(" ago): exit 3"),
        "{said}"
    );
    assert_eq!(metadata["running"].as_array().map(Vec::len), Some(2));
    // Its name is good for the tool, although it was never in the background.
    let (stopped, _) = visit(&sandbox, json!({ "job": lost, "stop": true }));
    assert!(stopped.contains("has ended"), "{stopped}");
    visit(&sandbox, json!({ "job": server, "stop": true }));
    let (said, _) = visit(&sandbox, json!({ "job": "" }));
    assert!(
        said.starts_with("No command runs.\nEnded in the background:"),
        "{said}"
    );
    assert!(
        said.contains(&format!("{server} (stopped, ")) && !said.contains(&lost),
        "{said}"
    );
    for args in [json!({ "input": "x" }), json!({ "stop": true })] {
        let error = sandbox.run("job", args).unwrap_err();
        assert!(error.message.contains("`job` is missing"), "{error:?}");
    }
}
