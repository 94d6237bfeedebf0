//! The judgement of what a server owes.

use super::*;
use crate::clock::SECOND;

/// One sample each second: the MiB owed.
fn samples(owed: &[u64]) -> Vec<Sample> {
    let each = (0..).zip(owed);
    let sample = |(at, mib): (u64, &u64)| Sample {
        at: at * SECOND,
        owed: (mib << 20) as f64,
    };
    each.map(sample).collect()
}

fn debt(owed: &[u64], from: u64, until: u64) -> Debt {
    let metrics = ["a_bytes".to_owned(), "b_bytes".to_owned()];
    let sending = SendWindow {
        from: from * SECOND,
        until: until * SECOND,
    };
    judge(&metrics, &samples(owed), sending).expect("it is known")
}

#[test]
fn what_is_done_soon_is_steady() {
    // A saw: the work is put off and done, and is done a second after the end.
    let saw: Vec<u64> = (0..20).map(|it| it % 4 * 64).chain([192, 0]).collect();
    let found = debt(&saw, 0, 20);
    assert_eq!((found.before, found.most), (0.0, f64::from(192 << 20)));
    assert_eq!((found.seconds, found.steady), (Some(1.0), true));
    assert_eq!(found.complaint(), None);
    // Debt from before is not this run's.
    let older = debt(&[500, 500, 500, 480, 460, 450], 1, 4);
    assert_eq!((older.seconds, older.steady), (Some(0.0), true));
    assert!(older.line().contains("500 MiB"), "{}", older.line());
}

#[test]
fn what_takes_longer_than_a_tenth_of_the_time_is_not_steady() {
    // 10 s of sending put 100 MiB off; in a second 20 of them are done.
    let growing: Vec<u64> = (0..=10).map(|it| it * 10).chain([80]).collect();
    let found = debt(&growing, 0, 10);
    assert_eq!((found.seconds, found.steady), (Some(5.0), false));
    let why = found.complaint().expect("it is not steady");
    for words in [
        "put off 5.0 s of work",
        "0 MiB to 100 MiB of a_bytes + b_bytes",
        "--steady",
    ] {
        assert!(why.contains(words), "no {words} in {why}");
    }
    // Nothing of it is done.
    let stuck: Vec<u64> = (0..=10).map(|it| it * 10).chain([100, 110]).collect();
    let found = debt(&stuck, 0, 10);
    assert_eq!((found.seconds, found.steady), (None, false));
    assert!(found.complaint().is_some_and(|it| it.contains("nothing")));
}

#[test]
fn what_is_not_known_is_not_judged() {
    let sending = |from: u64, until: u64| SendWindow {
        from: from * SECOND,
        until: until * SECOND,
    };
    assert_eq!(judge(&[], &[], sending(0, 10)), None);
    assert_eq!(judge(&[], &samples(&[1, 2]), SendWindow::NONE), None);
    // Work is a number where the metric is not one of bytes.
    let count = judge(&["jobs".into()], &samples(&[0, 1, 1]), sending(0, 2)).expect("known");
    assert!(count.line().contains("1,048,576 at the end"));
}

#[test]
fn a_run_goes_on_until_the_server_keeps_up() {
    let up = |owed: &[u64]| keeps_up(&samples(owed), 0);
    assert!(up(&[0, 0, 0]));
    assert!(!up(&[0, 10, 20, 30]), "it only grows");
    assert!(!up(&[0, 64, 0, 64, 32, 64]), "64 of 96 that were done");
    assert!(up(&[0, 64, 0, 64, 0, 64, 0, 64, 0, 25]), "25 of 256");
    assert!(!keeps_up(&[], 0));
}
