//! Inspecting a store: a report about its folder, without a change to it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::scan::Entry;
use crate::log::segment::{self, FORMAT_VERSION};
use crate::recovery::TornEnd;
use crate::run::manifest::Manifest;
use crate::run::{self, BlockCache, RunFile, RunId, RunKind};
use crate::store::epochs::Epochs;
use crate::store::identity::{self, Identity};
use crate::store::losses::Losses;
use crate::tools::snapshot::Snapshot;
use crate::tools::walk::{self, Step, Walked};
use crate::{Fault, Position, Store};

/// What [`Store::inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The id of the store, which all its files carry.
    pub store_id: [u8; 16],
    /// The version of the storage format.
    pub version: u32,
    /// The position from which records are not in runs yet.
    pub low_water: Position,
    /// The position of the last record; [`Position::ZERO`] if there is none.
    pub head: Position,
    /// The position at which the log ends and the next record goes.
    pub end: Position,
    /// The number of records in the log.
    pub log_records: u64,
    /// The number of states in the log. Several of them may have the same key.
    pub log_states: u64,
    /// The segment files of the log that are not in runs yet, in order.
    pub segments: Vec<SegmentInfo>,
    /// The number of earlier segments, whose records runs name.
    pub kept_segments: u64,
    /// The size of these segments in bytes.
    pub kept_bytes: u64,
    /// The run files in force, by kind and then by their part of the log.
    pub runs: Vec<RunInfo>,
    /// The kinds of runs of which something has expired, each with the position before which
    /// records may be gone.
    pub expired: Vec<(&'static str, Position)>,
    /// The number of openings whose positions the store accepts; 0 if it refuses all earlier
    /// positions.
    pub epochs: usize,
    /// The sum of what repairs removed.
    pub losses: Losses,
    /// What follows the end of the log; `None` if nothing does. The next opening cuts it off.
    pub torn: Option<TornEnd>,
    /// Copies of what an opening cut off or a repair replaced.
    pub copies: Vec<FileInfo>,
    /// Files of the store that are no longer in force. The next opening removes them.
    pub leftovers: Vec<FileInfo>,
    /// The number of files in the folder, including files of other programs.
    pub files: usize,
    /// The size of all files in the folder in bytes.
    pub bytes: u64,
    /// The bytes that the file system still has for the store.
    pub free_bytes: u64,
    /// Whether the store was open elsewhere: the result then shows the moment of the look.
    pub live: bool,
    /// The damage that was noticed. Only [`Store::verify`] looks for all damage.
    pub faults: Vec<Fault>,
}

/// A file by its name and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The file.
    pub file: PathBuf,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// A segment of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub file: PathBuf,
    /// The position of its first byte.
    pub base: Position,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The written bytes of the segment; 0 for a segment that waits to be used.
    pub used: u64,
}

/// A run file in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// The file.
    pub file: PathBuf,
    /// The kind of its entries, by its name in docs/storage-format.md.
    pub kind: &'static str,
    /// The number of times that its entries were merged.
    pub level: u8,
    /// The beginning of the part of the log that the run was made of.
    pub from: Position,
    /// The end of the part of the log that the run was made of.
    pub to: Position,
    /// The greatest time of a record in that part, in milliseconds since the Unix epoch.
    pub last_time: u64,
    /// The size of the run in bytes; `None` if the file is damaged.
    pub bytes: Option<u64>,
    /// The number of entries of the run; `None` if the file is damaged.
    pub entries: Option<u64>,
}

