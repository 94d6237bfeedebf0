//! Tests of stores that hold one log: what one of them commits, the others take.

mod copy;
mod crash;
mod share;

use std::ops::ControlFlow;
use std::path::Path;

use super::states::{lend, states_of};
use super::*;
use crate::backend::Backend;
use crate::backend::sim::Operation;
use crate::log::frame::{FrameHeader, FrameKind};
use crate::log::segment::{HEADER_BYTES, segment_base, segment_name};
use crate::{AppendError, ApplyError, CommitError, Origin, Redaction, StoreKey, Writer};

const ORIGIN: Origin = Origin {
    key: StoreKey::from_bytes([7; 16]),
    history: [9; 16],
};

/// The key that some batches set without a record.
const LOOSE: TimelineId = TimelineId(70);

/// Returns the options of a store that takes the batches of others: nothing waits for its disk.
fn shared() -> Options {
    Options {
        origin: Some(ORIGIN),
        durability: Durability::Os,
        ..small_runs()
    }
}

/// Returns the key with which a record is found.
fn key(number: u64) -> TimelineId {
    TimelineId(1 << 64 | u128::from(number % 50))
}

/// Appends `count` events that follow `log`, with states and keys. Some records redact an earlier one.
fn fill(writer: &mut Writer, log: &mut Vec<Event>, count: u64) {
    assert!(try_fill(writer, log, count));
}

/// Appends events like [`fill`]. Returns false if the store took one no more.
fn try_fill(writer: &mut Writer, log: &mut Vec<Event>, count: u64) -> bool {
    let known = log.len();
    for _ in 0..count {
        let number = log.last().map_or(1, |event| event.number + 1);
        let mut event = event(number, next_seq(log, number), 300);
        let states = states_of(number);
        let draft = Draft {
            key: (!number.is_multiple_of(4)).then(|| key(number)),
            states: &lend(&states),
            ..event.draft()
        };
        let Ok(position) = writer.append(&draft) else {
            return false;
        };
        event.position = position.0;
        log.push(event);
        if let Some(old) = log[..known].get((number * 7 % 90) as usize)
            && number.is_multiple_of(5)
        {
            let redaction = Draft {
                time: number,
                timeline: TimelineId(old.timeline),
                redacts: Some(Redaction {
                    seq: old.seq,
                    body: b"recalled",
                }),
                ..Draft::default()
            };
            if writer.append(&redaction).is_err() {
                return false;
            }
        }
        if number.is_multiple_of(3) && writer.set_state(LOOSE, &number.to_le_bytes()).is_err() {
            return false;
        }
    }
    true
}

/// Returns the options of a store that keeps all its segments.
fn without_runs() -> Options {
    Options {
        runs: false,
        ..shared()
    }
}

/// Returns position, kind and length of each frame of the log.
fn frames(disk: &SimDisk) -> Vec<(u64, FrameKind, u32)> {
    let names = disk.list().unwrap();
    let mut bases: Vec<_> = names.iter().filter_map(|name| segment_base(name)).collect();
    bases.sort_unstable();
    let mut frames = Vec::new();
    for base in bases {
        let file = disk.open(&segment_name(base)).unwrap();
        let mut bytes = vec![0; (file.len().unwrap() - HEADER_BYTES) as usize];
        file.read_at(&mut bytes, HEADER_BYTES).unwrap();
        let (mut rest, mut at) = (&bytes[..], base + HEADER_BYTES);
        while let Some(header) = FrameHeader::decode_trusted(rest) {
            frames.push((at, header.kind, header.payload_len));
            at += header.len() as u64;
            rest = &rest[header.len()..];
        }
    }
    frames
}

/// Commits `batches` batches, and returns the transcript of each.
fn grow(opened: &mut Opened, log: &mut Vec<Event>, batches: u64) -> Vec<Vec<u8>> {
    let one = |number| {
        let mut transcript = Vec::new();
        fill(&mut opened.writer, log, 1 + number % 5);
        opened.writer.transcribe(&mut transcript);
        opened.writer.commit().unwrap();
        transcript
    };
    (0..batches).map(one).collect()
}

