//! Reading conversations back, page by page, each through the session of one of its members.

use crate::check::Reading;
use crate::random::mix;

/// The command id of history pages: beyond the ids of sends.
const HISTORY_ID: u32 = 0x00ff_fffe;

/// Conversations read back at a time.
const READINGS: usize = 16;

/// The number of messages per request: the most that the protocol allows in a page.
pub(super) const PAGE: u32 = 500;

/// A conversation that is being read back.
#[derive(Debug)]
pub(super) struct OpenReading {
    pub(super) reading: Reading,
    /// The device that asks for the pages.
    pub(super) device: u32,
}

/// The conversations of a thread that are read back.
#[derive(Debug)]
pub(super) struct ReadBack {
    /// One conversation in this many is read back; 0 reads back none.
    every: u64,
    seed: u64,
    /// The next conversation to be looked at.
    next: u32,
    /// The open readings by their place in the command id; at most [`READINGS`].
    open: Vec<Option<OpenReading>>,
}

impl ReadBack {
    /// Makes a list without readings. The seed chooses one conversation in `every`; 0 chooses none.
    pub(super) fn new(every: u64, seed: u64) -> Self {
        Self {
            every,
            seed,
            next: 0,
            open: Vec::new(),
        }
    }

    /// Returns whether a conversation may be begun now.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < READINGS || self.open.iter().any(Option::is_none)
    }

    /// Takes the next of `conversations` that is chosen by the seed.
    pub(super) fn next(&mut self, conversations: u32) -> Option<u32> {
        while self.every != 0 && self.next < conversations {
            let conversation = self.next;
            self.next += 1;
            if mix(self.seed ^ u64::from(conversation)).is_multiple_of(self.every) {
                return Some(conversation);
            }
        }
        None
    }

    /// Begins to read a conversation through a device. Returns the reading's place.
    pub(super) fn begin(&mut self, conversation: u32, device: u32) -> usize {
        let free = self.open.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        self.open[place] = Some(OpenReading {
            reading: Reading::new(conversation),
            device,
        });
        place
    }

    /// Returns the reading at a place.
    pub(super) fn at(&mut self, place: usize) -> Option<&mut OpenReading> {
        self.open.get_mut(place)?.as_mut()
    }

    /// Returns the places at which a conversation is being read.
    pub(super) fn places(&self) -> Vec<usize> {
        let open = self.open.iter().enumerate();
        open.filter_map(|(place, it)| it.as_ref().map(|_| place))
            .collect()
    }

    /// Ends the reading at a place.
    pub(super) fn end(&mut self, place: usize) {
        if let Some(open) = self.open.get_mut(place) {
            *open = None;
        }
    }

    /// Ends all readings. Returns how many there were.
    pub(super) fn end_all(&mut self) -> usize {
        std::mem::take(&mut self.open).into_iter().flatten().count()
    }

    /// Returns whether nothing is being read.
    pub(super) fn is_idle(&self) -> bool {
        self.open.iter().all(Option::is_none)
    }
}

/// Returns the command id of the reading at a place.
pub(super) fn history_id(place: usize) -> u32 {
    HISTORY_ID - place as u32
}

/// Returns the place of the reading with a command id; `None` for ids of other commands.
pub(super) fn place_of(id: u32) -> Option<usize> {
    (HISTORY_ID - READINGS as u32 + 1..=HISTORY_ID)
        .contains(&id)
        .then(|| (HISTORY_ID - id) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_conversation_in_so_many_is_chosen() {
        let all: Vec<_> = {
            let mut read_back = ReadBack::new(1, 7);
            std::iter::from_fn(|| read_back.next(1_000)).collect()
        };
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
        let mut tenth = ReadBack::new(10, 7);
        let some = std::iter::from_fn(|| tenth.next(1_000)).count();
        assert!((50..150).contains(&some), "{some}");
        assert_eq!(ReadBack::new(0, 7).next(1_000), None);
    }

    #[test]
    fn there_is_room_for_so_many_and_places_are_taken_again() {
        let mut read_back = ReadBack::new(1, 7);
        for place in 0..READINGS {
            assert!(read_back.has_room());
            assert_eq!(read_back.begin(place as u32, 3), place);
        }
        assert!(!read_back.has_room());
        read_back.end(5);
        assert!(read_back.has_room() && !read_back.is_idle());
        assert_eq!(read_back.begin(99, 4), 5);
        assert_eq!(read_back.at(5).map(|it| it.device), Some(4));
        assert_eq!(read_back.places().len(), READINGS);
        assert_eq!(read_back.end_all(), READINGS);
        assert!(read_back.is_idle());
    }

    #[test]
    fn command_ids_and_places_are_the_same() {
        for place in [0, 1, READINGS - 1] {
            assert_eq!(place_of(history_id(place)), Some(place));
        }
        for id in [0, 1, HISTORY_ID + 1, HISTORY_ID - READINGS as u32] {
            assert_eq!(place_of(id), None, "{id}");
        }
    }
}
