//! Lists of the members of a conversation: of a group, and by what they have acknowledged.

use trunkline_proto::Str;
use trunkline_proto::json::text_bytes;
use trunkline_proto::message::{
    GroupInfoReply, GroupMember, Joining, PinnedMessage, ReceiptCounts, ReceiptState, ReceiptUser,
    ReceiptsReply, ReplyBody, Role as RoleName, Senders, Visibility,
};
use trunkline_proto::names::Conversation;
use trunkline_storage::{Page, TimelineId};

use super::failure::{CORRUPT, NO_MESSAGE};
use super::reading::Reading;
use crate::event::Body;
use crate::exchange::{Access, Failure, Listing};
use crate::paging::PageBuilder;
use crate::state::{self, Entry, Marks, Pins, Profile, ROSTER_CHUNK};

/// The number of chunks of a roster whose members are looked up together: 512 members. The store keeps as many records,
/// and a change that adds members has their chunk too.
const CHUNKS: usize = 4;

/// A conversation whose members are listed, with the names that the list needs.
pub(super) struct About {
    access: Access,
    listing: Listing,
}

/// The marks of one member of a conversation.
struct MemberMarks<'m> {
    user: &'m str,
    /// The sequence of the first message that the member sees.
    first: u64,
    marks: Marks,
}

/// The receipts of one message, counted member by member.
struct ReceiptTally {
    /// The sequence of the message.
    seq: u64,
    /// The state of the members on the page.
    state: ReceiptState,
    /// The name of the sender, who does not count.
    sender: String,
    counts: ReceiptCounts,
    /// The members of the page, each with the sequence and time of the mark.
    page: PageBuilder<String, (u64, u64)>,
}

impl About {
    /// Returns what lists the members of the conversation of `access`.
    pub(super) fn new(access: Access, listing: &Listing) -> Self {
        let listing = listing.clone();
        Self { access, listing }
    }

