//! Tests of the lanes.

use super::super::bell::Bell;
use super::*;

fn made() -> ([Lanes; 2], Carrying, [Arc<Bell>; 2]) {
    let bells = [(); 2].map(|()| Arc::new(Bell::default()));
    let wakes = bells.clone().map(|bell| bell as Arc<dyn Wake>);
    let names = ClusterNames::new("c", "n").unwrap();
    let (ends, carrying) = lanes(&names, &Line::new(), &wakes);
    (ends, carrying, bells)
}

#[test]
fn what_leaves_is_bounded_in_number_and_bytes() {
    let ([lanes, _], ..) = made();
    let say = |length: usize| lanes.say(Lane::Heartbeat, To::All, vec![0; length].into());
    assert_eq!(say(RECORD_MAX + 1), Err(NotSaid::TooLong(RECORD_MAX + 1)));
    let many = LEAVING.bytes / RECORD_MAX;
    for _ in 0..many {
        assert_eq!(say(RECORD_MAX), Ok(()));
    }
    assert_eq!(say(RECORD_MAX), Err(NotSaid::Full));
    for _ in many..LEAVING.items {
        assert_eq!(say(1), Ok(()));
    }
    assert_eq!(say(1), Err(NotSaid::Full));
    lanes.at_end()();
    assert_eq!(say(1), Err(NotSaid::Ended));
}

#[test]
fn a_flood_on_one_lane_leaves_after_signs_of_life() {
    let ([lanes, _digests], carrying, _) = made();
    let say = |lane| lanes.say(lane, To::All, Bytes::new());
    while say(Lane::Digest) == Ok(()) {}
    assert_eq!(say(Lane::Digest), Err(NotSaid::Full));
    assert_eq!(say(Lane::Forward), Ok(()));
    assert_eq!(say(Lane::Heartbeat), Ok(()));
    let leaves = || carrying.shared.next_to_leave().map(|it| it.0);
    for lane in [Lane::Heartbeat, Lane::Forward, Lane::Digest] {
        assert_eq!(leaves(), Some(lane));
    }
    assert_eq!(std::iter::from_fn(leaves).count(), LEAVING.items - 1);
    assert!(is_stale(Lane::Heartbeat, Duration::from_millis(301)));
    assert!(!is_stale(Lane::Heartbeat, Duration::from_millis(300)));
    assert!(!is_stale(Lane::Forward, Duration::from_secs(9)));
}

#[test]
fn losses_are_said_before_messages_and_the_urgent_before_others() {
    let ([lanes, digests], carrying, bells) = made();
    let arrivals = &carrying.shared.lanes;
    let message = |text: &'static str| (false, Bytes::from_static(text.as_bytes()));
    arrivals[Lane::Digest as usize]
        .messages
        .push_or_lose(1, message("d"));
    arrivals[0].messages.push_or_lose(1, message("b"));
    arrivals[1].messages.lose(2);
    arrivals[2].breaks.fetch_add(1, Ordering::Relaxed);
    carrying.shared.ends[0]
        .unsent
        .fetch_add(4, Ordering::Relaxed);
    assert!(bells.iter().all(|bell| bell.wait(Duration::ZERO)));
    let said: Vec<_> = std::iter::from_fn(|| lanes.take()).collect();
    let came = |lane, text: &'static str| Said::Message {
        lane,
        to_me: false,
        bytes: Bytes::from_static(text.as_bytes()),
    };
    let missed = |lane, messages| Said::Missed { lane, messages };
    let wanted = [
        Said::Unsent { messages: 4 },
        missed(Lane::Forward, 2),
        missed(Lane::Answers, 0),
        came(Lane::Heartbeat, "b"),
    ];
    assert_eq!(said, wanted);
    // Ephemeral state has an end of its own.
    carrying.shared.lost(Lane::Digest);
    assert!(bells[1].wait(Duration::ZERO) && !bells[0].wait(Duration::ZERO));
    let said: Vec<_> = std::iter::from_fn(|| digests.take()).collect();
    let wanted = [Said::Unsent { messages: 1 }, came(Lane::Digest, "d")];
    assert_eq!(said, wanted);
    carrying.shared.unsure();
    for end in [&lanes, &digests] {
        assert_eq!(end.take(), Some(Said::Unsent { messages: 0 }));
    }
}

#[test]
fn the_thread_goes_on_without_ephemeral_state_and_not_without_the_log() {
    let ([lanes, digests], ..) = made();
    drop(digests);
    assert!(!lanes.is_ended());
    let ([lanes, digests], ..) = made();
    drop(lanes);
    assert!(digests.is_ended());
}

#[test]
fn a_break_is_every_change_but_the_first_connection() {
    let moment = |connects, breaks| Moment {
        is_connected: true,
        connects,
        breaks,
    };
    for (before, now, is) in [
        ((0, 0), (1, 0), false),
        ((1, 0), (1, 1), true),
        ((1, 1), (2, 1), true),
        ((0, 0), (2, 1), true),
        ((2, 1), (2, 1), false),
    ] {
        let found = is_break(moment(before.0, before.1), moment(now.0, now.1));
        assert_eq!(found, is, "{before:?} {now:?}");
    }
}
