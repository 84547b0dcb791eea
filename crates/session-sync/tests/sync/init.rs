//! `init`: the plugin is named in OpenCode's configuration, and nothing else in it changes.

use crate::home::Home;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use testkit::run;

impl Home {
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }
}

const OWN: &str = ".config/opencode/opencode.json";
const OWN_C: &str = ".config/opencode/opencode.jsonc";
const PROJECT: &str = "project/opencode.json";

/// What it is about, the files before, arguments, the file that changes, and what stands in it then.
type Case = (
    &'static str,
    Vec<(&'static str, &'static str)>,
    Vec<&'static str>,
    &'static str,
    &'static str,
);

fn cases() -> Vec<Case> {
    let new = "{\n  \"$schema\": \"https://opencode.ai/config.json\",\n  \"plugin\": [\"opencode-session-sync\"]\n}\n";
    vec![
        ("no file", vec![], vec!["init"], OWN, new),
        (
            "no file of the project",
            vec![(OWN, "{}")],
            vec!["init", "--project"],
            PROJECT,
            new,
        ),
        (
            "comments",
            vec![(
                OWN,
                "// mine\n{\n\t// the theme\n\t\"theme\": \"x\", /* y */\n}\n",
            )],
            vec!["init"],
            OWN,
            "// mine\n{\n\t// the theme\n\t\"theme\": \"x\", /* y */\n\t\"plugin\": [\"opencode-session-sync\"],\n}\n",
        ),
        (
            "others",
            vec![(
                OWN,
                "{\r\n  \"plugin\": [\r\n    \"a\", // keep\r\n    [\"b\", {}]\r\n  ]\r\n}\r\n",
            )],
            vec!["init"],
            OWN,
            "{\r\n  \"plugin\": [\r\n    \"a\", // keep\r\n    [\"b\", {}],\r\n    \"opencode-session-sync\"\r\n  ]\r\n}\r\n",
        ),
        (
            "the file that names plugins",
            vec![(OWN_C, "{}"), (OWN, "{\"plugin\": []}")],
            vec!["init"],
            OWN,
            "{\"plugin\": [\"opencode-session-sync\"]}",
        ),
        (
            "a project's entry holds there only",
            vec![
                (OWN, "{}"),
                (PROJECT, "{\"plugin\": [\"opencode-session-sync\"]}"),
            ],
            vec!["init"],
            OWN,
            "{\n  \"plugin\": [\"opencode-session-sync\"]\n}",
        ),
        (
            "the key that nobody reads",
            vec![(
                OWN,
                "{\"plugins\": [\"opencode-session-sync@1.0.0\", \"x\"]}",
            )],
            vec!["init"],
            OWN,
            "{\"plugins\": [\"x\"],\n  \"plugin\": [\"opencode-session-sync@1.0.0\"]}",
        ),
    ]
}

#[test]
fn the_plugin_is_added_where_it_belongs_and_all_else_stays_as_it_is() {
    run(async {
        for (what, before, args, changed, after) in cases() {
            let home = Home::new(0);
            home.write("project/.git/HEAD", "");
            for (name, text) in &before {
                home.write(name, text);
            }
            let (exit, text) = home.call(&args).await;
            assert_eq!(exit, 0, "{what}: {text}");
            assert!(
                text.contains(&*home.at(changed).to_string_lossy()),
                "{what}: {text}"
            );
            let same = |text: &str| text.split_whitespace().collect::<String>();
            match what {
                // How a list that was on one line is laid out is not ours to say.
                "the key that nobody reads" => {
                    assert_eq!(same(&home.read(changed)), same(after), "{what}")
                }
                _ => assert_eq!(home.read(changed), after, "{what}"),
            }
            for (name, text) in before.iter().filter(|(name, _)| *name != changed) {
                assert_eq!(home.read(name), *text, "{what}");
            }
            // Once more changes nothing.
            let written = home.read(changed);
            let (exit, again) = home.json(&args).await;
            assert_eq!(
                (exit, &again["changed"]),
                (0, &json!(false)),
                "{what}: {again}"
            );
            assert_eq!(home.read(changed), written, "{what}");
        }
    });
}

#[test]
fn what_is_named_already_in_any_form_is_left_alone() {
    run(async {
        for entry in [
            "\"opencode-session-sync\"",
            "\"opencode-session-sync@0.1.0\"",
            "[\"opencode-session-sync\", {}]",
            "\"file:///x/opencode-session-sync\"",
            "\"./ours\"",
            "\"./ours/dist/index.js\"",
        ] {
            let home = Home::new(0);
            home.write(
                ".config/opencode/ours/package.json",
                "{\"name\":\"opencode-session-sync\",\"version\":\"0.1.0\"}",
            );
            let before = format!("{{\"plugin\": [{entry}]}}");
            home.write(OWN, &before);
            for args in [&["init"][..], &["init", "--project"]] {
                let (exit, done) = home.json(args).await;
                assert_eq!(
                    (exit, &done["changed"]),
                    (0, &json!(false)),
                    "{entry}: {done}"
                );
            }
            assert_eq!(home.read(OWN), before, "{entry}");
            assert!(!home.at(PROJECT).exists(), "{entry}");
        }
    });
}

#[test]
fn a_file_that_cannot_be_used_is_not_touched_and_the_other_plugin_is_told() {
    run(async {
        for (before, reason) in [
            ("{\"plugin\": \"x\"}", "is no list"),
            ("{\"plugin\": [", "opencode.json"),
            ("[]", "no JSON object"),
        ] {
            let home = Home::new(0);
            home.write(OWN, before);
            let (exit, text) = home.call(&["init"]).await;
            assert_eq!(exit, 1, "{text}");
            assert!(text.contains(reason), "{reason}: {text}");
            assert_eq!(home.read(OWN), before);
        }
        let home = Home::new(0);
        home.write(OWN, "{\"plugin\": [\"opencode-sync-plugin@0.3.6\"]}");
        for changed in [true, false] {
            let (_, done) = home.json(&["init"]).await;
            assert_eq!(done["changed"], json!(changed));
            let other = done["other"].as_str().expect("a text");
            assert!(
                other.contains("opencode-sync-plugin@0.3.6") && other.contains("sent twice"),
                "{other}"
            );
        }
        assert!(
            home.read(OWN).contains("opencode-sync-plugin"),
            "it was taken out"
        );
    });
}