    /// Returns the name of a group and a page of its members. It reads all chunks of the roster, and
    /// keeps the members of the page alone.
    ///
    /// # Errors
    /// The errors of [`Reading::check`].
    pub(super) async fn group_info(
        &self,
        reading: &Reading,
        limit: usize,
        message_bytes: usize,
    ) -> Result<ReplyBody<'static>, Failure> {
        let sight = reading.check(self.access)?;
        let id = self.access.conversation;
        let group = reading.group(id)?;
        let profile = reading
            .bytes(reading.ids().profile(id))?
            .unwrap_or_default();
        let profile: Profile<'_> = match &*profile {
            [] => Profile::default(),
            profile => state::decode(profile).ok_or(CORRUPT)?,
        };
        let pins = pins(reading, id, sight.first, message_bytes)?;
        // The limit may have been lowered since it was set: the rest of the answer has to fit.
        let fits = text_bytes(profile.picture) <= message_bytes / 2;
        let picture = Some(profile.picture).filter(|picture| fits && !picture.is_empty());
        let mut page = PageBuilder::new(self.listing.after.clone(), limit);
        for keys in reading.roster_keys(id, group.chunks).await.chunks(CHUNKS) {
            let chunks = reading.rosters(keys)?;
            reading.pause_if_due().await;
            for chunk in &chunks {
                let members = chunk.members()?;
                reading.count_listed(members.len());
                for member in members {
                    if page.takes(member.user) {
                        page.add(member.user.to_owned(), (member.role, member.since));
                    }
                }
                reading.pause_if_due().await;
            }
        }
        let page = page.finish();
        let member = |(name, (role, since)): (String, _)| GroupMember {
            user: name.into(),
            role: RoleName::from(role),
            since,
        };
        Ok(ReplyBody::GroupInfo(GroupInfoReply {
            group: self.listing.name.clone().into(),
            name: (!group.name.is_empty()).then(|| group.name.into()),
            picture: picture.map(|picture| picture.to_owned().into()),
            send: match profile.admins_send {
                true => Senders::Admins,
                false => Senders::All,
            },
            join: match profile.open {
                true => Joining::Open,
                false => Joining::Invite,
            },
            pins,
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
    /// in one state. It reads the marks of all members, and keeps the members of the page alone.
    ///
    /// # Errors
    /// The errors of [`Reading::check`], or the user sees no such message.
    pub(super) async fn receipts(
        &self,
        reading: &Reading,
        (seq, state): (u64, ReceiptState),
        limit: usize,
    ) -> Result<ReplyBody<'static>, Failure> {
        let mut tally = ReceiptTally {
            seq,
            state,
            sender: sender(reading, self.access, seq)?,
            counts: ReceiptCounts::default(),
            page: PageBuilder::new(self.listing.after.clone(), limit),
        };
        let id = self.access.conversation;
        if !self.access.group {
            for member in self.marks_of_both(reading)?.into_iter().flatten() {
                tally.count(&member);
            }
            return Ok(tally.reply());
        }
        let count = reading.group(id)?.chunks;
        for keys in reading.roster_keys(id, count).await.chunks(CHUNKS) {
            let chunks = reading.rosters(keys)?;
            let mut members = Vec::new();
            for chunk in &chunks {
                members.extend(chunk.members()?);
            }
            for member in self.marks(reading, &members).await? {
                tally.count(&member);
            }
            for chunk in members.chunks(ROSTER_CHUNK) {
                reading.count_listed(chunk.len());
                reading.pause_if_due().await;
            }
        }
        Ok(tally.reply())
    }

    /// Returns the marks of the members of a 1:1 conversation: of two, or of one if the user talks to
    /// themselves.
    fn marks_of_both(&self, reading: &Reading) -> Result<[Option<MemberMarks<'_>>; 2], Failure> {
        let name = Conversation::parse(&self.listing.name);
        let Some(Conversation::Direct(lesser, greater)) = name else {
            return Err(NO_MESSAGE);
        };
        let id = self.access.conversation;
        let marks = reading.direct(id)?.marks;
        let of = |user, marks| {
            let own = reading.ids().user(&self.listing.namespace, user);
            let first = reading.first_of_direct(id, own)?;
            Ok::<_, Failure>(MemberMarks { user, first, marks })
        };
        let other = match lesser != greater {
            true => Some(of(greater, marks[1])?),
            false => None,
        };
        Ok([Some(of(lesser, marks[0])?), other])
    }

    /// Returns the marks of these members of a group.
    async fn marks<'m>(
        &self,
        reading: &Reading,
        members: &[Entry<'m>],
    ) -> Result<Vec<MemberMarks<'m>>, Failure> {
        let id = self.access.conversation;
        let namespace = &self.listing.namespace;
        let users = members.iter();
        let users = users.map(|member| reading.ids().user(namespace, member.user));
        let states = reading.members(id, users).await?;
        let advance = reading.advance(id)?;
        let all = members.iter().zip(states);
        let marks = all.map(|(member, state)| MemberMarks {
            user: member.user,
            first: state.first_seq,
            marks: advance.of(state.number, state.marks),
        });
        Ok(marks.collect())
    }
}

/// Returns the pinned messages of a group from the sequence `first` on that have not expired. They take
/// an eighth of a message at most: the last ones stay.
fn pins(
    reading: &Reading,
    group: TimelineId,
    first: u64,
    message_bytes: usize,
) -> Result<Vec<PinnedMessage>, Failure> {
    /// The most bytes of a pinned message in JSON.
    const PIN: usize = 60;
    let Some(Pins(pins)) = reading.value(reading.ids().pins(group))? else {
        return Ok(Vec::new());
    };
    let first = first.max(reading.first_seq(group)?);
    let seen = pins.into_iter().filter(|pin| pin.seq >= first);
    let mut seen: Vec<_> = seen
        .map(|pin| PinnedMessage {
            seq: pin.seq,
            time: pin.time,
        })
        .collect();
    let most = (message_bytes / 8 / PIN).max(1);
    Ok(seen.split_off(seen.len().saturating_sub(most)))
}

/// Returns the name of the sender of a message, if the user may see the message.
///
/// # Errors
/// The errors of [`Reading::check`], or the user sees no such message.
fn sender(reading: &Reading, access: Access, seq: u64) -> Result<String, Failure> {
    let mut page = Page::default();
    reading.visible_message(access, seq, &mut page)?;
    let record = page.records().next().ok_or(NO_MESSAGE)?;
    let body = Body::read(record.body).ok_or(NO_MESSAGE)?;
    Ok(body.user.to_owned())
}

