//! The mail of a shard: committed batches, and the answers of readers.

use slab::Slab;
use smallvec::SmallVec;
use trunkline_core::cost::Cost;
use trunkline_core::event::RecordKind;
use trunkline_core::exchange::{
    Answer, AnswerKind, Committed, ConnRef, Item, Next, Outcome, Query,
};
use trunkline_core::ids::UserId;
use trunkline_core::store::{Batch, Token};
use trunkline_proto::CloseCode;
use trunkline_proto::message::{CaughtUp, Event, Push, ServerMessage};

use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Work;
use crate::session::EventRef;

/// A command that the sequencer has decided.
struct Decided {
    /// The connection that sent the command.
    conn: ConnRef,
    /// The client's id for the command.
    id: u32,
    /// The user who sent the command.
    user: UserId,
    /// The outcome of the command.
    outcome: Outcome,
    /// The cost of the command, besides reading it.
    cost: Cost,
    /// The length of the command's body in bytes.
    bytes: u32,
    /// The time at which this shard read the command, as [`Turn::micros`](super::turn::Turn::micros).
    read_at: u32,
}

/// The number of recipients from which on the flushes of an event wait for each other, and let those
/// of answers and of events for few pass.
const CROWD: usize = 16;

/// An event for connections of a user.
#[derive(Clone, Copy)]
struct Delivery {
    /// The event.
    event: EventRef,
    /// The connection that does not get the event.
    except: Option<ConnRef>,
    /// Many users get the event.
    crowd: bool,
}

impl Delivery {
    /// Returns an event for all connections.
    const fn all(event: EventRef) -> Self {
        Self {
            event,
            except: None,
            crowd: false,
        }
    }
}

impl Core {
    /// Answers the senders and pushes to the recipients of a batch, in the order of the log.
    pub(super) fn committed(&mut self, conns: &mut Slab<Conn>, committed: &Committed) {
        let batch = &*committed.batch;
        for item in &committed.items.list {
            match *item {
                Item::Deliver { user, position } => {
                    self.deliver(conns, batch, user, Delivery::all(EventRef::first(position)));
                }
                Item::Part {
                    user,
                    position,
                    part,
                    except,
                } => {
                    let delivery = Delivery {
                        event: EventRef { position, part },
                        except,
                        crowd: false,
                    };
                    self.deliver(conns, batch, user, delivery);
                }
                Item::Spread {
                    ref users,
                    position,
                } => {
                    let delivery = Delivery {
                        crowd: users.len() > CROWD,
                        ..Delivery::all(EventRef::first(position))
                    };
                    for &user in &committed.items.users[users.clone()] {
                        self.deliver(conns, batch, user, delivery);
                    }
                }
                Item::Reply {
                    conn,
                    id,
                    user,
                    outcome,
                    cost,
                    bytes,
                    read_at,
                } => {
                    let decided = Decided {
                        conn,
                        id,
                        user,
                        outcome,
                        cost,
                        bytes,
                        read_at,
                    };
                    self.decided(conns, committed, &decided);
                    if let Some(position) = outcome.position() {
                        let delivery = Delivery {
                            except: Some(conn),
                            ..Delivery::all(EventRef::first(position))
                        };
                        self.deliver(conns, batch, user, delivery);
                    }
                }
            }
        }
        self.frames.forget_large();
        if !batch.is_empty() {
            self.seen = batch.last();
        }
    }

    /// Reads a connection again that waited for answers and has half of them. Reading it looks for other
    /// reasons to wait.
    #[cold]
    pub(super) fn go_on_reading(&mut self, slot: u32, conn: &mut Conn) {
        let room = conn.unanswered.has_room(self.handoff.bytes_for_one());
        if room && conn.incoming.resume(self.turn.now()) {
            conn.incoming.read_later(slot, &mut self.turn);
        }
    }

    /// Answers a command that the sequencer has decided.
    fn decided(&mut self, conns: &mut Slab<Conn>, committed: &Committed, decided: &Decided) {
        let Some(conn) = find(conns, decided.conn) else {
            self.charge_gone(Some(decided.user), Work::Decide, decided.cost);
            return;
        };
        let Decided {
            id,
            user,
            outcome,
            cost,
            bytes,
            ..
        } = *decided;
        let slot = decided.conn.slot;
        self.charge(slot, conn, Work::Decide, cost);
        let ordered = !outcome.is_of_ack();
        conn.unanswered.decided(ordered, bytes, cost);
        if conn.incoming.is_paused() {
            self.go_on_reading(slot, conn);
        }
        if ordered {
            self.reads.written(slot);
        }
        if conn.is_closing() {
            // Nothing comes after a Close frame.
            return;
        }
        let commit = (&*committed.batch, committed.ahead);
        let mut pos = Token::default();
        match outcome.next(user, commit, &mut self.frames.tokens, &mut pos) {
            Some(Next::Reply(body)) => {
                if matches!(outcome, Outcome::Sent(_)) {
                    let metrics = &self.parts.metrics;
                    metrics.acks.one();
                    let took = self.turn.micros().wrapping_sub(decided.read_at);
                    metrics.sends.note(took);
                }
                self.reply(slot, conn, id, body);
            }
            // The session that asked for its contacts is over.
            Some(Next::Ask(Query::Contacts { .. })) if conn.session().is_none() => {}
            Some(Next::Ask(query)) => {
                self.query(slot, conn, id, query);
            }
            Some(Next::Failed((code, message))) => self.fail(slot, conn, id, code, message),
            None => {}
        }
        self.leave(slot, conn);
    }

