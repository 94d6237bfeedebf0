//! What the connections of nodes get.

use std::collections::HashMap;
use std::ops::ControlFlow;

use trunkline_proto::message::ReplyBody;
use trunkline_storage::{Position, Reader};

use super::world::{Node, Seat};
use crate::exchange::{CallAnswer, Committed, ConnRef, Item, Mail, Outcome, Query};
use crate::ids::{Ids, UserId};
use crate::told::{Entry, Heard, HeardAudience};

/// The kind, timeline and sequence of each record.
pub(super) type Records = Vec<(u8, u128, u64)>;

/// What came of a history.
pub(super) struct Ran {
    /// The records of the store.
    pub(super) records: Records,
    /// What each seat got, in order.
    pub(super) got: Vec<Vec<String>>,
    /// The answers to the calls.
    pub(super) calls: Vec<Vec<String>>,
    /// The audiences of what was told.
    pub(super) audiences: Vec<String>,
}

/// Returns the connection of a seat.
pub(super) fn conn(seat: usize) -> ConnRef {
    ConnRef {
        slot: seat as u32,
        generation: 3,
    }
}

/// Returns an answer to a call as text, without times and positions.
pub(super) fn answer(answer: &CallAnswer) -> String {
    match answer {
        CallAnswer::Reply(ReplyBody::Send(sent)) => {
            format!("sent {} {}", sent.conversation, sent.seq)
        }
        CallAnswer::Reply(other) => format!("reply {other:?}"),
        CallAnswer::Ask(Query::Duplicate { place }) => {
            format!("duplicate {:?} {}", place.timeline, place.seq)
        }
        CallAnswer::Ask(query) => format!("ask {query:?}"),
        CallAnswer::Found(found) => format!("found {found:?}"),
        CallAnswer::Failed((code, text)) => format!("failed {code:?} {text}"),
    }
}

/// Returns the outcome of a command as text. `number` has the numbers of records.
fn outcome(outcome: Outcome, number: &HashMap<Position, usize>) -> String {
    match outcome {
        Outcome::Sent(position) => format!("sent {}", number[&position]),
        Outcome::Done(done, position) => {
            format!(
                "done {done:?} {:?}",
                position.map(|position| number[&position])
            )
        }
        Outcome::Duplicate(place) => format!("duplicate {:?} {}", place.timeline, place.seq),
        Outcome::Failed(code, text) => format!("failed {code:?} {text}"),
        other => format!("other {other:?}"),
    }
}

/// Returns the records of a store, and the number of each by its position.
pub(super) fn records(store: &Reader) -> (Records, HashMap<Position, usize>) {
    let (mut records, mut numbers) = (Vec::new(), HashMap::new());
    let followed = store.follow(Position::ZERO, &mut |record| {
        numbers.insert(record.position, records.len());
        records.push((record.kind, record.timeline.0, record.seq));
        ControlFlow::Continue(())
    });
    followed.unwrap();
    (records, numbers)
}

/// The seats of one node, and the numbers of its records.
struct Watched<'a> {
    ids: Ids,
    seats: &'a [Seat],
    numbers: HashMap<Position, usize>,
}

impl Watched<'_> {
    /// Does the work of a shard for a commit, as the gateway does it.
    fn work(
        &self,
        at: impl Fn(Seat) -> Option<usize>,
        shard: usize,
        committed: &Committed,
        got: &mut [Vec<String>],
    ) {
        let of = |user: UserId| {
            let seats = self.seats.iter().enumerate();
            let here = seats.filter(move |(_, seat)| self.ids.user("", seat.user) == user);
            here.filter(|(_, seat)| at(**seat) == Some(shard))
                .map(|(number, _)| number)
        };
        let number = |position: Position| {
            let _ = committed.batch.record_at(position);
            self.numbers[&position]
        };
        for item in &committed.items.list {
            match *item {
                Item::Reply {
                    conn,
                    user,
                    outcome: came,
                    id,
                    ..
                } => {
                    let asker = conn.slot as usize;
                    assert_eq!(self.ids.user("", self.seats[asker].user), user);
                    got[asker].push(format!("{} of {id}", outcome(came, &self.numbers)));
                    if let Some(position) = came.position() {
                        for seat in of(user).filter(|seat| *seat != asker) {
                            got[seat].push(format!("push {}", number(position)));
                        }
                    }
                }
                Item::Deliver { user, position } => {
                    of(user).for_each(|seat| got[seat].push(format!("push {}", number(position))));
                }
                Item::Spread {
                    ref users,
                    position,
                } => {
                    for &user in &committed.items.users[users.clone()] {
                        of(user)
                            .for_each(|seat| got[seat].push(format!("push {}", number(position))));
                    }
                }
                Item::Part {
                    user,
                    position,
                    part,
                    except,
                } => {
                    let not = except.map(|conn| conn.slot as usize);
                    for seat in of(user).filter(|seat| Some(*seat) != not) {
                        got[seat].push(format!("part {}.{part}", number(position)));
                    }
                }
            }
        }
    }
}

/// Lets the shards of a node work. `at` says at which shard a seat is; `None` if it is at another node.
pub(super) fn work(
    node: &Node,
    seats: &[Seat],
    at: impl Fn(Seat) -> Option<usize>,
    got: &mut [Vec<String>],
) {
    let watched = Watched {
        ids: node.ids,
        seats,
        numbers: records(&node.store).1,
    };
    for (shard, mailbox) in node.mailboxes.iter().enumerate() {
        while let Some(mail) = mailbox.take() {
            let Mail::Committed(committed) = mail else {
                panic!("{mail:?}");
            };
            watched.work(&at, shard, &committed, got);
        }
    }
}

/// Returns the audiences in what was told.
pub(super) fn heard(told: &[u8]) -> Vec<String> {
    let heard = Heard::read(told).unwrap();
    let audiences = heard.entries().filter_map(|entry| match entry {
        Entry::Command { audience, .. } => Some(audience),
        Entry::Part { .. } => None,
    });
    let names = audiences.map(|audience| match audience {
        HeardAudience::Nobody => "audience nobody",
        HeardAudience::FanOut => "audience fan-out",
        HeardAudience::Channel(_, 0) => "audience channel",
        HeardAudience::Channel(..) => "audience seeing",
        HeardAudience::ChannelAndFanOut(_) => "audience gone",
        HeardAudience::List(_) => "audience list",
    });
    names.map(str::to_owned).collect()
}
