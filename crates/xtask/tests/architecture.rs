//! The table of crates in `crates/ARCHITECTURE.md` is true: no dependency that it does not have, and
//! JavaScript is named at the edge only.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a crate is in crates/")
        .to_path_buf()
}

/// What each crate may depend on, by the name of its directory.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(crates().join("ARCHITECTURE.md")).expect("the page is there");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = cells[3]
            .split(',')
            .map(str::trim)
            .filter(|name| *name != "–");
        (
            cells[1].trim_matches('`').to_string(),
            names.map(str::to_string).collect(),
        )
    })
    .collect()
}

/// What tests of a crate may also use: they show that what stands on a host is `Send` with the native one.
fn is_for_tests(from: &str, to: &str) -> bool {
    to == "testkit" || (from == "host-native" && ["daytona", "git-bridge"].contains(&to))
}

/// What each crate depends on, without what only its tests may use.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(crates())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let directory = |manifest: &Value| {
        let path = Path::new(manifest.as_str().expect("a path"));
        let dir = if path.ends_with("Cargo.toml") {
            path.parent().expect("a directory")
        } else {
            path
        };
        dir.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let all = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let ours = all.filter(|d| d["path"].is_string());
            let from = directory(&package["manifest_path"]);
            let named = ours.filter_map(|d| {
                let name = directory(&d["path"]);
                let is_left_out = d["kind"] == "dev" && is_for_tests(&from, &name);
                (!is_left_out).then_some(name)
            });
            let named = named.collect();
            (from, named)
        })
        .collect()
}

#[test]
fn every_dependency_is_in_the_table_and_every_crate_too() {
    let (table, arrows) = (table(), arrows());
    let crates: Vec<_> = arrows.keys().collect();
    assert_eq!(
        table.keys().collect::<Vec<_>>(),
        crates,
        "crates in the table, crates in the workspace"
    );
    for (name, to) in &arrows {
        let more: Vec<_> = to.difference(&table[name]).collect();
        assert!(
            more.is_empty(),
            "{name} depends on {more:?}, which the table does not allow"
        );
    }
}

#[test]
fn javascript_is_named_at_the_edge_only() {
    let mut dirs = vec![crates()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !["wasm", "wasm-host", "wasm-session-sync", "xtask"]
                    .iter()
                    .any(|name| path == crates().join(name))
                {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") || path.ends_with("Cargo.toml") {
                let text = fs::read_to_string(&path).expect("text");
                for word in ["JsValue", "wasm_bindgen", "wasm-bindgen", "js-sys"] {
                    assert!(!text.contains(word), "{} names {word}", path.display());
                }
            }
        }
    }
}
