//! An open store: its opening, and the parts that work while it is open.
//!
//! **Invariants:** one [`Writer`] at a time appends. A record is visible only after its batch is as
//! durable as [`Options::durability`] says. New files are durable before the manifest names them,
//! and old files are removed only after that. A failed sync of the log stops the store for good.

pub(crate) mod compact;
pub(crate) mod condition;
pub(crate) mod epochs;
pub(crate) mod erasures;
pub(crate) mod flush;
pub(crate) mod guard;
pub(crate) mod identity;
pub(crate) mod index_thread;
pub(crate) mod losses;
pub(crate) mod old_values;
pub(crate) mod prepare;
pub(crate) mod reader;
pub(crate) mod shared;
pub(crate) mod token;
pub(crate) mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::file::FileBackend;
use crate::backend::{Backend, Lock};
use crate::error::{OpenError, ReadError, io_error};
use crate::log::overwrite;
use crate::log::record::Record;
use crate::log::segment::{self, HEADER_BYTES, Segment, SegmentFactory};
use crate::recovery::{self, Recovered, TornEnd, TornTail};
use crate::run::manifest::{self, Manifest};
use crate::run::{self, Runs};
use crate::store::compact::{CompactionPlan, Compactor, Lifetimes};
use crate::store::epochs::{BegunEpoch, Epochs};
use crate::store::flush::Flusher;
use crate::store::guard::FolderGuard;
use crate::store::identity::Identity;
use crate::store::index_thread::IndexThread;
use crate::store::losses::Losses;
use crate::store::prepare::Preparer;
use crate::store::shared::{OpenFolder, OpenLog, Shared};
use crate::store::writer::{HelperThreads, Writer, WriterStart};
use crate::{Durability, Options, Origin, PositionsFound, Reader};

/// The size of a block of a run file in bytes; stores with tiny segments have smaller blocks.
const BLOCK_BYTES: usize = 16 << 10;

/// Returns the size of a block of a run file, in a store with segments of this size. Both are in
/// bytes.
pub(crate) fn block_bytes(segment_bytes: u64) -> usize {
    BLOCK_BYTES.min(segment_bytes as usize / 16)
}

/// The timeline store: a folder with a log of events, and the timelines read from it.
///
/// This type only opens stores. An open store is a [`Writer`] and any number of [`Reader`]s.
pub struct Store;

/// An open store. The folder stays locked until the writer and all readers are dropped.
pub struct Opened {
    /// The writer, which appends to the log.
    pub writer: Writer,
    /// A reader, which is cheap to clone.
    pub reader: Reader,
    /// The report about the opening.
    pub report: RecoveryReport,
}

/// A report about the opening of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether this opening created the store.
    pub created: bool,
    /// The number of records that the opening replayed.
    pub records: u64,
    /// The number of bytes of the log that the opening scanned.
    pub bytes: u64,
    /// The unfinished end of the log that the opening cut off, if there was one.
    pub torn: Option<TornTail>,
    /// Whether the store accepts positions from before this opening.
    pub positions: PositionsFound,
    /// Whether the next opening will accept the positions given out from now on. On a full disk it
    /// will not.
    pub positions_stored: bool,
    /// The duration of the log's recovery.
    pub duration: Duration,
}

