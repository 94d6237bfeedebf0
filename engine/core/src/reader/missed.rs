//! Messages whose recipients had no device connected, in the order of the log.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Message, ReplyBody};
use trunkline_proto::names::Conversation;
use trunkline_storage::{IdBuildHasher, Page, Position, Reader, Record, TimelineId};

use super::failure::{CORRUPT, failure, is_lasting};
use super::follow::{self, Followed, Looked};
use super::messages::Messages;
use super::reading::Reading;
use super::unread::Unread;
use crate::event::{Body, Extras, RecordKind};
use crate::exchange::{Access, Failure};
use crate::hub::Hub;
use crate::ids::UserId;
use crate::muting::Muting;
use crate::owned;
use crate::state::{self, Head, Inbox};

/// The maximum number of conversations whose unread messages were counted of late.
const COUNTED: usize = 1_024;

/// The time after which unread messages are counted anew from the read mark on, because earlier ones
/// may have been recalled.
const FRESH: Duration = Duration::from_secs(1);

/// A message, and a recipient who had no device connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The namespace; empty in a gateway without namespaces.
    pub namespace: Arc<str>,
    /// The name of the recipient.
    pub user: Box<str>,
    /// The sender.
    pub from: UserId,
    /// The name of the conversation.
    pub conversation: Arc<str>,
    /// The sequence of the message.
    pub seq: u64,
    /// The time of the message's record, in milliseconds since 1970 UTC. It is steady time: it names the
    /// record, and is compared with [`MissedMessages::steady`] alone.
    pub time: u64,
    /// When the message was sent, in milliseconds since 1970 UTC, as clients see it.
    pub sent: u64,
}

/// A message as its recipient sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The message.
    pub message: Message<'static>,
    /// The number of messages of the conversation that the recipient has not read, up to this one.
    pub unread: u64,
    /// Whether the message mentions the recipient, by name or with all members.
    pub mentioned: bool,
}

/// What became of a message for its recipient.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// The recipient sees it.
    Shown(Box<Shown>),
    /// The recipient cannot see it any more: it was recalled, deleted or has expired, or the recipient has left
    /// the group; or the recipient mutes the conversation and is not mentioned.
    Unseen,
    /// What the store has of it is damaged.
    Damaged,
}

/// Users, by their ids.
pub type Users = HashSet<UserId, IdBuildHasher>;

/// Whose messages are looked for.
#[derive(Debug, Clone, Copy)]
pub enum Among<'l> {
    /// Those of all.
    All,
    /// Those to these recipients.
    Recipients(&'l Users),
    /// Those of these senders.
    Senders(&'l Users),
}

impl Among<'_> {
    fn has_recipient(self, user: UserId) -> bool {
        match self {
            Self::Recipients(users) => users.contains(&user),
            Self::All | Self::Senders(_) => true,
        }
    }

    fn has_sender(self, user: UserId) -> bool {
        match self {
            Self::Senders(users) => users.contains(&user),
            Self::All | Self::Recipients(_) => true,
        }
    }
}

/// The part of the log that [`MissedMessages::follow`] looks through.
#[derive(Debug, Clone, Copy)]
pub struct Look<'l> {
    /// The position of the last record before the part.
    pub after: Position,
    /// The position of the last record of the part.
    pub until: Position,
    /// The number of messages after which the look ends.
    pub most: usize,
    /// Whose messages are looked for.
    pub among: Among<'l>,
}

/// Where a missed message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The position of its record.
    pub at: Position,
    /// A position before the record and behind all earlier ones of the look: a look after it finds the message again.
    pub before: Position,
}

/// The ids of a missed message.
struct MissedIds {
    user: UserId,
    conversation: TimelineId,
    group: bool,
}

/// A count of unread messages.
struct Counted {
    at: Instant,
    read: u64,
    seq: u64,
    unread: u64,
}

/// Finds missed messages by following the log, and reads them. Each method reads the store: call it where
/// a thread may wait.
pub struct MissedMessages {
    reading: Reading,
    hub: Arc<Hub>,
    muting: Muting,
    largest_group: u64,
    message_bytes: usize,
    page: Page,
    counted: HashMap<(UserId, TimelineId), Counted>,
}

