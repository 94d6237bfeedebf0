//! Starts, stops and kills real gateway processes.

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

/// How a gateway will be started: flags, environment, limits of the process.
#[derive(Debug, Clone)]
pub struct Setup {
    flags: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    /// Shell commands that run first, in the process that becomes the gateway.
    shell: Vec<String>,
    /// The programs that start the gateway, with their arguments and a space behind; empty if the shell does.
    starter: String,
    /// The certificates that clients trust; `None` without TLS.
    trust: Option<Trust>,
}

impl Default for Setup {
    /// Free ports, two shards, users name themselves, and nobody is dropped for being slow or
    /// refused for what their work costs: how long a test takes depends on the machine, and whether
    /// budgets bind depends on when others are served. Receipts wait for each other, but not for
    /// long.
    fn default() -> Self {
        const TIMEOUTS: [&str; 4] = [
            "handshake-timeout",
            "connect-timeout",
            "ping-interval",
            "write-timeout",
        ];
        const BUDGETS: [&str; 3] = ["connection-cost", "user-cost", "address-cost"];
        let hour = |setup: Self, timeout: &str| setup.flag(timeout, "1h");
        let unlimited = |setup: Self, budget: &str| setup.flag(budget, "0ms");
        let setup = TIMEOUTS.into_iter().fold(Self::bare(), hour);
        BUDGETS
            .into_iter()
            .fold(setup, unlimited)
            .flag("listen", "127.0.0.1:0")
            .flag("control", "127.0.0.1:0")
            .flag("http", "off")
            .flag("shards", "2")
            .flag("dev-auth", "true")
            .flag("receipt-delay", "20ms")
    }
}

impl Setup {
    /// Makes a gateway without any flag.
    pub fn bare() -> Self {
        Self {
            flags: BTreeMap::new(),
            environment: Vec::new(),
            shell: Vec::new(),
            starter: String::new(),
            trust: None,
        }
    }

