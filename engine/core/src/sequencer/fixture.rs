//! The parts of a sequencer over a simulated disk, for tests of single parts.

use std::sync::Arc;
use std::time::Duration;

use trunkline_proto::Encoding;
use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Durability, Options, Store, TimelineId};

use super::Sequencer;
use super::asked::Asked;
use super::batch::{Moment, OpenBatch};
use super::conversations::Conversations;
use super::groups::Groups;
use super::membership::{GroupCommand, Membership};
use super::messages::{Messages, SendTerms};
use super::price::Work;
use super::recent::Recent;
use super::refused::{Refused, Stop};
use crate::event::{Body, BodyNames, both};
use crate::exchange::{
    Action, Change, Command, CommandBatch, ConnRef, Members, ReplyConn, ReplyTo,
};
use crate::ids::{Ids, Side};
use crate::log::Local;
use crate::messaging::Messaging;
use crate::metrics::SequencerMetrics;
use crate::told::{Decision, Told};

/// The time of the first batch, in milliseconds since 1970 UTC.
pub(super) const NOW: u64 = 1_767_225_600_000;

/// A 1:1 conversation, and a group.
pub(super) const AB: &str = "u:alice:bob";
pub(super) const ENG: &str = "g:eng";

/// The rules of a [`Fixture`].
pub(super) const RULES: Messaging = Messaging {
    fanout_limit: 5,
    channel_stays: Duration::from_hours(1),
    receipt_fanout: 4,
    receipt_delay: Duration::ZERO,
    delivered_delay: Duration::ZERO,
    group_members: 8,
    members_add: false,
    recall_window: Duration::from_secs(60),
    edit_window: Duration::from_secs(60),
    most_ttl: Duration::from_secs(60),
    group_cache: 1_000,
    rewrites: false,
    message_bytes: 1 << 20,
};

/// An empty store, and the parts that most commands need.
pub(super) struct Fixture {
    pub(super) disk: SimDisk,
    pub(super) batch: OpenBatch,
    pub(super) recent: Recent,
    pub(super) messages: Messages,
    pub(super) membership: Membership,
    pub(super) metrics: Arc<SequencerMetrics>,
}

impl Sequencer {
    /// Lets time stand still: only costs end a commit, however slow the machine is.
    pub(crate) fn stand_still(mut self) -> Self {
        self.passed = |_| Duration::ZERO;
        self
    }
}

/// A command with its body.
pub(super) struct Request(CommandBatch);

impl Request {
    /// Returns the command of `user`.
    pub(super) fn new(
        ids: &Ids,
        user: &str,
        conversation: &str,
        action: Action,
        body: Body<'_>,
    ) -> Self {
        let mut batch = CommandBatch::default();
        push_command(
            ids,
            &mut batch,
            Caller { user, conn: 1 },
            conversation,
            action,
            body,
        );
        Self(batch)
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        let command = &self.0.commands[0];
        Asked {
            command,
            body: &self.0.bodies,
        }
    }
}

/// The caller of a command, and the slot of the connection.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) user: &'a str,
    pub(crate) conn: u32,
}

/// Adds a command to a batch. Its id is the number of commands in the batch.
pub(crate) fn push_command(
    ids: &Ids,
    batch: &mut CommandBatch,
    caller: Caller<'_>,
    conversation: &str,
    action: Action,
    body: Body<'_>,
) {
    let Caller { user, conn } = caller;
    let (id, members) = match both(conversation) {
        Some((lesser, greater)) => {
            let (side, other) = if user == lesser {
                (Side::Lesser, greater)
            } else {
                (Side::Greater, lesser)
            };
            let other = ids.user("", other);
            let id = ids.direct("", lesser, greater);
            (id, Members::Direct { other, side })
        }
        None => {
            let name = conversation.trim_start_matches("g:");
            (ids.group("", name), Members::Group)
        }
    };
    let start = batch.bodies.len();
    let body = Body {
        conversation,
        user,
        ..body
    };
    body.write(&mut batch.bodies);
    batch.push(Command {
        reply_to: ReplyTo::Conn(ReplyConn {
            shard: 0,
            encoding: Encoding::Json,
            conn: ConnRef {
                slot: conn,
                generation: 0,
            },
            id: batch.commands.len() as u32 + 1,
        }),
        user: ids.user("", user),
        conversation: id,
        members,
        body: start..batch.bodies.len(),
        names: BodyNames::of(&body),
        action,
        read_at: 0,
    });
}

