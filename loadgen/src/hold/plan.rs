//! The command line of `hold` as a run.

use std::time::Duration;

use crate::args::{EncodingArg, HoldArgs, ViewArgs};
use crate::exit::{Failure, Outcome};
use crate::health::descriptor_limit;
use crate::local_gateway::{Setup, doctor};
use crate::population::MIN_USERS;
use crate::run::preflight::threads_for;
use crate::scenario::WireEncoding;
use crate::scenario::sizing::Sizing;
use crate::scenario::validate::bounds;
use crate::scenario::{limits, load};
use crate::settings::{RunSettings, default_folder, gateway, signer};
use crate::units::{Share, Span};

/// The scenario that the options fill in.
const SCENARIO: &str = include_str!("hold.toml");

/// The longest time that idle sessions are measured.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The times of measuring idle sessions, counted from the opening of the last session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The time until both sides are quiet.
    pub(super) settle: Duration,
    /// The duration of measuring idle sessions.
    pub(super) idle: Duration,
}

/// Turns the options of `hold` into the settings of a run.
///
/// # Errors
/// An option is wrong (exit 104): what to change.
pub(super) fn resolve(args: &HoldArgs) -> Outcome<(RunSettings, Times)> {
    let mut loaded = load::parse("hold".into(), "loadgen hold".into(), SCENARIO.to_owned())?;
    let scenario = &mut loaded.scenario;
    let connections = args.connections;
    let users = scenario.population.users;
    if !(MIN_USERS..=users).contains(&connections) {
        return Err(Failure::scenario(format!(
            "--connections {connections}: from {MIN_USERS} to {users}"
        )));
    }
    if args.duration.0.is_zero() {
        return Err(Failure::scenario("--for 0s: give a time above zero"));
    }
    scenario.population.share = Share {
        part: connections,
        whole: users,
    };
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.client.source = args.source.clone();
    limits::replace(&mut scenario.health, &args.health)?;
    if args.encoding == Some(EncodingArg::Proto) {
        scenario.client.encoding = WireEncoding::Proto;
    }
    let times = Times {
        settle: Duration::from_secs(1) + Duration::from_micros(connections * 4),
        idle: IDLE_MAX.min(args.duration.0.max(Duration::from_secs(1))),
    };
    for executor in scenario.scenarios.values_mut() {
        match &mut executor.stages {
            Some(stages) => {
                if let Some(ramp) = args.ramp {
                    let seconds = connections as f64 / ramp.0;
                    let span = bounds::span("--ramp", seconds).map_err(Failure::scenario)?;
                    stages[0].duration = span;
                }
            }
            None => {
                executor.duration = Some(args.duration);
                executor.start_time = Some(Span(times.settle + times.idle));
                executor.rate = args.rate;
            }
        }
    }
    scenario.checks.drain = args.drain;
    let limit = descriptor_limit();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = args.threads;
    scenario.client.threads =
        Some(threads.unwrap_or_else(|| threads_for(connections, limit, cores)));
    loaded.validate()?;
    // If no number is enough, the preflight check reports it.
    let needed = doctor::shards_for(connections, limit).unwrap_or(doctor::MAX_SHARDS as u64) as u32;
    let setup = Setup {
        shards: args.shards.or(Some(needed.max(cores))),
        durability: None,
        ping: Some(args.ping),
        tls: args.tls.tls,
        program: None,
        node: None,
    };
    let scenario = loaded.scenario;
    let source = scenario.client.source.as_deref().map(str::parse);
    let run = RunSettings {
        out: args.out.clone().unwrap_or_else(|| default_folder("hold")),
        name: loaded.name,
        source: source.transpose().map_err(Failure::scenario)?,
        threads: scenario.client.threads.unwrap_or(cores),
        sizing: Sizing::of(&scenario),
        gateway: gateway(
            (args.target.as_slice(), &args.tls),
            args.control.as_slice(),
            setup,
        )?,
        view: ViewArgs {
            no_tui: args.view.no_tui || args.json,
            ..args.view.clone()
        },
        signer: signer(&args.tls)?,
        debt: Vec::new(),
        steady: None,
        scenario,
    };
    Ok((run, times))
}
