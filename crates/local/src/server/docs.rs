//! What `docs/daytona-local.md` says of options and routes, made from them. `UPDATE_DOCS=1 cargo test -p
//! daytona-local docs` writes it.

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;

use super::controls::Names;
use crate::cli::Cli;
use crate::route::Name;

#[test]
fn the_page_has_the_options_and_the_routes_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/daytona-local.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let wanted = with(&page, "options", &options());
    let wanted = with(&wanted, "routes", &routes());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(&path, &wanted).expect("written");
    }
    let hint = "run `UPDATE_DOCS=1 cargo test -p daytona-local docs`";
    assert!(page == wanted, "docs/daytona-local.md is old: {hint}");
}

/// The page with this text between the marks of a part.
fn with(page: &str, part: &str, text: &str) -> String {
    let begin = format!("<!-- {part}: generated -->\n");
    let (before, rest) = page.split_once(&begin).expect("a mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("an end");
    format!("{before}{begin}{text}<!-- end -->{after}")
}

fn options() -> String {
    let mut text = String::from("| option | what it is |\n| --- | --- |\n");
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").expect("a command");
    for option in serve.get_opts() {
        let name = option.get_long().expect("a long name");
        let values: Vec<String> = (option.get_possible_values().iter())
            .filter(|_| option.get_action().takes_values())
            .map(|value| {
                let help = value.get_help().map(|help| format!(": {help}"));
                format!("`{}`{}", value.get_name(), help.unwrap_or_default())
            })
            .collect();
        let given = match option.get_value_names() {
            Some([value]) if option.get_action().takes_values() => format!(" {value}"),
            _ => String::new(),
        };
        let help = option.get_help().expect("a help text").to_string();
        let default = option.get_default_values().first();
        let default = default.filter(|_| option.get_action().takes_values());
        let default = default.map(|value| format!(" (`{}`)", value.to_string_lossy()));
        let values = match values.is_empty() {
            true => String::new(),
            false => format!(". {}", values.join("; ")),
        };
        let default = default.unwrap_or_default();
        writeln!(text, "| `--{name}{given}`{default} | {help}{values} |").expect("text");
    }
    text
}

fn routes() -> String {
    let names = Names::all();
    let list = |prefix: &str, mut names: Vec<Name>| {
        names.sort_by_key(|name| (name.template, name.method));
        let lines = names.iter();
        let lines =
            lines.map(|name| format!("| `{}` | `{prefix}{}` |\n", name.method, name.template));
        lines.collect::<String>()
    };
    let api = list("/api", names.api);
    let toolbox = list("/toolbox/{sandboxId}", names.toolbox);
    format!("| method | path |\n| --- | --- |\n{api}{toolbox}")
}
