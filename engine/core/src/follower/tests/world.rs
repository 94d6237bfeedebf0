//! Nodes in one process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use trunkline_proto::Encoding;
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{
    Batch, CommitError, Durability, Opened, Options, Origin, Position, Reader, Store, StoreKey,
    TimelineId, Writer,
};

use super::watch::{Ran, answer, conn, heard, records, work};
use crate::directory::Directory;
use crate::event::Body;
use crate::exchange::{
    Action, Call, CommandBatch, Commands, Mailbox, Members, NoSleeper, Pending, Remote, ReplyConn,
    ReplyTo, ToSequencer, queue,
};
use crate::follower::Follower;
use crate::ids::{DeviceMark, Ids, Side};
use crate::log::{Local, Log, LogError};
use crate::messaging::Messaging;
use crate::sequencer::{
    Caller, HandedOver, MIN_CONVERSATIONS, Sequencer, SequencerParts, no_departures, push_command,
};
use crate::told::{Incarnation, Told};

/// The number of nodes.
pub(super) const TWO: usize = 2;

/// The number of shards of a node.
const SHARDS: usize = 2;

/// The rules: groups of more than four members have a channel.
pub(super) const RULES: Messaging = Messaging {
    fanout_limit: 4,
    channel_stays: Duration::ZERO,
    receipt_fanout: 6,
    receipt_delay: Duration::ZERO,
    delivered_delay: Duration::ZERO,
    group_members: 12,
    members_add: true,
    recall_window: Duration::from_hours(1),
    edit_window: Duration::from_hours(1),
    most_ttl: Duration::from_hours(1),
    group_cache: 1_000,
    rewrites: false,
    message_bytes: 1 << 20,
};

/// A connection of a user, at a shard of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) user: &'static str,
    pub(super) node: usize,
    pub(super) shard: usize,
}

/// A command.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// The number of the connection that sends it, among all seats.
    pub(super) seat: usize,
    /// Whether a caller in the process of the node sends it in place of the connection.
    pub(super) is_call: bool,
    /// Whether it begins a batch.
    pub(super) begins: bool,
    pub(super) conversation: String,
    pub(super) action: Action,
    pub(super) text: Option<String>,
    pub(super) reaction: Option<&'static str>,
    pub(super) name: Option<&'static str>,
    pub(super) members: Vec<&'static str>,
    pub(super) details: Vec<u8>,
    pub(super) key: Option<String>,
}

/// Opens an empty store of the log.
fn open() -> Opened {
    let options = Options {
        segment_bytes: 8 << 20,
        max_record_bytes: 1 << 20,
        reserve_bytes: 0,
        background: false,
        durability: Durability::Os,
        origin: Some(Origin {
            key: StoreKey::from_bytes([7; 16]),
            history: [9; 16],
        }),
        ..Options::default()
    };
    Store::open_with(Arc::new(SimDisk::new(1)), options, &mut |_| ()).unwrap()
}

/// The parts of a node besides its sequencer or follower.
pub(super) struct Node {
    pub(super) ids: Ids,
    pub(super) store: Reader,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
}

/// Makes a node with these shards.
pub(super) fn node(shards: usize, log: Box<dyn Log>) -> (Node, SequencerParts) {
    let opened = open();
    let mailboxes: Vec<_> = (0..shards)
        .map(|_| Arc::new(Mailbox::new(Box::new(NoSleeper))))
        .collect();
    let directory = Arc::new(Directory::new(Position::ZERO));
    let node = Node {
        ids: Ids(opened.reader.key()),
        store: opened.reader.clone(),
        mailboxes: mailboxes.clone(),
    };
    let parts = SequencerParts {
        writer: opened.writer,
        log,
        store: opened.reader,
        conversation_cache: MIN_CONVERSATIONS,
        rules: RULES,
        departures: no_departures(&directory),
        directory,
        mailboxes,
        weights: Arc::default(),
        metrics: Arc::default(),
    };
    (node, parts)
}

