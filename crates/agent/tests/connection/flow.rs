//! Streams that share a connection do not wait for each other.

use crate::scene::{Sandbox, Way, connected, hears, says, soon};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (unread, mut bulk) = sandbox.opened(&program).await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    // Until nothing more goes in, by the window.
    let filling = tokio::spawn(async move { while bulk.write_all(&[0; 65_536]).await.is_ok() {} });
    for n in 0..200_u32 {
        says(&mut theirs, &n.to_be_bytes()).await;
        hears(&mut ours, &n.to_be_bytes()).await;
    }
    assert!(!filling.is_finished());
    drop(unread);
    soon("the writer's end", filling).await.expect("no panic");
}

/// With `--nocapture` it prints what a message had to wait beside a stream that carries as much as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_while_another_stream_carries_as_much_as_it_can() {
    // As fast as it goes, and as a network of 80 Mbit/s.
    for rate in [f64::INFINITY, 10e6] {
        measure(rate).await;
    }
}

async fn measure(rate: f64) {
    const MESSAGES: usize = 200;
    let sandbox = Sandbox::start().await;
    let way = Way::slow(sandbox.port, rate).await;
    let program = connected(way.port).await;
    let (mut ours, mut bulk) = sandbox.opened(&program).await;
    let (mut listening, mut speaking) = sandbox.opened(&program).await;
    let carried = Arc::new(AtomicUsize::new(0));
    let counted = carried.clone();
    tokio::spawn(async move { while bulk.write_all(&[0; 65_536]).await.is_ok() {} });
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = ours.read(&mut buffer).await {
            counted.fetch_add(length, Ordering::SeqCst);
        }
    });
    let start = Instant::now();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..MESSAGES {
            ticks.tick().await;
            let now = start.elapsed().as_micros() as u64;
            says(&mut speaking, &now.to_be_bytes()).await;
        }
        // Until the other end has had enough.
        let _ = speaking.read(&mut [0]).await;
    });
    let mut waits = Vec::new();
    let mut moved = 0;
    for _ in 0..MESSAGES {
        let before = carried.load(Ordering::SeqCst);
        let sent = soon("a message", listening.read_u64())
            .await
            .expect("a message");
        waits.push(start.elapsed().as_micros() as u64 - sent);
        moved += usize::from(carried.load(Ordering::SeqCst) > before);
    }
    let speed = carried.load(Ordering::SeqCst) as f64 / start.elapsed().as_secs_f64() / 1e6;
    waits.sort_unstable();
    let wait = |part: usize| waits[(MESSAGES - 1) * part / 100] as f64 / 1e3;
    println!(
        "bulk {speed:.0} MB/s; a message waited {:.2} ms (half), {:.2} ms (99 of 100), {:.2} ms (all)",
        wait(50),
        wait(99),
        wait(100)
    );
    // The bulk goes on beside the messages, and not before or behind them.
    assert!(
        moved > MESSAGES / 10,
        "the bulk moved in {moved} of {MESSAGES} intervals"
    );
    assert!(!reading.is_finished());
}
