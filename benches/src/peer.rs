//! Starts the servers to measure, each as a child process.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::metering::{Debt, Reading, StoreReading};
use crate::{machine, prototype, raw, scrape, sink, waiting_sink};

/// The most time that a server may take until it listens.
const START: Duration = Duration::from_secs(30);

/// The first argument that makes this program the gateway.
const GATEWAY: &str = "__gateway";
const PROTOTYPE: &str = "__prototype";
const RAW: &str = "__raw";
const SINK: &str = "__sink";
const WAITING_SINK: &str = "__waiting-sink";

/// Which gateway to start, and whom it takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Build<'a> {
    /// The program of the gateway; `None` for the one that is a part of this program.
    pub program: Option<&'a Path>,
    /// The file with the secret that signs tokens (HS256). `None` for development mode, in which
    /// clients name themselves and rates are not limited.
    pub secret: Option<&'a Path>,
}

/// A running server. Dropping it ends the server.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The address of the control port, if the server is the gateway.
    control: Option<SocketAddr>,
    /// The address of the client API over HTTP, if the server is a gateway with one.
    http: Option<SocketAddr>,
}

/// The flags that leave clients without budgets of cost. A bench drives few users as fast as they
/// can go, and one that only reads would bind those that send.
const NO_BUDGETS: [&str; 3] = [
    "--connection-cost=0ms",
    "--user-cost=0ms",
    "--address-cost=0ms",
];

impl Peer {
    /// Starts the gateway with a store in `data`, without budgets of cost.
    ///
    /// # Errors
    /// The server does not start.
    pub fn gateway(data: &Path, shards: usize, durability: &str) -> anyhow::Result<Self> {
        let none: [(&str, &str); 0] = [];
        Self::gateway_with(data, shards, durability, &none)
    }

    /// Starts the gateway with a store in `data`, without budgets of cost, and with further settings: flags without dashes, and
    /// values.
    ///
    /// # Errors
    /// The server does not start.
    pub fn gateway_with(
        data: &Path,
        shards: usize,
        durability: &str,
        flags: &[(&str, impl Display)],
    ) -> anyhow::Result<Self> {
        let mut command = Self::serve(Self::this(GATEWAY)?, data, shards, durability);
        Self::ready(
            command
                .arg("--dev-auth")
                .args(NO_BUDGETS)
                .args(given(flags)),
        )
    }

    /// Starts the gateway like [`gateway_with`](Self::gateway_with) does, with the client API over HTTP.
    ///
    /// # Errors
    /// The server does not start.
    pub fn gateway_with_http(
        data: &Path,
        shards: usize,
        durability: &str,
        flags: &[(&str, impl Display)],
    ) -> anyhow::Result<Self> {
        let mut command = Self::this(GATEWAY)?;
        Self::serve_with(&mut command, data, shards, durability);
        command.args(["--http=127.0.0.1:0", "--dev-auth"]);
        Self::ready(command.args(NO_BUDGETS).args(given(flags)))
    }

    /// Starts a gateway with a store in `data`.
    ///
    /// # Errors
    /// The server does not start.
    pub fn gateway_of(build: Build<'_>, data: &Path, shards: usize) -> anyhow::Result<Self> {
        let command = match build.program {
            Some(program) => Command::new(program),
            None => Self::this(GATEWAY)?,
        };
        let mut command = Self::serve(command, data, shards, "sync");
        match build.secret {
            Some(secret) => command
                .args(["--jwt-algorithm=HS256", "--jwt-key"])
                .arg(secret),
            None => command.arg("--dev-auth"),
        };
        Self::ready(&mut command)
    }

    fn serve(mut command: Command, data: &Path, shards: usize, durability: &str) -> Command {
        // Builds from before the client API do not know its port.
        let settings = Command::new(command.get_program()).arg("settings").output();
        let has_http = settings.is_ok_and(|printed| {
            let text = String::from_utf8_lossy(&printed.stdout).into_owned();
            text.contains("\"http\"")
        });
        Self::serve_with(&mut command, data, shards, durability);
        command.args(has_http.then_some("--http=off"));
        command
    }

    /// Adds what every gateway is started with.
    fn serve_with(command: &mut Command, data: &Path, shards: usize, durability: &str) {
        let any = "127.0.0.1:0";
        command
            .args(["serve", "--listen", any, "--control", any])
            .args(["--durability", durability, "--log", "error"])
            .args(["--shards", &shards.to_string(), "--data"])
            .arg(data);
    }

    /// Starts the [`prototype`] with its log in `folder`.
    ///
    /// # Errors
    /// The server does not start.
    pub fn prototype(folder: &Path) -> anyhow::Result<Self> {
        Self::ready(Self::this(PROTOTYPE)?.arg(folder))
    }

    /// Starts the server of [`raw`].
    ///
    /// # Errors
    /// The server does not start.
    pub fn raw() -> anyhow::Result<Self> {
        Self::ready(&mut Self::this(RAW)?)
    }

