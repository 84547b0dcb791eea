//! Whole packs, which are put in place with their index as they are.

use super::setup::{git, pack, project};
use super::*;
use protocol::{Code, Ready};
use std::fs;

/// In how many parts a damaged pack comes.
const PARTS: usize = 5;

/// What is uploaded of a project: a whole pack of its first commits, and a second one of the rest.
struct Uploads {
    sandbox: Sandbox,
    source: PathBuf,
    /// The last commit.
    tip: String,
    /// The commit that the whole pack has all of.
    base: String,
    pack: Vec<u8>,
    index: Vec<u8>,
}

impl Uploads {
    fn new() -> Uploads {
        let sandbox = Sandbox::new();
        let source = sandbox.dir.path().join("source");
        let (_, base) = project(&source);
        fs::write(source.join("b.txt"), "edited\n").unwrap();
        git(&source, &["add", "."]);
        git(&source, &["commit", "-qm", "third"]);
        let tip = git(&source, &["rev-parse", "HEAD"]);
        let (pack, index) = whole(&sandbox, &source, &base);
        Uploads {
            sandbox,
            source,
            tip,
            base,
            pack,
            index,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("work")
    }

    /// Uploads a file.
    fn upload(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(&format!("upload-{name}"));
        fs::write(&path, content).unwrap();
        path
    }

    /// What has been uploaded and is there.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.sandbox.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("upload-")).collect();
        names.sort();
        names
    }

    /// The whole pack in so many parts, as the request names it.
    fn whole(&self, count: usize) -> Value {
        let length = self.pack.len().div_ceil(count);
        let parts = self.pack.chunks(length).enumerate();
        let parts: Vec<_> = parts
            .map(|(n, part)| self.upload(&format!("part{n}"), part))
            .collect();
        assert_eq!(parts.len(), count);
        json!({ "parts": parts, "index": self.upload("index", &self.index), "size": self.pack.len() })
    }

    /// The hash that git names the whole pack by.
    fn name(&self) -> String {
        let hash = self.pack[self.pack.len() - 20..].iter();
        hash.map(|byte| format!("{byte:02x}")).collect()
    }

    /// The second pack.
    fn second(&self) -> PathBuf {
        let path = self.path("upload-second");
        pack(&self.source, &format!("{} ^{}", self.tip, self.base), &path);
        path
    }

    fn request(&self, whole: &Value, second: Option<&Path>) -> Value {
        let commit = if second.is_some() {
            &self.tip
        } else {
            &self.base
        };
        let packs: Vec<_> = second.into_iter().collect();
        self.sandbox.op(
            "setup",
            json!({ "root": self.root(), "sandbox": "one", "base": { "whole": whole, "pack": packs, "commit": commit, "branch": "opencode/1" } }),
        )
    }

    fn send(&self, whole: &Value, second: Option<&Path>) -> Result<Ready, ToolError> {
        ready(&self.sandbox, &self.request(whole, second))
    }

    /// Everything is there, and sound.
    fn check(&self, commit: &str, what: &str) {
        let root = self.root();
        assert_eq!(git(&root, &["rev-parse", "HEAD"]), commit, "{what}");
        assert_eq!(git(&root, &["status", "--porcelain"]), "", "{what}");
        git(&root, &["fsck", "--strict"]);
        assert_eq!(self.left(), Vec::<String>::new(), "{what}");
    }
}

fn ready(sandbox: &Sandbox, request: &Value) -> Result<Ready, ToolError> {
    sandbox.send(request).result.map(|outcome| match outcome {
        Outcome::Ready(ready) => ready,
        other => panic!("{other:?}"),
    })
}

/// A pack of a commit with all that is behind it, and its index.
fn whole(sandbox: &Sandbox, source: &Path, commit: &str) -> (Vec<u8>, Vec<u8>) {
    let made = sandbox.dir.path().join("made.pack");
    pack(source, commit, &made);
    git(source, &["index-pack", made.to_str().unwrap()]);
    let index = made.with_extension("idx");
    (fs::read(&made).unwrap(), fs::read(index).unwrap())
}