impl MissedMessages {
    /// Returns what finds the missed messages of a store. `hub` knows who is connected. Messages of groups with more than
    /// `largest_group` members are left out. No message is shown with more than `message_bytes` bytes.
    pub fn new(store: &Reader, hub: Arc<Hub>, largest_group: u64, message_bytes: usize) -> Self {
        Self {
            reading: Reading::new(store, &hub.clock),
            hub,
            muting: Muting::new(store),
            largest_group,
            message_bytes,
            page: Page::default(),
            counted: HashMap::default(),
        }
    }

    /// Returns the steady time in milliseconds since 1970 UTC: that of [`Missed::time`]. No leap of the system
    /// clock moves it.
    pub fn steady(&self) -> u64 {
        self.hub.clock.steady()
    }

    /// Returns the position of the last record of the log.
    pub fn head(&self) -> Position {
        self.reading.store().head()
    }

    /// Returns the text of a position, which no other history of the store accepts.
    pub fn token(&self, position: Position) -> String {
        self.reading.epochs().token(position).to_string()
    }

    /// Returns the position of a text of [`token`](Self::token); `None` if the text belongs to another
    /// store or to another history, or was made while the disk was full.
    pub fn position(&self, text: &str) -> Option<Position> {
        self.reading.epochs().check(text).ok()
    }

    /// Returns a number that only this store has, until it is restored from a backup.
    pub fn history(&self) -> u128 {
        let restores = self.reading.epochs().restores();
        self.reading.ids().history(restores)
    }

    /// Replaces each of these positions, which are in ascending order, by one from which the log can be followed so
    /// that nothing behind the old one is left out, in a store whose log may have lost its end there.
    ///
    /// # Errors
    /// Says why the store cannot be read. The first positions may be replaced then.
    pub fn near(&self, positions: &mut [Position]) -> Result<(), String> {
        let near = self.reading.store().near(positions);
        near.map_err(|error| error.to_string())
    }

    /// Returns the id of a user.
    pub fn user(&self, namespace: &str, name: &str) -> UserId {
        self.reading.ids().user(namespace, name)
    }

    /// Returns the id of a missed message: always the same one, and of no other message or recipient.
    pub fn id(&self, missed: &Missed) -> Option<u128> {
        let ids = self.ids(missed)?;
        let place = (missed.seq, missed.time);
        Some(
            self.reading
                .ids()
                .webhook(ids.user, ids.conversation, place),
        )
    }

    /// Gives the missed messages of a part of the log to `each`, in the order of the log, with their places.
    /// Reads at most 1,000 records, and no more once `each` got enough messages; of the last record `each` gets all.
    ///
    /// Recipients who have a device connected now, or had one after the message was stored, are left out.
    /// A record that cannot be decoded, or whose message or group is damaged, is counted, and the next one is read:
    /// reading it again would change nothing.
    pub fn follow(&self, look: Look<'_>, each: &mut dyn FnMut(Place, Missed)) -> Followed {
        let (mut found, mut count) = (Vec::new(), 0);
        follow::follow(
            &self.reading,
            look.after,
            look.until,
            &mut |record, before| {
                let result = self.find(record, look.among, &mut found);
                count += found.len();
                let place = Place {
                    at: record.position,
                    before,
                };
                for missed in found.drain(..) {
                    each(place, missed);
                }
                let flow = match count >= look.most {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                };
                Looked { result, flow }
            },
        )
    }

    /// Adds the recipients of a record who have no device connected.
    /// Adds nothing if it fails.
    fn find(
        &self,
        record: &Record<'_>,
        among: Among<'_>,
        found: &mut Vec<Missed>,
    ) -> Result<(), Failure> {
        if RecordKind::of(record) != Some(RecordKind::Message) {
            return Ok(());
        }
        // The first body of a message that was edited or recalled is overwritten soon. There is a later one.
        let mut page = Page::default();
        if record.body.is_empty() {
            self.reading
                .message(record.timeline, record.seq, &mut page)?;
        }
        let latest = page.records().next();
        let bytes = latest.map_or(record.body, |latest| latest.body);
        if bytes.is_empty() {
            return Ok(());
        }
        let body = Body::read(bytes).ok_or(CORRUPT)?;
        if body.recalled {
            return Ok(());
        }
        let from = self.user(body.namespace, body.user);
        if !among.has_sender(from) {
            return Ok(());
        }
        let sent = body.happened(record);
        let missed = |user: &str| Missed {
            namespace: body.namespace.into(),
            user: user.into(),
            from,
            conversation: body.conversation.into(),
            seq: record.seq,
            time: record.time,
            sent,
        };
        match Conversation::parse(body.conversation) {
            Some(Conversation::Direct(lesser, greater)) if lesser != greater => {
                let other = if body.user == lesser { greater } else { lesser };
                let user = self.user(body.namespace, other);
                if among.has_recipient(user) && self.is_away(user, sent) {
                    found.push(missed(other));
                }
                Ok(())
            }
            Some(Conversation::Group(_)) => self
                .find_members(record, &body, among, &mut |user| {
                    let namespace = found.last().map(|last| Arc::clone(&last.namespace));
                    let conversation = found.last().map(|last| Arc::clone(&last.conversation));
                    let mut missed = missed(user);
                    // The members of a group share the names.
                    for (own, other) in [
                        (&mut missed.namespace, namespace),
                        (&mut missed.conversation, conversation),
                    ] {
                        if let Some(other) = other.filter(|other| *other == *own) {
                            *own = other;
                        }
                    }
                    found.push(missed);
                })
                .inspect_err(|_| found.clear()),
            _ => Ok(()),
        }
    }

