//! The state of each conversation: its messages counted, their sequences, and a digest of both.

use super::origin::Origin;
use super::sequences::Sequences;
use crate::random::mix;

/// The state of the conversations of one thread.
#[derive(Debug)]
pub(super) struct Conversations {
    states: Vec<ConversationState>,
}

/// The state of one conversation.
#[derive(Debug, Default)]
struct ConversationState {
    sequences: Sequences,
    /// A digest of the sequences of all messages known to be stored.
    digest: u64,
    sent: u32,
    refused: u32,
    /// Whether the history has been read to its end.
    read: bool,
    /// Whether a send had no answer at the end of the time for answers.
    uncertain: bool,
}

/// Returns a number for "this message has this sequence". The XOR of these numbers over a
/// conversation tells which message has which sequence, independent of the order in which the
/// checker learns it.
pub(super) fn digest(origin: Origin, seq: u32) -> u64 {
    let message = u64::from(origin.conversation) << 32 | u64::from(origin.counter);
    mix(mix(message) ^ u64::from(seq))
}

impl Conversations {
    /// Makes `count` conversations without messages.
    pub(super) fn new(count: u32) -> Self {
        Self {
            states: (0..count).map(|_| ConversationState::default()).collect(),
        }
    }

    fn of(&self, conversation: u32) -> &ConversationState {
        &self.states[conversation as usize]
    }

    fn at(&mut self, conversation: u32) -> &mut ConversationState {
        &mut self.states[conversation as usize]
    }

    /// Returns the number of conversations.
    pub(super) fn len(&self) -> u32 {
        self.states.len() as u32
    }

    /// Counts one more message of a conversation. Returns its number, from 1.
    pub(super) fn count_sent(&mut self, conversation: u32) -> u32 {
        let state = self.at(conversation);
        state.sent += 1;
        state.sent
    }

    /// Counts a refused message of a conversation.
    pub(super) fn count_refused(&mut self, conversation: u32) {
        self.at(conversation).refused += 1;
    }

    /// Returns whether a message with this number was sent.
    pub(super) fn was_sent(&self, origin: Origin) -> bool {
        origin.counter <= self.of(origin.conversation).sent
    }

    /// Returns whether any message of a conversation was sent and not refused.
    pub(super) fn has_messages(&self, conversation: u32) -> bool {
        let state = self.of(conversation);
        state.sent > state.refused
    }

    /// Takes a sequence for a message. Returns false if another message has it, or if it is 0.
    pub(super) fn take(&mut self, conversation: u32, seq: u32) -> bool {
        self.at(conversation).sequences.insert(seq)
    }

    /// Returns whether any message of a conversation is known to have a sequence.
    pub(super) fn has_sequences(&self, conversation: u32) -> bool {
        self.of(conversation).sequences.max() != 0
    }

    /// Returns the lowest sequence below the highest that no message has. Returns `None` if there
    /// is none, or if a send has no answer, because its message may have the missing sequence.
    pub(super) fn missing(&self, conversation: u32) -> Option<u32> {
        let state = self.of(conversation);
        state.sequences.gap().filter(|_| !state.uncertain)
    }

    /// Notes that a send had no answer when the time for answers was over.
    pub(super) fn set_uncertain(&mut self, conversation: u32) {
        self.at(conversation).uncertain = true;
    }

    /// Adds a stored message with its sequence to the digest; each message is added once.
    pub(super) fn add_to_digest(&mut self, origin: Origin, seq: u32) {
        self.at(origin.conversation).digest ^= digest(origin, seq);
    }

    /// Notes that history was read to its end. `read` is the digest of its messages. Returns
    /// whether it equals the digest of the messages known to be stored.
    pub(super) fn finish_reading(&mut self, conversation: u32, read: u64) -> bool {
        let state = self.at(conversation);
        state.read = true;
        state.digest == read
    }

    /// Returns whether history was read to its end.
    pub(super) fn is_read(&self, conversation: u32) -> bool {
        self.of(conversation).read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(counter: u32) -> Origin {
        Origin {
            conversation: 1,
            stream: 2,
            counter,
            intended_us: 0,
        }
    }

    #[test]
    fn messages_are_counted_and_refused_ones_do_not_matter() {
        let mut all = Conversations::new(2);
        assert!(!all.has_messages(1) && !all.was_sent(message(1)));
        assert_eq!((all.count_sent(1), all.count_sent(1)), (1, 2));
        assert!(all.was_sent(message(2)) && !all.was_sent(message(3)));
        all.count_refused(1);
        assert!(all.has_messages(1) && !all.has_messages(0));
        all.count_refused(1);
        assert!(!all.has_messages(1));
    }

    #[test]
    fn a_missing_sequence_may_be_that_of_an_unanswered_send() {
        let mut all = Conversations::new(2);
        assert!(!all.has_sequences(1));
        assert!(all.take(1, 1) && all.take(1, 3) && !all.take(1, 3) && !all.take(1, 0));
        assert!(all.has_sequences(1) && !all.has_sequences(0));
        assert_eq!((all.missing(1), all.missing(0)), (Some(2), None));
        all.set_uncertain(1);
        assert_eq!(all.missing(1), None);
    }

    #[test]
    fn history_is_the_same_whatever_the_order_it_was_learned_in() {
        let mut all = Conversations::new(2);
        all.add_to_digest(message(2), 2);
        all.add_to_digest(message(1), 1);
        assert!(!all.is_read(1));
        let read = digest(message(1), 1) ^ digest(message(2), 2);
        let swapped = digest(message(1), 2) ^ digest(message(2), 1);
        assert!(all.finish_reading(1, read) && all.is_read(1));
        assert!(!all.finish_reading(1, swapped));
        assert!(!all.finish_reading(1, digest(message(1), 1)));
    }

    #[test]
    fn a_conversation_takes_little_memory() {
        assert_eq!(size_of::<ConversationState>(), 48);
    }
}
