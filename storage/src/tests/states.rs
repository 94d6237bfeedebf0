//! Tests of states in a record: all of them are stored with the record, or none.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::*;
use crate::backend::Backend;
use crate::{AppendError, ReadError, StateEntry};

/// A key that many records set. It is also the id of a timeline, so records of that timeline hold
/// it in the shorter form.
const OFTEN: u128 = 1;
const SELDOM: u128 = 6;
const CROWD: u128 = 10;
const CROWD_SIZE: u128 = 30;

/// Returns what the record of event `number` puts under which keys: nothing, some, or a crowd.
/// Values are the number and something of any length, or empty.
pub(super) fn states_of(number: u64) -> Vec<(TimelineId, Vec<u8>)> {
    let mut random = Random(number ^ 0x57A7E5);
    let mut value = || match random.below(5) {
        0 => Vec::new(),
        len => [&number.to_le_bytes()[..], &vec![7; len as usize - 1]].concat(),
    };
    let some = (0..4).filter(|bit| number >> bit & 1 == 1);
    let mut keys: Vec<u128> = some.map(|bit| OFTEN + bit).collect();
    keys.extend(number.is_multiple_of(13).then_some(SELDOM));
    if number.is_multiple_of(17) {
        keys.extend((0..CROWD_SIZE).map(|i| CROWD + i));
    }
    keys.iter().map(|&key| (TimelineId(key), value())).collect()
}

/// Returns the states as a draft wants them.
pub(super) fn lend(states: &[(TimelineId, Vec<u8>)]) -> Vec<StateEntry<'_>> {
    let states = states.iter();
    states
        .map(|&(key, ref value)| StateEntry { key, value })
        .collect()
}

/// Returns what these events leave under all keys that any may set; empty if nothing.
fn left_by(events: &[Event]) -> BTreeMap<TimelineId, Vec<u8>> {
    let all = (OFTEN..CROWD + CROWD_SIZE).map(|key| (TimelineId(key), Vec::new()));
    let set = events.iter().flat_map(|event| states_of(event.number));
    all.chain(set).collect()
}

/// Checks that every key has the value that the last of these events set.
pub(super) fn check_states(opened: &Opened, events: &[Event], context: &str) {
    for (key, value) in left_by(events) {
        let found = opened.reader.state(key).unwrap().unwrap_or_default();
        assert_eq!(found, value, "{context}: {key:?}");
    }
}

/// Commits one batch of `count` events that follow `log`, each with its states.
fn commit_with(opened: &mut Opened, log: &mut Vec<Event>, count: u64) {
    for _ in 0..count {
        let number = log.last().map_or(1, |event| event.number + 1);
        let mut event = event(number, next_seq(log, number), 300);
        let states = states_of(number);
        let draft = Draft {
            states: &lend(&states),
            ..event.draft()
        };
        event.position = opened.writer.append(&draft).unwrap().0;
        assert_eq!(opened.writer.last_appended().0, event.position);
        log.push(event);
    }
    opened.writer.commit().unwrap();
}

pub(super) fn read(opened: &Opened, key: u128) -> Option<Vec<u8>> {
    opened.reader.state(TimelineId(key)).unwrap()
}

fn state(key: u128, value: &[u8]) -> StateEntry<'_> {
    let key = TimelineId(key);
    StateEntry { key, value }
}

