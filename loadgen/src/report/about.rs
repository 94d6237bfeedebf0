//! The facts of a run: when and where it took place, with which build, and its scenario.

use std::path::Path;

use serde_json::Value;

use super::results::{self, AGAIN};
use crate::exit::Outcome;
use crate::units::{grouped, memory};

/// The text in the place of an unknown fact.
const UNKNOWN: &str = "–";

/// The environment and the scenario of a run, as its folder has them. Results of an older loadgen
/// may lack them.
#[derive(Debug, Default)]
pub(super) struct About {
    env: Value,
    lock: toml::Table,
}

/// The names of the facts, in the order of [`About::facts`].
pub(super) const FACTS: [&str; 12] = [
    "ended",
    "machine",
    "agents",
    "loadgen",
    "gateway",
    "scenario",
    "population",
    "schedule",
    "thresholds",
    "health",
    "storms",
    "chaos",
];

impl About {
    /// Reads what the folder of a run has.
    ///
    /// # Errors
    /// Exit 104: a file is damaged.
    pub(super) fn read(folder: &Path) -> Outcome<Self> {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let bad = |name: &str, why: &str| results::bad(folder, name, why, AGAIN);
        let env = text("env.json")
            .map(|text| serde_json::from_str(&text))
            .transpose();
        let lock = text("scenario.lock.toml")
            .map(|text| text.parse())
            .transpose();
        Ok(Self {
            env: env
                .map_err(|why| bad("env.json", &why.to_string()))?
                .unwrap_or_default(),
            lock: lock
                .map_err(|why: toml::de::Error| bad("scenario.lock.toml", why.message()))?
                .unwrap_or_default(),
        })
    }

    /// Returns the facts of the run with this summary, in the order of [`FACTS`].
    pub(super) fn facts(&self, summary: &Value) -> [String; FACTS.len()] {
        let env = |name: &str| shown(&self.env[name]);
        let ended = self.env["ended_unix_s"].as_u64();
        let known = |text: String| match text.is_empty() {
            true => UNKNOWN.to_owned(),
            false => text,
        };
        let part = |name: &str| self.lock.get(name).and_then(toml::Value::as_table);
        [
            ended.map_or(UNKNOWN.to_owned(), date),
            format!(
                "{} × {}, {} memory, Linux {} ({})",
                env("processors"),
                env("processor"),
                main_memory(&env("memory")),
                env("kernel"),
                env("architecture")
            ),
            known(agents(summary)),
            format!(
                "{}, {} build, {} threads",
                env("loadgen"),
                env("build"),
                env("generator_threads")
            ),
            self.gateway(summary),
            format!(
                "{} (schema {}, seed {})",
                shown(&summary["scenario"]),
                shown(&summary["schema"]),
                shown(&summary["seed"])
            ),
            known(part("population").map_or(String::new(), keys)),
            known(self.schedule()),
            known(part("thresholds").map_or(String::new(), keys)),
            known(part("health").map_or(String::new(), keys)),
            known(storms(summary)),
            known(chaos(summary)),
        ]
    }

    fn gateway(&self, summary: &Value) -> String {
        let gateway = shown(&self.env["gateway"]);
        // Nothing in the page looks like a reference to elsewhere.
        let each = gateway.split(',');
        let each = each.map(|url| url.split_once("://").map_or(url, |(_, at)| at));
        let gateway = each.collect::<Vec<_>>().join(", ");
        let used = summary["targets"].as_array().into_iter().flatten();
        let used = used.map(|it| {
            format!(
                "{} sessions and {} acknowledged",
                count(&it["sessions"]),
                count(&it["acknowledged"])
            )
        });
        let used = used.collect::<Vec<_>>().join(", ");
        let more = [
            ("gateway_shards", "shards"),
            ("gateway_durability", "durability"),
            ("tls", "tls"),
        ];
        let more = more
            .iter()
            .filter(|(name, _)| !self.env[name].is_null() && self.env[name] != false)
            .map(|(name, word)| match &self.env[name] {
                Value::Bool(_) => format!(", {word}"),
                value => format!(", {word} {}", shown(value)),
            });
        let gateway = gateway + &more.collect::<String>();
        match used.is_empty() {
            true => gateway,
            false => format!("{gateway}; in this order {used}"),
        }
    }

