//! Lists of the members of a conversation: of a group, and by what they have acknowledged.

use trunkline_proto::Str;
use trunkline_proto::message::{
    GroupInfoReply, GroupMember, ReceiptCounts, ReceiptState, ReceiptUser, ReceiptsReply,
    ReplyBody, Role as RoleName, Visibility,
};
use trunkline_proto::names::Conversation;
use trunkline_storage::Page;

use super::failure::NO_MESSAGE;
use super::reading::{Reading, RosterMember};
use crate::event::Body;
use crate::exchange::{Access, Failure, Listing};
use crate::paging::ListPage;
use crate::state::{Marks, Role};

/// A conversation whose members are listed, with the names that the list needs.
#[derive(Clone, Copy)]
pub(super) struct About<'q> {
    pub(super) access: Access,
    pub(super) listing: &'q Listing,
}

/// The marks of one member of a conversation.
struct MemberMarks {
    user: String,
    /// The sequence of the first message that the member sees.
    first: u64,
    marks: Marks,
}

impl About<'_> {
    /// Returns the name of a group and a page of its members.
    ///
    /// # Errors
    /// The errors of [`Reading::check`].
    pub(super) fn group_info(
        &self,
        reading: &Reading,
        limit: usize,
    ) -> Result<ReplyBody<'static>, Failure> {
        reading.check(self.access)?;
        let id = self.access.conversation;
        let group = reading.group(id)?;
        let roster = reading.roster(id, group.chunks)?;
        let page = ListPage::behind(self.after(), limit, roster, |member| &member.name);
        let member = |member: RosterMember| GroupMember {
            user: member.name.into(),
            role: match member.role {
                Role::Owner => RoleName::Owner,
                Role::Member | Role::Left => RoleName::Member,
            },
            since: member.since,
        };
        Ok(ReplyBody::GroupInfo(GroupInfoReply {
            group: self.listing.name.clone().into(),
            name: (!group.name.is_empty()).then(|| group.name.into()),
            history: match group.all_history {
                true => Visibility::All,
                false => Visibility::Joined,
            },
            count: group.members,
            members: page.entries.into_iter().map(member).collect(),
            more: page.more,
        }))
    }

    /// Returns how many members have received and read the message `seq`, and a page of the members
    /// in one state.
    ///
    /// # Errors
    /// The errors of [`Reading::check`], or the user sees no such message.
    pub(super) fn receipts(
        &self,
        reading: &Reading,
        (seq, state): (u64, ReceiptState),
        limit: usize,
        page: &mut Page,
    ) -> Result<ReplyBody<'static>, Failure> {
        reading.visible_message(self.access, seq, page)?;
        let record = page.records().next().ok_or(NO_MESSAGE)?;
        let sender = Body::read(record.body).ok_or(NO_MESSAGE)?.user;
        let mut counts = ReceiptCounts::default();
        let mut listed = Vec::new();
        for MemberMarks { user, first, marks } in self.marks(reading)? {
            if user == sender || seq < first {
                continue;
            }
            let (delivered, read) = (marks.delivered >= seq, marks.read >= seq);
            counts.members += 1;
            counts.delivered += u64::from(delivered);
            counts.read += u64::from(read);
            let (is_in_state, seq, time) = match state {
                ReceiptState::Read => (read, marks.read, marks.read_time),
                ReceiptState::Delivered => (delivered, marks.delivered, marks.delivered_time),
                ReceiptState::Unread => (!read, marks.delivered, marks.delivered_time),
            };
            if is_in_state {
                let user = Str::from(user);
                listed.push(ReceiptUser { user, seq, time });
            }
        }
        let page = ListPage::behind(self.after(), limit, listed, |one| &*one.user);
        Ok(ReplyBody::Receipts(ReceiptsReply {
            counts,
            users: page.entries,
            more: page.more,
        }))
    }

    /// Returns the name behind which the page begins.
    fn after(&self) -> &str {
        self.listing.after.as_deref().unwrap_or_default()
    }

    /// Returns the marks of each member, ordered bytewise by name.
    fn marks(&self, reading: &Reading) -> Result<Vec<MemberMarks>, Failure> {
        let id = self.access.conversation;
        if !self.access.group {
            let name = Conversation::parse(&self.listing.name);
            let Some(Conversation::Direct(lesser, greater)) = name else {
                return Err(NO_MESSAGE);
            };
            let state = reading.direct(id)?;
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
        let chunks = reading.group(id)?.chunks;
        let roster = reading.roster(id, chunks)?;
        let namespace = &self.listing.namespace;
        let users = roster.iter();
        let users = users.map(|member| reading.ids().user(namespace, &member.name));
        let members = reading.members(id, users)?;
        let advance = reading.advance(id)?;
        let all = roster.into_iter().zip(members);
        let marks = all.map(|(RosterMember { name, .. }, member)| MemberMarks {
            user: name,
            first: member.first_seq,
            marks: advance.of(member.number, member.marks),
        });
        Ok(marks.collect())
    }
}
