//! The groups of one generator thread's users.
//!
//! Each round puts the part's users into a seeded order and cuts that order into groups. So a user
//! is in at most one group of a round. The order of a round is `x → a·x + b` modulo the number of
//! users, with an `a` that has an inverse. Arithmetic therefore gives the user at a place and the
//! place of a user; only the start of each group takes memory. All members of a group are in one
//! part, like both users of a pair, so one checker sees both ends of every message.
//!
//! Ordinary groups fill as many rounds as a user has groups on average. Large groups follow in
//! rounds of their own, as many in each round as fit.

use std::fmt::Write as _;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};

use crate::population::Part;
use crate::random::mix;
use crate::scenario::groups::GroupSize;

/// The fewest members of a group.
const FEWEST: u32 = 2;

/// The groups that one thread's part is to have.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The average number of ordinary groups of a user; 0 for no ordinary groups.
    pub(crate) per_user: f64,
    /// The number of members of an ordinary group.
    pub(crate) size: GroupSize,
    /// The number of members of each large group of this part, at most the number of the part's
    /// users.
    pub(crate) large: Vec<u32>,
}

/// The groups of one part.
///
/// A group is a number from zero, without gaps, ordinary groups first. A membership is the number
/// `round × users + place`. The members of a group have consecutive places.
#[derive(Clone, Debug)]
pub(crate) struct Memberships {
    run: String,
    thread: u32,
    threads: u32,
    users: u32,
    /// The number of rounds of ordinary groups.
    ordinary: u32,
    rounds: Vec<Round>,
    groups: Vec<Group>,
}

/// A round: one order of the users.
#[derive(Clone, Copy, Debug)]
struct Round {
    step: u64,
    inverse: u64,
    shift: u64,
}

/// The place of a group.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The membership of the group's first member.
    first: u32,
    size: u32,
}

impl Memberships {
    /// Makes the groups of `part`.
    pub(crate) fn new(part: &Part, wanted: &Wanted, seed: u64) -> Self {
        let users = part.users();
        let (thread, threads) = part.of();
        let mut all = Self {
            run: part.run().to_owned(),
            thread,
            threads,
            users,
            ordinary: 0,
            rounds: Vec::new(),
            groups: Vec::new(),
        };
        let seed = mix(seed ^ 0x6772_6f75_7073) ^ u64::from(thread) << 32;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut left = wanted.per_user;
        while left > 0.0 {
            let places = (f64::from(users) * left.min(1.0)).round() as u32;
            all.deal(places, wanted.size, &mut rng);
            left -= 1.0;
        }
        all.ordinary = all.rounds.len() as u32;
        let mut taken = users;
        for &size in &wanted.large {
            if taken + size > users {
                all.begin(&mut rng);
                taken = 0;
            }
            all.add(taken, size);
            taken += size;
        }
        all
    }

    /// Adds a round whose first `places` places hold ordinary groups.
    fn deal(&mut self, places: u32, size: GroupSize, rng: &mut Xoshiro256PlusPlus) {
        self.begin(rng);
        let mut place = 0;
        while places - place >= FEWEST {
            let left = places - place;
            let drawn: f64 = match size {
                GroupSize::Const(members) => members,
                GroupSize::Exponential(mean) => {
                    let drawn: f64 = Exp1.sample(rng);
                    drawn * mean
                }
            };
            let mut size = (drawn.round() as u32).clamp(FEWEST, left.max(FEWEST));
            // A single user who would be left over joins this group.
            size += u32::from(left - size == 1);
            self.add(place, size);
            place += size;
        }
    }

    fn begin(&mut self, rng: &mut Xoshiro256PlusPlus) {
        let users = u64::from(self.users);
        let step = loop {
            let step = rng.random_range(1..=users);
            if inverse(step, users).is_some() {
                break step;
            }
        };
        self.rounds.push(Round {
            step,
            inverse: inverse(step, users).unwrap_or(1),
            shift: rng.random_range(0..users),
        });
    }

