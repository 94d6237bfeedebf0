//! The settings of a run: the command line over the scenario, checked against this machine.

mod gateway;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::args::{EncodingArg, RunArgs, TlsArgs, ViewArgs};
use crate::debt;
use crate::exit::{Failure, Outcome};
use crate::local_cluster::{ClusterSetup, find_server};
use crate::local_gateway::{self, Setup};
use crate::scenario::cluster::Cluster;
use crate::scenario::load::Loaded;
use crate::scenario::network::Network;
use crate::scenario::protocol::{self, ProtocolKind};
use crate::scenario::sizing::Sizing;
use crate::scenario::{ExecutorKind, Scenario, WireEncoding, limits};
use crate::tokens::Signer;
use crate::units::{Share, Span};
pub(crate) use gateway::{Gateway, NamedTarget, Target, gateway, parse_target};

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct RunSettings {
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
    pub(crate) sizing: Sizing,
    pub(crate) gateway: Gateway,
    /// The signer of the users' tokens; without it, users connect without tokens.
    pub(crate) signer: Option<Arc<Signer>>,
    pub(crate) source: Option<Network>,
    pub(crate) threads: u32,
    pub(crate) out: PathBuf,
    /// The options for showing the run.
    pub(crate) view: ViewArgs,
    /// The metrics whose sum is the work that the server owes; empty if they are not known.
    pub(crate) debt: Vec<String>,
    /// With `--steady`, the least time of sending, after which it ends as soon as the server keeps up.
    pub(crate) steady: Option<Duration>,
}

/// Applies the options of a command line to a scenario that was read.
///
/// # Errors
/// The scenario or an option is wrong (exit 104). The message says what to change.
pub(crate) fn resolve_loaded(mut loaded: Loaded, args: RunArgs) -> Outcome<RunSettings> {
    if let Some(protocol) = &args.protocol {
        loaded.scenario.protocol = protocol::file::read(protocol)?;
    }
    overrule(&mut loaded, &args)?;
    let steady = args
        .steady
        .map(|most| until_steady(&mut loaded, &args, most));
    let steady = steady.transpose()?;
    loaded.validate()?;
    loaded.runnable()?;
    let scenario = loaded.scenario;
    let sizing = Sizing::of(&scenario);
    let setup = Setup {
        shards: args.shards,
        durability: args.durability.clone(),
        ping: None,
        tls: args.tls.tls,
        program: args.gateway.clone(),
        node: None,
    };
    if let Some(program) = &setup.program {
        local_gateway::flags_of(program)?;
    }
    let gateway = match scenario.cluster.filter(|_| args.target.is_empty()) {
        Some(shape) => cluster(shape, setup, &scenario, &args)?,
        None => gateway((&args.target, &args.tls), &args.control, setup)?,
    };
    if let (Gateway::Targets { .. }, Some(fault)) = (&gateway, scenario.chaos.actions.first()) {
        return Err(Failure::scenario(format!(
            "{fault}: loadgen can break only a gateway that it started: leave --target out, or the chaos"
        )));
    }
    fits(&scenario, &gateway, &args)?;
    let debt = debt(&scenario, &gateway, &args);
    let signer = signer(&args.tls)?;
    let source = scenario
        .client
        .source
        .as_deref()
        .map(str::parse::<Network>)
        .transpose();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    Ok(RunSettings {
        out: args.out.unwrap_or_else(|| default_folder(&loaded.name)),
        name: loaded.name,
        source: source.map_err(Failure::scenario)?,
        threads: scenario.client.threads.unwrap_or(cores),
        sizing,
        gateway,
        view: args.view,
        debt,
        steady,
        signer,
        scenario,
    })
}

/// Returns the cluster that a scenario describes.
fn cluster(shape: Cluster, setup: Setup, scenario: &Scenario, args: &RunArgs) -> Outcome<Gateway> {
    if let Some(level) = &args.durability {
        return Err(Failure::scenario(format!(
            "--durability {level}: the log of a cluster is on its NATS servers, which always sync: leave the option out"
        )));
    }
    Ok(Gateway::Cluster(Box::new(ClusterSetup {
        shape,
        gateway: setup,
        nats_server: find_server(args.nats_server.as_deref())?,
        cuts_off: scenario.chaos.cuts_off(),
    })))
}

/// Returns the metrics of the work that the server owes, where they can be asked for.
fn debt(scenario: &Scenario, gateway: &Gateway, args: &RunArgs) -> Vec<String> {
    let control = match gateway {
        Gateway::Targets { controls, .. } => !controls.is_empty(),
        Gateway::Local(_) | Gateway::Cluster(_) => true,
    };
    match (control, scenario.protocol.kind) {
        (false, _) => Vec::new(),
        (true, ProtocolKind::Trunkline) if args.debt.is_empty() => {
            debt::OURS.map(str::to_owned).into()
        }
        (true, _) => args.debt.clone(),
    }
}

