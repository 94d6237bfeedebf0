//! The prices of commands: estimated before the sequencer decides them, and known afterwards.
//!
//! Prices follow from what a command asks for and from what deciding it read and stored. They are
//! not measured. The same command costs the same, but for records that are in memory already.

use crate::cost::Cost;
use crate::exchange::{Action, Command, Members};

/// The cost of any command: its way through the queue, the decision and the answer.
const COMMAND: Cost = Cost::nanos(1_500);

/// The cost of reading one value or message: the look-up, the check of its frame, and decoding it.
const READ: Cost = Cost::nanos(1_000);

/// The nanoseconds that one KiB of values or messages costs to read: its checksum and its copies.
const READ_KIB: u64 = 1_000;

/// The cost of setting one value: encoding it, and its place in the index and in a run. The
/// bytes of log that the value takes have a price of their own ([`Cost::of_log`]).
const SET: Cost = Cost::nanos(600);

/// The cost of an entry of a record in a timeline: its place in the index, in a run and in merges.
/// The price of a command includes [`FREE_ENTRIES`] of them. Its bytes of log are counted apart.
const ENTRY: Cost = Cost::nanos(150);

/// The number of timelines that a record of a 1:1 conversation enters.
const FREE_ENTRIES: usize = 2;

/// The cost of one member of the audience: the look-up of the member's shards.
const LOOK_UP: Cost = Cost::nanos(20);

/// The cost of one recipient who is connected: finding the connection and queueing the event. The
/// bytes that go to the connection are counted apart.
const PUSH: Cost = Cost::nanos(1_000);

/// The cost of a name in a list of contacts: its hash, and its place among the others. The values that
/// a change of contacts reads and sets have a price of their own.
const NAME: Cost = Cost::nanos(150);

/// The estimated nanoseconds per byte of a body that names users. A name of 8 bytes stands for about
/// four values.
const NAMED_BYTE: u64 = 800;

/// The estimated nanoseconds per byte of a body that names contacts.
const CONTACT_BYTE: u64 = 60;

/// What the decision of commands has read and stored so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// The number of values and messages that were read.
    pub(super) reads: u32,
    /// The bytes of the values and messages that were read.
    pub(super) read_bytes: u32,
    /// The number of values that were set.
    pub(super) sets: u32,
    /// The entries in timelines beyond those that the price of a command includes.
    pub(super) entries: u32,
    /// The bytes that entered the log.
    pub(super) log_bytes: u32,
    /// The names that were looked up in a list of contacts.
    pub(super) names: u32,
}

impl Work {
    /// Counts one read of `bytes` bytes.
    pub(super) fn read(self, bytes: usize) -> Self {
        Self {
            reads: self.reads + 1,
            read_bytes: self
                .read_bytes
                .saturating_add(bytes.try_into().unwrap_or(u32::MAX)),
            ..self
        }
    }

    /// Counts `bytes` bytes of records that were read for values that are read later.
    pub(super) fn read_ahead(self, bytes: usize) -> Self {
        Self {
            read_bytes: self
                .read_bytes
                .saturating_add(bytes.try_into().unwrap_or(u32::MAX)),
            ..self
        }
    }

    /// Counts names that were looked up.
    pub(super) fn named(self, names: usize) -> Self {
        Self {
            names: self.names + names as u32,
            ..self
        }
    }

    /// Counts a record of `bytes` bytes of log that sets `sets` values and enters `timelines`
    /// timelines.
    pub(super) fn wrote(self, sets: usize, timelines: usize, bytes: usize) -> Self {
        Self {
            sets: self.sets + sets as u32,
            entries: self.entries + timelines.saturating_sub(FREE_ENTRIES) as u32,
            log_bytes: self.log_bytes + bytes as u32,
            ..self
        }
    }
}

