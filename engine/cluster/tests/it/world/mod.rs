//! A cluster in one thread: nodes, a stream and messages between nodes, in a time of its own.
//!
//! What happens follows from a seed. Until the faults end, publishes are lost, late, doubled, or land although another
//! record was expected last; acknowledgements are lost, late, or lie; messages between nodes are lost, doubled and late; nodes are cut
//! off, paused, asked to step down, and killed, and begin again with what they had on the disk some time ago. Somebody
//! whose history is another one publishes too, and the stream loses its last records, as if an old copy were restored.

mod content;
mod node;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::Chain;
use trunkline_cluster::envelope::{Beat, Epoch, LogId, Message, Received, Sender, Standing};
use trunkline_cluster::lease::Timing;

use crate::made;
use content::Content;
use node::Node;

/// A command: its node's life, and its number there.
pub(crate) type CommandId = (Incarnation, u64);

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// A publish reaches the stream. It is stored only behind the expected sequence, if there is one.
    Land {
        from: usize,
        life: u64,
        ticket: u64,
        message: Bytes,
        expected: Option<u64>,
    },
    /// An acknowledgement reaches its node.
    Ack {
        to: usize,
        life: u64,
        ticket: u64,
        stored: bool,
    },
    /// A message of another node comes.
    Comes { to: usize, message: Bytes },
    /// A node looks at the stream.
    Look { node: usize },
    /// A node does what is due.
    Tick { node: usize },
    /// A client sends a command.
    Client { node: usize },
    /// Something breaks.
    Break,
    /// Somebody with another history publishes.
    Stray,
    /// A node of another log sends a heartbeat.
    Stranger,
    /// A publish was lost with its connection.
    Nothing,
}

impl Event {
    /// The node at which the event happens.
    const fn node(&self) -> Option<usize> {
        match *self {
            Self::Ack { to, .. } | Self::Comes { to, .. } => Some(to),
            Self::Look { node } | Self::Tick { node } | Self::Client { node } => Some(node),
            Self::Land { .. } | Self::Break | Self::Stray | Self::Stranger | Self::Nothing => None,
        }
    }
}

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that has a chance of `percent`.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What counts, as the first node that took it saw it.
#[derive(Default)]
pub(crate) struct Truth {
    /// The transcripts of the groups, in their order.
    groups: Vec<Bytes>,
    /// The digest of the state after each group; before the first it is 0.
    digests: Vec<u64>,
    decided: HashSet<CommandId>,
    /// The commands whose clients know that they are refused.
    pub(crate) refused: HashSet<CommandId>,
    /// The commands whose clients know that nobody has answered them in time.
    pub(crate) given_up: HashSet<CommandId>,
}

impl Truth {
    fn digest(&self, index: u64) -> u64 {
        match index {
            0 => 0,
            _ => self.digests[index as usize - 1],
        }
    }
}

/// What came of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) groups: u64,
    pub(crate) parted: u64,
    pub(crate) epochs: u64,
    pub(crate) skipped: u64,
    pub(crate) late: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) restarts: u64,
    /// Answers that travelled in a group.
    pub(crate) rode: u64,
    /// Answers that had no room beside groups.
    pub(crate) crowded: u64,
    pub(crate) given_up: u64,
    pub(crate) again: u64,
    pub(crate) proved: u64,
    pub(crate) stops: u64,
}

/// What all nodes share.
pub(crate) struct Shared {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: HashMap<u64, Event>,
    next_event: u64,
    /// Whether things still break.
    breaks: bool,
    pub(crate) stream: Vec<Bytes>,
    pub(crate) truth: Truth,
    pub(crate) tally: Tally,
    /// Until when each node is cut off: what it sends, and what it gets.
    cut: Vec<(Duration, Duration)>,
    /// Until when each node is cut off but for itself, as the servers that it is connected to are.
    alone: Vec<Duration>,
    /// When each epoch began at the first node that took its record.
    began: HashMap<u64, Duration>,
    /// Whether the stream lost its end once.
    pub(crate) lost_its_end: bool,
}

impl Shared {
    fn at(&mut self, time: Duration, event: Event) {
        let number = self.next_event;
        self.next_event += 1;
        self.events.insert(number, event);
        self.queue.push(Reverse((time, number)));
    }

