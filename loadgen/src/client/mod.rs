//! One generator thread: its users' connections on one event loop, driven by the schedule.

mod catch_up;
mod chaos;
mod conn;
mod group_send;
mod held;
mod input;
mod making;
mod output;
mod phases;
mod read_back;
mod reconnect;
mod storm;
mod timer;
mod tls;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};
use trunkline_proto::Encoding;

use crate::check::Checker;
use crate::clock::{Clock, Nanos, SECOND};
use crate::exit::{Failure, Outcome};
use crate::scenario::network::Network;
use crate::schedule::{Action, mix};
use crate::stats::{Counters, Latencies, Metric};
use crate::tls::Trust;
use crate::tokens::Signer;

use conn::Conn;
pub(crate) use phases::{Board, Step};
use phases::{Phases, Progress};
pub(crate) use storm::Storm;
use timer::Timer;
pub(crate) use told::After;

/// The token of the thread's timer; connections have their device as token.
const TIMER: Token = Token(usize::MAX);

/// Events taken from the kernel per turn.
const EVENTS: usize = 1_024;

/// Bytes read from one connection per read.
const READ: usize = 64 << 10;

/// Scheduled actions carried out per turn, so that reading never starves.
const ACTIONS: usize = 256;

/// Tells the seed of reconnects from others of the same thread.
const RECONNECTS: u64 = 0x7265_636f_6e6e;

/// How often a thread tells how far it is.
pub(crate) const REPORT: Nanos = SECOND / 5;

/// How long reading back history may take, and then closing.
const READ_BACK: Nanos = 120 * SECOND;

/// What a thread is to do.
pub(crate) struct Job {
    pub(crate) thread: u32,
    pub(crate) threads: u32,
    pub(crate) clock: Clock,
    pub(crate) checker: Checker,
    pub(crate) steps: Vec<Step>,
    pub(crate) board: Arc<Board>,
    pub(crate) target: SocketAddr,
    /// The Host header and the path of the upgrade.
    pub(crate) host: String,
    pub(crate) path: String,
    /// Connect with TLS.
    pub(crate) tls: Option<Trust>,
    /// Connect with tokens.
    pub(crate) signer: Option<Arc<Signer>>,
    pub(crate) source: Option<Network>,
    pub(crate) encoding: Encoding,
    pub(crate) connecting_max: usize,
    /// A session that is not open after so long counts as failed.
    pub(crate) connect_timeout: Nanos,
    /// A session that is not open again after so long does not come back.
    pub(crate) reconnect_timeout: Nanos,
    /// The gateway is broken during this run: sessions that break come back.
    pub(crate) chaos: bool,
    /// Recipients acknowledge; reading comes so long after arrival.
    pub(crate) receipts: Option<Nanos>,
    pub(crate) drain: Nanos,
    /// One conversation in so many is read back; 0: none.
    pub(crate) read_back_every: u64,
    pub(crate) private_table: bool,
    pub(crate) seed: u64,
}

/// What a thread measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) checker: Checker,
    pub(crate) latencies: Latencies,
    /// Longest time the loop was away from its sockets while that could change a figure: from the
    /// first send on until sessions are closed.
    pub(crate) stall: Nanos,
    /// When sends were scheduled: from the first executor's start to the last one's end.
    pub(crate) sending: (Nanos, Nanos),
    /// What each storm came to.
    pub(crate) storms: Vec<Storm>,
    /// The first failure of a connection, for people.
    pub(crate) trouble: Option<String>,
    /// How long making the groups took.
    pub(crate) making: Nanos,
}

