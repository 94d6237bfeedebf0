//! A small store on a simulated disk, changes to its files, and all that a program can do with the
//! result.

use std::ops::ControlFlow;
use std::sync::Arc;

use trunkline_storage::backend::Backend;
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{
    Draft, OpenError, Opened, Options, Order, Page, Position, ReadError, Redaction, RepairOptions,
    StateEntry, Store, TimelineId,
};

use crate::bytes::Bytes;

/// Message timelines of the store.
const TIMELINES: u64 = 3;
/// Users whose sync timelines are in the fan-out.
const USERS: u64 = 2;
/// Records in one batch.
const BATCH: u64 = 3;
/// Records in all, some segments of them.
const RECORDS: u64 = 60;
/// Most changes to a store by one input.
const CHANGES: usize = 8;

/// A store that was killed after its last batch, and what it holds.
pub(crate) struct Sample {
    disk: SimDisk,
    options: Options,
    /// The sequence and the body of each record, by timeline.
    truth: [Vec<(u64, Vec<u8>)>; TIMELINES as usize],
}

/// What was done to the files of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// A few bits and sectors, as a disk does it: checksums tell each of them.
    Damage,
    /// Anything, with checksums made right behind it, as an attacker does it.
    Forgery,
}

fn timeline(number: u64) -> TimelineId {
    TimelineId(u128::from(number % TIMELINES) + 1)
}

fn user(number: u64) -> TimelineId {
    TimelineId(u128::from(number % USERS) + 100)
}

impl Sample {
    /// Makes a store in segments of 8 KiB, with or without runs.
    pub(crate) fn new(runs: bool) -> Self {
        let options = Options {
            segment_bytes: 8 << 10,
            reserve_bytes: 0,
            max_record_bytes: 2 << 10,
            max_batch_bytes: 1 << 20,
            runs,
            merge_width: 2,
            cache_bytes: 4 << 10,
            background: false,
            ..Options::default()
        };
        let disk = SimDisk::new(1);
        let mut truth: [Vec<(u64, Vec<u8>)>; TIMELINES as usize] = Default::default();
        let mut opened = open(&disk, &options).expect("a new store opens");
        for number in 0..RECORDS {
            let seq = number / TIMELINES + 1;
            let body = vec![number as u8; 100 + (number as usize * 37) % 400];
            let redacts = (number >= 2 * TIMELINES && number % 7 == 0).then(|| Redaction {
                seq: seq - 2,
                body: b"recalled",
            });
            let own = &mut truth[(number % TIMELINES) as usize];
            if redacts.is_some() {
                own[seq as usize - 3].1 = b"recalled".to_vec();
            }
            own.push((seq, body.clone()));
            let draft = Draft {
                kind: 1,
                time: 1_700_000_000_000 + number,
                timeline: timeline(number),
                seq,
                fanout: &[user(0), user(1)],
                body: &body,
                key: (number % 3 == 0).then(|| TimelineId(1_000 + u128::from(number))),
                states: &[StateEntry {
                    key: timeline(number),
                    value: &number.to_le_bytes(),
                }],
                redacts,
            };
            opened.writer.append(&draft).expect("the record fits");
            if number % BATCH == BATCH - 1 {
                opened.writer.commit().expect("the disk takes it");
            }
        }
        disk.kill();
        drop(opened);
        disk.kill();
        Self {
            disk,
            options,
            truth,
        }
    }

    /// Changes a copy of the files that `wanted` picks as the input says, and tries the result.
    ///
    /// # Panics
    /// The store breaks a promise.
    pub(crate) fn feed(&self, input: &[u8], wanted: fn(&str) -> bool) {
        let mut input = Bytes(input);
        let changes = if input.byte() & 1 == 0 {
            Changes::Damage
        } else {
            Changes::Forgery
        };
        let disk = self.disk.fork(1);
        let mut names = disk.list().expect("the folder can be listed");
        names.retain(|name| wanted(name) && disk.contents(name).is_some_and(|all| !all.is_empty()));
        names.sort();
        assert!(!names.is_empty(), "no file to change");
        for _ in 0..CHANGES {
            if input.is_empty() {
                break;
            }
            let name = &names[usize::from(input.byte()) % names.len()];
            change(&disk, name, &mut input, changes);
        }
        if changes == Changes::Forgery {
            for name in &names {
                self.make_whole(&disk, name);
            }
        }
        self.try_all(&disk, changes);
    }

