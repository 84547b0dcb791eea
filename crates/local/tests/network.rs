//! What sandboxes reach with each kind of network.
//!
//! The tests of `--network outbound` need slirp4netns, and the ones that go outward a namespace with
//! a machine of its own outside: they run in a world that `unshare` and `ip` make.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, until};
use serde_json::{Value, json};

/// Whether this machine can give a sandbox a network; says so where it cannot.
fn can(test: &str, data: &Path) -> bool {
    let mut tried = Command::new(env!("CARGO_BIN_EXE_daytona-local"));
    tried.args([
        "serve",
        "--exit-with-parent",
        "--network",
        "outbound",
        "--data",
    ]);
    let tried = tried.arg(data).stdin(Stdio::null()).output().expect("runs");
    if !tried.status.success() {
        testkit::skip(test, &String::from_utf8_lossy(&tried.stderr));
    }
    tried.status.success()
}

fn reaches(server: &Server, id: &str, address: &str) -> bool {
    let (host, port) = address.rsplit_once(':').expect("a port");
    let command = format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port}'");
    server.exec(id, &command).0 == 0
}

fn settings(server: &Server, id: &str, body: &Value) -> common::Answer {
    let path = format!("/api/sandbox/{id}/network-settings");
    server.send("POST", &path, Some(body))
}

/// The addresses of this machine's interfaces, IPv4 and IPv6.
fn own_addresses() -> Vec<String> {
    let said = Command::new("hostname")
        .arg("-I")
        .output()
        .expect("hostname");
    let said = String::from_utf8(said.stdout).expect("text");
    said.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_sandbox_reaches_of_the_host_what_is_named_and_nothing_else() {
    let data = tempfile::tempdir().expect("a directory");
    if !can("a_sandbox_reaches_of_the_host_what_is_named", data.path()) {
        return;
    }
    let [hidden, named] = [0, 1].map(|_| TcpListener::bind("[::]:0").expect("bound"));
    let [hidden, open] = [&hidden, &named].map(|l| l.local_addr().expect("bound").port());
    let datagrams = UdpSocket::bind("0.0.0.0:0").expect("bound");
    datagrams.set_nonblocking(true).expect("set");
    let named = format!("127.0.0.1:{open}");
    let server = Server::start_with(
        data.path(),
        &["--network", "outbound", "--allow-host", &named],
    );
    let id = server.create(json!({}));
    assert!(reaches(&server, &id, &named));
    let control = server.port;
    let addresses = own_addresses();
    for address in addresses.iter().map(String::as_str).chain([
        "127.0.0.1",
        "127.0.0.53",
        "::1",
        "0.0.0.0",
        "255.255.255.255",
        "198.18.0.2",
        "198.18.0.3",
        "10.0.2.2",
        "169.254.169.254",
    ]) {
        for port in [hidden, control] {
            let refused = !reaches(&server, &id, &format!("{address}:{port}"));
            assert!(refused, "{address}:{port}");
        }
        let port = datagrams.local_addr().expect("bound").port();
        server.exec(&id, &format!("echo x > /dev/udp/{address}/{port}"));
    }
    assert!(!reaches(&server, &id, &format!("::1:{open}")));
    let heard = datagrams.recv_from(&mut [0; 9]);
    assert!(heard.is_err(), "a datagram came: {heard:?}");
    // A rule that does not name the address takes it away again, and one that does gives it back.
    for (rule, is_open) in [
        (json!({"networkAllowList": "10.0.0.0/8"}), false),
        (json!({"networkAllowList": "127.0.0.0/8"}), true),
        (json!({"networkBlockAll": true}), false),
    ] {
        assert_eq!(settings(&server, &id, &rule).status, 200, "{rule}");
        assert_eq!(
            server
                .exec(
                    &id,
                    &format!("cat < /dev/tcp/127.0.0.1/{open} & p=$!; sleep 0.2; kill $p")
                )
                .0
                == 0,
            is_open,
            "{rule}"
        );
    }
}

#[test]
fn two_sandboxes_listen_on_one_port_and_do_not_reach_each_other() {
    let data = tempfile::tempdir().expect("a directory");
    if !can("two_sandboxes_listen_on_one_port", data.path()) {
        return;
    }
    let server = Server::start_with(data.path(), &["--network", "outbound"]);
    let [one, two, third] = [0, 1, 2].map(|_| server.create(json!({})));
    for id in [&one, &two] {
        let serve = format!(
            "mkdir w; echo {id} > w/index.html; \
             python3 -m http.server 3456 -d w >/dev/null 2>&1 &"
        );
        server.exec(id, &serve);
        until("the page of its own", || {
            let host = format!("3456-{id}.localhost:{}", server.port);
            let page = server.try_send("GET", "/", None, &[("host", &host)]);
            page.is_ok_and(|page| page.text == format!("{id}\n"))
        });
    }
    for address in own_addresses()
        .iter()
        .map(String::as_str)
        .chain(["127.0.0.1", "198.18.0.100"])
    {
        assert!(
            !reaches(&server, &third, &format!("{address}:3456")),
            "{address}"
        );
    }
}

#[test]
fn a_rule_that_cannot_hold_is_refused() {
    for (network, body, status) in [
        ("none", json!({"networkBlockAll": true}), 200),
        ("none", json!({"networkBlockAll": false}), 200),
        ("none", json!({"networkAllowList": "10.0.0.0/8"}), 400),
        ("host", json!({"networkBlockAll": false}), 200),
        ("host", json!({"networkBlockAll": true}), 400),
        ("host", json!({"networkAllowList": "10.0.0.0/8"}), 400),
        ("none", json!({"domainAllowList": "example.com"}), 400),
        ("none", json!({"networkAllowList": "example.com"}), 400),
    ] {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start_with(data.path(), &["--network", network]);
        let created = server.send("POST", "/api/sandbox", Some(&body));
        assert_eq!(created.status, status, "{network} {body}: {}", created.text);
        let id = server.create(json!({}));
        let set = settings(&server, &id, &body);
        assert_eq!(set.status, status, "{network} {body}: {}", set.text);
        assert_eq!(settings(&server, &id, &json!({})).status, 400);
    }
}

#[test]
fn a_server_that_cannot_give_a_network_says_what_is_missing() {
    let data = tempfile::tempdir().expect("a directory");
    let programs = data.path().join("programs");
    std::fs::create_dir(&programs).expect("made");
    for (args, part) in [
        (vec!["--network", "outbound"], "apt install slirp4netns"),
        (
            vec!["--network", "outbound", "--isolation", "none"],
            "--isolation bwrap",
        ),
        (vec!["--allow-host", "127.0.0.1:1"], "--network outbound"),
    ] {
        let path = std::env::var_os("PATH").expect("PATH");
        let bwrap = std::env::split_paths(&path).map(|dir| dir.join("bwrap"));
        let bwrap = bwrap.into_iter().find(|path| path.exists()).expect("bwrap");
        let _ = std::os::unix::fs::symlink(bwrap, programs.join("bwrap"));
        let _ = std::os::unix::fs::symlink("/bin/true", programs.join("true"));
        let said = Command::new(env!("CARGO_BIN_EXE_daytona-local"))
            .args(["serve", "--exit-with-parent", "--data"])
            .arg(data.path())
            .args(args)
            .env("PATH", &programs)
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        assert!(!said.status.success());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains(part), "{said}");
    }
}

