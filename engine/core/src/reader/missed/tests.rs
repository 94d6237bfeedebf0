use trunkline_storage::backend::Backend;
use trunkline_storage::backend::sim::{Operation, SimDisk};
use trunkline_storage::{Draft, Opened, Options, Redaction, Store};

use super::*;
use crate::directory::Directory;
use crate::event::with_time;
use crate::hub::HubLimits;
use crate::ids::{DeviceMark, Ids};

fn body(text: Option<&str>, recalled: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = Body {
        conversation: "u:alice:bob",
        user: "alice",
        device: "phone",
        text,
        recalled,
        ..Body::default()
    };
    body.write(&mut bytes);
    bytes
}

/// Returns a store in memory, and the thread's part of the gateway that follows it.
fn opened() -> (Opened, Arc<Hub>, MissedMessages) {
    opened_on(&SimDisk::new(1))
}

fn on_disk() -> (SimDisk, Opened, MissedMessages) {
    let disk = SimDisk::new(1);
    let (opened, _, missed) = opened_on(&disk);
    (disk, opened, missed)
}

fn opened_on(disk: &SimDisk) -> (Opened, Arc<Hub>, MissedMessages) {
    let disk = Arc::new(disk.clone());
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        reserve_bytes: 0,
        runs: true,
        background: false,
        ..Options::default()
    };
    let opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
    let directory = Arc::new(Directory::new(opened.reader.head()));
    let hub = Hub::new(&HubLimits::of_tests(), 10, directory, Vec::new());
    let hub = Arc::new(hub);
    let missed = MissedMessages::new(&opened.reader, Arc::clone(&hub), 500, 64 << 10);
    (opened, hub, missed)
}

/// Follows the log from a position on.
fn follow(
    missed: &MissedMessages,
    after: Position,
    each: &mut dyn FnMut(Place, Missed),
) -> Followed {
    let look = Look {
        after,
        until: missed.head(),
        most: 10,
        among: Among::All,
    };
    missed.follow(look, each)
}

