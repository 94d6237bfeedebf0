//! The ids under which the store keeps users, conversations and their state.
//!
//! Each id is a keyed hash of names, so no client can choose names that collide. The namespace is
//! part of every hash of names, so users of one organisation cannot name anything of another.

use trunkline_storage::{StoreKey, TimelineId};

/// Four bytes of a device's id. They tell the devices of one user apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceMark(pub [u8; 4]);

impl DeviceMark {
    /// The mark of a seat that is no device: the user waits for events, and is not online for it.
    pub const NONE: Self = Self([0; 4]);
}

/// One of the two members of a 1:1 conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The member whose name comes first, bytewise.
    Lesser = 0,
    /// The other member.
    Greater = 1,
}

/// The id of a namespace. It is never stored: two namespaces with the same id share their turns, and
/// nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u64);

/// The id of a user. The user's sync timeline has the same id.
pub type UserId = TimelineId;

// The domains of the hash. They are part of the disk format: never reuse one.
const USER: u8 = 1;
const DIRECT: u8 = 2;
const GROUP: u8 = 3;
const KEY: u8 = 4;
const CHANNEL: u8 = 5;
const ROSTER: u8 = 6;
const MEMBER: u8 = 7;
const INBOX: u8 = 8;
const INBOX_CHUNK: u8 = 9;
const REACTIONS: u8 = 10;
const HIDDEN: u8 = 11;
const DEVICE: u8 = 12;
const TOPIC: u8 = 13;
const CONTACTS: u8 = 14;
const HEAD: u8 = 15;
const CREATED: u8 = 30;
const CREATED_CONTENT: u8 = 31;
const TALLY: u8 = 32;
const BUCKET: u8 = 33;
const NAME: u8 = 34;
const REACTION_COUNT: u8 = 35;
const CLOSED: u8 = 36;
const CLOSED_NODE: u8 = 37;
const CLOCK: u8 = 40;
const NAMESPACE: u8 = 41;
const BACKUP_PROOF: u8 = 42;
const MEDIA: u8 = 43;
const MEDIA_LINKS: u8 = 44;
const PASSING: u8 = 49;
const THREAD: u8 = 45;
const MENTIONS: u8 = 46;
const DUE: u8 = 47;
const CLEARED: u8 = 48;
const WAITING_TTLS: u8 = 55;
const WEBHOOK: u8 = 60;
const PROFILE: u8 = 50;
const PINS: u8 = 51;
const SETTINGS: u8 = 52;
const BLOCKED: u8 = 53;
const BLOCK: u8 = 54;
const BLOCK_FILTER: u8 = 56;
const ERASURES: u8 = 70;
const ERASED: u8 = 71;
const SIGHT: u8 = 72;

/// Makes ids with the key of one store.
#[derive(Debug, Clone, Copy)]
pub struct Ids(pub StoreKey);

