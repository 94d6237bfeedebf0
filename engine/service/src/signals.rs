//! The signals of a gateway, and what each one does at each step of the process's life.
//!
//! One thread receives all signals, from before the configuration is read. So a signal can end the
//! process however long its start takes, and a second signal ends it whatever the first one waits
//! for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{self, Receiver, Sender};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::log;

/// The maximum number of requests that wait while another one is carried out. More readings of the
/// configuration in that time would change nothing.
const WAITING: usize = 4;

/// The request of a signal to a gateway that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Read the configuration again.
    Reload,
    /// Stop in order.
    Stop,
}

/// The queue of requests from signals.
pub(crate) struct Requests {
    ready: Arc<AtomicBool>,
    requests: Receiver<Request>,
}

impl Requests {
    /// Receives the signals from now on. SIGTERM and SIGINT end the process at once until
    /// [`Requests::serve`] is called.
    ///
    /// # Errors
    /// The signals cannot be watched, or the thread cannot be started.
    pub(crate) fn watch() -> std::io::Result<Self> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
        let (to, requests) = channel::bounded(WAITING);
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = Arc::clone(&ready);
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || take(signals, &is_ready, &to))?;
        Ok(Self { ready, requests })
    }

    /// Notes that the gateway serves: from now on SIGTERM and SIGINT are requests to stop in order.
    pub(crate) fn serve(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Waits for the next request.
    pub(crate) fn next(&self) -> Request {
        // Without the thread no request can come.
        self.requests.recv().unwrap_or(Request::Stop)
    }
}

fn take(mut signals: Signals, ready: &AtomicBool, requests: &Sender<Request>) {
    let mut stopping = false;
    for signal in signals.forever() {
        let signal_name = name(signal);
        match signal {
            SIGHUP if stopping => {
                tracing::info!("SIGHUP ignored: the gateway is stopping");
            }
            // The waiting requests read all changes.
            SIGHUP => drop(requests.try_send(Request::Reload)),
            SIGUSR1 | SIGUSR2 => {
                // Other programs use these signals to reopen their log or to log more. The default
                // action would end the process.
                tracing::info!(
                    signal = signal_name,
                    "signal ignored: it has no meaning for the gateway"
                );
            }
            _ if !ready.load(Ordering::SeqCst) => {
                // No client is connected, and the store survives an end at any point of its
                // opening.
                tracing::info!(signal = signal_name, "stopping before the gateway is ready");
                log::exit(0);
            }
            _ if stopping => {
                tracing::warn!(signal = signal_name, "a second signal: ending at once");
                // The exit code by which a shell reports a program that a signal ended.
                log::exit(128 + signal);
            }
            _ => {
                tracing::info!(signal = signal_name, "stopping");
                stopping = true;
                let _ = requests.send(Request::Stop);
            }
        }
    }
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("of no name")
}
