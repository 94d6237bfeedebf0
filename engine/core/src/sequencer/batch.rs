//! The batch under construction, and the stored values as the batch leaves them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use trunkline_storage::{
    AppendError, Batch, CommitError, Draft, IdBuildHasher, Page, Position, Reader, Record,
    StateEntry, TimelineId, Writer,
};

use super::price::Work;
use super::refused::{CORRUPT, CommitFirst, Refused, not_appended, unreadable};
use crate::cost::paid_of_records;
use crate::event;
use crate::ids::Ids;
use crate::log::{Log, LogError};
use crate::state::{self, Form, Member};
use crate::told::Told;

/// The number of bytes at which a commit takes no more commands.
const COMMIT_BYTES: usize = 1 << 20;

/// The number of commands at which a commit takes no more. Some commands add no bytes.
pub(super) const COMMIT_COMMANDS: usize = 16_384;

/// The number of recipients of a commit's events at which the commit takes no more commands: 4 MiB of
/// ids. One event of a large group may exceed it.
pub(super) const COMMIT_RECIPIENTS: usize = 1 << 18;

/// The interval at which the sequencer passes the time to the store.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// The capacity of the map of pending values above which the map is given back after a commit.
const KEPT_VALUES: usize = 1 << 16;

/// The values that a record changes, by key. An empty value removes the key.
pub(super) type Changes = Vec<(TimelineId, Vec<u8>)>;

/// The sequencer's times at its latest look at the clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// The wire time, which clients see, in milliseconds since 1970 UTC.
    pub(super) wire: u64,
    /// The steady time, which records are stamped with, in milliseconds since 1970 UTC.
    pub(super) steady: u64,
    /// The monotonic time in milliseconds.
    pub(super) passed: u64,
}

impl Moment {
    /// Returns how far the wire time is ahead of the steady time, in milliseconds, modulo 2^64.
    pub(super) const fn ahead(self) -> u64 {
        self.wire.wrapping_sub(self.steady)
    }
}

/// Returns whether the store takes nothing more after this error until a restart.
pub(super) fn is_final(error: &LogError) -> bool {
    matches!(error, LogError::Commit(error) if error.is_final())
}

/// The writer of the store, with the batch under construction.
///
/// The store shows a record and its values only after the commit. So the batch keeps the values
/// that its records set, and [`value`](Self::value) looks there first.
pub(super) struct OpenBatch {
    writer: Writer,
    log: Box<dyn Log>,
    store: Reader,
    ids: Ids,
    moment: Moment,
    /// The values that records of the batch set.
    pending: HashMap<TimelineId, Vec<u8>, IdBuildHasher>,
    /// Values of the store that were read before a command needs them. The batch changes none of them.
    ahead: RefCell<HashMap<TimelineId, Option<Vec<u8>>, IdBuildHasher>>,
    /// The number of look-ups in the store.
    #[cfg(test)]
    looks: Cell<usize>,
    /// The number of commands in the batch, plus the members in its receipts. The batch touches at
    /// most this many conversations.
    touched: usize,
    /// The number of recipients of the events in the batch, online or not.
    recipients: usize,
    /// What was read and stored since the last [`take_work`](Self::take_work).
    work: Cell<Work>,
    /// The time that the store got last, in milliseconds since 1970 UTC.
    ticked: u64,
    /// Whether the store takes nothing more until a restart.
    is_over: bool,
    /// Whether the log gave a batch back, because somebody else decides from now on.
    is_given_back: bool,
}

impl OpenBatch {
    /// Returns an empty batch of a store, whose commits go to `log`.
    pub(super) fn new(writer: Writer, log: Box<dyn Log>, store: Reader) -> Self {
        Self {
            writer,
            log,
            ids: Ids(store.key()),
            store,
            moment: Moment::default(),
            pending: HashMap::default(),
            ahead: RefCell::default(),
            #[cfg(test)]
            looks: Cell::default(),
            touched: 0,
            recipients: 0,
            work: Cell::default(),
            ticked: 0,
            is_over: false,
            is_given_back: false,
        }
    }

    /// Returns the ids of the store's names.
    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns the reader of the store, which does not see the batch.
    pub(super) fn store(&self) -> &Reader {
        &self.store
    }

    /// Returns the time of the batch.
    pub(super) fn moment(&self) -> Moment {
        self.moment
    }

    /// Sets the time of the batch, and passes it to the store once per [`TICK`], so that the store
    /// removes expired records.
    pub(super) fn set_moment(&mut self, moment: Moment) {
        self.moment = moment;
        if moment.steady.saturating_sub(self.ticked) >= TICK.as_millis() as u64 {
            self.ticked = moment.steady;
            self.writer.tick(moment.steady);
        }
    }

    /// Counts commands or members of receipts towards the limit of the batch.
    pub(super) fn touch(&mut self, more: usize) {
        self.touched += more;
    }

