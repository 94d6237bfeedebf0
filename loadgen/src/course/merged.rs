//! The course of a run that several machines played: the sums of their samples.

use super::{Course, Sample};
use crate::clock::Nanos;
use crate::stats::{INTERVALS_MAX, WIDTH};

impl Course {
    /// Returns whether the samples are as many, as far and in such an order as this program takes them.
    pub(crate) fn is_sound(&self) -> bool {
        let doublings = (0..32).any(|doublings| WIDTH << doublings == self.width);
        let slots = self.samples.iter().map(|it| it.at / self.width.max(1));
        let few = slots.max().unwrap_or(0) <= 2 * INTERVALS_MAX as u64;
        let in_order = self.samples.is_sorted_by_key(|it| it.at);
        doublings && few && in_order && self.samples.len() <= INTERVALS_MAX + 1
    }

    /// Returns the course of all these parts of one run together, whose times count from one start. Counts,
    /// processes and processors are sums. The distance of the samples is the widest of the parts.
    pub(crate) fn merged(parts: &[Self]) -> Self {
        let width = parts.iter().map(Self::width).max();
        let width = width.unwrap_or(WIDTH).max(1);
        let last = |part: &Self| part.samples.last().map_or(0, |it| it.at);
        let end = parts.iter().map(last).max().unwrap_or(0);
        let mut whole = Self {
            width,
            gateway: None,
            spent: 0.0,
            samples: Vec::new(),
        };
        // As many as a part has: each part doubles its distance in time.
        for slot in 0..=end / width {
            let at = slot * width;
            let states = parts.iter().filter_map(|part| part.state_in(slot, width));
            whole.samples.extend(sum(at, states));
        }
        let ends = parts.iter().filter_map(|part| part.samples.last());
        whole.samples.extend(sum(end, ends));
        whole
    }

    /// Returns the first sample in a slot, or the last one before it. The last of all is that of the end
    /// and counts for the slots behind it.
    fn state_in(&self, slot: u64, width: Nanos) -> Option<&Sample> {
        let behind = self.samples.partition_point(|it| it.at / width < slot);
        let here = self.samples.get(behind).filter(|it| it.at / width == slot);
        here.or_else(|| self.samples.get(behind.checked_sub(1)?))
    }
}

/// Returns the sum of samples; `None` without any.
fn sum<'a>(at: Nanos, samples: impl Iterator<Item = &'a Sample>) -> Option<Sample> {
    let each = samples.copied().map(|it| Sample { at, ..it });
    each.reduce(|mut all, one| {
        all.counters.add(&one.counters);
        all.generator.add(one.generator);
        all.cpu.add(one.cpu);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::course::{Intervals, Table};
    use crate::stats::{Counters, Latencies, Metric};

    /// A part of `length` seconds that sends `rate` messages a second, each acknowledged after 1 ms.
    fn part(length: u64, rate: u64) -> (Course, Latencies) {
        let (mut course, mut one) = (Course::begin(None), Latencies::new());
        let mut counters = Counters::default();
        for second in 0..length {
            for message in 0..rate {
                let now = second * SECOND + message * SECOND / rate;
                counters.attempted += 1;
                counters.sessions = rate;
                one.record(Metric::Ack, now, now + SECOND / 1_000);
                course.look(now, || counters);
            }
        }
        course.end(length * SECOND, counters);
        let (mut all, empty) = (Latencies::new(), Latencies::new());
        all.add(&one);
        all.add(&empty);
        (course, all)
    }

    fn table(course: &Course, latencies: &Latencies) -> Table {
        let csv = Intervals::new(course, latencies.timeline()).csv();
        Table::parse(&csv).expect("it is read back")
    }

    /// Returns the columns that do not depend on the machine of the test.
    fn figures(table: &Table) -> Vec<Vec<f64>> {
        [
            "from_s",
            "to_s",
            "attempted",
            "sessions",
            "ack_count",
            "ack_p99_us",
        ]
        .map(|name| table.column(name))
        .into()
    }

    #[test]
    fn one_part_alone_is_the_whole() {
        for length in [3, 299, 700] {
            let (course, latencies) = part(length, 4);
            assert!(course.is_sound());
            let merged = Course::merged(std::slice::from_ref(&course));
            assert_eq!(
                figures(&table(&merged, &latencies)),
                figures(&table(&course, &latencies)),
                "{length}"
            );
        }
    }

    #[test]
    fn a_course_that_no_program_takes_is_not_sound() {
        let changed = |change: fn(&mut Course)| {
            let (mut course, _) = part(3, 2);
            change(&mut course);
            course.is_sound()
        };
        assert!(changed(|_| {}));
        assert!(!changed(|it| it.width = 0));
        assert!(!changed(|it| it.width = 1));
        assert!(!changed(|it| it.samples.reverse()));
        assert!(!changed(|it| it.samples[3].at = 1_000_000 * SECOND));
        assert!(!changed(|it| it.samples = vec![it.samples[0]; 400]));
    }

    #[test]
    fn parts_add_up_in_each_interval() {
        let parts = [part(5, 4), part(3, 10), part(700, 2)];
        let mut latencies = Latencies::new();
        parts.iter().for_each(|it| latencies.add(&it.1));
        let merged = Course::merged(&parts.map(|it| it.0));
        assert!(merged.samples.len() <= INTERVALS_MAX + 2);
        let table = table(&merged, &latencies);
        let attempted = table.column("attempted");
        assert_eq!(attempted.iter().sum::<f64>(), (20 + 30 + 1_400) as f64);
        // Intervals of 4 s: the part of 3 s ended in the first.
        assert_eq!(table.column("to_s")[0], 4.0);
        assert_eq!(table.column("ack_count")[0], (16 + 30 + 8) as f64);
        assert_eq!(attempted[5], 8.0);
        assert_eq!(table.column("sessions").last(), Some(&16.0));
    }
}