    /// Calls `each` with the members of a group who got a message and have no device connected.
    fn find_members(
        &self,
        record: &Record<'_>,
        body: &Body<'_>,
        among: Among<'_>,
        each: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let (reading, group) = (&self.reading, record.timeline);
        let sent = body.happened(record);
        let ids = reading.ids();
        let mut told: Vec<UserId> = record.fanout.collect();
        told.sort_unstable();
        let is_pulled = told.binary_search(&ids.channel(group)).is_ok();
        if !is_pulled && !told.iter().any(|user| among.has_recipient(*user)) {
            return Ok(());
        }
        let Some(value) = reading.bytes(ids.head(group))? else {
            return Ok(());
        };
        let head: Head<'_> = state::decode(&value).ok_or(CORRUPT)?;
        if head.members > self.largest_group {
            return Ok(());
        }
        for number in 0..head.chunks {
            let Some(chunk) = reading.roster(group, number)? else {
                continue;
            };
            let members = chunk.members()?.into_iter();
            let away = members.filter_map(|member| {
                let user = ids.user(body.namespace, member.user);
                let is_other = member.user != body.user && among.has_recipient(user);
                let is_away = is_other && self.is_away(user, sent);
                let was_told = is_pulled || told.binary_search(&user).is_ok();
                (is_away && was_told).then_some((member.user, user))
            });
            let away: Vec<_> = away.collect();
            if !is_pulled {
                away.iter().for_each(|(name, _)| each(name));
                continue;
            }
            let users = away.iter().map(|(_, user)| *user);
            let states = reading.members_at_once(group, users)?;
            for ((name, _), state) in away.iter().zip(states) {
                if state.joined_at < record.seq {
                    each(name);
                }
            }
        }
        Ok(())
    }

    /// Returns whether a user has no device connected, and had none after a message was `sent`, as far as
    /// the hub remembers. A user who leaves before the log is followed to a message has received it.
    fn is_away(&self, user: UserId, sent: u64) -> bool {
        self.hub.is_gone(user)
            && self
                .hub
                .state(user, None)
                .left
                .is_none_or(|left| left <= sent)
    }

    fn ids(&self, missed: &Missed) -> Option<MissedIds> {
        let (ids, namespace) = (self.reading.ids(), &*missed.namespace);
        let (conversation, group) = match Conversation::parse(&missed.conversation)? {
            Conversation::Direct(lesser, greater) => {
                (ids.direct(namespace, lesser, greater), false)
            }
            Conversation::Group(name) => (ids.group(namespace, name), true),
        };
        Some(MissedIds {
            user: ids.user(namespace, &missed.user),
            conversation,
            group,
        })
    }

    /// Returns a message as its recipient sees it.
    ///
    /// # Errors
    /// Says why the store cannot be read now.
    pub fn show(&mut self, missed: &Missed) -> Result<Sight, String> {
        let shown = self.shown(missed);
        self.reading.meter().take();
        match shown {
            Ok(shown) => Ok(shown),
            Err((ErrorCode::StorageUnavailable | ErrorCode::Internal, why)) => Err(why.to_owned()),
            Err(_) => Ok(Sight::Unseen),
        }
    }