    fn after(&mut self, least: u64, most: u64, event: Event) {
        let delay = least * 1000 + self.random.below((most - least) * 1000);
        self.at(self.now + Duration::from_micros(delay), event);
    }

    /// Whether something goes wrong now that has a chance of `percent` while things break.
    fn fails(&mut self, percent: u64) -> bool {
        self.breaks && self.random.chance(percent)
    }

    fn sends(&self, node: usize) -> bool {
        self.now >= self.cut[node].0
    }

    fn gets(&self, node: usize) -> bool {
        self.now >= self.cut[node].1
    }

    /// Sends a message to another node, or to oneself.
    pub(crate) fn send(&mut self, from: usize, to: usize, message: &Bytes) {
        let alone = self.alone[from].max(self.alone[to]);
        if from != to && self.now < alone {
            return;
        }
        let copies = if self.fails(3) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.sends(from) || self.fails(6) {
                continue;
            }
            let most = if self.fails(4) { 900 } else { 6 };
            let message = message.clone();
            self.after(0, most, Event::Comes { to, message });
        }
    }

    /// Publishes a record.
    pub(crate) fn publish(
        &mut self,
        from: usize,
        life: u64,
        ticket: u64,
        message: Bytes,
        after: u64,
    ) {
        if !self.sends(from) || self.now < self.alone[from] || self.fails(4) {
            return;
        }
        // A server that lost its lead may let one through.
        let expected = if self.fails(12) { None } else { Some(after) };
        if self.fails(4) {
            // It lands twice: a client library sent it again.
            let again = Event::Land {
                from,
                life,
                ticket,
                message: message.clone(),
                expected: None,
            };
            self.after(0, 400, again);
        }
        let most = if self.fails(10) { 2500 } else { 8 };
        let event = Event::Land {
            from,
            life,
            ticket,
            message,
            expected,
        };
        self.after(0, most, event);
    }

    fn land(&mut self, event: Event) {
        let Event::Land {
            from,
            life,
            ticket,
            message,
            expected,
        } = event
        else {
            unreachable!();
        };
        let is_stored = expected.is_none_or(|expected| expected == self.stream.len() as u64);
        if is_stored {
            self.stream.push(message);
        }
        if self.fails(6) {
            return;
        }
        let stored = is_stored != self.fails(4);
        let most = if self.fails(5) { 900 } else { 6 };
        let to = from;
        self.after(
            0,
            most,
            Event::Ack {
                to,
                life,
                ticket,
                stored,
            },
        );
    }

    /// Notes that a node took an epoch record.
    pub(crate) fn begins(&mut self, epoch: u64) {
        let now = self.now;
        self.began.entry(epoch).or_insert(now);
    }

    /// Checks that a node that answers outside of groups in an epoch does so soon after the next one has begun at most.
    pub(crate) fn check_answer(&self, epoch: u64) {
        let over = self.began.get(&(epoch + 1));
        let is_late = over.is_some_and(|over| self.now > *over + Timing::USUAL.silence);
        assert!(self.lost_its_end || !is_late, "answers of epoch {epoch}");
    }

    /// Sends all nodes the heartbeat of a node of another log that leads.
    fn say_as_stranger(&mut self) {
        let from = Sender {
            log: LogId(1),
            epoch: 99,
            node: made::life("z", 1),
        };
        let beat = Beat {
            number: 1,
            index: 7,
            standing: Standing::Leads,
        };
        let message = Message::Beat(beat);
        let bytes = Received { from, message }.write();
        for to in 0..3 {
            let message = bytes.clone();
            self.after(0, 6, Event::Comes { to, message });
        }
        // It does not end with the faults.
        self.after(100, 200, Event::Stranger);
    }

    /// Forgets what the stream does not have any more.
    fn forget(&mut self) {
        let chain = replay(&self.stream);
        let groups = chain.mark().expect("a mark").index as usize;
        self.truth.groups.truncate(groups);
        self.truth.digests.truncate(groups);
        let decided = self.truth.groups.iter().map(Content::read);
        self.truth.decided = decided.flat_map(|content| content.commands).collect();
    }

    /// Stores an epoch record that was published some time ago.
    fn late(&mut self) {
        let age = 1 + self.random.below(6) as usize;
        let chain = replay(&self.stream[..1.max(self.stream.len().saturating_sub(age))]);
        let epoch = chain.mark().expect("a mark").epoch + 1;
        let record = made::epoch_after(&chain, epoch, made::life("b", 1));
        self.stream.push(record);
    }

    /// Stores a record of somebody whose history is another one.
    fn stray(&mut self) {
        let mut other = Chain::new();
        let is_foreign = self.random.chance(40);
        let first = if is_foreign {
            made::genesis(9)
        } else {
            self.stream[0].clone()
        };
        other.take(1, &first).expect("a genesis");
        let me = made::life("z", 1);
        for epoch in 1..=1 + self.random.below(12) {
            let record = made::epoch_after(&other, epoch, me);
            other.take(other.next(), &record).expect("no stop");
        }
        let mut link = other.link().expect("a link");
        link.after = self.stream.len() as u64;
        let mark = *other.mark().expect("a mark");
        let epoch = mark.epoch + self.random.below(2);
        let record = match self.random.below(4) {
            0 => b"TLS 1.3 is not for this port".to_vec().into(),
            1 => {
                let (index, author) = (mark.index, me);
                let record = Epoch {
                    link,
                    epoch,
                    index,
                    author,
                };
                record.write()
            }
            _ => {
                made::group_after(&other, &[3; 600], b"", 512).remove(self.random.below(2) as usize)
            }
        };
        self.stream.push(record);
    }

    /// Notes that a node took a group in an epoch. Checks that every node takes the same ones, each command once, each
    /// decided on the state that it changes, and none of an epoch that was over.
    fn take(&mut self, index: u64, epoch: u64, transcript: &Bytes) -> u64 {
        let content = Content::read(transcript);
        assert_eq!(content.epoch, epoch, "group {index} came after its epoch");
        assert_eq!(
            content.digest,
            self.truth.digest(index - 1),
            "group {index} was decided on another state"
        );
        let at = index as usize - 1;
        if let Some(known) = self.truth.groups.get(at) {
            assert_eq!(known, transcript, "two nodes took two groups {index}");
        } else {
            assert_eq!(self.truth.groups.len(), at, "a group was left out");
            for command in &content.commands {
                assert!(self.truth.decided.insert(*command), "{command:?} twice");
                let is_refused = self.truth.refused.contains(command);
                assert!(self.lost_its_end || !is_refused, "{command:?} was refused");
            }
            self.truth.groups.push(transcript.clone());
            let digest = content.digest_after(transcript);
            self.truth.digests.push(digest);
            self.tally.groups += 1;
        }
        self.truth.digest(index)
    }
}

