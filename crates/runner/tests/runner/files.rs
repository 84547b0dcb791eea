//! The file tools through the binary: hostile paths, crashes, and writers at the same time.

use super::*;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

#[test]
fn a_tool_call_has_the_result_of_opencode() {
    let sandbox = Sandbox::with("//- /src/a.ts\nalpha\nbeta\n//- /b.txt\none\ntwo\nthree\n");
    let root = sandbox.root();
    let root = root.display();
    let out = sandbox
        .run("read", json!({ "filePath": "src/a.ts" }))
        .unwrap();
    assert_eq!(
        out.output,
        format!(
            "<path>{root}/src/a.ts</path>\n<type>file</type>\n<content>\n1: alpha\n2: beta\n\n(End of file - total 2 lines)\n</content>"
        )
    );
    assert_eq!(out.title, "src/a.ts");
    let out = sandbox
        .run(
            "edit",
            json!({ "filePath": "b.txt", "oldString": "two", "newString": "TWO" }),
        )
        .unwrap();
    let equals = "=".repeat(67);
    let patch = format!(
        "Index: {root}/b.txt\n{equals}\n--- {root}/b.txt\n+++ {root}/b.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
    );
    assert_eq!(
        out.metadata,
        json!({ "diagnostics": {}, "diff": patch, "filediff": { "file": format!("{root}/b.txt"), "patch": patch, "additions": 1, "deletions": 1 } })
    );
    let patch = "*** Begin Patch\n*** Add File: new/n.txt\n+hi\n*** Update File: b.txt\n*** Move to: c.txt\n@@\n-one\n+ONE\n*** Delete File: src/a.ts\n*** End Patch";
    let out = sandbox
        .run("apply_patch", json!({ "patchText": patch }))
        .unwrap();
    assert_eq!(
        out.output,
        "Success. Updated the following files:\nA new/n.txt\nM c.txt\nD src/a.ts"
    );
    assert_eq!(sandbox.text("c.txt"), "ONE\nTWO\nthree\n");
    assert!(!sandbox.path("b.txt").exists() && !sandbox.path("src/a.ts").exists());
    let out = sandbox.run("grep", json!({ "pattern": "T.O|hi" })).unwrap();
    assert_eq!(
        out.output,
        format!(
            "Found 2 matches\n{root}/c.txt:\n  Line 2: TWO\n\n\n{root}/new/n.txt:\n  Line 1: hi\n"
        )
    );
    let out = sandbox.run("glob", json!({ "pattern": "*.txt" })).unwrap();
    assert_eq!(out.output, format!("{root}/c.txt\n{root}/new/n.txt"));
}

#[test]
fn a_write_that_is_killed_leaves_the_old_file_or_the_new() {
    let sandbox = Sandbox::new();
    let texts = ["a".repeat(300_000), "b".repeat(300_000)];
    std::fs::write(sandbox.path("f"), &texts[0]).unwrap();
    let (mut killed, mut changed) = (0, 0);
    for round in 0..200u32 {
        let before = sandbox.text("f");
        let text = &texts[usize::from(before == texts[0])];
        let call = sandbox.call("write", json!({ "filePath": "f", "content": text }));
        let mut child = sandbox
            .command(&call)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // A different moment each time; the write takes some milliseconds.
        let until = Instant::now() + Duration::from_micros(u64::from(round % 50) * 120);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u32::from(!status.success());
        let after = sandbox.text("f");
        assert!(
            after == *text || after == before,
            "round {round}: {} bytes",
            after.len()
        );
        changed += u32::from(after == *text);
    }
    assert!(killed > 0, "no write was killed, {changed} went through");
    // What the killed ones left beside it goes with the next one that is not.
    sandbox
        .run("write", json!({ "filePath": "f", "content": "end" }))
        .unwrap();
    assert_eq!(std::fs::read_dir(sandbox.root()).unwrap().count(), 1);
}