pub(crate) struct Client {
    job: Job,
    poll: Poll,
    timer: Timer,
    conns: Vec<Option<Conn>>,
    sealing: Option<tls::Sealing>,
    phases: Phases,
    making: making::Making,
    /// Streams between two: from there on readers are memberships.
    streams: u32,
    latencies: Latencies,
    /// Connections there are, and those of them whose sessions are not open yet.
    alive: usize,
    connecting: usize,
    /// Connections in the order they were begun, until the first is given up.
    begun: std::collections::VecDeque<(Nanos, u32)>,
    reconnects: reconnect::Reconnects,
    held: held::Held,
    storms: storm::Storms,
    /// Intended times of the sends that this turn has not written yet.
    departing: Vec<Nanos>,
    /// Devices with something to flush.
    dirty: Vec<u32>,
    /// Devices that have more to read than one turn takes.
    unread: Vec<u32>,
    /// Streams whose reader has something to acknowledge as delivered, with the device.
    fresh: Vec<(u32, u32)>,
    /// By stream, and by membership behind them: it stands in `fresh`.
    is_fresh: Vec<bool>,
    /// Streams to be acknowledged as read, with their time and device.
    to_read: std::collections::VecDeque<(Nanos, u32, u32)>,
    read_back: read_back::ReadBack,
    stall: Nanos,
    sending: (Nanos, Nanos),
    /// The first failure since the last report, and the first of all.
    trouble: Option<String>,
    first_trouble: Option<String>,
    /// Violations whose details were told.
    findings_told: usize,
    reported: Nanos,
    name: String,
    text: String,
    key: String,
    mask: u32,
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
}

/// Runs a thread to its end; `stop` ends it early.
///
/// # Errors
/// The event loop fails, or the descriptor table cannot be had.
pub(crate) fn run(job: Job, event_loop: Loop, stop: &AtomicBool) -> Outcome<Measured> {
    if job.private_table {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).map_err(|why| {
            Failure::preflight(format!(
                "cannot give a thread its own descriptor table: {why}"
            ))
        })?;
    }
    let devices = job.checker.part.devices() as usize;
    let streams = job.checker.part.streams();
    let mut readers = streams;
    if job.receipts.is_some() {
        readers += job.checker.members().count();
    }
    let mut job = job;
    let mut phases = Phases::new(&job.steps);
    phases.equip(
        std::mem::take(&mut job.steps)
            .into_iter()
            .map(|step| step.work),
    );
    let mut client = Client {
        phases,
        poll: event_loop.poll,
        timer: event_loop.timer,
        making: making::Making::default(),
        streams: streams as u32,
        // The last is the one that makes groups.
        conns: (0..=devices).map(|_| None).collect(),
        sealing: job
            .tls
            .take()
            .map(|trust| tls::Sealing::new(trust, devices + 1)),
        latencies: Latencies::watched(job.board.told.tally(job.thread)),
        alive: 0,
        connecting: 0,
        begun: Default::default(),
        reconnects: reconnect::Reconnects::new(mix(job.seed ^ RECONNECTS)),
        held: held::Held::default(),
        storms: storm::Storms::default(),
        departing: Vec::new(),
        dirty: Vec::new(),
        unread: Vec::new(),
        fresh: Vec::new(),
        is_fresh: vec![false; readers],
        to_read: Default::default(),
        read_back: Default::default(),
        stall: 0,
        sending: (Nanos::MAX, 0),
        trouble: None,
        first_trouble: None,
        findings_told: 0,
        reported: 0,
        name: String::new(),
        text: String::new(),
        key: String::new(),
        mask: job.seed as u32 | 1,
        job,
    };
    client.work(stop)?;
    client.tell(client.job.clock.now());
    Ok(Measured {
        checker: client.job.checker,
        latencies: client.latencies,
        stall: client.stall,
        storms: client.storms.0,
        // A run that was stopped did not send to the schedule's end.
        sending: (
            client.sending.0,
            client.sending.1.min(client.job.clock.now()),
        ),
        trouble: client.first_trouble,
        making: client.making.took,
    })
}

