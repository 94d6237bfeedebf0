//! Changes of groups: creation, members and names.

mod delta;

use trunkline_proto::ErrorCode;
use trunkline_storage::TimelineId;

use super::asked::Asked;
use super::batch::OpenBatch;
use super::blocks;
use super::groups::Group;
use super::recent::Recent;
use super::refused::{CORRUPT, NOT_A_MEMBER, Refused};
use crate::event::Body;
use crate::exchange::{Change, Done, Outcome};
use crate::ids::UserId;
use crate::messaging::Messaging;
use crate::state::{self, Advance, Created, Profile, Role};
use crate::told::Decision;
use delta::Delta;

const NOT_AN_OWNER: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only owners of the group may do this",
);

const NOT_AN_ADMIN: Refused = Refused::new(
    ErrorCode::PermissionDenied,
    "only owners and admins of the group may do this",
);

const NAME_TAKEN: Refused = Refused::new(
    ErrorCode::NameTaken,
    "a group of this name exists: choose another name",
);

const KEY_REUSED: Refused = Refused::new(
    ErrorCode::KeyReused,
    "this key was used to create another group, or the same in another way: use a new key",
);

const TOO_MANY: Refused = Refused::new(
    ErrorCode::LimitExceeded,
    "the group would have more members than group_members",
);

/// Decides the commands that change groups.
pub(super) struct Membership {
    rules: Messaging,
}

/// A command that changes a group, with its decoded body.
#[derive(Clone, Copy)]
pub(super) struct GroupCommand<'a> {
    pub(super) command: Asked<'a>,
    pub(super) body: &'a Body<'a>,
    pub(super) change: Change,
}

/// The idempotency key of a creation.
struct CreationKey {
    key: TimelineId,
    /// A hash of what the creation asks for.
    content: u128,
}

impl<'a> GroupCommand<'a> {
    /// Returns the id of the group.
    fn id(self) -> TimelineId {
        self.command.conversation
    }

    /// Returns the idempotency key of a creation; `None` if the command is no creation or has no
    /// key.
    fn creation_key(self, batch: &OpenBatch) -> Option<CreationKey> {
        let Change::Create { all_history } = self.change else {
            return None;
        };
        let (ids, body) = (batch.ids(), self.body);
        let key = ids.created(body.namespace, body.user, body.key?);
        let names = (body.conversation, body.name.unwrap_or_default());
        let members = (body.user, &body.members[..]);
        let content = ids.created_content(names, all_history, members);
        Some(CreationKey { key, content })
    }

    /// Returns the key of the stored creation that this command repeats; `None` for a first one.
    ///
    /// # Errors
    /// The key belongs to another creation, or the store could not be read.
    fn created_before(self, batch: &OpenBatch) -> Result<Option<TimelineId>, Refused> {
        let Some(CreationKey { key, content }) = self.creation_key(batch) else {
            return Ok(None);
        };
        let Some(value) = batch.value(key)? else {
            return Ok(None);
        };
        let created: Created<'_> = state::decode(&value).ok_or(CORRUPT)?;
        if created.content != content {
            return Err(KEY_REUSED);
        }
        Ok(Some(key))
    }
}

impl Membership {
    /// Returns the part under these rules.
    pub(super) fn new(rules: Messaging) -> Self {
        Self { rules }
    }

    /// Returns the rules.
    pub(super) const fn rules(&self) -> Messaging {
        self.rules
    }