    /// Starts the server of [`sink`], which sends `bytes` each second.
    ///
    /// # Errors
    /// The server does not start.
    pub fn sink(bytes: u64) -> anyhow::Result<Self> {
        Self::ready(Self::this(SINK)?.arg(bytes.to_string()))
    }

    /// Starts the server of [`waiting_sink`] with its answers in a file.
    ///
    /// # Errors
    /// The server does not start.
    pub fn waiting_sink(answers: &Path) -> anyhow::Result<Self> {
        Self::ready(Self::this(WAITING_SINK)?.arg(answers))
    }

    /// Returns the command that starts this program as one of the servers of [`child_main`].
    fn this(role: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role);
        Ok(command)
    }

    /// Starts a server whose first line has its addresses: `ready ws=ws://ADDRESS/PATH`, and
    /// `control=http://ADDRESS` if it has a control port.
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
            http: address("http=http://"),
        })
    }

    /// Starts another server that will listen at `address`.
    ///
    /// # Errors
    /// The server does not start, or does not listen in time.
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
            http: None,
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

    /// Returns the address of the client API over HTTP.
    ///
    /// # Errors
    /// The server has none.
    pub fn http(&self) -> anyhow::Result<SocketAddr> {
        self.http.context("the gateway was started without HTTP")
    }

    /// Returns the address of the control port.
    ///
    /// # Errors
    /// The server is not the gateway.
    pub fn control(&self) -> anyhow::Result<SocketAddr> {
        self.control.context("only our gateway has a control port")
    }

    /// Reads the gateway's `/metrics`.
    ///
    /// # Errors
    /// The server is not the gateway, or does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        let control = self.control.context("only our gateway has metrics")?;
        scrape::text(control)
    }

    /// Reads one number of the gateway's `/metrics`.
    ///
    /// # Errors
    /// The server is not the gateway, does not answer, or has no such number.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        scrape::number(&self.metrics()?, name)
    }

    /// Returns the CPU time so far in seconds, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        machine::cpu_seconds(&self.child.id().to_string())
    }

    /// Returns the CPU seconds so far of the threads whose names begin with one of `names`.
    ///
    /// # Errors
    /// The server has ended, or the kernel does not count this time.
    pub fn thread_seconds(&self, names: &[&str]) -> anyhow::Result<f64> {
        machine::thread_seconds(&self.child.id().to_string(), names)
    }

    /// Returns the counters of the process, with those of the store if the server is the gateway.
    /// `segment` is the size of its segments in bytes.
    ///
    /// # Errors
    /// The server has ended, or the gateway does not answer.
    pub fn reading(&self, segment: u64) -> anyhow::Result<Reading> {
        let store = match self.control {
            None => None,
            Some(_) => Some(store_reading(&self.metrics()?, segment)?),
        };
        Reading::of(&self.child.id().to_string(), store)
    }

    /// Returns the bytes that the process has read so far, of files and of sockets.
    ///
    /// # Errors
    /// The server has ended.
    pub fn read_bytes(&self) -> anyhow::Result<f64> {
        machine::read(&self.child.id().to_string())
    }

    /// Returns the resident memory in bytes.
    ///
    /// # Errors
    /// The memory cannot be read.
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

/// Returns flags with their values, as the command line has them.
fn given(flags: &[(&str, impl Display)]) -> impl Iterator<Item = String> {
    flags
        .iter()
        .map(|(flag, value)| format!("--{flag}={value}"))
}

/// Finds the counters of the store in the text of `/metrics`.
fn store_reading(text: &str, segment: u64) -> anyhow::Result<StoreReading> {
    let number = |name: &str| {
        let number = scrape::number(text, &format!("trunkline_store_{name}"));
        number.map(|number| number as u64)
    };
    let log = number("written_bytes_total")?;
    Ok(StoreReading {
        log,
        written: log + number("merge_bytes_total")?,
        segment,
        debt: Debt {
            unsorted: number("waiting_bytes")?,
            unmerged: number("merge_due_bytes")?,
        },
    })
}

/// Returns a loopback address with a port that no process listens on.
///
/// # Errors
/// No port is free.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs one of the servers in this program if [`Peer`] has started this process as one.
pub fn child_main() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    match args.next()?.to_str()? {
        GATEWAY => Some(trunkline::cli::run(std::iter::once(program).chain(args))),
        PROTOTYPE => Some(prototype::run(Path::new(&args.next()?))),
        RAW => Some(raw::run()),
        SINK => Some(sink::run(args.next()?.to_str()?.parse().ok()?)),
        WAITING_SINK => Some(waiting_sink::run(Path::new(&args.next()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_as_metrics_tell_it() {
        let text = "trunkline_store_written_bytes_total 100\n\
                    trunkline_store_merge_bytes_total 50\n\
                    trunkline_store_waiting_bytes 7\n\
                    trunkline_store_merge_due_bytes 3\n";
        let reading = store_reading(text, 10).unwrap();
        assert_eq!((reading.log, reading.written), (100, 150));
        assert_eq!(reading.debt.bytes(), 10);
        assert!(store_reading("", 10).is_err());
    }
}