fn append(opened: &mut Opened, states: &[StateEntry<'_>]) -> Position {
    let draft = Draft {
        states,
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap()
}

#[test]
fn all_states_of_a_record_are_visible_with_it_and_in_the_order_of_the_log() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    append(
        &mut opened,
        &[state(1, b"a"), state(2, b"b"), state(3, b"c")],
    );
    assert_eq!(read(&opened, 2), None, "not before it is durable");
    opened.writer.commit().unwrap();
    let values = |opened: &Opened| (1..=4).map(|key| read(opened, key)).collect::<Vec<_>>();
    let some = |values: [&str; 4]| {
        let some = |value: &str| (!value.is_empty()).then(|| value.as_bytes().to_vec());
        values.map(some).to_vec()
    };
    assert_eq!(values(&opened), some(["a", "b", "c", ""]));

    // In one batch: records after each other, and frames of states before and behind.
    opened.writer.set_state(TimelineId(1), b"frame").unwrap();
    append(
        &mut opened,
        &[state(1, b"one"), state(2, b""), state(3, b"one")],
    );
    append(&mut opened, &[state(3, b"two")]);
    append(&mut opened, &[]);
    append(&mut opened, &[state(4, b"record")]);
    opened.writer.set_state(TimelineId(4), b"frame").unwrap();
    opened.writer.commit().unwrap();
    for _ in 0..2 {
        assert_eq!(values(&opened), some(["one", "", "two", "frame"]));
        disk.power_cycle();
        drop(opened);
        opened = open(&disk, small()).unwrap().0;
    }
}

#[test]
fn the_last_appended_record_is_known_before_it_is_committed() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    assert_eq!(opened.writer.last_appended(), Position::ZERO);
    let first = append(&mut opened, &[state(1, b"a")]);
    assert_eq!(opened.writer.last_appended(), first);
    opened.writer.commit().unwrap();
    assert_eq!(opened.writer.last_appended(), first);
    opened
        .writer
        .set_state(TimelineId(1), b"no record")
        .unwrap();
    assert_eq!(opened.writer.last_appended(), first);
    let second = append(&mut opened, &[]);
    assert_eq!(opened.writer.last_appended(), second);
    assert_eq!(opened.reader.head(), first);
    opened
        .writer
        .set_state(TimelineId(1), b"no record")
        .unwrap();
    assert_eq!(opened.writer.last_appended(), second);
    // What is not committed is not there, and nothing comes after it.
    drop(opened);
    let (opened, _) = open(&disk, small()).unwrap();
    assert_eq!(opened.writer.last_appended(), first);
}

#[test]
fn a_key_named_twice_by_a_record_has_the_last_value_wherever_it_is() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let twice = [state(1, b"x"), state(2, b""), state(1, b""), state(2, b"y")];
    append(&mut opened, &twice);
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 1);
    for in_runs in [false, true] {
        assert_eq!(opened.reader.stats().runs > 0, in_runs);
        let found = (read(&opened, 1), read(&opened, 2));
        assert_eq!(found, (None, Some(b"y".to_vec())), "in runs: {in_runs}");
        commit(&mut opened, &mut log, 40);
    }
}

#[test]
fn states_of_records_are_kept_by_runs_and_merges() {
    let disk = SimDisk::new(3);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    for round in 0..80 {
        commit_with(&mut opened, &mut log, round % 7);
        check_states(&opened, &log, "as it goes");
    }
    assert!(opened.reader.stats().runs > 4);
    check_syncs(&opened, &log);
    disk.power_cycle();
    drop(opened);
    let (opened, _) = open(&disk, small_runs()).unwrap();
    check_states(&opened, &log, "after a restart");
    let in_log = opened.report.records as usize;
    drop(opened);

    let found = Store::inspect_with(&disk).unwrap();
    let states = log[log.len() - in_log..].iter();
    let states: usize = states.map(|event| states_of(event.number).len()).sum();
    assert_eq!(found.log_states, states as u64);
    assert!(states > in_log);

    let mut dumped = BTreeMap::new();
    let mut dump = Store::dump_with(Arc::new(disk)).unwrap();
    let each = &mut |key, value: &[u8]| {
        assert_eq!(dumped.insert(key, value.to_vec()), None);
        ControlFlow::Continue(())
    };
    dump.states(each).unwrap();
    let mut expected = left_by(&log);
    expected.retain(|_, value| !value.is_empty());
    assert_eq!(dumped, expected);
}

