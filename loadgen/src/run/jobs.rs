//! Turns a scenario into the job of each generator thread: its users, and the work, start and rate
//! of each executor.
//!
//! Pure, except for the name of the run, which comes from the time and the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_proto::Encoding;

use super::driven::End;
use super::groups::{self, ThreadGroups};
use super::preflight::Fit;
use crate::agents::ThreadRange;
use crate::check::{Checker, PlainChecker};
use crate::client::{Board, CourierJob, FullPlay, Job, PlainPlay, Play, Speech, Step};
use crate::clock::{Clock, Nanos, to_nanos};
use crate::couriers::Seat;
use crate::curve::Curve;
use crate::driver::centrifuge;
use crate::driver::gateway::Trunkline;
use crate::driver::mqtt::Mqtt;
use crate::driver::template::Template;
use crate::population::{Part, Population};
use crate::random::{mix, short_name};
use crate::scenario::protocol::ProtocolKind;
use crate::scenario::protocol::wording::Wording;
use crate::scenario::{ABRUPT, AWAY, Executor, ExecutorKind, WireEncoding};
use crate::schedule::text::Texts;
use crate::schedule::{Arrivals, Churn, ChurnShape, Ramp, Senders, Storm, Work};
use crate::settings::RunSettings;
use crate::tokens::Signer;

/// Connections being opened at one time, all threads together, unless the scenario has
/// `client.connecting_max`.
const CONNECTING_MAX: u32 = 512;

/// A constant that separates the seeds of couriers from other seeds of the same run.
const COURIERS: u64 = 0x636f_7572_6965_7200;

/// The users of a run and the threads that play them.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    run: &'a RunSettings,
    population: Population,
    /// The threads of this machine, among those of the run.
    threads: ThreadRange,
    /// Another machine leads the run.
    is_led: bool,
    /// The number of each executor, by its name: its place in the scenario.
    numbers: BTreeMap<&'a str, usize>,
}

/// The data that all jobs of a run share and that the scenario does not contain.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) fit: Fit,
    /// The gateways, one at least.
    pub(super) ends: &'a [End],
    pub(super) clock: Clock,
    pub(super) board: &'a Arc<Board>,
}

impl<'a> Crew<'a> {
    /// Makes the users of a run, and as many of its threads as can be used.
    pub(super) fn new(run: &'a RunSettings) -> Self {
        let population = population(run, new_name());
        let threads = groups::usable_threads(run, &population);
        Self::of(run, population, ThreadRange::whole(threads), false)
    }

    /// Makes the users of a run with this name, and the threads of it that this machine plays.
    pub(super) fn of_part(run: &'a RunSettings, name: String, threads: ThreadRange) -> Self {
        Self::of(run, population(run, name), threads, true)
    }

    fn of(
        run: &'a RunSettings,
        population: Population,
        threads: ThreadRange,
        is_led: bool,
    ) -> Self {
        let names = run.scenario.scenarios.keys().enumerate();
        Self {
            threads,
            is_led,
            population,
            numbers: names.map(|(number, name)| (&**name, number)).collect(),
            run,
        }
    }

    /// Returns the number of threads of this machine.
    pub(super) fn threads(&self) -> u32 {
        self.threads.count
    }

    /// Returns the users and the sessions of the threads of this machine.
    pub(super) fn played(&self) -> Played {
        let ThreadRange { first, count, of } = self.threads;
        let parts = (first..first + count).map(|thread| self.population.part(thread, of));
        parts.fold(Played::default(), |all, part| Played {
            users: all.users + u64::from(part.users()),
            sessions: all.sessions + u64::from(part.devices()),
        })
    }

    /// Returns a board for the executors and threads of the run.
    pub(super) fn board(&self) -> Board {
        let has_groups = self.run.scenario.traffic.groups.is_some();
        let (executors, threads) = (self.numbers.len(), self.threads.count);
        match self.is_led {
            true => Board::of_part(executors, threads, has_groups),
            false => Board::new(executors, threads, has_groups),
        }
    }

    /// Returns the executors, with the work of one thread in each.
    pub(super) fn steps_of_one(&self) -> Vec<Step> {
        let part = self.population.part(self.threads.first, self.threads.of);
        self.steps(&part, &ThreadGroups::new(self.run, &part), 0)
    }

