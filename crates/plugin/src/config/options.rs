//! The options and variables that there are, in the words of the README.

/// Every option: name, default, meaning. The README's table is tested against this.
pub const OPTIONS: &[(&str, &str, &str)] = &[
    (
        "apiUrl",
        "`https://app.daytona.io/api`",
        "Base URL of the Daytona API",
    ),
    (
        "target",
        "the organization's",
        "Region to create sandboxes in",
    ),
    (
        "snapshot",
        "the server's",
        "Snapshot every sandbox starts from",
    ),
    ("image", "none", "Image to start from instead of a snapshot"),
    (
        "resources",
        "the snapshot's",
        "`{ cpu, memory, disk }` in cores and GiB; only with `image`",
    ),
    (
        "env",
        "`{}`",
        "Environment variables of every process in the sandbox",
    ),
    ("labels", "`{}`", "Labels added to every sandbox"),
    (
        "autoStopMinutes",
        "`15`",
        "Minutes without activity before a sandbox is stopped; `0` is never",
    ),
    (
        "autoArchiveMinutes",
        "the server's",
        "Minutes stopped before it is archived",
    ),
    (
        "autoDeleteMinutes",
        "the server's",
        "Minutes stopped before it is deleted; `-1` is never",
    ),
    (
        "projectDir",
        "`/home/daytona/project`",
        "Where the project is in the sandbox",
    ),
    (
        "prewarm",
        "`true`",
        "Create the sandbox with the first message instead of the first tool call",
    ),
    (
        "sync",
        "`branch`",
        "What becomes of the work: `branch` brings it to a branch of your repository, `apply` also puts it into your working tree where nothing is in its way, `off` leaves it in the sandbox",
    ),
    (
        "branchPrefix",
        "`opencode/`",
        "What stands before the number in the name of a session's branch",
    ),
    (
        "history",
        "`50`",
        "Commits of history that the sandbox gets; `0` is none but the project as it is",
    ),
    (
        "carry",
        "all, `1000`",
        "`{ paths, maxMegabytes }`: paths of the project that go into the sandbox, if not all do, and the most megabytes that are carried into a sandbox or home from it",
    ),
    (
        "identity",
        "`true`",
        "The agent's commits have your `user.name` and `user.email`, as git has them in the project",
    ),
    (
        "network",
        "`sandbox`",
        "Where `webfetch` and `websearch` send their requests from: `sandbox`, `host` (your machine), or `off`",
    ),
    (
        "shellMode",
        "`sandbox`",
        "Where `!command` and `` !`command` `` run: `sandbox` or `host` (your machine)",
    ),
    (
        "allowTools",
        "`[]`",
        "Tools that may run on your machine although the plugin blocks them: built-ins, and another plugin's that have the name of one of the sandbox's",
    ),
];

/// Every environment variable: name and meaning.
pub const KEYS: &[(&str, &str)] = &[
    ("DAYTONA_API_KEY", "API key; required"),
    ("DAYTONA_API_URL", "Like the option `apiUrl`"),
    ("DAYTONA_TARGET", "Like the option `target`"),
    (
        "DAYTONA_ORGANIZATION_ID",
        "Organization; only needed when the key is a JWT",
    ),
    ("DAYTONA_SNAPSHOT", "Like the option `snapshot`"),
];

#[cfg(test)]
mod tests {
    use super::{KEYS, OPTIONS};

    #[test]
    fn the_readme_has_every_option_and_variable_as_it_is_here() {
        let readme = include_str!("../../../../README.md");
        let options = OPTIONS
            .iter()
            .map(|(name, default, meaning)| format!("| `{name}` | {default} | {meaning} |"));
        let keys = KEYS
            .iter()
            .map(|(name, meaning)| format!("| `{name}` | {meaning} |"));
        for row in options.chain(keys) {
            assert!(readme.contains(&row), "README.md lacks the row: {row}");
        }
    }
}
