//! Messages in groups. A part of all messages goes to ordinary groups, and each large group has its
//! own rate.

use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};

use super::Arrival;
use crate::clock::{Nanos, SECOND, seconds};
use crate::membership::Memberships;
use crate::population::Part;

/// Turns a part of the messages between two users into messages to a group of their sender. It has
/// its own random numbers, so that the other messages are the same as without groups.
#[derive(Debug)]
pub(crate) struct ToGroups {
    members: Arc<Memberships>,
    share: f64,
    slots: u32,
    streams: u32,
    rng: Xoshiro256PlusPlus,
}

impl ToGroups {
    /// Makes a filter that sends a `share` of the messages to groups, 0 to 1, for the users of
    /// `part`.
    pub(crate) fn new(part: &Part, members: Arc<Memberships>, share: f64, seed: u64) -> Self {
        Self {
            members,
            share,
            slots: part.slots(),
            streams: part.streams() as u32,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x746f_2067_726f_7570),
        }
    }

    /// Returns the stream or the membership of a message. A user in no group writes to another
    /// user.
    pub(super) fn turn(&mut self, arrival: Arrival) -> Arrival {
        let rounds = self.members.ordinary_rounds();
        if rounds == 0 || self.rng.random::<f64>() >= self.share {
            return arrival;
        }
        let user = arrival.stream / self.slots;
        let round = self.rng.random_range(0..rounds);
        // Only the last round may not have everybody.
        let membership = self.members.in_round(round, user);
        let membership = membership.or_else(|| self.members.in_round(0, user));
        membership.map_or(arrival, |membership| Arrival {
            stream: self.streams + membership,
            ..arrival
        })
    }
}

/// The messages in large groups: a Poisson process over all of them.
#[derive(Debug)]
pub(crate) struct Large {
    members: Arc<Memberships>,
    /// The groups, each with the sum of the rates up to it.
    rates: Vec<(f64, u32)>,
    online: u32,
    streams: u32,
    key_every: u32,
    duration: Nanos,
    rng: Xoshiro256PlusPlus,
    seconds: f64,
    count: u64,
    next: Option<(Nanos, Arrival)>,
}

