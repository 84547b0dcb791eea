use crate::needs::{Step, needed, steps};
use crate::paths::Paths;
use crate::question::{Facts, Permission};
use crate::shell::{self, Command};
use proptest::prelude::*;
use protocol::{Change, Previewed, ToolArgs};
use serde_json::{Value, json};
use std::cell::RefCell;

fn paths() -> Paths {
    Paths::new("/w", "/w/sub", "/home/me/p")
}

fn arguments(tool: &str, args: &Value) -> ToolArgs {
    serde_json::from_value(json!({ "tool": tool, "args": args })).expect("valid")
}

fn asked(tool: &str, args: Value, facts: &Facts) -> Vec<(String, Vec<String>)> {
    let args = arguments(tool, &args);
    steps(&args, &paths(), facts)
        .into_iter()
        .map(|step| match step {
            Step::Ask(question) => (question.permission, question.patterns),
            Step::Refuse(message) => (message, Vec::new()),
        })
        .collect()
}

fn expect(tool: &str, args: Value, expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(p, patterns)| {
            let patterns = patterns.iter().map(|s| s.to_string());
            (p.to_string(), patterns.collect())
        })
        .collect();
    let facts = Facts::Files(RefCell::default());
    assert_eq!(asked(tool, args.clone(), &facts), expected, "{tool} {args}");
}

#[test]
fn each_tool_asks_what_opencodes_own_asks() {
    expect("read", json!({ "filePath": "a" }), &[("read", &["sub/a"])]);
    expect(
        "read",
        json!({ "filePath": "/etc/x" }),
        &[
            ("external_directory", &["/etc/*"]),
            ("read", &["../../../etc/x"]),
        ],
    );
    expect(
        "write",
        json!({ "filePath": "/home/me/p/a", "content": "" }),
        &[("edit", &["a"])],
    );
    expect(
        "edit",
        json!({ "filePath": "/x", "oldString": "a", "newString": "b" }),
        &[("external_directory", &["/*"]), ("edit", &["../../../x"])],
    );
    expect(
        "edit",
        json!({ "filePath": "/x", "oldString": "a", "newString": "a" }),
        &[],
    );
    expect(
        "apply_patch",
        json!({ "patchText": "*** Begin Patch\n*** Add File: a\n+x\n*** Update File: /home/me/p/b\n*** Move to: /etc/b\n*** End Patch" }),
        &[
            ("external_directory", &["/etc/*"]),
            ("edit", &["sub/a", "b"]),
        ],
    );
    expect(
        "glob",
        json!({ "pattern": "*.rs", "path": "/etc" }),
        &[("glob", &["*.rs"]), ("external_directory", &["/etc/*"])],
    );
    expect("grep", json!({ "pattern": "x" }), &[("grep", &["x"])]);
    expect("grep", json!({ "pattern": "" }), &[]);
    expect(
        "bash",
        json!({ "command": "ls", "workdir": "/etc" }),
        &[("external_directory", &["/etc/*"]), ("bash", &["ls"])],
    );
}

#[test]
fn a_directory_is_asked_about_itself() {
    let etc = Facts::found(Previewed {
        directories: vec!["/etc/x".into()],
        change: None,
    });
    for (tool, args, own) in [
        ("read", json!({ "filePath": "/etc/x" }), 0),
        ("grep", json!({ "pattern": "x", "path": "/etc/x" }), 1),
        ("bash", json!({ "command": "cat /etc/x" }), 0),
    ] {
        assert_eq!(asked(tool, args, &etc)[own].1, ["/etc/x/*"], "{tool}");
    }
}

