//! A caller in this process: commands and queries without a socket and without an event loop.

mod histories;
mod reads;
mod world;

use std::time::Duration;

use trunkline_core::call::{CallError, Client};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    Ack, ChangeKind, CommandBody, Contacts, Conversations, Event, Get, GroupCreate, GroupInfo,
    GroupLeave, GroupMembers, GroupRename, History, MessageRef, Presence, Publish, React,
    Reactions, ReceiptState, Receipts, ReplyBody, Send, SendReply, Signal, Subscribe, Sync, Typing,
    Visibility,
};

use world::{CONTENT, Still, World, still};

fn say(client: &Client<'_>, to: &str, text: &str, key: Option<&str>) -> SendReply<'static> {
    let (user, group) = match to.strip_prefix("g:") {
        Some(group) => (None, Some(group.into())),
        None => (Some(to.into()), None),
    };
    let send = Send {
        user,
        group,
        key: key.map(Into::into),
        text: Some(text.into()),
        media: None,
        extras: None,
    };
    client.send(send).expect("the message is sent")
}

fn history(client: &Client<'_>, conversation: &str) -> Result<Vec<String>, CallError> {
    let history = History {
        conversation: conversation.into(),
        ..History::default()
    };
    let page = client.history(history)?;
    Ok(page.messages.iter().map(shown).collect())
}

fn shown(message: &trunkline_proto::message::Message<'_>) -> String {
    let text = message.text.as_deref().unwrap_or("-");
    format!("{} {}: {text}", message.seq, &*message.from)
}

/// The code of an error, and whether trying again may help.
fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> (u16, bool) {
    let error = answer.expect_err("it fails");
    assert!(!error.message.is_empty());
    (error.code, error.temporary)
}

fn refused(code: ErrorCode) -> (u16, bool) {
    (code.code(), code.temporary())
}

#[test]
fn many_reactions_to_a_message_are_shown_as_few_are() {
    let world = World::start();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    say(&alice, "bob", "hello", None);
    let react = |client: &Client<'_>, number: usize, remove| {
        let react = React {
            conversation: "u:alice:bob".into(),
            seq: 1,
            reaction: format!("r{number:02}").into(),
            remove,
        };
        client.react(react).unwrap();
    };
    for number in 0..20 {
        react(&alice, number, false);
        react(&bob, 19 - number, false);
    }
    react(&alice, 0, true);
    react(&bob, 0, true);
    react(&bob, 5, true);
    let get = Get {
        conversation: "u:alice:bob".into(),
        seq: 1,
    };
    let message = bob.get(get).unwrap().message;
    let shown = message.reactions.iter();
    let shown: Vec<_> = shown.map(|one| (&*one.reaction, one.count)).collect();
    // In the order of the first user of each. There is no room for all of them.
    assert_eq!(shown[..4], [("r19", 2), ("r01", 2), ("r18", 2), ("r02", 2)]);
    assert!(message.more_reactions);
    let ask = |reaction: Option<&'static str>| Reactions {
        conversation: "u:alice:bob".into(),
        seq: 1,
        reaction: reaction.map(Into::into),
        ..Reactions::default()
    };
    let page = alice.reactions(ask(None)).unwrap();
    assert_eq!((page.reactions.len(), page.more), (19, false));
    for (reaction, expected) in [("r05", &["alice"][..]), ("r07", &["alice", "bob"])] {
        let page = alice.reactions(ask(Some(reaction))).unwrap();
        let users = page.reactions[0].users.iter().map(|user| &**user);
        assert!(users.eq(expected.iter().copied()), "{reaction}");
    }
}

#[test]
fn messages_are_sent_repeated_and_read() {
    let world = World::start();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let first = say(&alice, "bob", "hello", Some("k"));
    assert_eq!((first.seq, first.duplicate), (1, false));
    assert_eq!(first.conversation, "u:alice:bob");
    let again = say(&alice, "bob", "hello", Some("k"));
    assert!(again.duplicate);
    assert_eq!((&again.pos, again.time), (&first.pos, first.time));
    say(&bob, "alice", "hi", None);
    let both = ["1 alice: hello", "2 bob: hi"];
    assert_eq!(history(&alice, "u:alice:bob").unwrap(), both);
    let get = Get {
        conversation: "u:alice:bob".into(),
        seq: 2,
    };
    assert_eq!(shown(&bob.get(get).unwrap().message), "2 bob: hi");
    // What came after the first message, and nothing of before.
    let since = Sync {
        since: first.pos,
        limit: None,
    };
    let page = alice.sync(since).unwrap();
    let [push] = &page.events[..] else {
        panic!("{page:?}");
    };
    assert!(matches!(&push.event, Event::Message(message) if shown(message) == "2 bob: hi"));
    assert_eq!((push.pos.as_ref(), page.more), (Some(&page.pos), false));
    let list = bob.conversations(Conversations::default()).unwrap();
    assert_eq!((list.conversations.len(), list.unread), (1, 1));
    // Another organisation has nothing of this.
    let stranger = world.service.client("", "alice", "api").unwrap();
    let nothing = code(history(&stranger, "u:alice:bob"));
    assert_eq!(nothing, refused(ErrorCode::Unknown));
    world.end();
}

