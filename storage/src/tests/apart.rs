//! Tests of states that are apart: each a frame inside its record.

use super::states::{
    Crowd, SEGMENT, check_states, commit_crowd, crowd, large_records, of_before, read, states_of,
};
use super::*;

/// An opening notices damage anywhere in the record, and a look at a state damage of the state.
#[test]
fn any_flipped_bit_of_a_record_with_states_apart_is_noticed() {
    let Crowd { disk, options, log } = crowd();
    let (opened, _) = open(&disk.fork(1), options.clone()).unwrap();
    check_states(&opened, &log, "whole");
    let offset = log[16].position as usize;
    let keys: Vec<TimelineId> = states_of(17).iter().map(|(key, _)| *key).collect();
    let places = opened.reader.places(&keys);
    let apart = |place: &Option<u64>| place.is_some_and(|place| place > offset as u64);
    assert!(places.iter().all(apart), "{places:?}");
    let end = opened.reader.head().0 as usize;
    assert!(end < 16 << 10);
    for bit in (offset * 8..(offset + 24 + 1800) * 8).step_by(3) {
        let disk = disk.fork(1);
        if bit % 5 == 0 {
            let (opened, _) = open(&disk, options.clone()).unwrap();
            disk.flip(SEGMENT, bit);
            for (key, place) in keys.iter().zip(&places) {
                // The header, the key and the value; what fills up behind them means nothing.
                let place = place.unwrap() as usize;
                let value = states_of(17).into_iter().rfind(|state| state.0 == *key);
                let len = 24 + 16 + value.unwrap().1.len();
                let is_hit = (place * 8..(place + len) * 8).contains(&bit);
                let found = opened.reader.state(*key);
                assert_eq!(found.is_err(), is_hit, "bit {bit}: {found:?}");
            }
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

/// A segment that an earlier version began goes on in its form, so that the version may still read it.
#[test]
fn states_stay_together_in_segments_of_before() {
    let disk = SimDisk::new(3);
    let (mut opened, _) = open(&disk, of_before(large_records())).unwrap();
    let keys = [TimelineId(5), TimelineId(400)];
    let before = commit_crowd(&mut opened, 0..600, 1);
    drop(opened);
    let (mut opened, _) = open(&disk, large_records()).unwrap();
    let after = commit_crowd(&mut opened, 0..600, 2);
    assert!(before < after);
    assert_eq!(opened.reader.places(&keys), [Some(after.0); 2]);
    while opened.reader.stats().segments == 1 {
        commit_crowd(&mut opened, 0..600, 3);
    }
    let last = commit_crowd(&mut opened, 0..600, 4);
    for _ in 0..2 {
        let places = opened.reader.places(&keys).into_iter().flatten();
        let places: Vec<_> = places.collect();
        assert!(last.0 < places[0] && places[0] < places[1], "{places:?}");
        assert_eq!(read(&opened, 400), Some(vec![4, 144]));
        assert_eq!(read(&opened, 5), Some(vec![4, 5]));
        disk.power_cycle();
        drop(opened);
        opened = open(&disk, large_records()).unwrap().0;
    }
    assert_eq!(
        Store::verify_with(&disk, &mut |_, _| ()).unwrap().faults,
        []
    );
}

/// One state of thousands is read without the others, however long they are.
#[test]
fn a_state_apart_is_read_alone() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, large_records()).unwrap();
    commit_crowd(&mut opened, 0..1_000, 7);
    assert_eq!(read(&opened, 500), Some(vec![7, 244]));
    assert_eq!(opened.reader.bytes_of_states(), 18);
    let keys: Vec<TimelineId> = (0..1_000).map(TimelineId).collect();
    let found = opened.reader.states(&keys).unwrap();
    assert!(found.iter().all(Option::is_some));
    assert_eq!(opened.reader.bytes_of_states(), 18 * 1_001);
}
