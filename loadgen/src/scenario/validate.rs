//! Checks of a scenario beyond its types: ranges, and keys that contradict each other.

pub(crate) mod bounds;
mod executors;
mod groups;
mod protocol;
mod sessions;

use super::cluster::Cluster;
use super::payload::{MAX_TEXT, MIN_TEXT};
use super::sizing::Sizing;
use super::{Payload, SCHEMA, Scenario, network, threshold};
use crate::population::{MAX_DEVICES, MIN_USERS};
use crate::units::Bytes;

/// A mistake and the key at which it shows.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Vec<String>,
    pub(super) message: String,
}

type Check = Result<(), Fault>;

pub(super) fn fault(path: &str, message: impl Into<String>) -> Fault {
    Fault {
        path: path.split('.').map(str::to_owned).collect(),
        message: message.into(),
    }
}

pub(super) fn must(holds: bool, path: &str, message: impl Into<String>) -> Check {
    if holds {
        Ok(())
    } else {
        Err(fault(path, message))
    }
}

/// Checks that this version can run a valid scenario, and not only plan it.
pub(super) fn runnable(scenario: &Scenario) -> Check {
    bounds::runnable(scenario, &Sizing::of(scenario))?;
    groups::runnable(scenario)
}

/// Checks a whole scenario, and returns the first mistake of each of its parts. Rules about several
/// parts are checked when each part is valid by itself.
pub(super) fn validate(scenario: &Scenario) -> Vec<Fault> {
    let schema = must(
        scenario.schema == SCHEMA,
        "schema",
        format!(
            "this program reads schema {SCHEMA}, not {}",
            scenario.schema
        ),
    );
    let parts = [
        schema,
        bounds::check(scenario).and_then(|()| population(scenario)),
        traffic(scenario),
        client(scenario),
        plan(scenario),
        health(scenario),
        scenario.cluster.map_or(Ok(()), Cluster::check),
    ];
    let mut faults: Vec<_> = parts.into_iter().filter_map(Result::err).collect();
    faults.extend(protocol::check(scenario));
    for (metric, conditions) in &scenario.thresholds {
        let path = format!("thresholds.{metric}");
        let wrong = conditions.iter().map(|it| threshold::check(metric, it));
        faults.extend(
            wrong
                .filter_map(Result::err)
                .map(|why| fault(&path, why))
                .take(1),
        );
    }
    if faults.is_empty() {
        let sizing = Sizing::of(scenario);
        let share = must(
            sizing.online_users >= MIN_USERS,
            "population.share",
            format!(
                "the share has {} online users; a run needs at least {MIN_USERS}",
                sizing.online_users
            ),
        );
        let whole = [
            share,
            executors::check(scenario, &sizing),
            sessions::check(scenario, &sizing),
        ];
        faults.extend(whole.into_iter().filter_map(Result::err));
    }
    faults
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
        p.window.0.as_secs() <= 86_400,
        "population.window",
        "the window is a part of a day: up to 24h",
    )?;
    must(
        p.peak_factor >= 1.0 && p.peak_factor.is_finite(),
        "population.peak_factor",
        "the peak is at least the mean: 1.0 or more",
    )
}

fn traffic(scenario: &Scenario) -> Check {
    let t = &scenario.traffic;
    let range = MIN_TEXT as u64..=MAX_TEXT as u64;
    let (typical, sigma) = match &t.payload {
        Payload::Const { bytes } => (*bytes, 0.0),
        Payload::Lognormal { median, sigma } => (*median, *sigma),
        // Lengths are cut one by one; that there are some, and with what weight, is the question.
        Payload::Empirical { sizes, .. } => {
            let good = |weight: f64| weight >= 0.0 && weight.is_finite();
            must(
                sizes.iter().all(|(_, weight)| good(*weight))
                    && sizes.iter().any(|(_, weight)| *weight > 0.0),
                "traffic.payload",
                "an empirical payload needs file = \"sizes.csv\" (lines of bytes,weight), or \
                 sizes = [[120, 0.75], [2000, 0.25]] with weights from 0 on",
            )?;
            (Bytes(MIN_TEXT as u64), 0.0)
        }
    };
    must(
        range.contains(&typical.0),
        "traffic.payload",
        format!(
            "a text is {} to {}: a shorter one has no room for the data of the checks",
            Bytes(MIN_TEXT as u64),
            Bytes(MAX_TEXT as u64)
        ),
    )?;
    must(
        (0.0..=5.0).contains(&sigma),
        "traffic.payload",
        "sigma is 0 to 5",
    )?;
    groups::check(t)?;
    must(
        t.contacts >= 2 && t.contacts.is_multiple_of(2) && t.contacts <= 256,
        "traffic.contacts",
        "contacts is an even number from 2 to 256, because contacts write to each other",
    )
}

fn plan(scenario: &Scenario) -> Check {
    let p = &scenario.plan;
    for (key, above_zero) in [
        ("connections_per_server", p.connections_per_server > 0),
        ("memory_per_server", p.memory_per_server.0 > 0),
        ("memory_per_connection", p.memory_per_connection.0 > 0),
        ("disk_per_node", p.disk_per_node.0 > 0),
        ("gateways_per_cell", p.gateways_per_cell > 0),
        ("servers_per_cell", p.servers_per_cell > 0),
        ("replication", p.replication > 0),
        ("fanout_limit", p.fanout_limit > 0),
        ("years", p.years > 0.0 && p.years.is_finite()),
        (
            "writes_per_message",
            p.writes_per_message
                .is_none_or(|n| n > 0.0 && n.is_finite()),
        ),
    ] {
        must(above_zero, &format!("plan.{key}"), "must be above 0")?;
    }
    must(
        p.reads_per_write >= 0.0 && p.reads_per_write.is_finite(),
        "plan.reads_per_write",
        "must be 0 or more",
    )?;
    must(
        (0.0..=0.9).contains(&p.headroom),
        "plan.headroom",
        "headroom is the part of each machine that is kept free: 0 to 0.9",
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
