//! The run files of a damaged store: writes anew what is left of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::RepairWork;
use super::files::{Readable, is_lost, newest_copy};
use super::salvage::{Salvage, Stubs, has_references};
use crate::error::io_error;
use crate::error::{OpenError, ReadError};
use crate::log::segment::{Segment, segment_name};
use crate::run::build::RunMaker;
use crate::run::manifest::{self, Manifest};
use crate::run::{BlockCache, RunFile, RunForm, RunId, RunKind, decode_reference};
use crate::stats::Counters;

/// A run that is damaged or missing.
struct Damaged {
    id: RunId,
    /// The file with what is left of the run: its own, or the copy made by an interrupted repair.
    source: Option<String>,
    fault: String,
    offset: u64,
    left: Salvage,
}

/// Mends run files.
pub(super) struct Mender<'a, 'b> {
    pub(super) work: &'a mut RepairWork<'b>,
    pub(super) store_id: [u8; 16],
    /// The size of a block in bytes.
    pub(super) block: usize,
}

impl Mender<'_, '_> {
    /// Mends the runs that `manifest` names, and updates their entries in it. `gaps` are the parts
    /// of the log that no run of messages covers, though one may have existed. Returns whether the
    /// manifest changed.
    pub(super) fn mend(
        &mut self,
        manifest: &mut Manifest,
        gaps: &[RunId],
    ) -> Result<bool, OpenError> {
        let mut damaged = Vec::new();
        let mut whole = Vec::new();
        for &id in &manifest.runs {
            match self.check(id)? {
                Ok(run) => {
                    self.work.advance(run.bytes);
                    whole.push(run);
                }
                Err((offset, fault)) => damaged.push(self.salvage(id, offset, fault)?),
            }
        }
        let missing = gaps.iter().map(|&id| Damaged {
            id,
            source: None,
            fault: match id.form {
                RunForm::Values => format!(
                    "it names no messages from positions {} to {}",
                    id.from, id.to
                ),
                RunForm::Positions => format!(
                    "it names no runs of the segment from positions {} to {}",
                    id.from, id.to
                ),
            },
            offset: 0,
            left: Salvage::nothing(),
        });
        damaged.extend(missing);
        let mut stubs: Vec<Stubs> = damaged.iter().map(known_stubs).collect();
        self.find_references(&whole, &damaged, &mut stubs)?;
        let mut changed = false;
        for (damaged, stubs) in damaged.into_iter().zip(&stubs) {
            if damaged.id.form == RunForm::Positions {
                changed |= self.rebuild(manifest, damaged)?;
                continue;
            }
            // A gap may never have had a run.
            if manifest.runs.contains(&damaged.id) || !stubs.is_empty() {
                self.replace(manifest, damaged, stubs)?;
                changed = true;
            }
        }
        manifest
            .runs
            .sort_by_key(|run| (run.kind as u8, run.form, run.from));
        Ok(changed)
    }

    /// Reads a run. The inner error holds the offset of the damage and says what is wrong.
    fn check(&self, id: RunId) -> Result<Result<RunFile, (u64, String)>, OpenError> {
        let cache = Arc::new(BlockCache::new(0));
        let run = match RunFile::open(self.work.backend, id, self.store_id, cache) {
            Ok(run) => run,
            Err(OpenError::Corrupt { offset, reason, .. }) => return Ok(Err((offset, reason))),
            Err(OpenError::Io { source, .. }) if is_damage(&source) => {
                return Ok(Err((0, source.to_string())));
            }
            Err(error) => return Err(error),
        };
        match run.check(&mut |_| ()) {
            Ok(_) => Ok(Ok(run)),
            Err(ReadError::Io { source, .. }) if is_damage(&source) => {
                Ok(Err((0, source.to_string())))
            }
            Err(ReadError::Io { file, source }) => Err(OpenError::Io {
                file,
                action: "read",
                source,
            }),
            Err(ReadError::Corrupt { offset, .. }) => {
                Ok(Err((offset, "not what was written".into())))
            }
            Err(error) => Ok(Err((0, error.to_string()))),
        }
    }

