//! Tests of erasing old values: they leave segments and runs, and the latest value of a key is never lost.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::backend::Backend;
use crate::tools::snapshot::Snapshot;
use crate::{Redaction, StateEntry};

/// The values of some keys, as they should read, and all values that there ever were.
#[derive(Clone, Default)]
pub(super) struct Values {
    latest: BTreeMap<u128, Vec<u8>>,
    /// Each key with a value that another one has replaced, or that was removed.
    old: Vec<(u128, Vec<u8>)>,
    number: u64,
}

pub(super) const KEYS: u128 = 9;
/// The end of each value.
const SECRET: &[u8] = b"a secret";

pub(super) fn key(number: u128) -> TimelineId {
    TimelineId(1000 + number)
}

pub(super) fn all_keys() -> Vec<TimelineId> {
    (0..KEYS).map(key).collect()
}

impl Values {
    /// Returns the next value of a key: mostly text, sometimes nothing, sometimes zeros.
    fn next(&mut self, key: u128, random: &mut Random) -> Vec<u8> {
        self.number += 1;
        match random.below(9) {
            0 => Vec::new(),
            1 => vec![0; 3],
            _ => format!("value {} of key {key}, a secret", self.number).into_bytes(),
        }
    }

    fn set(&mut self, key: u128, value: Vec<u8>) {
        if let Some(old) = self.latest.insert(key, value) {
            self.old.push((key, old));
        }
    }

    /// Lets a record set up to seven values, some of them perhaps twice. The outcome counts if the record is
    /// committed.
    pub(super) fn append(&mut self, opened: &mut Opened, random: &mut Random) -> bool {
        let mut next = self.clone();
        // Sometimes a frame alone: several of them are not one record, so a crash may leave some.
        let alone = random.below(5) == 0;
        let count = if alone { 1 } else { 1 + random.below(7) };
        let mut states = Vec::new();
        for _ in 0..count {
            let key = u128::from(random.below(KEYS as u64));
            let value = next.next(key, random);
            states.push((key, value.clone()));
            next.set(key, value);
        }
        let entries: Vec<StateEntry<'_>> = { states.iter() }
            .map(|(number, value)| StateEntry {
                key: key(*number),
                value,
            })
            .collect();
        let body = vec![7; random.below(200) as usize];
        let appended = if alone {
            let mut each = entries.iter();
            each.all(|state| opened.writer.set_state(state.key, state.value).is_ok())
        } else {
            // The key of the first value is left out of the record.
            let draft = Draft {
                timeline: entries[0].key,
                states: &entries,
                body: &body,
                ..Draft::default()
            };
            opened.writer.append(&draft).is_ok()
        };
        let committed = appended && opened.writer.commit().is_ok();
        if committed {
            *self = next;
        }
        committed
    }

    pub(super) fn check(&self, opened: &Opened, context: &str) {
        let values = opened.reader.states(&all_keys()).unwrap();
        for (number, found) in values.into_iter().enumerate() {
            let expected = self.latest.get(&(number as u128)).cloned();
            let expected = expected.filter(|value| !value.is_empty());
            assert_eq!(found, expected, "{context}: key {number}");
        }
    }

    /// Checks all values but those of zeros alone, which read as none where values were erased.
    pub(super) fn check_but_zeros(&self, opened: &Opened, context: &str) {
        for (&number, value) in &self.latest {
            let found = opened.reader.state(key(number)).unwrap();
            let is_zero = value.iter().all(|byte| *byte == 0);
            match found {
                None => assert!(is_zero, "{context}: key {number}"),
                Some(found) => assert_eq!(&found, value, "{context}: key {number}"),
            }
        }
    }

    /// Returns the old values of these keys that a file has.
    pub(super) fn on_disk(&self, disk: &SimDisk, keys: &[TimelineId]) -> Vec<String> {
        let mut there = BTreeSet::new();
        for name in disk.list().unwrap() {
            let bytes = disk.contents(&name).unwrap();
            let places = { 0..bytes.len() }.filter(|at| bytes[*at..].starts_with(b"value "));
            for at in places {
                let text = &bytes[at..bytes.len().min(at + 99)];
                let len = { text.windows(SECRET.len()) }.position(|part| part == SECRET);
                there.extend(len.map(|len| text[..len + SECRET.len()].to_vec()));
            }
        }
        let is_there = |value: &Vec<u8>| there.contains(value);
        let old = { self.old.iter() }.filter(|(number, _)| keys.contains(&key(*number)));
        let found = old.filter(|(_, value)| is_there(value));
        found
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }
}

