//! What other threads tell a shard: committed batches and readers' answers.

use slab::Slab;
use smallvec::SmallVec;
use trunkline_core::event::RecordKind;
use trunkline_core::exchange::{
    Answer, AnswerKind, Committed, ConnRef, Item, Next, Outcome, Query,
};
use trunkline_core::ids::UserId;
use trunkline_core::store::{Batch, Position, Token};
use trunkline_proto::CloseCode;
use trunkline_proto::message::{CaughtUp, Event, Push, ServerMessage};

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
                    self.outcome(conns, committed, (conn, id, user), outcome);
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
        (reference, id, user): (ConnRef, u32, UserId),
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
        let slot = reference.slot;
        let commit = (&*committed.batch, committed.ahead);
        let mut pos = Token::default();
        match outcome.next(user, commit, &mut self.frames.tokens, &mut pos) {
            Some(Next::Reply(body)) => {
                if matches!(outcome, Outcome::Sent(_)) {
                    self.parts.metrics.acks.one();
                }
                self.reply(slot, conn, id, body);
            }
            // Contacts are shown to a session.
            Some(Next::Ask(Query::Contacts { .. })) if conn.session().is_none() => {}
            Some(Next::Ask(query)) => self.query(slot, conn, id, query),
            Some(Next::Failed((code, message))) => self.fail(slot, conn, id, code, message),
            None => {}
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
                for kind in RecordKind::ALL {
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
                conn.deadline = self.turn.now() + ticks(self.parts.limits.connect_timeout);
                self.schedule(slot, conn, conn.deadline);
            }
        }
        self.leave(slot, conn);
    }
}

/// The connection that is meant, if it is still there.
fn find(conns: &mut Slab<Conn>, reference: ConnRef) -> Option<&mut Conn> {
    conns
        .get_mut(reference.slot as usize)
        .filter(|conn| conn.generation == reference.generation)
}