#[test]
fn a_refusal_comes_where_opencode_comes_to_it() {
    let refused = |section: Option<u64>| {
        Facts::found(Previewed {
            directories: Vec::new(),
            change: Some(Err(protocol::ToolError {
                code: protocol::Code::Tool,
                message: "no".into(),
                metadata: section.map(|at| json!({ "section": at })),
            })),
        })
    };
    let patch = "*** Begin Patch\n*** Update File: /a/x\n*** Move to: /b/x\n@@\n-x\n+y\n*** Delete File: /c/x\n*** End Patch";
    let names = |facts: &Facts| {
        let asked = asked("apply_patch", json!({ "patchText": patch }), facts);
        let names = asked
            .into_iter()
            .map(|(name, p)| p.first().cloned().unwrap_or(name));
        names.collect::<Vec<String>>()
    };
    assert_eq!(names(&refused(None)), ["no"]);
    assert_eq!(names(&refused(Some(0))), ["/a/*", "no"]);
    assert_eq!(names(&refused(Some(1))), ["/a/*", "/b/*", "/c/*", "no"]);
    let edit = json!({ "filePath": "/a/x", "oldString": "a", "newString": "b" });
    let asked = asked("edit", edit, &refused(None));
    assert_eq!(asked[0].1, ["/a/*"]);
    assert_eq!(asked[1].0, "no");
}

#[test]
fn the_sandbox_is_looked_at_if_a_question_depends_on_it() {
    // Which paths are looked at, and what may be asked.
    for (tool, args, expected) in [
        ("read", json!({ "filePath": "a" }), None),
        (
            "read",
            json!({ "filePath": "/etc/x" }),
            Some((&["/etc/x"][..], &["/etc/*", "/etc/x/*"][..])),
        ),
        (
            "grep",
            json!({ "pattern": "x", "path": "/etc/x" }),
            Some((&["/etc/x"], &["/etc/*", "/etc/x/*"])),
        ),
        (
            "bash",
            json!({ "command": "cat /etc/x" }),
            Some((&["/etc/x"], &["/etc/*", "/etc/x/*"])),
        ),
        ("bash", json!({ "command": "cat a" }), None),
        ("glob", json!({ "pattern": "x", "path": "/etc" }), None),
        (
            "webfetch",
            json!({ "url": "https://a", "format": "text" }),
            None,
        ),
        (
            "write",
            json!({ "filePath": "a", "content": "" }),
            Some((&[], &[])),
        ),
        (
            "apply_patch",
            json!({ "patchText": "*** Begin Patch\n*** Delete File: /etc/x\n*** End Patch" }),
            Some((&[], &["/etc/*", "/etc/*"])),
        ),
    ] {
        let parsed = arguments(tool, &args);
        let found = needed(&parsed, &paths()).map(|needed| {
            let external = |q: &&Permission| q.permission == "external_directory";
            let asked = needed.questions.iter().filter(external);
            (
                needed.paths,
                asked.flat_map(|q| q.patterns.clone()).collect::<Vec<_>>(),
            )
        });
        let owned = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let expected = expected.map(|(paths, asked)| (owned(paths), owned(asked)));
        assert_eq!(found, expected, "{tool} {args}");
    }
}

#[test]
fn a_question_shows_what_it_is_about_and_what_always_would_allow() {
    let change = Change {
        diff: "-x\n+y".into(),
        ..Change::default()
    };
    let facts = Facts::found(Previewed {
        directories: Vec::new(),
        change: Some(Ok(change)),
    });
    let patch = "*** Begin Patch\n*** Delete File: a\n*** End Patch";
    for (tool, args, metadata) in [
        (
            "glob",
            json!({ "pattern": "*.rs", "path": "b" }),
            json!({ "pattern": "*.rs", "path": "b" }),
        ),
        (
            "glob",
            json!({ "pattern": "*.rs" }),
            json!({ "pattern": "*.rs" }),
        ),
        (
            "grep",
            json!({ "pattern": "x", "include": "*.c" }),
            json!({ "pattern": "x", "include": "*.c" }),
        ),
        (
            "write",
            json!({ "filePath": "a", "content": "" }),
            json!({ "filepath": "/home/me/p/sub/a", "diff": "-x\n+y" }),
        ),
        (
            "apply_patch",
            json!({ "patchText": patch }),
            json!({ "filepath": "sub/a", "diff": "-x\n+y", "files": [] }),
        ),
    ] {
        let args = arguments(tool, &args);
        let asked = steps(&args, &paths(), &facts);
        let [Step::Ask(question)] = &asked[..] else {
            panic!("{tool}: {asked:?}");
        };
        assert_eq!(question.metadata, metadata, "{tool}");
        assert_eq!(question.always, ["*"], "{tool}");
    }
}

