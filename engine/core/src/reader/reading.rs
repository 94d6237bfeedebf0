//! Look-ups in the store, with errors as error replies say them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_proto::message::Message;
use trunkline_storage::{Epochs, Order, Page, Position, ReadError, Reader, TimelineId};

use super::failure::{CORRUPT, NO_MESSAGE, UNKNOWN, failure};
use crate::clock::Clock;
use crate::cost::Cost;
use crate::cost::paid_of_records;
use crate::event::Body;
use crate::exchange::slices::{Meter, pause};
use crate::exchange::{Access, Failure, NOT_A_MEMBER};
use crate::ids::{Ids, UserId};
use crate::state::{
    self, Advance, Direct, Entry as RosterEntry, Erased, FirstSeen, Form, Head, Member, Roster,
};

/// The cost of finding a record or a value, in the index and in a file that is in memory. Calibrated
/// with a release build; values of one record cost less, because it is read once.
pub(super) const LOOK_UP: Cost = Cost::nanos(1_200);

/// The nanoseconds that one KiB of a record costs: reading, checking and copying it.
const READ_KIB: usize = 600;

/// The cost of an entry of a list, such as a member of a group or a reaction: comparing its name,
/// and keeping it if it is on the page.
/// Calibrated with a release build.
pub(super) const LISTED: Cost = Cost::nanos(300);

/// The cost of finding where a value is, in the index alone.
const PLACED: Cost = Cost::nanos(200);

/// The number of values that are looked up in one piece.
const PIECE: usize = 32;

/// The bytes of records that a long look-up reads in one piece, or one longer record.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Returns the cost of bytes that are read.
pub(super) const fn of_read(bytes: usize) -> Cost {
    Cost::nanos((bytes.saturating_mul(READ_KIB) >> 10) as u64)
}

/// A store and the ids of its names: what a job looks things up in. It counts the work of the job.
pub(super) struct Reading {
    store: Reader,
    ids: Ids,
    clock: Arc<Clock>,
    meter: Arc<Meter>,
    keepers: Arc<Keepers>,
}

/// The number of long look-ups of a reader that keep frames of the store while they wait.
#[derive(Default)]
struct Keepers(AtomicUsize);

/// The maximum number of such look-ups. Each keeps up to 1 MiB.
const MOST_KEEPERS: usize = 4;

/// A place among the [`Keepers`], until it is dropped.
struct Kept<'k>(&'k Keepers);

impl Keepers {
    /// Returns a place; `None` if all are taken.
    fn enter(&self) -> Option<Kept<'_>> {
        let kept = Kept(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < MOST_KEEPERS).then_some(kept)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The messages of a conversation that a user may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The sequence of the first message that the user sees.
    pub(super) first: u64,
    /// The sequence of the last message; 0 if there is no message yet.
    pub(super) last: u64,
}

/// A group, as its head in the store describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The display name; empty if the group has none.
    pub(super) name: String,
    /// Whether new members see messages from before they joined.
    pub(super) all_history: bool,
    /// The number of members.
    pub(super) members: u64,
    /// The number of chunks of the roster.
    pub(super) chunks: u32,
}

/// A stored chunk of a group's roster.
pub(super) struct RosterChunk(Vec<u8>);

impl RosterChunk {
    /// Returns the members of the chunk, in the order in which they joined.
    ///
    /// # Errors
    /// The store holds a chunk of another form.
    pub(super) fn members(&self) -> Result<Vec<RosterEntry<'_>>, Failure> {
        let roster: Roster<'_> = state::decode(&self.0).ok_or(CORRUPT)?;
        Ok(roster.members)
    }
}

impl Reading {
    /// Returns a reading of this store.
    pub(super) fn new(store: &Reader, clock: &Arc<Clock>) -> Self {
        Self {
            store: store.clone(),
            clock: Arc::clone(clock),
            ids: Ids(store.key()),
            meter: Arc::default(),
            keepers: Arc::default(),
        }
    }

    /// Returns a reading of this store in 1970.
    #[cfg(test)]
    pub(super) fn of_tests(store: &Reader) -> Self {
        Self::new(store, &Arc::new(Clock::new(std::time::Duration::ZERO)))
    }

    /// Returns a reading of the same store for a long look-up, with a count of work of its own.
    pub(super) fn of_its_own(&self) -> Self {
        Self {
            keepers: Arc::clone(&self.keepers),
            ..Self::new(&self.store, &self.clock)
        }
    }