/// Returns the conversation and the members that a command has.
fn target(ids: &Ids, user: &str, ask: &Ask) -> Option<(TimelineId, Members)> {
    match ask.action {
        Action::Block { .. } => {
            let other = ids.user("", ask.members[0]);
            let side = Side::Lesser;
            Some((
                ids.blocked(ids.user("", user)),
                Members::Direct { other, side },
            ))
        }
        _ => None,
    }
}

/// Adds a command to a batch.
pub(super) fn push(ids: &Ids, batch: &mut CommandBatch, user: &str, ask: &Ask, reply_to: ReplyTo) {
    let seq = match ask.action {
        Action::Recall { seq }
        | Action::Edit { seq, .. }
        | Action::Delete { seq }
        | Action::React { seq, .. }
        | Action::Pin { seq, .. } => seq,
        _ => 0,
    };
    let body = Body {
        seq,
        text: ask.text.as_deref(),
        reaction: ask.reaction,
        name: ask.name,
        members: ask.members.clone(),
        details: (!ask.details.is_empty()).then_some(&*ask.details),
        key: ask.key.as_deref(),
        ..Body::default()
    };
    let action = match (ask.action, &ask.key) {
        (Action::Send { .. }, Some(key)) => Action::Send {
            key: Some(ids.key("", user, key)),
            names_media: false,
            has_extras: false,
        },
        (action, _) => action,
    };
    let caller = Caller { user, conn: 0 };
    push_command(ids, batch, caller, &ask.conversation, action, body);
    let command = batch.commands.last_mut().expect("it was added");
    command.reply_to = reply_to;
    if let Some((conversation, members)) = target(ids, user, ask) {
        (command.conversation, command.members) = (conversation, members);
    }
}

/// Batches of commands on their way to a sequencer, one node after another.
struct Batches {
    batch: CommandBatch,
    node: usize,
    /// The number of commands so far, which are their ids.
    asked: u32,
    calls: Vec<Pending>,
}

impl Batches {
    fn new() -> Self {
        Self {
            batch: CommandBatch::default(),
            node: 0,
            asked: 0,
            calls: Vec::new(),
        }
    }

    /// Adds a command of a connection at `shard`. Returns the batch before, if it ends.
    fn ask(
        &mut self,
        ids: &Ids,
        ask: &Ask,
        seat: Seat,
        shard: usize,
    ) -> Option<(usize, Box<CommandBatch>)> {
        let ends = ask.begins || seat.node != self.node;
        let before = ends.then(|| self.end()).flatten();
        self.node = seat.node;
        self.asked += 1;
        let reply_to = if ask.is_call {
            let (call, pending) = Call::new();
            self.calls.push(pending);
            ReplyTo::Call(call)
        } else {
            ReplyTo::Conn(ReplyConn {
                shard: shard as u16,
                encoding: Encoding::Json,
                conn: conn(ask.seat),
                id: self.asked,
            })
        };
        push(ids, &mut self.batch, seat.user, ask, reply_to);
        before
    }

    /// Returns the batch, with its node.
    fn end(&mut self) -> Option<(usize, Box<CommandBatch>)> {
        let batch = std::mem::take(&mut self.batch);
        (!batch.commands.is_empty()).then(|| (self.node, Box::new(batch)))
    }

    /// Returns what the calls were answered.
    fn answers(self) -> Vec<Vec<String>> {
        let answers = self
            .calls
            .into_iter()
            .map(|call| match call.wait(Duration::ZERO) {
                Ok(answered) => vec![answer(&answered.answer)],
                Err(lost) => vec![format!("lost {lost:?}")],
            });
        answers.collect()
    }
}

/// A node on its own.
pub(super) struct Single {
    node: Node,
    sequencer: Sequencer,
    seats: Vec<Seat>,
    batches: Batches,
    to: ToSequencer,
    commands: Commands,
}

