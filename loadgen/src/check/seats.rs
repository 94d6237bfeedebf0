//! Sets of a conversation's seats: the devices that are owed messages sent now, and the devices
//! that have not received a message yet.

use super::roster::Roster;

/// The number of seats in a word.
const WORD: u32 = u64::BITS;

/// The devices of each group that are owed a message sent now.
///
/// A group keeps one bit for each seat, so that a send copies a few words. A pair keeps nothing:
/// two users have few devices, and the checker looks at their sessions instead.
#[derive(Debug)]
pub(super) struct Attendance {
    /// The index of the first word of each group, and the end of the last one.
    first: Vec<u32>,
    words: Vec<u64>,
}

impl Attendance {
    /// Attendance without any device.
    pub(super) fn new(roster: &Roster) -> Self {
        let mut end = 0;
        let mut first = vec![0];
        for conversation in 0..roster.conversations() {
            if !roster.is_pair(conversation) {
                end += roster.seats(conversation).div_ceil(WORD);
                first.push(end);
            }
        }
        Self {
            first,
            words: vec![0; end as usize],
        }
    }

    /// Notes in all groups of a device's user whether the device is owed what is sent.
    pub(super) fn set(&mut self, roster: &Roster, device: u32, owed: bool) {
        let (part, members) = (roster.part(), roster.members());
        let user = part.user_of(device);
        let index = part.device_index(device);
        for round in 0..members.rounds() {
            let Some(membership) = members.in_round(round, user) else {
                continue;
            };
            let Some(group) = members.group(membership) else {
                continue;
            };
            let nth = membership - members.membership(group, 0);
            let seat = roster.seat_number(nth, index);
            let word = &mut self.words[(self.first[group as usize] + seat / WORD) as usize];
            match owed {
                true => *word |= 1 << (seat % WORD),
                false => *word &= !(1 << (seat % WORD)),
            }
        }
    }

    /// Returns the seats of a group that are owed a message sent now, one bit per seat.
    pub(super) fn words(&self, group: u32) -> &[u64] {
        let group = group as usize;
        &self.words[self.first[group] as usize..self.first[group + 1] as usize]
    }
}

/// A set of one conversation's seats. Up to 64 seats fit into its own word; larger sets use words
/// in [`SeatSets`].
#[derive(Clone, Copy, Debug)]
pub(super) enum SeatSet {
    /// A bit for each seat.
    Few(u64),
    /// Words of a class of [`SeatSets`].
    Many {
        class: u8,
        place: u32,
        words: u32,
        /// The number of seats in the set.
        left: u32,
    },
}

/// The words of large [`SeatSet`]s, in memory that is reused. The classes hold sets of up to 1, 2,
/// 4 … words.
#[derive(Debug, Default)]
pub(super) struct SeatSets {
    classes: Vec<Class>,
    /// The number of words of all sets in use.
    used: usize,
}

#[derive(Debug, Default)]
struct Class {
    words: Vec<u64>,
    free: Vec<u32>,
}

impl SeatSets {
    /// Makes a set with the bits of `words`.
    pub(super) fn add(&mut self, words: &[u64]) -> SeatSet {
        if let [word] = words {
            return SeatSet::Few(*word);
        }
        let class = words.len().next_power_of_two().trailing_zeros();
        while self.classes.len() <= class as usize {
            self.classes.push(Class::default());
        }
        let Class { words: all, free } = &mut self.classes[class as usize];
        let place = free.pop().unwrap_or_else(|| {
            all.resize(all.len() + (1 << class), 0);
            (all.len() >> class) as u32 - 1
        });
        let mut set = SeatSet::Many {
            class: class as u8,
            place,
            words: words.len() as u32,
            left: words.iter().map(|word| word.count_ones()).sum(),
        };
        self.words_mut(&mut set).copy_from_slice(words);
        self.used += words.len();
        set
    }

    /// Returns the number of words of all large sets in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Returns the memory of a set for reuse. The set must not be used after that.
    pub(super) fn free(&mut self, set: SeatSet) {
        if let SeatSet::Many {
            class,
            place,
            words,
            ..
        } = set
        {
            self.classes[class as usize].free.push(place);
            self.used -= words as usize;
        }
    }

    fn range(class: u8, place: u32, words: u32) -> std::ops::Range<usize> {
        let first = (place as usize) << class;
        first..first + words as usize
    }

    fn words<'a>(&'a self, set: &'a SeatSet) -> &'a [u64] {
        match set {
            SeatSet::Few(word) => std::slice::from_ref(word),
            SeatSet::Many {
                class,
                place,
                words,
                ..
            } => &self.classes[*class as usize].words[Self::range(*class, *place, *words)],
        }
    }

