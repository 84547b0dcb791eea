//! How far a commit that was carried before is behind.

use crate::error::Error;
use crate::project::Project;

impl Project {
    /// How many commits `head` has that `before` has not, at most `most`; none if one of the two is not
    /// here, or there is no repository.
    pub async fn commits_since(
        &self,
        before: &str,
        head: &str,
        most: u64,
    ) -> Result<Option<u64>, Error> {
        if !(self.repository && crate::names::is_hash(before) && crate::names::is_hash(head)) {
            return Ok(None);
        }
        let git = self.users().await?;
        let (max, not) = (format!("--max-count={most}"), format!("^{before}"));
        let counted = git
            .run(&["rev-list", "--count", &max, head, &not, "--"], "")
            .await?;
        let count = crate::git::text(&counted.stdout).parse().ok();
        Ok(count.filter(|_| counted.code == 0))
    }
}
