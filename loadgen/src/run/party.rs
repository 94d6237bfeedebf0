//! The agents of a run, as its lead sees them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::jobs::Played;
use crate::agents::ThreadRange;
use crate::agents::clocks::{DayClock, Offset, RoundTrip};
use crate::agents::line::{Heard, Line, shown_url};
use crate::agents::pieces::{self, Pieces};
use crate::agents::wire::{
    self, BEAT, CALL, Call, FromAgent, FromLead, Hello, Plan, Results, SILENCE, Said, ToAgent, WIRE,
};
use crate::args::WantedAgents;
use crate::client::Beat;
use crate::clock::{Clock, SECOND, seconds};
use crate::couriers::Seat;
use crate::exit::{Failure, Outcome};
use crate::foreign::safe_line;

/// The time for which agents are looked for.
const CALLING: Duration = Duration::from_secs(30);

/// The time between two calls for agents.
const CALL_AGAIN: Duration = Duration::from_millis(300);

/// The time in which each agent must say whether it can play its part.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The time in which an agent that is told to stop must send what it has measured.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// The round trips to each agent by which clocks are compared.
const TRIPS: usize = 24;

/// The longest wait for one round trip.
const TRIP_WITHIN: Duration = Duration::from_millis(500);

/// The time from the message that begins a run to its beginning.
const GO_AHEAD: Duration = Duration::from_secs(1);

/// An agent of the run.
#[derive(Debug)]
pub(super) struct Member {
    id: String,
    /// The number of the agent and the name of its machine.
    pub(super) name: String,
    /// The number of processors of its machine.
    pub(super) processors: u32,
    pub(super) threads: ThreadRange,
    pub(super) played: Option<Played>,
    trips: Vec<RoundTrip>,
    /// The offset of its clock before the run, and after it.
    offsets: [Option<Offset>; 2],
    /// The last sign of life.
    heard: Instant,
    /// The last beat, until it is shown.
    beat: Option<Box<Beat>>,
    /// The executors that have ended in it, and whether its groups are made.
    pub(super) ended: Vec<bool>,
    pub(super) made: bool,
    pieces: Pieces,
    pub(super) results: Option<Box<Results>>,
    /// When and why it ended early.
    pub(super) lost: Option<String>,
}

impl Member {
    /// Returns the offset of its clock during the run.
    pub(super) fn offset(&self) -> Offset {
        let [before, after] = self.offsets;
        let before = before.unwrap_or_default();
        after.map_or(before, |after| before.until(after))
    }

    fn is_over(&self) -> bool {
        self.results.is_some() || self.lost.is_some()
    }
}

/// The agents of a run, and the line to them. Dropping it lets them go.
#[derive(Debug)]
pub(super) struct Party {
    line: Line,
    day: DayClock,
    /// The identity of the run in subjects.
    run: String,
    wanted: usize,
    pub(super) members: Vec<Member>,
    next_beat: Instant,
    /// The clock of the run, once it has begun.
    clock: Option<Clock>,
    /// Since when the agents are told to stop.
    stopping: Option<Instant>,
    /// Why the run cannot begin.
    refused: Option<Failure>,
}

impl Party {
    /// Looks for free agents at a NATS server.
    ///
    /// # Errors
    /// There is no server, or there are too few agents (exit 94), or `stop` was set.
    pub(super) fn gather(wanted: &WantedAgents, stop: &AtomicBool) -> Outcome<Self> {
        let run = wire::new_id();
        let subjects = vec![wire::to_lead(&run), wire::results(&run)];
        let line = Line::open(&wanted.nats, subjects, Box::new(|_, _| None))?;
        let mut party = Self {
            line,
            day: DayClock::set(),
            run,
            wanted: wanted.count as usize,
            members: Vec::new(),
            next_beat: Instant::now(),
            clock: None,
            stopping: None,
            refused: None,
        };
        let (until, mut call) = (Instant::now() + CALLING, Instant::now());
        while party.members.len() < party.wanted {
            party.goes_on(stop)?;
            if Instant::now() > until {
                return Err(Failure::preflight(format!(
                    "{} of {} agents answer at {}: start `loadgen agent --nats URL` on each machine, and let them end other runs",
                    party.members.len(),
                    party.wanted,
                    shown_url(&wanted.nats)
                )));
            }
            if Instant::now() >= call {
                call = Instant::now() + CALL_AGAIN;
                let run = party.run.clone();
                let bytes = serde_json::to_vec(&Call { run }).unwrap_or_default();
                let said = party.line.say(CALL.to_owned(), bytes);
                said.map_err(Failure::preflight)?;
            }
            party.listen(CALL_AGAIN / 6);
        }
        Ok(party)
    }

