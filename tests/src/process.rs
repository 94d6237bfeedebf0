//! Child processes of a test. Waiting for them is bounded, their output is read, and they end with
//! the test.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};

use crate::wait::{self, LIMIT};

/// The most bytes of a process's standard error that are kept.
const KEPT: usize = 1 << 20;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Exit {
    /// The exit status.
    pub status: ExitStatus,
    /// The lines of standard output that [`Process::line`] had not returned.
    pub stdout: String,
    /// Standard error, at most its first MiB.
    pub stderr: String,
}

impl Process {
    /// Starts a program with empty standard input, and reads its output.
    ///
    /// # Panics
    /// The program cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::piped(), Stdio::piped())
    }

    /// Makes the same with standard output and standard error of the caller's. What is no pipe made
    /// here is not heard.
    ///
    /// # Panics
    /// The program cannot be started.
    pub fn start_with(
        command: &mut Command,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        Self::spawn(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr))
    }

    /// Starts a program as [`Process::start`] does, and returns the pipe to its standard input too.
    /// Dropping the pipe tells the program that nothing more comes.
    ///
    /// # Panics
    /// The program cannot be started.
    pub fn start_with_input(command: &mut Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut process = Self::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let stdin = process.child.stdin.take();
        (process, stdin.expect("standard input is a pipe"))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // The command holds the other end of the caller's pipes, which has to be the child's alone.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (tell, lines) = channel();
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&stderr);
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(out).lines() {
                    let Ok(line) = line else { return };
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            }));
        }
        if let Some(mut err) = child.stderr.take() {
            readers.push(std::thread::spawn(move || {
                let mut piece = [0; 8 << 10];
                while let Ok(n @ 1..) = err.read(&mut piece) {
                    let mut kept = kept.lock().unwrap_or_else(|e| e.into_inner());
                    if kept.len() < KEPT {
                        kept.push_str(&String::from_utf8_lossy(&piece[..n]));
                    }
                }
            }));
        }
        Self {
            child,
            lines,
            stderr,
            readers,
        }
    }

    /// Waits for the next line of standard output; `None` once the program has closed it.
    ///
    /// # Panics
    /// No line comes within [`LIMIT`].
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("no output: {error}; it said:\n{}", self.stderr()),
        }
    }

    /// Returns standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// The process does not exist any more.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed());
        kill(id, signal).expect("the process is there");
    }

    /// Stops the process (SIGSTOP) and waits until none of its threads runs.
    ///
    /// # Panics
    /// The process does not exist any more.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.id());
        wait::until("every thread to stop", || {
            let mut tasks = std::fs::read_dir(&tasks).expect("the process is there");
            let stopped = |task: std::io::Result<std::fs::DirEntry>| {
                let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
                // The state stands behind the name, which is in parentheses (proc(5)).
                stat.is_ok_and(|stat| stat.contains(") T "))
            };
            tasks.all(stopped).then_some(())
        });
    }

    /// Lets the process run again after [`Process::pause`].
    ///
    /// # Panics
    /// The process does not exist any more.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sets the file size limit of the process, in bytes: writes beyond it fail. `None` removes the
    /// limit.
    ///
    /// # Panics
    /// The process does not exist any more.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed());
        let hard = rustix::process::getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit {
            current: bytes.or(hard),
            maximum: hard,
        };
        prlimit(pid, Resource::Fsize, limit).expect("the process is there");
    }

    /// Returns whether the process has not ended.
    ///
    /// # Panics
    /// The system does not tell.
    pub fn is_running(&mut self) -> bool {
        let ended = self.child.try_wait();
        ended.expect("a child can be waited for").is_none()
    }

    /// Waits until the process ends.
    ///
    /// # Panics
    /// The process does not end within [`LIMIT`].
    pub fn ended(&mut self) -> Exit {
        let child = &mut self.child;
        let status = wait::until("a process to end", || {
            child.try_wait().expect("a child can be waited for")
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("readers of output do not panic");
        }
        Exit {
            status,
            stdout: self
                .lines
                .try_iter()
                .fold(String::new(), |all, line| all + &line + "\n"),
            stderr: self.stderr(),
        }
    }

    /// Kills the process with SIGKILL, and waits until it has ended.
    pub fn kill(&mut self) -> Exit {
        // It may be dead already.
        let _ = self.child.kill();
        self.ended()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut err = std::io::stderr().lock();
            let said = self.stderr();
            let _ = std::io::Write::write_all(
                &mut err,
                format!("--- process {} said:\n{said}---\n", self.child.id()).as_bytes(),
            );
        }
    }
}

/// Returns the root folder of the workspace.
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Returns the `trunkline` program, built from the sources as they are, once per test process.
///
/// Cargo builds the programs of a package for the tests of that package only.
///
/// # Panics
/// The program does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built(&["--package", "trunkline-program", "--bins"], "trunkline"))
}

/// Returns the `loadgen` program, built from the sources as they are, once per test process.
///
/// # Panics
/// The program does not build.
pub fn loadgen() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built(&["--package", "trunkline-loadgen", "--bins"], "loadgen"))
}

/// Returns the program that the gate of the load lab counts, built from the sources as they are, once
/// per test process.
///
/// # Panics
/// The program does not build.
pub fn gate_counts() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built(&["--package", "trunkline-counts", "--bins"], "gate-counts"))
}

/// Returns an example in Rust of the folder `examples/`, built from the sources as they are.
///
/// # Panics
/// The example does not build.
pub fn example(name: &str) -> PathBuf {
    let target = ["--package", "trunkline-examples", "--example", name];
    built(&target, &format!("examples/{name}"))
}

/// The environment variable that says that the programs and examples are built already, with the
/// features that the tests of the whole workspace use.
const BUILT: &str = "TRUNKLINE_TEST_BUILT";

/// Builds `target` in the profile of this test and returns its path, which is `file` in the folder
/// of the profile.
///
/// With [`BUILT`] in the environment it builds nothing, because `tests/run` has built the whole
/// workspace. A build of one package would compile some forty libraries again, because fewer
/// of their features are in use there.
fn built(target: &[&str], file: &str) -> PathBuf {
    // This program is target/<profile>/deps/it-<hash>.
    let own = std::env::current_exe().expect("a program has a path");
    let folder = own.ancestors().nth(2);
    let file = folder
        .expect("test programs stand two folders deep")
        .join(file);
    if std::env::var_os(BUILT).is_some() {
        assert!(
            file.is_file(),
            "{BUILT} is set, and there is no {}",
            file.display()
        );
        return file;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(target);
    cargo.current_dir(workspace()).stdin(Stdio::null());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "{cargo:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(file.is_file(), "{cargo:?} did not make {}", file.display());
    file
}