#[test]
fn a_record_with_too_much_is_refused_and_leaves_nothing() {
    let disk = SimDisk::new(1);
    let options = Options {
        segment_bytes: 8 << 20,
        max_record_bytes: 4 << 20,
        max_batch_bytes: 8 << 20,
        ..small()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let states: Vec<StateEntry<'_>> = (0..=32_767).map(|key| state(key, b"v")).collect();
    let draft = |states| Draft {
        timeline: TimelineId(1 << 100),
        states,
        ..Draft::default()
    };
    let refused = opened.writer.append(&draft(&states));
    let bytes = 36 + 2 + 32_768 * 21;
    assert!(matches!(refused, Err(AppendError::TooLarge { bytes: b, .. }) if b == bytes));
    let large = vec![0; (4 << 20) - 36 - 2 - 20 + 1];
    let states_too_large = [state(1, &large)];
    let refused = opened.writer.append(&draft(&states_too_large));
    assert!(matches!(refused, Err(AppendError::TooLarge { bytes: b, .. }) if b == (4 << 20) + 1));
    assert_eq!(opened.writer.batch_bytes(), 0);
    opened.writer.append(&draft(&states[1..])).unwrap();
    opened
        .writer
        .append(&draft(&[state(0, &large[1..])]))
        .unwrap();
    opened.writer.commit().unwrap();
    assert_eq!(
        read(&opened, 0).map(|value| value.len()),
        Some(large.len() - 1)
    );
    for key in [1, 2, 20_000, 32_767] {
        assert_eq!(read(&opened, key).as_deref(), Some(&b"v"[..]));
    }
}

/// A closed store, its options and its events.
pub(super) struct Crowd {
    pub(super) disk: SimDisk,
    pub(super) options: Options,
    pub(super) log: Vec<Event>,
}

/// Returns a store with 19 events in one segment, closed. The 17th has a crowd of states, and those
/// behind it say that it was durable.
pub(super) fn crowd() -> Crowd {
    crowd_in(small())
}

fn crowd_in(options: Options) -> Crowd {
    let options = Options {
        segment_bytes: 16 << 10,
        ..options
    };
    let disk = SimDisk::new(7);
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut log = Vec::new();
    commit_with(&mut opened, &mut log, 17);
    commit_with(&mut opened, &mut log, 2);
    assert_eq!(opened.reader.stats().segments, 1);
    Crowd { disk, options, log }
}

pub(super) const SEGMENT: &str = "log-0000000000000000.seg";

#[test]
fn any_flipped_bit_of_a_record_with_states_is_noticed() {
    let Crowd { disk, options, log } = crowd_in(of_before(small()));
    let (opened, _) = open(&disk.fork(1), options.clone()).unwrap();
    check_states(&opened, &log, "whole");
    let offset = log[16].position as usize;
    let states = states_of(17);
    let last = &states[states.len() - 1];
    assert!(states.len() > 30);
    let size: usize = states.iter().map(|(_, value)| 20 + value.len()).sum();
    for bit in offset * 8..(offset + 24 + 36 + 2 + size) * 8 {
        let disk = disk.fork(1);
        // Somebody has it open.
        if bit % 5 == 0 {
            let (opened, _) = open(&disk, options.clone()).unwrap();
            disk.flip(SEGMENT, bit);
            let damaged = opened.reader.state(last.0);
            let at = offset as u64;
            assert!(
                matches!(damaged, Err(ReadError::Corrupt { offset, .. }) if offset == at),
                "bit {bit}: {damaged:?}"
            );
            disk.flip(SEGMENT, bit);
        }
        disk.flip(SEGMENT, bit);
        let refused = open(&disk, options.clone()).map(|_| ());
        let at = offset as u64;
        assert!(
            matches!(refused, Err(OpenError::Corrupt { offset, .. }) if offset == at),
            "bit {bit}: {refused:?}"
        );
    }
}

#[test]
fn a_record_that_a_repair_gives_up_takes_all_its_states_with_it() {
    let Crowd { disk, options, log } = crowd();
    // In the header of the record, and in its payload.
    for (lost, byte) in (0..log.len() - 2).flat_map(|lost| [(lost, 0), (lost, 40)]) {
        let disk = disk.fork(1);
        disk.flip(SEGMENT, (log[lost].position as usize + byte) * 8);
        repair::repair(&disk);
        let (opened, events) = open(&disk, options.clone()).unwrap();
        let mut left = log.clone();
        left.remove(lost);
        assert_eq!(events, left);
        check_states(&opened, &left, &format!("without {lost}"));
    }
}

#[test]
fn any_flipped_bit_of_a_run_of_states_is_noticed_or_harmless() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    for _ in 0..40 {
        commit_with(&mut opened, &mut log, 3);
    }
    drop(opened);
    let found = Store::inspect_with(&disk).unwrap();
    let runs = found.runs.iter().filter(|run| run.kind == "states");
    let names: Vec<_> = runs.map(|run| run.file.file_name().unwrap()).collect();
    assert!(!names.is_empty());
    let expected = left_by(&log);
    for name in names.into_iter().map(|name| name.to_str().unwrap()) {
        for bit in (0..disk.contents(name).unwrap().len() * 8).step_by(37) {
            let disk = disk.fork(1);
            disk.flip(name, bit);
            let opened = match open(&disk, small_runs()) {
                Ok((opened, _)) => opened,
                Err(OpenError::Corrupt { file, .. }) => {
                    assert!(file.ends_with(name), "bit {bit} of {name}");
                    continue;
                }
                Err(error) => panic!("bit {bit} of {name}: {error}"),
            };
            for (key, value) in &expected {
                match opened.reader.state(*key) {
                    Ok(found) => assert_eq!(&found.unwrap_or_default(), value, "{key:?}"),
                    Err(ReadError::Corrupt { file, .. }) => assert!(file.ends_with(name)),
                    Err(error) => panic!("bit {bit} of {name}: {error}"),
                }
            }
        }
    }
}

