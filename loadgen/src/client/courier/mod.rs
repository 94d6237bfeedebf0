//! The courier of an agent: a thread with one session, which exchanges messages with the couriers of the
//! other agents while the users send.

mod voice;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Token};

use super::connections::{Connections, Destination, Progress, Route, Spread};
use super::reports::RunStage;
use super::{Board, Loop, READ, TIMER};
use crate::clock::{Clock, Nanos, SECOND};
use crate::couriers::{CourierReport, EVERY, Letter, OPEN_MAX, Seat, user};
use crate::driver::Event;
use crate::driver::gateway::Trunkline;
use crate::driver::mqtt::Mqtt;
use crate::driver::template::Template;
use crate::exit::Outcome;
use crate::scenario::network::Network;
use crate::stats::Counters;
use crate::tokens::Signer;
use voice::{DEVICE, Own, Plain, Voice, Word};

/// The longest time between two looks at what the users do.
const LOOK: Nanos = SECOND / 20;

/// The driver of a courier.
pub(crate) enum Speech {
    /// The gateway's own protocol, with what signs a token, if users need tokens.
    Trunkline(Trunkline, Option<Arc<Signer>>),
    Template(Template),
    Mqtt(Mqtt),
}

/// What a courier needs.
pub(crate) struct CourierJob {
    pub(crate) seat: Seat,
    /// The name of the run in user names.
    pub(crate) run: String,
    pub(crate) clock: Clock,
    pub(crate) speech: Speech,
    /// Tells what the users do.
    pub(crate) board: Arc<Board>,
    /// The gateways. The courier is at one of them, by its seat.
    pub(crate) targets: Vec<Destination>,
    /// The addresses to connect from; the kernel chooses without.
    pub(crate) source: Option<Network>,
    /// The session must be open within this time.
    pub(crate) connect_timeout: Nanos,
    /// The longest wait for messages under way after the users have sent theirs.
    pub(crate) drain: Nanos,
    /// Whether the server acknowledges messages.
    pub(crate) acknowledges: bool,
    pub(crate) seed: u64,
}

/// Runs a courier to its end; `stop` ends it early. A session that fails ends it too, and its report says
/// so.
///
/// # Errors
/// The event loop cannot be used.
pub(crate) fn run(job: CourierJob, event_loop: Loop, stop: &AtomicBool) -> Outcome<CourierReport> {
    let user = user(&job.run, job.seat.place);
    let (common, speech) = Common::of(job);
    match speech {
        Speech::Trunkline(line, signer) => {
            Courier::new(common, event_loop, Own { user, signer }, line)?.run(stop)
        }
        Speech::Template(line) => {
            Courier::new(common, event_loop, Plain::new(user), line)?.run(stop)
        }
        Speech::Mqtt(line) => Courier::new(common, event_loop, Plain::new(user), line)?.run(stop),
    }
}

/// What does not depend on the protocol.
struct Common {
    run: String,
    clock: Clock,
    board: Arc<Board>,
    seat: Seat,
    route: Route,
    targets: Vec<Destination>,
    connect_timeout: Nanos,
    drain: Nanos,
    acknowledges: bool,
}

impl Common {
    fn of(job: CourierJob) -> (Self, Speech) {
        let common = Self {
            run: job.run,
            clock: job.clock,
            board: job.board,
            seat: job.seat,
            route: Route {
                source: job.source,
                thread: 0,
                threads: 1,
                connecting_max: 1,
                seed: job.seed,
            },
            targets: job.targets,
            connect_timeout: job.connect_timeout,
            drain: job.drain,
            acknowledges: job.acknowledges,
        };
        (common, job.speech)
    }
}

/// What a courier does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// The courier waits for its session, and until the users send.
    Wait,
    /// The courier sends its next message at this time.
    Send(Nanos),
    /// The courier tells the courier of each other agent that its last message was sent.
    TellEnd(u32),
    /// The courier waits for messages under way, until this time at most.
    Drain(Nanos),
    Over,
}

struct Courier<V: Voice> {
    common: Common,
    event_loop: Loop,
    connections: Connections<V::Driver>,
    voice: V,
    report: CourierReport,
    task: Task,
    next_ping: Option<Nanos>,
    /// The bytes of this session are not a part of the run's figures.
    bytes: Counters,
}

