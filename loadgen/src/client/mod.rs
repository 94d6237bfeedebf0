//! One generator thread: the connections of its users on one event loop, driven by the schedule.
//!
//! [`Client`] is the loop. It owns parts that do not know each other, and connects them: it passes
//! the result of one part to the next.
//!
//! | part | what it knows |
//! |---|---|
//! | [`Connections`] | sockets and TLS; a driver has the protocol |
//! | [`Phases`] | executors, and the stage of the thread |
//! | [`Sends`] | due sends that are not written yet |
//! | [`Reconnects`] | away sessions, and the times of their next attempts |
//! | [`Storms`] | the results of each storm of reconnects |
//! | [`Dialogue`] | what depends on what the server can do: `full` for a gateway, `plain` for a server that passes texts on |
//! | [`Reporter`] | the reports of the thread while it works |
//! | [`Busy`] | the CPU time of the thread |

mod board;
mod busy;
mod chaos;
mod connections;
mod courier;
mod dialogue;
mod full;
mod incoming;
mod measured;
mod mirror;
mod outgoing;
mod phases;
mod plain;
mod reconnects;
mod reporter;
mod reports;
mod returning;
mod sends;
mod stages;
mod storms;
mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::check::Judge;
use crate::clock::{Clock, Nanos, SECOND};
use crate::driver::mqtt::Mqtt;
use crate::driver::template::Template;
use crate::exit::{Failure, Outcome};
use crate::random::mix;
use crate::scenario::network::Network;
use crate::stats::{Counters, Latencies};

pub(crate) use board::Board;
use busy::Busy;
use connections::{Connections, Route, Spread};
pub(crate) use connections::{Destination, TARGETS_MAX, TargetTally};
pub(crate) use courier::{CourierJob, Speech, run as run_courier};
use dialogue::Dialogue;
use full::Full;
pub(crate) use full::FullPlay;
pub(crate) use measured::Measured;
pub(crate) use mirror::Beat;
use phases::Phases;
pub(crate) use phases::{SendWindow, Step};
use plain::Plain;
pub(crate) use plain::PlainPlay;
use reconnects::Reconnects;
use reporter::Reporter;
pub(crate) use reports::RunStage;
use sends::Sends;
use stages::NextTurn;
pub(crate) use storms::Storm;
use storms::Storms;
use timer::Timer;

/// The token of the thread's timer; connections have their device as token.
const TIMER: Token = Token(usize::MAX);

/// Events taken from the kernel per turn. Messages that fall due meanwhile wait for the end of the turn, and a read takes
/// some 3 µs.
const EVENTS: usize = 64;

/// The size of a read from one connection in bytes.
const READ: usize = 64 << 10;

/// Scheduled actions carried out per turn, so that reading never starves. Messages of a turn to one connection are one write: with
/// fewer of them a thread that is behind takes a quarter more time for each message.
const ACTIONS: usize = 256;

/// A constant that separates the seed of reconnects from other seeds of the same thread.
const RECONNECTS: u64 = 0x7265_636f_6e6e;

/// The time between two reports of a thread.
pub(crate) const REPORT: Nanos = SECOND / 5;

/// The longest time for reading back history.
const READ_BACK: Nanos = 120 * SECOND;

/// The job of a thread, with everything that it needs.
pub(crate) struct Job {
    /// The number of the thread, from 0.
    pub(crate) thread: u32,
    /// The number of threads.
    pub(crate) threads: u32,
    pub(crate) clock: Clock,
    /// The protocol, with what depends on it. The thread takes it.
    pub(crate) play: Option<Play>,
    pub(crate) steps: Vec<Step>,
    /// The board that all threads share.
    pub(crate) board: Arc<Board>,
    /// The gateways, one at least. Users are spread over them.
    pub(crate) targets: Vec<Destination>,
    /// The addresses to connect from; the kernel chooses without.
    pub(crate) source: Option<Network>,
    /// Connections being opened at one time, at most.
    pub(crate) connecting_max: usize,
    /// A session that is not open after this time counts as failed.
    pub(crate) connect_timeout: Nanos,
    /// A session that is not open again after this time does not come back.
    pub(crate) reconnect_timeout: Nanos,
    /// Whether broken sessions come back also if the gateway did not ask for it: the run breaks the
    /// gateway, or the scenario wants it.
    pub(crate) comes_back: bool,
    /// Whether the run breaks the gateway.
    pub(crate) has_faults: bool,
    /// The time to wait for messages under way after the executors have ended.
    pub(crate) drain: Nanos,
    /// The thread needs a descriptor table of its own.
    pub(crate) private_table: bool,
    pub(crate) seed: u64,
}