impl Store {
    /// Opens the store in the folder `dir`. Creates the folder and the store if they are missing.
    ///
    /// The opening gives records to `replay` in the order of the log: all of them, or with
    /// [`Options::runs`] those that are not in a run yet. If it then returns an error, discard what
    /// was replayed. When it succeeds, every replayed record is durable.
    ///
    /// The opening cuts off an unfinished end of the log, and keeps a copy
    /// ([`RecoveryReport::torn`]).
    ///
    /// # Errors
    /// [`OpenError::Locked`] if the folder is in use, [`OpenError::Corrupt`] if acknowledged data
    /// is damaged, [`OpenError::Version`] for another format, [`OpenError::Options`] for settings
    /// that are out of range or contradict each other, [`OpenError::Io`] for an error of the file
    /// system.
    pub fn open(
        dir: &Path,
        options: Options,
        replay: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Opened, OpenError> {
        let backend = FileBackend::new(dir).map_err(|source| OpenError::Io {
            file: dir.to_path_buf(),
            action: "open the folder",
            source,
        })?;
        Store::open_with(Arc::new(backend), options, replay)
    }

    pub(crate) fn lock(backend: &dyn Backend) -> Result<Box<dyn Lock>, OpenError> {
        backend.lock().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked {
                dir: backend.path(""),
            },
            _ => OpenError::Io {
                file: backend.path(""),
                action: "lock",
                source,
            },
        })
    }

    /// Opens a store on any [`Backend`], like [`open`](Self::open).
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_with(
        backend: Arc<dyn Backend>,
        options: Options,
        replay: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Opened, OpenError> {
        options.check().map_err(OpenError::Options)?;
        let lock = Store::lock(&*backend)?;
        remove_temporaries(&*backend)?;
        let (identity, created) = identify(&backend, &options)?;
        let store_id = identity.store_id;
        let mut losses = Losses::read(&*backend, store_id)?;
        let manifest = read_manifest(&*backend, store_id)?;
        let newest_run = manifest.runs.iter().max_by_key(|run| run.to);
        let last_time = newest_run.map_or(0, |run| run.last_time);
        overwrite::finish(&*backend, store_id).map_err(io_error(
            &*backend,
            overwrite::NAME,
            "finish",
        ))?;
        let runs = Runs::open(&backend, &manifest, store_id, options.cache_bytes)?;
        let is_shared = options.origin.is_some();
        let mut note_cut = |torn: &TornEnd| match is_shared {
            // Nothing is lost: what is cut off comes again.
            true => Ok(()),
            false => losses.note_cut(torn, &*backend, store_id),
        };
        let mut log = recovery::recover(
            &*backend,
            store_id,
            &manifest,
            options.runs,
            replay,
            &mut note_cut,
        )?;
        // Not before the recovery: a log without its beginning means that the manifest is lost, and
        // then only these files are left of it.
        remove_unknown_runs(&*backend, &manifest)?;
        identity.keep_copy(&*backend)?;
        let redactions = runs.redactions().map_err(unreadable)?;
        log.index.set_runs(runs, Vec::new(), Vec::new());
        for (target, replacement) in redactions {
            log.index.redactions_mut().add(target, replacement);
        }
        let session = new_session(&*backend, log.last_session)?;
        let epochs = match &options.origin {
            Some(origin) => join_log(&*backend, store_id, &mut log, (&losses, &options, origin))?,
            None => begin_epoch(&*backend, store_id, &losses, log.head)?,
        };
        let (epochs_found, positions_stored) = (epochs.found, epochs.stored);

        let current = log.segments[log.segments.len() - 1].clone();
        let end = match options.origin {
            // The log goes on where a mark is, which a backup wrote.
            Some(_) => log.records_end.max(current.first()),
            None => log.end,
        };
        let shared = Arc::new(Shared::new(
            OpenFolder {
                backend,
                lock,
                key: identity.key,
                epochs: epochs.epochs,
                losses,
            },
            OpenLog {
                segments: log.segments,
                index: log.index,
                head: log.head,
                durable: end,
                last_time: log.last_time.unwrap_or(last_time),
            },
        ));
        let helpers = start_helpers(&shared, &options, store_id, manifest, log.next)?;
        let start = WriterStart {
            segment: current,
            cursor: end,
            session,
            records_end: log.records_end,
            covered: log.covered,
            first_time: log.first_time,
        };
        let report = RecoveryReport {
            created,
            records: log.records,
            bytes: log.bytes,
            torn: log.torn,
            positions: epochs_found,
            positions_stored,
            duration: log.duration,
        };
        Ok(Opened {
            writer: Writer::new(shared.clone(), options, start, helpers),
            reader: Reader::new(shared),
            report,
        })
    }
}

