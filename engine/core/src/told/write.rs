//! Writes what a commit tells as bytes. The documentation of the folder has the form.

use trunkline_storage::{Position, Record, TimelineId, Writer};

use super::{Audience, Decided, Incarnation, MOST_ACKS, QueuedPart, Told, VERSION};
use crate::bytes::{put, put_difference, put_id, put_text};
use crate::event::Body;
use crate::exchange::{Done, Outcome, Remote, ReplyTo};
use crate::ids::UserId;

/// The kinds of entries.
pub(super) mod kind {
    pub(in crate::told) const PART: u8 = 0;
    pub(in crate::told) const SENT: u8 = 1;
    pub(in crate::told) const DONE_WITH_RECORD: u8 = 2;
    pub(in crate::told) const DONE: u8 = 3;
    pub(in crate::told) const DUPLICATE: u8 = 4;
    pub(in crate::told) const MADE: u8 = 5;
    pub(in crate::told) const CONTACTS: u8 = 6;
    pub(in crate::told) const CONTACTS_WATCHED: u8 = 7;
    pub(in crate::told) const FAILED: u8 = 8;
    pub(in crate::told) const NOT_ACKED: u8 = 9;
}

/// The audiences of records.
pub(super) mod audience {
    pub(in crate::told) const NOBODY: u8 = 0;
    pub(in crate::told) const FAN_OUT: u8 = 1;
    pub(in crate::told) const CHANNEL: u8 = 2;
    pub(in crate::told) const CHANNEL_AND_FAN_OUT: u8 = 3;
    pub(in crate::told) const LIST: u8 = 4;
}

/// The flag of a part whose reader is told too.
pub(super) const WITH_READER: u8 = 1;

impl Told<'_> {
    /// Appends what the commit tells to `to`, for the nodes that follow the log. Call it before the commit: the records
    /// are those of the batch under construction of `writer`. `nodes` has the other nodes by the number that
    /// [`Remote::node`] gives.
    ///
    /// # Panics
    /// If a command comes from a node that `nodes` does not have.
    pub fn write(&self, writer: &Writer, nodes: &[Incarnation], to: &mut Vec<u8>) {
        self.begin(to);
        put(to, self.blocks.len() as u64);
        for block in self.blocks {
            to.push(block.begins.into());
            put_id(to, block.blocker);
            put_id(to, block.blocked);
        }
        let mut entries = Entries::new(writer, nodes, to);
        let mut parts = self.parts.iter().peekable();
        for (number, decided) in self.decided.iter().enumerate() {
            while let Some(part) = parts.next_if(|part| part.after <= number) {
                entries.part(part, self.decided);
            }
            entries.command(decided);
        }
        for part in parts {
            entries.part(part, self.decided);
        }
    }

    /// Appends the answers to the commands of one other node to `to`, as [`write`](Self::write) does. The commit must have no
    /// records: nobody else needs to know of it. `node` is the number that [`Remote::node`] gives.
    ///
    /// # Panics
    /// If `nodes` does not have the node.
    pub fn write_answers(
        &self,
        writer: &Writer,
        nodes: &[Incarnation],
        node: u16,
        to: &mut Vec<u8>,
    ) {
        debug_assert!(self.parts.is_empty() && self.blocks.is_empty(), "records");
        self.begin(to);
        put(to, 0);
        let mut entries = Entries::new(writer, nodes, to);
        let is_for = |one: &&Decided| remote(&one.reply_to).map(Remote::node) == Some(node);
        for decided in self.decided.iter().filter(is_for) {
            entries.command(decided);
        }
    }

    /// Writes what comes first: the version and the times.
    fn begin(&self, to: &mut Vec<u8>) {
        to.push(VERSION);
        put(to, self.steady);
        put_difference(to, self.ahead, 0);
    }
}

/// A node with commands in the bytes, and the number of its last one.
struct Origin {
    node: u16,
    last: u64,
}

/// The entries that are being written.
struct Entries<'a> {
    writer: &'a Writer,
    nodes: &'a [Incarnation],
    /// The origins by their number, less 1.
    origins: Vec<Origin>,
    groups: Vec<TimelineId>,
    texts: Vec<&'static str>,
    /// The last position.
    position: Position,
    /// The fan-out of the last record.
    fanout: Vec<UserId>,
    to: &'a mut Vec<u8>,
}

/// Returns the name of a command of another node; `None` for one of this process.
fn remote(reply_to: &ReplyTo) -> Option<Remote> {
    match *reply_to {
        ReplyTo::Remote(remote) => Some(remote),
        ReplyTo::Conn(_) | ReplyTo::Call(_) => None,
    }
}

