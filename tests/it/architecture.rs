//! Packages, lints and files keep the shape that docs/architecture.md describes.

mod modules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modules::Modules;
use toml::{Table, Value};
use trunkline_tests::process::workspace;

/// The packages of the workspace that each package may use.
const ARROWS: [(&str, &[&str]); 12] = [
    (
        "trunkline",
        &[
            "trunkline-cluster",
            "trunkline-core",
            "trunkline-gateway",
            "trunkline-http",
            "trunkline-proto",
            "trunkline-storage",
        ],
    ),
    ("trunkline-program", &["trunkline", "trunkline-search"]),
    ("trunkline-search", &["trunkline-core", "trunkline-storage"]),
    ("trunkline-core", &["trunkline-proto", "trunkline-storage"]),
    (
        "trunkline-cluster",
        &["trunkline-core", "trunkline-proto", "trunkline-storage"],
    ),
    ("trunkline-gateway", &["trunkline-core", "trunkline-proto"]),
    ("trunkline-http", &["trunkline-core", "trunkline-proto"]),
    ("trunkline-proto", &[]),
    ("trunkline-storage", &[]),
    ("trunkline-loadgen", &["trunkline-proto", "trunkline"]),
    ("trunkline-contender", &[]),
    ("trunkline-examples", &["trunkline-storage"]),
];

/// Packages that may use any other package, and that no other package may use.
const OUTSIDE: [&str; 4] = [
    "trunkline-benches",
    "trunkline-counts",
    "trunkline-fuzz",
    "trunkline-tests",
];

/// The only file of the load generator that may know the gateway's crate.
const LOCAL_GATEWAY: &str = "loadgen/src/local_gateway.rs";

/// The maximum number of lines of a handwritten file.
const LINES: usize = 600;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(folder: &Path) -> Table {
    let path = folder.join("Cargo.toml");
    read(&path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the folders of the workspace's packages.
fn members() -> Vec<PathBuf> {
    let root = manifest(&workspace());
    let members = root["workspace"]["members"]
        .as_array()
        .expect("a list of members");
    members
        .iter()
        .map(|member| workspace().join(member.as_str().expect("a path")))
        .collect()
}

/// Returns the dependencies of a package, of every kind and target, by the names of the packages.
fn dependencies(manifest: &Table) -> Vec<String> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(Value::as_table));
    let mut found = Vec::new();
    for table in targets.chain([manifest]) {
        for dependency in kinds
            .iter()
            .filter_map(|kind| table.get(*kind)?.as_table())
            .flatten()
        {
            let (name, wanted) = dependency;
            let renamed = wanted.get("package").and_then(Value::as_str);
            found.push(renamed.unwrap_or(name).to_owned());
        }
    }
    found
}

/// Reads every Rust file of the workspace: its path and its text.
fn sources() -> Vec<(String, String)> {
    let mut folders = members();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder can be listed");
        for entry in entries {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir()
                && !path.join("Cargo.toml").is_file()
                && path.file_name() != Some("target".as_ref())
            {
                folders.push(path);
            } else if path.extension() == Some("rs".as_ref()) {
                let name = path
                    .strip_prefix(workspace())
                    .expect("a path below the workspace");
                files.push((name.display().to_string(), read(&path)));
            }
        }
    }
    assert!(files.len() > 50, "only {} files found", files.len());
    files
}

#[test]
fn crates_depend_in_one_direction() {
    let packages: BTreeMap<_, _> = members()
        .iter()
        .map(|folder| {
            let manifest = manifest(folder);
            let name = manifest["package"]["name"]
                .as_str()
                .expect("a name")
                .to_owned();
            (name, dependencies(&manifest))
        })
        .collect();
    for name in ARROWS.iter().map(|(name, _)| name).chain(&OUTSIDE) {
        assert!(
            packages.contains_key(*name),
            "{name} is not in the workspace"
        );
    }
    let wrong: Vec<_> = packages
        .iter()
        .filter_map(|(name, uses)| upward(name, uses, |used| packages.contains_key(used)))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// Returns the error of a package that uses these other packages; `None` if it may use them.
fn upward(name: &str, uses: &[String], is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(package, _)| *package == name) else {
        let is_known = OUTSIDE.contains(&name);
        return (!is_known).then(|| format!("{name} is new: which may it use?"));
    };
    let mut ours = uses.iter().filter(|used| is_ours(used));
    let other = ours.find(|used| !allowed.contains(&used.as_str()))?;
    Some(format!("{name} must not depend on {other}"))
}

