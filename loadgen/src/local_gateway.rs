//! The local gateway of a run: a child process with a temporary folder.
//!
//! This is the only file that knows the engine. The child is another process of this program, and
//! runs the entry point of the gateway. The report about the machine's limits, and the commands for
//! completions and manual pages, come from the engine too.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

pub(crate) use trunkline::{doctor, manual};

use crate::exit::{Failure, Outcome};
use crate::health::Process;
use crate::tls::{ThrowAway, Trust, throw_away};
use crate::units::Span;

/// The hidden command that makes this program a gateway.
const VERB: &str = "__gateway";

/// The time in which the gateway must become ready.
const START: Duration = Duration::from_secs(60);
/// The time in which the gateway must stop.
const STOP: Duration = Duration::from_secs(30);

/// The settings of a local gateway. Settings without a value are left to the gateway.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// The number of shards (event loops).
    pub(crate) shards: Option<u32>,
    /// The level of durability, which decides when a message counts as stored.
    pub(crate) durability: Option<String>,
    /// The time for which a client may be silent before the gateway pings it.
    pub(crate) ping: Option<Span>,
    /// The gateway takes TLS connections.
    pub(crate) tls: bool,
    /// Another build of this program, whose gateway is started.
    pub(crate) program: Option<PathBuf>,
}

/// A running gateway. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub(crate) struct LocalGateway {
    child: Option<Child>,
    /// The channel on which the process reports that it is ready, and the time limit for that.
    ready: Option<(mpsc::Receiver<String>, Instant)>,
    folder: PathBuf,
    log: PathBuf,
    setup: Setup,
    connections: u64,
    /// The URL of its WebSockets.
    pub(crate) url: String,
    /// The certificate that connections trust, if the gateway takes TLS connections.
    certificate: Option<ThrowAway>,
    /// The address of its control port; each start has another.
    pub(crate) control: SocketAddr,
    /// The port of the gateway, kept while no process listens on it.
    port: Option<Port>,
    /// The resources that its ended processes used.
    spent: Process,
}

/// A port that no other program gets while the gateway is down.
#[derive(Debug)]
struct Port {
    number: u16,
    /// A socket that is bound and does not listen. Connections are refused, but the kernel gives
    /// the port to no outgoing connection. The sockets of the gateway have SO_REUSEPORT and may
    /// join.
    _kept: Socket,
}

