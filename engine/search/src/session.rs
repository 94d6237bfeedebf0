//! One open index: it takes what the log says, commits it, and writes files anew that have words of messages
//! that are gone.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy};
use trunkline_core::indexing::{IndexMetrics, IndexSettings};
use trunkline_core::reader::{TextChange, Texts};
use trunkline_core::store::Position;

use crate::WRITER_BYTES;
use crate::directory::Known;
use crate::files::{self, Mark};
use crate::form::{Entry, Form, day_of, first_day};
use crate::view::{Shared, Snapshot};

/// The time for which changes wait to be committed together.
const COMMIT: Duration = Duration::from_secs(1);

/// The bytes of text that wait to be committed. The library has them, and their words, in memory.
const WAITING_BYTES: usize = 8 << 20;

/// The bytes of text that are taken in one piece.
const PIECE_BYTES: usize = 1 << 20;

/// The time after which the position is committed without any change of the texts, so that a start does not
/// read the same part of the log again and again.
const POSITION: Duration = Duration::from_mins(5);

/// The time between two looks for messages that have expired.
const EXPIRE: Duration = Duration::from_mins(10);

/// The time between two looks at the disk: at its room, and at the size of the files.
const DISK: Duration = Duration::from_secs(5);

/// The number of messages beyond which the library merges a file no more. A merge takes some 8 bytes of
/// memory for each message.
const MERGED: usize = 500_000;

/// The time after which the deaths of earlier processes are forgotten.
const WORKED: Duration = Duration::from_hours(1);

/// Why an index does not go on.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The disk has too little room.
    Room(String),
    /// The log cannot be read after a position.
    Log { after: Position, error: String },
    /// The index cannot be opened, read or written.
    Index(String),
}

impl From<String> for Stopped {
    fn from(error: String) -> Self {
        Self::Index(error)
    }
}

/// What an index works with.
pub(crate) struct Tools<'a> {
    pub(crate) settings: &'a IndexSettings,
    pub(crate) texts: &'a Texts,
    pub(crate) shared: &'a Shared,
    pub(crate) metrics: &'a IndexMetrics,
    pub(crate) known: &'a Known,
}

/// An open index, and how far the log is in it.
pub(crate) struct Session<'a> {
    settings: &'a IndexSettings,
    texts: &'a Texts,
    shared: &'a Shared,
    metrics: &'a IndexMetrics,
    form: Form,
    index: Index,
    writer: IndexWriter,
    reader: IndexReader,
    /// The position up to which the log was followed.
    followed: Position,
    /// Searches are answered from this position on.
    ready_at: Position,
    waiting: Waiting,
    /// Since when the files have words of messages that are gone.
    unclean: Option<Instant>,
    expired: Option<Instant>,
    looked: Option<Instant>,
    /// When it was opened.
    opened: Instant,
    /// Whether it has committed something since then.
    has_committed: bool,
}

/// What waits to be committed.
struct Waiting {
    /// Since when texts have changed; `None` if nothing changed.
    since: Option<Instant>,
    /// The bytes of the texts.
    bytes: usize,
    /// When the last commit was.
    committed: Instant,
}

impl<'a> Session<'a> {
    /// Opens the index, or makes it, and lets searches see it.
    ///
    /// # Errors
    /// Says why the index cannot be used.
    pub(crate) fn open(tools: Tools<'a>) -> Result<Self, Stopped> {
        let Tools {
            settings,
            texts,
            shared,
            metrics,
            known,
        } = tools;
        check_room(settings, texts)?;
        let form = Form::new();
        let opened = files::open(&settings.folder, &form, texts, known)?;
        if opened.is_new {
            metrics.rebuilds.one();
            shared.forget();
            metrics.ready.set(0);
        }
        let index = opened.index;
        // From here on files are mapped.
        let (writer, reader) = mapped(&index)?;
        let mut session = Self {
            settings,
            texts,
            shared,
            metrics,
            form,
            index,
            writer,
            reader,
            followed: opened.position,
            ready_at: texts.head(),
            waiting: Waiting {
                since: None,
                bytes: 0,
                committed: Instant::now(),
            },
            unclean: None,
            expired: None,
            looked: None,
            opened: Instant::now(),
            has_committed: false,
        };
        if opened.is_new {
            // With a position from the beginning, so that the next start goes on with it.
            session.commit()?;
            session.has_committed = false;
        }
        session.show()?;
        if session.has_deleted()? {
            // It is not known since when.
            let now = Instant::now();
            session.unclean = Some(now.checked_sub(settings.purge).unwrap_or(now));
        }
        Ok(session)
    }

