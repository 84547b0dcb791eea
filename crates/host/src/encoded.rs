//! Texts in which `%XX` stands for a byte.

/// A text in which `%XX` stands for a byte.
pub fn percent_decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        let hex = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let byte = byte.filter(|_| *first == b'%');
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text with `%XX` for every byte but letters and digits of ASCII, `-`, `_` and those of `also`.
pub fn percent_encoded(text: &str, also: &[u8]) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => (byte as char).to_string(),
            byte if also.contains(&byte) => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// An id as the name of one JSON file: neither `/` nor `..` can lead out of the directory.
pub fn file_name(id: &str) -> String {
    let name = percent_encoded(id, b"");
    format!("{}.json", if name.is_empty() { "%" } else { &name })
}
