//! Bakes the commit into the binary: `OPENCODE_DAYTONA_COMMIT` if set, else what git says, with
//! `+` for a changed tree.

use std::process::Command;

fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git").args(args).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
}

fn main() {
    println!("cargo:rerun-if-env-changed=OPENCODE_DAYTONA_COMMIT");
    println!("cargo:rerun-if-changed=src");
    // The log changes with every commit, which HEAD itself does not.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let given = std::env::var("OPENCODE_DAYTONA_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| {
        let head = git(&["rev-parse", "--short=12", "HEAD"])?;
        let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
        Some(if changed.is_empty() { head } else { head + "+" })
    });
    println!(
        "cargo:rustc-env=RUNNER_COMMIT={}",
        commit.unwrap_or_else(|| "unknown".to_string())
    );
}
