//! The pages name only settings and flags that exist.

use std::collections::BTreeSet;

use toml::Table;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::{Process, workspace};

const PAGES: [&str; 19] = [
    "docs/cluster.md",
    "README.md",
    "docs/getting-started.md",
    "docs/installing.md",
    "docs/operating.md",
    "docs/security.md",
    "docs/settings.md",
    "docs/limits.md",
    "docs/metrics.md",
    "docs/troubleshooting.md",
    "docs/protocol.md",
    "docs/load-testing.md",
    "docs/comparing.md",
    "docs/other-servers.md",
    "docs/benchmarks.md",
    "docs/glossary.md",
    "docs/http.md",
    "docs/back-ends.md",
    "storage/README.md",
];

/// Words with an underscore that are declared in none of the sources below: metrics, and words of
/// other protocols.
fn others(text: &str) -> bool {
    let start = ["trunkline_", "loadgen_", "process_"];
    // Alerts of TLS, the beginning of secrets, and the name of errors of back ends.
    let other = ["internal_error", "access_denied", "whsec_", "back_end"];
    start.iter().any(|start| text.starts_with(start)) || other.contains(&text)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).expect("a page")
}

/// Returns what stands between backquotes on a page, outside of its blocks of code.
fn quoted(page: &str) -> Vec<String> {
    let text: String = page.split("```").step_by(2).collect();
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
}

fn is_word(text: &str) -> bool {
    let all = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.contains('_') && !text.starts_with('_') && text.bytes().all(all)
}

/// Identifiers of a source, in which words of the protocol and of file formats are declared.
fn words_of(source: &str) -> BTreeSet<String> {
    let split = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    source
        .split(split)
        .filter(|word| is_word(word))
        .map(str::to_owned)
        .collect()
}

/// Returns the identifiers of all sources of a crate.
fn words_of_crate(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![workspace().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(words_of(&std::fs::read_to_string(path).expect("a source")));
            }
        }
    }
    found
}

/// Returns the settings that `check-config` knows, and those without a default that flags name.
fn settings() -> BTreeSet<String> {
    let printed = Setup::bare().flag("dev-auth", "true").run("check-config");
    let table: Table = printed.stdout.parse().expect("TOML");
    let mut command = Setup::bare().command("serve");
    let help = Process::start(command.arg("--help")).ended().stdout;
    let flags = help
        .split("\n      --")
        .skip(1)
        .filter_map(|flag| flag.split([' ', '\n']).next());
    table
        .keys()
        .cloned()
        .chain(flags.flat_map(|flag| {
            let name = flag.replace('-', "_");
            // In a file these stand in a table.
            let tables = ["callbacks_", "webhooks_"];
            let key = tables.iter().find_map(|table| name.strip_prefix(table));
            let key = key.map(str::to_owned);
            [Some(name), key].into_iter().flatten()
        }))
        .collect()
}

#[test]
fn every_setting_is_one() {
    let settings = settings();
    assert!(settings.contains("message_bytes") && settings.contains("jwt_key"));
    let mut words = words_of(&read("engine/proto/trunkline.proto"));
    // A setting that is gone may still be a word of the gateway's sources: only the protocol's,
    // the store's and the load generator's count.
    words.extend(words_of_crate("engine/proto/src"));
    words.extend(words_of_crate("loadgen/src"));
    words.extend(words_of_crate("storage/src"));
    let mut unknown = Vec::new();
    for page in PAGES {
        let mut text = read(page);
        if page == "docs/metrics.md" {
            // Another test compares the first cells, metrics and label values, with the gateway's.
            let lines = text.lines().map(|line| match line.strip_prefix("| `") {
                Some(row) => row.split_once('|').map_or("", |(_, rest)| rest),
                None => line,
            });
            text = lines.collect::<Vec<_>>().join("\n");
        }
        for word in quoted(&text) {
            let known = settings.contains(&word) || words.contains(&word) || others(&word);
            if is_word(&word) && !known {
                unknown.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "no settings, and no words of the protocol: {unknown:#?}"
    );
}

/// Flags of the gateway that a page about the gateway names.
#[test]
fn every_flag_is_one() {
    let settings = settings();
    for page in [
        "docs/limits.md",
        "docs/metrics.md",
        "docs/operating.md",
        "docs/protocol.md",
    ] {
        for text in quoted(&read(page)) {
            let Some(flag) = text.strip_prefix("--") else {
                continue;
            };
            let name = flag
                .split(['=', ' '])
                .next()
                .unwrap_or_default()
                .replace('-', "_");
            assert!(settings.contains(&name), "{page}: {text}");
        }
    }
}
