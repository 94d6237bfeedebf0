//! The version of the project and its oldest Rust are the same wherever they are named.

use toml::Table;
use trunkline_tests::process::workspace;

fn read(path: &str) -> String {
    let text = std::fs::read_to_string(workspace().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns a field of `[workspace.package]`.
fn package(field: &str) -> String {
    let manifest: Table = read("Cargo.toml").parse().expect("TOML");
    let value = manifest["workspace"]["package"][field].as_str();
    value.expect("a text").to_owned()
}

#[test]
fn the_oldest_rust_is_the_one_that_is_tested() {
    let oldest = package("rust-version");
    let pages = read("CONTRIBUTING.md");
    assert!(
        pages.contains(&format!("Rust {oldest} or newer")),
        "{oldest}"
    );
    assert!(
        pages.contains(&format!("RUSTUP_TOOLCHAIN={oldest} ")),
        "{oldest}"
    );
    let workflow = read(".github/workflows/ci.yml");
    let tested = format!("toolchain: [\"{oldest}\", stable]");
    assert!(workflow.contains(&tested), "{tested} is not in ci.yml");
}

#[test]
fn the_newest_version_of_the_changelog_is_the_projects() {
    let changelog = read("CHANGELOG.md");
    let headings = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "));
    let headings: Vec<_> = headings.collect();
    assert_eq!(headings[0], "Unreleased");
    let mut dates = Vec::new();
    for heading in &headings[1..] {
        let (version, date) = heading.split_once(" – ").expect("a version and a date");
        assert_eq!(version.split('.').count(), 3, "{version}");
        assert_eq!(
            date.split('-').map(str::len).collect::<Vec<_>>(),
            [4, 2, 2],
            "{date}"
        );
        dates.push(date);
    }
    assert!(
        dates.is_sorted_by(|newer, older| newer >= older),
        "{dates:?}"
    );
    let newest = format!("{} – ", package("version"));
    assert!(
        headings[1].starts_with(&newest),
        "{} is not {newest}",
        headings[1]
    );
    let supported = package("version");
    let (minor, _) = supported.rsplit_once('.').expect("three numbers");
    let security = read("SECURITY.md");
    assert!(
        security.contains(&format!("| {minor} | yes |")),
        "SECURITY.md, {minor}"
    );
}
