//! A gateway of this run's own: a child process with a temporary folder.
//!
//! The only file that knows the engine: the child is this program again, and runs the gateway's
//! entry point. What the gateway knows of this machine's limits is had from here too.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use trunkline::doctor;

use crate::exit::{Failure, Outcome};
use crate::tls::{ThrowAway, Trust, throw_away};
use crate::units::Span;

/// The hidden verb under which this program is a gateway.
const VERB: &str = "__gateway";

/// How long the gateway may take to be ready, and to stop.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// How a local gateway is started; what is missing is the gateway's own choice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Event loops.
    pub(crate) shards: Option<u32>,
    /// When a message counts as stored.
    pub(crate) durability: Option<String>,
    /// Silence after which a client is pinged.
    pub(crate) ping: Option<Span>,
    /// With TLS.
    pub(crate) tls: bool,
}

/// A running child. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub(crate) struct LocalGateway {
    child: Child,
    folder: PathBuf,
    log: PathBuf,
    /// Where its WebSockets are.
    pub(crate) url: String,
    /// The certificate that it is trusted by, where it speaks TLS.
    certificate: Option<PathBuf>,
    /// Its control port.
    pub(crate) control: SocketAddr,
}

/// Runs the gateway if this process was started to be one.
pub(crate) fn is_one(args: &[OsString]) -> Option<ExitCode> {
    if args.get(1).is_none_or(|verb| verb != VERB) {
        return None;
    }
    // A generator that is killed takes its gateway with it. If it is gone by now, so are we.
    let parent = args.get(2).and_then(|pid| pid.to_str()?.parse().ok());
    let tied = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    if tied.is_err() || parent != Some(nix::unistd::getppid().as_raw()) {
        return Some(ExitCode::FAILURE);
    }
    let program = args.iter().take(1);
    Some(trunkline::cli::run(
        program.chain(args.iter().skip(3)).cloned(),
    ))
}

impl LocalGateway {
    /// Starts a gateway for `connections` connections and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; the message has the end of its log.
    pub(crate) fn start(connections: u64, setup: &Setup) -> Outcome<Self> {
        let fail =
            |why: std::io::Error| Failure::aborted(format!("cannot start a local gateway: {why}"));
        let folder = fresh_folder().map_err(fail)?;
        let log = folder.join("gateway.log");
        let mut command = Command::new(std::env::current_exe().map_err(fail)?);
        command
            .args([VERB, &std::process::id().to_string()])
            .args([
                "serve",
                "--dev-auth",
                "--listen",
                "127.0.0.1:0",
                "--control",
                "127.0.0.1:0",
            ])
            .args(["--max-connections", &(connections + 64).to_string()])
            .arg("--data")
            .arg(folder.join("data"));
        let ping = setup
            .ping
            .map(|ping| format!("{}ms", ping.0.as_millis().max(1)));
        for (flag, value) in [
            ("--shards", setup.shards.map(|shards| shards.to_string())),
            ("--durability", setup.durability.clone()),
            ("--ping-interval", ping),
        ] {
            command.args(value.map(|value| format!("{flag}={value}")));
        }
        let own = setup.tls.then(|| throw_away(&folder)).transpose();
        let own = own.map_err(fail)?;
        if let Some(ThrowAway { cert, key }) = &own {
            command.arg("--tls-cert").arg(cert);
            command.arg("--tls-key").arg(key);
        }
        // The run is what its flags say, not what the user's environment adds to it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRUNKLINE_") {
                command.env_remove(name);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(fail)?)
            .spawn()
            .map_err(fail)?;
        let control = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            child,
            folder,
            log,
            url: String::new(),
            certificate: own.map(|own| own.cert),
            control,
        };
        gateway.wait_ready()?;
        Ok(gateway)
    }

    fn wait_ready(&mut self) -> Outcome<()> {
        let (tell, told) = mpsc::channel();
        if let Some(out) = self.child.stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(out).read_line(&mut line);
                let _ = tell.send(line);
            });
        }
        let line = told.recv_timeout(START).unwrap_or_default();
        let word = |key: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        let control = word("control=http://").and_then(|address| address.parse().ok());
        match (word("ws="), control) {
            (Some(url), Some(control)) => {
                (self.url, self.control) = (url.to_owned(), control);
                Ok(())
            }
            _ => Err(Failure::aborted(format!(
                "the local gateway did not become ready; the end of its log:\n{}",
                self.log_tail()
            ))),
        }
    }

    /// How to connect to it with TLS, where it speaks that.
    ///
    /// # Errors
    /// Its certificate cannot be used.
    pub(crate) fn trust(&self) -> Outcome<Option<Trust>> {
        let trust = |file: &PathBuf| Trust::new(Some(file), "127.0.0.1");
        let trust = self.certificate.as_ref().map(trust).transpose();
        trust.map_err(Failure::aborted)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to stop and waits; its exit status in words where it is not 0.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, Signal::SIGTERM).map_err(|why| format!("cannot signal the gateway: {why}"))?;
        let deadline = Instant::now() + STOP;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!(
                        "the gateway ended with {status}\n{}",
                        self.log_tail()
                    ));
                }
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return Err(format!("the gateway did not stop within {STOP:?}")),
            }
        }
    }
}

impl Drop for LocalGateway {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder of this process's own in the temporary folder.
fn fresh_folder() -> std::io::Result<PathBuf> {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let name = format!("loadgen-{}-{nanos}", std::process::id());
    let folder: &Path = &std::env::temp_dir().join(name);
    std::fs::create_dir(folder)?;
    Ok(folder.to_owned())
}
