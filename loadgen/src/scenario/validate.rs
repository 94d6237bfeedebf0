//! What the types of a scenario cannot say: ranges, and keys that contradict each other.

use super::sizing::Sizing;
use super::{Executor, Payload, SCHEMA, Scenario, Target, network, threshold};
use crate::population::{MAX_DEVICES, MIN_USERS};
use crate::schedule::text::{MAX_TEXT, MIN_TEXT};
use crate::units::{Bytes, grouped};

/// What is wrong, and the key where it shows.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Vec<String>,
    pub(super) message: String,
}

type Check = Result<(), Fault>;

/// Executors of the language that this version does not have.
const NOT_BUILT: &[&str] = &[
    "diurnal-arrival-rate",
    "ramping-arrival-rate",
    "churn",
    "reconnect-storm",
    "staircase",
];

/// The executor that opens connections.
pub(crate) const RAMPING_CONNECTIONS: &str = "ramping-connections";
/// The executor that sends messages at a constant mean rate.
pub(crate) const CONSTANT_ARRIVAL_RATE: &str = "constant-arrival-rate";

fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault {
        path: path.split('.').map(str::to_owned).collect(),
        message: message.into(),
    }
}

fn must(holds: bool, path: &str, message: impl Into<String>) -> Check {
    if holds {
        Ok(())
    } else {
        Err(fault(path, message))
    }
}

/// Checks a whole scenario; the first fault ends it.
pub(super) fn validate(scenario: &Scenario) -> Check {
    must(
        scenario.schema == SCHEMA,
        "schema",
        format!(
            "this program reads schema {SCHEMA}, not {}",
            scenario.schema
        ),
    )?;
    population(scenario)?;
    traffic(scenario)?;
    client(scenario)?;
    let sizing = Sizing::of(scenario);
    must(
        sizing.online_users >= MIN_USERS,
        "population.share",
        format!(
            "the share leaves {} online users; it takes at least {MIN_USERS}",
            sizing.online_users
        ),
    )?;
    executors(scenario, &sizing)?;
    for (metric, conditions) in &scenario.thresholds {
        let path = format!("thresholds.{metric}");
        for condition in conditions {
            threshold::check(metric, condition).map_err(|why| fault(&path, why))?;
        }
    }
    health(scenario)
}

fn population(scenario: &Scenario) -> Check {
    let p = &scenario.population;
    must(
        (0.0..=1.0).contains(&p.online) && p.online > 0.0,
        "population.online",
        "online is a part of the users: above 0, up to 1 (0 to 1)",
    )?;
    must(
        (1.0..=f64::from(MAX_DEVICES)).contains(&p.devices),
        "population.devices",
        format!("a connected user has 1 to {MAX_DEVICES} devices"),
    )?;
    must(
        p.msgs_per_user_day > 0.0 && p.msgs_per_user_day.is_finite(),
        "population.msgs_per_user_day",
        "must be above 0",
    )?;
    must(
        !p.window.0.is_zero(),
        "population.window",
        "the window must not be empty",
    )?;
    must(
        p.peak_factor >= 1.0,
        "population.peak_factor",
        "the peak is at least the mean: 1.0 or more",
    )
}

fn traffic(scenario: &Scenario) -> Check {
    let t = &scenario.traffic;
    let range = MIN_TEXT as u64..=MAX_TEXT as u64;
    let (typical, sigma) = match t.payload {
        Payload::Const { bytes } => (bytes, 0.0),
        Payload::Lognormal { median, sigma } => (median, sigma),
    };
    must(
        range.contains(&typical.0),
        "traffic.payload",
        format!(
            "a text is {} to {}: the shorter has no room for what the checks need",
            Bytes(MIN_TEXT as u64),
            Bytes(MAX_TEXT as u64)
        ),
    )?;
    must(
        (0.0..=5.0).contains(&sigma),
        "traffic.payload",
        "sigma is 0 to 5",
    )?;
    must(
        t.contacts >= 2 && t.contacts.is_multiple_of(2) && t.contacts <= 256,
        "traffic.contacts",
        "contacts is an even number from 2 to 256: who writes to somebody is also written to",
    )
}

