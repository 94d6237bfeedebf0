//! Tests that positions of another history, and of lost records, are refused.

use super::repair::{repair, replace, try_repair};
use super::*;
use crate::backend::Backend;
use crate::backend::sim::Operation;
use crate::log::segment::segment_name;
use crate::{BadToken, PositionsFound};

const FIRST: &str = "log-0000000000000000.seg";

/// The positions of a segment of [`small`].
const SEGMENT: u64 = 8192;

/// Returns the text of the head.
fn token(opened: &Opened) -> String {
    opened
        .reader
        .epochs()
        .token(opened.reader.head())
        .to_string()
}

fn check(opened: &Opened, text: &str) -> Result<Position, BadToken> {
    opened.reader.epochs().check(text)
}

/// Commits records one by one. Returns the text of each position.
fn grow(opened: &mut Opened, log: &mut Vec<Event>, count: u64) -> Vec<String> {
    let one = |_| {
        commit(opened, log, 1);
        token(opened)
    };
    (0..count).map(one).collect()
}

/// A closed store, its events, and the texts of their positions.
struct Grown {
    disk: SimDisk,
    log: Vec<Event>,
    tokens: Vec<String>,
}

/// Returns a store that was opened twice.
fn store() -> Grown {
    let (disk, mut log) = (SimDisk::new(3), Vec::new());
    let mut tokens = Vec::new();
    for found in [PositionsFound::None, PositionsFound::Kept] {
        let (mut opened, _) = open(&disk, small()).unwrap();
        assert_eq!(opened.report.positions, found);
        assert!(opened.report.positions_stored);
        tokens.extend(grow(&mut opened, &mut log, 10));
    }
    Grown { disk, log, tokens }
}

#[test]
fn a_copy_that_is_opened_refuses_what_came_after_it() {
    let Grown {
        disk,
        log,
        tokens: before,
    } = store();
    let copies = [disk.fork(1), disk.fork(2), disk.fork(3)];
    // All go on from the copy with the same records, at the same addresses.
    let goes_on = |disk: &SimDisk| {
        let (mut opened, _) = open(disk, small()).unwrap();
        let after = grow(&mut opened, &mut log.clone(), 15);
        (opened, after)
    };
    let all: Vec<_> = [&disk].into_iter().chain(&copies).map(goes_on).collect();
    let position = |text: &String| text.split_once('-').unwrap().1.to_owned();
    for (number, (opened, own)) in all.iter().enumerate() {
        for text in before.iter().chain(own) {
            assert!(check(opened, text).is_ok(), "{number}: {text}");
        }
        for (other, (_, after)) in all.iter().enumerate().filter(|(at, _)| *at != number) {
            assert!(after.iter().map(position).eq(own.iter().map(position)));
            for text in after {
                let checked = check(opened, text);
                assert_eq!(
                    checked,
                    Err(BadToken::Foreign),
                    "{text} of {other} in {number}"
                );
            }
        }
    }
}

#[test]
fn addresses_that_were_never_given_out_are_refused() {
    let Grown { disk, log, tokens } = store();
    let (opened, _) = open(&disk, small()).unwrap();
    let tags = tokens.iter().map(|text| text.split_once('-').unwrap().0);
    let last = log.last().unwrap().position;
    let given: Vec<u64> = log.iter().map(|event| event.position).collect();
    for tag in tags.clone() {
        for address in (8..last + 64).step_by(8).filter(|at| !given.contains(at)) {
            let text = format!("{tag}-{address}");
            assert_eq!(check(&opened, &text), Err(BadToken::Foreign), "{text}");
        }
    }
    // The tag of one event at the address of another.
    for (tag, at) in tags.zip(given.iter().skip(1)) {
        let text = format!("{tag}-{at}");
        assert_eq!(check(&opened, &text), Err(BadToken::Foreign), "{text}");
    }
    for address in given {
        let text = address.to_string();
        assert_eq!(check(&opened, &text), Err(BadToken::Foreign), "{text}");
    }
    assert_eq!(check(&opened, "0"), Ok(Position::ZERO));
}