pub(super) fn whole(disk: &SimDisk, context: &str) {
    let look = Snapshot::on(Arc::new(disk.clone())).unwrap();
    let found = Store::verify_with(&look, &mut |_, _| ()).unwrap();
    assert_eq!(found.faults, [], "{context}");
}

/// Writes values and events until the log has about `steps` of both.
pub(super) fn grow(
    opened: &mut Opened,
    (log, values): (&mut Vec<Event>, &mut Values),
    (steps, seed): (u64, u64),
) {
    let mut random = Random(seed);
    for _ in 0..steps {
        match random.below(2) {
            0 => commit(opened, log, 1),
            _ => assert!(values.append(opened, &mut random)),
        }
    }
}

/// Erases the old values of keys, with as many records as the store waits for.
pub(super) fn erase(opened: &mut Opened, log: &mut Vec<Event>, keys: &[TimelineId]) {
    let until = opened.reader.head();
    let asked = opened.reader.erase_old_values(keys.to_vec(), until, true);
    let asked = asked.unwrap();
    for now in 1.. {
        opened.writer.tick(now);
        let erased = opened.reader.old_values_erased();
        if erased.calls == asked {
            return;
        }
        assert!(now < 50, "{erased:?}, {:?}", opened.reader.take_notices());
        if erased.waits_for_record {
            commit(opened, log, 1);
        }
    }
}

/// Returns `count` seeds from 0 on, or from the number in `STORAGE_SEEDS_FROM` on.
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let from = std::env::var("STORAGE_SEEDS_FROM");
    let from = from.map_or(0, |from| from.parse().unwrap());
    from..from + count
}

fn check(opened: &Opened, log: &[Event], values: &Values, context: &str) {
    values.check(opened, context);
    assert_eq!(entries(opened), log, "{context}");
    check_syncs(opened, log);
}

#[test]
fn old_values_leave_segments_and_runs_and_the_latest_stay() {
    for seed in seeds(40) {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        grow(&mut opened, (&mut log, &mut values), (seed % 40 * 6, seed));
        let keys: Vec<_> = { all_keys().into_iter() }
            .filter(|key| !(seed + key.0 as u64).is_multiple_of(3))
            .collect();
        let before = values.on_disk(&disk, &keys).len();
        assert!(seed % 40 < 10 || before > 0);
        erase(&mut opened, &mut log, &keys);
        let context = format!("seed {seed}");
        assert_eq!(values.on_disk(&disk, &keys), [] as [String; 0], "{context}");
        assert_eq!(opened.reader.old_values_erased().damaged, 0);
        assert_eq!(opened.reader.take_notices(), [] as [String; 0]);
        for round in 0..3 {
            let context = format!("seed {seed}, {round}");
            check(&opened, &log, &values, &context);
            drop(opened);
            whole(&disk, &context);
            opened = open(&disk, small_runs()).unwrap().0;
            check(&opened, &log, &values, &context);
            grow(&mut opened, (&mut log, &mut values), (30, seed + round));
        }
        erase(&mut opened, &mut log, &all_keys());
        assert_eq!(values.on_disk(&disk, &all_keys()), [] as [String; 0]);
        check(&opened, &log, &values, &context);
    }
}

