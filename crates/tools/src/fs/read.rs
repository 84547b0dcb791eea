//! `read`: lines of a file, entries of a directory, or a picture as an attachment.
//!
//! Never loads a whole text file: it streams, keeps the lines asked for, and of a long line only
//! what can be shown. Special files are refused, because opening a FIFO would hang.
//!
//! Surprise: the lines after the last one shown are counted too, so that the model knows the total.

use super::failure::{fail, io_error};
use super::tree::Tree;
use super::{js, path, text};
use base64::Engine;
use protocol::{Attachment, ToolError, ToolOutput, args};
use serde_json::json;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

const DEFAULT_LIMIT: u64 = 2000;
const MAX_LINE: usize = 2000;
const MAX_BYTES: usize = 50 * 1024;
const SAMPLE: u64 = 4096;
/// With base64 and the frame this stays below [`protocol::MAX_REPLY`].
const MAX_ATTACHMENT: u64 = 11 * 1024 * 1024;
const INSTRUCTIONS: [&str; 3] = ["AGENTS.md", "CLAUDE.md", "CONTEXT.md"];
const BINARY: &[&str] = &[
    "zip", "tar", "gz", "exe", "dll", "so", "class", "jar", "war", "7z", "doc", "docx", "xls",
    "xlsx", "ppt", "pptx", "odt", "ods", "odp", "bin", "dat", "obj", "o", "a", "lib", "wasm",
    "pyc", "pyo",
];

pub(super) fn run(tree: &Tree, args: &args::Read) -> Result<ToolOutput, ToolError> {
    let path = tree.absolute(&args.file_path);
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found(&path)),
        Err(error) => return Err(io_error("stat", &path, &error)),
    };
    let page = Page {
        offset: args.offset.unwrap_or(1).max(1),
        limit: args.limit.unwrap_or(DEFAULT_LIMIT),
    };
    if meta.is_dir() {
        directory(tree, &path, page)
    } else if meta.is_file() {
        file(tree, &path, &meta, page)
    } else {
        Err(fail(format!(
            "Cannot read special file: {} is not a regular file or directory",
            path.display()
        )))
    }
}

#[derive(Clone, Copy)]
struct Page {
    /// From 1.
    offset: u64,
    limit: u64,
}

/// Up to three names in the same directory that contain the name, or are contained in it.
fn not_found(path: &Path) -> ToolError {
    let lower = |name: &std::ffi::OsStr| name.to_string_lossy().to_lowercase();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return fail(format!("File not found: {}", path.display()));
    };
    let name = lower(name);
    let mut near: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let other = lower(&entry.file_name());
            other.contains(&name) || name.contains(&other)
        })
        .map(|entry| path::resolve(parent, entry.file_name()))
        .collect();
    near.sort();
    near.truncate(3);
    if near.is_empty() {
        return fail(format!("File not found: {}", path.display()));
    }
    let near: Vec<String> = near.iter().map(|path| path.display().to_string()).collect();
    fail(format!(
        "File not found: {}\n\nDid you mean one of these?\n{}",
        path.display(),
        near.join("\n")
    ))
}

fn directory(tree: &Tree, path: &Path, page: Page) -> Result<ToolOutput, ToolError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            // A link counts as what it points to; a broken one or a loop as a file.
            let is_dir = kind.is_dir()
                || (kind.is_symlink()
                    && fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()));
            let name = entry.file_name().to_string_lossy().into_owned();
            names.push(if is_dir { name + "/" } else { name });
        }
        Ok(names)
    };
    let mut names = read().map_err(|error| io_error("readDirectory", path, &error))?;
    names.sort_by(|a, b| js::locale_cmp(a, b));
    let total = names.len();
    let skip = usize::try_from(page.offset - 1)
        .unwrap_or(usize::MAX)
        .min(total);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let shown: Vec<&str> = names[skip..]
        .iter()
        .take(limit)
        .map(String::as_str)
        .collect();
    let next = page.offset + shown.len() as u64;
    let truncated = (next - 1) < total as u64;
    let note = if truncated {
        format!(
            "(Showing {} of {total} entries. Use 'offset' parameter to read beyond entry {next})",
            shown.len()
        )
    } else {
        format!("({total} entries)")
    };
    let abs = path.display().to_string();
    Ok(ToolOutput {
        title: tree.title(path),
        output: format!(
            "<path>{abs}</path>\n<type>directory</type>\n<entries>\n{}\n\n{note}\n</entries>",
            shown.join("\n")
        ),
        metadata: json!({
            "preview": shown[..shown.len().min(20)].join("\n"),
            "truncated": truncated,
            "loaded": [],
            "display": {
                "type": "directory", "path": abs, "entries": shown, "offset": page.offset,
                "totalEntries": total, "truncated": truncated,
            },
        }),
        attachments: Vec::new(),
    })
}

