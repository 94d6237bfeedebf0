//! Servers to be measured, each a child process of the benchmark.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::scrape;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// A server that is running; dropping it ends it.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where our gateway serves HTTP.
    control: Option<SocketAddr>,
}

impl Peer {
    /// Starts our gateway: this program again, with the arguments that [`gateway_main`] takes.
    ///
    /// # Errors
    /// It does not start.
    pub fn gateway(data: &Path, shards: usize, durability: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "__gateway",
                "serve",
                "--dev-auth",
                "--listen",
                "127.0.0.1:0",
            ])
            .args([
                "--control",
                "127.0.0.1:0",
                "--durability",
                durability,
                "--log",
                "error",
            ])
            .args(["--shards", &shards.to_string(), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the gateway")?;
        let out = child.stdout.take().context("the gateway has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = |name: &str| {
            let mut words = line.split_whitespace();
            let url = words.find_map(|word| word.strip_prefix(name))?;
            url.split('/').next()?.parse().ok()
        };
        match (address("ws=ws://"), address("control=http://")) {
            (Some(address), control @ Some(_)) => Ok(Self {
                child,
                address,
                control,
            }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the gateway did not start: {line:?}");
            }
        }
    }

    /// Starts another server that will listen at `address`.
    ///
    /// # Errors
    /// It does not start, or not listen in time.
    pub fn other(command: &mut Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut peer = Self {
            child,
            address,
            control: None,
        };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = peer.child.try_wait()? {
                let mut said = String::new();
                if let Some(mut errors) = peer.child.stderr.take() {
                    let _ = errors.read_to_string(&mut said);
                }
                bail!("{command:?} ended with {status}: {said}");
            }
            if Instant::now() >= deadline {
                bail!("{command:?} does not listen at {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    /// A number of our gateway's `/metrics`.
    ///
    /// # Errors
    /// It is not our gateway, does not answer, or has no such number.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let control = self.control.context("only our gateway has metrics")?;
        scrape::number(&scrape::text(control)?, name)
    }

    /// User and system CPU seconds so far (proc(5)).
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        // utime and stime are fields 14 and 15, in USER_HZ (100); field 3 follows the name.
        fields
            .skip(11)
            .take(2)
            .filter_map(|f| f.parse::<f64>().ok())
            .sum::<f64>()
            / 100.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the gateway where this process was started as one by [`Peer::gateway`].
pub fn gateway_main() -> Option<std::process::ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    (args.next()? == "__gateway").then(|| trunkline::cli::run(std::iter::once(program).chain(args)))
}

/// Bun, installed by npm below `folder` where it is not there yet.
///
/// # Errors
/// npm is missing or fails.
pub fn bun(folder: &Path) -> anyhow::Result<PathBuf> {
    let bun = folder.join("node_modules/.bin/bun");
    if !bun.exists() {
        std::fs::create_dir_all(folder)?;
        let status = Command::new("npm")
            .args(["install", "--silent", "--no-save", "--prefix"])
            .arg(folder)
            .arg("bun@1")
            .status()
            .context("npm is needed to install Bun: install Node.js")?;
        if !status.success() {
            bail!("npm install bun failed with {status}");
        }
    }
    Ok(bun)
}