/// Returns the most reads, and the most bytes of log, that one of these decisions took.
pub(super) fn most(work: &[Work]) -> (u32, u32) {
    let reads = work.iter().map(|work| work.reads).max().unwrap();
    (reads, work.iter().map(|work| work.log_bytes).max().unwrap())
}

impl Fixture {
    /// Returns the parts over a store that syncs each commit.
    pub(super) fn new() -> Self {
        Self::with(Durability::Sync)
    }

    /// Returns the parts over a store with this durability.
    pub(super) fn with(durability: Durability) -> Self {
        let disk = SimDisk::new(1);
        let options = Options {
            segment_bytes: 1 << 20,
            max_record_bytes: 1 << 16,
            reserve_bytes: 0,
            background: false,
            durability,
            ..Options::default()
        };
        let opened = Store::open_with(Arc::new(disk.clone()), options, &mut |_| ()).unwrap();
        let conversations = Conversations::new(opened.reader.clone(), 0);
        let metrics = Arc::<SequencerMetrics>::default();
        let mut batch = OpenBatch::new(opened.writer, Box::new(Local), opened.reader);
        batch.set_moment(Moment {
            wire: NOW,
            steady: NOW,
            passed: 0,
        });
        Self {
            disk,
            batch,
            recent: Recent::new(
                conversations,
                Groups::new(RULES.group_cache),
                Arc::default(),
            ),
            messages: Messages::new(&RULES, Arc::clone(&metrics)),
            membership: Membership::new(RULES),
            metrics,
        }
    }

    pub(super) fn ids(&self) -> Ids {
        *self.batch.ids()
    }

    pub(super) fn user(&self, name: &str) -> TimelineId {
        self.ids().user("", name)
    }

    pub(super) fn request(
        &self,
        user: &str,
        conversation: &str,
        action: Action,
        body: Body<'_>,
    ) -> Request {
        Request::new(&self.ids(), user, conversation, action, body)
    }

    /// Commits the batch, as the sequencer does.
    pub(super) fn commit(&mut self) {
        self.batch.commit(Told::default()).unwrap();
        self.messages.clear();
    }

    /// Sends a message without a key into the batch.
    pub(super) fn send(&mut self, user: &str, conversation: &str) -> Result<Decision, Stop> {
        let body = Body {
            text: Some("hi"),
            ..Body::default()
        };
        let request = self.request(
            user,
            conversation,
            Action::Send {
                key: None,
                names_media: false,
                has_extras: false,
            },
            body,
        );
        let (batch, recent) = (&mut self.batch, &mut self.recent);
        let terms = SendTerms::default();
        self.messages.send(batch, recent, request.asked(), terms)
    }

    /// Changes a group. `members` are the users that the command names.
    pub(super) fn change_group(
        &mut self,
        user: &str,
        change: Change,
        members: &[&str],
    ) -> Result<Decision, Refused> {
        let body = Body {
            members: members.to_vec(),
            ..Body::default()
        };
        let request = self.request(user, ENG, Action::Group(change), body);
        let command = request.asked();
        let body = Body::read(command.body).unwrap();
        let asked = GroupCommand {
            command,
            body: &body,
            change,
        };
        let (batch, recent) = (&mut self.batch, &mut self.recent);
        if let Some(decision) = self.membership.admit(batch, recent, asked)? {
            return Ok(decision);
        }
        self.membership.change(batch, recent, asked)
    }

    /// Creates the group [`ENG`] of these users. The first one is its owner.
    pub(super) fn create_group(&mut self, users: &[&str]) {
        let create = Change::Create { all_history: false };
        self.change_group(users[0], create, &users[1..]).unwrap();
    }
}
