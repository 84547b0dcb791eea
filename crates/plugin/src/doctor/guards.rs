//! What guards this machine when the plugin does not load: denials, a shell that runs nothing, and undo
//! that writes nothing.

use super::finding::{Finding, Fix, Verdict};
use crate::guard::SERVED;
use host::Platform;
use serde_json::Value;

/// The program that stands in for a shell when the plugin does not load.
const NO_SHELL: &str = "false";
/// The same where there is no program `false`, as on Windows: there OpenCode takes PowerShell for what it
/// does not find. Like `false` it runs nothing of what it is given, wherever it is.
const NO_SHELL_ANYWHERE: &str = "whoami";

/// True for a program that stands in for a shell, on any platform.
pub(crate) fn is_no_shell(shell: &str) -> bool {
    matches!(shell, NO_SHELL | NO_SHELL_ANYWHERE)
}

/// What stands in for a shell on a platform.
pub(super) fn no_shell(platform: Platform) -> &'static str {
    match platform {
        Platform::Windows => NO_SHELL_ANYWHERE,
        Platform::Linux | Platform::Mac => NO_SHELL,
    }
}

/// Served permissions that nothing denies, and those that have rules of the user's own.
pub(super) fn denials(config: &Value) -> (Vec<&'static str>, Vec<&'static str>) {
    let rules = config.get("permission");
    let (mut open, mut ruled) = (Vec::new(), Vec::new());
    for name in SERVED {
        match rules.and_then(|rules| rules.get(*name)) {
            Some(Value::String(rule)) if rule == "deny" => {}
            Some(Value::Object(rule))
                if rule.len() == 1 && rule.get("*").is_some_and(|rule| rule == "deny") => {}
            Some(_) => ruled.push(*name),
            None => open.push(*name),
        }
    }
    (open, ruled)
}

/// What the configuration as a whole says of all three.
pub(super) fn examine(config: &Value, platform: Platform) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (open, ruled) = denials(config);
    findings.push(if open.is_empty() {
        Finding::good(
            "denials",
            "If the plugin does not load, OpenCode has no tools for this machine.",
        )
    } else {
        let text = format!(
            "If the plugin does not load, these run on this machine: {}.",
            open.join(", ")
        );
        Finding::new("denials", Verdict::Bad, text).corrected_by(Fix::Deny(open))
    });
    if !ruled.is_empty() {
        let text = format!(
            "Your own rules for {} hold in the sandbox; if the plugin does not load, they are all that guards this machine.",
            ruled.join(", ")
        );
        findings.push(Finding::new("denials", Verdict::Note, text));
    }
    findings.push(shell(config.get("shell").and_then(Value::as_str), platform));
    findings.push(match config.get("snapshot") {
        Some(Value::Bool(false)) => Finding::good(
            "undo",
            "If the plugin does not load, undo and redo write no file.",
        ),
        _ => Finding::new(
            "undo",
            Verdict::Bad,
            "If the plugin does not load, undo and redo of messages write files of this machine.",
        )
        .corrected_by(Fix::Undo),
    });
    findings
}

fn shell(named: Option<&str>, platform: Platform) -> Finding {
    match named {
        Some(NO_SHELL) if platform.is_windows() => Finding::new(
            "shell",
            Verdict::Bad,
            format!("Windows has no program `{NO_SHELL}`, so OpenCode takes PowerShell: if the plugin does not load, `!command` runs on this machine. `{NO_SHELL_ANYWHERE}` is one that runs nothing."),
        )
        .corrected_by(Fix::Shell),
        Some(NO_SHELL | NO_SHELL_ANYWHERE) => Finding::good(
            "shell",
            "If the plugin does not load, `!command` runs nothing.",
        ),
        Some(_) => Finding::new(
            "shell",
            Verdict::Note,
            "You name a shell: if the plugin does not load, `!command` runs in it on this machine.",
        ),
        None => Finding::new(
            "shell",
            Verdict::Bad,
            "If the plugin does not load, `!command` runs on this machine.",
        )
        .corrected_by(Fix::Shell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Platform::{Linux, Mac, Windows};

    #[test]
    fn the_shell_runs_nothing_on_any_platform() {
        for (platform, named, verdict, is_corrected) in [
            (Linux, Some("false"), Verdict::Good, false),
            (Mac, Some("false"), Verdict::Good, false),
            (Windows, Some("false"), Verdict::Bad, true),
            (Windows, Some("whoami"), Verdict::Good, false),
            (Linux, Some("whoami"), Verdict::Good, false),
            (Linux, Some("/bin/zsh"), Verdict::Note, false),
            (Windows, Some("pwsh"), Verdict::Note, false),
            (Linux, None, Verdict::Bad, true),
            (Windows, None, Verdict::Bad, true),
        ] {
            let found = shell(named, platform);
            assert!(found.verdict == verdict, "{platform:?} {named:?}");
            assert_eq!(found.fix.is_some(), is_corrected, "{platform:?} {named:?}");
            // What is written is good.
            assert!(shell(Some(no_shell(platform)), platform).verdict == Verdict::Good);
        }
    }
}
