//! The answers and events that shards and callers receive after a commit.

use std::sync::Arc;

use trunkline_storage::{Batch, Epochs, Token};

use super::batch::Moment;
use super::price;
use super::refused::Refused;
use super::route::{self, Caller};
use crate::cost::Cost;
use crate::directory::Directory;
use crate::exchange::{
    CallAnswer, Committed, Failure, Item, Items, Mail, Mailbox, Next, Outcome, ReplyTo, UNREADABLE,
};
use crate::hub::BlockChange;
use crate::ids::UserId;
use crate::metrics::SequencerMetrics;
use crate::owned;
use crate::position::Tokens;
use crate::told::{Decided, Decision, PartRecipients, QueuedPart, Told};

/// The answers and events of the batch under construction. They leave when the batch is committed.
pub(crate) struct Outbox {
    directory: Arc<Directory>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// The decided commands, in the order of their records.
    decided: Vec<Decided>,
    /// The parts of receipts, in the order of their records.
    parts: Vec<QueuedPart>,
    /// The items for each shard, filled after the commit.
    outgoing: Vec<Items>,
    metrics: Arc<SequencerMetrics>,
}

/// A committed batch, with what readers of its records need.
#[derive(Clone, Copy)]
pub(crate) struct Published<'a> {
    pub(crate) batch: &'a Arc<Batch>,
    /// How far the wire time is ahead of the time in the records, in milliseconds, modulo 2^64.
    pub(crate) ahead: u64,
    /// The epochs that prove the positions in answers.
    pub(crate) epochs: &'a Epochs,
}

impl Outbox {
    /// Returns an empty outbox for the shards that own these mailboxes.
    pub(crate) fn new(
        directory: Arc<Directory>,
        mailboxes: Vec<Arc<Mailbox>>,
        metrics: Arc<SequencerMetrics>,
    ) -> Self {
        Self {
            directory,
            outgoing: mailboxes.iter().map(|_| Items::default()).collect(),
            mailboxes,
            decided: Vec::new(),
            parts: Vec::new(),
            metrics,
        }
    }

    /// Returns the directory and the mailboxes of the shards.
    pub(crate) fn into_parts(self) -> (Arc<Directory>, Vec<Arc<Mailbox>>) {
        (self.directory, self.mailboxes)
    }

    /// Returns whether no command waits for the commit.
    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    /// Adds the answer to a command of `user`. The cost of the pushes comes beside that of the
    /// decision. `read_at` is that of the command, and 0 for an acknowledgement.
    pub(crate) fn answer(
        &mut self,
        reply_to: ReplyTo,
        user: UserId,
        read_at: u32,
        decision: Decision,
    ) {
        self.decided.push(Decided {
            reply_to,
            user,
            read_at,
            decision,
        });
    }

    /// Adds a part of a receipt, which follows the answers added so far.
    pub(crate) fn tell(&mut self, recipients: PartRecipients) {
        self.parts.push(QueuedPart {
            after: self.decided.len(),
            recipients,
        });
    }

    /// Returns what a commit of the batch tells. `blocks` are the changes of blocks in it, and
    /// `moment` is its time.
    pub(super) fn told<'a>(&'a self, blocks: &'a [BlockChange], moment: Moment) -> Told<'a> {
        Told {
            decided: &self.decided,
            parts: &self.parts,
            blocks,
            steady: moment.steady,
            ahead: moment.ahead(),
        }
    }

    /// Replaces the answers with a refusal and drops the receipts, because the commit failed.
    pub(super) fn refuse(&mut self, refused: Refused) {
        let refusal = refused.outcome();
        for Decided { decision, .. } in &mut self.decided {
            let outcome = &mut decision.outcome;
            // An outcome without a record fails too: it may follow from a record of this batch.
            if let Outcome::Sent(_) | Outcome::Done(..) | Outcome::Contacts { .. } = *outcome {
                *outcome = if outcome.is_of_ack() {
                    refusal.of_ack()
                } else {
                    refusal
                };
            }
        }
        self.parts.clear();
    }

    /// Replaces the answers with an error reply and drops the receipts, because nobody knows what became of the commands.
    pub(crate) fn fail(&mut self, (code, text): Failure) {
        self.refuse(Refused::new(code, text));
    }

