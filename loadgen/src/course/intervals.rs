//! The intervals of a run, and `intervals.csv`, which has a row for each.

use serde::Serialize;
use serde_json::Value;

use super::{Course, Sample};
use crate::client::SendWindow;
use crate::clock::{Nanos, seconds};
use crate::health::{Cpu, Process};
use crate::stats::{Counters, INTERVALS_MAX, Metric, OVER_TIME, Timeline};

/// The columns of `intervals.csv`; new ones are added at the end. Counts are of the interval, not
/// since the start. `sessions` and memory are as of the end of the interval. An empty cell is not
/// known.
pub(crate) const COLUMNS: [&str; 33] = [
    "from_s",
    "to_s",
    "scheduled",
    "attempted",
    "acknowledged",
    "delivered",
    "rejected",
    "sessions_opened",
    "connect_failures",
    "disconnects",
    "sessions",
    "connect_count",
    "connect_p50_us",
    "connect_p99_us",
    "connect_max_us",
    "ack_count",
    "ack_p50_us",
    "ack_p99_us",
    "ack_max_us",
    "e2e_count",
    "e2e_p50_us",
    "e2e_p99_us",
    "e2e_max_us",
    "send_lag_count",
    "send_lag_p50_us",
    "send_lag_p99_us",
    "send_lag_max_us",
    "generator_cpu_s",
    "generator_rss_bytes",
    "gateway_cpu_s",
    "gateway_rss_bytes",
    "steal",
    "idle",
];

/// The intervals of a run, each with its counters and its latencies.
#[derive(Debug)]
pub(crate) struct Intervals {
    width: Nanos,
    /// The state at the start of the run, and then at the end of each interval.
    states: Vec<Sample>,
    timeline: Timeline,
}

/// The worst second of sending, as rows of `intervals.csv` have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Worst {
    /// The width of an interval in seconds: 1, and more in runs of more than 300 s.
    pub(crate) seconds: f64,
    /// The lowest rate of an interval, per second.
    pub(crate) achieved: f64,
    /// The start of that interval, in seconds since the start of the run.
    pub(crate) achieved_from_s: f64,
    /// The highest p99 of e2e in an interval, in microseconds; `None` if nothing came.
    pub(crate) e2e_p99_us: Option<u64>,
    /// The start of that interval, in seconds since the start of the run.
    pub(crate) e2e_from_s: Option<f64>,
}

impl Worst {
    /// Returns the name of an interval.
    pub(crate) fn name(seconds: f64) -> String {
        match seconds {
            1.0 => "worst second".to_owned(),
            wide => format!("worst {wide:.0} s"),
        }
    }
}

/// One interval of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval<'a> {
    number: usize,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    pub(crate) before: &'a Sample,
    pub(crate) after: &'a Sample,
    timeline: &'a Timeline,
}

impl Intervals {
    /// Joins the samples and the latencies of a run, in intervals of the wider of their widths.
    pub(crate) fn new(course: &Course, timeline: &Timeline) -> Self {
        let mut timeline = timeline.clone();
        timeline.widen_to(course.width());
        let width = timeline.width();
        let mut states: Vec<Sample> = Vec::new();
        if let (Some(first), Some(last)) = (course.samples.first(), course.samples.last()) {
            let count = (last.at.div_ceil(width) as usize)
                .max(timeline.len())
                .max(1);
            states.push(*first);
            let mut samples = course.samples.iter().peekable();
            let mut state = *first;
            for number in 1..=count as u64 {
                // The first sample after an interval's end has the state at its end. Without such a
                // sample this program was stalled, and its later counts belong to the time when it
                // caught up.
                while samples.next_if(|it| it.at / width < number).is_some() {}
                if let Some(next) = samples.next_if(|it| it.at / width == number) {
                    state = *next;
                }
                states.push(state);
            }
            // Whatever came after the last full interval belongs to the last.
            if let Some(end) = states.last_mut() {
                *end = *last;
            }
        }
        Self {
            width,
            states,
            timeline,
        }
    }

