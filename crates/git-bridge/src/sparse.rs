//! Repositories that have not all of their files here: sparse checkouts, and partial clones.
//!
//! What a sparse checkout leaves out is no deletion: its files go along where they are here. Of a partial
//! clone they are nowhere here, and nothing is fetched: then the commit goes along that names them, and
//! the sandbox is told that they are elsewhere, as git itself knows it of a partial clone.

use crate::error::Error;
use crate::git::{Git, text};
use crate::project::Project;
use crate::secret::{Clean, Staged};
use std::collections::HashSet;

/// What the settings say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    pub(crate) is_sparse: bool,
    pub(crate) is_partial: bool,
}

impl Kind {
    /// `settings` are all, as `config -z --list` writes them. Git before 2.46 writes no
    /// `extensions.partialClone`.
    pub(crate) fn of(settings: &[u8]) -> Kind {
        let mut kind = Kind::default();
        for setting in settings.split(|byte| *byte == 0) {
            let setting = String::from_utf8_lossy(setting);
            let (name, value) = setting.split_once('\n').unwrap_or((&setting, "true"));
            let value = value.to_ascii_lowercase();
            let is_on = !matches!(value.as_str(), "false" | "no" | "off" | "0" | "");
            let is_promisor = name.starts_with("remote.") && name.ends_with(".promisor");
            if name == "core.sparsecheckout" {
                // The last one counts.
                kind.is_sparse = is_on;
            } else if name == "extensions.partialclone" || is_promisor {
                kind.is_partial |= is_on;
            }
        }
        kind
    }
}

impl Project {
    /// True if the user's repository is a partial clone.
    pub(crate) async fn is_partial(&self) -> Result<bool, Error> {
        let Some(layout) = self.layout().await? else {
            return Ok(false);
        };
        let (_, settings) = self.users_at(&layout).await?;
        Ok(Kind::of(&settings).is_partial)
    }

    /// Notes which files of a tree are not here. Those that were meant to be are a reason to refuse.
    pub(crate) async fn find_absent(
        &self,
        git: &Git<'_>,
        tree: &str,
        clean: &mut Clean,
    ) -> Result<(), Error> {
        let list = [
            "rev-list",
            "--objects",
            "--no-object-names",
            "--missing=print",
            tree,
        ];
        let list = git.checked(&list, "").await?;
        let list = text(&list.stdout);
        let missing = list.lines().filter_map(|line| line.strip_prefix('?'));
        clean.absent.extend(missing.map(str::to_string));
        Ok(())
    }
}

/// Whether all that is not here was left out by a sparse checkout, as the index says.
pub(crate) fn is_left_out(staged: &[Staged], clean: &Clean) -> bool {
    let left_out = staged.iter().filter(|file| file.is_left_out);
    let left_out: HashSet<&str> = left_out.map(|file| &file.blob[..]).collect();
    let mut absent = clean.absent.iter();
    absent.all(|hash| left_out.contains(&hash[..]))
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn the_settings_tell() {
        for (settings, is_sparse, is_partial) in [
            (&b""[..], false, false),
            (b"core.sparsecheckout\ntrue\0", true, false),
            (b"core.sparsecheckout\0", true, false),
            (
                b"core.sparsecheckout\ntrue\0core.sparsecheckout\nfalse\0",
                false,
                false,
            ),
            (b"remote.x.y.promisor\nTRUE\0", false, true),
            (b"remote.x.promisor\nfalse\0", false, false),
            (b"extensions.partialclone\norigin\0", false, true),
            (b"core.sparsecheckoutcone\ntrue\0a.b\nx\ny\0", false, false),
        ] {
            let kind = Kind::of(settings);
            let settings = String::from_utf8_lossy(settings);
            assert_eq!(kind.is_sparse, is_sparse, "{settings}");
            assert_eq!(kind.is_partial, is_partial, "{settings}");
        }
    }
}
