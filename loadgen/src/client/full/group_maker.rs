//! Making the groups of a thread, before its users connect.
//!
//! A separate session makes the groups, names all members and leaves, so it is a member of none. If
//! the members were connected, the gateway would report each later member to all earlier ones: 100
//! GB for a group of 100,000. The run's figures only hold the duration of this step.

use compact_str::CompactString;
use trunkline_proto::message::{CommandBody, GroupCreate, GroupLeave, GroupMembers, ReplyBody};

use crate::clock::{Nanos, SECOND};
use crate::membership::Memberships;
use crate::population::Part;

/// The first command id of making groups, between the ids of sends and those of `sync` and history.
const MAKE_ID: u32 = 0x00ff_f000;

/// Groups made at a time.
const AT_A_TIME: u32 = 32;

/// Members that a command may name.
const NAMED: u32 = 1_000;

/// The longest time that the gateway may take for an answer.
const PATIENCE: Nanos = 60 * SECOND;

/// Makes the groups of a thread.
#[derive(Debug)]
pub(super) struct GroupMaker {
    /// The place of the maker's connection, behind all devices.
    device: u32,
    /// The time at which the maker began; `None` before.
    begun: Option<Nanos>,
    /// The next group to be begun.
    next: u32,
    /// The groups that are being made, by their place in the command id.
    under_way: Vec<Option<GroupStep>>,
    /// The time of the gateway's last answer.
    answered: Nanos,
    /// Whether all groups are made, or cannot be made.
    over: bool,
    failed: bool,
    took: Nanos,
}

/// The last request for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupStep {
    group: u32,
    asked: Asked,
}

/// A command of the maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The maker made the group or added members, up to this number of members.
    Name(u32),
    /// The maker left the group.
    Leave,
}

/// The work of a turn of the loop for the maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MakerTurn {
    /// Nothing.
    Wait,
    /// Open the maker's session.
    Connect,
    /// Tell the other threads that this one has no groups to make.
    NothingToMake,
    /// End the run, because the gateway does not answer.
    Silent,
}

/// The groups of a thread and the users in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cast<'a> {
    pub(super) part: &'a Part,
    pub(super) members: &'a Memberships,
}

impl GroupMaker {
    /// Makes a maker with its connection at this place.
    pub(super) fn new(device: u32) -> Self {
        Self {
            device,
            begun: None,
            next: 0,
            under_way: Vec::new(),
            answered: 0,
            over: false,
            failed: false,
            took: 0,
        }
    }

    /// Returns the place of the maker's connection.
    pub(super) fn device(&self) -> u32 {
        self.device
    }

    /// Returns the name of the maker's user.
    pub(super) fn user(&self, part: &Part) -> String {
        format!("{}.maker{}", part.run(), part.of().0)
    }

    /// Returns whether groups are being made.
    pub(super) fn is_working(&self) -> bool {
        self.begun.is_some() && !self.over
    }

    /// Returns whether the groups cannot be made.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Returns the duration of making the groups.
    pub(super) fn took(&self) -> Nanos {
        self.took
    }

