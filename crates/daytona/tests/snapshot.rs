//! A snapshot of a sandbox: what the service has decides, whatever it answers on the way.

use daytona::{Client, Error, Settings};
use host::Host;
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::{Setting, TestHost, run};

/// What is there at each look, the last one for good: the sandbox's state, and the snapshot's (or
/// nothing) with the sandbox that it is of.
type Look = (&'static str, Option<(&'static str, Option<&'static str>)>);

const OURS: Option<&str> = Some("box");

/// Gives the result, and how often the snapshot was asked for. `answers` are those to that.
fn make(looks: Vec<Look>, answers: Vec<u16>) -> (Result<String, Error>, usize) {
    let host = Arc::new(TestHost::new(&[]));
    host.fast.set(true);
    let (at, asked) = (Arc::new(Setting::new(0)), Arc::new(Setting::new(0)));
    let (told, answering) = (Arc::clone(&asked), Arc::clone(&host));
    host.answer_with(move |request| {
        let (sandbox, snapshot) = looks[at.get().min(looks.len() - 1)];
        let (status, body): (u16, Value) = if request.method == "POST" {
            let status = answers[told.get().min(answers.len() - 1)];
            told.set(told.get() + 1);
            (status, json!({ "id": "box", "state": "snapshotting", "message": "no words" }))
        } else if request.url.contains("/snapshots/") {
            at.set(at.get() + 1);
            match snapshot {
                Some((state, of)) => {
                    let found = json!({ "id": "s", "name": "n", "state": state, "sourceSandboxId": of, "errorReason": "why" });
                    (200, found)
                }
                None => (404, json!({ "message": "none" })),
            }
        } else {
            (200, json!({ "id": "box", "state": sandbox }))
        };
        answering.status.set(Some(status));
        body.to_string()
    });
    let settings = Settings {
        api_url: "https://d.example/api".into(),
        api_key: "key".into(),
        organization: None,
    };
    let client = Client::new(Arc::clone(&host) as Arc<dyn Host>, settings);
    let made = run(async { client.make_snapshot("box", "n", 600, |_: &str| {}).await });
    host.heal();
    let asked = asked.get();
    (made.map(|made| made.state), asked)
}

#[test]
fn every_state_on_the_way_to_a_snapshot_is_waited_for_and_it_is_asked_for_once() {
    for on_the_way in [
        "snapshotting",
        "pending",
        "building",
        "pulling",
        "never seen",
    ] {
        let looks = vec![
            ("started", None),
            ("snapshotting", None),
            ("snapshotting", Some((on_the_way, OURS))),
            ("never seen", Some(("active", OURS))),
            ("started", Some(("active", OURS))),
        ];
        let (made, asked) = make(looks, vec![200]);
        assert_eq!(made.expect(on_the_way), "active");
        assert_eq!(asked, 1, "{on_the_way}");
    }
}

#[test]
fn an_answer_that_is_lost_or_a_conflict_is_made_up_for_by_looking() {
    // The first had its effect; the second had none, and is asked for again.
    let done = vec![
        ("started", None),
        ("snapshotting", None),
        ("started", Some(("active", OURS))),
    ];
    for answer in [502, 409, 503] {
        let (made, asked) = make(done.clone(), vec![answer]);
        assert_eq!((made.expect("made").as_str(), asked), ("active", 1));
    }
    let again = vec![
        ("started", None),
        ("started", None),
        ("started", Some(("active", OURS))),
    ];
    for answer in [502, 409] {
        let (made, asked) = make(again.clone(), vec![answer, 200]);
        assert_eq!((made.expect("made").as_str(), asked), ("active", 2));
    }
    // An earlier request of ours made it.
    let (made, asked) = make(vec![("started", Some(("active", OURS)))], vec![200]);
    assert_eq!((made.expect("made").as_str(), asked), ("active", 0));
    // The sandbox is gone meanwhile.
    let gone = vec![("started", None), ("destroyed", Some(("active", OURS)))];
    assert!(make(gone, vec![200]).0.is_ok());
    // A server that does not say what a snapshot is of.
    let silent = vec![("started", None), ("started", Some(("active", None)))];
    assert!(make(silent, vec![200]).0.is_ok());
}

#[test]
fn what_comes_to_no_snapshot_says_why_and_ends() {
    let is = |looks: Vec<Look>, answers: Vec<u16>, part: &str| {
        let (made, asked) = make(looks, answers);
        let why = made.expect_err(part).to_string();
        assert!(why.contains(part), "{part}: {why}");
        assert!(asked <= 5, "{part}: asked {asked} times");
    };
    for (state, part) in [
        ("error", "error (why)"),
        ("build_failed", "build_failed (why)"),
        ("inactive", "inactive"),
        ("removing", "removing"),
    ] {
        let looks = vec![("started", None), ("started", Some((state, OURS)))];
        is(looks, vec![200], part);
    }
    let others = || vec![("started", Some(("active", Some("another"))))];
    is(others(), vec![409], "already");
    let nobodys = vec![("started", None), ("started", Some(("active", None)))];
    is(nobodys, vec![409], "already");
    is(vec![("error", None)], vec![200], "box failed");
    is(vec![("destroyed", None)], vec![200], "box");
    is(vec![("started", None)], vec![200], "is not there");
    is(vec![("started", None)], vec![409], "409");
    is(vec![("started", None)], vec![400], "400");
    is(vec![("started", None)], vec![502], "502");
    is(vec![("never seen", None)], vec![200], "still snapshotting");
    let looks = vec![("started", None), ("started", Some(("pulling", OURS)))];
    is(looks, vec![200], "still pulling");
}