    fn salvage(&self, id: RunId, offset: u64, mut fault: String) -> Result<Damaged, OpenError> {
        let names = self.work.names()?;
        let source = match names.contains(&id.name()) {
            true => Some(id.name()),
            false => newest_copy(&names, &copy_of(id)),
        };
        let left = match &source {
            // It is made again from the segments.
            Some(_) if id.form == RunForm::Positions => Salvage::nothing(),
            Some(source) => {
                let file = Readable::open(self.work.backend, source)?;
                let size = file.size;
                Salvage::read(Arc::new(file), size, self.store_id).map_err(io_error(
                    self.work.backend,
                    source,
                    "read",
                ))?
            }
            None => Salvage::nothing(),
        };
        if let Some(source) = source.as_ref().filter(|source| **source != id.name()) {
            fault = format!("the file is missing, but there is {source}");
        }
        Ok(Damaged {
            offset: left.first_lost.unwrap_or(offset),
            id,
            source,
            fault,
            left,
        })
    }

    /// Adds lost records to `stubs`, as the runs that refer to records name them.
    fn find_references(
        &self,
        whole: &[RunFile],
        damaged: &[Damaged],
        stubs: &mut [Stubs],
    ) -> Result<(), OpenError> {
        let lossy = |damaged: &&Damaged| {
            damaged.id.kind == RunKind::Messages
                && damaged.id.form == RunForm::Values
                && !damaged.left.is_complete()
        };
        if !damaged.iter().any(|damaged| lossy(&damaged)) {
            return Ok(());
        }
        let mut note = |position: u64, value: &[u8]| {
            let Some(target) = decode_reference(value) else {
                return;
            };
            for (damaged, stubs) in damaged.iter().zip(&mut *stubs) {
                let part = damaged.id.from..damaged.id.to;
                if lossy(&damaged) && part.contains(&position) && damaged.left.lacks(target) {
                    stubs.insert(target, position);
                }
            }
        };
        for run in whole.iter().filter(|run| has_references(run.id)) {
            let unreadable = |error: ReadError| OpenError::Io {
                file: self.work.backend.path(&run.id.name()),
                action: "read",
                source: io::Error::other(error.to_string()),
            };
            let mut cursor = run.scan().map_err(unreadable)?;
            while let Some((key, value)) = cursor.entry().map_err(unreadable)? {
                note(key.1, value);
                cursor.advance();
            }
        }
        for referring in damaged.iter().filter(|d| has_references(d.id)) {
            referring
                .left
                .each(&mut |key, value| {
                    note(key.1, value);
                    Ok(())
                })
                .map_err(io_error(self.work.backend, &referring.id.name(), "read"))?;
        }
        Ok(())
    }

    /// Makes a run of positions again, from the kept segments that it names: a run for each of them.
    /// Returns whether there was anything to make.
    fn rebuild(&mut self, manifest: &mut Manifest, damaged: Damaged) -> Result<bool, OpenError> {
        let Damaged { id, source, .. } = damaged;
        let is_named = manifest.runs.contains(&id);
        let name = id.name();
        let copy = match source {
            Some(source) if source == name => Some(self.work.set_aside(&name, &copy_of(id))?),
            other => other,
        };
        manifest.runs.retain(|run| *run != id);
        let backend = self.work.backend;
        let (counters, stopping) = (Counters::default(), AtomicBool::new(false));
        let maker = RunMaker {
            backend,
            store_id: self.store_id,
            block: self.block,
            counters: &counters,
            stopping: &stopping,
            between_entries: &|| Ok(()),
            made: Default::default(),
        };
        let mut made = 0;
        let segments: Vec<(u64, u64)> = manifest.kept.segments().collect();
        for (base, _) in segments
            .into_iter()
            .filter(|(base, _)| (id.from..id.to).contains(base))
        {
            let dry_run = self.work.dry_run;
            let segment = match Segment::open(backend, &segment_name(base), self.store_id) {
                Ok(segment) => segment,
                // It is not written again yet.
                Err(_) if dry_run => continue,
                Err(error) => return Err(error),
            };
            let found = maker
                .make_again(&segment, id.kind, manifest.next, dry_run)
                .map_err(io_error(backend, &segment.name, "make runs of"))?;
            manifest.next += 1;
            made += usize::from(found.is_some());
            manifest.runs.extend(found);
        }
        if !is_named && made == 0 {
            return Ok(false);
        }
        let name = if is_named {
            name
        } else {
            manifest::NAME.into()
        };
        let step = self.work.damaged(&name, damaged.offset, damaged.fault);
        step.action = "made again from the segments; nothing is lost".into();
        step.records = Some(0);
        self.work.kept(copy.as_deref());
        Ok(true)
    }