    /// Returns the job of a thread of this machine, which are numbered from 0.
    pub(super) fn job(&self, thread: u32, surroundings: &Surroundings<'_>) -> Job {
        let run = self.run;
        let scenario = &run.scenario;
        let ThreadRange { first, count, of } = self.threads;
        let part = self.population.part(first + thread, of);
        let groups = ThreadGroups::new(run, &part);
        let seed = mix(scenario.seed ^ u64::from(first + thread) << 32);
        let (client, checks) = (&scenario.client, &scenario.checks);
        let connecting_max = client.connecting_max.unwrap_or(CONNECTING_MAX) / of;
        let Surroundings { fit, ends, .. } = *surroundings;
        Job {
            steps: self.steps(&part, &groups, seed),
            thread,
            threads: count,
            clock: surroundings.clock,
            play: self.play(&part, &groups, ends, seed),
            board: Arc::clone(surroundings.board),
            targets: ends.iter().map(End::destination).collect(),
            source: fit.source,
            connecting_max: connecting_max.max(1) as usize,
            connect_timeout: to_nanos(client.connect_timeout.0.0),
            reconnect_timeout: to_nanos(client.reconnect_timeout.0.0),
            comes_back: !scenario.chaos.is_empty() || client.reconnect,
            has_faults: !scenario.chaos.is_empty(),
            drain: to_nanos(checks.drain.0),
            private_table: fit.private_tables,
            seed,
        }
    }

    /// Returns the courier of this machine, which sits there among those of the run; `None` if it has
    /// nobody to write to.
    pub(super) fn courier(
        &self,
        seat: Seat,
        surroundings: &Surroundings<'_>,
    ) -> Option<CourierJob> {
        let (client, checks) = (&self.run.scenario.client, &self.run.scenario.checks);
        let seed = mix(self.run.scenario.seed ^ COURIERS ^ u64::from(seat.place) << 32);
        let Surroundings { fit, ends, .. } = *surroundings;
        Some(CourierJob {
            seat,
            run: self.population.run.clone(),
            clock: surroundings.clock,
            speech: self.speech(ends, seed).filter(|_| seat.has_others())?,
            board: Arc::clone(surroundings.board),
            targets: ends.iter().map(End::destination).collect(),
            source: fit.source,
            connect_timeout: to_nanos(client.connect_timeout.0.0),
            drain: to_nanos(checks.drain.0),
            acknowledges: self.run.scenario.protocol.acknowledges(),
            seed,
        })
    }

    /// Returns the driver of a session; `None` if the scenario describes none, which its validation does
    /// not let pass.
    fn speech(&self, ends: &[End], seed: u64) -> Option<Speech> {
        let scenario = &self.run.scenario;
        // All have the same scheme and path, and several have the gateway's own protocol.
        let to = &ends.first()?.target;
        let (protocol, host) = (&scenario.protocol, to.host.clone());
        let wording = match protocol.kind {
            ProtocolKind::Trunkline => {
                let encoding = match scenario.client.encoding {
                    WireEncoding::Json => Encoding::Json,
                    WireEncoding::Proto => Encoding::Proto,
                };
                let path = to.path_or("/v1/ws").to_owned();
                let hosts = ends.iter().map(|it| it.target.host.clone()).collect();
                let driver = Trunkline::new(hosts, path, encoding, seed);
                return Some(Speech::Trunkline(driver, self.run.signer.clone()));
            }
            ProtocolKind::Mqtt => {
                let route = (host, to.path_or("/mqtt").to_owned());
                let driver = Mqtt::new(protocol, to.websocket, route, seed).ok()?;
                return Some(Speech::Mqtt(driver));
            }
            ProtocolKind::Template => Wording::compile(protocol).ok()?,
            ProtocolKind::Centrifuge => centrifuge::wording(protocol).ok()?,
        };
        let path = to.path_or("/").to_owned();
        let driver = Template::new(Arc::new(wording), host, path, seed);
        Some(Speech::Template(driver))
    }