    /// Sends all answers and events of a committed batch, and empties the outbox.
    pub(crate) fn publish(&mut self, published: Published<'_>) {
        if !published.batch.is_empty() {
            // The head rises before the first look-up of a user: see `Directory`.
            self.directory.raise_head(published.batch.last());
        }
        let mut decided = std::mem::take(&mut self.decided);
        let mut parts = std::mem::take(&mut self.parts).into_iter().peekable();
        for (number, decided) in decided.iter().enumerate() {
            while let Some(part) = parts.next_if(|part| part.after <= number) {
                self.route_part(&part);
            }
            self.route(decided, published);
        }
        for part in parts {
            self.route_part(&part);
        }
        decided.clear();
        self.decided = decided;
        for (items, mailbox) in self.outgoing.iter_mut().zip(&self.mailboxes) {
            if !items.is_empty() {
                let items = std::mem::replace(items, mailbox.spare_items());
                let mail = Mail::Committed(Committed {
                    batch: Arc::clone(published.batch),
                    items,
                    ahead: published.ahead,
                });
                let waits = mailbox.put_waiting(mail);
                self.metrics.mailbox_waits.add(waits);
            }
        }
    }

    fn route_part(&mut self, part: &QueuedPart) {
        route::route_part(&self.directory, &mut self.outgoing, &part.recipients);
    }

    /// Answers a command, and lists its record for the shards of its recipients.
    fn route(&mut self, decided: &Decided, published: Published<'_>) {
        let Decided {
            ref reply_to,
            user,
            read_at,
            decision:
                Decision {
                    outcome,
                    ref audience,
                    cost,
                    bytes,
                },
        } = *decided;
        let mut own = None;
        let shard = match reply_to {
            ReplyTo::Conn(to) => {
                let shard = usize::from(to.shard);
                own = Some((shard, self.outgoing[shard].list.len()));
                self.outgoing[shard].list.push(Item::Reply {
                    conn: to.conn,
                    id: to.id,
                    user,
                    outcome,
                    cost,
                    bytes,
                    read_at,
                });
                Some(shard)
            }
            ReplyTo::Call(_) | ReplyTo::Remote(_) => None,
        };
        let mut pushed = Cost::NONE;
        match outcome.position() {
            Some(position) => {
                let caller = Caller { user, shard };
                let (directory, outgoing) = (&self.directory, &mut self.outgoing);
                let recipients = route::route(directory, outgoing, caller, audience, position);
                pushed = price::pushed(recipients, bytes as usize);
                if let Some((shard, place)) = own
                    && let Item::Reply { cost, .. } = &mut outgoing[shard].list[place]
                {
                    *cost += pushed;
                }
            }
            None if matches!(outcome, Outcome::Failed(..) | Outcome::NotAcked(..)) => {
                self.metrics.failed.one();
            }
            None => {}
        }
        if let ReplyTo::Call(call) = reply_to {
            call.answer(value(user, outcome, published), cost + pushed);
        }
    }
}