    /// Renames a damaged run to a copy, and writes a run of what is left in its place.
    fn replace(
        &mut self,
        manifest: &mut Manifest,
        damaged: Damaged,
        stubs: &Stubs,
    ) -> Result<(), OpenError> {
        let Damaged {
            id, source, left, ..
        } = damaged;
        let name = id.name();
        let copy = match source {
            Some(source) if source == name => Some(self.work.set_aside(&name, &copy_of(id))?),
            other => other,
        };
        let new = RunId {
            number: manifest.next,
            ..id
        };
        manifest.next += 1;
        let any = match self.work.dry_run {
            true => left.entries > 0 || !stubs.is_empty(),
            false => left
                .write(self.work.backend, new, self.store_id, self.block, stubs)
                .map_err(io_error(self.work.backend, &new.name(), "write"))?,
        };
        let name = match manifest.runs.contains(&id) {
            true => name,
            false => manifest::NAME.into(),
        };
        manifest.runs.retain(|run| *run != id);
        manifest.runs.extend(any.then_some(new));
        let given_up = match left.is_complete() {
            true => Some(0),
            false => left.had.map(|had| had.saturating_sub(left.entries)),
        };
        match (given_up, id.kind) {
            (Some(0), _) => {}
            (Some(messages), RunKind::Messages) => self.work.lost.messages(id.to, messages),
            (None, RunKind::Messages) | (_, RunKind::Marks) => {
                self.work.lost.stretch(id.from, id.to)
            }
            _ => self.work.lost.other(),
        }
        let step = self.work.damaged(&name, damaged.offset, damaged.fault);
        step.action = match given_up {
            Some(0) => format!("written again as {}; nothing is lost", new.name()),
            _ => {
                let rest = match any {
                    true => format!("the rest is in {}", new.name()),
                    false => "nothing is left".into(),
                };
                format!("{}; {rest}", meaning(id.kind))
            }
        };
        step.records = given_up;
        step.bytes = left.lost_bytes;
        self.work.kept(copy.as_deref());
        Ok(())
    }
}

/// Returns a sentence about what the loss of entries of a kind means.
const fn meaning(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Messages => "these messages are lost",
        RunKind::Syncs => "references are lost: sync does not deliver these events to some users",
        RunKind::Keys => {
            "idempotency keys are lost: a message that is sent again under one of them is stored twice"
        }
        RunKind::States => {
            "STATES ARE LOST: the values under these keys are missing, or are older ones"
        }
        RunKind::Redactions => "REDACTIONS ARE LOST: recalled text may be readable again",
        RunKind::Marks => "the last sequences of timelines whose messages have expired are lost",
    }
}

/// Returns the part of a copy's name that identifies the run.
fn copy_of(id: RunId) -> String {
    format!("run-{:016x}", id.number)
}

/// Returns the records that the index of a run of messages names, though their blocks are lost.
fn known_stubs(damaged: &Damaged) -> Stubs {
    let keys = damaged.left.known_keys();
    keys.filter(|_| damaged.id.kind == RunKind::Messages && damaged.id.form == RunForm::Values)
        .map(|key| (key, 0))
        .collect()
}

/// Returns whether an error of the file system means that the file is damaged.
fn is_damage(error: &io::Error) -> bool {
    is_lost(error) || error.kind() == io::ErrorKind::UnexpectedEof
}
