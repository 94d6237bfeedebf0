//! Copies of a store on their way to another folder.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::store::identity;
use crate::tools::copy::form::{self, FRAME_HEAD, Kind};
use crate::{BackupError, CopyError, Received, Verified};

/// A small file that the tests send with a copy.
const MARK: (&str, &[u8]) = ("cluster-mark", b"so far");

/// Returns the bytes of a copy.
fn send(opened: &Opened, each: &mut dyn FnMut(usize)) -> Vec<u8> {
    let mut stream = Vec::new();
    let sent = opened
        .reader
        .send_copy(&[(MARK.0, MARK.1.to_vec())], &mut |bytes| {
            stream.extend_from_slice(bytes);
            each(stream.len());
            ControlFlow::Continue(())
        });
    let sent = sent.unwrap();
    assert!(
        sent.files > 4 && sent.head == opened.reader.head(),
        "{sent:?}"
    );
    stream
}

fn receive(target: &Path, stream: &[u8]) -> Result<Received, CopyError> {
    Store::receive_copy(target, &[MARK.0], &mut &*stream, &mut |_| ())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string());
    names.map(Result::unwrap).collect()
}

fn open_copy(target: &Path) -> Opened {
    assert_eq!(std::fs::read(target.join(MARK.0)).unwrap(), MARK.1);
    let Verified { faults, torn, .. } = Store::verify(target, &mut |_, _| ()).unwrap();
    assert_eq!((faults, torn), (vec![], None));
    let opened = Store::open(target, shared(), &mut |_| ()).unwrap();
    assert_eq!(opened.report.torn, None);
    assert_eq!(opened.report.positions, crate::PositionsFound::Kept);
    opened
}

#[test]
fn a_store_goes_on_from_a_copy_at_every_moment() {
    let place = tempfile::tempdir().unwrap();
    let (mut leader, _) = open(&SimDisk::new(3), shared()).unwrap();
    let mut log = Vec::new();
    for number in 0..40 {
        let target = place.path().join(format!("copy-{number}"));
        receive(&target, &send(&leader, &mut |_| ())).unwrap();
        let mut copy = open_copy(&target);
        check_same(&leader, &copy, &format!("{number}"));
        // The last transcripts come once more: a node does not know how far exactly its copy is.
        let history = grow(&mut leader, &mut log, 1 + number % 4);
        take(&mut copy, &history).unwrap();
        take(&mut copy, &history).unwrap();
        check_same(&leader, &copy, &format!("{number}, later"));
        std::fs::remove_dir_all(&target).unwrap();
    }
    assert!(leader.reader.stats().runs > 2, "runs are copied too");
    assert_eq!(names(place.path()), Vec::<String>::new());
}

#[test]
fn a_copy_that_is_torn_or_changed_anywhere_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("copy");
    let (mut leader, _) = open(&SimDisk::new(4), shared()).unwrap();
    grow(&mut leader, &mut Vec::new(), 12);
    let stream = send(&leader, &mut |_| ());
    let last = stream.len() - 1;
    let places = (0..40).chain((40..last).step_by(1_009));
    for at in places.chain(last - 120..=last) {
        let torn = receive(&target, &stream[..at]);
        assert!(matches!(torn, Err(CopyError::Torn)), "{at}: {torn:?}");
        assert!(names(place.path()).is_empty(), "{at}");
        let mut changed = stream.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = receive(&target, &changed).unwrap_err();
        let is_told = matches!(
            refused,
            // A longer part than there is ends early.
            CopyError::Damaged { .. } | CopyError::Torn
        );
        assert!(is_told, "{at}: {refused}");
        assert!(names(place.path()).is_empty(), "{at}");
    }
    let longer = receive(&target, &[&stream, &b"x"[..]].concat());
    assert!(
        matches!(longer, Err(CopyError::Damaged { .. })),
        "{longer:?}"
    );
    receive(&target, &stream).unwrap();
    check_same(&leader, &open_copy(&target), "whole");
}

#[test]
fn what_a_killed_receiver_left_is_no_store_and_makes_room() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("copy");
    let (mut leader, _) = open(&SimDisk::new(5), shared()).unwrap();
    grow(&mut leader, &mut Vec::new(), 12);
    let stream = send(&leader, &mut |_| ());
    // What a process that is killed at any moment leaves: the folder below its other name.
    let partial = place.path().join("copy.partial");
    receive(&target, &stream).unwrap();
    std::fs::rename(&target, &partial).unwrap();
    std::fs::remove_file(partial.join(identity::NAME)).unwrap();
    let half = place.path().join("half");
    std::fs::create_dir(&half).unwrap();
    for name in names(&partial) {
        std::fs::copy(partial.join(&name), half.join(&name)).unwrap();
    }
    let refused = Store::open(&half, shared(), &mut |_| ()).err().unwrap();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    std::fs::remove_dir_all(&half).unwrap();
    receive(&target, &stream).unwrap();
    assert_eq!(names(place.path()), ["copy"]);
    check_same(&leader, &open_copy(&target), "again");
    // A folder with something in it stays as it is.
    let refused = receive(&target, &stream).unwrap_err();
    let is_told = matches!(refused, CopyError::Folder(BackupError::Exists { .. }));
    assert!(is_told, "{refused}");
}

