//! Who leads.
//!
//! Each node sends heartbeats, and hears those of all, its own too. The lease of a node says when the node tries to
//! lead and when it stops. It never decides who leads: **an epoch record in the log does**, so two nodes that both
//! believe that they lead change nothing that the log has, and a wrong decision here costs time alone. Answers that are in
//! no group are the exception: see [`Lease::may_answer`]. What the lease promises:
//!
//! - A node leads from the moment when it takes its own epoch record ([`Lease::begins`]) until it takes another one,
//!   or until its lease stops it. A node that was stopped leads again only in a new epoch.
//! - A leader stops when no heartbeat of its own that it sent in the last [`Timing::silence`] has come back: it is
//!   cut off, and the others begin without it after [`Timing::life`], which is longer.
//! - A leader takes over from itself when a record that it published was refused, when nothing more of its group was
//!   acknowledged for [`Timing::silence`], or when its acknowledged group was not seen in the stream within
//!   [`Timing::sight`]. What became of the record is open, and a new epoch decides it.
//! - A follower takes over when the leader is silent for [`Timing::life`] and a random time. It tries again, after
//!   random times, until an epoch record comes or the leader is heard again.
//!
//! # Use
//! Tell the lease what happens, with the time, which never goes back. Then call [`Lease::poll`] until it returns nothing,
//! and again at [`Lease::wake`]. Ask [`Lease::leads`] before each decision. Once that is `false` it stays so until
//! [`Lease::begins`].

mod timing;

use std::collections::VecDeque;
use std::time::Duration;

pub use timing::Timing;

use crate::envelope::{Beat, Standing};
use crate::node::Incarnation;

/// What a node does for its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send this heartbeat to all nodes. The index of the last group is still 0 in it.
    Beat(Beat),
    /// Compare the record at the mark with the stream ([`Chain::prove`](crate::chain::Chain::prove)), so that no node
    /// leads whose history is another one. Then, and whenever
    /// [`Chain::is_proved`](crate::chain::Chain::is_proved) after looking at the stream, call [`Lease::proved`].
    Prove,
    /// Publish an epoch record of this epoch, with [`Chain::link`](crate::chain::Chain::link). If it is refused, look at
    /// more of the stream and call [`Lease::epoch_refused`].
    TakeOver {
        /// The epoch that the record begins.
        epoch: u64,
    },
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The node takes over at this time, unless the leader is heard before.
    Follows { until: Duration },
    /// The node tries to take over, and tries again at this time.
    Seeks { again: Duration, proof: Proof },
    /// The node leads.
    Leads,
}

/// What a node that tries to take over knows of its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The next attempt has to ask for it.
    Open,
    /// The record at the mark is being compared.
    Awaited,
    /// The record at the mark was compared: an epoch record may be published.
    Given,
}

/// A group of the leader whose place in the stream is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Published {
    /// When its last record was published.
    at: Duration,
    /// When it was last heard that a part of it has come into the stream, or `at`.
    progressed: Duration,
    is_acknowledged: bool,
}

/// The own heartbeats whose return is awaited, at most.
const AWAITED: usize = 16;

/// The heartbeats of which the fastest one says how long a round trip takes: one that was late by chance says nothing.
const TRIPS: usize = 8;

/// The own heartbeats whose times are remembered, at most.
const REMEMBERED: usize = 128;

// A batch can name each heartbeat that was sent while its commands wait.
const _: () = assert!(
    Timing::USUAL.beat.as_millis() * REMEMBERED as u128 > crate::forward::PATIENCE.as_millis()
);

/// The lease of one node.
#[derive(Debug, Clone)]
pub struct Lease {
    me: Incarnation,
    timing: Timing,
    /// The state of the generator of random times.
    random: u64,
    state: State,
    /// The epoch of the log, as far as the node has looked at it.
    epoch: u64,
    /// The author of that epoch.
    leader: Option<Incarnation>,
    next_beat: Duration,
    /// The number of the last heartbeat sent.
    beat: u64,
    /// The numbers and times of the last heartbeats sent, oldest first: at most [`AWAITED`].
    sent: VecDeque<(u64, Duration)>,
    /// The numbers and times of the last heartbeats sent, those that came back too, oldest first: at most [`REMEMBERED`].
    beats: VecDeque<(u64, Duration)>,
    /// When the latest of the own heartbeats that came back was sent.
    returned: Duration,
    /// The times that the last own heartbeats took to come back, oldest first: at most [`TRIPS`].
    trips: VecDeque<Duration>,
    published: Option<Published>,
    /// When the last record was published that showed, by its place in the stream, that this node still led.
    confirmed: Option<Duration>,
    /// When the current epoch began here.
    began: Duration,
    /// Until when the node does not try to lead.
    abstains: Duration,
    /// The time of the last call of [`Lease::poll`].
    polled: Duration,
}

