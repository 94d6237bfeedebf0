//! Roles, rules and pinned messages of groups in the model.

use serde_json::{Value, json};

use super::{Answer, Content, Conversation, Group, World};

impl Conversation {
    /// Returns whether a member may send messages.
    pub(super) fn may_send(&mut self, user: &str) -> bool {
        let for_admins = self
            .group
            .as_ref()
            .is_some_and(|group| group.send == "admins");
        !for_admins || self.member(user).role != "member"
    }

    /// Makes a member an owner if a group has none: the first admin, or else the first member. Members
    /// are in the order in which they joined.
    pub(super) fn crown(&mut self) {
        if self.members.iter().any(|member| member.role == "owner") {
            return;
        }
        let admin = self
            .members
            .iter()
            .position(|member| member.role == "admin");
        if let Some(heir) = self.members.get_mut(admin.unwrap_or(0)) {
            heir.role = "owner".into();
        }
    }
}

impl Group {
    /// Adds the rules of the group to its description, for a member who sees messages from `first` on.
    pub(super) fn show_rules(&self, first: usize, info: &mut Value) {
        info["send"] = json!(self.send);
        info["join"] = json!(self.join);
        if !self.picture.is_empty() {
            info["picture"] = json!(self.picture);
        }
        let pins = self.pins.iter().filter(|pin| **pin >= first);
        let pins: Vec<_> = pins.map(|pin| json!({"seq": pin})).collect();
        if !pins.is_empty() {
            info["pins"] = json!(pins);
        }
    }
}

impl World {
    /// Enters a change of a group with more fields than members and a name.
    fn change_with(&mut self, by: (&str, &str), id: &str, fields: &Value, to: Vec<String>) {
        let mut event = json!({"conversation": id, "by": by.0, "members": []});
        for (field, value) in fields.as_object().expect("fields") {
            event[field] = value.clone();
        }
        self.enter(by, to, Content::Other(json!({"group": event})));
    }

    pub(super) fn give_role(
        &mut self,
        by: (&str, &str),
        id: &str,
        user: &str,
        role: &str,
    ) -> Answer {
        let conversation = self.owned(by.0, id)?;
        let owners = conversation.members.iter();
        let owners = owners.filter(|member| member.role == "owner").count();
        let to = conversation.names();
        let member = conversation.members.iter_mut();
        let member = { member }
            .find(|member| member.user == user)
            .ok_or(102_u64)?;
        if member.role == role {
            return Ok(json!({}));
        }
        if member.role == "owner" && owners == 1 {
            return Err(107);
        }
        member.role = role.to_owned();
        let change = json!({"change": "role", "members": [user], "role": role});
        self.change_with(by, id, &change, to);
        Ok(json!({}))
    }

    pub(super) fn set_rules(&mut self, by: (&str, &str), id: &str, ask: &Value) -> Answer {
        let conversation = self.owned(by.0, id)?;
        let to = conversation.names();
        let group = conversation.group.as_mut().ok_or(102_u64)?;
        let mut change = json!({"change": "set"});
        let mut is_set = false;
        let name = group.name.clone().unwrap_or_default();
        for (field, now) in [
            ("name", name),
            ("picture", group.picture.clone()),
            ("send", group.send.clone()),
            ("join", group.join.clone()),
        ] {
            if let Some(wanted) = ask[field].as_str() {
                change[field] = json!(wanted);
                is_set |= wanted != now;
                let wanted = wanted.to_owned();
                match field {
                    "name" => group.name = (!wanted.is_empty()).then_some(wanted),
                    "picture" => group.picture = wanted,
                    "send" => group.send = wanted,
                    _ => group.join = wanted,
                }
            }
        }
        if is_set {
            self.change_with(by, id, &change, to);
        }
        Ok(json!({}))
    }

    pub(super) fn enter_group(&mut self, by: (&str, &str), id: &str) -> Answer {
        let conversation = self.conversations.get(id).ok_or(103_u64)?;
        let is_in = conversation.members.iter().any(|one| one.user == by.0);
        let group = conversation.group.as_ref().ok_or(103_u64)?;
        if !is_in && (group.join != "open" || conversation.members.is_empty()) {
            return Err(103);
        }
        let members = self.admit(by, id, &[by.0.to_owned()], "joined", None);
        Ok(json!({"members": members}))
    }

    pub(super) fn pin(&mut self, by: (&str, &str), id: &str, seq: usize, remove: bool) -> Answer {
        if id.starts_with("u:") {
            return Err(107);
        }
        self.managed(by.0, id)?;
        if !remove && self.message(by.0, id, seq)?.messages[seq - 1].is_gone() {
            return Err(102);
        }
        let conversation = self.of(by.0, id)?;
        let to = conversation.who_see(seq);
        let pins = &mut conversation.group.as_mut().ok_or(102_u64)?.pins;
        if pins.contains(&seq) != remove {
            return Ok(json!({}));
        }
        if remove {
            pins.retain(|pin| *pin != seq);
        } else {
            pins.push(seq);
        }
        let change = if remove { "unpinned" } else { "pinned" };
        let change = json!({"change": change, "seq": seq});
        self.change_with(by, id, &change, to);
        Ok(json!({}))
    }
}
