//! A real gateway process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::dial::Dial;
use crate::http;
use crate::process::{Exit, Process, program};
use crate::tls::{Files, Trust};
use crate::tokens::Signer;
use crate::wait;

/// How a gateway is to be started.
#[derive(Debug, Clone)]
pub struct Setup {
    flags: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    /// What a shell does before it becomes the program.
    shell: Vec<String>,
    /// Who clients trust, where they connect with TLS.
    trust: Option<Trust>,
}

impl Default for Setup {
    /// Free ports, two shards, users name themselves, and nobody is dropped for being slow: how
    /// long a test takes depends on the machine. Receipts wait for each other, but not for long.
    fn default() -> Self {
        let timeouts = [
            "handshake-timeout",
            "connect-timeout",
            "ping-interval",
            "write-timeout",
        ];
        timeouts
            .into_iter()
            .fold(Self::bare(), |setup, timeout| setup.flag(timeout, "1h"))
            .flag("listen", "127.0.0.1:0")
            .flag("control", "127.0.0.1:0")
            .flag("shards", "2")
            .flag("dev-auth", "true")
            .flag("receipt-delay", "20ms")
    }
}

impl Setup {
    /// Without any flag.
    pub fn bare() -> Self {
        Self {
            flags: BTreeMap::new(),
            environment: Vec::new(),
            shell: Vec::new(),
            trust: None,
        }
    }

    /// With a flag, in place of an earlier one of this name.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.insert(name.to_owned(), value.to_string());
        self
    }

    /// Without a flag.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.flags.remove(name);
        self
    }

    /// With TLS, and clients that connect with it.
    #[must_use]
    pub fn tls(mut self, files: &Files, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self.flag("tls-cert", files.cert.display())
            .flag("tls-key", files.key.display())
    }

    /// With tokens of this signer instead of users who name themselves.
    #[must_use]
    pub fn tokens(self, signer: &Signer, key: &Path) -> Self {
        let setup = self.without("dev-auth").flag("jwt-key", key.display());
        match signer.algorithm() {
            "HS256" => setup.flag("jwt-algorithm", "HS256"),
            _ => setup,
        }
    }

    /// With an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a descriptor limit, soft and hard.
    #[must_use]
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.shell.push(format!("ulimit -n {limit}"));
        self
    }

    /// With a limit of file sizes, in blocks of 512 bytes, soft and hard.
    #[must_use]
    pub fn file_blocks(mut self, blocks: u64) -> Self {
        self.shell.push(format!("ulimit -f {blocks}"));
        self
    }

    /// The command line of a subcommand with these flags.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = if self.shell.is_empty() {
            Command::new(program())
        } else {
            // The process itself does it before it becomes the gateway; doing it between fork
            // and exec from here would need unsafe code.
            let script = self.shell.join(" && ") + " && exec \"$0\" \"$@\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).arg(program());
            shell
        };
        for (name, _) in std::env::vars() {
            if name.starts_with("TRUNKLINE_") {
                command.env_remove(name);
            }
        }
        command.arg(subcommand);
        for (name, value) in &self.flags {
            command.arg(format!("--{name}={value}"));
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a subcommand that ends by itself.
    pub fn run(&self, subcommand: &str) -> Exit {
        Process::start(&mut self.command(subcommand)).ended()
    }

    /// Starts a gateway with a data folder of its own, which outlives its processes.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn start(self) -> Gateway {
        let folder = TempDir::with_prefix("trunkline-test-").expect("a folder can be made");
        let data = folder.path().join("data");
        let mut gateway = self.start_on(&data);
        gateway.folder = Some(folder);
        gateway
    }

    /// Starts a gateway on a data folder of the caller's.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn start_on(self, data: &Path) -> Gateway {
        let setup = self.flag("data", data.display());
        let (process, ready) = launch(&setup);
        Gateway {
            setup,
            process,
            ready,
            data: data.to_owned(),
            folder: None,
        }
    }
}

/// The line that a gateway prints once clients can connect, taken apart.
#[derive(Debug, Clone)]
struct Ready {
    line: String,
    ws: SocketAddr,
    control: SocketAddr,
}

fn launch(setup: &Setup) -> (Process, Ready) {
    let mut process = Process::start(&mut setup.command("serve"));
    let Some(line) = process.line() else {
        panic!("the gateway does not get ready: {:?}", process.ended());
    };
    let address = |name: &str, before: &str, after: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name));
        let address = word.and_then(|url| url.strip_prefix(before)?.strip_suffix(after));
        address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{line:?} lacks {name}"))
    };
    assert!(line.starts_with("ready "), "{line:?}");
    let tls = line.contains("ws=wss://");
    let scheme = if tls { "wss://" } else { "ws://" };
    let ready = Ready {
        ws: address("ws=", scheme, "/v1/ws"),
        control: address("control=", "http://", ""),
        line,
    };
    (process, ready)
}

/// A gateway process and its data folder.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    process: Process,
    ready: Ready,
    data: PathBuf,
    folder: Option<TempDir>,
}

impl Gateway {
    /// A gateway as [`Setup::default`] says.
    pub fn start() -> Self {
        Setup::default().start()
    }

    /// Where WebSockets connect.
    pub fn ws(&self) -> SocketAddr {
        self.ready.ws
    }

    /// Where HTTP is served.
    pub fn control(&self) -> SocketAddr {
        self.ready.control
    }

    /// Waits until its log has words, and returns the line.
    ///
    /// # Panics
    /// They do not come.
    pub fn logged(&self, words: &str) -> String {
        wait::until(words, || {
            let log = self.process.stderr();
            let line = log.lines().find(|line| line.contains(words));
            line.map(str::to_owned)
        })
    }

    /// The line it printed when it was ready.
    pub fn ready_line(&self) -> &str {
        &self.ready.line
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A client that is about to connect.
    pub fn dial(&self) -> Dial {
        let dial = Dial::new(self.ready.ws);
        match &self.setup.trust {
            Some(trust) => dial.tls(trust),
            None => dial,
        }
    }

    /// A number of /metrics by its name with labels, such as `trunkline_acks_total`.
    pub fn metric(&self, name: &str) -> f64 {
        http::metric(self.ready.control, name)
    }

    /// Asks it to stop (SIGTERM) without waiting.
    pub fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> Exit {
        self.process.ended()
    }

    /// Stops it with SIGTERM.
    ///
    /// # Panics
    /// It does not end, or not with status 0.
    pub fn stop(&mut self) -> Exit {
        self.ask_to_stop();
        let exit = self.ended();
        assert!(exit.status.success(), "{exit:?}");
        exit
    }

    /// Ends it the hard way (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folder, after [`Gateway::stop`] or [`Gateway::kill`].
    ///
    /// # Panics
    /// It does not get ready.
    pub fn start_again(&mut self) {
        (self.process, self.ready) = launch(&self.setup);
    }
}
