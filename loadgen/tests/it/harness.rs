//! Scenarios, child processes and their results.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// The most time to wait for a condition. A test that reaches it fails.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` returns a value, and returns it. Fails after [`LIMIT`].
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited {LIMIT:?} for {what}");
}

/// Twelve users, about 200 messages in a second, every check on. The health limits are wide: the
/// machine that runs the tests is not the one whose figures count.
const SCENARIO: &str = r#"schema = 1
seed = 7
[population]
users = 12
share = "1/1"
online = 1.0
devices = 1.0
msgs_per_user_day = 40
window = "24h"
[traffic]
arrival = "poisson"
payload = { dist = "const", bytes = "120B" }
contacts = 4
receipts = true
read_after = "20ms"
key_every = 5
[client]
threads = 1
connect_timeout = "60s"
[scenarios.connect]
executor = "ramping-connections"
stages = [{ duration = "50ms", target = "100%" }]
[scenarios.day]
executor = "constant-arrival-rate"
start_after = "connect"
duration = "1s"
rate = "200/s"
[checks]
drain = "30s"
[thresholds]
lost = ["count==0"]
[health]
send_lag_p99 = "60s"
achieved_min = 0.0
loop_stall_max = "60s"
steal_max = 1.0
"#;

/// Returns the scenario with parts replaced. Fails if a part is not in it.
pub(crate) fn scenario(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(SCENARIO.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the scenario has no {from}");
        text.replace(from, to)
    })
}

/// A run of the program. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Loadgen {
    child: Child,
    dir: TempDir,
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    dir: TempDir,
}

impl Loadgen {
    /// Starts the program with these arguments; the word SCENARIO stands for a file with `text`.
    pub(crate) fn start(text: &str, args: &[&str]) -> Self {
        Self::start_with(text, args, &[])
    }

    /// The same, with these variables of the environment.
    pub(crate) fn start_with(text: &str, args: &[&str], variables: &[(&str, &OsString)]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        Self::start_by(command, text, args, variables)
    }

    /// The same, by a command that starts the program with the arguments behind its own.
    pub(crate) fn start_by(
        mut command: Command,
        text: &str,
        args: &[&str],
        variables: &[(&str, &OsString)],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("test.toml");
        std::fs::write(&file, text).expect("a scenario is written");
        let temporary = dir.path().join("tmp");
        std::fs::create_dir(&temporary).expect("a folder is made");
        let output = |name| std::fs::File::create(dir.path().join(name)).expect("a file is made");
        let args = args.iter().map(|arg| match *arg {
            "SCENARIO" => file.as_os_str(),
            other => other.as_ref(),
        });
        let child = command
            .args(args)
            .current_dir(dir.path())
            .env("TMPDIR", &temporary)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("loadgen starts");
        Self { child, dir }
    }

    /// Starts `run` of a scenario with results in `out`.
    pub(crate) fn run(text: &str, more: &[&str]) -> Self {
        let mut args = vec!["run", "SCENARIO", "--no-tui", "--out", "out"];
        args.extend(more);
        Self::start(text, &args)
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the run's temporary folder.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// Returns the standard output so far.
    pub(crate) fn stdout(&self) -> String {
        read(self.dir.path(), "stdout")
    }

    /// Returns the standard error so far.
    pub(crate) fn stderr(&self) -> String {
        read(self.dir.path(), "stderr")
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the process is there");
    }

    /// Waits until the program ends.
    pub(crate) fn done(self) -> Done {
        let mut this = self;
        let child = &mut this.child;
        let status = until("loadgen to end", || {
            child.try_wait().expect("a child can be waited for")
        });
        let (stdout, stderr) = (this.stdout(), this.stderr());
        let dir = std::mem::replace(&mut this.dir, tempfile::tempdir().expect("a folder"));
        Done {
            code: status.code(),
            stdout,
            stderr,
            dir,
        }
    }
}

impl Drop for Loadgen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    /// Checks the exit code of the process and of the summary, and returns the summary.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, verdict: &str) -> Value {
        self.expect_in("out/summary.json", code, verdict)
    }

    /// Checks exit code and verdict, and returns the summary in `file`.
    #[track_caller]
    pub(crate) fn expect_in(&self, file: &str, code: i32, verdict: &str) -> Value {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{said}");
        let text = read(self.dir.path(), file);
        let summary: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {said}"));
        assert_eq!(summary["exit_code"], code, "{summary}");
        assert_eq!(summary["verdict"], verdict, "{summary}");
        summary
    }

    /// Checks that no run took place: the exit code, and each of the words on standard error.
    #[track_caller]
    pub(crate) fn expect_refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {}", self.stderr);
        }
        assert!(!self.dir.path().join("out/summary.json").exists());
    }

    /// Returns the violations with their details, from `violations.jsonl`.
    pub(crate) fn violations(&self) -> Vec<Value> {
        let text = read(self.dir.path(), "out/violations.jsonl");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }

    /// Returns the folder of the results.
    pub(crate) fn results(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Returns the number of files left in the temporary folder.
    pub(crate) fn left_behind(&self) -> usize {
        let left = std::fs::read_dir(self.dir.path().join("tmp"));
        left.expect("the folder is there").count()
    }
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Returns a number of a summary: `counts.lost`.
#[track_caller]
pub(crate) fn number(summary: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(summary, |value, key| &value[key]);
    found
        .as_f64()
        .unwrap_or_else(|| panic!("no number {path} in {summary}"))
}

/// Returns a list of sentences of a summary, as one text.
pub(crate) fn sentences(list: &Value) -> String {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}
