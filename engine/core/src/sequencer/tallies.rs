//! The tallies: the number of messages of each author in a stretch, so that readers count unread
//! messages without reading them.
//!
//! The sequencer counts in memory ([`counts`](super::counts)), and the record of the message that
//! ends a stretch carries the tally of the stretch. If the counts in memory are incomplete, the
//! sequencer reads the stretch from the store. That happens once per stretch, and only if the
//! conversation fell out of memory.

use trunkline_storage::{Order, Page, TimelineId};

use super::asked::Asked;
use super::batch::{Changes, OpenBatch};
use super::counts::before;
use super::recent::Recent;
use super::refused::{CORRUPT, Refused, Stop, unreadable};
use crate::event::Body;
use crate::exchange::Members;
use crate::ids::{Side, UserId};
use crate::state::{self, Level, STRETCH, Tally};

/// Adds to `changes` the tallies of the stretches that the command's message ends. `seq` is the
/// sequence that the message gets.
///
/// # Errors
/// The store could not be read, or the batch must be committed first.
pub(super) fn end_stretch(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
    changes: &mut Changes,
) -> Result<(), Stop> {
    if !Level::Short.ends_with(seq) {
        return Ok(());
    }
    let mut tally = match counted(batch, recent, command, seq)? {
        Some(tally) => tally,
        None => count(batch, command.conversation, seq)?,
    };
    tally.add(command.user, 1);
    let stretch = Level::Short.stretch(seq);
    let key = Level::Short.key(batch.ids(), command.conversation, stretch);
    changes.push((key, state::encode(&tally)));
    if Level::Long.ends_with(seq)
        && let Some(tally) = sum_of_long(batch, command.conversation, seq, tally)?
    {
        let stretch = Level::Long.stretch(seq);
        let key = Level::Long.key(batch.ids(), command.conversation, stretch);
        changes.push((key, state::encode(&tally)));
    }
    Ok(())
}

/// Returns the tally of the messages of the stretch before `seq` from memory; `None` if memory has
/// not counted all of them.
fn counted(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
) -> Result<Option<Tally>, Refused> {
    let Members::Direct { other, side } = command.members else {
        return Ok(recent.group_of(batch, command)?.counted(seq));
    };
    let conversation = recent.conversation(command.conversation)?;
    let Some([own, others]) = conversation.counted(seq, side) else {
        return Ok(None);
    };
    let mut tally = Tally::default();
    tally.add(command.user, own.into());
    tally.add(other, others.into());
    Ok(Some(tally))
}

/// Counts the messages of a stretch before `end`, which is the last message of the stretch, in the
/// store.
fn count(batch: &OpenBatch, conversation: TimelineId, end: u64) -> Result<Tally, Stop> {
    batch.check_committed()?;
    let (mut tally, mut page) = (Tally::default(), Page::default());
    let mut next = end - before(end);
    while next < end {
        page.clear();
        let (seqs, most) = (next..=end - 1, STRETCH as usize);
        let store = batch.store();
        store
            .range(conversation, seqs, most, Order::Ascending, &mut page)
            .map_err(|error| unreadable(&error))?;
        let Some(last) = page.records().last().map(|record| record.seq) else {
            break;
        };
        for record in page.records() {
            batch.count_read(record.body.len());
            let body = Body::read(record.body).ok_or(CORRUPT)?;
            let author = batch.ids().user(body.namespace, body.user);
            tally.add(author, u32::from(!body.recalled));
        }
        next = last + 1;
    }
    Ok(tally)
}

/// Returns the tally of the long stretch that ends with message `end`. `tally` is that of its last
/// short stretch. `None` if the tally of another short stretch is missing, or there are too many
/// authors.
fn sum_of_long(
    batch: &OpenBatch,
    conversation: TimelineId,
    end: u64,
    tally: Tally,
) -> Result<Option<Tally>, Refused> {
    let first = end + 1 - Level::Long.messages();
    let stretches = Level::Short.stretch(first)..Level::Short.stretch(end);
    let mut sum = Some(tally);
    for stretch in stretches {
        let key = Level::Short.key(batch.ids(), conversation, stretch);
        sum = match (sum, batch.decoded::<Tally>(key)?) {
            (Some(sum), Some(short)) => sum.with(&short),
            _ => return Ok(None),
        };
    }
    Ok(sum)
}

/// Returns the tallies of the stretches of a message without one message of its author. A long one is
/// removed: readers then add the short ones.
fn take_one(
    batch: &OpenBatch,
    conversation: TimelineId,
    seq: u64,
    author: UserId,
) -> Result<Changes, Refused> {
    let mut changes = Changes::new();
    for level in Level::ALL {
        let key = level.key(batch.ids(), conversation, level.stretch(seq));
        if let Some(mut tally) = batch.decoded::<Tally>(key)?
            && tally.take(author)
        {
            let value = match tally.is_long(level) {
                true => Vec::new(),
                false => state::encode(&tally),
            };
            changes.push((key, value));
        }
    }
    Ok(changes)
}