/// Returns options with records of up to 64 KiB.
pub(super) fn large_records() -> Options {
    Options {
        segment_bytes: 256 << 10,
        max_record_bytes: 64 << 10,
        ..small()
    }
}

/// Returns options that make segments of version 2, which have the states of a record together.
pub(super) fn of_before(options: Options) -> Options {
    Options {
        segment_version: 2,
        ..options
    }
}

/// Commits one record that sets `keys`, each to a value that begins with `tag`.
pub(super) fn commit_crowd(opened: &mut Opened, keys: std::ops::Range<u128>, tag: u8) -> Position {
    let values: Vec<Vec<u8>> = keys.clone().map(|key| vec![tag, key as u8]).collect();
    let states: Vec<_> = keys
        .zip(&values)
        .map(|(key, value)| state(key, value))
        .collect();
    let position = append(opened, &states);
    opened.writer.commit().unwrap();
    position
}

#[test]
fn a_frame_with_many_states_is_read_and_checked_once() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, of_before(large_records())).unwrap();
    let position = commit_crowd(&mut opened, 0..1_000, 7);
    let other = opened.reader.clone();
    assert_eq!(read(&opened, 0), Some(vec![7, 0]));
    // Damage that the next read of the frame notices.
    let mut names = disk.list().unwrap().into_iter();
    let segment = names.find(|name| name.contains(".seg")).unwrap();
    disk.flip(&segment, (position.0 as usize + 100) * 8);
    for key in 1..1_000 {
        assert_eq!(read(&opened, key), Some(vec![7, key as u8]));
    }
    let keys: Vec<TimelineId> = (0..1_000).map(TimelineId).collect();
    assert!(opened.reader.states(&keys).is_ok());
    let found = other.state(TimelineId(1));
    assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{found:?}");
}

/// A long record is read once for its few states.
#[test]
fn a_long_frame_with_few_states_is_read_once() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, large_records()).unwrap();
    let states = [1, 2, 3].map(|key| state(key, b"seven"));
    let draft = Draft {
        body: &[7; 8 << 10],
        states: &states,
        ..Draft::default()
    };
    let position = opened.writer.append_next(&draft).unwrap();
    opened.writer.commit().unwrap();
    assert_eq!(read(&opened, 1), Some(b"seven".to_vec()));
    // Damage that the next read of the frame notices.
    let mut names = disk.list().unwrap().into_iter();
    let segment = names.find(|name| name.contains(".seg")).unwrap();
    disk.flip(&segment, (position.0 as usize + 100) * 8);
    for key in [2, 3] {
        assert_eq!(read(&opened, key), Some(b"seven".to_vec()));
    }
    assert!(opened.reader.clone().state(TimelineId(1)).is_err());
}

/// A record with many states counts whole, each time that it is read, and its states have the same place.
#[test]
fn a_reader_knows_where_states_are_and_counts_what_it_reads() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, of_before(large_records())).unwrap();
    let first = commit_crowd(&mut opened, 0..600, 1);
    let second = commit_crowd(&mut opened, 300..900, 2);
    let keys = [5, 400, 299, 899, 7_000].map(TimelineId);
    let (first, second) = (Some(first.0), Some(second.0));
    let expected = [first, second, first, second, None];
    assert_eq!(opened.reader.places(&keys), expected);
    assert_eq!(opened.reader.bytes_of_states(), 0);
    let long = 600 * (16 + 2);
    assert!(read(&opened, 5).is_some());
    let once = opened.reader.bytes_of_states();
    assert!((long..2 * long).contains(&once), "{once}");
    assert!(read(&opened, 6).is_some());
    assert_eq!(opened.reader.bytes_of_states(), once, "it is kept");
    opened.reader.release();
    assert!(read(&opened, 6).is_some());
    assert_eq!(opened.reader.bytes_of_states(), 2 * once);
}

