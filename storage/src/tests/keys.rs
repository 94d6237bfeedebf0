//! Tests of finding records by a key.

use super::*;

/// Returns the number of the record with a key.
fn found(opened: &Opened, key: u64) -> Option<u64> {
    let place = opened.reader.find(TimelineId(1 << 64 | u128::from(key)));
    let place = place.unwrap()?;
    let mut page = Page::new();
    let read = opened.reader.get(place.timeline, place.seq, &mut page);
    assert!(read.unwrap());
    let record = page.records().next().unwrap();
    assert_eq!(record.position, place.position);
    assert_eq!(record.key, Some(TimelineId(1 << 64 | u128::from(key))));
    Some(record.time)
}

#[test]
fn a_record_is_found_by_its_key_wherever_it_is() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    for number in 1..=200 {
        let event = event(number, next_seq(&log, number), 300);
        let draft = Draft {
            key: (number % 4 != 0).then_some(TimelineId(1 << 64 | u128::from(number % 150))),
            ..event.draft()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
        log.push(event);
    }
    for round in 0..2 {
        assert!(opened.reader.stats().runs > 4);
        for key in 0..160 {
            let with =
                |event: &&Event| !event.number.is_multiple_of(4) && event.number % 150 == key;
            let expected = log.iter().rfind(with).map(|event| event.number);
            assert_eq!(found(&opened, key), expected, "{key} in round {round}");
        }
        disk.power_cycle();
        drop(opened);
        opened = open(&disk, small_runs()).unwrap().0;
    }
}

#[test]
fn a_key_is_not_found_before_its_record_is_visible() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let event = event(1, 1, 10);
    let draft = Draft {
        key: Some(TimelineId(1 << 64 | 1)),
        ..event.draft()
    };
    opened.writer.append(&draft).unwrap();
    assert_eq!(found(&opened, 1), None);
    opened.writer.commit().unwrap();
    assert_eq!(found(&opened, 1), Some(1));
}