/// Returns the answer to a command for a caller in this process.
#[cold]
fn value(user: UserId, outcome: Outcome, published: Published<'_>) -> CallAnswer {
    let mut tokens = Tokens::new(published.epochs);
    let mut pos = Token::default();
    let batch = (&**published.batch, published.ahead);
    match outcome.next(user, batch, &mut tokens, &mut pos) {
        Some(Next::Reply(body)) => CallAnswer::Reply(owned::reply(body)),
        Some(Next::Ask(query)) => CallAnswer::Ask(query),
        Some(Next::Failed(failure)) => CallAnswer::Failed(failure),
        None => CallAnswer::Failed(UNREADABLE),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::{Encoding, ErrorCode};
    use trunkline_storage::{Draft, Position, TimelineId};

    use super::super::fixture::Fixture;
    use super::*;
    use crate::exchange::{Call, ConnRef, Done, NoSleeper, ReplyConn};
    use crate::ids::DeviceMark;
    use crate::told::Audience;

    const ALICE: UserId = TimelineId(1);
    const BOB: UserId = TimelineId(2);
    const REFUSED: Refused = Refused::new(ErrorCode::StorageFull, "full");

    fn conn(id: u32) -> ReplyTo {
        ReplyTo::Conn(ReplyConn {
            shard: 0,
            encoding: Encoding::Json,
            conn: ConnRef {
                slot: id,
                generation: 0,
            },
            id,
        })
    }

    /// Returns an outbox with a message, a receipt and an acknowledgement, and its only mailbox.
    fn outbox(position: Position) -> (Outbox, Arc<Mailbox>) {
        let directory = Arc::new(Directory::new(Position::ZERO));
        directory.enter(BOB, 0, DeviceMark([0; 4]));
        let mailbox = Arc::new(Mailbox::new(Box::new(NoSleeper)));
        let mut outbox = Outbox::new(directory, vec![Arc::clone(&mailbox)], Arc::default());
        assert!(outbox.is_empty());
        let sent = Decision {
            outcome: Outcome::Sent(position),
            audience: Audience::One(BOB),
            cost: Cost::NONE,
            bytes: 2 << 10,
        };
        outbox.answer(conn(1), ALICE, 0, sent);
        outbox.tell(PartRecipients {
            position,
            part: 0,
            reader: Some(BOB),
            device: None,
            others: [ALICE].into_iter().collect(),
            acks: 0..1,
        });
        outbox.answer(conn(2), BOB, 0, Decision::unchanged(Done::Ack));
        (outbox, mailbox)
    }

    /// Publishes a batch and returns what the shard gets, in order.
    fn published(outbox: &mut Outbox, batch: &Arc<Batch>, mailbox: &Mailbox) -> Vec<String> {
        let store = Fixture::new().batch;
        outbox.publish(Published {
            batch,
            ahead: 0,
            epochs: store.store().epochs(),
        });
        assert!(outbox.is_empty());
        let Some(Mail::Committed(committed)) = mailbox.take() else {
            panic!("there is mail");
        };
        let told = |item: &Item| match item {
            Item::Reply { id, outcome, .. } => match outcome {
                Outcome::Failed(..) | Outcome::NotAcked(..) => format!("failed {id}"),
                _ => format!("reply {id}"),
            },
            Item::Deliver { user, .. } => format!("record to {}", user.0),
            Item::Part { user, .. } => format!("part to {}", user.0),
            Item::Spread { .. } => "spread".to_owned(),
        };
        committed.items.list.iter().map(told).collect()
    }

    #[test]
    fn answers_and_events_leave_in_the_order_of_the_log() {
        let mut store = Fixture::new().batch;
        let draft = Draft {
            timeline: TimelineId(9),
            ..Draft::default()
        };
        let position = store.append(&draft, &mut Vec::new()).unwrap();
        let batch = store.commit(Told::default()).unwrap();
        let (mut outbox, mailbox) = outbox(position);
        let told = published(&mut outbox, &batch, &mailbox);
        // Alice has no session, so the part goes to Bob only.
        assert_eq!(told, ["reply 1", "record to 2", "part to 2", "reply 2"]);
        assert_eq!(outbox.directory.head(), position);
    }

    #[test]
    fn a_failed_commit_refuses_all_answers_and_tells_nobody() {
        let (mut outbox, mailbox) = outbox(Position(64));
        outbox.refuse(REFUSED);
        let told = published(&mut outbox, &Arc::default(), &mailbox);
        assert_eq!(told, ["failed 1", "failed 2"]);
        assert_eq!(outbox.metrics.failed.get(), 2);
        assert_eq!(outbox.directory.head(), Position::ZERO);
    }

    #[test]
    fn a_call_gets_its_answer_as_a_value() {
        let (mut outbox, _mailbox) = outbox(Position(64));
        outbox.refuse(REFUSED);
        let (call, pending) = Call::new();
        let done = Decision::unchanged(Done::Ack);
        outbox.answer(ReplyTo::Call(call), ALICE, 0, done);
        let store = Fixture::new().batch;
        outbox.publish(Published {
            batch: &Arc::default(),
            ahead: 0,
            epochs: store.store().epochs(),
        });
        let answered = pending.wait(std::time::Duration::ZERO).unwrap();
        let answer = answered.answer;
        assert!(matches!(answer, CallAnswer::Reply(_)), "{answer:?}");
    }
}
