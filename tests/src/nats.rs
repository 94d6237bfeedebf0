//! NATS servers with JetStream, and a client that knows nothing of the library under test.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::port::{Kept, keep};
use crate::process::Process;
use crate::wait;

/// The names of the servers, in their order.
pub const NAMES: [&str; 3] = ["n0", "n1", "n2"];

/// NATS servers that know each other. Dropping them kills them.
#[derive(Debug)]
pub struct Servers {
    program: PathBuf,
    servers: Vec<Server>,
    folder: TempDir,
    /// More lines of configuration.
    more: String,
}

#[derive(Debug)]
struct Server {
    place: Place,
    process: Option<Process>,
    _kept: Vec<Kept>,
}

/// Where a NATS server runs.
#[derive(Debug)]
pub struct Place {
    /// The address for gateways.
    pub client: SocketAddr,
    /// The address for other servers.
    pub route: SocketAddr,
    /// The address for the test.
    pub near: SocketAddr,
    /// The address on which the server takes gateways and the test.
    pub listen: SocketAddr,
    /// The words that start a program there; empty: none are needed.
    pub starter: Vec<String>,
}

impl Server {
    /// Returns a server on free ports of this machine.
    fn here() -> Self {
        let (client, route) = (keep(0), keep(0));
        Self {
            place: Place {
                client: client.address,
                route: route.address,
                near: client.address,
                listen: client.address,
                starter: Vec::new(),
            },
            process: None,
            _kept: vec![client, route],
        }
    }

    fn there(place: Place) -> Self {
        Self {
            place,
            process: None,
            _kept: Vec::new(),
        }
    }
}

/// Returns the program of the NATS server, if it is installed. Says on standard error if it is not.
pub fn installed() -> Option<PathBuf> {
    let program = std::env::var_os("TRUNKLINE_TEST_NATS").map(PathBuf::from);
    let program = program.filter(|it| it.is_file());
    if program.is_none() {
        eprintln!("skipped: no NATS server (TRUNKLINE_TEST_NATS); tests/run installs one");
    }
    program
}

impl Servers {
    /// Starts servers, and waits until their JetStream takes requests. `None` if the program is not installed.
    ///
    /// # Panics
    /// A server does not start.
    pub fn start(count: usize) -> Option<Self> {
        Self::start_with(count, "")
    }

    /// Starts servers as [`Servers::start`] does, with more lines of configuration.
    ///
    /// # Panics
    /// A server does not start.
    pub fn start_with(count: usize, more: &str) -> Option<Self> {
        let servers = (0..count).map(|_| Server::here()).collect();
        let mut servers = Self::of(servers, more)?;
        servers.begin();
        Some(servers)
    }

    /// Returns servers at these places, with more lines of configuration. Call [`Servers::begin`]. `None` if the program is
    /// not installed.
    pub fn at(places: impl IntoIterator<Item = Place>, more: &str) -> Option<Self> {
        Self::of(places.into_iter().map(Server::there).collect(), more)
    }

    fn of(servers: Vec<Server>, more: &str) -> Option<Self> {
        Some(Self {
            program: installed()?,
            servers,
            folder: tempfile::tempdir().expect("a folder"),
            more: more.to_owned(),
        })
    }

    /// Starts all servers, and waits until their JetStream takes requests.
    ///
    /// # Panics
    /// A server does not start.
    pub fn begin(&mut self) {
        for index in 0..self.servers.len() {
            let config = self.config(index) + &self.more;
            std::fs::write(self.file(index), config).expect("a file");
            self.run(index);
        }
        for index in 0..self.servers.len() {
            self.is_ready(index);
        }
        if self.servers.len() > 1 {
            wait::until("a leader of JetStream", || {
                let mut all = self.servers.iter().flat_map(|it| &it.process);
                all.any(|it| it.stderr().contains("metadata leader"))
                    .then_some(())
            });
        }
    }