/// Takes transcripts. Those that the store has already change nothing.
fn take(opened: &mut Opened, transcripts: &[Vec<u8>]) -> Result<(), ApplyError> {
    let mut all = transcripts.iter();
    all.try_for_each(|transcript| opened.writer.apply(transcript).map(drop))
}

/// Returns what the log holds, as text, without the bodies: when those that were redacted are overwritten is each
/// store's own.
fn records(opened: &Opened) -> Vec<String> {
    let mut records = Vec::new();
    let followed = opened.reader.follow(Position::ZERO, &mut |record| {
        records.push(text(&Record {
            body: b"",
            redacts: None,
            ..*record
        }));
        ControlFlow::Continue(())
    });
    followed.unwrap();
    records
}

/// Returns the text of a record, in which states that are apart have no checksums.
fn text(record: &Record<'_>) -> String {
    format!("{record:?}")
}

/// Checks that two stores show the same.
fn check_same(one: &Opened, other: &Opened, context: &str) {
    let (reader, head) = (&one.reader, one.reader.head());
    assert_eq!(other.reader.head(), head, "{context}");
    let (records, others) = (records(one), records(other));
    let differs =
        (0..records.len().max(others.len())).find(|at| records.get(*at) != others.get(*at));
    assert_eq!(
        differs,
        None,
        "{context}: {:?} {:?}",
        records.len(),
        others.len()
    );
    assert!(entries(other) == entries(one), "{context}");
    for state in (0..80).map(TimelineId) {
        let found = other.reader.state(state).unwrap();
        assert_eq!(found, reader.state(state).unwrap(), "{context}: {state:?}");
    }
    for number in 0..50 {
        let found = other.reader.find(key(number)).unwrap();
        assert_eq!(found, reader.find(key(number)).unwrap(), "{context}");
    }
    let synced = |opened: &Opened, user| {
        let mut page = Page::new();
        let (zero, reader) = (Position::ZERO, &opened.reader);
        let more = reader.sync(user, zero, head, usize::MAX, &mut page);
        assert!(!more.unwrap());
        let events = page.records().map(|record| Event::of(&record));
        events.collect::<Vec<_>>()
    };
    for user in (0..3).map(user) {
        assert_eq!(synced(other, user), synced(one, user), "{context}");
    }
    let token = reader.epochs().token(head).to_string();
    assert_eq!(other.reader.epochs().check(&token), Ok(head), "{context}");
    let kept = reader.epochs().tag(head);
    assert!(other.reader.epochs().holds(head, kept), "{context}");
}

/// Three stores of one log. At each step another one may make the batch, and a store may die.
#[test]
fn stores_that_take_turns_have_the_same_records_at_the_same_positions() {
    let mut discarded = 0;
    for seed in 0..12 {
        let mut random = Random(seed);
        let disks = [0, 1, 2].map(|disk| SimDisk::new(seed * 3 + disk));
        let open_one = |disk: &SimDisk| open(disk, shared()).unwrap().0;
        let mut stores: Vec<_> = disks.iter().map(|disk| Some(open_one(disk))).collect();
        let (mut log, mut history) = (Vec::new(), Vec::<Vec<u8>>::new());
        for step in 0..60 {
            let leader = random.below(3) as usize;
            let before = log.len();
            let writer = &mut stores[leader].as_mut().unwrap().writer;
            let mut transcript = Vec::new();
            fill(writer, &mut log, random.below(6));
            writer.transcribe(&mut transcript);
            if random.below(4) == 0 {
                // The batch of another store comes first.
                writer.discard();
                assert_eq!((writer.batch_bytes(), writer.batch_records()), (0, 0));
                log.truncate(before);
                discarded += 1;
                continue;
            }
            let committed = writer.commit().unwrap();
            assert_eq!(transcript.is_empty(), committed.is_empty());
            if transcript.is_empty() {
                continue;
            }
            history.push(transcript);
            let transcript = &history[history.len() - 1];
            for (number, store) in stores.iter_mut().enumerate() {
                if number != leader {
                    let taken = store.as_mut().unwrap().writer.apply(transcript).unwrap();
                    let end = |batch: &crate::Batch| {
                        (batch.first(), batch.last(), batch.end(), batch.len())
                    };
                    assert_eq!(end(&taken), end(&committed), "{seed} {step}");
                    let texts = |batch: &crate::Batch| {
                        let records = batch.records();
                        records.map(|record| text(&record)).collect::<Vec<_>>()
                    };
                    assert!(texts(&taken) == texts(&committed), "{seed} {step}");
                }
            }
            let victim = random.below(12) as usize;
            if let Some(store) = stores.get_mut(victim) {
                let writer = &mut store.as_mut().unwrap().writer;
                match random.below(4) {
                    0 => {
                        // It goes on where it was.
                        writer.sync().unwrap();
                        continue;
                    }
                    1 => writer.sync().unwrap(),
                    2 => disks[victim].kill(),
                    _ => disks[victim].power_cycle(),
                }
                *store = None;
                let mut opened = open_one(&disks[victim]);
                take(&mut opened, &history).unwrap();
                *store = Some(opened);
            }
        }
        let stores: Vec<_> = stores.into_iter().flatten().collect();
        for other in &stores[1..] {
            check_same(&stores[0], other, &format!("{seed}"));
        }
    }
    assert!(discarded > 50, "{discarded}");
}

