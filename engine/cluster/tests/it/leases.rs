//! Leases: when a node tries to lead, and when it stops.

use std::time::Duration;

use trunkline_cluster::Incarnation;
use trunkline_cluster::envelope::{Beat, Standing};
use trunkline_cluster::lease::{Act, Lease, Timing};

use crate::made::life;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a lease wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    beats: Vec<Beat>,
    epochs: Vec<u64>,
}

fn poll(lease: &mut Lease, now: Duration) -> Wanted {
    let mut wanted = Wanted::default();
    while let Some(act) = lease.poll(now) {
        match act {
            Act::Beat(beat) => wanted.beats.push(beat),
            Act::Prove => lease.proved(now),
            Act::TakeOver { epoch } => wanted.epochs.push(epoch),
        }
    }
    wanted
}

fn me() -> Incarnation {
    life("a", 1)
}

fn other() -> Incarnation {
    life("b", 7)
}

fn lease(seed: u64) -> Lease {
    Lease::new(me(), (4, Some(other())), Timing::USUAL, seed, ms(0))
}

/// Returns a lease that leads in epoch 5 since `now`, whose first heartbeat came back.
fn leader(now: Duration) -> Lease {
    let mut lease = lease(1);
    lease.begins(5, me(), now);
    let beats = poll(&mut lease, now).beats;
    assert_eq!(beats.len(), 1);
    lease.heard(me(), 5, &beats[0], now);
    assert!(lease.leads(now));
    lease
}

/// Lets time pass, in which the lease's own heartbeats come back if `returns`. Returns what it wanted, until it wants
/// an epoch.
fn pass(lease: &mut Lease, from: Duration, to: Duration, returns: bool) -> Option<(Duration, u64)> {
    let mut now = from;
    while now <= to {
        let wanted = poll(lease, now);
        for beat in &wanted.beats {
            if returns {
                let (epoch, _) = lease.epoch();
                lease.heard(me(), epoch, beat, now);
            }
        }
        if let Some(epoch) = wanted.epochs.first() {
            return Some((now, *epoch));
        }
        now += ms(10);
    }
    None
}

const LEADS: Beat = Beat {
    number: 1,
    index: 0,
    standing: Standing::Leads,
};

#[test]
fn a_follower_takes_over_from_a_silent_leader_at_a_random_time() {
    let mut times = Vec::new();
    for seed in 0..40 {
        let mut lease = lease(seed);
        let (at, epoch) = pass(&mut lease, ms(0), ms(1400), true).expect("an attempt");
        assert_eq!(epoch, 5);
        assert!(at >= ms(1000) && at <= ms(1310), "{at:?}");
        times.push(at);
    }
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 10, "{times:?}");
}

#[test]
fn a_follower_that_hears_the_leader_waits() {
    let mut lease = lease(1);
    for now in (0..10_000).step_by(900) {
        lease.heard(other(), 4, &LEADS, ms(now));
        assert_eq!(pass(&mut lease, ms(now), ms(now + 890), true), None);
    }
    // Others say nothing of the leader, and it says nothing of an epoch that is over.
    let quiet = |from, epoch, standing| {
        let beat = Beat { standing, ..LEADS };
        let mut lease = lease.clone();
        for now in (9900..11_300).step_by(100) {
            lease.heard(from, epoch, &beat, ms(now));
            if pass(&mut lease, ms(now), ms(now + 90), true).is_some() {
                return true;
            }
        }
        false
    };
    assert!(quiet(life("c", 1), 4, Standing::Follows));
    assert!(quiet(life("c", 1), 4, Standing::Leads));
    assert!(quiet(other(), 3, Standing::Leads));
    assert!(quiet(other(), 4, Standing::Follows));
    assert!(
        quiet(life("b", 8), 4, Standing::Leads),
        "another life of the leader"
    );
    assert!(!quiet(other(), 4, Standing::Leads));
    // This node has not looked at the record of a later epoch yet.
    assert!(!quiet(life("c", 1), 6, Standing::Leads));
}

