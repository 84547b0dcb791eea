//! Into a sandbox of `daytona-local`. The programs are scripts of a few lines; the real ones are brought by the
//! end-to-end tests.

use crate::registry::{Registry, packages};
use agent::place::{Placed, Placer};
use daytona::{Client, CreateSandbox, Execute, ExecuteResult, Settings, Toolbox};
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::{Local, TestHost};

const OPENCODE: &str = "/opencode-linux-x64/1.18.33";
const RG: &str = "/@vscode%2fripgrep-linux-x64/1.18.0";

struct World {
    local: Local,
    registry: Registry,
    cache: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let registry = Registry::start();
        World {
            local: Local::start(),
            registry,
            cache: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Both programs are to be had, `opencode` in this version and with so many bytes that say nothing.
    fn publish(&self, version: &str, more: usize) {
        let mut random = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (random >> 24) as u8 % 26
        })
        .take(more)
        .collect();
        let opencode = [
            format!("#!/bin/sh\necho {version}\nexit 0\n").into_bytes(),
            noise,
        ]
        .concat();
        self.registry
            .publish(OPENCODE, "package/bin/opencode", &opencode, None);
        self.registry
            .publish(RG, "package/bin/rg", b"#!/bin/sh\necho rg\n", None);
    }

    fn client(&self) -> Client {
        let settings = Settings {
            api_url: self.local.url.clone(),
            api_key: self.local.key.clone(),
            organization: None,
        };
        Client::new(Arc::new(TestHost::new(&[])), settings)
    }

    fn placer(&self) -> Placer {
        let packages = packages(&self.registry, self.cache.path());
        Placer::new(Arc::new(TestHost::new(&[])), self.client(), packages)
    }

    async fn sandbox(&self, snapshot: Option<&str>) -> Toolbox {
        let create = CreateSandbox {
            name: format!("place-{}", snapshot.unwrap_or("plain")),
            snapshot: snapshot.map(str::to_owned),
            ..CreateSandbox::default()
        };
        self.client()
            .create(&create)
            .await
            .expect("a sandbox")
            .toolbox()
    }

    async fn run(&self, toolbox: &Toolbox, command: &str) -> ExecuteResult {
        let execute = Execute {
            command: command.to_owned(),
            envs: BTreeMap::new(),
            timeout: 60,
        };
        self.client()
            .execute(toolbox, &execute, 1 << 20)
            .await
            .expect("it runs")
    }
}

#[tokio::test]
async fn a_sandbox_without_opencode_gets_it_once_and_one_of_its_own_is_left_alone() {
    let world = World::new();
    // More than one part.
    world.publish("1.18.33", 30 << 20);
    let toolbox = world.sandbox(None).await;
    // One that is too old is not taken for one, and neither is another program's.
    world.run(&toolbox, "mkdir -p ~/bin && printf '#!/bin/sh\\necho 1.18.14\\n' > ~/bin/opencode && chmod 755 ~/bin/opencode").await;
    let placer = world.placer();
    let placed = placer.place(&toolbox).await.expect("it is placed");
    let ours = Placed {
        opencode: "/home/daytona/.opencode-daytona/bin/opencode-1.18.33".into(),
        version: "1.18.33".into(),
        ripgrep: placed.ripgrep.clone(),
        home: "/home/daytona".into(),
        path: placed.path.clone(),
    };
    assert_eq!(placed, ours);
    let said = world
        .run(
            &toolbox,
            &format!(
                "{} --version; {} --version >/dev/null && echo runs",
                placed.opencode, placed.ripgrep
            ),
        )
        .await;
    assert_eq!(said.result, "1.18.33\nruns\n");
    let left = world
        .run(
            &toolbox,
            "ls -A /tmp ~/.opencode-daytona/bin | grep -c upload; true",
        )
        .await;
    assert_eq!(left.result, "0\n", "parts are left");

    let before = world.registry.asked.lock().expect("paths").len();
    world
        .local
        .control("DELETE", "/_test/requests", serde_json::Value::Null)
        .await;
    assert_eq!(placer.place(&toolbox).await.expect("it is there"), placed);
    let requests = world
        .local
        .control("GET", "/_test/requests", serde_json::Value::Null)
        .await;
    assert_eq!(requests["total"], 1, "{requests}");
    assert_eq!(world.registry.asked.lock().expect("paths").len(), before);
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_and_nothing_of_the_program_is_left() {
    let world = World::new();
    world.publish("1.18.33", 12 << 20);
    let toolbox = world.sandbox(Some("test-small-disk")).await;
    let error = world
        .placer()
        .place(&toolbox)
        .await
        .expect_err("8 MB are too few")
        .to_string();
    assert!(
        error.contains("opencode") || error.contains("507") || error.contains("space"),
        "{error}"
    );
    let left = world
        .run(&toolbox, "find ~ /tmp -type f -name '*opencode*'")
        .await;
    assert_eq!(left.result, "", "something is left");
}

#[tokio::test]
async fn a_sandbox_without_git_is_refused_with_what_the_installation_said() {
    let world = World::new();
    world.publish("1.18.33", 0);
    let toolbox = world.sandbox(Some("test-no-git")).await;
    let error = world
        .placer()
        .place(&toolbox)
        .await
        .expect_err("no git")
        .to_string();
    assert!(
        error.starts_with("the sandbox has no git and it could not be installed: "),
        "{error}"
    );
}