#[test]
fn what_does_not_belong_here_changes_nothing() {
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let mut log = Vec::new();
    let history = grow(&mut leader, &mut log, 20);
    let (mut opened, _) = open(&SimDisk::new(2), shared()).unwrap();
    // One is missing.
    for (number, transcript) in history.iter().enumerate() {
        if let Some(next) = history.get(number + 1) {
            let refused = opened.writer.apply(next);
            let is_place = matches!(refused, Err(ApplyError::Place { first, end }) if first > end);
            assert!(is_place, "{number}: {refused:?}");
            assert_eq!(opened.writer.batch_bytes(), 0, "nothing of it is left");
        }
        opened.writer.apply(transcript).unwrap();
        // Twice, and what came before it.
        for old in &history[..=number] {
            assert!(opened.writer.apply(old).unwrap().is_empty());
        }
    }
    check_same(&leader, &opened, "all of it");
    // Bytes that are cut off, or that no store wrote.
    let more = grow(&mut leader, &mut log, 1);
    let mut refused = 0;
    for len in 0..more[0].len() {
        let mut opened = open(&SimDisk::new(3), shared()).unwrap().0;
        take(&mut opened, &history).unwrap();
        match opened.writer.apply(&more[0][..len]) {
            Err(ApplyError::Form) => refused += 1,
            // The end of a frame.
            Ok(_) => {}
            Err(other) => panic!("{len}: {other}"),
        }
        opened.writer.apply(&more[0]).unwrap();
        assert_eq!(opened.reader.head(), leader.reader.head(), "{len}");
    }
    assert!(refused > more[0].len() / 2, "{refused}");
    let mut unknown = more[0].clone();
    unknown[8] = 9;
    let refused = opened.writer.apply(&unknown);
    assert!(matches!(refused, Err(ApplyError::Form)), "{refused:?}");
}

/// A store that is ahead of the transcripts which come again compares what it has.
#[test]
fn another_history_is_found_where_the_store_is_ahead() {
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let mut log = Vec::new();
    let history = grow(&mut leader, &mut log, 20);
    let (mut opened, _) = open(&SimDisk::new(2), shared()).unwrap();
    take(&mut opened, &history).unwrap();
    // The log lost its end, and went on in another way.
    let (mut other, _) = open(&SimDisk::new(3), shared()).unwrap();
    take(&mut other, &history[..12]).unwrap();
    let mut differs = 0;
    for round in 0..8u64 {
        let mut transcript = Vec::new();
        for number in 0..=round {
            let draft = Draft {
                timeline: TimelineId(5),
                time: number,
                body: b"another",
                ..Draft::default()
            };
            other.writer.append_next(&draft).unwrap();
        }
        other.writer.transcribe(&mut transcript);
        other.writer.commit().unwrap();
        let refused = opened.writer.apply(&transcript);
        let is_other = matches!(refused, Err(ApplyError::Differs { .. }));
        differs += u32::from(is_other);
        assert!(is_other || refused.is_err(), "{round}: {refused:?}");
    }
    assert!(differs > 2, "{differs}");
    // What it has is as it was, and the right log goes on.
    take(&mut opened, &history).unwrap();
    take(&mut opened, &grow(&mut leader, &mut log, 3)).unwrap();
    check_same(&leader, &opened, "all of it");
}