impl Lease {
    /// Returns the lease of a node that begins to follow the stream. `mark` is the epoch that the node remembers, with the
    /// node that led in it: (0, `None`) at a node without a mark. That leader has [`Timing::life`] to be heard before this
    /// node tries to take over. `seed` decides the random times: give each node another one.
    #[must_use]
    pub fn new(
        me: Incarnation,
        mark: (u64, Option<Incarnation>),
        timing: Timing,
        seed: u64,
        now: Duration,
    ) -> Self {
        let mut lease = Self {
            me,
            timing,
            random: seed,
            state: State::Leads,
            epoch: mark.0,
            leader: mark.1,
            next_beat: now,
            beat: 0,
            sent: VecDeque::with_capacity(AWAITED),
            beats: VecDeque::with_capacity(REMEMBERED),
            returned: now,
            trips: VecDeque::with_capacity(TRIPS),
            published: None,
            confirmed: None,
            began: now,
            abstains: now,
            polled: now,
        };
        lease.follow(now);
        lease
    }

    /// Returns whether the node may decide commands now. Once it may not, it may not until a later epoch.
    #[must_use]
    pub fn leads(&self, now: Duration) -> bool {
        self.state == State::Leads && !self.is_cut_off(now) && !self.is_silent(now)
    }

    /// Returns whether the node may answer commands outside of groups now ([`Taking::answer`]). A leader whose servers are
    /// cut off from the others hears itself, and does not know that another one leads. So it answers only for
    /// [`Timing::silence`] after it published a group that was then [`seen`](Self::seen). After that, let a group have the
    /// answers, if need be one that stores nothing.
    ///
    /// [`Taking::answer`]: crate::forward::Taking::answer
    #[must_use]
    pub fn may_answer(&self, now: Duration) -> bool {
        let is_recent = |at: Duration| now.saturating_sub(at) < self.timing.silence;
        self.leads(now) && self.confirmed.is_some_and(is_recent)
    }

    /// Returns the time since this node sent a heartbeat; `None` if it did not, or long ago. What another node says after it has
    /// heard that heartbeat is not older. So no two clocks are compared.
    #[must_use]
    pub fn age_of_beat(&self, number: u64, now: Duration) -> Option<Duration> {
        let at = self.beats.binary_search_by_key(&number, |(beat, _)| *beat);
        let (_, sent) = self.beats.get(at.ok()?)?;
        Some(now.saturating_sub(*sent))
    }