impl<'a> Entries<'a> {
    fn new(writer: &'a Writer, nodes: &'a [Incarnation], to: &'a mut Vec<u8>) -> Self {
        Self {
            writer,
            nodes,
            origins: Vec::new(),
            groups: Vec::new(),
            texts: Vec::new(),
            position: Position::ZERO,
            fanout: Vec::new(),
            to,
        }
    }

    /// Writes a decided command, unless nobody else needs it.
    fn command(&mut self, decided: &Decided) {
        let outcome = decided.decision.outcome;
        let from = remote(&decided.reply_to);
        let position = outcome.position();
        if from.is_none() && position.is_none() {
            return;
        }
        let (kind, at) = (kind_of(outcome), self.to.len());
        self.to.push(kind);
        let record = match position {
            Some(position) => self.at(position),
            None => {
                // The fan-out of another record says nothing about the user.
                self.fanout.clear();
                None
            }
        };
        self.origin(from);
        if let Some(from) = from {
            self.number(from);
        }
        self.user(decided.user);
        if let Some(record) = record {
            let audience = self.audience(decided, &record);
            self.to[at] |= audience << 4;
        }
        self.outcome(outcome);
        if from.is_some() {
            put(self.to, decided.decision.cost.as_nanos().into());
            put(self.to, decided.decision.bytes.into());
        }
    }

    /// Writes a part of a receipt.
    fn part(&mut self, part: &QueuedPart, decided: &[Decided]) {
        let told = &part.recipients;
        let with_reader = told.reader.map_or(0, |_| WITH_READER);
        self.to.push(kind::PART | with_reader << 4);
        self.at(told.position);
        put(self.to, told.part as u64);
        let acks = part.after + told.acks.start..part.after + told.acks.end;
        let acks = decided.get(acks).unwrap_or_default();
        self.acks(acks);
        if let Some(reader) = told.reader {
            self.user(reader);
        }
        put(self.to, told.others.len() as u64);
        for &user in &told.others {
            self.user(user);
        }
    }

    /// Writes the acknowledgements that a part comes from, if they all come from one other node and are not too many. Without
    /// them a device of that node is told of its own acknowledgement, which harms nobody.
    fn acks(&mut self, acks: &[Decided]) {
        let acks = if acks.len() > MOST_ACKS { &[] } else { acks };
        let mut from = acks.iter().map(|one| remote(&one.reply_to));
        let first = from.next().flatten();
        let same = |one: Option<Remote>| one.map(Remote::node) == first.map(Remote::node);
        let Some(first) = first.filter(|_| from.all(same)) else {
            self.origin(None);
            return;
        };
        self.origin(Some(first));
        put(self.to, acks.len() as u64);
        for remote in acks.iter().filter_map(|one| remote(&one.reply_to)) {
            self.number(remote);
        }
    }

