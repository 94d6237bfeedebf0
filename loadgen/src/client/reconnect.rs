//! Sessions that ended and are opened again, from where they were.
//!
//! Whoever is away has a place in one map, and a time in one heap when the next attempt is due. The
//! gateway's own delay is obeyed where it named one; otherwise attempts back off, exponentially and
//! with full jitter, so that those who were cut off together do not come back in step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use compact_str::CompactString;
use fnv::FnvHashMap;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use trunkline_proto::CloseCode;
use trunkline_proto::frame::write_close;
use trunkline_proto::message::Disconnect;

use super::Client;
use super::conn::{Conn, State};
use crate::clock::{Nanos, SECOND};
use crate::schedule::Cut;
use crate::stats::Metric;

/// The longest wait before the second attempt; each one more doubles it,
const BASE: Nanos = SECOND / 10;
/// up to this,
const LONGEST: Nanos = 5 * SECOND;
/// or, where the gateway named a range of delays, up to the end of that, or this if it is longer.
const LONGEST_TOLD: Nanos = SECOND;

/// No delay was named.
const BACK_OFF: [u64; 2] = [u64::MAX, 0];

/// Attempts begun per turn, so that reading never starves.
const ATTEMPTS: usize = 256;

/// Devices that are looked at for one that can be cut, from the one chosen on.
const NEAR: u32 = 32;

/// Why a session is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// This side cut it.
    Cut,
    /// It broke with the gateway that the run broke.
    Chaos,
    /// The gateway asked to come again.
    Told,
}

/// A session that is away.
#[derive(Debug)]
pub(super) struct Away {
    /// The position of the last push; empty: there is none to go on from.
    since: CompactString,
    left: Nanos,
    cause: Cause,
    /// Attempts that failed.
    failed: u32,
    /// The longest wait before another.
    longest: Nanos,
    /// It has never been open.
    first: bool,
    /// The storm that cut it, by its place.
    storm: Option<u8>,
}

/// The sessions of a thread that are away.
#[derive(Debug)]
pub(super) struct Reconnects {
    away: FnvHashMap<u32, Away>,
    due: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Delays that the gateway named to sessions whose sockets have not ended yet, in milliseconds.
    told: FnvHashMap<u32, [u64; 2]>,
    rng: Xoshiro256PlusPlus,
}

/// How a session that ended is opened again.
#[derive(Debug)]
pub(super) struct Return {
    /// It was open before.
    pub(super) again: bool,
    /// It asked for what it missed.
    pub(super) asked: bool,
    pub(super) storm: Option<u8>,
}

impl Reconnects {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            away: FnvHashMap::default(),
            due: BinaryHeap::new(),
            told: FnvHashMap::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// Whether nobody is away.
    pub(super) fn is_empty(&self) -> bool {
        self.away.is_empty()
    }

