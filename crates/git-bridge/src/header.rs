//! The head of a git bundle, read strictly: it comes from a sandbox.

use crate::names::is_hash;

/// How much of a file is read for its head: nearly always enough, and at most. Git writes the whole
/// first paragraph of a prerequisite's message there.
pub(crate) const HEADS: [u64; 2] = [64 * 1024, 16 * 1024 * 1024];

/// What a bundle says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Names and commits.
    pub(crate) refs: Vec<(String, String)>,
    /// Where the pack begins.
    pub(crate) pack_at: u64,
}

/// Reads the head of a bundle from its first bytes. The error says what is wrong.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, String> {
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .ok_or("its head does not end")?;
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let version = lines
        .next()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    if version != "# v2 git bundle" && version != "# v3 git bundle" {
        return Err("it is not a git bundle".into());
    }
    let mut length = 40;
    let mut refs = Vec::new();
    for line in lines {
        // Only a prerequisite's subject may be no text, and nobody reads it.
        if let [b'-', prerequisite @ ..] = line {
            let hash = prerequisite.split(|byte| *byte == b' ').next();
            if !hash
                .is_some_and(|hash| hash.len() == length && is_hash(&String::from_utf8_lossy(hash)))
            {
                return Err("a prerequisite of it is no commit".into());
            }
            continue;
        }
        let line = std::str::from_utf8(line).map_err(|_| "its head is not text")?;
        if let Some(capability) = line.strip_prefix('@') {
            length = match capability {
                "object-format=sha1" if version.contains("v3") => 40,
                "object-format=sha256" if version.contains("v3") => 64,
                _ => return Err(format!("it asks for {:?}", short(capability))),
            };
        } else {
            let (hash, name) = line.split_once(' ').ok_or("a line of its head is no ref")?;
            if hash.len() != length || !is_hash(hash) {
                return Err("a ref of it is no commit".into());
            }
            refs.push((name.to_string(), hash.to_string()));
        }
    }
    Ok(Header {
        refs,
        pack_at: end as u64 + 2,
    })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_head_is_read() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let good = format!("# v2 git bundle\n-{hash} subject\n{hash} refs/opencode/out/0\n\nPACK");
        let header = parse(good.as_bytes()).expect("reads");
        assert_eq!(
            header.refs,
            [("refs/opencode/out/0".to_string(), hash.to_string())]
        );
        assert_eq!(&good.as_bytes()[header.pack_at as usize..], b"PACK");
        let mut odd = format!("# v2 git bundle\n-{hash} ").into_bytes();
        odd.extend_from_slice(b"\xff\n");
        odd.extend_from_slice(format!("{hash} x\n\n").as_bytes());
        assert!(parse(&odd).is_ok(), "a subject that is not text");
        let v3 = format!("# v3 git bundle\n@object-format=sha1\n{hash} HEAD\n\n");
        assert!(parse(v3.as_bytes()).is_ok());
        for bad in [
            "".to_string(),
            "PACK\n\n".into(),
            format!("# v2 git bundle\n{hash} refs/x\n"),
            format!("# v4 git bundle\n{hash} refs/x\n\n"),
            format!("# v2 git bundle\n@object-format=sha1\n{hash} x\n\n"),
            format!("# v3 git bundle\n@filter=blob:none\n{hash} x\n\n"),
            format!("# v3 git bundle\n@object-format=sha256\n{hash} x\n\n"),
            "# v2 git bundle\n--upload-pack=x refs/x\n\n".into(),
            "# v2 git bundle\n-$(x) y\n\n".into(),
            format!("# v2 git bundle\n{}\n\n", &hash[..20]),
            format!("# v2 git bundle\n{} refs/x\n\n", hash.to_uppercase()),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(b"# v2 git bundle\n\xff\n\n").is_err());
    }
}
