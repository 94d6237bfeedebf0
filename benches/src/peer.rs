//! Servers to be measured, each a child process of the benchmark.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::{machine, prototype, raw, scrape};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// First argument of this program as one of the servers in it.
const GATEWAY: &str = "__gateway";
const PROTOTYPE: &str = "__prototype";
const RAW: &str = "__raw";

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
    /// Starts our gateway with a store in `data`.
    ///
    /// # Errors
    /// It does not start.
    pub fn gateway(data: &Path, shards: usize, durability: &str) -> anyhow::Result<Self> {
        let none: [(&str, &str); 0] = [];
        Self::gateway_with(data, shards, durability, &none)
    }

    /// The same with more settings: flags without their dashes, and their values.
    ///
    /// # Errors
    /// It does not start.
    pub fn gateway_with(
        data: &Path,
        shards: usize,
        durability: &str,
        flags: &[(&str, impl Display)],
    ) -> anyhow::Result<Self> {
        let any = "127.0.0.1:0";
        let mut command = Self::this(GATEWAY)?;
        command
            .args(["serve", "--dev-auth", "--listen", any, "--control", any])
            .args(["--durability", durability, "--log", "error"])
            .args(["--shards", &shards.to_string(), "--data"])
            .arg(data)
            .args(
                flags
                    .iter()
                    .map(|(flag, value)| format!("--{flag}={value}")),
            );
        Self::ready(&mut command)
    }

    /// Starts the [`prototype`] with its log in `folder`.
    ///
    /// # Errors
    /// It does not start.
    pub fn prototype(folder: &Path) -> anyhow::Result<Self> {
        Self::ready(Self::this(PROTOTYPE)?.arg(folder))
    }

    /// Starts the server of [`raw`].
    ///
    /// # Errors
    /// It does not start.
    pub fn raw() -> anyhow::Result<Self> {
        Self::ready(&mut Self::this(RAW)?)
    }

    /// This program again, as one of the servers that [`child_main`] runs.
    fn this(role: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role);
        Ok(command)
    }

    /// Starts a server that says on its first line where it listens: `ready ws=ws://ADDRESS/PATH`,
    /// and where there is one `control=http://ADDRESS`.
    fn ready(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start {command:?}"))?;
        let out = child.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = |name: &str| {
            let mut words = line.split_whitespace();
            let url = words.find_map(|word| word.strip_prefix(name))?;
            url.split('/').next()?.parse().ok()
        };
        let Some(listens) = address("ws=ws://") else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{command:?} did not start: {line:?}");
        };
        Ok(Self {
            child,
            address: listens,
            control: address("control=http://"),
        })
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

    /// Our gateway's `/metrics`.
    ///
    /// # Errors
    /// It is not our gateway, or does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        let control = self.control.context("only our gateway has metrics")?;
        scrape::text(control)
    }

    /// A number of our gateway's `/metrics`.
    ///
    /// # Errors
    /// It is not our gateway, does not answer, or has no such number.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        scrape::number(&self.metrics()?, name)
    }

    /// User and system CPU seconds so far.
    pub fn cpu_seconds(&self) -> f64 {
        machine::cpu_seconds(&self.child.id().to_string())
    }

    /// Bytes of memory that it has.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn resident(&self) -> anyhow::Result<u64> {
        machine::resident(&self.child.id().to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine on which nobody listens.
///
/// # Errors
/// There is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs one of our servers where this process was started as one by [`Peer`].
pub fn child_main() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    match args.next()?.to_str()? {
        GATEWAY => Some(trunkline::cli::run(std::iter::once(program).chain(args))),
        PROTOTYPE => Some(prototype::run(Path::new(&args.next()?))),
        RAW => Some(raw::run()),
        _ => None,
    }
}
