//! Names that are one where a file system does not tell letters of two cases apart, as on macOS and
//! Windows: of two such files one is in a working tree, and of two such branches one can be written.
//! Git asks the file system when it makes a repository, and keeps the answer as `core.ignoreCase`.

use crate::error::Error;
use crate::git::Git;
use crate::project::Project;
use std::collections::BTreeMap;

/// Most pairs that are named.
const NAMED: usize = 3;

/// A name as such a file system has it. Forms of one accented letter stay apart: git on macOS makes one
/// of them before it compares (`core.precomposeUnicode`).
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

/// Two branches of which only one can be written everywhere.
pub(crate) fn is_other_case(one: &str, other: &str) -> bool {
    one != other && one.eq_ignore_ascii_case(other)
}

impl Project {
    /// True if the worktree is on a file system that does not tell cases apart.
    async fn ignores_case(&self, users: &Git<'_>) -> Result<bool, Error> {
        let ask = ["config", "--type=bool", "--get", "core.ignoreCase"];
        let asked = users.run(&ask, "").await?;
        Ok(crate::git::text(&asked.stdout) == "true")
    }

    /// What the user should know of files that have only one place in the working tree: a changed one
    /// (`names`) and any other of the commit.
    pub(crate) async fn crowded(
        &self,
        private: &Git<'_>,
        users: &Git<'_>,
        tip: &str,
        names: &[String],
    ) -> Result<Vec<String>, Error> {
        if names.is_empty() || !self.ignores_case(users).await? {
            return Ok(Vec::new());
        }
        let changed: BTreeMap<String, &String> =
            (names.iter().map(|name| (folded(name.as_bytes()), name))).collect();
        let dir = self.temp_dir().await?;
        let list = format!("{dir}/names");
        let mut pairs = Vec::new();
        let listed = async {
            let all = ["ls-tree", "-r", "-z", "--name-only", tip];
            private.to_file(&all, "", &list).await?;
            let mut seen: BTreeMap<String, String> = BTreeMap::new();
            self.in_records(&list, 0, |name| {
                let key = folded(name);
                if changed.contains_key(&key) {
                    let name = String::from_utf8_lossy(name).into_owned();
                    if let Some(other) = seen.insert(key, name.clone()) {
                        pairs.push(format!("{other} and {name}"));
                    }
                }
            })
            .await
        }
        .await;
        let _ = self.host.remove_dir(&dir).await;
        listed?;
        if pairs.is_empty() {
            return Ok(pairs);
        }
        pairs.truncate(NAMED);
        Ok(vec![format!(
            "{} differ only in the case of letters, so your working tree has room for one of them; the branch has both",
            pairs.join(", ")
        )])
    }

    /// Two changed files that have one place in the working tree. Git would write one over the other.
    pub(crate) async fn collide(
        &self,
        users: &Git<'_>,
        names: &[u8],
    ) -> Result<Option<(String, String)>, Error> {
        let mut seen: BTreeMap<String, &[u8]> = BTreeMap::new();
        let names = names.split(|byte| *byte == 0);
        for name in names.filter(|name| !name.is_empty()) {
            if let Some(other) = seen.insert(folded(name), name)
                && self.ignores_case(users).await?
            {
                let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                return Ok(Some((shown(other), shown(name))));
            }
        }
        Ok(None)
    }
}
