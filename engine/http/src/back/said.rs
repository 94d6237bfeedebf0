//! What the log says of the failures of a back end: a line in a minute at most, and no kind of failure is left out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::failed::{Failed, KINDS};

/// The shortest time between two log lines about one back end.
pub(super) const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Writes a line: the number of failures, and why.
type Write = Box<dyn Fn(u64, &str) + Send + Sync>;

/// The failures of a back end that the log does not tell yet.
pub(super) struct Said {
    pause: Duration,
    write: Write,
    untold: Mutex<Untold>,
}

/// What the next line tells.
#[derive(Default)]
struct Untold {
    /// When the last line was written.
    last: Option<Instant>,
    /// Whether a task will write the next line at the end of the pause.
    is_due: bool,
    /// Of each kind of failure: their number, and the last one.
    kinds: [Option<(u64, String)>; KINDS],
}

impl Untold {
    /// Returns the rest of the pause since the last line; `None` if it is over.
    fn rest(&self, pause: Duration) -> Option<Duration> {
        let rest = pause.checked_sub(self.last?.elapsed())?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Returns the number of the failures and what the line says of them, and forgets them.
    fn take(&mut self) -> (u64, String) {
        let kinds: Vec<_> = self.kinds.iter_mut().filter_map(Option::take).collect();
        let count = kinds.iter().map(|(count, _)| count).sum();
        let why = match &*kinds {
            [(_, why)] => why.clone(),
            kinds => {
                let each: Vec<_> = { kinds.iter() }
                    .map(|(count, why)| format!("{why} ({count})"))
                    .collect();
                each.join("; ")
            }
        };
        (count, why)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said(…)")
    }
}

impl Said {
    /// Makes what tells of a back end by `write`.
    pub(super) fn new(pause: Duration, write: Write) -> Arc<Self> {
        Arc::new(Self {
            pause,
            write,
            untold: Mutex::default(),
        })
    }

    /// Notes a failure. The line comes now, or at the end of the pause: a task of `runtime` writes it then.
    pub(super) fn note(self: &Arc<Self>, why: &Failed, runtime: Option<&Handle>) {
        let mut untold = self.untold.lock();
        let kind = untold.kinds[why.kind()].get_or_insert_default();
        kind.0 += 1;
        kind.1 = why.to_string();
        let Some(rest) = untold.rest(self.pause) else {
            drop(untold);
            return self.tell();
        };
        if let (false, Some(runtime)) = (untold.is_due, runtime) {
            untold.is_due = true;
            let said = Arc::clone(self);
            runtime.spawn(async move {
                let mut rest = Some(rest);
                // A failure that came at the end of the pause may have told all, and begun another pause.
                while let Some(time) = rest {
                    tokio::time::sleep(time).await;
                    rest = said.rest();
                }
                said.untold.lock().is_due = false;
                said.tell();
            });
        }
    }

    /// Returns the rest of the pause since the last line; `None` if it is over.
    fn rest(&self) -> Option<Duration> {
        self.untold.lock().rest(self.pause)
    }

    /// Writes a line about all that is untold.
    fn tell(&self) {
        let mut untold = self.untold.lock();
        let (failures, why) = untold.take();
        if failures > 0 {
            untold.last = Some(Instant::now());
            drop(untold);
            (self.write)(failures, &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_told_at_once_and_the_others_together() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let said = Said::new(
            Duration::from_secs(5),
            Box::new(move |failures, why| tell.send((failures, why.to_owned())).unwrap()),
        );
        let note = |why| said.note(&why, Some(runtime.handle()));
        note(Failed::Status(500));
        let first = told.recv().unwrap();
        assert_eq!(first, (1, "it answers with the status 500".to_owned()));
        note(Failed::Status(503));
        note(Failed::Late);
        note(Failed::Status(500));
        let (failures, why) = runtime.block_on(async {
            loop {
                if let Ok(line) = told.try_recv() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert_eq!(failures, 3);
        let expected = "no answer came in time (1); it answers with the status 500 (2)";
        assert_eq!(why, expected);
        // Nothing is told twice.
        drop(runtime);
        assert!(told.try_recv().is_err());
    }
}
