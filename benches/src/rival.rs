//! Other stores. Each is a program of the package `benches/rivals`, which is not in the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// A store that Trunkline's is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Rival {
    /// The name of its package, of its feature and of its program.
    pub name: &'static str,
    /// The tools beside Rust that building it needs.
    needs: &'static str,
}

/// All rivals.
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
    /// Builds the program in `target`, or else in the package's own target folder. Returns its
    /// path. The first build of RocksDB takes long.
    ///
    /// # Errors
    /// The program does not build. The error names the tools that it needs.
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

    /// Returns its version, from the lock file.
    ///
    /// # Errors
    /// The lock file does not have it.
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
