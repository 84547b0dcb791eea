//! What a case has: a host, and a directory of its own.

use crate::bun::BunHost;
use host::Host;
use host_native::NativeHost;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Native,
    Bun,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) host: Arc<dyn Host>,
    dir: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
}

/// The environment of every host: programs are found as by this process, and nothing is configured.
fn environment(more: &[(&str, &str)]) -> Vec<(String, String)> {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().expect("a directory"));
    let home = home.path().to_string_lossy().into_owned();
    let path = std::env::var("PATH").expect("a PATH");
    let own = [("PATH".to_string(), path), ("HOME".to_string(), home)];
    let more = (more.iter()).map(|(name, value)| (name.to_string(), value.to_string()));
    // Of two with one name the last counts.
    own.into_iter().chain(more).collect()
}

impl World {
    pub(crate) fn new(kind: Kind) -> World {
        static BUN: OnceLock<Arc<BunHost>> = OnceLock::new();
        let host: Arc<dyn Host> = match kind {
            Kind::Native => Arc::new(NativeHost::new(environment(&[]))),
            // One for all cases: it ends when this process closes its input by ending.
            Kind::Bun => BUN
                .get_or_init(|| Arc::new(BunHost::start(&environment(&[]))))
                .clone(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        World {
            kind,
            host,
            dir: tempfile::tempdir().expect("a directory"),
            runtime: Some(runtime),
        }
    }

    /// Another host of the same kind, with more in its environment.
    pub(crate) fn with(&self, more: &[(&str, &str)]) -> Arc<dyn Host> {
        let env = environment(more);
        match self.kind {
            Kind::Native => Arc::new(NativeHost::new(env)),
            Kind::Bun => Arc::new(BunHost::start(&env)),
        }
    }

    /// A Bun of one's own.
    pub(crate) fn bun(&self) -> BunHost {
        BunHost::start(&environment(&[]))
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref().expect("a runtime");
        runtime.block_on(future)
    }

    /// A path in the case's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        path.to_string_lossy().into_owned()
    }

    /// The case's directory.
    pub(crate) fn dir(&self) -> String {
        let real = self.dir.path().canonicalize().expect("it is there");
        real.to_string_lossy().into_owned()
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Servers of the case wait for connections for ever.
            runtime.shutdown_background();
        }
    }
}

/// Runs a case against a host.
pub(crate) fn run(kind: Kind, case: impl AsyncFnOnce(&World)) {
    let world = World::new(kind);
    world.block_on(async {
        let limit = tokio::time::timeout(Duration::from_secs(120), case(&world));
        limit.await.expect("the case ends");
    });
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
