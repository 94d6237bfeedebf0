//! Runs a measurement until it is steady, and counts what it cost.

use std::time::Duration;

use super::{Debt, SEGMENT, SEGMENTS, Series, Threads, Verdict};

/// The duration of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// The least time that is measured.
    pub least: Duration,
    /// The most time that is measured, also if the store is not steady by then.
    pub most: Duration,
    /// The number of segments to write before `most` is over.
    pub segments: f64,
    /// Whether the store's debt must be back at that of the start before `most` is over.
    pub pays: bool,
}

impl Goal {
    /// Returns the goal of the steady state: at least `least`, and up to half as long again until 10
    /// segments are written and no more work is put off than at the start.
    #[must_use]
    pub fn steady(least: Duration) -> Self {
        Self {
            least,
            most: least * 3 / 2,
            segments: SEGMENTS,
            pays: true,
        }
    }

    /// Returns the goal of a warm-up before a measurement of `time`. A warm-up takes a tenth of `time`,
    /// and goes on until 16 segments are written, but not beyond half of `time`. The first merge is due
    /// after 8 segments, and appends slow down once merging is 16 segments behind. So after a warm-up
    /// the background works as it does later.
    #[must_use]
    pub fn warm(time: Duration) -> Self {
        Self {
            least: time / 10,
            most: time / 2,
            segments: 16.0,
            pays: false,
        }
    }

    /// Returns the goal of exactly this time.
    #[must_use]
    pub fn exactly(time: Duration) -> Self {
        Self {
            least: time,
            most: time,
            segments: 0.0,
            pays: false,
        }
    }

    /// Returns whether a measurement ends after `time`, for a server without a store.
    fn is_over(&self, time: Duration) -> bool {
        time >= self.least
    }

    /// Returns whether a measurement of a store ends after `time`.
    fn is_reached(&self, time: Duration, verdict: &Verdict) -> bool {
        let done = verdict.segments >= self.segments && (!self.pays || verdict.is_paid());
        time >= self.most || time >= self.least && done
    }
}

/// The counters of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreReading {
    /// The bytes written to the log so far.
    pub log: u64,
    /// The bytes written so far: to the log, and to make and merge runs.
    pub written: u64,
    /// The size of a segment in bytes.
    pub segment: u64,
    /// The deferred work.
    pub debt: Debt,
}

/// The counters of a process at a moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The CPU time so far.
    pub cpu: Threads,
    /// The counters of its store; `None` if it has none that tells them.
    pub store: Option<StoreReading>,
    /// The bytes that the process had the kernel write to a device so far (`write_bytes` in
    /// proc(5)); `None` if the kernel does not say.
    pub device: Option<u64>,
}

impl Reading {
    /// Reads the counters that the kernel has of a process, by its number or `self`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(process: &str, store: Option<StoreReading>) -> anyhow::Result<Self> {
        let io = std::fs::read_to_string(format!("/proc/{process}/io"));
        let device = io.ok().and_then(|io| {
            let line = io
                .lines()
                .find_map(|line| line.strip_prefix("write_bytes:"));
            line?.trim().parse().ok()
        });
        Ok(Self {
            cpu: Threads::of(process)?,
            store,
            device,
        })
    }
}

/// Whether a measurement goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The measurement goes on.
    GoesOn,
    /// The measurement is over.
    Over,
}

/// A running measurement of one process.
pub struct Meter<'r> {
    goal: Goal,
    read: &'r dyn Fn() -> anyhow::Result<Reading>,
    before: Reading,
    series: Series,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("goal", &self.goal)
            .field("series", &self.series)
            .finish_non_exhaustive()
    }
}

impl<'r> Meter<'r> {
    /// Starts a measurement. `read` returns the counters of the process; it is called now, once a
    /// second after the goal's least time, and at the end.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn start(
        goal: Goal,
        read: &'r dyn Fn() -> anyhow::Result<Reading>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            goal,
            read,
            before: read()?,
            series: Series::default(),
        })
    }

    /// Enters the time and the count since the start. Call it often: it looks no further before a
    /// second is over.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn enter(&mut self, time: Duration, count: u64) -> anyhow::Result<Progress> {
        let stepped = self.series.enter(time, count);
        if !self.goal.is_over(time) || !stepped && time < self.goal.most {
            return Ok(Progress::GoesOn);
        }
        let over = match self.before.store {
            None => true,
            Some(_) if time >= self.goal.most => true,
            Some(before) => {
                let verdict = verdict(Some(before), (self.read)()?.store);
                verdict.is_none_or(|verdict| self.goal.is_reached(time, &verdict))
            }
        };
        Ok(if over {
            Progress::Over
        } else {
            Progress::GoesOn
        })
    }

    /// Ends the measurement.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn finish(self) -> anyhow::Result<Measured> {
        let after = (self.read)()?;
        Ok(Measured::new(self.series, &self.before, &after))
    }
}

fn verdict(before: Option<StoreReading>, after: Option<StoreReading>) -> Option<Verdict> {
    let (before, after) = before.zip(after)?;
    let log = after.log.saturating_sub(before.log);
    Some(Verdict::new(log, after.segment, before.debt, after.debt))
}

