//! A thread that asks a control port for the work that is owed, while a run lasts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Debt, Sample, judge, keeps_up, paid, patience};
use crate::client::SendWindow;
use crate::clock::{Clock, Nanos, SECOND};
use crate::control_port;
use crate::exit::{Failure, Outcome};

/// The time between two questions.
const EVERY: Duration = Duration::from_millis(250);

/// The time between two looks at the samples, once sending has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The most samples that are kept: an hour of them. After that the distance doubles, and every second
/// one is forgotten.
const SAMPLES_MAX: usize = 14_400;

/// Asks a control port for the work that is owed, until it is dropped.
#[derive(Debug)]
pub(crate) struct DebtWatch {
    metrics: Vec<String>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    samples: Mutex<Vec<Sample>>,
    over: AtomicBool,
}

impl Shared {
    /// Returns the distance of samples that is left after adding one.
    fn push(&self, sample: Sample, every: Duration) -> Duration {
        let Ok(mut samples) = self.samples.lock() else {
            return every;
        };
        samples.push(sample);
        if samples.len() < SAMPLES_MAX {
            return every;
        }
        let mut second = false;
        samples.retain(|_| {
            second = !second;
            second
        });
        every * 2
    }
}

impl DebtWatch {
    /// Begins to ask for the sum of the metrics, over all these control ports.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        controls: Vec<SocketAddr>,
        metrics: &[String],
        clock: Clock,
    ) -> Outcome<Self> {
        let shared = Arc::new(Shared::default());
        let (own, names) = (Arc::clone(&shared), metrics.to_vec());
        let ask = move || {
            let mut every = EVERY;
            while !own.over.load(Ordering::SeqCst) {
                // A control port that does not answer now answers later, or the run fails anyway.
                let owed =
                    |control: &SocketAddr| control_port::exposed(*control).ok()?.sum_of(&names);
                if let Some(owed) = controls.iter().map(owed).sum::<Option<f64>>() {
                    let at = clock.now();
                    every = own.push(Sample { at, owed }, every);
                }
                std::thread::park_timeout(every);
            }
        };
        let thread = std::thread::Builder::new()
            .name("debt".into())
            .spawn(ask)
            .map_err(|why| Failure::aborted(format!("cannot start a thread: {why}")))?;
        Ok(Self {
            metrics: metrics.to_vec(),
            shared,
            thread,
        })
    }

    fn samples<T>(&self, look: impl FnOnce(&[Sample]) -> T) -> Option<T> {
        self.shared.samples.lock().ok().map(|it| look(&it))
    }

    /// Returns whether the server keeps up since `from`.
    pub(crate) fn keeps_up(&self, from: Nanos) -> bool {
        self.samples(|it| keeps_up(it, from)).unwrap_or(false)
    }

    /// Waits until the server has done what it put off while messages were sent, for a tenth of that
    /// time at most, or until `stop`. Returns the judgement.
    pub(crate) fn finish(
        self,
        sending: SendWindow,
        clock: Clock,
        stop: &AtomicBool,
    ) -> Option<Debt> {
        let until = sending.until + patience(sending);
        let is_known = |samples: &[Sample]| {
            let last = samples.last().map_or(0, |it| it.at);
            let debt = judge(&self.metrics, samples, sending);
            let done = debt.and_then(|it| paid(samples, it.before, sending.until));
            last >= until || done.is_some()
        };
        // A control port that has stopped to answer is not waited for.
        let give_up = until + 2 * SECOND;
        while sending.length() > 0 && !stop.load(Ordering::Relaxed) && clock.now() < give_up {
            if self.samples(is_known) != Some(false) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.samples(|it| judge(&self.metrics, it, sending))?
    }
}

impl Drop for DebtWatch {
    fn drop(&mut self) {
        // It ends by itself, at the latest when its question has been answered.
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}
