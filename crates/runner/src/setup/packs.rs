//! The uploaded packs. One that lacks nothing comes with its index and is put in place as it is, which
//! takes no time that depends on what is in it; the other is indexed here. Each comes in parts, in files
//! of their own.
//!
//! The parts stay until the setup has ended, so that it can be repeated, unless the disk is too small to
//! hold them twice.

use super::arrival;
use crate::answer::{error, sandbox, setup_failed};
use crate::git::{Git, failed};
use crate::partial;
use protocol::{Base, Code, ToolError, Whole};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Removes what was uploaded.
pub(super) fn discard(base: &Base) {
    let whole = base.whole.iter();
    let whole = whole.flat_map(|whole| whole.parts.iter().chain([&whole.index]));
    for file in base.pack.iter().chain(whole) {
        let _ = fs::remove_file(file);
    }
}

/// Adds the uploaded objects, and fails if they are not all that the commit needs.
pub(super) fn unpack(git: &Git, base: &Base) -> Result<(), ToolError> {
    if base.partial {
        partial::declare(git)?;
    }
    let mut placed = None;
    if let Some(whole) = &base.whole {
        placed = place(git, whole, base.partial)
            .map_err(|why| sandbox(format!("The uploaded pack cannot be put in place: {why}")))?;
    }
    let complete = complete(git, base);
    if let (Err(_), Some(placed)) = (&complete, placed) {
        // It may be damaged. Git sees a pack by its index.
        for kind in ["idx", "pack", "promisor"] {
            let _ = fs::remove_file(placed.with_extension(kind));
        }
    }
    complete
}

/// Adds the objects of the other pack, and fails if there are not all that the commit needs.
fn complete(git: &Git, base: &Base) -> Result<(), ToolError> {
    if !base.pack.is_empty() {
        index(git, base)?;
    }
    shallow(git, &base.shallow)?;
    // As git's own fetch does before it believes what it was sent.
    let mut args = vec!["rev-list", "--objects", "--quiet", "--stdin"];
    if base.partial {
        args.push("--exclude-promisor-objects");
    }
    args.extend(["--not", "--all"]);
    let objects: String = arrival::objects(base)
        .map(|object| format!("{object}\n"))
        .collect();
    let out = git.output(&args, objects.as_bytes())?;
    match out.status.success() {
        true => Ok(()),
        false => Err(missing_base(base, &failed(&args, &out).message)),
    }
}

/// Says where this history begins, beside where that of the image's repository does.
fn shallow(git: &Git, boundary: &[String]) -> Result<(), ToolError> {
    if boundary.is_empty() {
        return Ok(());
    }
    let path = git.dir.join(".git/shallow");
    let mut all = fs::read_to_string(&path).unwrap_or_default();
    for hash in boundary {
        if !all.lines().any(|line| line == hash) {
            all += &format!("{hash}\n");
        }
    }
    fs::write(path, all).map_err(setup_failed)
}

/// Puts a pack and its index where git finds them, under git's own name for them; gives that, unless they
/// were there.
fn place(git: &Git, whole: &Whole, is_partial: bool) -> io::Result<Option<PathBuf>> {
    let packs = git.dir.join(".git/objects/pack");
    fs::create_dir_all(&packs)?;
    let arriving = packs.join("tmp_pack_opencode");
    let placed = place_by(git, whole, is_partial, &packs, &arriving);
    if placed.is_err() {
        let _ = fs::remove_file(&arriving);
    }
    placed
}

