//! Tests of repairs: a repaired store opens, has all undamaged records, and keeps a copy of each
//! changed file.

use super::*;
use crate::backend::Backend;
use crate::{Repair, RepairOptions};

const FIRST: &str = "log-0000000000000000.seg";
const SECOND: &str = "log-0000000000002000.seg";

pub(super) fn try_repair(disk: &SimDisk, dry_run: bool) -> Result<Repair, OpenError> {
    let options = RepairOptions {
        dry_run,
        segment_bytes: 8192,
    };
    Store::repair_with(Arc::new(disk.clone()), &options, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
    })
}

pub(super) fn repair(disk: &SimDisk) -> Repair {
    try_repair(disk, false).unwrap()
}

/// Returns every file with its bytes, except the file that every opening changes.
pub(super) fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap().into_iter();
    names
        .filter(|name| name != "epochs")
        .map(|name| (name.clone(), disk.contents(&name).unwrap()))
        .collect()
}

/// Replaces a file by one with these bytes.
pub(super) fn replace(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.remove(name).unwrap();
    let file = disk.create(name).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
}

/// Returns a store without runs that was closed, with a log of three segments.
fn closed() -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(7);
    let mut log = Vec::new();
    for batches in [&[1, 3, 12][..], &[8, 14], &[5, 1]] {
        let (mut opened, _) = open(&disk, small()).unwrap();
        for &count in batches {
            commit(&mut opened, &mut log, count);
        }
    }
    let last = log.last().unwrap().position;
    assert!((16384..24576).contains(&last), "{last}");
    (disk, log)
}

/// Returns the bytes of the log that an event takes.
fn extent(event: &Event) -> std::ops::Range<u64> {
    let size = 60 + 16 * event.fanout.len() + event.body.len();
    event.position..event.position + size as u64
}

/// Opens a damaged store without runs, after repairing it if it has to be. All events are there
/// but those that may be lost. Returns what the repair did.
fn check(
    disk: &SimDisk,
    log: &[Event],
    may_be_lost: impl Fn(&Event) -> bool,
    context: &str,
) -> Repair {
    check_with(disk, log, may_be_lost, false, context)
}

