//! No circle between the files of a crate: what is used lies below what uses it.
//!
//! A file is above another one if it names an item that is defined there: in a `use`, a type, an expression
//! or a macro, through a glob or a re-export. What only tests have does not count, and a `mod x;` alone
//! neither. Not seen are calls of methods whose type the file does not name.

mod modules;
mod names;

use modules::Modules;
use names::{Arrows, arrows, circles};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_crate_has_a_circle_between_its_files() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a crate is in crates/");
    let (mut problems, mut seen) = (String::new(), 0);
    for entry in fs::read_dir(crates).expect("a directory").flatten() {
        for root in ["src/lib.rs", "src/main.rs"] {
            let root = entry.path().join(root);
            if !root.exists() {
                continue;
            }
            seen += 1;
            let modules = Modules::read(&root, &|file| fs::read_to_string(file).ok());
            problems.push_str(&report(crates, &arrows(&modules)));
        }
    }
    assert!(seen > 10, "only {seen} crates were found");
    assert!(problems.is_empty(), "{problems}");
}

/// Each circle, with the names that tie it.
fn report(base: &Path, arrows: &Arrows) -> String {
    let short = |file: &Path| {
        file.strip_prefix(base)
            .unwrap_or(file)
            .display()
            .to_string()
    };
    let mut text = String::new();
    for circle in circles(arrows) {
        writeln!(text, "\nA circle of {} files:", circle.len()).expect("a text takes it");
        for from in &circle {
            for (to, names) in &arrows[*from] {
                if circle.contains(&to.as_path()) {
                    // What a `use` brings is told by its path only.
                    let brought = |name: &&String| {
                        let end = format!("::{name}");
                        !names.iter().any(|other| other.ends_with(&end))
                    };
                    let names: Vec<_> = names.iter().filter(brought).map(String::as_str).collect();
                    let names = names.join(", ");
                    writeln!(text, "  {} -> {}: {names}", short(from), short(to))
                        .expect("a text takes it");
                }
            }
        }
    }
    text
}

/// The arrows of a crate whose files are in `files`, as lines `from > to: names`.
fn drawn(files: &[(&str, &str)]) -> Vec<String> {
    let files: BTreeMap<PathBuf, String> = (files.iter())
        .map(|(name, text)| (PathBuf::from(name), text.to_string()))
        .collect();
    let modules = Modules::read(Path::new("lib.rs"), &|file| files.get(file).cloned());
    let mut lines = Vec::new();
    for (from, to) in &arrows(&modules) {
        for (to, names) in to {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let (from, to) = (from.display(), to.display());
            lines.push(format!("{from} > {to}: {}", names.join(", ")));
        }
    }
    lines.sort();
    lines
}