    /// Sets a flag. It replaces an earlier flag of the same name.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.insert(name.to_owned(), value.to_string());
        self
    }

    /// Opens the port of the client API. Nobody is dropped for being slow.
    #[must_use]
    pub fn http(self) -> Self {
        self.flag("http", "127.0.0.1:0").flag("http-timeout", "1h")
    }

    /// Gives requests to the control port all the time that they need.
    #[must_use]
    pub fn patient(self) -> Self {
        self.flag("control-timeout", "1h")
    }

    /// Removes a flag.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.flags.remove(name);
        self
    }

    /// Sets certificate and key, and lets clients connect with TLS.
    #[must_use]
    pub fn tls(mut self, files: &Files, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self.flag("tls-cert", files.cert.display())
            .flag("tls-key", files.key.display())
    }

    /// Replaces development mode by tokens of this signer.
    #[must_use]
    pub fn tokens(self, signer: &Signer, key: &Path) -> Self {
        let setup = self.without("dev-auth").flag("jwt-key", key.display());
        match signer.algorithm() {
            "HS256" => setup.flag("jwt-algorithm", "HS256"),
            _ => setup,
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the descriptor limit of the process, soft and hard.
    #[must_use]
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.shell.push(format!("ulimit -n {limit}"));
        self
    }

    /// Sets the file size limit of the process, soft and hard, in blocks of 512 bytes.
    #[must_use]
    pub fn file_blocks(mut self, blocks: u64) -> Self {
        self.shell.push(format!("ulimit -f {blocks}"));
        self
    }

    /// Lets calls to the system about a file fail, from the start on. `what` is what strace injects, as in
    /// `pread64:error=EIO`.
    #[must_use]
    pub fn failing(mut self, file: &Path, what: &str) -> Self {
        let call = what.split(':').next().unwrap_or_default();
        let file = file.display();
        self.starter.push_str(&format!(
            "strace -D -f -qq -o /dev/null -P '{file}' -e trace={call} -e 'inject={what}' "
        ));
        self
    }

    /// Lets another program start the gateway, such as `nsenter`. These are its words, which need no quotes.
    #[must_use]
    pub fn starter(mut self, words: &[String]) -> Self {
        for word in words {
            self.starter.push_str(word);
            self.starter.push(' ');
        }
        self
    }

    /// Returns the command that runs a subcommand with these flags.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = if self.shell.is_empty() && self.starter.is_empty() {
            Command::new(program())
        } else {
            // The process itself does it before it becomes the gateway; doing it between fork
            // and exec from here would need unsafe code.
            let exec = format!("exec {}\"$0\" \"$@\"", self.starter);
            let steps = self.shell.iter().chain([&exec]);
            let script = steps.map(String::as_str).collect::<Vec<_>>().join(" && ");
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

    /// Runs a subcommand and waits until it ends.
    pub fn run(&self, subcommand: &str) -> Exit {
        Process::start(&mut self.command(subcommand)).ended()
    }

    /// Starts a gateway with a new data folder, which is removed when the [`Gateway`] is dropped.
    ///
    /// # Panics
    /// The gateway does not get ready.
    pub fn start(self) -> Gateway {
        let folder = TempDir::with_prefix("trunkline-test-").expect("a folder can be made");
        let data = folder.path().join("data");
        let mut gateway = self.start_on(&data);
        gateway.folder = Some(folder);
        gateway
    }

    /// Starts a gateway on an existing data folder.
    ///
    /// # Panics
    /// The gateway does not get ready.
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

/// The fields of the `ready` line, which a gateway prints once clients can connect.
#[derive(Debug, Clone)]
struct Ready {
    line: String,
    ws: SocketAddr,
    control: SocketAddr,
    http: Option<SocketAddr>,
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
        http: line.contains(" http=").then(|| {
            let scheme = if tls { "https://" } else { "http://" };
            address("http=", scheme, "")
        }),
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
    /// Starts a gateway with [`Setup::default`].
    pub fn start() -> Self {
        Setup::default().start()
    }

    /// Returns the address for WebSockets.
    pub fn ws(&self) -> SocketAddr {
        self.ready.ws
    }

    /// Returns the address of the control port.
    pub fn control(&self) -> SocketAddr {
        self.ready.control
    }

    /// Returns the address of the client API.
    ///
    /// # Panics
    /// The gateway has none.
    pub fn http(&self) -> SocketAddr {
        self.ready.http.expect("the setup opens the port")
    }

    /// Waits for a line of the gateway's log that contains `words`, and returns it.
    ///
    /// # Panics
    /// No such line comes.
    pub fn logged(&self, words: &str) -> String {
        wait::until(words, || {
            let log = self.process.stderr();
            let line = log.lines().find(|line| line.contains(words));
            line.map(str::to_owned)
        })
    }

    /// Returns the `ready` line.
    pub fn ready_line(&self) -> &str {
        &self.ready.line
    }

    /// Returns the data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns a client that will connect to this gateway, with TLS if the gateway has it.
    pub fn dial(&self) -> Dial {
        let dial = Dial::new(self.ready.ws);
        match &self.setup.trust {
            Some(trust) => dial.tls(trust),
            None => dial,
        }
    }

    /// The certificates that clients trust; `None` without TLS.
    pub(crate) const fn trusted(&self) -> Option<&Trust> {
        self.setup.trust.as_ref()
    }

    /// Reads one number of `/metrics` by its name and labels, such as `trunkline_acks_total`.
    pub fn metric(&self, name: &str) -> f64 {
        http::metric(self.ready.control, name)
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits until the process ends by itself.
    pub fn ended(&mut self) -> Exit {
        self.process.ended()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// The process does not end, or ends with another status than 0.
    pub fn stop(&mut self) -> Exit {
        self.ask_to_stop();
        let exit = self.ended();
        assert!(exit.status.success(), "{exit:?}");
        exit
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a new process on the same data folder, after [`Gateway::stop`] or [`Gateway::kill`].
    ///
    /// # Panics
    /// The gateway does not get ready.
    pub fn start_again(&mut self) {
        (self.process, self.ready) = launch(&self.setup);
    }
}