    /// Returns the protocol of a thread; `None` if the scenario describes none.
    fn play(&self, part: &Part, groups: &ThreadGroups, ends: &[End], seed: u64) -> Option<Play> {
        let checker = || self.plain(part, groups);
        Some(match self.speech(ends, seed)? {
            Speech::Trunkline(driver, signer) => {
                let play = self.trunkline(part, groups, driver, signer);
                Play::Trunkline(Box::new(play))
            }
            Speech::Mqtt(driver) => Play::Mqtt(Box::new(PlainPlay {
                checker: checker(),
                driver,
            })),
            Speech::Template(driver) => Play::Template(Box::new(PlainPlay {
                checker: checker(),
                driver,
            })),
        })
    }

    /// Returns the judge of a thread's texts.
    fn plain(&self, part: &Part, groups: &ThreadGroups) -> PlainChecker {
        let members = Arc::clone(&groups.members);
        let acknowledges = self.run.scenario.protocol.acknowledges();
        PlainChecker::new(part.clone(), members, self.texts(), acknowledges)
    }

    /// Returns the texts of a thread.
    fn texts(&self) -> Texts {
        let scenario = &self.run.scenario;
        let payload = &scenario.traffic.payload;
        Texts::new(&self.population.run, scenario.seed, payload)
    }

    /// Returns what a thread needs to speak the gateway's own protocol.
    fn trunkline(
        &self,
        part: &Part,
        groups: &ThreadGroups,
        driver: Trunkline,
        signer: Option<Arc<Signer>>,
    ) -> FullPlay {
        let scenario = &self.run.scenario;
        let (traffic, history) = (&scenario.traffic, &scenario.checks.history);
        FullPlay {
            checker: Checker::new(part.clone(), Arc::clone(&groups.members), self.texts()),
            driver,
            signer,
            receipts: traffic.receipts.then(|| to_nanos(traffic.read_after.0)),
            read_back_every: history.whole.checked_div(history.part).unwrap_or(0),
        }
    }

    /// Returns the work of a thread in each executor, in the order of the scenario.
    fn steps(&self, part: &Part, groups: &ThreadGroups, seed: u64) -> Vec<Step> {
        let executors = self.run.scenario.scenarios.iter();
        let steps = executors.map(|(name, executor)| {
            let number = self.numbers[&**name];
            let after = executor.start_after.as_deref();
            let share = Share {
                run: self.run,
                part,
                groups,
                threads: self.threads.of,
                seed: mix(seed ^ number as u64),
            };
            let (duration, work) = share.of(executor, number);
            Step {
                number,
                after: after.map(|before| self.numbers[before]),
                delay: executor.start_time.map_or(0, |time| to_nanos(time.0)),
                duration,
                work,
            }
        });
        steps.collect()
    }
}

/// The users of a run that one machine plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Played {
    /// Users, online or not.
    pub(crate) users: u64,
    pub(crate) sessions: u64,
}

/// Returns a name that no other run has.
pub(super) fn new_name() -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    short_name(nanos ^ u64::from(std::process::id()) << 40)
}

/// Returns the users of a run with this name.
pub(super) fn population(run: &RunSettings, name: String) -> Population {
    let p = &run.scenario.population;
    Population {
        run: name,
        users: u32::try_from(run.sizing.users).unwrap_or(u32::MAX),
        online: u32::try_from(run.sizing.online_users).unwrap_or(u32::MAX),
        devices_milli: (p.devices * 1000.0).round() as u32,
        contacts: run.scenario.traffic.contacts,
        seed: run.scenario.seed,
    }
}

/// The share of one thread in an executor.
struct Share<'a> {
    run: &'a RunSettings,
    part: &'a Part,
    groups: &'a ThreadGroups,
    threads: u32,
    /// The seed of this executor in this thread.
    seed: u64,
}

