//! The thread of a node: what it does when something comes, and when it is time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use trunkline_core::exchange::{Commands, ToSequencer};
use trunkline_core::follower::Follower;
use trunkline_core::sequencer::HandedOver;
use trunkline_core::told;
use trunkline_storage::CommitError;

use super::begin::Joined;
use super::disk::Disk;
use super::endings::Endings;
use super::forwarding::{Intake, TURN, drop_foreign};
use super::hindrance::Hindrance;
use super::log::{Offer, SAVE, Verdict, now};
use super::network::Network;
use super::orders::Shared;
use super::others::{Others, THERE};
use super::roles::Role;
use super::sequencing::{FromSequencer, Sequencing};
use super::status::{Numbers, Status};
use super::units::Units;
use super::wake::Knock;
use crate::chain::{Chain, Mark};
use crate::envelope::{Beat, Epoch, Genesis, Message, Received, Sender, Standing};
use crate::forward::{Held, PATIENCE};
use crate::lease::{Act, Lease, Timing};
use crate::nats::{Lane, Lanes, Nats, Publisher, Tail, To};
use crate::node::Incarnation;

/// The time between two looks at what has no time of its own.
const TICK: Duration = Duration::from_secs(1);

/// The time between two looks at commands that had no room.
const SOON: Duration = Duration::from_millis(5);

/// The time without a leader after which a node that is asked to end gives its commands up.
const LAST: Duration = Duration::from_secs(1);

/// A group that the leader has published, and not taken from the stream yet.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) epoch: u64,
    pub(super) index: u64,
    /// When the node gives it up, if the stream does not say what became of it.
    pub(super) until: Duration,
    /// The parts that are not published yet, and the sequence after which the one before them has to be.
    pub(super) parts: VecDeque<Bytes>,
    pub(super) after: u64,
    /// Whether the next part is to be published as soon as there is room.
    pub(super) is_due: bool,
    /// The number of the part that is on its way.
    pub(super) ticket: u64,
    /// The numbers of the last answers that travel in the group, by the nodes that they are for.
    pub(super) rides: Vec<(Incarnation, u64)>,
}

/// A node of a cluster.
pub(super) struct Node {
    pub(super) me: Incarnation,
    began: Instant,
    pub(super) disk: Disk,
    pub(super) genesis: Genesis,
    knock: Arc<Knock>,
    pub(super) status: Arc<Status>,
    pub(super) publisher: Publisher,
    pub(super) tail: Tail,
    pub(super) lanes: Lanes,
    pub(super) orders: Arc<Shared>,
    pub(super) to: ToSequencer,
    pub(super) chain: Chain,
    pub(super) lease: Lease,
    pub(super) role: Role,
    pub(super) sequencing: Sequencing,
    /// A batch of the own sequencer that is not published yet.
    pub(super) offer: Option<Offer>,
    pub(super) flight: Option<Flight>,
    /// When the own commands are given up that waited before this node had its present role; `None` if they have all the
    /// time, or none is left. So no client waits for longer because the role changed.
    pub(super) inherited: Option<Duration>,
    /// The creation of the stream, which tells it from others of its name.
    created: String,
    /// How often messages may have been lost on the connection to the servers.
    breaks: u64,
    /// The epoch and the number of the own epoch record that is on its way.
    pub(super) epoch_ticket: Option<(u64, u64)>,
    /// The commands of other nodes; `None` at a node that does not lead.
    pub(super) intake: Option<Intake>,
    pub(super) units: Units,
    /// When commands went to the leader last.
    pub(super) forwarded: Duration,
    /// Answers of the leader that wait for their group.
    pub(super) held: Held,
    /// When a leader was heard last that said that it leads.
    pub(super) led: Option<Duration>,
    pub(super) others: Others,
    /// Whether the node began with an empty store, and has heard no leader of the log since.
    pub(super) is_new: bool,
    network: Network,
    /// Since when no leader is there, as this node knows; `None` while one is.
    unled: Option<Duration>,
    pub(super) numbers: Numbers,
    pub(super) is_stopped: bool,
    pub(super) hindrance: Hindrance,
    pub(super) endings: Endings,
    /// The epoch whose lead an operator has ended; 0 if none has.
    pub(super) ordered_down: u64,
    /// Whether the own sequencer was asked to end, so that another node leads.
    pub(super) is_leaving: bool,
    ticked: Duration,
    /// Since when there have been records that the node has not looked at; `None` if it has them all.
    behind_since: Option<Duration>,
    saved: (Duration, Option<Mark>),
}

