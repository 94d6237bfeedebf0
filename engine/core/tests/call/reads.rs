//! Readers: users take turns, and long lists are read in slices.

use std::sync::Arc;
use std::time::Duration;

use trunkline_core::clock::{self, Clock};
use trunkline_core::exchange::{
    self, Access, Answer, ConnRef, Job, Jobs, JobsForm, Listing, Mail, Mailbox, Query, Range,
    ReplyConn, ReplyTo, ToReaders, Wanted,
};
use trunkline_core::ids::Ids;
use trunkline_core::reader;
use trunkline_core::store::Position;
use trunkline_core::turns::Flow;
use trunkline_proto::Encoding;
use trunkline_proto::message::{GroupCreate, GroupInfo, GroupMembers, ReceiptState, Receipts};

use super::say;
use super::world::{CONTENT, World};

/// The members of the large group besides its owner.
const MEMBERS: usize = 1_500;

fn name(number: usize) -> String {
    // Not in the order in which they join.
    format!("m{:04}", number * 7 % MEMBERS)
}

/// Lets alice make a large group with one message in it.
fn make_group(world: &World) {
    let alice = world.user("alice");
    let create = GroupCreate {
        group: "all".into(),
        ..GroupCreate::default()
    };
    alice.group_create(create).expect("a group");
    let names: Vec<String> = (0..MEMBERS).map(name).collect();
    for names in names.chunks(250) {
        let add = GroupMembers {
            group: "all".into(),
            members: names.iter().map(|name| name.as_str().into()).collect(),
        };
        alice.group_add(add).expect("members");
    }
    say(&alice, "g:all", "hello", None);
}

/// Makes jobs for connections of a shard.
struct Asker {
    ids: Ids,
    head: Position,
    to_readers: ToReaders,
    conns: u32,
}

impl Asker {
    /// Queues a query of a user, each for a connection of its own. Returns the connection's slot.
    fn ask(&mut self, user: &str, query: impl FnOnce(Access) -> Query) -> u32 {
        let namespace = self.ids.namespace("org");
        let user = self.ids.user("org", user);
        let access = Access {
            user,
            conversation: self.ids.group("org", "all"),
            group: true,
        };
        self.conns += 1;
        let to = ReplyTo::Conn(ReplyConn {
            shard: 0,
            encoding: Encoding::Json,
            conn: ConnRef {
                slot: self.conns,
                generation: 0,
            },
            id: 1,
        });
        let flow = Flow { namespace, user };
        let job = Job::new(flow, to, self.head, Wanted::default(), query(access));
        self.to_readers.try_send(job).expect("the user has room");
        self.conns
    }
}

fn receipts(access: Access) -> Query {
    Query::Receipts {
        access,
        seq: 1,
        state: ReceiptState::Unread,
        listing: Box::new(Listing {
            namespace: "org".into(),
            user: "m0001".into(),
            name: "g:all".into(),
            after: None,
        }),
        limit: 100,
    }
}

fn history(access: Access) -> Query {
    let range = Range::Newest;
    Query::History {
        access,
        range,
        limit: 100,
    }
}

/// Returns what a reader answers to the jobs that `ask` queues before it starts, in its order.
fn answers(world: &World, ask: impl FnOnce(&mut Asker)) -> Vec<Answer> {
    let (to_readers, jobs): (_, Jobs) = exchange::jobs(&JobsForm {
        jobs: 2_000,
        readers: 1,
        weights: Arc::default(),
    });
    let mut asker = Asker {
        ids: Ids(world.store.key()),
        head: world.store.head(),
        to_readers,
        conns: 0,
    };
    ask(&mut asker);
    drop(asker);
    let mailbox: Arc<Mailbox> = Arc::clone(&world.shard.mailbox);
    while mailbox.take().is_some() {}
    reader::run(
        &world.store,
        &jobs,
        &[Arc::clone(&mailbox)],
        CONTENT.message_bytes,
        &Arc::new(Clock::new(clock::system())),
        None,
        Duration::ZERO,
    );
    let mail = std::iter::from_fn(|| mailbox.take());
    mail.map(|mail| match mail {
        Mail::Answer(answer) => answer,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn a_stranger_does_not_wait_for_the_lists_of_another_user() {
    let world = World::with_members(2 * MEMBERS);
    make_group(&world);
    // Ten connections with 32 lists each, and then a page of messages of another member.
    let mut page = 0;
    let answers = answers(&world, |asker| {
        for _ in 0..320 {
            asker.ask("m0001", receipts);
        }
        page = asker.ask("m0002", history);
    });
    assert_eq!(answers.len(), 321);
    let place = answers.iter().position(|answer| answer.conn.slot == page);
    assert!(place.is_some_and(|before| before <= 1), "{place:?}");
    for answer in &answers {
        assert_eq!(answer.error, None);
    }
    // A list costs more than a slice: the stranger's page came before even one was done.
    let cost = |slot| {
        let of = answers.iter().find(|answer| answer.conn.slot == slot);
        of.map_or(0, |answer| answer.cost.as_nanos())
    };
    assert!(cost(1) > 1_000_000, "{}", cost(1));
    assert!(cost(page) < 100_000, "{}", cost(page));
    assert_eq!(place, Some(0));
    world.end();
}

#[test]
fn long_lists_have_every_member_once_in_order() {
    let world = World::with_members(2 * MEMBERS);
    make_group(&world);
    let alice = world.user("alice");
    let mut expected: Vec<String> = (0..MEMBERS).map(name).collect();
    expected.sort_unstable();
    let mut unread: Vec<String> = Vec::new();
    loop {
        let page = alice.receipts(Receipts {
            conversation: "g:all".into(),
            seq: 1,
            state: ReceiptState::Unread,
            after: unread.last().map(|name| name.clone().into()),
            limit: None,
        });
        let page = page.expect("a page");
        assert_eq!(page.counts.members, MEMBERS as u64);
        unread.extend(page.users.iter().map(|user| user.user.to_string()));
        if !page.more {
            break;
        }
    }
    assert_eq!(unread, expected);
    expected.insert(0, "alice".into());
    let mut members: Vec<String> = Vec::new();
    loop {
        let page = alice.group_info(GroupInfo {
            group: "all".into(),
            after: members.last().map(|name| name.clone().into()),
            limit: None,
        });
        let page = page.expect("a page");
        members.extend(page.members.iter().map(|member| member.user.to_string()));
        if !page.more {
            break;
        }
    }
    assert_eq!(members, expected);
    world.end();
}
