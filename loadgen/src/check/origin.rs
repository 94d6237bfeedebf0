//! Which message a text is, and what a message must look like.

use trunkline_proto::message::Message;

use super::evidence::Violation;
use super::roster::Roster;
use super::scene::Scene;
use crate::clock::Nanos;
use crate::schedule::text::{GroupOrigin, PairOrigin, Texts};

/// One message of the run: its stream and number, and the time at which it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) conversation: u32,
    /// The stream of the member that wrote the message.
    pub(crate) stream: u32,
    /// The message's number in the conversation, from 1.
    pub(crate) counter: u32,
    /// The intended time of the send, in microseconds since the run's start.
    pub(crate) intended_us: u64,
}

impl Origin {
    /// When the message should have been sent, to the microsecond.
    pub(super) fn intended(&self) -> Nanos {
        self.intended_us * 1000
    }
}

/// Recognizes messages by their texts, and knows the text that each must have.
///
/// It keeps the whole text of the last recognized message, because the same message reaches several
/// devices one after another.
#[derive(Debug)]
pub(super) struct Recognizer {
    texts: Texts,
    /// The message that was recognized last, which the other fields are about.
    origin: Option<Origin>,
    text: String,
    conversation: String,
    from: String,
}

impl Recognizer {
    /// Makes a recognizer of these texts.
    pub(super) fn new(texts: Texts) -> Self {
        Self {
            texts,
            origin: None,
            text: String::new(),
            conversation: String::new(),
            from: String::new(),
        }
    }

    /// Replaces `out` by the text of a message.
    pub(super) fn write_text(&self, roster: &Roster, origin: Origin, out: &mut String) {
        match roster.group(origin.conversation) {
            None => self.texts.write(roster.part(), of_pair(origin), out),
            Some(group) => {
                let origin = GroupOrigin {
                    group,
                    user: roster.user(origin.stream),
                    counter: origin.counter,
                    intended_us: origin.intended_us,
                };
                let (part, members) = (roster.part(), roster.members());
                self.texts.write_in_group(part, members, origin, out);
            }
        }
    }

    /// Replaces `out` by the idempotency key of a message.
    pub(super) fn write_key(&self, roster: &Roster, origin: Origin, out: &mut String) {
        let Origin {
            stream, counter, ..
        } = origin;
        match roster.group(origin.conversation) {
            None => self.texts.write_key(roster.part(), stream, counter, out),
            Some(group) => {
                let members = roster.members();
                self.texts.write_group_key(members, group, counter, out);
            }
        }
    }

    /// Returns the message that a text belongs to, by the header of the text; `None` if it is not a
    /// message of this part.
    pub(super) fn recognize(&mut self, roster: &Roster, text: &str) -> Option<Origin> {
        if self.origin.is_some() && self.text == text {
            return self.origin;
        }
        let origin = self.parse(roster, text)?;
        if self.origin != Some(origin) {
            let mut expected = std::mem::take(&mut self.text);
            self.write_text(roster, origin, &mut expected);
            self.text = expected;
            self.conversation.clear();
            roster.write_conversation(origin.conversation, &mut self.conversation);
            self.from.clear();
            { roster.part() }.write_user(roster.user(origin.stream), &mut self.from);
            self.origin = Some(origin);
        }
        Some(origin)
    }

    fn parse(&self, roster: &Roster, text: &str) -> Option<Origin> {
        let (part, members) = (roster.part(), roster.members());
        if let Some(pair) = self.texts.origin(part, text) {
            return Some(Origin {
                conversation: part.conversation(pair.stream),
                stream: pair.stream,
                counter: pair.counter,
                intended_us: pair.intended_us,
            });
        }
        let in_group = self.texts.origin_in_group(part, members, text)?;
        let conversation = roster.conversation_of(in_group.group);
        let nth = roster.nth(conversation, in_group.user)?;
        Some(Origin {
            conversation,
            stream: roster.stream(conversation, nth),
            counter: in_group.counter,
            intended_us: in_group.intended_us,
        })
    }

    /// Returns whether a text is exactly that of the message that was recognized last.
    pub(super) fn is_exact(&self, text: &str) -> bool {
        self.text == text
    }

    /// Judges conversation, text and sender of the message that was recognized last. A wrong text
    /// counts as the violation `wrong_text`. Returns whether the text is right.
    pub(super) fn compare(
        &self,
        scene: &mut Scene<'_>,
        message: &Message<'_>,
        wrong_text: Violation,
    ) -> bool {
        let Some(Origin {
            conversation,
            counter,
            ..
        }) = self.origin
        else {
            return false;
        };
        if *self.conversation != *message.conversation {
            scene.expect_name(conversation, &message.conversation);
        }
        let same = message.text.as_deref() == Some(&*self.text);
        if !same {
            scene.violation(wrong_text, Some(conversation), || {
                format!("message {counter} has another text than the one that was sent")
            });
        }
        if *self.from != *message.from {
            scene.violation(Violation::WrongConversation, Some(conversation), || {
                format!("the sender is called {:?}", message.from)
            });
        }
        same
    }
}

/// Returns a pair's message as its text names it.
fn of_pair(origin: Origin) -> PairOrigin {
    PairOrigin {
        stream: origin.stream,
        counter: origin.counter,
        intended_us: origin.intended_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Memberships;
    use crate::membership::tests::wanted;
    use crate::population::tests::population;
    use crate::scenario::Payload;
    use crate::units::Bytes;

    #[test]
    fn texts_of_both_kinds_are_recognized_in_any_order() {
        let part = population(20, 1000, 4).part(0, 1);
        let members = Memberships::new(&part, &wanted(1.0, "const(5)", &[]), 1);
        let roster = Roster::new(part, members.into());
        let payload = Payload::Const { bytes: Bytes(120) };
        let mut recognizer = Recognizer::new(Texts::new("t1", 1, &payload));
        let mut keys = std::collections::BTreeSet::new();
        let mut texts = Vec::new();
        for stream in (0..roster.streams() as u32).filter(|it| roster.writer(*it).is_some()) {
            let origin = Origin {
                conversation: roster.writer(stream).unwrap().conversation,
                stream,
                counter: 7,
                intended_us: 9,
            };
            let (mut text, mut key) = (String::new(), String::new());
            recognizer.write_text(&roster, origin, &mut text);
            recognizer.write_key(&roster, origin, &mut key);
            assert!(keys.insert((key, roster.group(origin.conversation).map(|_| stream))));
            texts.push((origin, text));
        }
        for (origin, text) in texts.iter().chain(texts.iter().rev()) {
            for _ in 0..2 {
                assert_eq!(recognizer.recognize(&roster, text), Some(*origin));
            }
            assert_eq!(recognizer.recognize(&roster, "hello"), None);
        }
    }
}