#[test]
fn a_leader_leads_while_its_heartbeats_return() {
    let mut lease = leader(ms(0));
    assert_eq!(pass(&mut lease, ms(0), ms(5000), true), None);
    assert!(lease.leads(ms(5000)));
    // Two are lost.
    assert_eq!(pass(&mut lease, ms(5010), ms(5310), false), None);
    assert!(lease.leads(ms(5310)));
    assert_eq!(pass(&mut lease, ms(5340), ms(6000), true), None);
    assert!(lease.leads(ms(6000)));
}

#[test]
fn a_leader_that_is_cut_off_stops_before_others_begin() {
    let mut lease = leader(ms(0));
    assert!(lease.leads(ms(499)));
    assert!(!lease.leads(ms(500)));
    let next = pass(&mut lease, ms(0), ms(5000), false);
    // It stopped at about 500 ms, and waits like everybody else from then on.
    let (at, epoch) = next.expect("an attempt");
    assert!(at >= ms(1500) && at <= ms(1850), "{at:?}");
    assert_eq!(epoch, 6);
    assert!(!lease.leads(at));
    // Heartbeats that return do not make it lead the same epoch again.
    assert_eq!(lease.epoch(), (5, Some(me())));
    for number in 1..40 {
        lease.heard(me(), 5, &Beat { number, ..LEADS }, at);
    }
    assert!(!lease.leads(at));
    lease.begins(6, me(), at);
    assert!(lease.leads(at));
}

#[test]
fn late_heartbeats_do_not_keep_a_leader() {
    let mut lease = leader(ms(0));
    let mut sent = Vec::new();
    for now in (0..=945).step_by(5) {
        let beats = poll(&mut lease, ms(now)).beats;
        sent.extend(beats.into_iter().map(|beat| (now, beat)));
        // Each takes longer than the one before: one comes back every 240 ms, and each is older.
        for (at, beat) in &sent {
            if at * 8 / 5 == now {
                lease.heard(me(), 5, beat, ms(now));
            }
        }
    }
    // The last one came at 720 ms, and was sent at 450 ms.
    assert!(lease.leads(ms(949)));
    assert!(!lease.leads(ms(950)));
}

#[test]
fn a_leader_takes_over_from_itself_when_a_publish_is_open() {
    // Not acknowledged.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    let (at, epoch) = pass(&mut lease, ms(0), ms(900), true).expect("an attempt");
    assert_eq!((at, epoch), (ms(500), 6));
    assert!(!lease.leads(at));
    // Acknowledged, and not seen.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    lease.acknowledged(ms(0));
    assert_eq!(pass(&mut lease, ms(0), ms(2000), true), Some((ms(1000), 6)));
    // Refused.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    lease.group_refused(ms(40));
    assert!(!lease.leads(ms(40)));
    assert_eq!(poll(&mut lease, ms(40)).epochs, [6]);
    // Seen.
    let mut lease = leader(ms(0));
    for now in (0..4000).step_by(20) {
        lease.published(ms(now));
        lease.acknowledged(ms(now));
        assert_eq!(pass(&mut lease, ms(now), ms(now + 10), true), None);
        lease.seen(ms(now + 10));
    }
    assert!(lease.leads(ms(4000)));
    // Only a new epoch has room for more nodes.
    lease.renew(ms(4000));
    assert_eq!(poll(&mut lease, ms(4000)).epochs, [6]);
}

#[test]
fn a_leader_in_doubt_says_that_it_does_not_lead() {
    let mut lease = leader(ms(0));
    lease.group_refused(ms(100));
    let wanted = poll(&mut lease, ms(160));
    assert_eq!(wanted.epochs, [6]);
    let standings: Vec<_> = wanted.beats.iter().map(|beat| beat.standing).collect();
    assert_eq!(standings, [Standing::Follows]);
    // It tries again, at random times, until an epoch record comes.
    let mut attempts = Vec::new();
    let mut now = ms(170);
    while let Some((at, _)) = pass(&mut lease, now, ms(10_000), true) {
        attempts.push(at);
        now = at + ms(10);
    }
    assert!((9..=20).contains(&attempts.len()), "{attempts:?}");
    // A refused attempt is repeated soon, a bit later each time than the same moment.
    let (refused, epoch) = pass(&mut lease, ms(10_010), ms(11_100), true).expect("an attempt");
    lease.epoch_refused(epoch, refused);
    let next = refused + ms(10);
    let (at, _) = pass(&mut lease, next, next + ms(90), true).expect("an attempt");
    let waited = at - refused;
    assert!(waited >= ms(20) && waited <= ms(50), "{waited:?}");
    lease.begins(6, other(), at);
    assert_eq!(pass(&mut lease, at, at + ms(900), true), None);
}