impl Node {
    /// Makes a node from what it has found, and from the parts with which it would decide alone.
    pub(super) fn new(
        joined: Joined,
        (knock, status, orders): (Arc<Knock>, Arc<Status>, Arc<Shared>),
        sequencing: Sequencing,
        (parts, to, commands): (HandedOver, ToSequencer, Commands),
    ) -> (Nats, Self) {
        let Joined {
            nats,
            ends,
            genesis,
            mark,
            disk,
            me,
            stream,
            log: _,
        } = joined;
        if let Some(mark) = mark {
            status.stored(mark);
        }
        let mut chain = mark.map_or_else(Chain::new, Chain::resume);
        let began = chain
            .mark()
            .map_or((0, None), |mark| (mark.epoch, mark.author));
        let lease = Lease::new(me, began, Timing::USUAL, me.number, Duration::ZERO);
        let hindrance = Hindrance::new(parts.parts.store.clone());
        let endings = Endings::new(parts.parts.mailboxes.clone());
        let mut follower = Follower::new(parts, told::Incarnation(me.number));
        let (mut units, mut held) = (Units::new(), Held::default());
        if began.0 > 0 {
            units.begin(began.0, &mut follower, Duration::ZERO);
            let _ = held.begin(began.0, 0);
        }
        let mut tail = ends.tail;
        let ends_fit = chain.compare_ends(stream.first, stream.last, chain.furthest());
        tail.follow(chain.next(), Some(stream.created.clone()));
        let mut node = Self {
            me,
            began: now(),
            disk,
            genesis,
            knock,
            status,
            publisher: ends.publisher,
            tail,
            lanes: ends.lanes,
            orders,
            to,
            chain,
            lease,
            role: Role::Follows(Box::new(follower), commands),
            sequencing,
            offer: None,
            flight: None,
            inherited: None,
            created: stream.created,
            breaks: 0,
            epoch_ticket: None,
            intake: None,
            units,
            forwarded: Duration::ZERO,
            held,
            led: None,
            others: Others::new(me),
            is_new: mark.is_none(),
            network: Network::default(),
            unled: Some(Duration::ZERO),
            numbers: Numbers::default(),
            is_stopped: false,
            hindrance,
            endings,
            ordered_down: 0,
            is_leaving: false,
            ticked: Duration::ZERO,
            behind_since: None,
            saved: (Duration::ZERO, mark),
        };
        if let Err(stop) = ends_fit {
            node.stop(&stop.to_string());
        }
        (nats, node)
    }

    /// Works until the node ends.
    pub(super) fn run(mut self, nats: &Nats) -> Result<(), CommitError> {
        loop {
            self.wait();
            let now = self.now();
            self.look_at_connection(nats, now)?;
            self.look_at_stream(now)?;
            self.look_at_outcomes(now);
            self.look_at_lanes(now);
            self.look_at_orders(now);
            self.look_at_sequencer(now)?;
            if self.is_stopped {
                self.beat_stopped(now);
            } else {
                self.look_at_itself(now)?;
                self.act(now)?;
            }
            self.forward(now);
            self.endings.go_on();
            self.tell(now);
            self.save(now)?;
            if self.status.is_ending() {
                return self.end();
            }
        }
    }

