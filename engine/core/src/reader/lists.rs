//! Lists: a user's conversations, a group's members, who has read a message.

use trunkline_proto::Str;
use trunkline_proto::message::{
    ConversationEntry, ConversationsReply, GroupInfoReply, GroupMember, ReceiptCounts,
    ReceiptState, ReceiptUser, ReceiptsReply, ReplyBody, Role as Word, Visibility,
};
use trunkline_proto::names::{Conversation, MAX_CONVERSATION_BYTES};
use trunkline_storage::{Page, Position, Reader, TimelineId};

use super::access::{
    CORRUPT, NO_MESSAGE, RosterMember, View, advance, direct, member, roster, with_head,
};
use super::answer::{Failure, failure, messages};
use super::unread::Unread;
use crate::event::Body;
use crate::exchange::{Access, Cursor, Listing};
use crate::ids::{Ids, UserId};
use crate::state::{self, Inbox, InboxChunk, InboxEntry, Marks, Member, Role};

/// A conversation of a user.
struct Entry {
    name: String,
    id: TimelineId,
    cursor: Cursor,
    last: u64,
    read: u64,
    unread: u64,
    members: u64,
}

pub(super) fn conversations(
    (store, ids): (&Reader, &Ids),
    (user, head): (UserId, Position),
    listing: &Listing,
    (before, limit): (Option<Cursor>, usize),
    (page, most): (&mut Page, usize),
) -> Result<(ReplyBody<'static>, Vec<String>), Failure> {
    let mut entries = Vec::new();
    let (places, hides) = places((store, ids), user)?;
    let owner = Owner {
        user,
        hides,
        listing,
    };
    for (number, place) in places.iter().enumerate() {
        let place = (&**place, number as u64);
        let found = entry((store, ids), owner, place, page)?;
        entries.extend(found);
    }
    let unread = entries.iter().map(|entry| entry.unread).sum();
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.cursor));
    entries.retain(|entry| before.is_none_or(|before| entry.cursor < before));
    let mut more = entries.len() > limit;
    entries.truncate(limit);
    // What is read of them is in memory until the page is written.
    let (mut cursors, mut bytes) = (Vec::new(), 0);
    let mut view = View::new((store, ids), user);
    let mut conversations = Vec::new();
    for entry in entries {
        if bytes > most {
            more = true;
            break;
        }
        let mut last = None;
        if entry.cursor.has_message {
            store
                .get(entry.id, entry.last, page)
                .map_err(|error| failure(&error))?;
            let found = messages((store, ids), &mut view, (page, most))?;
            last = found.into_iter().next().map(crate::owned::message);
            bytes += page
                .records()
                .map(|record| record.body.len())
                .sum::<usize>();
        }
        cursors.push(entry.cursor.text(store.epochs(), head).to_string());
        conversations.push(ConversationEntry {
            conversation: entry.name.into(),
            last,
            read: entry.read,
            unread: entry.unread,
            members: entry.members,
        });
    }
    let reply = ReplyBody::Conversations(ConversationsReply {
        conversations,
        unread,
        cursor: cursors.last().cloned().unwrap_or_default().into(),
        more,
    });
    Ok((reply, cursors))
}

/// Where a user takes part or did, each place once; and whether the user deletes messages in the own
/// view.
fn places((store, ids): (&Reader, &Ids), user: UserId) -> Result<(Vec<String>, bool), Failure> {
    let read = |key| store.state(key).map_err(|error| failure(&error));
    let name = |place: &InboxEntry<'_>| match place {
        InboxEntry::Direct(other) => format!("u:{other}"),
        InboxEntry::Group(group) => format!("g:{group}"),
    };
    let Some(value) = read(ids.inbox(user))? else {
        return Ok((Vec::new(), false));
    };
    let inbox: Inbox<'_> = state::decode(&value).ok_or(CORRUPT)?;
    let mut places = Vec::new();
    for number in 0..inbox.chunks {
        let value = read(ids.inbox_chunk(user, number))?.unwrap_or_default();
        let chunk: InboxChunk<'_> = state::decode(&value).ok_or(CORRUPT)?;
        places.extend(chunk.places.iter().map(name));
    }
    places.extend(inbox.places.iter().map(name));
    // Whoever left a group and came back is in it twice.
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    Ok((places, inbox.hides))
}

/// The user whose conversations are listed.
#[derive(Clone, Copy)]
struct Owner<'a> {
    user: UserId,
    /// The user has deleted messages in the own view.
    hides: bool,
    listing: &'a Listing,
}

