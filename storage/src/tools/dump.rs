//! Dumping a store: reading all its records and states.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{OpenError, ReadError};
use crate::index::redactions::Redactions;
use crate::log::record::{self, States};
use crate::log::scan::Entry;
use crate::run::manifest::Manifest;
use crate::run::{self, RunFile, RunForm, RunKind, Runs};
use crate::store::identity::{self, Identity};
use crate::tools::snapshot::Snapshot;
use crate::tools::walk::{self, Step};
use crate::{Fault, Position, Record, Store, StoreKey, TimelineId};

/// The memory in bytes for parts of runs while the dump follows references into them.
const CACHE_BYTES: usize = 8 << 20;

/// The content of a store ([`Store::dump`]).
///
/// Every method gives what it finds to a closure until the closure breaks off. The memory that a
/// dump takes does not depend on the size of the store. Records in runs of earlier versions come
/// first, from the oldest run to the newest, then records in segments, in the order of the log. Redacted bodies are not shown, unless damage hides
/// their redactions.
pub struct Dump {
    backend: Arc<dyn Backend>,
    identity: Identity,
    manifest: Manifest,
    runs: Runs,
    redactions: Redactions,
    faults: Vec<Fault>,
}

/// A closure that takes a record, and returns whether it wants more.
pub type EachRecord<'a> = dyn FnMut(&Record<'_>) -> ControlFlow<()> + 'a;

impl Store {
    /// Opens the store in `dir` for reading all of it. Takes no lock and changes nothing, so the
    /// store may be open elsewhere: records added meanwhile may be missing, and bodies redacted
    /// meanwhile may be shown.
    ///
    /// Damage of the log or of a run does not end the dump: it reads what is whole
    /// ([`Dump::faults`]). It reads nothing behind the first damage in the log.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Corrupt`] if identity or manifest
    /// are damaged, [`OpenError::Version`] for another format, [`OpenError::Io`] for an error of
    /// the file system.
    pub fn dump(dir: &Path) -> Result<Dump, OpenError> {
        Store::dump_with(Arc::new(Snapshot::at(dir)?))
    }

    /// Opens a store on any [`Backend`], like [`dump`](Self::dump).
    ///
    /// # Errors
    /// The errors of [`dump`](Self::dump).
    pub fn dump_with(backend: Arc<dyn Backend>) -> Result<Dump, OpenError> {
        walk::check_store(&*backend)?;
        let identity = Identity::read(&*backend, identity::NAME)?;
        let manifest = Manifest::read(&*backend, identity.store_id)?.unwrap_or_default();
        let mut faults = Vec::new();
        let runs = Runs::open_whole(
            &backend,
            &manifest,
            identity.store_id,
            CACHE_BYTES,
            &mut faults,
        )?;
        let mut dump = Dump {
            backend,
            identity,
            manifest,
            runs,
            redactions: Redactions::in_memory(),
            faults,
        };
        dump.survey()?;
        Ok(dump)
    }
}

