//! A preview says what the call would, and leaves everything as it was.

use super::fixture::Fixture;
use super::preview;
use protocol::ToolArgs;
use serde_json::{Value, json};
use std::fs;

fn args(tool: &str, args: &Value) -> ToolArgs {
    serde_json::from_value(json!({ "tool": tool, "args": args })).unwrap()
}

#[test]
fn it_shows_the_diff_of_the_call_and_writes_nothing() {
    let patch = "*** Begin Patch\n*** Update File: a\n*** Move to: sub/b\n@@\n-two\n+2\n*** Add File: c\n+c\n*** End Patch";
    for (tool, call) in [
        (
            "edit",
            json!({ "filePath": "a", "oldString": "two", "newString": "2" }),
        ),
        (
            "edit",
            json!({ "filePath": "sub/new", "oldString": "", "newString": "n\n" }),
        ),
        ("apply_patch", json!({ "patchText": patch })),
    ] {
        let fixture = Fixture::new("//- /a\none\ntwo\n");
        let shown = preview(&fixture.tree, &args(tool, &call)).unwrap().unwrap();
        assert_eq!(fs::read_dir(fixture.path("")).unwrap().count(), 1, "{call}");
        assert_eq!(fs::read_to_string(fixture.path("a")).unwrap(), "one\ntwo\n");
        let here = fixture.path("");
        let here = here.to_str().unwrap().trim_end_matches('/');
        let made = fixture.run(tool, call).unwrap();
        assert_eq!(json!(shown.diff.replace(here, "/T")), made.metadata["diff"]);
        let files = json!(shown.files).to_string().replace(here, "/T");
        let expected = made.metadata.get("files").cloned().unwrap_or(json!([]));
        assert_eq!(files, expected.to_string());
    }
}

#[test]
fn it_shows_the_diff_that_write_does_not_keep() {
    let fixture = Fixture::new("//- /a\none\ntwo\n");
    let call = |path: &str| json!({ "filePath": path, "content": "one\n2\n" });
    let diff = |path: &str| {
        let shown = preview(&fixture.tree, &args("write", &call(path)));
        shown.unwrap().unwrap().diff
    };
    assert!(diff("a").ends_with("@@ -1,2 +1,2 @@\n one\n-two\n+2\n"));
    assert!(diff("sub/new").ends_with("@@ -0,0 +1,2 @@\n+one\n+2\n"));
    assert!(!fixture.path("sub").exists());
}

#[test]
fn it_refuses_as_the_call_does() {
    let fixture = Fixture::new("//- /a\none\n//- /sub/b\n\n");
    let patch =
        |text: &str| json!({ "patchText": format!("*** Begin Patch\n{text}\n*** End Patch") });
    for (tool, call, section) in [
        (
            "edit",
            json!({ "filePath": "a", "oldString": "x", "newString": "2" }),
            None,
        ),
        (
            "edit",
            json!({ "filePath": "none", "oldString": "x", "newString": "2" }),
            None,
        ),
        ("write", json!({ "filePath": "sub", "content": "" }), None),
        ("apply_patch", patch("nothing"), None),
        ("apply_patch", patch("*** Delete File: none"), Some(0)),
        (
            "apply_patch",
            patch("*** Add File: c\n+c\n*** Delete File: none"),
            Some(1),
        ),
    ] {
        let refused = preview(&fixture.tree, &args(tool, &call))
            .unwrap()
            .unwrap_err();
        let metadata = refused
            .metadata
            .as_ref()
            .map(|m| m["section"].as_u64().unwrap());
        assert_eq!(metadata, section, "{call}");
        let here = fixture.path("");
        let message = refused
            .message
            .replace(here.to_str().unwrap().trim_end_matches('/'), "/T");
        assert_eq!(message, fixture.run(tool, call).unwrap_err().message);
    }
    let read = args("read", &json!({ "filePath": "a" }));
    assert_eq!(preview(&fixture.tree, &read), None);
}
