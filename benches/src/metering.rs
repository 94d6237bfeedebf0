//! Drives a load and measures the server under it, until it is steady.

use std::time::Instant;

use anyhow::ensure;
pub use trunkline_contender::steady::{
    Debt, Goal, Measured, Meter, Progress, Reading, SECONDS, SEGMENT, SEGMENTS, Series,
    StoreReading, Threads, Verdict,
};

use crate::figures::short;

/// The beginning of the names of the store's threads.
pub const BACKGROUND: &str = "storage-";

/// A client that keeps a server busy.
pub trait Load {
    /// Does what is to be done now, and waits for at most 50 ms.
    ///
    /// # Errors
    /// The server ends a connection.
    fn turn(&mut self) -> anyhow::Result<()>;

    /// Returns the number of messages that the server has dealt with so far.
    fn done(&self) -> u64;
}

/// Drives a load until the goal is reached. `read` returns the counters of the server's process.
///
/// # Errors
/// The load fails, the server deals with no message, or its counters cannot be read.
pub fn measure(
    load: &mut dyn Load,
    goal: Goal,
    read: &dyn Fn() -> anyhow::Result<Reading>,
) -> anyhow::Result<Measured> {
    let mut meter = Meter::start(goal, read)?;
    drive(load, &mut |time, count| meter.enter(time, count))?;
    meter.finish()
}

/// Drives a load until `enter` says that it is over. `enter` gets the time and the number of messages
/// since the start, after each turn.
///
/// # Errors
/// The load or `enter` fails, or the server deals with no message.
pub fn drive(
    load: &mut dyn Load,
    enter: &mut dyn FnMut(std::time::Duration, u64) -> anyhow::Result<Progress>,
) -> anyhow::Result<()> {
    let (start, before) = (Instant::now(), load.done());
    loop {
        load.turn()?;
        let (time, count) = (start.elapsed(), load.done() - before);
        if enter(time, count)? == Progress::Over {
            let seconds = time.as_secs_f64();
            ensure!(count > 0, "no message was acknowledged in {seconds:.1} s");
            return Ok(());
        }
    }
}

/// The headings of [`cells`].
pub const HEAD: [&str; 6] = [
    "worst s",
    "÷ mean",
    "last ÷ first",
    "background",
    "B/B store",
    "B/B process",
];

/// Returns the cells of a row that say how even a rate was and what it cost the store. Each message
/// has `text` bytes of text.
///
/// The cells are the worst second, the worst second divided by the mean, the last 20 s divided by the
/// first 20 s, the share of the CPU time that the store's threads took, and the bytes written per
/// byte of text: by the store's count, and by the kernel's count for the process.
#[must_use]
pub fn cells(measured: &Measured, text: usize) -> [f64; HEAD.len()] {
    let series = &measured.series;
    let background = match measured.verdict {
        Some(_) => measured.cpu.share(BACKGROUND),
        None => f64::NAN,
    };
    let device = match measured.device {
        Some(0) | None => f64::NAN,
        Some(_) => measured.device_per_byte(text),
    };
    [
        series.worst(),
        series.worst_of_mean(),
        series.last_of_first(),
        background,
        measured.written_per_byte(text),
        device,
    ]
}

/// Returns what is to be said of a measurement: whether its store was steady, and whether it was
/// measured for the time that such a row needs, [`SECONDS`] if `long` is set. `None` if there is
/// nothing to say: no store, and long enough.
#[must_use]
pub fn remark(measured: &Measured, long: bool) -> Option<Remark> {
    let seconds = measured.series.time().as_secs_f64();
    let short_of = long && seconds < SECONDS;
    let said = measured.verdict.map(|verdict| verdict.to_string());
    let steady = measured.verdict.is_none_or(|verdict| verdict.is_steady()) && !short_of;
    let text = match (said, short_of) {
        (None, false) => return None,
        (Some(said), false) => format!("{said}, in {} s", short(seconds)),
        (said, true) => format!(
            "not steady: measured for {} s of {SECONDS}{}",
            short(seconds),
            said.map_or_else(String::new, |said| {
                let said = said
                    .trim_start_matches("not ")
                    .trim_start_matches("steady: ");
                format!("; {said}")
            })
        ),
    };
    Some(Remark { text, steady })
}

/// Returns the remark on all that a server did between two readings.
#[must_use]
pub fn remark_between(before: &Reading, after: &Reading) -> Option<Remark> {
    let measured = Measured::new(Series::default(), before, after);
    let verdict = measured.verdict?;
    Some(Remark {
        text: format!(
            "{verdict}; background {} of the CPU",
            short(measured.cpu.share(BACKGROUND))
        ),
        steady: verdict.is_steady(),
    })
}

/// A remark on the steadiness of a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The text, which begins with `steady: ` or `not steady: `.
    pub text: String,
    /// Whether the measurement was steady.
    pub steady: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Even(u64);

    impl Load for Even {
        fn turn(&mut self) -> anyhow::Result<()> {
            self.0 += 100;
            Ok(())
        }

        fn done(&self) -> u64 {
            self.0
        }
    }

    fn measured(seconds: u64, log: Option<u64>) -> Measured {
        let mut series = Series::default();
        series.enter(Duration::from_secs(seconds), 1_000);
        let reading = |log| Reading {
            store: log_of(log),
            ..Reading::default()
        };
        Measured::new(series, &reading(log.map(|_| 0)), &reading(log))
    }

    fn log_of(log: Option<u64>) -> Option<StoreReading> {
        log.map(|log| StoreReading {
            log,
            ..StoreReading::default()
        })
    }

    #[test]
    fn a_load_is_driven_to_its_goal() {
        let mut load = Even(7);
        let goal = Goal::exactly(Duration::from_millis(1));
        let measured = measure(&mut load, goal, &|| Ok(Reading::default())).unwrap();
        assert_eq!(measured.series.count(), load.0 - 7);
        assert!(measured.series.time() >= goal.least);
    }

    #[test]
    fn what_is_not_steady_is_remarked_on() {
        assert_eq!(remark(&measured(60, None), true), None);
        assert_eq!(remark(&measured(1, None), false), None);
        let remarked = |measured, long| {
            let Remark { text, steady } = remark(&measured, long).unwrap();
            assert_eq!(text.starts_with("steady: "), steady, "{text}");
            assert_eq!(text.starts_with("not steady: "), !steady, "{text}");
            steady
        };
        assert!(!remarked(measured(59, None), true));
        assert!(remarked(measured(60, Some(10 * SEGMENT)), true));
        assert!(!remarked(measured(60, Some(9 * SEGMENT)), true));
        assert!(!remarked(measured(59, Some(10 * SEGMENT)), true));
        assert!(remarked(measured(59, Some(10 * SEGMENT)), false));
    }
}
