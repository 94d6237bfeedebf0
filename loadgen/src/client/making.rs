//! Making the run's groups, before anybody of its users connects.
//!
//! A session of its own makes them, names all members and leaves: it is none of them. Made while the
//! members are there, a large group would tell each of them of all who are added after it: 100 GB for
//! 100,000 members. Nothing of this is in the run's figures but how long it took.

use compact_str::CompactString;
use trunkline_proto::CloseCode;
use trunkline_proto::frame::write_close;
use trunkline_proto::message::{CommandBody, GroupCreate, GroupLeave, GroupMembers, ReplyBody};

use super::Client;
use super::conn::State;
use crate::clock::{Nanos, SECOND};
use crate::foreign::heard;
use crate::stats::{Counters, Latencies};

/// The command ids of making groups: beyond those of sends, below those of `sync` and history.
const MAKE_ID: u32 = 0x00ff_f000;

/// Groups made at a time.
const AT_A_TIME: u32 = 32;

/// Members that a command may name.
const NAMED: u32 = 1_000;

/// How long the gateway may take for an answer.
const PATIENCE: Nanos = 60 * SECOND;

/// How far a thread is with making its groups.
#[derive(Debug, Default)]
pub(super) struct Making {
    /// When it began; `None` before, and where there is nothing to make.
    begun: Option<Nanos>,
    /// The next group to be begun.
    next: u32,
    /// By place in the command id, the group and what was asked last.
    under_way: Vec<Option<(u32, Step)>>,
    heard: Nanos,
    over: bool,
    /// Why it cannot be gone on with.
    pub(super) failed: Option<String>,
    /// How long it took.
    pub(super) took: Nanos,
}

/// What was asked for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To make it or add to it, up to so many members.
    Name(u32),
    Leave,
}

impl Making {
    /// Whether groups are being made.
    pub(super) fn goes_on(&self) -> bool {
        self.begun.is_some() && !self.over
    }
}

impl Client {
    /// The place of the connection that makes groups: behind all devices.
    pub(super) fn is_maker(&self, device: u32) -> bool {
        device as usize == self.conns.len() - 1
    }

    /// Its user's name.
    pub(super) fn maker_name(&self) -> String {
        let part = &self.job.checker.part;
        format!("{}.maker{}", part.run(), part.of().0)
    }

    /// Begins to make groups, or sees to it that they come on.
    pub(super) fn make_groups(&mut self, now: Nanos) {
        if self.making.over {
            return;
        }
        if self.making.begun.is_none() {
            if !self.job.board.has_groups() {
                self.making.over = true;
                return;
            }
            if self.job.checker.members().groups() == 0 {
                self.making.over = true;
                return self.job.board.made(now);
            }
            self.making.begun = Some(now);
            self.making.heard = now;
            return self.connect(now, self.conns.len() as u32 - 1);
        }
        if now > self.making.heard + PATIENCE {
            self.not_made("the gateway does not answer");
        }
    }

    /// Groups cannot be made: the run ends.
    pub(super) fn not_made(&mut self, why: &str) {
        let why = heard(&format!("the run's groups cannot be made: {why}"));
        self.note_trouble(&why);
        self.making.failed.get_or_insert(why);
        self.making.over = true;
    }

    /// The session that makes groups is open.
    pub(super) fn maker_opened(&mut self, now: Nanos) {
        self.making.heard = now;
        for _ in 0..AT_A_TIME.min(self.job.checker.members().groups()) {
            let group = self.making.next;
            self.making.next += 1;
            self.making.under_way.push(Some((group, Step::Name(0))));
            self.name_members(self.making.under_way.len() - 1, group, 0);
        }
    }

