//! The modules that each module of a package uses, and the circles among them.
//!
//! A module is a file, or a folder with its file. What counts:
//!
//! - The modules at the root of a package, and the folders inside a module, know each other in one
//!   direction.
//! - The files of one folder may know each other and their parent: together they are one module.
//!
//! Tests may know everything.

use std::collections::{BTreeMap, BTreeSet};

/// A module's path below its crate.
type Path = Vec<String>;

/// The modules of a package and their text, without tests.
#[derive(Default)]
pub(super) struct Modules(BTreeMap<Path, String>);

/// Modules that know each other in a circle, with the module that they are in.
pub(super) type Circle = (String, Vec<String>);

impl Modules {
    /// Adds a file by its path below `src/`. Programs of `src/bin` are crates of their own.
    pub(super) fn add(&mut self, file: &str, text: &str) {
        let mut path: Path = file
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .collect();
        if path.iter().any(|part| part == "tests") || path[0] == "bin" {
            return;
        }
        if path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        if path == ["lib"] || path == ["main"] {
            path.clear();
        }
        self.0.insert(path, code(text));
    }

    /// Returns the circles of the package.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let known: Vec<_> = self
            .0
            .iter()
            .flat_map(|(from, text)| {
                let used = used(text).into_iter();
                used.map(move |path| (from, self.module(from, &path)))
            })
            .collect();
        let folders: BTreeSet<&[String]> = self
            .0
            .keys()
            .flat_map(|path| (0..path.len()).map(|depth| &path[..depth]))
            .collect();
        let mut found = Vec::new();
        for folder in folders {
            let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (from, to) in &known {
                let (Some(from), Some(to)) = (child(folder, from), child(folder, to)) else {
                    continue;
                };
                let apart = |part: &str| folder.is_empty() || self.is_folder(folder, part);
                if from != to && apart(from) && apart(to) {
                    arrows.entry(from).or_default().insert(to);
                }
            }
            let name = folder.join("::");
            let circles = rings(&arrows).into_iter();
            found.extend(circles.map(|circle| (name.clone(), circle)));
        }
        found
    }

    /// Returns the module that a path leads to, as far as it leads to modules.
    fn module(&self, from: &Path, path: &[String]) -> Path {
        let mut module = Path::new();
        let mut rest = path;
        if path[0] == "crate" {
            rest = &path[1..];
        } else {
            module.clone_from(from);
            while rest.first().is_some_and(|part| part == "super") {
                module.pop();
                rest = &rest[1..];
            }
        }
        module.extend(rest.iter().filter(|part| *part != "self").cloned());
        while !module.is_empty() && !self.0.contains_key(&module) {
            module.pop();
        }
        module
    }

    fn is_folder(&self, folder: &[String], part: &str) -> bool {
        self.0
            .keys()
            .any(|path| path.len() > folder.len() + 1 && child(folder, path) == Some(part))
    }
}

/// Returns the part of a path behind the folder's, if it is in that folder.
fn child<'p>(folder: &[String], path: &'p [String]) -> Option<&'p str> {
    path.strip_prefix(folder)?.first().map(String::as_str)
}

/// Returns a file's code without comments, and without the module of tests at its end. A
/// declaration of such a module (`mod tests;`) ends nothing.
fn code(text: &str) -> String {
    let tests = "#[cfg(test)]\nmod ";
    let is_block = |at: &usize| {
        text[at + tests.len()..]
            .split(['{', ';'])
            .next()
            .is_some_and(|name| text[at + tests.len() + name.len()..].starts_with('{'))
    };
    let end = text.match_indices(tests).map(|(at, _)| at).find(is_block);
    let text = &text[..end.unwrap_or(text.len())];
    let lines = text.lines();
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// Returns the paths that begin with `crate::` or `super::`. Splits groups into single paths.
fn used(code: &str) -> Vec<Path> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':')) {
                read(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads a path or a group behind `prefix`; returns what comes after it.
fn read<'c>(code: &'c str, prefix: &[String], found: &mut Vec<Path>) -> &'c str {
    let mut path = prefix.to_vec();
    let mut rest = code.trim_start();
    loop {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let end = end.unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(more) => rest = more.trim_start(),
                None => break,
            }
        } else if let Some(mut group) = rest.strip_prefix('{') {
            loop {
                group = read(group, &path, found).trim_start();
                // What is between two entries may be a new name of the first.
                let end = group.find([',', '}']).unwrap_or(group.len());
                let is_last = !group[end..].starts_with(',');
                group = group.get(end + 1..).unwrap_or_default();
                if is_last {
                    return group;
                }
            }
        } else {
            // An asterisk, or the end of a group.
            rest = rest.strip_prefix('*').unwrap_or(rest);
            break;
        }
    }
    if path.len() > prefix.len() || prefix.is_empty() {
        found.push(path);
    }
    rest
}

