//! The image's own git settings: the agent's git keeps them, and carrying the project in, its state
//! and its way home do not know them.

use super::setup::git;
use super::work::{files, synced};
use super::*;
use std::os::unix::fs::PermissionsExt;

/// Where a setting of the image is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A file below the home directory.
    Home(&'static str),
    /// The configuration of a repository that the image has in the project directory.
    Repository,
}

/// The project: its name, its content.
const PROJECT: &[(&str, &str)] = &[
    (".gitattributes", "*.dat filter=image\n"),
    ("a.dat", "data\n"),
    ("dir/kept.txt", "one\ntwo\n"),
    ("run.sh", "#!/bin/sh\necho ran\n"),
];

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a row's setting names: programs that write down that they ran, and fail; a template; a
/// list of ignored files; attributes.
fn image(dir: &Path) {
    let ran = dir.join("ran");
    let program = format!("echo \"$0\" >> '{}'; exit 1", ran.display());
    script(&dir.join("program"), &program);
    for hooks in ["hooks", "template/hooks"] {
        std::fs::create_dir_all(dir.join(hooks)).unwrap();
        for hook in [
            "post-checkout",
            "reference-transaction",
            "post-index-change",
            "pre-commit",
        ] {
            script(&dir.join(hooks).join(hook), &program);
        }
    }
    std::fs::create_dir_all(dir.join("template/info")).unwrap();
    std::fs::write(dir.join("template/info/exclude"), "*.txt\n").unwrap();
    std::fs::write(dir.join("ignored"), "*.txt\n*.bat\n").unwrap();
    std::fs::write(dir.join("attributes"), "* text eol=crlf\n").unwrap();
}