#[test]
fn what_a_power_cut_took_is_refused_when_the_log_grows_over_it() {
    let mut taken = 0;
    for (seed, durability) in (0..60).flat_map(|seed| {
        let hour = std::time::Duration::from_secs(3600);
        [Durability::Os, Durability::Interval(hour)].map(|level| (seed, level))
    }) {
        let options = Options {
            durability,
            ..small()
        };
        let (disk, mut log) = (SimDisk::new(seed), Vec::new());
        let (mut opened, _) = open(&disk, options.clone()).unwrap();
        let tokens = grow(&mut opened, &mut log, 20);
        disk.power_cycle();
        drop(opened);
        let (mut opened, left) = open(&disk, options).unwrap();
        assert_eq!(opened.report.positions, PositionsFound::Kept);
        let good = |opened: &Opened| -> Vec<bool> {
            tokens
                .iter()
                .map(|text| check(opened, text).is_ok())
                .collect()
        };
        let expected: Vec<bool> = (0..tokens.len()).map(|at| at < left.len()).collect();
        assert_eq!(good(&opened), expected, "{seed} {durability:?}");
        taken += expected.iter().filter(|good| !**good).count();
        let mut log = left;
        let new = grow(&mut opened, &mut log, 30);
        assert_eq!(good(&opened), expected, "{seed} {durability:?}: later");
        assert!(new.iter().all(|text| check(&opened, text).is_ok()));
    }
    assert!(taken > 100, "{taken}");
}

#[test]
fn a_crash_while_an_epoch_begins_loses_no_position() {
    let Grown { disk, log, tokens } = store();
    let whole = disk.fork(0);
    let before = whole.operations();
    drop(open(&whole, small()).unwrap());
    for operation in before..whole.operations() {
        for power in [false, true] {
            let disk = disk.fork(operation);
            disk.crash_at(operation);
            assert!(open(&disk, small()).is_err());
            match power {
                true => disk.power_cycle(),
                false => disk.kill(),
            }
            let (opened, events) = open(&disk, small()).unwrap();
            assert_eq!(events, log);
            for text in &tokens {
                assert!(check(&opened, text).is_ok(), "{operation} {power}: {text}");
            }
        }
    }
    // Other failures are reported.
    let disk = disk.fork(1);
    disk.fail(Operation::Create, 0);
    assert!(matches!(open(&disk, small()), Err(OpenError::Io { .. })));
}

#[test]
fn a_repair_refuses_positions_if_it_gave_something_up() {
    let Grown { disk, log, tokens } = store();
    // A damaged header loses nothing, because its content is stored elsewhere too.
    let harmless = disk.fork(1);
    harmless.flip(FIRST, 8 * 40);
    let done = repair(&harmless);
    assert!(!done.steps.is_empty() && !done.lossy);
    assert_eq!(Store::inspect_with(&harmless).unwrap().epochs, 2);
    let (opened, _) = open(&harmless, small()).unwrap();
    assert_eq!(opened.report.positions, PositionsFound::Kept);
    assert!(tokens.iter().all(|text| check(&opened, text).is_ok()));
    drop(opened);

    let lossy = disk.fork(2);
    lossy.flip(FIRST, 8 * (log[3].position as usize + 30));
    let planned = try_repair(&lossy, true).unwrap();
    assert_eq!(lossy.contents("epochs"), disk.contents("epochs"));
    assert_eq!(repair(&lossy), planned);
    assert!(planned.lossy && planned.losses.repairs == 1);
    let found = Store::inspect_with(&lossy).unwrap();
    assert_eq!((found.epochs, found.losses), (0, planned.losses));
    let (mut opened, mut left) = open(&lossy, small()).unwrap();
    assert_eq!(opened.report.positions, PositionsFound::None);
    for text in &tokens {
        assert_eq!(check(&opened, text), Err(BadToken::Foreign), "{text}");
    }
    let new = grow_behind(&mut opened, &mut left);
    drop(opened);
    let (opened, _) = open(&lossy, small()).unwrap();
    assert_eq!(opened.report.positions, PositionsFound::Kept);
    assert!(check(&opened, &new).is_ok());
}

/// Commits one record with the next sequence that the store gives. Returns the text of its
/// position.
fn grow_behind(opened: &mut Opened, log: &mut Vec<Event>) -> String {
    let number = log.last().map_or(1, |event| event.number + 1);
    let next = opened.reader.next_seq(TimelineId(u128::from(number % 3)));
    let mut event = event(number, next.unwrap(), 300);
    event.position = opened.writer.append(&event.draft()).unwrap().0;
    opened.writer.commit().unwrap();
    log.push(event);
    token(opened)
}