/// Returns the shard of a seat at a single node.
fn alone(seat: Seat) -> usize {
    seat.node * SHARDS + seat.shard
}

impl Single {
    pub(super) fn new(seats: &[Seat]) -> Self {
        let (node, parts) = node(TWO * SHARDS, Box::new(Local));
        for seat in seats {
            let user = node.ids.user("", seat.user);
            parts
                .directory
                .enter(user, alone(*seat), DeviceMark([1; 4]));
        }
        let (to, commands) = queue();
        Self {
            node,
            sequencer: Sequencer::new(parts).stand_still(),
            seats: seats.to_vec(),
            batches: Batches::new(),
            to,
            commands,
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) {
        let seat = self.seats[ask.seat];
        if let Some((_, batch)) = self.batches.ask(&self.node.ids, ask, seat, alone(seat)) {
            self.to.try_send(batch).unwrap();
        }
    }

    pub(super) fn run(mut self) -> Ran {
        if let Some((_, batch)) = self.batches.end() {
            self.to.try_send(batch).unwrap();
        }
        drop(self.to);
        self.sequencer.run(&self.commands).unwrap();
        let mut got = vec![Vec::new(); self.seats.len()];
        work(&self.node, &self.seats, |seat| Some(alone(seat)), &mut got);
        Ran {
            records: records(&self.node.store).0,
            got,
            calls: self.batches.answers(),
            audiences: Vec::new(),
        }
    }
}

/// What a log has taken: transcripts, each with what was told.
pub(super) type Taken = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A log that other nodes follow.
pub(super) struct Followed {
    pub(super) taken: Taken,
    /// The nodes by the number that the leader gives them.
    pub(super) nodes: Vec<Incarnation>,
    /// The number of commits until somebody else decides.
    pub(super) left: usize,
}

impl Log for Followed {
    fn commit(&mut self, writer: &mut Writer, told: Told<'_>) -> Result<Arc<Batch>, LogError> {
        self.left = self.left.checked_sub(1).ok_or(LogError::HandedOver)?;
        let (mut transcript, mut said) = (Vec::new(), Vec::new());
        writer.transcribe(&mut transcript);
        told.write(writer, &self.nodes, &mut said);
        let batch = writer.commit()?;
        self.taken.lock().push((transcript, said));
        Ok(batch)
    }

    fn is_handed_over(&self) -> bool {
        self.left == 0
    }

    fn close(&mut self, writer: &mut Writer) -> Result<(), CommitError> {
        writer.sync()
    }
}

/// Returns the run of a node.
pub(super) const fn incarnation(node: usize) -> Incarnation {
    Incarnation(1 << 40 | node as u64)
}

/// Lets the leader take a batch that `node` has named for it.
pub(super) fn give_number(batch: &mut CommandBatch, node: u16) {
    for command in &mut batch.commands {
        if let ReplyTo::Remote(name) = command.reply_to {
            command.reply_to = ReplyTo::Remote(Remote::new(node, name.number()));
        }
    }
}

/// Two nodes: the first one leads, and the second one follows.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    leader: Sequencer,
    follower: Follower,
    seats: Vec<Seat>,
    batches: Batches,
    to: ToSequencer,
    commands: Commands,
    taken: Taken,
}

/// Enters the seats of a node.
pub(super) fn enter(node: &Node, parts: &SequencerParts, number: usize, seats: &[Seat]) {
    for seat in seats.iter().filter(|seat| seat.node == number) {
        let user = node.ids.user("", seat.user);
        parts.directory.enter(user, seat.shard, DeviceMark([1; 4]));
    }
}

