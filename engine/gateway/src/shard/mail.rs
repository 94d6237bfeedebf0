//! What other threads tell a shard: committed batches and readers' answers.

use slab::Slab;
use smallvec::SmallVec;
use trunkline_core::event::{self, Kind};
use trunkline_core::exchange::{
    Answer, AnswerKind, Committed, ConnRef, Done, Item, Outcome, Part, Query,
};
use trunkline_core::ids::UserId;
use trunkline_core::store::{Batch, Position, Record};
use trunkline_proto::CloseCode;
use trunkline_proto::message::{
    self, AckReply, CaughtUp, Event, GroupCreateReply, GroupMembersReply, Push, ReplyBody,
    SendReply, ServerMessage,
};

use super::connection::{Conn, Phase};
use super::core::Core;
use crate::timer::ticks;

impl Core {
    /// Answers the senders and pushes to the recipients of a batch, in the order of the log.
    pub(crate) fn committed(&mut self, conns: &mut Slab<Conn>, committed: &Committed) {
        let batch = &*committed.batch;
        for item in &committed.items.list {
            match *item {
                Item::Deliver { user, position } => {
                    self.deliver(conns, batch, user, (position, 0), None);
                }
                Item::Part {
                    user,
                    position,
                    part,
                    except,
                } => self.deliver(conns, batch, user, (position, part), except),
                Item::Spread {
                    ref users,
                    position,
                } => {
                    for &user in &committed.items.users[users.clone()] {
                        self.deliver(conns, batch, user, (position, 0), None);
                    }
                }
                Item::Reply {
                    conn,
                    id,
                    user,
                    outcome,
                } => {
                    self.outcome(conns, committed, (conn, id), outcome);
                    if let Some(position) = outcome.position() {
                        self.deliver(conns, batch, user, (position, 0), Some(conn));
                    }
                }
            }
        }
        if !batch.is_empty() {
            self.seen = batch.last();
        }
    }

    fn outcome(
        &mut self,
        conns: &mut Slab<Conn>,
        committed: &Committed,
        (reference, id): (ConnRef, u32),
        outcome: Outcome,
    ) {
        let Some(conn) = find(conns, reference) else {
            return;
        };
        conn.in_flight -= 1;
        if !outcome.is_of_ack() {
            conn.writes -= 1;
            self.asking.written(reference.slot);
        }
        if matches!(conn.phase, Phase::Closing) {
            // Nothing comes behind a Close frame.
            return;
        }
        let (slot, batch) = (reference.slot, &*committed.batch);
        match outcome {
            Outcome::Sent(position) => {
                let record = batch.record_at(position);
                let Some(conversation) = event::conversation(record.body) else {
                    return self.leave(slot, conn);
                };
                self.parts.metrics.acks.one();
                let pos = self.frames.tokens.token(position);
                let reply = SendReply {
                    conversation: conversation.into(),
                    seq: record.seq,
                    pos: pos.as_str().into(),
                    time: committed.wire_time(record.time),
                    duplicate: false,
                };
                self.reply(slot, conn, id, ReplyBody::Send(reply));
            }
            Outcome::Duplicate(place) => {
                self.query(slot, conn, id, Query::Duplicate { place });
            }
            Outcome::Made(key) => self.query(slot, conn, id, Query::Made { key }),
            Outcome::Contacts { watch } => {
                if let Some(user) = conn.session().map(|session| session.id) {
                    let part = Part::WHOLE;
                    self.query(slot, conn, id, Query::Contacts { user, watch, part });
                }
            }
            Outcome::Done(done, position) => {
                let body = done_reply(done, position.map(|position| batch.record_at(position)));
                self.reply(slot, conn, id, body);
            }
            Outcome::Failed(code, message) | Outcome::NotAcked(code, message) => {
                self.fail(slot, conn, id, code, message);
            }
        }
        self.leave(slot, conn);
    }

    fn deliver(
        &mut self,
        conns: &mut Slab<Conn>,
        batch: &Batch,
        user: UserId,
        place: (Position, usize),
        except: Option<ConnRef>,
    ) {
        // A copy, which for most is one number: pushing borrows all of the shard.
        let slots = SmallVec::<[u32; 8]>::from_slice(self.users.get(user));
        for slot in slots {
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            if except != Some(Self::conn_ref(slot, conn)) {
                self.push(slot, conn, batch, place);
            }
        }
    }

