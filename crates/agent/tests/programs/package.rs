//! Programs out of npm's packages, from a registry that lies in every way.

use crate::registry::{HERE, Registry, packages};
use agent::package::{
    Arch, Libc, OPENCODE_FLOOR, OPENCODE_VERSION, PackageError, Packages, Platform, Program,
};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Read as _;
use std::sync::Arc;
use testkit::TestHost;

#[tokio::test]
async fn a_program_is_fetched_once_and_kept_ready_to_be_uploaded() {
    let registry = Registry::start();
    registry.publish(
        "/opencode-linux-x64/1.18.33",
        "package/bin/opencode",
        b"a program",
        None,
    );
    let cache = tempfile::tempdir().expect("a directory");
    let packages = packages(&registry, cache.path());
    let packed = packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    let mut content = Vec::new();
    GzDecoder::new(File::open(&packed.path).expect("a file"))
        .read_to_end(&mut content)
        .expect("unpacked");
    assert_eq!(content, b"a program");
    let digest: String = Sha256::digest(b"a program")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(packed.sha256, digest);
    let again = packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    assert_eq!(again, packed);
    assert_eq!(
        *registry.asked.lock().expect("paths"),
        [
            "/opencode-linux-x64/1.18.33",
            "/tarball/opencode-linux-x64/1.18.33"
        ]
    );
    // One that a killed process left half done is fetched again, and nothing else is in the cache.
    fs::remove_file(packed.path.with_file_name("sha256")).expect("removed");
    packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    assert_eq!(registry.asked.lock().expect("paths").len(), 4);
    assert_eq!(fs::read_dir(cache.path()).expect("a directory").count(), 1);
}

#[tokio::test]
async fn what_is_not_as_the_registry_says_is_refused_and_not_kept() {
    let rg = "/@vscode%2fripgrep-linux-x64/1.18.0";
    let publish = |registry: &Registry, file: &str, integrity: Option<&str>| {
        registry.publish(rg, file, b"x", integrity)
    };
    type Make<'a> = &'a dyn Fn(&Registry);
    let cases: [(&str, Make<'_>, &str); 7] = [
        (
            "another digest",
            &|r| publish(r, "package/bin/rg", Some("\"sha512-AAAA\"")),
            "SHA-512 differs",
        ),
        (
            "an old digest",
            &|r| publish(r, "package/bin/rg", Some("\"sha1-AAAA\"")),
            "no SHA-512",
        ),
        (
            "no digest",
            &|r| publish(r, "package/bin/rg", Some("null")),
            "no digest",
        ),
        (
            "another file",
            &|r| publish(r, "package/bin/other", None),
            "no package/bin/rg",
        ),
        ("no entry", &|_| {}, "answered 404"),
        ("no JSON", &|r| r.put(rg, "<html>"), "cannot be read"),
        (
            "no package",
            &|r| {
                publish(r, "package/bin/rg", None);
                r.bodies
                    .lock()
                    .expect("bodies")
                    .retain(|path, _| !path.starts_with("/tarball"));
            },
            "answered 404",
        ),
    ];
    for (what, make, part) in cases {
        let registry = Registry::start();
        make(&registry);
        let cache = tempfile::tempdir().expect("a directory");
        let found = packages(&registry, cache.path())
            .get(Program::Ripgrep, HERE)
            .await;
        let error = found.expect_err(what).to_string();
        assert!(error.contains(part), "{what}: {error}");
        assert_eq!(
            fs::read_dir(cache.path()).expect("a directory").count(),
            0,
            "{what}"
        );
    }
    let nobody = Packages::new(
        Arc::new(TestHost::new(&[])),
        "http://127.0.0.1:9",
        std::env::temp_dir(),
    );
    let error = nobody
        .get(Program::Ripgrep, HERE)
        .await
        .expect_err("nobody answers");
    assert!(matches!(error, PackageError::Unreachable { .. }), "{error}");
}

/// Two places that must agree: what is brought into sandboxes, and what this project is tested with.
#[test]
fn the_versions_are_those_that_the_project_is_tested_with_and_every_package_exists() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |name: &str| fs::read_to_string(format!("{root}/{name}")).expect("a file");
    let package: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
    assert_eq!(package["devDependencies"]["opencode-ai"], OPENCODE_VERSION);
    assert_eq!(package["devDependencies"]["@vscode/ripgrep"], "1.18.0");
    let numbers: Vec<u32> = OPENCODE_VERSION
        .split('.')
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert!((numbers[0], numbers[1], numbers[2]) >= OPENCODE_FLOOR);
    let lock = read("package-lock.json");
    for arch in [Arch::X64, Arch::Arm64] {
        for libc in [Libc::Glibc, Libc::Musl] {
            for program in [Program::OpenCode, Program::Ripgrep] {
                let name = program.name(Platform { arch, libc });
                assert!(lock.contains(&format!("\"node_modules/{name}\"")), "{name}");
            }
        }
    }
}