impl Client {
    fn work(&mut self, stop: &AtomicBool) -> Outcome<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        loop {
            let now = self.job.clock.now();
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.make_groups(now);
            if self.making.failed.is_some() {
                // Everybody else would wait for these groups.
                stop.store(true, Ordering::Relaxed);
                return Ok(());
            }
            self.give_up(now);
            self.come_back(now);
            self.act(now);
            let progress = self.advance(now);
            if progress == Progress::Done {
                return Ok(());
            }
            self.acknowledge(now);
            self.flush_all(now);
            let written = self.departed();
            if now.saturating_sub(self.reported) >= REPORT {
                self.reported = now;
                self.tell(now);
            }
            let wake = self.next_wake(now);
            // Everything since the last poll kept this thread away from its sockets.
            let timeout = if self.unread.is_empty() {
                self.timer.arm(written, wake)
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut events, timeout) {
                // A process that was stopped and continued comes here (signal(7)): its time away
                // counts like any other.
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => events.clear(),
                polled => polled.map_err(|why| Failure::aborted(format!("epoll: {why}")))?,
            }
            let woken = self.job.clock.now();
            let late = woken.saturating_sub(wake.max(now));
            for device in std::mem::take(&mut self.unread) {
                self.readable(device, &mut buffer);
            }
            for event in &events {
                match event.token() {
                    TIMER => self.timer.fired(),
                    Token(device) => self.ready(device as u32, event, &mut buffer),
                }
            }
            let turn = self.job.clock.now() - woken;
            if self.sending.0 != Nanos::MAX && !self.phases.is_closing() {
                self.stall = self.stall.max(turn).max(late);
            }
        }
    }

    /// Carries out what is due.
    fn act(&mut self, now: Nanos) {
        let left = self.phases.give_up(now, self.job.drain);
        if left > 0 {
            let count = self.count();
            count.scheduled += left;
            count.skipped += left;
            count.given_up += left;
        }
        for _ in 0..ACTIONS {
            let full = self.connecting >= self.job.connecting_max;
            match self.phases.take(now, &self.job.board, full) {
                None => return,
                Some((at, Action::Connect { device })) => {
                    self.latencies.record(Metric::ConnectLag, at, now);
                    self.connect(now, device);
                }
                Some((at, Action::Send(arrival))) => {
                    if self.sending.0 == Nanos::MAX {
                        self.job.board.sending_began(at);
                    }
                    self.sending = self.phases.sending();
                    self.send(at, arrival);
                }
                Some((at, Action::Cut(cut))) => {
                    self.cut(at, now, cut);
                }
            }
        }
    }

    /// The turn's sends are written, the last of them now: that is how late each was, and whatever
    /// kept the turn busy before it is in it. Returns the present, from which timers count.
    fn departed(&mut self) -> Nanos {
        let now = self.job.clock.now();
        for intended in self.departing.drain(..) {
            self.latencies.record(Metric::SendLag, intended, now);
        }
        now
    }

    /// Gives up connections that take too long: a silent gateway must not hold a run for ever.
    fn give_up(&mut self, now: Nanos) {
        while let Some(&(begun, device)) = self.begun.front() {
            let waits = self.conns[device as usize]
                .as_ref()
                .and_then(|conn| conn.opening.as_ref())
                .is_some_and(|opening| opening.begun == begun);
            if waits && now < begun + self.job.connect_timeout {
                return;
            }
            self.begun.pop_front();
            if waits {
                self.count().timed_out += 1;
                self.failed(now, device, "the gateway did not open the session in time");
            }
        }
    }

    fn next_wake(&self, now: Nanos) -> Nanos {
        let full = self.connecting >= self.job.connecting_max;
        let due = self.phases.due(&self.job.board, full);
        let read = self.to_read.front().map(|(at, ..)| *at);
        let report = self.reported + REPORT;
        let back = self.reconnects.due().filter(|_| !full);
        due.into_iter()
            .chain(read)
            .chain(back)
            .chain([report])
            .min()
            .unwrap_or(report)
            .max(now)
    }

    fn counters(&self) -> Counters {
        self.job.checker.counters
    }

    fn count(&mut self) -> &mut Counters {
        &mut self.job.checker.counters
    }

    /// The next masking key (RFC 6455 §5.3 asks for unpredictable ones, to protect proxies; a
    /// load generator needs distinct ones).
    fn next_mask(&mut self) -> Option<[u8; 4]> {
        self.mask = self
            .mask
            .wrapping_mul(747_796_405)
            .wrapping_add(2_891_336_453);
        Some(self.mask.to_be_bytes())
    }
}