    fn shown(&mut self, missed: &Missed) -> Result<Sight, Failure> {
        let Some(ids) = self.ids(missed) else {
            return Ok(Sight::Unseen);
        };
        let access = Access {
            user: ids.user,
            conversation: ids.conversation,
            group: ids.group,
        };
        let messages = Messages::new(&self.reading, ids.user, self.message_bytes);
        let reply = match messages.get(access, missed.seq, &mut self.page) {
            // Asking again would keep the recipient's later messages waiting.
            Err(failure) if is_lasting(&failure) => return Ok(Sight::Damaged),
            reply => reply?,
        };
        let ReplyBody::Get(reply) = reply else {
            return Ok(Sight::Unseen);
        };
        let message = owned::message(reply.message);
        let stored = self.page.records().next().map(|record| record.time);
        // Another history of the store may have another message with this sequence.
        let extras = message.extras.as_deref();
        let is_expired = extras.is_some_and(|extras| extras.expired);
        let is_gone = message.recalled || message.deleted || is_expired;
        if stored != Some(missed.time) || is_gone {
            return Ok(Sight::Unseen);
        }
        let is_of = |name: &str| *name == *missed.user || name == Extras::ALL;
        let mentioned = extras.is_some_and(|extras| extras.mentions.iter().any(|name| is_of(name)));
        // Damage elsewhere, such as of an earlier message that is counted, does not hide this message.
        let is_muted = match self.is_muted(&ids) {
            Err(failure) if is_lasting(&failure) => false,
            is_muted => is_muted?,
        };
        if is_muted && !mentioned {
            return Ok(Sight::Unseen);
        }
        let unread = match self.unread(missed, &ids) {
            // This message at least.
            Err(failure) if is_lasting(&failure) => 1,
            unread => unread?,
        };
        Ok(Sight::Shown(Box::new(Shown {
            message,
            unread,
            mentioned,
        })))
    }

    /// Returns whether the recipient mutes the conversation now.
    fn is_muted(&self, ids: &MissedIds) -> Result<bool, Failure> {
        let now = self.hub.clock.now();
        let muted = self.muting.is_muted(ids.user, ids.conversation, now);
        muted.map_err(|error| failure(&error))
    }

    /// Returns the number of unread messages up to a missed one. Counts on from the last count for the
    /// same conversation, if that is fresh.
    fn unread(&mut self, missed: &Missed, ids: &MissedIds) -> Result<u64, Failure> {
        let reading = &self.reading;
        let read = self.read_mark(missed, ids)?;
        let inbox = reading.bytes(reading.ids().inbox(ids.user))?;
        let hides = match inbox.as_deref() {
            None => false,
            Some(value) => state::decode::<Inbox<'_>>(value).ok_or(CORRUPT)?.hides,
        };
        let key = (ids.user, ids.conversation);
        let before = self.counted.get(&key).filter(|counted| {
            counted.read == read && counted.seq <= missed.seq && counted.at.elapsed() < FRESH
        });
        let (from, count, at) = match before {
            Some(before) => (before.seq, before.unread, before.at),
            None => (read, 0, Instant::now()),
        };
        let unread = Unread {
            reading,
            user: ids.user,
            name: &missed.user,
            hides,
            conversation: ids.conversation,
        };
        let more = finish(unread.count(from, missed.seq, &mut self.page))?;
        if self.counted.len() >= COUNTED {
            self.counted.clear();
        }
        let counted = Counted {
            at,
            read,
            seq: missed.seq,
            unread: count + more,
        };
        self.counted.insert(key, counted);
        Ok(count + more)
    }

    /// Returns the sequence up to which a recipient has read the conversation.
    fn read_mark(&self, missed: &Missed, ids: &MissedIds) -> Result<u64, Failure> {
        let (reading, conversation) = (&self.reading, ids.conversation);
        if ids.group {
            let member = reading.member(conversation, ids.user)?;
            let marks = reading.advance(conversation)?;
            return Ok(member.read_up_to(marks.of(member.number, member.marks)));
        }
        let is_lesser = matches!(
            Conversation::parse(&missed.conversation),
            Some(Conversation::Direct(lesser, _)) if lesser == &*missed.user
        );
        let marks = reading.direct(conversation)?.marks;
        Ok(marks[usize::from(!is_lesser)].read)
    }
}

/// Finishes a look-up that pauses only to let others go first.
fn finish<T>(look_up: impl Future<Output = T>) -> T {
    let mut look_up = pin!(look_up);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(found) = look_up.as_mut().poll(&mut context) {
            return found;
        }
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests;
