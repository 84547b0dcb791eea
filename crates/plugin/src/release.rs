//! Releases of OpenCode: which of them the plugin serves, and what it says to the others.
//!
//! What a release lacks was measured in November 2026: up to 1.3 no plugin of today's shape is loaded;
//! up to 1.14 the arguments of a plugin's tools cannot be described to the model; up to 1.15.4 a permission
//! question of a plugin is never asked, and no plugin is told that OpenCode ends (1.15.5 to 1.15.12 could not be
//! had). OpenCode 2 has another interface for plugins.

use semver::Version;

/// The oldest release that is served.
pub const FLOOR: &str = "1.15.13";
/// The newest release that all tests ran with.
pub const TESTED: &str = "1.18.33";
/// What every refusal ends with.
const NOTHING_RUNS: &str = "Until then nothing runs, neither in a sandbox nor on this machine.";
/// Stands for a release in a text that is completed in JavaScript.
const PLACE: &str = "{release}";

/// What the plugin does with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It serves, and all tests ran with this release or with releases around it.
    Tested,
    /// It serves, as long as the release has what is needed: see [`Lack`].
    Untested,
    /// It refuses.
    TooOld,
    /// It refuses: OpenCode 2.
    Two,
}

/// What the plugin does with the release that OpenCode says it is. A release that nobody knows (one that was
/// built from source, say) is judged by what it can do.
pub(crate) fn support(release: &str) -> Support {
    let parse = |text: &str| Version::parse(text).ok();
    let (Some(release), Some(floor), Some(tested)) = (
        parse(release.trim_start_matches('v')),
        parse(FLOOR),
        parse(TESTED),
    ) else {
        return Support::Untested;
    };
    match release.major {
        0 => Support::Untested,
        1 if release < floor => Support::TooOld,
        1 if release <= tested => Support::Tested,
        1 => Support::Untested,
        _ => Support::Two,
    }
}

/// Why the plugin refuses with this release, in one or two sentences; none if it serves.
pub(crate) fn refusal(release: &str) -> Option<String> {
    match support(release) {
        Support::TooOld => Some(too_old(release)),
        Support::Two => Some(two(release)),
        Support::Tested | Support::Untested => None,
    }
}

fn too_old(release: &str) -> String {
    format!(
        "opencode-daytona-sandbox needs OpenCode {FLOOR} or later, and this is {release}: update it with `opencode upgrade {TESTED}`. {NOTHING_RUNS}"
    )
}

fn two(release: &str) -> String {
    format!(
        "This release of opencode-daytona-sandbox does not serve OpenCode 2 yet, and this is {release}: stay on 1.18 with `npm install --global opencode-ai@{TESTED}`, or remove the plugin from OpenCode's configuration. {NOTHING_RUNS}"
    )
}

/// What a release may lack, whatever its number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A permission question is not asked.
    Questions,
    /// The arguments of a tool cannot be described.
    Arguments,
}

impl Lack {
    /// Why the plugin refuses with a release that lacks this.
    pub(crate) fn refusal(self) -> String {
        let what = match self {
            Lack::Questions => "does not ask the permission questions of a plugin",
            Lack::Arguments => "does not let a plugin describe the arguments of its tools",
        };
        format!(
            "This OpenCode {what}, and opencode-daytona-sandbox needs that: use OpenCode {FLOOR} to {TESTED}. {NOTHING_RUNS}"
        )
    }
}

/// Tools up to 1.3 that touch nothing of the machine. Whatever else a model calls there is refused.
const OLD_HARMLESS: &[&str] = &[
    "invalid",
    "plan_enter",
    "plan_exit",
    "question",
    "todoread",
    "todowrite",
];
/// Tools up to 1.3 that touch the machine, beside those of which the sandbox has its own.
const OLD_TOOLS: &[&str] = &[
    "batch",
    "codesearch",
    "list",
    "lsp",
    "multiedit",
    "patch",
    "skill",
    "task",
];
/// Tools of OpenCode 2 that touch the machine. Not among them: `execute`, which only calls other tools and
/// whose name nobody can take, and `subagent`, whose tools are these again (2.3, November 2026).
const TWO_TOOLS: &[&str] = &[
    "edit",
    "glob",
    "grep",
    "patch",
    "read",
    "shell",
    "skill",
    "webfetch",
    "websearch",
    "write",
];

/// What JavaScript needs to refuse where the core is not loaded: names of tools, and the texts, in which
/// `{release}` stands for the release.
pub fn refusals() -> serde_json::Value {
    let ours = tools::catalog::TOOLS.iter().map(|tool| tool.name);
    let mut old: Vec<&str> = ours.chain(OLD_TOOLS.iter().copied()).collect();
    old.sort_unstable();
    serde_json::json!({
        "tooOld": { "text": too_old(PLACE), "tools": old, "harmless": OLD_HARMLESS },
        "two": { "text": two(PLACE), "tools": TWO_TOOLS },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served() {
        for (release, expected) in [
            ("1.0.0", Support::TooOld),
            ("1.3.2", Support::TooOld),
            ("1.14.41", Support::TooOld),
            ("1.15.4", Support::TooOld),
            ("1.15.13-beta.1", Support::TooOld),
            (FLOOR, Support::Tested),
            ("v1.17.19", Support::Tested),
            (TESTED, Support::Tested),
            ("1.18.34", Support::Untested),
            ("1.19.0-beta.2", Support::Untested),
            ("2.0.0-beta.1", Support::Two),
            ("2.3.2", Support::Two),
            // Built from source, or no number at all.
            ("0.0.0-dev-202611300900", Support::Untested),
            ("local", Support::Untested),
            ("", Support::Untested),
        ] {
            assert_eq!(support(release), expected, "{release}");
            let refuses = matches!(expected, Support::TooOld | Support::Two);
            assert_eq!(refusal(release).is_some(), refuses, "{release}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_there_what_is_needed_and_how_to_get_it() {
        let old = refusal("1.2.27").expect("too old");
        let new = refusal("2.3.2").expect("another interface");
        for (text, words) in [
            (
                &old,
                ["this is 1.2.27", FLOOR, "`opencode upgrade 1.18.33`"],
            ),
            (
                &new,
                ["this is 2.3.2", "opencode-ai@1.18.33", "remove the plugin"],
            ),
        ] {
            for word in words {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(text.ends_with(NOTHING_RUNS), "{text}");
        }
    }
}