impl Ids {
    /// Returns the id of a user.
    pub fn user(&self, namespace: &str, name: &str) -> UserId {
        self.0.id(USER, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// Returns the id of a namespace. The namespace of a gateway without namespaces has the default id.
    pub fn namespace(&self, name: &str) -> NamespaceId {
        if name.is_empty() {
            return NamespaceId::default();
        }
        NamespaceId(self.0.id(NAMESPACE, &[name.as_bytes()]).0 as u64)
    }

    /// Returns the number that proves to the gateway that a process knows the store's key. It is never
    /// stored.
    pub fn backup_proof(&self) -> u128 {
        self.0.id(BACKUP_PROOF, &[]).0
    }

    /// Returns the id of the conversation between two users. `lesser` is the name that comes first,
    /// bytewise.
    pub fn direct(&self, namespace: &str, lesser: &str, greater: &str) -> TimelineId {
        self.0.id(
            DIRECT,
            &[namespace.as_bytes(), lesser.as_bytes(), greater.as_bytes()],
        )
    }

    /// Returns the id of a user's idempotency key for messages. Two messages with the same id are
    /// one message.
    pub fn key(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let parts = [namespace.as_bytes(), user.as_bytes(), key.as_bytes()];
        self.0.id(KEY, &parts)
    }

    /// Returns the id of a user's idempotency key for new groups. The store keeps the first reply
    /// under it.
    pub fn created(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let parts = [namespace.as_bytes(), user.as_bytes(), key.as_bytes()];
        self.0.id(CREATED, &parts)
    }

    /// Returns a hash of what a creation of a group asks for. The order of the members, and how often
    /// each is named, make no difference. The creator counts as a member in any case.
    pub fn created_content(
        &self,
        (group, name): (&str, &str),
        all_history: bool,
        (creator, members): (&str, &[&str]),
    ) -> u128 {
        let mut members = members.to_vec();
        members.retain(|member| *member != creator);
        members.sort_unstable();
        members.dedup();
        let fixed = [group.as_bytes(), name.as_bytes(), &[u8::from(all_history)]];
        let members = members.iter().map(|member| member.as_bytes());
        let parts: Vec<_> = fixed.into_iter().chain(members).collect();
        self.0.id(CREATED_CONTENT, &parts).0
    }

    /// Returns the id of a topic.
    pub fn topic(&self, namespace: &str, name: &str) -> TimelineId {
        self.0.id(TOPIC, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// Returns the id of a group.
    pub fn group(&self, namespace: &str, name: &str) -> TimelineId {
        self.0.id(GROUP, &[namespace.as_bytes(), name.as_bytes()])
    }

    /// Returns the id of a large group's channel: the timeline from which all members catch up, as
    /// each user does from the own sync timeline.
    pub fn channel(&self, group: TimelineId) -> UserId {
        self.of(CHANNEL, &[group], 0)
    }

    /// Returns the key under which the store keeps the time.
    pub fn clock(&self) -> TimelineId {
        self.0.id(CLOCK, &[])
    }

    /// Returns the key of a group's head: its name, rules and size.
    pub fn head(&self, group: TimelineId) -> TimelineId {
        self.of(HEAD, &[group], 0)
    }

    /// Returns the key of one chunk of a group's roster.
    pub fn roster(&self, group: TimelineId, number: u32) -> TimelineId {
        self.of(ROSTER, &[group], number.into())
    }

    /// Returns the key of a user's membership in a group.
    pub fn member(&self, group: TimelineId, user: UserId) -> TimelineId {
        self.of(MEMBER, &[group, user], 0)
    }

    /// Returns the key of a user's inbox: the newest conversations, and the channels of large groups.
    pub fn inbox(&self, user: UserId) -> TimelineId {
        self.of(INBOX, &[user], 0)
    }

    /// Returns the key of one chunk of a user's older conversations.
    pub fn inbox_chunk(&self, user: UserId, number: u32) -> TimelineId {
        self.of(INBOX_CHUNK, &[user], number.into())
    }

    /// Returns the key of one slot in which an earlier version kept a user's closed windows. `inbox` is the key
    /// of the inbox.
    pub(crate) fn closed_slot(&self, inbox: TimelineId, slot: u64) -> TimelineId {
        self.of(CLOSED, &[inbox], slot)
    }

    /// Returns the key of one piece of a user's closed windows, on level 0, or of a node above pieces. `inbox`
    /// is the key of the inbox.
    pub(crate) fn closed(&self, inbox: TimelineId, level: u32, number: u64) -> TimelineId {
        self.of(CLOSED_NODE, &[inbox], u64::from(level) << 56 | number)
    }

    /// Returns the key of the reactions to a message. Sequence 0 stands for the conversation: there is
    /// a value if any of its messages ever had a reaction.
    pub fn reactions(&self, conversation: TimelineId, seq: u64) -> TimelineId {
        self.of(REACTIONS, &[conversation], seq)
    }

    /// Returns the key of the number of users with one reaction to a message. `set` is the key of the
    /// reactions to the message.
    pub(crate) fn reaction_count(&self, set: TimelineId, reaction: &str) -> TimelineId {
        let parts: [&[u8]; 2] = [&set.0.to_le_bytes(), reaction.as_bytes()];
        self.0.id(REACTION_COUNT, &parts)
    }

    /// Returns the key of a tally: how many messages of a stretch of a conversation each author sent.
    /// `number` is the number of the stretch.
    pub(crate) fn tally(&self, conversation: TimelineId, number: u64) -> TimelineId {
        self.of(TALLY, &[conversation], number)
    }

    /// Returns the key of the messages in a stretch of a conversation that a user deleted from the
    /// own view.
    pub fn hidden(&self, user: UserId, conversation: TimelineId, stretch: u64) -> TimelineId {
        self.of(HIDDEN, &[user, conversation], stretch)
    }

    /// Returns the key of the position that the store keeps for a device.
    pub fn device(&self, user: UserId, device: &str) -> TimelineId {
        self.0
            .id(DEVICE, &[&user.0.to_le_bytes(), device.as_bytes()])
    }

    /// Returns the mark of a device, which tells it apart from the user's other devices.
    pub fn device_mark(&self, user: UserId, device: &str) -> DeviceMark {
        let [a, b, c, d, ..] = self.device(user, device).0.to_le_bytes();
        match DeviceMark([a, b, c, d]) {
            DeviceMark::NONE => DeviceMark([1; 4]),
            mark => mark,
        }
    }

    /// Returns the key of the conversations in which messages name media of this id.
    pub fn media(&self, id: &str) -> TimelineId {
        self.0.id(MEDIA, &[id.as_bytes()])
    }

    /// Returns the key of the messages that expire among those with which a sender names media in a
    /// conversation. `media` is the key of the media, and `with` the id of the recipient or the group.
    pub(crate) fn passing(&self, media: TimelineId, by: UserId, with: TimelineId) -> TimelineId {
        let [media, by, with] = [media, by, with].map(|id| id.0.to_le_bytes());
        self.0.id(PASSING, &[&media, &by, &with])
    }

    /// Returns the secret that signs links to media. It is never stored.
    pub fn media_links(&self) -> u128 {
        self.0.id(MEDIA_LINKS, &[]).0
    }

    /// Returns the key of the replies to a message.
    pub(crate) fn thread(&self, conversation: TimelineId, seq: u64) -> TimelineId {
        self.of(THREAD, &[conversation], seq)
    }

    /// Returns the key of the messages of a conversation that mention a member.
    pub(crate) fn mentions(&self, conversation: TimelineId, user: UserId) -> TimelineId {
        self.of(MENTIONS, &[conversation, user], 0)
    }

    /// Returns the key of the messages of a conversation that mention all members. There is a value if
    /// any message ever mentioned somebody.
    pub(crate) fn mentions_of_all(&self, conversation: TimelineId) -> TimelineId {
        self.of(MENTIONS, &[conversation], 1)
    }

    /// Returns the number that stands for a message and one of its recipients in webhooks. `place` is the
    /// sequence of the message, and the time of its record in milliseconds since 1970 UTC. The number is
    /// never stored.
    pub(crate) fn webhook(
        &self,
        user: UserId,
        conversation: TimelineId,
        (seq, time): (u64, u64),
    ) -> u128 {
        let parts = [user.0.to_le_bytes(), conversation.0.to_le_bytes()];
        let place = [seq.to_le_bytes(), time.to_le_bytes()];
        let [user, conversation] = &parts;
        let [seq, time] = &place;
        self.0.id(WEBHOOK, &[user, conversation, seq, time]).0
    }

    /// Returns the number that stands for this store in files beside it, after so many restores. Another store
    /// has another one.
    pub(crate) fn history(&self, restores: u32) -> u128 {
        self.0.id(WEBHOOK, &[&restores.to_le_bytes()]).0
    }

    /// Returns the id of the timeline of the ephemeral messages that expire in one span of time: the records
    /// name it beside their recipients.
    pub(crate) fn due(&self, span: u64) -> TimelineId {
        self.of(DUE, &[], span)
    }

    /// Returns the key of the span up to which the content of expired messages is removed.
    pub(crate) fn cleared(&self) -> TimelineId {
        self.0.id(CLEARED, &[])
    }

    /// Returns the key of what is known of the messages with a `ttl` that wait.
    pub(crate) fn waiting_ttls(&self) -> TimelineId {
        self.0.id(WAITING_TTLS, &[])
    }

    /// Returns the key of the list of erasures under way.
    pub(crate) fn erasures(&self) -> TimelineId {
        self.0.id(ERASURES, &[])
    }

    /// Returns the key of the last erasure of a user.
    pub(crate) fn erased(&self, user: UserId) -> TimelineId {
        self.of(ERASED, &[user], 0)
    }

    /// Returns the key of what a user who was erased sees of a 1:1 conversation.
    pub(crate) fn sight(&self, user: UserId, conversation: TimelineId) -> TimelineId {
        self.of(SIGHT, &[user, conversation], 0)
    }

    /// Returns the key of a user's contacts.
    pub fn contacts(&self, user: UserId) -> TimelineId {
        self.of(CONTACTS, &[user], 0)
    }

    /// Returns the key of a group's picture and rules.
    pub(crate) fn profile(&self, group: TimelineId) -> TimelineId {
        self.of(PROFILE, &[group], 0)
    }

    /// Returns the key of a group's pinned messages.
    pub(crate) fn pins(&self, group: TimelineId) -> TimelineId {
        self.of(PINS, &[group], 0)
    }

    /// Returns the key of a user's own settings of a conversation.
    pub(crate) fn settings(&self, user: UserId, conversation: TimelineId) -> TimelineId {
        self.of(SETTINGS, &[user, conversation], 0)
    }

    /// Returns a key that has a value if a user ever changed the settings of a conversation.
    pub(crate) fn any_settings(&self, user: UserId) -> TimelineId {
        self.of(SETTINGS, &[user], 1)
    }

    /// Returns the key of the list of users whom a user blocks.
    pub fn blocked(&self, user: UserId) -> TimelineId {
        self.of(BLOCKED, &[user], 0)
    }

    /// Returns a key that has a value while `blocker` blocks `blocked`.
    pub(crate) fn block(&self, blocker: UserId, blocked: UserId) -> TimelineId {
        self.of(BLOCK, &[blocker, blocked], 0)
    }

    /// Returns the key of one chunk of the filter of all blocks.
    pub(crate) fn block_filter(&self, chunk: u64) -> TimelineId {
        self.of(BLOCK_FILTER, &[], chunk)
    }

    /// Returns the key of one bucket of a large set. `set` is the key of the set.
    pub(crate) fn bucket(&self, set: TimelineId, number: u32) -> TimelineId {
        self.of(BUCKET, &[set], number.into())
    }

    /// Returns the hash of a name, which chooses the bucket of an entry in a large set.
    pub(crate) fn hash_of_name(&self, name: &str) -> u64 {
        self.0.id(NAME, &[name.as_bytes()]).0 as u64
    }

    /// Returns the hash of at most two ids and a number.
    fn of(&self, domain: u8, ids: &[TimelineId], number: u64) -> TimelineId {
        let mut parts = [[0; 16]; 3];
        let bytes = ids.iter().map(|id| id.0.to_le_bytes());
        let number = [u128::from(number).to_le_bytes()];
        for (part, bytes) in parts.iter_mut().zip(bytes.chain(number)) {
            *part = bytes;
        }
        let [first, second, third] = &parts;
        self.0.id(domain, &[first, second, third])
    }
}
