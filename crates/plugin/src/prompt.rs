//! What the model is told about where it works.

use permission::Paths;

/// The system prompt with the host's directories replaced and the sandbox explained.
pub(crate) fn rewrite(system: Vec<String>, paths: &Paths, brings_home: bool) -> Vec<String> {
    let mut blocks: Vec<String> = system
        .iter()
        .map(|block| skills(&platform(&paths.text(block)), paths))
        .collect();
    blocks.push(rules(paths, brings_home));
    blocks
}

/// OpenCode names the platform of the host; the sandbox is Linux.
fn platform(block: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix("Platform: ") {
        Some(_) => format!(
            "{}Platform: linux",
            &line[..line.len() - line.trim_start().len()]
        ),
        None => line.to_string(),
    };
    block.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// OpenCode lists its skills with the host's files that hold them; the tool `skill` needs the name only.
fn skills(block: &str, paths: &Paths) -> String {
    let elsewhere = |line: &&str| match line.trim_start().strip_prefix("<location>") {
        Some(path) => path.starts_with(paths.root()),
        None => true,
    };
    let lines: Vec<&str> = block.split('\n').filter(elsewhere).collect();
    lines.join("\n")
}

fn rules(paths: &Paths, brings_home: bool) -> String {
    format!(
        "# Sandbox\n\
         You work in a Linux sandbox of your own, not on the user's machine. The project is at {root}, a git repository \
         that holds the user's files as they were when the sandbox was made; your working directory is {cwd}.\n\
         - All file, search and shell tools work there and nowhere else. Use paths below {root}, or relative ones.\n\
         - Nothing of the user's machine can be reached: no file outside the project, no service, no environment. \
           Do not ask for it; install what you need in the sandbox.\n\
         - Processes you leave running live as long as the sandbox runs.\n\
         - To show the user something that a server of yours serves, call the tool preview with its port and hand on \
           the link that it gives. No localhost address and no address of the sandbox works for the user.{home}",
        home = match brings_home {
            true => {
                "\n- Your work comes home by itself: when a turn ends, all changes that git does not ignore, and all \
                 commits, arrive on a branch of the user's repository. Nothing needs to be pushed."
            }
            false => "",
        },
        root = paths.root(),
        cwd = paths.cwd(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_gone_and_the_sandbox_is_named() {
        let paths = Paths::new("/Users/me/app", "/Users/me/app", "/home/daytona/project");
        let system = "<env>\n  Working directory: /Users/me/app\n  Workspace root folder: /Users/me/app\n  Platform: darwin\n</env>\nInstructions from: /Users/me/app/AGENTS.md";
        let out = rewrite(vec![system.into()], &paths, true).join("\n");
        assert!(!out.contains("/Users/me"), "{out}");
        for expected in [
            "Working directory: /home/daytona/project\n",
            "  Platform: linux\n",
            "from: /home/daytona/project/AGENTS.md",
        ] {
            assert!(out.contains(expected), "{expected}: {out}");
        }
    }

    #[test]
    fn skills_are_listed_without_files_of_the_host() {
        let paths = Paths::new("/home/me/app", "/home/me/app", "/p");
        let skill = |path: &str| {
            format!("  <skill>\n    <name>x</name>\n    <location>{path}</location>\n  </skill>\n")
        };
        let list = skill("/home/me/.config/opencode/skill/x/SKILL.md")
            + &skill("/home/me/app/.opencode/skill/x/SKILL.md");
        let out = rewrite(vec![list], &paths, true).join("\n");
        assert!(!out.contains("/home/me"), "{out}");
        assert!(
            out.contains("<location>/p/.opencode/skill/x/SKILL.md</location>"),
            "{out}"
        );
        assert_eq!(out.matches("<name>x</name>").count(), 2, "{out}");
    }
}