    /// Counts recipients of an event towards the limit of the batch.
    pub(super) fn tell(&mut self, recipients: usize) {
        self.recipients += recipients;
    }

    /// Counts names that a command looks up in a list.
    pub(super) fn name(&self, names: usize) {
        self.work.set(self.work.get().named(names));
    }

    /// Returns what was read and stored since the last call, and counts from zero again.
    pub(super) fn take_work(&self) -> Work {
        self.work.take()
    }

    /// Returns whether the batch takes no more commands.
    pub(super) fn is_full(&self) -> bool {
        self.writer.batch_bytes() >= COMMIT_BYTES
            || self.touched >= COMMIT_COMMANDS
            || self.recipients >= COMMIT_RECIPIENTS
    }

    /// Returns whether a commit would write nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.writer.batch_bytes() == 0
    }

    /// Returns whether the batch has records. A batch without records may have values.
    pub(super) fn has_records(&self) -> bool {
        self.writer.batch_records() > 0
    }

    /// Checks that the store shows all records, so that a search in it finds them.
    ///
    /// # Errors
    /// The batch may hold records. Commit it first.
    pub(super) fn check_committed(&self) -> Result<(), CommitFirst> {
        // After a final failure no commit empties the batch, and its records are lost.
        if self.is_empty() || self.is_over {
            Ok(())
        } else {
            Err(CommitFirst)
        }
    }

    /// Returns the record at `position` in the batch; `None` if it is not in the batch.
    pub(super) fn record(&self, position: Position) -> Option<Record<'_>> {
        self.writer.appended(position)
    }

    /// Returns the position of the last record of the batch, or of the store if the batch is empty.
    pub(super) fn last_position(&self) -> Position {
        self.writer.last_appended()
    }

    /// Returns the value under a key as the batch leaves it; `None` if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn value(&self, key: TimelineId) -> Result<Option<Vec<u8>>, Refused> {
        let (value, read) = match self.known(key) {
            Some(value) => (value, 0),
            None => {
                #[cfg(test)]
                self.looks.set(self.looks.get() + 1);
                let before = self.store.bytes_of_states();
                let stored = self.store.state(key);
                let stored = stored.map_err(|error| unreadable(&error))?;
                (stored, self.store.bytes_of_states() - before)
            }
        };
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.count_read(paid_of_records(1, bytes, read));
        Ok(value)
    }

    /// Returns the value under a key as the batch leaves it, if that is in memory. Nobody pays for the look.
    pub(super) fn known(&self, key: TimelineId) -> Option<Option<Vec<u8>>> {
        match self.pending.get(&key) {
            Some(value) => Some((!value.is_empty()).then(|| value.clone())),
            None => self.ahead.borrow().get(&key).cloned(),
        }
    }

    /// Reads the values under many keys, each record of the store once, so that looks at them read nothing. The
    /// values that were read ahead before are forgotten, as they are once the batch gets a record.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn read_ahead(&self, keys: &[TimelineId]) -> Result<(), Refused> {
        self.forget_ahead();
        self.read_more_ahead(keys)
    }

    /// Reads the values under more keys, as [`read_ahead`](Self::read_ahead) does, and forgets none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn read_more_ahead(&self, keys: &[TimelineId]) -> Result<(), Refused> {
        let mut ahead = self.ahead.borrow_mut();
        let is_known = |key: &TimelineId| self.pending.contains_key(key) || ahead.contains_key(key);
        let keys: Vec<_> = keys.iter().copied().filter(|key| !is_known(key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let before = self.store.bytes_of_states();
        let values = self.store.states(&keys);
        let values = values.map_err(|error| unreadable(&error))?;
        let read = self.store.bytes_of_states() - before;
        let paid = paid_of_records(keys.len(), 0, read);
        self.work.set(self.work.get().read_ahead(paid));
        ahead.extend(keys.into_iter().zip(values));
        Ok(())
    }

    /// Returns the decoded value under a key as the batch leaves it; `None` if there is none.
    ///
    /// # Errors
    /// The store could not be read, or the value has another form.
    pub(super) fn decoded<T>(&self, key: TimelineId) -> Result<Option<T>, Refused>
    where
        T: for<'a> Form<'a> + for<'a> Deserialize<'a>,
    {
        match self.value(key)? {
            None => Ok(None),
            Some(value) => state::decode(&value).map(Some).ok_or(CORRUPT),
        }
    }

    /// Returns a membership by its key. A user who never joined has the default.
    ///
    /// # Errors
    /// The store could not be read, or the value has another form.
    pub(super) fn member(&self, key: TimelineId) -> Result<Member, Refused> {
        Ok(self.decoded(key)?.unwrap_or_default())
    }

    /// Reads a message that the store shows. `page` then holds its record, or nothing.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn read_message(
        &self,
        timeline: TimelineId,
        seq: u64,
        page: &mut Page,
    ) -> Result<(), Refused> {
        let read = self.store.get(timeline, seq, page);
        read.map_err(|error| unreadable(&error))?;
        let bytes = page.records().next().map_or(0, |record| record.body.len());
        self.count_read(bytes);
        Ok(())
    }

    /// Counts a message or value of `bytes` bytes that was read from the store for a decision.
    pub(super) fn count_read(&self, bytes: usize) {
        self.work.set(self.work.get().read(bytes));
    }

    /// Appends a record with the values that it changes. Sets the record's time, and adds the wire
    /// time to its body if that differs. Empties `changes`.
    ///
    /// # Errors
    /// The store did not take the record. The batch is as before.
    #[inline]
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        changes: &mut Changes,
    ) -> Result<Position, Refused> {
        let states: Vec<_> = changes
            .iter()
            .map(|(key, value)| StateEntry { key: *key, value })
            .collect();
        let stamped;
        let body = if self.moment.ahead() == 0 {
            draft.body
        } else {
            stamped = event::with_time(draft.body, self.moment.wire);
            &stamped
        };
        let draft = Draft {
            time: self.moment.steady,
            body,
            states: &states,
            ..*draft
        };
        let before = self.writer.batch_bytes();
        let position = self.writer.append_next(&draft);
        let position = position.map_err(|error| not_appended(&error))?;
        let bytes = self.writer.batch_bytes().saturating_sub(before);
        self.work.set(
            self.work
                .get()
                .wrote(states.len(), draft.fanout.len(), bytes),
        );
        self.pending.extend(changes.drain(..));
        self.forget_ahead();
        Ok(position)
    }

    /// Appends a record without a body that only sets values. Nothing reads these values from the
    /// batch.
    ///
    /// # Errors
    /// The store did not take the record. The batch is as before.
    pub(super) fn append_values(
        &mut self,
        kind: u8,
        values: &[StateEntry<'_>],
    ) -> Result<(), AppendError> {
        let draft = Draft {
            kind,
            time: self.moment.steady,
            states: values,
            ..Draft::default()
        };
        self.writer.append_next(&draft).map(|_| ())
    }

    /// Sets one value without a record.
    ///
    /// # Errors
    /// The store did not take the value. The batch is as before.
    pub(super) fn set(&mut self, key: TimelineId, value: &[u8]) -> Result<(), AppendError> {
        self.writer.set_state(key, value)?;
        self.pending.insert(key, value.to_vec());
        Ok(())
    }

    /// Commits the batch to the log, with what it tells, and begins an empty one, also if the commit fails.
    ///
    /// # Errors
    /// The log refused the batch, or failed, or is handed over.
    pub(super) fn commit(&mut self, told: Told<'_>) -> Result<Arc<Batch>, LogError> {
        // A log that is handed over by plan takes what has been decided by then.
        let committed = if self.is_given_back {
            Err(LogError::HandedOver)
        } else {
            self.log.commit(&mut self.writer, told)
        };
        if let Err(error) = &committed {
            self.failed(error);
        }
        self.restart();
        // A large batch must not keep its room for ever.
        if self.pending.capacity() > KEPT_VALUES {
            self.pending = HashMap::default();
        }
        self.pending.clear();
        committed
    }

    /// Notes that a commit failed.
    #[cold]
    fn failed(&mut self, error: &LogError) {
        self.is_over = is_final(error);
        if matches!(error, LogError::HandedOver | LogError::Unknown) {
            self.is_given_back = true;
            self.writer.discard();
        }
    }

    /// Returns whether somebody else decides from now on. The log gets no commit any more then.
    pub(super) fn is_handed_over(&self) -> bool {
        self.is_given_back || self.log.is_handed_over()
    }

    /// Returns whether the log gave a batch back, because it is handed over.
    pub(super) fn is_given_back(&self) -> bool {
        self.is_given_back
    }

    /// Returns the writer, the log, and the reader of the store. The batch under construction is given up.
    pub(super) fn into_parts(mut self) -> (Writer, Box<dyn Log>, Reader) {
        self.writer.discard();
        (self.writer, self.log, self.store)
    }

    /// Begins a batch that has nothing to commit.
    pub(super) fn restart(&mut self) {
        (self.touched, self.recipients) = (0, 0);
        self.forget_ahead();
    }

    /// Forgets what was read ahead: a commit changes it.
    pub(super) fn forget_ahead(&self) {
        if !self.ahead.borrow().is_empty() {
            self.ahead.take();
        }
    }

    /// Closes the log, after the last commit.
    ///
    /// # Errors
    /// The log failed.
    pub(super) fn close(&mut self) -> Result<(), CommitError> {
        self.log.close(&mut self.writer)
    }
}

#[cfg(test)]
impl OpenBatch {
    /// Returns the number of look-ups of values in the store until now, apart from those ahead.
    pub(super) fn looks(&self) -> usize {
        self.looks.get()
    }
}

#[cfg(test)]
mod tests;