    /// Pushes an event to connections of a user.
    fn deliver(&mut self, conns: &mut Slab<Conn>, batch: &Batch, user: UserId, delivery: Delivery) {
        match *self.users.get(user) {
            [] => {}
            // Most users have one device.
            [slot] => self.deliver_to(conns, batch, (user, slot), delivery),
            ref slots => {
                // A copy: pushing borrows the whole shard.
                let slots = SmallVec::<[u32; 8]>::from_slice(slots);
                let crowd = delivery.crowd || slots.len() > CROWD;
                for slot in slots {
                    let delivery = Delivery { crowd, ..delivery };
                    self.deliver_to(conns, batch, (user, slot), delivery);
                }
            }
        }
    }

    /// Pushes an event to a connection of a user.
    fn deliver_to(
        &mut self,
        conns: &mut Slab<Conn>,
        batch: &Batch,
        (user, slot): (UserId, u32),
        delivery: Delivery,
    ) {
        if let Some(conn) = conns.get_mut(slot as usize)
            && conn.is_of(user)
            && delivery.except != Some(conn.reference(slot))
        {
            self.push(slot, conn, batch, delivery.event, delivery.crowd);
        }
    }

    /// Passes a reader's answer on to the connection that asked.
    pub(super) fn answered(&mut self, conns: &mut Slab<Conn>, answer: Answer) {
        if let Some(code) = answer.error {
            self.parts.metrics.error(code);
        }
        let reply = match answer.kind {
            AnswerKind::Reply { .. } | AnswerKind::SendReply | AnswerKind::Found { .. } => true,
            AnswerKind::CaughtUp { .. } | AnswerKind::Expired => false,
            AnswerKind::Dropped { counted } => counted,
        };
        if !reply {
            self.reads.recovered();
        }
        let slot = answer.conn.slot;
        let Some(conn) = find(conns, answer.conn) else {
            self.charge_gone(None, Work::Read, answer.cost);
            return;
        };
        self.charge(slot, conn, Work::Read, answer.cost);
        self.reads.answered(slot, &mut conn.unanswered, reply);
        if conn.incoming.is_paused() {
            self.go_on_reading(slot, conn);
        }
        if conn.session().is_none() {
            return;
        }
        let told = !answer.frames.is_empty();
        if told {
            conn.out.flush_later(slot, &mut self.turn);
            conn.out.append(&mut self.pool, answer.frames);
        }
        match answer.kind {
            AnswerKind::Reply { paged } => conn.unanswered.page_came(paged),
            AnswerKind::SendReply => self.parts.metrics.acks.one(),
            // The session of a dropped question is over, so it does not get here.
            AnswerKind::Dropped { .. } => return,
            AnswerKind::Found { id, finding, paged } => {
                conn.unanswered.page_came(paged);
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
                let keep = self.resuming.caught_up(slot, began, self.turn.now());
                self.handoff.keep(keep);
                let Some(session) = conn.session_mut() else {
                    return;
                };
                let user = session.id;
                if !more && session.caught_up(reached) {
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
            // Without frames, a later page failed: the client reconnects with its last position.
            AnswerKind::Expired if !told => {
                self.close(
                    slot,
                    conn,
                    CloseCode::SERVER_ERROR,
                    "the store could not be read",
                );
            }
            AnswerKind::Expired => {
                self.end_session(slot, conn);
                self.reads.forget(slot, &mut conn.unanswered);
                conn.enter(Phase::Upgraded, &mut self.admission);
                let timeout = self.timeouts.connect;
                conn.times.set_deadline(slot, &mut self.turn, timeout);
            }
        }
        self.leave(slot, conn);
    }
}

/// Returns the connection of a reference, if it still exists.
pub(super) fn find(conns: &mut Slab<Conn>, reference: ConnRef) -> Option<&mut Conn> {
    conns
        .get_mut(reference.slot as usize)
        .filter(|conn| conn.reference(reference.slot) == reference)
}