    /// Checks that the caller may change the group. A creation puts an empty group into memory. A
    /// repeated creation is decided at once; `None` for all other commands, which
    /// [`change`](Self::change) decides.
    ///
    /// # Errors
    /// The caller may not change the group, the name or the key is taken, or the store could not be
    /// read.
    pub(super) fn admit(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Option<Decision>, Refused> {
        if let Change::Create { all_history } = asked.change {
            if let Some(key) = asked.created_before(batch)? {
                return Ok(Some(Decision::private(Outcome::Made(key))));
            }
            check_accepted(batch, recent, asked, &others_named(batch, asked))?;
            begin_group(batch, recent, asked, all_history)?;
            return Ok(None);
        }
        if asked.change == Change::Join {
            return self.admit_newcomer(batch, recent, asked).map(|()| None);
        }
        let (namespace, user) = (asked.body.namespace, asked.command.user);
        let groups = recent.groups();
        let group = groups.of_member(batch, namespace, asked.id(), user)?;
        match (asked.change, group.role(user)) {
            (Change::Leave, _) | (_, Role::Owner) => {}
            (Change::Add | Change::Remove, Role::Admin) => {}
            (Change::Add, _) if self.rules.members_add => {}
            (Change::Add | Change::Remove, _) => return Err(NOT_AN_ADMIN),
            _ => return Err(NOT_AN_OWNER),
        }
        // Before anything changes in memory: a group that is refused a change stays there.
        let mut named = others_named(batch, asked);
        match asked.change {
            Change::Add => {
                named.retain(|named| !group.has(*named));
                if group.len() + named.len() > self.rules.group_members {
                    return Err(TOO_MANY);
                }
                check_accepted(batch, recent, asked, &named)?;
            }
            Change::Remove => delta::check_removal(group, asked, &named)?,
            Change::Role(role) => {
                let user = named.first().copied().unwrap_or(user);
                delta::check_role(group, user, role.into())?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Checks that anybody may join the group, and that there is room.
    ///
    /// For a user who is not a member, the cost is two look-ups, whether the group exists or not. So
    /// neither the answer nor its time reveals a group that nobody may join.
    ///
    /// # Errors
    /// The caller is no member and the group is not open or is full, or the store could not be read.
    fn admit_newcomer(
        &self,
        batch: &OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<(), Refused> {
        let (ids, id) = (batch.ids(), asked.id());
        let is_in = batch.member(ids.member(id, asked.command.user))?.is_in();
        let profile = batch.value(ids.profile(id))?.unwrap_or_default();
        let is_open = match &*profile {
            [] => false,
            profile => state::decode::<Profile<'_>>(profile).ok_or(CORRUPT)?.open,
        };
        if !is_in && !is_open {
            return Err(NOT_A_MEMBER);
        }
        let group = recent.groups().get(batch, asked.body.namespace, id)?;
        // A group that everybody has left is none.
        let group = group.filter(|group| group.len() > 0).ok_or(NOT_A_MEMBER)?;
        if !is_in && group.len() >= self.rules.group_members {
            return Err(TOO_MANY);
        }
        Ok(())
    }

    /// Changes a group, after [`admit`](Self::admit).
    ///
    /// # Errors
    /// The group would have too many members, the store could not be read, or it took no record.
    /// The group is out of memory then, because it may be half changed.
    pub(super) fn change(
        &self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Decision, Refused> {
        let decision = self.carry_out(batch, recent, asked);
        if decision.is_err() {
            recent.groups().forget(asked.id());
        }
        decision
    }

    fn carry_out(
        &self,
        batch: &mut OpenBatch,
        recent: &mut Recent,
        asked: GroupCommand<'_>,
    ) -> Result<Decision, Refused> {
        let last_seq = recent.conversation(asked.id())?.last_seq();
        let group = recent.group(batch, asked.body.namespace, asked.id())?;
        let mut delta = Delta::new(asked)?;
        delta.apply(batch, group, last_seq)?;
        let members = group.len() as u64;
        let done = match asked.change {
            Change::Create { .. } => Done::GroupCreate { members },
            Change::Add => Done::GroupAdd { members },
            Change::Remove => Done::GroupRemove { members },
            Change::Leave => Done::GroupLeave,
            Change::Rename => Done::GroupRename,
            Change::Role(_) => Done::GroupRole,
            Change::Set => Done::GroupSet,
            Change::Join => Done::GroupJoin { members },
        };
        if delta.is_empty() {
            return Ok(Decision::unchanged(done));
        }
        if delta.adds() && group.len() > self.rules.group_members {
            return Err(TOO_MANY);
        }
        let was_pull = group.is_pull();
        group.choose_pull(&self.rules, batch.moment().steady);
        delta.change_inboxes(batch, group, was_pull)?;
        let advance: Advance = batch.decoded(asked.id())?.unwrap_or_default();
        delta.write_members(batch, group, last_seq, &advance)?;
        if !advance.is_empty() {
            delta.forget_marks(batch, advance)?;
        }
        delta.write_creation(batch, members);
        delta.write_group(batch, group, was_pull);
        let recipients = delta.recipients(group, was_pull);
        let position = delta.append(batch, &recipients.fanout)?;
        Ok(Decision::done(done, position, recipients.audience))
    }
}

/// Returns the users whom a command names, each once. The caller is left out of a creation and of new
/// members.
fn others_named(batch: &OpenBatch, asked: GroupCommand<'_>) -> Vec<UserId> {
    let names = asked.body.members.iter();
    let users = names.map(|name| batch.ids().user(asked.body.namespace, name));
    let adds = matches!(asked.change, Change::Create { .. } | Change::Add);
    let mut users: Vec<_> = users
        .filter(|user| !adds || *user != asked.command.user)
        .collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// Checks that none of these users, who would become members, blocks the caller.
///
/// # Errors
/// One of them does, or the store could not be read.
fn check_accepted(
    batch: &OpenBatch,
    recent: &Recent,
    asked: GroupCommand<'_>,
    users: &[UserId],
) -> Result<(), Refused> {
    let (blocks, caller) = (recent.blocks(), asked.command.user);
    let mut users = users.iter();
    users.try_for_each(|user| blocks::check(batch, blocks, caller, *user))
}

/// Puts a group without members into memory, under a name that no group with members has.
///
/// # Errors
/// The name is taken, or the store could not be read.
fn begin_group(
    batch: &OpenBatch,
    recent: &mut Recent,
    asked: GroupCommand<'_>,
    all_history: bool,
) -> Result<(), Refused> {
    let (ids, id) = (batch.ids(), asked.id());
    let last = recent.conversation(id)?.last_seq();
    let name = asked.body.name.unwrap_or_default();
    let groups = recent.groups();
    let group = match groups.get(batch, asked.body.namespace, id)? {
        None => Group::new(ids, id, name, all_history),
        Some(group) if group.len() == 0 => group.renewed(ids, name, all_history, last),
        Some(_) => return Err(NAME_TAKEN),
    };
    groups.enter(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::batch::Moment;
    use super::super::fixture::{ENG, Fixture, RULES};
    use super::delta::{LAST_OWNER, NO_MEMBER, NOT_ONESELF};
    use super::*;
    use crate::state::Marks;
    use crate::told::Audience;
    use trunkline_proto::message::Role as RoleName;

    const CREATE: Change = Change::Create { all_history: false };

    /// Returns the number of members in the stored head of the group.
    fn stored_members(fixture: &Fixture) -> u64 {
        let key = fixture.ids().head(fixture.ids().group("", "eng"));
        let value = fixture.batch.value(key).unwrap().unwrap();
        state::decode::<state::Head<'_>>(&value).unwrap().members
    }

    #[test]
    fn only_owners_change_a_group_and_only_others() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        for (user, change, members, expected) in [
            ("zoe", Change::Add, &["carol"][..], NOT_A_MEMBER),
            ("bob", Change::Add, &["carol"], NOT_AN_ADMIN),
            ("bob", Change::Remove, &["alice"], NOT_AN_ADMIN),
            ("bob", Change::Rename, &[], NOT_AN_OWNER),
            ("bob", Change::Role(RoleName::Owner), &["bob"], NOT_AN_OWNER),
            ("zoe", Change::Join, &[], NOT_A_MEMBER),
            ("alice", Change::Role(RoleName::Admin), &["zoe"], NO_MEMBER),
            (
                "alice",
                Change::Role(RoleName::Member),
                &["alice"],
                LAST_OWNER,
            ),
            ("alice", Change::Remove, &["alice"], NOT_ONESELF),
            ("bob", CREATE, &[], NAME_TAKEN),
        ] {
            let refused = fixture.change_group(user, change, members).err();
            assert_eq!(refused, Some(expected), "{user} {change:?}");
        }
        assert_eq!(stored_members(&fixture), 2);
        let again = fixture
            .change_group("alice", Change::Add, &["bob"])
            .unwrap();
        let unchanged = Outcome::Done(Done::GroupAdd { members: 2 }, None);
        assert_eq!(format!("{:?}", again.outcome), format!("{unchanged:?}"));
    }

    #[test]
    fn admins_manage_members_and_the_first_of_them_inherits() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob", "carol", "dave"]);
        let mut role = |by, user, role| fixture.change_group(by, Change::Role(role), &[user]);
        role("alice", "carol", RoleName::Admin).unwrap();
        let again = role("alice", "carol", RoleName::Admin).unwrap();
        assert_eq!(again.outcome.position(), None, "nothing changed");
        role("alice", "dave", RoleName::Admin).unwrap();
        for (change, named, expected) in [
            (Change::Remove, "alice", NOT_AN_OWNER),
            (Change::Remove, "dave", NOT_AN_OWNER),
            (Change::Role(RoleName::Member), "dave", NOT_AN_OWNER),
            (Change::Rename, "", NOT_AN_OWNER),
        ] {
            let refused = fixture.change_group("carol", change, &[named]).err();
            assert_eq!(refused, Some(expected), "{change:?} {named}");
        }
        fixture
            .change_group("carol", Change::Remove, &["bob"])
            .unwrap();
        fixture
            .change_group("carol", Change::Add, &["erin"])
            .unwrap();
        fixture.change_group("alice", Change::Leave, &[]).unwrap();
        let id = fixture.ids().group("", "eng");
        let of = |fixture: &mut Fixture, name: &str| {
            let user = fixture.user(name);
            let stored = fixture.batch.member(fixture.ids().member(id, user));
            let group = fixture.recent.group(&fixture.batch, "", id).unwrap();
            assert_eq!(stored.unwrap().role, group.role(user), "{name}");
            group.role(user)
        };
        let roles = ["carol", "dave", "erin"].map(|name| of(&mut fixture, name));
        assert_eq!(roles, [Role::Owner, Role::Admin, Role::Member]);
        // It is the same when it is read from the store again.
        fixture.commit();
        fixture.recent.forget_all();
        let again = ["carol", "dave", "erin"].map(|name| of(&mut fixture, name));
        assert_eq!(again, roles);
    }

    /// A repair lost the value that counts memberships, and kept the marks of a later one.
    #[test]
    fn a_new_member_has_no_marks_of_another_one() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        let group = fixture.ids().group("", "eng");
        let of_another = Marks {
            delivered: 1,
            read: 1,
            delivered_time: 7,
            read_time: 7,
        };
        let mut advance = Advance::default();
        for number in [1, 2, 3] {
            advance.set(number, of_another);
        }
        let value = state::encode(&advance);
        fixture.batch.set(group, &value).unwrap();
        fixture
            .change_group("alice", Change::Add, &["carol"])
            .unwrap();
        let key = fixture.ids().member(group, fixture.user("carol"));
        let carol = fixture.batch.member(key).unwrap();
        assert_eq!(carol.number, 4);
        let marks = advance.of(carol.number, carol.marks);
        assert_eq!(marks, Marks::default());
    }

    #[test]
    fn a_refused_change_leaves_the_group_as_it_is_stored() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice"]);
        let names: Vec<_> = (0..RULES.group_members).map(|n| format!("u{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let refused = fixture.change_group("alice", Change::Add, &names).err();
        assert_eq!(refused, Some(TOO_MANY));
        let id = fixture.ids().group("", "eng");
        let group = fixture.recent.group(&fixture.batch, "", id).unwrap();
        assert_eq!(group.len(), 1);
        fixture
            .change_group("alice", Change::Add, &names[1..])
            .unwrap();
        assert_eq!(stored_members(&fixture), RULES.group_members as u64);
    }

    #[test]
    fn a_group_without_an_owner_gets_one_and_an_empty_group_begins_again() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob"]);
        fixture.change_group("alice", Change::Leave, &[]).unwrap();
        fixture
            .change_group("bob", Change::Add, &["carol"])
            .unwrap();
        fixture
            .change_group("bob", Change::Remove, &["carol"])
            .unwrap();
        fixture.send("bob", ENG).unwrap();
        fixture.change_group("bob", Change::Leave, &[]).unwrap();
        assert_eq!(stored_members(&fixture), 0);
        // The new group shows none of the messages of the old one.
        let create = Change::Create { all_history: true };
        fixture.change_group("dave", create, &[]).unwrap();
        let (ids, dave) = (fixture.ids(), fixture.user("dave"));
        let key = ids.member(ids.group("", "eng"), dave);
        let member = fixture.batch.member(key).unwrap();
        assert_eq!((member.first_seq, member.number), (2, 3));
    }

    #[test]
    fn changes_of_a_name_share_the_list_of_members() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice", "bob", "carol"]);
        let mut audience = |change, named: &[&str]| {
            let decision = fixture.change_group("alice", change, named).unwrap();
            decision.audience
        };
        let renamed = [audience(Change::Rename, &[]), audience(Change::Rename, &[])];
        let [Audience::Members(one), Audience::Members(other)] = &renamed else {
            panic!("{renamed:?}");
        };
        assert!(Arc::ptr_eq(one, other) && one.len() == 3);
        // Users who leave are told as well.
        let left = audience(Change::Remove, &["bob"]);
        assert_eq!(left.len(), 3);
        assert!(matches!(left, Audience::MembersAnd(..)), "{left:?}");
    }

    /// Lets the steady time pass.
    fn pass(fixture: &mut Fixture, ms: u64) {
        let now = fixture.batch.moment();
        fixture.batch.set_moment(Moment {
            wire: now.wire + ms,
            steady: now.steady + ms,
            ..now
        });
    }

    fn is_pull(fixture: &mut Fixture) -> bool {
        let id = fixture.ids().group("", "eng");
        let group = fixture.recent.group(&fixture.batch, "", id);
        group.unwrap().is_pull()
    }

    const NAMES: [&str; 5] = ["b", "c", "d", "e", "f"];
    const HOUR: u64 = 60 * 60 * 1_000;

    #[test]
    fn a_channel_serves_a_group_until_it_is_well_below_the_limit() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice"]);
        for (change, number, expected) in [
            (Change::Add, 4, false),
            (Change::Add, 5, true),
            (Change::Remove, 5, true),
            (Change::Remove, 4, false),
        ] {
            let name = [NAMES[number - 1]];
            let named = if number == 4 && change == Change::Add {
                &NAMES[..4]
            } else {
                &name[..]
            };
            fixture.change_group("alice", change, named).unwrap();
            check_mode(&mut fixture, expected);
            pass(&mut fixture, HOUR);
        }
    }

    /// Checks from where members catch up: in memory, in the store, and in the inbox of a member.
    fn check_mode(fixture: &mut Fixture, expected: bool) {
        assert_eq!(is_pull(fixture), expected);
        let ids = fixture.ids();
        let value = fixture.batch.value(ids.head(ids.group("", "eng")));
        let value = value.unwrap().unwrap();
        let head: state::Head<'_> = state::decode(&value).unwrap();
        assert_eq!(head.pull, expected, "as it is stored");
        let value = fixture.batch.value(ids.inbox(fixture.user("alice")));
        let value = value.unwrap().unwrap();
        let inbox: state::Inbox<'_> = state::decode(&value).unwrap();
        assert_eq!(inbox.open.len(), usize::from(expected), "open windows");
    }

    #[test]
    fn a_change_of_a_role_stores_from_where_members_catch_up() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice"]);
        fixture.change_group("alice", Change::Add, &NAMES).unwrap();
        let named = &NAMES[3..];
        fixture
            .change_group("alice", Change::Remove, named)
            .unwrap();
        check_mode(&mut fixture, true);
        pass(&mut fixture, HOUR);
        let role = Change::Role(RoleName::Admin);
        fixture.change_group("alice", role, &["b"]).unwrap();
        fixture.commit();
        let id = fixture.ids().group("", "eng");
        fixture.recent.groups().forget(id);
        check_mode(&mut fixture, false);
    }

    #[test]
    fn a_group_that_crosses_the_limit_again_and_again_writes_few_inboxes() {
        let mut fixture = Fixture::new();
        fixture.create_group(&["alice"]);
        fixture.change_group("alice", Change::Add, &NAMES).unwrap();
        for hour in 0..3 {
            fixture.commit();
            let mut turns = 0;
            for _ in 0..10 {
                for change in [Change::Remove, Change::Add] {
                    let was = is_pull(&mut fixture);
                    let named = &NAMES[3..];
                    fixture.change_group("alice", change, named).unwrap();
                    turns += usize::from(is_pull(&mut fixture) != was);
                }
                // The store has it, too.
                let id = fixture.ids().group("", "eng");
                fixture.recent.groups().forget(id);
                pass(&mut fixture, 1_000);
            }
            assert_eq!(turns, if hour == 0 { 0 } else { 2 });
            pass(&mut fixture, HOUR);
        }
    }
}