    /// Does everything that a program can do with a store.
    fn try_all(&self, disk: &SimDisk, changes: Changes) {
        let faults = look(disk);
        match open(&disk.fork(2), &self.options) {
            Ok(opened) => self.read_and_write(opened, changes),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let unseen = changes == Changes::Damage && faults == Some(0);
                assert!(!unseen, "verify finds nothing: {error}");
            }
        }
        let repaired = disk.fork(3);
        let options = RepairOptions {
            dry_run: false,
            segment_bytes: self.options.segment_bytes,
        };
        let repair = Store::repair_with(Arc::new(repaired.clone()), &options, &mut |_, _| {});
        if repair.is_ok() && changes == Changes::Damage {
            let again = open(&repaired, &self.options);
            assert!(again.is_ok(), "repaired, but {:?}", again.err());
        }
    }

    fn read_and_write(&self, mut opened: Opened, changes: Changes) {
        let mut page = Page::new();
        for (number, truth) in (0..).zip(&self.truth) {
            let all = 0..=u64::MAX;
            let reader = &opened.reader;
            let read = reader.range(timeline(number), all, 1_000, Order::Ascending, &mut page);
            if read.is_ok() && changes == Changes::Damage {
                // The last batch may be gone: nothing behind it says that it was acknowledged.
                let found: Vec<_> = page.records().map(|r| (r.seq, r.body.to_vec())).collect();
                let least = truth.len() - 1;
                assert!(found.len() >= least, "{} of {}", found.len(), truth.len());
                let same = found
                    .iter()
                    .zip(truth)
                    .filter(|(found, truth)| found == truth);
                // So may the redaction in it.
                assert!(same.count() + 1 >= found.len(), "timeline {number}");
            }
            no_nonsense(read);
            no_nonsense(opened.reader.first_seq(timeline(number)));
            no_nonsense(opened.reader.state(timeline(number)));
            let head = opened.reader.head();
            let sync = (opened.reader).sync(user(number), Position::ZERO, head, 1_000, &mut page);
            no_nonsense(sync);
            no_nonsense(
                opened
                    .reader
                    .find(TimelineId(1_000 + u128::from(3 * number))),
            );
        }
        let Ok(seq) = opened.reader.next_seq(timeline(0)) else {
            return;
        };
        let draft = Draft {
            timeline: timeline(0),
            seq,
            body: b"after all",
            ..Draft::default()
        };
        if let Ok(position) = opened.writer.append(&draft)
            && opened.writer.commit().is_ok()
        {
            assert_eq!(opened.reader.head(), position);
        }
    }

    /// Makes the checksums of a file right again, as far as their places are where they were.
    fn make_whole(&self, disk: &SimDisk, name: &str) {
        let before = self.disk.contents(name).unwrap_or_default();
        let Some(mut bytes) = disk.contents(name) else {
            return;
        };
        if name.ends_with(".seg") {
            make_segment_whole(name, &mut bytes);
        } else if name.ends_with(".tbl") {
            make_run_whole(&before, &mut bytes);
        } else if name == "manifest" {
            let end = bytes.len() - 4;
            seal(&mut bytes, 0, end, 0);
        } else if name.starts_with("identity") {
            seal(&mut bytes, 0, 60, 0);
        }
        disk.overwrite(name, 0, &bytes);
    }
}

/// Damage is an error of reading, and nothing else is.
fn no_nonsense<T>(read: Result<T, ReadError>) {
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
}

fn open(disk: &SimDisk, options: &Options) -> Result<Opened, OpenError> {
    Store::open_with(Arc::new(disk.clone()), options.clone(), &mut |_| {})
}

/// Looks at a store without opening it. Returns how many faults `verify` finds.
fn look(disk: &SimDisk) -> Option<usize> {
    let _ = Store::inspect_with(disk);
    if let Ok(mut dump) = Store::dump_with(Arc::new(disk.clone())) {
        let _ = dump.records(Position::ZERO, &mut |_| ControlFlow::Continue(()));
        let _ = dump.sync(user(0), Position::ZERO, &mut |_| ControlFlow::Continue(()));
        let _ = dump.states(&mut |_, _| ControlFlow::Continue(()));
    }
    let verified = Store::verify_with(disk, &mut |_, _| {});
    verified.ok().map(|verified| verified.faults.len())
}

