//! `loadgen run --agents N --nats URL`: leads a run that agents play, from their search to the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::conduct::{self, LOOK, Show, Watch, tell, unfinished};
use super::driven::DrivenGateway;
use super::groups;
use super::jobs::{self, Crew};
use super::party::{KNOWN_IN, Member, Party};
use super::signals;
use crate::agents::wire::{Plan, ToAgent};
use crate::agents::{ThreadRange, deal};
use crate::args::{ToldArgs, WantedAgents};
use crate::client::{Board, SendWindow, Step};
use crate::clock::{Clock, Nanos};
use crate::couriers::Seat;
use crate::couriers::{Between, Known};
use crate::course::Course;
use crate::exit::{Exit, Failure, Outcome};
use crate::health::{Cpu, Process};
use crate::live::Live;
use crate::live::about::About;
use crate::report;
use crate::scenario::validate::bounds;
use crate::settings::RunSettings;
use crate::verdict::{self, AgentRecord, AgentResult, Baseline, JudgedRun, RunRecord, Sides};

/// Leads a run and reports it.
///
/// # Errors
/// It could not start or go on.
pub(crate) fn run(run: &RunSettings, wanted: &WantedAgents, told: &ToldArgs) -> Outcome<Exit> {
    tell(run, told, |watch, live| lead(run, wanted, watch, live))
}

/// Leads a run.
///
/// # Errors
/// It could not start or go on.
pub(crate) fn lead(
    run: &RunSettings,
    wanted: &WantedAgents,
    watch: &mut dyn Watch,
    live: &mut Live,
) -> Outcome<JudgedRun> {
    watch.say(&report::header(run));
    let stop = Arc::new(AtomicBool::new(false));
    signals::end_in_order(&stop)?;
    bounds::sendable(&run.scenario, &run.sizing).map_err(Failure::scenario)?;
    let gateway = DrivenGateway::start(run)?;
    watch.say(&[gateway.announcement()]);
    let baseline = Baseline::look(None, gateway.metrics(run)?);
    let (mut party, steps) = prepared(run, wanted, watch, &stop)?;
    conduct::make_folder(run, watch)?;
    let exporter = conduct::exporter(run, watch)?;
    let about = About::of(
        run,
        format!("{} on {} agents", watch.title(run), wanted.count),
        &gateway.urls(),
        &steps,
    );
    let mut show = Show {
        course: Course::begin(None),
        watch,
        live,
        exporter,
        debt: None,
    };
    let board = Arc::new(Board::new(
        run.scenario.scenarios.len(),
        wanted.count,
        false,
    ));
    let clock = party.go(run.scenario.scenarios.len());
    show.begin(about, clock, &board);
    show.debt = conduct::watch_debt(run, &gateway, clock)?;
    play(run, &mut party, &mut show, (&board, clock), &stop);
    show.end(clock, &board);
    let aborted = stop.load(Ordering::Relaxed);
    party.compare_clocks(true);
    let members = party.finish();
    let windows = members.iter().filter_map(|it| it.results.as_ref());
    let sending = windows
        .map(|it| it.measured.sending)
        .fold(SendWindow::NONE, SendWindow::with);
    let debt = show.debt.take();
    let debt = debt.and_then(|it| it.finish(sending, clock, &stop));
    let after = gateway.asked(run);
    let metrics = after.as_deref().unwrap_or_default();
    let sides = Sides::look(None, &baseline, metrics);
    let mut record = record(run, members, sides, show.course);
    record.targets = gateway.urls_of_each();
    record.debt = debt.filter(|_| !aborted);
    record.aborted = aborted;
    let mut judged = verdict::judge(run, record);
    if let Err(why) = after {
        unfinished(&mut judged, why);
    }
    Ok(judged)
}