impl Dump {
    /// Returns the key with which the store makes timeline ids.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        self.identity.key
    }

    /// Returns whether the store was open elsewhere: the dump then shows the moment at which it
    /// began.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.backend.is_locked()
    }

    /// Returns the damage found so far. The dump leaves out what is damaged.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Gives all records after a position to `each`. Records of a run of an earlier version are
    /// ordered by timeline and then by sequence; records that are no entry of their timeline follow
    /// its entries. All other records come in the order of the log.
    ///
    /// # Errors
    /// [`OpenError::Io`] for an error of the file system.
    pub fn records(&mut self, after: Position, each: &mut EachRecord<'_>) -> Result<(), OpenError> {
        self.select(None, after, each)
    }

    /// Gives all records of a message timeline after a position to `each`, in the order of
    /// [`records`](Self::records).
    ///
    /// # Errors
    /// [`OpenError::Io`] for an error of the file system.
    pub fn timeline(
        &mut self,
        timeline: TimelineId,
        after: Position,
        each: &mut EachRecord<'_>,
    ) -> Result<(), OpenError> {
        self.select(Some(timeline), after, each)
    }

    /// Gives all records after a position that name a timeline in their fan-out to `each`, by
    /// position.
    ///
    /// # Errors
    /// [`OpenError::Io`] for an error of the file system.
    pub fn sync(
        &mut self,
        timeline: TimelineId,
        after: Position,
        each: &mut EachRecord<'_>,
    ) -> Result<(), OpenError> {
        let mut flow = ControlFlow::Continue(());
        let read = self
            .runs
            .sync(timeline, after.0, u64::MAX, &mut |at, payload| {
                if let Some(record) = record::decode_payload(at, payload) {
                    flow = each(&shown(&self.redactions, record));
                }
                Ok(flow.is_continue())
            });
        if let Err(error) = read {
            self.faults
                .push(Fault::of_read(error, self.backend.path(""))?);
        }
        if flow.is_break() {
            return Ok(());
        }
        self.log(&mut |record| {
            let mut fanout = record.fanout;
            if record.position > after && fanout.any(|id| id == timeline) {
                each(record)
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// Gives every key with a state to `each`, with its latest value. Keeps the keys of the log in
    /// memory.
    ///
    /// # Errors
    /// [`OpenError::Io`] for an error of the file system.
    pub fn states(
        &mut self,
        each: &mut dyn FnMut(TimelineId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let mut latest = BTreeMap::new();
        self.walk(&mut |entry| {
            let states = match entry {
                Entry::State(_, state) => (Some(state), States::NONE),
                Entry::Record(record) => (None, record.states),
            };
            for state in states.0.into_iter().chain(states.1) {
                latest.insert(state.key.0, state.value.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        let runs = self.runs.of(RunKind::States);
        for (i, run) in runs.iter().enumerate() {
            let newer = &runs[i + 1..];
            match old_states(run, newer, &latest, each) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(error) => {
                    let file = self.backend.path(&run.id.name());
                    self.faults.push(Fault::of_read(error, file)?);
                }
            }
        }
        for (key, value) in latest.iter().filter(|(_, value)| !value.is_empty()) {
            if each(TimelineId(*key), value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Gives the records of one timeline, or of all, to `each`.
    fn select(
        &mut self,
        timeline: Option<TimelineId>,
        after: Position,
        each: &mut EachRecord<'_>,
    ) -> Result<(), OpenError> {
        let runs = self.runs.of(RunKind::Messages).iter();
        let runs = runs.filter(|run| run.id.form == RunForm::Values);
        for run in runs.filter(|run| run.id.to > after.0) {
            let redactions = &self.redactions;
            let mut each = |record: &Record<'_>| each(&shown(redactions, *record));
            match from_run(run, timeline, after, &mut each) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(error) => {
                    let file = self.backend.path(&run.id.name());
                    self.faults.push(Fault::of_read(error, file)?);
                }
            }
        }
        if self.kept(timeline, after, each)?.is_break() {
            return Ok(());
        }
        self.log(&mut |record| {
            let wanted = timeline.is_none_or(|id| id == record.timeline);
            if wanted && record.position > after {
                each(record)
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// Gives the records of the kept segments after a position to `each`: those of one timeline, or
    /// all.
    fn kept(
        &mut self,
        timeline: Option<TimelineId>,
        after: Position,
        each: &mut EachRecord<'_>,
    ) -> Result<ControlFlow<()>, OpenError> {
        let store_id = self.identity.store_id;
        let (backend, runs, redactions) = (&*self.backend, &self.runs, &self.redactions);
        let mut flow = ControlFlow::Continue(());
        let mut faults = Vec::new();
        for (base, size) in runs.kept().segments() {
            if base + size <= after.0 {
                continue;
            }
            let mut unreadable = None;
            let read = walk::open(backend, base, store_id).and_then(|segment| {
                walk::kept(backend, &segment, size, &mut |record| {
                    if record.position <= after || timeline.is_some_and(|id| id != record.timeline)
                    {
                        return flow;
                    }
                    // The body may be overwritten: then its redaction has another one.
                    let body = match record.body {
                        [] => runs.replacement((record.timeline, record.seq)),
                        body => Ok(body.to_vec()),
                    };
                    match body {
                        Ok(body) => {
                            let record = Record {
                                body: &body,
                                ..*record
                            };
                            flow = each(&shown(redactions, record));
                        }
                        Err(error) => unreadable = Some(error),
                    }
                    flow
                })
            });
            if let Err(error) = read {
                faults.push(Fault::of(error)?);
            }
            if let Some(error) = unreadable {
                faults.push(Fault::of_read(error, backend.path(""))?);
            }
            if flow.is_break() {
                break;
            }
        }
        self.faults.extend(faults);
        Ok(flow)
    }

    /// Gives the records of the log to `each`.
    fn log(&self, each: &mut EachRecord<'_>) -> Result<(), OpenError> {
        self.walk(&mut |entry| match entry {
            Entry::Record(record) => each(&shown(&self.redactions, *record)),
            Entry::State(..) => ControlFlow::Continue(()),
        })
    }

    /// Reads the log once to find its damage and its redactions. Redactions follow the records that
    /// they redact, so they must be known first.
    fn survey(&mut self) -> Result<(), OpenError> {
        let redactions = &mut self.redactions;
        match self.runs.redactions() {
            Ok(pending) => {
                for (target, replacement) in pending {
                    redactions.add(target, replacement);
                }
            }
            Err(error) => {
                let fault = Fault::of_read(error, self.backend.path(""))?;
                self.faults.push(fault);
            }
        }
        let store_id = self.identity.store_id;
        let walked = walk::walk(&*self.backend, store_id, &self.manifest, &mut |step| {
            if let Step::Entry(Entry::Record(record)) = step {
                redactions.note(record);
            }
            ControlFlow::Continue(())
        })?;
        self.faults.extend(walked.fault);
        Ok(())
    }

    fn walk(&self, each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) -> Result<(), OpenError> {
        let store_id = self.identity.store_id;
        walk::walk(
            &*self.backend,
            store_id,
            &self.manifest,
            &mut |step| match step {
                Step::Entry(entry) => each(entry),
                Step::Segment(_) => ControlFlow::Continue(()),
            },
        )?;
        Ok(())
    }
}

/// Returns the record with its present body.
fn shown<'a>(redactions: &'a Redactions, record: Record<'a>) -> Record<'a> {
    match redactions.get((record.timeline, record.seq)) {
        Some(replacement) => Record {
            body: replacement.body.here().unwrap_or_default(),
            ..record
        },
        None => record,
    }
}

/// Gives the records of a run to `each`: those of one timeline, or all.
fn from_run(
    run: &RunFile,
    timeline: Option<TimelineId>,
    after: Position,
    each: &mut EachRecord<'_>,
) -> Result<ControlFlow<()>, ReadError> {
    let mut cursor = match timeline {
        Some(id) if !run.may_have(id.0)? => return Ok(ControlFlow::Continue(())),
        Some(id) => run.seek((id.0, 0))?,
        None => run.scan()?,
    };
    while let Some((key, value)) = cursor.entry()? {
        if timeline.is_some_and(|id| id.0 != key.0) {
            break;
        }
        if let Some((position, payload)) = run::record(run, value)?
            && position > after.0
            && let Some(record) = record::decode_payload(position, payload)
            && each(&record).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        cursor.advance();
    }
    Ok(ControlFlow::Continue(()))
}

/// Gives the states of a run that no newer run or log entry replaces to `each`.
fn old_states(
    run: &RunFile,
    newer: &[Arc<RunFile>],
    log: &BTreeMap<u128, Vec<u8>>,
    each: &mut dyn FnMut(TimelineId, &[u8]) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReadError> {
    let mut cursor = run.scan()?;
    'entries: while let Some((key, value)) = cursor.entry()? {
        let value = value.to_vec();
        cursor.advance();
        if value.is_empty() || log.contains_key(&key.0) {
            continue;
        }
        for newer in newer {
            if newer.may_have(key.0)? && newer.get(key)?.is_some() {
                continue 'entries;
            }
        }
        if each(TimelineId(key.0), &value).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
