//! Command lines of `loadgen` on the project's pages: the commands and their flags exist.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The beginnings of command lines on the pages that stand for the program.
const STARTS: [&str; 3] = ["loadgen ", "./loadgen-before ", "./loadgen-after "];

/// Returns the pages that show command lines, by their names.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    let read = |path: std::path::PathBuf| {
        let page = std::fs::read_to_string(&path).expect("a page");
        (path.display().to_string(), page)
    };
    paths.into_iter().map(read).collect()
}

/// Returns the words of a command line behind the program's name.
fn words(text: &str) -> Option<Vec<String>> {
    let text = text.trim_start();
    let behind = text
        .split_once("--bin loadgen -- ")
        .map(|(_, behind)| behind)
        .or_else(|| STARTS.iter().find_map(|start| text.strip_prefix(start)))?;
    let command = behind.split(" #").next().unwrap_or_default();
    Some(command.split_whitespace().map(str::to_owned).collect())
}

/// Returns the command lines of a page: lines of its shell blocks, and what stands between
/// backquotes.
fn command_lines(page: &str) -> Vec<Vec<String>> {
    let (mut found, mut language) = (Vec::new(), None);
    for line in page.lines() {
        if let Some(name) = line.trim_start().strip_prefix("```") {
            language = match language {
                None => Some(name),
                Some(_) => None,
            };
        } else if language == Some("sh") {
            found.extend(words(line));
        } else if language.is_none() {
            found.extend(line.split('`').skip(1).step_by(2).filter_map(words));
        }
    }
    found
}

/// Returns what a command of the program prints for `--help`.
fn help(command: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let done = program.args([command, "--help"]).output().expect("it runs");
    assert!(done.status.success(), "there is no command {command}");
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn every_command_and_flag_exists() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for (name, page) in pages() {
        for words in command_lines(&page) {
            let Some(command) = words.first().filter(|word| !word.starts_with('-')) else {
                continue;
            };
            let help = helps
                .entry(command.clone())
                .or_insert_with(|| help(command));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or_default();
                let mut there = help.split([' ', ',', '\n']);
                assert!(there.any(|word| word == flag), "{name}: {words:?}: {flag}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "only {checked} flags were found");
}
