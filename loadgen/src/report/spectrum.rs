//! Percentile files: `.hgrm`, a distribution as text, and `latency.hlog`, the intervals with all
//! their values, both as tools for HdrHistogram read them.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::course::Intervals;
use crate::stats::OVER_TIME;

/// Steps for each halving of what is left up to 100 %.
const STEPS: u32 = 5;

/// A distribution: value in microseconds, part of the values at most that, how many those are, and
/// the reciprocal of what is left.
pub(crate) fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS) {
        total += step.count_since_last_iteration();
        let (value, part) = (step.value_iterated_to(), step.quantile_iterated_to());
        text += &match part < 1.0 {
            true => format!(
                "{value:12} {part:.12} {total:10} {:14.2}\n",
                1.0 / (1.0 - part)
            ),
            false => format!("{value:12} {part:.12} {total:10}\n"),
        };
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    text += &format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n");
    let (max, count) = (histogram.max(), histogram.len());
    text += &format!("#[Max     = {max:12}, Total count    = {count:12}]\n");
    text += "#[Unit    = microseconds]\n";
    text
}

/// The points of a `.hgrm`: (part of the values, value in microseconds).
///
/// # Errors
/// A line that is none of such a file.
pub(crate) fn parse(text: &str) -> Result<Vec<(f64, f64)>, String> {
    let lines = (1..).zip(text.lines()).skip(1);
    let told = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let points = told.map(|(number, line)| {
        let mut cells = line.split_whitespace().map(str::parse::<f64>);
        match (cells.next(), cells.next()) {
            (Some(Ok(value)), Some(Ok(part))) if (0.0..=1.0).contains(&part) => Ok((part, value)),
            _ => Err(format!("line {number} is not of a percentile file")),
        }
    });
    points.collect()
}

/// The interval log: a histogram per interval and metric, tagged with its name; microseconds.
///
/// # Errors
/// In words; none is known, for it goes to memory.
pub(crate) fn hlog(intervals: &Intervals) -> Result<Vec<u8>, String> {
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("loadgen: latencies of each interval in microseconds, by metric");
    let fail = |why: &dyn std::fmt::Debug| format!("{why:?}");
    let mut log = builder
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|why| fail(&why))?;
    for interval in intervals.iter() {
        let from = Duration::from_nanos(interval.from);
        let took = Duration::from_nanos(interval.to - interval.from);
        for metric in OVER_TIME {
            let latencies = interval.latencies(metric);
            if !latencies.is_empty() {
                log.write_histogram(&latencies, from, took, Tag::new(metric.name()))
                    .map_err(|why| fail(&why))?;
            }
        }
    }
    drop(log);
    Ok(bytes)
}
