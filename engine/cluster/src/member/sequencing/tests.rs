//! What a commit of the leader's sequencer becomes, by the verdict of the node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use trunkline_core::log::{Log, LogError};
use trunkline_core::told::Told;
use trunkline_storage::{
    Draft, Durability, Health, Opened, Options, Origin, Position, Store, StoreKey, TimelineId,
};

use super::*;
use crate::chain::Mark;
use crate::envelope::{Hash, LogId};
use crate::member::JoinSettings;
use crate::nats::NatsSettings;

/// A store of a log, with one record in the batch under construction.
fn open(folder: &Path) -> Opened {
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        reserve_bytes: 0,
        durability: Durability::Os,
        origin: Some(Origin {
            key: StoreKey::from_bytes([7; 16]),
            history: [9; 16],
        }),
        ..Options::default()
    };
    let mut opened = Store::open(folder, options, &mut |_| ()).unwrap();
    let draft = Draft {
        timeline: TimelineId(9),
        ..Draft::default()
    };
    opened.writer.append_next(&draft).unwrap();
    opened
}

/// Returns a log whose node says this of the next batch, and the node's ends.
fn log(folder: &TempDir, verdict: Verdict) -> (Replicated, Ends) {
    let status = Arc::new(Status::new(&JoinSettings {
        nats: NatsSettings::default(),
        cluster: "north".to_owned(),
        node: "n".to_owned(),
        data: folder.path().to_owned(),
        segment_bytes: 1 << 20,
    }));
    let (log, ends) = ends(&Arc::default(), Disk::new(folder.path()), &status);
    ends.verdicts.send(verdict).unwrap();
    (log, ends)
}

fn counts() -> Verdict {
    Verdict::Counts(Mark {
        log: LogId(7),
        sequence: 9,
        hash: Hash([3; 16]),
        epoch: 2,
        index: 5,
        author: None,
        end: None,
    })
}

#[test]
fn a_batch_is_stored_if_it_counts_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(&folder.path().join("data"));
    let (mut log, _ends) = log(&folder, counts());
    let batch = log.commit(&mut opened.writer, Told::default()).unwrap();
    assert_eq!(opened.reader.head(), batch.last());
}

#[test]
fn a_batch_that_nobody_knows_of_is_not_said_to_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(&folder.path().join("data"));
    let (mut log, _ends) = log(&folder, Verdict::Unknown);
    let unknown = log.commit(&mut opened.writer, Told::default());
    assert!(matches!(unknown, Err(LogError::Unknown)));
    assert_eq!(opened.reader.head(), Position::ZERO);
}

/// The next group of that node would begin where this one did, and the stores of the nodes would differ.
#[test]
fn a_leader_ends_when_its_store_refuses_a_group_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut opened = open(&data);
    std::fs::rename(&data, folder.path().join("elsewhere")).unwrap();
    let refused = || matches!(opened.reader.health(), Health::Lost { .. });
    for _ in 0..600 {
        if refused() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(refused(), "{:?}", opened.reader.health());
    let (mut log, _ends) = log(&folder, counts());
    let commit = AssertUnwindSafe(|| log.commit(&mut opened.writer, Told::default()).map(drop));
    let ended = catch_unwind(commit).expect_err("the process ends");
    let why = ended.downcast_ref::<String>().expect("a reason");
    assert!(
        why.contains("this gateway ends and another one leads"),
        "{why}"
    );
}