impl Cluster {
    pub(super) fn new(seats: &[Seat]) -> Self {
        let taken = Taken::default();
        let log = Followed {
            taken: Arc::clone(&taken),
            nodes: vec![incarnation(0), incarnation(1)],
            left: usize::MAX,
        };
        let (first, leader) = node(SHARDS, Box::new(log));
        let (second, follower) = node(SHARDS, Box::new(Local));
        enter(&first, &leader, 0, seats);
        enter(&second, &follower, 1, seats);
        let (to, commands) = queue();
        Self {
            nodes: vec![first, second],
            leader: Sequencer::new(leader).stand_still(),
            follower: Follower::new(HandedOver::of(follower), incarnation(1)),
            seats: seats.to_vec(),
            batches: Batches::new(),
            to,
            commands,
            taken,
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) {
        let seat = self.seats[ask.seat];
        let ids = self.nodes[0].ids;
        let before = self.batches.ask(&ids, ask, seat, seat.shard);
        self.send(before);
    }

    fn send(&mut self, batch: Option<(usize, Box<CommandBatch>)>) {
        let Some((node, mut batch)) = batch else {
            return;
        };
        if node == 1 {
            assert!(self.follower.forward(&mut batch));
            give_number(&mut batch, 1);
        }
        self.to.try_send(batch).unwrap();
    }

    pub(super) fn run(mut self) -> Ran {
        let last = self.batches.end();
        self.send(last);
        drop(self.to);
        self.leader.run(&self.commands).unwrap();
        let mut audiences = Vec::new();
        for (transcript, told) in self.taken.lock().iter() {
            self.follower.take(transcript, told).unwrap();
            audiences.extend(heard(told));
        }
        assert_eq!(self.follower.waiting(), 0, "commands without an answer");
        check_blocks(&self.nodes[1], &self.follower, &self.seats);
        let got = received(&self.nodes, &self.seats);
        Ran {
            records: records(&self.nodes[0].store).0,
            got,
            calls: self.batches.answers(),
            audiences,
        }
    }
}

/// The commands of a history.
pub(super) struct Asked {
    /// The ids of those of connections.
    pub(super) ids: BTreeSet<u32>,
    /// Those of calls.
    pub(super) calls: Vec<Pending>,
    /// All of them, in batches with the numbers of their nodes.
    pub(super) batches: Vec<(usize, Box<CommandBatch>)>,
}

/// Makes batches of commands.
pub(super) fn batches(ids: &Ids, seats: &[Seat], asks: &[Ask]) -> Asked {
    let mut making = Batches::new();
    let (mut batches, mut asked) = (Vec::new(), BTreeSet::new());
    for ask in asks {
        let seat = seats[ask.seat];
        batches.extend(making.ask(ids, ask, seat, seat.shard));
        if !ask.is_call {
            asked.insert(making.asked);
        }
    }
    batches.extend(making.end());
    Asked {
        ids: asked,
        calls: making.calls,
        batches,
    }
}

/// Checks that a follower knows whom users of any node block.
fn check_blocks(node: &Node, follower: &Follower, seats: &[Seat]) {
    let users: BTreeSet<_> = seats.iter().map(|seat| seat.user).collect();
    let users: Vec<_> = users.iter().map(|user| node.ids.user("", user)).collect();
    let filter = &follower.left.hub().blocks;
    for &blocker in &users {
        for &blocked in &users {
            let key = node.ids.block(blocker, blocked);
            let blocks = node.store.state(key).unwrap().is_some();
            assert_eq!(filter.may_block(blocker, blocked), blocks);
        }
    }
}

/// Lets the shards of all nodes work. Returns what each seat got.
pub(super) fn received(nodes: &[Node], seats: &[Seat]) -> Vec<Vec<String>> {
    let mut got = vec![Vec::new(); seats.len()];
    for (number, node) in nodes.iter().enumerate() {
        let at = |seat: Seat| (seat.node == number).then_some(seat.shard);
        work(node, seats, at, &mut got);
    }
    let [first, second] = [0, 1].map(|node: usize| records(&nodes[node].store));
    assert_eq!(first, second, "the stores differ");
    got
}
