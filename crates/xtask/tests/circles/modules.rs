//! The modules of one crate, read from its files, and where a path leads in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

/// Index of a module in its [`Modules`].
pub(crate) type Id = usize;

/// The modules of one crate. The first is the root.
#[derive(Default)]
pub(crate) struct Modules {
    pub(crate) all: Vec<Module>,
    /// The file that has each `macro_rules!`: their scope is the text below, in whatever file.
    pub(crate) macros: BTreeMap<String, PathBuf>,
}

/// One module: a file, or a part of one.
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    pub(crate) items: Vec<Item>,
    pub(crate) scope: Scope,
    parent: Option<Id>,
}

/// The names that the items of a module or of a block bring.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    names: BTreeMap<String, Vec<Binding>>,
    globs: Vec<Vec<String>>,
}

/// What a name in a scope stands for.
#[derive(Clone)]
enum Binding {
    Module(Id),
    /// Defined here.
    Item,
    /// What this path leads to.
    Import(Vec<String>),
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    Module(Id),
    /// An item that is defined in this module.
    Item(Id),
}

impl Scope {
    /// The names that `items` bring; those of modules are not among them.
    pub(crate) fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Scope {
        let mut scope = Scope::default();
        for item in items {
            match item {
                Item::Use(item) if item.leading_colon.is_none() => {
                    for leaf in leaves(&item.tree) {
                        match leaf.name {
                            Some(name) => scope.bind(name, Binding::Import(leaf.path)),
                            None => scope.globs.push(leaf.path),
                        }
                    }
                }
                item => {
                    if let Some(name) = defined(item) {
                        scope.bind(name, Binding::Item);
                    }
                }
            }
        }
        scope
    }

    fn bind(&mut self, name: String, binding: Binding) {
        self.names.entry(name).or_default().push(binding);
    }
}

/// The name that an item defines.
fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// One name that a `use` brings, or all of them for a glob.
pub(crate) struct Leaf {
    pub(crate) path: Vec<String>,
    name: Option<String>,
}

/// What a `use` names, flat.
pub(crate) fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let mut all = Vec::new();
    flatten(tree, &mut Vec::new(), &mut all);
    all
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, all: &mut Vec<Leaf>) {
    let mut leaf = |last: String, name: String| {
        let mut path = before.clone();
        let mut name = name;
        if last == "self" && !path.is_empty() {
            name = match name.as_str() {
                "self" => path.last().cloned().unwrap_or_default(),
                _ => name,
            };
        } else {
            path.push(last);
        }
        let name = Some(name);
        all.push(Leaf { path, name });
    };
    match tree {
        UseTree::Path(tree) => {
            before.push(tree.ident.to_string());
            flatten(&tree.tree, before, all);
            before.pop();
        }
        UseTree::Name(tree) => leaf(tree.ident.to_string(), tree.ident.to_string()),
        UseTree::Rename(tree) => leaf(tree.ident.to_string(), tree.rename.to_string()),
        UseTree::Glob(_) => all.push(Leaf {
            path: before.clone(),
            name: None,
        }),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, all);
            }
        }
    }
}

/// True for code that only tests have: `#[test]`, `#[cfg(test)]`, and `#[cfg(all(test, …))]`.
pub(crate) fn only_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<Meta>()
                    .is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            let parts = parts.unwrap_or_default();
            match list.path.is_ident("all") {
                true => parts.iter().any(needs_test),
                false => list.path.is_ident("any") && parts.iter().all(needs_test),
            }
        }
        Meta::NameValue(_) => false,
    }
}

