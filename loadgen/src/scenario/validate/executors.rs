//! The rules for the keys of an executor.

use super::{Check, fault, must};
use crate::scenario::sizing::Sizing;
use crate::scenario::{Executor, ExecutorKind, Scenario, Target};
use crate::units::grouped;

/// The most steps of a staircase.
const MAX_STEPS: u32 = 1_000;

pub(super) fn check(scenario: &Scenario, sizing: &Sizing) -> Check {
    must(
        !scenario.scenarios.is_empty(),
        "scenarios",
        "there is nothing to do: add a scenario",
    )?;
    let peak = scenario.population.peak_factor;
    for (name, executor) in &scenario.scenarios {
        let at = |key: &str| format!("scenarios.{name}.{key}");
        keys(executor, &at)?;
        match executor.executor {
            ExecutorKind::RampingConnections => connections(executor, sizing, &at)?,
            ExecutorKind::RampingArrivalRate => rates(executor, &at)?,
            ExecutorKind::DiurnalArrivalRate => day(executor, peak, &at)?,
            ExecutorKind::Staircase => must(
                executor.steps.is_some_and(|n| (1..=MAX_STEPS).contains(&n)),
                &at("steps"),
                format!("a staircase has 1 to {MAX_STEPS} steps"),
            )?,
            ExecutorKind::ReconnectStorm => must(
                executor.fraction.is_some_and(|it| it > 0.0 && it <= 1.0),
                &at("fraction"),
                "fraction is the part of the sessions that reconnect: above 0, up to 1",
            )?,
            ExecutorKind::Churn => churn(executor, &at)?,
            ExecutorKind::ConstantArrivalRate => {}
        }
        for (key, span) in [("duration", executor.duration), ("hold", executor.hold)] {
            must(
                span.is_none_or(|span| !span.0.is_zero()),
                &at(key),
                format!("{key} must not be zero"),
            )?;
        }
        follow(scenario, name, &at)?;
    }
    let mut executors = scenario.scenarios.values();
    must(
        executors.any(|e| e.executor == ExecutorKind::RampingConnections),
        "scenarios",
        format!(
            "nobody connects: add a scenario with executor = \"{}\"",
            ExecutorKind::RampingConnections
        ),
    )
}

/// Checks that an executor has all keys that it needs, and none that it would ignore.
fn keys(executor: &Executor, at: &dyn Fn(&str) -> String) -> Check {
    let kind = executor.executor;
    let (needed, possible) = kind.keys();
    let given = executor.given();
    for key in &given {
        let needs = needed.iter().map(|(key, _)| *key);
        let takes: Vec<_> = needs.chain(possible.iter().copied()).collect();
        must(
            takes.contains(key),
            &at(key),
            format!("{kind} takes no {key}, but {}", takes.join(", ")),
        )?;
    }
    for (key, example) in needed {
        must(
            given.contains(key),
            &at("executor"),
            format!("{kind} needs {example}"),
        )?;
    }
    Ok(())
}

/// Checks that the chain of `start_after` exists and ends.
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

fn connections(executor: &Executor, sizing: &Sizing, at: &dyn Fn(&str) -> String) -> Check {
    let stages = executor.stages.as_deref().unwrap_or_default();
    let Some(last) = stages.last() else {
        let message = "a ramp needs stages = [{ duration = \"2m\", target = \"100%\" }]";
        return Err(fault(&at("stages"), message));
    };
    must(
        !stages.iter().any(|s| matches!(s.target, Target::Rate(_))),
        &at("stages"),
        "a target of connections is a number or a percentage: write target = \"100%\"",
    )?;
    let targets = stages.iter().map(|stage| stage.target.of(sizing.sessions));
    must(
        targets.is_sorted(),
        &at("stages"),
        "targets must not fall: this version cannot close connections in a stage",
    )?;
    must(
        last.target.of(sizing.sessions) == sizing.sessions,
        &at("stages"),
        format!(
            "the last target ({}) must be all {} sessions of the share: write target = \"100%\" or change the share",
            match last.target {
                Target::Count(count) => grouped(count),
                Target::Percent(percent) => format!("{percent}%"),
                Target::Rate(rate) => rate.to_string(),
            },
            grouped(sizing.sessions)
        ),
    )
}

fn rates(executor: &Executor, at: &dyn Fn(&str) -> String) -> Check {
    let stages = executor.stages.as_deref().unwrap_or_default();
    must(
        stages.iter().all(|s| matches!(s.target, Target::Rate(_))),
        &at("stages"),
        "a target of messages has its unit: write target = \"500/s\"",
    )?;
    must(
        stages.iter().any(|stage| !stage.duration.0.is_zero()),
        &at("stages"),
        "a ramp needs a stage that takes some time: stages = [{ duration = \"2m\", target = \"500/s\" }]",
    )
}

fn churn(executor: &Executor, at: &dyn Fn(&str) -> String) -> Check {
    must(
        executor
            .abrupt
            .is_none_or(|part| (0.0..=1.0).contains(&part)),
        &at("abrupt"),
        "abrupt is the part of the sessions that ends without a Close frame: 0 to 1",
    )
}

fn day(executor: &Executor, peak: f64, at: &dyn Fn(&str) -> String) -> Check {
    must(
        peak > 1.0,
        "population.peak_factor",
        "a day whose peak is its mean has no curve: set peak_factor above 1, or use constant-arrival-rate",
    )?;
    let shape = executor.curve.unwrap_or_default();
    must(
        shape.day(1.0, peak, 1.0).is_some(),
        &at("executor"),
        format!("no day of this shape has a peak of {peak} times its mean: lower peak_factor"),
    )
}