#[test]
fn eight_edits_of_one_file_at_once_are_all_made() {
    let sandbox = Sandbox::with("//- /f\n0\n1\n2\n3\n4\n5\n6\n7\n");
    let children: Vec<_> = (0..8)
        .map(|n| {
            let call = sandbox.call("edit", json!({ "filePath": "f", "oldString": format!("{n}\n"), "newString": format!("done {n};\n") }));
            (call["id"].as_str().unwrap().to_string(), sandbox.command(&call).stdout(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    for (id, child) in children {
        parse(&id, &child.wait_with_output().unwrap())
            .result
            .unwrap();
    }
    let expected: String = (0..8).map(|n| format!("done {n};\n")).collect();
    assert_eq!(sandbox.text("f"), expected);
}

#[test]
fn names_may_hold_anything() {
    let sandbox = Sandbox::new();
    for name in [
        "a b.txt",
        "it's \"x\".txt",
        "new\nline.txt",
        "-rf.txt",
        "*.txt",
        "ü.txt",
        "$(id).txt",
    ] {
        sandbox
            .run("write", json!({ "filePath": name, "content": "find me\n" }))
            .unwrap();
        assert_eq!(sandbox.text(name), "find me\n");
        assert!(
            sandbox
                .run("read", json!({ "filePath": name }))
                .unwrap()
                .output
                .contains("1: find me"),
            "{name}"
        );
    }
    let raw = std::ffi::OsStr::from_bytes(b"raw-\xff.txt");
    std::fs::write(sandbox.path(raw), "find me\n").unwrap();
    assert!(
        sandbox
            .run("glob", json!({ "pattern": "**/*.txt" }))
            .unwrap()
            .output
            .contains("raw-\u{fffd}.txt")
    );
    assert!(
        sandbox
            .run("grep", json!({ "pattern": "find me" }))
            .unwrap()
            .output
            .starts_with("Found 8 matches\n")
    );
    assert!(
        sandbox
            .run("read", json!({ "filePath": "." }))
            .unwrap()
            .output
            .contains("raw-\u{fffd}.txt")
    );
}

#[test]
fn loops_pipes_and_directories_hang_nothing() {
    let sandbox = Sandbox::with("//- /d/f.txt\nx\n");
    symlink(sandbox.root(), sandbox.path("d/up")).unwrap();
    symlink("self", sandbox.path("self")).unwrap();
    Command::new("mkfifo")
        .arg(sandbox.path("pipe"))
        .status()
        .unwrap();
    let out = sandbox
        .run("glob", json!({ "pattern": "**/*.txt" }))
        .unwrap();
    assert_eq!(out.metadata["count"], 1, "{}", out.output);
    assert_eq!(
        sandbox
            .run("grep", json!({ "pattern": "x" }))
            .unwrap()
            .metadata["matches"],
        1
    );
    let out = sandbox.run("read", json!({ "filePath": "." })).unwrap();
    assert!(out.output.contains("d/\npipe\nself\n"), "{}", out.output);
    assert!(
        sandbox
            .run("read", json!({ "filePath": "d" }))
            .unwrap()
            .output
            .contains("up/\n")
    );
    for (tool, args) in [
        ("read", json!({ "filePath": "pipe" })),
        ("read", json!({ "filePath": "self" })),
        ("read", json!({ "filePath": "/dev/zero" })),
        ("write", json!({ "filePath": "pipe", "content": "x" })),
        ("write", json!({ "filePath": "d", "content": "x" })),
        ("write", json!({ "filePath": "d/f.txt/g", "content": "x" })),
        (
            "edit",
            json!({ "filePath": "pipe", "oldString": "a", "newString": "b" }),
        ),
        (
            "edit",
            json!({ "filePath": "d", "oldString": "a", "newString": "b" }),
        ),
    ] {
        sandbox
            .run(tool, args.clone())
            .expect_err(&args.to_string());
    }
    let error = sandbox
        .run("write", json!({ "filePath": "d", "content": "x" }))
        .unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "BadResource: FileSystem.readFile ({})",
            sandbox.path("d").display()
        )
    );
}

#[test]
fn a_gigabyte_is_not_loaded() {
    let sandbox = Sandbox::new();
    std::fs::File::create(sandbox.path("sparse"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let error = sandbox
        .run("read", json!({ "filePath": "sparse" }))
        .unwrap_err();
    assert!(error.message.starts_with("Cannot read binary file: "));
    // Text for the first bytes, then one line of a gigabyte: only its beginning is kept.
    let mut file = std::fs::File::create(sandbox.path("long")).unwrap();
    std::io::Write::write_all(&mut file, "line\n".repeat(1000).as_bytes()).unwrap();
    file.set_len(1 << 30).unwrap();
    let call = sandbox.call("read", json!({ "filePath": "long" }));
    let mut limited = Command::new("bash");
    limited
        .arg("-c")
        .arg(format!("ulimit -v 400000; exec {RUNNER}"))
        .env("HOME", &sandbox.home);
    limited.env(format!("{}0", protocol::ENV_REQUEST), call.to_string());
    let out = done(parse(call["id"].as_str().unwrap(), &limited.output().unwrap()).result).unwrap();
    assert!(
        out.output.contains("(End of file - total 1001 lines)"),
        "{}",
        &out.output[out.output.len() - 200..]
    );
}

/// Every place a runner writes to has one MiB, and all vanish when the story is over.
#[test]
fn a_full_disk_spoils_nothing_that_was_there() {
    let sandbox = Sandbox::new();
    let (root, home) = (sandbox.root(), sandbox.home.clone());
    let small_disks = |command: &mut Command| {
        let small = |command: &mut Command, path: &Path| {
            command.args(["--size", "1048576", "--tmpfs"]).arg(path);
        };
        command.args(["--dev-bind", "/", "/"]);
        small(command, Path::new("/tmp"));
        small(command, Path::new("/dev/shm"));
        // The requests come and the replies go on an ordinary disk.
        let ordinary = sandbox.dir.path();
        command.arg("--bind").arg(ordinary).arg(ordinary);
        // The runner itself may have been built below /tmp.
        command.args(["--ro-bind", RUNNER, RUNNER]);
        small(command, &root);
        small(command, &home);
    };
    let mut probe = Command::new("bwrap");
    small_disks(&mut probe);
    if !probe.arg("true").status().is_ok_and(|s| s.success()) {
        return testkit::skip(
            "a_full_disk_spoils_nothing_that_was_there",
            "bwrap cannot make a small file system here",
        );
    }
    let big = "x".repeat(2_000_000);
    let patch = format!(
        "*** Begin Patch\n*** Update File: f\n@@\n-old\n+new\n*** Add File: g\n+{big}\n*** End Patch"
    );
    let look = json!({ "command": "cat f; ls -A; ls -A ~ | grep filler" });
    let unchanged = "old\nf\nfiller\nfiller\n";
    // (tool, arguments, whether it works, a part of the output or the message)
    let steps = [
        (
            "write",
            json!({ "filePath": "f", "content": "old\n" }),
            true,
            "Wrote file",
        ),
        (
            "bash",
            json!({ "command": "for f in filler ~/filler /tmp/filler /dev/shm/filler; do head -c 9000000 /dev/zero > $f; done; true" }),
            true,
            "No space left",
        ),
        (
            "write",
            json!({ "filePath": "f", "content": big }),
            false,
            "was left as it was",
        ),
        ("bash", look.clone(), true, unchanged),
        (
            "edit",
            json!({ "filePath": "f", "oldString": "old", "newString": big }),
            false,
            "was left as it was",
        ),
        ("bash", look.clone(), true, unchanged),
        (
            "apply_patch",
            json!({ "patchText": patch }),
            false,
            "was left as it was",
        ),
        ("bash", look, true, unchanged),
        ("read", json!({ "filePath": "f" }), true, "1: old"),
        ("grep", json!({ "pattern": "ol." }), true, "Line 1: old"),
        (
            "bash",
            json!({ "command": "seq 20000" }),
            true,
            "could not be saved: there is no space",
        ),
        ("bash", json!({ "command": "rm filler" }), true, ""),
        (
            "edit",
            json!({ "filePath": "f", "oldString": "old", "newString": "new" }),
            true,
            "",
        ),
        ("bash", json!({ "command": "cat f" }), true, "new\n"),
    ];
    let script = "for request; do \"$RUNNER\" --request-file \"$request\" > \"$request.out\"; done";
    let mut story = Command::new("bwrap");
    small_disks(&mut story);
    story
        .args(["bash", "-c", script, "-"])
        .env("HOME", &home)
        .env("RUNNER", RUNNER);
    let mut asked = Vec::new();
    for (tool, args, works, part) in steps {
        let call = sandbox.call(tool, args);
        let id = call["id"].as_str().unwrap().to_string();
        let path = sandbox.dir.path().join(&id);
        std::fs::write(&path, call.to_string()).unwrap();
        story.arg(&path);
        asked.push((id, path.with_extension("out"), tool, works, part));
    }
    assert!(story.status().unwrap().success());
    for (id, path, tool, works, part) in asked {
        let result = parse_text(&id, &std::fs::read_to_string(path).unwrap()).result;
        let (worked, text) = match done(result) {
            Ok(output) => (true, output.output),
            Err(error) => (false, error.message),
        };
        let text = &text[..text.len().min(500)];
        assert!(
            worked == works && text.contains(part),
            "{id} {tool}: {text}"
        );
    }
}

#[test]
fn bytes_that_are_not_text_survive_an_edit() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("latin1"), b"caf\xe9\r\nx = 1\r\n\xff\xfe").unwrap();
    sandbox
        .run(
            "edit",
            json!({ "filePath": "latin1", "oldString": "x = 1", "newString": "x = 2\ny" }),
        )
        .unwrap();
    assert_eq!(
        std::fs::read(sandbox.path("latin1")).unwrap(),
        b"caf\xe9\r\nx = 2\r\ny\r\n\xff\xfe"
    );
}

#[test]
fn a_patch_with_one_wrong_hunk_changes_nothing() {
    let sandbox = Sandbox::with("//- /a\n1\n//- /b\n2\n");
    let patch = "*** Begin Patch\n*** Update File: a\n@@\n-1\n+one\n*** Update File: b\n@@\n-zzz\n+two\n*** End Patch";
    let error = sandbox
        .run("apply_patch", json!({ "patchText": patch }))
        .unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "apply_patch verification failed: Error: Failed to find expected lines in {}:\nzzz",
            sandbox.path("b").display()
        )
    );
    assert_eq!(
        (sandbox.text("a"), sandbox.text("b")),
        ("1\n".into(), "2\n".into())
    );
    for (patch, message) in [
        ("*** Begin Patch\n*** End Patch", "patch rejected: empty patch".to_string()),
        ("hello", "apply_patch verification failed: Error: Invalid patch format: missing Begin/End markers".to_string()),
        ("*** Begin Patch\nhm\n*** End Patch", "apply_patch verification failed: no hunks found".to_string()),
        (
            "*** Begin Patch\n*** Delete File: nope\n*** End Patch",
            format!("apply_patch verification failed: NotFound: FileSystem.readFile ({})", sandbox.path("nope").display()),
        ),
    ] {
        assert_eq!(sandbox.run("apply_patch", json!({ "patchText": patch })).unwrap_err().message, message);
    }
}

