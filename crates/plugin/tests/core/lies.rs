//! A sandbox that lies about its work is refused or does no harm, and is never asked for more than
//! there is room for.

use crate::home::{reverted, turn, users};
use crate::world::{World, git};
use host::{Body, HttpRequest};
use plugin::Executed;
use protocol::{
    Branch, Bundle, Code, ENV_REQUEST, Op, Outcome, Reply, Request, Runner, Synced, TooMuch,
    ToolError, VERSION, frame,
};
use serde_json::{Value, json};
use testkit::run;

/// What a runner would answer.
pub(crate) fn answer(request: &HttpRequest, synced: &Synced) -> String {
    let Body::Json(body) = &request.body else {
        return "what is in the file\n".into();
    };
    let body: Value = serde_json::from_str(body).expect("JSON");
    let request = body["envs"][format!("{ENV_REQUEST}0")].as_str();
    let request: Request = serde_json::from_str(request.expect("a request")).expect("JSON");
    assert!(matches!(request.op, Op::Sync(_)), "{request:?}");
    replied(&request, Ok(Outcome::Synced(synced.clone())))
}

fn replied(request: &Request, result: Result<Outcome, ToolError>) -> String {
    let reply = Reply {
        protocol: VERSION,
        runner: Runner {
            version: "1".into(),
            commit: "c".into(),
        },
        id: request.id.clone(),
        replayed: false,
        result,
    };
    let reply = serde_json::to_string(&reply).expect("serializes");
    json!({ "exitCode": 0, "result": frame::encode(&request.id, &reply) }).to_string()
}

fn bundle(size: u64, inline: Option<&str>, path: Option<&str>) -> Option<Bundle> {
    Some(Bundle {
        size,
        sha256: "0".repeat(64),
        inline: inline.map(str::to_string),
        path: path.map(str::to_string),
    })
}

/// What is answered, as it would be if nothing were new, and what the model must hear.
type Lie<'a> = (&'a str, Synced, &'a str);

#[test]
fn a_lie_about_the_work_is_refused_or_harmless_and_the_truth_arrives_after_it() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        git(path, &["checkout", "--quiet", "-b", "private"]);
        git(
            path,
            &["commit", "--quiet", "--allow-empty", "-m", "private"],
        );
        let private = git(path, &["rev-parse", "HEAD"]).trim().to_string();
        git(path, &["checkout", "--quiet", "main"]);
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        open.ok("s", "sync", json!({})).await;
        open.bash("s", "echo 2 > f").await;
        let tip = git(path, &["rev-parse", "opencode/1"]).trim().to_string();
        let truth = Synced {
            tip: tip.clone(),
            branches: Vec::new(),
            bundle: None,
            left_out: Vec::new(),
            notes: Vec::new(),
            lfs: None,
            too_much: None,
            jobs: 0,
        };
        let nobody = "1".repeat(40);
        let with = |tip: &str, bundle| Synced {
            tip: tip.into(),
            bundle,
            ..truth.clone()
        };
        let branch = |n: usize| Branch {
            name: format!("b{n}"),
            commit: tip.clone(),
        };
        let lies: Vec<Lie> = vec![
            ("a commit that nobody has", with(&nobody, None), "refused"),
            ("no commit", with("--output=x", None), "refused"),
            (
                "a commit of the user's that it was never given",
                with(&private, None),
                "did not send",
            ),
            (
                "a bundle larger than anything",
                with(&nobody, bundle(u64::MAX, None, Some("/tmp/x"))),
                "at most",
            ),
            (
                "a bundle that is no text",
                with(&nobody, bundle(3, Some("&&&"), None)),
                "base64",
            ),
            (
                "a bundle that is none",
                with(&nobody, bundle(3, Some("YWJj"), None)),
                "refused",
            ),
            (
                "a bundle of another size inline",
                with(&nobody, bundle(4, Some("YWJj"), None)),
                "another size",
            ),
            (
                "a bundle of another size",
                with(&nobody, bundle(1_000, None, Some("/etc/passwd"))),
                "another size",
            ),
            (
                "a file that is no bundle",
                with(&nobody, bundle(20, None, Some("/etc/passwd"))),
                "refused",
            ),
            (
                "a path that leads elsewhere",
                with(
                    &nobody,
                    bundle(20, None, Some("../../api/sandbox?x=y&path=z#")),
                ),
                "refused",
            ),
            (
                "a bundle that it does not send",
                with(&nobody, bundle(20, None, None)),
                "sent none",
            ),
            (
                "a hundred thousand branches",
                Synced {
                    branches: (0..100_000).map(branch).collect(),
                    ..truth.clone()
                },
                "at most",
            ),
            (
                "a million files left out",
                Synced {
                    left_out: vec!["x: no".into(); 1_000_000],
                    ..truth.clone()
                },
                "Left in the sandbox",
            ),
            (
                "a file left out with a name of a megabyte",
                Synced {
                    left_out: vec!["x".repeat(1_000_000)],
                    ..truth.clone()
                },
                "Left in the sandbox",
            ),
            (
                "large files with names of a megabyte",
                Synced {
                    tip: nobody.clone(),
                    too_much: Some(TooMuch {
                        size: u64::MAX,
                        largest: vec![("x".repeat(1_000_000), u64::MAX); 10],
                    }),
                    ..truth.clone()
                },
                "carry.maxMegabytes",
            ),
            (
                "four thousand million jobs",
                Synced {
                    jobs: u32::MAX,
                    ..truth.clone()
                },
                "Background commands still run",
            ),
        ];
        let before = users(&world);
        let refs = || git(path, &["for-each-ref"]);
        let all = refs();
        for (lie, synced, expected) in lies {
            let sandbox = world.sandbox_of("s");
            open.host.answer_with(move |request| {
                assert!(
                    request.url.contains(&format!("/toolbox/{sandbox}/")),
                    "{}",
                    request.url
                );
                answer(request, &synced)
            });
            let said = match open.call("s", "sync", json!({})).await {
                Executed::Failed { message } => message,
                Executed::Done(done) => done.output,
                Executed::Rejected => String::new(),
            };
            open.host.heal();
            assert!(
                said.contains(expected),
                "{lie}: {}",
                &said[..said.len().min(500)]
            );
            assert!(said.len() < 20_000, "{lie}: {} bytes", said.len());
            let entry = world.entry("s").to_string();
            assert!(entry.len() < 20_000, "{lie}: {} bytes", entry.len());
            let logged = open.host.logged();
            assert!(logged.iter().all(|line| line.len() < 20_000), "{lie}");
            assert_eq!(refs(), all, "{lie}");
            assert_eq!(users(&world), before, "{lie}");
            assert_eq!(open.host.temps(), [""; 0], "{lie}");
        }
        let output = open.ok("s", "sync", json!({})).await;
        assert!(output.contains("1 changed"), "{output}");
        assert_eq!(git(path, &["show", "opencode/1:f"]), "2\n");
        git(path, &["fsck", "--strict"]);
    });
}