impl Share<'_> {
    /// Returns the least duration of the executor, and the thread's work in it.
    fn of(&self, executor: &Executor, number: usize) -> (Nanos, Work) {
        match executor.executor {
            ExecutorKind::Churn => self.churn(executor),
            ExecutorKind::ReconnectStorm => {
                let fraction = executor.fraction.unwrap_or(1.0);
                let storm = Storm::new(number, fraction, self.part.devices(), self.seed);
                (0, Work::Storm(storm))
            }
            ExecutorKind::RampingConnections => self.ramp(executor),
            ExecutorKind::ConstantArrivalRate
            | ExecutorKind::RampingArrivalRate
            | ExecutorKind::DiurnalArrivalRate
            | ExecutorKind::Staircase => self.arrivals(executor),
        }
    }

    /// Opens the thread's connections along the stages.
    fn ramp(&self, executor: &Executor) -> (Nanos, Work) {
        let sessions = self.run.sizing.sessions;
        let stages = executor.stages.iter().flatten();
        let stages: Vec<_> = stages
            .map(|stage| {
                let part = stage.target.of(sessions) as f64 / sessions.max(1) as f64;
                (to_nanos(stage.duration.0), part)
            })
            .collect();
        let duration = stages.iter().map(|(duration, _)| duration).sum();
        (
            duration,
            Work::Ramp(Ramp::new(&stages, self.part.devices())),
        )
    }

    /// Sends the thread's share of the rate, to users and to groups.
    fn arrivals(&self, executor: &Executor) -> (Nanos, Work) {
        let scenario = &self.run.scenario;
        let traffic = &scenario.traffic;
        let senders = Senders {
            key_every: traffic.key_every,
            skew: traffic.sender_skew.map(|zipf| zipf.0),
        };
        let curve = executor.curve(&self.run.sizing, scenario.population.peak_factor);
        // Validation admits only executors that have a curve.
        let curve = curve.unwrap_or_else(|| Curve::constant(0.0, 0.0));
        let duration = to_nanos(Duration::from_secs_f64(curve.seconds()));
        let curve = curve.scaled(1.0 / f64::from(self.threads));
        let arrivals = Arrivals::new(curve, self.part, senders, self.seed);
        let work = self.groups.work(arrivals, self.part, duration, self.seed);
        (duration, work)
    }

    /// Cuts the thread's share of the sessions per second.
    fn churn(&self, executor: &Executor) -> (Nanos, Work) {
        let duration = executor.duration.map_or(0, |span| to_nanos(span.0));
        let shape = ChurnShape {
            rate: executor.rate.map_or(0.0, |rate| rate.0) / f64::from(self.threads),
            duration,
            away: to_nanos(executor.away.unwrap_or(AWAY).0),
            abrupt: executor.abrupt.unwrap_or(ABRUPT),
        };
        let churn = Churn::new(shape, self.part.devices(), self.seed);
        (duration, Work::Churn(churn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::RunArgs;
    use crate::clock::SECOND;
    use crate::scenario::load;
    use crate::schedule::Action;
    use crate::settings::resolve_loaded;

    /// Returns the settings of the smoke preset with these executors and this number of threads.
    fn settings(executors: &str, threads: u32) -> RunSettings {
        let mut loaded = load::load("smoke").unwrap();
        loaded.scenario.scenarios = toml::from_str(executors).unwrap();
        let args = RunArgs {
            threads: Some(threads),
            ..RunArgs::default()
        };
        resolve_loaded(loaded, args).unwrap()
    }

    fn steps(crew: &Crew<'_>, thread: u32) -> Vec<Step> {
        let ThreadRange { first, of, .. } = crew.threads;
        let part = crew.population.part(first + thread, of);
        crew.steps(&part, &ThreadGroups::new(crew.run, &part), 7)
    }

    /// Returns all actions of a step, in order.
    fn actions(step: &mut Step) -> Vec<Action> {
        std::iter::from_fn(|| step.work.take()).collect()
    }

    const EXECUTORS: &str = r#"
        [connect]
        executor = "ramping-connections"
        stages = [{ duration = "2s", target = "50%" }, { duration = "1s", target = "100%" }]
        [send]
        executor = "constant-arrival-rate"
        start_after = "connect"
        start_time = "3s"
        duration = "20s"
        rate = "300/s"
        [swap]
        executor = "churn"
        start_after = "connect"
        duration = "10s"
        rate = "40/s"
    "#;

    #[test]
    fn each_step_has_its_place_its_time_and_what_it_waits_for() {
        let run = settings(EXECUTORS, 2);
        let crew = Crew::new(&run);
        let steps = steps(&crew, 0);
        let of = |name: &str| &steps[crew.numbers[name]];
        assert_eq!(of("connect").after, None);
        assert_eq!(of("connect").duration, 3 * SECOND);
        assert_eq!(of("send").after, Some(crew.numbers["connect"]));
        assert_eq!(of("send").delay, 3 * SECOND);
        assert_eq!(of("send").duration, 20 * SECOND);
        assert_eq!(of("swap").duration, 10 * SECOND);
        for (place, step) in steps.iter().enumerate() {
            assert_eq!(step.number, place);
        }
    }

    #[test]
    fn the_threads_together_do_what_the_scenario_asks_for() {
        for threads in [1, 3] {
            let run = settings(EXECUTORS, threads);
            let crew = Crew::new(&run);
            assert_eq!(crew.threads(), threads);
            let mut counts = [0; 3];
            for thread in 0..threads {
                for (step, count) in steps(&crew, thread).iter_mut().zip(&mut counts) {
                    *count += actions(step).len();
                }
            }
            let of = |name: &str| counts[crew.numbers[name]];
            assert_eq!(of("connect") as u64, run.sizing.sessions);
            // Poisson: 6,000 and 400 expected, five standard deviations allowed.
            assert!(of("send").abs_diff(6_000) < 400, "{}", of("send"));
            assert!(of("swap").abs_diff(400) < 100, "{}", of("swap"));
        }
    }

    #[test]
    fn the_machines_together_do_what_the_scenario_asks_for() {
        let run = settings(EXECUTORS, 1);
        let ranges = crate::agents::deal(&[2, 1, 3], 100).unwrap();
        let (mut counts, mut users) = ([0; 3], std::collections::BTreeSet::new());
        let mut played = Played::default();
        for range in ranges {
            let crew = Crew::of_part(&run, "t1".into(), range);
            let own = crew.played();
            played.users += own.users;
            played.sessions += own.sessions;
            for thread in 0..crew.threads() {
                let part = crew.population.part(range.first + thread, range.of);
                for user in 0..part.users() {
                    assert!(users.insert(part.global(user)), "a user is played twice");
                }
                for (step, count) in steps(&crew, thread).iter_mut().zip(&mut counts) {
                    *count += actions(step).len();
                }
            }
        }
        assert_eq!(users.len() as u64, run.sizing.users);
        assert_eq!(played.users, run.sizing.users);
        assert_eq!(played.sessions, run.sizing.sessions);
        assert_eq!(counts[0] as u64, run.sizing.sessions);
        // Poisson: 6,000 expected, five standard deviations allowed.
        assert!(counts[1].abs_diff(6_000) < 400, "{counts:?}");
    }

    #[test]
    fn a_storm_cuts_its_fraction_of_the_sessions() {
        let executors = r#"
            [connect]
            executor = "ramping-connections"
            stages = [{ duration = "1s", target = "100%" }]
            [storm]
            executor = "reconnect-storm"
            start_after = "connect"
            fraction = 0.25
        "#;
        let run = settings(executors, 1);
        let crew = Crew::new(&run);
        let mut steps = steps(&crew, 0);
        let storm = &mut steps[crew.numbers["storm"]];
        assert_eq!(storm.duration, 0);
        let cuts = actions(storm).len() as f64;
        let sessions = run.sizing.sessions as f64;
        // Chosen at random, by the seed.
        assert!((cuts / sessions - 0.25).abs() < 0.1, "{cuts} of {sessions}");
    }

    #[test]
    fn every_thread_has_random_numbers_of_its_own() {
        let run = settings(EXECUTORS, 2);
        let crew = Crew::new(&run);
        let board = Arc::new(crew.board());
        let ends = [End::of("ws://127.0.0.1:1".into(), None).unwrap()];
        let surroundings = Surroundings {
            fit: Fit {
                private_tables: false,
                source: None,
            },
            ends: &ends,
            clock: Clock::start(),
            board: &board,
        };
        let (one, other) = (crew.job(0, &surroundings), crew.job(1, &surroundings));
        assert_ne!(one.seed, other.seed);
        assert_eq!((one.threads, one.thread, other.thread), (2, 0, 1));
        assert_eq!(one.connecting_max, 256);
    }
}