    /// Comes back at once: there may be more to do.
    pub(super) fn rest(&self) {
        self.knock.ring();
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for something to do.
    fn wait(&mut self) {
        let now = self.now();
        let mut wake = self.ticked + TICK;
        wake = wake.min(match self.is_stopped {
            true => self.lease.next_beat(),
            false => self.lease.wake(),
        });
        let answers = self.intake.as_ref().and_then(Intake::wake);
        // Commands that come before the next turn go with it: none of them is a reason to wake.
        let turn = self.forwarded + TURN;
        let units = self.units.wake().map(|wake| wake.max(turn));
        for again in [units, answers, self.hindrance.wake()] {
            wake = wake.min(again.unwrap_or(wake));
        }
        let is_between = now < turn;
        if is_between {
            wake = wake.min(turn);
        }
        let mut within = wake.saturating_sub(now);
        let is_short = self.endings.is_under_way()
            || self.intake.as_ref().is_some_and(Intake::is_waiting)
            || self.units.len() > 0 && !self.units.has_room();
        if is_short {
            within = within.min(SOON);
        }
        match &mut self.role {
            Role::Follows(follower, commands) if self.units.has_room() && !is_between => {
                let knock = &self.knock;
                let came = knock.wait_at_queue(within, |within| commands.next(within));
                if let Ok(mut batch) = came {
                    drop_foreign(&mut batch);
                    let until = self.began.elapsed() + PATIENCE;
                    if let Some(spent) = self.units.add(batch, follower, until) {
                        commands.give_back(spent);
                    }
                }
            }
            Role::Follows(..) | Role::Leads | Role::Changes => {
                self.knock.wait(within);
            }
        }
    }

    /// Looks whether the connection to the servers is another one: the stream may have lost its end meanwhile.
    fn look_at_connection(&mut self, nats: &Nats, now: Duration) -> Result<(), CommitError> {
        if self.is_stopped {
            return Ok(());
        }
        if self.lanes.is_ended() {
            return self.halt("the thread that speaks NATS has ended: start the gateway again");
        }
        let condition = nats.condition();
        if condition.breaks != self.breaks {
            self.breaks = condition.breaks;
            self.prove();
        }
        let shortage = condition.shortage.or_else(|| self.old_log(now));
        self.hindrance.look(shortage, now);
        self.network.look(self.lease.round_trip(), now);
        Ok(())
    }

    /// Returns why a node that began with an empty store does not go on with the log: another node has more than the log. Such
    /// a node has stopped, or will, and this one could lead a log that has lost its end.
    fn old_log(&self, now: Duration) -> Option<String> {
        let condition = self.tail.condition();
        let has_end = condition.checked.is_some() && self.chain.next() > condition.end;
        let is_open = self.is_new && has_end && self.chain.is_proved();
        if !is_open || self.others.has_leader(now) {
            return None;
        }
        let index = self.chain.mark()?.index;
        let (node, has) = self.others.ahead(index, now)?;
        Some(format!(
            "the log ends at group {index}, and node {node} has taken groups up to {has}: the stream was restored from an old copy, or \
             lost its end. Restore it whole; or, to go on without the rest, stop the nodes that have more and remove their folders"
        ))
    }

    /// Stops this node if an older one has its name.
    fn look_at_itself(&mut self, now: Duration) -> Result<(), CommitError> {
        if !self.others.has_older_self(self.lease.last_beat(), now) {
            return Ok(());
        }
        let name = self.me.node;
        self.halt(&format!(
            "another gateway is the node {name} of this cluster: give each node a name of its own (--node), and start this one again"
        ))
    }

    /// Lets other nodes know what a node has that has stopped.
    fn beat_stopped(&mut self, now: Duration) {
        if let Some(beat) = self.lease.poll_stopped(now) {
            self.carry_out(beat);
        }
    }

    /// Compares the mark with the stream again.
    fn prove(&mut self) {
        self.chain.prove();
        self.read_again();
    }

    /// Reads the stream from the record on that the chain needs next.
    pub(super) fn read_again(&mut self) {
        let created = self.created.clone();
        let had = self.chain.furthest();
        self.tail
            .follow_again(self.chain.next(), had, Some(created));
    }

    /// Returns the index of the last group that the node has taken.
    pub(super) fn applied(&self) -> u64 {
        let last = self.chain.mark().map_or(0, |mark| mark.index);
        last - u64::from(self.hindrance.holds())
    }

    pub(super) fn carry_out(&mut self, act: Act) {
        match act {
            Act::Beat(beat) => {
                let index = self.applied();
                let standing = match beat.standing {
                    // It is no node that others should let lead.
                    Standing::Follows if self.status.is_leaving() => Standing::Leaves,
                    standing => standing,
                };
                let beat = Beat {
                    index,
                    standing,
                    ..beat
                };
                self.say(Lane::Heartbeat, None, Message::Beat(beat));
            }
            Act::Prove => self.prove(),
            Act::TakeOver { epoch } => {
                let (Some(link), Some(mark)) = (self.chain.link(), self.chain.mark()) else {
                    return;
                };
                let record = Epoch {
                    link,
                    epoch,
                    index: mark.index,
                    author: self.me,
                };
                let sent = self.publisher.publish(link.after, record.write());
                self.epoch_ticket = sent.ok().map(|ticket| (epoch, ticket));
            }
        }
    }

    /// Sends a message to all nodes, or to one.
    pub(super) fn say(&mut self, lane: Lane, to: Option<Incarnation>, message: Message) {
        let Some(mark) = self.chain.mark() else {
            return;
        };
        let received = Received {
            from: Sender {
                log: mark.log,
                epoch: self.lease.epoch().0,
                node: self.me,
            },
            message,
        };
        let to = to.as_ref().map(|to| to.node);
        let to = to.as_ref().map_or(To::All, |name| To::Node(name.as_str()));
        // What is lost goes again.
        let _ = self.lanes.say(lane, to, received.write());
    }

    /// Returns whether the node is asked to end, and has not heard a leader for a while: commands that wait will hardly be
    /// decided, and their clients are about to be sent elsewhere.
    pub(super) fn gives_up(&self, now: Duration) -> bool {
        self.status.is_leaving() && self.unled.is_some_and(|since| now >= since + LAST)
    }

    /// Looks at what the own sequencer offers.
    fn look_at_sequencer(&mut self, now: Duration) -> Result<(), CommitError> {
        while let Some(from) = self.sequencing.take() {
            match from {
                FromSequencer::Offers(offer) => self.offer = Some(offer),
                FromSequencer::Ended(ended, commands) => {
                    let was_asked = self.is_leaving;
                    self.follow_after(ended, commands)?;
                    match was_asked {
                        true => self.step_down(now, true),
                        // It ended by itself: another epoch is needed to lead again.
                        false => self.lease.group_refused(now),
                    }
                }
            }
        }
        let leads = self.lease.leads(now) && !self.is_stopped && !self.hindrance.is_there();
        // A chain that is being compared with the stream again says nothing of what comes next.
        let is_possible = self.chain.is_proved() || !leads;
        if let Some(offer) = self.offer.take_if(|_| is_possible) {
            if leads {
                self.decide(offer, now);
            } else {
                self.sequencing.tell(Verdict::HandedOver);
                self.lease.group_refused(now);
            }
        }
        Ok(())
    }

    /// Tells other threads about the node, and lets time pass.
    fn tell(&mut self, now: Duration) {
        let (epoch, _) = self.lease.epoch();
        let sequence = self.chain.next() - 1;
        let condition = self.tail.condition();
        let leads = matches!(self.role, Role::Leads) && self.lease.leads(now);
        self.numbers = Numbers {
            leads,
            epoch,
            applied: self.applied(),
            sequence,
            lag: condition.end.saturating_sub(sequence),
            lag_seconds: self.behind_for(condition.end > sequence, now).as_secs(),
            waiting: self.units.len() as u64,
            skips: *self.chain.skips(),
            ..self.numbers
        };
        let has_end = condition.checked.is_some() && sequence >= condition.end;
        // A leader that cannot store goes on with its heartbeats, and says in them that it does not lead.
        let led = self.led.map(|led| now.saturating_sub(led));
        let is_led = |within| leads || led.is_some_and(|led| led < within);
        self.unled = (!is_led(THERE)).then(|| self.unled.unwrap_or(now));
        let was_ready = self.status.trouble().is_none();
        // A node that is a little behind is ready all the same.
        let is_ready = has_end || was_ready && self.numbers.lag < 10_000;
        let is_led = is_led(2 * THERE);
        let is_free = !self.is_stopped && !self.hindrance.is_there();
        let why = self.hindrance.why();
        let why = why.map(|why| format!("the node does not lead, and tries again: {why}"));
        self.status.hinder(why.or_else(|| self.network.why()));
        self.status.set(self.numbers, is_ready && is_led && is_free);
        if now >= self.ticked + TICK {
            self.ticked = now;
            if let Role::Follows(follower, _) = &mut self.role {
                follower.tick();
            }
        }
    }

    /// Returns for how long the node has been behind the stream, as it is now or not.
    fn behind_for(&mut self, is_behind: bool, now: Duration) -> Duration {
        if !is_behind {
            self.behind_since = None;
            return Duration::ZERO;
        }
        now.saturating_sub(*self.behind_since.get_or_insert(now))
    }

    /// Makes the store of a follower durable now and then, and keeps the mark of what it has.
    fn save(&mut self, now: Duration) -> Result<(), CommitError> {
        if now < self.saved.0 + SAVE || self.is_stopped {
            return Ok(());
        }
        self.save_now(now)
    }

    fn save_now(&mut self, now: Duration) -> Result<(), CommitError> {
        let mark = self.chain.mark().copied();
        let Role::Follows(follower, _) = &mut self.role else {
            return Ok(());
        };
        // The store has less than the mark says; or a node that has no mark yet would not be new at its next start.
        if self.hindrance.holds() || self.is_new && self.hindrance.is_there() {
            return Ok(());
        }
        if let Some(mark) = mark
            && Some(mark) != self.saved.1
            && self.chain.link().is_some()
        {
            match follower.close() {
                Err(error) if error.is_final() => {
                    return self.halt(&format!(
                        "the store has failed: start the gateway again ({error})"
                    ));
                }
                // The mark stays behind the store, and is kept the next time.
                Err(error) => {
                    tracing::warn!(%error, "cannot make the store durable for now");
                    self.saved.0 = now;
                    return Ok(());
                }
                Ok(()) => {}
            }
            if let Err(error) = self.disk.keep_mark(&mark) {
                tracing::warn!(%error, "cannot keep how far the store has the log: the next start takes more of the log again");
            }
            self.saved.1 = Some(mark);
        }
        self.saved.0 = now;
        Ok(())
    }

    /// Stops for good: the node cannot follow the log any more. Reads go on; commands get 115.
    pub(super) fn stop(&mut self, why: &str) {
        if !self.is_stopped {
            tracing::error!(
                why,
                "the node has stopped: it takes no commands, and acknowledges nothing"
            );
            self.is_stopped = true;
            self.hindrance.forget();
            self.status.stop(why.to_owned());
        }
    }

    fn end(mut self) -> Result<(), CommitError> {
        let led = matches!(self.role, Role::Leads) && !self.is_stopped;
        self.give_up_flight();
        self.follow()?;
        let now = self.now();
        // Others that are about to end too may still need a leader.
        self.step_down(now, led);
        if !self.is_stopped {
            self.save_now(now)?;
        }
        if let Role::Follows(mut follower, _) = self.role {
            follower.give_up();
            follower.close()?;
        }
        self.sequencing.close();
        Ok(())
    }
}