#[test]
fn marks_reactions_and_messages_that_are_taken_back() {
    let world = World::start();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    say(&alice, "bob", "one", None);
    say(&alice, "bob", "two", None);
    let conversation = || "u:alice:bob".into();
    let ack = Ack {
        conversation: conversation(),
        delivered: Some(2),
        read: Some(1),
    };
    bob.ack(ack).unwrap();
    let receipts = Receipts {
        conversation: conversation(),
        seq: 1,
        state: ReceiptState::Read,
        after: None,
        limit: None,
    };
    let page = alice.receipts(receipts).unwrap();
    assert_eq!((page.counts.read, page.counts.delivered), (1, 1));
    assert_eq!((&*page.users[0].user, page.users[0].seq), ("bob", 1));
    let react = React {
        conversation: conversation(),
        seq: 1,
        reaction: "+1".into(),
        remove: false,
    };
    bob.react(react).unwrap();
    let reactions = Reactions {
        conversation: conversation(),
        seq: 1,
        ..Reactions::default()
    };
    let page = alice.reactions(reactions).unwrap();
    assert_eq!(
        (&*page.reactions[0].reaction, page.reactions[0].count),
        ("+1", 1)
    );
    let message = |seq| MessageRef {
        conversation: conversation(),
        seq,
    };
    assert_eq!(
        code(bob.recall(message(2))),
        refused(ErrorCode::PermissionDenied)
    );
    alice.recall(message(2)).unwrap();
    bob.delete(message(1)).unwrap();
    assert_eq!(
        history(&alice, "u:alice:bob").unwrap(),
        ["1 alice: one", "2 alice: -"]
    );
    assert_eq!(
        history(&bob, "u:alice:bob").unwrap(),
        ["1 alice: -", "2 alice: -"]
    );
    world.end();
}

#[test]
fn groups_have_members_who_read_them() {
    let world = World::start();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let create = || GroupCreate {
        group: "crew".into(),
        name: Some("Crew".into()),
        members: vec!["bob".into()],
        history: Visibility::All,
        key: Some("k".into()),
    };
    let made = alice.group_create(create()).unwrap();
    assert_eq!(
        (&*made.conversation, made.members, made.duplicate),
        ("g:crew", 2, false)
    );
    assert!(alice.group_create(create()).unwrap().duplicate);
    assert_eq!(
        code(eve.group_create(create())),
        refused(ErrorCode::NameTaken)
    );
    say(&bob, "g:crew", "ahoy", None);
    assert_eq!(history(&alice, "g:crew").unwrap(), ["1 bob: ahoy"]);
    assert_eq!(
        code(history(&eve, "g:crew")),
        refused(ErrorCode::PermissionDenied)
    );
    let members = |name: &'static str| GroupMembers {
        group: "crew".into(),
        members: vec![name.into()],
    };
    assert_eq!(
        code(bob.group_add(members("eve"))),
        refused(ErrorCode::PermissionDenied)
    );
    assert_eq!(alice.group_add(members("eve")).unwrap().members, 3);
    assert_eq!(history(&eve, "g:crew").unwrap(), ["1 bob: ahoy"]);
    assert_eq!(alice.group_remove(members("bob")).unwrap().members, 2);
    let rename = GroupRename {
        group: "crew".into(),
        name: "Old crew".into(),
    };
    alice.group_rename(rename).unwrap();
    let info = GroupInfo {
        group: "crew".into(),
        ..GroupInfo::default()
    };
    let info = eve.group_info(info).unwrap();
    let names: Vec<_> = info.members.iter().map(|member| &*member.user).collect();
    assert_eq!((info.name.as_deref(), info.count), (Some("Old crew"), 2));
    assert_eq!(names, ["alice", "eve"]);
    let leave = GroupLeave {
        group: "crew".into(),
    };
    eve.group_leave(leave).unwrap();
    assert_eq!(
        code(history(&eve, "g:crew")),
        refused(ErrorCode::PermissionDenied)
    );
    world.end();
}

