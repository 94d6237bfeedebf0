//! The figures that are compared.

use serde_json::Value;

use crate::course::figure;
use crate::units::{each_bytes, memory, micros, readable};

/// A figure of a run.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// The path of the value in the summary.
    pub(super) unit: &'static str,
    /// Whether a larger value is better, as for a rate.
    pub(super) more_is_better: bool,
    /// A worse one is a regression of the gateway. The generator's own figures say nothing of the
    /// gateway, and tails of few messages too little.
    pub(super) decides: bool,
    pub(super) value: fn(&Value) -> Option<f64>,
    pub(super) show: fn(f64) -> String,
}

/// A latency, in microseconds.
macro_rules! latency {
    ($name:literal, $path:literal, $decides:literal) => {
        Figure {
            name: $name,
            unit: "us",
            more_is_better: false,
            decides: $decides,
            value: |it| figure(it, concat!("latency_us.", $path)),
            show: |us| micros(us.round() as u64),
        }
    };
}

/// All figures, in the order of the page.
pub(super) const FIGURES: [Figure; 24] = [
    Figure {
        name: "achieved messages/s",
        unit: "1/s",
        more_is_better: true,
        decides: true,
        value: |it| figure(it, "rates.achieved"),
        show: readable,
    },
    Figure {
        name: "deliveries/s",
        unit: "1/s",
        more_is_better: true,
        decides: false,
        value: |it| figure(it, "rates.deliveries"),
        show: readable,
    },
    latency!("ack p50", "ack.p50", true),
    latency!("ack p90", "ack.p90", false),
    latency!("ack p99", "ack.p99", true),
    latency!("ack p99.9", "ack.p999", false),
    latency!("ack max", "ack.max", false),
    latency!("e2e p50", "e2e.p50", true),
    latency!("e2e p90", "e2e.p90", false),
    latency!("e2e p99", "e2e.p99", true),
    latency!("e2e p99.9", "e2e.p999", false),
    latency!("e2e max", "e2e.max", false),
    latency!("connect p50", "connect.p50", false),
    latency!("connect p99", "connect.p99", true),
    latency!("send_lag p50", "send_lag.p50", false),
    latency!("send_lag p99", "send_lag.p99", false),
    Figure {
        name: "gateway CPU/message",
        unit: "us",
        more_is_better: false,
        decides: true,
        value: |it| per_message(it, "gateway.cpu_seconds"),
        show: one_decimal,
    },
    Figure {
        name: "generator CPU/message",
        unit: "us",
        more_is_better: false,
        decides: false,
        value: |it| per_message(it, "generator.cpu_seconds"),
        show: one_decimal,
    },
    Figure {
        name: "gateway RSS",
        unit: "B",
        more_is_better: false,
        decides: false,
        value: |it| figure(it, "gateway.rss_bytes"),
        show: resident,
    },
    Figure {
        name: "gateway RSS/session",
        unit: "B",
        more_is_better: false,
        decides: true,
        value: |it| figure(it, "gateway.bytes_per_session"),
        show: of_each,
    },
    Figure {
        name: "generator RSS",
        unit: "B",
        more_is_better: false,
        decides: false,
        value: |it| figure(it, "generator.rss_bytes"),
        show: resident,
    },
    Figure {
        name: "generator RSS/session",
        unit: "B",
        more_is_better: false,
        decides: false,
        value: |it| figure(it, "generator.bytes_per_session"),
        show: of_each,
    },
    // Only for `hold`: the use of idle sessions beyond that of an empty gateway.
    Figure {
        name: "gateway B/idle session",
        unit: "B",
        more_is_better: false,
        decides: true,
        value: |it| figure(it, "hold.bytes_per_connection.idle.gateway"),
        show: of_each,
    },
    Figure {
        name: "kernel B/idle session",
        unit: "B",
        more_is_better: false,
        decides: false,
        value: |it| figure(it, "hold.bytes_per_connection.idle.kernel"),
        show: of_each,
    },
];

fn per_message(summary: &Value, seconds: &str) -> Option<f64> {
    let messages = figure(summary, "counts.acknowledged")?;
    Some(figure(summary, seconds)? / messages * 1e6)
}

/// Resident memory of a process.
fn resident(bytes: f64) -> String {
    memory(bytes as u64)
}

/// Formats the bytes per session.
fn of_each(bytes: f64) -> String {
    each_bytes(bytes.round() as u64)
}

fn one_decimal(us: f64) -> String {
    format!("{us:.1} µs")
}
