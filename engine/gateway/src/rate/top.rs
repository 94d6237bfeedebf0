//! The holders that cost most, with a fixed number of counters.

use std::fmt::Write as _;
use std::time::Duration;

use trunkline_core::cost::Cost;

/// The number of counters. A holder with more than this part of all costs is among them.
const COUNTERS: usize = 16;

/// The number of holders in the text.
const SHOWN: usize = 5;

/// The holders that cost most, by the space-saving algorithm: a holder without a counter takes over
/// the smallest one, with its count. So a count is never too small, and too large by the smallest
/// count at most.
#[derive(Debug)]
pub(crate) struct Top<K> {
    entries: Vec<Entry<K>>,
}

#[derive(Debug)]
struct Entry<K> {
    holder: K,
    name: String,
    nanos: u64,
}

impl<K> Default for Top<K> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: PartialEq> Top<K> {
    /// Counts the cost of a holder. `name` is its name in the text.
    pub(crate) fn add(&mut self, holder: K, cost: Cost, name: impl FnOnce() -> String) {
        let nanos = u64::from(cost.as_nanos());
        let known = self.entries.iter_mut().find(|entry| entry.holder == holder);
        if let Some(entry) = known {
            entry.nanos += nanos;
            return;
        }
        let mut entry = Entry {
            holder,
            name: name(),
            nanos,
        };
        if self.entries.len() < COUNTERS {
            return self.entries.push(entry);
        }
        if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.nanos) {
            entry.nanos += least.nanos;
            *least = entry;
        }
    }

    /// Returns the holders that cost most since the last call, within `time`, and counts from zero
    /// again. Example: `alice 240 ms/s, bob 31 ms/s`.
    pub(crate) fn take(&mut self, time: Duration) -> String {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.nanos));
        let millis = (time.as_millis() as u64).max(1);
        let mut text = String::new();
        for Entry { name, nanos, .. } in entries.iter().take(SHOWN) {
            let separator = if text.is_empty() { "" } else { ", " };
            // Nanoseconds per millisecond are microseconds per second.
            let cost = nanos / millis / 1_000;
            // A String grows: writing to it does not fail.
            let _ = write!(text, "{separator}{name} {cost} ms/s");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_come_first_in_time_per_second() {
        let mut top = Top::default();
        let mut add = |name: &'static str, millis: u64| {
            top.add(name, Cost::micros(1_000 * millis), || name.to_owned());
        };
        add("alice", 100);
        add("bob", 300);
        add("alice", 900);
        let text = top.take(Duration::from_secs(10));
        assert_eq!(text, "alice 100 ms/s, bob 30 ms/s");
        assert_eq!(top.take(Duration::ZERO), "");
    }

    #[test]
    fn a_crowd_of_small_ones_hides_no_large_one() {
        let mut top = Top::default();
        for small in 0..1_000 {
            top.add(small, Cost::micros(10), || small.to_string());
            if small % 10 == 0 {
                top.add(5_000, Cost::micros(100), || "large".to_owned());
            }
        }
        assert_eq!(top.entries.len(), COUNTERS);
        assert!(top.take(Duration::from_secs(1)).starts_with("large 1"));
    }
}
