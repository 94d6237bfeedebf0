//! Erases old values from the segments that are in runs, and from the runs.
//!
//! Nothing reads a value from a segment that is in runs: the runs have the latest value of each key. Only a
//! repair of a lost manifest can take the last of these segments for the log again. So values are erased in
//! segments that another one in runs follows.
//!
//! A value is old if the runs have another value under its key, or none: so the later one is on the disk.
//!
//! The thread that makes runs does all of it in short pieces, behind the segments that wait for it. So no body
//! is overwritten in a segment while a piece of its new file is written, and if one was overwritten between two
//! pieces, the new file is begun again.

use std::collections::HashMap;
use std::hash::Hasher;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::merge_rule::MergeCandidate;
use super::overwrite::{is_damage, is_damaged};
use super::steps::Steps;
use crate::log::old_values::{NewFile, ValueSearch};
use crate::log::segment::{Segment, segment_name};
use crate::run::RunKind;
use crate::run::build::{Pending, as_io};
use crate::store::condition::mib;
use crate::store::old_values::Request;
use crate::{IdBuildHasher, TimelineId};

/// The keys that are looked up at once.
const KEYS_AT_ONCE: usize = if cfg!(test) { 3 } else { 256 };
/// The interruptions of a new file after which the next one is written in one go.
const MOST_INTERRUPTIONS: u32 = 3;
/// The rest after old values left the runs, as a multiple of the time that it took.
const PURGE_REST: u32 = 4;

/// An erasure of old values under way.
pub(in crate::store) struct ValuesJob {
    request: Arc<Request>,
    /// A hash of the latest value that the runs have under each key. Different hashes are of different values.
    latest: HashMap<TimelineId, u64, IdBuildHasher>,
    /// The number of keys that were looked up.
    known: usize,
    /// Segments with a base before this one are done, or are not looked at.
    from: u64,
    /// Segments that end behind this position stay as they are; `None` until the log is in runs far enough.
    bound: Option<u64>,
    segment: Option<OpenSegment>,
    interruptions: u32,
    /// Whether the runs were asked to leave old values out.
    purges: bool,
    /// Why it did not go on last.
    failure: Option<String>,
}

/// The segment that is looked at.
struct OpenSegment {
    segment: Segment,
    search: ValueSearch,
    new: Option<NewFile>,
}

/// What comes after a step.
enum Next {
    /// Another step.
    Step,
    /// Nothing, until something else has happened.
    Wait,
    /// Nothing: it is done.
    Done,
}

impl ValuesJob {
    fn new(request: Arc<Request>) -> Self {
        ValuesJob {
            request,
            latest: HashMap::default(),
            known: 0,
            from: 0,
            bound: None,
            segment: None,
            interruptions: 0,
            purges: false,
            failure: None,
        }
    }
}

impl Steps {
    /// Goes on with the erasure of old values. Returns whether there may be more to do now. A failure ends it
    /// until the next tick.
    pub(super) fn erase_values(&self) -> bool {
        let shared = &self.shared.old_values;
        let mut slot = self.values.lock();
        if slot.is_none() {
            *slot = shared.request().map(ValuesJob::new);
        }
        let Some(job) = &mut *slot else { return false };
        if shared.rests() {
            return false;
        }
        match self.values_step(job) {
            Ok(Next::Step) => true,
            Ok(Next::Wait) => false,
            Ok(Next::Done) => {
                *slot = None;
                shared.done();
                false
            }
            Err(error) => {
                self.give_up(job);
                shared.rest();
                let text = format!("old values of erased data stay on the disk for now: {error}");
                if job.failure.as_ref() != Some(&text) {
                    self.shared.condition.notice(text.clone());
                    job.failure = Some(text);
                }
                false
            }
        }
    }

    /// Gives the new file of a segment up, if a body is going to be overwritten in the segment.
    pub(super) fn interrupt_values(&self, concerns: &dyn Fn(u64) -> bool) {
        if let Some(job) = &mut *self.values.lock()
            && job
                .segment
                .as_ref()
                .is_some_and(|open| concerns(open.segment.base))
        {
            job.interruptions += 1;
            self.give_up(job);
        }
    }

