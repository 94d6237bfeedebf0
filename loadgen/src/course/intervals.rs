//! The intervals of a run, and `intervals.csv`, which has a row for each.

use serde_json::Value;

use super::{Course, Sample};
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