    /// Adds a group to the last round.
    fn add(&mut self, place: u32, size: u32) {
        let round = self.rounds.len() as u32 - 1;
        let first = round * self.users + place;
        self.groups.push(Group { first, size });
    }

    /// Returns the number of groups.
    pub(crate) fn groups(&self) -> u32 {
        self.groups.len() as u32
    }

    /// Returns the number of rounds, of ordinary and of large groups.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.len() as u32
    }

    /// Returns the number of rounds of ordinary groups.
    pub(crate) fn ordinary_rounds(&self) -> u32 {
        self.ordinary
    }

    /// Returns the first large group.
    pub(crate) fn first_large(&self) -> u32 {
        let behind = self.ordinary * self.users;
        self.groups.partition_point(|group| group.first < behind) as u32
    }

    /// Returns the number of possible memberships, including those that belong to no group.
    pub(crate) fn count(&self) -> usize {
        self.rounds.len() * self.users as usize
    }

    /// Returns the number of memberships that belong to a group.
    pub(crate) fn members(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.size)).sum()
    }

    /// Returns the number of members of a group.
    pub(crate) fn size(&self, group: u32) -> u32 {
        self.groups[group as usize].size
    }

    /// Returns the membership of a group's `nth` member, from 0.
    pub(crate) fn membership(&self, group: u32, nth: u32) -> u32 {
        self.groups[group as usize].first + nth
    }

    /// Returns the round of a group.
    pub(crate) fn round(&self, group: u32) -> u32 {
        self.groups[group as usize].first / self.users
    }

    /// Returns the user of a membership.
    pub(crate) fn user(&self, membership: u32) -> u32 {
        let round = &self.rounds[(membership / self.users) as usize];
        let place = u64::from(membership % self.users);
        ((place * round.step + round.shift) % u64::from(self.users)) as u32
    }

    /// Returns the user that is a group's `nth` member, from 0.
    pub(crate) fn member(&self, group: u32, nth: u32) -> u32 {
        self.user(self.membership(group, nth))
    }

    /// Returns the place of a user among a group's members, from 0; `None` if the user is no
    /// member.
    pub(crate) fn nth(&self, group: u32, user: u32) -> Option<u32> {
        let Group { first, size } = self.groups[group as usize];
        let nth = self.standing(first / self.users, user).wrapping_sub(first);
        (nth < size).then_some(nth)
    }

    /// Returns the number of a user's membership in a round, even if it belongs to no group.
    fn standing(&self, round: u32, user: u32) -> u32 {
        let Round { inverse, shift, .. } = self.rounds[round as usize];
        let users = u64::from(self.users);
        let place = (u64::from(user) + users - shift) % users * inverse % users;
        round * self.users + place as u32
    }

    /// Returns a user's membership in a round; `None` if the user is in no group of that round.
    pub(crate) fn in_round(&self, round: u32, user: u32) -> Option<u32> {
        let membership = self.standing(round, user);
        self.group(membership).map(|_| membership)
    }

    /// Returns the group of a membership; `None` if it belongs to no group.
    pub(crate) fn group(&self, membership: u32) -> Option<u32> {
        let behind = self.groups.partition_point(|it| it.first <= membership);
        let group = behind.checked_sub(1)?;
        let Group { first, size } = self.groups[group];
        (membership - first < size).then_some(group as u32)
    }

    /// Returns the group's number in the whole run.
    pub(crate) fn global(&self, group: u32) -> u32 {
        group * self.threads + self.thread
    }

    /// Returns the group with this number in the whole run; `None` if it belongs to another part.
    pub(crate) fn local(&self, global: u32) -> Option<u32> {
        let group = global / self.threads;
        (global % self.threads == self.thread && group < self.groups()).then_some(group)
    }

    /// Appends a group's name. The name contains the run's name, so two runs against one gateway
    /// never share a group.
    pub(crate) fn write_name(&self, group: u32, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}.g{}", self.run, self.global(group));
    }

    /// Returns the group of a conversation's id; `None` if it belongs to another part or is no
    /// group.
    pub(crate) fn parse_conversation(&self, id: &str) -> Option<u32> {
        let name = id.strip_prefix("g:")?.strip_prefix(self.run.as_str())?;
        let digits = name.strip_prefix(".g")?;
        if digits.starts_with('+') {
            return None;
        }
        self.local(digits.parse().ok()?)
    }
}