/// Records of more than 1 MiB are read once as well, also while shorter ones are read between.
#[test]
fn a_long_frame_is_read_and_checked_once() {
    let options = Options {
        segment_bytes: 8 << 20,
        max_record_bytes: 6 << 20,
        max_batch_bytes: 8 << 20,
        ..small()
    };
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, of_before(options)).unwrap();
    const KEYS: u128 = 10_000;
    let value = |key: u128| [key as u8; 200];
    let values: Vec<_> = (0..KEYS).map(value).collect();
    let states: Vec<_> = (0..KEYS)
        .zip(&values)
        .map(|(key, value)| state(key, value))
        .collect();
    let position = append(&mut opened, &states);
    opened.writer.commit().unwrap();
    for first in [20_000, 30_000, 40_000, 50_000, 60_000] {
        commit_crowd(&mut opened, first..first + 20, 3);
    }
    let other = opened.reader.clone();
    let keys = (0..KEYS).map(|key| match key % 100 {
        0 => TimelineId(20_000 + key % 5 * 10_000),
        _ => TimelineId(key),
    });
    let keys: Vec<_> = keys.collect();
    assert_eq!(read(&opened, 1), Some(value(1).to_vec()));
    // Damage that the next read of the frame notices.
    let mut names = disk.list().unwrap().into_iter();
    let segment = names.find(|name| name.contains(".seg")).unwrap();
    disk.flip(&segment, (position.0 as usize + 100) * 8);
    let found = opened.reader.states(&keys).unwrap();
    assert!(found.iter().all(Option::is_some));
    for (key, found) in keys.iter().zip(found).filter(|(key, _)| key.0 < KEYS) {
        assert_eq!(found, Some(value(key.0).to_vec()));
    }
    opened.reader.release();
    for reader in [&opened.reader, &other] {
        let found = reader.state(TimelineId(1));
        assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{found:?}");
    }
}

#[test]
fn values_of_many_keys_come_in_the_order_of_the_keys() {
    let disk = SimDisk::new(1);
    let options = Options {
        runs: true,
        ..large_records()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    commit_crowd(&mut opened, 0..600, 1);
    commit_crowd(&mut opened, 300..900, 2);
    append(
        &mut opened,
        &[state(5, b"x"), state(6, b""), state(5, b"last")],
    );
    opened.writer.commit().unwrap();
    // More records than a reader keeps, in turns.
    for first in [2_000, 3_000, 4_000, 5_000, 6_000] {
        commit_crowd(&mut opened, first..first + 20, 3);
    }
    let keys = (0..1_000).flat_map(|key| [key, 899 - key.min(899), 2_000 + key % 5 * 1_000]);
    let keys: Vec<TimelineId> = keys.map(TimelineId).collect();
    let expected = |key: TimelineId| match key.0 {
        5 => Some(b"last".to_vec()),
        6 => None,
        key @ 0..300 => Some(vec![1, key as u8]),
        key @ 300..900 => Some(vec![2, key as u8]),
        key @ 2_000.. => Some(vec![3, key as u8]),
        _ => None,
    };
    let values = opened.reader.states(&keys).unwrap();
    for (&key, value) in keys.iter().zip(values) {
        assert_eq!(value, expected(key), "{key:?}");
        assert_eq!(read(&opened, key.0), expected(key), "{key:?}");
    }
    assert_eq!(opened.reader.states(&[]).unwrap(), Vec::<Option<_>>::new());
}

#[test]
fn the_last_of_several_values_under_a_key_counts_in_a_frame_that_is_kept() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, large_records()).unwrap();
    let twice = (0..40).map(|n: u128| (n % 20, if n < 20 { b"1" } else { b"2" }));
    let states: Vec<_> = twice.map(|(key, value)| state(key, value)).collect();
    append(&mut opened, &states);
    opened.writer.commit().unwrap();
    for _ in 0..2 {
        for key in 0..20 {
            assert_eq!(read(&opened, key), Some(b"2".to_vec()));
        }
    }
}