#[test]
fn who_left_before_a_message_is_found_also_where_the_steady_time_lags() {
    let (mut opened, hub, missed) = opened();
    let ids = Ids(opened.reader.key());
    let body = with_time(&body(Some("hello"), false), 5_000_000);
    let draft = Draft {
        kind: RecordKind::Message as u8,
        time: 1_000,
        timeline: ids.direct("", "alice", "bob"),
        seq: 1,
        fanout: &[ids.user("", "alice"), ids.user("", "bob")],
        body: &body,
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    let left_at = |wire| {
        hub.clock.set(Duration::from_millis(wire), Duration::ZERO);
        hub.leave(ids.user("", "bob"), 0, DeviceMark::default());
        let mut found = Vec::new();
        follow(&missed, Position::ZERO, &mut |_, one| found.push(one));
        found
    };
    let found = left_at(4_000_000);
    assert_eq!(found.len(), 1, "bob left long before");
    assert_eq!((found[0].time, found[0].sent), (1_000, 5_000_000));
    assert_eq!(left_at(6_000_000), []);
}

#[test]
fn a_record_that_cannot_be_decoded_is_passed_and_counted() {
    let (mut opened, _, missed) = opened();
    let ids = Ids(opened.reader.key());
    let group = ids.group("", "eng");
    let mut in_group = Vec::new();
    Body {
        conversation: "g:eng",
        user: "alice",
        device: "phone",
        text: Some("hello"),
        ..Body::default()
    }
    .write(&mut in_group);
    let direct = ids.direct("", "alice", "bob");
    let whole = body(Some("hello"), false);
    for (seq, timeline, body) in [
        (1, direct, &whole[..]),
        (2, direct, &[0xff, 0xff, 0xff][..]),
        (1, group, &in_group[..]),
        (3, direct, &whole[..]),
    ] {
        let draft = Draft {
            kind: RecordKind::Message as u8,
            time: 1_000,
            timeline,
            seq,
            fanout: &[ids.user("", "bob")],
            body,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
    }
    opened
        .writer
        .set_state(ids.head(group), &[0xff; 9])
        .unwrap();
    opened.writer.commit().unwrap();
    let mut found = Vec::new();
    let followed = follow(&missed, Position::ZERO, &mut |_, one| found.push(one.seq));
    assert_eq!(found, [1, 3]);
    let expected = Followed {
        reached: missed.head(),
        undecodable: 2,
        failed: None,
    };
    assert_eq!(followed, expected);
    // What lies beyond the log cannot be read.
    let beyond = Position(missed.head().0 + 1);
    let followed = follow(&missed, beyond, &mut |_, _| panic!("there is none"));
    assert!(followed.reached == beyond && followed.failed.is_some());
}

/// The disk does not return the newest content of a message. Later messages are found all the same.
#[test]
fn a_message_whose_content_is_damaged_keeps_no_other_one() {
    let (disk, mut opened, mut missed) = on_disk();
    let ids = Ids(opened.reader.key());
    let timeline = ids.direct("", "alice", "bob");
    let fanout = [ids.user("", "alice"), ids.user("", "bob")];
    let mut append = |seq: u64, text: &str, edits: Option<u64>| {
        let whole = body(Some(text), false);
        let redacts = edits.map(|seq| Redaction { seq, body: &whole });
        let kind = match edits {
            Some(_) => RecordKind::Edit,
            None => RecordKind::Message,
        };
        let draft = Draft {
            kind: kind as u8,
            time: 1_000 + seq,
            timeline,
            seq,
            fanout: &fanout,
            body: if edits.is_some() { b"" } else { &whole },
            redacts,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
    };
    for seq in 1..=4 {
        append(seq, &format!("number {seq}"), None);
    }
    // So long that memory does not hold it.
    append(0, &format!("edited second{:400}", ""), Some(2));
    opened.writer.tick(1);
    let names = disk.list().unwrap();
    let name = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    let bytes = disk.contents(name).unwrap();
    let mut windows = bytes.windows(b"edited second".len());
    let at = windows.position(|part| part == b"edited second").unwrap();
    let look = || {
        let mut found = Vec::new();
        let followed = follow(&missed, Position::ZERO, &mut |_, one| found.push(one.seq));
        (found, followed)
    };
    // What may be read later is waited for.
    disk.fail_times(Operation::Read, 0, 1_000_000);
    let (found, followed) = look();
    assert_eq!((found, followed.undecodable), (vec![], 0));
    assert!(followed.reached == Position::ZERO && followed.failed.is_some());
    disk.fail_times(Operation::Read, 0, 0);
    assert_eq!(look().0, [1, 2, 3, 4]);
    let mut all = Vec::new();
    follow(&missed, Position::ZERO, &mut |_, one| all.push(one));
    disk.flip(name, at * 8);
    let (found, followed) = look();
    assert_eq!((found, followed.undecodable), (vec![1, 3, 4], 1));
    // Its own content is lost. It hides no later message, although it cannot be counted.
    let sight = |missed: &mut MissedMessages, seq| {
        let one = all.iter().find(|one| one.seq == seq).unwrap();
        missed.show(one).unwrap()
    };
    assert_eq!(sight(&mut missed, 2), Sight::Damaged);
    for seq in [3, 4] {
        let Sight::Shown(shown) = sight(&mut missed, seq) else {
            panic!("{seq} is not shown");
        };
        assert_eq!((shown.message.seq, shown.unread), (seq, 1));
    }
    // The record of the edit itself is damaged: what lies behind it waits for a repair.
    assert!(followed.reached > Position::ZERO && followed.failed.is_some());
}

#[test]
fn messages_whose_first_body_is_overwritten_are_found_unless_they_were_recalled() {
    let (mut opened, _, missed) = opened();
    let ids = Ids(opened.reader.key());
    let timeline = ids.direct("", "alice", "bob");
    let fanout = [ids.user("", "alice"), ids.user("", "bob")];
    let mut append = |kind: u8, seq: u64, body: &[u8], redacts: Option<Redaction<'_>>| {
        let draft = Draft {
            kind,
            time: 1_000 + seq,
            timeline,
            seq,
            fanout: &fanout,
            body,
            redacts,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
    };
    for seq in 1..=3 {
        let text = format!("number {seq}");
        append(
            RecordKind::Message as u8,
            seq,
            &body(Some(&text), false),
            None,
        );
    }
    for (seq, text, recalled) in [(1, Some("edited"), false), (2, None, true)] {
        let rest = body(text, recalled);
        let redaction = Redaction { seq, body: &rest };
        append(RecordKind::Edit as u8, 0, b"", Some(redaction));
    }
    let found = |missed: &MissedMessages| {
        let mut found = Vec::new();
        let reached = follow(missed, Position::ZERO, &mut |_, one| found.push(one.seq));
        assert_eq!((reached.reached, reached.failed), (missed.head(), None));
        found
    };
    // A recall is looked for only where the body is overwritten; showing a message looks for it too.
    assert_eq!(found(&missed), [1, 2, 3]);
    opened.writer.tick(1);
    assert_eq!(found(&missed), [1, 3]);
}

#[test]
fn a_part_of_the_log_is_looked_through_for_some_recipients() {
    let (mut opened, _, missed) = opened();
    let ids = Ids(opened.reader.key());
    for number in 1..=20_u64 {
        let other = if number % 2 == 0 { "bob" } else { "carol" };
        let mut bytes = Vec::new();
        let body = Body {
            conversation: &format!("u:alice:{other}"),
            user: "alice",
            device: "phone",
            text: Some("hello"),
            ..Body::default()
        };
        body.write(&mut bytes);
        let draft = Draft {
            kind: RecordKind::Message as u8,
            time: 1_000,
            timeline: ids.direct("", "alice", other),
            seq: number.div_ceil(2),
            fanout: &[ids.user("", other)],
            body: &bytes,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
    }
    opened.writer.commit().unwrap();
    let bob = Users::from_iter([ids.user("", "bob")]);
    let look = |after, until, most| {
        let mut found = Vec::new();
        let look = Look {
            after,
            until,
            most,
            among: Among::Recipients(&bob),
        };
        let followed = missed.follow(look, &mut |place, one| {
            assert!(place.before < place.at);
            found.push((place.before, one.seq));
        });
        assert_eq!((followed.undecodable, followed.failed), (0, None));
        (found, followed.reached)
    };
    let numbers = |found: &[(Position, u64)]| -> Vec<u64> {
        found.iter().map(|(_, number)| *number).collect()
    };
    let (all, reached) = look(Position::ZERO, missed.head(), 100);
    assert_eq!(numbers(&all), (1..=10).collect::<Vec<_>>());
    assert_eq!(reached, missed.head());
    // The position that comes with a message leads to it, and a look ends where it is told.
    for (at, (before, _)) in all.iter().enumerate() {
        let (later, _) = look(*before, missed.head(), 100);
        assert_eq!(later, all[at..]);
        let (earlier, reached) = look(Position::ZERO, *before, 100);
        assert_eq!((&earlier[..], reached), (&all[..at], *before));
    }
    let (some, reached) = look(Position::ZERO, missed.head(), 3);
    assert_eq!(
        (numbers(&some), some[..] == all[..3]),
        (vec![1, 2, 3], true)
    );
    let (rest, _) = look(reached, missed.head(), 100);
    assert_eq!(rest, all[3..]);
}