    /// Iterates over the intervals.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Interval<'_>> {
        self.states.windows(2).enumerate().map(|(number, pair)| {
            let from = number as u64 * self.width;
            let last = number + 2 == self.states.len();
            let full = from + self.width;
            Interval {
                number,
                from,
                to: if last && pair[1].at > from {
                    pair[1].at
                } else {
                    full
                },
                before: &pair[0],
                after: &pair[1],
                timeline: &self.timeline,
            }
        })
    }

    /// Returns the worst of the intervals that lie in the time of sending as a whole. Counts
    /// acknowledgements, or else messages that came.
    pub(crate) fn worst(&self, sending: SendWindow, acknowledges: bool) -> Option<Worst> {
        let counted = if acknowledges {
            Metric::Ack
        } else {
            Metric::E2e
        };
        let whole =
            |it: &Interval<'_>| it.from >= sending.from && it.from + self.width <= sending.until;
        let width = seconds(self.width);
        let rate = |it: &Interval<'_>| it.latencies(counted).len() as f64 / width;
        let each: Vec<_> = self.iter().filter(whole).collect();
        let slowest = each.iter().map(|it| (rate(it), it.from));
        let (achieved, at) = slowest.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let latencies = each.iter().map(|it| (it.latencies(Metric::E2e), it.from));
        let latencies = latencies.filter(|(it, _)| !it.is_empty());
        let p99 = latencies.map(|(it, from)| (it.value_at_quantile(0.99), from));
        let p99 = p99.max_by_key(|(p99, _)| *p99);
        Some(Worst {
            seconds: width,
            achieved,
            achieved_from_s: seconds(at),
            e2e_p99_us: p99.map(|it| it.0),
            e2e_from_s: p99.map(|it| seconds(it.1)),
        })
    }

    /// Returns `intervals.csv`: the names of the columns, and then a line for each interval.
    pub(crate) fn csv(&self) -> String {
        let mut text = COLUMNS.join(",") + "\n";
        for interval in self.iter() {
            text += &interval.row().join(",");
            text.push('\n');
        }
        text
    }
}

impl Interval<'_> {
    /// Returns the latencies of a metric in the interval.
    pub(crate) fn latencies(&self, metric: Metric) -> hdrhistogram::Histogram<u64> {
        self.timeline.of(self.number, metric)
    }

    /// Returns how the processors of the machine were used in the interval.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::between(self.before.cpu, self.after.cpu)
    }

    fn row(&self) -> Vec<String> {
        let grown = |counter: fn(&Counters) -> u64| {
            let (before, after) = (&self.before.counters, &self.after.counters);
            counter(after).saturating_sub(counter(before)).to_string()
        };
        let mut row = vec![
            format!("{:.3}", seconds(self.from)),
            format!("{:.3}", seconds(self.to)),
            grown(|it| it.scheduled),
            grown(|it| it.attempted),
            grown(|it| it.acknowledged),
            grown(|it| it.delivered),
            grown(|it| it.rejected),
            grown(|it| it.sessions_opened),
            grown(|it| it.connect_failures),
            grown(|it| it.disconnects),
            self.after.counters.sessions.to_string(),
        ];
        for metric in OVER_TIME {
            let latencies = self.latencies(metric);
            row.push(latencies.len().to_string());
            let figures = [
                latencies.value_at_quantile(0.5),
                latencies.value_at_quantile(0.99),
                latencies.max(),
            ];
            let known = !latencies.is_empty();
            row.extend(figures.map(|us| if known { us.to_string() } else { String::new() }));
        }
        row.extend(used(
            Some(self.before.generator),
            Some(self.after.generator),
        ));
        row.extend(used(self.before.gateway, self.after.gateway));
        let cpu = self.cpu();
        row.extend([cpu.steal, cpu.idle].map(|part| format!("{part:.4}")));
        row
    }
}

fn used(before: Option<Process>, after: Option<Process>) -> [String; 2] {
    match (before, after) {
        (Some(before), Some(after)) => {
            let cpu = (after.cpu_seconds - before.cpu_seconds).max(0.0);
            [format!("{cpu:.2}"), after.rss_bytes.to_string()]
        }
        _ => [String::new(), String::new()],
    }
}