impl ReceiptTally {
    /// Counts a member, unless the member sent the message or joined later.
    fn count(&mut self, member: &MemberMarks<'_>) {
        let &MemberMarks { user, first, marks } = member;
        let seq = self.seq;
        if user == self.sender || seq < first {
            return;
        }
        let (delivered, read) = (marks.delivered >= seq, marks.read >= seq);
        self.counts.members += 1;
        self.counts.delivered += u64::from(delivered);
        self.counts.read += u64::from(read);
        let (is_in_state, place) = match self.state {
            ReceiptState::Read => (read, (marks.read, marks.read_time)),
            ReceiptState::Delivered => (delivered, (marks.delivered, marks.delivered_time)),
            ReceiptState::Unread => (!read, (marks.delivered, marks.delivered_time)),
        };
        if is_in_state && self.page.takes(user) {
            self.page.add(user.to_owned(), place);
        }
    }

    /// Returns the reply.
    fn reply(self) -> ReplyBody<'static> {
        let page = self.page.finish();
        let user = |(user, (seq, time)): (String, _)| ReceiptUser {
            user: Str::from(user),
            seq,
            time,
        };
        ReplyBody::Receipts(ReceiptsReply {
            counts: self.counts,
            users: page.entries.into_iter().map(user).collect(),
            more: page.more,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_storage::backend::sim::SimDisk;
    use trunkline_storage::{Options, Store};

    use super::*;
    use crate::cost::Cost;
    use crate::exchange::slices::{LongLookUp, LookedUp, SLICE};
    use crate::fit::Cut;
    use crate::reader::reading::{LISTED, LOOK_UP};
    use crate::state::{Head, Member, Role, Roster};

    const GROUP: TimelineId = TimelineId(100);
    const MEMBERS: usize = 3_000;

    /// Makes a store with a group.
    fn group() -> (Reading, About) {
        let options = Options {
            segment_bytes: 8 << 20,
            max_record_bytes: 1 << 20,
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let mut opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
        let reading = Reading::of_tests(&opened.reader);
        let ids = reading.ids();
        let names: Vec<_> = (0..MEMBERS).map(|n| format!("member-{n:05}")).collect();
        let mut set = |key, value: &[u8]| opened.writer.set_state(key, value).unwrap();
        let mut chunks = 0;
        for names in names.chunks(ROSTER_CHUNK) {
            let entry = |user| Entry {
                user,
                role: Role::Member,
                since: 1,
                first: 1,
            };
            let members = names.iter().map(|name| entry(&**name)).collect();
            set(
                ids.roster(GROUP, chunks),
                &state::encode(&Roster { members }),
            );
            chunks += 1;
        }
        let head = Head {
            members: MEMBERS as u64,
            chunks,
            ..Head::default()
        };
        set(ids.head(GROUP), &state::encode(&head));
        let user = ids.user("", &names[0]);
        let member = Member {
            role: Role::Member,
            ..Member::default()
        };
        set(ids.member(GROUP, user), &state::encode(&member));
        opened.writer.commit().unwrap();
        let access = Access {
            user,
            conversation: GROUP,
            group: true,
        };
        let listing = Listing {
            namespace: String::new(),
            user: names[0].clone(),
            name: "all".into(),
            after: None,
        };
        let about = About::new(access, &listing);
        (reading, about)
    }

    #[test]
    fn a_large_group_is_listed_in_short_slices_and_each_member_costs() {
        let (reading, about) = group();
        let meter = Arc::clone(reading.meter());
        let mut look_up = LongLookUp::new(meter, async move {
            let body = about.group_info(&reading, 10, 1 << 20).await?;
            Ok(LookedUp::Reply(Box::new(body), Cut::Back))
        });
        let chunk = LISTED.times(ROSTER_CHUNK) + LOOK_UP.times(10);
        let (mut all, mut slices) = (Cost::NONE, 0);
        let reply = loop {
            let reply = look_up.go_on();
            let cost = look_up.take_cost();
            assert!(cost <= SLICE + chunk, "{cost:?}");
            all += cost;
            slices += 1;
            if let Some(reply) = reply {
                break reply;
            }
        };
        let Ok(LookedUp::Reply(body, _)) = reply else {
            panic!("no reply");
        };
        let ReplyBody::GroupInfo(info) = *body else {
            panic!("{body:?}");
        };
        assert_eq!((info.members.len(), info.more), (10, true));
        assert_eq!(info.members[9].user, "member-00009");
        assert!(all >= LISTED.times(MEMBERS), "{all:?}");
        assert!(slices > 3, "{slices}");
    }
}