#[test]
fn two_sections_about_one_file_build_on_each_other() {
    let sandbox = Sandbox::with("//- /a\n1\n2\n");
    let patch = "*** Begin Patch\n*** Update File: a\n@@\n-1\n+one\n*** Update File: a\n*** Move to: a\n@@\n-2\n+two\n*** End Patch";
    sandbox
        .run("apply_patch", json!({ "patchText": patch }))
        .unwrap();
    assert_eq!(sandbox.text("a"), "one\ntwo\n");
}

#[test]
fn searches_obey_ignore_files_and_stop_at_a_hundred() {
    let sandbox = Sandbox::with(
        "//- /.gitignore\nout/\n//- /out/x.txt\nhit\n//- /.hidden\nhit\n//- /.git/x.txt\nhit\n//- /bin.txt\nhit\0\n",
    );
    let out = sandbox.run("grep", json!({ "pattern": "hit" })).unwrap();
    assert_eq!(
        out.output,
        format!(
            "Found 1 matches\n{}:\n  Line 1: hit\n",
            sandbox.path(".hidden").display()
        )
    );
    for n in 0..150 {
        std::fs::write(sandbox.path(format!("f{n:03}.log")), "hit\nhit\n").unwrap();
    }
    let out = sandbox.run("glob", json!({ "pattern": "*.log" })).unwrap();
    assert_eq!(out.metadata, json!({ "count": 100, "truncated": true }));
    assert!(
        out.output
            .starts_with(&format!("{}\n", sandbox.path("f000.log").display()))
    );
    assert!(out.output.ends_with("f099.log\n\n(Results are truncated: showing first 100 results. Consider using a more specific path or pattern.)"));
    let out = sandbox
        .run("grep", json!({ "pattern": "hit", "include": "*.log" }))
        .unwrap();
    assert!(
        out.output
            .starts_with("Found 100 matches (more matches available)\n")
    );
    assert!(out.output.contains("f049.log") && !out.output.contains("f050.log"));
    assert!(
        out.output
            .ends_with("\n(Results truncated. Consider using a more specific path or pattern.)")
    );
    let error = sandbox
        .run("grep", json!({ "pattern": "(unclosed" }))
        .unwrap_err();
    assert_eq!(
        error.message,
        "rg: regex parse error:\n    (?:(unclosed)\n    ^\nerror: unclosed group"
    );
}