/// An `intervals.csv` that was read.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Table {
    /// Parses the text of [`Intervals::csv`], also with columns of later versions.
    ///
    /// # Errors
    /// The text is damaged: what is wrong, with its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let columns = lines.next().unwrap_or_default().split(',');
        let columns: Vec<_> = columns.map(str::to_owned).collect();
        if let Some(missing) = COLUMNS.iter().find(|it| !columns.iter().any(|c| c == *it)) {
            return Err(format!("line 1: there is no column {missing}"));
        }
        let mut rows = Vec::new();
        for (number, line) in (2..).zip(lines) {
            let cells = line.split(',').map(|cell| match cell {
                "" => Ok(f64::NAN),
                cell => cell
                    .parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite())
                    .ok_or(cell),
            });
            let cells = cells.collect::<Result<Vec<_>, _>>();
            let cells = cells.map_err(|cell| format!("line {number}: `{cell}` is not a number"))?;
            if cells.len() != columns.len() {
                return Err(format!(
                    "line {number}: {} cells, not {}",
                    cells.len(),
                    columns.len()
                ));
            }
            if rows.len() > INTERVALS_MAX {
                return Err(format!("more than {INTERVALS_MAX} intervals"));
            }
            rows.push(cells);
        }
        match rows.is_empty() {
            true => Err("it has no intervals".into()),
            false => Ok(Self { columns, rows }),
        }
    }

    /// Returns a column; an empty cell is not-a-number.
    pub(crate) fn column(&self, name: &str) -> Vec<f64> {
        let at = self.columns.iter().position(|it| it == name);
        let cell = |row: &Vec<f64>| at.map_or(f64::NAN, |at| row[at]);
        self.rows.iter().map(cell).collect()
    }
}

/// Returns a figure of a summary by its path, such as `latency_us.e2e.p99`.
pub(crate) fn figure(summary: &Value, path: &str) -> Option<f64> {
    path.split('.')
        .fold(summary, |value, key| &value[key])
        .as_f64()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::stats::Latencies;

    fn sum(table: &Table, column: &str) -> f64 {
        let cells = table.column(column).into_iter();
        cells.filter(|cell| cell.is_finite()).sum()
    }

    /// Returns the intervals of a run that lasts `length` seconds, with a message each 500 ms.
    pub(crate) fn intervals(length: u64) -> Intervals {
        let (mut course, mut one) = (Course::begin(None), Latencies::new());
        let mut counters = Counters::default();
        for half in 0..length * 2 {
            let now = half * SECOND / 2;
            counters.attempted += 1;
            counters.sessions = half;
            one.record(Metric::Ack, 0, now);
            course.look(now, || counters);
        }
        course.end(length * SECOND, counters);
        let mut all = Latencies::new();
        all.add(&one);
        Intervals::new(&course, all.timeline())
    }

    #[test]
    fn the_worst_second_is_a_whole_one_of_sending() {
        let mut one = Latencies::new();
        // Ten a second from 1 s to 5 s, but 3 in the third, one of which was slow to come.
        for tenth in 10..50_u64 {
            let now = tenth * SECOND / 10;
            if tenth / 10 != 3 || tenth < 33 {
                one.record(Metric::Ack, now, now);
                let late = if tenth == 32 { 7_000_000 } else { 1_000_000 };
                one.record(Metric::E2e, now - late, now);
            }
        }
        let mut all = Latencies::new();
        all.add(&one);
        let mut course = Course::begin(None);
        course.end(6 * SECOND, Counters::default());
        let intervals = Intervals::new(&course, all.timeline());
        let window = |from: u64, until: u64| SendWindow {
            from: from * SECOND / 10,
            until: until * SECOND / 10,
        };
        for acknowledges in [true, false] {
            let worst = intervals.worst(window(10, 50), acknowledges);
            let worst = worst.expect("there are whole seconds");
            assert_eq!(
                (worst.seconds, worst.achieved, worst.achieved_from_s),
                (1.0, 3.0, 3.0)
            );
            assert!(
                worst
                    .e2e_p99_us
                    .is_some_and(|it| (6_900..7_200).contains(&it)),
                "{worst:?}"
            );
            assert_eq!(worst.e2e_from_s, Some(3.0));
        }
        // A part of a second is none.
        assert_eq!(intervals.worst(window(31, 45), true), None);
        let whole = intervals.worst(window(31, 50), true).expect("one");
        assert_eq!((whole.achieved, whole.achieved_from_s), (10.0, 4.0));
    }

    #[test]
    fn rows_are_bounded_and_sum_up_whatever_the_length() {
        for length in [1, 2, 299, 300, 301, 5_000] {
            let table = Table::parse(&intervals(length).csv()).expect("it is read back");
            let messages = (length * 2) as f64;
            assert_eq!(sum(&table, "attempted"), messages, "{length}");
            assert_eq!(sum(&table, "ack_count"), messages, "{length}");
            let (from, to) = (table.column("from_s"), table.column("to_s"));
            assert!(from.len() <= INTERVALS_MAX + 1, "{length}: {}", from.len());
            assert_eq!(from[0], 0.0);
            assert_eq!(to.last(), Some(&(length as f64)));
            assert_eq!(from[1..], to[..to.len() - 1], "{length}");
            let sessions = table.column("sessions");
            assert_eq!(sessions.last(), Some(&(messages - 1.0)));
        }
    }
}