/// The attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl Modules {
    /// The modules below the file `root`. `read` gives the text of a file, or none if there is none.
    pub(crate) fn read(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Modules {
        let mut modules = Modules::default();
        let children = root.parent().unwrap_or(Path::new("")).to_path_buf();
        modules.add_file(root.to_path_buf(), children, None, read);
        modules
    }

    /// Adds the module that is `file`; the files of its children are in `children`.
    fn add_file(
        &mut self,
        file: PathBuf,
        children: PathBuf,
        parent: Option<Id>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Id {
        let text = read(&file).unwrap_or_else(|| panic!("there is no {}", file.display()));
        let parsed = syn::parse_file(&text)
            .unwrap_or_else(|error| panic!("{} does not parse: {error}", file.display()));
        self.add(file, parsed.items, children, parent, read)
    }

    fn add(
        &mut self,
        file: PathBuf,
        items: Vec<Item>,
        children: PathBuf,
        parent: Option<Id>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Id {
        let id = self.all.len();
        let (mods, items): (Vec<_>, Vec<_>) = items
            .into_iter()
            .filter(|item| !only_tests(attributes(item)))
            .partition(|item| matches!(item, Item::Mod(_)));
        for item in &items {
            if let Item::Macro(item) = item
                && let Some(name) = &item.ident
            {
                self.macros.insert(name.to_string(), file.clone());
            }
        }
        self.all.push(Module {
            file: file.clone(),
            scope: Scope::of(&items),
            items,
            parent,
        });
        for item in mods {
            let Item::Mod(item) = item else { continue };
            let below = children.join(item.ident.to_string());
            let child = match item.content {
                Some((_, items)) => self.add(file.clone(), items, below, Some(id), read),
                None => {
                    let beside = below.with_extension("rs");
                    let file = match read(&beside) {
                        Some(_) => beside,
                        None => below.join("mod.rs"),
                    };
                    self.add_file(file, below, Some(id), read)
                }
            };
            let name = item.ident.to_string();
            self.all[id].scope.bind(name, Binding::Module(child));
        }
        id
    }

    /// Where `path` leads, read in `module` and there in `blocks`, the innermost last. Nothing for a
    /// path into another crate. A name can stand for several things: a module and a function, for example.
    pub(crate) fn resolve(&self, module: Id, blocks: &[Scope], path: &[String]) -> Vec<Found> {
        let mut trail = Vec::new();
        let Some(first) = path.first() else {
            return Vec::new();
        };
        for block in blocks.iter().rev() {
            if let Some(bindings) = block.names.get(first) {
                let starts = self.bound(module, bindings, &mut trail);
                return self.follow(starts, &path[1..], &mut trail);
            }
            let brought = self.through_globs(module, block, first, &mut trail);
            if !brought.is_empty() {
                return self.follow(brought, &path[1..], &mut trail);
            }
        }
        self.walk(module, path, &mut trail)
    }

    /// Resolves a path in a module. `trail` holds the imports that are being followed, so that one
    /// that names itself ends.
    fn walk(&self, module: Id, path: &[String], trail: &mut Vec<(Id, Vec<String>)>) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        let parent = self.all[module].parent;
        let starts = match first.as_str() {
            "crate" => vec![Found::Module(0)],
            "self" => vec![Found::Module(module)],
            "super" => parent.map(Found::Module).into_iter().collect(),
            name => self.lookup(module, name, trail),
        };
        self.follow(starts, rest, trail)
    }

    /// From each of `starts` on along `rest`; what comes behind an item belongs to the item.
    fn follow(
        &self,
        starts: Vec<Found>,
        rest: &[String],
        trail: &mut Vec<(Id, Vec<String>)>,
    ) -> Vec<Found> {
        let Some((next, behind)) = rest.split_first() else {
            return starts;
        };
        let mut all = Vec::new();
        for start in starts {
            match start {
                Found::Item(_) => all.push(start),
                Found::Module(module) => {
                    let found = match next.as_str() {
                        "super" => {
                            let parent = self.all[module].parent;
                            parent.map(Found::Module).into_iter().collect()
                        }
                        name => self.lookup(module, name, trail),
                    };
                    all.extend(self.follow(found, behind, trail));
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }

    fn lookup(&self, module: Id, name: &str, trail: &mut Vec<(Id, Vec<String>)>) -> Vec<Found> {
        let scope = &self.all[module].scope;
        match scope.names.get(name) {
            Some(bindings) => self.bound(module, bindings, trail),
            None => self.through_globs(module, scope, name, trail),
        }
    }

    fn bound(
        &self,
        module: Id,
        bindings: &[Binding],
        trail: &mut Vec<(Id, Vec<String>)>,
    ) -> Vec<Found> {
        let mut all = Vec::new();
        for binding in bindings {
            match binding {
                Binding::Module(id) => all.push(Found::Module(*id)),
                Binding::Item => all.push(Found::Item(module)),
                Binding::Import(path) => all.extend(self.once(module, path.clone(), trail)),
            }
        }
        all
    }

    fn through_globs(
        &self,
        module: Id,
        scope: &Scope,
        name: &str,
        trail: &mut Vec<(Id, Vec<String>)>,
    ) -> Vec<Found> {
        let mut all = Vec::new();
        for glob in &scope.globs {
            let path = [glob.as_slice(), &[name.to_string()]].concat();
            // What a glob brings from an enum has the names of variants only.
            let from = self.once(module, glob.clone(), trail);
            if from.iter().any(|found| matches!(found, Found::Module(_))) {
                all.extend(self.once(module, path, trail));
            }
        }
        all
    }

    fn once(
        &self,
        module: Id,
        path: Vec<String>,
        trail: &mut Vec<(Id, Vec<String>)>,
    ) -> Vec<Found> {
        let step = (module, path);
        if trail.contains(&step) {
            return Vec::new();
        }
        trail.push(step.clone());
        let found = self.walk(module, &step.1, trail);
        trail.pop();
        found
    }
}
