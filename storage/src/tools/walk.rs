//! Reads through a store without changing it, while it is open or closed.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::file::FileBackend;
use crate::backend::{Backend, Lock};
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::overwrite;
use crate::log::record::Record;
use crate::log::scan::{self, Entry, Scan, ScanEnd};
use crate::log::segment::{self, Segment};
use crate::recovery::{TornEnd, tail};
use crate::run::manifest::{self, Manifest};
use crate::store::identity;
use crate::{Fault, Store, run};

/// Opens the folder `dir`. Fails if the folder is missing; the real backend alone would make it.
pub(crate) fn folder(dir: &Path) -> Result<FileBackend, OpenError> {
    let backend = std::fs::read_dir(dir).and_then(|_| FileBackend::new(dir));
    backend.map_err(|source| OpenError::Io {
        file: dir.to_path_buf(),
        action: "open the folder",
        source,
    })
}

/// Returns whether a file belongs to a store, in force or not.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with(identity::NAME)
        || name == manifest::NAME
        || name == overwrite::NAME
        || run::is_run_name(name)
        || segment::segment_base(name).is_some()
}

/// Checks that a folder has a store, or what is left of one.
pub(crate) fn check_store(backend: &dyn Backend) -> Result<(), OpenError> {
    let names = backend.list().map_err(io_error(backend, "", "list"))?;
    if names.iter().any(|name| is_ours(name)) {
        return Ok(());
    }
    Err(OpenError::NoStore {
        dir: backend.path(""),
    })
}

/// Locks a folder that has a store, or what is left of one.
pub(crate) fn claim(backend: &dyn Backend) -> Result<Box<dyn Lock>, OpenError> {
    // Checked before the lock, because locking makes the lock's file.
    check_store(backend)?;
    Store::lock(backend)
}

/// Returns the bytes of all run files and segments.
pub(crate) fn total(backend: &dyn Backend) -> Result<u64, OpenError> {
    let mut total = 0;
    for name in backend.list().map_err(io_error(backend, "", "list"))? {
        if name.ends_with(".seg") || name.ends_with(".tbl") {
            let file = backend.open(&name).and_then(|file| file.len());
            total += file.map_err(io_error(backend, &name, "read"))?;
        }
    }
    Ok(total)
}