/// Returns one conversation, or `None` for a group that the user is no longer in.
fn entry(
    (store, ids): (&Reader, &Ids),
    Owner {
        user,
        hides,
        listing,
    }: Owner<'_>,
    (place, number): (&str, u64),
    page: &mut Page,
) -> Result<Option<Entry>, Failure> {
    let (name, id, read, first, members) = if let Some(other) = place.strip_prefix("u:") {
        let pair = Conversation::between(&listing.user, other);
        let Conversation::Direct(lesser, greater) = pair else {
            return Ok(None);
        };
        let id = ids.direct(&listing.namespace, lesser, greater);
        let mut name = [0; MAX_CONVERSATION_BYTES];
        let name = pair.write_into(&mut name).to_owned();
        let side = usize::from(lesser != listing.user);
        let read = direct(store, id)?.marks[side].read;
        (name, id, read, 1, 1 + u64::from(lesser != greater))
    } else {
        let group = place.strip_prefix("g:").unwrap_or_default();
        let id = ids.group(&listing.namespace, group);
        let own = member(store, ids.member(id, user))?;
        if !own.is_in() {
            return Ok(None);
        }
        let members = with_head((store, ids), id, |head| head.members)?;
        let marks = advance(store, id)?.of(own.number, own.marks);
        let read = own.read_up_to(marks);
        (place.to_owned(), id, read, own.first_seq, members)
    };
    let last = store.try_last_seq(id).map_err(|error| failure(&error))?;
    // Nothing of it can be seen before there is a message after joining.
    let has_message = last >= first;
    let at = if !has_message {
        number
    } else {
        store.get(id, last, page).map_err(|error| failure(&error))?;
        // Without a record it has expired: at the end of those that have messages.
        page.records().next().map_or(0, |record| record.position.0)
    };
    let unread = Unread {
        user,
        name: &listing.user,
        hides,
        conversation: id,
    };
    let unread = unread.count((store, ids), (read, last), page)?;
    Ok(Some(Entry {
        name,
        id,
        cursor: Cursor { has_message, at },
        last,
        read,
        unread,
        members,
    }))
}

pub(super) fn group_info(
    (store, ids): (&Reader, &Ids),
    access: Access,
    listing: &Listing,
    limit: usize,
) -> Result<ReplyBody<'static>, Failure> {
    access.check(store, ids)?;
    let group = access.conversation;
    let (name, all_history, count, chunks) = with_head((store, ids), group, |head| {
        (
            head.name.to_owned(),
            head.all_history,
            head.members,
            head.chunks,
        )
    })?;
    let members = roster((store, ids), group, chunks)?;
    let after = listing.after.as_deref().unwrap_or_default();
    let mut rest = members
        .into_iter()
        .filter(|member| member.name.as_str() > after);
    let page = rest.by_ref().take(limit);
    let members = page
        .map(|member| GroupMember {
            user: member.name.into(),
            role: match member.role {
                Role::Owner => Word::Owner,
                Role::Member | Role::Left => Word::Member,
            },
            since: member.since,
        })
        .collect();
    Ok(ReplyBody::GroupInfo(GroupInfoReply {
        group: listing.name.clone().into(),
        name: (!name.is_empty()).then(|| name.into()),
        history: if all_history {
            Visibility::All
        } else {
            Visibility::Joined
        },
        count,
        members,
        more: rest.next().is_some(),
    }))
}

pub(super) fn receipts(
    (store, ids): (&Reader, &Ids),
    access: Access,
    (seq, state): (u64, ReceiptState),
    listing: &Listing,
    limit: usize,
    page: &mut Page,
) -> Result<ReplyBody<'static>, Failure> {
    access.find_message((store, ids), seq, page)?;
    let record = page.records().next().ok_or(NO_MESSAGE)?;
    let sender = Body::read(record.body).ok_or(NO_MESSAGE)?.user.to_owned();
    let mut counts = ReceiptCounts::default();
    let (mut users, mut more) = (Vec::new(), false);
    for MemberMarks { user, first, marks } in marks((store, ids), access, listing)? {
        if user == sender || seq < first {
            continue;
        }
        let (delivered, read) = (marks.delivered >= seq, marks.read >= seq);
        counts.members += 1;
        counts.delivered += u64::from(delivered);
        counts.read += u64::from(read);
        let (is_meant, seq, time) = match state {
            ReceiptState::Read => (read, marks.read, marks.read_time),
            ReceiptState::Delivered => (delivered, marks.delivered, marks.delivered_time),
            ReceiptState::Unread => (!read, marks.delivered, marks.delivered_time),
        };
        if !is_meant || listing.after.as_ref().is_some_and(|after| user <= *after) {
            continue;
        }
        if users.len() == limit {
            more = true;
        } else {
            users.push(ReceiptUser {
                user: Str::from(user),
                seq,
                time,
            });
        }
    }
    Ok(ReplyBody::Receipts(ReceiptsReply {
        counts,
        users,
        more,
    }))
}

/// How far a member of a conversation has acknowledged.
struct MemberMarks {
    user: String,
    /// The first message that the member sees.
    first: u64,
    marks: Marks,
}

/// Returns the marks of each member, ordered bytewise by name.
fn marks(
    (store, ids): (&Reader, &Ids),
    access: Access,
    listing: &Listing,
) -> Result<Vec<MemberMarks>, Failure> {
    let id = access.conversation;
    if !access.group {
        let Some(Conversation::Direct(lesser, greater)) = Conversation::parse(&listing.name) else {
            return Err(NO_MESSAGE);
        };
        let state = direct(store, id)?;
        let both = [lesser, greater].into_iter().zip(state.marks);
        let members = 1 + usize::from(lesser != greater);
        return Ok(both
            .take(members)
            .map(|(name, marks)| MemberMarks {
                user: name.to_owned(),
                first: 1,
                marks,
            })
            .collect());
    }
    let chunks = with_head((store, ids), id, |head| head.chunks)?;
    let mut all = Vec::new();
    for RosterMember { name, .. } in roster((store, ids), id, chunks)? {
        let key = ids.member(id, ids.user(&listing.namespace, &name));
        all.push((name, member(store, key)?));
    }
    let advance = advance(store, id)?;
    let marks = |(user, member): (String, Member)| MemberMarks {
        user,
        first: member.first_seq,
        marks: advance.of(member.number, member.marks),
    };
    Ok(all.into_iter().map(marks).collect())
}
