//! For `npm run parity`: says for each edit on standard input which ways of finding a text propose
//! something, and which one decides. One JSON object per line in, one out; the names come first.

use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, Error, Write};
use tools::fs::{WAYS, ways};

#[derive(Deserialize)]
struct Edit {
    file: String,
    old: String,
    all: bool,
}

fn main() -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let names: Vec<&str> = WAYS.iter().map(|(name, _)| *name).collect();
    writeln!(out, "{}", json!(names))?;
    for line in std::io::stdin().lock().lines() {
        let edit: Edit = serde_json::from_str(&line?)?;
        let (hits, decides) = ways(&edit.file, &edit.old, edit.all);
        writeln!(out, "{}", json!({ "hits": hits, "decides": decides }))?;
    }
    Ok(())
}