/// Returns the inverse of `step` modulo `modulus`; `None` if it has none.
fn inverse(step: u64, modulus: u64) -> Option<u64> {
    // Euclid's algorithm, with the factor of `step` beside each remainder.
    let (mut last, mut next) = (modulus, step % modulus);
    let (mut last_factor, mut factor) = (0i128, 1i128);
    while next != 0 {
        let times = last / next;
        (last, next) = (next, last - times * next);
        (last_factor, factor) = (factor, last_factor - i128::from(times) * factor);
    }
    (last == 1).then(|| last_factor.rem_euclid(i128::from(modulus)) as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::population::tests::population;

    pub(crate) fn wanted(per_user: f64, size: &str, large: &[u32]) -> Wanted {
        Wanted {
            per_user,
            size: size.parse().unwrap(),
            large: large.to_vec(),
        }
    }

    /// Makes the memberships of a part without groups.
    pub(crate) fn none(part: &Part) -> Memberships {
        Memberships::new(part, &wanted(0.0, "const(2)", &[]), 0)
    }

    fn of(users: u32, wanted: &Wanted) -> Memberships {
        Memberships::new(&population(users, 1000, 2).part(0, 1), wanted, 7)
    }

    #[test]
    fn members_are_distinct_and_both_ways_agree() {
        for users in [3, 4, 10, 97, 1000] {
            for per_user in [0.5, 1.0, 2.0, 2.5] {
                let all = of(
                    users,
                    &wanted(per_user, "exp(10)", &[users, 2, users / 2 + 1]),
                );
                for group in 0..all.groups() {
                    let size = all.size(group);
                    assert!((FEWEST..=users).contains(&size), "{users}: {size}");
                    let members: Vec<_> = (0..size).map(|nth| all.member(group, nth)).collect();
                    let distinct: BTreeSet<_> = members.iter().collect();
                    assert_eq!(distinct.len(), size as usize, "{users}, {group}");
                    for (nth, user) in (0..).zip(&members) {
                        assert_eq!(all.nth(group, *user), Some(nth));
                        let membership = all.membership(group, nth);
                        assert_eq!(all.group(membership), Some(group));
                        assert_eq!(all.in_round(all.round(group), *user), Some(membership));
                    }
                    let outside = (0..users).filter(|user| !distinct.contains(user));
                    assert!({ outside }.all(|user| all.nth(group, user).is_none()));
                }
            }
        }
    }

    #[test]
    fn users_are_in_as_many_groups_as_asked_for() {
        for (per_user, least, most) in [(2.0, 2, 2), (2.5, 2, 3), (0.5, 0, 1)] {
            let all = of(1000, &wanted(per_user, "exp(10)", &[]));
            let groups = |user| {
                let rounds = 0..all.ordinary_rounds();
                let in_one = |round: &u32| all.in_round(*round, user).is_some();
                rounds.filter(in_one).count()
            };
            let counts: Vec<_> = (0..1000).map(groups).collect();
            assert_eq!(counts.iter().min(), Some(&least), "{per_user}");
            assert_eq!(counts.iter().max(), Some(&most), "{per_user}");
            let mean = counts.iter().sum::<usize>() as f64 / 1000.0;
            assert!((mean - per_user).abs() < 0.01, "{per_user}: {mean}");
            assert_eq!(all.members(), counts.iter().sum::<usize>() as u64);
        }
    }

    #[test]
    fn sizes_are_those_of_the_distribution() {
        let all = of(200_000, &wanted(2.0, "exp(10)", &[]));
        let sizes: Vec<_> = (0..all.groups()).map(|group| all.size(group)).collect();
        // An exponential around 10, rounded, and 2 where it is less: of 1 − e^(−0.25) there are 2.
        let twos = sizes.iter().filter(|size| **size == 2).count() as f64;
        let part = twos / sizes.len() as f64;
        assert!((part - 0.2212).abs() < 0.01, "{part}");
        let above = sizes.iter().filter(|size| **size > 20).count() as f64;
        let part = above / sizes.len() as f64;
        assert!((part - (-2.05f64).exp()).abs() < 0.005, "{part}");
        let all = of(1000, &wanted(1.0, "const(7)", &[]));
        let sizes: BTreeSet<_> = (0..all.groups()).map(|group| all.size(group)).collect();
        // 142 groups of 7, and one group of the other 6.
        assert_eq!(sizes, [6, 7].into());
        assert_eq!(all.groups(), 143);
    }

    #[test]
    fn large_groups_stand_behind_the_ordinary_ones() {
        let all = of(100, &wanted(1.0, "const(10)", &[60, 40, 100, 1]));
        assert_eq!((all.first_large(), all.groups()), (10, 14));
        assert_eq!((all.ordinary_rounds(), all.rounds()), (1, 4));
        let sizes: Vec<_> = (10..14).map(|group| all.size(group)).collect();
        assert_eq!(sizes, [60, 40, 100, 1]);
        // The first two groups share a round, so no user is in both.
        let both = |user: &u32| all.nth(10, *user).is_some() && all.nth(11, *user).is_some();
        assert!(!(0..100).any(|user| both(&user)));
        let none = none(&population(9, 1000, 2).part(0, 1));
        assert_eq!((none.groups(), none.count(), none.first_large()), (0, 0, 0));
    }

    #[test]
    fn the_seed_fixes_them_and_parts_differ() {
        let population = population(1000, 1000, 2);
        let wanted = wanted(2.0, "exp(10)", &[50]);
        let of = |thread, seed| Memberships::new(&population.part(thread, 2), &wanted, seed);
        let members = |all: &Memberships| {
            let groups = 0..all.groups();
            let each =
                groups.map(|group| (0..all.size(group)).map(|n| all.member(group, n)).collect());
            each.collect::<Vec<Vec<u32>>>()
        };
        assert_eq!(members(&of(0, 7)), members(&of(0, 7)));
        assert_ne!(members(&of(0, 7)), members(&of(0, 8)));
        assert_ne!(members(&of(0, 7)), members(&of(1, 7)));
    }

    #[test]
    fn names_go_both_ways_and_parts_share_none() {
        let population = population(100, 1000, 2);
        let wanted = wanted(1.0, "const(5)", &[]);
        let [one, other] =
            [0, 1].map(|thread| Memberships::new(&population.part(thread, 2), &wanted, 7));
        for group in 0..one.groups() {
            let mut id = "g:".to_owned();
            one.write_name(group, &mut id);
            assert_eq!(one.parse_conversation(&id), Some(group));
            assert_eq!(other.parse_conversation(&id), None, "{id}");
        }
        for bad in [
            "g:t1.g",
            "g:t1.g+0",
            "g:t1.g9999",
            "t1.g0",
            "g:t2.g0",
            "u:t1.g0",
            "g:t1.g0x",
        ] {
            assert_eq!(one.parse_conversation(bad), None, "{bad}");
        }
    }

    #[test]
    fn inverses() {
        for modulus in [2u64, 9, 10, 97, 1 << 20] {
            for step in 1..modulus.min(200) {
                match inverse(step, modulus) {
                    Some(back) => assert_eq!(step * back % modulus, 1, "{step} of {modulus}"),
                    None => assert!((2..=step).any(|d| step % d == 0 && modulus % d == 0)),
                }
            }
        }
        assert_eq!(inverse(1, 1), Some(0));
    }
}