/// The results of a measurement.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The rate of each second.
    pub series: Series,
    /// The CPU time that was spent.
    pub cpu: Threads,
    /// The bytes that the store wrote, by its own count; `None` without a store that tells.
    pub written: Option<u64>,
    /// The bytes that the process had the kernel write to a device; `None` if unknown.
    pub device: Option<u64>,
    /// The verdict on the steady state; `None` without a store that tells.
    pub verdict: Option<Verdict>,
}

impl Measured {
    /// Returns the results between two readings.
    #[must_use]
    pub fn new(series: Series, before: &Reading, after: &Reading) -> Self {
        let stores = before.store.zip(after.store);
        Self {
            cpu: after.cpu.since(&before.cpu),
            written: stores.map(|(before, after)| after.written.saturating_sub(before.written)),
            device: before
                .device
                .zip(after.device)
                .map(|(before, after)| after.saturating_sub(before)),
            verdict: verdict(before.store, after.store),
            series,
        }
    }

    /// Returns the CPU time per counted thing, in microseconds.
    #[must_use]
    pub fn micros(&self) -> f64 {
        self.cpu.seconds() / self.series.count() as f64 * 1e6
    }

    /// Returns the bytes that the store wrote per byte of text, if each counted thing has `text`
    /// bytes of it; NaN without a store that tells.
    #[must_use]
    pub fn written_per_byte(&self, text: usize) -> f64 {
        self.per_byte(self.written, text)
    }

    /// Returns the bytes that the process had the kernel write to a device per byte of text; NaN if
    /// unknown.
    #[must_use]
    pub fn device_per_byte(&self, text: usize) -> f64 {
        self.per_byte(self.device, text)
    }

    fn per_byte(&self, bytes: Option<u64>, text: usize) -> f64 {
        let all = self.series.count() as f64 * text as f64;
        bytes.map_or(f64::NAN, |bytes| bytes as f64 / all)
    }
}

impl Default for StoreReading {
    fn default() -> Self {
        Self {
            log: 0,
            written: 0,
            segment: SEGMENT,
            debt: Debt::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Plays a store that is at `at(second)` in each second: segments written, bytes of debt.
    fn play(goal: Goal, at: &dyn Fn(u64) -> (u64, u64)) -> Measured {
        let second = Cell::new(0);
        let read = || {
            let (segments, unsorted) = at(second.get());
            let store = StoreReading {
                log: segments * SEGMENT,
                written: segments * SEGMENT * 3,
                debt: Debt {
                    unsorted,
                    unmerged: 0,
                },
                ..StoreReading::default()
            };
            Ok(Reading {
                cpu: Threads::made(second.get() as f64, 0.0, &[]),
                store: Some(store),
                device: Some(segments * SEGMENT * 4),
            })
        };
        let mut meter = Meter::start(goal, &read).unwrap();
        loop {
            second.set(second.get() + 1);
            let count = second.get() * SEGMENT / 100;
            let time = SECOND * u32::try_from(second.get()).unwrap();
            if meter.enter(time, count).unwrap() == Progress::Over {
                return meter.finish().unwrap();
            }
        }
    }

    #[test]
    fn it_ends_when_the_debt_is_back() {
        // The debt is the lowest in each seventh second.
        let measured = play(Goal::steady(SECOND * 10), &|second| (second, second % 7));
        assert_eq!(measured.series.time(), SECOND * 14);
        assert!(measured.verdict.unwrap().is_steady());
        assert!((measured.written_per_byte(100) - 3.0).abs() < 1e-3);
        assert!((measured.device_per_byte(100) - 4.0).abs() < 1e-3);
        assert!((measured.cpu.seconds() - 14.0).abs() < 1e-9);
    }

    #[test]
    fn it_ends_at_its_bound_and_is_not_steady() {
        let measured = play(Goal::steady(SECOND * 10), &|second| (second, second));
        assert_eq!(measured.series.time(), SECOND * 15);
        let verdict = measured.verdict.unwrap();
        assert!(verdict.is_long() && !verdict.is_steady());
        // Two segments in all.
        let measured = play(Goal::steady(SECOND * 10), &|second| (second / 10, 0));
        assert_eq!(measured.series.time(), SECOND * 15);
        assert!(!measured.verdict.unwrap().is_long());
    }

    #[test]
    fn warming_up_owes_nothing() {
        let measured = play(Goal::warm(SECOND * 60), &|second| (second * 2, second));
        assert_eq!(measured.series.time(), SECOND * 8);
        let measured = play(Goal::warm(SECOND * 60), &|second| (second / 3, second));
        assert_eq!(measured.series.time(), SECOND * 30);
        let measured = play(Goal::exactly(SECOND * 5), &|second| (0, second));
        assert_eq!(measured.series.time(), SECOND * 5);
    }

    #[test]
    fn a_server_without_a_store_ends_at_its_least_time() {
        let read = || Ok(Reading::default());
        let mut meter = Meter::start(Goal::steady(SECOND), &read).unwrap();
        assert_eq!(meter.enter(SECOND / 2, 5).unwrap(), Progress::GoesOn);
        assert_eq!(meter.enter(SECOND, 10).unwrap(), Progress::Over);
        let measured = meter.finish().unwrap();
        assert!(measured.verdict.is_none() && measured.written_per_byte(1).is_nan());
        assert!((measured.series.mean() - 10.0).abs() < 1e-9);
    }
}
