//! The program that is counted, and its parts for a commit that lacks what the whole of it needs.

use std::path::{Path, PathBuf};

use super::checkout::Checkout;
use super::counts::PROGRAM;
use crate::exit::{Failure, Outcome};
use crate::foreign;

/// The package of the program.
const PACKAGE: &str = "benches/counts";

/// The line of its manifest that says which parts are built.
const DEFAULT: &str = "default = [";

/// The sets of parts that are tried, one after another: features of the package. Each set has what the one before
/// it has, or less.
const PARTS: [&[&str]; 5] = [
    &["proto", "store", "gateway"],
    &["proto", "store", "gateway", "settings-file"],
    &["proto", "store"],
    &["proto"],
    &["store"],
];

/// The most lines of cargo that are shown if nothing can be built.
const LINES_MAX: usize = 12;

/// A program that can be started.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) file: PathBuf,
    /// Why parts of it could not be built; `None` if it is whole.
    pub(super) why_not_all: Option<String>,
}

impl Built {
    /// Returns a program with all its parts.
    pub(super) fn whole(file: PathBuf) -> Self {
        Self {
            file,
            why_not_all: None,
        }
    }
}

/// Gives a commit the program of this checkout, so that both do the same work.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn lend(from: &Path, to: &Path) -> Outcome<()> {
    let failed = |why: std::io::Error| unwritten(to, &why);
    let (source, place) = (from.join(PACKAGE), to.join(PACKAGE));
    let had = place.exists();
    for part in ["", "src"] {
        std::fs::create_dir_all(place.join(part)).map_err(failed)?;
        for entry in std::fs::read_dir(source.join(part)).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                std::fs::copy(&path, place.join(part).join(name)).map_err(failed)?;
            }
        }
    }
    if had {
        return Ok(());
    }
    let manifest = to.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(failed)?;
    let text = text.replacen("members = [", &format!("members = [{PACKAGE:?}, "), 1);
    std::fs::write(&manifest, text).map_err(failed)
}

/// Builds the program of a checkout. For a commit that it was lent to, as many parts of it as can be built.
///
/// # Errors
/// Nothing can be built.
pub(super) fn build(checkout: &Checkout) -> Outcome<Built> {
    if !checkout.has_lent_program() {
        return checkout.build(PROGRAM).map(Built::whole);
    }
    let manifest = checkout.folder().join(PACKAGE).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|why| unwritten(&manifest, &why))?;
    let (mut first, mut last) = (None, None);
    for parts in PARTS {
        let chosen = choosing(&text, parts);
        std::fs::write(&manifest, chosen).map_err(|why| unwritten(&manifest, &why))?;
        match checkout.try_build(PROGRAM)? {
            Ok(file) => {
                let lacks = PARTS[0].iter().any(|part| !parts.contains(part));
                let why = last.filter(|_| lacks);
                return Ok(Built {
                    file,
                    why_not_all: why.map(|why: String| foreign::safe_line(&errors(&why, 1))),
                });
            }
            Err(why) => {
                first.get_or_insert_with(|| why.clone());
                last = Some(why);
            }
        }
    }
    Err(Failure::aborted(format!(
        "{} is too old to be counted: no part of {PACKAGE} of this checkout can be built for it. cargo says of the \
         whole:\n{}\nName a later commit with --base",
        checkout.name(),
        foreign::shown(&errors(&first.unwrap_or_default(), LINES_MAX))
    )))
}

/// Returns the manifest with these parts in place of its own choice.
fn choosing(manifest: &str, parts: &[&str]) -> String {
    let lines = manifest
        .lines()
        .map(|line| match line.starts_with(DEFAULT) {
            true => format!("default = {parts:?}\n"),
            false => format!("{line}\n"),
        });
    lines.collect()
}

/// Returns what cargo says from the first error on, in so many lines at most.
fn errors(said: &str, most: usize) -> String {
    let from_error = said.lines().skip_while(|line| !line.starts_with("error"));
    let lines: Vec<_> = from_error.take(most).collect();
    match lines.is_empty() {
        true => said.lines().take(most).collect::<Vec<_>>().join("\n"),
        false => lines.join("\n"),
    }
}

fn unwritten(file: &Path, why: &std::io::Error) -> Failure {
    Failure::aborted(format!("cannot write to {}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_the_place_of_those_of_the_manifest() {
        let manifest = "[features]\ndefault = [\"proto\", \"store\"]\nproto = []\n";
        assert_eq!(
            choosing(manifest, &["proto"]),
            "[features]\ndefault = [\"proto\"]\nproto = []\n"
        );
    }

    #[test]
    fn the_manifest_of_the_program_has_all_parts() {
        let manifest = include_str!("../../../benches/counts/Cargo.toml");
        assert_eq!(choosing(manifest, PARTS[0]), manifest);
        for part in PARTS.concat() {
            assert!(manifest.contains(&format!("\n{part} = [")), "{part}");
        }
    }

    #[test]
    fn what_cargo_says_begins_with_its_first_error() {
        let said = "warning: x\nerror[E0599]: no function\n  --> a.rs\nerror: b\n";
        assert_eq!(errors(said, 1), "error[E0599]: no function");
        assert_eq!(errors(said, 2), "error[E0599]: no function\n  --> a.rs");
        assert_eq!(errors("killed\n", 2), "killed");
    }
}
