//! The build: `cargo xtask build` makes the `dist/` of every npm package, ready for `npm pack`. The
//! steps can be called one by one, too: `types`, `wasm`, `runners`, `shim`.
//!
//! Nothing here is clever, and nothing needs a tool that cargo, rustup and npm do not bring.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const WASM: &str = "wasm32-unknown-unknown";
const MACHINES: [&str; 2] = ["x86_64", "aarch64"];
/// TypeScript of every package. Each has a copy, because what is published is one directory.
const SHARED: &str = "packages/shared";
/// Where the runners go: they are the sandbox plugin's.
const RUNNERS: &str = "plugin-shim/dist/runners";

/// An npm package of the workspace.
struct Package {
    /// Its directory: `src` is made into `dist`.
    dir: &'static str,
    /// The crate that is its core.
    core: &'static str,
    /// Files that are generated from Rust into `src/generated`.
    generated: fn() -> Result<Vec<(&'static str, String)>>,
    /// Files of `src` that are packed as they are.
    plain: &'static [&'static str],
    /// Files of the repository that are packed, too.
    root: &'static [&'static str],
}

const PACKAGES: &[Package] = &[
    Package {
        dir: "plugin-shim",
        core: "opencode-daytona-wasm",
        generated: sandbox,
        plain: &["sandbox-shell"],
        root: &["README.md", "LICENSE"],
    },
    Package {
        dir: "packages/session-sync",
        core: "opencode-session-sync-wasm",
        generated: sync_types,
        plain: &[],
        root: &["LICENSE"],
    },
];
/// The name of every core's files.
const CORE: &str = "core";

impl Package {
    fn path(&self, inside: &str) -> PathBuf {
        root().join(self.dir).join(inside)
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["types"] => types(false),
        ["types", "--check"] => types(true),
        ["wasm"] => wasm(),
        ["runners"] => runners(),
        ["shim"] => shim(),
        ["build"] => build(),
        _ => bail!("usage: cargo xtask build | types [--check] | wasm | runners | shim"),
    }
}

fn build() -> Result<()> {
    for package in PACKAGES {
        emptied(&package.path("dist"))?;
    }
    installed()?;
    types(false)?;
    // Side by side: most of the time each links with one thread.
    std::thread::scope(|scope| {
        let runners = scope.spawn(runners);
        wasm()?;
        shim()?;
        runners.join().expect("no panic")
    })
}

/// The npm packages that the build needs, exactly as locked.
fn installed() -> Result<()> {
    run(Command::new("node").args(["tests/lib/setup.mjs", "packages"]))
}

/// The TypeScript of every package, and what is packed beside it.
fn shim() -> Result<()> {
    for package in PACKAGES {
        copy_shared(package)?;
        run(Command::new("node")
            .arg("node_modules/typescript/bin/tsc")
            .arg("--project")
            .arg(package.path("tsconfig.json")))?;
        let generated = package.path("src/generated");
        for end in [".js", ".d.ts", "_bg.wasm"] {
            let name = format!("{}{end}", CORE);
            copy(
                &generated.join(&name),
                &package.path("dist/generated").join(&name),
            )
            .with_context(|| format!("{name} is missing: run `cargo xtask wasm`"))?;
        }
        for name in package.plain {
            copy(
                &package.path("src").join(name),
                &package.path("dist").join(name),
            )?;
        }
        for name in package.root {
            copy(&root().join(name), &package.path(name))?;
        }
    }
    Ok(())
}

/// With its permission to run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Copies the shared TypeScript into a package.
fn copy_shared(package: &Package) -> Result<()> {
    let to = package.path("src/shared");
    emptied(&to)?;
    for entry in fs::read_dir(root().join(SHARED))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(root().join(SHARED).join(&name))?;
        let copied = format!(
            "// A copy of {SHARED}/{name}, made by `cargo xtask types`. Do not edit.\n{text}"
        );
        fs::write(to.join(name), copied)?;
    }
    Ok(())
}

/// Makes a directory with nothing in it.
fn emptied(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/xtask")
        .to_path_buf()
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed with {status}");
    Ok(())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Adds a rustup target, once. Without rustup the target must be there already.
fn add_target(target: &str) -> Result<()> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("cannot run rustc")?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    if Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(target)
        .join("lib")
        .exists()
    {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", target])).with_context(|| {
        format!("the Rust target {target} is missing; install it with `rustup target add {target}`")
    })
}

/// TypeScript from Rust, and the copies of what is shared. Those are not checked: git ignores them,
/// and every build makes them.
fn types(check: bool) -> Result<()> {
    for package in PACKAGES {
        let dir = package.path("src/generated");
        fs::create_dir_all(&dir)?;
        for (name, text) in (package.generated)()? {
            let path = dir.join(name);
            if check {
                let found = fs::read_to_string(&path).unwrap_or_default();
                ensure!(
                    found == text,
                    "{} is out of date; run `cargo xtask types`",
                    path.display()
                );
            } else {
                fs::write(&path, text)?;
            }
        }
        if !check {
            copy_shared(package)?;
        }
    }
    Ok(())
}

