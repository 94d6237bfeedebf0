//! Tests of repairing kept segments and the runs that name their records.

use super::repair::{repair, replace};
use super::repair_replaced::{Filled, with_removed};
use super::repair_runs::{Loss, check, closed_with, explore, of_kind};
use super::*;
use crate::backend::Backend;
use crate::log::segment::{segment_base, segment_name};

fn closed() -> (SimDisk, Vec<Event>) {
    closed_with(small_runs())
}

/// The kinds of runs that are made again from segments.
const KINDS: [&str; 3] = ["messages", "syncs", "keys"];

/// Returns the names of the kept segments.
fn kept(disk: &SimDisk) -> Vec<String> {
    let found = Store::inspect_with(disk).unwrap();
    let mut bases: Vec<u64> = disk
        .list()
        .unwrap()
        .iter()
        .filter_map(|name| segment_base(name))
        .filter(|&base| base < found.low_water.0)
        .collect();
    bases.sort_unstable();
    assert_eq!(bases.len() as u64, found.kept_segments);
    bases.into_iter().map(segment_name).collect()
}

#[test]
fn damaged_runs_are_made_again_without_a_loss() {
    let (disk, log) = closed();
    for kind in KINDS {
        for name in of_kind(&disk, kind) {
            let bits = disk.contents(&name).unwrap().len() * 8;
            for bit in (0..bits).step_by(997) {
                let disk = disk.fork(bit as u64);
                disk.flip(&name, bit);
                let context = format!("bit {bit} of {bits} of {name}");
                let (done, loss) = check(&disk, &log, &context);
                assert_eq!(loss, Loss::default(), "{context}");
                assert!(!done.lossy && !done.steps.is_empty(), "{context}: {done:?}");
            }
            let disk = disk.fork(1);
            disk.remove(&name).unwrap();
            let (done, loss) = check(&disk, &log, &format!("without {name} of {kind}"));
            assert_eq!(loss, Loss::default(), "{name}");
            assert!(done.steps[0].file.ends_with(&name));
        }
    }
}

#[test]
fn a_flipped_bit_of_a_kept_segment_costs_one_record() {
    let (disk, log) = closed();
    let end = kept(&disk).len() as u64 * 8192;
    for event in log.iter().filter(|event| event.position < end).step_by(3) {
        let name = segment_name(event.position / 8192 * 8192);
        // In the header, in the fields, and in the body or behind it.
        for byte in [3, 40, 24 + 36 + 16 + event.body.len().saturating_sub(1)] {
            let disk = disk.fork(1);
            let offset = (event.position % 8192) as usize;
            disk.flip(&name, (offset + byte) * 8 + 1);
            let context = format!("byte {byte} of {event:?}");
            let (done, loss) = check(&disk, &log, &context);
            if done.steps.is_empty() {
                // It was in the padding.
                assert_eq!(loss, Loss::default(), "{context}");
                continue;
            }
            assert!(done.lossy, "{context}: {done:?}");
            assert_eq!((loss.events, loss.references), (1, 0), "{context}");
            assert!(loss.keys == 1 && !loss.state, "{context}: {loss:?}");
        }
    }
}

#[test]
fn a_missing_kept_segment_costs_what_was_in_it() {
    let (disk, log) = closed();
    for name in kept(&disk) {
        let disk = disk.fork(1);
        let base = segment_base(&name).unwrap();
        disk.remove(&name).unwrap();
        let (done, loss) = check(&disk, &log, &format!("without {name}"));
        let lost = log
            .iter()
            .filter(|e| (base..base + 8192).contains(&e.position));
        assert_eq!(loss.events, lost.count() as u64, "{name}");
        assert!(done.steps.iter().any(|step| step.file.ends_with(&name)));
    }
}

#[test]
fn a_manifest_is_made_again_from_runs_and_segments() {
    let (disk, log) = closed();
    let mut cases = vec![Vec::new()];
    for kind in KINDS {
        let names = of_kind(&disk, kind);
        cases.extend(names.iter().map(|name| vec![name.clone()]));
        cases.push(names);
    }
    for gone in cases {
        for is_missing in [false, true] {
            let disk = disk.fork(1);
            for name in &gone {
                disk.remove(name).unwrap();
            }
            match is_missing {
                true => disk.remove("manifest").unwrap(),
                false => disk.flip("manifest", 700),
            }
            let (_, loss) = check(&disk, &log, &format!("without {gone:?}, {is_missing}"));
            assert_eq!(loss, Loss::default(), "{gone:?}");
        }
    }
}

#[test]
fn a_repair_of_segments_that_is_interrupted_anywhere_is_completed_by_another() {
    let (disk, log) = closed();
    let segments = kept(&disk);
    let messages = &of_kind(&disk, "messages")[0];
    let flipped = disk.fork(1);
    flipped.flip(&segments[0], 4200 * 8);
    flipped.flip(&segments[1], 6000 * 8);
    flipped.flip(messages, 900);
    explore(&flipped, &log, "flipped");
    let missing = disk.fork(1);
    missing.remove(&segments[1]).unwrap();
    missing.remove(messages).unwrap();
    missing.sync_dir().unwrap();
    explore(&missing, &log, "missing");
    let all = disk.fork(1);
    all.remove("manifest").unwrap();
    all.remove(messages).unwrap();
    all.flip(&segments[0], 4200 * 8);
    all.sync_dir().unwrap();
    explore(&all, &log, "all");
}

#[test]
fn runs_that_were_replaced_do_not_confuse_a_new_manifest() {
    for batches in [18, 24] {
        let Filled { disk, log, removed } = with_removed(batches, small_runs());
        assert!(removed.len() > 5, "{}", removed.len());
        let alone = removed.iter().map(|(name, _)| name.as_str());
        for still_there in [".tbl"].into_iter().chain(alone) {
            let disk = disk.fork(1);
            for (name, bytes) in removed
                .iter()
                .filter(|(name, _)| name.ends_with(still_there))
            {
                disk.create(name).unwrap();
                replace(&disk, name, bytes);
            }
            disk.flip("manifest", 700);
            let (_, loss) = check(&disk, &log, &format!("{batches}: {still_there}"));
            assert_eq!(loss, Loss::default(), "{batches}: {still_there}");
        }
    }
    let (disk, _) = closed();
    assert!(repair(&disk).steps.is_empty(), "whole");
}