#[test]
fn an_upward_arrow_between_packages_is_found() {
    let check = |text: &str, wrong: Option<&str>| {
        let manifest: Table = text.parse().expect("TOML");
        let name = manifest["package"]["name"].as_str().expect("a name");
        let is_ours = |used: &str| used.starts_with("trunkline");
        let found = upward(name, &dependencies(&manifest), is_ours);
        assert_eq!(found.as_deref(), wrong, "{text}");
    };
    let core = "package.name = \"trunkline-core\"\n";
    check(
        &format!("{core}[dependencies]\nbytes = \"1\"\ntrunkline-proto.workspace = true\n"),
        None,
    );
    for table in [
        "dependencies",
        "dev-dependencies",
        "build-dependencies",
        "target.'cfg(unix)'.dependencies",
    ] {
        check(
            &format!("{core}[{table}]\ntrunkline-gateway.workspace = true\n"),
            Some("trunkline-core must not depend on trunkline-gateway"),
        );
    }
    check(
        &format!("{core}[dependencies]\nother = {{ package = \"trunkline\", path = \"..\" }}\n"),
        Some("trunkline-core must not depend on trunkline"),
    );
    check(
        "package.name = \"trunkline-new\"\n",
        Some("trunkline-new is new: which may it use?"),
    );
}

/// The core has no socket, no HTTP and no command line, whether by a library or by the standard
/// library.
#[test]
fn the_core_has_no_socket() {
    let core = dependencies(&manifest(&workspace().join("engine/core")));
    for library in ["mio", "axum", "hyper", "tokio", "rustls", "socket2", "clap"] {
        assert!(!core.iter().any(|used| used == library), "{library}");
    }
    let mut files = 0;
    for (name, text) in sources() {
        if name.starts_with("engine/core/src/") {
            files += 1;
            for path in ["std::net", "std::os::unix::net", "std::env", "std::process"] {
                assert!(!text.contains(path), "{name} uses {path}");
            }
        }
    }
    assert!(files > 30, "only {files} files of the core found");
}

#[test]
fn packages_share_the_lints() {
    for folder in members() {
        let shared = manifest(&folder)["lints"]["workspace"].as_bool();
        assert_eq!(shared, Some(true), "{}", folder.display());
    }
    let root = manifest(&workspace());
    assert_eq!(
        root["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
}

#[test]
fn the_load_generator_knows_the_gateway_in_one_file() {
    for (name, text) in sources() {
        if name.starts_with("loadgen/src/") && name != LOCAL_GATEWAY {
            let used = text.lines().find(|line| line.contains("trunkline::"));
            assert_eq!(used, None, "{name} names the gateway's crate");
        }
    }
}

#[test]
fn files_stay_short_and_safe() {
    // In two parts, so that this file does not hold the word.
    let word = concat!("un", "safe");
    for (name, text) in sources() {
        let lines = text.lines().count();
        let is_generated = text.starts_with("// This file is @generated");
        assert!(
            lines <= LINES || is_generated,
            "{name} has {lines} lines, more than {LINES}"
        );
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            assert!(!words.any(|found| found == word), "{name}: {line}");
        }
    }
}

#[test]
fn modules_know_each_other_in_one_direction() {
    let mut packages: BTreeMap<String, Modules> = BTreeMap::new();
    for (name, text) in sources() {
        if let Some((package, file)) = name.split_once("/src/") {
            packages
                .entry(package.to_owned())
                .or_default()
                .add(file, &text);
        }
    }
    let found: Vec<_> = packages
        .iter()
        .flat_map(|(package, modules)| {
            let circles = modules.circles().into_iter();
            circles.map(move |(folder, parts)| (package.clone(), folder, parts))
        })
        .collect();
    assert_eq!(found, [], "circles of modules: package, folder, members");
}

/// A program without tests is not built for tests (`test = false`), so a test in it would never run.
#[test]
fn programs_that_are_not_built_for_tests_have_none() {
    let mark = concat!("#[", "test]");
    let sources = sources();
    let mut untested = 0;
    for folder in members() {
        let manifest = manifest(&folder);
        let Some(programs) = manifest.get("bin").and_then(Value::as_array) else {
            continue;
        };
        let is_untested =
            |program: &&Value| program.get("test").and_then(Value::as_bool) == Some(false);
        for program in programs.iter().filter(is_untested) {
            untested += 1;
            let file = folder.join(program["path"].as_str().expect("a path"));
            // The modules of src/main.rs are the library's; those of src/bin/NAME/main.rs stand
            // beside it.
            let is_own_folder = file.ends_with("main.rs") && !file.ends_with("src/main.rs");
            for (name, text) in &sources {
                let path = workspace().join(name);
                let is_of_program = path == file
                    || is_own_folder && path.starts_with(file.parent().expect("a folder"));
                assert!(
                    !(is_of_program && text.contains(mark)),
                    "{name} has a test, and its program has test = false"
                );
            }
        }
    }
    assert!(untested > 0, "no program has test = false");
}
