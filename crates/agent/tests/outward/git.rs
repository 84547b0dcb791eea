//! The real git in a sandbox, against real repositories.

use crate::git_host::{GitHub, TOKEN};
use crate::provider::Provider;
use crate::world::{Client, World, soon};
use agent::outward::{GitHost, GitLogin, Repository, Secret, Settings, git_config};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

fn host(address: SocketAddr, token: &str) -> GitHost {
    GitHost {
        name: "git.example".into(),
        base_url: format!("http://{address}"),
        login: Some(GitLogin {
            user: "x-access-token".into(),
            token: Secret::new(token),
        }),
        ignores_case: true,
    }
}

/// A sandbox: a home with our configuration of git.
struct Sandbox {
    home: TempDir,
}

impl Sandbox {
    async fn new(hosts: Vec<GitHost>) -> Self {
        let repository = |owner: &str, name: &str, may_push| Repository {
            host: "git.example".into(),
            owner: owner.into(),
            name: name.into(),
            may_push,
        };
        let repositories = vec![
            repository("owner", "site.js", true),
            repository("owner", "library", false),
            repository("owner", "missing", true),
            repository("old", "site.js", true),
        ];
        let settings = Settings {
            git: hosts.clone(),
            ..Settings::default()
        };
        let world = World::new(settings, repositories).await;
        let home = tempfile::tempdir().unwrap();
        let identity =
            "[user]\n\tname = a\n\temail = a@a.example\n[init]\n\tdefaultBranch = main\n";
        let config = git_config(&hosts, world.address.port()) + identity;
        fs::write(home.path().join(".gitconfig"), config).unwrap();
        Sandbox { home }
    }