/// The same, by way of the file `arriving`.
fn place_by(
    git: &Git,
    whole: &Whole,
    is_partial: bool,
    packs: &Path,
    arriving: &Path,
) -> io::Result<Option<PathBuf>> {
    let is_tight = is_tight(packs, whole.size);
    let _ = fs::remove_file(arriving);
    let is_linked = whole.parts.len() == 1 && fs::hard_link(&whole.parts[0], arriving).is_ok();
    if !is_linked {
        let mut pack = File::create(arriving)?;
        for part in &whole.parts {
            io::copy(&mut File::open(part)?, &mut pack)?;
            if is_tight {
                fs::remove_file(part)?;
            }
        }
    }
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    let mut pack = File::open(arriving)?;
    if pack.metadata()?.len() != whole.size {
        return Err(damaged("it is not as long as what was sent"));
    }
    let index = fs::read(&whole.index)?;
    // Both end with the hash of the pack; behind it, the index has its own.
    let hash = if git_hash_is_long(git) { 32 } else { 20 };
    let named = index.len().checked_sub(2 * hash);
    let named = named.and_then(|at| index.get(at..at + hash));
    let mut own = vec![0; hash];
    pack.seek(SeekFrom::End(-(hash as i64)))?;
    pack.read_exact(&mut own)?;
    if named != Some(&own[..]) {
        return Err(damaged("it and its index are not of the same pack"));
    }
    let mut start = [0; 4];
    pack.rewind()?;
    pack.read_exact(&mut start)?;
    if start != *b"PACK" {
        return Err(damaged("it does not begin as a pack does"));
    }
    let name: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
    let placed = packs.join(format!("pack-{name}.pack"));
    let there = fs::metadata(&placed).map(|there| there.len());
    let is_there = there.is_ok_and(|size| size == whole.size);
    // One that the image brought is not replaced: this one has not been checked.
    let is_there = is_there && placed.with_extension("idx").exists();
    match is_there {
        true => fs::remove_file(arriving)?,
        false => fs::rename(arriving, &placed)?,
    }
    if is_partial {
        // What its objects refer to may be nowhere.
        File::create(placed.with_extension("promisor"))?;
    }
    if is_there {
        return Ok(None);
    }
    // Git sees a pack by its index.
    let index_arriving = packs.join("tmp_idx_opencode");
    fs::write(&index_arriving, index)?;
    fs::rename(&index_arriving, placed.with_extension("idx"))?;
    Ok(Some(placed))
}

/// True if hashes are those of SHA-256.
fn git_hash_is_long(git: &Git) -> bool {
    let format = git.text(&["rev-parse", "--show-object-format"]);
    format.as_deref() == Some("sha256")
}

/// True if the disk does not hold `size` bytes twice.
fn is_tight(dir: &Path, size: u64) -> bool {
    let free = rustix::fs::statvfs(dir);
    free.is_ok_and(|free| free.f_bavail * free.f_frsize < 2 * size)
}

/// Indexes a pack.
fn index(git: &Git, base: &Base) -> Result<(), ToolError> {
    let mut args = vec!["index-pack", "--stdin", "--fix-thin"];
    if base.partial {
        args.push("--promisor");
    }
    let open = |part: &String| {
        File::open(part)
            .map_err(|why| sandbox(format!("The uploaded pack {part} cannot be opened: {why}")))
    };
    let parts: Vec<File> = base.pack.iter().map(open).collect::<Result<_, _>>()?;
    let out = match parts.len() {
        1 => {
            let part = parts.into_iter().next();
            let mut command = git.command(&args);
            command.stdin(part.map_or_else(Stdio::null, Stdio::from));
            command.output().map_err(setup_failed)?
        }
        _ => git.written_to(&args, |stdin| {
            for mut part in parts {
                io::copy(&mut part, stdin)?;
            }
            stdin.flush()
        })?,
    };
    if out.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&out.stderr);
    if why.contains("unresolved delta") {
        return Err(missing_base(base, &why));
    }
    Err(sandbox(format!(
        "The uploaded pack {} is not usable: {}",
        base.pack.join(", "),
        why.trim()
    )))
}

fn missing_base(base: &Base, why: &str) -> ToolError {
    error(
        Code::MissingBase,
        format!(
            "The uploaded pack lacks objects of the commit {} that the sandbox does not have either. Send all of them. ({})",
            base.commit,
            why.trim()
        ),
    )
}
