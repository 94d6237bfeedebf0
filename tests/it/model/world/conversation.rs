//! A conversation of the model: its members, and its messages as each of them reads them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Conversation, Member};

impl Conversation {
    pub(super) fn member(&mut self, user: &str) -> &mut Member {
        let member = self.members.iter_mut().find(|member| member.user == user);
        member.expect("a member")
    }

    /// Returns the first message that each member sees.
    pub(super) fn firsts(&self) -> BTreeMap<String, usize> {
        let firsts = self.members.iter();
        let firsts = firsts.map(|member| (member.user.clone(), member.first));
        firsts.collect()
    }

    /// Returns the members who see a message.
    pub(super) fn who_see(&self, seq: usize) -> Vec<String> {
        let seeing = self.members.iter().filter(|member| member.first <= seq);
        seeing.map(|member| member.user.clone()).collect()
    }

    /// Removes a member.
    pub(super) fn part_with(&mut self, user: &str) {
        let marks = |member: &Member| (member.delivered, member.read);
        if let Some(gone) = self.members.iter().find(|member| member.user == user) {
            self.former.insert(user.to_owned(), marks(gone));
        }
        self.members.retain(|member| member.user != user);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.user.clone())
            .collect()
    }

    /// Returns whether an edited message is in a group in which the user does not see it any more.
    pub(super) fn is_closed(&self, seq: usize, user: &str) -> bool {
        let mut members = self.members.iter();
        let sees = members.any(|member| member.user == user && member.first <= seq);
        self.group.is_some() && self.messages[seq - 1].revision > 0 && !sees
    }

    /// Returns a message as an event shows it.
    pub(super) fn render_event(&self, id: &str, seq: usize, user: &str) -> Value {
        let mut shown = self.render(id, seq, user, false);
        if self.is_closed(seq, user)
            && let Some(fields) = shown.as_object_mut()
        {
            for name in ["text", "media", "kind", "meta", "mentions", "edited"] {
                fields.remove(name);
            }
        }
        shown
    }

    pub(super) fn render(&self, id: &str, seq: usize, user: &str, reactions: bool) -> Value {
        let message = &self.messages[seq - 1];
        let mut shown = json!({
            "conversation": id, "seq": seq, "from": message.from, "device": message.device,
        });
        if let Some(key) = &message.key {
            shown["key"] = json!(key);
        }
        let hidden = message.hidden.contains(user);
        let has_content = !message.is_gone() && !hidden;
        for (field, value) in [("text", &message.text), ("media", &message.media)] {
            if has_content && !value.is_null() {
                shown[field] = value.clone();
            }
        }
        message.extras.show(&mut shown, has_content);
        if has_content && message.revision > 0 {
            shown["edited"] = json!(true);
        }
        let fields = [
            ("recalled", message.recalled),
            ("deleted", hidden),
            ("expired", message.expired),
        ];
        for (field, set) in fields {
            if set {
                shown[field] = json!(true);
            }
        }
        let mut by_reaction = Vec::<(String, Vec<String>)>::new();
        for (user, reaction) in message.reactions.iter().filter(|_| reactions) {
            match by_reaction.iter_mut().find(|(one, _)| one == reaction) {
                Some((_, users)) => users.push(user.clone()),
                None => by_reaction.push((reaction.clone(), vec![user.clone()])),
            }
        }
        if !by_reaction.is_empty() {
            let list = by_reaction.into_iter();
            let shown_of = |(reaction, users): (String, Vec<String>)| {
                let (count, first) = (users.len(), &users[..users.len().min(10)]);
                json!({"reaction": reaction, "users": first, "count": count, "more": count > 10})
            };
            shown["reactions"] = list.map(shown_of).collect();
        }
        shown
    }
}