/// The protocol of a thread.
pub(crate) enum Play {
    /// The gateway's own protocol.
    Trunkline(Box<FullPlay>),
    /// Texts over WebSocket, as a scenario or another driver describes them.
    Template(Box<PlainPlay<Template>>),
    /// MQTT 5.
    Mqtt(Box<PlainPlay<Mqtt>>),
}

/// A generator thread.
struct Client<D: Dialogue> {
    clock: Clock,
    board: Arc<Board>,
    thread: u32,
    limits: Limits,
    dialogue: D,
    checker: D::Judge,
    poll: Poll,
    timer: Timer,
    connections: Connections<D::Driver>,
    phases: Phases,
    sends: Sends,
    reconnects: Reconnects,
    storms: Storms,
    reporter: Reporter,
    busy: Busy,
    latencies: Latencies,
}

/// The time limits of a thread.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A session that is not open after this time counts as failed.
    connect_timeout: Nanos,
    /// The time to wait for messages under way after the executors have ended.
    drain: Nanos,
    /// Whether every broken session comes back.
    comes_back: bool,
    /// Whether the run breaks the gateway.
    has_faults: bool,
}

/// An event loop made by the main thread, before any descriptor table is unshared.
pub(crate) struct Loop {
    poll: Poll,
    timer: Timer,
}

impl Loop {
    /// Makes the loop.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        Ok(Self { poll, timer })
    }

    /// Returns the loop's registry, for connections.
    ///
    /// # Errors
    /// No descriptors are left.
    fn registry(&self) -> Outcome<mio::Registry> {
        let registry = self.poll.registry().try_clone();
        registry.map_err(|why| Failure::aborted(format!("epoll: {why}")))
    }
}

/// Runs a thread to its end; `stop` ends it early.
///
/// # Errors
/// The event loop fails, or the descriptor table cannot be made.
pub(crate) fn run(mut job: Job, event_loop: Loop, stop: &AtomicBool) -> Outcome<Measured> {
    if job.private_table {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).map_err(|why| {
            Failure::preflight(format!(
                "cannot give a thread its own descriptor table: {why}"
            ))
        })?;
    }
    match job.play.take() {
        Some(Play::Trunkline(play)) => {
            let parts = Full::new(*play, job.seed);
            Client::new(job, event_loop, parts)?.run(stop)
        }
        Some(Play::Template(play)) => Client::new(job, event_loop, Plain::new(*play))?.run(stop),
        Some(Play::Mqtt(play)) => Client::new(job, event_loop, Plain::new(*play))?.run(stop),
        None => Err(Failure::aborted("the job of a thread has no protocol")),
    }
}

impl<D: Dialogue> Client<D> {
    fn new(
        job: Job,
        event_loop: Loop,
        (dialogue, checker, driver): (D, D::Judge, D::Driver),
    ) -> Outcome<Self> {
        let registry = event_loop.registry()?;
        // The place behind those of the users is for a helper of the dialogue.
        let part = checker.roster().part();
        let places = part.devices() as usize + 1;
        let spread = Spread::new(job.targets, part);
        let route = Route {
            source: job.source,
            thread: job.thread,
            threads: job.threads,
            connecting_max: job.connecting_max,
            seed: job.seed,
        };
        Ok(Self {
            clock: job.clock,
            thread: job.thread,
            limits: Limits {
                connect_timeout: job.connect_timeout,
                drain: job.drain,
                comes_back: job.comes_back,
                has_faults: job.has_faults,
            },
            poll: event_loop.poll,
            timer: event_loop.timer,
            connections: Connections::new(route, driver, registry, places, spread),
            phases: Phases::new(job.steps),
            sends: Sends::default(),
            reconnects: Reconnects::new(mix(job.seed ^ RECONNECTS), job.reconnect_timeout),
            storms: Storms::default(),
            reporter: Reporter::default(),
            busy: Busy::default(),
            latencies: Latencies::watched(job.board.reports.tally(job.thread)),
            board: job.board,
            dialogue,
            checker,
        })
    }