    /// Lets go of the segment. It is looked at again.
    fn give_up(&self, job: &mut ValuesJob) {
        if let Some(new) = job.segment.take().and_then(|open| open.new) {
            new.remove(&*self.shared.backend);
        }
    }

    fn values_step(&self, job: &mut ValuesJob) -> io::Result<Next> {
        let Some(bound) = job.bound else {
            return Ok(self.wait_for_runs(job));
        };
        if job.known < job.request.keys.len() {
            self.look_keys_up(job)?;
            return Ok(Next::Step);
        }
        if job.segment.is_none() && !self.open_next(job, bound)? {
            return Ok(self.purge_step(job));
        }
        self.segment_step(job)
    }

    /// Waits until the log up to the end of the request is in runs, and a later segment too.
    fn wait_for_runs(&self, job: &mut ValuesJob) -> Next {
        let (low_water, until) = (self.low_water(), job.request.until.0);
        let runs = self.shared.runs();
        let last = runs.kept().segments().last();
        // Where the last segment in runs has expired already, no repair takes an earlier one for the log.
        let bound = match last {
            Some((base, size)) if base + size == low_water => base,
            _ => low_water,
        };
        let shared = &self.shared.old_values;
        if until < bound || until == 0 {
            shared.seal_before(0);
            job.bound = Some(bound);
            return Next::Step;
        }
        shared.seal_before(until.max(low_water) + 1);
        Next::Wait
    }

    fn look_keys_up(&self, job: &mut ValuesJob) -> io::Result<()> {
        let runs = self.shared.runs();
        let keys = job.request.keys[job.known..].iter().take(KEYS_AT_ONCE);
        for &key in keys {
            let value = runs.state(key).map_err(as_io)?.unwrap_or_default();
            job.latest.insert(key, hash(&value));
            job.known += 1;
        }
        Ok(())
    }

