//! Names: of refs in the depot, of the depot itself, and of objects.

/// Ref in the depot: `base` is what a session's work starts from, `home` what came home last, `lfs` has
/// files that Git LFS keeps and that went into the sandbox.
pub(crate) fn kept(kind: &str, session: &str) -> String {
    // Only what cannot leave the directory or break a ref's name.
    let session: String = session
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("refs/opencode/{kind}/{session}")
}

/// Ref in the depot for a commit of the user's that went into a session's sandbox with its history.
pub(crate) fn given(session: &str, commit: &str) -> String {
    format!("{}/{commit}", kept("given", session))
}

/// Where the depot of a worktree is, beside the store's file.
pub fn depot_path(store: &str, worktree: &str, repository: bool) -> String {
    // Clones of one repository share a store, but not their objects.
    let hash = protocol::fnv1a(worktree.as_bytes());
    let store = store.strip_suffix(".json").unwrap_or(store);
    let kind = if repository { "" } else { "-plain" };
    format!("{store}-{hash:016x}{kind}.git")
}

/// True for a full hash, in lower case.
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
