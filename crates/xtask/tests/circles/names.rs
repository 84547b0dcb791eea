//! Which file of a crate names what of which other file.

use crate::modules::{Found, Id, Modules, Scope, leaves, only_tests};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItem, Item, Macro, Pat, Stmt, TraitItem};

/// For each file and each other one: the names that the first uses of the second.
pub(crate) type Arrows = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// All arrows between the files of a crate.
pub(crate) fn arrows(modules: &Modules) -> Arrows {
    let mut arrows = Arrows::new();
    for (id, module) in modules.all.iter().enumerate() {
        arrows.entry(module.file.clone()).or_default();
        let mut reader = Reader {
            modules,
            module: id,
            blocks: Vec::new(),
            variables: Vec::new(),
            arrows: &mut arrows,
        };
        for item in &module.items {
            reader.visit_item(item);
        }
    }
    arrows
}

/// The circles: each set of files of which every one reaches every other, in order.
pub(crate) fn circles(arrows: &Arrows) -> Vec<Vec<&Path>> {
    let reached = |from: &Path| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(to.as_path()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&Path, BTreeSet<&Path>> = (arrows.keys())
        .map(|file| (file.as_path(), reached(file)))
        .collect();
    let circles: BTreeSet<Vec<&Path>> = (all.iter())
        .filter(|(file, reached)| reached.contains(*file))
        .map(|(file, reached)| {
            let back = |other: &&&Path| all[**other].contains(file);
            reached.iter().filter(back).copied().collect()
        })
        .collect();
    circles.into_iter().collect()
}

/// Reads the items of one module.
struct Reader<'a> {
    modules: &'a Modules,
    module: Id,
    /// The blocks around the place that is read, the innermost last.
    blocks: Vec<Scope>,
    /// The variables of the functions around the place that is read.
    variables: Vec<BTreeSet<String>>,
    arrows: &'a mut Arrows,
}

impl Reader<'_> {
    fn file(&self) -> &Path {
        &self.modules.all[self.module].file
    }

    /// Notes where a path leads, if it leads to an item.
    fn path(&mut self, path: &[String]) {
        if let [name] = path
            && self.variables.iter().any(|names| names.contains(name))
        {
            return;
        }
        for found in self.modules.resolve(self.module, &self.blocks, path) {
            if let Found::Item(module) = found {
                let file = self.modules.all[module].file.clone();
                self.arrow(file, path.join("::"));
            }
        }
    }

    fn arrow(&mut self, to: PathBuf, name: String) {
        if to != self.file() {
            let from = self.arrows.entry(self.file().to_path_buf()).or_default();
            from.entry(to).or_default().insert(name);
        }
    }

    /// The paths that can be seen among tokens: names with `::` between them. In an attribute a text
    /// can be a path, too, as serde has it.
    fn tokens(&mut self, tokens: TokenStream, texts: bool) {
        let mut path: Vec<String> = Vec::new();
        // How many colons came last, and whether what comes next is no path of its own.
        let (mut colons, mut inside) = (0, false);
        for tree in tokens {
            match &tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.seen(&mut path);
                    }
                    if !inside || !path.is_empty() {
                        path.push(ident.to_string());
                    }
                    (colons, inside) = (0, false);
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    inside = colons == 2 && path.is_empty();
                    continue;
                }
                _ => {}
            }
            self.seen(&mut path);
            colons = 0;
            inside =
                matches!(&tree, TokenTree::Punct(punct) if ['.', '\''].contains(&punct.as_char()));
            match tree {
                TokenTree::Group(group) => self.tokens(group.stream(), texts),
                TokenTree::Literal(literal) if texts => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                        && let Ok(path) = text.parse::<syn::Path>()
                    {
                        self.visit_path(&path);
                    }
                }
                _ => {}
            }
        }
        self.seen(&mut path);
    }

    fn seen(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.path(path);
            path.clear();
        }
    }

    /// Reads a function, whose variables hide what globs bring.
    fn function(&mut self, read: impl FnOnce(&mut Self), variables: Variables) {
        self.variables.push(variables.0);
        read(self);
        self.variables.pop();
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if only_tests(crate::modules::attributes(item)) {
            return;
        }
        match item {
            Item::Use(item) => {
                if item.leading_colon.is_none() {
                    for leaf in leaves(&item.tree) {
                        self.path(&leaf.path);
                    }
                }
            }
            Item::Fn(function) => {
                let mut variables = Variables::default();
                variables.visit_item_fn(function);
                self.function(|reader| visit::visit_item(reader, item), variables);
            }
            item => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(function) if !only_tests(&function.attrs) => {
                let mut variables = Variables::default();
                variables.visit_impl_item_fn(function);
                self.function(|reader| visit::visit_impl_item(reader, item), variables);
            }
            ImplItem::Fn(_) => {}
            item => visit::visit_impl_item(self, item),
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Fn(function) => {
                let mut variables = Variables::default();
                variables.visit_trait_item_fn(function);
                self.function(|reader| visit::visit_trait_item(reader, item), variables);
            }
            item => visit::visit_trait_item(self, item),
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let items = block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => Some(item),
            _ => None,
        });
        self.blocks.push(Scope::of(items));
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<_> = (path.segments.iter())
                .map(|segment| segment.ident.to_string())
                .collect();
            self.path(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(name) = call.path.get_ident()
            && let Some(file) = self.modules.macros.get(&name.to_string())
        {
            self.arrow(file.clone(), format!("{name}!"));
        }
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone(), true);
        }
    }
}

/// The variables that a function's patterns name.
#[derive(Default)]
struct Variables(BTreeSet<String>);

impl<'ast> Visit<'ast> for Variables {
    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Ident(pattern) = pattern {
            let name = pattern.ident.to_string();
            // What begins with a capital letter is a constant or a variant.
            if !name.starts_with(char::is_uppercase) {
                self.0.insert(name);
            }
        }
        visit::visit_pat(self, pattern);
    }
}
