//! The reactions to a message: counts with some of the users, and pages of all users.

use std::collections::HashMap;

use trunkline_proto::Str;
use trunkline_proto::message::{Message, MessageReaction, ReactionsReply, ReplyBody};
use trunkline_storage::Page;

use super::failure::failure;
use super::reading::Reading;
use super::sets::StoredReactions;
use crate::event::Body;
use crate::exchange::{Access, Failure};
use crate::paging::ListPage;

/// The number of users that a message shows for each reaction.
const SHOWN_USERS: usize = 10;

/// The bytes of JSON around one reaction of a message.
const AROUND_REACTION: usize = 80;

/// The bytes of JSON around one user of a reaction.
const AROUND_USER: usize = 3;

/// A reaction with its users, in the order in which they added it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    reaction: &'a str,
    users: Vec<&'a str>,
}

/// Returns the reactions with their users, in the order in which each first appeared.
fn groups(stored: &StoredReactions) -> Vec<Group<'_>> {
    let mut all = Vec::<Group<'_>>::new();
    let mut places = HashMap::new();
    for (user, reaction) in stored.pairs() {
        let place = *places.entry(reaction).or_insert(all.len());
        if place == all.len() {
            let users = Vec::new();
            all.push(Group { reaction, users });
        }
        all[place].users.push(user);
    }
    all
}

/// Adds stored reactions to a message. They take at most `bytes` bytes in either
/// encoding: first each reaction with its count, then the first users of each.
pub(super) fn show(message: &mut Message<'_>, stored: &StoredReactions, bytes: usize) {
    let all = groups(stored);
    let (mut left, mut listed) = (bytes, Vec::new());
    for Group { reaction, users } in &all {
        let cost = AROUND_REACTION + trunkline_proto::json::text_bytes(reaction);
        if cost > left {
            message.more_reactions = true;
            break;
        }
        left -= cost;
        listed.push(MessageReaction {
            reaction: Str::from((*reaction).to_owned()),
            users: Vec::new(),
            count: users.len() as u64,
            more: false,
        });
    }
    for (shown, Group { users, .. }) in listed.iter_mut().zip(&all) {
        for user in users.iter().take(SHOWN_USERS) {
            let cost = AROUND_USER + user.len();
            if cost > left {
                break;
            }
            left -= cost;
            shown.users.push(Str::from((*user).to_owned()));
        }
        shown.more = shown.users.len() < users.len();
    }
    message.reactions = listed.into();
}

/// The reactions to one message, read from the store.
pub(super) struct Reacted(StoredReactions);

impl Reacted {
    /// Reads the reactions to a message, if the user may see it. A message that has expired has none, also
    /// while they are in the store.
    ///
    /// # Errors
    /// The errors of [`Reading::check`], or the user sees no such message.
    pub(super) fn read(
        reading: &Reading,
        access: Access,
        seq: u64,
        page: &mut Page,
    ) -> Result<Self, Failure> {
        reading.visible_message(access, seq, page)?;
        let is_due = page.records().any(|record| {
            Body::read(record.body).is_some_and(|body| reading.is_due(&body, record.time))
        });
        if is_due {
            return Ok(Self(StoredReactions::Few(Vec::new())));
        }
        let key = reading.ids().reactions(access.conversation, seq);
        let stored = StoredReactions::read(reading, key);
        let stored = stored.map_err(|error| failure(&error))?;
        reading.count_listed(stored.pairs().len());
        Ok(Self(stored))
    }

    /// Returns a page of the different reactions, ordered bytewise, with their counts.
    pub(super) fn reactions(&self, after: &str, limit: usize) -> ReplyBody<'static> {
        let mut all = groups(&self.0);
        all.sort_unstable();
        let page = ListPage::behind(after, limit, all, |group| group.reaction);
        let counted = |group: Group<'_>| MessageReaction {
            reaction: Str::from(group.reaction.to_owned()),
            users: Vec::new(),
            count: group.users.len() as u64,
            more: true,
        };
        ReplyBody::Reactions(ReactionsReply {
            reactions: page.entries.into_iter().map(counted).collect(),
            more: page.more,
        })
    }

    /// Returns a page of the users of one reaction, ordered bytewise.
    pub(super) fn users(&self, reaction: &str, after: &str, limit: usize) -> ReplyBody<'static> {
        let mut all = groups(&self.0).into_iter();
        let found = all.find(|group| group.reaction == reaction);
        let listed = found.map(|Group { mut users, .. }| {
            users.sort_unstable();
            let count = users.len() as u64;
            let page = ListPage::behind(after, limit, users, |user| user);
            let users = page.entries.into_iter();
            MessageReaction {
                reaction: Str::from(reaction.to_owned()),
                users: users.map(|user| Str::from(user.to_owned())).collect(),
                count,
                more: page.more,
            }
        });
        ReplyBody::Reactions(ReactionsReply {
            reactions: listed.into_iter().collect(),
            more: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{self, Reactions};

    #[test]
    fn what_is_shown_is_bounded_by_bytes() {
        let names: Vec<String> = (0..500).map(|n| format!("user-{n:059}")).collect();
        let quotes: Vec<String> = (0..500)
            .map(|n| format!("{n}{}", "\"".repeat(60)))
            .collect();
        for distinct in [1, 3, 500] {
            let list = names
                .iter()
                .enumerate()
                .map(|(n, name)| (&**name, &*quotes[n % distinct]));
            let state = Reactions {
                list: list.collect(),
            };
            let value = StoredReactions::Few(state::encode(&state));
            for bytes in [128, 1_000, 4_096] {
                let mut message = Message::default();
                show(&mut message, &value, bytes);
                let json = serde_json::to_vec(&message.reactions).unwrap();
                assert!(
                    json.len() <= bytes.max(2),
                    "{distinct} {bytes}: {}",
                    json.len()
                );
                let shown = message.reactions.len();
                assert_eq!(
                    message.more_reactions,
                    shown < distinct,
                    "{distinct} {bytes}"
                );
                let counted: u64 = message.reactions.iter().map(|one| one.count).sum();
                assert!(shown < distinct || counted == 500);
                assert!(
                    message
                        .reactions
                        .iter()
                        .all(|one| one.more == (one.users.len() as u64 != one.count))
                );
            }
        }
    }
}