    /// Returns the count of the work.
    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Counts a look-up of `count` records or values of `bytes` bytes together. After much work it
    /// offers the core to other threads: a shard that has just become ready would otherwise wait
    /// until the kernel takes the core away.
    pub(super) fn count(&self, count: usize, bytes: usize) {
        self.meter.add(LOOK_UP.times(count) + of_read(bytes));
        self.yield_if_due();
    }

    /// Offers the core to other threads, if much work was done since the last time.
    pub(super) fn yield_if_due(&self) {
        if self.meter.is_yield_due() {
            std::thread::yield_now();
        }
    }

    /// Counts the entries of a list that are compared.
    pub(super) fn count_listed(&self, entries: usize) {
        self.meter.add(LISTED.times(entries));
    }

    /// Returns whether the look-up has done as much work as a slice has, or took as long.
    pub(super) fn is_slice_over(&self) -> bool {
        self.meter.is_slice_over()
    }

    /// Ends the slice of a long look-up if it is over. Frees what look-ups keep to be faster, unless
    /// few other long look-ups keep it while they wait.
    pub(super) async fn pause_if_due(&self) {
        if self.is_slice_over() {
            self.pause().await;
        }
    }

    /// Ends the slice of a long look-up, like [`pause_if_due`](Self::pause_if_due) does.
    pub(super) async fn pause(&self) {
        let kept = self.keepers.enter();
        if kept.is_none() {
            self.store.release();
        }
        pause().await;
    }

    /// Returns the store itself, for reads whose errors the caller tells apart.
    pub(super) fn store(&self) -> &Reader {
        &self.store
    }

    /// Returns whether a message has expired. `stored` is the time of its record.
    pub(super) fn is_due(&self, body: &Body<'_>, stored: u64) -> bool {
        body.extras.is_some() && body.extras().is_due(stored, self.clock.steady())
    }

    /// Removes the content of a message that has expired. `stored` is the time of its record. Returns
    /// whether it has.
    pub(super) fn expire(&self, stored: u64, message: &mut Message<'_>) -> bool {
        let Some(expires) = message.extras.as_ref().and_then(|extras| extras.expires) else {
            return false;
        };
        // The record and the client have different times for the same moment.
        let due = stored.saturating_add(expires.saturating_sub(message.time));
        if due > self.clock.steady() {
            return false;
        }
        message.remove_content();
        if let Some(extras) = &mut message.extras {
            extras.expired = true;
        }
        true
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns the store's epochs, which turn positions into text.
    pub(super) fn epochs(&self) -> &Epochs {
        self.store.epochs()
    }

    /// Returns the bytes of the value under a key, if there is one.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn bytes(&self, key: TimelineId) -> Result<Option<Vec<u8>>, Failure> {
        self.stored(key).map_err(|error| failure(&error))
    }