/// Checks a repair like [`check`]. With `gone_without_a_trace`, the last events may be lost so that
/// nothing shows that their positions were used.
fn check_with(
    disk: &SimDisk,
    log: &[Event],
    may_be_lost: impl Fn(&Event) -> bool,
    gone_without_a_trace: bool,
    context: &str,
) -> Repair {
    let before = files(disk);
    let done = match open(disk, small()) {
        Ok(_) => Repair::default(),
        Err(OpenError::Corrupt { .. }) => {
            assert_eq!(files(disk), before, "{context}: opening changed something");
            let planned = try_repair(disk, true).unwrap();
            assert_eq!(
                files(disk),
                before,
                "{context}: a dry run changed something"
            );
            let done = repair(disk);
            assert_eq!(planned, done, "{context}");
            assert!(!done.steps.is_empty(), "{context}");
            check_copies(disk, &before, &done, context);
            let found = Store::verify_with(disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, [], "{context}");
            assert_eq!(repair(disk), Repair::default(), "{context}: again");
            done
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let (mut opened, mut events) = open(disk, small()).unwrap_or_else(|e| panic!("{context}: {e}"));
    let kept: Vec<&Event> = log.iter().filter(|event| !may_be_lost(event)).collect();
    let mut expected = log.iter();
    for event in &events {
        assert!(expected.any(|known| known == event), "{context}: {event:?}");
    }
    for event in kept {
        assert!(events.contains(event), "{context}: {event:?} is lost");
    }
    assert_eq!(entries(&opened), events, "{context}");
    assert_eq!(read_all(&opened, &events), events, "{context}");
    check_syncs(&opened, &events);
    // It goes on, at positions that were never used.
    let last = log.last().unwrap();
    let number = last.number + 1;
    let reused = !events.contains(last) && gone_without_a_trace;
    for timeline in 0..3 {
        let next = opened.reader.next_seq(TimelineId(timeline)).unwrap();
        let used = log.iter().filter(|event| event.timeline == timeline);
        let used = used.map(|event| event.seq).max().unwrap_or(0);
        assert!(next > used || reused, "{context}: {next} was used");
    }
    let next = opened.reader.next_seq(TimelineId(u128::from(number % 3)));
    let mut more = event(number, next.unwrap(), 300);
    more.position = opened.writer.append(&more.draft()).unwrap().0;
    opened.writer.commit().unwrap();
    assert!(more.position > last.position || reused, "{context}");
    events.push(more);
    drop(opened);
    assert_eq!(open(disk, small()).unwrap().1, events, "{context}");
    done
}

/// Checks that the earlier bytes of every changed file are still there, under its name or in the
/// copy that the repair named.
pub(super) fn check_copies(
    disk: &SimDisk,
    before: &[(String, Vec<u8>)],
    done: &Repair,
    context: &str,
) {
    for (name, bytes) in before {
        if disk.contents(name).as_ref() == Some(bytes) {
            continue;
        }
        let steps = done.steps.iter().filter(|step| step.file.ends_with(name));
        let mut copies = 0;
        for copy in steps.filter_map(|step| step.copy.as_ref()) {
            let copy = copy.file_name().unwrap().to_str().unwrap();
            assert_eq!(disk.contents(copy).as_ref(), Some(bytes), "{context}");
            copies += 1;
        }
        assert!(copies > 0, "{context}: no copy of {name}");
    }
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_is_in_and_no_other() {
    let (disk, log) = closed();
    let (mut repaired, mut lost) = (0, 0);
    for (name, bytes) in files(&disk) {
        for bit in (0..bytes.len() * 8).step_by(if bytes.len() > 1000 { 97 } else { 7 }) {
            if bytes[bit / 64 * 8..].iter().take(8).all(|&byte| byte == 0) && bit % 5 != 0 {
                continue;
            }
            let disk = disk.fork(bit as u64);
            disk.flip(&name, bit);
            let place = crate::log::segment::segment_base(&name).map(|base| base + bit as u64 / 8);
            let hit = |event: &Event| place.is_some_and(|place| extent(event).contains(&place));
            let done = check(&disk, &log, hit, &format!("bit {bit} of {name}"));
            for step in done.steps {
                assert!(step.file.ends_with(&name));
                repaired += 1;
                lost += u64::from(step.bytes > 0);
            }
        }
    }
    assert!(repaired > 500 && lost > 400, "{repaired} {lost}");
}

#[test]
fn what_is_cut_off_a_segment_costs_the_records_that_were_in_it() {
    let (disk, log) = closed();
    for base in [0, 8192, 16384] {
        let name = crate::log::segment::segment_name(base);
        let bytes = disk.contents(&name).unwrap();
        for len in (0..8192).step_by(431).chain([1, 63, 64, 4096, 4097, 8191]) {
            let disk = disk.fork(len as u64);
            replace(&disk, &name, &bytes[..len]);
            let hit =
                |event: &Event| (base + len as u64..base + 8192).contains(&(extent(event).end - 1));
            let done = check(&disk, &log, hit, &format!("{name} has only {len} bytes"));
            assert!(done.steps.len() <= 3, "{done:?}");
        }
        // Too long is no damage to anything.
        let disk = disk.fork(0);
        replace(&disk, &name, &[&bytes[..], &[7; 500]].concat());
        check(&disk, &log, |_| false, &format!("{name} is too long"));
    }
}

#[test]
fn a_missing_segment_costs_the_records_that_were_in_it() {
    let (disk, log) = closed();
    let all = [0, 8192, 16384];
    for gone in [&all[..1], &all[1..2], &all[2..], &all[..2], &all[1..], &all] {
        let disk = disk.fork(1);
        for &base in gone {
            let name = crate::log::segment::segment_name(base);
            disk.remove(&name).unwrap();
        }
        let hit = |event: &Event| gone.contains(&(event.position / 8192 * 8192));
        // If only the last segment is gone, the segment before it shows that it was not the last.
        let last_two = gone.len() > 1 && gone.ends_with(&all[2..]);
        let done = check_with(&disk, &log, hit, last_two, &format!("without {gone:?}"));
        assert!(!done.steps.is_empty());
    }
}

#[test]
fn a_segment_without_a_header_tells_its_salt_by_its_frames() {
    let (disk, log) = closed();
    for name in [FIRST, SECOND] {
        disk.overwrite(name, 0, &[0; 4096]);
    }
    // The first frame of the one is gone as well.
    disk.overwrite(FIRST, 4096, &[0; 16]);
    let first = log[0].clone();
    let done = check(&disk, &log, |event| *event == first, "without headers");
    assert_eq!(done.steps.len(), 3, "{done:?}");
}

#[test]
fn frames_that_a_client_made_up_do_not_tell_the_salt() {
    let disk = SimDisk::new(7);
    let (mut opened, mut log) = open(&disk, small()).unwrap();
    commit(&mut opened, &mut log, 2);
    let mut forged = event(3, 1, 0);
    // As many whole frames of another salt as there is room for: they guess their positions.
    let begins = log[1].position + extent(&log[1]).count() as u64;
    let body = begins.next_multiple_of(8) + 60 + 16 * forged.fanout.len() as u64;
    forged.body = vec![0; (body.next_multiple_of(8) - body) as usize];
    for i in 0..60 {
        let place = crate::log::frame::FrameContext {
            position: body.next_multiple_of(8) + 24 * i,
            durable: 0,
            salt: 4711,
            session: 0,
        };
        crate::log::frame::push_mark(&mut forged.body, crate::log::frame::FrameKind::Seal, place);
    }
    forged.position = opened.writer.append(&forged.draft()).unwrap().0;
    opened.writer.commit().unwrap();
    log.push(forged);
    drop(opened);
    disk.flip(FIRST, 32 * 8);
    check(&disk, &log, |_| false, "salt damaged");
}

#[test]
fn damage_in_many_places_costs_no_more_than_what_is_hit() {
    let (disk, log) = closed();
    let mut random = Random(3);
    for round in 0..60 {
        let disk = disk.fork(round);
        let mut hit = Vec::new();
        for _ in 0..=random.below(6) {
            let base = random.below(3) * 8192;
            let from = 4096 + random.below(4000);
            let len = 1 + random.below(600).min(8191 - from);
            let name = crate::log::segment::segment_name(base);
            disk.overwrite(
                &name,
                from as usize,
                &vec![random.next() as u8; len as usize],
            );
            hit.push(base + from..base + from + len);
        }
        // What belongs to the end of the log cannot be told from a torn tail.
        let end = hit.iter().map(|hit| hit.end).max().unwrap();
        let tail = log
            .iter()
            .all(|event| event.position < end || event.position >= 24576);
        let lost = |event: &Event| {
            let extent = extent(event);
            tail || hit
                .iter()
                .any(|hit| hit.start < extent.end && extent.start < hit.end)
        };
        check_with(&disk, &log, lost, tail, &format!("round {round}: {hit:?}"));
    }
}

#[test]
fn a_whole_store_is_left_as_it_is() {
    let (disk, _) = closed();
    let before = files(&disk);
    let operations = disk.operations();
    assert_eq!(repair(&disk), Repair::default());
    assert_eq!(disk.operations(), operations);
    assert_eq!(files(&disk), before);
    // So is one that was killed.
    let (mut opened, mut log) = open(&disk, small()).unwrap();
    commit(&mut opened, &mut log, 3);
    disk.kill();
    drop(opened);
    let before = files(&disk);
    assert_eq!(repair(&disk), Repair::default());
    assert_eq!(files(&disk), before);
    let empty = SimDisk::new(1);
    assert!(matches!(
        try_repair(&empty, false),
        Err(OpenError::NoStore { .. })
    ));
    assert_eq!(files(&empty), []);
}

#[test]
fn an_open_store_is_not_repaired() {
    let (disk, _) = closed();
    let _opened = open(&disk, small()).unwrap();
    assert!(matches!(
        try_repair(&disk, false),
        Err(OpenError::Locked { .. })
    ));
}

#[test]
fn an_identity_is_lost_only_with_its_copy() {
    let (disk, log) = closed();
    for name in ["identity", "identity.copy"] {
        let disk = disk.fork(1);
        disk.remove(name).unwrap();
        check(&disk, &log, |_| false, &format!("without {name}"));
        disk.flip("identity", 77);
        disk.flip("identity.copy", 99);
        let before = files(&disk);
        match try_repair(&disk, false) {
            Err(OpenError::Corrupt { file, reason, .. }) => {
                assert!(
                    file.ends_with("identity") && reason.contains("backup"),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
        disk.remove("identity").unwrap();
        disk.remove("identity.copy").unwrap();
        assert!(matches!(
            try_repair(&disk, false),
            Err(OpenError::Corrupt { .. })
        ));
        assert_eq!(files(&disk), before[2..]);
    }
}

/// Crashes the repair of `disk` at every operation, and repairs it again.
fn explore(damaged: &SimDisk, log: &[Event], may_be_lost: impl Fn(&Event) -> bool, name: &str) {
    let before = files(damaged);
    let undisturbed = damaged.fork(0);
    repair(&undisturbed);
    assert!(undisturbed.operations() > 3, "{name}");
    for operation in 0..undisturbed.operations() {
        for power in [false, true] {
            let context = format!("{name}: crash at {operation}, power {power}");
            let disk = damaged.fork(operation);
            disk.crash_at(operation);
            assert!(try_repair(&disk, false).is_err(), "{context}");
            match power {
                true => disk.power_cycle(),
                false => disk.kill(),
            }
            // Either it is done, or it does not open: nothing is given up by opening too early.
            let _ = open(&disk, small());
            repair(&disk);
            let (opened, events) =
                open(&disk, small()).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(opened.report.torn, None, "{context}");
            drop(opened);
            for event in log.iter().filter(|event| !may_be_lost(event)) {
                assert!(events.contains(event), "{context}: {event:?} is lost");
            }
            for (name, bytes) in &before {
                let kept = files(&disk).iter().any(|(_, kept)| kept == bytes);
                assert!(kept, "{context}: {name} is gone");
            }
        }
    }
}

#[test]
fn a_repair_that_is_interrupted_anywhere_is_completed_by_another() {
    let (disk, log) = closed();
    let damaged = |damage: &dyn Fn(&SimDisk)| {
        let disk = disk.fork(1);
        damage(&disk);
        disk
    };
    let (early, late) = (log[5].clone(), log[30].clone());
    assert!(early.position < 8192 && (8192..16384).contains(&late.position));
    let flip = |disk: &SimDisk, event: &Event| {
        let base = event.position / 8192 * 8192;
        let name = crate::log::segment::segment_name(base);
        disk.flip(&name, (event.position - base) as usize * 8 + 300);
    };
    let frames = damaged(&|disk| {
        flip(disk, &early);
        flip(disk, &late);
    });
    explore(
        &frames,
        &log,
        |event| *event == early || *event == late,
        "frames",
    );
    let header = damaged(&|disk| disk.overwrite(SECOND, 0, &[9; 64]));
    explore(&header, &log, |_| false, "header");
    let in_second = |event: &Event| (8192..16384).contains(&event.position);
    let lost = damaged(&|disk| disk.overwrite(SECOND, 0, &[9; 8192]));
    explore(&lost, &log, in_second, "lost");
    let missing = damaged(&|disk| disk.remove(SECOND).unwrap());
    missing.sync_dir().unwrap();
    explore(&missing, &log, in_second, "missing");
    let end = damaged(&|disk| {
        flip(disk, &late);
        disk.overwrite("log-0000000000004000.seg", 0, &[9; 8192]);
    });
    let hit = |event: &Event| event.position >= 16384 || *event == late;
    explore(&end, &log, hit, "end");
    let identity = damaged(&|disk| disk.flip("identity", 100));
    explore(&identity, &log, |_| false, "identity");
}

#[test]
fn sectors_that_the_disk_does_not_return_cost_what_is_in_them() {
    let (disk, log) = closed();
    for (base, lost) in [
        (0, 0..4096),
        (8192, 0..4096),
        (8192, 4096..8192),
        (16384, 4096..8192),
        (8192, 0..8192),
    ] {
        let disk = disk.fork(base + lost.start);
        let scratched = scratched::Scratched {
            disk: disk.clone(),
            name: crate::log::segment::segment_name(base),
            lost: lost.clone(),
        };
        let options = RepairOptions {
            dry_run: false,
            segment_bytes: 8192,
        };
        let done = Store::repair_with(Arc::new(scratched), &options, &mut |_, _| ()).unwrap();
        assert!(!done.steps.is_empty());
        let identity = disk.fork(0);
        let scratched = scratched::Scratched {
            disk: identity.clone(),
            name: "identity".into(),
            lost: 0..64,
        };
        let done = Store::repair_with(Arc::new(scratched), &options, &mut |_, _| ()).unwrap();
        assert!(done.steps[0].file.ends_with("identity"), "{done:?}");
        open(&identity, small()).unwrap();
        let hit = |event: &Event| (base + lost.start..base + lost.end).contains(&event.position);
        let again = check(&disk, &log, hit, &format!("{lost:?} of {base}"));
        assert_eq!(again, Repair::default());
    }
}

#[test]
fn a_segment_damaged_twice_has_two_copies() {
    let (disk, log) = closed();
    let mut copies = Vec::new();
    for event in [&log[3], &log[6]] {
        disk.flip(FIRST, event.position as usize * 8 + 300);
        let bytes = disk.contents(FIRST).unwrap();
        let done = repair(&disk);
        let copy = done.steps[0].copy.clone().unwrap();
        copies.push((
            copy.file_name().unwrap().to_str().unwrap().to_owned(),
            bytes,
        ));
    }
    assert_eq!(copies[0].0, "damaged-0000000000000000.bak");
    assert_eq!(copies[1].0, "damaged-0000000000000000-2.bak");
    for (name, bytes) in copies {
        assert_eq!(disk.contents(&name), Some(bytes), "{name}");
    }
}

#[test]
fn frames_of_a_dead_writer_behind_a_damaged_seal_stay_dead() {
    let disk = SimDisk::new(7);
    let sized = |log: &[Event], size| {
        let number = log.last().map_or(1, |event| event.number + 1);
        Event {
            body: vec![number as u8; size],
            ..event(number, next_seq(log, number), 0)
        }
    };
    let append = |opened: &mut Opened, log: &mut Vec<Event>, size| {
        let mut event = sized(log, size);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        log.push(event);
    };
    let (mut opened, mut log) = open(&disk, small()).unwrap();
    append(&mut opened, &mut log, 10);
    opened.writer.commit().unwrap();
    // A batch of small records up to the end of the segment, whose beginning is torn.
    let mut dead = log.clone();
    while dead.last().unwrap().position < 7900 {
        append(&mut opened, &mut dead, 10);
    }
    opened.writer.commit().unwrap();
    disk.kill();
    drop(opened);
    let stale = disk.contents(FIRST).unwrap();
    disk.flip(FIRST, dead[1].position as usize * 8 + 300);
    // The next writer seals the segment early.
    let (mut opened, events) = open(&disk, small()).unwrap();
    assert_eq!(events, log);
    while log.last().unwrap().position < 8192 {
        append(&mut opened, &mut log, 1100);
        opened.writer.commit().unwrap();
    }
    append(&mut opened, &mut log, 10);
    opened.writer.commit().unwrap();
    drop(opened);
    let last = log.iter().rfind(|event| event.position < 8192).unwrap();
    let seal = extent(last).end.next_multiple_of(8);
    let behind = dead
        .iter()
        .find(|event| event.position > seal + 24)
        .unwrap();
    // A failed sync left the old bytes behind it on the disk.
    let from = behind.position as usize;
    disk.overwrite(FIRST, from, &stale[from..]);
    assert_eq!(open(&disk.fork(1), small()).unwrap().1, log);
    disk.flip(FIRST, seal as usize * 8 + 100);
    let done = check(&disk, &log, |_| false, "seal");
    assert_eq!(done.steps.len(), 1, "{done:?}");
}