/// Runs the gateway if this process was started to be one.
pub(crate) fn is_one(args: &[OsString]) -> Option<ExitCode> {
    if args.get(1).is_none_or(|verb| verb != VERB) {
        return None;
    }
    // The kernel ends this process with its parent, so that a killed generator leaves no gateway.
    // If the parent has ended already, this process ends too.
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

/// Parses a level of durability as the gateway does.
///
/// # Errors
/// The text is no level of durability, in the words of the gateway.
pub(crate) fn durability(text: &str) -> Result<String, String> {
    let level = text.parse::<trunkline::config::Durability>();
    level
        .map(|_| text.to_owned())
        .map_err(|why| why.to_string())
}

impl LocalGateway {
    /// Starts a gateway for `connections` connections and waits until it is ready.
    ///
    /// # Errors
    /// The gateway does not start; the message has the end of its log.
    pub(crate) fn start(connections: u64, setup: &Setup) -> Outcome<Self> {
        let folder = fresh_folder().map_err(failed)?;
        let own = setup.tls.then(|| throw_away(&folder)).transpose();
        let mut gateway = Self {
            child: None,
            ready: None,
            log: folder.join("gateway.log"),
            folder,
            setup: setup.clone(),
            connections,
            url: String::new(),
            certificate: own.map_err(failed)?,
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            port: None,
            spent: Process::default(),
        };
        gateway.spawn()?;
        while !gateway.is_ready(START)? {}
        Ok(gateway)
    }

    /// Starts the process. [`is_ready`](Self::is_ready) waits until the gateway is ready.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(crate) fn spawn(&mut self) -> Outcome<()> {
        let program = match &self.setup.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(failed)?,
        };
        let known = self.setup.program.as_deref().map(flags_of).transpose()?;
        let knows = |flag: &str| known.as_ref().is_none_or(|known| known.contains(flag));
        let mut command = Command::new(program);
        let listen = self.port.as_ref().map_or(0, |port| port.number);
        command
            .args([VERB, &std::process::id().to_string()])
            .args(["serve", "--dev-auth", "--control", "127.0.0.1:0"])
            .args(["--listen", &format!("127.0.0.1:{listen}")])
            .args(["--max-connections", &(self.connections + 64).to_string()])
            .arg("--data")
            .arg(self.folder.join("data"));
        for (flag, value) in [
            ("--http", "off"),
            // A run with few users measures the gateway, and not their budgets.
            ("--connection-cost", "0ms"),
            ("--user-cost", "0ms"),
        ] {
            command.args(knows(flag).then(|| format!("{flag}={value}")));
        }
        let setup = &self.setup;
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
        if let Some(ThrowAway { cert, key }) = &self.certificate {
            command.arg("--tls-cert").arg(cert);
            command.arg("--tls-key").arg(key);
        }
        // The user's environment must not change the settings of the run.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRUNKLINE_") {
                command.env_remove(name);
            }
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(failed)?)
            // Ctrl-C in a terminal goes to the generator, which ends its gateway itself.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (tell, told) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(out).read_line(&mut line);
                let _ = tell.send(line);
            });
        }
        self.child = Some(child);
        self.ready = Some((told, Instant::now() + START));
        Ok(())
    }

    /// Waits for the process to be ready, as long as `patience` at most. Returns whether it is.
    ///
    /// # Errors
    /// The process ended or took too long; the message has the end of its log.
    pub(crate) fn is_ready(&mut self, patience: Duration) -> Outcome<bool> {
        let Some((told, until)) = &self.ready else {
            return Ok(true);
        };
        let line = match told.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < *until => return Ok(false),
            line => line.unwrap_or_default(),
        };
        let word = |key: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        let control = word("control=http://").and_then(|address| address.parse().ok());
        let (Some(url), Some(control)) = (word("ws="), control) else {
            return Err(Failure::aborted(format!(
                "the local gateway did not become ready; the end of its log:\n{}",
                self.log_tail()
            )));
        };
        (self.url, self.control) = (url.to_owned(), control);
        self.ready = None;
        Ok(true)
    }

    /// Returns the trusted certificate of the gateway; `None` if the gateway takes no TLS
    /// connections.
    ///
    /// # Errors
    /// The certificate of the gateway cannot be used.
    pub(crate) fn trust(&self) -> Outcome<Option<Trust>> {
        let trust = |own: &ThrowAway| Trust::new(Some(&own.cert), "127.0.0.1");
        let trust = self.certificate.as_ref().map(trust).transpose();
        trust.map_err(Failure::aborted)
    }

    /// Returns the process id; 0 while there is no process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Returns the CPU time of all its processes together, and the largest resident memory among
    /// them.
    pub(crate) fn used(&self) -> Process {
        let now = self.child.as_ref().map(|child| Process::look(child.id()));
        let now = now.unwrap_or_default();
        Process {
            cpu_seconds: self.spent.cpu_seconds + now.cpu_seconds,
            rss_bytes: self.spent.rss_bytes.max(now.rss_bytes),
        }
    }

    /// Returns the CPU seconds of its processes that have ended.
    pub(crate) fn spent(&self) -> f64 {
        self.spent.cpu_seconds
    }

    /// Keeps the port for the gateway from now on, so that it can be started again there.
    ///
    /// # Errors
    /// The port cannot be kept.
    pub(crate) fn keep_port(&mut self) -> Outcome<()> {
        let address = self
            .url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address: Option<SocketAddr> = address.and_then(|it| it.parse().ok());
        let address =
            address.ok_or_else(|| Failure::aborted("the gateway's address is unknown"))?;
        let keep = || -> std::io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            Ok(socket)
        };
        self.port = Some(Port {
            number: address.port(),
            _kept: keep().map_err(failed)?,
        });
        Ok(())
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// There is no process.
    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        // The process id 0 would stand for this program's whole process group (kill(2)).
        let Some(child) = &self.child else {
            return Err(Failure::aborted(format!(
                "the gateway has ended by itself; the end of its log:\n{}",
                self.log_tail()
            )));
        };
        let pid = Pid::from_raw(child.id() as i32);
        kill(pid, signal)
            .map_err(|why| Failure::aborted(format!("cannot signal the gateway: {why}")))
    }

    /// Returns whether the process has ended. Keeps the resources that it used.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub(crate) fn has_ended(&mut self) -> Outcome<bool> {
        let Some(child) = &mut self.child else {
            return Ok(true);
        };
        let last = Process::look(child.id());
        // The kernel keeps the CPU time of an ended process until the parent waits for it
        // (proc(5)), but not its memory.
        self.spent.rss_bytes = self.spent.rss_bytes.max(last.rss_bytes);
        let ended = is_zombie(child.id());
        if ended {
            self.spent.cpu_seconds += last.cpu_seconds;
            child.wait().map_err(failed)?;
            self.child = None;
        }
        Ok(ended)
    }

    /// Returns the last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks the gateway to stop, and waits for that. An exit status other than 0 is an error.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.signal(Signal::SIGTERM).map_err(|why| why.message)?;
        let deadline = Instant::now() + STOP;
        loop {
            let status = self.child.as_mut().map(Child::try_wait);
            match status {
                Some(Ok(Some(status))) if status.success() => return Ok(()),
                Some(Ok(Some(status))) => {
                    return Err(format!(
                        "the gateway ended with {status}\n{}",
                        self.log_tail()
                    ));
                }
                Some(Ok(None)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return Err(format!("the gateway did not stop within {STOP:?}")),
            }
        }
    }
}

impl Drop for LocalGateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn failed(why: std::io::Error) -> Failure {
    Failure::aborted(format!("cannot start a local gateway: {why}"))
}

/// Returns the help text of `serve` of another build: an older gateway lacks some flags.
///
/// # Errors
/// Exit 104: the program is no build of this one.
pub(crate) fn flags_of(program: &Path) -> Outcome<String> {
    let shown = program.display();
    let parent = std::process::id().to_string();
    let asked = Command::new(program)
        .args([VERB, &parent, "serve", "--help"])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| Failure::scenario(format!("--gateway {shown}: {why}")))?;
    let help = String::from_utf8_lossy(&asked.stdout).into_owned();
    match asked.status.success() && help.contains("--dev-auth") {
        true => Ok(help),
        false => Err(Failure::scenario(format!(
            "--gateway {shown}: it is no build of loadgen: it has no gateway in it"
        ))),
    }
}

/// Returns whether a process has ended and its parent has not waited for it yet (proc(5), state Z).
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().map_or("", str::trim_start);
    state.starts_with('Z')
}

/// Makes a folder for this process in the temporary folder.
fn fresh_folder() -> std::io::Result<PathBuf> {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let name = format!("loadgen-{}-{nanos}", std::process::id());
    let folder: &Path = &std::env::temp_dir().join(name);
    std::fs::create_dir(folder)?;
    Ok(folder.to_owned())
}