/// Lets a scenario send for `most`, so that the run can end when the server keeps up. Returns the time
/// for which the scenario sends otherwise.
///
/// # Errors
/// The scenario has other executors than one of a constant rate, or nothing tells what the server owes.
fn until_steady(loaded: &mut Loaded, args: &RunArgs, most: Span) -> Outcome<Duration> {
    let kind = loaded.scenario.protocol.kind;
    if !args.target.is_empty() && args.control.is_empty() {
        return Err(Failure::scenario(
            "--steady: what the target puts off is not known: name its control port with --control",
        ));
    }
    if kind != ProtocolKind::Trunkline && args.debt.is_empty() {
        return Err(Failure::scenario(format!(
            "--steady: kind = \"{kind}\" has no known metric of the work that it puts off: name one with --debt"
        )));
    }
    let mut faults = loaded.scenario.chaos.actions.iter();
    if let Some(fault) = faults.find(|it| it.action.starts_again()) {
        return Err(Failure::scenario(format!(
            "--steady: a gateway that is started again ({fault}) owes something else: leave the chaos out"
        )));
    }
    let executors = loaded.scenario.scenarios.values_mut();
    let mut senders = executors.filter(|it| it.executor.sends());
    let (Some(one), None) = (senders.next(), senders.next()) else {
        return Err(Failure::scenario(
            "--steady needs a scenario in which one executor sends",
        ));
    };
    let (ExecutorKind::ConstantArrivalRate, Some(own)) = (one.executor, one.duration) else {
        return Err(Failure::scenario(
            "--steady needs executor = \"constant-arrival-rate\": a rate that changes is not steady",
        ));
    };
    if most.0 <= own.0 {
        return Err(Failure::scenario(format!(
            "--steady={most}: the scenario sends for {own} at the least; write a longer time"
        )));
    }
    one.duration = Some(most);
    Ok(own.0)
}

/// Checks that target and options fit the protocol of the scenario.
fn fits(scenario: &Scenario, gateway: &Gateway, args: &RunArgs) -> Outcome<()> {
    use ProtocolKind::{Mqtt, Trunkline};
    let kind = scenario.protocol.kind;
    let (websocket, several) = match gateway {
        Gateway::Targets { all, .. } => {
            let first = all.first().map(|it| parse_target(&it.url));
            let first = first.transpose().map_err(Failure::scenario)?;
            (first.map(|it| it.websocket), all.len() > 1)
        }
        Gateway::Local(_) | Gateway::Cluster(_) => (None, false),
    };
    let why = match (kind, websocket) {
        (Trunkline, None | Some(true)) => return Ok(()),
        (Mqtt, None) => format!(
            "kind = \"{kind}\" needs a server that runs: write --target mqtt://HOST:PORT, or ws://HOST:PORT/mqtt"
        ),
        (_, None) => {
            format!("kind = \"{kind}\" needs a server that runs: write --target ws://HOST:PORT")
        }
        (kind, Some(false)) if kind != Mqtt => {
            format!("kind = \"{kind}\" is over WebSocket: write --target ws://HOST:PORT, or wss://")
        }
        _ if args.tls.token_key.is_some() => {
            format!("--token-key: kind = \"{kind}\" takes no tokens of the gateway: leave it out")
        }
        _ if several => {
            format!(
                "--target: several targets are nodes of a cluster, and kind = \"{kind}\" has none: name one"
            )
        }
        _ if args.encoding.is_some() => {
            format!("--encoding: kind = \"{kind}\" has a form of its own: leave it out")
        }
        _ => return Ok(()),
    };
    Err(Failure::scenario(why))
}

/// Reads what signs the tokens of users, if the options name it.
pub(crate) fn signer(args: &TlsArgs) -> Outcome<Option<Arc<Signer>>> {
    let signer = args.token_key.as_deref().map(Signer::read).transpose();
    Ok(signer.map_err(Failure::scenario)?.map(Arc::new))
}

/// Applies the options of the command line to the scenario.
fn overrule(loaded: &mut Loaded, args: &RunArgs) -> Outcome<()> {
    // A trial of find-max has a rate in any case.
    if let (Some(compress), None) = (args.compress, args.rate) {
        loaded.compress(compress, args.duration.is_some())?;
    }
    let scenario = &mut loaded.scenario;
    let population = &mut scenario.population;
    if let Some(share) = args.share {
        population.share = share;
    }
    if let Some(connections) = args.connections {
        if connections == 0 || connections > population.users {
            return Err(Failure::scenario(format!(
                "--connections {connections}: the scenario has {} users, write a number from 1 to that",
                population.users
            )));
        }
        // The share whose online users have this many devices.
        let users = connections as f64 / population.devices / population.online;
        population.share = Share {
            part: users.round().max(1.0) as u64,
            whole: population.users,
        };
    }
    let mut overruled = false;
    for executor in scenario.scenarios.values_mut() {
        if let ExecutorKind::ConstantArrivalRate | ExecutorKind::DiurnalArrivalRate =
            executor.executor
        {
            executor.duration = args.duration.or(executor.duration);
            executor.rate = args.rate.or(executor.rate);
            overruled = true;
        }
    }
    if !overruled && (args.rate.is_some() || args.duration.is_some()) {
        return Err(Failure::scenario(
            "--rate and --duration need an executor with a constant or diurnal arrival rate, and the scenario has none: edit its stages or steps",
        ));
    }
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    limits::replace(&mut scenario.health, &args.health)?;
    if !args.chaos.is_empty() {
        scenario.chaos.actions.clone_from(&args.chaos);
    }
    let client = &mut scenario.client;
    if let Some(encoding) = args.encoding {
        client.encoding = match encoding {
            EncodingArg::Json => WireEncoding::Json,
            EncodingArg::Proto => WireEncoding::Proto,
        };
    }
    client.source = args.source.clone().or(client.source.take());
    client.threads = args.threads.or(client.threads);
    Ok(())
}

