//! Processes that a run starts: its gateways, and NATS servers.
//!
//! The kernel ends them with the load generator. A gateway ties itself to its parent. Another program is
//! started by way of this one, which ties itself and then becomes the other program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Failure, Outcome};
use crate::health::Process;
use crate::output::complain;

/// The hidden command that ties this process to its parent and becomes another program.
const VERB: &str = "__tied";

/// The time between two looks at a process that shall end.
const LOOK: Duration = Duration::from_millis(10);

/// Ties this process to the parent with this process id: the kernel ends it with the thread that started
/// it. Returns whether that worked, and the parent is still there.
pub(crate) fn tie(parent: Option<&OsString>) -> bool {
    let parent = parent.and_then(|pid| pid.to_str()?.parse().ok());
    let tied = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    tied.is_ok() && parent == Some(nix::unistd::getppid().as_raw())
}

/// Becomes another program if this process was started for that.
pub(crate) fn is_one(args: &[OsString]) -> Option<ExitCode> {
    if args.get(1).is_none_or(|verb| verb != VERB) {
        return None;
    }
    let program = args.get(3).filter(|_| tie(args.get(2)));
    if let Some(program) = program {
        // The tie outlives exec(2), see PR_SET_PDEATHSIG in prctl(2).
        let why = Command::new(program).args(&args[4..]).exec();
        complain(&format!("{}: {why}", program.display()));
    }
    Some(ExitCode::FAILURE)
}

/// Returns a command that starts a program, tied to the thread that spawns it.
///
/// # Errors
/// The path of this program is unknown.
pub(crate) fn tied(program: &OsStr) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(VERB).arg(std::process::id().to_string());
    command.arg(program);
    Ok(command)
}

/// A process of the run, or the place of one that has ended. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct OwnProcess {
    /// The name in messages, such as `the gateway`.
    what: String,
    /// The file with what the process logs.
    log: PathBuf,
    child: Option<Child>,
    /// The resources of its ended processes.
    spent: Process,
}

impl OwnProcess {
    /// Makes the place of a process, which is not started.
    pub(crate) fn new(what: String, log: PathBuf) -> Self {
        Self {
            what,
            log,
            child: None,
            spent: Process::default(),
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&mut self, command: &mut Command) -> io::Result<&mut Child> {
        // Ctrl-C in a terminal goes to the generator, which ends what it started itself.
        let child = command.process_group(0).spawn()?;
        Ok(self.child.insert(child))
    }

    /// Returns the name in messages, such as `the gateway`.
    pub(crate) fn what(&self) -> &str {
        &self.what
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

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// There is no process.
    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        let what = &self.what;
        // The process id 0 would stand for this program's whole process group (kill(2)).
        let Some(child) = &self.child else {
            return Err(Failure::aborted(format!(
                "{what} has ended by itself; the end of its log:\n{}",
                self.log_tail()
            )));
        };
        kill(Pid::from_raw(child.id().cast_signed()), signal)
            .map_err(|why| Failure::aborted(format!("cannot signal {what}: {why}")))
    }

    /// Lets the process write to files, or takes that from it (RLIMIT_FSIZE).
    ///
    /// # Errors
    /// There is no process, or the kernel does not allow it.
    pub(crate) fn may_write(&self, may: bool) -> Outcome<()> {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let own = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: if may { own.current } else { Some(0) },
            maximum: own.maximum,
        };
        match pid.map(|pid| prlimit(Some(pid), Resource::Fsize, limit)) {
            Some(Ok(_)) => Ok(()),
            found => Err(Failure::aborted(format!(
                "cannot limit the files of {}: {}",
                self.what,
                found.map_or("it has ended".to_owned(), |it| it
                    .map_or_else(|why| why.to_string(), |_| String::new()))
            ))),
        }
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
            let waited = child.wait();
            waited
                .map_err(|why| Failure::aborted(format!("cannot wait for {}: {why}", self.what)))?;
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

    /// Asks the process to stop, and waits for that as long as `patience`.
    ///
    /// # Errors
    /// There is no process, it does not stop, or its exit status is not 0.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<(), String> {
        self.signal(Signal::SIGTERM).map_err(|why| why.message)?;
        let deadline = Instant::now() + patience;
        let what = &self.what;
        loop {
            let status = self.child.as_mut().map(Child::try_wait);
            match status {
                Some(Ok(Some(status))) if status.success() => return Ok(()),
                Some(Ok(Some(status))) => {
                    return Err(format!("{what} ended with {status}\n{}", self.log_tail()));
                }
                Some(Ok(None)) if Instant::now() < deadline => std::thread::sleep(LOOK),
                _ => return Err(format!("{what} did not stop within {patience:?}")),
            }
        }
    }
}

impl OwnProcess {
    /// Kills the process, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.child = None;
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns whether a process has ended and its parent has not waited for it yet (proc(5), state Z).
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().map_or("", str::trim_start);
    state.starts_with('Z')
}