#[test]
fn a_leader_that_steps_down_is_replaced_at_once() {
    let mut lease = leader(ms(0));
    let Some(Act::Beat(beat)) = lease.step_down(ms(100)) else {
        panic!("no heartbeat");
    };
    assert_eq!(beat.standing, Standing::Leaves);
    assert!(!lease.leads(ms(100)));
    // It does not try for five seconds, even if its old attempt lands now.
    lease.begins(6, me(), ms(200));
    assert!(!lease.leads(ms(200)));
    let (at, epoch) = pass(&mut lease, ms(210), ms(9000), true).expect("an attempt");
    assert_eq!((at, epoch), (ms(5100), 7));
    assert_eq!(lease.step_down(ms(9000)), None);
    // The others hear it.
    let mut follower = Lease::new(other(), (5, Some(me())), Timing::USUAL, 3, ms(0));
    follower.heard(me(), 5, &beat, ms(100));
    let (at, epoch) = pass(&mut follower, ms(100), ms(900), true).expect("an attempt");
    assert!(at <= ms(160), "{at:?}");
    assert_eq!(epoch, 6);
}

#[test]
fn a_node_that_was_paused_listens_before_it_takes_over() {
    let mut lease = lease(1);
    assert_eq!(pass(&mut lease, ms(0), ms(300), true), None);
    // Ten seconds pass in which this process does not run.
    assert_eq!(poll(&mut lease, ms(10_300)).epochs, [0_u64; 0]);
    assert_eq!(pass(&mut lease, ms(10_300), ms(11_200), true), None);
    assert!(pass(&mut lease, ms(11_200), ms(11_700), true).is_some());
    // A paused leader stops.
    let mut lease = leader(ms(0));
    assert!(!lease.leads(ms(10_000)));
    assert_eq!(poll(&mut lease, ms(10_000)).epochs, [0_u64; 0]);
    assert!(!lease.leads(ms(10_000)));
}

#[test]
fn the_next_poll_is_told() {
    for seed in 0..20 {
        let mut lease = lease(seed);
        let mut now = ms(0);
        let mut attempts = 0;
        while attempts < 5 {
            let wanted = poll(&mut lease, now);
            attempts += wanted.epochs.len();
            assert!(
                lease.wake() > now,
                "a poll that returned nothing left something"
            );
            // Just before that time there is nothing.
            let mut early = lease.clone();
            let before = lease.wake() - Duration::from_micros(1);
            if before > now {
                assert_eq!(poll(&mut early, before), Wanted::default());
            }
            now = lease.wake();
        }
    }
}

#[test]
fn a_node_proves_its_history_before_it_takes_over() {
    let mut lease = lease(1);
    let attempts = |lease: &mut Lease, now| {
        let mut acts = Vec::new();
        while let Some(act) = lease.poll(ms(now)) {
            acts.extend((!matches!(act, Act::Beat(_))).then_some(act));
        }
        acts
    };
    // Nobody asked for it.
    lease.proved(ms(10));
    assert_eq!(attempts(&mut lease, 10), []);
    for now in (100..=1300).step_by(100) {
        attempts(&mut lease, now);
    }
    // It was asked for once, and nothing else happens until it is there.
    for now in (1400..5000).step_by(100) {
        assert_eq!(attempts(&mut lease, now), []);
    }
    lease.proved(ms(5000));
    assert!(lease.wake() <= ms(5000));
    assert_eq!(attempts(&mut lease, 5000), [Act::TakeOver { epoch: 5 }]);
    // The next attempt needs another proof.
    lease.proved(ms(5010));
    lease.epoch_refused(5, ms(5010));
    assert_eq!(attempts(&mut lease, 5060), [Act::Prove]);
    // The leader is heard again: the attempt is off.
    lease.heard(other(), 4, &LEADS, ms(5070));
    lease.proved(ms(5080));
    assert_eq!(attempts(&mut lease, 5090), []);
}