/// One change to a file: a bit or a sector of zeros, or any bytes where it is a forgery.
fn change(disk: &SimDisk, name: &str, input: &mut Bytes<'_>, changes: Changes) {
    let length = disk.contents(name).map_or(0, |bytes| bytes.len());
    let offset = input.short() % length.max(1);
    let how = input.byte();
    match changes {
        Changes::Damage if how < 192 => disk.flip(name, offset * 8 + usize::from(how % 8)),
        Changes::Damage => {
            let sector = offset & !511;
            let zeros = vec![0; 512.min(length - sector)];
            disk.overwrite(name, sector, &zeros);
        }
        Changes::Forgery => {
            let bytes = input.take(usize::from(how % 64).min(length - offset));
            disk.overwrite(name, offset, bytes);
        }
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let number = bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}

/// Puts the checksum of `bytes[from..to]` behind them.
fn seal(bytes: &mut [u8], from: usize, to: usize, seed: u32) {
    if let Some(covered) = bytes.get(from..to) {
        let sum = crc32c::crc32c_append(seed, covered);
        if let Some(place) = bytes.get_mut(to..to + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// The seed of a checksum at a place: of a salt, then of the place.
fn seed(salt: &[u8], place: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), &place.to_le_bytes())
}

/// The header of a segment, and whatever begins as a frame does.
fn make_segment_whole(name: &str, bytes: &mut [u8]) {
    seal(bytes, 0, 60, 0);
    let base = name
        .get(4..20)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let salt = bytes[32..40].to_vec();
    for at in (4_096..bytes.len().saturating_sub(24)).step_by(8) {
        if &bytes[at..at + 3] != b"TRK" {
            continue;
        }
        let seed = seed(&salt, base.unwrap_or(0) + at as u64);
        let length = number(bytes, at + 4, 4).unwrap_or(0);
        let payload = bytes.get(at + 24..(at + 24).saturating_add(length));
        if let Some(payload) = payload {
            let sum = crc32c::crc32c_append(seed, payload);
            bytes[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
        }
        seal(bytes, at, at + 20, seed);
    }
}

/// The footer of a run, its filter and its blocks, whose places are those of the run `before`.
fn make_run_whole(before: &[u8], bytes: &mut [u8]) {
    let footer = before.len() - 104;
    seal(bytes, footer, footer + 100, 0);
    let salt = bytes[footer + 32..footer + 40].to_vec();
    let filter = number(before, footer + 72, 8).unwrap_or(0);
    for line in 0..number(before, footer + 68, 4).unwrap_or(0) {
        let line = filter + line * 64;
        seal(bytes, line, line + 60, seed(&salt, filter as u64));
    }
    let root = [(56, 8), (64, 4)].map(|(at, size)| number(before, footer + at, size).unwrap_or(0));
    let mut blocks = vec![(root, 2)];
    while let Some(([offset, size], above_data)) = blocks.pop() {
        seal(bytes, offset, offset + size - 4, seed(&salt, offset as u64));
        if above_data == 0 {
            continue;
        }
        let entries = number(before, offset + size - 8, 4).unwrap_or(0);
        for entry in 0..entries {
            let list = offset + size - 8 - 4 * entries;
            let entry = offset + number(before, list + 4 * entry, 4).unwrap_or(0);
            let below = [(24, 8), (32, 4)].map(|(at, size)| number(before, entry + at, size));
            if let [Some(offset), Some(size)] = below {
                blocks.push(([offset, size], above_data - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forgery without a change is the store as it was: all places of checksums are known.
    #[test]
    fn checksums_are_made_as_the_store_makes_them() {
        for runs in [false, true] {
            let sample = Sample::new(runs);
            let names = sample.disk.list().unwrap();
            assert_eq!(
                runs,
                names.iter().any(|name| name.ends_with(".tbl")),
                "{names:?}"
            );
            for name in names {
                let disk = sample.disk.fork(1);
                let before = disk.contents(&name).unwrap();
                sample.make_whole(&disk, &name);
                assert!(disk.contents(&name).unwrap() == before, "{name}");
            }
        }
    }

    #[test]
    fn the_sample_opens_with_all_that_is_in_it() {
        for runs in [false, true] {
            let sample = Sample::new(runs);
            sample.feed(&[], |_| true);
        }
    }
}
