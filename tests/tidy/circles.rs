//! Modules of a crate depend on each other in one direction: modules beside each other form no
//! circle. A module and those inside it count as one, seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::{files, is_test, root};

/// Known dependency cycles: the package, and the modules of each.
const LEFT: &[(&str, &[&str])] = &[
    ("ht-bench", &["drive", "outcome"]),
    ("ht-broker", &["broker", "follow"]),
];

/// A path of modules.
type Module = Vec<String>;

/// What each module uses, by the paths behind `crate`.
type Uses = BTreeMap<Module, Vec<Module>>;

/// The modules of one folder, and which of them each depends on.
type Level = BTreeMap<String, BTreeSet<String>>;

/// The statements `use crate::…;` at the top of a file, its tests left out.
fn statements(text: &str) -> Vec<&str> {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let starts = text.match_indices("use crate::").map(|(at, _)| at);
    let is_at_top = |at: &usize| {
        let line = text[..*at].rsplit('\n').next().unwrap();
        line.is_empty() || line.starts_with("pub")
    };
    let statements = starts.filter(is_at_top);
    statements
        .map(|at| text[at + "use crate::".len()..].split(';').next().unwrap())
        .collect()
}

/// Splits a tree of imports, such as `a::{b, c::d}`, into its paths.
fn expand(tree: &str, above: &[String], found: &mut Vec<Module>) {
    let (path, inner) = match tree.split_once('{') {
        Some((path, inner)) => (path, inner.trim_end().strip_suffix('}')),
        None => (tree, None),
    };
    let names = path
        .split("::")
        .map(|name| name.split(" as ").next().unwrap().trim());
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let path: Module = above.iter().cloned().chain(names).collect();
    let Some(inner) = inner else {
        found.push(path);
        return;
    };
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&inner[begin..at], &path, found);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !inner[begin..].trim().is_empty() {
        expand(&inner[begin..], &path, found);
    }
}

/// What the modules below this folder of sources use.
fn uses_of(sources: &Path) -> Uses {
    let mut uses = Uses::new();
    for path in files(sources, ".rs")
        .into_iter()
        .filter(|path| !is_test(path))
    {
        let below = path.strip_prefix(sources).unwrap().with_extension("");
        let mut module: Module = below
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        module.retain(|name| !matches!(&**name, "lib" | "main" | "mod"));
        let text = fs::read_to_string(&path).unwrap();
        let used = uses.entry(module).or_default();
        for statement in statements(&text) {
            expand(statement, &[], used);
        }
    }
    uses
}

/// By folder: which modules depend on which others beside them.
fn levels(uses: &Uses) -> BTreeMap<Module, Level> {
    let mut levels = BTreeMap::<Module, Level>::new();
    for (module, used) in uses {
        for path in used {
            // After the module comes the item that is used of it.
            let lengths = (1..=path.len()).rev();
            let mut known = lengths.map(|length| &path[..length]);
            let Some(target) = known.find(|target| uses.contains_key(*target)) else {
                continue;
            };
            let same = module
                .iter()
                .zip(target)
                .take_while(|(one, other)| one == other);
            let depth = same.count();
            if let (Some(own), Some(other)) = (module.get(depth), target.get(depth)) {
                let level = levels.entry(module[..depth].to_vec()).or_default();
                level.entry(own.clone()).or_default().insert(other.clone());
            }
        }
    }
    levels
}

/// What a module depends on, directly or not.
fn reached(level: &Level, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in level.get(module).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

/// The largest sets of modules that all depend on each other.
fn circles(level: &Level) -> BTreeSet<Vec<String>> {
    let all: BTreeMap<_, _> = level.keys().map(|it| (it, reached(level, it))).collect();
    let own = |module: &String| {
        let others = all.iter();
        let others =
            others.filter(|(it, reached)| all[module].contains(**it) && reached.contains(module));
        others.map(|(it, _)| (*it).clone()).collect::<Vec<_>>()
    };
    level
        .keys()
        .map(own)
        .filter(|circle| !circle.is_empty())
        .collect()
}

#[test]
fn sibling_modules_form_no_cycle() {
    let mut found = BTreeSet::new();
    for manifest in files(root(), "Cargo.toml") {
        let text = fs::read_to_string(&manifest).unwrap();
        let sources = manifest.with_file_name("src");
        let name = text.split("\nname = \"").nth(1);
        let (Some(name), true) = (name, sources.is_dir()) else {
            continue;
        };
        let name = name.split('"').next().unwrap().to_owned();
        for (folder, level) in levels(&uses_of(&sources)) {
            for circle in circles(&level) {
                let paths = circle
                    .iter()
                    .map(|it| [&folder[..], std::slice::from_ref(it)].concat().join("::"));
                found.insert((name.clone(), paths.collect::<Vec<_>>()));
            }
        }
    }
    let left = LEFT.iter().map(|(name, circle)| {
        let circle = circle.iter().map(|module| (*module).to_owned());
        ((*name).to_owned(), circle.collect())
    });
    assert_eq!(found, left.collect());
}

#[test]
fn imports_are_parsed() {
    let text = "//! x\nuse std::fmt;\n\npub use crate::a::B;\npub(crate) use crate::a::b::{self, C as D};\n\
        use crate::{\n    c::{d::E, f},\n    g,\n};\nfn x() {\n    use crate::h::I;\n}\n\
        \n#[cfg(test)]\nmod tests {\nuse crate::j::K;\n";
    let mut found = Vec::new();
    for statement in statements(text) {
        expand(statement, &[], &mut found);
    }
    let found: Vec<_> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["a::B", "a::b::self", "a::b::C", "c::d::E", "c::f", "g"]
    );
}

#[test]
fn a_cycle_is_found_at_its_level() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let uses: Uses = [
        ("a", vec!["b::c::Type"]),
        ("b", vec!["b::c"]),
        ("b::c", vec!["b::d::f", "b::Type"]),
        ("b::d", vec!["b::c"]),
        ("e", vec!["a"]),
    ]
    .into_iter()
    .map(|(path, used)| (module(path), used.into_iter().map(module).collect()))
    .collect();
    let levels = levels(&uses);
    assert!(circles(&levels[&Vec::new()]).is_empty());
    let inside = &levels[&module("b")];
    assert_eq!(
        circles(inside),
        BTreeSet::from([vec!["c".to_owned(), "d".to_owned()]])
    );
}
