//! The CPU time of a process, thread by thread.

use std::collections::BTreeMap;

use anyhow::Context;

/// The ticks of `/proc` in a second (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The CPU seconds of a process so far: of all its threads, and of those that still run, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Threads {
    /// The CPU seconds of all threads, ended ones included.
    all: f64,
    /// The CPU seconds of the first thread.
    first: f64,
    /// The CPU seconds of the threads that still run, added up by name.
    by_name: BTreeMap<String, f64>,
}

impl Threads {
    /// Reads the CPU time of a process, by its number or `self` (proc(5)). The time has steps of
    /// 10 ms for each thread.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(process: &str) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        let stat = stat.with_context(|| format!("there is no process {process}"))?;
        let all = parse(&stat).context("a stat without CPU time")?.1;
        // The first thread has the number of the process.
        let number = stat.split_whitespace().next().unwrap_or_default();
        let (mut first, mut by_name) = (0.0, BTreeMap::new());
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?;
            // A thread can end meanwhile.
            let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
                continue;
            };
            if task.file_name() == number
                && let Some((_, seconds)) = parse(&stat)
            {
                first = seconds;
            }
            if let Some((name, seconds)) = parse(&stat) {
                *by_name.entry(name.to_owned()).or_default() += seconds;
            }
        }
        Ok(Self {
            all,
            first,
            by_name,
        })
    }

    /// Makes the times from parts: the seconds of all threads, of the first one, and of some by name.
    #[must_use]
    pub fn made(all: f64, first: f64, by_name: &[(&str, f64)]) -> Self {
        let by_name = by_name.iter().map(|(name, time)| ((*name).into(), *time));
        Self {
            all,
            first,
            by_name: by_name.collect(),
        }
    }

    /// Returns the CPU seconds of all threads.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.all
    }

    /// Returns the CPU seconds since `before`, for all threads and by name.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let spent = |(name, now): (&String, &f64)| {
            let then = before.by_name.get(name).copied().unwrap_or_default();
            (name.clone(), (now - then).max(0.0))
        };
        Self {
            all: self.all - before.all,
            first: self.first - before.first,
            by_name: self.by_name.iter().map(spent).collect(),
        }
    }

    /// Returns the part of the CPU time that all threads but the first one used, from 0 to 1; NaN if no
    /// thread used a tick of CPU. A program may do all but its background work on the first thread.
    /// Then this is the share of its background work.
    #[must_use]
    pub fn share_of_others(&self) -> f64 {
        (self.all - self.first) / self.all
    }

    /// Returns the share of the threads whose names have this beginning, from 0 to 1; NaN if no
    /// thread used a tick of CPU.
    #[must_use]
    pub fn share(&self, beginning: &str) -> f64 {
        let of = self.by_name.iter();
        let of = of.filter(|(name, _)| name.starts_with(beginning));
        of.fold(0.0, |sum, (_, seconds)| sum + seconds) / self.all
    }
}

/// Parses a line of `stat`: the name of the thread, and its user and system seconds.
fn parse(stat: &str) -> Option<(&str, f64)> {
    // The name, in parentheses, may hold spaces and parentheses.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    // utime and stime are fields 14 and 15; field 3 follows the name.
    let mut fields = after.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((name, (user + system) / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn lines_of_the_kernel() {
        let line = "17 (a (b) c) S 1 17 17 0 -1 4194560 5 0 0 0 250 50 0 0 20 0 1 0 7 8 9";
        let (name, seconds) = parse(line).unwrap();
        assert_eq!(name, "a (b) c");
        assert!(same(seconds, 3.0));
        assert_eq!(parse("17 (short) S 1"), None);
    }

    #[test]
    fn the_share_of_the_background() {
        let before = Threads::made(10.0, 4.0, &[("shard-0", 4.0), ("storage-sort", 2.0)]);
        let now = [
            ("shard-0", 10.0),
            ("storage-sort", 4.0),
            ("storage-merge", 1.0),
        ];
        let spent = Threads::made(20.0, 8.0, &now).since(&before);
        assert!(same(spent.seconds(), 10.0));
        assert!(same(spent.share("storage-"), 0.3));
        assert!(same(spent.share("shard"), 0.6));
        assert!(same(spent.share("none"), 0.0));
        assert!(same(spent.share_of_others(), 0.6));
    }

    #[test]
    fn this_process_has_this_thread() {
        let started = Threads::of("self").unwrap();
        std::thread::scope(|scope| {
            let named = std::thread::Builder::new().name("steady-test".into());
            let found = named.spawn_scoped(scope, || Threads::of("self").unwrap().by_name);
            assert!(found.unwrap().join().unwrap().contains_key("steady-test"));
        });
        assert!(Threads::of("self").unwrap().since(&started).seconds() >= 0.0);
        assert!(Threads::of("0").is_err());
    }
}
