//! Sets of a group's devices: who is there now, and who has not got a message yet.
//!
//! A group's seats are numbered: the devices of its first member, then those of the next, each member
//! with as many seats as the users of the run have devices at most.

use crate::membership::Memberships;
use crate::population::Part;

/// Bits of a word.
const WORD: u32 = u64::BITS;

/// Which devices of each group are owed what is sent in it.
#[derive(Debug)]
pub(super) struct Seats {
    /// Seats of a member.
    most: u32,
    /// By group, the first of its words; one more at the end.
    first: Vec<u32>,
    words: Vec<u64>,
}

impl Seats {
    /// Nobody is there.
    pub(super) fn new(part: &Part, members: &Memberships) -> Self {
        let most = part.most_devices();
        let mut end = 0;
        let mut first = vec![0];
        for group in 0..members.groups() {
            end += (members.size(group) * most).div_ceil(WORD);
            first.push(end);
        }
        Self {
            most,
            first,
            words: vec![0; end as usize],
        }
    }

    /// The seat of a device in a group of which its user is the `nth` member.
    pub(super) fn seat(&self, part: &Part, nth: u32, device: u32) -> u32 {
        nth * self.most + part.device_index(device)
    }

    /// The member and the number of the device in a seat.
    pub(super) fn of(&self, seat: u32) -> (u32, u32) {
        (seat / self.most, seat % self.most)
    }

    /// Notes in all its groups whether a device is there.
    pub(super) fn set(&mut self, part: &Part, members: &Memberships, device: u32, there: bool) {
        let user = part.user_of(device);
        for round in 0..members.rounds() {
            let Some(membership) = members.in_round(round, user) else {
                continue;
            };
            let Some(group) = members.group(membership) else {
                continue;
            };
            let seat = self.seat(part, membership - members.membership(group, 0), device);
            let word = &mut self.words[(self.first[group as usize] + seat / WORD) as usize];
            match there {
                true => *word |= 1 << (seat % WORD),
                false => *word &= !(1 << (seat % WORD)),
            }
        }
    }

    /// The words of a group.
    pub(super) fn words(&self, group: u32) -> &[u64] {
        let group = group as usize;
        &self.words[self.first[group] as usize..self.first[group + 1] as usize]
    }
}

/// A set of one message's seats, in [`Sets`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    class: u8,
    place: u32,
    words: u32,
}

/// Sets in memory that is used again: by class, those of up to 1, 2, 4 … words.
#[derive(Debug, Default)]
pub(super) struct Sets {
    classes: Vec<Class>,
}

#[derive(Debug, Default)]
struct Class {
    words: Vec<u64>,
    free: Vec<u32>,
}

impl Sets {
    /// A set like `words`.
    pub(super) fn add(&mut self, words: &[u64]) -> Set {
        let class = words.len().next_power_of_two().trailing_zeros();
        while self.classes.len() <= class as usize {
            self.classes.push(Class::default());
        }
        let Class { words: all, free } = &mut self.classes[class as usize];
        let place = free.pop().unwrap_or_else(|| {
            all.resize(all.len() + (1 << class), 0);
            (all.len() >> class) as u32 - 1
        });
        let set = Set {
            class: class as u8,
            place,
            words: words.len() as u32,
        };
        self.words_mut(set).copy_from_slice(words);
        set
    }

    fn range(set: Set) -> std::ops::Range<usize> {
        let first = (set.place as usize) << set.class;
        first..first + set.words as usize
    }

    fn words_mut(&mut self, set: Set) -> &mut [u64] {
        &mut self.classes[set.class as usize].words[Self::range(set)]
    }

    fn words(&self, set: Set) -> &[u64] {
        &self.classes[set.class as usize].words[Self::range(set)]
    }

    /// Gives a set's memory back.
    pub(super) fn free(&mut self, set: Set) {
        self.classes[set.class as usize].free.push(set.place);
    }

    /// How many words a set has.
    pub(super) fn words_of(&self, set: Set) -> usize {
        self.words(set).len()
    }

    /// Whether a seat is in a set.
    pub(super) fn has(&self, set: Set, seat: u32) -> bool {
        self.words(set)[(seat / WORD) as usize] & 1 << (seat % WORD) != 0
    }

    /// Takes a seat out of a set.
    pub(super) fn take(&mut self, set: Set, seat: u32) {
        self.words_mut(set)[(seat / WORD) as usize] &= !(1 << (seat % WORD));
    }

    /// Takes all seats out of a set.
    pub(super) fn clear(&mut self, set: Set) {
        self.words_mut(set).fill(0);
    }

    /// How many seats are in a set.
    pub(super) fn len(&self, set: Set) -> u32 {
        self.words(set).iter().map(|word| word.count_ones()).sum()
    }

    /// The seats of a set.
    pub(super) fn seats(&self, set: Set) -> impl Iterator<Item = u32> {
        (0..)
            .zip(self.words(set))
            .filter(|(_, word)| **word != 0)
            .flat_map(|(at, word)| {
                let bits = (0..WORD).filter(move |bit| word & 1 << bit != 0);
                bits.map(move |bit| at * WORD + bit)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;

    #[test]
    fn sets_keep_apart_and_their_memory_is_used_again() {
        let mut sets = Sets::default();
        let one = sets.add(&[0b101]);
        let long = sets.add(&[u64::MAX, 0, 1 << 63]);
        let other = sets.add(&[0b10]);
        assert_eq!(sets.seats(one).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(sets.len(long), 65);
        sets.take(long, 5);
        assert!(!sets.has(long, 5) && sets.has(long, 191) && !sets.has(long, 64));
        assert_eq!((sets.len(long), sets.len(one), sets.len(other)), (64, 2, 1));
        let sizes = |sets: &Sets| {
            sets.classes
                .iter()
                .map(|it| it.words.len())
                .collect::<Vec<_>>()
        };
        let before = sizes(&sets);
        for _ in 0..100 {
            sets.free(long);
            let again = sets.add(&[0, 7, 0]);
            assert_eq!((again.place, sets.len(again)), (long.place, 3));
        }
        assert_eq!(sizes(&sets), before);
    }

    #[test]
    fn a_device_is_there_in_all_groups_of_its_user() {
        let part = population(50, 1500, 2).part(0, 1);
        let members = Memberships::new(&part, &wanted(2.5, "exp(10)", &[40]), 1);
        let mut seats = Seats::new(&part, &members);
        for device in 0..part.devices() {
            seats.set(&part, &members, device, true);
            let user = part.user_of(device);
            for group in 0..members.groups() {
                let there: u32 = seats.words(group).iter().map(|it| it.count_ones()).sum();
                let nth = members.nth(group, user);
                assert_eq!(there, u32::from(nth.is_some()), "{device} in {group}");
                if let Some(nth) = nth {
                    let seat = seats.seat(&part, nth, device);
                    assert_eq!(seats.of(seat), (nth, part.device_index(device)));
                    let word = seats.words(group)[(seat / WORD) as usize];
                    assert_ne!(word & 1 << (seat % WORD), 0);
                }
            }
            seats.set(&part, &members, device, false);
            assert!(seats.words.iter().all(|word| *word == 0));
        }
    }
}