/// A transcript of another history may go on at the right place. Its sequences tell.
#[test]
fn a_batch_of_another_history_changes_nothing_and_the_right_one_follows() {
    let stores: [Opened; 3] = [1, 2, 3].map(|seed| open(&SimDisk::new(seed), shared()).unwrap().0);
    let [mut one, mut two, mut opened] = stores;
    let commit = |store: &mut Opened, rows: &[(u128, u64)]| {
        let mut transcript = Vec::new();
        for &(timeline, seq) in rows {
            let draft = Draft {
                timeline: TimelineId(timeline),
                seq,
                ..Draft::default()
            };
            store.writer.append_next(&draft).unwrap();
        }
        store.writer.transcribe(&mut transcript);
        store.writer.commit().unwrap();
        transcript
    };
    let first = commit(&mut one, &[(1, 1)]);
    let right = commit(&mut one, &[(1, 2)]);
    commit(&mut two, &[(2, 1)]);
    let wrong = commit(&mut two, &[(2, 2), (1, 1)]);
    opened.writer.apply(&first).unwrap();
    let refused = opened.writer.apply(&wrong);
    let is_named = matches!(
        refused,
        Err(ApplyError::Append(AppendError::Sequence {
            seq: 1,
            last: 1,
            ..
        }))
    );
    assert!(is_named, "{refused:?}");
    assert_eq!(opened.writer.batch_records(), 0, "nothing of it is left");
    let mut twice = right.clone();
    let frame = &right[8..];
    twice.extend_from_slice(frame);
    let refused = opened.writer.apply(&twice);
    let is_named = matches!(
        refused,
        Err(ApplyError::Append(AppendError::Sequence { seq: 2, .. }))
    );
    assert!(is_named, "{refused:?}");
    opened.writer.apply(&right).unwrap();
    assert_eq!(opened.reader.last_seq(TimelineId(1)), 2);
    assert_eq!(opened.reader.head(), one.reader.head());
}

/// Returns how many frames of each kind some transcripts have.
fn kinds(transcripts: &[Vec<u8>]) -> [usize; 4] {
    let mut kinds = [0; 4];
    for transcript in transcripts {
        let mut rest = &transcript[8..];
        while let [kind, a, b, c, d, more @ ..] = rest {
            kinds[usize::from(*kind)] += 1;
            rest = &more[u32::from_le_bytes([*a, *b, *c, *d]) as usize..];
        }
    }
    kinds
}

/// Both have the same bytes but for what is each store's own: the payloads of all frames, and where they are.
#[test]
fn frames_have_the_same_kinds_lengths_and_places_in_both_stores() {
    let disks = [1, 2].map(SimDisk::new);
    let [mut leader, mut opened] = [0, 1].map(|disk| open(&disks[disk], without_runs()).unwrap().0);
    let history = grow(&mut leader, &mut Vec::new(), 60);
    let counts = kinds(&history);
    assert!(counts.iter().all(|count| *count >= 5), "{counts:?}");
    take(&mut opened, &history).unwrap();
    let frames = frames(&disks[0]);
    assert!(frames.len() > 100);
    assert_eq!(self::frames(&disks[1]), frames);
    assert_eq!(opened.writer.next_position(), leader.writer.next_position());
    let states: Vec<_> = (0..80).map(TimelineId).collect();
    let places = leader.reader.places(&states);
    assert_eq!(opened.reader.places(&states), places);
    let is_inside = |place: &Option<u64>| {
        place.is_some_and(|place| !frames.iter().any(|frame| frame.0 == place))
    };
    assert!(places.iter().any(is_inside), "some states are apart");
}