    /// Returns the bytes of the value under a key like [`bytes`](Self::bytes), for callers that tell
    /// errors of the store apart.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn stored(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        let before = self.store.bytes_of_states();
        let value = self.store.state(key)?;
        self.count_values(1, value.as_ref().map_or(0, Vec::len), before);
        Ok(value)
    }

    /// Counts a look-up of values of `bytes` bytes together. `before` is what the store had read before it.
    fn count_values(&self, count: usize, bytes: usize, before: u64) {
        let read = self.store.bytes_of_states().saturating_sub(before);
        self.count(count, paid_of_records(count, bytes, read));
    }

    /// Returns the position behind which the events of a user begin, because an earlier user of the name
    /// was erased; `None` if there was none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn erased_at(&self, user: UserId) -> Result<Option<Position>, ReadError> {
        let value = self.stored(self.ids.erased(user))?;
        let erased = value.and_then(|value| state::decode::<Erased>(&value));
        Ok(erased.map(|erased| Position(erased.position)))
    }

    /// Returns the bytes of the values under many keys, in the order of the keys.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn stored_all(
        &self,
        keys: &[TimelineId],
    ) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PIECE) {
            let before = self.store.bytes_of_states();
            let found = self.store.states(keys)?;
            let bytes = found.iter().flatten().map(Vec::len).sum();
            self.count_values(keys.len(), bytes, before);
            all.extend(found);
        }
        Ok(all)
    }

    /// Returns the numbers of keys in the order in which the log has their values. Look-ups in pieces read each
    /// record once in this order. In the order of the keys each piece may read all of the records again.
    async fn by_place(&self, keys: &[TimelineId]) -> Vec<usize> {
        let mut places = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PIECE) {
            places.extend(self.store.places(keys));
            self.meter.add(PLACED.times(keys.len()));
            self.pause_if_due().await;
        }
        let mut numbers: Vec<_> = (0..keys.len()).collect();
        numbers.sort_unstable_by_key(|number| places[*number]);
        numbers
    }

    /// Returns the value under a key, if there is one.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn value<T>(&self, key: TimelineId) -> Result<Option<T>, Failure>
    where
        T: for<'a> Form<'a> + serde::de::DeserializeOwned,
    {
        match self.bytes(key)? {
            None => Ok(None),
            Some(value) => state::decode(&value).map(Some).ok_or(CORRUPT),
        }
    }

    /// Returns the values under many keys, in the order of the keys; `None` for a key without a
    /// value. Reads them in slices.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn values<T>(&self, keys: &[TimelineId]) -> Result<Vec<Option<T>>, Failure>
    where
        T: for<'a> Form<'a> + serde::de::DeserializeOwned,
    {
        let decode = |value: Option<Vec<u8>>| {
            value.map_or(Ok(None), |value| {
                state::decode(&value).map(Some).ok_or(CORRUPT)
            })
        };
        let mut values: Vec<_> = keys.iter().map(|_| None).collect();
        // The last records first: a caller has often just read them, for what led to these keys.
        for numbers in self.by_place(keys).await.rchunks(PIECE) {
            let piece: Vec<_> = numbers.iter().map(|number| keys[*number]).collect();
            let found = self.stored_all(&piece).map_err(|error| failure(&error))?;
            for (number, value) in numbers.iter().zip(found) {
                values[*number] = decode(value)?;
            }
            self.pause_if_due().await;
        }
        Ok(values)
    }

    /// Reads one message into `page`, which stays empty if there is no such message.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn message(
        &self,
        conversation: TimelineId,
        seq: u64,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let found = self.store.get(conversation, seq, page);
        found.map_err(|error| failure(&error))?;
        self.count_page(page);
        Ok(())
    }

    /// Reads at most `limit` messages of a conversation into `page`.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn messages(
        &self,
        conversation: TimelineId,
        seqs: RangeInclusive<u64>,
        limit: usize,
        order: Order,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let read = self.store.range(conversation, seqs, limit, order, page);
        read.map_err(|error| failure(&error))?;
        self.count_page(page);
        Ok(())
    }

    /// Returns the position of the first event of a timeline after `since`; `None` if there is none. Reads no record.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn first_event(
        &self,
        timeline: TimelineId,
        since: Position,
    ) -> Result<Option<Position>, ReadError> {
        let first = self.store.next_sync(timeline, since);
        self.meter.add(LOOK_UP);
        first
    }

    /// Counts the records that were read into a page.
    pub(super) fn count_page(&self, page: &Page) {
        self.count(page.len().max(1), page.read_bytes());
    }

    /// Returns the sequence of the first message that has not expired; 0 if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn first_seq(&self, conversation: TimelineId) -> Result<u64, Failure> {
        let first = self.store.first_seq(conversation);
        self.count(1, 0);
        first.map_err(|error| failure(&error))
    }

    /// Returns the sequence of the last message; 0 if there is none yet.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn last_seq(&self, conversation: TimelineId) -> Result<u64, Failure> {
        let last = self.store.try_last_seq(conversation);
        self.count(1, 0);
        last.map_err(|error| failure(&error))
    }

    /// Returns which messages of a conversation the user may read.
    ///
    /// A stranger gets the same answer after the same look-ups, whether the group exists or not.
    ///
    /// # Errors
    /// The user is not a member, the two users have no messages yet, or the store could not be read.
    pub(super) fn check(&self, access: Access) -> Result<Sight, Failure> {
        let conversation = access.conversation;
        let first = if access.group {
            let key = self.ids.member(conversation, access.user);
            let member = self.value::<Member>(key)?.filter(Member::is_in);
            member.ok_or(NOT_A_MEMBER)?.first_seq
        } else {
            self.first_of_direct(conversation, access.user)?
        };
        let last = self.last_seq(conversation)?;
        // A conversation of which nothing is left for the user is none.
        if last < first && !access.group {
            return Err(UNKNOWN);
        }
        Ok(Sight { first, last })
    }

    /// Returns the sequence of the first message that a user sees of a 1:1 conversation: a later one than
    /// the first if an earlier user of the name was erased.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn first_of_direct(
        &self,
        conversation: TimelineId,
        user: UserId,
    ) -> Result<u64, Failure> {
        let seen = self.value::<FirstSeen>(self.ids.sight(user, conversation))?;
        Ok(seen.map_or(1, |seen| seen.first))
    }

    /// Reads a message into `page`, if the user may see it.
    ///
    /// # Errors
    /// The errors of [`check`](Self::check), or the user sees no such message.
    pub(super) fn visible_message(
        &self,
        access: Access,
        seq: u64,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let sight = self.check(access)?;
        if seq < sight.first.max(1) || seq > sight.last {
            return Err(NO_MESSAGE);
        }
        self.message(access.conversation, seq, page)?;
        if page.is_empty() {
            return Err(NO_MESSAGE);
        }
        Ok(())
    }

    /// Returns the description of a group. The caller has checked that the user is a member.
    ///
    /// # Errors
    /// The store could not be read, has no such group, or has one of another form.
    pub(super) fn group(&self, group: TimelineId) -> Result<Group, Failure> {
        let value = self.bytes(self.ids.head(group))?.ok_or(CORRUPT)?;
        let head: Head<'_> = state::decode(&value).ok_or(CORRUPT)?;
        Ok(Group {
            name: head.name.to_owned(),
            all_history: head.all_history,
            members: head.members,
            chunks: head.chunks,
        })
    }

    /// Returns a chunk of a group's roster; `None` if the chunk is empty.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn roster(
        &self,
        group: TimelineId,
        number: u32,
    ) -> Result<Option<RosterChunk>, Failure> {
        let value = self.bytes(self.ids.roster(group, number))?;
        Ok(value.map(RosterChunk))
    }

    /// Returns the keys of all chunks of a group's roster, in the order in which the log has the chunks: a change of
    /// many members writes many chunks in one record.
    pub(super) async fn roster_keys(&self, group: TimelineId, chunks: u32) -> Vec<TimelineId> {
        let keys: Vec<_> = (0..chunks)
            .map(|number| self.ids.roster(group, number))
            .collect();
        let order = self.by_place(&keys).await;
        order.into_iter().map(|number| keys[number]).collect()
    }

    /// Returns the chunks of a group's roster under these keys, without the empty ones.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn rosters(&self, keys: &[TimelineId]) -> Result<Vec<RosterChunk>, Failure> {
        let values = self.stored_all(keys).map_err(|error| failure(&error))?;
        Ok(values.into_iter().flatten().map(RosterChunk).collect())
    }

    /// Returns the marks of both members of a 1:1 conversation.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn direct(&self, conversation: TimelineId) -> Result<Direct, Failure> {
        Ok(self.value(conversation)?.unwrap_or_default())
    }

    /// Returns the state of a user in a group. A stranger has the default state.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn member(&self, group: TimelineId, user: UserId) -> Result<Member, Failure> {
        let key = self.ids.member(group, user);
        Ok(self.value(key)?.unwrap_or_default())
    }

    /// Returns the states of users in a group, in the order of the users. A stranger has the default
    /// state.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) async fn members(
        &self,
        group: TimelineId,
        users: impl Iterator<Item = UserId>,
    ) -> Result<Vec<Member>, Failure> {
        let keys: Vec<_> = users.map(|user| self.ids.member(group, user)).collect();
        let members = self.values::<Member>(&keys).await?.into_iter();
        Ok(members.map(Option::unwrap_or_default).collect())
    }

    /// Returns the states of users in a group like [`members`](Self::members), without a pause.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn members_at_once(
        &self,
        group: TimelineId,
        users: impl Iterator<Item = UserId>,
    ) -> Result<Vec<Member>, Failure> {
        let keys: Vec<_> = users.map(|user| self.ids.member(group, user)).collect();
        let values = self.stored_all(&keys).map_err(|error| failure(&error))?;
        let decode = |value: Option<Vec<u8>>| match value {
            None => Ok(Member::default()),
            Some(value) => state::decode(&value).ok_or(CORRUPT),
        };
        values.into_iter().map(decode).collect()
    }

    /// Returns the marks that a group keeps for its members together.
    ///
    /// Read the members' own states before this one: marks enter it at any time, and leave it only
    /// when their member leaves the group.
    ///
    /// # Errors
    /// The store could not be read, or holds a value of another form.
    pub(super) fn advance(&self, group: TimelineId) -> Result<Advance, Failure> {
        Ok(self.value(group)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_long_look_ups_keep_frames_while_they_wait() {
        let keepers = Keepers::default();
        let mut kept: Vec<_> = (0..MOST_KEEPERS).map(|_| keepers.enter()).collect();
        assert!(kept.iter().all(Option::is_some));
        assert!(keepers.enter().is_none());
        kept.pop();
        assert!(keepers.enter().is_some());
        assert!(keepers.enter().is_some());
        kept.clear();
        assert_eq!(keepers.0.load(Ordering::Relaxed), 0);
    }
}