fn bash(command: &str) -> Vec<Permission> {
    let args = arguments("bash", &json!({ "command": command }));
    let asked = steps(&args, &paths(), &Facts::Files(RefCell::default()));
    let question = |step| match step {
        Step::Ask(question) => question,
        Step::Refuse(message) => panic!("{message}"),
    };
    asked.into_iter().map(question).collect()
}

#[test]
fn paths_of_file_commands_are_asked_about() {
    for (command, expected) in [
        ("cat /etc/passwd /etc/group", &["/etc/*"][..]),
        (
            "cat /usr/a/x; rm -rf '/opt/b/c' -x",
            &["/usr/a/*", "/opt/b/*"],
        ),
        ("cd /tmp && ls /etc", &["/*"]),
        ("cat ../../x \"../y\" a", &["/home/me/*"]),
        ("cat ~/x", &["/home/me/*"]),
        ("rm ~", &["/home/*"]),
        ("cat /etc/*.conf", &["/*"]),
        ("cat /etc/pass*", &["/etc/*"]),
        ("chmod +x /opt/b/c", &["/opt/b/*"]),
        ("if true; then echo $(cat /opt/b/c); fi", &["/opt/b/*"]),
        ("cat $HOME/x $(pwd)/y *.c /home/me/p/sub/x -n", &[]),
        ("ls /etc; grep x /etc/passwd; echo > /etc/x", &[]),
        // A joined line is one command.
        ("cat \\\n/etc/passwd", &["/etc/*"]),
        ("cat $\"/etc/x\"", &["/etc/*"]),
        // The command is what comes behind the assignments.
        ("a[1]=x rm /etc/y", &["/etc/*"]),
        ("a[1]+=x b+=y rm /etc/y", &["/etc/*"]),
        ("a=(x $(rm /etc/y))", &["/etc/*"]),
        ("a=( 'x' y ) b=$(rm /etc/y)", &["/etc/*"]),
        // Only `chmod` knows `+x`.
        ("cat +/../../../../../opt/b", &["/opt/*"]),
        ("chmod +/../../../../../opt/b x", &[]),
        ("cat ~root/x", &[]),
        // Only known when the command runs.
        ("cat /etc/$X /etc/`x` '(/../../../../../etc/x'", &[]),
        // What the runner saved of a long output, and nothing that only looks like it.
        ("cat /tmp/.opencode-daytona/jobs/1/out", &[]),
        ("cat /tmp/.opencode-daytona-1000/jobs/1/out", &[]),
        (
            "cat /tmp/.opencode-daytona/bin/x",
            &["/tmp/.opencode-daytona/bin/*"],
        ),
        (
            "cat /tmp/.opencode-daytonas/jobs/x",
            &["/tmp/.opencode-daytonas/jobs/*"],
        ),
        ("cat /etc/jobs/x", &["/etc/jobs/*"]),
        (
            "cat /tmp/.opencode-daytona/jobs/../../../etc/passwd",
            &["/etc/*"],
        ),
    ] {
        let asked = bash(command);
        let external = asked.iter().find(|q| q.permission == "external_directory");
        let patterns = external.map(|q| q.patterns.clone()).unwrap_or_default();
        assert_eq!(patterns, expected, "{command}");
    }
}

#[test]
fn always_allows_a_prefix() {
    for (command, expected) in [
        ("git status --short", &["git status *"][..]),
        (
            "npm run build; npm test -- x",
            &["npm run build *", "npm test *"],
        ),
        ("FOO=1 ls -la", &["ls *"]),
        ("git --version", &["git --version *"]),
        // Numbers and ranges are no words to OpenCode.
        ("git 12 -3 0x4 16#ff {1..3} status", &["git status *"]),
        ("git {1..} status", &["git {1..} *"]),
        ("git 1a status", &["git 1a *"]),
        ("git 16#f@_ status", &["git status *"]),
        ("git 16# status", &["git 16# *"]),
        ("git x#1 status", &["git x#1 *"]),
        ("git 16#f. status", &["git 16#f. *"]),
        // Nor is what is only known when the command runs.
        ("git $x_1 $1 $? ${x} status", &["git status *"]),
        ("git $ status", &["git $ *"]),
        ("aws s3 ls b && ./x y", &["aws s3 ls *", "./x *"]),
        (
            "docker compose up -d; docker ps -a",
            &["docker compose up *", "docker ps *"],
        ),
    ] {
        assert_eq!(bash(command)[0].always, expected, "{command}");
    }
    assert_eq!(bash("cd sub; export A=1; [ -f x ]"), []);
}

