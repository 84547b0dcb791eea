//! OpenCode's configuration files: which there are, what they say together, which plugins they name, and
//! changes to one of them that leave comments and layout as they are. A plugin is told by the name of its package,
//! which the caller gives: two packages of this repository look for themselves.

use host::{FileErrorKind, Host, Platform};
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::{Map, Value};

/// Directories above an entry's path in which its `package.json` is looked for: an entry may name a file of a
/// package, such as `dist/index.js`.
const LEVELS: usize = 4;
/// Where plugins are named: OpenCode 1 reads the first and ignores the second, OpenCode 2 reads both.
pub const KEYS: [&str; 2] = ["plugin", "plugins"];

/// One configuration file.
pub struct File {
    /// Where it is.
    pub path: String,
    root: CstRootNode,
    /// What it says.
    pub value: Value,
}

/// An entry of `plugin` (or `plugins`).
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `name`, `name@version`, or a path.
    pub spec: String,
    /// What stands beside it; null if nothing does.
    pub options: Value,
}

/// Where OpenCode has the user's own configuration.
pub fn home(host: &dyn Host) -> Option<String> {
    let platform = host.platform();
    let set = host
        .env("XDG_CONFIG_HOME")
        .map(|dir| platform.slashed(&dir));
    set.or_else(|| Some(format!("{}/.config", platform.home(|name| host.env(name))?)))
}

/// The project's root: the nearest directory with a `.git`, else this one.
pub async fn root(host: &dyn Host, directory: &str) -> String {
    let mut dir = directory;
    loop {
        let names = host.list_dir(dir).await.unwrap_or_default();
        if names.iter().any(|name| name == ".git") {
            return dir.to_string();
        }
        match host.platform().parent(dir) {
            Some(parent) => dir = parent,
            None => return directory.to_string(),
        }
    }
}

/// The files that are there for a directory of a project, weakest first. The error says which cannot be used.
pub async fn files(host: &dyn Host, root: &str, directory: &str) -> Result<Vec<File>, String> {
    let named = host.env("OPENCODE_CONFIG");
    let mut found = Vec::new();
    for place in places(&home(host).unwrap_or_default(), named, root, directory) {
        found.extend(File::read(host, &place).await?);
    }
    Ok(found)
}

/// The version of a package that is at a path, if it is this package.
pub async fn version_at(host: &dyn Host, path: &str, package: &str) -> Option<String> {
    let mut dir = path;
    for _ in 0..LEVELS {
        if let Ok(text) = host.read_file(&format!("{dir}/package.json")).await {
            let found: Value = serde_json::from_slice(&text).ok()?;
            let version = found["version"].as_str();
            return version
                .filter(|_| found["name"] == package)
                .map(str::to_string);
        }
        dir = host.platform().parent(dir)?;
    }
    None
}

/// The paths among the entries of these files that hold a package.
pub async fn paths(host: &dyn Host, files: &[File], package: &str) -> Vec<String> {
    let mut ours = Vec::new();
    for path in files.iter().flat_map(File::paths) {
        if version_at(host, &path, package).await.is_some() {
            ours.push(path);
        }
    }
    ours
}

/// What OpenCode 1.18 reads, weakest first: the user's files, the one that `OPENCODE_CONFIG` names,
/// then those from the project's root down to the directory, then `.opencode` (November 2026).
fn places(config_home: &str, named: Option<String>, root: &str, directory: &str) -> Vec<String> {
    let mut places: Vec<String> = ["config.json", "opencode.json", "opencode.jsonc"]
        .iter()
        .map(|name| format!("{config_home}/opencode/{name}"))
        .collect();
    places.extend(named);
    let mut dirs = vec![root.to_string()];
    if let Some(below) = directory.strip_prefix(root) {
        let mut dir = root.to_string();
        for part in below.split('/').filter(|part| !part.is_empty()) {
            dir = format!("{}/{part}", dir.trim_end_matches('/'));
            dirs.push(dir.clone());
        }
    }
    for place in ["", ".opencode/"] {
        for dir in &dirs {
            for name in ["opencode.json", "opencode.jsonc"] {
                places.push(format!("{}/{place}{name}", dir.trim_end_matches('/')));
            }
        }
    }
    places
}