    /// Returns whether what the log said was committed since the index was opened.
    pub(crate) fn has_committed(&self) -> bool {
        self.has_committed
    }

    /// Returns whether the index has worked for so long that earlier deaths had other reasons.
    pub(crate) fn has_worked_for_long(&self) -> bool {
        self.opened.elapsed() >= WORKED
    }

    /// Does a piece of work. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// The index cannot be written, or the store cannot be read. What is not committed is lost: open the index
    /// again.
    pub(crate) fn go_on(&mut self) -> Result<bool, Stopped> {
        let now = Instant::now();
        if self.looked.is_none_or(|at| now - at >= DISK) {
            self.looked = Some(now);
            check_room(self.settings, self.texts)?;
            self.metrics.bytes.set(bytes_of(&self.settings.folder));
        }
        if self.expired.is_none_or(|at| now - at >= EXPIRE) {
            self.expired = Some(now);
            self.expire()?;
        }
        let has_more = self.follow()?;
        let head = self.texts.head();
        self.metrics
            .behind
            .set(head.0.saturating_sub(self.followed.0));
        let is_due = match self.waiting.since {
            Some(since) => {
                now - since >= COMMIT
                    || self.waiting.bytes >= WAITING_BYTES
                    // Searches wait for it.
                    || (!self.shared.is_ready() && self.followed >= self.ready_at)
            }
            None => now - self.waiting.committed >= POSITION,
        };
        if is_due {
            self.commit()?;
        }
        if self.waiting.since.is_none() && self.followed >= self.ready_at && !self.shared.is_ready()
        {
            self.shared.set_ready();
            self.metrics.ready.set(1);
            tracing::info!(
                messages = self.metrics.messages.get(),
                "searches are answered"
            );
        }
        if self
            .unclean
            .is_some_and(|since| now - since >= self.settings.purge)
        {
            self.purge()?;
        }
        Ok(has_more)
    }