    fn file(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("{}.conf", NAMES[index]))
    }

    /// Returns the configuration of a server, with what docs/ recommends for a cluster.
    fn config(&self, index: usize) -> String {
        let place = &self.servers[index].place;
        // One server alone that is killed loses nothing that the kernel has.
        let sync = match self.servers.len() {
            1 => "\"60s\"",
            _ => "always",
        };
        let store = self.folder.path().join(NAMES[index]);
        let mut config = format!(
            "server_name: {}\nlisten: \"{}\"\nmax_payload: 1MB\nmax_pending: 256MB\nwrite_deadline: \"10s\"\n\
             ping_interval: \"5s\"\nping_max: 2\n\
             jetstream {{ store_dir: \"{}\", sync_interval: {sync}, max_memory_store: 64MB, max_file_store: 4GB }}\n",
            NAMES[index],
            place.listen,
            store.display(),
        );
        if self.servers.len() > 1 {
            let routes = self
                .servers
                .iter()
                .map(|it| format!("\"nats://{}\"", it.place.route));
            let routes = routes.collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                config,
                "cluster {{ name: tests, listen: \"{}\", routes: [{routes}], ping_interval: \"2s\" }}",
                place.route
            );
        }
        config
    }

    fn run(&mut self, index: usize) {
        let program = self.program.clone().into_os_string();
        let starter = self.servers[index].place.starter.iter();
        let mut words = starter.map(OsString::from).chain([program]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command.arg("-c").arg(self.file(index));
        // As many of them as a machine has cores would each take all of these.
        command.env("GOMAXPROCS", "2").env("GOMEMLIMIT", "256MiB");
        self.servers[index].process = Some(Process::start(&mut command));
    }

    fn is_ready(&self, index: usize) {
        let process = self.process(index);
        wait::until("a NATS server", || {
            process.stderr().contains("Server is ready").then_some(())
        });
    }

    /// Returns the process of a server.
    ///
    /// # Panics
    /// It does not run.
    pub fn process(&self, index: usize) -> &Process {
        self.servers[index]
            .process
            .as_ref()
            .expect("the server runs")
    }

    /// Returns the URLs of the servers, for gateways.
    pub fn urls(&self) -> Vec<String> {
        let url = |it: &Server| format!("nats://{}", it.place.client);
        self.servers.iter().map(url).collect()
    }

    /// Returns the URLs of the servers, for the test.
    pub fn near_urls(&self) -> Vec<String> {
        let url = |it: &Server| format!("nats://{}", it.place.near);
        self.servers.iter().map(url).collect()
    }

    /// Returns the addresses of the servers.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|it| it.place.client).collect()
    }

    /// Returns the index of the server with this name.
    ///
    /// # Panics
    /// There is none.
    pub fn index(&self, name: &str) -> usize {
        NAMES
            .iter()
            .position(|it| *it == name)
            .expect("a server of the test")
    }

    /// Kills a server with SIGKILL.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self, index: usize) {
        let process = self.servers[index].process.take();
        let _ = process.expect("the server runs").kill();
    }

    /// Starts a server that was killed, at its address and with its files, and waits until it is there.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self, index: usize) {
        self.run(index);
        self.is_ready(index);
    }

    /// Starts a server that was killed as [`Servers::restart`] does, with more lines of configuration.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart_with(&mut self, index: usize, more: &str) {
        std::fs::write(self.file(index), self.config(index) + more).expect("a file");
        self.restart(index);
    }

    /// Stops a server (SIGSTOP).
    ///
    /// # Panics
    /// It does not run.
    pub fn pause(&self, index: usize) {
        self.process(index).pause();
    }

    /// Lets a server run again after [`Servers::pause`].
    ///
    /// # Panics
    /// It does not run.
    pub fn resume(&self, index: usize) {
        self.process(index).resume();
    }

    /// Connects a client.
    ///
    /// # Panics
    /// The server takes no connection.
    pub fn client(&self, index: usize) -> Raw {
        Raw::connect(self.servers[index].place.near)
    }

    /// Returns the folder in which a server has its files.
    pub fn store(&self, index: usize) -> PathBuf {
        Path::new(self.folder.path()).join(NAMES[index])
    }
}

/// A client of a NATS server that writes and reads the protocol itself.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("a connection");
        socket
            .set_read_timeout(Some(wait::LIMIT))
            .expect("a socket option");
        let lines = BufReader::new(socket.try_clone().expect("a descriptor"));
        let mut raw = Self { socket, lines };
        let connect = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB answers 1\r\n";
        raw.write(connect.as_bytes());
        raw.settle();
        raw
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server takes it");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the server closed the connection");
        line.truncate(line.trim_end().len());
        line
    }

    /// Waits until the server has taken everything so far.
    ///
    /// # Panics
    /// The server closes the connection, or does not answer.
    pub fn settle(&mut self) {
        self.write(b"PING\r\n");
        while self.line() != "PONG" {}
    }

    /// Publishes a message.
    ///
    /// # Panics
    /// The server closes the connection.
    pub fn publish(&mut self, subject: &str, bytes: &[u8]) {
        let mut message = format!("PUB {subject} {}\r\n", bytes.len()).into_bytes();
        message.extend_from_slice(bytes);
        message.extend_from_slice(b"\r\n");
        self.write(&message);
    }

    /// Asks, and returns the answer, which is JSON.
    ///
    /// # Panics
    /// The answer is not JSON, or there is none.
    pub fn ask(&mut self, subject: &str, bytes: &[u8]) -> Value {
        let answer = self.try_ask(subject, bytes);
        answer.expect("JetStream answers")
    }

    /// Asks, and returns the answer, which is JSON. Returns `None` if nobody answers before the server asks whether this
    /// client is there: a question to a server that is cut off gets lost.
    ///
    /// # Panics
    /// The answer is not JSON.
    pub fn try_ask(&mut self, subject: &str, bytes: &[u8]) -> Option<Value> {
        self.write(format!("PUB {subject} answers {}\r\n", bytes.len()).as_bytes());
        self.write(bytes);
        self.write(b"\r\n");
        let mut pings = 0;
        loop {
            let line = self.line();
            if line == "PING" {
                self.write(b"PONG\r\n");
                pings += 1;
            }
            // The first one comes right behind the beginning of the connection.
            if line.starts_with("HMSG") || pings > 2 {
                return None;
            }
            if line.starts_with("MSG answers ") {
                let length = line.rsplit(' ').next().and_then(|it| it.parse().ok());
                let mut answer = vec![0; length.expect("a length")];
                self.lines.read_exact(&mut answer).expect("an answer");
                return Some(serde_json::from_slice(&answer).expect("JSON"));
            }
        }
    }
}
