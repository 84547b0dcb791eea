//! The environment, the clock, the process.

use crate::world::{Kind, World};
use host::Platform;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) async fn a_variable_that_is_empty_is_not_set(world: &World) {
    let host = world.with(&[("GIVEN", "a b=c\nd"), ("EMPTY", "")]);
    assert_eq!(host.env("GIVEN").as_deref(), Some("a b=c\nd"));
    assert_eq!(host.env("EMPTY"), None);
    assert_eq!(
        host.env("CARGO_MANIFEST_DIR"),
        None,
        "it is not this process's environment"
    );
}

pub(crate) async fn the_clock_and_the_process_are_this_machines(world: &World) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    assert!(now.as_millis().abs_diff(world.host.now_ms().into()) < 3_600_000);
    assert!(world.host.uses_proxies());
    let platform = if cfg!(target_os = "macos") {
        Platform::Mac
    } else {
        Platform::Linux
    };
    assert_eq!(world.host.platform(), platform);
    let name = rustix::system::uname();
    assert_eq!(world.host.machine(), name.nodename().to_string_lossy());
    if world.kind == Kind::Native {
        assert_eq!(world.host.pid(), std::process::id());
    }
    let start = Instant::now();
    world.host.sleep(50).await;
    assert!(
        start.elapsed() >= Duration::from_millis(49),
        "{:?}",
        start.elapsed()
    );
}

pub(crate) async fn random_bits_differ(world: &World) {
    let bits: HashSet<u64> = (0..64).map(|_| world.host.random()).collect();
    assert_eq!(bits.len(), 64);
    let ones: u32 = bits.iter().map(|bits| bits.count_ones()).sum();
    assert!((1500..2600).contains(&ones), "{ones} of 4096");
}

pub(crate) async fn a_process_lives_until_it_has_ended(world: &World) {
    assert!(world.host.pid_alive(world.host.pid()));
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    assert!(world.host.pid_alive(child.id()));
    child.kill().expect("killed");
    child.wait().expect("waited for");
    for pid in [child.id(), 0, u32::MAX] {
        assert!(!world.host.pid_alive(pid), "{pid}");
    }
}
