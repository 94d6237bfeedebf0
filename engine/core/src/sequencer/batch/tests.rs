use trunkline_storage::Durability;
use trunkline_storage::backend::sim::Operation;

use super::super::fixture::{Fixture, NOW};
use super::*;
use crate::event::Body;

fn append(batch: &mut OpenBatch, key: u128, value: &[u8]) -> Position {
    let draft = Draft {
        timeline: TimelineId(9),
        ..Draft::default()
    };
    let mut changes = vec![(TimelineId(key), value.to_vec())];
    let position = batch.append(&draft, &mut changes).unwrap();
    assert!(changes.is_empty());
    position
}

#[test]
fn values_are_the_same_before_and_after_the_commit() {
    let mut batch = Fixture::new().batch;
    assert!(batch.is_empty() && batch.check_committed().is_ok());
    append(&mut batch, 1, b"one");
    let position = append(&mut batch, 2, b"two");
    for committed in [false, true] {
        assert_eq!(batch.check_committed().is_ok(), committed);
        assert_eq!(
            batch.store().state(TimelineId(1)).unwrap().is_some(),
            committed
        );
        assert_eq!(batch.record(position).is_some(), !committed);
        assert_eq!(batch.value(TimelineId(2)), Ok(Some(b"two".to_vec())));
        assert_eq!(batch.value(TimelineId(3)), Ok(None));
        assert_eq!(batch.last_position(), position);
        if !committed {
            batch.commit(Told::default()).unwrap();
        }
    }
    // An empty value hides the stored one at once.
    append(&mut batch, 1, b"");
    assert_eq!(batch.value(TimelineId(1)), Ok(None));
    batch.set(TimelineId(4), b"four").unwrap();
    assert_eq!(batch.value(TimelineId(4)), Ok(Some(b"four".to_vec())));
}

#[test]
fn work_is_counted_until_it_is_taken() {
    let mut batch = Fixture::new().batch;
    append(&mut batch, 1, b"one");
    batch.commit(Told::default()).unwrap();
    let work = batch.take_work();
    assert_eq!((work.reads, work.sets), (0, 1));
    assert!(work.log_bytes > 3);
    for key in [1, 2] {
        batch.value(TimelineId(key)).unwrap();
    }
    let work = batch.take_work();
    assert_eq!((work.reads, work.sets), (2, 0));
    // The record of the value is read whole, and nothing for the other key.
    assert!((4..100).contains(&work.read_bytes), "{work:?}");
    assert_eq!(batch.take_work(), Work::default());
}

/// Who needs a short value of a long record pays for the record, where its values are not apart.
#[test]
fn a_record_is_paid_for_that_is_read() {
    let mut batch = Fixture::new().batch;
    for first in [0, 1_000] {
        let mut changes: Changes = { first..first + 200_u128 }
            .map(|key| (TimelineId(key), vec![7; 50]))
            .collect();
        let draft = Draft {
            timeline: TimelineId(9),
            ..Draft::default()
        };
        batch.append(&draft, &mut changes).unwrap();
    }
    batch.commit(Told::default()).unwrap();
    batch.take_work();
    batch.value(TimelineId(5)).unwrap();
    assert!(batch.take_work().read_bytes > 200 * 50);
    batch.value(TimelineId(6)).unwrap();
    assert_eq!(
        batch.take_work().read_bytes,
        50,
        "the record is still in memory"
    );
    batch
        .read_ahead(&[TimelineId(1_003), TimelineId(1_004)])
        .unwrap();
    assert!(batch.take_work().read_bytes > 200 * 50);
}

#[test]
fn a_batch_is_full_by_commands_or_bytes_and_a_commit_empties_it() {
    let mut batch = Fixture::new().batch;
    batch.touch(COMMIT_COMMANDS - 1);
    assert!(!batch.is_full());
    batch.touch(1);
    assert!(batch.is_full());
    batch.restart();
    batch.tell(COMMIT_RECIPIENTS - 1);
    assert!(!batch.is_full());
    batch.tell(1);
    assert!(batch.is_full());
    batch.restart();
    while !batch.is_full() {
        append(&mut batch, 1, &[7; 10_000]);
    }
    batch.commit(Told::default()).unwrap();
    assert!(batch.is_empty() && !batch.is_full() && !batch.has_records());
}

#[test]
fn a_record_has_the_steady_time_and_its_body_the_wire_time() {
    let mut batch = Fixture::new().batch;
    let mut bytes = Vec::new();
    Body::default().write(&mut bytes);
    for (wire, time) in [(NOW, None), (NOW + 5, Some(NOW + 5))] {
        batch.set_moment(Moment {
            wire,
            steady: NOW,
            passed: 0,
        });
        let draft = Draft {
            timeline: TimelineId(9),
            body: &bytes,
            ..Draft::default()
        };
        let position = batch.append(&draft, &mut Changes::new()).unwrap();
        let record = batch.record(position).unwrap();
        let body = Body::read(record.body).unwrap();
        assert_eq!((record.time, body.time), (NOW, time));
    }
}

#[test]
fn after_a_final_failure_nothing_waits_for_a_commit() {
    let mut fixture = Fixture::with(Durability::Os);
    append(&mut fixture.batch, 1, b"one");
    fixture.batch.commit(Told::default()).unwrap();
    append(&mut fixture.batch, 2, b"two");
    fixture.disk.fail(Operation::Sync, 0);
    assert!(fixture.batch.close().is_err());
    assert!(fixture.batch.check_committed().is_err());
    assert!(fixture.batch.commit(Told::default()).is_err());
    assert!(!fixture.batch.is_empty(), "no commit empties it");
    assert!(fixture.batch.check_committed().is_ok());
    assert_eq!(fixture.batch.value(TimelineId(2)), Ok(None));
}