    /// Takes a piece of the log. Returns whether there is more. What was read before damage is committed.
    fn follow(&mut self) -> Result<bool, Stopped> {
        if self.followed >= self.texts.head() {
            return Ok(false);
        }
        let (mut bytes, mut changed, mut failed) = (0, false, None);
        let (form, writer) = (&self.form, &self.writer);
        let followed = self.texts.follow(self.followed, &mut |change| {
            changed = true;
            let taken = match change {
                TextChange::Gone { conversation, seq } => {
                    writer.delete_term(form.message(conversation, seq));
                    Ok(0)
                }
                TextChange::Written {
                    conversation,
                    seq,
                    position,
                    time,
                    text,
                } => add(
                    writer,
                    form,
                    &Entry {
                        conversation,
                        seq,
                        position,
                        time,
                        text,
                    },
                ),
            };
            match taken {
                Ok(taken) => bytes += taken,
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            match bytes < PIECE_BYTES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        if followed.undecodable > 0 {
            self.metrics.undecodable.add(followed.undecodable);
            tracing::error!(
                messages = followed.undecodable,
                "messages that cannot be decoded are not found by searches: check the store with trunkline store verify"
            );
        }
        let has_more = followed.reached > self.followed;
        self.followed = followed.reached;
        self.waiting.bytes += bytes;
        if changed {
            self.waiting.since.get_or_insert_with(Instant::now);
        }
        let Some(error) = followed.failed else {
            return Ok(has_more);
        };
        if self.waiting.since.is_some() {
            self.commit()?;
        }
        Err(Stopped::Log {
            after: self.followed,
            error,
        })
    }

    /// Removes messages that have expired.
    fn expire(&mut self) -> Result<(), String> {
        let Some(life) = self.settings.message_life else {
            return Ok(());
        };
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let first = first_day(self.texts.now(), life);
        for part in self.reader.searcher().segment_readers() {
            let days = part.inverted_index(self.form.day).map_err(told)?;
            let mut days = days.terms().stream().map_err(|error| error.to_string())?;
            while days.advance() {
                let Some(day) = day_of(days.key()).filter(|day| *day < first) else {
                    break;
                };
                self.writer.delete_term(self.form.day(day));
                self.waiting.since.get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    /// Commits what waits, with the position up to which the log was followed.
    fn commit(&mut self) -> Result<(), String> {
        let mark = Mark::text(self.texts, self.followed)?;
        let mut prepared = self.writer.prepare_commit().map_err(told)?;
        prepared.set_payload(&mark);
        prepared.commit().map_err(told)?;
        self.waiting = Waiting {
            since: None,
            bytes: 0,
            committed: Instant::now(),
        };
        self.has_committed = true;
        self.show()?;
        if self.unclean.is_none() && self.has_deleted()? {
            self.unclean = Some(Instant::now());
        }
        Ok(())
    }

    /// Lets searches see the last commit.
    fn show(&mut self) -> Result<(), String> {
        self.reader.reload().map_err(told)?;
        let searcher = self.reader.searcher();
        self.metrics.messages.set(searcher.num_docs());
        let snapshot = Snapshot::new(&self.form, searcher).map_err(told)?;
        self.shared.show(snapshot);
        Ok(())
    }

    fn has_deleted(&self) -> Result<bool, String> {
        let metas = self.index.searchable_segment_metas().map_err(told)?;
        Ok(metas.iter().any(|meta| meta.num_deleted_docs() > 0))
    }

    /// Writes the files anew that have words of messages that are gone.
    fn purge(&mut self) -> Result<(), String> {
        let metas = self.index.searchable_segment_metas().map_err(told)?;
        let unclean = metas.iter().filter(|meta| meta.num_deleted_docs() > 0);
        let unclean: Vec<_> = unclean.map(|meta| meta.id()).collect();
        drop(metas);
        for id in unclean {
            // The library may merge the file just now. Then it has no such words after that.
            if let Err(error) = self.writer.merge(&[id]).wait() {
                tracing::debug!(%error, "a file of the index is not written anew");
            }
        }
        self.show()?;
        // Searches may have read the old files when the merges ended.
        let removed = self.writer.garbage_collect_files().wait();
        removed.map_err(told)?;
        // What was deleted meanwhile, or could not be merged, comes with the next round.
        self.unclean = self.has_deleted()?.then(Instant::now);
        Ok(())
    }
}

/// Adds a message to the index. Returns the bytes of its text.
fn add(writer: &IndexWriter, form: &Form, entry: &Entry<'_>) -> Result<usize, String> {
    let Some(document) = form.document(entry) else {
        return Ok(0);
    };
    writer.add_document(document).map_err(told)?;
    Ok(entry.text.len())
}

/// Checks that the disk has room for the index: twice the room that messages leave free, so that messages can
/// be stored for a while after the index has stopped.
///
/// # Errors
/// The disk has less room, or cannot be asked.
fn check_room(settings: &IndexSettings, texts: &Texts) -> Result<(), Stopped> {
    let free = texts.free_bytes();
    let free = free.map_err(|error| Stopped::Room(error.to_string()))?;
    let needed = settings.reserve.saturating_mul(2);
    match free >= needed {
        true => Ok(()),
        false => Err(Stopped::Room(format!(
            "the disk has {free} bytes free, and the index leaves {needed} free (twice store_reserve): make room"
        ))),
    }
}

/// Maps the files of an index, to write and to read it.
fn mapped(index: &Index) -> Result<(IndexWriter, IndexReader), String> {
    let options = IndexWriterOptions::builder()
        .memory_budget_per_thread(WRITER_BYTES)
        .num_worker_threads(1)
        .num_merge_threads(1)
        .build();
    let writer = index.writer_with_options(options).map_err(told)?;
    let mut policy = LogMergePolicy::default();
    policy.set_max_docs_before_merge(MERGED);
    writer.set_merge_policy(Box::new(policy));
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
    Ok((writer, reader.try_into().map_err(told)?))
}

/// Returns the bytes of the files of a folder, as far as they can be read.
fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

fn told(error: tantivy::TantivyError) -> String {
    error.to_string()
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.metrics
            .behind
            .set(self.texts.head().0.saturating_sub(self.followed.0));
    }
}
