//! A store that was alone becomes the first of several.

use super::*;
use crate::{Beginning, PositionsFound};

const SIZE: u64 = 8192;

fn alone() -> Options {
    Options {
        segment_bytes: SIZE,
        ..small_runs()
    }
}

fn together(beginning: &Beginning) -> Options {
    Options {
        origin: Some(beginning.origin),
        durability: Durability::Os,
        ..alone()
    }
}

fn open_with(dir: &Path, options: Options) -> Opened {
    Store::open(dir, options, &mut |_| ()).unwrap()
}

fn note(_: &Beginning) -> Result<(), OpenError> {
    Ok(())
}

#[test]
fn a_store_that_was_alone_goes_on_as_one_of_several_with_its_positions() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let mut log = Vec::new();
    let mut tokens = Vec::new();
    let mut kept = Vec::new();
    // Each opening begins an epoch.
    for _ in 0..3 {
        let mut opened = open_with(&first, alone());
        commit(&mut opened, &mut log, 40);
        let (head, epochs) = (opened.reader.head(), opened.reader.epochs());
        tokens.push((epochs.token(head).to_string(), head));
        kept.push((head, epochs.tag(head)));
    }
    assert!(!Store::is_shared(&first).unwrap());
    let mut noted = None;
    let beginning = Store::share(&first, SIZE, &mut |beginning| {
        noted = Some(*beginning);
        Ok(())
    });
    let beginning = beginning.unwrap();
    assert_eq!(noted, Some(beginning));
    assert_eq!(beginning.from, tokens[2].1);
    assert!(Store::is_shared(&first).unwrap());
    // It is alone no more, also for a second attempt.
    for refused in [
        Store::open(&first, alone(), &mut |_| ()).err().unwrap(),
        Store::share(&first, SIZE, &mut note).err().unwrap(),
    ] {
        assert!(refused.to_string().contains("one of several"), "{refused}");
    }

    let mut leader = open_with(&first, together(&beginning));
    assert_eq!(leader.report.positions, PositionsFound::Kept);
    assert_eq!(entries(&leader), log);
    let mut stream = Vec::new();
    let sent = leader.reader.send_copy(&[], &mut |bytes| {
        stream.extend_from_slice(bytes);
        ControlFlow::Continue(())
    });
    sent.unwrap();
    Store::receive_copy(&second, &[], &mut &*stream, &mut |_| ()).unwrap();
    let mut copy = open_with(&second, together(&beginning));
    for _ in 0..2 {
        for store in [&leader, &copy] {
            let epochs = store.reader.epochs();
            for (token, position) in &tokens {
                assert_eq!(epochs.check(token), Ok(*position));
            }
            assert!(kept.iter().all(|(head, tag)| epochs.holds(*head, *tag)));
        }
        check_same(&leader, &copy, "both");
        let history = grow(&mut leader, &mut log, 9);
        take(&mut copy, &history).unwrap();
        check_same(&leader, &copy, "both, later");
        drop((leader, copy));
        leader = open_with(&first, together(&beginning));
        copy = open_with(&second, together(&beginning));
    }
    // A backup of a store of several goes on with their log, and nothing that it keeps is lost.
    let third = place.path().join("third");
    let mut on = |_| ControlFlow::Continue(());
    leader.reader.backup(&third, &mut on).unwrap();
    check_same(
        &leader,
        &open_with(&third, together(&beginning)),
        "a backup",
    );
}

#[test]
fn a_store_that_cannot_be_one_of_several_stays_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("store");
    let mut opened = open_with(&dir, alone());
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 40);
    let locked = Store::share(&dir, SIZE, &mut note).err().unwrap();
    assert!(matches!(locked, OpenError::Locked { .. }), "{locked}");
    drop(opened);
    let other = Store::share(&dir, 2 * SIZE, &mut note).err().unwrap();
    let said = format!("segments of {SIZE} bytes");
    assert!(other.to_string().contains(&said), "{other}");
    let failed = Store::share(&dir, SIZE, &mut |_| {
        Err(OpenError::Options("no room to keep it".into()))
    });
    assert!(failed.is_err() && !Store::is_shared(&dir).unwrap());
    let none = Store::share(&place.path().join("none"), SIZE, &mut note);
    assert!(none.is_err() && !place.path().join("none").exists());
    assert_eq!(entries(&open_with(&dir, alone())), log);
}
