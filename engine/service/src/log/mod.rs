//! The log: its filter, its format, and the thread that writes its lines to standard error.
//!
//! Logging never waits and never fails. Lines go into a bounded queue, and one thread writes them.
//! While standard error takes nothing (a full disk, a reader that is gone or stopped), lines are
//! lost and counted. Once standard error takes lines again, one line states the number of lost
//! lines.

mod queue;

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use self::queue::Queue;
use crate::config::{Config, LogFormat};
use crate::log_filter;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The queue of this process's log.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// The running log. Dropping it writes the last lines.
pub(crate) struct Log {
    /// The handle that replaces the filter. `None` if the embedding program owns the log.
    filter: Option<reload::Handle<Targets, Registry>>,
}

/// Starts the log of `trunkline serve`. From then on a panic becomes a line of the log.
///
/// # Errors
/// The filter is not valid, or the thread cannot be started.
pub(crate) fn start(config: &Config) -> anyhow::Result<Log> {
    let (queue, outlet) = queue::queue();
    let filter = log_filter::parse(&config.log).context("log")?;
    let (filter, handle) = reload::Layer::new(filter);
    let filtered = registry().with(filter);
    let lines = fmt::layer()
        // A line that cannot be written is counted. No other output is left to report it.
        .log_internal_errors(false)
        .with_writer(queue.clone());
    let started = match config.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(stderr().is_terminal());
            filtered.with(lines).try_init()
        }
        LogFormat::Json => filtered.with(lines.json()).try_init(),
    };
    // A log that exists already belongs to the embedding program.
    let filter = started.ok().map(|()| handle);
    if filter.is_some() && QUEUE.set(queue).is_ok() {
        let tell = |lost, why: &str| {
            tracing::warn!(
                lines = lost,
                why,
                "standard error took no lines: they are lost"
            );
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || outlet.run(stderr(), tell))
            .context("cannot start the thread log")?;
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(Log { filter })
}

impl Log {
    /// Replaces the filter of the log. `filter` has the syntax of the setting `log`.
    ///
    /// # Errors
    /// The filter is not valid.
    pub(crate) fn set_filter(&self, filter: &str) -> anyhow::Result<()> {
        let filter = log_filter::parse(filter).context("log")?;
        match &self.filter {
            Some(handle) => handle.reload(filter).context("log"),
            None => Ok(()),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        flush();
    }
}

/// Returns the number of lines lost since the process began, because standard error did not take
/// them.
pub(crate) fn lost() -> u64 {
    QUEUE.get().map_or(0, Queue::lost)
}

/// Waits until all lines logged so far are written; at most one second, if standard error takes
/// none.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINES);
    }
}

/// Writes the last lines and ends the process with an exit code.
pub(crate) fn exit(code: i32) -> ! {
    flush();
    std::process::exit(code)
}

/// Writes the last lines and aborts the process.
pub(crate) fn abort() -> ! {
    flush();
    std::process::abort()
}

/// Writes the reason why the program ends to standard error: one line of plain text in every log
/// format.
pub(crate) fn say_error(line: &str) {
    match QUEUE.get() {
        Some(queue) => {
            queue.put(line.as_bytes());
            flush();
        }
        None => {
            // No other output is left to report a failed write.
            let _ = std::io::Write::write_all(&mut stderr(), line.as_bytes());
        }
    }
}

/// Logs a panic. Replaces the standard hook, which writes to standard error itself and may wait
/// there for ever.
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    if name == "log" {
        return;
    }
    let place = info.location().map(ToString::to_string);
    let text = info.payload_as_str().unwrap_or("no text");
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    tracing::error!(
        thread = name,
        place,
        "panic, which is a mistake in this program: {text}{trace}"
    );
    flush();
}
