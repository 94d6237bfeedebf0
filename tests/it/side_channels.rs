//! Standard output or standard error is full or closed: the gateway goes on, and tools fail with a
//! text.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, pipe};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use trunkline_tests::gateway::Setup;
use trunkline_tests::http;
use trunkline_tests::process::{Process, program};
use trunkline_tests::wait;

const LOST: &str = "trunkline_log_lines_lost_total";

/// Opens a file that refuses every write, as a full disk does.
fn full() -> Stdio {
    let file = OpenOptions::new().write(true).open("/dev/full");
    file.expect("Linux has /dev/full").into()
}

/// A gateway with standard output and standard error of the test's choice.
struct Serving {
    process: Process,
    control: SocketAddr,
    _folder: TempDir,
}

impl Serving {
    /// Starts a gateway with this standard error.
    fn start(setup: Setup, stderr: impl Into<Stdio>) -> Self {
        let folder = TempDir::with_prefix("trunkline-side-").expect("a folder can be made");
        let setup = setup.flag("data", folder.path().join("data").display());
        let mut command = setup.command("serve");
        let mut process = Process::start_with(&mut command, Stdio::piped(), stderr);
        let line = process.line().expect("the gateway gets ready");
        Self {
            control: control(&line),
            process,
            _folder: folder,
        }
    }

    fn metric(&self, name: &str) -> f64 {
        http::metric(self.control, name)
    }

    /// The gateway must serve a client, and end with status 0.
    fn serves_and_stops(mut self) {
        assert_eq!(http::get(self.control, "/readyz").status, 200);
        self.process.signal(Signal::SIGTERM);
        let exit = self.process.ended();
        assert!(exit.status.success(), "{exit:?}");
    }
}

/// Returns the address of the control port in a line that names it.
fn control(line: &str) -> SocketAddr {
    let word = line.split("control=").nth(1).expect("a control address");
    let word = word.split_whitespace().next().unwrap_or(word);
    let word = word.strip_prefix("http://").unwrap_or(word);
    word.parse().expect("an address")
}

#[test]
fn a_log_on_a_full_disk() {
    for format in ["text", "json"] {
        let gateway = Serving::start(Setup::default().flag("log-format", format), full());
        wait::until("a lost line to be counted", || {
            (gateway.metric(LOST) > 0.0).then_some(())
        });
        gateway.serves_and_stops();
    }
}

#[test]
fn a_reader_of_the_log_that_leaves() {
    let (reader, writer) = pipe().expect("a pipe");
    let gateway = Serving::start(Setup::default(), writer);
    let mut lines = BufReader::new(reader);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line of the log");
    assert!(!line.is_empty());
    assert_eq!(gateway.metric(LOST), 0.0);
    drop(lines);
    gateway.serves_and_stops();
}

/// The second gateway on an address fails, even if its standard error takes nothing.
#[test]
fn a_start_that_fails_keeps_its_exit_code() {
    let gateway = Setup::default().start();
    let setup = Setup::default().flag("control", gateway.control());
    let folder = TempDir::with_prefix("trunkline-side-").expect("a folder can be made");
    let setup = setup.flag("data", folder.path().join("data").display());
    for (setup, code) in [(setup, 1), (Setup::bare(), 2)] {
        let mut command = setup.command("serve");
        let exit = Process::start_with(&mut command, Stdio::piped(), full()).ended();
        assert_eq!(exit.status.code(), Some(code), "{exit:?}");
    }
}

/// The gateway serves clients even if nobody reads its `ready` line.
#[test]
fn nobody_takes_the_line_that_says_ready() {
    let closed = || {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    for stdout in [full(), closed()] {
        let folder = TempDir::with_prefix("trunkline-side-").expect("a folder can be made");
        let setup = Setup::default().flag("data", folder.path().join("data").display());
        let mut command = setup.command("serve");
        let mut process = Process::start_with(&mut command, stdout, Stdio::piped());
        let said = wait::until("the gateway to say so in its log", || {
            let said = process.stderr();
            let whole = said.contains("standard output did not take") && said.contains("control=");
            whole.then_some(said)
        });
        assert_eq!(http::get(control(&said), "/readyz").status, 200);
        process.signal(Signal::SIGTERM);
        let exit = process.ended();
        assert!(exit.status.success(), "{exit:?}");
    }
}

/// Returns every command that prints results, for an existing store.
fn commands(data: &Path) -> Vec<Vec<String>> {
    let data = format!("--data={}", data.display());
    let all: [&[&str]; 13] = [
        &["--help"],
        &["--version"],
        &["serve", "--help"],
        &["store", "dump", "--help"],
        &["check-config", "--dev-auth", &data],
        &["doctor", &data],
        &["doctor", "--json", &data],
        &["store", "inspect", &data],
        &["store", "inspect", "--json", &data],
        &["store", "verify", &data],
        &["store", "dump", &data],
        &["store", "repair", "--dry-run", &data],
        &["store", "repair", &data],
    ];
    let owned = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    all.iter().map(owned).collect()
}

fn a_store() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::with_prefix("trunkline-side-").expect("a folder can be made");
    let data = folder.path().join("data");
    // Tools that read all of it take no time.
    let small = Setup::default().flag("message-bytes", "64KiB");
    let mut gateway = small.flag("segment-bytes", "256KiB").start_on(&data);
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "hello");
    gateway.stop();
    (folder, data)
}

/// Returns standard error of a tool without its lines of progress.
fn without_progress(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.starts_with("checked "));
    lines.map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let (_folder, data) = a_store();
    for words in commands(&data) {
        let mut command = Command::new(program());
        let exit = Process::start_with(command.args(&words), full(), Stdio::piped()).ended();
        assert_eq!(exit.status.code(), Some(1), "{words:?}: {exit:?}");
        let said = without_progress(&exit.stderr);
        assert!(said.contains("standard output"), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        // The exit code is the same if neither output takes a line.
        let exit = Process::start_with(&mut command, full(), full()).ended();
        assert_eq!(exit.status.code(), Some(1), "{words:?}: {exit:?}");
    }
}

#[test]
fn a_reader_of_results_that_leaves_is_no_error() {
    let (_folder, data) = a_store();
    for words in commands(&data) {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(program());
        let exit = Process::start_with(command.args(&words), writer, Stdio::piped()).ended();
        assert_eq!(exit.status.code(), Some(0), "{words:?}: {exit:?}");
        assert_eq!(without_progress(&exit.stderr), "", "{words:?}");
    }
}
