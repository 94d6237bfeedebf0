//! The check that runs have the same scenario and the same machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Sides;
use super::runs::Run;
use crate::exit::{Failure, Outcome};
use crate::suggest::similar;

/// Keys of the scenario that do not change the load: thresholds and health rules, the assumptions
/// of a plan, and the seed.
const HARMLESS: [&str; 4] = ["seed", "thresholds.", "health.", "plan."];

/// The properties of the environment that affect the figures. The address of a gateway does not:
/// two builds that run beside each other have two addresses.
const MACHINE: [&str; 11] = [
    "agents",
    "architecture",
    "build",
    "gateway_durability",
    "gateway_shards",
    "generator_threads",
    "kernel",
    "memory",
    "processor",
    "processors",
    "tls",
];

/// The properties that differ between runs.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Sentences about differences that prevent a comparison.
    pub(super) serious: Vec<String>,
    /// Sentences about differences that change no figure, or that are compared on purpose.
    pub(super) harmless: Vec<String>,
}

/// Returns the differences between the runs. Properties named in `vary` are compared on purpose.
pub(super) fn differences(sides: &Sides, vary: &[String]) -> Differences {
    let mut found = Differences::default();
    let mut note = |what: &str, key: String, values: String| {
        let meant = vary.contains(&key);
        let line = format!("{what}: {key} is {values}");
        if meant {
            found.harmless.push(format!("{line}, as asked"));
        } else if HARMLESS.iter().any(|harmless| key.starts_with(harmless)) {
            found
                .harmless
                .push(format!("{line}: it does not change the load"));
        } else {
            found.serious.push(line);
        }
    };
    for Unlike { key, values } in unlike(sides, |run| flat(&run.lock)) {
        note("another scenario", key, values);
    }
    for Unlike { key, values } in unlike(sides, environment) {
        note("another machine or setting", key, values);
    }
    let version = |run: &Run| BTreeMap::from([("loadgen".into(), text(&run.env["loadgen"]))]);
    for Unlike { values, .. } in unlike(sides, version) {
        found.harmless.push(format!("loadgen is {values}"));
    }
    found
}

/// Checks that each name of `vary` is a property of some run.
///
/// # Errors
/// Exit 104, with the most similar name.
pub(super) fn check_names(sides: &Sides, vary: &[String]) -> Outcome<()> {
    let runs = sides.a.iter().chain(&sides.b);
    let known: BTreeSet<String> = runs
        .flat_map(|run| {
            flat(&run.lock)
                .into_keys()
                .chain(environment(run).into_keys())
        })
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let wrong: Vec<_> = vary
        .iter()
        .filter(|name| !name.is_empty() && !known.contains(&name.as_str()))
        .map(|name| {
            let meant = similar(name, known.iter().copied()).map_or(
                "; scenario.lock.toml of a run has them, as client.encoding".to_owned(),
                |meant| format!("; did you mean `{meant}`?"),
            );
            format!("--vary {name}: no run has a setting of that name{meant}")
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::scenario(wrong.join("\n"))),
    }
}

/// A property that differs between runs.
struct Unlike {
    key: String,
    /// Each value, and the runs that have it, in words.
    values: String,
}

/// Returns the properties that differ between runs.
fn unlike(sides: &Sides, properties: impl Fn(&Run) -> BTreeMap<String, String>) -> Vec<Unlike> {
    // By key, by value: how many runs of each side have it.
    let mut all: BTreeMap<String, BTreeMap<String, [usize; 2]>> = BTreeMap::new();
    for (side, runs) in [&sides.a, &sides.b].into_iter().enumerate() {
        for run in runs {
            for (key, value) in properties(run) {
                all.entry(key).or_default().entry(value).or_default()[side] += 1;
            }
        }
    }
    let runs = [sides.a.len(), sides.b.len()];
    let unlike = all.into_iter().filter_map(|(key, mut values)| {
        let with = |side: usize| values.values().map(|count| count[side]).sum::<usize>();
        let without = [runs[0] - with(0), runs[1] - with(1)];
        if without != [0, 0] {
            values.insert("not there".into(), without);
        }
        if values.len() < 2 {
            return None;
        }
        let each: Vec<_> = values
            .iter()
            .map(|(value, count)| format!("{value} in {}", who(*count, runs)))
            .collect();
        Some(Unlike {
            key,
            values: each.join(", "),
        })
    });
    unlike.collect()
}

/// Formats which runs have a property: `A`, `3 runs of B`, `A and 1 run of B`.
fn who(count: [usize; 2], runs: [usize; 2]) -> String {
    let sides = ["A", "B"].iter().zip(count).zip(runs);
    let each: Vec<_> = sides
        .filter(|((_, count), _)| *count > 0)
        .map(|((side, count), runs)| match count {
            _ if count == runs => (*side).to_owned(),
            1 => format!("1 run of {side}"),
            _ => format!("{count} runs of {side}"),
        })
        .collect();
    each.join(" and ")
}

/// Returns a scenario's keys with their values, `population.users` and so on.
fn flat(table: &toml::Table) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    flatten("", table, &mut found);
    found
}

fn flatten(prefix: &str, table: &toml::Table, found: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, found),
            toml::Value::String(text) => drop(found.insert(key, text.clone())),
            other => drop(found.insert(key, other.to_string())),
        }
    }
}

fn environment(run: &Run) -> BTreeMap<String, String> {
    let mut found: BTreeMap<_, _> = MACHINE
        .iter()
        .map(|key| (format!("env.{key}"), text(&run.env[*key])))
        .collect();
    let own = run.env["gateway"] == "local";
    let gateway = if own {
        "one of the run's own"
    } else {
        "a --target"
    };
    found.insert("env.gateway".into(), gateway.into());
    found
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "not said".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