fn texts(line: &str) -> Vec<String> {
    shell::commands(line).into_iter().map(|c| c.text).collect()
}

#[test]
fn commands_have_the_text_that_opencode_gives_them() {
    for (line, expected) in [
        (
            "git status --short | head -1 && npm run build; echo hi > /tmp/zz; FOO=1 ls -la",
            &[
                "git status --short",
                "head -1",
                "npm run build",
                "echo hi > /tmp/zz",
                "FOO=1 ls -la",
            ][..],
        ),
        ("echo 'a; rm b'", &["echo 'a; rm b'"]),
        ("echo $(rm a)", &["echo $(rm a)", "rm a"]),
        ("echo \"`rm a`\"", &["echo \"`rm a`\"", "rm a"]),
        ("(rm a) 2>&1", &["rm a"]),
        ("if true; then rm a; fi", &["true", "rm a"]),
        ("a & b", &["a", "b"]),
        ("a > x && b > y | c > z", &["a > x", "b", "c"]),
        ("diff <(rm a) b", &["diff <(rm a) b", "rm a"]),
        ("[ -f $(rm a) ] && export B=`rm b`", &["rm a", "rm b"]),
        (
            "cat <<EOF > f && rm g\nhi $(rm x)\nEOF\nrm h",
            &[
                "cat <<EOF > f && rm g\nhi $(rm x)\nEOF",
                "rm g",
                "rm x",
                "rm h",
            ],
        ),
        ("cat <<'EOF'\n$(rm x)\nEOF", &["cat <<'EOF'\n$(rm x)\nEOF"]),
        ("for i in $(ls); do rm $i; done > log", &["ls", "rm $i"]),
        (
            "case $x in a|b) rm a;; *) rm b > c;; esac",
            &["rm a", "rm b > c"],
        ),
        ("f() { rm x; }; f", &["rm x", "f"]),
        ("while ! rm a; do rm b; done", &["rm a", "rm b"]),
        ("time rm a", &["time rm a"]),
        ("((x)) || rm a", &["((x))", "rm a"]),
        ("((rm a); (rm b))", &["rm a", "rm b"]),
        ("[[ -f x && -f y ]] && rm a", &["rm a"]),
        ("case x in a) ;; b) rm c;; esac", &["rm c"]),
        (
            "cat <<E && rm g > h\nx\nE",
            &["cat <<E && rm g > h\nx\nE", "rm g > h"],
        ),
        ("function f { rm x; }; f", &["rm x", "f"]),
        (
            "if a; then b; elif c; then d; else e; fi",
            &["a", "b", "c", "d", "e"],
        ),
        ("case x in a) b;;& c) d;& e) f;; esac", &["b", "d", "f"]),
        ("[[ ( -n $(rm a) ) && x < y ]] && b", &["rm a", "b"]),
        ("[[ -s <(rm a) ]]", &["rm a"]),
        // What a backslash keeps from meaning anything.
        ("echo \\; rm b", &["echo \\; rm b"]),
        ("echo \\\"; rm b; \\\"", &["echo \\\"", "rm b", "\\\""]),
        ("echo \\'; rm b; \\'", &["echo \\'", "rm b", "\\'"]),
        (
            "echo \"\\\"\"; rm b; echo \"\\\"\"",
            &["echo \"\\\"\"", "rm b", "echo \"\\\"\""],
        ),
        (
            "echo $'\\''; rm b; echo $'\\''",
            &["echo $'\\''", "rm b", "echo $'\\''"],
        ),
        (
            "echo \"it's\"; rm b; echo \"it's\"",
            &["echo \"it's\"", "rm b", "echo \"it's\""],
        ),
        // What is in an expansion, and what comes behind it.
        ("a ${x:-$(rm b)}; c", &["a ${x:-$(rm b)}", "rm b", "c"]),
        ("a ${x:-'}'}; rm b", &["a ${x:-'}'}", "rm b"]),
        ("a ${x:-\"}\"}; rm b", &["a ${x:-\"}\"}", "rm b"]),
        ("a ${x:-\\}}; rm b", &["a ${x:-\\}}", "rm b"]),
        (
            "a \"${x:-'}\"; rm b; \"'}\"",
            &["a \"${x:-'}\"", "rm b", "\"'}\""],
        ),
        ("a ${x:-<(rm b)}; c", &["a ${x:-<(rm b)}", "rm b", "c"]),
        ("a $[ $(rm b) ]; c", &["a $[ $(rm b) ]", "rm b", "c"]),
        ("a $\"x $(rm b)\"; c", &["a $\"x $(rm b)\"", "rm b", "c"]),
        (
            "a $((1 + $(rm b))); c",
            &["a $((1 + $(rm b)))", "rm b", "c"],
        ),
        ("a $(('(' + \")\")); rm b", &["a $(('(' + \")\"))", "rm b"]),
        ("a $((')' + 1)); rm b", &["a $((')' + 1))", "rm b"]),
        ("a $(((1) + \\( )); rm b", &["a $(((1) + \\( ))", "rm b"]),
        ("((x = $(rm a))); b", &["((x = $(rm a)))", "rm a", "b"]),
        ("a $((rm b); (c))", &["a $((rm b); (c))", "rm b", "c"]),
        ("a `b \\` c`; rm d", &["a `b \\` c`", "b \\` c", "rm d"]),
        ("a $x_1y$?$1`rm b`; c", &["a $x_1y$?$1`rm b`", "rm b", "c"]),
        (
            "a $'xy\\'z'; rm b; a $'xy\\'z'",
            &["a $'xy\\'z'", "rm b", "a $'xy\\'z'"],
        ),
        ("a \"$\"; rm b; a \"$\"", &["a \"$\"", "rm b", "a \"$\""]),
        (
            "a \"$'\"; rm b; a \"$'\"",
            &["a \"$'\"", "rm b", "a \"$'\""],
        ),
        ("a $; rm b", &["a $", "rm b"]),
        ("a=(x y z); rm b", &["rm b"]),
        ("a ${x:-b; c} d", &["a ${x:-b; c} d"]),
        ("a ${x:-\\}; b}", &["a ${x:-\\}; b}"]),
        (
            "a $((b 'x))'; rm c); d)",
            &["a $((b 'x))'; rm c); d)", "b 'x))'", "rm c", "d"],
        ),
        ("time (rm a)", &["time (rm a)", "rm a"]),
        ("a (b) c", &["a (b) c", "b"]),
        ("a &> f; b 2>&1; c", &["a &> f", "b 2>&1", "c"]),
        ("((x++)); rm a", &["rm a"]),
        ("ls # rm b", &["ls"]),
        ("# it's\nrm b", &["rm b"]),
        ("rm \\\n b", &["rm \\\n b"]),
    ] {
        assert_eq!(texts(line), expected, "{line}");
    }
}

