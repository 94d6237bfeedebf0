//! Percentile files in the formats of HdrHistogram: `.hgrm`, a distribution as text, and
//! `latency.hlog`, the histograms of all intervals.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::course::Intervals;
use crate::stats::OVER_TIME;

/// The number of lines in a `.hgrm` for each halving of the distance to 100 %.
const STEPS: u32 = 5;

/// Returns a distribution as text. Each line has a value in microseconds, the part of the values up
/// to it, their number, and the reciprocal of the part above it.
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

/// Parses the points of a `.hgrm`: the part of the values, and the value in microseconds.
///
/// # Errors
/// A line does not belong to such a file.
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

/// Returns the interval log: a histogram in microseconds for each interval and metric, tagged with
/// the name of the metric.
///
/// # Errors
/// The writer fails, which it does not for memory.
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