#[test]
fn any_bytes_are_refused_or_do_not_follow() {
    let (mut opened, _) = open(&SimDisk::new(1), shared()).unwrap();
    let mut random = Random(1);
    let mut refused = [0; 2];
    for _ in 0..20_000 {
        let mut bytes: Vec<_> = (0..random.below(90)).map(|_| random.next() as u8).collect();
        let rest = bytes.len().saturating_sub(13) as u32;
        if let Some([kind, len @ ..]) = bytes.get_mut(8..13) {
            // A frame of each kind, which often ends where the bytes do.
            let ends = random.below(2) as u32 * rest + random.below(3) as u32;
            *kind = random.below(5) as u8;
            len.copy_from_slice(&ends.to_le_bytes());
        }
        match opened.writer.apply(&bytes) {
            Err(ApplyError::Form) => refused[0] += 1,
            Err(ApplyError::Place { .. }) => refused[1] += 1,
            // A position without a frame.
            Ok(_) => assert_eq!(bytes.len(), 8),
            Err(other) => panic!("{bytes:?}: {other}"),
        }
    }
    assert!(refused.iter().all(|count| *count > 100), "{refused:?}");
    assert_eq!(opened.reader.head(), Position::ZERO);
}

#[test]
fn a_store_with_other_segments_stops_before_the_first_difference() {
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let history = grow(&mut leader, &mut Vec::new(), 40);
    for segment_bytes in [4 * 4096, 3 * 4096] {
        let other = Options {
            segment_bytes,
            ..shared()
        };
        let disk = SimDisk::new(2);
        let (mut opened, _) = open(&disk, other).unwrap();
        let refused = take(&mut opened, &history);
        let is_named = matches!(refused, Err(ApplyError::Segments { .. }));
        assert!(is_named, "{refused:?}");
        let head = opened.reader.head();
        assert!(head > Position::ZERO && head < leader.reader.head());
        let expected = &records(&leader)[..records(&opened).len()];
        assert_eq!(records(&opened), expected);
        drop(opened);
        let Err(OpenError::Options(reason)) = open(&disk, shared()) else {
            panic!("the size of the segments has changed");
        };
        assert!(reason.contains("segment_bytes"), "{reason}");
    }
}

#[test]
fn a_store_opens_with_the_origin_of_its_log_alone() {
    let disk = SimDisk::new(1);
    let (mut leader, _) = open(&disk, shared()).unwrap();
    assert_eq!(leader.reader.key(), ORIGIN.key);
    let history = grow(&mut leader, &mut Vec::new(), 5);
    drop(leader);
    let with = |origin| Options { origin, ..shared() };
    let own = SimDisk::new(2);
    drop(open(&own, with(None)).unwrap());
    let key = StoreKey::from_bytes([8; 16]);
    let history_key = [8; 16];
    let cases = [
        (&disk, with(None), "origin"),
        (&disk, with(Some(Origin { key, ..ORIGIN })), "another log"),
        (
            &disk,
            with(Some(Origin {
                history: history_key,
                ..ORIGIN
            })),
            "another history",
        ),
        (&own, shared(), "a log of its own"),
    ];
    for (disk, options, named) in cases {
        let Err(OpenError::Options(reason)) = open(disk, options) else {
            panic!("{named}: it opens");
        };
        assert!(reason.contains(named), "{reason}");
    }
    // The file of the epochs says nothing that the origin does not say.
    disk.remove("epochs").unwrap();
    let (leader, _) = open(&disk, shared()).unwrap();
    let (mut other, _) = open(&SimDisk::new(3), shared()).unwrap();
    take(&mut other, &history).unwrap();
    check_same(&leader, &other, "without epochs");
}

fn open_at(dir: &Path) -> Opened {
    Store::open(dir, shared(), &mut |_| ()).unwrap()
}

#[test]
fn a_backup_of_one_store_becomes_another_store_of_the_log() {
    let place = tempfile::tempdir().unwrap();
    let (mut leader, _) = open(&SimDisk::new(1), shared()).unwrap();
    let mut log = Vec::new();
    for number in 0..20 {
        let target = place.path().join(format!("backup-{number}"));
        let mut go_on = |_| ControlFlow::Continue(());
        leader.reader.backup(&target, &mut go_on).unwrap();
        let later = grow(&mut leader, &mut log, 7);
        let mut copy = open_at(&target);
        take(&mut copy, &later).unwrap();
        check_same(&leader, &copy, &format!("{number}"));
        drop(copy);
        let copy = open_at(&target);
        check_same(&leader, &copy, &format!("{number}, opened again"));
    }
}
