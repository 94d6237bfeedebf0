//! The manifest of a damaged store: read from its file, or made from run files and segments.

use super::RepairWork;
use super::files::{self, Readable};
use super::kept;
use super::part::LogPart;
use super::runs::Mender;
use crate::backend::Backend;
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::kept::KeptSegments;
use crate::log::segment::{self, SegmentFactory, segment_name};
use crate::run::manifest::{Floors, Manifest, NAME};
use crate::run::{self, BlockCache, RunFile, RunForm, RunId, RunKind};

/// Mends the manifest and the runs. Returns the manifest that is then in force.
pub(super) fn mend(
    work: &mut RepairWork<'_>,
    factory: &SegmentFactory,
    block: usize,
) -> Result<Manifest, OpenError> {
    let store_id = factory.store_id;
    let names = work.names()?;
    // No number is used twice, and an interrupted repair has used some.
    let used = names.iter().filter_map(|name| run_number(name)).max();
    let next = used.map_or(0, |used| used + 1);
    let mut made_again = false;
    let mut again = |work: &mut RepairWork<'_>, fault| {
        made_again = true;
        make_again(work, factory, next, fault)
    };
    let mut manifest = match Manifest::read(work.backend, store_id) {
        Ok(Some(manifest)) => manifest,
        Ok(None) if !had_one(work.backend, store_id, &names) => Manifest::default(),
        Ok(None) => again(work, "the file is missing")?,
        Err(OpenError::Corrupt { .. }) => again(work, "not what was written")?,
        Err(OpenError::Io { source, .. }) if files::is_lost(&source) => {
            again(work, "the disk does not return it")?
        }
        Err(error) => return Err(error),
    };
    manifest.next = manifest.next.max(next);
    let before = manifest.kept.clone();
    let damaged = kept::find(work, store_id, &mut manifest)?;
    if manifest.kept != before {
        // In force before the segments change: from then on nothing reads what is given up.
        if made_again {
            write(work, store_id, &manifest)?;
        } else {
            let fault = "it names segments that are damaged";
            put_in_force(work, store_id, &manifest, fault, "written again".into())?;
            made_again = true;
        }
    }
    kept::mend(work, store_id, &damaged)?;
    let mut gaps = gaps(&manifest);
    gaps.extend(unindexed(&manifest));
    let mut mender = Mender {
        work,
        store_id,
        block,
    };
    if mender.mend(&mut manifest, &gaps)? {
        if made_again {
            // This repair made the manifest: it needs no copy, and its step is in the report.
            write(work, store_id, &manifest)?;
        } else {
            let fault = "it names runs that are damaged";
            put_in_force(work, store_id, &manifest, fault, "written again".into())?;
        }
    }
    Ok(manifest)
}

/// Makes a manifest from the existing runs and segments; the next run file gets the number `next`.
/// Puts it in force before the repair changes these files.
fn make_again(
    work: &mut RepairWork<'_>,
    factory: &SegmentFactory,
    next: u64,
    fault: &str,
) -> Result<Manifest, OpenError> {
    let found = Found::read(work, factory)?;
    let mut manifest = found.manifest();
    manifest.next = next;
    manifest.head = last_record(work, factory.store_id, &manifest)?;
    found.set_aside(work, &manifest)?;
    work.lost.unlisted(&manifest);
    let action = format!(
        "made again from {} runs and the log, which begins at position {}",
        manifest.runs.len(),
        manifest.low_water
    );
    put_in_force(work, factory.store_id, &manifest, fault, action)?;
    Ok(manifest)
}

fn put_in_force(
    work: &mut RepairWork<'_>,
    store_id: [u8; 16],
    manifest: &Manifest,
    fault: &str,
    action: String,
) -> Result<(), OpenError> {
    let copy = match work.names()?.iter().any(|name| name == NAME) {
        true => Some(work.keep_copy(NAME, NAME)?),
        false => None,
    };
    write(work, store_id, manifest)?;
    let step = work.damaged(NAME, 0, fault);
    step.action = action;
    step.records = Some(0);
    work.kept(copy.as_deref());
    Ok(())
}

