//! `loadgen agent`: plays parts of runs that another machine leads, one run after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::conduct::{self, LOOK};
use super::couriers::Courier;
use super::driven::DrivenGateway;
use super::jobs::{Crew, Surroundings};
use super::preflight::Fit;
use super::signals;
use super::workers::Workers;
use crate::agents::clocks::DayClock;
use crate::agents::line::{Heard, Line, Reflex, shown_url};
use crate::agents::pieces;
use crate::agents::wire::{
    self, BEAT, CALL, Call, FromAgent, FromLead, Hello, Plan, Results, SILENCE, Said, ToAgent, WIRE,
};
use crate::args::{AgentArgs, RunArgs, TlsArgs};
use crate::client::{Board, Measured};
use crate::clock::{Clock, Nanos};
use crate::course::Course;
use crate::exit::{Exit, Failure, Outcome};
use crate::health::{Cpu, Process};
use crate::output::say;
use crate::scenario::load;
use crate::settings::{self, RunSettings};

/// The time for which an agent that has sent its results waits until the lead has them.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Joins a NATS server and plays parts of runs until a signal ends it.
///
/// # Errors
/// There is no NATS server, or the agent was ended in a run.
pub(crate) fn run(args: &AgentArgs) -> Outcome<Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    signals::end_in_order(&stop)?;
    let (id, day) = (wire::new_id(), DayClock::set());
    let subjects = vec![CALL.to_owned(), wire::to_agent(&id)];
    let line = Line::open(&args.nats, subjects, answering(id.clone(), day))?;
    let agent = Agent {
        args,
        host: host(),
        id,
        day,
        line,
        stop,
    };
    agent.serve()
}

/// Returns the name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or("?".into(), |name| name.trim().to_owned())
}

/// Returns what answers questions for the time as soon as they come.
fn answering(id: String, day: DayClock) -> Reflex {
    Box::new(move |bytes, at| {
        let FromLead { run, told } = serde_json::from_slice(bytes).ok()?;
        let ToAgent::Probe { sent } = told else {
            return None;
        };
        let said = Said::Probed {
            sent,
            received: day.at(at),
            answered: day.now(),
        };
        let agent = id.clone();
        let answer = serde_json::to_vec(&FromAgent { agent, said }).ok()?;
        Some((wire::to_lead(&run), answer))
    })
}

/// A program that plays parts of runs.
struct Agent<'a> {
    args: &'a AgentArgs,
    id: String,
    host: String,
    day: DayClock,
    line: Line,
    stop: Arc<AtomicBool>,
}

/// A part of a run that this machine can play.
struct Part<'a> {
    crew: Crew<'a>,
    fit: Fit,
    gateway: DrivenGateway,
}

/// Why an agent ends its part of a run before the end.
#[derive(Debug, Clone)]
enum Over {
    /// The lead told it to. Its results count.
    Told,
    /// The lead, the connection or this program are gone, as a sentence.
    Left(String),
}

