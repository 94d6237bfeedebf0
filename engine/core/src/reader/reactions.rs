//! The reactions to a message: counts with some of the users, and pages of all users.

use trunkline_proto::Str;
use trunkline_proto::message::{Message, MessageReaction, ReactionsReply, ReplyBody};
use trunkline_storage::{Page, Reader};

use super::answer::{Failure, failure};
use crate::exchange::{Access, Listing};
use crate::ids::Ids;
use crate::state::{self, Reactions};

/// The number of users that a message shows for each reaction.
const SHOWN_USERS: usize = 10;

/// The bytes of JSON around a reaction of a message, and around one of its users.
const AROUND_REACTION: usize = 80;
const AROUND_USER: usize = 3;

/// A reaction with its users, in the order in which they added it.
type Group<'a> = (&'a str, Vec<&'a str>);

/// Returns the reactions with their users, in the order in which each first appeared.
fn groups(value: &[u8]) -> Vec<Group<'_>> {
    let state: Reactions<'_> = state::decode(value).unwrap_or_default();
    let mut all = Vec::<Group<'_>>::new();
    for (user, reaction) in state.list {
        match all.iter_mut().find(|(one, _)| *one == reaction) {
            Some((_, users)) => users.push(user),
            None => all.push((reaction, vec![user])),
        }
    }
    all
}

/// Adds reactions to a message, in at most `bytes` of either encoding: as many reactions as fit
/// with their counts, then the first users of each.
pub(super) fn show(message: &mut Message<'_>, value: &[u8], bytes: usize) {
    let all = groups(value);
    let mut left = bytes;
    for (reaction, users) in &all {
        let cost = AROUND_REACTION + trunkline_proto::json::text_bytes(reaction);
        if cost > left {
            message.more_reactions = true;
            break;
        }
        left -= cost;
        message.reactions.push(MessageReaction {
            reaction: Str::from((*reaction).to_owned()),
            users: Vec::new(),
            count: users.len() as u64,
            more: false,
        });
    }
    for (shown, (_, users)) in message.reactions.iter_mut().zip(&all) {
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
}

/// Returns a page of the users of a reaction, or of the reactions to a message.
pub(super) fn reactions(
    (store, ids): (&Reader, &Ids),
    access: Access,
    (seq, reaction): (u64, Option<&str>),
    listing: &Listing,
    limit: usize,
    page: &mut Page,
) -> Result<ReplyBody<'static>, Failure> {
    access.find_message((store, ids), seq, page)?;
    let key = ids.reactions(access.conversation, seq);
    let value = store.state(key).map_err(|error| failure(&error))?;
    let value = value.unwrap_or_default();
    let mut all = groups(&value);
    let after = listing.after.as_deref().unwrap_or_default();
    let Some(reaction) = reaction else {
        all.sort_unstable();
        let mut rest = all.iter().filter(|(reaction, _)| *reaction > after);
        let reactions = rest
            .by_ref()
            .take(limit)
            .map(|(reaction, users)| MessageReaction {
                reaction: Str::from((*reaction).to_owned()),
                users: Vec::new(),
                count: users.len() as u64,
                more: true,
            });
        return Ok(ReplyBody::Reactions(ReactionsReply {
            reactions: reactions.collect(),
            more: rest.next().is_some(),
        }));
    };
    let found = all.into_iter().find(|(one, _)| *one == reaction);
    let reactions = found.map(|(reaction, mut users)| {
        users.sort_unstable();
        let count = users.len() as u64;
        let mut rest = users.into_iter().filter(|user| *user > after);
        let users = rest.by_ref().take(limit);
        MessageReaction {
            reaction: Str::from(reaction.to_owned()),
            users: users.map(|user| Str::from(user.to_owned())).collect(),
            count,
            more: rest.next().is_some(),
        }
    });
    Ok(ReplyBody::Reactions(ReactionsReply {
        reactions: reactions.into_iter().collect(),
        more: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let value = state::encode(&state);
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