#[test]
fn epochs_that_are_damaged_or_missing_stop_no_opening() {
    let Grown { disk, log, tokens } = store();
    let whole = disk.contents("epochs").unwrap();
    let foreign = {
        let other = SimDisk::new(77);
        drop(open(&other, small()).unwrap());
        other.contents("epochs").unwrap()
    };
    let cases: [(&str, Option<Vec<u8>>); 7] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("cut short", Some(whole[..60].to_vec())),
        ("of another store", Some(foreign)),
        ("zeros", Some(vec![0; whole.len()])),
        ("a flipped bit of the padding", {
            let mut bytes = whole.clone();
            bytes[4000] ^= 4;
            Some(bytes)
        }),
        ("a flipped bit", {
            let mut bytes = whole.clone();
            bytes[50] ^= 4;
            Some(bytes)
        }),
    ];
    for (context, bytes) in cases {
        let disk = disk.fork(1);
        match &bytes {
            Some(bytes) => replace(&disk, "epochs", bytes),
            None => disk.remove("epochs").unwrap(),
        }
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(
            found.faults.len(),
            usize::from(bytes.is_some()),
            "{context}"
        );
        assert_eq!(Store::inspect_with(&disk).unwrap().faults, found.faults);
        // Either way is good: as it is, or repaired first.
        for repaired in [false, true] {
            let disk = disk.fork(2);
            if repaired {
                let done = repair(&disk);
                assert_eq!(done.steps.len(), found.faults.len(), "{context}");
                assert!(!done.lossy, "{context}");
                let left = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
                assert_eq!(left.faults, [], "{context}");
            }
            let (opened, events) = open(&disk, small()).unwrap();
            assert_eq!(events, log, "{context}");
            let expected = match (&bytes, repaired) {
                (Some(_), false) => PositionsFound::Damaged,
                _ => PositionsFound::None,
            };
            assert_eq!(opened.report.positions, expected, "{context}");
            for text in &tokens {
                assert_eq!(check(&opened, text), Err(BadToken::Foreign), "{context}");
            }
            let new = token(&opened);
            drop(opened);
            let (opened, _) = open(&disk, small()).unwrap();
            assert!(check(&opened, &new).is_ok(), "{context}");
        }
    }
}

#[test]
fn a_full_disk_has_room_for_an_epoch_in_place_of_those_before() {
    let Grown { disk, tokens, .. } = store();
    let fill = |disk: &SimDisk| {
        disk.set_capacity(1 << 40);
        let used = (1 << 40) - disk.free_bytes().unwrap();
        disk.set_capacity(used);
    };
    fill(&disk);
    let (opened, _) = open(&disk, small()).unwrap();
    assert!(opened.report.positions_stored);
    assert!(tokens.iter().all(|text| check(&opened, text).is_ok()));
    drop(opened);
    let (opened, _) = open(&disk, small()).unwrap();
    assert!(tokens.iter().all(|text| check(&opened, text).is_ok()));
    drop(opened);
    // A store of an earlier version without room for `epochs`: its positions are refused after the
    // next opening.
    disk.remove("epochs").unwrap();
    fill(&disk);
    let (opened, _) = open(&disk, small()).unwrap();
    assert_eq!(opened.report.positions, PositionsFound::None);
    assert!(!opened.report.positions_stored);
    let short = token(&opened);
    assert!(check(&opened, &short).is_ok());
    drop(opened);
    disk.set_capacity(1 << 40);
    let (opened, _) = open(&disk, small()).unwrap();
    assert!(opened.report.positions_stored);
    assert_eq!(check(&opened, &short), Err(BadToken::Foreign));
}

#[test]
fn openings_without_a_record_between_take_no_more_room() {
    let Grown { disk, tokens, .. } = store();
    drop(open(&disk, small()).unwrap());
    let epochs = Store::inspect_with(&disk).unwrap().epochs;
    for _ in 0..5 {
        let (opened, _) = open(&disk, small()).unwrap();
        assert!(tokens.iter().all(|text| check(&opened, text).is_ok()));
    }
    assert_eq!(Store::inspect_with(&disk).unwrap().epochs, epochs);
    assert_eq!(disk.contents("epochs").unwrap().len(), 4096);
}

/// Returns a store whose first segment is lost, with what was in it.
fn lost_segment() -> (SimDisk, Vec<Event>) {
    let (disk, mut log) = (SimDisk::new(3), Vec::new());
    let (mut opened, _) = open(&disk, small()).unwrap();
    commit(&mut opened, &mut log, 60);
    drop(opened);
    disk.remove(FIRST).unwrap();
    repair(&disk);
    (disk, log)
}

#[test]
fn a_timeline_skips_what_was_given_up_once() {
    let (disk, log) = lost_segment();
    let (mut opened, _) = open(&disk, small()).unwrap();
    let skip = opened.reader.losses().skip;
    assert_eq!(skip, 64, "4,096 bytes of records of 64 bytes");
    // Timelines with records after the loss continue as before. Other timelines skip sequences.
    for timeline in 0..3 {
        assert_eq!(
            opened.reader.next_seq(TimelineId(timeline)).unwrap(),
            log.iter()
                .rfind(|event| event.timeline == timeline)
                .map_or(1, |event| event.seq + 1)
        );
    }
    let unknown = TimelineId(9);
    assert_eq!(opened.reader.next_seq(unknown).unwrap(), skip + 1);
    assert_eq!(opened.reader.try_last_seq(unknown).unwrap(), 0);
    let draft = |seq| Draft {
        timeline: unknown,
        seq,
        ..Draft::default()
    };
    let refused = opened.writer.append(&draft(skip));
    assert!(matches!(refused, Err(crate::AppendError::Sequence { .. })));
    opened.writer.append(&draft(skip + 1)).unwrap();
    opened.writer.commit().unwrap();
    drop(opened);
    let (opened, _) = open(&disk, small()).unwrap();
    assert_eq!(opened.reader.next_seq(unknown).unwrap(), skip + 2);
}