impl File {
    /// Reads a file; none if there is none. The error says what is wrong with it.
    pub async fn read(host: &dyn Host, path: &str) -> Result<Option<File>, String> {
        let bytes = match host.read_file(path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == FileErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        // Written back, a replaced character would be a changed one.
        let text = String::from_utf8(bytes).map_err(|_| format!("{path}: it is not UTF-8 text"))?;
        File::parse(path, &text).map(Some)
    }

    /// A file with this text; an empty one is an empty object.
    pub fn parse(path: &str, text: &str) -> Result<File, String> {
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        // JSON with comments and trailing commas, and nothing else: what OpenCode takes.
        let options = ParseOptions {
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            ..ParseOptions::default()
        };
        let root =
            CstRootNode::parse(text, &options).map_err(|error| format!("{path}: {error}"))?;
        let value = root.to_serde_value().filter(Value::is_object);
        let value = value.ok_or_else(|| format!("{path}: there is no JSON object in it"))?;
        Ok(File {
            path: path.into(),
            root,
            value,
        })
    }

    /// What stands in it.
    pub fn text(&self) -> String {
        self.root.to_string()
    }

    /// Writes it to its place: a link stays one, and what it leads to is changed.
    pub async fn write(&self, host: &dyn Host) -> Result<(), String> {
        let real = host.real_path(&self.path).await;
        let path = real.unwrap_or_else(|_| self.path.clone());
        let written = host.replace_file(&path, self.text().as_bytes()).await;
        written.map_err(|error| error.to_string())
    }

    fn changed(&mut self) {
        self.value = self.root.to_serde_value().unwrap_or_default();
    }

    /// The first entry under `key` that names a package, by name or as one of `paths`.
    pub fn entry(&self, key: &str, package: &str, paths: &[String]) -> Option<Entry> {
        entries(&self.value, key).find(|entry| self.names(&entry.spec, package, paths))
    }

    fn names(&self, spec: &str, package: &str, paths: &[String]) -> bool {
        is_named(spec, package) || self.path_of(spec).is_some_and(|path| paths.contains(&path))
    }

    /// The absolute path that an entry of this file is, if it is a path.
    pub fn path_of(&self, spec: &str) -> Option<String> {
        let is_relative = ["./", "../", ".\\", "..\\"]
            .iter()
            .any(|start| spec.starts_with(start));
        if !is_relative {
            return absolute(spec);
        }
        let (mut dir, _) = self.path.rsplit_once('/')?;
        let spec = spec.replace('\\', "/");
        let mut rest = spec.as_str();
        loop {
            rest = match (rest.strip_prefix("./"), rest.strip_prefix("../")) {
                (Some(rest), _) => rest,
                (_, Some(rest)) => {
                    dir = dir.rsplit_once('/')?.0;
                    rest
                }
                _ => return Some(format!("{dir}/{rest}")),
            };
        }
    }

    /// The entries that are paths.
    fn paths(&self) -> Vec<String> {
        let entries = KEYS.iter().flat_map(|key| entries(&self.value, key));
        entries
            .filter_map(|entry| self.path_of(&entry.spec))
            .collect()
    }

    /// Adds an entry to `plugin`. Something else than a list there is not replaced.
    pub fn add(&mut self, spec: &str) -> Result<(), String> {
        self.is_list(KEYS[0])?;
        let plugins = self.root.object_value_or_set().array_value_or_set(KEYS[0]);
        plugins.append(CstInputValue::String(spec.into()));
        self.changed();
        Ok(())
    }

    fn is_list(&self, key: &str) -> Result<(), String> {
        let is_list = self.value.get(key).is_none_or(Value::is_array);
        is_list
            .then_some(())
            .ok_or_else(|| format!("{}: `{key}` is no list: correct it first", self.path))
    }

    /// Moves a package, by name or as one of `paths`, from `plugins` to `plugin`.
    pub fn rename(&mut self, package: &str, paths: &[String]) -> Result<(), String> {
        self.is_list(KEYS[0])?;
        let object = self.root.object_value_or_set();
        let Some(wrong) = object.array_value(KEYS[1]) else {
            return Ok(());
        };
        let right = object.array_value_or_set(KEYS[0]);
        for element in wrong.elements() {
            let entry = element.to_serde_value().and_then(|value| entry(&value));
            if let Some(entry) = entry
                && self.names(&entry.spec, package, paths)
            {
                // In the form that OpenCode 1 takes.
                let spec = Value::String(entry.spec);
                right.append(input(&match entry.options {
                    Value::Null => spec,
                    options => Value::Array(vec![spec, options]),
                }));
                element.remove();
            }
        }
        if wrong.elements().is_empty()
            && let Some(property) = object.get(KEYS[1])
        {
            property.remove();
        }
        self.changed();
        Ok(())
    }

    /// Writes `spec` wherever a package is named.
    pub fn pin(&mut self, package: &str, spec: &str) {
        let object = self.root.object_value_or_set();
        let lists = KEYS.iter().filter_map(|key| object.array_value(key));
        for element in lists.flat_map(|list| list.elements()) {
            let name = match (element.as_array(), element.as_object()) {
                (Some(pair), _) => pair.elements().into_iter().next(),
                (_, Some(named)) => named.get("package").and_then(|package| package.value()),
                _ => Some(element),
            };
            let name = name.and_then(|name| name.as_string_lit());
            if let Some(name) = name
                && name
                    .decoded_value()
                    .is_ok_and(|name| is_named(&name, package))
            {
                name.replace_with(CstInputValue::String(spec.into()));
            }
        }
        self.changed();
    }

    /// Denies permissions that have no rule.
    pub fn deny(&mut self, names: &[&str]) {
        let object = self.root.object_value_or_set();
        // `"permission": "ask"` means this.
        let all = self
            .value
            .get("permission")
            .and_then(Value::as_str)
            .map(str::to_string);
        let rules = object.object_value_or_set("permission");
        if let Some(all) = all {
            rules.append("*", CstInputValue::String(all));
        }
        for name in names {
            rules.append(name, CstInputValue::String("deny".into()));
        }
        self.changed();
    }

    /// Sets a text.
    pub fn set(&mut self, key: &str, value: &str) {
        self.put(key, CstInputValue::String(value.into()));
    }

    /// Sets `key` to false.
    pub fn turn_off(&mut self, key: &str) {
        self.put(key, CstInputValue::Bool(false));
    }

    fn put(&mut self, key: &str, value: CstInputValue) {
        let object = self.root.object_value_or_set();
        match object.get(key) {
            Some(property) => property.set_value(value),
            None => drop(object.append(key, value)),
        }
        self.changed();
    }
}

/// All files together, later ones stronger.
pub fn merged(files: &[File]) -> Value {
    let mut all = Value::Object(Map::new());
    for file in files {
        merge(&mut all, &file.value);
    }
    all
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn entries(value: &Value, key: &str) -> impl Iterator<Item = Entry> {
    let list = value.get(key).and_then(Value::as_array).cloned();
    list.unwrap_or_default()
        .into_iter()
        .filter_map(|value| entry(&value))
}

fn entry(value: &Value) -> Option<Entry> {
    let (spec, options) = match value {
        Value::Array(pair) => (pair.first()?.as_str()?, pair.get(1).cloned()),
        // OpenCode 2's own form.
        Value::Object(named) => (
            named.get("package")?.as_str()?,
            named.get("options").cloned(),
        ),
        value => (value.as_str()?, None),
    };
    Some(Entry {
        spec: spec.into(),
        options: options.unwrap_or(Value::Null),
    })
}

/// The path that a spec names, if it names an absolute one.
fn absolute(spec: &str) -> Option<String> {
    let path = spec.strip_prefix("file://").unwrap_or(spec);
    // `file:///C:/x`
    let path = match path.strip_prefix('/') {
        Some(rest) if Platform::of_path(rest).is_windows() && !rest.starts_with('/') => rest,
        _ => path,
    };
    let platform = Platform::of_path(path);
    platform.is_absolute(path).then(|| platform.slashed(path))
}

/// A package by its name, or a directory of that name.
fn is_named(spec: &str, package: &str) -> bool {
    let name = spec
        .trim_end_matches(['/', '\\'])
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(spec);
    name == package
        || name
            .strip_prefix(package)
            .is_some_and(|rest| rest.starts_with('@'))
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(map) => CstInputValue::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::{TestHost, run};

    const PACKAGE: &str = "opencode-daytona-sandbox";

    fn changed(text: &str, change: impl Fn(&mut File)) -> String {
        let mut file = File::parse("opencode.json", text).expect("parses");
        change(&mut file);
        let text = file.text();
        let again = File::parse("opencode.json", &text).expect("still parses");
        assert_eq!(again.value, file.value);
        text
    }

    #[test]
    fn changes_keep_comments_and_layout() {
        let text = "// mine\n{\n  // theme\n  \"theme\": \"x\", /* y */\n}\n";
        let out = changed(text, |file| {
            file.add("opencode-daytona-sandbox@1.0.0").expect("a list");
            file.deny(&["bash", "read"]);
            file.set("shell", "false");
        });
        for kept in [
            "// mine",
            "// theme\n  \"theme\": \"x\"",
            "/* y */",
            "\"bash\": \"deny\"",
            "\"shell\": \"false\"",
        ] {
            assert!(out.contains(kept), "{kept}: {out}");
        }
    }

    #[test]
    fn what_is_no_list_and_what_is_no_text_is_not_written_over() {
        run(async {
            let mut file = File::parse(
                "x",
                r#"{"plugin": "mine", "plugins": ["opencode-daytona-sandbox"]}"#,
            )
            .expect("parses");
            let before = file.text();
            for refused in [file.add("more"), file.rename(PACKAGE, &[])] {
                assert!(
                    refused
                        .expect_err("no list")
                        .contains("`plugin` is no list")
                );
            }
            assert_eq!(file.text(), before);
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir
                .path()
                .join("opencode.json")
                .to_string_lossy()
                .into_owned();
            std::fs::write(&path, b"{\"theme\": \"\xff\"}").expect("written");
            let read = File::read(&TestHost::new(&[]), &path).await;
            assert!(read.err().expect("no text").contains("not UTF-8"));
        });
    }

    #[test]
    fn the_wrong_key_is_renamed_and_other_plugins_stay_where_they_are() {
        let out = changed(
            r#"{"plugins": ["other", ["opencode-daytona-sandbox", {"sync": "off"}]], "plugin": ["mine"]}"#,
            |file| file.rename(PACKAGE, &[]).expect("a list"),
        );
        let file = File::parse("x", &out).expect("parses");
        assert_eq!(file.value["plugins"], serde_json::json!(["other"]));
        assert_eq!(
            file.entry("plugin", PACKAGE, &[]),
            Some(Entry {
                spec: PACKAGE.into(),
                options: serde_json::json!({ "sync": "off" })
            })
        );
        for (plugins, plugin) in [
            (
                r#""opencode-daytona-sandbox""#,
                serde_json::json!(["opencode-daytona-sandbox"]),
            ),
            (r#""/x/ours""#, serde_json::json!(["/x/ours"])),
            (
                r#"{"package": "opencode-daytona-sandbox", "options": {"sync": "off"}}"#,
                serde_json::json!([["opencode-daytona-sandbox", {"sync": "off"}]]),
            ),
            (
                r#"{"package": "opencode-daytona-sandbox"}"#,
                serde_json::json!(["opencode-daytona-sandbox"]),
            ),
        ] {
            let text = format!("{{\"plugins\": [{plugins}]}}");
            let out = changed(&text, |file| {
                file.rename(PACKAGE, &["/x/ours".into()]).expect("a list")
            });
            assert!(!out.contains("plugins"), "{out}");
            let file = File::parse("x", &out).expect("parses");
            assert_eq!(file.value["plugin"], plugin);
        }
    }

    #[test]
    fn a_version_is_named_in_either_form() {
        for text in [
            r#"{"plugin": ["opencode-daytona-sandbox"]}"#,
            r#"{"plugin": [["opencode-daytona-sandbox@0.0.1", {"sync": "off"}]]}"#,
            r#"{"plugins": [{"package": "opencode-daytona-sandbox"}]}"#,
        ] {
            let out = changed(text, |file| {
                file.pin(PACKAGE, "opencode-daytona-sandbox@2.0.0")
            });
            assert!(out.contains("\"opencode-daytona-sandbox@2.0.0\""), "{out}");
            assert_eq!(
                out.matches("plugin\"").count(),
                text.matches("plugin\"").count()
            );
        }
    }

    #[test]
    fn a_rule_for_all_stays_before_the_denials() {
        let out = changed(r#"{"permission": "ask"}"#, |file| file.deny(&["bash"]));
        let (all, bash) = (
            out.find("\"*\"").expect("kept"),
            out.find("\"bash\"").expect("added"),
        );
        assert!(all < bash, "{out}");
    }

    #[test]
    fn later_files_are_stronger() {
        let file = |text| File::parse("x", text).expect("parses");
        let all = merged(&[
            file(r#"{"permission": {"bash": "ask", "read": "deny"}}"#),
            file(r#"{"permission": {"bash": "deny"}}"#),
        ]);
        assert_eq!(
            all["permission"],
            serde_json::json!({ "bash": "deny", "read": "deny" })
        );
        let of = places("/h/.config", Some("/n".into()), "/p", "/p/a/b");
        let at = |path: &str| of.iter().position(|place| place == path).expect("is read");
        assert!(at("/h/.config/opencode/opencode.json") < at("/n"));
        assert!(at("/n") < at("/p/opencode.json"));
        assert!(at("/p/opencode.json") < at("/p/a/b/opencode.jsonc"));
        assert!(at("/p/a/b/opencode.jsonc") < at("/p/.opencode/opencode.json"));
    }

    #[test]
    fn paths_are_told_from_names() {
        for (spec, path) in [
            ("/x/y", Some("/x/y")),
            ("file:///x/y", Some("/x/y")),
            (r"C:\x\y", Some("C:/x/y")),
            ("C:/x/y", Some("C:/x/y")),
            ("file:///C:/x/y", Some("C:/x/y")),
            (r"\\server\share\y", Some("//server/share/y")),
            ("./y", Some("/h/c/y")),
            ("../../y/z.js", Some("/y/z.js")),
            (r".\y", Some("/h/c/y")),
            ("opencode-daytona-sandbox@0.1.0", None),
            ("@scope/name", None),
        ] {
            let file = File::parse("/h/c/opencode.json", "{}").expect("parses");
            assert_eq!(file.path_of(spec).as_deref(), path, "{spec}");
        }
    }

    #[test]
    fn an_entry_has_three_forms() {
        let file = |plugins: &str| File::parse("x", &format!("{{\"plugins\": [{plugins}]}}"));
        for (text, options) in [
            (r#""opencode-daytona-sandbox""#, Value::Null),
            (
                r#"["opencode-daytona-sandbox", {"a": 1}]"#,
                serde_json::json!({"a": 1}),
            ),
            (
                r#"{"package": "opencode-daytona-sandbox", "options": {"a": 1}}"#,
                serde_json::json!({"a": 1}),
            ),
        ] {
            let found = file(text).expect("parses").entry("plugins", PACKAGE, &[]);
            assert_eq!(found.expect(text).options, options);
        }
    }

    #[test]
    fn a_link_to_a_file_stays_one_and_a_path_into_a_package_names_it() {
        run(async {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name).to_string_lossy().replace('\\', "/");
            let host = TestHost::new(&[]);
            std::fs::create_dir_all(at("ours/dist")).expect("made");
            std::fs::write(at("ours/dist/index.js"), "").expect("written");
            let package = format!("{{\"name\":\"{PACKAGE}\",\"version\":\"3.0.0\"}}");
            std::fs::write(at("ours/package.json"), package).expect("written");
            std::fs::write(
                at("real.json"),
                "{\"plugin\": [\"./ours/dist/index.js\", \"./other\"]}",
            )
            .expect("written");
            #[cfg(unix)]
            std::os::unix::fs::symlink(at("real.json"), at("opencode.json")).expect("linked");
            #[cfg(not(unix))]
            std::fs::copy(at("real.json"), at("opencode.json")).expect("copied");
            let read = File::read(&host, &at("opencode.json")).await;
            let mut file = read.expect("reads").expect("is there");
            let ours = paths(&host, std::slice::from_ref(&file), PACKAGE).await;
            assert_eq!(ours, [at("./ours/dist/index.js").replace("./", "")]);
            let entry = file.entry("plugin", PACKAGE, &ours).expect("named");
            assert_eq!(entry.spec, "./ours/dist/index.js");
            file.set("theme", "x");
            file.write(&host).await.expect("written");
            #[cfg(unix)]
            assert!(
                std::fs::symlink_metadata(at("opencode.json"))
                    .expect("is there")
                    .is_symlink()
            );
            let text = std::fs::read_to_string(at("opencode.json")).expect("reads");
            assert!(text.contains("theme"), "{text}");
        });
    }

    #[test]
    fn who_is_ours() {
        for (spec, ours) in [
            ("opencode-daytona-sandbox", true),
            ("opencode-daytona-sandbox@1.2.3", true),
            ("file:///x/opencode-daytona-sandbox", true),
            (r"C:\x\opencode-daytona-sandbox\", true),
            (r".\opencode-daytona-sandbox", true),
            ("opencode-daytona-sandbox-extra", false),
            ("other", false),
        ] {
            assert_eq!(is_named(spec, PACKAGE), ours, "{spec}");
        }
    }
}
