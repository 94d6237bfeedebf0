//! Contenders in processes of their own, as the comparing process sees them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitCode, Stdio};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use trunkline_contender::{Command, Reply, Setup, serve};

use crate::ours::{Bare, Trunkline};

/// The first argument that makes this program a contender.
const CONTENDER: &str = "__contender";
/// The name of Trunkline's store.
pub const TRUNKLINE: &str = "trunkline";
/// The name of the bare file.
pub const BARE: &str = "bare";

/// Runs a contender if [`ours`] has started this process as one.
#[must_use]
pub fn contender_main() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next()? != CONTENDER {
        return None;
    }
    match args.next()?.as_str() {
        BARE => Some(serve::<Bare>(args)),
        _ => Some(serve::<Trunkline>(args)),
    }
}

/// Returns the command of one of our own contenders, [`TRUNKLINE`] or [`BARE`]. It starts this
/// program again.
///
/// # Errors
/// The path of this program is unknown.
pub fn ours(name: &str) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe()?.display().to_string();
    Ok(vec![program, CONTENDER.into(), name.into()])
}

/// A contender's process. A pausing process is stopped while it has no task, so that its background
/// work does not disturb the others. Dropping the seat kills the process, as `kill -9` does.
#[derive(Debug)]
pub struct Seat {
    child: Child,
    /// The pipe for commands; `None` once it is closed, which ends the contender.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pausing: bool,
    /// The time that opening the store took, in seconds.
    pub opening: f64,
}

impl Seat {
    /// Starts a contender: `program` takes further arguments as [`serve`] does.
    ///
    /// # Errors
    /// The process does not start, or does not open its store.
    pub fn start(program: &[String], setup: &Setup, pausing: bool) -> anyhow::Result<Self> {
        let (name, args) = program.split_first().context("no program")?;
        let mut child = std::process::Command::new(name)
            .args(args)
            .args(setup.args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut seat = Seat {
            input: child.stdin.take(),
            child,
            output,
            pausing,
            opening: 0.0,
        };
        seat.opening = seat.reply()?.get("seconds")?;
        seat.signal(Signal::STOP)?;
        Ok(seat)
    }

    /// Lets the contender do a piece of work and waits for the result.
    ///
    /// # Errors
    /// The work failed, and the contender has ended.
    pub fn tell(&mut self, command: Command) -> anyhow::Result<Reply> {
        self.signal(Signal::CONT)?;
        let input = self.input.as_mut().context("it was told to end")?;
        writeln!(input, "{command}")?;
        let reply = self.reply().with_context(|| command.to_string())?;
        self.signal(Signal::STOP)?;
        Ok(reply)
    }

    /// Kills the contender as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// The contender had ended before.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Closes the pipe and waits until the contender ends by itself.
    ///
    /// # Errors
    /// The contender fails.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)?;
        self.input = None;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("ended with {status}");
        }
        Ok(())
    }

    fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                bail!("it died: {}", self.child.wait()?);
            }
            // Other lines are marks for a trace.
            if line.starts_with("ok") || line.starts_with("error") {
                return line.parse();
            }
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if self.pausing {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.context("no process")?, signal)?;
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A process that has ended need not be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
