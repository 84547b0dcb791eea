use super::*;
use crate::fs::fixture::Fixture;
use proptest::prelude::*;
use serde_json::Value;

/// What is between `<content>` and `</content>`.
fn content(fixture: &Fixture, args: Value) -> String {
    let out = fixture.run("read", args).unwrap().output;
    let (_, rest) = out.split_once("<content>\n").unwrap();
    rest.rsplit_once("\n</content>").unwrap().0.to_string()
}

#[test]
fn pages_of_a_file_say_what_is_missing() {
    let fixture = Fixture::new("//- /f\none\r\ntwo\nthree\n//- /empty\n//- /blank\n\n");
    for (args, expected) in [
        (
            json!({"filePath": "f"}),
            "1: one\n2: two\n3: three\n\n(End of file - total 3 lines)",
        ),
        (
            json!({"filePath": "f", "offset": 0}),
            "1: one\n2: two\n3: three\n\n(End of file - total 3 lines)",
        ),
        (
            json!({"filePath": "f", "offset": 2, "limit": 1}),
            "2: two\n\n(Showing lines 2-2 of 3. Use offset=3 to continue.)",
        ),
        (
            json!({"filePath": "f", "offset": 3, "limit": 1}),
            "3: three\n\n(End of file - total 3 lines)",
        ),
        (
            json!({"filePath": "empty"}),
            "\n\n(End of file - total 0 lines)",
        ),
        (
            json!({"filePath": "blank"}),
            "1: \n\n(End of file - total 1 lines)",
        ),
    ] {
        assert_eq!(content(&fixture, args.clone()), expected, "{args}");
    }
    let error = fixture
        .run("read", json!({"filePath": "f", "offset": 9}))
        .unwrap_err();
    assert_eq!(
        error.message,
        "Offset 9 is out of range for this file (3 lines)"
    );
}

#[test]
fn any_line_ending_ends_a_line_and_half_a_character_is_none() {
    let fixture = Fixture::new("");
    for (bytes, expected) in [
        (
            &b"a\rb\r\nc\n\rd"[..],
            "1: a\n2: b\n3: c\n4: \n5: d\n\n(End of file - total 5 lines)",
        ),
        (b"a\r", "1: a\n\n(End of file - total 1 lines)"),
        (b"\xef\xbb\xbf", "\n\n(End of file - total 0 lines)"),
        (b"\xef\xbb\xbfa", "1: a\n\n(End of file - total 1 lines)"),
        (
            b"a\nb\xe2\x82",
            "1: a\n2: b\n\n(End of file - total 2 lines)",
        ),
        (b"a\n\xe2\x82", "1: a\n\n(End of file - total 1 lines)"),
    ] {
        std::fs::write(fixture.path("f"), bytes).unwrap();
        assert_eq!(
            content(&fixture, json!({"filePath": "f"})),
            expected,
            "{bytes:?}"
        );
    }
    // A carriage return that is the last byte of a buffer.
    let long = format!("{}\r\nb\n", "a".repeat((1 << 16) - 1));
    std::fs::write(fixture.path("f"), long).unwrap();
    assert!(
        content(&fixture, json!({"filePath": "f", "offset": 2}))
            .starts_with("2: b\n\n(End of file - total 2")
    );
}

#[test]
fn long_lines_and_long_pages_are_cut() {
    let fixture = Fixture::new("");
    std::fs::write(
        fixture.path("line"),
        format!("\u{feff}{}\nnext\n", "é".repeat(2001)),
    )
    .unwrap();
    let expected = format!(
        "1: {}... (line truncated to 2000 chars)\n2: next",
        "é".repeat(2000)
    );
    assert!(content(&fixture, json!({"filePath": "line"})).starts_with(&expected));
    std::fs::write(
        fixture.path("page"),
        format!("{}\n", "x".repeat(99)).repeat(1000),
    )
    .unwrap();
    let shown = content(&fixture, json!({"filePath": "page"}));
    assert!(
        shown.ends_with(
            "(Output capped at 50 KB. Showing lines 1-512. Use offset=513 to continue.)"
        ),
        "{shown}"
    );
}