impl Agent<'_> {
    /// Waits for runs, and plays them.
    fn serve(&self) -> Outcome<Exit> {
        let nats = shown_url(&self.args.nats);
        say(&[format!(
            "agent {} ({}) waits for runs at {nats}; Ctrl-C ends it",
            self.host, self.id
        )]);
        while !self.stop.load(Ordering::Relaxed) {
            match self.line.hear(LOOK) {
                Some(Heard::Message { subject, bytes, .. }) if subject == CALL => {
                    self.introduce(&bytes);
                }
                Some(Heard::Message { bytes, .. }) => {
                    let from: Option<FromLead> = serde_json::from_slice(&bytes).ok();
                    if let Some(FromLead {
                        run,
                        told: ToAgent::Plan(plan),
                    }) = from
                    {
                        self.play(&run, &plan)?;
                    }
                }
                Some(Heard::Broken(why)) => say(&[format!("{nats}: {why}; connecting again")]),
                None => {}
            }
            if self.line.is_over() {
                return Err(Failure::aborted(format!(
                    "the connection to {nats} ended for good: start the agent again"
                )));
            }
        }
        Ok(Exit::Ok)
    }

    /// Tells a lead that looks for agents that this one is free.
    fn introduce(&self, call: &[u8]) {
        let processors = std::thread::available_parallelism().map_or(1, |it| it.get() as u32);
        if let Ok(Call { run }) = serde_json::from_slice(call) {
            let hello = Hello {
                wire: WIRE,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                host: self.host.clone(),
                processors,
            };
            // A lead that is not heard calls again.
            let _ = self.tell(&run, Said::Hello(hello));
        }
    }

    /// Tells something to the lead of a run.
    fn tell(&self, run: &str, said: Said) -> Result<(), String> {
        let agent = self.id.clone();
        let bytes = serde_json::to_vec(&FromAgent { agent, said });
        self.line
            .say(wire::to_lead(run), bytes.map_err(|why| why.to_string())?)
    }

    /// Plays a part of a run, from its plan to its results.
    ///
    /// # Errors
    /// A signal ended this program during the run.
    fn play(&self, run: &str, plan: &Plan) -> Outcome<()> {
        let settings = self.settings(plan);
        let part = settings.as_ref().map_err(|why| why.message.clone());
        let part = part.and_then(|settings| part_of(settings, plan).map_err(|why| why.message));
        let by_scenario = settings
            .as_ref()
            .is_err_and(|why| why.exit == Exit::BadScenario);
        let part = match part {
            Ok(part) => part,
            Err(why) => {
                say(&[format!("{}: refused: {why}", plan.name)]);
                let _ = self.tell(run, Said::Refused { by_scenario, why });
                return Ok(());
            }
        };
        let mut playing = Playing::new(self, run);
        let ended = playing.whole(plan, &part);
        let why = match (&ended, &playing.over) {
            (Err(why), _) | (Ok(()), Some(Over::Left(why))) => Some(why.clone()),
            (Ok(()), _) => None,
        };
        match &why {
            None => say(&[format!("{}: the lead has the results", plan.name)]),
            Some(why) => {
                say(&[format!("{}: left: {why}", plan.name)]);
                let why = why.clone();
                let _ = self.tell(run, Said::Leaves { why });
            }
        }
        match self.stop.load(Ordering::Relaxed) && why.is_some() {
            true => Err(Failure::aborted("the agent was ended during a run")),
            false => Ok(()),
        }
    }

    /// Returns the settings of a plan on this machine.
    fn settings(&self, plan: &Plan) -> Outcome<RunSettings> {
        let token_key = self.args.token_key.clone().filter(|_| plan.tokens);
        if plan.tokens && token_key.is_none() {
            return Err(Failure::scenario(
                "the run has --token-key, and this agent has none: start it with --token-key FILE",
            ));
        }
        if !plan.threads.is_sound() || !plan.seat.is_sound() {
            return Err(Failure::scenario(
                "the lead names threads or agents that the run does not have",
            ));
        }
        let origin = "the scenario of the lead".to_owned();
        let loaded = load::parse(plan.name.clone(), origin, plan.scenario.clone())?;
        let wss = plan.target.starts_with("wss://") || plan.target.starts_with("mqtts://");
        let args = RunArgs {
            scenario: plan.name.clone(),
            target: plan.target.split(',').map(str::to_owned).collect(),
            threads: Some(plan.threads.count),
            tls: TlsArgs {
                tls_ca: self.args.tls_ca.clone().filter(|_| wss),
                token_key,
                ..TlsArgs::default()
            },
            ..RunArgs::default()
        };
        settings::resolve_loaded(loaded, args)
    }
}