    fn dir(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    /// Runs git in a directory of the home. Gives whether it worked, and all that it printed.
    async fn git(&self, dir: &str, args: &[&str]) -> (bool, String) {
        git(self.home.path(), &self.dir(dir), args).await
    }

    /// Runs git, which works.
    async fn run(&self, dir: &str, args: &[&str]) -> String {
        let (works, text) = self.git(dir, args).await;
        assert!(works, "git {args:?}: {text}");
        text
    }

    /// Runs git, which fails.
    async fn fails(&self, dir: &str, args: &[&str]) -> String {
        let (works, text) = self.git(dir, args).await;
        assert!(!works, "git {args:?}: {text}");
        assert!(!text.contains(TOKEN), "{text}");
        text
    }
}

async fn git(home: &Path, dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        // The sandbox's own proxy is none for its own loopback.
        .env("http_proxy", "http://127.0.0.1:1")
        .kill_on_drop(true)
        .output();
    let output = soon(output).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A repository of a host, with as many commits. Each has a file that cannot be compressed.
async fn repository(host: &GitHub, name: &str, commits: usize) {
    let path = host.path(name);
    fs::create_dir_all(&path).unwrap();
    let run = async |args: &[&str]| {
        let (works, text) = git(&path, &path, args).await;
        assert!(works, "git {args:?}: {text}");
        text.trim().to_string()
    };
    run(&["init", "-q", "--bare", "-b", "main"]).await;
    let mut parent: Option<String> = None;
    for number in 0..commits {
        fs::write(path.join("content"), noise(number as u64, 300_000)).unwrap();
        let blob = run(&["hash-object", "-w", "content"]).await;
        run(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("100644,{blob},file"),
        ])
        .await;
        let tree = run(&["write-tree"]).await;
        let message = format!("commit {number}");
        let identity = ["-c", "user.name=a", "-c", "user.email=a@a.example"];
        let mut args = [&identity[..], &["commit-tree", &tree, "-m", &message]].concat();
        args.extend(parent.iter().flat_map(|parent| ["-p", parent]));
        let commit = run(&args).await;
        run(&["update-ref", "refs/heads/main", &commit]).await;
        parent = Some(commit);
    }
}

/// Bytes that look random, always the same for a seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_fetches_and_pushes_by_every_way_to_write_an_address() {
    let server = GitHub::new();
    repository(&server, "owner/site.js", 3).await;
    let sandbox = Sandbox::new(vec![host(server.address, TOKEN)]).await;
    for (number, address) in [
        "https://git.example/owner/site.js",
        "https://git.example/owner/site.js.git",
        "git@git.example:owner/site.js.git",
        "ssh://git@git.example/owner/site.js",
        "https://git.example/Owner/Site.JS",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("clone{number}");
        sandbox.run(".", &["clone", "-q", address, &name]).await;
        assert_eq!(
            sandbox.run(&name, &["rev-list", "--count", "HEAD"]).await,
            "3\n",
            "{address}"
        );
    }
    // A push that git sends in pieces, because it is larger than its buffer.
    fs::write(sandbox.dir("clone0/large"), noise(99, 3 << 20)).unwrap();
    sandbox.run("clone0", &["add", "large"]).await;
    sandbox
        .run("clone0", &["commit", "-q", "-m", "large"])
        .await;
    sandbox
        .run("clone0", &["push", "-q", "origin", "HEAD:refs/heads/topic"])
        .await;
    sandbox.run("clone2", &["fetch", "-q", "origin"]).await;
    let there = sandbox.run("clone2", &["rev-parse", "origin/topic"]).await;
    assert_eq!(there, sandbox.run("clone0", &["rev-parse", "HEAD"]).await);
    let origin = sandbox
        .run("clone2", &["config", "remote.origin.url"])
        .await;
    assert_eq!(origin, "git@git.example:owner/site.js.git\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shallow_clone_deepens_and_compressed_requests_pass_as_they_are() {
    let server = GitHub::new();
    repository(&server, "owner/site.js", 40).await;
    let sandbox = Sandbox::new(vec![host(server.address, TOKEN)]).await;
    let address = "https://git.example/owner/site.js";
    sandbox
        .run(".", &["clone", "-q", "--depth=1", address, "clone"])
        .await;
    assert_eq!(
        sandbox.run("clone", &["rev-list", "--count", "HEAD"]).await,
        "1\n"
    );
    sandbox.run("clone", &["fetch", "-q", "--deepen=30"]).await;
    assert_eq!(
        sandbox.run("clone", &["rev-list", "--count", "HEAD"]).await,
        "31\n"
    );
    // With the old protocol, git compresses the list of what it has.
    sandbox
        .run(
            "clone",
            &["-c", "protocol.version=0", "fetch", "-q", "--unshallow"],
        )
        .await;
    assert_eq!(
        sandbox.run("clone", &["rev-list", "--count", "HEAD"]).await,
        "40\n"
    );
    let asked = server.asked.lock().unwrap();
    assert!(
        asked.iter().any(|(_, is_compressed)| *is_compressed),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_shows_the_sentence_of_every_refusal() {
    let server = GitHub::new();
    repository(&server, "owner/site.js", 1).await;
    repository(&server, "owner/library", 1).await;
    repository(&server, "owner/secret", 1).await;
    let sandbox = Sandbox::new(vec![host(server.address, TOKEN)]).await;
    for (path, words) in [
        (
            "owner/secret",
            "remote: The repository `owner/secret` of git.example is none of those that this sandbox may use.",
        ),
        (
            "owner/missing",
            "remote: git.example has no repository owner/missing",
        ),
        (
            "old/site.js",
            "remote: git.example has moved old/site.js to new/site.js.",
        ),
    ] {
        let address = format!("https://git.example/{path}");
        let text = sandbox
            .fails(".", &["clone", "-q", &address, "clone"])
            .await;
        assert!(text.contains(words), "{text}");
    }
    sandbox
        .run(
            ".",
            &[
                "clone",
                "-q",
                "https://git.example/owner/library",
                "library",
            ],
        )
        .await;
    sandbox
        .run("library", &["commit", "-q", "--allow-empty", "-m", "mine"])
        .await;
    let text = sandbox
        .fails("library", &["push", "-q", "origin", "main"])
        .await;
    assert!(
        text.contains("remote: The repository `owner/library` of git.example may be read"),
        "{text}"
    );
    let asked = server.asked.lock().unwrap();
    assert!(
        !asked
            .iter()
            .any(|(line, _)| line.contains("secret") || line.contains("/new/")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_down_or_wants_another_token_is_told_without_the_token() {
    let server = GitHub::new();
    repository(&server, "owner/site.js", 1).await;
    let clone = ["clone", "-q", "https://git.example/owner/site.js", "clone"];
    let sandbox = Sandbox::new(vec![host(server.address, "another")]).await;
    let text = sandbox.fails(".", &clone).await;
    assert!(
        text.contains("remote: git.example does not accept the token that is configured"),
        "{text}"
    );

    let public = GitHost {
        login: None,
        ..host(server.address, TOKEN)
    };
    let text = Sandbox::new(vec![public]).await.fails(".", &clone).await;
    assert!(
        text.contains("remote: git.example has no repository owner/site.js"),
        "{text}"
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = Sandbox::new(vec![host(address, TOKEN)])
        .await
        .fails(".", &clone)
        .await;
    assert!(
        text.contains("remote: `git.example` could not be reached: there is no connection."),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_says_is_shown_without_the_token_and_a_web_page_is_an_error() {
    let provider = Provider::new().await;
    let sandbox = Sandbox::new(vec![host(provider.address, TOKEN)]).await;
    let said = format!("This branch is protected. {TOKEN}\n");
    for (status, kind, body, words) in [
        (
            "403 Forbidden",
            "text/plain",
            said.as_str(),
            "remote: git.example refused this for owner/site.js (403 Forbidden): This branch is protected. [secret]",
        ),
        (
            "403 Forbidden",
            "text/html",
            "<html>",
            "remote: git.example refused this for owner/site.js (403 Forbidden).",
        ),
        (
            "200 OK",
            "text/html",
            "<html>",
            "remote: git.example refused this for owner/site.js (200 OK).",
        ),
    ] {
        let args = ["ls-remote", "https://git.example/owner/site.js"];
        let git = sandbox.fails(".", &args);
        let answer = async {
            let headers = format!("content-type: {kind}\r\nset-cookie: a=b\r\n");
            provider.next().await.answer(status, &headers, body).await;
        };
        let (text, ()) = tokio::join!(git, answer);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_configuration_of_git_has_a_line_for_each_way_to_write_an_address() {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let expected = "[http \"http://127.0.0.1:4100/\"]\n\tproxy =\n\
        [url \"http://127.0.0.1:4100/git/git.example/\"]\n\
        \tinsteadOf = https://git.example/\n\
        \tinsteadOf = git@git.example:\n\
        \tinsteadOf = ssh://git@git.example/\n";
    assert_eq!(git_config(&[host(address, TOKEN)], 4100), expected);
}

#[tokio::test]
async fn packs_pass_in_both_directions_as_they_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        git: vec![host(address, TOKEN)],
        ..Settings::default()
    };
    let repository = Repository {
        host: "git.example".into(),
        owner: "owner".into(),
        name: "site.js".into(),
        may_push: true,
    };
    let world = World::new(settings, vec![repository]).await;
    let mut client = world
        .send("POST /git/git.example/owner/site.js/git-receive-pack HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let mut server = Client::new(stream);
    server.until("\r\n\r\n").await;
    for piece in ["first", "second"] {
        let text = format!("{:x}\r\n{piece}\r\n", piece.len());
        client.write(&text).await;
        server.until(piece).await;
    }
    server
        .write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/x-git-receive-pack-result\r\n\r\n")
        .await;
    for piece in ["third", "fourth"] {
        server.write(piece).await;
        client.until(piece).await;
    }
    client.write("0\r\n\r\n").await;
    server.until("0\r\n\r\n").await;
    drop(server);
    assert!(client.answer().await.is_whole);
}