/// The packs that git has in a repository, by its own account.
fn packs(root: &Path) -> String {
    let counted = git(root, &["count-objects", "--verbose"]);
    let lines = counted.lines();
    let told = lines.filter(|line| line.starts_with("packs:") || line.starts_with("garbage:"));
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_whole_pack_is_put_in_place_in_any_number_of_parts_with_a_second_pack_or_without() {
    for (count, is_alone) in [(1, true), (1, false), (3, true), (3, false)] {
        let uploads = Uploads::new();
        let whole = uploads.whole(count);
        let second = (!is_alone).then(|| uploads.second());
        uploads.send(&whole, second.as_deref()).unwrap();
        let what = format!("{count} parts, alone: {is_alone}");
        uploads.check(
            if is_alone {
                &uploads.base
            } else {
                &uploads.tip
            },
            &what,
        );
        let expected = if is_alone { 1 } else { 2 };
        let expected = format!("packs: {expected}, garbage: 0");
        assert_eq!(packs(&uploads.root()), expected, "{what}");
        let names = fs::read_dir(uploads.root().join(".git/objects/pack")).unwrap();
        let name = uploads.name();
        let placed = names.filter(|entry| {
            let name_of = entry.as_ref().unwrap().file_name();
            name_of.to_string_lossy().contains(&name)
        });
        assert!(placed.count() >= 2, "{what}: it is not there as it was");
    }
}

#[test]
fn a_damaged_pack_is_refused_and_leaves_nothing_that_git_sees() {
    type Damage = fn(&Uploads, &mut Value);
    fn swap(whole: &mut Value, one: usize, other: usize) {
        whole["parts"].as_array_mut().unwrap().swap(one, other);
    }
    let cases: [(&str, Damage, &str); 8] = [
        (
            "a part that is not named",
            |_, whole| drop(whole["parts"].as_array_mut().unwrap().remove(1)),
            "not as long as what was sent",
        ),
        (
            "a part that is not there",
            |uploads, _| fs::remove_file(uploads.path("upload-part1")).unwrap(),
            "No such file",
        ),
        (
            "the first part not at the start",
            |_, whole| swap(whole, 0, 1),
            "does not begin as a pack does",
        ),
        (
            "the last part not at the end",
            |_, whole| swap(whole, 1, PARTS - 1),
            "not of the same pack",
        ),
        (
            "parts in another order between",
            |_, whole| swap(whole, 1, 2),
            "lacks objects",
        ),
        (
            "an index of another pack",
            |uploads, _| {
                let other = whole(&uploads.sandbox, &uploads.source, &uploads.tip).1;
                fs::write(uploads.path("upload-index"), other).unwrap();
            },
            "not of the same pack",
        ),
        (
            "an index that is too short",
            |uploads, _| fs::write(uploads.path("upload-index"), "idx").unwrap(),
            "not of the same pack",
        ),
        (
            "another size",
            |uploads, whole| whole["size"] = (uploads.pack.len() + 1).into(),
            "not as long as what was sent",
        ),
    ];
    for in_the_image in [false, true] {
        for (what, damage, words) in &cases {
            let uploads = Uploads::new();
            let root = uploads.root();
            if in_the_image {
                git(uploads.sandbox.dir.path(), &["init", "-q", "work"]);
            }
            let mut whole = uploads.whole(PARTS);
            damage(&uploads, &mut whole);
            let error = uploads.send(&whole, None).expect_err(what);
            let code = match *words {
                "lacks objects" => Code::MissingBase,
                _ => Code::Sandbox,
            };
            assert_eq!(error.code, code, "{what}: {error:?}");
            assert!(error.message.contains(words), "{what}: {error:?}");
            assert!(error.message.starts_with("The uploaded pack"), "{error:?}");
            assert_eq!(root.join(".git").exists(), in_the_image, "{what}");
            if in_the_image {
                assert_eq!(packs(&root), "packs: 0, garbage: 0", "{what}");
            }
            let beside = root.with_file_name("work.opencode-setup");
            assert!(!beside.exists(), "{what}: something is left beside it");
            // Sent once more and whole, it is taken.
            uploads.send(&uploads.whole(PARTS), None).unwrap();
            uploads.check(&uploads.base, what);
        }
    }
}

#[test]
fn a_pack_that_the_image_has_is_not_replaced_and_not_removed() {
    let uploads = Uploads::new();
    let root = uploads.root();
    git(uploads.sandbox.dir.path(), &["init", "-q", "work"]);
    let own = root.join(format!(".git/objects/pack/pack-{}", uploads.name()));
    fs::write(own.with_extension("pack"), &uploads.pack).unwrap();
    fs::write(own.with_extension("idx"), &uploads.index).unwrap();
    let mut whole = uploads.whole(PARTS);
    whole["parts"].as_array_mut().unwrap().swap(1, 2);
    let second = uploads.second();
    fs::write(&second, "no pack").unwrap();
    uploads.send(&whole, Some(&second)).unwrap_err();
    let found = packs(&root);
    assert!(found.starts_with("packs: 1,"), "{found}");
    fs::remove_file(second).unwrap();
    // What was uploaded is not needed.
    uploads.send(&whole, None).unwrap();
    uploads.check(&uploads.base, "a pack of the image");
}

#[test]
fn a_setup_that_ended_early_can_be_repeated_with_the_parts_that_are_there() {
    for count in [1, 3] {
        let uploads = Uploads::new();
        let whole = uploads.whole(count);
        let second = uploads.second();
        // The second pack breaks off, when the whole one is in its place.
        let content = fs::read(&second).unwrap();
        fs::write(&second, &content[..content.len() - 30]).unwrap();
        let error = uploads.send(&whole, Some(&second)).unwrap_err();
        assert!(error.message.contains("not usable"), "{error:?}");
        fs::write(&second, content).unwrap();
        assert_eq!(uploads.left().len(), count + 2, "the parts are still there");
        uploads.send(&whole, Some(&second)).unwrap();
        uploads.check(&uploads.tip, &format!("{count} parts"));
    }
}

#[test]
fn the_index_is_right_at_once_with_any_number_of_workers() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    project(&source);
    for n in 0..500 {
        let dir = source.join(format!("d{}", n % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), format!("file {n}\n")).unwrap();
    }
    git(&source, &["add", "."]);
    git(&source, &["commit", "-qm", "many"]);
    let tip = git(&source, &["rev-parse", "HEAD"]);
    let (pack, index) = whole(&sandbox, &source, &tip);
    // On one core there is one worker.
    for (name, cores) in [("one", "0"), ("all", "0-1023")] {
        let root = sandbox.dir.path().join(name);
        let upload = |what: &str, content: &[u8]| {
            let path = sandbox.dir.path().join(format!("upload-{what}"));
            fs::write(&path, content).unwrap();
            path
        };
        let base = json!({ "whole": { "parts": [upload("pack", &pack)], "index": upload("index", &index), "size": pack.len() }, "commit": tip, "branch": "main" });
        let request = sandbox.op("setup", json!({ "root": root, "base": base }));
        let runner = sandbox.command(&request);
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cores]).arg(RUNNER);
        for (key, value) in runner.get_envs() {
            command.env(key, value.unwrap());
        }
        let reply = parse(request["id"].as_str().unwrap(), &command.output().unwrap());
        reply.result.unwrap();
        // Neither looks at a file whose times and size are those of the index, nor writes it.
        assert_eq!(git(&root, &["diff-files", "--raw"]), "", "{name}");
        assert_eq!(git(&root, &["diff-index", "--raw", "HEAD"]), "", "{name}");
        assert_eq!(git(&root, &["ls-files"]).lines().count(), 501, "{name}");
    }
}
