//! What users read in the model: messages, lists, and who has read what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Answer, Member, World};

impl World {
    pub(super) fn get(&mut self, user: &str, id: &str, seq: usize) -> Answer {
        let conversation = self.message(user, id, seq)?;
        Ok(json!({"message": conversation.render(id, seq, user, true)}))
    }

    /// Returns the users with a reaction, or without one all reactions with their counts.
    pub(super) fn reactions(&mut self, user: &str, id: &str, seq: usize, reaction: &str) -> Answer {
        let conversation = self.message(user, id, seq)?;
        let mut by_reaction = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (user, reaction) in &conversation.messages[seq - 1].reactions {
            by_reaction.entry(reaction).or_default().insert(user);
        }
        let list = by_reaction.iter().filter_map(|(one, users)| {
            let mut shown =
                json!({"reaction": one, "users": [], "count": users.len(), "more": true});
            if !reaction.is_empty() {
                shown["users"] = json!(users);
                shown["more"] = json!(false);
            }
            (reaction.is_empty() || *one == reaction).then_some(shown)
        });
        let list: Vec<_> = list.collect();
        Ok(json!({"reactions": list, "more": false}))
    }

    pub(super) fn receipts(&mut self, user: &str, id: &str, seq: usize, state: &str) -> Answer {
        let conversation = self.message(user, id, seq)?;
        let sender = &conversation.messages[seq - 1].from;
        let mut others: Vec<_> = conversation
            .members
            .iter()
            .filter(|member| member.user != *sender && member.first <= seq)
            .collect();
        others.sort_by(|one, two| one.user.cmp(&two.user));
        let count =
            |meant: &dyn Fn(&Member) -> bool| others.iter().filter(|one| meant(one)).count();
        let counts = json!({
            "members": others.len(),
            "delivered": count(&|member| member.delivered >= seq),
            "read": count(&|member| member.read >= seq),
        });
        let users: Vec<_> = others
            .iter()
            .filter_map(|member| {
                let (meant, mark) = match state {
                    "read" => (member.read >= seq, member.read),
                    "delivered" => (member.delivered >= seq, member.delivered),
                    _ => (member.read < seq, member.delivered),
                };
                meant.then(|| json!({"user": member.user, "seq": mark}))
            })
            .collect();
        Ok(json!({"counts": counts, "users": users, "more": false}))
    }

    pub(super) fn list(&self, user: &str) -> Value {
        let inbox = self.inboxes.get(user).map_or(&[][..], Vec::as_slice);
        let mut all = Vec::new();
        for (number, id) in inbox.iter().enumerate() {
            let conversation = &self.conversations[id];
            let Some(member) = conversation.members.iter().find(|one| one.user == user) else {
                continue;
            };
            let last = conversation.messages.len();
            let read = member.read.max(member.joined);
            let unread = conversation.messages[read..].iter().filter(|message| {
                message.from != user && !message.is_gone() && !message.hidden.contains(user)
            });
            let mentions = unread
                .clone()
                .filter(|message| message.extras.mentions(user));
            let mentions = mentions.count();
            let unread = unread.count();
            let mut entry = json!({
                "conversation": id, "read": read, "unread": unread,
                "members": conversation.members.len(),
            });
            if mentions > 0 {
                entry["mentions"] = json!(mentions);
            }
            self.show_own(user, id, &mut entry);
            let mut key = (false, number);
            if last >= member.first {
                key = (true, conversation.last_entry);
                entry["last"] = conversation.render(id, last, user, true);
            }
            all.push((key, unread, entry));
        }
        all.sort_by_key(|(key, ..)| std::cmp::Reverse(*key));
        let unread: usize = all.iter().map(|(_, unread, _)| unread).sum();
        let conversations: Vec<_> = all.into_iter().map(|(.., entry)| entry).collect();
        json!({"conversations": conversations, "unread": unread, "more": false})
    }

    /// Returns the messages with a word whose text the user sees.
    pub(in crate::model) fn found(&self, user: &str, word: &str) -> Vec<Value> {
        let inbox = self.inboxes.get(user).map_or(&[][..], Vec::as_slice);
        let mut found = Vec::new();
        for id in inbox {
            let conversation = &self.conversations[id];
            let Some(member) = conversation.members.iter().find(|one| one.user == user) else {
                continue;
            };
            for seq in member.first.max(1)..=conversation.messages.len() {
                let message = conversation.render(id, seq, user, true);
                let text = message["text"].as_str().unwrap_or_default();
                if text.split(' ').any(|own| own == word) {
                    found.push(message);
                }
            }
        }
        found
    }

    pub(super) fn info(&mut self, user: &str, id: &str) -> Answer {
        let conversation = self.of(user, id)?;
        let first = conversation.member(user).first;
        let mut members: Vec<_> = conversation
            .members
            .iter()
            .map(|member| {
                (
                    member.user.clone(),
                    json!({"user": member.user, "role": member.role}),
                )
            })
            .collect();
        members.sort_by(|one, two| one.0.cmp(&two.0));
        let members: Vec<_> = members.into_iter().map(|(_, member)| member).collect();
        let group = conversation.group.as_ref().ok_or(102_u64)?;
        let history = if group.all_history { "all" } else { "joined" };
        let mut info = json!({
            "group": id.trim_start_matches("g:"), "history": history,
            "count": members.len(), "members": members, "more": false,
        });
        if let Some(name) = &group.name {
            info["name"] = json!(name);
        }
        group.show_rules(first, &mut info);
        Ok(info)
    }
}