/// Returns the part of a run that this machine shall play, if the machine can carry it.
fn part_of<'a>(run: &'a RunSettings, plan: &Plan) -> Outcome<Part<'a>> {
    let crew = Crew::of_part(run, plan.users.clone(), plan.threads);
    let fit = conduct::fit(run, &crew, crew.played().sessions)?;
    let gateway = DrivenGateway::start(run)?;
    gateway.answers()?;
    Ok(Part { crew, fit, gateway })
}

/// An agent in a run.
struct Playing<'a> {
    agent: &'a Agent<'a>,
    run: &'a str,
    /// The last sign of life of the lead.
    lead_heard: Instant,
    next_beat: Instant,
    /// The number of stages that the last beat told as ended.
    told: usize,
    /// The time at which the run begins, by the clock of this machine.
    go: Option<Nanos>,
    /// Which executors have ended on all machines.
    released: Vec<bool>,
    groups_released: bool,
    over: Option<Over>,
    /// The lead has the results.
    done: bool,
}

impl<'a> Playing<'a> {
    fn new(agent: &'a Agent<'a>, run: &'a str) -> Self {
        Self {
            agent,
            run,
            lead_heard: Instant::now(),
            next_beat: Instant::now(),
            told: 0,
            go: None,
            released: Vec::new(),
            groups_released: false,
            over: None,
            done: false,
        }
    }

    /// Plays the part, and sends the results. With [`Over::Left`] nobody wants them.
    fn whole(&mut self, plan: &Plan, part: &Part<'_>) -> Result<(), String> {
        let played = part.crew.played();
        say(&[format!(
            "{}: {} users with {} sessions, {} of {} threads, at {}",
            plan.name,
            played.users,
            played.sessions,
            plan.threads.count,
            plan.threads.of,
            plan.target
        )]);
        let loops = Workers::loops(&part.crew).map_err(|why| why.message)?;
        let own_loop = Courier::event_loop().map_err(|why| why.message)?;
        let board = Arc::new(part.crew.board());
        let surroundings = Surroundings {
            fit: part.fit,
            ends: &part.gateway.ends,
            clock: Clock::start(),
            board: &board,
        };
        // Large populations take a while, and nobody waits for a sign of life yet.
        let threads = 0..part.crew.threads();
        let jobs: Vec<_> = threads
            .map(|thread| part.crew.job(thread, &surroundings))
            .collect();
        let courier = part.crew.courier(plan.seat, &surroundings);
        let (users, sessions) = (played.users, played.sessions);
        self.agent.tell(self.run, Said::Ready { users, sessions })?;
        self.lead_heard = Instant::now();
        self.released = vec![false; board.reports.executors()];
        while self.go.is_none() && self.over.is_none() {
            self.turn(None);
        }
        let (Some(go), None | Some(Over::Told)) = (self.go, &self.over) else {
            return Ok(());
        };
        let start = self.agent.day.instant(go);
        std::thread::sleep(start.saturating_duration_since(Instant::now()).min(SILENCE));
        let clock = Clock::starting(start);
        let (cpu_before, before) = (Cpu::look(), Process::look(std::process::id()));
        let mut course = Course::begin(None);
        let halt = Arc::new(AtomicBool::new(false));
        let workers = Workers::start(jobs, loops, clock, &halt);
        let workers = workers.map_err(|why| why.message)?;
        let courier = Courier::start(courier, own_loop, clock, &halt);
        let courier = courier.map_err(|why| why.message)?;
        while !workers.are_finished() || !courier.is_finished() {
            self.turn(Some(&board));
            if self.over.is_some() {
                halt.store(true, Ordering::Relaxed);
            }
            course.look(clock.now(), || board.total());
        }
        course.end(clock.now(), board.total());
        let measured = Measured::whole(workers.join().map_err(|why| why.message)?);
        let courier = courier.join().map_err(|why| why.message)?;
        let after = Process::look(std::process::id());
        let results = Results {
            measured,
            courier,
            course,
            cpu: Cpu::between(cpu_before, Cpu::look()),
            process: Process {
                cpu_seconds: after.cpu_seconds - before.cpu_seconds,
                ..after
            },
            rss_before: before.rss_bytes,
        };
        self.beat(Some(&board));
        self.hand_over(&results)
    }

