//! What is a user's own in the model: blocked users, and settings of conversations.

use serde_json::{Value, json};

use super::{Answer, Content, Settings, World};

impl World {
    /// Returns whether `other` blocks `user`.
    pub(super) fn is_blocked(&self, user: &str, other: &str) -> bool {
        self.blocks.contains(&(other.to_owned(), user.to_owned()))
    }

    pub(super) fn block(&mut self, user: &str, other: &str, begins: bool) -> Answer {
        if user == other {
            return Err(107);
        }
        let pair = (user.to_owned(), other.to_owned());
        if begins {
            self.blocks.insert(pair);
        } else {
            self.blocks.remove(&pair);
        }
        Ok(json!({}))
    }

    pub(super) fn blocked(&self, user: &str) -> Value {
        let own = self.blocks.iter().filter(|(blocker, _)| blocker == user);
        let users: Vec<_> = own.map(|(_, blocked)| blocked).collect();
        json!({"users": users, "more": false})
    }

    pub(super) fn set_own(&mut self, by: (&str, &str), id: &str, ask: &Value) -> Answer {
        self.of(by.0, id)?;
        let key = (by.0.to_owned(), id.to_owned());
        let settings = self.settings.entry(key).or_default();
        let before = *settings;
        if let Some(until) = ask["muted_until"].as_u64() {
            settings.muted_until = until;
        }
        if let Some(pinned) = ask["pinned"].as_bool() {
            settings.pinned = pinned;
        }
        if let Some(archived) = ask["archived"].as_bool() {
            settings.archived = archived;
        }
        let Settings {
            muted_until,
            pinned,
            archived,
        } = *settings;
        if *settings != before {
            let event = json!({"settings": {
                "conversation": id, "muted_until": muted_until, "pinned": pinned,
                "archived": archived,
            }});
            self.enter(by, [by.0.to_owned()], Content::Other(event));
        }
        Ok(json!({}))
    }

    /// Adds a user's own settings of a conversation to its entry in the list.
    pub(super) fn show_own(&self, user: &str, id: &str, entry: &mut Value) {
        let key = (user.to_owned(), id.to_owned());
        let settings = self.settings.get(&key).copied().unwrap_or_default();
        if settings.muted_until > 0 {
            entry["muted_until"] = json!(settings.muted_until);
        }
        for (field, set) in [("pinned", settings.pinned), ("archived", settings.archived)] {
            if set {
                entry[field] = json!(true);
            }
        }
    }
}