    /// Makes a group, or adds to it: the members from `from` on.
    fn name_members(&mut self, place: usize, group: u32, from: u32) {
        let checker = &self.job.checker;
        let until = (from + NAMED).min(checker.members().size(group));
        let mut name = CompactString::default();
        let mut text = String::new();
        let names: Vec<_> = (from..until)
            .map(|nth| {
                text.clear();
                let user = checker.members().member(group, nth);
                checker.part.write_user(user, &mut text);
                CompactString::from(&*text)
            })
            .collect();
        text.clear();
        checker.members().write_name(group, &mut text);
        name.push_str(&text);
        let (group_name, members) = (
            (&*name).into(),
            names.iter().map(|name| (&**name).into()).collect(),
        );
        let body = match from {
            0 => CommandBody::GroupCreate(GroupCreate {
                group: group_name,
                members,
                ..GroupCreate::default()
            }),
            _ => CommandBody::GroupAdd(GroupMembers {
                group: group_name,
                members,
            }),
        };
        self.making.under_way[place] = Some((group, Step::Name(until)));
        self.command(self.conns.len() as u32 - 1, MAKE_ID + place as u32, body);
    }

    fn leave_group(&mut self, place: usize, group: u32) {
        let mut name = String::new();
        self.job.checker.members().write_name(group, &mut name);
        let leave = GroupLeave {
            group: (&*name).into(),
        };
        self.making.under_way[place] = Some((group, Step::Leave));
        let maker = self.conns.len() as u32 - 1;
        self.command(
            maker,
            MAKE_ID + place as u32,
            CommandBody::GroupLeave(leave),
        );
    }

    /// What the session that makes groups was answered.
    pub(super) fn maker_heard(&mut self, now: Nanos, id: u32, body: &ReplyBody<'_>) {
        if self.making.over {
            return;
        }
        self.making.heard = now;
        let place = id.wrapping_sub(MAKE_ID) as usize;
        let asked = self.making.under_way.get(place).copied().flatten();
        let Some((group, step)) = asked else {
            return self.not_made(&format!("an answer that was not asked for: {body:?}"));
        };
        let mut id = "g:".to_owned();
        self.job.checker.members().write_name(group, &mut id);
        // The session itself is one more, until it leaves.
        let expected = |named: u32| u64::from(named) + 1;
        let right = match (step, body) {
            (Step::Name(named), ReplyBody::GroupCreate(made)) => {
                *made.conversation == *id && made.members == expected(named)
            }
            (Step::Name(named), ReplyBody::GroupAdd(added)) => added.members == expected(named),
            (Step::Leave, ReplyBody::GroupLeave(_)) => true,
            (_, ReplyBody::Error(error)) => {
                let (code, name) = (error.code, &error.name);
                return self.not_made(&format!("{id}: {code} {name}: {}", error.message));
            }
            _ => false,
        };
        if !right {
            return self.not_made(&format!("{id}: a wrong answer: {body:?}"));
        }
        let size = self.job.checker.members().size(group);
        match step {
            Step::Name(named) if named < size => self.name_members(place, group, named),
            Step::Name(_) => self.leave_group(place, group),
            Step::Leave => {
                let next = self.making.next;
                self.making.under_way[place] = None;
                if next < self.job.checker.members().groups() {
                    self.making.next += 1;
                    self.name_members(place, next, 0);
                } else if self.making.under_way.iter().all(Option::is_none) {
                    self.made(now);
                }
            }
        }
    }

    /// All groups stand: the run begins, and its figures with it.
    fn made(&mut self, now: Nanos) {
        let maker = self.conns.len() as u32 - 1;
        let mask = self.next_mask();
        if let Some(conn) = &mut self.conns[maker as usize] {
            write_close(&mut conn.out, CloseCode::NORMAL, "", mask);
            conn.state = State::Closing;
            self.mark_dirty(maker);
        }
        self.making.over = true;
        self.making.took = now - self.making.begun.unwrap_or(now);
        self.latencies = Latencies::new();
        let members = self.job.checker.members();
        let (groups_made, group_members) = (u64::from(members.groups()), members.members());
        *self.count() = Counters {
            groups_made,
            group_members,
            ..Counters::default()
        };
        self.job.board.made(now);
    }
}