/// Nothing is left of an erasure but a temporary file, which the opening removes.
#[test]
fn a_crash_at_any_write_leaves_every_latest_value() {
    let mut tried = 0;
    for seed in seeds(12) {
        let before = SimDisk::new(seed);
        let (mut opened, _) = open(&before, small_runs()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        // A record whose body and whose value both go.
        let first = format!("value {seed} of key 0, a secret").into_bytes();
        values.set(0, first.clone());
        let states = [StateEntry {
            key: key(0),
            value: &first,
        }];
        let draft = Draft {
            timeline: TimelineId(50),
            seq: 1,
            body: b"recalled soon",
            states: &states,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
        grow(
            &mut opened,
            (&mut log, &mut values),
            (40 + seed % 12 * 7, seed),
        );
        drop(opened);
        for at in 0.. {
            let disk = before.fork(seed * 1000 + at);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            let (mut log, mut values) = (log.clone(), values.clone());
            let recall = Draft {
                timeline: TimelineId(50),
                redacts: Some(Redaction { seq: 1, body: b"" }),
                ..Draft::default()
            };
            opened.writer.append(&recall).unwrap();
            opened.writer.commit().unwrap();
            let until = opened.reader.head();
            let asked = opened.reader.erase_old_values(all_keys(), until, true);
            let crash = disk.operations() + at * 2;
            disk.crash_at(crash);
            let mut random = Random(at);
            for now in 1..9 {
                opened.writer.tick(now);
                if opened.reader.old_values_erased().calls == asked.unwrap()
                    || !values.append(&mut opened, &mut random)
                {
                    break;
                }
            }
            let is_over = disk.operations() < crash;
            match at % 2 {
                0 => disk.power_cycle(),
                _ => disk.kill(),
            }
            drop(opened);
            let context = format!("seed {seed}, {at}");
            whole(&disk, &context);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            let names = disk.list().unwrap();
            assert!(!names.iter().any(|name| name.ends_with(".tmp")));
            tried += 1;
            let mut page = Page::new();
            assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
            assert_eq!(page.records().next().unwrap().body, b"", "{context}");
            // The record of the crash is there or not.
            if is_over || opened.reader.states(&all_keys()).unwrap() == seen(&values) {
                check(&opened, &log, &values, &context);
                erase(&mut opened, &mut log, &all_keys());
                assert_eq!(values.on_disk(&disk, &all_keys()), [] as [String; 0]);
                check(&opened, &log, &values, &context);
            }
            drop(opened);
            whole(&disk, &context);
            if is_over {
                break;
            }
        }
    }
    assert!(tried > 200, "{tried} crashes");
}

/// Returns what reads of all keys return.
fn seen(values: &Values) -> Vec<Option<Vec<u8>>> {
    let value = |number: u128| values.latest.get(&number).cloned();
    let values = (0..KEYS).map(value);
    values
        .map(|value| value.filter(|value| !value.is_empty()))
        .collect()
}

/// With weak durability, a later value that a power cut takes has not erased an earlier one.
#[test]
fn a_value_that_is_not_on_the_disk_erases_none() {
    for seed in seeds(200) {
        let disk = SimDisk::new(seed);
        let options = Options {
            durability: Durability::Os,
            ..small_runs()
        };
        let (mut opened, _) = open(&disk, options.clone()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        grow(&mut opened, (&mut log, &mut values), (120, seed));
        opened.writer.sync().unwrap();
        let mut random = Random(seed);
        let mut possible = vec![seen(&values)];
        let until = opened.reader.head();
        let asked = opened.reader.erase_old_values(all_keys(), until, true);
        for now in 0..random.below(40) {
            opened.writer.tick(now);
            assert!(values.append(&mut opened, &mut random));
            possible.push(seen(&values));
        }
        assert_eq!(asked, Some(1));
        disk.power_cycle();
        drop(opened);
        let (mut opened, _) = open(&disk, options).unwrap();
        let found = opened.reader.states(&all_keys()).unwrap();
        assert!(possible.contains(&found), "seed {seed}");
        whole_and_more(&mut opened, &found);
    }
}

fn whole_and_more(opened: &mut Opened, found: &[Option<Vec<u8>>]) {
    let mut log: Vec<Event> = entries(opened);
    erase(opened, &mut log, &all_keys());
    assert_eq!(opened.reader.states(&all_keys()).unwrap(), found);
}

#[test]
fn a_full_disk_and_failing_syncs_put_it_off() {
    use crate::backend::sim::Operation;
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (200, 5));
    let until = Position(8192);
    let ask = |opened: &Opened| opened.reader.erase_old_values(all_keys(), until, true);
    assert_eq!((ask(&opened), ask(&opened)), (Some(1), None));
    for nth in 0..6 {
        disk.fail(Operation::Sync, nth);
        opened.writer.tick(nth);
        whole(&disk, "failing");
    }
    opened.writer.tick(9);
    assert!(!opened.reader.take_notices().is_empty());
    assert_eq!(opened.reader.old_values_erased().calls, 1);
    check(&opened, &log, &values, "after failures");
    let many = vec![key(1); 65_537];
    assert_eq!(opened.reader.erase_old_values(many, until, true), None);
    erase(&mut opened, &mut log, &all_keys());
    assert_eq!(values.on_disk(&disk, &all_keys()), [] as [String; 0]);
    check(&opened, &log, &values, "at the end");
}

/// A reader that has the file before open must not show a body that is overwritten in the new one.
#[test]
fn a_body_is_overwritten_in_the_new_file_too() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (60, 1));
    let draft = Draft {
        timeline: TimelineId(50),
        seq: 1,
        body: b"a body that goes later",
        ..Draft::default()
    };
    let position = opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    grow(&mut opened, (&mut log, &mut values), (200, 2));
    let mut page = Page::new();
    // What is erased is in runs already, so nothing but this read uses files of segments.
    let asked = opened.reader.erase_old_values(all_keys(), position, true);
    assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
    opened.writer.tick(1);
    let erased = opened.reader.old_values_erased();
    assert!(erased.calls == asked.unwrap() && erased.values > 0);
    assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
    let redaction = Draft {
        timeline: TimelineId(50),
        redacts: Some(Redaction {
            seq: 1,
            body: b"gone",
        }),
        ..Draft::default()
    };
    opened.writer.append(&redaction).unwrap();
    opened.writer.commit().unwrap();
    for round in 0..3 {
        opened.writer.tick(round);
        for step in 0..90 {
            // The file stays open with each read.
            grow(&mut opened, (&mut log, &mut values), (1, 3 + round * step));
            assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
            assert_eq!(page.records().next().unwrap().body, b"gone");
        }
        let names = disk.list().unwrap();
        assert!(!names.iter().any(|name| {
            let bytes = disk.contents(name).unwrap();
            bytes
                .windows(draft.body.len())
                .any(|part| part == draft.body)
        }));
    }
    check(&opened, &log, &values, "at the end");
}