/// Returns the chain of a node that has looked at a whole stream.
fn replay(stream: &[Bytes]) -> Chain {
    let mut chain = Chain::new();
    while let Some(record) = stream.get(chain.next() as usize - 1) {
        chain.take(chain.next(), record).expect("no stop");
    }
    chain
}

/// A cluster.
pub(crate) struct World {
    shared: Shared,
    nodes: Vec<Node>,
}

/// The time until which things break.
const BREAKS: Duration = ms(3000);

/// The time within which everything is answered after that.
const HEALS: Duration = ms(15_000);

impl World {
    /// Returns a cluster of three nodes that start.
    pub(crate) fn new(seed: u64) -> Self {
        let mut shared = Shared {
            now: Duration::ZERO,
            random: Random(seed),
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            next_event: 0,
            breaks: true,
            stream: vec![made::genesis(1)],
            truth: Truth::default(),
            tally: Tally::default(),
            cut: vec![(Duration::ZERO, Duration::ZERO); 3],
            alone: vec![Duration::ZERO; 3],
            began: HashMap::new(),
            lost_its_end: false,
        };
        let nodes = (0..3).map(|at| Node::start(at, &mut shared)).collect();
        for node in 0..3 {
            shared.after(0, 20, Event::Look { node });
            shared.after(0, 20, Event::Tick { node });
            shared.after(0, 200, Event::Client { node });
        }
        for _ in 0..shared.random.below(10) {
            shared.after(0, 3000, Event::Break);
        }
        if shared.random.chance(30) {
            shared.after(0, 3000, Event::Stray);
        }
        if shared.random.chance(20) {
            shared.after(0, 3000, Event::Stranger);
        }
        Self { shared, nodes }
    }