    /// Sends the results, and waits until the lead has them.
    fn hand_over(&mut self, results: &Results) -> Result<(), String> {
        if matches!(self.over, Some(Over::Left(_))) {
            return Ok(());
        }
        let text = serde_json::to_vec(results).map_err(|why| why.to_string())?;
        let most = self.agent.line.message_max();
        for piece in pieces::cut(&self.agent.id, &text, most)? {
            self.agent.line.say(wire::results(self.run), piece)?;
        }
        let until = Instant::now() + TAKEN_WITHIN;
        while !self.done && !matches!(self.over, Some(Over::Left(_))) {
            if Instant::now() > until {
                return Err("the lead did not take the results".into());
            }
            self.turn(None);
        }
        Ok(())
    }

    /// Listens to the lead for a moment, and tells it that this agent lives.
    fn turn(&mut self, board: Option<&Arc<Board>>) {
        let agent = self.agent;
        for heard in agent.line.hear_all(LOOK) {
            self.take(heard, board.map(AsRef::as_ref));
        }
        if self.agent.stop.load(Ordering::Relaxed) {
            self.leave("a signal ended it");
        }
        if self.lead_heard.elapsed() > SILENCE {
            self.leave("the lead is silent");
        }
        let told = board.map_or(0, |board| {
            let executors = 0..board.reports.executors();
            let ended = executors.filter(|it| board.ended_here(*it).is_some());
            ended.count() + usize::from(board.made_here())
        });
        if Instant::now() >= self.next_beat || told > self.told {
            self.told = told;
            self.beat(board.map(AsRef::as_ref));
        }
    }

    fn leave(&mut self, why: &str) {
        if !matches!(self.over, Some(Over::Left(_))) {
            self.over = Some(Over::Left(why.to_owned()));
        }
    }

    /// Tells the lead how far this agent is.
    fn beat(&mut self, board: Option<&Board>) {
        self.next_beat = Instant::now() + BEAT;
        let beat = board.map(|board| Box::new(board.beat()));
        if let Err(why) = self.agent.tell(self.run, Said::Beat(beat)) {
            self.leave(&why);
        }
    }

    fn take(&mut self, heard: Heard, board: Option<&Board>) {
        let bytes = match heard {
            Heard::Message { bytes, .. } => bytes,
            Heard::Broken(why) => return self.leave(&why),
        };
        // Calls of other leads are not for an agent that plays.
        let Ok(FromLead { run, told }) = serde_json::from_slice(&bytes) else {
            return;
        };
        if run != self.run {
            if let ToAgent::Plan(_) = told {
                let (by_scenario, why) = (false, "it plays another run".to_owned());
                let _ = self.agent.tell(&run, Said::Refused { by_scenario, why });
            }
            return;
        }
        self.lead_heard = Instant::now();
        match told {
            ToAgent::Go { at } => self.go = Some(at),
            ToAgent::Groups { at } => {
                if let (Some(board), false) = (board, self.groups_released) {
                    self.groups_released = true;
                    board.release_groups(at);
                }
            }
            ToAgent::Ended { executor, at } => {
                if let (Some(board), Some(false)) = (board, self.released.get(executor)) {
                    self.released[executor] = true;
                    board.release(executor, at);
                }
            }
            ToAgent::SendingEnds { at } => {
                if let Some(board) = board {
                    board.end_sending_at(at);
                }
            }
            ToAgent::Stop if self.over.is_none() => self.over = Some(Over::Told),
            ToAgent::Done => {
                self.done = true;
                // Before the results nobody wants them any more. After them this says that they are there.
                if board.is_some() || self.go.is_none() {
                    self.leave("the lead ended the run");
                }
            }
            ToAgent::Beat | ToAgent::Stop | ToAgent::Probe { .. } | ToAgent::Plan(_) => {}
        }
    }
}
