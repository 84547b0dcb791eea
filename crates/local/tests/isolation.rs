//! What a sandbox cannot see, read, write or reach.
//!
//! Without bubblewrap these fail, they are not skipped.

mod common;

use common::Server;
use serde_json::json;

#[test]
fn a_sandbox_sees_nothing_of_the_host() {
    let data = tempfile::tempdir().expect("a directory");
    let secret = data.path().join("secret");
    std::fs::write(&secret, "host file").expect("written");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = listener.local_addr().expect("an address").port();
    let data = data.path().display();
    for (claim, command) in [
        ("no host file", format!("cat {}", secret.display())),
        ("no key", format!("cat {data}/key")),
        ("no data directory", format!("ls {data}")),
        ("no host home", "ls /root".to_owned()),
        (
            "no host environment",
            "env | grep SECRET_OF_THE_HOST".to_owned(),
        ),
        (
            "no path of the host in its init",
            format!("tr '\\0' '\\n' < /proc/1/cmdline | grep {data}"),
        ),
        (
            "no server among the processes",
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -a 'serve [-]-print'"
                .to_owned(),
        ),
        (
            "no host listener",
            format!("echo > /dev/tcp/127.0.0.1/{other}"),
        ),
        (
            "no control plane",
            format!("echo > /dev/tcp/127.0.0.1/{}", server.port),
        ),
        ("no write to /", "touch /x".to_owned()),
        ("no write to /etc", "touch /etc/x".to_owned()),
        ("no write to /usr", "touch /usr/x".to_owned()),
        (
            "no write to the toolbox",
            "echo >> /opt/daytona/toolbox".to_owned(),
        ),
        (
            "no machine-wide setting",
            "find /proc/sys /proc/irq /proc/fs -type f -writable | grep .".to_owned(),
        ),
        ("no sysrq", "test -w /proc/sysrq-trigger".to_owned()),
        (
            "no capability",
            "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | grep -v 0000000000000000".to_owned(),
        ),
    ] {
        let (code, output) = server.exec(&id, &command);
        assert_ne!(code, 0, "{claim}: {output}");
    }
    let (_, me) = server.exec(&id, "id -u; pwd; touch ~/a /tmp/a && echo writable");
    assert_eq!(me, "1000\n/home/daytona\nwritable\n");
}