/// The machine outside: a page on port 80, and an answer for every name.
const OUTSIDE: &str = r#"
import socket, sys, threading
print("here", flush=True); sys.stdin.readline()
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); names.bind(("203.0.113.9", 53))
def answer():
    while True:
        asked, who = names.recvfrom(999)
        end = asked.index(b"\0", 12) + 5
        is_a = asked[end - 4:end - 2] == b"\0\x01"
        head = asked[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if is_a else b"\0\0") + b"\0\0\0\0"
        a = b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04" + bytes([203, 0, 113, 9])
        names.sendto(head + asked[12:end] + (a if is_a else b""), who)
threading.Thread(target=answer, daemon=True).start()
page = socket.create_server(("203.0.113.9", 80)); print("serves", flush=True)
while True: page.accept()[0].sendall(b"outside\n")
"#;

fn must(program: &str, args: &str) {
    let done = Command::new(program).args(args.split(' ')).output();
    let done = done.unwrap_or_else(|e| panic!("{program}: {e}"));
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args}: {why}");
}

/// Runs an ignored test of this file in a world of its own.
fn in_a_world(test: &str) {
    let data = tempfile::tempdir().expect("a directory");
    let tried = Command::new("unshare")
        .args("--user --map-root-user --net --mount ip link set lo up".split(' '))
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return testkit::skip(
            test,
            "this machine has no `ip`, or lets nobody make namespaces",
        );
    }
    if !can(test, data.path()) {
        return;
    }
    let run = Command::new("unshare")
        .args("--user --map-root-user --net --mount".split(' '))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", test, "--nocapture"])
        .output()
        .expect("runs");
    let said =
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_sandbox_reaches_what_is_outside() {
    in_a_world("outside_of_a_world_of_its_own");
}

