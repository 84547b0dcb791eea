//! A native program has many threads, and what it waits for may go on in any of them.

use daytona::{Client, CreateSandbox, Execute, Settings, Toolbox, Way};
use git_bridge::{Incoming, Project, Start, Tip, ground, project_id};
use host::Host;
use host_native::NativeHost;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::{git, write_tree};
use tokio::sync::Barrier;

fn is_send<T: Send>(_: T) {}

#[test]
fn every_future_of_a_host_and_of_what_stands_on_it_is_send() {
    let host: Arc<dyn Host> = Arc::new(NativeHost::from_process());
    is_send(host.read_file(""));
    is_send(host.git(host::GitCall::default()));
    is_send(host.sleep(1));
    the_clients_are(&host);
    the_bridges_are(&host);
}

fn the_clients_are(host: &Arc<dyn Host>) {
    let settings = Settings {
        api_url: "http://127.0.0.1:1".into(),
        api_key: "k".into(),
        organization: None,
    };
    let client = Client::new(Arc::clone(host), settings);
    let toolbox = Toolbox {
        id: String::new(),
        proxy_url: String::new(),
    };
    let (sandbox, execute) = (CreateSandbox::default(), Execute::default());
    is_send(client.create(&sandbox));
    is_send(client.answers());
    is_send(client.get(""));
    is_send(client.list(&BTreeMap::new()));
    is_send(client.bring_up("", 1, |_: Way| {}));
    is_send(client.start(""));
    is_send(client.delete(""));
    is_send(client.wait_started("", 1, |_: Way| {}));
    is_send(client.execute(&toolbox, &execute, 1));
    is_send(client.upload(&toolbox, &[]));
    is_send(client.download(&toolbox, "", "", 0..1, 1));
    is_send(client.signed_preview_url("", 3000, 1));
    is_send(client.pause(&daytona::Error::Killed, 1));
    is_send(client.snapshot(""));
    is_send(client.snapshot_if_any(""));
    is_send(client.make_snapshot("", "", 1, |_: &str| {}));
    is_send(client.ask_for_snapshot("", ""));
    is_send(client.delete_snapshot(""));
    is_send(client.remove_snapshot(""));
    is_send(client);
}

fn the_bridges_are(host: &Arc<dyn Host>) {
    let project = Project::new(Arc::clone(host), "/nowhere", true, "/nowhere");
    let (start, incoming) = (Start::default(), Incoming::default());
    let tip = Tip {
        session: "",
        branch: "",
        last: None,
        beside: None,
    };
    is_send(project.pack("", &start));
    is_send(async {
        let packed = project.pack("", &start).await.expect("packs");
        packed.discard(&**host).await;
    });
    is_send(project.abandon(""));
    is_send(project.have("", None));
    is_send(project.last(""));
    is_send(project.receive("", &incoming, None));
    is_send(project.keep("", ""));
    is_send(project.lost("", None, "", false));
    is_send(project.last_number(""));
    is_send(project.land(tip, &incoming, None));
    is_send(project.apply("", ""));
    is_send(project.commits_since("", "", 1));
    is_send(project.forget(""));
    is_send(project.temp_dir());
    is_send(project.sweep());
    is_send(project.origin_of("", "", true));
    is_send(project.take_over(""));
    is_send(ground(&**host, ""));
    is_send(project_id(&**host, ""));
    is_send(git_bridge::git_version(&**host, ""));
    is_send(project.clone());
}

/// A commit on `base` that a sandbox makes, as a bundle.
fn work(dir: &Path, depot: &Path, base: &str, name: &str) -> Incoming {
    let sandbox = dir.join(name);
    git(dir, &["init", "--quiet", "--bare", name]);
    let objects = format!("{}/objects\n", depot.display());
    std::fs::write(sandbox.join("objects/info/alternates"), objects).expect("written");
    let tree = format!("{base}^{{tree}}");
    let tip = git(&sandbox, &["commit-tree", "-p", base, "-m", name, &tree]);
    git(&sandbox, &["update-ref", "refs/opencode/out/0", &tip]);
    let bundle = sandbox.join("out.bundle").to_string_lossy().into_owned();
    let without = format!("^{base}");
    git(
        &sandbox,
        &[
            "bundle",
            "create",
            "--quiet",
            &bundle,
            "refs/opencode/out/0",
            &without,
        ],
    );
    Incoming {
        tip,
        branches: Vec::new(),
        lfs: None,
        bundle: Some(bundle),
    }
}

/// Packs for a session, and lands what comes back on a branch.
async fn there_and_back(project: Project, dir: PathBuf, session: &str, both: Arc<Barrier>) {
    let host = NativeHost::from_process();
    both.wait().await;
    let start = Start::default();
    let packed = project.pack(session, &start).await.expect("packs");
    assert!(host.file_size(&packed.packs[0].path).await.expect("a pack") > 0);
    let (base, head) = (packed.commit.clone(), packed.host_head.clone());
    packed.discard(&host).await;
    let (name, depot) = (session.to_string(), project.depot().to_string());
    let made = move || work(&dir, Path::new(&depot), &base, &name);
    let incoming = tokio::task::spawn_blocking(made).await.expect("made");
    both.wait().await;
    let received = project.receive(session, &incoming, head.as_deref()).await;
    received.expect("received");
    let branch = format!("opencode/{session}");
    let tip = Tip {
        session,
        branch: &branch,
        last: None,
        beside: None,
    };
    let landed = project.land(tip, &incoming, head.as_deref()).await;
    let landed = landed.expect("landed");
    assert_eq!((landed.branch, landed.commit), (branch, incoming.tip));
}

#[test]
fn two_tasks_pack_and_land_at_the_same_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("project");
    git(
        dir.path(),
        &["init", "--quiet", "--initial-branch=main", "project"],
    );
    write_tree(&path, "//- a.txt\none\n//- dir/b.txt\nb\n");
    git(&path, &["add", "."]);
    git(&path, &["commit", "--quiet", "-m", "first"]);
    write_tree(&path, "//- draft.txt\nnot committed\n");
    let (at, depot) = (path.to_string_lossy(), dir.path().join("depot.git"));
    let host = Arc::new(NativeHost::from_process());
    let project = Project::new(host, &at, true, &depot.to_string_lossy());
    runtime.block_on(async {
        let both = Arc::new(Barrier::new(2));
        let tasks = ["one", "two"].map(|session| {
            let (project, dir) = (project.clone(), dir.path().to_path_buf());
            tokio::spawn(there_and_back(project, dir, session, Arc::clone(&both)))
        });
        for task in tasks {
            task.await.expect("it ends well");
        }
    });
    for session in ["one", "two"] {
        let branch = format!("opencode/{session}");
        assert_eq!(git(&path, &["log", "-1", "--format=%s", &branch]), session);
    }
}
