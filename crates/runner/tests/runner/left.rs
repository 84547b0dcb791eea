//! What cannot be in a commit is told, and keeps nothing else back.

use super::work::{files, project, sync};
use super::*;

#[test]
fn whatever_git_does_not_take_is_named_and_the_rest_is_committed() {
    /// What the agent does; then what is left out, what is noted, and which files are in the commit.
    struct Case {
        does: &'static str,
        left_out: &'static [&'static str],
        notes: &'static [&'static str],
        files: &'static str,
    }
    let name = "git takes no file of this name; give it another";
    for case in [
        Case {
            does: "mkdir -p fix/.GIT; echo x > fix/.GIT/HEAD; echo y > 'git~1'; mkdir -p '.git '; echo z > '.git /z'",
            left_out: &[".git /z: NAME", "fix/.GIT/HEAD: NAME", "git~1: NAME"],
            notes: &[],
            files: "a.txt z.txt",
        },
        Case {
            does: "mkfifo pipe ignored-pipe; mkdir d; mkfifo d/pipe; echo 'ignored*' > .gitignore; \
                   python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
            left_out: &[],
            notes: &[
                "d/pipe is a named pipe, which git does not carry",
                "pipe is a named pipe, which git does not carry",
                "sock is a socket, which git does not carry",
            ],
            files: ".gitignore a.txt z.txt",
        },
        Case {
            does: "rm a.txt; mkfifo a.txt",
            left_out: &[],
            notes: &["a.txt is a named pipe, which git does not carry"],
            files: "a.txt z.txt",
        },
        Case {
            does: "mkdir n; git init -q n; echo f > n/f; mkdir -p m/n; git init -q m/n",
            left_out: &[],
            notes: &[
                "m/n is a repository of its own",
                "n is a repository of its own",
            ],
            files: "a.txt n/f z.txt",
        },
        Case {
            does: "printf '*.u working-tree-encoding=UTF-16\\n*.k working-tree-encoding=NONE-SUCH\\n' > .gitattributes; \
                   echo plain > one.u; echo plain > 'two words.k'; chmod +x one.u; \
                   printf '\\376\\377\\0h' > three.u",
            left_out: &[],
            notes: &[
                "one.u is not in the encoding UTF-16 that .gitattributes names, so it is committed as it is",
                "two words.k is not in the encoding NONE-SUCH that .gitattributes names, so it is committed as it is",
            ],
            files: ".gitattributes a.txt one.u three.u two words.k z.txt",
        },
    ] {
        let sandbox = project("//- /a.txt\none\n");
        let does = format!("set -e; {}; echo z > z.txt", case.does);
        sandbox.run("bash", json!({ "command": does })).unwrap();
        // The second time, the index of the first one is there.
        for turn in ["first", "second"] {
            std::fs::write(sandbox.path("z.txt"), turn).unwrap();
            let home = sync(&sandbox, json!({}));
            let expected: Vec<String> = case
                .left_out
                .iter()
                .map(|line| line.replace("NAME", name))
                .collect();
            assert_eq!(home.left_out, expected, "{turn}: {}", case.does);
            let notes: Vec<&str> = home
                .notes
                .iter()
                .map(|note| note.split("; ").next().unwrap())
                .collect();
            assert_eq!(notes, case.notes, "{turn}: {}", case.does);
            let files = files(&sandbox, &home.tip);
            let names: Vec<&str> = files.iter().map(|file| &file[7..]).collect();
            assert_eq!(names.join(" "), case.files, "{turn}: {}", case.does);
            assert_eq!(
                files.iter().any(|file| file == "100755 one.u"),
                case.does.contains("chmod"),
            );
        }
    }
}

#[test]
fn a_file_in_another_encoding_than_the_attributes_name_is_committed_byte_by_byte() {
    let sandbox =
        project("//- /.gitattributes\n*.u working-tree-encoding=UTF-16\n//- /a.txt\none\n");
    std::fs::write(sandbox.path("x.u"), "plain\n").unwrap();
    let home = sync(&sandbox, json!({}));
    let text = super::work::at(
        &sandbox,
        &["cat-file", "blob", &format!("{}:x.u", home.tip)],
    );
    assert_eq!(text, "plain");
    // A checkpoint and an undo are states as well.
    let mut call = sandbox.call("write", json!({ "filePath": "x.u", "content": "other\n" }));
    call["turn"] = json!("msg_1");
    done(sandbox.send(&call).result).unwrap();
    let back = sandbox.op(
        "restore",
        json!({ "root": sandbox.root(), "to": { "before": { "turn": "msg_1", "first": true } } }),
    );
    sandbox.send(&back).result.unwrap();
    let again = sync(&sandbox, json!({}));
    let text = super::work::at(
        &sandbox,
        &["cat-file", "blob", &format!("{}:x.u", again.tip)],
    );
    assert_eq!(text, "plain");
}