#[test]
fn a_line_that_is_not_understood_is_cut_everywhere() {
    for line in [
        "echo 'a; rm b",
        "if true; then echo 'x\nrm b",
        "echo a); rm b",
        "}; rm b",
        "echo $(true; 'x | rm b",
        "cat <<E\nrm b",
        "echo 'a\nthen rm b",
        "echo 'a; time rm b",
        "[ a | rm b\n]",
        "[ a && rm b\n]",
    ] {
        assert!(texts(line).contains(&"rm b".to_string()), "{line}");
    }
}

#[test]
fn a_command_nested_without_end_is_not_followed_to_its_end() {
    for (open, close) in [
        ("$(", ")"),
        ("<(", ")"),
        ("`", "`"),
        ("(", ")"),
        ("{ ", "; }"),
        ("((", "))"),
        ("${x:-", "}"),
        ("! ", ""),
    ] {
        let line = format!("{}rm x{}", open.repeat(20_000), close.repeat(20_000));
        assert!(!texts(&line).is_empty());
    }
    assert!(texts("echo $(a $(b $(rm x)))").contains(&"rm x".to_string()));
    // What stands side by side is not nested.
    let line = "echo $(a); ".repeat(200);
    assert_eq!(texts(&line).len(), 400);
}

/// A script, and the names of all commands in it.
fn script() -> impl Strategy<Value = (String, Vec<String>)> {
    let argument = prop::sample::select(vec![
        "",
        " a",
        " 'x; y'",
        " \"$H (\"",
        " $((1 + 2))",
        " > out",
        " 2>&1",
        " \\;",
    ]);
    let simple =
        ("c[a-z]{1,6}", argument).prop_map(|(name, rest)| (format!("{name}{rest}"), vec![name]));
    simple.prop_recursive(4, 24, 3, |inner| {
        let join = |sign: &'static str| {
            move |(a, b): ((String, Vec<String>), (String, Vec<String>))| {
                (format!("{}{sign}{}", a.0, b.0), [a.1, b.1].concat())
            }
        };
        let wrap = |open: &'static str, close: &'static str| {
            move |(text, names): (String, Vec<String>)| (format!("{open}{text}{close}"), names)
        };
        let pair = || (inner.clone(), inner.clone());
        prop_oneof![
            pair().prop_map(join(" && ")),
            pair().prop_map(join(" | ")),
            pair().prop_map(join("; ")),
            pair().prop_map(join("\n")),
            pair().prop_map(join(" & ")),
            inner.clone().prop_map(wrap("( ", " )")),
            inner.clone().prop_map(wrap("{ ", "; }")),
            inner.clone().prop_map(wrap("if ", "; then :; fi")),
            inner.clone().prop_map(wrap("for i in a b; do ", "\ndone")),
            inner.clone().prop_map(wrap("while :; do ", "; done < f")),
            inner.clone().prop_map(wrap("case x in y) ", ";; esac")),
            inner.clone().prop_map(wrap("echo \"a $( ", ") b\"")),
            inner.clone().prop_map(wrap("export A=$( ", ")")),
            inner.clone().prop_map(wrap("[[ -n $( ", ") ]]")),
            inner.clone().prop_map(wrap("f() { ", "; }")),
            inner.clone().prop_map(wrap("cat <<E\n$( ", ")\nE\n")),
            inner.prop_map(wrap("diff <(", ") b")),
        ]
    })
}