#[test]
fn contacts_and_presence_need_no_session() {
    let world = World::start();
    let alice = world.user("alice");
    let add = Contacts {
        add: vec!["carol".into(), "bob".into()],
        ..Contacts::default()
    };
    let listed = alice.contacts(add).unwrap();
    let names: Vec<_> = listed
        .contacts
        .iter()
        .map(|contact| &*contact.user)
        .collect();
    assert_eq!(names, ["bob", "carol"]);
    let page = Contacts {
        after: Some("bob".into()),
        limit: Some(1),
        ..Contacts::default()
    };
    let page = alice.contacts(page).unwrap();
    assert_eq!((&*page.contacts[0].user, page.more), ("carol", false));
    let shown = alice.presence(&["bob"]).unwrap();
    assert_eq!(
        (shown.users[0].online, shown.users[0].last_seen),
        (false, None)
    );
    let watch = Contacts {
        watch: true,
        ..Contacts::default()
    };
    assert_eq!(code(alice.contacts(watch)), refused(ErrorCode::BadRequest));
    assert_eq!(
        code(alice.presence(&["b b"])),
        refused(ErrorCode::BadRequest)
    );
    assert_eq!(alice.presence(&["bob"; 1_000]).unwrap().users.len(), 1_000);
    assert_eq!(
        code(alice.presence(&["bob"; 1_001])),
        refused(ErrorCode::LimitExceeded)
    );
    // As a command, too, as far as it needs no session.
    let query = Presence {
        query: vec!["bob".into()],
        ..Presence::default()
    };
    let shown = alice.call(&CommandBody::Presence(query)).unwrap();
    assert!(matches!(shown, ReplyBody::Presence(shown) if shown.users.len() == 1));
    let watch = Presence {
        watch: vec!["bob".into()],
        ..Presence::default()
    };
    assert_eq!(
        code(alice.call(&CommandBody::Presence(watch))),
        refused(ErrorCode::BadRequest)
    );
    world.end();
}

#[test]
fn what_a_client_may_not_do_a_caller_may_not() {
    let world = World::start();
    let alice = world.user("alice");
    for (namespace, user, device) in [
        ("", "", "api"),
        ("", "a b", "api"),
        ("o:", "a", "api"),
        ("", "a", ""),
    ] {
        let refusal = world.service.client(namespace, user, device).err();
        let refusal = refusal.map(|error| error.code);
        assert_eq!(refusal, Some(ErrorCode::BadRequest.code()));
    }
    let text = |length: usize| Send {
        user: Some("bob".into()),
        text: Some("x".repeat(length).into()),
        ..Send::default()
    };
    for length in [CONTENT.text_bytes + 1, 2 * CONTENT.message_bytes] {
        assert_eq!(
            code(alice.send(text(length))),
            refused(ErrorCode::LimitExceeded)
        );
    }
    let foreign = code(history(&alice, "u:bob:carol"));
    assert_eq!(foreign, refused(ErrorCode::PermissionDenied));
    // A page ends where a client's message would.
    for _ in 0..8 {
        alice.send(text(CONTENT.text_bytes)).unwrap();
    }
    let page = alice.history(History {
        conversation: "u:alice:bob".into(),
        ..History::default()
    });
    let page = page.unwrap();
    assert!(
        page.more && page.messages.len() == 3,
        "{}",
        page.messages.len()
    );
    let changed = alice.sync(Sync {
        since: "1".into(),
        limit: None,
    });
    assert_eq!(code(changed), refused(ErrorCode::PositionExpired));
    world.end();
}

#[test]
fn a_full_queue_and_an_end_are_temporary_errors() {
    let Still {
        service,
        commands,
        jobs,
        sequencer,
        ..
    } = still(1);
    let service = service.with_timeout(Duration::ZERO);
    let alice = service.client("", "alice", "api").unwrap();
    let send = || Send {
        user: Some("bob".into()),
        text: Some("hi".into()),
        ..Send::default()
    };
    // No thread empties the queue: the first command gets no answer in time, and after some
    // commands the queue is full.
    let late = code(alice.send(send()));
    assert_eq!(late, refused(ErrorCode::StorageUnavailable));
    let full = std::iter::from_fn(|| Some(code(alice.send(send()))));
    let full = full.take(2_000).find(|code| *code != late);
    assert_eq!(full, Some(refused(ErrorCode::TooManyRequests)));
    assert_eq!(code(history(&alice, "u:alice:bob")), late);
    let full = code(history(&alice, "u:alice:bob"));
    assert_eq!(full, refused(ErrorCode::TooManyRequests));
    // The other ends go without an answer.
    let waits = service.clone().with_timeout(Duration::from_secs(60));
    std::thread::scope(|scope| {
        drop(jobs);
        drop((commands, sequencer));
        let alice = waits.client("", "alice", "api").unwrap();
        let ended = scope.spawn(move || code(alice.send(send())));
        assert_eq!(ended.join().unwrap(), late);
    });
}

