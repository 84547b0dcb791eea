//! For tests only: a [`Host`] on the real machine with planted faults, trees of files in a string,
//! and a `daytona-local` to talk to.
//!
//! Nothing here is in anything published. The clock, files, processes and git are real, because
//! the things under test are promises about real files and real processes; what a test wants to go
//! wrong, it plants with [`TestHost::fail`].

mod built;
mod git;
mod local;
mod skip;
mod test_host;
mod tree;

pub use built::{daytona_local, runner, runners};
pub use git::{git, try_git, unpack};
pub use local::Local;
pub use skip::skip;
pub use test_host::{Fault, Setting, TestHost};
pub use tree::{read_tree, write_tree};

use std::time::{Duration, Instant};

/// Runs a future that may spawn others, on one thread, as OpenCode would.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Looks until it is so; fails after 30 seconds.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it never came to be: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