fn client(scenario: &Scenario) -> Check {
    let c = &scenario.client;
    if let Some(source) = &c.source {
        source
            .parse::<network::Network>()
            .map_err(|why| fault("client.source", why))?;
    }
    must(
        c.threads.is_none_or(|n| (1..=256).contains(&n)),
        "client.threads",
        "threads is 1 to 256",
    )?;
    must(
        c.connecting_max != Some(0),
        "client.connecting_max",
        "must be above 0",
    )
}

fn executors(scenario: &Scenario, sizing: &Sizing) -> Check {
    must(
        !scenario.scenarios.is_empty(),
        "scenarios",
        "there is nothing to do: add a scenario",
    )?;
    for (name, executor) in &scenario.scenarios {
        let at = |key: &str| format!("scenarios.{name}.{key}");
        match executor.executor.as_str() {
            RAMPING_CONNECTIONS => ramp(executor, sizing, &at)?,
            CONSTANT_ARRIVAL_RATE => arrivals(executor, &at)?,
            other if NOT_BUILT.contains(&other) => {
                return Err(fault(
                    &at("executor"),
                    format!("the executor `{other}` is not built in this version"),
                ));
            }
            other => {
                return Err(fault(
                    &at("executor"),
                    format!(
                        "unknown executor `{other}`; there are {RAMPING_CONNECTIONS} and {CONSTANT_ARRIVAL_RATE}"
                    ),
                ));
            }
        }
        follow(scenario, name, &at)?;
    }
    must(
        scenario
            .scenarios
            .values()
            .any(|e| e.executor == RAMPING_CONNECTIONS),
        "scenarios",
        format!("nobody connects: add a scenario with executor = \"{RAMPING_CONNECTIONS}\""),
    )
}

/// The chain of `start_after` must exist and end.
fn follow(scenario: &Scenario, name: &str, at: &dyn Fn(&str) -> String) -> Check {
    let mut current = name;
    for _ in 0..=scenario.scenarios.len() {
        let Some(before) = scenario.scenarios[current].start_after.as_deref() else {
            return Ok(());
        };
        if !scenario.scenarios.contains_key(before) {
            let message = format!("there is no scenario `{before}` to start after");
            return Err(fault(&at("start_after"), message));
        }
        current = before;
    }
    Err(fault(
        &at("start_after"),
        format!("`{name}` would wait for itself"),
    ))
}

fn ramp(executor: &Executor, sizing: &Sizing, at: &dyn Fn(&str) -> String) -> Check {
    must(
        executor.rate.is_none(),
        &at("rate"),
        "ramping-connections takes no rate, but stages",
    )?;
    must(
        executor.duration.is_none(),
        &at("duration"),
        "ramping-connections takes no duration: its stages have theirs",
    )?;
    let stages = executor.stages.as_deref().unwrap_or_default();
    let Some(last) = stages.last() else {
        let message = "ramping-connections needs stages = [{ duration = \"2m\", target = 50_000 }]";
        return Err(fault(&at("executor"), message));
    };
    let targets = stages.iter().map(|stage| stage.target.of(sizing.sessions));
    must(
        targets.is_sorted(),
        &at("stages"),
        "targets must not fall: closing connections in a stage is not built in this version",
    )?;
    must(
        last.target.of(sizing.sessions) == sizing.sessions,
        &at("stages"),
        format!(
            "the last target ({}) must be all {} sessions of the share: write target = \"100%\" or change the share",
            match last.target {
                Target::Count(count) => grouped(count),
                Target::Percent(percent) => format!("{percent}%"),
            },
            grouped(sizing.sessions)
        ),
    )
}

fn arrivals(executor: &Executor, at: &dyn Fn(&str) -> String) -> Check {
    must(
        executor.stages.is_none(),
        &at("stages"),
        "constant-arrival-rate takes no stages, but a rate",
    )?;
    match executor.duration {
        None => Err(fault(
            &at("executor"),
            "constant-arrival-rate needs duration = \"20s\"",
        )),
        Some(span) => must(
            !span.0.is_zero(),
            &at("duration"),
            "the duration must not be zero",
        ),
    }
}

fn health(scenario: &Scenario) -> Check {
    let h = &scenario.health;
    for (key, part) in [
        ("achieved_min", h.achieved_min),
        ("steal_max", h.steal_max),
        ("cpu_idle_min", h.cpu_idle_min),
    ] {
        must(
            (0.0..=1.0).contains(&part),
            &format!("health.{key}"),
            format!("{key} is a part: 0 to 1"),
        )?;
    }
    Ok(())
}
