//! Crashes of stores that hold one log: at any operation of the one that makes a batch, and of the one that takes it.

use super::*;

#[test]
fn a_crash_while_a_transcript_is_taken_loses_and_doubles_nothing() {
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let history = grow(&mut leader, &mut Vec::new(), 24);
    for durability in [Durability::Os, Durability::Sync] {
        let options = Options {
            durability,
            ..shared()
        };
        let whole = SimDisk::new(2);
        drop(open(&whole, options.clone()).unwrap());
        let start = whole.fork(0);
        let first = start.operations();
        let (mut opened, _) = open(&whole, options.clone()).unwrap();
        take(&mut opened, &history).unwrap();
        drop(opened);
        let last = whole.operations();
        assert!(last - first > 100, "{first} to {last}");
        for operation in first..last {
            let context = format!("{durability:?} {operation}");
            let disk = start.fork(operation);
            disk.crash_at(operation);
            if let Ok((mut opened, _)) = open(&disk, options.clone()) {
                let _ = take(&mut opened, &history);
            }
            // Every other one with the other durability.
            match (operation % 2 == 0) == (durability == Durability::Os) {
                true => disk.power_cycle(),
                false => disk.kill(),
            }
            let (mut opened, _) = open(&disk, options.clone()).unwrap();
            take(&mut opened, &history).unwrap();
            check_same(&leader, &opened, &context);
        }
    }
}

/// The log has each batch before the store that made it. That store dies at any operation, and then takes from
/// the log what it made itself.
#[test]
fn a_crash_of_the_store_that_makes_the_batches_loses_and_doubles_nothing() {
    let whole = SimDisk::new(2);
    drop(open(&whole, shared()).unwrap());
    let start = whole.fork(0);
    let first = start.operations();
    let make = |disk: &SimDisk| {
        let mut history = Vec::new();
        if let Ok((mut leader, _)) = open(disk, shared()) {
            let mut log = Vec::new();
            for number in 0..15 {
                let mut transcript = Vec::new();
                if !try_fill(&mut leader.writer, &mut log, 1 + number % 5) {
                    break;
                }
                leader.writer.transcribe(&mut transcript);
                history.push(transcript);
                if leader.writer.commit().is_err() {
                    break;
                }
            }
        }
        history
    };
    assert_eq!(make(&whole).len(), 15);
    let last = whole.operations();
    assert!(last - first > 50, "{first} to {last}");
    for operation in first..last {
        let disk = start.fork(operation);
        disk.crash_at(operation);
        let history = make(&disk);
        match operation % 2 {
            0 => disk.power_cycle(),
            _ => disk.kill(),
        }
        let (mut follower, _) = open(&SimDisk::new(3), shared()).unwrap();
        take(&mut follower, &history).unwrap();
        let (mut opened, _) = open(&disk, shared()).unwrap();
        take(&mut opened, &history).unwrap();
        check_same(&follower, &opened, &format!("{operation}"));
        // It makes the next batch, as any other could.
        let mut log = entries(&opened);
        let more = grow(&mut opened, &mut log, 2);
        take(&mut follower, &more).unwrap();
        check_same(&opened, &follower, &format!("{operation}, and on"));
    }
}

#[test]
fn a_refused_write_takes_nothing_and_the_same_transcript_comes_again() {
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let history = grow(&mut leader, &mut Vec::new(), 30);
    let disk = SimDisk::new(2);
    let (mut opened, _) = open(&disk, shared()).unwrap();
    let mut refused = 0;
    for transcript in &history {
        let head = opened.reader.head();
        disk.fail(Operation::Write, 0);
        match opened.writer.apply(transcript) {
            // The write was that of a run, which is made again later.
            Ok(_) => {}
            Err(ApplyError::Commit(CommitError::Refused { .. }) | ApplyError::Append(_)) => {
                assert_eq!(opened.reader.head(), head);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        disk.fail_times(Operation::Write, 0, 0);
        opened.writer.apply(transcript).unwrap();
    }
    assert!(refused > 20, "{refused}");
    check_same(&leader, &opened, "at the end");
}
