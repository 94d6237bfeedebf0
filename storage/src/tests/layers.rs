//! The order of the crate's modules: each uses only those below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module of the crate with the modules that it may use, from the top to the bottom. The
/// crate's documentation shows the same order.
const LAYERS: [(&str, &[&str]); 12] = [
    (
        "tools",
        &[
            "store", "recovery", "index", "run", "log", "options", "stats", "error", "position",
            "id", "backend",
        ],
    ),
    (
        "store",
        &[
            "recovery", "index", "run", "log", "options", "stats", "error", "position", "id",
            "backend",
        ],
    ),
    (
        "recovery",
        &["index", "run", "log", "error", "position", "id", "backend"],
    ),
    ("index", &["run", "log", "error", "position", "id"]),
    (
        "run",
        &["log", "stats", "error", "position", "id", "backend"],
    ),
    ("options", &["log", "id"]),
    ("log", &["error", "position", "id", "backend"]),
    ("stats", &["position"]),
    ("error", &["position", "id", "backend"]),
    ("position", &[]),
    ("id", &[]),
    ("backend", &[]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// Returns the module that each name in the crate's root comes from.
fn exports(root: &str) -> BTreeMap<&str, &str> {
    let mut modules = BTreeMap::new();
    for statement in root.split(';') {
        let Some(path) = statement.trim().strip_prefix("pub use ") else {
            continue;
        };
        let module = path.split("::").next().unwrap_or_default();
        for name in names(path) {
            modules.insert(name, module);
        }
    }
    modules
}

/// Returns the words of a path, be it with a list in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|name| !name.is_empty())
}

/// Returns the names that follow each `crate::` of a source: one, or those of a list in braces.
fn used(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("crate::") {
        let rest = &source[at + start.len()..];
        let before = source[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        match rest
            .strip_prefix('{')
            .and_then(|list| list.split('}').next())
        {
            Some(list) => found.extend(list.split(',').filter_map(|item| names(item).next())),
            None => found.extend(names(rest).next()),
        }
    }
    found
}

/// Returns a source without comments, and without the tests at its end.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let exports = exports(&root);
    let layers = BTreeMap::from(LAYERS);
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 60, "only {} files found", files.len());
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        let first = path.iter().next().and_then(|name| name.to_str()).unwrap();
        let module = first.trim_end_matches(".rs");
        if ["lib", "tests"].contains(&module) {
            continue;
        }
        let below = layers[module];
        for name in used(&code(&std::fs::read_to_string(&file).unwrap())) {
            let target = *exports.get(name).unwrap_or(&name);
            assert!(
                target == module || below.contains(&target),
                "{}: {module} must not use {target} (crate::{name})",
                path.display()
            );
        }
    }
}

#[test]
fn the_order_has_no_circle() {
    let place = |name: &str| LAYERS.iter().position(|(module, _)| *module == name);
    for (module, below) in LAYERS {
        for target in below {
            assert!(place(target) > place(module), "{target} is above {module}");
        }
    }
}

#[test]
fn a_use_is_found_in_every_form() {
    let source = "use crate::log::frame;\nuse crate::{Position, run};\nlet at = crate::store::open();\n// crate::tools\n#[cfg(test)]\nmod tests {\n    use crate::tools;\n}";
    assert_eq!(used(&code(source)), ["log", "Position", "run", "store"]);
    let exports =
        exports("mod id;\npub use id::{IdHasher, StoreKey};\npub use log::record::Draft;");
    assert_eq!((exports["StoreKey"], exports["Draft"]), ("id", "log"));
}
