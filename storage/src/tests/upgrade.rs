//! Tests of stores with runs of an earlier version, which go on with segments that are kept.

use super::*;
use crate::Redaction;
use crate::backend::Backend;

fn old(options: Options) -> Options {
    Options {
        old_runs: true,
        ..options
    }
}

/// Checks all reads against the log.
fn check(opened: &Opened, log: &[Event], context: &str) {
    assert_eq!(entries(opened), log, "{context}");
    assert_eq!(read_all(opened, log), log, "{context}");
    check_syncs(opened, log);
    for timeline in 0..3 {
        let last = log.iter().rfind(|event| event.timeline == timeline);
        let seq = opened.reader.last_seq(TimelineId(timeline));
        assert_eq!(seq, last.map_or(0, |event| event.seq), "{context}");
    }
}

fn redact(opened: &mut Opened, target: &mut Event, body: &[u8]) {
    let draft = Draft {
        timeline: TimelineId(target.timeline),
        redacts: Some(Redaction {
            seq: target.seq,
            body,
        }),
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    target.body = body.to_vec();
}

fn holds(disk: &SimDisk, body: &[u8]) -> bool {
    let names = disk.list().unwrap();
    names.iter().any(|name| {
        let bytes = disk.contents(name).unwrap();
        bytes.windows(body.len()).any(|window| window == body)
    })
}

#[test]
fn old_runs_stay_readable_and_new_segments_are_kept() {
    for count in [20, 60, 130] {
        let disk = SimDisk::new(count);
        let (mut opened, _) = open(&disk, old(small_runs())).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, count);
        // In the log, and in old runs.
        for at in [2, log.len() - 2] {
            redact(&mut opened, &mut log[at], b"recalled before");
        }
        drop(opened);
        assert_eq!(Store::inspect_with(&disk).unwrap().kept_segments, 0);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        check(&opened, &log, "opened");
        for round in 0..5 {
            commit(&mut opened, &mut log, 40);
            check(&opened, &log, "filled");
            disk.power_cycle();
            drop(opened);
            opened = open(&disk, small_runs()).unwrap().0;
            check(&opened, &log, "opened again");
            assert!(
                Store::inspect_with(&disk).unwrap().kept_segments > 0,
                "{round}"
            );
            let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, []);
            // Those that redact are records too.
            assert_eq!(found.records, log.len() as u64 + 2);
        }
        assert_eq!(opened.reader.run_failure(), None);
    }
}

#[test]
fn a_body_in_an_old_run_goes_with_the_merge_that_is_due() {
    let disk = SimDisk::new(3);
    let options = Options {
        redact_within: std::time::Duration::from_millis(1000),
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, old(options.clone())).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 60);
    drop(opened);
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    commit(&mut opened, &mut log, 60);
    let mut bodies = log
        .iter()
        .enumerate()
        .filter(|(_, event)| event.body.len() > 30);
    let (early, _) = bodies.next().unwrap();
    let (late, _) = bodies.next_back().unwrap();
    let secrets = [early, late].map(|at| log[at].body.clone());
    for at in [early, late] {
        redact(&mut opened, &mut log[at], b"recalled");
    }
    opened.writer.tick(1);
    assert_eq!(
        secrets.each_ref().map(|body| holds(&disk, body)),
        [true, false]
    );
    // Until its redaction is named by a run, which the next opening reads.
    commit(&mut opened, &mut log, 60);
    drop(opened);
    let (mut opened, _) = open(&disk, options).unwrap();
    check(&opened, &log, "waiting");
    opened.writer.tick(2000);
    assert_eq!(
        secrets.each_ref().map(|body| holds(&disk, body)),
        [false, false]
    );
    check(&opened, &log, "merged");
    assert_eq!(opened.reader.run_failure(), None);
}

#[test]
fn old_runs_expire_before_kept_segments() {
    let disk = SimDisk::new(3);
    let options = expiry::options();
    let (mut opened, _) = open(&disk, old(options.clone())).unwrap();
    let mut log = Vec::new();
    for number in 1..120 {
        expiry::append(&mut opened, &mut log, 5 * number, 300);
        opened.writer.tick(5 * number);
    }
    drop(opened);
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut most = 0;
    for number in 120..500 {
        expiry::append(&mut opened, &mut log, 5 * number, 300);
        opened.writer.tick(5 * number);
        most = most.max(disk.list().unwrap().len());
    }
    let now = 5 * 499;
    let left = entries(&opened);
    assert!(log.ends_with(&left));
    let oldest = now - left[0].number;
    assert!(
        (expiry::MESSAGES - 5..expiry::MESSAGES * 4 / 3).contains(&oldest),
        "{oldest}"
    );
    let found = Store::inspect_with(&disk).unwrap();
    assert!(found.kept_segments > 1, "{found:?}");
    assert!(most < 150, "{most} files");
    let names = disk.list().unwrap();
    let segments = names.iter().filter(|name| name.ends_with(".seg")).count() as u64;
    assert!(segments <= found.kept_segments + 2);
    assert_eq!(opened.reader.run_failure(), None);
}