impl Large {
    /// Makes the messages in the large groups of `part`, with these rates per second, in the order
    /// of the groups. A group without a connected member gets no messages.
    pub(crate) fn new(
        part: &Part,
        members: Arc<Memberships>,
        rates: &[f64],
        (key_every, duration): (u32, Nanos),
        seed: u64,
    ) -> Self {
        let online = part.online();
        let mut sum = 0.0;
        let mut summed = Vec::new();
        for (group, rate) in (members.first_large()..members.groups()).zip(rates) {
            let somebody = (0..members.size(group)).any(|nth| members.member(group, nth) < online);
            if somebody && *rate > 0.0 {
                sum += rate;
                summed.push((sum, group));
            }
        }
        let mut large = Self {
            members,
            rates: summed,
            online,
            streams: part.streams() as u32,
            key_every,
            duration,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x6c61_7267_6520_6772),
            seconds: 0.0,
            count: 0,
            next: None,
        };
        large.draw();
        large
    }

    fn draw(&mut self) {
        self.next = None;
        let Some(&(sum, last)) = self.rates.last() else {
            return;
        };
        let gap: f64 = Exp1.sample(&mut self.rng);
        self.seconds += gap / sum;
        let at = (self.seconds * SECOND as f64) as Nanos;
        let drawn = self.rng.random::<f64>() * sum;
        let place = self.rates.partition_point(|(up_to, _)| *up_to <= drawn);
        let group = self.rates.get(place).map_or(last, |(_, group)| *group);
        let size = self.members.size(group);
        let first = self.rng.random_range(0..size);
        let mut nth = (0..size).map(|behind| (first + behind) % size);
        let online = nth.find(|nth| self.members.member(group, *nth) < self.online);
        self.count += 1;
        let key_every = u64::from(self.key_every);
        let arrival = Arrival {
            stream: self.streams + self.members.membership(group, online.unwrap_or(first)),
            keyed: key_every > 0 && self.count.is_multiple_of(key_every),
        };
        self.next = (at < self.duration).then_some((at, arrival));
    }

    /// Ends the messages before all are taken. Returns how many were left, by the rate.
    pub(super) fn give_up(&mut self) -> u64 {
        let rate = self.rates.last().map_or(0.0, |(sum, _)| *sum);
        let left = |at: Nanos| seconds(self.duration - at) * rate;
        self.next.take().map_or(0, |(at, _)| 1 + left(at) as u64)
    }

    /// Returns when the next message is due, from the start of the arrivals.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.next.map(|(at, _)| at)
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) -> Option<Arrival> {
        let (_, arrival) = self.next?;
        self.draw();
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Curve;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;
    use crate::schedule::{Action, Arrivals, Senders, Work};

    const USERS: u32 = 200;

    fn part(online: u32) -> Part {
        let population = population(USERS, 1000, 8);
        crate::population::Population {
            online,
            ..population
        }
        .part(0, 1)
    }

    fn all(mut work: Work) -> Vec<(Nanos, Arrival)> {
        let mut out = Vec::new();
        while let Some(at) = work.due() {
            match work.take() {
                Some(Action::Send(arrival)) => out.push((at, arrival)),
                other => panic!("{other:?}"),
            }
        }
        out
    }

    fn arrivals(part: &Part) -> Arrivals {
        let senders = Senders {
            key_every: 4,
            skew: None,
        };
        Arrivals::new(Curve::constant(1000.0, 20.0), part, senders, 7)
    }

    #[test]
    fn a_share_goes_to_groups_of_the_sender_and_the_rest_stays() {
        for (per_user, share) in [(2.0, 0.3), (2.5, 1.0), (0.5, 1.0), (2.0, 0.0)] {
            let part = part(USERS);
            let members = Memberships::new(&part, &wanted(per_user, "exp(10)", &[]), 1);
            let members = Arc::new(members);
            let plain = all(Work::Arrivals(arrivals(&part)));
            let to = ToGroups::new(&part, Arc::clone(&members), share, 7);
            let turned = all(Work::Arrivals(arrivals(&part).with_groups(to)));
            assert_eq!(plain.len(), turned.len());
            let streams = part.streams() as u32;
            let (mut in_groups, mut rounds) = (0.0, [0.0; 3]);
            for ((at, before), (still, after)) in plain.iter().zip(&turned) {
                assert_eq!((at, before.keyed), (still, after.keyed));
                let Some(membership) = after.stream.checked_sub(streams) else {
                    assert_eq!(before, after);
                    continue;
                };
                in_groups += 1.0;
                let group = members.group(membership).unwrap();
                rounds[members.round(group) as usize] += 1.0;
                assert_eq!(
                    members.user(membership),
                    part.stream_parts(before.stream).user
                );
            }
            let expected = share * f64::min(per_user, 1.0);
            let seen = in_groups / plain.len() as f64;
            assert!((seen - expected).abs() < 0.04, "{per_user} {share}: {seen}");
            if per_user == 2.0 && share > 0.0 {
                assert!((rounds[0] / in_groups - 0.5).abs() < 0.03, "{rounds:?}");
            }
        }
    }

    #[test]
    fn each_large_group_has_its_rate_and_only_who_is_online_writes() {
        let part = part(50);
        let members = Memberships::new(&part, &wanted(1.0, "const(10)", &[150, 40, USERS]), 1);
        let members = Arc::new(members);
        let rates = [30.0, 0.0, 10.0];
        let times = (5, 100 * SECOND);
        let large = || Large::new(&part, Arc::clone(&members), &rates, times, 3);
        let nothing = || Arrivals::new(Curve::constant(0.0, 0.0), &part, Senders::default(), 1);
        let sent = all(Work::WithLarge(nothing(), large()));
        assert_eq!(sent, all(Work::WithLarge(nothing(), large())));
        assert!(sent.is_sorted_by_key(|(at, _)| *at));
        assert!(sent.iter().all(|(at, _)| *at < 100 * SECOND));
        let mut counts = [0.0; 3];
        for (_, arrival) in &sent {
            let membership = arrival.stream - part.streams() as u32;
            assert!(members.user(membership) < 50);
            let group = members.group(membership).unwrap();
            counts[(group - members.first_large()) as usize] += 1.0;
        }
        for (seen, rate) in counts.iter().zip(rates) {
            let expected = rate * 100.0;
            // Four deviations of a Poisson count.
            assert!(
                (seen - expected).abs() <= 4.0 * f64::sqrt(expected),
                "{counts:?}"
            );
        }
        let keyed = sent.iter().filter(|(_, arrival)| arrival.keyed).count();
        assert_eq!(keyed, sent.len() / 5);
    }

    #[test]
    fn both_kinds_come_in_order_of_time() {
        let part = part(USERS);
        let members = Memberships::new(&part, &wanted(0.0, "exp(10)", &[100]), 1);
        let large = Large::new(&part, Arc::new(members), &[500.0], (0, 20 * SECOND), 3);
        let sent = all(Work::WithLarge(arrivals(&part), large));
        assert!(sent.is_sorted_by_key(|(at, _)| *at));
        let in_group = sent
            .iter()
            .filter(|(_, arrival)| arrival.stream >= part.streams() as u32);
        let (in_group, all) = (in_group.count() as f64, sent.len() as f64);
        assert!((in_group - 10_000.0).abs() < 400.0, "{in_group}");
        assert!((all - in_group - 20_000.0).abs() < 600.0, "{all}");
    }
}