#[test]
fn a_leader_that_has_stopped_does_not_go_on_in_its_epoch() {
    // The heartbeat comes back, or the outcome of a publish, when the time is over and nobody has polled.
    let mut cut_off = leader(ms(0));
    let beat = poll(&mut cut_off, ms(450)).beats[0];
    assert!(!cut_off.leads(ms(510)));
    cut_off.heard(me(), 5, &beat, ms(511));
    assert!(!cut_off.leads(ms(512)));
    for outcome in [
        Lease::acknowledged,
        Lease::seen,
        Lease::progressed,
        Lease::published,
    ] {
        let mut lease = leader(ms(0));
        let beat = poll(&mut lease, ms(300)).beats[0];
        lease.heard(me(), 5, &beat, ms(300));
        lease.published(ms(0));
        assert!(lease.leads(ms(499)) && !lease.leads(ms(500)));
        outcome(&mut lease, ms(501));
        assert!(!lease.leads(ms(502)));
    }
}

#[test]
fn a_group_of_many_parts_takes_its_time() {
    // Parts that are acknowledged one after the other.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    for now in (30..=1200).step_by(30) {
        lease.progressed(ms(now));
        assert_eq!(pass(&mut lease, ms(now), ms(now + 20), true), None);
    }
    // The time to see it begins with the last of them.
    lease.acknowledged(ms(1230));
    assert_eq!(
        pass(&mut lease, ms(1230), ms(9000), true),
        Some((ms(2230), 6))
    );
    // Parts that are published one after the other. The last one is not acknowledged.
    let mut lease = leader(ms(0));
    for now in (0..=1200).step_by(30) {
        lease.published(ms(now));
        assert_eq!(pass(&mut lease, ms(now), ms(now + 20), true), None);
        lease.acknowledged(ms(now + 20));
    }
    lease.published(ms(1230));
    assert_eq!(
        pass(&mut lease, ms(1230), ms(9000), true),
        Some((ms(1730), 6))
    );
}

#[test]
fn the_refusal_of_a_late_attempt_ends_no_epoch() {
    let mut lease = leader(ms(0));
    lease.epoch_refused(5, ms(40));
    lease.epoch_refused(4, ms(40));
    assert!(lease.leads(ms(40)));
    assert_eq!(poll(&mut lease, ms(40)).epochs, [0_u64; 0]);
}

#[test]
fn the_age_of_a_heartbeat_is_that_of_the_own_clock() {
    let mut lease = leader(ms(0));
    let mut sent = Vec::new();
    for now in (0..30_000).step_by(150) {
        for beat in poll(&mut lease, ms(now)).beats {
            lease.heard(me(), 5, &beat, ms(now));
            sent.push((beat.number, now));
        }
    }
    let now = 29_900;
    let remembered = sent.iter().filter(|(number, at)| {
        let age = lease.age_of_beat(*number, ms(now));
        assert!(age.is_none_or(|age| age == ms(now.saturating_sub(*at))));
        age.is_some()
    });
    assert_eq!(remembered.count(), 128);
    let (last, _) = sent[sent.len() - 1];
    assert!(lease.age_of_beat(last, ms(now)).is_some());
    for never in [0, last + 1, u64::MAX] {
        assert_eq!(lease.age_of_beat(never, ms(now)), None);
    }
}

#[test]
fn an_epoch_is_not_renewed_at_once() {
    let mut lease = leader(ms(0));
    assert_eq!(pass(&mut lease, ms(0), ms(980), true), None);
    lease.renew(ms(990));
    assert!(lease.leads(ms(990)));
    lease.renew(ms(1000));
    assert!(!lease.leads(ms(1000)));
}

#[test]
fn the_next_poll_of_a_leader_is_told() {
    let mut cut_off = leader(ms(0));
    let mut silent = leader(ms(0));
    silent.published(ms(0));
    let mut now = ms(0);
    while cut_off.leads(now) {
        now = cut_off.wake();
        poll(&mut cut_off, now);
        assert!(cut_off.wake() > now, "{now:?}");
    }
    assert_eq!(now, ms(500));
    now = ms(0);
    while silent.leads(now) {
        now = silent.wake();
        for beat in poll(&mut silent, now).beats {
            silent.heard(me(), 5, &beat, now);
        }
    }
    assert_eq!(now, ms(500));
}