/// Looks for agents, compares their clocks and gives them their parts. Returns them with the executors.
fn prepared(
    run: &RunSettings,
    wanted: &WantedAgents,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Outcome<(Party, Vec<Step>)> {
    let users = jobs::new_name();
    let most = groups::most_threads_together(run, &jobs::population(run, users.clone()));
    let too_few = || {
        Failure::scenario(format!(
            "--agents {}: the users of the scenario are enough for {most} threads, and each agent has one at the least: use fewer agents, or more users",
            wanted.count
        ))
    };
    if most < wanted.count {
        return Err(too_few());
    }
    let mut party = Party::gather(wanted, stop)?;
    party.compare_clocks(false);
    let threads = run.scenario.client.threads;
    let processors = |it: &Member| threads.unwrap_or(it.processors);
    let threads: Vec<_> = party.members.iter().map(processors).collect();
    let ranges = deal(&threads, most).ok_or_else(too_few)?;
    let scenario = toml::to_string(&run.scenario).map_err(|why| {
        Failure::aborted(format!("cannot write the scenario for the agents: {why}"))
    })?;
    let all = ranges.first().map_or(1, |it| it.of);
    let plan = Plan {
        name: run.name.clone(),
        users: users.clone(),
        scenario,
        // The command line asks for targets beside --agents.
        target: run.gateway.name(),
        threads: ThreadRange::whole(all),
        // Each agent gets its own, like its threads.
        seat: Seat { place: 0, of: 1 },
        tokens: wanted.tokens,
    };
    // Before the agents have their parts, as it takes a while with a large population.
    let steps = Crew::of_part(run, users, plan.threads).steps_of_one();
    party.assign(&ranges, &plan, stop)?;
    watch.say(&party.members.iter().map(introduced).collect::<Vec<_>>());
    Ok((party, steps))
}

/// Returns the line that names an agent and its part.
fn introduced(member: &Member) -> String {
    let played = member.played.unwrap_or_default();
    let offset = member.offset();
    format!(
        "{}: {} users, {} sessions, {} threads; its clock is {}",
        member.name,
        played.users,
        played.sessions,
        member.threads.count,
        report::offset(offset.ahead / 1_000, offset.uncertainty.div_ceil(1_000))
    )
}

/// Leads the run until no agent plays any more.
fn play(
    run: &RunSettings,
    party: &mut Party,
    show: &mut Show<'_>,
    (board, clock): (&Board, Clock),
    stop: &AtomicBool,
) {
    let mut barrier = Barrier {
        groups: run.scenario.traffic.groups.is_none(),
        executors: vec![false; run.scenario.scenarios.len()],
        sending_ends: Nanos::MAX,
    };
    while !party.is_over() {
        party.turn(LOOK);
        for (place, beat) in party.take_beats() {
            board.mirror(place, &beat);
        }
        show.end_if_steady(run, clock, board);
        barrier.look(party, board, clock.now());
        if show.look(clock, board) {
            stop.store(true, Ordering::Relaxed);
        }
        if party.is_short() || stop.load(Ordering::Relaxed) {
            party.stop();
        }
    }
}

/// Lets what waits for all agents begin, and ends what all end at one time.
struct Barrier {
    /// Groups are made, or there are none.
    groups: bool,
    /// The executors that have ended on all agents.
    executors: Vec<bool>,
    /// The time at which all agents end sending, as far as they are told; [`Nanos::MAX`] if they are not.
    sending_ends: Nanos,
}

impl Barrier {
    fn look(&mut self, party: &mut Party, board: &Board, now: Nanos) {
        let at = now + KNOWN_IN;
        if !self.groups && party.members.iter().all(|it| it.made) {
            self.groups = true;
            party.tell_all(|| ToAgent::Groups { at });
        }
        let ends = board.sending_ends();
        if ends < self.sending_ends {
            self.sending_ends = ends;
            party.tell_all(|| ToAgent::SendingEnds { at: ends });
        }
        for (executor, over) in self.executors.iter_mut().enumerate() {
            let ended = |it: &Member| it.ended.get(executor) == Some(&true);
            if !*over && party.members.iter().all(ended) {
                *over = true;
                party.tell_all(|| ToAgent::Ended { executor, at });
                party
                    .members
                    .iter()
                    .for_each(|_| board.release(executor, at));
            }
        }
    }
}

/// Returns what the agents measured together. `course` is that of this program, and counts only if no
/// agent has one.
fn record(run: &RunSettings, members: Vec<Member>, mut sides: Sides, course: Course) -> RunRecord {
    let (mut agents, mut courses, mut couriers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut process, mut before) = (Process::default(), 0);
    for member in members {
        let played = member.played.unwrap_or_default();
        let offset = member.offset();
        let about = AgentResult {
            name: member.name,
            threads: member.threads.count,
            users: played.users,
            sessions: played.sessions,
            clock_offset_us: offset.ahead / 1_000,
            clock_uncertainty_us: offset.uncertainty.div_ceil(1_000),
            health: None,
            ended_early: member.lost,
        };
        let (mut measured, mut cpu) = (None, Cpu::default());
        let mut courier = Known {
            name: about.name.clone(),
            report: None,
            uncertainty_us: about.clock_uncertainty_us,
        };
        if let Some(results) = member.results {
            process.add(results.process);
            before += results.rss_before;
            courses.push(results.course);
            cpu = results.cpu;
            measured = Some(results.measured);
            courier.report = results.courier;
        }
        couriers.push(courier);
        agents.push(AgentRecord {
            about,
            measured,
            cpu,
        });
    }
    sides.played_by(process, before);
    RunRecord {
        measured: Vec::new(),
        targets: Vec::new(),
        agents,
        between: Between::of(&couriers, run.scenario.protocol.acknowledges()),
        faults: Vec::new(),
        cpu: Cpu::default(),
        course: match courses.is_empty() {
            true => course,
            false => Course::merged(&courses),
        },
        sides,
        debt: None,
        aborted: false,
    }
}
