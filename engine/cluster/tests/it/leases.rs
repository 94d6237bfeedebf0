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
    assert_eq!(pass(&mut lease, ms(5010), ms(5330), false), None);
    assert!(lease.leads(ms(5330)));
    assert_eq!(pass(&mut lease, ms(5340), ms(6000), true), None);
    assert!(lease.leads(ms(6000)));
}

#[test]
fn a_leader_that_is_cut_off_stops_before_others_begin() {
    let mut lease = leader(ms(0));
    assert!(lease.leads(ms(500)));
    assert!(!lease.leads(ms(501)));
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
    for now in (0..=950).step_by(5) {
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
    assert!(lease.leads(ms(950)));
    assert!(!lease.leads(ms(955)));
}

#[test]
fn a_leader_takes_over_from_itself_when_a_publish_is_open() {
    // Not acknowledged.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    let (at, epoch) = pass(&mut lease, ms(0), ms(900), true).expect("an attempt");
    assert_eq!((at, epoch), (ms(510), 6));
    assert!(!lease.leads(at));
    // Acknowledged, and not seen.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    lease.acknowledged();
    assert_eq!(pass(&mut lease, ms(0), ms(2000), true), Some((ms(1010), 6)));
    // Refused.
    let mut lease = leader(ms(0));
    lease.published(ms(0));
    lease.refused(ms(40));
    assert!(!lease.leads(ms(40)));
    assert_eq!(poll(&mut lease, ms(40)).epochs, [6]);
    // Seen.
    let mut lease = leader(ms(0));
    for now in (0..4000).step_by(20) {
        lease.published(ms(now));
        lease.acknowledged();
        assert_eq!(pass(&mut lease, ms(now), ms(now + 10), true), None);
        lease.seen();
    }
    assert!(lease.leads(ms(4000)));
    // The stream ran into trouble that only a new epoch mends.
    lease.renew(ms(4000));
    assert_eq!(poll(&mut lease, ms(4000)).epochs, [6]);
}

#[test]
fn a_leader_in_doubt_says_that_it_does_not_lead() {
    let mut lease = leader(ms(0));
    lease.refused(ms(100));
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
    lease.refused(ms(10_000));
    let (at, _) = pass(&mut lease, ms(10_010), ms(10_100), true).expect("an attempt");
    assert!(at >= ms(10_020) && at <= ms(10_050), "{at:?}");
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