    /// Returns the executors, one after another.
    fn schedule(&self) -> String {
        let executors = self.lock.get("scenarios").and_then(toml::Value::as_table);
        let each = executors.into_iter().flatten().map(|(name, executor)| {
            let keys = executor.as_table().map_or(String::new(), keys);
            format!("{name}: {keys}")
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

/// Returns the machines that played a run for the one that led it.
fn agents(summary: &Value) -> String {
    let all = summary["agents"].as_array().into_iter().flatten();
    let each = all.map(|agent| {
        let users = agent["users"].as_u64().unwrap_or(0);
        let figure = |name: &str| agent[name].as_i64().unwrap_or(0);
        let clock = super::offset(
            figure("clock_offset_us"),
            figure("clock_uncertainty_us").unsigned_abs(),
        );
        let early = agent["ended_early"].as_str();
        let early = early.map_or(String::new(), |why| format!(", {why}"));
        format!(
            "{}: {} users, clock {clock}{early}",
            shown(&agent["name"]),
            grouped(users)
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Returns the size of a machine's memory, which the kernel gives as `16316412 kB` (proc(5) meminfo).
fn main_memory(kernel: &str) -> String {
    let kib = kernel.strip_suffix(" kB").and_then(|it| it.parse().ok());
    kib.map_or(kernel.to_owned(), |kib: u64| {
        memory(kib.saturating_mul(1_024))
    })
}

/// Returns a value without quotation marks.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => UNKNOWN.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the keys of a table with their values in a line.
fn keys(table: &toml::Table) -> String {
    let each = table.iter().map(|(key, value)| match value {
        toml::Value::String(text) => format!("{key} {text}"),
        toml::Value::Array(all) => {
            let all: Vec<_> = all
                .iter()
                .map(|one| match one {
                    toml::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect();
            format!("{key} {}", all.join(", "))
        }
        other => format!("{key} {other}"),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Returns a sentence on each storm.
fn storms(summary: &Value) -> String {
    let storms = summary["storms"].as_array().into_iter().flatten();
    let each = storms.map(|storm| {
        let time = |part: &str| seconds(&storm["seconds"][part]);
        format!(
            "{}: {} sessions cut at {}, half back after {}, 99 % after {}, all after {}; {} did not come back",
            shown(&storm["name"]),
            count(&storm["sessions"]),
            seconds(&storm["at_s"]),
            time("p50"),
            time("p99"),
            time("all"),
            count(&storm["not_back"])
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Returns a sentence on each fault.
fn chaos(summary: &Value) -> String {
    let faults = summary["chaos"].as_array().into_iter().flatten();
    let each = faults.map(|fault| {
        format!(
            "{} {} into sending: ended after {}, ready after {}; {} sessions broke, all back after {}; {} without an acknowledgement",
            shown(&fault["action"]),
            seconds(&fault["at_s"]),
            seconds(&fault["down_s"]),
            seconds(&fault["ready_s"]),
            count(&fault["sessions_broken"]),
            seconds(&fault["back_s"]),
            seconds(&fault["unacknowledged_s"])
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

fn count(value: &Value) -> String {
    value.as_u64().map_or(UNKNOWN.to_owned(), grouped)
}

fn seconds(value: &Value) -> String {
    value
        .as_f64()
        .map_or("never".to_owned(), |s| format!("{s:.2} s"))
}

/// Formats seconds since 1970 as a date and a time of day.
fn date(unix: u64) -> String {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    // Days since 0000-03-01 in the Gregorian calendar repeat every 400 years, which are 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_795_867_200, "2026-11-28 12:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(unix), text);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let facts = About::default().facts(&json!({}));
        assert_eq!(facts[0], UNKNOWN);
        assert_eq!(facts[9], UNKNOWN);
        assert_eq!(facts[10], UNKNOWN);
    }
}