/// The sandbox plugin's types, its fallback catalog and its refusals.
fn sandbox() -> Result<Vec<(&'static str, String)>> {
    let catalog = format!(
        "// Generated from crates/tools by `cargo xtask types`. Do not edit.\n// Registered, to refuse, when the core cannot be loaded.\n\nimport type {{ ToolDefinition }} from \"./types.js\"\n\nexport const catalog: ToolDefinition[] = {}\n",
        pretty(&plugin::catalog_json())?
    );
    let refusals = format!(
        "// Generated from crates/plugin/src/release.rs by `cargo xtask types`. Do not edit.\n// Said where the core is not loaded: by releases up to 1.3, and by OpenCode 2.\n\nexport const refusals = {}\n",
        serde_json::to_string_pretty(&plugin::refusals())?
    );
    Ok(vec![
        ("types.ts", plugin::typescript()),
        ("catalog.ts", catalog),
        ("refusals.ts", refusals),
    ])
}

/// Session sync's types.
fn sync_types() -> Result<Vec<(&'static str, String)>> {
    Ok(vec![("types.ts", session_sync::edge::typescript())])
}

fn pretty(json: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    Ok(serde_json::to_string_pretty(&value)?)
}

/// The cores: compiled for size, bound, optimized.
fn wasm() -> Result<()> {
    add_target(WASM)?;
    PACKAGES.iter().try_for_each(core)
}

/// The core of one package. By itself, so that what another package's core needs is not in it.
fn core(package: &Package) -> Result<()> {
    run(cargo().args([
        "build",
        "--package",
        package.core,
        "--target",
        WASM,
        "--profile",
        "wasm",
        "--locked",
    ]))?;
    let file = format!("{}.wasm", package.core.replace('-', "_"));
    let out = package.path("src/generated");
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(target_dir().join(WASM).join("wasm").join(file))
        .web(true)?
        .typescript(true)
        .out_name(CORE)
        .generate(&out)?;
    let wasm = out.join(format!("{}_bg.wasm", CORE));
    let optimizer = root().join("node_modules/binaryen/bin/wasm-opt");
    ensure!(
        optimizer.exists(),
        "{} is missing; run `npm ci`",
        optimizer.display()
    );
    let features = [
        "--enable-bulk-memory",
        "--enable-nontrapping-float-to-int",
        "--enable-sign-ext",
        "--enable-mutable-globals",
        "--enable-reference-types",
        "--enable-multivalue",
    ];
    run(Command::new("node")
        .arg(&optimizer)
        .args(["-Oz", "--strip-debug", "--strip-producers"])
        .args(features)
        .arg(&wasm)
        .arg("-o")
        .arg(&wasm))?;
    println!("{}: {} bytes", package.core, fs::metadata(&wasm)?.len());
    Ok(())
}

/// The runners: static, stripped, compressed, with their hashes in `runners.json`.
fn runners() -> Result<()> {
    let out = root().join(RUNNERS);
    fs::create_dir_all(&out)?;
    let targets = MACHINES.map(|machine| format!("{machine}-unknown-linux-musl"));
    let mut build = cargo();
    build.args([
        "build",
        "--package",
        "runner",
        "--profile",
        "runner",
        "--locked",
    ]);
    // In one call, so that they link side by side.
    for target in &targets {
        add_target(target)?;
        let variable = format!("CARGO_TARGET_{}", target.to_uppercase().replace('-', "_"));
        build
            .args(["--target", target])
            .env(format!("{variable}_LINKER"), "rust-lld")
            .env(format!("{variable}_RUSTFLAGS"), "-Clinker-flavor=ld.lld -Clink-self-contained=yes -Ctarget-feature=+crt-static -Crelocation-model=static");
    }
    run(&mut build)?;
    let mut index = serde_json::Map::new();
    for (machine, target) in MACHINES.iter().zip(&targets) {
        let binary = fs::read(target_dir().join(target).join("runner/opencode-runner"))?;
        ensure!(
            binary.starts_with(b"\x7fELF"),
            "the runner for {machine} is not an ELF file"
        );
        let hash: String = Sha256::digest(&binary)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let name = format!("runner-{machine}.gz");
        let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
        packed.write_all(&binary)?;
        let packed = packed.finish()?;
        println!(
            "runner {machine}: {} bytes, {} compressed",
            binary.len(),
            packed.len()
        );
        fs::write(out.join(&name), &packed)?;
        index.insert(
            machine.to_string(),
            serde_json::json!({ "file": name, "sha256": hash, "bytes": binary.len() }),
        );
    }
    fs::write(
        out.join("runners.json"),
        serde_json::to_string_pretty(&index)?,
    )?;
    Ok(())
}
