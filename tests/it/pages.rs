//! Checks of README.md and docs/: links have targets, codes are complete, commands and flags exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use trunkline_proto::ErrorCode;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::{Process, program, workspace};

/// Folders without pages of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "corpus"];

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the Markdown files of the project, by their paths in it.
fn pages() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(workspace().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                if !SKIPPED.contains(&&*name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// Returns the lines of a page outside of its blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Returns the blocks of code of this language, without their indentation.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = None;
    for line in page.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(name) = text.strip_prefix("```") {
            open = match open {
                None => {
                    if name == language {
                        found.push(String::new());
                    }
                    Some((indent, name == language))
                }
                Some(_) => None,
            };
        } else if let (Some((indent, true)), Some(block)) = (open, found.last_mut()) {
            block.push_str(line.get(indent..).unwrap_or_default());
            block.push('\n');
        }
    }
    found
}

/// Returns where the links and pictures of a page lead.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(page) {
        // What stands between backquotes is no link.
        let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in text.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        let anchor: String = heading.chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        found.insert(match *before {
            1 => anchor,
            n => format!("{anchor}-{}", n - 1),
        });
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for path in pages() {
        let page = read(&path);
        for link in links(&page) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a file has a folder").join(file)
            };
            let there = workspace().join(&target).exists();
            if !there || !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_index_has_every_page_and_the_readme_is_short() {
    assert!(read("README.md").lines().count() <= 200);
    let linked = links(&read("docs/README.md"));
    for path in pages() {
        let Ok(page) = path.strip_prefix("docs") else {
            continue;
        };
        let page = page.to_string_lossy();
        assert!(
            page == "README.md" || linked.contains(&page.to_string()),
            "{page}"
        );
    }
}

/// Each row of docs/attacks.md names tests that are there.
#[test]
fn every_attack_has_its_test() {
    let page = read("docs/attacks.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let mut count = 0;
    for row in rows.filter(|row| !row.ends_with("| test |")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, tests] = cells[..] else {
            panic!("not three cells: {row}")
        };
        for test in tests.split(", ") {
            let name = test.trim_matches('`').split_once("::");
            let (module, name) = name.unwrap_or_else(|| panic!("{test:?} is no test: {row}"));
            let source = read(format!("tests/it/{module}.rs"));
            let is_there = source.contains(&format!("#[test]\nfn {name}() {{"));
            assert!(is_there, "{test} is not there");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn every_picture_is_small_and_shown() {
    let shown: Vec<String> = pages().iter().flat_map(|path| links(&read(path))).collect();
    for entry in std::fs::read_dir(workspace().join("docs/images")).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = entry.metadata().expect("its size").len();
        assert!(size < 200_000, "{name}: {size} bytes");
        assert!(shown.iter().any(|link| link.ends_with(&name)), "{name}");
    }
}

/// Returns the first cells of the rows in a section of a page, without backquotes, and the second
/// ones.
fn rows(page: &str, heading: &str) -> Vec<(String, String)> {
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let section = lines.take_while(|line| !line.starts_with('#'));
    let rows = section.filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    })
    .collect()
}

/// Returns the rows that begin with a number, by that number.
fn codes(page: &str, heading: &str) -> Vec<(u16, String)> {
    let rows = rows(page, heading).into_iter();
    let codes = rows.filter_map(|(code, next)| Some((code.parse().ok()?, next)));
    codes.collect()
}

#[test]
fn every_code_can_be_looked_up() {
    let page = read("docs/troubleshooting.md");
    let errors = ErrorCode::ALL.map(|error| (error.code(), error.name().to_owned()));
    assert_eq!(codes(&page, "## Error codes"), errors);

    // A test holds the page of metrics to what the gateway counts.
    let closes = rows(&read("docs/metrics.md"), "### `trunkline_closes_total`");
    let closes: Vec<u16> = closes
        .iter()
        .filter_map(|(code, _)| code.parse().ok())
        .collect();
    let documented = codes(&page, "## Close codes").into_iter();
    assert_eq!(documented.map(|(code, _)| code).collect::<Vec<_>>(), closes);

    let of_loadgen = codes(&page, "## Exit codes of `loadgen`");
    let codes_of_loadgen: Vec<u16> = of_loadgen.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes_of_loadgen, [0, 90, 91, 92, 93, 94, 99, 104, 105]);
    let told = codes(&read("docs/load-testing.md"), "## Exit codes");
    assert_eq!(told, of_loadgen);
    let statuses = |page: &str, heading: &str| {
        let codes = codes(page, heading).into_iter();
        codes.map(|(code, _)| code).collect::<Vec<_>>()
    };
    let protocol = read("docs/protocol.md");
    assert_eq!(
        statuses(&page, "## HTTP statuses before the upgrade"),
        statuses(&protocol, "## Before the upgrade")
    );
}

