//! The numbers of the gateway as one JSON object: `GET /admin/v1/stats`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use trunkline_core::clock::system_ms;
use trunkline_core::metrics::Counter;
use trunkline_gateway::metrics::{CLOSES, Limit, ShardMetrics};
use trunkline_http::back::Told;
use trunkline_proto::ErrorCode;
use trunkline_storage::{BUCKETS, Health, Reader};

use crate::metrics::{Metrics, Process, Threads};

/// The time between two samples.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The names of the counters that have a rate.
const RATES: [&str; 8] = [
    "accepted",
    "commands",
    "messages",
    "send_replies",
    "pushes",
    "received_bytes",
    "sent_bytes",
    "commits",
];

/// Makes the object.
pub(crate) struct Stats {
    metrics: Arc<Metrics>,
    store: Reader,
    ready: Arc<AtomicBool>,
    began: Instant,
    last: Mutex<Last>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    counts: [u64; RATES.len()],
    commit_micros: [u64; BUCKETS],
}

/// The last sample, and what happened in the second before it.
struct Last {
    sample: Sample,
    rates: [f64; RATES.len()],
    commits: [u64; BUCKETS],
    threads: Threads,
    /// The parts of that second in which each thread used a processor.
    busy: Threads,
}

impl Stats {
    pub(crate) fn new(metrics: Arc<Metrics>, store: Reader, ready: Arc<AtomicBool>) -> Self {
        let sample = sample(&metrics, &store);
        let threads = Threads::read(metrics.shards.len());
        Self {
            metrics,
            store,
            ready,
            began: sample.at,
            last: Mutex::new(Last {
                sample,
                rates: [0.0; RATES.len()],
                commits: [0; BUCKETS],
                threads: threads.clone(),
                busy: between(&threads, &threads, 1.0),
            }),
        }
    }

    /// Takes a sample. Call it each [`SECOND`].
    pub(crate) fn sample(&self) {
        let now = sample(&self.metrics, &self.store);
        let threads = Threads::read(self.metrics.shards.len());
        let mut last = self.last.lock();
        let seconds = now.at.duration_since(last.sample.at).as_secs_f64();
        let before = last.sample;
        for (i, rate) in last.rates.iter_mut().enumerate() {
            let count = now.counts[i].saturating_sub(before.counts[i]);
            *rate = (count as f64 / seconds.max(0.001) * 10.0).round() / 10.0;
        }
        for (i, commits) in last.commits.iter_mut().enumerate() {
            *commits = now.commit_micros[i].saturating_sub(before.commit_micros[i]);
        }
        last.busy = between(&last.threads, &threads, seconds);
        last.threads = threads;
        last.sample = now;
    }