    pub(super) fn is_away(&self, device: u32) -> bool {
        self.away.contains_key(&device)
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// From where a device wants to go on.
    pub(super) fn since(&self, device: u32) -> Option<CompactString> {
        let away = self.away.get(&device)?;
        Some(away.since.clone()).filter(|since| !since.is_empty())
    }

    /// A device's position is not taken: it begins anew. Whether it had asked with one.
    pub(super) fn forget_position(&mut self, device: u32) -> bool {
        let away = self.away.get_mut(&device);
        away.is_some_and(|away| !std::mem::take(&mut away.since).is_empty())
    }

    /// The gateway said something of coming back.
    pub(super) fn heard(&mut self, device: u32, said: &Disconnect<'_>) {
        if said.reconnect {
            self.told.insert(device, said.delay_ms);
        }
    }

    /// The gateway closed with a code that asks to come again; a delay it named before that stands.
    pub(super) fn heard_close(&mut self, device: u32) {
        self.told.entry(device).or_insert(BACK_OFF);
    }

    /// The gateway named a delay of so many seconds.
    pub(super) fn heard_seconds(&mut self, device: u32, seconds: u64) {
        let from = seconds.saturating_mul(1_000);
        self.told.insert(device, [from, from.saturating_add(1_000)]);
    }

    /// The longest wait between attempts, by the range of delays that the gateway named last.
    fn longest(&self, device: u32) -> Option<Nanos> {
        let told = self.told.get(&device).filter(|told| **told != BACK_OFF)?;
        Some(told[1].saturating_mul(1_000_000).max(LONGEST_TOLD))
    }

    /// How long to wait: as the gateway said, or so long as attempt `number` does.
    fn delay(&mut self, device: u32, number: u32, longest: Nanos) -> Nanos {
        let (from, to) = match self.told.remove(&device) {
            Some([from, to]) if [from, to] != BACK_OFF => {
                (from.saturating_mul(1_000_000), to.saturating_mul(1_000_000))
            }
            _ => (0, BASE.saturating_mul(1 << number.min(16)).min(longest)),
        };
        self.rng.random_range(from..=to.max(from))
    }
}

impl Client {
    /// GatewayAccess a session to open it again: in order, or as a device does that loses its network.
    /// Where the one chosen is not open another nearby is taken. Whether there was one.
    pub(super) fn cut(&mut self, at: Nanos, now: Nanos, cut: Cut) -> bool {
        let devices = self.conns.len() as u32;
        let near = if cut.storm.is_some() {
            1
        } else {
            NEAR.min(devices)
        };
        let open = (0..near).map(|step| (cut.device + step) % devices);
        let Some(device) = open.into_iter().find(|&device| self.is_open(device)) else {
            return false;
        };
        let storm = cut
            .storm
            .map(|storm| self.storms.cut(at, storm, self.counters()));
        self.count().cuts += 1;
        self.count().sessions -= 1;
        self.goes_away(now, device, Cause::Cut, storm);
        self.reconnects.due.push(Reverse((now + cut.away, device)));
        if cut.abrupt {
            if let Some(conn) = &self.conns[device as usize] {
                // The peer gets a reset at once, and no port stays behind (socket(7), SO_LINGER).
                let socket = socket2::SockRef::from(&conn.stream);
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            self.leave(device);
            return true;
        }
        let mask = self.next_mask();
        if let Some(conn) = &mut self.conns[device as usize] {
            write_close(&mut conn.out, CloseCode::NORMAL, "", mask);
            conn.state = State::Leaving;
            self.mark_dirty(device);
        }
        true
    }

    /// Notes that a session is away.
    fn goes_away(&mut self, now: Nanos, device: u32, cause: Cause, storm: Option<u8>) {
        let away = Away {
            since: CompactString::default(),
            left: now,
            cause,
            failed: 0,
            longest: LONGEST,
            first: false,
            storm,
        };
        self.reconnects.away.insert(device, away);
        if cause == Cause::Chaos {
            self.job.board.one_away();
        }
    }

    /// The socket of a session that this side ended is done with: what has come until now is what
    /// it goes on from.
    fn leave(&mut self, device: u32) {
        if let Some(conn) = self.take_conn(device) {
            self.ended(device, &conn);
        }
    }

    /// A session that is away has heard its last.
    pub(super) fn ended(&mut self, device: u32, conn: &Conn) {
        let mut excused = false;
        self.reconnects.told.remove(&device);
        if let Some(away) = self.reconnects.away.get_mut(&device) {
            excused = away.cause != Cause::Told;
            // What a gap left out has not all been fetched: there is no position to go on from.
            if conn.catching_up.is_none() {
                away.since = conn.pos.clone();
            }
        }
        self.job.checker.away(device, excused);
    }

    /// An open session ended, and not by this side: whether it will come back.
    pub(super) fn broke(&mut self, now: Nanos, device: u32, conn: &Conn) -> bool {
        let excused = self.job.board.is_chaos(now);
        self.count().disconnects_excused += u64::from(excused);
        let told = self.reconnects.told.contains_key(&device);
        if (!told && !self.job.chaos) || self.phases.is_judging() {
            return false;
        }
        let longest = self.reconnects.longest(device).unwrap_or(LONGEST);
        let delay = self.reconnects.delay(device, 0, longest);
        let cause = if excused { Cause::Chaos } else { Cause::Told };
        self.goes_away(now, device, cause, None);
        if let Some(away) = self.reconnects.away.get_mut(&device) {
            away.longest = longest;
        }
        self.reconnects.due.push(Reverse((now + delay, device)));
        self.ended(device, conn);
        true
    }

    /// An attempt failed: whether there will be another. Also of a first one, while the gateway is
    /// being broken.
    pub(super) fn try_again(&mut self, now: Nanos, device: u32) -> bool {
        if self.phases.is_judging() {
            return false;
        }
        if !self.reconnects.is_away(device) {
            if !self.job.board.is_chaos(now) {
                self.reconnects.told.remove(&device);
                return false;
            }
            self.goes_away(now, device, Cause::Chaos, None);
            if let Some(away) = self.reconnects.away.get_mut(&device) {
                away.first = true;
            }
        }
        let told = self.reconnects.longest(device);
        let Some(away) = self.reconnects.away.get_mut(&device) else {
            return false;
        };
        away.failed += 1;
        away.longest = told.unwrap_or(away.longest);
        let longest = away.longest;
        let (number, until) = (away.failed, away.left + self.job.reconnect_timeout);
        if now >= until {
            self.give_up_on(device);
            return true;
        }
        let delay = self.reconnects.delay(device, number, longest);
        let at = (now + delay).min(until);
        self.reconnects.due.push(Reverse((at, device)));
        true
    }

    /// A session does not come back.
    fn give_up_on(&mut self, device: u32) {
        let Some(away) = self.reconnects.away.remove(&device) else {
            return;
        };
        if away.cause == Cause::Chaos {
            self.job.board.one_settled(self.job.clock.now());
        }
        self.count().skipped += self.held.forget(device);
        if let Some(storm) = away.storm {
            self.storms.gone(storm);
        }
        if away.first {
            self.count().connect_failures += 1;
            return;
        }
        self.count().gone += 1;
        self.count().not_back += u64::from(away.cause != Cause::Told);
        self.job.checker.gone(device);
    }

    /// Begins the attempts that are due.
    pub(super) fn come_back(&mut self, now: Nanos) {
        for _ in 0..ATTEMPTS {
            if self.connecting >= self.job.connecting_max {
                return;
            }
            match self.reconnects.due.peek() {
                Some(&Reverse((at, device))) if at <= now => {
                    self.reconnects.due.pop();
                    // A gateway that does not answer a Close is not waited for.
                    self.leave(device);
                    self.connect(now, device);
                }
                _ => return,
            }
        }
    }

    /// A device's session is open: how it returned, if it was away.
    pub(super) fn returned(&mut self, now: Nanos, device: u32) -> Option<Return> {
        let away = self.reconnects.away.remove(&device)?;
        if self.reconnects.away.is_empty() {
            // A storm's worth of places is not kept.
            self.reconnects.away.shrink_to(1 << 10);
            self.reconnects.due.shrink_to(1 << 10);
        }
        if away.cause == Cause::Chaos {
            self.job.board.one_settled(now);
        }
        Some(Return {
            again: !away.first,
            asked: !away.since.is_empty(),
            storm: away.storm,
        })
    }

    /// A session is there again: says what it could not say meanwhile.
    pub(super) fn make_up(&mut self, now: Nanos, device: u32, came: &Return) {
        if let Some(storm) = came.storm {
            let took = self.storms.back(storm, now);
            self.latencies
                .record(Metric::StormRecovery, now - took, now);
        }
        while let Some(again) = self.job.checker.send_again(device) {
            self.write_send(device, again.id, again.origin, true);
        }
        self.send_again_in_groups(device);
        while let Some((intended, arrival)) = self.held.next(device) {
            self.latencies.record(Metric::Held, intended, now);
            self.hand_over(now, intended, arrival, device);
        }
        self.acknowledge_again(now, device);
    }

    /// The time for coming back is over.
    pub(super) fn nobody_comes_back(&mut self) {
        self.reconnects.due.clear();
        let mut away: Vec<u32> = self.reconnects.away.keys().copied().collect();
        away.sort_unstable();
        for device in away {
            if let Some(conn) = self.take_conn(device)
                && !matches!(conn.state, State::Leaving | State::Closing)
            {
                self.connecting -= 1;
            }
            self.give_up_on(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Nanos = 1_000_000;

    fn told(reconnect: bool, delay_ms: [u64; 2]) -> Disconnect<'static> {
        Disconnect {
            code: 3001,
            reason: "shutdown".into(),
            reconnect,
            delay_ms,
        }
    }

    /// The shortest and the longest of many delays.
    fn range(mut delay: impl FnMut() -> Nanos) -> (Nanos, Nanos) {
        let all: Vec<_> = (0..2_000).map(|_| delay()).collect();
        (
            all.iter().copied().min().unwrap(),
            all.iter().copied().max().unwrap(),
        )
    }

    #[test]
    fn the_gateways_delay_is_obeyed_once() {
        let mut reconnects = Reconnects::new(1);
        let (least, most) = range(|| {
            reconnects.heard(7, &told(true, [200, 300]));
            // The close code behind it says no more than that.
            reconnects.heard_close(7);
            reconnects.delay(7, 0, LONGEST)
        });
        assert!((200 * MILLI..210 * MILLI).contains(&least), "{least}");
        assert!((290 * MILLI..=300 * MILLI).contains(&most), "{most}");
        assert!(range(|| reconnects.delay(7, 0, LONGEST)).1 <= BASE);
        // Of another device nothing was said.
        reconnects.heard(7, &told(true, [9_000, 9_000]));
        assert!(reconnects.delay(8, 0, LONGEST) <= BASE);
        reconnects.heard_seconds(8, 3);
        let seconds = reconnects.delay(8, 0, LONGEST);
        assert!((3 * SECOND..=4 * SECOND).contains(&seconds), "{seconds}");
        // Whoever is told not to come again is not told when.
        reconnects.heard(9, &told(false, [0, 0]));
        assert!(!reconnects.told.contains_key(&9));
    }

    #[test]
    fn attempts_back_off_with_full_jitter_up_to_the_longest() {
        let mut reconnects = Reconnects::new(2);
        for (number, longest) in [(0, BASE), (1, 2 * BASE), (3, 8 * BASE), (40, LONGEST)] {
            let (least, most) = range(|| reconnects.delay(1, number, LONGEST));
            assert!(least < longest / 50, "{number}: {least}");
            assert!(
                (longest * 49 / 50..=longest).contains(&most),
                "{number}: {most}"
            );
        }
        reconnects.heard_close(1);
        assert_eq!(reconnects.longest(1), None, "no range was named");
        assert!(reconnects.delay(1, 0, LONGEST) <= BASE);
        // Up to the end of the range that the gateway named, or a second.
        for (range, longest) in [([0, 100], SECOND), ([0, 30_000], 30 * SECOND)] {
            reconnects.heard(1, &told(true, range));
            assert_eq!(reconnects.longest(1), Some(longest));
            reconnects.delay(1, 0, longest);
            assert!(reconnects.delay(1, 40, longest) <= longest);
        }
    }

    #[test]
    fn a_position_is_forgotten_once() {
        let mut reconnects = Reconnects::new(3);
        assert!(!reconnects.forget_position(1));
        let away = Away {
            since: "4096".into(),
            left: 0,
            cause: Cause::Cut,
            failed: 0,
            longest: LONGEST,
            first: false,
            storm: None,
        };
        reconnects.away.insert(1, away);
        assert_eq!(reconnects.since(1).as_deref(), Some("4096"));
        assert!(reconnects.forget_position(1));
        assert_eq!(reconnects.since(1), None);
        // A second refusal is an end, not another question.
        assert!(!reconnects.forget_position(1));
    }
}