#[test]
#[ignore = "needs a world of its own, which another test makes"]
fn outside_of_a_world_of_its_own() {
    let mut outside = Command::new("unshare")
        .args(["--net", "python3", "-c", OUTSIDE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut said = BufReader::new(outside.stdout.take().expect("stdout")).lines();
    said.next().expect("it is there").expect("text");
    let pid = outside.id();
    must("ip", "link set lo up");
    must(
        "ip",
        &format!("link add out type veth peer name in netns {pid}"),
    );
    must("ip", "addr add 203.0.113.1/24 dev out");
    must("ip", "link set out up");
    for args in ["addr add 203.0.113.9/24 dev in", "link set in up"] {
        must("nsenter", &format!("-t {pid} -n ip {args}"));
    }
    must("ip", "route add default via 203.0.113.9");
    outside
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"\n")
        .expect("told");
    assert_eq!(said.next().expect("a line").expect("text"), "serves");

    let data = tempfile::tempdir().expect("a directory");
    let resolv = data.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 203.0.113.9\n").expect("written");
    let etc = std::fs::canonicalize("/etc/resolv.conf").expect("resolv.conf");
    must(
        "mount",
        &format!("--bind {} {}", resolv.display(), etc.display()),
    );
    let server = Server::start_with(data.path(), &["--network", "outbound"]);
    let id = server.create(json!({}));
    let read = "timeout 5 bash -c 'cat < /dev/tcp/203.0.113.9/80'";
    assert_eq!(server.exec(&id, read), (0, "outside\n".to_owned()));
    let by_name = "timeout 5 bash -c 'cat < /dev/tcp/some.name.example/80'";
    assert_eq!(server.exec(&id, by_name), (0, "outside\n".to_owned()));

    let host = TcpListener::bind("0.0.0.0:0").expect("bound");
    let port = host.local_addr().expect("bound").port();
    assert!(!reaches(&server, &id, &format!("203.0.113.1:{port}")));
    // An address that the machine gets later.
    must("ip", "addr add 203.0.113.77/24 dev out");
    let prohibited = "timeout 5 bash -c 'exec 3<>/dev/tcp/203.0.113.77/1' 2>&1 | grep -q denied";
    until("the new address is out of reach", || {
        server.exec(&id, prohibited).0 == 0
    });

    for (rule, is_open) in [
        (json!({"networkAllowList": "10.0.0.0/8"}), false),
        (
            json!({"networkAllowList": "10.0.0.0/8,203.0.113.9/32"}),
            true,
        ),
        (json!({"networkBlockAll": true}), false),
        (
            json!({"networkBlockAll": false, "networkAllowList": ""}),
            true,
        ),
    ] {
        let set = settings(&server, &id, &rule);
        assert_eq!(set.status, 200, "{rule}: {}", set.text);
        for (name, value) in rule.as_object().expect("an object") {
            assert_eq!(&set.json().get(name).cloned().unwrap_or(json!("")), value);
        }
        assert_eq!(server.exec(&id, read).0 == 0, is_open, "{rule}");
        // And in a sandbox that starts with it.
        let new = server.create(rule.clone());
        assert_eq!(server.exec(&new, read).0 == 0, is_open, "new {rule}");
        let host = format!("203.0.113.1:{port}");
        assert!(!reaches(&server, &new, &host), "new {rule}");
    }
    // A rule outlives a stop, and names are not told where nothing is open.
    settings(&server, &id, &json!({"networkBlockAll": true}));
    server.send("POST", &format!("/api/sandbox/{id}/stop"), None);
    server.wait(&id, "stopped");
    server.send("POST", &format!("/api/sandbox/{id}/start"), None);
    server.wait(&id, "started");
    assert_ne!(server.exec(&id, read).0, 0);
    assert_ne!(server.exec(&id, "getent hosts some.name.example").0, 0);
    drop(server);
    outside.kill().expect("ended");
    outside.wait().expect("reaped");
}