/// Such a note would change frames of the new file to what they are in the old one.
#[test]
fn a_note_of_the_old_file_does_not_come_back() {
    for seed in seeds(40) {
        let before = SimDisk::new(seed);
        let (mut opened, _) = open(&before, small_runs()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        let states = [StateEntry {
            key: key(0),
            value: b"value 0, a secret",
        }];
        let message = Draft {
            timeline: TimelineId(50),
            seq: 1,
            body: b"recalled soon",
            states: &states,
            ..Draft::default()
        };
        opened.writer.append(&message).unwrap();
        opened.writer.commit().unwrap();
        opened.writer.set_state(key(0), b"").unwrap();
        values.set(0, Vec::new());
        grow(&mut opened, (&mut log, &mut values), (130, seed));
        let recall = Draft {
            timeline: TimelineId(50),
            redacts: Some(Redaction { seq: 1, body: b"" }),
            ..Draft::default()
        };
        opened.writer.append(&recall).unwrap();
        opened.writer.commit().unwrap();
        drop(opened);
        for at in 0.. {
            let disk = before.fork(seed * 1000 + at);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            let asked = opened
                .reader
                .erase_old_values(all_keys(), Position(8000), false);
            let crash = disk.operations() + at;
            disk.crash_at(crash);
            opened.writer.tick(1);
            let is_over = disk.operations() < crash;
            assert!(!is_over || opened.reader.old_values_erased().calls == asked.unwrap());
            disk.power_cycle();
            drop(opened);
            let context = format!("seed {seed}, {at}");
            whole(&disk, &context);
            let (opened, _) = open(&disk, small_runs()).unwrap();
            drop(opened);
            whole(&disk, &context);
            if is_over {
                break;
            }
        }
    }
}