fn write(work: &RepairWork<'_>, store_id: [u8; 16], manifest: &Manifest) -> Result<(), OpenError> {
    if work.dry_run {
        return Ok(());
    }
    // The names of the new files must be durable before the manifest names them.
    work.backend
        .sync_dir()
        .and_then(|()| manifest.write(work.backend, store_id))
        .map_err(io_error(work.backend, NAME, "write"))
}

/// Returns the parts of kept segments between runs of positions, by kind. Such runs never existed, or
/// they are lost.
fn unindexed(manifest: &Manifest) -> Vec<RunId> {
    let mut found = Vec::new();
    for kind in [
        RunKind::Messages,
        RunKind::Syncs,
        RunKind::Keys,
        RunKind::Redactions,
    ] {
        let runs = manifest.runs.iter();
        let of_kind = runs.filter(|run| run.kind == kind && run.form == RunForm::Positions);
        let covered: Vec<_> = of_kind.map(|run| run.from..run.to).collect();
        let floor = manifest.floors.of(kind);
        for (base, size) in manifest.kept.segments() {
            if base + size > floor && !covered.iter().any(|part| part.contains(&base)) {
                found.push(RunId {
                    kind,
                    form: RunForm::Positions,
                    level: 0,
                    number: u64::MAX,
                    from: base,
                    to: base + size,
                    last_time: 0,
                });
            }
        }
    }
    found
}

/// Returns the parts before the log that no run of messages covers and that are not in kept
/// segments. Such runs never existed, or they are lost.
fn gaps(manifest: &Manifest) -> Vec<RunId> {
    let end = RunId {
        kind: RunKind::Messages,
        form: RunForm::Values,
        level: 0,
        number: u64::MAX,
        from: manifest.low_water,
        to: manifest.low_water,
        last_time: manifest.runs.iter().map(|r| r.last_time).max().unwrap_or(0),
    };
    let messages = manifest
        .runs
        .iter()
        .filter(|run| run.kind == RunKind::Messages);
    let (mut gaps, mut at) = (Vec::new(), manifest.floors.messages);
    for run in messages.chain([&end]) {
        if at < run.from {
            gaps.push(RunId {
                from: at,
                to: run.from,
                ..end
            });
        }
        at = at.max(run.to);
    }
    let values = manifest
        .kept
        .spans
        .first()
        .map_or(u64::MAX, |span| span.from);
    gaps.retain(|gap| gap.from < values);
    gaps
}

/// Returns whether a store without a manifest once had one: its first segment is gone and it has
/// run files, or it has run files of a later segment.
fn had_one(backend: &dyn Backend, store_id: [u8; 16], names: &[String]) -> bool {
    let has_first = names.contains(&segment_name(0));
    let mut runs = names.iter().filter(|name| run_number(name).is_some());
    match has_first {
        false => runs.next().is_some(),
        true => runs.any(|name| run::is_of_later_segment(backend, store_id, name)),
    }
}