    /// Writes a position, and goes to the record that begins there. Returns it.
    fn at(&mut self, position: Position) -> Option<Record<'a>> {
        put_difference(self.to, position.0, self.position.0);
        self.position = position;
        self.fanout.clear();
        let writer: &'a Writer = self.writer;
        let record = writer.appended(position)?;
        self.fanout.extend(record.fanout);
        Some(record)
    }

    /// Writes the origin of a command.
    fn origin(&mut self, from: Option<Remote>) {
        let Some(node) = from.map(Remote::node) else {
            put(self.to, 0);
            return;
        };
        let known = self.origins.iter().position(|origin| origin.node == node);
        let place = known.unwrap_or(self.origins.len());
        put(self.to, place as u64 + 1);
        if known.is_none() {
            self.origins.push(Origin { node, last: 0 });
            let Incarnation(id) = self.nodes[usize::from(node)];
            self.to.extend_from_slice(&id.to_le_bytes());
        }
    }

    /// Writes the number of a command, behind its origin.
    fn number(&mut self, from: Remote) {
        let mut origins = self.origins.iter_mut();
        if let Some(origin) = origins.find(|origin| origin.node == from.node()) {
            put_difference(self.to, from.number(), origin.last);
            origin.last = from.number();
        }
    }

    /// Writes a user.
    fn user(&mut self, user: UserId) {
        match self.fanout.iter().position(|one| *one == user) {
            Some(place) => put(self.to, place as u64 + 1),
            None => {
                put(self.to, 0);
                put_id(self.to, user);
            }
        }
    }

    /// Writes the audience of a record. Returns its kind.
    fn audience(&mut self, decided: &Decided, record: &Record<'_>) -> u8 {
        let caller = decided.user;
        match &decided.decision.audience {
            Audience::Nobody => audience::NOBODY,
            &Audience::One(other) => match self.fanout[..] {
                // The timelines behind them are of nobody.
                [one, two, ..] if one == caller && two == other => audience::FAN_OUT,
                _ => self.list(&[&[other]]),
            },
            Audience::Members(members) => self.fan_out_or_list(&[members]),
            &Audience::Channel(_, seeing) => {
                self.group(record);
                put(self.to, seeing);
                audience::CHANNEL
            }
            Audience::MembersAnd(both) => match self.fanout.split_last() {
                Some((_, gone)) if *gone == *both.gone => {
                    self.group(record);
                    audience::CHANNEL_AND_FAN_OUT
                }
                _ => self.fan_out_or_list(&[&both.members, &both.gone]),
            },
        }
    }

    /// Returns the fan-out as an audience if it begins with these users. One more timeline may follow, which is of
    /// nobody: that of messages that expire. Writes a list otherwise.
    fn fan_out_or_list(&mut self, users: &[&[UserId]]) -> u8 {
        let mut rest = &self.fanout[..];
        let begins = users.iter().all(|users| {
            let stripped = rest.strip_prefix(*users);
            rest = stripped.unwrap_or_default();
            stripped.is_some()
        });
        if begins && rest.len() <= 1 {
            return audience::FAN_OUT;
        }
        self.list(users)
    }

    /// Writes a list of users as an audience.
    fn list(&mut self, users: &[&[UserId]]) -> u8 {
        let count: usize = users.iter().map(|users| users.len()).sum();
        put(self.to, count as u64);
        for &user in users.iter().copied().flatten() {
            put_id(self.to, user);
        }
        audience::LIST
    }

    /// Writes the group whose record this is.
    fn group(&mut self, record: &Record<'_>) {
        let id = record.timeline;
        let known = self.groups.iter().position(|one| *one == id);
        let place = known.unwrap_or(self.groups.len());
        put(self.to, place as u64);
        if known.is_none() {
            self.groups.push(id);
            let body = Body::read(record.body);
            put_id(self.to, id);
            put_text(self.to, body.map_or("", |body| body.namespace));
        }
    }
    /// Writes what an outcome has besides its kind and its position.
    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Sent(_) | Outcome::Contacts { .. } => {}
            Outcome::Done(done, _) => {
                let (code, members) = done_code(done);
                self.to.push(code);
                if let Some(members) = members {
                    put(self.to, members);
                }
            }
            Outcome::Duplicate(place) => {
                put_id(self.to, place.timeline);
                put(self.to, place.seq);
                put(self.to, place.position.0);
            }
            Outcome::Made(key) => put_id(self.to, key),
            Outcome::Failed(code, text) | Outcome::NotAcked(code, text) => {
                put(self.to, code.code().into());
                let known = self.texts.iter().position(|one| *one == text);
                let place = known.unwrap_or(self.texts.len());
                put(self.to, place as u64);
                if known.is_none() {
                    self.texts.push(text);
                    put_text(self.to, text);
                }
            }
        }
    }
}

/// Returns the kind of the entry with an outcome.
const fn kind_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Sent(_) => kind::SENT,
        Outcome::Done(_, Some(_)) => kind::DONE_WITH_RECORD,
        Outcome::Done(_, None) => kind::DONE,
        Outcome::Duplicate(_) => kind::DUPLICATE,
        Outcome::Made(_) => kind::MADE,
        Outcome::Contacts { watch: false } => kind::CONTACTS,
        Outcome::Contacts { watch: true } => kind::CONTACTS_WATCHED,
        Outcome::Failed(..) => kind::FAILED,
        Outcome::NotAcked(..) => kind::NOT_ACKED,
    }
}

/// Returns the byte for a command that is done, and the number of members that its reply has.
const fn done_code(done: Done) -> (u8, Option<u64>) {
    match done {
        Done::Ack => (0, None),
        Done::Recall => (1, None),
        Done::Edit => (2, None),
        Done::Delete => (3, None),
        Done::React => (4, None),
        Done::GroupCreate { members } => (5, Some(members)),
        Done::GroupAdd { members } => (6, Some(members)),
        Done::GroupRemove { members } => (7, Some(members)),
        Done::GroupLeave => (8, None),
        Done::GroupRename => (9, None),
        Done::GroupRole => (10, None),
        Done::GroupSet => (11, None),
        Done::GroupJoin { members } => (12, Some(members)),
        Done::Pin => (13, None),
        Done::Unpin => (14, None),
        Done::Block => (15, None),
        Done::Unblock => (16, None),
        Done::Settings => (17, None),
        Done::Erase => (18, None),
    }
}