#[test]
fn a_file_that_must_stay_on_the_host_does_not_return_by_a_commit_that_holds_it() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        std::fs::write(path.join(".env"), "DAYTONA_API_KEY=secret\n").expect("written");
        git(path, &["add", ".env"]);
        git(path, &["commit", "--quiet", "-m", "with the key"]);
        let head = git(path, &["rev-parse", "HEAD"]).trim().to_string();
        let open = world.open().await;
        let files = open.bash("s", "ls -A").await;
        assert!(!files.contains(".env"), "{files}");
        // The sandbox knows the commit's hash, as the parent of what it was given.
        let synced = Synced {
            tip: head,
            branches: Vec::new(),
            bundle: None,
            left_out: Vec::new(),
            notes: Vec::new(),
            lfs: None,
            too_much: None,
            jobs: 0,
        };
        open.host
            .answer_with(move |request| answer(request, &synced));
        open.call("s", "sync", json!({})).await;
        open.host.heal();
        let sandbox = format!("/api/sandbox/{}", world.sandbox_of("s"));
        world.local.control("DELETE", &sandbox, json!({})).await;
        let files = open
            .bash("s", "ls -A; git log -p --all | grep secret")
            .await;
        assert!(files.contains("a.txt"), "{files}");
        assert!(
            !files.contains(".env") && !files.contains("secret"),
            "{files}"
        );
    });
}

#[test]
fn a_long_reason_of_a_sandbox_is_cut_before_anybody_reads_it() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for session in ["s", "warm"] {
            let info = json!({ "info": { "id": session } });
            open.event("session.created", info).await;
        }
        turn(&open, "warm", "msg_1").await;
        open.bash("warm", "echo 1 > f").await;
        let url = world.local.url.replace("/api", "/toolbox");
        let refuse = || {
            let sandbox =
                json!({ "id": "x", "name": "x", "state": "started", "toolboxProxyUrl": url });
            open.host.answer_with(move |request| {
                let Body::Json(body) = &request.body else {
                    return sandbox.to_string();
                };
                let body: Value = serde_json::from_str(body).expect("JSON");
                let Some(request) = body["envs"][format!("{ENV_REQUEST}0")].as_str() else {
                    return sandbox.to_string();
                };
                let request: Request = serde_json::from_str(request).expect("JSON");
                let reason = ToolError {
                    code: Code::Sandbox,
                    message: "why ".repeat(1_000_000),
                    metadata: None,
                };
                replied(&request, Err(reason))
            });
        };
        refuse();
        let read = json!({ "filePath": "f" });
        let unprepared = open.error("s", "read", read.clone()).await;
        reverted(&open, "warm", json!({ "messageID": "msg_1" })).await;
        let not_undone = open.error("warm", "read", read).await;
        let not_home = open.error("warm", "sync", json!({})).await;
        for said in [unprepared, not_undone, not_home] {
            assert!(said.contains("why why"), "{}", &said[..said.len().min(500)]);
            assert!(said.len() < 1_000, "{} bytes", said.len());
        }
    });
}
