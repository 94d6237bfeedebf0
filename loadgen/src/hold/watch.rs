//! Reads the figures of a hold from outside, each at its time.

use std::time::{Duration, Instant};

use super::plan::Times;
use super::probe::{self, Sample};
use crate::client::Board;
use crate::clock::{Nanos, to_nanos};
use crate::output::say;
use crate::run::conduct::{GatewayAccess, Watch};
use crate::settings::RunSettings;

/// The number of the connecting executor. Executors are in the order of their names.
const CONNECT: usize = 0;
const DAY: usize = 1;

/// The time in which the gateway must notice that all sessions have ended.
const GONE: Duration = Duration::from_secs(30);

/// The samples at each time.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The gateway is ready, and nothing is connected.
    pub(super) before: Option<Sample>,
    /// The time from the run's start to the opening of the last session.
    pub(super) opening: Option<Nanos>,
    /// The beginning and the end of the time with all sessions open and idle.
    pub(super) idle: Option<(Sample, Sample)>,
    /// The sessions that the gateway counts then.
    pub(super) sessions: Option<u64>,
    /// The pings that came while sessions were idle.
    pub(super) pings: u64,
    /// The pings that had come when messages began.
    pings_before: u64,
    /// The pings that came while messages flowed.
    pub(super) busy_pings: u64,
    /// The end of the time with messages flowing.
    pub(super) busy: Option<Sample>,
    /// The sample after all sessions have ended, and the gateway has confirmed it.
    pub(super) after: Option<Sample>,
    /// The time from the last message to the end of the last session.
    pub(super) closing: Option<Duration>,
}

/// Reads the figures of a hold.
#[derive(Debug)]
pub(super) struct Watcher {
    times: Times,
    connections: u64,
    quiet: bool,
    ends: GatewayAccess,
    settled: Option<Sample>,
    pub(super) seen: Seen,
}

impl Watcher {
    /// Makes a watcher of a hold with this many sessions. `quiet`: nothing is printed on standard
    /// output.
    pub(super) fn new(times: Times, connections: u64, quiet: bool) -> Self {
        Self {
            times,
            connections,
            quiet,
            ends: GatewayAccess::default(),
            settled: None,
            seen: Seen::default(),
        }
    }
}

impl Watch for Watcher {
    fn say(&mut self, lines: &[String]) {
        if !self.quiet {
            say(lines);
        }
    }

    fn title(&self, _run: &RunSettings) -> String {
        "hold".into()
    }

    fn begin(&mut self, ends: GatewayAccess) {
        self.ends = ends;
        self.seen.before = Some(Sample::look(ends));
    }

    fn look(&mut self, now: Nanos, board: &Board) {
        let Some(opened) = board.ended(CONNECT) else {
            return;
        };
        self.seen.opening = Some(opened);
        let settled = opened + to_nanos(self.times.settle);
        if self.settled.is_none() && now >= settled {
            self.seen.sessions = probe::sessions(self.ends);
            self.seen.pings = board.total().pings;
            self.settled = Some(Sample::look(self.ends));
        }
        if let Some(first) = self.settled
            && self.seen.idle.is_none()
            && now >= settled + to_nanos(self.times.idle)
        {
            self.seen.idle = Some((first, Sample::look(self.ends)));
            self.seen.pings_before = board.total().pings;
            self.seen.pings = self.seen.pings_before - self.seen.pings;
        }
        if self.seen.busy.is_none() && board.ended(DAY).is_some() {
            self.seen.busy = Some(Sample::look(self.ends));
            self.seen.busy_pings = board.total().pings - self.seen.pings_before;
        }
    }

    fn end(&mut self, aborted: bool) {
        let Some(busy) = self.seen.busy.filter(|_| !aborted) else {
            return;
        };
        self.seen.closing = Some(busy.at.elapsed());
        let began = Instant::now();
        let left = |sessions: u64| {
            sessions
                > self
                    .seen
                    .sessions
                    .unwrap_or(0)
                    .saturating_sub(self.connections)
        };
        while probe::sessions(self.ends).is_some_and(left) && began.elapsed() < GONE {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.seen.after = Some(Sample::look(self.ends));
    }
}