/// A timeline that lies before the loss may have continued in it, so it skips as many sequences as one that
/// nothing is known of. One with a record behind the loss skips none.
#[test]
fn a_timeline_that_continued_in_the_lost_segment_skips_once() {
    let (disk, mut log) = (SimDisk::new(3), Vec::new());
    let (mut opened, _) = open(&disk, small()).unwrap();
    let write = |opened: &mut Opened, timeline: u128, seqs: std::ops::RangeInclusive<u64>| {
        for seq in seqs {
            let draft = Draft {
                timeline: TimelineId(timeline),
                seq,
                ..Draft::default()
            };
            opened.writer.append(&draft).unwrap();
            opened.writer.commit().unwrap();
        }
    };
    let (before, around, inside) = (20, 21, 22);
    write(&mut opened, before, 1..=3);
    write(&mut opened, around, 1..=3);
    // The first segment ends, and both continue in the second, which is full then.
    let fill = |opened: &mut Opened, log: &mut Vec<Event>, base: u64| {
        while opened.reader.head().0 < base {
            commit(opened, log, 1);
        }
    };
    fill(&mut opened, &mut log, SEGMENT);
    write(&mut opened, before, 4..=7);
    write(&mut opened, around, 4..=7);
    write(&mut opened, inside, 1..=2);
    fill(&mut opened, &mut log, 2 * SEGMENT);
    write(&mut opened, around, 8..=9);
    drop(opened);
    let second = segment_name(SEGMENT);
    disk.remove(&second).unwrap();
    repair(&disk);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let skip = opened.reader.losses().skip;
    let next = |opened: &Opened, timeline| opened.reader.next_seq(TimelineId(timeline)).unwrap();
    assert!(skip >= 4, "{skip}");
    assert_eq!(next(&opened, before), 3 + skip + 1);
    assert_eq!(next(&opened, inside), skip + 1);
    assert_eq!(next(&opened, around), 10);
    // It skips them once.
    write(&mut opened, before, 3 + skip + 1..=3 + skip + 2);
    drop(opened);
    let (opened, _) = open(&disk, small()).unwrap();
    assert_eq!(next(&opened, before), 3 + skip + 3);
}

#[test]
fn what_repairs_gave_up_is_not_forgotten() {
    let (disk, _) = lost_segment();
    let losses = Store::inspect_with(&disk).unwrap().losses;
    let skips = |disk: &SimDisk| {
        let (opened, _) = open(disk, small()).unwrap();
        opened.reader.next_seq(TimelineId(9)).unwrap() - 1
    };
    let both = ["losses", "losses.copy"];
    for name in both {
        for missing in [true, false] {
            let disk = disk.fork(1);
            match missing {
                true => disk.remove(name).unwrap(),
                false => disk.flip(name, 333),
            }
            let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults.len(), usize::from(!missing), "{name}");
            assert_eq!(skips(&disk.fork(2)), losses.skip, "{name}");
            assert!(!repair(&disk).lossy);
            assert_eq!(skips(&disk), losses.skip, "{name}");
            // There are two of them again.
            assert_eq!(disk.contents(both[0]), disk.contents(both[1]));
            let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, []);
        }
    }
    for name in both {
        disk.flip(name, 333);
    }
    assert!(matches!(
        open(&disk, small()),
        Err(OpenError::Corrupt { .. })
    ));
    assert!(!Store::inspect_with(&disk).unwrap().faults.is_empty());
    let done = repair(&disk);
    assert!(done.lossy && done.losses.skip > losses.skip);
    assert_eq!(skips(&disk), done.losses.skip);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let draft = Draft {
        timeline: TimelineId(9),
        seq: done.losses.skip + 1,
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    drop(opened);
    assert_eq!(skips(&disk), done.losses.skip + 1, "once");
}

#[test]
fn losses_add_up() {
    let (disk, _) = lost_segment();
    let first = Store::inspect_with(&disk).unwrap().losses;
    disk.remove("log-0000000000002000.seg").unwrap();
    let second = repair(&disk).losses;
    assert_eq!((second.repairs, second.skip), (2, 2 * first.skip));
    assert!(second.before > first.before);
    assert_eq!(Store::inspect_with(&disk).unwrap().losses, second);
}