    fn words_mut<'a>(&'a mut self, set: &'a mut SeatSet) -> &'a mut [u64] {
        match set {
            SeatSet::Few(word) => std::slice::from_mut(word),
            SeatSet::Many {
                class,
                place,
                words,
                ..
            } => &mut self.classes[*class as usize].words[Self::range(*class, *place, *words)],
        }
    }

    /// Returns whether a seat is in a set.
    pub(super) fn has(&self, set: &SeatSet, seat: u32) -> bool {
        self.words(set)[(seat / WORD) as usize] & 1 << (seat % WORD) != 0
    }

    /// Takes a seat out of a set that has it.
    pub(super) fn take(&mut self, set: &mut SeatSet, seat: u32) {
        self.words_mut(set)[(seat / WORD) as usize] &= !(1 << (seat % WORD));
        if let SeatSet::Many { left, .. } = set {
            *left -= 1;
        }
    }

    /// Takes all seats out of a set.
    pub(super) fn clear(&mut self, set: &mut SeatSet) {
        self.words_mut(set).fill(0);
        if let SeatSet::Many { left, .. } = set {
            *left = 0;
        }
    }

    /// Returns the seats of a set, in order.
    pub(super) fn seats<'a>(&'a self, set: &'a SeatSet) -> impl Iterator<Item = u32> + use<'a> {
        (0..)
            .zip(self.words(set))
            .filter(|(_, word)| **word != 0)
            .flat_map(|(at, word)| {
                let bits = (0..WORD).filter(move |bit| word & 1 << bit != 0);
                bits.map(move |bit| at * WORD + bit)
            })
    }
}

impl SeatSet {
    /// Returns the number of seats in the set.
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Few(word) => word.count_ones(),
            Self::Many { left, .. } => *left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Memberships;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;

    #[test]
    fn sets_keep_apart_and_their_memory_is_used_again() {
        let mut sets = SeatSets::default();
        let one = sets.add(&[0b101]);
        let mut long = sets.add(&[u64::MAX, 0, 1 << 63]);
        let other = sets.add(&[0b10, 0]);
        assert_eq!(sets.seats(&one).collect::<Vec<_>>(), [0, 2]);
        assert_eq!((long.len(), sets.used()), (65, 5));
        sets.take(&mut long, 5);
        assert!(!sets.has(&long, 5) && sets.has(&long, 191) && !sets.has(&long, 64));
        assert_eq!((long.len(), one.len(), other.len()), (64, 2, 1));
        assert_eq!(sets.seats(&long).count(), 64);
        let sizes = |sets: &SeatSets| {
            let classes = sets.classes.iter();
            classes.map(|it| it.words.len()).collect::<Vec<_>>()
        };
        let before = sizes(&sets);
        for _ in 0..100 {
            sets.free(long);
            long = sets.add(&[0, 7, 0]);
            assert_eq!(long.len(), 3);
        }
        assert_eq!((sizes(&sets), sets.used()), (before, 5));
        sets.clear(&mut long);
        assert_eq!((long.len(), sets.seats(&long).count()), (0, 0));
    }

    #[test]
    fn a_small_set_takes_no_memory_of_its_own() {
        let mut sets = SeatSets::default();
        let mut set = sets.add(&[1 << 63 | 1]);
        sets.take(&mut set, 63);
        assert_eq!(sets.seats(&set).collect::<Vec<_>>(), [0]);
        sets.clear(&mut set);
        assert_eq!((set.len(), sets.used(), sets.classes.len()), (0, 0, 0));
        sets.free(set);
        assert_eq!(size_of::<SeatSet>(), 16);
    }

    #[test]
    fn a_device_is_owed_in_all_groups_of_its_user() {
        let part = population(50, 1500, 2).part(0, 1);
        let members = Memberships::new(&part, &wanted(2.5, "exp(10)", &[40]), 1);
        let roster = Roster::new(part, members.into());
        let mut attendance = Attendance::new(&roster);
        for device in 0..roster.part().devices() {
            attendance.set(&roster, device, true);
            for conversation in 0..roster.conversations() {
                let Some(group) = roster.group(conversation) else {
                    continue;
                };
                let words = attendance.words(group);
                let owed: u32 = words.iter().map(|it| it.count_ones()).sum();
                let seat = roster.seat(conversation, device);
                assert_eq!(owed, u32::from(seat.is_some()), "{device} in {group}");
                if let Some(seat) = seat {
                    let word = words[(seat.number / WORD) as usize];
                    assert_ne!(word & 1 << (seat.number % WORD), 0);
                }
            }
            attendance.set(&roster, device, false);
            assert!(attendance.words.iter().all(|word| *word == 0));
        }
    }
}