/// Name of the case, files, arrows.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "a declaration alone is no arrow",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", ""),
        ],
        &[],
    ),
    (
        "a use is one",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use crate::a::A;"),
        ],
        &["b.rs > a.rs: crate::a::A"],
    ),
    (
        "a name of a module is followed to what is named in it",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub fn f() {}"),
            ("b.rs", "use crate::a; fn g() { a::f(); }"),
        ],
        &["b.rs > a.rs: a::f"],
    ),
    (
        "a re-export is followed to the file that defines the item",
        &[
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "fn f(_: crate::A) {}"),
        ],
        &["b.rs > a.rs: crate::A", "lib.rs > a.rs: a::A"],
    ),
    (
        "a renamed re-export in a nested group, too",
        &[
            ("lib.rs", "mod a; mod b; use crate::{a::{A as Z}};"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "fn f(_: super::Z) {}"),
        ],
        &["b.rs > a.rs: super::Z", "lib.rs > a.rs: crate::a::A"],
    ),
    (
        "a glob brings what is defined there, and nothing else",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; pub fn f() {}"),
            ("b.rs", "use crate::a::*; fn g() -> Vec<A> { h() }"),
        ],
        &["b.rs > a.rs: A"],
    ),
    (
        "a glob that is re-exported is followed",
        &[
            ("lib.rs", "mod a; mod b; pub use a::*;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use super::*; struct B(A);"),
        ],
        &["b.rs > a.rs: A"],
    ),
    (
        "a variable is not what a glob brings under its name",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub fn f() {}"),
            ("b.rs", "use crate::a::*; fn g(f: u8) -> u8 { f }"),
        ],
        &[],
    ),
    (
        "a glob of an enum names it",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub enum A { X }"),
            ("b.rs", "use crate::a::A::*;"),
        ],
        &["b.rs > a.rs: crate::a::A"],
    ),
    (
        "a child that uses its parent",
        &[
            ("lib.rs", "mod a; pub struct L;"),
            ("a.rs", "impl super::L {}"),
        ],
        &["a.rs > lib.rs: super::L"],
    ),
    (
        "a grandchild, and a module in a directory",
        &[
            ("lib.rs", "mod a; pub struct L;"),
            ("a/mod.rs", "mod b; pub struct A;"),
            ("a/b.rs", "use super::super::L; use super::A;"),
        ],
        &[
            "a/b.rs > a/mod.rs: super::A",
            "a/b.rs > lib.rs: super::super::L",
        ],
    ),
    (
        "a private use is seen by children",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "mod c; use crate::a::A;"),
            ("b/c.rs", "fn f() { super::A::new(); }"),
        ],
        &["b.rs > a.rs: crate::a::A", "b/c.rs > a.rs: super::A::new"],
    ),
    (
        "code of tests is left out",
        &[
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod t;"),
            ("a.rs", "pub struct A;"),
            (
                "b.rs",
                "#[cfg(test)] mod tests { use crate::a::A; } #[cfg(all(test, unix))] use crate::a::A; #[test] fn t() { crate::a::A; } struct B; impl B { #[cfg(test)] fn f() { crate::a::A; } }",
            ),
        ],
        &[],
    ),
    (
        "code of everything but tests is not",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "#[cfg(not(test))] use crate::a::A;"),
        ],
        &["b.rs > a.rs: crate::a::A"],
    ),
    (
        "a path in an expression, in a type's argument and in a pattern",
        &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub const C: u8 = 1; pub struct T; pub enum E { X }",
            ),
            (
                "b.rs",
                "fn f(x: Option<Vec<crate::a::T>>) { match 1 + crate::a::C { _ => {} } if let crate::a::E::X = y {} }",
            ),
        ],
        &["b.rs > a.rs: crate::a::C, crate::a::E::X, crate::a::T"],
    ),
    (
        "paths among the tokens of a macro",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub const C: u8 = 1; pub fn f() {} pub fn g() {}"),
            (
                "b.rs",
                "use crate::a::*; fn h() { println!(\"{}\", [crate::a::f(C), x.g(), y::g()]); }",
            ),
        ],
        &["b.rs > a.rs: C, crate::a::f"],
    ),
    (
        "a macro of another file",
        &[
            ("lib.rs", "#[macro_use] mod a; mod b;"),
            ("a.rs", "macro_rules! m { () => { $crate::C } }"),
            ("b.rs", "m!();"),
        ],
        &["b.rs > a.rs: m!"],
    ),
    (
        "a use in a block, which hides what is outside",
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub fn f() {}"),
            ("b.rs", "pub fn f() {}"),
            (
                "c.rs",
                "use crate::b; fn g() { use crate::a as b; b::f(); }",
            ),
        ],
        &["c.rs > a.rs: b::f"],
    ),
    (
        "a function that serde is told by its name",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub fn f() {}"),
            (
                "b.rs",
                "struct B { #[serde(with = \"crate::a::f\")] x: u8 }",
            ),
        ],
        &["b.rs > a.rs: crate::a::f"],
    ),
    (
        "a module and a function of the same name",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod f; pub use f::f;"),
            ("a/f.rs", "pub fn f() {}"),
            ("b.rs", "fn g() { crate::a::f(); crate::a::f::f(); }"),
        ],
        &[
            "a.rs > a/f.rs: f::f",
            "b.rs > a/f.rs: crate::a::f, crate::a::f::f",
        ],
    ),
    (
        "a module inside a file is that file",
        &[
            (
                "lib.rs",
                "mod a; mod m { pub struct M; use super::*; fn f() { super::g(); } } fn g() {}",
            ),
            ("a.rs", "use crate::m::M;"),
        ],
        &["a.rs > lib.rs: crate::m::M"],
    ),
    (
        "imports that name each other end",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::X; pub use crate::b::*;"),
            ("b.rs", "pub use crate::a::X; pub use crate::a::*;"),
        ],
        &[],
    ),
    (
        "other crates are no files",
        &[
            ("lib.rs", "mod host; mod b;"),
            ("host.rs", "pub struct H;"),
            (
                "b.rs",
                "use ::host::H; use std::fmt; fn f() -> fmt::Result { host::g() }",
            ),
        ],
        &[],
    ),
];

#[test]
fn an_arrow_is_a_name_of_an_item_in_another_file() {
    for (case, files, expected) in CASES {
        assert_eq!(drawn(files), *expected, "{case}");
    }
}

#[test]
fn a_circle_is_told_with_its_names_and_what_only_leads_to_it_is_not() {
    let files = BTreeMap::from([
        ("lib.rs", "mod a; mod b; mod c; mod d; use a::A; use d::D;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::{a::A, d::D}; pub struct C;"),
        ("d.rs", "pub struct D;"),
    ]);
    let modules = Modules::read(Path::new("lib.rs"), &|file| {
        files.get(file.to_str()?).map(|text| text.to_string())
    });
    assert_eq!(
        report(Path::new(""), &arrows(&modules)),
        "\nA circle of 3 files:\n  a.rs -> b.rs: crate::b::B\n  b.rs -> c.rs: crate::c::C\n  c.rs -> a.rs: crate::a::A\n"
    );
}