#[test]
fn the_images_settings_act_neither_on_the_project_nor_on_what_comes_home() {
    use Place::{Home, Repository};
    // `DIR` is where `image` has put the programs and files.
    for (place, settings) in [
        (Home(".gitconfig"), "[core]\nautocrlf = true\n"),
        (Home(".gitconfig"), "[core]\nautocrlf = input\n"),
        (
            Home(".gitconfig"),
            "[core]\neol = crlf\nautocrlf = false\n[core]\nsafecrlf = true\n",
        ),
        (Home(".gitconfig"), "[init]\ntemplateDir = DIR/template\n"),
        (Home(".gitconfig"), "[core]\nhooksPath = DIR/hooks\n"),
        (
            Home(".gitconfig"),
            "[filter \"image\"]\nclean = DIR/program\nsmudge = DIR/program\nrequired = true\n",
        ),
        (
            Home(".gitconfig"),
            "[filter \"image\"]\nprocess = DIR/program\nrequired = true\n",
        ),
        (Home(".gitconfig"), "[core]\nexcludesFile = DIR/ignored\n"),
        (Home(".config/git/ignore"), "*.txt\n*.bat\n"),
        (Home(".config/git/attributes"), "* text eol=crlf\n"),
        (Home(".config/git/config"), "[core]\nautocrlf = true\n"),
        (
            Home(".gitconfig"),
            "[core]\nattributesFile = DIR/attributes\n",
        ),
        (
            Home(".gitconfig"),
            "[core]\nfsmonitor = DIR/program\nsymlinks = false\nfileMode = false\n",
        ),
        (
            Home(".gitconfig"),
            "[commit]\ngpgSign = true\n[gpg]\nprogram = DIR/program\n[user]\nuseConfigOnly = true\n",
        ),
        (Home(".gitconfig"), "[include]\npath = DIR/more\n[broken\n"),
        (Repository, "[core]\nautocrlf = true\n"),
        (Repository, "[core]\nhooksPath = DIR/hooks\n"),
        (
            Repository,
            "[Filter \"image\"]\nclean = DIR/program\nsmudge = DIR/program\nrequired = true\n",
        ),
        (
            Repository,
            "[filter \"image\"]\nprocess = DIR/program\nrequired = true\n",
        ),
        (Repository, "[include]\npath = DIR/filters\n"),
        (
            Repository,
            "[core]\nexcludesFile = DIR/ignored\nattributesFile = DIR/attributes\n",
        ),
        (Repository, "[core]\nignoreCase = true\n"),
        (Repository, "[core]\nsparseCheckout = true\n"),
        (
            Repository,
            "[core]\nfsmonitor = DIR/program\nuntrackedCache = true\nsplitIndex = true\n",
        ),
    ] {
        let sandbox = Sandbox::new();
        let dir = sandbox.dir.path();
        image(dir);
        let settings = settings.replace("DIR", &dir.to_string_lossy());
        let filters = "[filter \"image\"]\nclean = DIR/program\nsmudge = DIR/program\n";
        let filters = filters.replace("DIR", &dir.to_string_lossy());
        std::fs::write(dir.join("filters"), filters).unwrap();
        let root = sandbox.root();
        let case = format!(
            "{settings}in {}",
            if place == Repository {
                "the repository"
            } else {
                "the home"
            }
        );

        // The user's side, without any of it.
        let source = dir.join("source");
        for (name, text) in PROJECT {
            let path = source.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::set_permissions(
            source.join("run.sh"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        std::os::unix::fs::symlink("run.sh", source.join("link")).unwrap();
        git(&source, &["init", "-q"]);
        git(&source, &["add", "-A"]);
        git(&source, &["commit", "-qm", "first"]);
        let tip = git(&source, &["rev-parse", "HEAD"]);
        let upload = dir.join("p.pack");
        super::setup::pack(&source, "HEAD", &upload);

        match place {
            Home(file) => {
                let file = sandbox.home.join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, &settings).unwrap();
            }
            Repository => {
                git(&root, &["init", "-q"]);
                std::fs::create_dir_all(root.join("dir")).unwrap();
                std::fs::write(root.join("dir/kept.txt"), "the image's\n").unwrap();
                git(&root, &["add", "-A"]);
                git(&root, &["commit", "-qm", "the image's"]);
                let sparse = root.join(".git/info/sparse-checkout");
                std::fs::create_dir_all(sparse.parent().unwrap()).unwrap();
                std::fs::write(sparse, "/a.dat\n").unwrap();
                let config = root.join(".git/config");
                let before = std::fs::read_to_string(&config).unwrap();
                std::fs::write(config, before + &settings).unwrap();
            }
        }
        let mut request = sandbox.op("setup", json!({ "root": root, "sandbox": "s" }));
        request["base"] = json!({ "pack": [upload], "commit": tip, "branch": "main" });
        sandbox
            .send(&request)
            .result
            .unwrap_or_else(|why| panic!("{case}: {why:?}"));
        for (name, text) in PROJECT {
            assert_eq!(sandbox.text(name), *text, "{case}: {name}");
        }
        assert!(sandbox.path("link").is_symlink(), "{case}");
        let mode = std::fs::metadata(sandbox.path("run.sh"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{case}");

        // What the agent makes arrives as it is, byte by byte, and nothing stays behind.
        let made = [
            ("a.dat", "other\n"),
            ("new.bat", "one\r\ntwo\r\n"),
            ("new.txt", "new\n"),
            ("NEW.txt", "another\n"),
            ("new.dat", "new\r\n"),
        ];
        for (name, text) in made {
            std::fs::write(sandbox.path(name), text).unwrap();
        }
        let request = sandbox.op(
            "sync",
            json!({ "root": root, "sandbox": "s", "message": "m", "have": [] }),
        );
        let home = sandbox.send(&request).result;
        let home = synced(home.map_err(|why| panic!("{case}: {why:?}")));
        assert_eq!(home.left_out, Vec::<String>::new(), "{case}");
        // The settings are still there for the agent's git, and must not show it something else here.
        let plain = |args: &[&str]| git(&root, &[&["-c", "core.fsmonitor=false"], args].concat());
        let in_home = |name: &str| {
            let out = Command::new("git")
                .args(["cat-file", "blob", &format!("{}:{name}", home.tip)])
                .current_dir(&root)
                .output()
                .unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        for (name, text) in made.iter().chain(&PROJECT[2..]) {
            assert_eq!(in_home(name), *text, "{case}: {name} at home");
        }
        assert_eq!(
            plain(&["ls-tree", "-r", "--name-only", &home.tip]),
            ".gitattributes\nNEW.txt\na.dat\ndir/kept.txt\nlink\nnew.bat\nnew.dat\nnew.txt\nrun.sh",
            "{case}"
        );
        assert!(
            files(&sandbox, &home.tip).contains(&"100755 run.sh".to_string()),
            "{case}"
        );
        let ran = std::fs::read_to_string(dir.join("ran")).unwrap_or_default();
        assert_eq!(ran, "", "{case}: no program ran");
    }
}

#[test]
fn the_agents_own_git_keeps_the_images_name_and_settings() {
    let sandbox = Sandbox::new();
    std::fs::write(
        sandbox.home.join(".gitconfig"),
        "[user]\nname = Image\nemail = image@localhost\n[core]\nautocrlf = input\n",
    )
    .unwrap();
    let root = sandbox.root();
    let request = sandbox.op("setup", json!({ "root": root, "sandbox": "s" }));
    sandbox.send(&request).result.unwrap();
    let asked = "git config user.name; git config user.email; git config core.autocrlf";
    let output = sandbox.run("bash", json!({ "command": asked })).unwrap();
    assert_eq!(output.output.trim(), "Image\nimage@localhost\ninput");
}
