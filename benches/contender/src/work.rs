//! The messages. They are the same for all contenders, in the same order, also after a restart.

/// The size of a body in bytes.
pub const BODY: usize = 120;
/// The number of messages per read.
pub const READ: u64 = 100;

/// One loaded message of this many goes to a timeline that is read later.
const DEEP_EVERY: u64 = 3;
/// The number of such timelines that share two users, so that the users' lists fill a page.
const SHARING: u64 = 8;

/// A message for a conversation of two.
#[derive(Debug, Clone)]
pub struct Message {
    /// The timeline of the message, an evenly distributed id.
    pub timeline: u128,
    /// The place of the message in the timeline, from 1 without gaps.
    pub seq: u64,
    /// The index entries for the two users, if entries are asked for.
    pub readers: [Entry; 2],
    /// Random bytes, so that no store gains by compressing them.
    pub body: [u8; BODY],
}

/// A place in the list of a user's messages.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The list, an evenly distributed id.
    pub list: u128,
    /// The place in the list, from 1 without gaps.
    pub number: u64,
}

/// Makes the messages.
///
/// Two of three loaded messages go to all timelines in turn. The third goes to one of a few deep
/// timelines, which have at least [`READ`] messages at the end, spread over the whole load. Only
/// deep timelines are read.
#[derive(Debug)]
pub struct Work {
    timelines: u64,
    deep: u64,
    /// The number of messages per timeline. There are as many users as timelines.
    seqs: Vec<u32>,
    numbers: Vec<u32>,
    loaded: u64,
    random: u64,
}

impl Work {
    /// Makes the work on `timelines` timelines into which `messages` will be loaded.
    ///
    /// # Panics
    /// `timelines` is 0.
    #[must_use]
    pub fn new(timelines: u64, messages: u64) -> Self {
        assert!(timelines > 0, "no timelines");
        Work {
            timelines,
            deep: (messages / DEEP_EVERY / READ).clamp(1, timelines),
            seqs: vec![0; timelines as usize],
            numbers: vec![0; timelines as usize],
            loaded: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Makes work whose load goes to all timelines in turn, without deep timelines.
    ///
    /// # Panics
    /// `timelines` is 0.
    #[must_use]
    pub fn around(timelines: u64) -> Self {
        Work {
            deep: 0,
            ..Self::new(timelines, 0)
        }
    }

    /// Returns the next message of the load.
    pub fn load(&mut self) -> Message {
        let timeline = self.load_timeline();
        self.message(timeline)
    }

    /// Skips the next `messages` of the load, and returns the last of them.
    pub fn skip(&mut self, messages: u64) -> Option<Message> {
        for _ in 1..messages {
            let timeline = self.load_timeline();
            self.count(timeline);
        }
        (messages > 0).then(|| self.load())
    }

    /// Returns a message to a random timeline.
    pub fn draw(&mut self) -> Message {
        let timeline = self.random() % self.timelines;
        self.message(timeline)
    }

    /// Returns a random deep timeline, and its last sequence.
    ///
    /// # Panics
    /// There is no deep timeline.
    pub fn draw_read(&mut self) -> (u128, u64) {
        let timeline = self.random() % self.deep;
        self.read_of(timeline)
    }

    /// Returns all deep timelines, and their last sequences.
    pub fn reads(&self) -> impl Iterator<Item = (u128, u64)> + '_ {
        (0..self.deep).map(|timeline| self.read_of(timeline))
    }

    /// Returns the list of a user with many entries: eight times [`READ`] or more, where there are
    /// enough messages.
    pub fn draw_list(&mut self) -> u128 {
        let user = self.random() % (self.deep / SHARING).max(1);
        id(2, user)
    }

    /// Returns the body of a message.
    #[must_use]
    pub fn body(timeline: u128, seq: u64) -> [u8; BODY] {
        let mut body = [0; BODY];
        let mut word = timeline as u64 ^ seq.rotate_left(32);
        for chunk in body.chunks_exact_mut(8) {
            word = mix(word);
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        body
    }

    fn load_timeline(&mut self) -> u64 {
        let at = self.loaded;
        self.loaded += 1;
        let deep = at / DEEP_EVERY;
        match at % DEEP_EVERY == DEEP_EVERY - 1 {
            _ if self.deep == 0 => at % self.timelines,
            true => deep % self.deep,
            false => (at - deep) % self.timelines,
        }
    }

    fn read_of(&self, timeline: u64) -> (u128, u64) {
        let last = self.seqs[timeline as usize];
        (id(1, timeline), u64::from(last))
    }

    fn message(&mut self, timeline: u64) -> Message {
        let users = self.users(timeline);
        self.count(timeline);
        let (id_of, seq) = (id(1, timeline), u64::from(self.seqs[timeline as usize]));
        Message {
            timeline: id_of,
            seq,
            readers: users.map(|user| Entry {
                list: id(2, user),
                number: u64::from(self.numbers[user as usize]),
            }),
            body: Self::body(id_of, seq),
        }
    }

    fn count(&mut self, timeline: u64) {
        self.seqs[timeline as usize] += 1;
        for user in self.users(timeline) {
            self.numbers[user as usize] += 1;
        }
    }

    /// Returns the two users of a conversation. They differ, unless there is only one user.
    fn users(&self, timeline: u64) -> [u64; 2] {
        let first = match timeline < self.deep {
            true => timeline / SHARING,
            false => timeline,
        };
        [first, (first + self.timelines / 2) % self.timelines]
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(1);
        mix(self.random)
    }
}

/// Returns the id of a timeline or list: 16 evenly distributed bytes.
fn id(kind: u64, number: u64) -> u128 {
    let high = mix(number ^ kind << 56);
    u128::from(high) << 64 | u128::from(mix(high))
}

/// Mixes a value (SplitMix64). Different values give different results.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_deep_and_every_timeline_is_used() {
        let mut work = Work::new(1000, 3000);
        for _ in 0..3000 {
            work.load();
        }
        assert!(work.seqs.iter().all(|&seq| seq > 0));
        assert!(work.reads().all(|(_, last)| last >= READ));
        assert_eq!(work.reads().count(), 10);
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let (mut one, mut other) = (Work::new(50, 300), Work::new(50, 300));
        let mut last = None;
        for _ in 0..200 {
            last = Some(one.load());
        }
        let skipped = other.skip(200);
        assert_eq!(format!("{last:?}"), format!("{skipped:?}"));
        assert_eq!(format!("{:?}", one.load()), format!("{:?}", other.load()));
    }

    #[test]
    fn sequences_and_entries_have_no_gaps() {
        let mut work = Work::new(7, 100);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..100 {
            let message = work.draw();
            let entries = message.readers.map(|entry| (entry.list, entry.number));
            for (list, number) in [(message.timeline, message.seq)].into_iter().chain(entries) {
                let last = seen.entry(list).or_insert(0);
                *last += 1;
                assert_eq!(*last, number);
            }
        }
    }
}