/// Pieces of scripts in any order, most of them nonsense.
fn nonsense() -> impl Strategy<Value = String> {
    let pieces = "( ) (( )) $( $(( ` ' \" $' $\" { } ${ <( << <<- <<< E \\ \\\n \n ; ;; & && | |& > 2>&1 if then \
        else elif fi for in do done while case esac [ ] [[ ]] function time ! # = a= a=( a[1]= é 日 a 1";
    let pieces: Vec<&str> = pieces.split(' ').collect();
    let piece = prop::sample::select(pieces);
    let space = prop::sample::select(vec!["", "", " "]);
    prop::collection::vec((piece, space), 0..40).prop_map(|all| {
        all.into_iter()
            .flat_map(|(piece, space)| [piece, space])
            .collect()
    })
}

proptest! {
    #[test]
    fn no_command_line_panics(line in prop_oneof!["[ -~\\né日]{0,80}", nonsense()]) {
        for Command { text, words } in shell::commands(&line) {
            prop_assert!(line.contains(&text) && !words.is_empty());
        }
    }

    #[test]
    fn no_command_hides((line, names) in script()) {
        let found: Vec<String> = shell::commands(&line).into_iter().map(|c| c.words[0].clone()).collect();
        for name in names {
            prop_assert!(found.contains(&name), "{name} in {line}: {found:?}");
        }
    }
}
