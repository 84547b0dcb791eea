//! What the package's README says is what there is.

use session_sync::cli::HELP;
use session_sync::config::{PRIVATE, SETTINGS};

const README: &str = include_str!("../../../../packages/session-sync/README.md");

#[test]
fn the_readme_names_every_command_and_setting() {
    let commands = HELP
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '));
    for line in commands {
        let command = line.split([' ', ',']).next().unwrap_or_default();
        let is_named = README.contains(&format!("`{command}`"))
            || README.contains(&format!("opencode-sync {command}"));
        assert!(is_named || command == "version", "{command}");
    }
    for (setting, default, _) in SETTINGS {
        let is_named = match *setting {
            "url" | "apiKey" => README.contains("Address and key are in"),
            _ if *default == "[]" => README.contains(&format!("| `{setting}` |")),
            _ => README.contains(&format!("| `{setting}` | `{default}`")),
        };
        assert!(is_named, "{setting}, which is {default} by default");
    }
    assert!(README.contains(&format!("| `{PRIVATE}` in a title")));
}