    /// Passes on what a reader found.
    pub(crate) fn answered(&mut self, conns: &mut Slab<Conn>, answer: Answer) {
        if let Some(code) = answer.error {
            self.parts.metrics.error(code);
        }
        let reply = match answer.kind {
            AnswerKind::Reply { .. } | AnswerKind::SendReply | AnswerKind::Found { .. } => true,
            AnswerKind::CaughtUp { .. } | AnswerKind::Expired => false,
            AnswerKind::Dropped { counted } => counted,
        };
        self.recovering -= usize::from(!reply);
        let slot = answer.conn.slot;
        let Some(conn) = find(conns, answer.conn) else {
            return;
        };
        conn.in_flight -= u32::from(reply);
        self.questions.answered(slot, reply);
        self.asking.answered(slot);
        if !matches!(conn.phase, Phase::Open(_)) {
            return;
        }
        if !answer.frames.is_empty() {
            self.frames_of(slot, conn).extend_from_slice(&answer.frames);
        }
        match answer.kind {
            AnswerKind::Reply { paged } => conn.pages -= u8::from(paged),
            AnswerKind::SendReply => self.parts.metrics.acks.one(),
            // Only of those whose session is over, and so not here.
            AnswerKind::Dropped { .. } => return,
            AnswerKind::Found { id, finding, paged } => {
                conn.pages -= u8::from(paged);
                self.found(slot, conn, id, *finding);
            }
            AnswerKind::CaughtUp {
                began,
                reached,
                more,
                pushed,
            } => {
                for kind in Kind::ALL {
                    let count = pushed[kind as usize];
                    self.parts.metrics.pushed(kind).add(count.into());
                }
                self.resumed(slot, began);
                let Some(session) = conn.session_mut() else {
                    return;
                };
                let user = session.id;
                if !more && session.live_from <= reached {
                    session.catching_up = false;
                    let pos = self.frames.tokens.text(reached);
                    let event = Event::CaughtUp(CaughtUp { pos });
                    self.say(slot, conn, &ServerMessage::Push(Push { pos: None, event }));
                } else {
                    let query = Query::CatchUp {
                        user,
                        since: reached,
                        connect: None,
                    };
                    self.query(slot, conn, 0, query);
                }
            }
            // Without frames it was a later page that failed: the client comes back with the
            // last position it got.
            AnswerKind::Expired if answer.frames.is_empty() => {
                self.close(
                    slot,
                    conn,
                    CloseCode::SERVER_ERROR,
                    "the store could not be read",
                );
            }
            AnswerKind::Expired => {
                self.end_session(slot, conn);
                self.drop_questions(slot, conn);
                self.set_phase(conn, Phase::Upgraded);
                conn.deadline = self.now + ticks(self.parts.limits.connect_timeout);
                self.schedule(slot, conn, conn.deadline);
            }
        }
        self.leave(slot, conn);
    }
}

/// What is said of a command that was carried out, with the record that it is.
fn done_reply(done: Done, record: Option<Record<'_>>) -> ReplyBody<'_> {
    let nothing = message::Done {};
    match done {
        Done::Ack => ReplyBody::Ack(AckReply {}),
        Done::Recall => ReplyBody::Recall(nothing),
        Done::Delete => ReplyBody::Delete(nothing),
        Done::React => ReplyBody::React(nothing),
        Done::GroupCreate { members } => {
            let conversation = record.and_then(|record| event::conversation(record.body));
            ReplyBody::GroupCreate(GroupCreateReply {
                conversation: conversation.unwrap_or_default().into(),
                members,
                duplicate: false,
            })
        }
        Done::GroupAdd { members } => ReplyBody::GroupAdd(GroupMembersReply { members }),
        Done::GroupRemove { members } => ReplyBody::GroupRemove(GroupMembersReply { members }),
        Done::GroupLeave => ReplyBody::GroupLeave(nothing),
        Done::GroupRename => ReplyBody::GroupRename(nothing),
    }
}

/// The connection that is meant, if it is still there.
fn find(conns: &mut Slab<Conn>, reference: ConnRef) -> Option<&mut Conn> {
    conns
        .get_mut(reference.slot as usize)
        .filter(|conn| conn.generation == reference.generation)
}
