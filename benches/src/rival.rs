//! Other stores: programs of a package that is not in the workspace, built when they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// A store that ours is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Rival {
    /// Its name: that of its package, its feature and its program.
    pub name: &'static str,
    /// What it takes to build it, besides Rust.
    needs: &'static str,
}

/// All of them.
pub const RIVALS: [Rival; 4] = [
    Rival {
        name: "raft-engine",
        needs: "a C compiler",
    },
    Rival {
        name: "fjall",
        needs: "nothing more",
    },
    Rival {
        name: "redb",
        needs: "nothing more",
    },
    Rival {
        name: "rocksdb",
        needs: "a C++ compiler and libclang (apt-get install g++ clang libclang-dev)",
    },
];

impl Rival {
    /// Builds the program in `target`, or in the package's own folder for that, and says where it
    /// is. For RocksDB that takes long the first time.
    ///
    /// # Errors
    /// It does not build; the error says what that takes.
    pub fn build(&self, target: Option<&Path>) -> anyhow::Result<PathBuf> {
        let folder = folder();
        let target = target.map_or_else(|| folder.join("target"), Path::to_path_buf);
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--locked", "--quiet"])
            .args(["--bin", self.name, "--features", self.name])
            .arg("--manifest-path")
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!(
                "{} does not build ({status}): it needs crates.io or a filled cargo cache, and {}",
                self.name,
                self.needs
            );
        }
        Ok(target.join("release").join(self.name))
    }

    /// Its version, from the lock file.
    ///
    /// # Errors
    /// It is not there.
    pub fn version(&self) -> anyhow::Result<String> {
        let lock = std::fs::read_to_string(folder().join("Cargo.lock"))?;
        let entry = format!("name = \"{}\"\nversion = \"", self.name);
        let version = lock
            .split_once(&entry)
            .and_then(|(_, rest)| rest.split_once('"'));
        Ok(version.context("not in Cargo.lock")?.0.to_owned())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_has_a_version() {
        for rival in RIVALS {
            let version = rival.version().unwrap();
            assert!(version.split('.').count() >= 3, "{version}");
        }
    }
}
