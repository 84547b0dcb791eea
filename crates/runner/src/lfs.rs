//! Git LFS without git-lfs: a filter of our own, which every git of ours uses for the attribute
//! `filter=lfs`, and the agent's git where the image has none that works.
//!
//! Into the index goes a pointer, and the file's bytes go to `.git/lfs/objects`, where git-lfs has
//! them too; out of it comes the file if its bytes are there, else the pointer as it is. So what is a
//! pointer in the project stays one, and a file that is made or changed here is a pointer in every
//! commit. [`crate::work`] sends the bytes along.
//!
//! Git starts this binary once and asks it for one file after the other (`gitattributes(5)`, long
//! running filter process). A program for a single file each would not do: where a configuration of
//! the repository names a `process`, git asks no other.
//!
//! Never: change an object that is there; keep git from going on. What cannot be kept goes through as
//! it is.

use protocol::pointer::{MAX_POINTER, Pointer, Pointing};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The argument that makes the runner a filter; the directory of objects follows.
pub(crate) const FLAG: &str = "--lfs";
/// Most bytes of one packet.
const PACKET: usize = 65_516;

/// Where a repository has its objects; none if git keeps the repository in another place.
pub(crate) fn store(root: &Path) -> Option<PathBuf> {
    let repository = root.join(".git");
    // A repository that is about to be made has its own there.
    (!repository.is_file()).then(|| repository.join("lfs/objects"))
}

/// The command for `filter.lfs.process`.
pub(crate) fn command(root: &Path) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let store = store(root)?;
    let quoted = |path: &Path| Some(format!("'{}'", path.to_str()?.replace('\'', "'\\''")));
    Some(format!("{} {FLAG} {}", quoted(&program)?, quoted(&store)?))
}

/// The file with the bytes of a pointer, if they are there.
pub(crate) fn find(store: &Path, pointer: &Pointer) -> Option<PathBuf> {
    let path = store.join(pointer.path());
    let is_whole = fs::metadata(&path).is_ok_and(|meta| meta.len() == pointer.size);
    is_whole.then_some(path)
}

/// Answers git until it has no more files.
pub(crate) fn serve(store: &Path) {
    let mut input = BufReader::new(io::stdin().lock());
    let mut output = BufWriter::new(io::stdout().lock());
    // Git says what it makes of a filter that ends.
    let _ = talk(store, &mut input, &mut output);
}

fn talk(store: &Path, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let all = |input: &mut _| -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        while let Some(line) = packet(input)? {
            lines.push(String::from_utf8_lossy(&line).trim_end().to_string());
        }
        Ok(lines)
    };
    all(input)?;
    for line in ["git-filter-server", "version=2"] {
        say(output, format!("{line}\n").as_bytes())?;
    }
    end(output)?;
    all(input)?;
    for line in ["capability=clean", "capability=smudge"] {
        say(output, format!("{line}\n").as_bytes())?;
    }
    end(output)?;
    loop {
        let head = all(input)?;
        let mut content = Content {
            input,
            rest: Some(Vec::new()),
            at: 0,
        };
        let answer = match head.iter().any(|line| line == "command=clean") {
            true => clean(store, &mut content),
            false => smudge(store, &mut content),
        };
        io::copy(&mut content, &mut io::sink())?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                say(output, b"status=error\n")?;
                end(output)?;
                continue;
            }
        };
        say(output, b"status=success\n")?;
        end(output)?;
        match answer {
            Answer::Text(text) => send(output, &mut &text[..])?,
            Answer::Object(path) => send(output, &mut File::open(path)?)?,
        }
        end(output)?;
    }
}

/// What git gets for a file.
enum Answer {
    Text(Vec<u8>),
    Object(PathBuf),
}

/// The pointer of a file, whose bytes are kept.
fn clean(store: &Path, content: &mut impl Read) -> io::Result<Answer> {
    let mut first = Vec::new();
    (&mut *content)
        .take(MAX_POINTER as u64)
        .read_to_end(&mut first)?;
    // Nothing at all is nothing to git-lfs, too.
    if first.is_empty() || Pointer::parse(&first).is_some() {
        return Ok(Answer::Text(first));
    }
    let pointer = keep(store, &mut first.as_slice().chain(content))?;
    Ok(Answer::Text(pointer.text().into_bytes()))
}

/// Puts bytes into the store.
pub(crate) fn keep(store: &Path, content: &mut impl Read) -> io::Result<Pointer> {
    fs::create_dir_all(store)?;
    let mut file = tempfile::NamedTempFile::new_in(store)?;
    let mut pointing = Pointing::default();
    let mut part = vec![0; 1 << 16];
    loop {
        let read = content.read(&mut part)?;
        if read == 0 {
            break;
        }
        pointing.add(&part[..read]);
        file.write_all(&part[..read])?;
    }
    let pointer = pointing.end();
    if find(store, &pointer).is_none() {
        let path = store.join(pointer.path());
        fs::create_dir_all(path.parent().unwrap_or(store))?;
        file.persist(path)?;
    }
    Ok(pointer)
}

/// The file that a pointer names, if it is here.
fn smudge(store: &Path, content: &mut impl Read) -> io::Result<Answer> {
    let mut whole = Vec::new();
    content.read_to_end(&mut whole)?;
    let object = Pointer::parse(&whole).and_then(|pointer| find(store, &pointer));
    Ok(match object {
        Some(path) => Answer::Object(path),
        None => Answer::Text(whole),
    })
}

/// The content of a file, as git sends it.
struct Content<'a, R> {
    input: &'a mut R,
    /// What of the last packet was not asked for yet; none behind the last one.
    rest: Option<Vec<u8>>,
    at: usize,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(rest) = &self.rest else {
                return Ok(0);
            };
            let rest = &rest[self.at..];
            if !rest.is_empty() {
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.at += length;
                return Ok(length);
            }
            (self.rest, self.at) = (packet(self.input)?, 0);
        }
    }
}

/// The next packet; none for one that ends a list.
fn packet(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = std::str::from_utf8(&length).ok();
    let length = length.and_then(|length| usize::from_str_radix(length, 16).ok());
    match length {
        Some(0) => Ok(None),
        Some(length @ 4..) => {
            let mut packet = vec![0; length - 4];
            input.read_exact(&mut packet)?;
            Ok(Some(packet))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn say(output: &mut impl Write, packet: &[u8]) -> io::Result<()> {
    write!(output, "{:04x}", packet.len() + 4)?;
    output.write_all(packet)
}

/// Ends a list.
fn end(output: &mut impl Write) -> io::Result<()> {
    output.write_all(b"0000")?;
    output.flush()
}

fn send(output: &mut impl Write, content: &mut impl Read) -> io::Result<()> {
    let mut part = vec![0; PACKET];
    loop {
        let read = content.read(&mut part)?;
        if read == 0 {
            return end(output);
        }
        say(output, &part[..read])?;
    }
}
