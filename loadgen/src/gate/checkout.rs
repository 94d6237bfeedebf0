//! The checkouts that are measured: this one and the base, with what is built of them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::limits::Toolchain;
use super::program;
use crate::exit::{Failure, Outcome};
use crate::foreign;

/// The limits of a checkout.
const LIMITS: &str = "benches/limits.toml";

/// A checkout of Trunkline.
#[derive(Debug)]
pub(super) struct Checkout {
    folder: PathBuf,
    /// The folder of its builds; `None` for the one that cargo chooses.
    target: Option<PathBuf>,
    /// The commit, if it is known.
    commit: Option<String>,
    name: String,
}

impl Checkout {
    /// Returns the checkout that the current folder is in.
    ///
    /// # Errors
    /// Exit 104: it is in none.
    pub(super) fn here() -> Outcome<Self> {
        let start = std::env::current_dir()
            .map_err(|why| Failure::scenario(format!("the current folder: {why}")))?;
        let found = start.ancestors().find(|folder| is_one(folder));
        let folder = found.ok_or_else(|| {
            Failure::scenario(format!(
                "{} is in no checkout of Trunkline: the gate builds what it measures, so run it in one",
                start.display()
            ))
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            target: None,
            commit: None,
            name: "this checkout".into(),
        })
    }

    /// Returns the base: a folder with a checkout, or a commit, which is checked out below `target/`.
    ///
    /// # Errors
    /// Exit 104: it is neither.
    pub(super) fn base(&self, base: &str) -> Outcome<Self> {
        let folder = Path::new(base);
        if is_one(folder) {
            return Ok(Self {
                folder: folder.to_owned(),
                target: None,
                commit: git(folder, &["rev-parse", "HEAD"]).ok(),
                name: folder.display().to_string(),
            });
        }
        let commit = self
            .git(&["rev-parse", "--verify", "--quiet", &format!("{base}^{{commit}}")])
            .map_err(|_| {
                Failure::scenario(format!(
                    "--base {base}: neither a folder with a checkout of Trunkline nor a commit; a clone that CI made may lack its history (git fetch --unshallow)"
                ))
            })?;
        let short: String = commit.chars().take(12).collect();
        let folder = self.own_target().join("base").join(&short);
        if !is_one(&folder) {
            let path = folder.display().to_string();
            self.git(&["worktree", "prune"]).map_err(Failure::aborted)?;
            self.git(&["worktree", "add", "--detach", "--force", &path, &commit])
                .map_err(Failure::aborted)?;
        }
        let base = Self {
            folder,
            // Builds of all bases are in one folder, so that libraries are built once.
            target: Some(self.own_target().join("build")),
            commit: Some(commit),
            name: format!("commit {short}"),
        };
        program::lend(&self.folder, &base.folder)?;
        Ok(base)
    }

    /// Returns the file of its limits.
    pub(super) fn limits(&self) -> PathBuf {
        self.folder.join(LIMITS)
    }

    /// Returns the commit; `None` if it is unknown, or if the checkout is the one at hand.
    pub(super) fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Returns the folder of the checkout.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the checkout is a commit that the gate has checked out, with the program of another checkout.
    pub(super) fn has_lent_program(&self) -> bool {
        self.target.is_some()
    }

    /// Returns what people call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the folder for results of runs.
    pub(super) fn results(&self) -> PathBuf {
        self.own_target().join("runs")
    }

    fn own_target(&self) -> PathBuf {
        self.folder.join("target").join("gate")
    }

    /// Builds a program of the checkout with optimisation, and returns where it is. cargo says on standard error what it
    /// does.
    ///
    /// # Errors
    /// cargo cannot build it; cargo says why.
    pub(super) fn build(&self, program: &str) -> Outcome<PathBuf> {
        let (found, _) = self.cargo(program, false)?;
        found.ok_or_else(|| {
            let name = &self.name;
            Failure::aborted(format!(
                "{program} of {name} cannot be built: cargo says why above"
            ))
        })
    }

    /// Builds a program like [`build`](Self::build), without a word. Returns what cargo said if it cannot be built.
    ///
    /// # Errors
    /// cargo cannot be started.
    pub(super) fn try_build(&self, program: &str) -> Outcome<Result<PathBuf, String>> {
        let (found, said) = self.cargo(program, true)?;
        Ok(found.ok_or(said))
    }

    /// Builds a program. Returns where it is, if it can be built, and what cargo said.
    fn cargo(&self, program: &str, is_quiet: bool) -> Outcome<(Option<PathBuf>, String)> {
        let mut command = Command::new("cargo");
        // All packages are selected, so that libraries have the features of every other build.
        command
            .current_dir(&self.folder)
            .args(["build", "--release", "--quiet", "--bin", program])
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(match is_quiet {
                true => Stdio::piped(),
                false => Stdio::inherit(),
            });
        if let Some(target) = &self.target {
            command.env("CARGO_TARGET_DIR", target);
        }
        if is_quiet {
            command.env("CARGO_TERM_COLOR", "never");
        }
        let child = command.spawn().map_err(|why| match why.kind() {
            ErrorKind::NotFound => Failure::preflight(
                "cargo builds what is measured, and is missing: install Rust with rustup (https://rustup.rs)",
            ),
            _ => Failure::aborted(format!("cannot start cargo: {why}")),
        })?;
        let output = child
            .wait_with_output()
            .map_err(|why| Failure::aborted(format!("cannot read what cargo says: {why}")))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let built = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let built = built.filter(|it| it["target"]["name"] == program);
        let found = built
            .filter_map(|it| it["executable"].as_str().map(PathBuf::from))
            .next_back();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((found.filter(|_| output.status.success()), why))
    }

    /// Returns the toolchain of its builds.
    ///
    /// # Errors
    /// rustc cannot be started.
    pub(super) fn toolchain(&self) -> Outcome<Toolchain> {
        let output = Command::new("rustc")
            .arg("--version")
            .current_dir(&self.folder)
            .output();
        let said = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let said = said.unwrap_or_default();
        let rustc = said.split(' ').nth(1).ok_or_else(|| {
            Failure::preflight(
                "rustc cannot be started: install Rust with rustup (https://rustup.rs)",
            )
        })?;
        let libc = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let libc = libc.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
        Ok(Toolchain {
            rustc: rustc.to_owned(),
            libc: libc
                .ok()
                .filter(|it| !it.is_empty())
                .unwrap_or("other".into()),
            processor: processor(),
        })
    }

    /// Asks git about the checkout.
    ///
    /// # Errors
    /// git is missing or refuses; the text says why.
    pub(super) fn git(&self, args: &[&str]) -> Result<String, String> {
        git(&self.folder, args)
    }
}

/// Whether a folder holds a checkout of Trunkline.
fn is_one(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file()
        && folder.join("loadgen/Cargo.toml").is_file()
        && folder.join("engine/proto/Cargo.toml").is_file()
}

fn git(folder: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        .output();
    let output = output.map_err(|why| format!("cannot start git: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = foreign::safe_line(said.lines().next_back().unwrap_or_default());
    Err(format!("git {}: {said}", args.join(" ")))
}

/// Returns the processor, as far as it changes counts: libraries choose instructions by what it has.
fn processor() -> String {
    let architecture = std::env::consts::ARCH;
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut flags = about.lines().filter(|line| line.starts_with("flags"));
    let mut flags = flags.next().into_iter().flat_map(|line| line.split(' '));
    match flags.any(|flag| flag == "avx2") {
        true => format!("{architecture} with AVX2"),
        false => architecture.to_owned(),
    }
}