    /// Runs the thread to its end; `stop` ends it early.
    fn run(mut self, stop: &AtomicBool) -> Outcome<Measured> {
        self.work(stop)?;
        let now = self.clock.now();
        self.report(now);
        let sending = self.phases.sending();
        Ok(Measured {
            findings: self.checker.into_findings(),
            latencies: self.latencies,
            stall: self.reporter.stall(),
            busy: self.busy.part(),
            storms: self.storms.into_all(),
            // A run that was stopped did not send to the end of the schedule.
            sending: SendWindow {
                until: sending.until.min(now),
                ..sending
            },
            troubles: self.reporter.into_first_trouble().into_iter().collect(),
            making: self.dialogue.prepared_in(),
            targets: self.connections.into_tallies(),
        })
    }

    /// Works until the run is over, or until `stop`.
    fn work(&mut self, stop: &AtomicBool) -> Outcome<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        loop {
            let now = self.clock.now();
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !D::prepare(self, now) {
                // All other threads would wait for this one.
                stop.store(true, Ordering::Relaxed);
                return Ok(());
            }
            self.give_up_overdue(now);
            self.come_back(now);
            self.act(now);
            let with_sends = self.connections.dirty();
            if self.advance(now) == NextTurn::Done {
                return Ok(());
            }
            D::turn(self, now);
            // Timers count from here: the turn may have taken a while.
            let written = self.flush_all(now, with_sends);
            if now >= self.reporter.due() {
                self.report(now);
            }
            let wake = self.next_wake(now);
            let timeout = match self.connections.has_unread() {
                true => Some(Duration::ZERO),
                false => self.timer.arm(written, wake),
            };
            match self.poll.poll(&mut events, timeout) {
                // A process that was stopped and continued comes here (signal(7)): its time away
                // counts like any other.
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => events.clear(),
                polled => polled.map_err(|why| Failure::aborted(format!("epoll: {why}")))?,
            }
            let woken = self.clock.now();
            let late = woken.saturating_sub(wake.max(now));
            for device in self.connections.take_unread() {
                self.readable(device, &mut buffer);
            }
            for event in &events {
                match event.token() {
                    TIMER => self.timer.fired(),
                    Token(device) => self.ready(device as u32, event, &mut buffer),
                }
            }
            // The thread was away from its sockets for this turn, and for the time that it woke late.
            if self.phases.is_measuring() {
                let turn = self.clock.now() - woken;
                self.reporter.note_stall(turn.max(late));
            }
        }
    }

    /// Returns when the loop must wake without an event.
    fn next_wake(&self, now: Nanos) -> Nanos {
        let full = self.connections.is_full();
        let due = self.phases.due(&self.board, full);
        let read = self.dialogue.due();
        let back = self.reconnects.due().filter(|_| !full);
        let wake = [due, read, back].into_iter().flatten().min();
        wake.map_or(self.reporter.due(), |wake| wake.min(self.reporter.due()))
            .max(now)
    }

    /// Reports the progress of this thread to the board.
    fn report(&mut self, now: Nanos) {
        self.busy.look(now, self.phases.sending());
        self.reporter.report(
            now,
            &self.board,
            self.thread,
            &self.checker,
            self.connections.connecting(),
            self.phases.report(),
        );
    }

    fn count(&mut self) -> &mut Counters {
        self.checker.counters_mut()
    }
}
