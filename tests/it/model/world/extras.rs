//! The fields of the model's messages that few messages have.

use serde_json::{Value, json};

use super::{Answer, Content, World};

/// The fields of a message that few messages have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Extras {
    reply_to: Value,
    kind: Value,
    meta: Value,
}

impl Extras {
    /// Returns the fields of a send.
    pub(super) fn of(ask: &Value) -> Self {
        Self {
            reply_to: ask["reply_to"].clone(),
            kind: ask["kind"].clone(),
            meta: ask["meta"].clone(),
        }
    }

    /// Adds the fields to a message as clients see it. A message that is recalled or deleted has no
    /// content.
    pub(super) fn show(&self, shown: &mut Value, has_content: bool) {
        let content = [("kind", &self.kind), ("meta", &self.meta)];
        let content = content.into_iter().filter(|_| has_content);
        for (name, value) in [("reply_to", &self.reply_to)].into_iter().chain(content) {
            if !value.is_null() {
                shown[name] = json!(value);
            }
        }
    }
}

impl World {
    /// Checks that the user may send a message with these fields.
    pub(super) fn check_extras(&mut self, user: &str, id: &str, ask: &Value) -> Result<(), u64> {
        if let Some(seq) = ask["reply_to"].as_u64() {
            let found = self.message(user, id, seq as usize).map(drop);
            // Only members of a group may know what it has.
            found.map_err(|code| if code == 103 { 103_u64 } else { 107 })?;
        }
        Ok(())
    }
}

impl World {
    /// Replaces the content of a message.
    pub(super) fn edit(&mut self, by: (&str, &str), id: &str, seq: usize, ask: &Value) -> Answer {
        let conversation = self.message(by.0, id, seq)?;
        let names = conversation.who_see(seq);
        let message = &mut conversation.messages[seq - 1];
        if message.from != by.0 {
            return Err(103);
        }
        if message.recalled {
            return Err(102);
        }
        let text = ask["text"].as_str().unwrap_or_default();
        let meta = ask["meta"].clone();
        if message.text != text || message.extras.meta != meta {
            text.clone_into(&mut message.text);
            message.extras.meta = meta;
            message.revision += 1;
            let content = Content::Edit(id.to_owned(), seq, message.revision);
            self.enter(by, names, content);
        }
        Ok(json!({}))
    }
}