/// Returns the paths that one in braces stands for: `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    let (parts, after) = rest.split_once('}').expect("a brace that closes");
    let parts = parts.split(',');
    parts.map(|part| format!("{before}{part}{after}")).collect()
}

#[test]
fn every_place_of_the_code_map_exists() {
    let page = read("docs/architecture.md");
    let (_, behind) = page.split_once("\n## Code map\n").expect("a code map");
    let map = behind.split("\n## ").next().unwrap_or_default();
    let mut checked = 0;
    for row in map.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cell = row.split(" | ").next().unwrap_or_default();
        for place in cell.split('`').filter(|place| place.contains('/')) {
            for path in expanded(place) {
                // A module may be a file or a folder.
                let file = workspace().join(format!("{path}.rs"));
                let there = workspace().join(&path).exists() || file.exists();
                assert!(there, "{path} is not there");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "only {checked} places were found");
}

/// Returns the command lines of a program on a page: in blocks of code, and between backquotes.
fn command_lines(page: &str, name: &str) -> Vec<Vec<String>> {
    let code = blocks(page, "sh");
    let lines = code.iter().flat_map(|block| block.lines());
    let spans = prose(page).flat_map(|line| line.split('`').skip(1).step_by(2));
    let ours = format!("--bin {name} -- ");
    let own = format!("{name} ");
    lines
        .chain(spans)
        .filter_map(|text| {
            let (_, words) = text.split_once(&*ours).or_else(|| {
                let words = text.trim_start().strip_prefix(&*own)?;
                Some(("", words))
            })?;
            // A comment, or where the output goes.
            let words = words.split(['#', '>']).next().unwrap_or_default();
            Some(words.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn every_command_of_the_gateway_and_its_flags_exist() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut checked = 0;
    for path in pages()
        .iter()
        .filter(|path| !path.ends_with("CHANGELOG.md"))
    {
        for words in command_lines(&read(path), "trunkline") {
            let wanted = words.iter().take_while(|word| !word.starts_with('-'));
            let commands: Vec<String> = wanted.cloned().collect();
            let help = helps.entry(commands.clone()).or_insert_with(|| {
                let mut command = std::process::Command::new(program());
                let exit = Process::start(command.args(&commands).arg("--help")).ended();
                assert!(exit.status.success(), "{}: {words:?}", path.display());
                exit.stdout
            });
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or_default();
                let there = help.lines().any(|line| {
                    let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
                    words.any(|word| word == flag)
                });
                assert!(there, "{}: {words:?}: {flag}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} flags were found");
}

#[test]
fn every_program_that_is_built_exists() {
    let mut known = BTreeSet::from(["trunkline".to_owned(), "loadgen".to_owned()]);
    for (manifest, kind) in [
        ("benches/Cargo.toml", "bin"),
        ("benches/Cargo.toml", "bench"),
        ("engine/search/Cargo.toml", "bench"),
    ] {
        let manifest: toml::Table = read(manifest).parse().expect("TOML");
        for target in manifest[kind].as_array().expect("a list") {
            known.insert(target["name"].as_str().expect("a name").to_owned());
        }
    }
    for path in pages()
        .iter()
        .filter(|path| !path.ends_with("CHANGELOG.md"))
    {
        let page = read(path);
        for mark in ["--bin ", "--bench "] {
            for rest in page.split(mark).skip(1) {
                let end = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
                let name = rest.split(end).next().unwrap_or_default();
                // `--bin NAME` stands for any.
                let known = known.contains(name) || name == "NAME" || name.is_empty();
                assert!(known, "{}: {mark}{name}", path.display());
            }
        }
    }
}

/// The programs in Python that the tours show, against a gateway.
#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn the_tours_in_python_work() {
    let Ok(python) = std::env::var("TRUNKLINE_TEST_PYTHON") else {
        println!("skipped: TRUNKLINE_TEST_PYTHON is not set; tests/run sets it");
        return;
    };
    let gateway = Setup::default().start();
    for (page, wanted) in [
        ("README.md", "\"from\":\"alice\""),
        ("docs/getting-started.md", "\"duplicate\":false"),
    ] {
        let block = blocks(&read(page), "python").remove(0);
        let shown = "ws://127.0.0.1:7700/v1/ws";
        assert!(block.contains(shown), "{page}: no address");
        let block = block.replace(shown, &format!("ws://{}/v1/ws", gateway.ws()));
        let mut command = std::process::Command::new(&python);
        command.env("PYTHONIOENCODING", "utf-8");
        let exit = Process::start(command.args(["-c", &block])).ended();
        assert!(exit.status.success(), "{page}: {exit:#?}");
        assert!(exit.stdout.contains(wanted), "{page}: {exit:#?}");
    }
}