    /// Ends the making: the groups cannot be made.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.over = true;
    }

    /// Returns the next work. `wanted` tells whether the run has groups, and `groups` is the number
    /// of this thread's groups.
    pub(super) fn turn(&mut self, now: Nanos, wanted: bool, groups: u32) -> MakerTurn {
        if self.over {
            return MakerTurn::Wait;
        }
        if self.begun.is_some() {
            return match now > self.answered + PATIENCE {
                true => MakerTurn::Silent,
                false => MakerTurn::Wait,
            };
        }
        if groups == 0 || !wanted {
            self.over = true;
            return match wanted {
                true => MakerTurn::NothingToMake,
                false => MakerTurn::Wait,
            };
        }
        self.begun = Some(now);
        self.answered = now;
        MakerTurn::Connect
    }

    /// Begins the first groups, after the maker's session has opened.
    pub(super) fn opened(
        &mut self,
        now: Nanos,
        cast: Cast<'_>,
        mut ask: impl FnMut(u32, CommandBody<'_>),
    ) {
        self.answered = now;
        for _ in 0..AT_A_TIME.min(cast.members.groups()) {
            self.under_way.push(None);
            self.begin_next(self.under_way.len() - 1, cast, &mut ask);
        }
    }

    fn begin_next(
        &mut self,
        place: usize,
        cast: Cast<'_>,
        ask: &mut impl FnMut(u32, CommandBody<'_>),
    ) {
        let group = self.next;
        self.next += 1;
        self.name_members(place, group, 0, cast, ask);
    }

    /// Makes a group, or adds to it: the members from `from` on.
    fn name_members(
        &mut self,
        place: usize,
        group: u32,
        from: u32,
        cast: Cast<'_>,
        ask: &mut impl FnMut(u32, CommandBody<'_>),
    ) {
        let Cast { part, members } = cast;
        let until = (from + NAMED).min(members.size(group));
        let mut text = String::new();
        let names: Vec<_> = (from..until)
            .map(|nth| {
                text.clear();
                part.write_user(members.member(group, nth), &mut text);
                CompactString::from(&*text)
            })
            .collect();
        text.clear();
        members.write_name(group, &mut text);
        let named = names.iter().map(|name| (&**name).into()).collect();
        let body = match from {
            0 => CommandBody::GroupCreate(GroupCreate {
                group: (&*text).into(),
                members: named,
                ..GroupCreate::default()
            }),
            _ => CommandBody::GroupAdd(GroupMembers {
                group: (&*text).into(),
                members: named,
            }),
        };
        self.under_way[place] = Some(GroupStep {
            group,
            asked: Asked::Name(until),
        });
        ask(MAKE_ID + place as u32, body);
    }

    /// Takes the answer to a command of the maker. Returns whether all groups are made now.
    ///
    /// # Errors
    /// The groups cannot be made: why.
    pub(super) fn answered(
        &mut self,
        now: Nanos,
        id: u32,
        body: &ReplyBody<'_>,
        cast: Cast<'_>,
        mut ask: impl FnMut(u32, CommandBody<'_>),
    ) -> Result<bool, String> {
        if self.over {
            return Ok(false);
        }
        self.answered = now;
        let place = id.wrapping_sub(MAKE_ID) as usize;
        let Some(step) = self.under_way.get(place).copied().flatten() else {
            return Err(format!("an unexpected answer: {body:?}"));
        };
        let GroupStep { group, asked } = step;
        let mut conversation = "g:".to_owned();
        cast.members.write_name(group, &mut conversation);
        check(&conversation, asked, body)?;
        match asked {
            Asked::Name(named) if named < cast.members.size(group) => {
                self.name_members(place, group, named, cast, &mut ask);
            }
            Asked::Name(_) => {
                let leave = GroupLeave {
                    group: conversation.trim_start_matches("g:").into(),
                };
                let asked = Asked::Leave;
                self.under_way[place] = Some(GroupStep { group, asked });
                ask(MAKE_ID + place as u32, CommandBody::GroupLeave(leave));
            }
            Asked::Leave => {
                self.under_way[place] = None;
                if self.next < cast.members.groups() {
                    self.begin_next(place, cast, &mut ask);
                } else if self.under_way.iter().all(Option::is_none) {
                    self.over = true;
                    self.took = now - self.begun.unwrap_or(now);
                }
            }
        }
        Ok(self.over)
    }
}

/// Compares an answer with its request.
fn check(conversation: &str, asked: Asked, body: &ReplyBody<'_>) -> Result<(), String> {
    // The maker itself is one more member, until it leaves.
    let expected = |named: u32| u64::from(named) + 1;
    let right = match (asked, body) {
        (Asked::Name(named), ReplyBody::GroupCreate(made)) => {
            made.conversation == conversation && made.members == expected(named)
        }
        (Asked::Name(named), ReplyBody::GroupAdd(added)) => added.members == expected(named),
        (Asked::Leave, ReplyBody::GroupLeave(_)) => true,
        (_, ReplyBody::Error(error)) => {
            let (code, name) = (error.code, &error.name);
            return Err(format!("{conversation}: {code} {name}: {}", error.message));
        }
        _ => false,
    };
    match right {
        true => Ok(()),
        false => Err(format!("{conversation}: a wrong answer: {body:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use trunkline_proto::message::{GroupCreateReply, GroupMembersReply};

    use super::*;
    use crate::membership::tests::{none, wanted};
    use crate::population::tests::population;

    /// Returns the thread's part and its groups: some of ten members, and a large one.
    fn cast(users: u32) -> (Part, Memberships) {
        let part = population(users, 1_000, 8).part(0, 1);
        let members = Memberships::new(&part, &wanted(0.1, "const(10)", &[2_500]), 1);
        (part, members)
    }

    /// A command that the maker asked.
    struct Question {
        id: u32,
        group: String,
        /// Members that the group has more behind it, the maker among them.
        more: u64,
        leaves: bool,
    }

    impl Question {
        fn of(id: u32, body: &CommandBody<'_>) -> Self {
            let (group, more, leaves) = match body {
                CommandBody::GroupCreate(it) => (&it.group, it.members.len() + 1, false),
                CommandBody::GroupAdd(it) => (&it.group, it.members.len(), false),
                CommandBody::GroupLeave(it) => (&it.group, 0, true),
                other => panic!("{other:?}"),
            };
            Self {
                id,
                group: group.to_string(),
                more: more as u64,
                leaves,
            }
        }
    }

    /// Answers every command as a gateway does. Returns the members of each group at the end.
    fn make(maker: &mut GroupMaker, cast: Cast<'_>) -> BTreeMap<String, u64> {
        let mut sizes = BTreeMap::new();
        let mut asked = VecDeque::new();
        maker.opened(0, cast, |id, body| asked.push_back(Question::of(id, &body)));
        while let Some(question) = asked.pop_front() {
            let Question { id, group, .. } = question;
            let size = sizes.entry(group.clone()).or_insert(0);
            let first = *size == 0;
            *size += question.more;
            let members = *size;
            let reply = match (question.leaves, first) {
                (true, _) => {
                    *size -= 1;
                    ReplyBody::GroupLeave(Default::default())
                }
                (false, true) => ReplyBody::GroupCreate(GroupCreateReply {
                    conversation: format!("g:{group}").into(),
                    members,
                    duplicate: false,
                }),
                (false, false) => ReplyBody::GroupAdd(GroupMembersReply { members }),
            };
            let made = maker.answered(9, id, &reply, cast, |id, body| {
                asked.push_back(Question::of(id, &body));
            });
            assert_eq!(made, Ok(asked.is_empty()), "{group}");
        }
        sizes
    }

    #[test]
    fn every_group_gets_its_members_and_the_maker_leaves() {
        let (part, members) = cast(3_000);
        let cast = Cast {
            part: &part,
            members: &members,
        };
        let mut maker = GroupMaker::new(5);
        assert_eq!(maker.turn(1, true, members.groups()), MakerTurn::Connect);
        assert!(maker.is_working());
        let sizes = make(&mut maker, cast);
        assert_eq!(sizes.len(), members.groups() as usize);
        for group in 0..members.groups() {
            let mut name = String::new();
            members.write_name(group, &mut name);
            assert_eq!(sizes[&name], u64::from(members.size(group)), "{name}");
        }
        assert!(!maker.is_working() && !maker.has_failed());
        assert_eq!(maker.took(), 8);
    }

    #[test]
    fn a_wrong_answer_and_silence_end_it() {
        let (part, members) = cast(3_000);
        let cast = Cast {
            part: &part,
            members: &members,
        };
        let mut maker = GroupMaker::new(5);
        maker.turn(0, true, members.groups());
        maker.opened(0, cast, |_, _| {});
        let reply = ReplyBody::GroupLeave(Default::default());
        let wrong = maker.answered(1, MAKE_ID, &reply, cast, |_, _| {});
        assert!(wrong.is_err_and(|why| why.contains("a wrong answer")));
        let unasked = maker.answered(1, 7, &reply, cast, |_, _| {});
        assert!(unasked.is_err_and(|why| why.contains("unexpected answer")));
        assert_eq!(maker.turn(1 + PATIENCE, true, 3), MakerTurn::Wait);
        assert_eq!(maker.turn(2 + PATIENCE, true, 3), MakerTurn::Silent);
        maker.fail();
        assert!(maker.has_failed() && !maker.is_working());
    }

    #[test]
    fn a_thread_without_groups_says_so_once() {
        let mut maker = GroupMaker::new(5);
        assert_eq!(maker.turn(0, true, 0), MakerTurn::NothingToMake);
        assert_eq!(maker.turn(0, true, 0), MakerTurn::Wait);
        assert_eq!(GroupMaker::new(5).turn(0, false, 0), MakerTurn::Wait);
        let part = population(100, 1_000, 8).part(0, 1);
        assert_eq!(none(&part).groups(), 0);
    }
}