    /// Fails if the run cannot begin any more.
    fn goes_on(&mut self, stop: &AtomicBool) -> Outcome<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::aborted("the run was stopped before it began"));
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    /// Measures how far the clock of each agent is ahead, before the run or after it. An agent that does
    /// not answer has no new offset.
    pub(super) fn compare_clocks(&mut self, after: bool) {
        let asked = |it: &Member| it.lost.is_none();
        self.members.iter_mut().for_each(|it| it.trips.clear());
        for trip in 1..=TRIPS {
            for place in 0..self.members.len() {
                if asked(&self.members[place]) {
                    let sent = self.day.now();
                    self.tell(place, ToAgent::Probe { sent });
                }
            }
            let until = Instant::now() + TRIP_WITHIN;
            let waits = |it: &Self| {
                it.members
                    .iter()
                    .any(|it| asked(it) && it.trips.len() < trip)
            };
            while waits(self) && Instant::now() < until {
                self.listen(TRIP_WITHIN / 10);
            }
        }
        for member in &mut self.members {
            member.offsets[usize::from(after)] = Offset::of(&member.trips);
        }
    }

    /// Gives each agent its part, and waits until all can play theirs.
    ///
    /// # Errors
    /// An agent cannot play its part (exit 94 or 104), does not answer, or `stop` was set.
    pub(super) fn assign(
        &mut self,
        ranges: &[ThreadRange],
        plan: &Plan,
        stop: &AtomicBool,
    ) -> Outcome<()> {
        for (place, threads) in ranges.iter().enumerate() {
            if self.members[place].offsets[0].is_none() {
                return Err(Failure::preflight(format!(
                    "{} does not answer: look at what it says, or start it again",
                    self.members[place].name
                )));
            }
            self.members[place].threads = *threads;
            let (threads, seat) = (*threads, self.seat(place));
            let plan = Box::new(Plan {
                threads,
                seat,
                ..plan.clone()
            });
            self.say(place, ToAgent::Plan(plan))
                .map_err(Failure::preflight)?;
        }
        let until = Instant::now() + READY_WITHIN;
        loop {
            self.goes_on(stop)?;
            let missing = self.members.iter().find(|it| it.played.is_none());
            let Some(missing) = missing else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(Failure::preflight(format!(
                    "{} did not say within {READY_WITHIN:?} whether it can play its part",
                    missing.name
                )));
            }
            self.turn(BEAT / 20);
        }
    }

    /// Returns the seat of the member in a place.
    fn seat(&self, place: usize) -> Seat {
        Seat {
            place: place as u32,
            of: self.members.len() as u32,
        }
    }

    /// Begins the run on all agents at one time. Returns the clock of the run.
    pub(super) fn go(&mut self, executors: usize) -> Clock {
        let at = self.day.now() + crate::clock::to_nanos(GO_AHEAD);
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            member.ended = vec![false; executors];
            let at = member.offset().there(at);
            self.tell(place, ToAgent::Go { at });
        }
        let clock = Clock::starting(self.day.instant(at));
        self.clock = Some(clock);
        clock
    }

    /// Lets the agents go. Returns what is known of them.
    pub(super) fn finish(mut self) -> Vec<Member> {
        self.let_go();
        std::mem::take(&mut self.members)
    }

    fn let_go(&self) {
        for place in 0..self.members.len() {
            // An agent that does not hear it notices that the lead is silent.
            let _ = self.say(place, ToAgent::Done);
        }
    }

    /// Listens for a moment, and looks whether all agents live.
    pub(super) fn turn(&mut self, within: Duration) {
        self.listen(within);
        if Instant::now() >= self.next_beat {
            self.next_beat = Instant::now() + BEAT;
            self.tell_all(|| ToAgent::Beat);
        }
        for place in 0..self.members.len() {
            let member = &self.members[place];
            // Before the run begins an agent may wait for a target that does not answer.
            let plays = self.clock.is_some() && !member.is_over();
            if plays && member.heard.elapsed() > SILENCE {
                let since = format!("nothing came from it for {} s", SILENCE.as_secs());
                self.lose(place, "died", &since);
            }
        }
        if self
            .stopping
            .is_some_and(|since| since.elapsed() > STOPPED_WITHIN)
        {
            for place in 0..self.members.len() {
                self.lose(place, "was told to stop", "it sent no results");
            }
        }
    }

    /// Tells all agents to stop and to send what they have measured.
    pub(super) fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now());
            self.tell_all(|| ToAgent::Stop);
        }
    }

    /// Returns whether no agent plays any more.
    pub(super) fn is_over(&self) -> bool {
        self.members.iter().all(Member::is_over)
    }

    /// Returns whether an agent ended early.
    pub(super) fn is_short(&self) -> bool {
        self.members.iter().any(|it| it.lost.is_some())
    }

    /// Takes the beats since they were taken last, each with the place of its agent.
    pub(super) fn take_beats(&mut self) -> Vec<(u32, Box<Beat>)> {
        let members = (0..).zip(&mut self.members);
        members
            .filter_map(|(place, it)| Some((place, it.beat.take()?)))
            .collect()
    }

    /// Tells something to all agents that are not lost.
    pub(super) fn tell_all(&mut self, told: impl Fn() -> ToAgent) {
        for place in 0..self.members.len() {
            if self.members[place].lost.is_none() {
                self.tell(place, told());
            }
        }
    }

    /// Tells something to an agent. One that cannot be told is lost.
    fn tell(&mut self, place: usize, told: ToAgent) {
        if let Err(why) = self.say(place, told) {
            self.lose(place, "was lost", &why);
        }
    }

    fn say(&self, place: usize, told: ToAgent) -> Result<(), String> {
        let run = self.run.clone();
        let bytes = serde_json::to_vec(&FromLead { run, told }).map_err(|why| why.to_string())?;
        self.line
            .say(wire::to_agent(&self.members[place].id), bytes)
    }

    /// Notes that an agent plays no more, unless it has sent its results. Before the run begins that
    /// ends it.
    fn lose(&mut self, place: usize, how: &str, why: &str) {
        let Some(member) = self.members.get_mut(place).filter(|it| !it.is_over()) else {
            return;
        };
        match self.clock {
            Some(clock) => {
                // The last sign of life, on the clock of the run.
                let silent = crate::clock::to_nanos(member.heard.elapsed());
                let at = seconds(clock.now().saturating_sub(silent)).round();
                member.lost = Some(format!("{how} at {at} s ({why})"));
            }
            None => {
                let why = format!("{} {how} before the run began: {why}", member.name);
                self.refused.get_or_insert(Failure::preflight(why));
            }
        }
    }

    /// Takes everything that comes, after waiting for the first message.
    fn listen(&mut self, within: Duration) {
        let heard: Vec<_> = self.line.hear_all(within).collect();
        for heard in heard {
            match heard {
                Heard::Message { subject, bytes, at } if subject == wire::results(&self.run) => {
                    self.take_piece(&bytes, at);
                }
                Heard::Message { bytes, at, .. } => {
                    // Others may write to the subject too.
                    if let Ok(from) = serde_json::from_slice::<FromAgent>(&bytes) {
                        self.take(from, at);
                    }
                }
                Heard::Broken(why) => {
                    for place in 0..self.members.len() {
                        self.lose(place, "was lost", &why);
                    }
                }
            }
        }
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.members.iter().position(|it| it.id == id)
    }

    fn take(&mut self, FromAgent { agent, said }: FromAgent, at: Instant) {
        let Some(place) = self.place(&agent) else {
            if let Said::Hello(hello) = said {
                self.welcome(agent, &hello);
            }
            return;
        };
        let member = &mut self.members[place];
        member.heard = at;
        match said {
            Said::Probed {
                sent,
                received,
                answered,
            } => member.trips.push(RoundTrip {
                sent,
                received,
                answered,
                back: self.day.at(at),
            }),
            Said::Ready { users, sessions } => member.played = Some(Played { users, sessions }),
            Said::Refused { by_scenario, why } => {
                let why = format!("{}: {}", member.name, safe_line(&why));
                self.refused.get_or_insert(match by_scenario {
                    true => Failure::scenario(why),
                    false => Failure::preflight(why),
                });
            }
            Said::Beat(Some(beat)) => {
                for (known, ended) in member.ended.iter_mut().zip(&beat.ended) {
                    *known |= ended.is_some();
                }
                member.made |= beat.made;
                member.beat = Some(beat);
            }
            Said::Leaves { why } => self.lose(place, "left", &safe_line(&why)),
            Said::Beat(None) | Said::Hello(_) => {}
        }
    }

    /// Adds a free agent.
    fn welcome(&mut self, id: String, hello: &Hello) {
        if self.members.len() >= self.wanted {
            return;
        }
        let host = safe_line(&hello.host);
        let (own, theirs) = (env!("CARGO_PKG_VERSION"), safe_line(&hello.version));
        if hello.wire != WIRE || theirs != own {
            self.refused.get_or_insert(Failure::preflight(format!(
                "the agent on {host} is loadgen {theirs}, and this is {own}: use one build on all machines"
            )));
            return;
        }
        self.members.push(Member {
            id,
            name: format!("agent {} ({host})", self.members.len() + 1),
            processors: hello.processors.max(1),
            threads: ThreadRange::whole(1),
            played: None,
            trips: Vec::new(),
            offsets: [None; 2],
            heard: Instant::now(),
            beat: None,
            ended: Vec::new(),
            made: false,
            pieces: Pieces::default(),
            results: None,
            lost: None,
        });
    }

    fn take_piece(&mut self, bytes: &[u8], at: Instant) {
        let place = pieces::sender(bytes).ok().and_then(|id| self.place(&id));
        let Some(place) = place.filter(|place| !self.members[*place].is_over()) else {
            return;
        };
        let member = &mut self.members[place];
        member.heard = at;
        let read = |text: Vec<u8>| {
            let results = serde_json::from_slice::<Results>(&text);
            let results = results.map_err(|why| format!("its results cannot be read: {why}"))?;
            let sound = results.course.is_sound();
            sound
                .then_some(results)
                .ok_or_else(|| "the samples in its results are impossible".to_owned())
        };
        let whole = member.pieces.add(bytes);
        match whole.and_then(|text| text.map(read).transpose()) {
            Ok(results) => member.results = results.map(Box::new),
            Err(why) => self.lose(place, "was lost", &why),
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The time from now on at which all agents know that an executor has ended everywhere.
pub(super) const KNOWN_IN: u64 = SECOND / 10;
