//! Tests of values under keys.

use super::*;
use crate::{AppendError, ReadError};

const KEY: TimelineId = TimelineId(50);
const OTHER: TimelineId = TimelineId(51);

fn read(opened: &Opened, key: TimelineId) -> Option<Vec<u8>> {
    opened.reader.state(key).unwrap()
}

#[test]
fn the_latest_value_counts_once_it_is_committed_and_for_ever() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    assert_eq!(read(&opened, KEY), None);
    opened.writer.set_state(KEY, b"first").unwrap();
    assert_eq!(read(&opened, KEY), None, "not before it is durable");
    let batch = opened.writer.commit().unwrap();
    assert!(batch.is_empty(), "a value is not a record");
    assert_eq!(read(&opened, KEY).as_deref(), Some(&b"first"[..]));

    let mut log = Vec::new();
    opened.writer.set_state(KEY, b"second").unwrap();
    opened.writer.set_state(OTHER, b"else").unwrap();
    opened.writer.set_state(KEY, b"third").unwrap();
    commit(&mut opened, &mut log, 40);
    assert!(opened.reader.stats().segments > 1);
    assert_eq!(opened.reader.head().0, log[39].position);
    opened.writer.set_state(OTHER, b"").unwrap();
    opened.writer.commit().unwrap();
    for _ in 0..2 {
        assert_eq!(read(&opened, KEY).as_deref(), Some(&b"third"[..]));
        assert_eq!(read(&opened, OTHER), None, "an empty value removes");
        assert_eq!(opened.reader.head().0, log[39].position);
        disk.power_cycle();
        drop(opened);
        let (again, events) = open(&disk, small()).unwrap();
        assert_eq!(events, log, "values are not replayed");
        opened = again;
    }
}

#[test]
fn a_value_has_the_limits_of_a_record() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let large = opened.writer.set_state(KEY, &[1; 2048 - 15]);
    assert!(matches!(
        large,
        Err(AppendError::TooLarge {
            bytes: 2049,
            max: 2048
        })
    ));
    opened.writer.set_state(KEY, &[1; 2048 - 16]).unwrap();
    opened.writer.commit().unwrap();
    assert_eq!(read(&opened, KEY).map(|value| value.len()), Some(2032));
}

#[test]
fn a_damaged_value_is_not_returned() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    opened.writer.set_state(KEY, b"value").unwrap();
    opened.writer.commit().unwrap();
    for bit in 4096 * 8..(4096 + 24 + 16 + 5) * 8 {
        disk.flip("log-0000000000000000.seg", bit);
        let damaged = opened.reader.state(KEY);
        assert!(
            matches!(damaged, Err(ReadError::Corrupt { offset: 4096, .. })),
            "bit {bit}: {damaged:?}"
        );
        disk.flip("log-0000000000000000.seg", bit);
    }
}