/// Returns the parts that lead back to themselves, those of one circle together.
fn rings(arrows: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reached = |start: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(part) = next.pop() {
            for to in arrows.get(&*part).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    next.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let mut found = BTreeSet::new();
    for part in arrows.keys() {
        let circle: Vec<_> = reached(part)
            .into_iter()
            .filter(|other| reached(other).contains(*part))
            .collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Circle> {
        let mut modules = Modules::default();
        for (file, text) in files {
            modules.add(file, text);
        }
        modules.circles()
    }

    fn circle(folder: &str, parts: &[&str]) -> Vec<Circle> {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        vec![(folder.to_owned(), parts)]
    }

    #[test]
    fn an_upward_arrow_closes_a_circle() {
        let below = ("store.rs", "use std::io;\n\npub fn open() {}");
        let above = ("shard/mod.rs", "use crate::store;\nmod mail;");
        let part = (
            "shard/mail.rs",
            "use super::Shard;\nuse crate::store::open;",
        );
        assert_eq!(circles(&[below, above, part]), []);
        for planted in [
            "use crate::shard::Shard;",
            "use crate::{ids, shard::mail::{self, Mail as Post}};",
            "use super::shard;",
            "fn f() -> u8 { crate::shard::mail::f() }",
            "use crate::{\n    ids::{Id, Other},\n    shard,\n};",
            "#[cfg(test)]\nmod tests;\n\nuse crate::shard;",
        ] {
            let found = circles(&[("store.rs", planted), above, part]);
            assert_eq!(found, circle("", &["shard", "store"]), "{planted}");
        }
        for harmless in [
            "// use crate::shard;",
            "/// See [`crate::shard`].\nfn f() {}",
            "#[cfg(test)]\nmod tests {\n    use crate::shard;\n}",
            "use other::crate_like::shard;",
        ] {
            assert_eq!(
                circles(&[("store.rs", harmless), above, part]),
                [],
                "{harmless}"
            );
        }
    }

    #[test]
    fn files_of_a_folder_are_one_module_and_folders_in_it_are_not() {
        let files = [
            ("shard/mod.rs", "use self::mail::Mail;"),
            ("shard/mail.rs", "use super::Shard;\nuse super::core::Core;"),
            ("shard/core.rs", "use super::mail::Mail;"),
            ("shard/tests.rs", "use crate::anything;"),
        ];
        assert_eq!(circles(&files), []);
        let folders = [
            ("log/mod.rs", ""),
            ("log/read/mod.rs", "use super::write::Writer;"),
            ("log/read/page.rs", "use super::super::Log;"),
            ("log/write/mod.rs", ""),
            ("log/write/flush.rs", "use crate::log::read::page::Page;"),
        ];
        assert_eq!(circles(&folders), circle("log", &["read", "write"]));
    }

    #[test]
    fn a_circle_is_found_however_long_it_is() {
        let long = [
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::c::C;"),
            ("c/mod.rs", "mod d;"),
            ("c/d.rs", "use crate::a;"),
            ("e.rs", "use crate::a;"),
        ];
        assert_eq!(circles(&long), circle("", &["a", "b", "c"]));
    }
}
