//! The local gateway of a run: a child process with a temporary folder.
//!
//! This is the only file that knows the engine. The child is another process of this program, and
//! runs the entry point of the gateway. The report about the machine's limits, and the commands for
//! completions and manual pages, come from the engine too.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) use trunkline::{doctor, manual};

use crate::control_port;
use crate::exit::{Failure, Outcome};
use crate::kept_port::KeptPort;
use crate::own_process::{self, OwnProcess};
use crate::tls::{ThrowAway, Trust, throw_away};
use crate::units::Span;

/// The hidden command that makes this program a gateway.
const VERB: &str = "__gateway";

/// The time in which the gateway must become ready.
const START: Duration = Duration::from_secs(60);
/// The time in which the gateway must stop.
const STOP: Duration = Duration::from_secs(30);

/// The most bytes that are read of a failed command's message.
const SAID: u64 = 16 << 10;

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
    /// The place of the gateway in a cluster; `None` for a gateway alone.
    pub(crate) node: Option<Node>,
}

/// The place of a gateway in a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) cluster: &'static str,
    pub(crate) name: String,
    /// The URLs of the NATS servers, with commas between them.
    pub(crate) nats: String,
}

/// A running gateway. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub(crate) struct LocalGateway {
    process: OwnProcess,
    /// The channel on which the process reports that it is ready, and the time limit for that.
    ready: Option<(mpsc::Receiver<String>, Instant)>,
    /// Whether a node that is not ready has said its addresses.
    has_said: bool,
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
    port: Option<KeptPort>,
}

/// Runs the gateway if this process was started to be one.
pub(crate) fn is_one(args: &[OsString]) -> Option<ExitCode> {
    if args.get(1).is_none_or(|verb| verb != VERB) {
        return None;
    }
    // The kernel ends this process with its parent, so that a killed generator leaves no gateway.
    // If the parent has ended already, this process ends too.
    if !own_process::tie(args.get(2)) {
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
        let mut gateway = Self::begin(connections, setup)?;
        while !gateway.is_ready(START)? {}
        Ok(gateway)
    }

    /// Starts a gateway like [`start`](Self::start), and does not wait until it is ready.
    ///
    /// # Errors
    /// The gateway cannot be started.
    pub(crate) fn begin(connections: u64, setup: &Setup) -> Outcome<Self> {
        let folder = fresh_folder().map_err(failed)?;
        let own = setup.tls.then(|| throw_away(&folder)).transpose();
        let log = folder.join("gateway.log");
        let what = match &setup.node {
            None => "the gateway".to_owned(),
            Some(node) => format!("gateway {}", node.name),
        };
        let mut gateway = Self {
            process: OwnProcess::new(what, log.clone()),
            ready: None,
            has_said: false,
            log,
            folder,
            setup: setup.clone(),
            connections,
            url: String::new(),
            certificate: own.map_err(failed)?,
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
            port: None,
        };
        gateway.spawn()?;
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
        let listen = self.port.as_ref().map_or(0, |port| port.address.port());
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
        if let Some(node) = &setup.node {
            command.args(["--cluster", node.cluster, "--node", &node.name]);
            command.args(["--nats", &node.nats]);
        }
        without_settings(&mut command);
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(failed)?);
        let child = self.process.start(&mut command).map_err(failed)?;
        let (tell, told) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(out).read_line(&mut line);
                let _ = tell.send(line);
            });
        }
        self.ready = Some((told, Instant::now() + START));
        self.has_said = false;
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
        if self.has_said {
            return self.is_at_the_end(*until);
        }
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
            return Err(self.not_ready());
        };
        (self.url, self.control) = (url.to_owned(), control);
        if self.setup.node.is_some() {
            self.has_said = true;
            return Ok(false);
        }
        self.ready = None;
        Ok(true)
    }

    /// Returns whether a node has the whole log and knows who leads.
    fn is_at_the_end(&mut self, until: Instant) -> Outcome<bool> {
        if control_port::is_ready(self.control) {
            self.ready = None;
            return Ok(true);
        }
        match self.process.has_ended()? || Instant::now() > until {
            false => Ok(false),
            true => Err(self.not_ready()),
        }
    }

    fn not_ready(&self) -> Failure {
        Failure::aborted(format!(
            "the local gateway did not become ready; the end of its log:\n{}",
            self.process.log_tail()
        ))
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

    /// Returns its process.
    pub(crate) fn process(&self) -> &OwnProcess {
        &self.process
    }

    /// Returns its process, to end it or to signal it.
    pub(crate) fn process_mut(&mut self) -> &mut OwnProcess {
        &mut self.process
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
        self.port = Some(KeptPort::keep(address).map_err(failed)?);
        Ok(())
    }

    /// Asks the gateway to stop, and waits for that. An exit status other than 0 is an error.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.process.stop(STOP)
    }
}

impl Drop for LocalGateway {
    fn drop(&mut self) {
        self.process.kill();
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

/// Runs a command of the gateway's program to its end, such as `cluster init`.
///
/// # Errors
/// The command fails; the message is its own.
pub(crate) fn command(program: Option<&Path>, args: &[&str]) -> Outcome<()> {
    let mut child = begin_command(program, args)?;
    child.wait().map_err(failed)?;
    is_done(&mut child, &args.join(" ")).map(drop)
}

/// Starts a command of the gateway's program, such as `cluster step-down`. [`is_done`] says how it ends.
///
/// # Errors
/// The command cannot be started.
pub(crate) fn begin_command(program: Option<&Path>, args: &[&str]) -> Outcome<Child> {
    let own = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program.unwrap_or(&own));
    command.args([VERB, &std::process::id().to_string()]);
    command.args(args).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    without_settings(&mut command);
    // Ctrl-C in a terminal goes to the generator, which ends what it started itself.
    command.process_group(0).spawn().map_err(failed)
}

/// Returns whether a command is done that [`begin_command`] started with these words.
///
/// # Errors
/// The command failed; the message is its own.
pub(crate) fn is_done(child: &mut Child, words: &str) -> Outcome<bool> {
    let Some(status) = child.try_wait().map_err(failed)? else {
        return Ok(false);
    };
    if status.success() {
        return Ok(true);
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // The error of a command is a line or two, so it was in the pipe when the command ended.
        stderr
            .take(SAID)
            .read_to_string(&mut said)
            .map_err(failed)?;
    }
    let said = said.trim();
    Err(Failure::aborted(format!("trunkline {words}: {said}")))
}

/// Takes the user's settings of gateways out of a command's environment: they must not change the run.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRUNKLINE_") {
            command.env_remove(name);
        }
    }
}

/// Makes a folder for this process in the temporary folder.
pub(crate) fn fresh_folder() -> std::io::Result<PathBuf> {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let name = format!("loadgen-{}-{nanos}", std::process::id());
    let folder: &Path = &std::env::temp_dir().join(name);
    std::fs::create_dir(folder)?;
    Ok(folder.to_owned())
}