fn file(tree: &Tree, path: &Path, meta: &Metadata, page: Page) -> Result<ToolOutput, ToolError> {
    let wrong = |error: io::Error| io_error("readFile", path, &error);
    let mut file = File::open(path).map_err(wrong)?;
    let mut sample = Vec::new();
    (&mut file)
        .take(SAMPLE)
        .read_to_end(&mut sample)
        .map_err(wrong)?;
    let instructions = instructions(tree, path);
    let loaded: Vec<&str> = instructions.iter().map(|(path, _)| path.as_str()).collect();
    if let Some(mime) = media_type(path, &sample) {
        if meta.len() > MAX_ATTACHMENT {
            return Err(fail(format!(
                "Cannot attach {}: it has {} bytes and the limit is {MAX_ATTACHMENT}. Make a smaller copy with bash and read that.",
                path.display(),
                meta.len()
            )));
        }
        file.take(MAX_ATTACHMENT)
            .read_to_end(&mut sample)
            .map_err(wrong)?;
        let what = if mime == "application/pdf" {
            "PDF"
        } else {
            "Image"
        };
        let output = format!("{what} read successfully");
        let content = base64::engine::general_purpose::STANDARD.encode(&sample);
        return Ok(ToolOutput {
            title: tree.title(path),
            metadata: json!({ "preview": output, "truncated": false, "loaded": loaded }),
            output,
            attachments: vec![Attachment {
                mime: mime.into(),
                url: format!("data:{mime};base64,{content}"),
            }],
        });
    }
    if is_binary(path, &sample) {
        return Err(fail(format!("Cannot read binary file: {}", path.display())));
    }
    let text = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&sample);
    let lines = lines(BufReader::with_capacity(1 << 16, text.chain(file)), page).map_err(wrong)?;
    if lines.count < page.offset && !(lines.count == 0 && page.offset == 1) {
        return Err(fail(format!(
            "Offset {} is out of range for this file ({} lines)",
            page.offset, lines.count
        )));
    }
    let last = (page.offset + lines.shown.len() as u64).saturating_sub(1);
    let abs = path.display().to_string();
    let mut output = format!("<path>{abs}</path>\n<type>file</type>\n<content>\n");
    let numbered: Vec<String> = (page.offset..)
        .zip(&lines.shown)
        .map(|(number, line)| format!("{number}: {line}"))
        .collect();
    output += &numbered.join("\n");
    output += "\n\n";
    output += &match lines.end {
        End::Capped => format!(
            "(Output capped at 50 KB. Showing lines {}-{last}. Use offset={} to continue.)",
            page.offset,
            last + 1
        ),
        End::More => format!(
            "(Showing lines {}-{last} of {}. Use offset={} to continue.)",
            page.offset,
            lines.count,
            last + 1
        ),
        End::File => format!("(End of file - total {} lines)", lines.count),
    };
    output += "\n</content>";
    if !instructions.is_empty() {
        let texts: Vec<&str> = instructions.iter().map(|(_, text)| text.as_str()).collect();
        output += &format!(
            "\n\n<system-reminder>\n{}\n</system-reminder>",
            texts.join("\n\n")
        );
    }
    let truncated = lines.end != End::File;
    Ok(ToolOutput {
        title: tree.title(path),
        output,
        metadata: json!({
            "preview": lines.shown[..lines.shown.len().min(20)].join("\n"),
            "truncated": truncated,
            "loaded": loaded,
            "display": {
                "type": "file", "path": abs, "text": lines.shown.join("\n"), "lineStart": page.offset,
                "lineEnd": last, "totalLines": lines.count, "truncated": truncated,
            },
        }),
        attachments: Vec::new(),
    })
}

/// By content, else by extension; none for what is not shown as an attachment.
fn media_type(path: &Path, sample: &[u8]) -> Option<&'static str> {
    let by_content: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"BM", "image/bmp"),
        (b"%PDF-", "application/pdf"),
    ];
    let found = by_content
        .iter()
        .find(|(magic, _)| sample.starts_with(magic))
        .map(|(_, mime)| *mime);
    let webp = sample.starts_with(b"RIFF") && sample.get(8..12) == Some(b"WEBP");
    let mime = found
        .or(webp.then_some("image/webp"))
        .or_else(|| match extension(path).as_str() {
            "png" => Some("image/png"),
            "jpg" | "jpeg" | "jpe" => Some("image/jpeg"),
            "gif" => Some("image/gif"),
            "webp" => Some("image/webp"),
            "pdf" => Some("application/pdf"),
            _ => None,
        });
    mime.filter(|mime| *mime != "image/bmp")
}