#[test]
fn a_change_of_a_group_is_an_event_of_its_members() {
    let world = World::start();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let start = say(&bob, "bob", "a note", None).pos;
    let create = GroupCreate {
        group: "crew".into(),
        members: vec!["bob".into()],
        ..GroupCreate::default()
    };
    alice.group_create(create).unwrap();
    let page = bob.sync(Sync {
        since: start,
        limit: None,
    });
    let page = page.unwrap();
    let [push] = &page.events[..] else {
        panic!("{page:?}");
    };
    let Event::Group(change) = &push.event else {
        panic!("{push:?}");
    };
    assert_eq!((change.change, &*change.by), (ChangeKind::Created, "alice"));
    world.end();
}

#[test]
fn what_a_call_stores_is_pushed_to_sessions() {
    let mut world = World::start();
    // Bob and another session of Alice are connected, Eve is not.
    let users = ["alice", "bob"];
    for user in users {
        world.shard.opens(user);
    }
    let sent = say(&world.user("alice"), "bob", "hello", None);
    let pushes = world.shard.pushes(&users);
    let [(_, to_alice), (_, to_bob)] = &pushes[..] else {
        panic!("{pushes:?}");
    };
    assert_eq!(to_alice, to_bob);
    for part in [
        "\"text\":\"hello\"",
        "\"conversation\":\"u:alice:bob\"",
        &format!("\"pos\":\"{}\"", &*sent.pos),
    ] {
        assert!(to_bob.contains(part), "{part} in {to_bob}");
    }
    // A change of a group, too, and a message of a member.
    let create = GroupCreate {
        group: "crew".into(),
        members: vec!["bob".into(), "eve".into()],
        ..GroupCreate::default()
    };
    world.user("alice").group_create(create).unwrap();
    let pushes = world.shard.pushes(&users);
    assert_eq!(pushes.len(), 2);
    assert!(pushes.iter().all(|(_, push)| push.contains("\"created\"")));
    // Only Bob is connected now.
    world.shard.closes("alice");
    say(&world.user("eve"), "g:crew", "ahoy", None);
    let pushes = world.shard.pushes(&users);
    let [(user, push)] = &pushes[..] else {
        panic!("{pushes:?}");
    };
    assert_eq!(user, "bob");
    assert!(push.contains("\"text\":\"ahoy\""), "{push}");
    world.end();
}

#[test]
fn what_is_not_stored_is_passed_on_to_those_who_are_online() {
    let world = World::start();
    let alice = world.user("alice");
    world.shard.opens("bob");
    let signal = |user: &'static str| {
        let signal = Signal {
            user: user.into(),
            ..Signal::default()
        };
        alice.call(&CommandBody::Signal(signal))
    };
    for (user, expected) in [("bob", true), ("carol", false)] {
        let reply = signal(user).unwrap();
        assert!(matches!(reply, ReplyBody::Signal(reply) if reply.online == expected));
    }
    assert_eq!(code(signal("b b")), refused(ErrorCode::BadRequest));
    let typing = |conversation: &'static str| {
        let conversation = conversation.into();
        alice.call(&CommandBody::Typing(Typing {
            conversation,
            stop: false,
        }))
    };
    assert!(matches!(typing("u:alice:bob"), Ok(ReplyBody::Typing(_))));
    for foreign in ["u:bob:carol", "g:none"] {
        assert_eq!(code(typing(foreign)), refused(ErrorCode::PermissionDenied));
    }
    let publish = |topic: &'static str| {
        let publish = Publish {
            topic: topic.into(),
            ..Publish::default()
        };
        alice.call(&CommandBody::Publish(publish))
    };
    let published = publish("live.42").unwrap();
    assert!(matches!(published, ReplyBody::Publish(reply) if !reply.pos.is_empty()));
    assert_eq!(code(publish("a b")), refused(ErrorCode::BadRequest));
    let subscribe = CommandBody::Subscribe(Subscribe::default());
    assert_eq!(code(alice.call(&subscribe)), refused(ErrorCode::BadRequest));
    world.end();
}