/// A finding of a walk through the log.
pub(crate) enum Step<'a> {
    Entry(Entry<'a>),
    /// The end of a segment.
    Segment(&'a Segment),
}

/// The result of a walk through a log.
pub(crate) struct Walked {
    /// The segments, each with the end of its frames.
    pub(crate) segments: Vec<(Arc<Segment>, u64)>,
    /// The segments behind the end of the log.
    pub(crate) later: Vec<Arc<Segment>>,
    pub(crate) scan: Scan,
    /// What follows the end of the log; `None` if nothing does.
    pub(crate) torn: Option<TornEnd>,
    /// The first damage. The walk does not read what is behind it.
    pub(crate) fault: Option<Fault>,
}

/// The number of looks at the end of a growing log before the data after it counts as damage.
const LOOKS: usize = 4;

/// Reads the log from the position where `manifest` says that it begins, and passes each step to
/// `each` until `each` has enough. The walk then ends after the present segment. The log of an open
/// store ends, for the walk, at its present end.
///
/// # Errors
/// Another version, or an error of the file system. Damage is not an error.
pub(crate) fn walk(
    backend: &dyn Backend,
    store_id: [u8; 16],
    manifest: &Manifest,
    each: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) -> Result<Walked, OpenError> {
    let mut walked = Walked {
        segments: Vec::new(),
        later: Vec::new(),
        scan: manifest.scan(),
        torn: None,
        fault: None,
    };
    if let Err(error) = walked.go(backend, store_id, manifest.low_water, each) {
        walked.fault = Some(Fault::of(error)?);
    }
    Ok(walked)
}

impl Walked {
    fn go(
        &mut self,
        backend: &dyn Backend,
        store_id: [u8; 16],
        mut base: u64,
        each: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let live = backend.is_locked();
        let mut flow = ControlFlow::Continue(());
        let (end, before) = loop {
            let segment = open(backend, base, store_id)?;
            let before = self.scan.clone();
            let (mut from, mut looks) = (segment.first(), 0);
            let scanned = loop {
                let scanned = self.scan.segment_from(&segment, from, &mut |entry| {
                    if flow.is_continue() {
                        flow = each(Step::Entry(entry));
                    }
                });
                match scanned.map_err(io_error(backend, &segment.name, "read"))? {
                    // A body can be overwritten at this moment: that is not the end of the log.
                    ScanEnd::Open(at) if live && flow.is_continue() && looks < LIVE_LOOKS => {
                        looks = if at == from { looks + 1 } else { 0 };
                        from = at;
                        std::thread::sleep(BETWEEN_LOOKS);
                    }
                    end => break end,
                }
            };
            if flow.is_continue() {
                flow = each(Step::Segment(&segment));
            }
            base = segment.end();
            match scanned {
                ScanEnd::Sealed(end) => self.segments.push((segment, end)),
                ScanEnd::Open(end) => {
                    self.segments.push((segment, end));
                    break (end, before);
                }
            }
            if flow.is_break() || (live && !is_there(backend, base)?) {
                return Ok(());
            }
        };
        if flow.is_break() {
            return Ok(());
        }
        let names = backend.list().map_err(io_error(backend, "", "list"))?;
        let later = names.iter().filter_map(|name| segment::segment_base(name));
        let mut later: Vec<u64> = later.filter(|&later| later >= base).collect();
        later.sort_unstable();
        for base in later {
            self.later.push(open(backend, base, store_id)?);
        }
        if live {
            return self.check_live_end(backend, end, &before);
        }
        let segments: Vec<_> = self.segments.iter().map(|(s, _)| s.clone()).collect();
        let survey = tail::survey(backend, &segments, &self.later, end)?;
        self.torn = survey.torn;
        Ok(())
    }
}

impl Walked {
    /// Looks for damage behind the end of a growing log. Data behind the end is damage if the end
    /// stays the same afterwards. `before` is the state of the log before the last segment.
    fn check_live_end(
        &self,
        backend: &dyn Backend,
        end: u64,
        before: &Scan,
    ) -> Result<(), OpenError> {
        let segments: Vec<_> = self.segments.iter().map(|(s, _)| s.clone()).collect();
        let Some(last) = segments.last() else {
            return Ok(());
        };
        let mut looks = 1;
        loop {
            let Err(damage) = tail::survey(backend, &segments, &self.later, end) else {
                return Ok(());
            };
            let again = before.clone().segment(last, &mut |_| ());
            let again = again.map_err(io_error(backend, &last.name, "read"))?;
            if !matches!(again, ScanEnd::Open(again) if again == end) {
                return Ok(());
            }
            if looks == LOOKS {
                return Err(damage);
            }
            looks += 1;
        }
    }
}

/// Returns whether the segment at `base` existed when the store was looked at.
fn is_there(backend: &dyn Backend, base: u64) -> Result<bool, OpenError> {
    let names = backend.list().map_err(io_error(backend, "", "list"))?;
    Ok(names.contains(&segment::segment_name(base)))
}

/// The number of looks at a frame of an open store before damage in it counts: a body can be
/// overwritten at the moment of a look.
const LIVE_LOOKS: usize = 16;
/// The pause between two of them. The thread that overwrites has a low priority.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Reads a kept segment of this size, and passes each record to `each` until it has enough.
///
/// # Errors
/// Damage, or an error of the file system.
pub(crate) fn kept(
    backend: &dyn Backend,
    segment: &Segment,
    size: u64,
    each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let corrupt = |offset, reason: &str| OpenError::Corrupt {
        file: backend.path(&segment.name),
        offset,
        reason: reason.into(),
    };
    if segment.size != size {
        return Err(corrupt(0, "the segment does not have its size"));
    }
    let mut flow = ControlFlow::Continue(());
    let (mut from, mut looks) = (segment.first(), 0);
    loop {
        let end = scan::frames(segment, from, &mut |entry| {
            if let (Entry::Record(record), ControlFlow::Continue(())) = (entry, flow) {
                flow = each(record);
            }
        });
        let at = match end.map_err(io_error(backend, &segment.name, "read"))? {
            ScanEnd::Sealed(_) => return Ok(()),
            ScanEnd::Open(at) => at,
        };
        looks = if at == from { looks + 1 } else { 0 };
        if flow.is_break() {
            return Ok(());
        }
        if !backend.is_locked() || looks == LIVE_LOOKS {
            return Err(corrupt(segment.offset(at), "no valid record there"));
        }
        from = at;
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// Opens the segment at `base`. A missing segment is damage.
pub(crate) fn open(
    backend: &dyn Backend,
    base: u64,
    store_id: [u8; 16],
) -> Result<Arc<Segment>, OpenError> {
    let name = segment::segment_name(base);
    match Segment::open(backend, &name, store_id) {
        Ok(segment) => Ok(Arc::new(segment)),
        Err(OpenError::Io { file, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Corrupt {
                file,
                offset: 0,
                reason: "the file is missing".into(),
            })
        }
        Err(error) => Err(error),
    }
}
