//! How large a project is, in numbers that people read.

/// What a project takes in a sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Files, and their bytes when they are checked out.
    pub(crate) files: (usize, u64),
    /// Bytes that are uploaded.
    pub(crate) packed: u64,
}

impl Size {
    /// Bytes that it takes on a disk: each file takes whole blocks.
    pub(crate) fn room(&self) -> u64 {
        self.files.1 + self.packed + self.files.0 as u64 * 2_048
    }

    /// Why it does not fit on a disk of so many GiB; none if it does, or nobody knows.
    pub(crate) fn lacks_room(&self, disk: Option<f64>) -> Option<String> {
        let disk = disk.filter(|disk| *disk > 0.0)? * f64::from(1 << 30);
        let megabytes = |bytes: u64| grouped(bytes.div_ceil(1_000_000));
        (self.room() > disk as u64).then(|| {
            format!(
                "The project needs {} MB in the sandbox ({} files with {} MB, and {} MB of git's), and its disk has {} MB. Use a snapshot or an image with more room (option `resources`), or carry less with the options `carry.paths` and `history`.",
                megabytes(self.room()),
                grouped(self.files.0 as u64),
                megabytes(self.files.1),
                megabytes(self.packed),
                grouped(disk as u64 / 1_000_000)
            )
        })
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Size, grouped};

    #[test]
    fn a_project_is_refused_only_if_it_is_known_not_to_fit() {
        let gib = 1 << 30;
        for (files, packed, disk, fits) in [
            ((10, 2 * gib), gib, Some(3.0), false),
            ((10, 2 * gib), gib / 2, Some(3.0), true),
            ((2_000_000, 0), 0, Some(3.0), false),
            ((10, 2 * gib), gib, Some(0.0), true),
            ((10, 2 * gib), gib, None, true),
        ] {
            let why = Size { files, packed }.lacks_room(disk);
            assert_eq!(why.is_none(), fits, "{files:?} {packed} {disk:?}");
            if let Some(why) = why {
                assert!(why.contains("its disk has 3,221 MB"), "{why}");
            }
        }
    }

    #[test]
    fn thousands_are_told_apart() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