    /// Opens the next segment, or leaves it out if it is damaged. Returns whether there was one.
    fn open_next(&self, job: &mut ValuesJob, bound: u64) -> io::Result<bool> {
        let runs = self.shared.runs();
        let until = job.request.until.0;
        let fits =
            |&(base, size): &(u64, u64)| base >= job.from && base <= until && base + size <= bound;
        let Some((base, size)) = runs.kept().segments().find(fits) else {
            return Ok(false);
        };
        let name = segment_name(base);
        match Segment::open(&*self.shared.backend, &name, self.plan.store_id) {
            Ok(segment) => {
                job.segment = Some(OpenSegment {
                    search: ValueSearch::new(&segment),
                    segment,
                    new: None,
                });
                Ok(true)
            }
            Err(error) if is_damaged(&error) => {
                self.leave_out(job, base + size, &error.to_string());
                Ok(true)
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// Goes on behind a damaged segment.
    fn leave_out(&self, job: &mut ValuesJob, end: u64, error: &str) {
        job.from = end;
        self.shared.old_values.left_out();
        let text = format!("old values stay in a damaged segment: {error}");
        self.shared.condition.notice(text);
    }

    fn segment_step(&self, job: &mut ValuesJob) -> io::Result<Next> {
        let is_whole = job.interruptions >= MOST_INTERRUPTIONS;
        loop {
            let Some(open) = &job.segment else {
                return Ok(Next::Step);
            };
            let end = open.segment.end();
            let is_over = open.search.is_over() && open.search.found() == 0;
            if is_over && open.new.is_none() {
                job.segment = None;
                job.from = end;
                job.interruptions = 0;
                return Ok(Next::Step);
            }
            match self.piece(job) {
                Ok(Next::Step) if is_whole => {}
                Err(error) if is_damage(&error) => {
                    self.give_up(job);
                    self.leave_out(job, end, &error.to_string());
                    return Ok(Next::Step);
                }
                done => return done,
            }
        }
    }

    /// Looks at a piece of the segment, or writes a piece of its new file.
    fn piece(&self, job: &mut ValuesJob) -> io::Result<Next> {
        let Some(OpenSegment {
            segment,
            search,
            new,
        }) = &mut job.segment
        else {
            return Ok(Next::Step);
        };
        let backend = &*self.shared.backend;
        if !search.is_enough() {
            let latest = &job.latest;
            search.look(segment, &|key, value| {
                latest
                    .get(&key)
                    .is_some_and(|latest| *latest != hash(value))
            })?;
            return Ok(Next::Step);
        }
        let Some(file) = new else {
            if self.shared.overwritten.is_followed() {
                self.shared.old_values.rest();
                return Ok(Next::Wait);
            }
            let free = backend.free_bytes()?;
            // As much stays for the next segment of the log.
            if free < 2 * segment.size {
                let (free, size) = (mib(free), mib(2 * segment.size));
                let text = format!("no space: {free} are free, {size} are needed");
                return Err(io::Error::new(io::ErrorKind::StorageFull, text));
            }
            *new = Some(NewFile::begin(backend, segment, search)?);
            return Ok(Next::Step);
        };
        if file.go_on(segment, search)? {
            return Ok(Next::Step);
        }
        self.put_in_place(job)
    }

    /// Lets the new file take the place of the segment.
    fn put_in_place(&self, job: &mut ValuesJob) -> io::Result<Next> {
        let Some(open) = &mut job.segment else {
            return Ok(Next::Step);
        };
        let base = open.segment.base;
        let backend = &*self.shared.backend;
        self.shared.check_folder()?;
        // While this is held, nobody removes the segment, and no backup chooses its files.
        let _files = self.shared.files.lock();
        if self.shared.overwritten.is_followed() {
            // The backup may copy the segment, and may end before what is later than the old values.
            self.shared.old_values.rest();
            return Ok(Next::Wait);
        }
        let runs = self.shared.runs();
        if runs.kept().base_of(base) != Some(base) {
            // It has expired.
            job.from = open.segment.end();
            self.give_up(job);
            return Ok(Next::Step);
        }
        // A note of what was overwritten in the old file must be gone for good: it would not fit the new one.
        backend.sync_dir()?;
        let Some(new) = open.new.take() else {
            return Ok(Next::Step);
        };
        if let Err(error) = new.take_place(backend) {
            new.remove(backend);
            return Err(error);
        }
        if let Some(files) = runs.segments() {
            files.replaced(base);
        }
        backend.sync_dir()?;
        self.shared.old_values.overwrote(open.search.found());
        open.search.clear();
        // The look goes on in the new file.
        open.segment = Segment::open(backend, &open.segment.name, self.plan.store_id)
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Next::Step)
    }

    /// Asks for runs without old values, and waits for them.
    fn purge_step(&self, job: &mut ValuesJob) -> Next {
        let shared = &self.shared.old_values;
        if !job.request.purges {
            return Next::Done;
        }
        if !job.purges {
            job.purges = true;
            shared.set_purge(true);
            // Wakes the thread that merges.
            return Next::Step;
        }
        match shared.wants_purge() {
            true => Next::Wait,
            false => Next::Done,
        }
    }

    /// Merges the runs of values into one, if that is wanted: so old values leave them. Returns whether it did.
    pub(super) fn purge_values(&self) -> io::Result<bool> {
        let shared = &self.shared.old_values;
        if !shared.wants_purge() {
            return Ok(false);
        }
        let old = self.shared.runs().of(RunKind::States).to_vec();
        if old.len() > 1 {
            let last = *self.purged.lock();
            if last.is_some_and(|(at, took)| at.elapsed() < took * PURGE_REST) {
                return Ok(false);
            }
            let began = Instant::now();
            let level = old.iter().map(|run| run.id.level).max().unwrap_or(0);
            let candidate = MergeCandidate {
                at: 0..old.len(),
                level,
            };
            // Not a level more: it would grow with each of these.
            self.merge_into(level, old, &candidate, &Pending::default())?;
            *self.purged.lock() = Some((Instant::now(), began.elapsed()));
        }
        shared.set_purge(false);
        Ok(true)
    }
}

/// Returns a hash of a value. Equal values have equal hashes, so the latest one is never taken for an old one.
fn hash(value: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}