    /// Returns the object.
    pub(crate) fn value(&self) -> Value {
        let metrics = &*self.metrics;
        let sum = |of: fn(&ShardMetrics) -> &Counter| metrics.sum(of);
        let now = sample(metrics, &self.store);
        let named = |values: &[u64; RATES.len()]| object(RATES.iter().zip(values.iter().copied()));
        let (rates, commits, busy) = {
            let last = self.last.lock();
            (last.rates, last.commits, last.busy.clone())
        };
        let process = Process::read();
        json!({
            "time": system_ms(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "ready": self.ready.load(Ordering::SeqCst),
            "connections": sum(|m| &m.connections),
            "sessions": sum(|m| &m.sessions),
            "opening": sum(|m| &m.opening),
            "held_bytes": metrics.held(),
            "conversations": metrics.sequencer.conversations.get(),
            "commands_waiting": metrics.sequencer.waiting.get(),
            "http": {
                "connections": metrics.http.server.connections.get(),
                "waiting": metrics.http.polls.get(),
                "streams": metrics.http.streams.get(),
            },
            "webhooks": self.webhooks(),
            "totals": named(&now.counts),
            "rates": object(RATES.iter().zip(rates)),
            "commit": commit(&commits),
            "shards": metrics.shards.iter().zip(&busy.shards).map(|(shard, busy)| shard_value(shard, *busy)).collect::<Vec<_>>(),
            "sequencer": {"busy": busy.sequencer, "mailbox_waits": metrics.sequencer.mailbox_waits.get()},
            "store": self.store_value(),
            "limited": self.limited(),
            "errors": self.errors(),
            "closes": self.closes(),
            "backup_running": metrics.backups.running.get() == 1,
            "process": {"cpu_seconds": process.cpu_seconds, "resident_bytes": process.resident_bytes},
        })
    }

    fn store_value(&self) -> Value {
        let stats = self.store.stats();
        let (health, reason) = match self.store.health() {
            Health::Ok => ("ok", None),
            Health::Full { reason } => ("full", Some(reason)),
            Health::Short { reason } => ("short", Some(reason)),
            Health::Lost { reason } => ("lost", Some(reason)),
            Health::Poisoned { reason } => ("failed", Some(reason)),
        };
        json!({
            "health": health,
            "reason": reason,
            "bytes": stats.segment_bytes + stats.kept_bytes + stats.run_bytes,
            "segments": stats.segments as u64 + stats.kept_segments,
            "waiting_segments": stats.waiting_segments,
            "runs": stats.runs,
            "index_bytes": stats.index_bytes,
            "pending_redactions": stats.pending_redactions,
            "head": stats.head.0,
            "durable": stats.durable.0,
        })
    }

    /// Returns the numbers of webhooks; null if no back end is told of anything.
    fn webhooks(&self) -> Value {
        let webhooks = &self.metrics.back.webhooks;
        let circuits = Told::ALL.map(|told| webhooks.circuit(told));
        if circuits.iter().all(|state| *state == "off") {
            return Value::Null;
        }
        let sum = |counts: &[(&str, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
        let tries = webhooks.tries();
        let told = tries.iter().find(|(result, _)| *result == "told");
        let (tried, told) = (sum(&tries), told.map_or(0, |(_, count)| *count));
        json!({
            "backlog": webhooks.waiting(),
            "recipients_with_more": webhooks.later(),
            "behind_bytes": webhooks.behind(),
            "oldest_ms": webhooks.oldest_age_ms(system_ms()),
            "tried": tried,
            "told": told,
            "failed": tried - told,
            "given_up": sum(&webhooks.given_up()),
            "offline_circuit": circuits[0],
            "presence_circuit": circuits[1],
        })
    }

    /// Returns the limits that were reached, with the number of times.
    fn limited(&self) -> Value {
        let counts = Limit::ALL.iter().enumerate();
        let counts = counts.map(|(i, limit)| (limit.name(), self.metrics.sum(|m| &m.limited[i])));
        object(counts.filter(|(_, count)| *count > 0))
    }

    fn errors(&self) -> Value {
        let counts = ErrorCode::ALL.iter().enumerate();
        let counts = counts.map(|(i, code)| (code.name(), self.metrics.sum(|m| &m.errors[i])));
        object(counts.filter(|(_, count)| *count > 0))
    }

    fn closes(&self) -> Value {
        let counts = CLOSES.iter().enumerate().map(|(i, code)| {
            let name = match code {
                0 => "other".to_owned(),
                code => code.to_string(),
            };
            (name, self.metrics.sum(|m| &m.closes[i]))
        });
        object(counts.filter(|(_, count)| *count > 0))
    }
}

fn object<N: ToString, V: Into<Value>>(fields: impl Iterator<Item = (N, V)>) -> Value {
    let fields: Map<String, Value> = fields
        .map(|(name, value)| (name.to_string(), value.into()))
        .collect();
    Value::Object(fields)
}

fn shard_value(shard: &ShardMetrics, busy: Option<f64>) -> Value {
    json!({
        "connections": shard.connections.get(),
        "sessions": shard.sessions.get(),
        "held_bytes": shard.held_bytes.get(),
        "commands": shard.commands.sum(),
        "sent_bytes": shard.bytes_out.get(),
        "busy": busy,
    })
}

/// Returns the parts of a time in which threads used a processor, from 0 to 1.
fn between(before: &Threads, now: &Threads, seconds: f64) -> Threads {
    let part = |before: Option<f64>, now: Option<f64>| {
        let used = (now? - before?) / seconds.max(0.001);
        // The kernel counts in hundredths of a second.
        Some((used.clamp(0.0, 1.0) * 100.0).round() / 100.0)
    };
    let shards = before.shards.iter().zip(&now.shards);
    Threads {
        shards: shards.map(|(before, now)| part(*before, *now)).collect(),
        sequencer: part(before.sequencer, now.sequencer),
    }
}

fn sample(metrics: &Metrics, store: &Reader) -> Sample {
    let sum = |of: fn(&ShardMetrics) -> &Counter| metrics.sum(of);
    let stats = store.stats();
    let pushes = metrics.total(|m| m.pushes.sum()) + sum(|m| &m.pushed_ephemeral);
    Sample {
        at: Instant::now(),
        counts: [
            sum(|m| &m.accepted),
            metrics.total(|m| m.commands.sum()),
            metrics.sequencer.messages.get(),
            sum(|m| &m.acks),
            pushes,
            sum(|m| &m.bytes_in),
            sum(|m| &m.bytes_out),
            stats.commits,
        ],
        commit_micros: stats.commit_micros,
    }
}

/// Returns the commits of the last second: their number, and upper bounds of percentiles of their time.
fn commit(counts: &[u64; BUCKETS]) -> Value {
    let percentile = |part: f64| {
        let all: u64 = counts.iter().sum();
        let rank = (all as f64 * part).ceil() as u64;
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        // Each bucket counts the values below a power of two.
        bucket.map(|bucket| 1u64 << bucket)
    };
    json!({
        "count": counts.iter().sum::<u64>(),
        "p50_us": percentile(0.5),
        "p90_us": percentile(0.9),
        "p99_us": percentile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_busy_for_a_part_of_a_second() {
        let threads = |shards: [Option<f64>; 3], sequencer| Threads {
            shards: shards.to_vec(),
            sequencer,
        };
        let before = threads([Some(1.0), Some(3.0), None], Some(2.0));
        let now = threads([Some(1.5), Some(9.0), Some(1.0)], Some(2.0));
        let wanted = threads([Some(0.25), Some(1.0), None], Some(0.0));
        assert_eq!(between(&before, &now, 2.0), wanted);
    }

    #[test]
    fn percentiles_are_the_bounds_of_buckets() {
        let mut counts = [0; BUCKETS];
        let none = json!({"count": 0, "p50_us": null, "p90_us": null, "p99_us": null});
        assert_eq!(commit(&counts), none);
        (counts[3], counts[7], counts[9]) = (90, 9, 1);
        let some = json!({"count": 100, "p50_us": 8, "p90_us": 8, "p99_us": 128});
        assert_eq!(commit(&counts), some);
    }
}
