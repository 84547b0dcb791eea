//! What `snapshot …` is asked to do.

/// How long the command may take, unless `--minutes` says otherwise; and the most that it may say.
const MINUTES: u64 = 30;
const MOST_MINUTES: u64 = 24 * 60;
/// Characters of a name.
const MAX_NAME: usize = 100;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Create(Create),
    List,
    Forget,
}

/// Which snapshot to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) name: String,
    /// The command to run in it.
    pub(super) run: Option<String>,
    /// How long that may take.
    pub(super) minutes: u64,
    /// Delete the one that it takes the place of.
    pub(super) replace: bool,
}

/// Reads what stands behind `snapshot`. An error says what is wrong.
pub(super) fn parse(args: &[&str]) -> Result<Command, String> {
    match args {
        ["create", rest @ ..] => parse_create(rest).map(Command::Create),
        ["list"] => Ok(Command::List),
        ["forget"] => Ok(Command::Forget),
        _ => Err(format!(
            "There is no command `{}`.",
            [&["snapshot"], args].concat().join(" ")
        )),
    }
}

fn parse_create(args: &[&str]) -> Result<Create, String> {
    let (mut name, mut run, mut minutes, mut replace) = (None, None, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) if arg.starts_with("--") => (option, Some(value)),
            _ => (*arg, None),
        };
        let mut value = || {
            let value = value.or_else(|| args.next().copied());
            value.ok_or_else(|| format!("{option} needs a value."))
        };
        match option {
            "--run" => {
                let command = value()?;
                if command.trim().is_empty() {
                    return Err("--run needs a command.".into());
                }
                run = Some(command.to_string());
            }
            "--minutes" => {
                let value = value()?;
                let number = value.parse().ok();
                let number = number.filter(|number| (1..=MOST_MINUTES).contains(number));
                let wrong = || {
                    format!(
                        "--minutes must be a whole number from 1 to {MOST_MINUTES}, not `{value}`."
                    )
                };
                minutes = Some(number.ok_or_else(wrong)?);
            }
            "--replace" if arg == &"--replace" => replace = true,
            _ if arg.starts_with('-') => return Err(format!("There is no option `{arg}`.")),
            _ if name.is_some() => {
                return Err(format!("A snapshot has one name, and `{arg}` is a second."));
            }
            _ if !is_name(arg) => {
                return Err(format!(
                    "`{arg}` cannot be a snapshot's name: letters, digits, `.`, `_` and `-` can stand in one, at most {MAX_NAME}."
                ));
            }
            _ => name = Some(arg.to_string()),
        }
    }
    Ok(Create {
        name: name.ok_or("`snapshot create` needs a name for the snapshot.")?,
        run,
        minutes: minutes.unwrap_or(MINUTES),
        replace,
    })
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_understood_or_refused_with_the_reason() {
        let create = |name: &str, run: Option<&str>, minutes, replace| {
            Ok(Command::Create(Create {
                name: name.into(),
                run: run.map(str::to_string),
                minutes,
                replace,
            }))
        };
        for (line, expected) in [
            (&["create", "web"][..], create("web", None, 30, false)),
            (
                &["create", "--run", "npm ci", "web.1", "--replace"],
                create("web.1", Some("npm ci"), 30, true),
            ),
            (
                &["create", "a", "--run=x=y --z", "--minutes=5"],
                create("a", Some("x=y --z"), 5, false),
            ),
            (
                &["create", "a", "--run", "--help"],
                create("a", Some("--help"), 30, false),
            ),
            (&["list"], Ok(Command::List)),
            (&["forget"], Ok(Command::Forget)),
            (&[], Err("no command `snapshot`")),
            (&["make"], Err("no command `snapshot make`")),
            (&["list", "x"], Err("no command `snapshot list x`")),
            (&["create"], Err("needs a name")),
            (&["create", "--run", "x"], Err("needs a name")),
            (&["create", "a", "b"], Err("`b` is a second")),
            (&["create", "-x"], Err("no option `-x`")),
            (
                &["create", "a", "--replace=no"],
                Err("no option `--replace=no`"),
            ),
            (&["create", "a b"], Err("cannot be")),
            (&["create", "../a"], Err("cannot be")),
            (&["create", ""], Err("cannot be")),
            (&["create", "a", "--run"], Err("--run needs a value")),
            (&["create", "a", "--run", " "], Err("--run needs a command")),
            (&["create", "a", "--minutes", "0"], Err("not `0`")),
            (&["create", "a", "--minutes=2h"], Err("not `2h`")),
            (&["create", "a", "--minutes", "1441"], Err("1440")),
        ] {
            match (parse(line), expected) {
                (Err(why), Err(part)) => assert!(why.contains(part), "{line:?}: {why}"),
                (got, expected) => {
                    assert_eq!(got, expected.map_err(str::to_string), "{line:?}");
                }
            }
        }
    }
}