/// Returns what a command probably costs, before it is decided. `body` is the length of its body in
/// bytes.
pub(super) fn estimate(action: &Action, body: usize) -> Cost {
    let extra = match action {
        Action::Send { .. } | Action::Ack { .. } => Cost::NONE,
        Action::Recall { .. }
        | Action::Edit { .. }
        | Action::Delete { .. }
        | Action::React { .. }
        | Action::Pin { .. }
        | Action::Settings
        | Action::Erase(_) => READ.times(4),
        Action::Block { .. } => READ.times(8),
        Action::Group(_) => Cost::nanos((body as u64).saturating_mul(NAMED_BYTE)),
        Action::Contacts { .. } => Cost::nanos((body as u64).saturating_mul(CONTACT_BYTE)),
    };
    COMMAND + Cost::of_log(body) + extra
}

/// The least probable cost of a message to a group, whose size the shard does not know.
const GROUP_SEND: Cost = Cost::micros(60);

/// Returns what a command probably costs at least, with its deliveries. `None` for a command that
/// mostly costs little.
#[inline]
pub fn probable(command: &Command) -> Option<Cost> {
    match (command.members, command.action) {
        (Members::Direct { .. }, Action::Send { .. }) | (_, Action::Ack { .. }) => None,
        (Members::Group, Action::Send { .. }) => Some(GROUP_SEND),
        (_, action) => Some(estimate(&action, command.body.len())),
    }
}

/// Returns what a decided command costs without its deliveries. `work` is what its decision read
/// and stored.
pub(super) fn decided(work: Work) -> Cost {
    let cost = COMMAND + Cost::of_log(work.log_bytes as usize);
    if work.reads | work.sets | work.entries | work.names == 0 {
        return cost;
    }
    let Work {
        reads,
        sets,
        entries,
        names,
        ..
    } = work;
    let bytes = Cost::nanos(u64::from(work.read_bytes).saturating_mul(READ_KIB) >> 10);
    let of = |price: Cost, count: u32| price.times(count as usize);
    cost + of(READ, reads) + bytes + of(SET, sets) + of(ENTRY, entries) + of(NAME, names)
}

/// Returns what it costs to find which of these members of an audience are connected.
pub(super) fn routed(members: usize) -> Cost {
    LOOK_UP.times(members)
}

/// Returns what it costs to push an event of `bytes` bytes to `recipients` connections.
pub(super) fn pushed(recipients: usize, bytes: usize) -> Cost {
    (PUSH + Cost::of_sent(bytes)).times(recipients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Change;

    #[test]
    fn a_message_is_cheap_and_what_names_many_users_is_not() {
        let send = estimate(
            &Action::Send {
                key: None,
                names_media: false,
                has_extras: false,
            },
            200,
        );
        assert!(send < Cost::micros(3), "{send:?}");
        let group = estimate(&Action::Group(Change::Add), 1_000 * 8);
        assert!(group > send.times(1_000), "{group:?}");
        let stored = Work::default().wrote(0, 2, 200);
        assert_eq!(decided(stored), send, "the estimate of a message is exact");
    }

    #[test]
    fn each_value_costs_and_so_does_each_byte() {
        let none = decided(Work::default());
        let one = decided(Work::default().read(0));
        let two = decided(Work::default().read(0).read(10 << 10));
        assert_eq!(one, none + READ);
        assert_eq!(two, one + READ + Cost::micros(10));
        let set = decided(Work::default().wrote(3, 0, 1_024));
        assert_eq!(set, none + SET.times(3) + Cost::of_log(1_024));
        let named = decided(Work::default().named(9));
        assert_eq!(named, none + NAME.times(9));
        let group = decided(Work::default().wrote(0, 200, 0));
        assert_eq!(group, none + ENTRY.times(200 - FREE_ENTRIES));
    }

    #[test]
    fn deliveries_cost_for_each_recipient() {
        assert_eq!(pushed(0, 9_000), Cost::NONE);
        assert_eq!(pushed(4, 1_024), (PUSH + Cost::of_sent(1_024)).times(4));
        assert_eq!(routed(0), Cost::NONE);
        assert_eq!(routed(7), LOOK_UP.times(7));
    }
}
