//! What was never sent had no effect: nothing is cleaned up, nothing is said of a sandbox that nobody
//! asked for, and what does not pass is not tried again.

use crate::world::{Open, World};
use serde_json::json;
use std::sync::Arc;
use testkit::{Setting, run};

/// What the user hears, but for what is waited for: the attempts take their time.
fn verdicts(open: &Open) -> Vec<String> {
    let mut toasts = open.toasts();
    toasts.retain(|title| title != "Sandbox not ready yet");
    toasts
}

#[test]
fn a_create_that_was_not_sent_leaves_no_note_and_says_what_to_do() {
    run(async {
        let world = World::new();
        for (code, way_out, creates) in [
            (
                "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
                "in NODE_EXTRA_CA_CERTS and start OpenCode again",
                1,
            ),
            ("DEPTH_ZERO_SELF_SIGNED_CERT", "NODE_EXTRA_CA_CERTS", 1),
            ("CERT_HAS_EXPIRED", "the clock of this machine", 1),
            (
                "ERR_TLS_CERT_ALTNAME_INVALID",
                "how DAYTONA_API_URL is spelled",
                1,
            ),
            ("NotMade", "stray characters", 1),
            ("ENOTFOUND", "how DAYTONA_API_URL is spelled", 4),
            ("EAI_AGAIN", "the network (DNS)", 4),
            (
                "ConnectionRefused",
                "Check the network and DAYTONA_API_URL",
                4,
            ),
            (
                "UNKNOWN_CERTIFICATE_VERIFICATION_ERROR",
                "no TLS connection",
                4,
            ),
        ] {
            let open = world.open().await;
            open.host.fast.set(true);
            open.event("session.created", json!({ "sessionID": code, "info": {} }))
                .await;
            let sent = Arc::new(Setting::new(0));
            let count = Arc::clone(&sent);
            open.host.fail(move |what, request| {
                (what == "http").then(|| {
                    count.set(count.get() + u32::from(request.starts_with("POST")));
                    code.into()
                })
            });
            let error = open.error(code, "bash", json!({ "command": "true" })).await;
            assert!(error.contains(way_out), "{code}: {error}");
            assert!(!error.contains("connection lost"), "{error}");
            let title = match code {
                "ConnectionRefused" => "Connection lost",
                _ => "Sandbox unavailable",
            };
            assert_eq!(verdicts(&open), [title], "{code}");
            assert_eq!(sent.get(), creates, "{code}");
            let store = world.store();
            assert_eq!(store.get("cleanup"), None, "{code}: {store}");
            assert_eq!(store.get("creating"), None, "{code}: {store}");
        }
    });
}

#[test]
fn a_create_that_may_have_been_made_has_a_note_and_nobody_is_told_of_a_sandbox() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.host.fast.set(true);
        open.event("session.created", json!({ "sessionID": "s", "info": {} }))
            .await;
        open.host
            .fail(|what, _| (what == "http").then(|| "ECONNRESET".into()));
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("was lost"), "{error}");
        assert_eq!(verdicts(&open), ["Connection lost"]);
        let notes = world.store()["cleanup"].as_array().map_or(0, Vec::len);
        assert_eq!(notes, 1);
    });
}

#[test]
fn what_does_not_pass_ends_a_call_at_once_also_in_a_warm_session() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "true").await;
        let sent = Arc::new(Setting::new(0));
        let count = Arc::clone(&sent);
        open.host.fail(move |what, _| {
            (what == "http").then(|| {
                count.set(count.get() + 1);
                "CERT_HAS_EXPIRED".into()
            })
        });
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("out of its time"), "{error}");
        assert_eq!(sent.get(), 1);
        open.host.heal();
        open.bash("s", "true").await;
    });
}