/// Returns the number in the name of a run file, or of a copy of one.
fn run_number(name: &str) -> Option<u64> {
    let name = name.strip_prefix("damaged-").unwrap_or(name);
    let digits = name.strip_prefix("run-")?.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Returns the position of the last record in runs, or a greater one if it is not known.
fn last_record(
    work: &RepairWork<'_>,
    store_id: [u8; 16],
    manifest: &Manifest,
) -> Result<u64, OpenError> {
    let messages = manifest
        .runs
        .iter()
        .rfind(|run| run.kind == RunKind::Messages);
    let Some(&id) = messages else { return Ok(0) };
    let cache = std::sync::Arc::new(BlockCache::new(0));
    match RunFile::open(work.backend, id, store_id, cache) {
        Ok(run) => Ok(run.last_position().unwrap_or(manifest.low_water - 1)),
        Err(_) => Ok(manifest.low_water - 1),
    }
}

/// The files from which a manifest can be made.
struct Found {
    /// The run files with readable descriptions.
    runs: Vec<RunId>,
    /// The names of run files without readable descriptions.
    unknown: Vec<String>,
    /// The base and the size of each segment, ascending.
    segments: Vec<(u64, u64)>,
    /// The session of each segment's first frame, if there is one.
    sessions: Vec<Option<u32>>,
}

impl Found {
    fn read(work: &RepairWork<'_>, factory: &SegmentFactory) -> Result<Found, OpenError> {
        let (backend, store_id) = (work.backend, factory.store_id);
        let mut found = Found {
            runs: Vec::new(),
            unknown: Vec::new(),
            segments: Vec::new(),
            sessions: Vec::new(),
        };
        let mut names = work.names()?;
        names.sort_unstable();
        for name in &names {
            let number = run_number(name).filter(|_| name.ends_with(".tbl"));
            if let Some(number) = number.filter(|_| run::is_run_name(name)) {
                let file = Readable::open(backend, name)?;
                let id = RunFile::identify(&file, file.size, number, store_id)
                    .map_err(io_error(backend, name, "read"))?;
                match id {
                    Some(id) => found.runs.push(id),
                    None => found.unknown.push(name.clone()),
                }
            }
        }
        let bases: Vec<u64> = names
            .iter()
            .filter_map(|n| segment::segment_base(n))
            .collect();
        for (i, &base) in bases.iter().enumerate() {
            let next = bases.get(i + 1).copied();
            if let Some(part) = LogPart::read(backend, store_id, base, &segment_name(base), next)? {
                let session =
                    part.first_session()
                        .map_err(io_error(backend, &segment_name(base), "read"))?;
                found.segments.push((base, part.size));
                found.sessions.push(session);
            }
        }
        Ok(found)
    }

    /// Returns the manifest that fits the files.
    fn manifest(&self) -> Manifest {
        let low_water = self.low_water();
        let mut runs = Vec::new();
        for kind in RunKind::ALL {
            for form in [RunForm::Values, RunForm::Positions] {
                runs.extend(self.in_force((kind, form), low_water));
            }
        }
        let of = |kind: RunKind| runs.iter().filter(move |run: &&RunId| run.kind == kind);
        // The records before the first run of a kind may have expired.
        let first = |kind| of(kind).map(|run| run.from).min().unwrap_or(low_water);
        let marked = of(RunKind::Marks).map(|run| run.to).max().unwrap_or(0);
        let segment = self
            .segments
            .iter()
            .position(|&(base, _)| base == low_water);
        let session = segment.and_then(|at| self.sessions[at]);
        // Everything before the first kept segment is in runs of values. Kept segments have some too:
        // of states, of marks, and of redactions of records in runs of version 1.
        let is_old = |run: &&RunId| {
            let records = [RunKind::Messages, RunKind::Syncs, RunKind::Keys];
            run.form == RunForm::Values && records.contains(&run.kind)
        };
        let old = runs
            .iter()
            .filter(is_old)
            .map(|run| run.to)
            .max()
            .unwrap_or(0);
        let mut kept = KeptSegments::default();
        if runs.iter().any(|run| run.form == RunForm::Positions) {
            for &(base, size) in &self.segments {
                let expired = base + size <= marked;
                if (old..low_water).contains(&base) && !expired {
                    kept.push(base, size);
                }
            }
        }
        // What kept segments have has not expired: runs of it are made again.
        let kept_from = kept.spans.first().map_or(u64::MAX, |span| span.from);
        let first = |kind| first(kind).min(kept_from);
        let floors = Floors {
            messages: first(RunKind::Messages).max(marked),
            syncs: first(RunKind::Syncs),
            keys: first(RunKind::Keys),
        };
        let mut manifest = Manifest {
            low_water,
            head: 0,
            // All records before the log are in runs, which are durable.
            records_end: low_water,
            covered: low_water,
            session: session.unwrap_or_default(),
            next: 0,
            floors,
            kept,
            runs,
        };
        manifest.expire_segments();
        manifest
    }

    /// Returns the position up to which segments are in runs, if there are runs of positions. The last of
    /// these segments does not count if its runs may not be complete: the step that made them can have been
    /// interrupted.
    fn positions_end(&self) -> Option<u64> {
        if { self.runs.iter() }.all(|run| run.form == RunForm::Values) {
            return None;
        }
        // Of either form: a segment may have values alone, and then it has no run of positions.
        let end = self.runs.iter().map(|run| run.to).max()?;
        let mut segments = self.segments.iter();
        let Some(&(last, _)) = segments.find(|(base, size)| base + size == end) else {
            // The segment has expired, if the log goes on behind it.
            return { self.segments.iter() }
                .any(|(base, _)| *base == end)
                .then_some(end);
        };
        // A merge makes a run of runs that were in force, so one of several segments proves that the last of
        // them had all its runs.
        let mut newest = self.runs.iter().filter(|run| run.to == end);
        Some(match newest.all(|run| run.from == last) {
            true => last,
            false => end,
        })
    }

    /// Returns the position at which the log begins: the first segment. If runs cover all or part
    /// of the log between that segment and a later one, the segment was about to be removed, and
    /// the log begins with the later one.
    fn low_water(&self) -> u64 {
        if let Some(end) = self.positions_end() {
            return end;
        }
        let runs_end = self.runs.iter().map(|run| run.to).max().unwrap_or(0);
        let mut low_water = self.segments.first().map_or(runs_end, |first| first.0);
        let pairs = self.segments.iter().zip(self.segments.iter().skip(1));
        for (&(base, size), &(next, _)) in pairs {
            let gap = base + size..next;
            if self
                .runs
                .iter()
                .any(|run| run.from < gap.end && run.to > gap.start)
                && gap.start < gap.end
            {
                low_water = next;
            }
        }
        let crosses = |at: u64| {
            let over = self
                .runs
                .iter()
                .filter(move |run| run.from < at && at < run.to);
            over.map(|run| run.to).max()
        };
        while let Some(end) = crosses(low_water) {
            low_water = end;
        }
        low_water
    }

    /// Returns the runs of a kind and form that were in force. Of overlapping runs, it is the one that was
    /// made from the others.
    fn in_force(&self, (kind, form): (RunKind, RunForm), low_water: u64) -> Vec<RunId> {
        let of_kind = |run: &&RunId| run.kind == kind && run.form == form && run.to <= low_water;
        let mut candidates: Vec<RunId> = self.runs.iter().filter(of_kind).copied().collect();
        candidates.sort_by_key(|run| std::cmp::Reverse((run.to - run.from, run.number)));
        let mut chosen: Vec<RunId> = Vec::new();
        for run in candidates {
            if chosen.iter().all(|c| c.to <= run.from || run.to <= c.from) {
                chosen.push(run);
            }
        }
        chosen.sort_by_key(|run| run.from);
        chosen
    }

    /// Renames the files that are not in force to copies, before an opening would remove them.
    fn set_aside(&self, work: &mut RepairWork<'_>, manifest: &Manifest) -> Result<(), OpenError> {
        for name in &self.unknown {
            let copy = work.set_aside(name, name.trim_end_matches(".tbl"))?;
            let step = work.damaged(name, 0, "the footer is not what was written");
            step.action = "removed as a whole: without the manifest its content is unknown".into();
            work.kept(Some(&copy));
            work.lost.stretch(0, manifest.low_water);
        }
        for run in &self.runs {
            if !manifest.runs.contains(run) {
                let name = run.name();
                let copy = work.set_aside(&name, name.trim_end_matches(".tbl"))?;
                let step = work.damaged(
                    &name,
                    0,
                    "renamed to a copy: other runs or the log have its content",
                );
                step.action = "set aside".into();
                step.records = Some(0);
                work.kept(Some(&copy));
            }
        }
        let is_kept = |base: u64| manifest.kept.base_of(base) == Some(base);
        let before = self.segments.iter().filter(|s| s.0 < manifest.low_water);
        for &(base, _) in before.filter(|s| !is_kept(s.0)) {
            let name = segment_name(base);
            let copy = work.set_aside(&name, &format!("{base:016x}"))?;
            let step = work.damaged(&name, 0, "renamed to a copy: runs have its content");
            step.action = "set aside".into();
            step.records = Some(0);
            work.kept(Some(&copy));
        }
        Ok(())
    }
}