/// Starts the threads that work beside the writer; none without [`Options::background`].
fn start_helpers(
    shared: &Arc<Shared>,
    options: &Options,
    store_id: [u8; 16],
    manifest: Manifest,
    next: Option<Arc<Segment>>,
) -> Result<HelperThreads, OpenError> {
    let backend = &shared.backend;
    let not_started = || io_error(&**backend, "", "start a thread for");
    let factory = SegmentFactory {
        backend: backend.clone(),
        store_id,
        size: options.segment_bytes,
        version: options.segment_version(),
    };
    let reserve = options.reserve_bytes;
    let preparer = Preparer::new(factory, shared.clone(), reserve, next, options.background)
        .map_err(not_started())?;
    let mut flusher = Flusher::new(shared.clone());
    if options.background {
        match options.durability {
            Durability::Sync => Ok(()),
            Durability::Interval(interval) => flusher.start(Some(interval)),
            Durability::Os => flusher.start(None),
        }
        .map_err(not_started())?;
    }
    let plan = plan_of(options, store_id);
    let compactor = options
        .runs
        .then(|| Compactor::new(shared.clone(), plan, manifest, options.background))
        .transpose()
        .map_err(not_started())?;
    let index_thread =
        in_background(options, || IndexThread::new(shared.clone())).map_err(not_started())?;
    let guard =
        in_background(options, || FolderGuard::new(shared.clone())).map_err(not_started())?;
    Ok(HelperThreads {
        preparer,
        flusher,
        index_thread,
        compactor,
        guard,
    })
}

/// Returns how a store with these options makes its runs.
fn plan_of(options: &Options, store_id: [u8; 16]) -> CompactionPlan {
    CompactionPlan {
        store_id,
        block: block_bytes(options.segment_bytes),
        width: options.merge_width,
        redact_within: u64::try_from(options.redact_within.as_millis()).unwrap_or(u64::MAX),
        #[cfg(test)]
        old_runs: options.old_runs,
        segment: options.segment_bytes,
        max_waiting: options.max_waiting_segments,
        lifetimes: Lifetimes::of(options),
    }
}

/// Starts a helper if the store has threads.
fn in_background<T>(
    options: &Options,
    start: impl FnOnce() -> io::Result<T>,
) -> io::Result<Option<T>> {
    options.background.then(start).transpose()
}

/// Turns an error of reading a run at the opening into the error of the opening.
fn unreadable(error: ReadError) -> OpenError {
    match error {
        ReadError::Io { file, source } => OpenError::Io {
            file,
            action: "read",
            source,
        },
        ReadError::Corrupt { file, offset } => OpenError::Corrupt {
            file,
            offset,
            reason: "a block is not what was written".into(),
        },
        other => OpenError::Options(other.to_string()),
    }
}

/// Begins the epoch of the positions that this opening gives out.
fn begin_epoch(
    backend: &dyn Backend,
    store_id: [u8; 16],
    losses: &Losses,
    head: u64,
) -> Result<BegunEpoch, OpenError> {
    losses.keep(backend, store_id)?;
    Epochs::begin(backend, store_id, losses.repairs, head)
}

/// Returns the epoch of a store whose log other stores have too. Such a store loses nothing by a cut, since what is cut
/// off comes again.
fn join_log(
    backend: &dyn Backend,
    store_id: [u8; 16],
    log: &mut Recovered,
    (losses, options, origin): (&Losses, &Options, &Origin),
) -> Result<BegunEpoch, OpenError> {
    check_shared(&log.segments, losses, options)?;
    if let Some(torn) = &mut log.torn {
        torn.end.skip = 0;
    }
    Epochs::of_log(backend, store_id, origin.history)
}

/// Checks that a store whose log other stores have too has all of its log, in segments of one size.
fn check_shared(
    segments: &[Arc<Segment>],
    losses: &Losses,
    options: &Options,
) -> Result<(), OpenError> {
    let size = options.segment_bytes;
    if let Some(other) = segments.iter().find(|segment| segment.size != size) {
        return Err(OpenError::Options(format!(
            "segment_bytes is {size}, but the log of this store has segments of {}",
            other.size
        )));
    }
    if *losses != Losses::default() {
        return Err(OpenError::Options(
            "a repair gave a part of the log up: take a copy of another store of the log".into(),
        ));
    }
    Ok(())
}

/// Reads the manifest in force and makes its name durable: from then on files that it does not name
/// may be removed.
fn read_manifest(backend: &dyn Backend, store_id: [u8; 16]) -> Result<Manifest, OpenError> {
    let Some(manifest) = Manifest::read(backend, store_id)? else {
        let names = backend.list().map_err(io_error(backend, "", "list"))?;
        let mut runs = names.iter().filter(|name| run::is_run_name(name));
        if runs.any(|name| run::is_of_later_segment(backend, store_id, name)) {
            return Err(OpenError::Corrupt {
                file: backend.path(manifest::NAME),
                offset: 0,
                reason: "the file is missing, though there are runs".into(),
            });
        }
        return Ok(Manifest::default());
    };
    // The process that renamed the manifest may have died before the name was on the disk.
    backend
        .sync_dir()
        .map_err(io_error(backend, manifest::NAME, "make durable"))?;
    Ok(manifest)
}

