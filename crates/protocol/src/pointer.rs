//! What git holds in place of a file that Git LFS keeps: a pointer, which names the file's bytes by
//! their SHA-256. Both ends read and write them, because no git-lfs runs for us on either.

use sha2::{Digest, Sha256};

/// The filter that `.gitattributes` names for such files.
pub const FILTER: &str = "lfs";
/// No pointer has so many bytes.
pub const MAX_POINTER: usize = 1024;
/// What a pointer begins with; the last two are those of old versions.
const VERSIONS: &[&str] = &[
    "version https://git-lfs.github.com/spec/v1",
    "version https://hawser.github.com/spec/v1",
    "version http://git-media.io/v/2",
];

/// A file that Git LFS keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// SHA-256 of its bytes, in hex.
    pub oid: String,
    /// How many they are.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer; none if it is something else.
    pub fn parse(content: &[u8]) -> Option<Pointer> {
        if content.len() >= MAX_POINTER {
            return None;
        }
        let mut lines = std::str::from_utf8(content).ok()?.lines();
        lines.next().filter(|line| VERSIONS.contains(line))?;
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => oid = Some(value.strip_prefix("sha256:")?),
                ("size", value) => size = value.parse().ok(),
                _ => {}
            }
        }
        let oid = oid.filter(|oid| is_oid(oid))?.to_string();
        Some(Pointer { oid, size: size? })
    }

    /// As git-lfs writes it.
    pub fn text(&self) -> String {
        let Pointer { oid, size } = self;
        format!("{}\noid sha256:{oid}\nsize {size}\n", VERSIONS[0])
    }

    /// Where the bytes are below `lfs/objects` of a repository.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", &self.oid[..2], &self.oid[2..4], self.oid)
    }
}

/// Makes the pointer of a file that is read part by part.
#[derive(Default)]
pub struct Pointing {
    hash: Sha256,
    size: u64,
}

impl Pointing {
    /// The next part of the file.
    pub fn add(&mut self, part: &[u8]) {
        self.hash.update(part);
        self.size += part.len() as u64;
    }

    /// The pointer of all parts.
    pub fn end(self) -> Pointer {
        let hash = self.hash.finalize();
        Pointer {
            oid: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            size: self.size,
        }
    }
}

/// True for a SHA-256 in lower-case hex.
pub fn is_oid(text: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_as_it_is_written_and_nothing_else_is_one() {
        let mut pointing = Pointing::default();
        pointing.add(b"abc");
        let pointer = pointing.end();
        let text = pointer.text();
        assert_eq!(
            text,
            "version https://git-lfs.github.com/spec/v1\n\
             oid sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nsize 3\n"
        );
        assert_eq!(Pointer::parse(text.as_bytes()), Some(pointer.clone()));
        let extended = text.replace("\noid", "\next-0-x sha256:00\noid");
        assert_eq!(Pointer::parse(extended.as_bytes()), Some(pointer.clone()));
        let old = text.replace("git-lfs.github", "hawser.github");
        assert_eq!(Pointer::parse(old.as_bytes()), Some(pointer));
        for other in [
            String::new(),
            "text\n".into(),
            text.replace("oid sha256:ba", "oid sha256:../../"),
            text.replace("sha256", "md5"),
            text.replace("BA", "ba").replace("ba", "BA"),
            text.replace("size 3", "size -3"),
            text.replace("size 3\n", ""),
            text.clone() + &"x y\n".repeat(MAX_POINTER),
            text.clone() + "\n",
        ] {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Pointer::parse(b"\xff"), None);
    }
}