impl Store {
    /// Reports what the store in `dir` holds. Reads what an opening reads: the log and the ends of
    /// the runs. Takes no lock and changes nothing, so the store may be open elsewhere.
    ///
    /// Damage of the log or of a run does not end it ([`Inspection::faults`]).
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Corrupt`] if identity or manifest
    /// are damaged, [`OpenError::Version`] for another format, [`OpenError::Io`] for an error of
    /// the file system.
    pub fn inspect(dir: &Path) -> Result<Inspection, OpenError> {
        Store::inspect_with(&Snapshot::at(dir)?)
    }

    /// Reports what a store on any [`Backend`] holds, like [`inspect`](Self::inspect).
    ///
    /// # Errors
    /// The errors of [`inspect`](Self::inspect).
    pub fn inspect_with(backend: &dyn Backend) -> Result<Inspection, OpenError> {
        walk::check_store(backend)?;
        let store_id = Identity::read(backend, identity::NAME)?.store_id;
        let manifest = Manifest::read(backend, store_id)?.unwrap_or_default();
        let mut log_states = 0;
        let walked = walk::walk(backend, store_id, &manifest, &mut |step| {
            log_states += match step {
                Step::Entry(Entry::State(..)) => 1,
                Step::Entry(Entry::Record(record)) => record.states.len() as u64,
                Step::Segment(_) => 0,
            };
            ControlFlow::Continue(())
        })?;
        let mut found = Inspection {
            store_id,
            version: FORMAT_VERSION,
            low_water: Position(manifest.low_water),
            head: Position(walked.scan.head),
            end: Position(walked.segments.last().map_or(manifest.low_water, |s| s.1)),
            log_records: walked.scan.records,
            log_states,
            segments: segments(backend, &walked),
            kept_segments: manifest.kept.size().0,
            kept_bytes: manifest.kept.size().1,
            runs: Vec::new(),
            expired: expired(&manifest),
            torn: walked.torn,
            epochs: 0,
            losses: Losses::default(),
            copies: Vec::new(),
            leftovers: Vec::new(),
            files: 0,
            bytes: 0,
            free_bytes: backend.free_bytes().map_err(io_error(
                backend,
                "",
                "ask for the free space of",
            ))?,
            live: backend.is_locked(),
            faults: walked.fault.into_iter().collect(),
        };
        found.count_epochs(backend)?;
        let cache = Arc::new(BlockCache::new(0));
        for &id in &manifest.runs {
            let run = match RunFile::open(backend, id, store_id, cache.clone()) {
                Ok(run) => Some(run),
                Err(error) => {
                    found.faults.push(Fault::of(error)?);
                    None
                }
            };
            found.runs.push(run_info(backend, id, run.as_ref()));
        }
        found.count_files(backend, &manifest)?;
        Ok(found)
    }
}

fn expired(manifest: &Manifest) -> Vec<(&'static str, Position)> {
    let floors = manifest.floors;
    let floors = [
        (RunKind::Messages, floors.messages),
        (RunKind::Syncs, floors.syncs),
        (RunKind::Keys, floors.keys),
    ];
    let floors = floors.into_iter().filter(|&(_, floor)| floor > 0);
    floors
        .map(|(kind, floor)| (kind_name(kind), Position(floor)))
        .collect()
}

fn segments(backend: &dyn Backend, walked: &Walked) -> Vec<SegmentInfo> {
    let written = walked.segments.iter().map(|(segment, end)| (segment, *end));
    let later = walked.later.iter().map(|segment| (segment, segment.base));
    let all = written.chain(later);
    all.map(|(segment, end)| SegmentInfo {
        file: backend.path(&segment.name),
        base: Position(segment.base),
        bytes: segment.size,
        used: segment.offset(end),
    })
    .collect()
}

/// Returns the name of a kind in docs/storage-format.md.
fn kind_name(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Messages => "messages",
        RunKind::Syncs => "syncs",
        RunKind::Keys => "keys",
        RunKind::States => "states",
        RunKind::Redactions => "redactions",
        RunKind::Marks => "marks",
    }
}

fn run_info(backend: &dyn Backend, id: RunId, run: Option<&RunFile>) -> RunInfo {
    RunInfo {
        file: backend.path(&id.name()),
        kind: kind_name(id.kind),
        level: id.level,
        from: Position(id.from),
        to: Position(id.to),
        last_time: id.last_time,
        bytes: run.map(|run| run.bytes),
        entries: run.map(RunFile::entries),
    }
}

impl Inspection {
    /// Reads the epochs and the losses of the store into the report.
    fn count_epochs(&mut self, backend: &dyn Backend) -> Result<(), OpenError> {
        match Losses::read(backend, self.store_id) {
            Ok(losses) => self.losses = losses,
            Err(error) => self.faults.push(Fault::of(error)?),
        }
        match Epochs::look(backend, self.store_id)? {
            Ok(Some((epochs, repairs))) if repairs == self.losses.repairs => self.epochs = epochs,
            Ok(_) => {}
            Err(fault) => self.faults.push(fault),
        }
        Ok(())
    }

    fn count_files(&mut self, backend: &dyn Backend, manifest: &Manifest) -> Result<(), OpenError> {
        let mut names = backend.list().map_err(io_error(backend, "", "list"))?;
        names.sort_unstable();
        for name in names {
            let len = backend.open(&name).and_then(|file| file.len());
            // A folder, or a file of another program.
            let Ok(bytes) = len else { continue };
            self.files += 1;
            self.bytes += bytes;
            let file = FileInfo {
                file: backend.path(&name),
                bytes,
            };
            let replaced = run::is_run_name(&name)
                && !manifest.runs.iter().any(|run| run.name() == name)
                || segment::segment_base(&name).is_some_and(|base| {
                    base < manifest.low_water && manifest.kept.base_of(base) != Some(base)
                });
            if name.ends_with(".bak") {
                self.copies.push(file);
            } else if replaced || name.ends_with(".tmp") {
                self.leftovers.push(file);
            }
        }
        Ok(())
    }
}
