//! Who comes back, and when.

use super::*;

const MILLI: Nanos = 1_000_000;

fn told(reconnect: bool, delay_ms: [u64; 2]) -> Disconnect<'static> {
    Disconnect {
        code: 3001,
        reason: "shutdown".into(),
        reconnect,
        delay_ms,
    }
}

fn reconnects(seed: u64) -> Reconnects {
    Reconnects::new(seed, 20 * SECOND)
}

/// Returns the shortest and the longest of many delays.
fn range(mut delay: impl FnMut() -> Nanos) -> (Nanos, Nanos) {
    let all: Vec<_> = (0..2_000).map(|_| delay()).collect();
    (
        all.iter().copied().min().unwrap(),
        all.iter().copied().max().unwrap(),
    )
}

#[test]
fn the_gateways_delay_is_obeyed_once() {
    let mut reconnects = reconnects(1);
    let (least, most) = range(|| {
        reconnects.note_disconnect(7, &told(true, [200, 300]));
        // The close code behind it says no more than that.
        reconnects.note_close(7);
        reconnects.delay(7, 0, LONGEST)
    });
    assert!((200 * MILLI..210 * MILLI).contains(&least), "{least}");
    assert!((290 * MILLI..=300 * MILLI).contains(&most), "{most}");
    assert!(range(|| reconnects.delay(7, 0, LONGEST)).1 <= BASE);
    // Of another device nothing was said.
    reconnects.note_disconnect(7, &told(true, [9_000, 9_000]));
    assert!(reconnects.delay(8, 0, LONGEST) <= BASE);
    reconnects.note_retry_after(8, 3);
    let seconds = reconnects.delay(8, 0, LONGEST);
    assert!((3 * SECOND..=4 * SECOND).contains(&seconds), "{seconds}");
    // A client that is told not to reconnect has no delay.
    reconnects.note_disconnect(9, &told(false, [0, 0]));
    assert!(!reconnects.named.contains_key(&9));
}

#[test]
fn attempts_back_off_with_full_jitter_up_to_the_longest() {
    let mut reconnects = reconnects(2);
    for (number, longest) in [(0, BASE), (1, 2 * BASE), (3, 8 * BASE), (40, LONGEST)] {
        let (least, most) = range(|| reconnects.delay(1, number, LONGEST));
        assert!(least < longest / 50, "{number}: {least}");
        assert!(
            (longest * 49 / 50..=longest).contains(&most),
            "{number}: {most}"
        );
    }
    reconnects.note_close(1);
    assert_eq!(reconnects.longest(1), None, "no range was named");
    assert!(reconnects.delay(1, 0, LONGEST) <= BASE);
    // Up to the end of the range that the gateway named, or a second.
    for (range, longest) in [([0, 100], SECOND), ([0, 30_000], 30 * SECOND)] {
        reconnects.note_disconnect(1, &told(true, range));
        assert_eq!(reconnects.longest(1), Some(longest));
        reconnects.delay(1, 0, longest);
        assert!(reconnects.delay(1, 40, longest) <= longest);
    }
}

#[test]
fn a_position_is_forgotten_once() {
    let mut reconnects = reconnects(3);
    assert!(!reconnects.forget_position(1));
    reconnects.cut(0, 1, SECOND, None);
    assert!(reconnects.ended(1, Some("4096".into())));
    assert_eq!(reconnects.since(1).as_deref(), Some("4096"));
    assert!(reconnects.forget_position(1));
    assert_eq!(reconnects.since(1), None);
    // A second refusal is an end, not another question.
    assert!(!reconnects.forget_position(1));
}

#[test]
fn a_session_that_was_cut_comes_back_when_it_is_due() {
    let mut reconnects = reconnects(4);
    reconnects.cut(0, 7, 3 * SECOND, Some(2));
    reconnects.cut(0, 8, 2 * SECOND, None);
    assert!(reconnects.is_away(7) && !reconnects.is_empty());
    assert_eq!(reconnects.take_due(2 * SECOND - 1), None);
    assert_eq!(reconnects.take_due(3 * SECOND), Some(8));
    assert_eq!(reconnects.take_due(3 * SECOND), Some(7));
    assert_eq!(reconnects.take_due(3 * SECOND), None);
    reconnects.ended(7, Some("1".into()));
    let returned = Return {
        cause: Cause::Cut,
        again: true,
        asked: true,
        storm: Some(2),
    };
    assert_eq!(reconnects.returned(7), Some(returned));
    assert_eq!(reconnects.returned(7), None);
    // Missed events were being fetched: there is no position to go on from.
    assert!(reconnects.ended(8, None));
    assert!(!reconnects.returned(8).is_some_and(|it| it.asked));
    assert!(reconnects.is_empty());
}

#[test]
fn a_broken_session_comes_back_only_where_asked_to() {
    let mut reconnects = reconnects(5);
    assert!(!reconnects.broke(0, 1, false, false));
    reconnects.note_close(1);
    assert!(reconnects.broke(0, 1, false, false));
    assert!(!reconnects.ended(1, None), "the gateway's own doing");
    assert!(reconnects.broke(0, 2, true, true));
    assert!(reconnects.ended(2, None), "the run's doing");
    assert!(reconnects.broke(0, 3, false, true));
    assert!(!reconnects.ended(3, None), "the gateway's own doing");
    let given_up = reconnects.give_up(3).map(|it| it.cause);
    assert_eq!(given_up, Some(Cause::Broken));
    let due = reconnects.due().unwrap();
    assert!(due <= BASE, "{due}");
}

#[test]
fn attempts_end_with_the_time_for_coming_back() {
    let mut reconnects = reconnects(6);
    assert_eq!(reconnects.failed(0, 1), NextAttempt::None);
    reconnects.first_failed(SECOND, 1);
    let NextAttempt::At(at) = reconnects.failed(SECOND, 1) else {
        panic!("there is another attempt");
    };
    assert!((SECOND..=SECOND + 2 * BASE).contains(&at), "{at}");
    // The last attempt is at the end of the time, not behind it.
    reconnects.note_retry_after(1, 3_600);
    let until = 21 * SECOND;
    assert_eq!(reconnects.failed(20 * SECOND, 1), NextAttempt::At(until));
    assert_eq!(reconnects.failed(until, 1), NextAttempt::GiveUp);
    let given_up = GivenUp {
        cause: Cause::Chaos,
        first: true,
        storm: None,
    };
    assert_eq!(reconnects.give_up(1), Some(given_up));
    assert_eq!(reconnects.give_up(1), None);
}

#[test]
fn at_the_end_everybody_who_is_away_is_named() {
    let mut reconnects = reconnects(7);
    for device in [9, 3, 6] {
        reconnects.cut(0, device, SECOND, None);
    }
    assert_eq!(reconnects.end(), [3, 6, 9]);
    assert_eq!(reconnects.due(), None);
    assert!(!reconnects.is_empty(), "each is still to be given up");
}
