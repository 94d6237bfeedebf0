//! What is left in the model of a user who is erased.

use super::{Conversation, World};

impl World {
    /// Erases a user: the content of the user's messages, the reactions and the marks, and what is the user's own.
    pub(in crate::model) fn erase(&mut self, user: &str) {
        for conversation in self.conversations.values_mut() {
            conversation.erase(user);
        }
        self.inboxes.remove(user);
        self.keys.retain(|(of, _), _| of != user);
        self.settings.retain(|(of, _), _| of != user);
        self.blocks.retain(|(blocker, _)| blocker != user);
    }
}

impl Conversation {
    fn erase(&mut self, user: &str) {
        for message in &mut self.messages {
            message.reactions.retain(|(by, _)| by != user);
            if message.from == user {
                message.key = None;
                message.device.clear();
                message.reactions.clear();
                message.recalled = true;
            }
        }
        if let Some(group) = &mut self.group {
            let messages = &self.messages;
            group.pins.retain(|pin| messages[pin - 1].from != user);
            let before = self.members.len();
            self.part_with(user);
            if self.members.len() < before {
                self.crown();
            }
        } else if let Some(member) = self.members.iter_mut().find(|one| one.user == user) {
            // The user is in the conversation no more, and the others do not learn of it.
            member.first = usize::MAX;
        }
        self.former.remove(user);
    }
}
