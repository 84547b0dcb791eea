//! Programs that tests need and that are not part of the test's own build: built when they are
//! missing, once, however many tests ask.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Path of the built server: beside the test's own binary in the target directory.
pub fn daytona_local() -> PathBuf {
    if let Some(path) = std::env::var_os("DAYTONA_LOCAL_BIN") {
        return path.into();
    }
    program("daytona-local", "daytona-local")
}

/// Path of the runner as cargo builds it for this machine: no packaged one, so quickly there.
pub fn runner() -> PathBuf {
    program("runner", "opencode-runner")
}

/// A program of this workspace, beside the test's own binary in the target directory.
fn program(package: &str, name: &str) -> PathBuf {
    let dir = profile_dir();
    let path = dir.join(name);
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let args = [
        "build",
        "--locked",
        "--package",
        package,
        "--profile",
        profile,
    ];
    build(&path, &args);
    path
}

/// Directory of the packaged runners.
pub fn runners() -> PathBuf {
    let dir = workspace().join("plugin-shim/dist/runners");
    // Written last.
    build(&dir.join("runners.json"), &["xtask", "runners"]);
    dir
}

fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("crates/testkit")
}

/// `target/debug`, as seen from the test in `target/debug/deps`.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let dir = exe.ancestors().nth(2).expect("target/<profile>/deps");
    dir.to_path_buf()
}

/// Calls cargo with `args` if `path` is missing. Other tests, in other processes, too, wait for it.
fn build(path: &Path, args: &[&str]) {
    if path.exists() {
        return;
    }
    let target = profile_dir().parent().expect("target").to_path_buf();
    let lock = File::create(target.join("testkit.lock")).expect("a lock in the target directory");
    #[cfg(unix)]
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    if path.exists() {
        return;
    }
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(workspace())
        .output();
    let built = output.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        built && path.exists(),
        "{} is missing, and `cargo {}` does not make it: {}",
        path.display(),
        args.join(" "),
        match &output {
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        }
    );
}