/// Subtracts a message that its author recalls from the tallies of its stretches. Returns the
/// changed values.
///
/// # Errors
/// The store could not be read.
pub(super) fn uncount(
    batch: &OpenBatch,
    recent: &mut Recent,
    command: Asked<'_>,
    seq: u64,
) -> Result<Changes, Refused> {
    let changes = take_one(batch, command.conversation, seq, command.user)?;
    let conversation = recent.conversation(command.conversation)?;
    let last = conversation.last_seq();
    match command.members {
        Members::Direct { side, .. } => conversation.uncount(seq, side),
        // Its author may have left the group.
        Members::Group => {
            let (namespace, id) = (command.namespace()?, command.conversation);
            if let Some(group) = recent.groups().get(batch, namespace, id)? {
                group.uncount(seq, last, command.user);
            }
        }
    }
    Ok(changes)
}

/// Subtracts a message that has expired from the tallies of its stretches.
///
/// # Errors
/// The store could not be read.
pub(super) fn uncount_expired(
    batch: &OpenBatch,
    (conversation, seq): (TimelineId, u64),
    author: UserId,
    changes: &mut Changes,
) -> Result<(), Refused> {
    changes.extend(take_one(batch, conversation, seq, author)?);
    Ok(())
}

/// Subtracts a message that has expired from what memory has counted. `side` is the side of its author in
/// a 1:1 conversation, and `last` the last sequence of the conversation.
pub(super) fn forget_expired(
    recent: &mut Recent,
    (conversation, seq): (TimelineId, u64),
    last: u64,
    (author, side): (UserId, Option<Side>),
) {
    match side {
        Some(side) => {
            if let Ok(held) = recent.conversation(conversation) {
                held.uncount(seq, side);
            }
        }
        None => {
            if let Some(group) = recent.groups().held(conversation) {
                group.uncount(seq, last, author);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{AB, ENG, Fixture};
    use super::super::refused::Stop;
    use super::*;
    use crate::exchange::Action;

    fn recall(fixture: &mut Fixture, conversation: &str, seq: u64) -> Result<(), Stop> {
        let action = Action::Recall { seq };
        let request = fixture.request("alice", conversation, action, Body::default());
        let (batch, recent) = (&mut fixture.batch, &mut fixture.recent);
        let decision = fixture.messages.recall(batch, recent, request.asked(), seq);
        decision.map(drop)
    }

    /// The store writes little for a message that goes, however many authors its long stretch has.
    #[test]
    fn a_long_tally_of_many_authors_is_removed_and_short_ones_are_corrected() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        let sent = fixture.send("alice", ENG);
        sent.unwrap();
        let ids = fixture.ids();
        let id = ids.group("", "eng");
        let alice = fixture.user("alice");
        for (others, is_kept) in [(10, true), (1_000, false)] {
            let mut tally = Tally::default();
            tally.add(alice, 3);
            for number in 0..others {
                tally.add(fixture.user(&format!("user{number}")), 1);
            }
            for level in Level::ALL {
                let key = level.key(&ids, id, 0);
                fixture.batch.set(key, &state::encode(&tally)).unwrap();
            }
            let mut changes = take_one(&fixture.batch, id, 1, alice).unwrap();
            fixture
                .batch
                .append(&trunkline_storage::Draft::default(), &mut changes)
                .unwrap();
            let [short, long] = Level::ALL.map(|level| {
                let key = level.key(&ids, id, 0);
                fixture.batch.decoded::<Tally>(key).unwrap()
            });
            tally.take(alice);
            assert_eq!(short.as_ref(), Some(&tally));
            assert_eq!(long, is_kept.then_some(tally));
        }
    }

    #[test]
    fn the_end_of_a_stretch_reads_no_messages_after_a_recall() {
        for conversation in [AB, ENG] {
            let mut fixture = Fixture::new();
            fixture.create_group(&["alice", "bob"]);
            for seq in 1..STRETCH {
                let user = if seq % 4 == 0 { "bob" } else { "alice" };
                fixture.send(user, conversation).unwrap();
                fixture.commit();
            }
            for seq in [1, 2] {
                recall(&mut fixture, conversation, seq).unwrap();
                fixture.commit();
            }
            fixture.batch.take_work();
            fixture.send("alice", conversation).unwrap();
            assert_eq!(fixture.batch.take_work().reads, 0, "{conversation}");
            let request = fixture.request(
                "alice",
                conversation,
                Action::Send {
                    key: None,
                    names_media: false,
                    has_extras: false,
                },
                Body::default(),
            );
            let id = request.asked().conversation;
            let key = Level::Short.key(&fixture.ids(), id, 0);
            let tally: Tally = fixture.batch.decoded(key).unwrap().unwrap();
            let of = |user| tally.of_others(fixture.user(user));
            // Bob wrote 63 messages, and Alice 193, of which two are gone.
            assert_eq!((of("alice"), of("bob")), (63, 191));
        }
    }
}
