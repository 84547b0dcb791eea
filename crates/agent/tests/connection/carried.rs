//! What streams carry, and how they end.

use crate::scene::{
    Sandbox, bytes, connected, exchange, hears, listener, rest, says, secret, soon,
};
use std::io::ErrorKind::ConnectionReset;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// The real runner, which carries.
async fn runner(target: u16) -> (Child, u16, u16) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, format!("{}\n", secret().expose())).expect("written");
    let mut command = Command::new(testkit::runner());
    command
        .args(["--carry", "0", &target.to_string(), "0"])
        .arg(&file);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the runner starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    let mut stdout = BufReader::new(stdout);
    soon("a line", stdout.read_line(&mut line))
        .await
        .expect("a line");
    let ports: Vec<u16> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [port, outward] = ports[..] else {
        panic!("{line:?}");
    };
    (child, port, outward)
}

#[tokio::test]
async fn the_runner_carries_both_ways() {
    let (opencode, target) = listener().await;
    let (_child, port, outward) = runner(target).await;
    let program = connected(port).await;
    let mut ours = soon("a stream", program.open()).await.expect("a stream");
    let (mut theirs, _) = soon("a connection", opencode.accept())
        .await
        .expect("a connection");
    exchange(&mut ours, &mut theirs).await;
    let call = tokio::net::TcpStream::connect(("127.0.0.1", outward)).await;
    let mut call = call.expect("connected");
    let mut called = soon("a stream", program.accept()).await.expect("a stream");
    exchange(&mut call, &mut called).await;
    exchange(&mut called, &mut call).await;
}

#[tokio::test]
async fn the_runner_says_why_it_does_not_carry() {
    let dir = tempfile::tempdir().expect("a directory");
    let short = dir.path().join("short");
    std::fs::write(&short, "short").expect("written");
    let missing = dir.path().join("missing");
    let (_taken, port) = listener().await;
    let port = port.to_string();
    let good = dir.path().join("good");
    std::fs::write(&good, secret().expose()).expect("written");
    for (args, file, why) in [
        (["0", "1", "0"], &short, "32 to 128"),
        (["0", "1", "0"], &missing, "cannot be read"),
        (["0", "1", "x"], &good, "x is not a port"),
        ([&*port, "1", "0"], &good, "cannot be listened on"),
    ] {
        let run = Command::new(testkit::runner())
            .arg("--carry")
            .args(args)
            .arg(file)
            .output();
        let run = soon("the runner's end", run).await.expect("it runs");
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[tokio::test]
async fn whoever_opens_a_stream_may_wait_to_be_spoken_to() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    says(&mut theirs, b"hello").await;
    hears(&mut ours, b"hello").await;
    let (mut call, mut called) = sandbox.called(&program).await;
    says(&mut called, b"hello").await;
    hears(&mut call, b"hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_at_once_have_their_own_bytes() {
    let sandbox = Sandbox::start().await;
    let program = std::sync::Arc::new(sandbox.program().await);
    // More than a window, so that all wait for room and get it.
    const LENGTH: usize = 400_000;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let program = program.clone();
        tasks.spawn(async move {
            let stream = program.open().await.expect("a stream");
            let (mut read, mut write) = tokio::io::split(stream);
            let sent = bytes(n, LENGTH);
            let writing = async {
                says(&mut write, &sent).await;
                write.shutdown().await.expect("shut down");
            };
            let (_, came) = tokio::join!(writing, rest(&mut read));
            assert!(came == Ok(sent.clone()), "stream {n} has other bytes");
        });
    }
    let echo = async {
        loop {
            let socket = sandbox.accepted().await;
            tokio::spawn(async move {
                let (mut read, mut write) = socket.into_split();
                tokio::io::copy(&mut read, &mut write)
                    .await
                    .expect("copied");
            });
        }
    };
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.expect("a task")
        }
    };
    soon("all streams", async {
        tokio::select! { () = all => {}, () = echo => {} }
    })
    .await;
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    says(&mut ours, b"a question").await;
    ours.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut theirs).await, Ok(b"a question".to_vec()));
    says(&mut theirs, b"an answer").await;
    theirs.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut ours).await, Ok(b"an answer".to_vec()));
    // The other way around.
    let (mut call, mut called) = sandbox.called(&program).await;
    says(&mut call, b"a question").await;
    call.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut called).await, Ok(b"a question".to_vec()));
    says(&mut called, b"an answer").await;
    called.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut call).await, Ok(b"an answer".to_vec()));
    // An end without a byte.
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    ours.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut theirs).await, Ok(vec![]));
    theirs.shutdown().await.expect("shut down");
    assert_eq!(rest(&mut ours).await, Ok(vec![]));
}

#[tokio::test]
async fn what_was_written_before_a_shutdown_arrives_though_the_stream_is_dropped() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (mut call, mut called) = sandbox.called(&program).await;
    // All that has room on the way while nobody reads.
    let sent = bytes(1, 250_000);
    says(&mut called, &sent).await;
    called.shutdown().await.expect("shut down");
    drop(called);
    assert!(rest(&mut call).await == Ok(sent), "other bytes arrived");
}

#[tokio::test]
async fn what_ends_otherwise_is_a_reset_at_the_other_end() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;

    let (ours, mut theirs) = sandbox.opened(&program).await;
    drop(ours);
    assert_eq!(rest(&mut theirs).await, Err(ConnectionReset), "dropped");

    let (ours, mut theirs) = sandbox.opened(&program).await;
    theirs.shutdown().await.expect("shut down");
    let (mut read, write) = tokio::io::split(ours);
    assert_eq!(rest(&mut read).await, Ok(vec![]));
    drop((read, write));
    assert_eq!(
        rest(&mut theirs).await,
        Err(ConnectionReset),
        "dropped after the other's end"
    );

    let (mut call, called) = sandbox.called(&program).await;
    drop(called);
    assert_eq!(
        rest(&mut call).await,
        Err(ConnectionReset),
        "dropped by the program"
    );

    let (mut ours, theirs) = sandbox.opened(&program).await;
    theirs.set_zero_linger().expect("a socket");
    drop(theirs);
    assert_eq!(
        rest(&mut ours).await,
        Err(ConnectionReset),
        "reset in the sandbox"
    );

    let (mut ours, theirs) = sandbox.opened(&program).await;
    ours.shutdown().await.expect("shut down");
    theirs.set_zero_linger().expect("a socket");
    drop(theirs);
    assert_eq!(
        rest(&mut ours).await,
        Err(ConnectionReset),
        "reset after our end"
    );

    drop(sandbox);
    let mut nobody = soon("a stream", program.open()).await.expect("a stream");
    assert_eq!(
        rest(&mut nobody).await,
        Err(ConnectionReset),
        "nobody listens"
    );
}

#[tokio::test]
async fn the_sandbox_has_64_places_and_the_next_one_waits() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(sandbox.called(&program).await);
    }
    let mut one_more = sandbox.call().await;
    let (mut call, mut called) = all.pop().expect("64 of them");
    exchange(&mut call, &mut called).await;
    assert!(futures_util::FutureExt::now_or_never(program.accept()).is_none());
    drop((call, called));
    let mut stream = soon("a place", program.accept()).await.expect("a stream");
    exchange(&mut one_more, &mut stream).await;
}
