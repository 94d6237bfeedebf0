//! The fields of the model's messages that few messages have.

use serde_json::{Value, json};

use super::{Answer, Content, World};

/// The most members of a group in which every member may mention all.
const LARGE: usize = 50;

/// The fields of a message that few messages have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Extras {
    reply_to: Value,
    kind: Value,
    meta: Value,
    mentions: Value,
    ttl: Value,
}

impl Extras {
    /// Returns the fields of a send.
    pub(super) fn of(ask: &Value) -> Self {
        Self {
            reply_to: ask["reply_to"].clone(),
            kind: ask["kind"].clone(),
            meta: ask["meta"].clone(),
            mentions: ask["mentions"].clone(),
            ttl: ask["ttl"].clone(),
        }
    }

    /// Adds the fields to a message as clients see it. A message that is recalled or deleted has no
    /// content.
    pub(super) fn show(&self, shown: &mut Value, has_content: bool) {
        if !self.ttl.is_null() {
            shown["expires"] = json!(true);
        }
        let content = [
            ("kind", &self.kind),
            ("meta", &self.meta),
            ("mentions", &self.mentions),
        ];
        let content = content.into_iter().filter(|_| has_content);
        for (name, value) in [("reply_to", &self.reply_to)].into_iter().chain(content) {
            if !value.is_null() {
                shown[name] = json!(value);
            }
        }
    }
}

impl Extras {
    /// Returns the sequence of the message that this one replies to.
    pub(super) fn reply_to(&self) -> Option<u64> {
        self.reply_to.as_u64()
    }

    /// Returns whether the message mentions a user.
    pub(super) fn mentions(&self, user: &str) -> bool {
        self.names().any(|name| name == user || name == "*")
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.mentions.as_array().into_iter().flatten();
        names.filter_map(Value::as_str)
    }
}

impl World {
    /// Checks that the user may send a message with these fields.
    pub(super) fn check_extras(&mut self, user: &str, id: &str, ask: &Value) -> Result<(), u64> {
        let extras = Extras::of(ask);
        if extras.names().next().is_some() {
            let direct = ask["user"]
                .as_str()
                .map(|other| vec![user.to_owned(), other.to_owned()]);
            let members = match direct {
                Some(both) => both,
                None => self.of(user, id)?.names(),
            };
            let is_member = |name: &str| members.iter().any(|member| member == name);
            if !extras.names().all(|name| name == "*" || is_member(name)) {
                return Err(107);
            }
            // In a large group only those who manage it mention all.
            let is_large = members.len() > LARGE && extras.names().any(|name| name == "*");
            if is_large && self.managed(user, id).is_err() {
                return Err(103);
            }
        }
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
        let other = id.strip_prefix("u:").and_then(|both| both.split_once(':'));
        let other = other.map(|(one, other)| if one == by.0 { other } else { one });
        let blocked = other.is_some_and(|other| self.is_blocked(by.0, other));
        let late_edits = self.late_edits;
        let conversation = self.message(by.0, id, seq)?;
        let may_send = conversation.may_send(by.0);
        let names = conversation.who_see(seq);
        let message = &mut conversation.messages[seq - 1];
        if message.from != by.0 {
            return Err(103);
        }
        if message.is_gone() {
            return Err(102);
        }
        if late_edits {
            return Err(119);
        }
        if blocked || !may_send {
            return Err(103);
        }
        let new = ["text", "media", "meta"].map(|field| ask[field].clone());
        let old = [&message.text, &message.media, &message.extras.meta];
        if new.each_ref() != old {
            [message.text, message.media, message.extras.meta] = new;
            message.revision += 1;
            let content = Content::Edit(id.to_owned(), seq, message.revision);
            self.enter(by, names, content);
        }
        Ok(json!({}))
    }
}

impl World {
    /// Notes that a message has expired.
    pub(in crate::model) fn expire(&mut self, id: &str, seq: usize) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            conversation.messages[seq - 1].expired = true;
        }
    }

    /// Returns the messages of a conversation that the user sees, or those of one thread.
    pub(super) fn history(&mut self, user: &str, id: &str, thread: Option<u64>) -> Answer {
        let conversation = match thread {
            Some(seq) => self.message(user, id, seq as usize)?,
            None => self.of(user, id)?,
        };
        let first = conversation.member(user).first;
        let last = conversation.messages.len();
        let is_meant = |seq: &usize| {
            let message = &conversation.messages[*seq - 1];
            thread.is_none_or(|of| *seq as u64 == of || message.extras.reply_to() == Some(of))
        };
        let messages: Vec<_> = (first..=last)
            .filter(is_meant)
            .map(|seq| conversation.render(id, seq, user, true))
            .collect();
        Ok(json!({"messages": messages, "first": first, "last": last, "more": false}))
    }
}