fn is_binary(path: &Path, sample: &[u8]) -> bool {
    if BINARY.contains(&extension(path).as_str()) {
        return true;
    }
    let control = sample
        .iter()
        .filter(|byte| **byte < 9 || (14..32).contains(*byte))
        .count();
    sample.contains(&0) || control * 10 > sample.len() * 3
}

fn extension(path: &Path) -> String {
    path.extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase()
}

/// Instruction files between the file and the working directory (which OpenCode shows by itself),
/// nearest first: path and text.
fn instructions(tree: &Tree, file: &Path) -> Vec<(String, String)> {
    let top = path::resolve(&tree.cwd, "");
    let file = path::resolve(file, "");
    let mut found = Vec::new();
    for dir in file
        .ancestors()
        .skip(1)
        .take_while(|dir| dir.starts_with(&top) && *dir != top)
    {
        let Some(near) = INSTRUCTIONS
            .iter()
            .map(|name| dir.join(name))
            .find(|path| path.is_file())
        else {
            continue;
        };
        let name = near.display().to_string();
        if near == file || tree.loaded.contains(&name) {
            continue;
        }
        let mut bytes = Vec::new();
        let read =
            File::open(&near).and_then(|file| file.take(MAX_ATTACHMENT).read_to_end(&mut bytes));
        if read.is_ok() && !bytes.is_empty() {
            let text = format!(
                "Instructions from: {name}\n{}",
                String::from_utf8_lossy(&bytes)
            );
            found.push((name, text));
        }
    }
    found
}

#[derive(Debug, PartialEq)]
enum End {
    /// All was shown.
    File,
    /// There are more lines than were asked for.
    More,
    /// 50 KB were shown; the rest was not counted.
    Capped,
}

struct Lines {
    shown: Vec<String>,
    /// Lines in the file, or read so far if capped.
    count: u64,
    end: End,
}

fn lines(mut from: impl BufRead, page: Page) -> io::Result<Lines> {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let mut lines = Lines {
        shown: Vec::new(),
        count: 0,
        end: End::File,
    };
    let mut bytes = 0;
    let mut line = Vec::new();
    loop {
        let wanted = lines.count + 1 >= page.offset && lines.shown.len() < limit;
        line.clear();
        if !next_line(&mut from, wanted.then_some(&mut line))? {
            return Ok(lines);
        }
        lines.count += 1;
        if lines.count < page.offset {
            continue;
        }
        if !wanted {
            lines.end = End::More;
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let head = js::head(&text, MAX_LINE);
        let text = if head.len() < text.len() {
            format!("{head}... (line truncated to {MAX_LINE} chars)")
        } else {
            text.into_owned()
        };
        let size = text.len() + usize::from(!lines.shown.is_empty());
        if bytes + size > MAX_BYTES {
            lines.end = End::Capped;
            return Ok(lines);
        }
        bytes += size;
        lines.shown.push(text);
    }
}

/// Reads one line without its ending (LF, CR LF or CR), and of that no more than can be shown; false
/// at the end. What is left of a character at the end of the file is not text.
fn next_line(from: &mut impl BufRead, mut keep: Option<&mut Vec<u8>>) -> io::Result<bool> {
    const ENOUGH: usize = MAX_LINE * 4 + 16;
    // How long the line is, and its last bytes, whether it is kept or not.
    let (mut len, mut last) = (0, Vec::new());
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            let unfinished = text::unfinished(&last);
            if let Some(keep) = keep.filter(|keep| keep.len() == len) {
                keep.truncate(len - unfinished);
            }
            return Ok(len > unfinished);
        }
        let newline = memchr::memchr2(b'\n', b'\r', chunk);
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        if let Some(keep) = &mut keep {
            let room = ENOUGH.saturating_sub(keep.len());
            keep.extend_from_slice(&part[..part.len().min(room)]);
        }
        len += part.len();
        last.extend_from_slice(&part[part.len().saturating_sub(4)..]);
        last.drain(..last.len().saturating_sub(4));
        let is_cr = newline.is_some_and(|at| chunk[at] == b'\r');
        let used = newline.map_or(chunk.len(), |at| at + 1);
        from.consume(used);
        if is_cr {
            skip_lf(from)?;
        }
        if newline.is_some() {
            return Ok(true);
        }
    }
}

fn skip_lf(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        match from.fill_buf() {
            Ok(next) => {
                let lf = usize::from(next.first() == Some(&b'\n'));
                from.consume(lf);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