    /// Plays everything, and checks it.
    pub(crate) fn play(mut self) -> Tally {
        let is_over = |world: &Self| world.shared.now > BREAKS && world.is_settled();
        while !is_over(&self) {
            let Some(Reverse((time, number))) = self.shared.queue.pop() else {
                panic!("nothing happens any more");
            };
            assert!(
                time < BREAKS + HEALS,
                "not all commands are answered: {:?}",
                self.nodes.iter().map(Node::describe).collect::<Vec<_>>()
            );
            let event = self.shared.events.remove(&number).expect("an event");
            if let Some(paused) = event.node().map(|node| self.nodes[node].paused)
                && paused > time
            {
                self.shared.at(paused, event);
                continue;
            }
            self.shared.now = time;
            self.shared.breaks = time < BREAKS;
            self.happen(event);
        }
        let groups = self.shared.truth.groups.len() as u64;
        for node in &self.nodes {
            node.check_end(&self.shared, groups);
        }
        self.shared.tally
    }

    /// Whether all that clients asked is answered, and all nodes have everything.
    fn is_settled(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| node.is_settled(self.shared.stream.len() as u64))
    }

    fn happen(&mut self, event: Event) {
        let shared = &mut self.shared;
        match event {
            Event::Land { .. } => shared.land(event),
            Event::Ack {
                to,
                life,
                ticket,
                stored,
            } => {
                if shared.gets(to) {
                    self.nodes[to].acknowledged(life, ticket, stored, shared);
                }
            }
            Event::Comes { to, message } => {
                if shared.gets(to) {
                    self.nodes[to].comes(&message, shared);
                }
            }
            Event::Look { node } => {
                if shared.gets(node) && shared.now >= shared.alone[node] {
                    self.nodes[node].look(shared);
                }
                let most = if shared.fails(3) { 400 } else { 12 };
                shared.after(1, most, Event::Look { node });
            }
            Event::Tick { node } => {
                self.nodes[node].tick(shared);
                shared.after(2, 25, Event::Tick { node });
            }
            Event::Client { node } => {
                if shared.breaks {
                    self.nodes[node].ask(shared);
                    shared.after(1, 220, Event::Client { node });
                }
            }
            Event::Break => self.break_something(),
            Event::Stranger => shared.say_as_stranger(),
            Event::Nothing => {}
            Event::Stray => {
                if shared.breaks {
                    if shared.random.chance(25) {
                        shared.late();
                    } else {
                        shared.stray();
                    }
                    shared.after(1, 900, Event::Stray);
                }
            }
        }
    }

    /// Lets the stream lose its last records, as if an old copy were restored. Connections end with it, and what was on its
    /// way over them is lost.
    fn lose_the_end(&mut self) {
        let shared = &mut self.shared;
        let lost = 1 + shared.random.below(4) as usize;
        shared
            .stream
            .truncate(1.max(shared.stream.len().saturating_sub(lost)));
        shared.lost_its_end = true;
        shared.forget();
        for event in shared.events.values_mut() {
            if matches!(event, Event::Land { .. }) {
                *event = Event::Nothing;
            }
        }
        for node in &mut self.nodes {
            if node.is_publishing() || shared.random.chance(30) {
                node.is_new_connection = true;
            }
        }
    }

    fn break_something(&mut self) {
        if self.shared.random.chance(8) {
            return self.lose_the_end();
        }
        let shared = &mut self.shared;
        let node = shared.random.below(3) as usize;
        let end = shared.now + ms(100 + shared.random.below(1800));
        match shared.random.below(8) {
            0 => shared.cut[node] = (end, end),
            7 => shared.alone[node] = end,
            1 => shared.cut[node].0 = end,
            2 => shared.cut[node].1 = end,
            3 | 4 => self.nodes[node].paused = end,
            5 => self.nodes[node].step_down(shared),
            _ => {
                shared.tally.restarts += 1;
                self.nodes[node].restart(shared);
            }
        }
    }
}
