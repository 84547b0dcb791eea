//! What git says of objects that came from a sandbox, and what becomes of them.
//!
//! | git's message ids | what becomes of the object |
//! | --- | --- |
//! | `hasDot` `hasDotdot` `hasDotgit` `emptyName` `fullPathname` | refused: a name that leads out, or into `.git` |
//! | `gitmodulesBlob` `gitmodulesLarge` `gitmodulesMissing` `gitmodulesName` `gitmodulesPath` `gitmodulesSymlink` `gitmodulesUpdate` `gitmodulesUrl` `symlinkPointsToGitDir` | refused: a submodule or a link that leads out, or runs a command |
//! | `duplicateEntries` `treeNotSorted` `nullSha1` | refused: a tree that two programs read in two ways |
//! | `badTree` `badTreeSha1` `badParentSha1` `badObjectSha1` `badType` `unknownType` `nulInHeader` `unterminatedHeader` `missingAuthor` `missingCommitter` `missingTree` `missingObject` `missingType` `missingTypeEntry` `missingTag` `missingTagEntry` `badDateOverflow` `gitattributesMissing` | refused: not whole, or not to be read |
//! | those of [`ODD`] | taken, and the user is told: old tools wrote such commits, and old repositories are full of them |
//! | `badFilemode` `badTagName` `missingTaggerEntry` `gitmodulesParse` `gitattributesSymlink` `gitignoreSymlink` `mailmapSymlink` `symlinkTargetLength` `extraHeaderEntry` | taken: git itself only mentions them |
//! | any other | refused, as one that this release does not know |
//!
//! What this machine has already is not the sandbox's fault, whatever git says of it. Nearly everything
//! passes the first look, which is as strict as git can be; only what does not is looked at again.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::names::is_hash;
use crate::project::Project;
use std::collections::{BTreeMap, HashSet};

/// Message ids of what is taken with a word to the user.
pub(crate) const ODD: &[&str] = &[
    "badDate",
    "badEmail",
    "badGpgsig",
    "badHeaderContinuation",
    "badName",
    "badTimezone",
    "gitattributesBlob",
    "gitattributesLarge",
    "gitattributesLineLength",
    "largePathname",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "multipleAuthors",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];
/// Most objects that are named to the user.
const NAMED: usize = 3;

impl Project {
    /// Unpacks a pack into `dir`, where `git` keeps its objects, checked. Gives what is odd about it.
    pub(crate) async fn unpack(
        &self,
        private: &Git<'_>,
        git: &Git<'_>,
        (bundle, pack_at): (&str, u64),
        dir: &str,
    ) -> Result<Vec<String>, Error> {
        let max = format!("--max-input-size={}", self.limit);
        let index = ["index-pack", "--stdin", "--fix-thin", &max];
        let strict = [&index[..], &["--strict"]].concat();
        let strictly = git.fed_from(&strict, bundle, pack_at).await?;
        if strictly.code == 0 {
            return Ok(Vec::new());
        }
        // Git wants it to be there, and a file in it makes it.
        let plain = format!("{dir}/plain");
        self.host.create_file(&format!("{plain}/made")).await?;
        let unchecked = git.clone().with("GIT_OBJECT_DIRECTORY", plain);
        let unpacked = unchecked.fed_from(&index, bundle, pack_at).await?;
        if unpacked.code != 0 {
            return Err(refused(&unpacked));
        }
        self.known(private, &unchecked, dir).await?;
        let mut last = strictly;
        for check in self.checks(private).await? {
            let again = [&index[..], &[&check]].concat();
            let checked = git.clone().within(dir);
            last = checked.fed_from(&again, bundle, pack_at).await?;
            if last.code == 0 {
                return Ok(told(&last.stderr));
            }
        }
        Err(refused(&last))
    }

    /// Options of `index-pack` that refuse only what is to be refused; one that passes is enough. An id
    /// that git does not know is an error to it. Where the user's repository is a partial clone, git
    /// cannot find all that trees name; then only the objects themselves are looked at, and what is
    /// missing is found by the walk that follows. Git before 2.44 takes no ids for that.
    async fn checks(&self, private: &Git<'_>) -> Result<Vec<String>, Error> {
        let ids = private.run(&["help", "--config"], "").await?;
        let ids = text(&ids.stdout);
        let ids: HashSet<&str> = (ids.lines())
            .filter_map(|id| id.strip_prefix("fsck."))
            .collect();
        let odd = ODD.iter().filter(|id| ids.contains(*id));
        let odd: String = odd.map(|id| format!(",{id}=warn")).collect();
        let mut checks = vec![format!("--strict=skiplist={KNOWN}{odd}")];
        if self.is_partial().await? {
            checks.push(format!("--fsck-objects=skiplist={KNOWN}{odd}"));
            checks.push("--fsck-objects".into());
        }
        Ok(checks)
    }

    /// Writes down which of the unpacked objects this machine has already.
    async fn known(&self, private: &Git<'_>, unpacked: &Git<'_>, dir: &str) -> Result<(), Error> {
        let (all, found) = (format!("{dir}/all"), format!("{dir}/found"));
        let quarantine = unpacked
            .clone()
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", "");
        let list = [
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objectname)",
        ];
        quarantine.to_file(&list, "", &all).await?;
        let look = ["cat-file", "--batch-check=%(objectname)"];
        private.file_to_file(&look, &all, &found).await?;
        let mut known = Vec::new();
        self.in_records(&found, b'\n', |line| {
            if !line.ends_with(b" missing") {
                known.extend([line, b"\n"].concat());
            }
        })
        .await?;
        let file = format!("{dir}/{KNOWN}");
        Ok(self.host.replace_file(&file, &known).await?)
    }
}

/// The file with what this machine has already: git takes no path with a space or a comma.
const KNOWN: &str = "known";

fn refused(output: &host::GitOutput) -> Error {
    Error::Refused(format!(
        "git does not accept its objects ({})",
        git::reason(output)
    ))
}

/// What to tell of git's warnings: a sentence for each kind. Only ids that are known and hashes are
/// taken from them.
fn told(warnings: &str) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in warnings.lines() {
        let Some((_, line)) = line.split_once("object ") else {
            continue;
        };
        let mut parts = line.split(": ");
        let (object, id) = (parts.next().unwrap_or_default(), parts.next());
        let id = ODD.iter().find(|odd| Some(**odd) == id);
        if let Some(id) = id.filter(|_| is_hash(object)) {
            found.entry(id).or_default().push(object);
        }
    }
    let sentence = |(id, objects): (&str, Vec<&str>)| {
        let named = objects.iter().take(NAMED);
        let named: Vec<&str> = named.map(|object| &object[..10]).collect();
        let more = if objects.len() > NAMED { ", …" } else { "" };
        format!(
            "`git fsck` complains of {id} in {} object{} ({}{more})",
            objects.len(),
            if objects.len() == 1 { "" } else { "s" },
            named.join(", ")
        )
    };
    found.into_iter().map(sentence).collect()
}