#[test]
fn metadata_is_what_the_terminal_draws_from() {
    let fixture = Fixture::new("//- /f\none\ntwo\n//- /d/a\n//- /d/B\n//- /d/.c/x\n");
    let file = fixture
        .run("read", json!({"filePath": "f", "limit": 1}))
        .unwrap();
    assert_eq!(
        file.metadata,
        json!({
            "preview": "one", "truncated": true, "loaded": [],
            "display": {"type": "file", "path": "/T/f", "text": "one", "lineStart": 1, "lineEnd": 1, "totalLines": 2, "truncated": true},
        })
    );
    let dir = fixture
        .run("read", json!({"filePath": "d", "limit": 2}))
        .unwrap();
    assert_eq!(dir.title, "d");
    assert_eq!(
        dir.output,
        "<path>/T/d</path>\n<type>directory</type>\n<entries>\n.c/\na\n\n(Showing 2 of 3 entries. Use 'offset' parameter to read beyond entry 3)\n</entries>"
    );
    assert_eq!(
        dir.metadata["display"],
        json!({
            "type": "directory", "path": "/T/d", "entries": [".c/", "a"], "offset": 1, "totalEntries": 3, "truncated": true,
        })
    );
}

#[test]
fn what_is_not_there_has_neighbors() {
    let fixture = Fixture::new("//- /README.md\n//- /readme\n//- /x\n");
    for (path, message) in [
        ("nope", "File not found: /T/nope"),
        (
            "readme.m",
            "File not found: /T/readme.m\n\nDid you mean one of these?\n/T/README.md\n/T/readme",
        ),
        (
            &format!("{}//readm", fixture.path("").display()),
            "File not found: /T///readm\n\nDid you mean one of these?\n/T/README.md\n/T/readme",
        ),
        ("no/dir", "File not found: /T/no/dir"),
    ] {
        assert_eq!(
            fixture
                .run("read", json!({"filePath": path}))
                .unwrap_err()
                .message,
            message
        );
    }
}

#[test]
fn pictures_are_attached_and_binaries_refused() {
    let fixture = Fixture::new(
        "//- /really.png\nnot a picture but named so\n//- /x.zip\ntext\n//- /a.svg\n<svg/>\n",
    );
    std::fs::write(fixture.path("shot"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
    let out = fixture.run("read", json!({"filePath": "shot"})).unwrap();
    assert_eq!(out.output, "Image read successfully");
    assert_eq!(
        out.attachments[0].url,
        "data:image/png;base64,iVBORw0KGgoAAA=="
    );
    assert_eq!(
        fixture
            .run("read", json!({"filePath": "really.png"}))
            .unwrap()
            .attachments[0]
            .mime,
        "image/png"
    );
    assert!(content(&fixture, json!({"filePath": "a.svg"})).starts_with("1: <svg/>"));
    std::fs::write(fixture.path("nul"), b"a\0b").unwrap();
    std::fs::write(fixture.path("control"), b"\x01\x02ab").unwrap();
    for name in ["x.zip", "nul", "control"] {
        let error = fixture.run("read", json!({"filePath": name})).unwrap_err();
        assert_eq!(error.message, format!("Cannot read binary file: /T/{name}"));
    }
}

#[test]
fn instructions_on_the_way_are_shown_once() {
    let mut fixture = Fixture::new(
        "//- /AGENTS.md\nroot\n//- /a/AGENTS.md\nfirst\n//- /a/b/CLAUDE.md\nsecond\n//- /a/b/f\nx\n",
    );
    let out = fixture.run("read", json!({"filePath": "a/b/f"})).unwrap();
    assert!(out.output.ends_with(
        "</content>\n\n<system-reminder>\nInstructions from: /T/a/b/CLAUDE.md\nsecond\n\n\nInstructions from: /T/a/AGENTS.md\nfirst\n\n</system-reminder>"
    ), "{}", out.output);
    assert_eq!(
        out.metadata["loaded"],
        json!(["/T/a/b/CLAUDE.md", "/T/a/AGENTS.md"])
    );
    fixture.tree.loaded = vec![fixture.path("a/b/CLAUDE.md").display().to_string()];
    let out = fixture.run("read", json!({"filePath": "a/b/f"})).unwrap();
    assert_eq!(out.metadata["loaded"], json!(["/T/a/AGENTS.md"]));
    let out = fixture
        .run("read", json!({"filePath": "a/AGENTS.md"}))
        .unwrap();
    assert_eq!(out.metadata["loaded"], json!([]));
}

proptest! {
    #[test]
    fn pages_put_together_are_the_file(lines in proptest::collection::vec("[a-z ]{0,8}", 0..30), limit in 1u64..9) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (mut seen, mut offset) = (Vec::new(), 1);
        loop {
            let page = super::lines(text.as_bytes(), Page { offset, limit }).unwrap();
            offset += page.shown.len() as u64;
            seen.extend(page.shown);
            if page.end == End::File {
                break;
            }
        }
        prop_assert_eq!(seen, lines);
    }
}