    /// Returns the time that a heartbeat needs to the servers and back: the shortest of late; `None` before there are
    /// enough.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let shortest = self.trips.iter().min().copied();
        shortest.filter(|_| self.trips.len() == TRIPS)
    }

    /// Returns the number of the last heartbeat of this node; 0 before the first.
    #[must_use]
    pub const fn last_beat(&self) -> u64 {
        self.beat
    }

    /// Returns the current epoch, and its author: the leader to follow.
    #[must_use]
    pub const fn epoch(&self) -> (u64, Option<Incarnation>) {
        (self.epoch, self.leader)
    }

    /// Notes that the node has taken an epoch record.
    pub fn begins(&mut self, epoch: u64, author: Incarnation, now: Duration) {
        self.epoch = epoch;
        self.leader = Some(author);
        self.published = None;
        self.confirmed = None;
        self.began = now;
        if author == self.me && !self.abstains(now) {
            self.state = State::Leads;
            self.returned = now;
            self.next_beat = now;
        } else {
            self.follow(now);
        }
    }

    /// Notes a heartbeat that came, the own ones too. `epoch` is that of its sender.
    pub fn heard(&mut self, from: Incarnation, epoch: u64, beat: &Beat, now: Duration) {
        self.settle(now);
        if from == self.me {
            while let Some(&(number, at)) = self.sent.front() {
                if number > beat.number {
                    break;
                }
                self.sent.pop_front();
                self.returned = self.returned.max(at);
                if number == beat.number {
                    if self.trips.len() == TRIPS {
                        self.trips.pop_front();
                    }
                    self.trips.push_back(now.saturating_sub(at));
                }
            }
            return;
        }
        if self.state == State::Leads {
            return;
        }
        // A later epoch: this node has not looked at its record yet, and somebody leads.
        let is_later = epoch > self.epoch;
        let is_leader = epoch == self.epoch && self.leader == Some(from);
        match beat.standing {
            Standing::Leads if is_later || is_leader => self.follow(now),
            Standing::Leaves if is_leader => {
                let soon = now + self.random_up_to(self.timing.hurry);
                if let State::Follows { until } = &mut self.state {
                    *until = soon.min(*until);
                }
            }
            // A leader in doubt does not lead: if it cannot take over from itself, others do.
            Standing::Follows | Standing::Leads | Standing::Leaves => {}
        }
    }

    /// Notes that the leader published a group, or the next part of one.
    pub fn published(&mut self, now: Duration) {
        self.settle(now);
        self.published = Some(Published {
            at: now,
            progressed: now,
            is_acknowledged: false,
        });
    }

    /// Notes that a part of the published group has come into the stream: the servers acknowledged it, or the node has
    /// looked at it. A long group takes longer than [`Timing::silence`], and does not stop the leader while this goes on.
    pub fn progressed(&mut self, now: Duration) {
        self.settle(now);
        if let Some(published) = &mut self.published {
            published.progressed = now;
        }
    }

    /// Notes that the servers acknowledged all parts of the published group. That it counts is only known once it is
    /// [`seen`](Self::seen).
    pub fn acknowledged(&mut self, now: Duration) {
        self.progressed(now);
        if let Some(published) = &mut self.published {
            published.is_acknowledged = true;
        }
    }

    /// Notes that the node has taken the published group from the stream, where it counts.
    pub fn seen(&mut self, now: Duration) {
        self.settle(now);
        if let Some(published) = self.published.take() {
            self.confirmed = Some(published.at);
        }
    }

    /// Notes that the servers refused a group of this node, or a part of one, or that it was skipped.
    pub fn group_refused(&mut self, now: Duration) {
        if self.state == State::Leads {
            self.doubt(now);
        }
    }

    /// Notes that the servers refused this node's record of an epoch, or that it was skipped. Does nothing if that epoch or
    /// a later one has begun: of two attempts, the second may be refused because of the first.
    pub fn epoch_refused(&mut self, epoch: u64, now: Duration) {
        if let State::Seeks {
            again,
            proof: Proof::Open,
        } = self.state
            && epoch > self.epoch
        {
            let soon = now + self.timing.pause + self.random_up_to(self.timing.pause);
            self.state = State::Seeks {
                again: soon.min(again),
                proof: Proof::Open,
            };
        }
    }

    /// Notes that the record at the mark was compared, and is the one in the stream. Does nothing if that is not awaited.
    pub fn proved(&mut self, now: Duration) {
        self.settle(now);
        if let State::Seeks { proof, .. } = &mut self.state
            && *proof == Proof::Awaited
        {
            *proof = Proof::Given;
        }
    }

    /// Ends a lead that needs a new epoch to go on, such as one with too many incarnations of nodes
    /// ([`Taking`](crate::forward::Taking)). Does nothing at a node that does not lead, and in the first
    /// [`Timing::life`] of an epoch: a node that cannot be served at all must not take the lead's time from all others.
    pub fn renew(&mut self, now: Duration) {
        if self.state == State::Leads && now >= self.began + self.timing.life {
            self.doubt(now);
        }
    }

    /// Stops leading, and does not try to lead for [`Timing::abstention`]. Returns a heartbeat to send at once if the
    /// node led: the others take over when they hear it. Call it when nothing that was published is on its way.
    pub fn step_down(&mut self, now: Duration) -> Option<Act> {
        let led = self.state == State::Leads;
        self.abstains = now + self.timing.abstention;
        self.follow(now);
        led.then(|| self.make_beat(Standing::Leaves, now))
    }

    /// Returns what to do now; `None` if there is nothing until [`wake`](Self::wake).
    pub fn poll(&mut self, now: Duration) -> Option<Act> {
        let asleep = now.saturating_sub(self.polled);
        self.polled = now;
        if asleep > self.timing.silence && !matches!(self.state, State::Leads) {
            // This node did not run. What the leader sent meanwhile may wait to be heard.
            self.follow(now);
        }
        self.settle(now);
        if now >= self.next_beat {
            let standing = match self.state {
                State::Leads => Standing::Leads,
                State::Follows { .. } | State::Seeks { .. } => Standing::Follows,
            };
            return Some(self.make_beat(standing, now));
        }
        let (is_due, is_proved) = match self.state {
            State::Follows { until } => (now >= until, false),
            State::Seeks {
                proof: Proof::Given,
                ..
            } => (true, true),
            // A comparison goes on until the stream is there again.
            State::Seeks { again, proof } => (proof == Proof::Open && now >= again, false),
            State::Leads => (false, false),
        };
        if !is_due || self.abstains(now) {
            return None;
        }
        let proof = if is_proved {
            Proof::Open
        } else {
            Proof::Awaited
        };
        self.state = State::Seeks {
            again: now + self.timing.silence + self.random_up_to(self.timing.silence),
            proof,
        };
        if !is_proved {
            return Some(Act::Prove);
        }
        let epoch = self.epoch.checked_add(1)?;
        Some(Act::TakeOver { epoch })
    }

    /// Returns the heartbeat of a node that has stopped for good, if one is due. Others learn from it which groups the node
    /// has, and that it does not lead. Call it in place of [`poll`](Self::poll), and again at
    /// [`next_beat`](Self::next_beat).
    pub fn poll_stopped(&mut self, now: Duration) -> Option<Act> {
        (now >= self.next_beat).then(|| self.make_beat(Standing::Leaves, now))
    }

    /// Returns when the next heartbeat is due.
    #[must_use]
    pub const fn next_beat(&self) -> Duration {
        self.next_beat
    }

    /// Returns the time at which [`poll`](Self::poll) has to be called next at the latest.
    #[must_use]
    pub fn wake(&self) -> Duration {
        let next = match self.state {
            State::Follows { until: at } => at.max(self.abstains),
            State::Seeks { again, proof } => match proof {
                Proof::Open => again.max(self.abstains),
                Proof::Awaited => self.next_beat,
                Proof::Given => self.abstains,
            },
            State::Leads => {
                let cut_off = self.returned + self.timing.silence;
                match self.published {
                    Some(published) => cut_off.min(self.silent_at(published)),
                    None => cut_off,
                }
            }
        };
        next.min(self.next_beat)
    }

    fn make_beat(&mut self, standing: Standing, now: Duration) -> Act {
        self.beat += 1;
        if self.sent.len() == AWAITED {
            self.sent.pop_front();
        }
        self.sent.push_back((self.beat, now));
        if self.beats.len() == REMEMBERED {
            self.beats.pop_front();
        }
        self.beats.push_back((self.beat, now));
        self.next_beat = now + self.timing.beat;
        Act::Beat(Beat {
            number: self.beat,
            index: 0,
            standing,
        })
    }

    /// Stops leading if the time for it has come.
    fn settle(&mut self, now: Duration) {
        if self.state != State::Leads {
            return;
        }
        if self.is_cut_off(now) {
            // Others that are not cut off come first.
            self.follow(now);
        } else if self.is_silent(now) {
            self.doubt(now);
        }
    }

    /// Follows the leader of the current epoch or of a later one from now on.
    fn follow(&mut self, now: Duration) {
        self.published = None;
        self.state = State::Follows {
            until: now + self.timing.life + self.random_up_to(self.timing.spread),
        };
    }

    /// Stops leading, and takes over at the next poll.
    fn doubt(&mut self, now: Duration) {
        self.published = None;
        self.state = State::Seeks {
            again: now,
            proof: Proof::Open,
        };
    }

    fn abstains(&self, now: Duration) -> bool {
        now < self.abstains
    }

    fn is_cut_off(&self, now: Duration) -> bool {
        now.saturating_sub(self.returned) >= self.timing.silence
    }

    fn silent_at(&self, published: Published) -> Duration {
        let wait = if published.is_acknowledged {
            self.timing.sight
        } else {
            self.timing.silence
        };
        published.progressed + wait
    }

    fn is_silent(&self, now: Duration) -> bool {
        self.published
            .is_some_and(|published| now >= self.silent_at(published))
    }

    /// Returns a random time from 0 to `most`.
    fn random_up_to(&mut self, most: Duration) -> Duration {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(z % (most + 1))
    }
}