/// Returns the default folder of results: under `target/loadgen` if there is a `target` folder,
/// otherwise under the temporary folder.
pub(crate) fn default_folder(name: &str) -> PathBuf {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let run = format!("{name}-{seconds}-{}", std::process::id());
    let build = Path::new("target");
    if build.is_dir() {
        build.join("loadgen").join(run)
    } else {
        std::env::temp_dir().join("loadgen-runs").join(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    fn resolve(args: RunArgs) -> Outcome<RunSettings> {
        resolve_loaded(load::load(&args.scenario)?, args)
    }

    fn resolved(args: RunArgs) -> Outcome<RunSettings> {
        resolve(RunArgs {
            scenario: "smoke".into(),
            ..args
        })
    }

    #[test]
    fn flags_overrule_the_scenario() {
        let args = RunArgs {
            connections: Some(100),
            rate: Some("50/s".parse().unwrap()),
            duration: Some("3s".parse().unwrap()),
            seed: Some(7),
            encoding: Some(EncodingArg::Proto),
            threads: Some(3),
            ..RunArgs::default()
        };
        let run = resolved(args).unwrap();
        assert_eq!(
            (run.sizing.sessions, run.scenario.seed, run.threads),
            (100, 7, 3)
        );
        assert_eq!(run.sizing.offered_rate, 50.0);
        assert_eq!(run.scenario.client.encoding, WireEncoding::Proto);
    }

    #[test]
    fn a_day_is_replayed_as_fast_as_asked() {
        let args = |scenario: &str, duration: Option<&str>| RunArgs {
            scenario: scenario.into(),
            compress: Some("24h=20m".parse().unwrap()),
            duration: duration.map(|it| it.parse().unwrap()),
            ..RunArgs::default()
        };
        let seconds = |run: &RunSettings| {
            let day = run.scenario.scenarios.values();
            let day = day.filter(|it| it.executor != ExecutorKind::RampingConnections);
            day.map(|it| it.duration.unwrap().0.as_secs()).sum::<u64>()
        };
        // The replay is 72 times as fast as real time, for the duration of the scenario.
        let smoke = resolve(args("smoke", None)).unwrap();
        let expected = smoke.sizing.natural_rate * 72.0;
        assert!((smoke.sizing.offered_rate - expected).abs() < 1e-6);
        assert_eq!(seconds(&smoke), 20);
        // A whole day has its time from the compression.
        let day = resolve(args("service-500m", None)).unwrap();
        assert_eq!(seconds(&day), 1_200);
        assert_eq!(day.sizing.compression, 72.0);
        let day = resolve(args("service-500m", Some("5s"))).unwrap();
        assert_eq!(seconds(&day), 5);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |args| resolved(args).unwrap_err().exit.code();
        let target = |url: &str| RunArgs {
            target: url.split(',').map(str::to_owned).collect(),
            ..RunArgs::default()
        };
        assert_eq!(refused(target("http://127.0.0.1:1/")), 104);
        for several in [
            "ws://127.0.0.1:1,wss://127.0.0.1:2",
            "ws://127.0.0.1:1/a,ws://127.0.0.1:2/b",
            "ws://127.0.0.1:1,ws://127.0.0.1:1",
            "ws://127.0.0.1:1,",
        ] {
            assert_eq!(refused(target(several)), 104, "{several}");
        }
        assert_eq!(refused(target("ws://127.0.0.1")), 104);
        assert_eq!(
            refused(RunArgs {
                connections: Some(0),
                ..RunArgs::default()
            }),
            104
        );
        assert_eq!(
            refused(RunArgs {
                connections: Some(2),
                ..RunArgs::default()
            }),
            104
        );
        assert_eq!(
            refused(RunArgs {
                tls: TlsArgs {
                    tls_ca: Some("/no/such/file".into()),
                    ..TlsArgs::default()
                },
                ..target("wss://127.0.0.1:1/v1/ws")
            }),
            104
        );
        assert_eq!(
            refused(RunArgs {
                tls: TlsArgs {
                    token_key: Some("/no/such/file".into()),
                    ..TlsArgs::default()
                },
                ..target("ws://127.0.0.1:1/v1/ws")
            }),
            104
        );
        let source = Some("127.0.0.0/99".into());
        assert_eq!(
            refused(RunArgs {
                source,
                ..RunArgs::default()
            }),
            104
        );
    }
}