impl<V: Voice> Courier<V> {
    fn new(common: Common, event_loop: Loop, voice: V, driver: V::Driver) -> Outcome<Self> {
        let registry = event_loop.registry()?;
        let route = common.route.clone();
        let spread = Spread::of_one(common.targets.clone(), common.seat.place as usize);
        Ok(Self {
            connections: Connections::new(route, driver, registry, 1, spread),
            report: CourierReport::new(common.seat),
            common,
            event_loop,
            voice,
            task: Task::Wait,
            next_ping: None,
            bytes: Counters::default(),
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Outcome<CourierReport> {
        let (mut events, mut buffer) = (Events::with_capacity(16), vec![0; READ]);
        let begun = self.connections.begin(self.common.clock.now(), DEVICE);
        let mut on_the_way = begun.map_err(|why| format!("it cannot connect: {why}"));
        while on_the_way.is_ok() && self.task != Task::Over && !stop.load(Ordering::Relaxed) {
            on_the_way = self.turn(&mut events, &mut buffer);
        }
        self.report.ended = self.common.clock.now();
        self.report.trouble = on_the_way.err();
        Ok(self.report)
    }

    /// Does what is due, and waits for what comes.
    ///
    /// # Errors
    /// The session cannot go on: why.
    fn turn(&mut self, events: &mut Events, buffer: &mut [u8]) -> Result<(), String> {
        let now = self.common.clock.now();
        if { &mut self.connections }
            .overdue(now, self.common.connect_timeout)
            .is_some()
        {
            return Err("its session was not opened in time".into());
        }
        self.act(now)?;
        for device in self.connections.take_dirty() {
            let flushed = self.connections.flush(device, &mut self.bytes);
            flushed.map_err(|why| format!("its session ended: {why}"))?;
        }
        if self.task == Task::Over {
            return Ok(());
        }
        let (now, due) = (self.common.clock.now(), self.due());
        let wait = match self.connections.has_unread() {
            true => Some(Duration::ZERO),
            false => self.event_loop.timer.arm(now, due),
        };
        match self.event_loop.poll.poll(events, wait) {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => events.clear(),
            polled => polled.map_err(|why| format!("epoll: {why}"))?,
        }
        for device in self.connections.take_unread() {
            self.readable(device, buffer)?;
        }
        for event in &*events {
            match event.token() {
                TIMER => self.event_loop.timer.fired(),
                Token(_) => self.ready(event, buffer)?,
            }
        }
        Ok(())
    }

    /// Returns when the loop must wake without an event.
    fn due(&self) -> Nanos {
        let look = self.common.clock.now() + LOOK;
        match self.task {
            Task::Send(at) => at.min(look),
            _ => look,
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Too much is unanswered.
    fn act(&mut self, now: Nanos) -> Result<(), String> {
        if self.next_ping.is_some_and(|at| now >= at) {
            self.voice.ping(&mut self.connections);
            self.plan_ping(now);
        }
        match self.task {
            Task::Wait => self.wait(now),
            Task::Send(_) if !self.users_send() => {
                self.task = Task::TellEnd(self.common.seat.others());
            }
            Task::Send(at) if now >= at && self.has_room() => {
                self.send(at, false)?;
                self.task = Task::Send(at + EVERY);
            }
            Task::TellEnd(0) => self.task = Task::Drain(now + self.common.drain),
            Task::TellEnd(left) if self.has_room() => {
                self.send(now, true)?;
                self.task = Task::TellEnd(left - 1);
            }
            Task::Drain(until) if now >= until || self.report.is_whole() => {
                self.connections.close(DEVICE);
                self.task = Task::Over;
            }
            Task::Send(_) | Task::TellEnd(_) | Task::Drain(_) | Task::Over => {}
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.voice.has_room(&self.connections)
    }

    /// Returns whether the users of this agent send messages.
    fn users_send(&self) -> bool {
        self.common.board.sending().is_some() && !self.users_are_done()
    }

    /// Returns whether all threads of this agent have sent what they had to.
    fn users_are_done(&self) -> bool {
        let mut reports = self.common.board.reports.reports();
        reports.all(|it| it.stage != RunStage::Executing)
    }

    fn wait(&mut self, now: Nanos) {
        if self.users_are_done() {
            self.task = Task::Over;
        } else if self.report.opened.is_some() && self.users_send() {
            self.report.began = now;
            self.task = Task::Send(now);
        }
    }

    /// Sends the next message, which is due at `intended`.
    ///
    /// # Errors
    /// Too much is unanswered.
    fn send(&mut self, intended: Nanos, last: bool) -> Result<(), String> {
        let (seat, number) = (self.common.seat, self.report.sent);
        if self.report.unanswered.len() >= OPEN_MAX {
            return Err(format!("{OPEN_MAX} of its messages are not answered"));
        }
        let letter = Letter {
            from: seat.place,
            to: seat.recipient(number),
            number,
            intended,
            last,
        };
        let (peer, text) = (
            user(&self.common.run, letter.to),
            letter.text(&self.common.run),
        );
        { &mut self.voice }.send(&mut self.connections, number, &peer, &text);
        self.report.sent += 1;
        match self.common.acknowledges {
            true => drop(self.report.unanswered.insert(number)),
            false => self.report.acknowledged += 1,
        }
        Ok(())
    }

    fn ready(&mut self, event: &mio::event::Event, buffer: &mut [u8]) -> Result<(), String> {
        let now = self.common.clock.now();
        let progress = self.connections.progress(DEVICE, event);
        match progress.map_err(|why| format!("it cannot connect: {why}"))? {
            Progress::Unchanged => {}
            Progress::Connecting => return Ok(()),
            Progress::Connected => {
                self.connections.connected(now, DEVICE);
                self.voice.connect(&mut self.connections);
            }
            Progress::Unblocked => {
                let flushed = self.connections.flush(DEVICE, &mut self.bytes);
                flushed.map_err(|why| format!("its session ended: {why}"))?;
            }
        }
        if event.is_read_closed() {
            self.connections.note_read_closed(DEVICE);
        }
        match event.is_readable() || event.is_error() {
            true => self.readable(DEVICE, buffer),
            false => Ok(()),
        }
    }

    fn readable(&mut self, device: u32, buffer: &mut [u8]) -> Result<(), String> {
        let now = self.common.clock.now();
        let received = self.connections.read(device, buffer, &mut self.bytes);
        if received.plain > 0 {
            self.received(now, &mut buffer[..received.plain])?;
        }
        match received.ended {
            Some(why) => Err(format!("its session ended: {why}")),
            None => Ok(()),
        }
    }

    fn received(&mut self, now: Nanos, mut input: &mut [u8]) -> Result<(), String> {
        let mut words = Vec::new();
        loop {
            let event = self.connections.event(now, DEVICE, &mut input);
            match event.map_err(|broken| format!("its session ended: {}", broken.why))? {
                None => break,
                Some(Event::Said(said)) => {
                    self.voice.hear(&mut self.connections, said, &mut words)?;
                }
                Some(Event::Ready) => {
                    self.connections.authenticate(now, DEVICE);
                    if self.voice.open(&mut self.connections) {
                        words.push(Word::Opened);
                    }
                }
                Some(Event::Pinged) => {}
                Some(Event::Closed { code, reason }) => {
                    return Err(format!("its session was closed with {code} {reason}"));
                }
            }
        }
        for word in words {
            self.note(now, word);
        }
        Ok(())
    }

    fn note(&mut self, now: Nanos, word: Word) {
        match word {
            Word::Opened if self.connections.opened(DEVICE).is_some() => {
                self.report.opened = Some(now);
                self.plan_ping(now);
            }
            Word::Acked(number) if self.report.unanswered.remove(&number) => {
                self.report.acknowledged += 1;
            }
            Word::Refused(number, why) => self.report.refuse(number, why),
            Word::Opened | Word::Acked(_) => {}
            Word::Came(text) => self.report.take(&self.common.run, &text, now),
        }
    }

    fn plan_ping(&mut self, now: Nanos) {
        let every = self.voice.ping_every(&self.connections);
        self.next_ping = every.map(|every| now + every);
    }
}