/// Removes run files that the manifest does not name: a crash left them.
fn remove_unknown_runs(backend: &dyn Backend, manifest: &Manifest) -> Result<(), OpenError> {
    for name in backend.list().map_err(io_error(backend, "", "list"))? {
        if run::is_run_name(&name) && !manifest.runs.iter().any(|id| id.name() == name) {
            backend
                .remove(&name)
                .map_err(io_error(backend, &name, "remove"))?;
        }
    }
    Ok(())
}

/// Removes temporary files that an interrupted creation of a file left.
pub(crate) fn remove_temporaries(backend: &dyn Backend) -> Result<(), OpenError> {
    for name in backend.list().map_err(io_error(backend, "", "list"))? {
        let ours = [
            "log-",
            "torn-",
            "run-",
            "damaged-",
            identity::NAME,
            manifest::NAME,
            epochs::NAME,
            losses::NAME,
            overwrite::NAME,
            compact::BALLAST,
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        if ours && name.ends_with(".tmp") {
            backend
                .remove(&name)
                .map_err(io_error(backend, &name, "remove"))?;
        }
    }
    Ok(())
}

/// Reads the identity of the store, or creates store and identity.
///
/// The first segment is made before the identity, so an identity without a log is damage and not
/// a store that was never used.
fn identify(backend: &Arc<dyn Backend>, options: &Options) -> Result<(Identity, bool), OpenError> {
    let origin = options.origin.as_ref();
    let names = backend.list().map_err(io_error(&**backend, "", "list"))?;
    if names.iter().any(|name| name == identity::NAME) {
        let identity = Identity::read(&**backend, identity::NAME)?;
        identity.check(origin)?;
        return Ok((identity, false));
    }
    let unused = unused_segments(&**backend, &names)?;
    for name in unused {
        backend
            .remove(name)
            .map_err(io_error(&**backend, name, "remove"))?;
    }
    let identity = Identity::new(&**backend, origin)?;
    let factory = SegmentFactory {
        backend: backend.clone(),
        store_id: identity.store_id,
        size: options.segment_bytes,
        version: options.segment_version(),
    };
    factory
        .create(0)
        .map_err(io_error(&**backend, &segment::segment_name(0), "create"))?;
    identity.write(&**backend, identity::NAME)?;
    Ok((identity, true))
}

/// Returns the segments in a folder without an identity: the creation of that store was
/// interrupted.
///
/// # Errors
/// [`OpenError::Corrupt`] if the folder holds more than that: then the identity was lost.
fn unused_segments<'a>(
    backend: &dyn Backend,
    names: &'a [String],
) -> Result<Vec<&'a String>, OpenError> {
    let lost = |what| OpenError::Corrupt {
        file: backend.path(identity::NAME),
        offset: 0,
        reason: format!("the file is missing, though there is {what}"),
    };
    let mut unused = Vec::new();
    for name in names {
        if name == identity::COPY {
            return Err(lost("a copy of it"));
        }
        if name == manifest::NAME || run::is_run_name(name) {
            return Err(lost("a history"));
        }
        if segment::segment_base(name).is_some() {
            if !is_unused(backend, name).map_err(io_error(backend, name, "read"))? {
                return Err(lost("a log"));
            }
            unused.push(name);
        }
    }
    Ok(unused)
}

/// Returns whether a segment file holds only zeros behind its header.
pub(crate) fn is_unused(backend: &dyn Backend, name: &str) -> io::Result<bool> {
    let file = backend.open(name)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = HEADER_BYTES;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if buffer[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        if read < buffer.len() {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// Draws a session number that differs from the last one.
fn new_session(backend: &dyn Backend, last: Option<u32>) -> Result<u32, OpenError> {
    loop {
        let mut bytes = [0; 4];
        backend
            .fill_random(&mut bytes)
            .map_err(io_error(backend, "", "draw random bytes for"))?;
        let session = u32::from_le_bytes(bytes);
        if Some(session) != last {
            return Ok(session);
        }
    }
}