#[test]
fn bodies_that_are_overwritten_while_a_copy_is_sent_are_gone_or_whole_in_it() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("copy");
    let options = Options {
        redact_within: Duration::ZERO,
        ..shared()
    };
    let (mut leader, _) = open(&SimDisk::new(6), options).unwrap();
    let mut log = Vec::new();
    commit(&mut leader, &mut log, 150);
    let Opened { writer, reader, .. } = &mut leader;
    let mut recalled = Vec::new();
    let mut stream = Vec::new();
    let mut each = |bytes: &[u8]| {
        stream.extend_from_slice(bytes);
        for _ in 0..4 {
            let at = recalled.len() * 11 % log.len();
            let draft = Draft {
                timeline: TimelineId(log[at].timeline),
                redacts: Some(Redaction {
                    seq: log[at].seq,
                    body: b"",
                }),
                ..Draft::default()
            };
            writer.append(&draft).unwrap();
            writer.commit().unwrap();
            writer.tick(1);
            recalled.push(at);
        }
        ControlFlow::Continue(())
    };
    let companions = [(MARK.0, MARK.1.to_vec())];
    reader.send_copy(&companions, &mut each).unwrap();
    assert!(recalled.len() > 20, "{}", recalled.len());
    receive(&target, &stream).unwrap();
    let found = entries(&open_copy(&target));
    let mut gone = 0;
    for (at, (found, event)) in found.iter().zip(&log).enumerate() {
        if found != event {
            assert!(found.body.is_empty() && recalled.contains(&at), "{found:?}");
            gone += 1;
        }
    }
    assert_eq!(found.len(), log.len());
    assert!(gone > 3, "{gone}");
}

/// Returns a stream of these frames.
fn made(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut stream = form::head().to_vec();
    let form::Head::Known(mut crc) = form::read_head(&form::head()) else {
        panic!("a head");
    };
    for (kind, content) in frames {
        let from = stream.len();
        stream.push(*kind as u8);
        stream.extend_from_slice(&(content.len() as u32).to_le_bytes());
        stream.extend_from_slice(content);
        assert_eq!(stream.len(), from + FRAME_HEAD + content.len());
        crc = form::chain(crc, &stream[from..]);
        stream.extend_from_slice(&crc.to_le_bytes());
    }
    stream
}

#[test]
fn a_sender_writes_nowhere_else_and_says_why_it_ends() {
    let place = tempfile::tempdir().unwrap();
    let target: PathBuf = place.path().join("copy");
    let file = |name: &str, len: u64| {
        let content = [&len.to_le_bytes(), name.as_bytes()].concat();
        (Kind::File, content)
    };
    let bytes = |at: u64| (Kind::Bytes, [&at.to_le_bytes()[..], b"x"].concat());
    for frames in [
        vec![file("../identity", 1)],
        vec![file("identity/../../x", 1)],
        vec![file("LOCK", 1)],
        vec![file("", 1)],
        vec![file("manifest", 1), file("manifest", 1)],
        vec![file("manifest", u64::MAX)],
        vec![file("manifest", 1), bytes(1)],
        vec![file("manifest", 1), bytes(u64::MAX)],
        vec![bytes(0)],
        vec![(Kind::Change, b"manifest".to_vec())],
        vec![(Kind::End, vec![1; 16])],
        vec![(Kind::End, vec![])],
    ] {
        let refused = receive(&target, &made(&frames)).unwrap_err();
        let is_told = matches!(refused, CopyError::Damaged { .. });
        assert!(is_told, "{frames:?}: {refused}");
        assert!(names(place.path()).is_empty(), "{frames:?}");
    }
    let failed = receive(&target, &made(&[(Kind::Failed, b"no disk".to_vec())]));
    assert_eq!(
        failed.unwrap_err().to_string(),
        "the sender of the copy could not go on: no disk"
    );
    let other = receive(&target, &made(&[(Kind::End, vec![0; 16])]));
    assert!(matches!(other, Err(CopyError::Lacks(_))), "{other:?}");
    assert!(names(place.path()).is_empty());
}

#[test]
fn a_receiver_that_goes_away_ends_the_copy() {
    let (mut leader, _) = open(&SimDisk::new(7), shared()).unwrap();
    grow(&mut leader, &mut Vec::new(), 12);
    let mut left = 3;
    let ended = leader.reader.send_copy(&[], &mut |_| {
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    assert!(matches!(ended, Err(BackupError::Ended)), "{ended:?}");
    assert_eq!(left, 0, "nothing more is sent");
}
