//! What one client asks costs in proportion to what it asks: in memory, in bytes of the log and in
//! the work of readers. Afterwards the memory comes back.

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::memory::{MIB, comes_back, forget_peak, peak, resident, unstored};
use trunkline_tests::wait;

/// The bytes of a long text: a message of 64 KiB, nearly.
const LONG: usize = 60_000;

fn written(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_store_written_bytes_total")
}

/// The bytes that the gateway has read so far, of files and of sockets.
fn read_bytes(gateway: &Gateway) -> f64 {
    let path = format!("/proc/{}/io", gateway.process().id());
    let io = std::fs::read_to_string(path).expect("the gateway runs");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|bytes| bytes.parse().ok())
        .expect("a number of bytes")
}

/// Adds members `begin`.0 and so on to a group that it makes.
fn make_group(owner: &mut Client, group: &str, begin: &str, members: usize) {
    owner.done("group_create", &json!({"group": group}));
    let names: Vec<_> = (0..members).map(|n| format!("{begin}{n}")).collect();
    for part in names.chunks(1_000) {
        owner.done("group_add", &json!({"group": group, "members": part}));
    }
}

/// A command that waits for the sequencer does not hold the audience that it will have.
#[test]
fn renames_of_a_large_group_wait_without_its_members() {
    const MEMBERS: usize = 40_000;
    const RENAMES: u32 = 500;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    make_group(&mut owner, "all", "m", MEMBERS);
    let rename = |id: u32| json!({"id": 10_000 + id, "group_rename": {"group": "all", "name": format!("name {id}")}});
    // The first one makes what is kept for the group.
    owner.post_raw(&[rename(0)]);
    let reply = owner.reply(10_000);
    assert!(reply["group_rename"].is_object(), "{reply}");
    let before = unstored(&gateway);
    let renames: Vec<_> = (1..=RENAMES).map(rename).collect();
    forget_peak(&gateway);
    owner.post_raw(&renames);
    for id in 1..=RENAMES {
        let reply = owner.reply(10_000 + id);
        assert!(reply["group_rename"].is_object(), "{reply}");
    }
    // 16 bytes of each member for each of the renames would be more than 300 MiB.
    let grown = (peak(&gateway) - before) / MIB;
    assert!(grown < 16.0, "{grown} MiB");
    comes_back(&gateway, before, 0.0);
}

/// Long messages to a group that does not read are in memory once for each shard, up to what a
/// connection may have, and not once for each member. What is counted is what is resident.
fn long_messages_to_a_group_that_does_not_read(shards: usize) {
    const MEMBERS: usize = 24;
    let gateway = Setup::default().flag("shards", shards).start();
    let mut owner = gateway.dial().shard(0).connect("owner", "pc");
    make_group(&mut owner, "all", "m", MEMBERS);
    let stuck: Vec<_> = (0..MEMBERS)
        .map(|n| {
            gateway
                .dial()
                .shard(n % shards)
                .connect(&format!("m{n}"), "stuck")
        })
        .collect();
    let text = "x".repeat(LONG);
    let say = json!({"group": "all", "text": text});
    // What the gateway keeps for messages of this size is there afterwards.
    owner.done("send", &say);
    let before = unstored(&gateway);
    let held = || gateway.metric("trunkline_held_bytes");
    let (mut most, mut grown) = (0.0_f64, 0.0_f64);
    wait::until("a gap for each of them", || {
        owner.done("send", &say);
        most = most.max(held());
        grown = grown.max(resident(&gateway) - before);
        (gateway.metric("trunkline_gaps_total") >= MEMBERS as f64).then_some(())
    });
    // Each member may have 1 MiB. They share it, unless their sockets take different amounts.
    let bound = shards as f64 * 4.0 * MIB;
    assert!(most > 0.5 * MIB && most < bound, "{most} bytes are held");
    let index = gateway.metric("trunkline_store_index_bytes");
    assert!(
        grown < 1.25 * most + index + 8.0 * MIB,
        "{grown} bytes for {most} that are counted"
    );
    drop(stuck);
    wait::until("nothing to be held", || (held() == 0.0).then_some(()));
    comes_back(&gateway, before, 4.0 * MIB);
}

#[test]
fn long_messages_to_a_group_that_does_not_read_with_one_shard() {
    long_messages_to_a_group_that_does_not_read(1);
}

#[test]
fn long_messages_to_a_group_that_does_not_read_with_two_shards() {
    long_messages_to_a_group_that_does_not_read(2);
}

/// The price of a list is 2 to 12 times as high for ten times as many members. A price is no time: what the store
/// reads is compared besides. It does not read a record with the values of a thousand members once for each of them.
#[test]
fn lists_of_receipts_cost_by_their_members() {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    let read = || gateway.metric("trunkline_cost_seconds_total{work=\"read\"}");
    let mut cost = |group: &str, members: usize| {
        make_group(&mut owner, group, group, members);
        owner.done("send", &json!({"group": group, "text": "hello"}));
        let (before, conversation) = (read(), format!("g:{group}"));
        let bytes = read_bytes(&gateway);
        let question = json!({"conversation": conversation, "seq": 1, "state": "unread"});
        let list = owner.done("receipts", &question);
        assert_eq!(list["counts"]["members"], members, "{list}");
        let bytes = (read_bytes(&gateway) - bytes) / members as f64;
        assert!(bytes < 2_048.0, "{bytes} bytes read for each of {members}");
        wait::until("the work to be counted", || {
            let spent = read() - before;
            (spent > 0.0).then_some(spent)
        })
    };
    let (few, many) = (cost("few", 500), cost("many", 5_000));
    assert!(many > 2.0 * few && many < 12.0 * few, "{few} and {many}");
}

/// Members who are in another group already are added by one large record. It is read once for all of them.
#[test]
fn lists_of_members_of_several_groups_read_each_record_once() {
    const MEMBERS: usize = 1_000;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    for group in ["first", "second", "third"] {
        let names: Vec<_> = (0..MEMBERS).map(|n| format!("m{n:0>5}")).collect();
        owner.done("group_create", &json!({"group": group, "members": names}));
        owner.done("send", &json!({"group": group, "text": "hello"}));
        let bytes = read_bytes(&gateway);
        let question = json!({"conversation": format!("g:{group}"), "seq": 1, "state": "unread"});
        let list = owner.done("receipts", &question);
        assert_eq!(list["counts"]["members"], MEMBERS, "{list}");
        let bytes = (read_bytes(&gateway) - bytes) / MEMBERS as f64;
        assert!(bytes < 2_048.0, "{group}: {bytes} bytes read for each");
    }
}

/// Groups of the same members again and again: each of them changes what a thousand users have in records of
/// the changes before.
#[test]
fn changes_of_many_members_read_each_record_once() {
    const MEMBERS: usize = 999;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    let names: Vec<_> = (0..MEMBERS).map(|n| format!("m{n:0>5}")).collect();
    let late: Vec<_> = (0..MEMBERS).map(|n| format!("late{n:0>5}")).collect();
    owner.done("group_create", &json!({"group": "busy", "members": late}));
    for round in 0..24 {
        let group = format!("group{round}");
        let named = json!({"group": group, "members": names});
        let late = json!({"group": "busy", "members": names});
        let crowd = [
            ("group_create", &named),
            ("group_remove", &named),
            ("group_add", &named),
            ("group_add", &late),
            ("group_remove", &late),
        ];
        for (command, request) in crowd {
            let bytes = read_bytes(&gateway);
            owner.done(command, request);
            let bytes = (read_bytes(&gateway) - bytes) / MEMBERS as f64;
            assert!(
                bytes < 4_096.0,
                "{command} {round}: {bytes} bytes read for each"
            );
        }
    }
}

/// A roster whose parts lie in two records by turns is read once when the group comes into memory.
#[test]
fn a_group_that_comes_into_memory_reads_each_record_once() {
    const MEMBERS: usize = 20_000;
    // The members in a part of the roster.
    const PART: usize = 128;
    let mut gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    let begin = "m".repeat(50);
    make_group(&mut owner, "all", &begin, MEMBERS);
    for turn in 0..2 {
        let parts = (0..MEMBERS / PART).filter(|part| part % 2 == turn);
        let gone: Vec<_> = parts
            .map(|part| format!("{begin}{}", part * PART + 9))
            .collect();
        owner.done("group_remove", &json!({"group": "all", "members": gone}));
    }
    drop(owner);
    assert!(gateway.stop().status.success());
    gateway.start_again();
    let mut owner = gateway.dial().connect("owner", "pc");
    let bytes = read_bytes(&gateway);
    owner.done("send", &json!({"group": "all", "text": "hello"}));
    let mib = (read_bytes(&gateway) - bytes) / MIB;
    assert!(mib < 16.0, "{mib:.1} MiB read for a roster of some 2 MiB");
}

/// Members who came and went by turns: those of each part of the roster were added by many records.
#[test]
fn lists_of_members_who_came_by_turns_read_each_record_once() {
    const MEMBERS: usize = 2_000;
    const ROUNDS: usize = 12;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    make_group(&mut owner, "all", "m", MEMBERS);
    // The seats of those who go are free for those who come: in each round others, in all parts of the roster.
    let seats = |round: usize| (0..MEMBERS).filter(move |n| n % 16 == round);
    for round in 0..ROUNDS {
        let go: Vec<_> = seats(round).map(|n| format!("m{n}")).collect();
        let come: Vec<_> = seats(round).map(|n| format!("late{n}")).collect();
        owner.done("group_remove", &json!({"group": "all", "members": go}));
        owner.done("group_add", &json!({"group": "all", "members": come}));
    }
    owner.done("send", &json!({"group": "all", "text": "hello"}));
    let receipts = json!({"conversation": "g:all", "seq": 1, "state": "unread"});
    let info = json!({"group": "all", "limit": 100});
    for (command, request) in [("receipts", &receipts), ("group_info", &info)] {
        let bytes = read_bytes(&gateway);
        let list = owner.done(command, request);
        assert!(list["more"] == true, "{list}");
        let bytes = (read_bytes(&gateway) - bytes) / MEMBERS as f64;
        assert!(
            bytes < 4_096.0,
            "{command}: {bytes} bytes read for each member"
        );
    }
}

/// A user whom others put into many large groups, each with members of the groups before: what the user looks up lies in
/// long records of a thousand members.
#[test]
fn look_ups_of_a_user_in_many_large_groups_read_little() {
    const GROUPS: usize = 40;
    let mut gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    let names: Vec<_> = (0..999).map(|n| format!("{n:a>60}")).collect();
    let before = written(&gateway);
    for group in 0..GROUPS {
        let group = format!("group{group}");
        owner.done("group_create", &json!({"group": group, "members": names}));
    }
    let log = written(&gateway) - before;
    drop(owner);
    assert!(gateway.stop().status.success());
    gateway.start_again();
    let mut member = gateway.dial().connect(&names[7], "pc");
    let mut read = |command: &str, request: serde_json::Value| {
        let bytes = read_bytes(&gateway);
        let reply = member.done(command, &request);
        (read_bytes(&gateway) - bytes, reply)
    };
    let (bytes, list) = read("conversations", json!({"limit": 1}));
    assert_eq!(list["more"], true, "{list}");
    assert!(bytes < 1_024_000.0, "{bytes} bytes read for a list");
    let (mut events, mut bytes, mut since) = (0, 0.0, json!("oldest"));
    loop {
        let (more, page) = read("sync", json!({"since": since, "limit": 256}));
        bytes += more;
        events += page["events"].as_array().map_or(0, Vec::len);
        since = page["pos"].clone();
        if page["more"] != true {
            break;
        }
    }
    assert_eq!(events, GROUPS);
    assert!(bytes < 1.6 * log, "{bytes} bytes read, of {log}");
}

/// What a look at a group costs: for each member where all of them are looked at, or for one command.
const LOOKS: [&str; 5] = ["create", "add", "receipts", "group_info", "history"];

/// Returns the bytes that the gateway reads for each of these looks, in a new group.
fn looks_at_a_group(
    gateway: &Gateway,
    owner: &mut Client,
    group: &str,
    members: usize,
) -> [f64; 5] {
    const PART: usize = 100;
    let mut last = read_bytes(gateway);
    let mut read = || {
        let now = read_bytes(gateway);
        now - std::mem::replace(&mut last, now)
    };
    let name = |n: usize| format!("{group}{n:0>6}");
    let names: Vec<_> = (0..members).map(name).collect();
    // A page reads all of a record, so the records are of the same length.
    let create = json!({"group": group, "members": names[..PART]});
    owner.done("group_create", &create);
    let create = read() / PART as f64;
    for part in names[PART..].chunks(PART) {
        owner.done("group_add", &json!({"group": group, "members": part}));
    }
    read();
    let more: Vec<_> = (members..members + PART).map(name).collect();
    owner.done("group_add", &json!({"group": group, "members": more}));
    let add = read() / more.len() as f64;
    let count = members + more.len() + 1;
    owner.done("send", &json!({"group": group, "text": "hello"}));
    read();
    let conversation = format!("g:{group}");
    let question = json!({"conversation": conversation, "seq": 1, "state": "unread"});
    let list = owner.done("receipts", &question);
    assert_eq!(list["counts"]["members"], count - 1, "{list}");
    let receipts = read() / count as f64;
    // A page has the first members by their names, so it looks at all of them.
    let page = owner.done("group_info", &json!({"group": group, "limit": 100}));
    assert_eq!(page["count"], count, "{page}");
    let info = read() / count as f64;
    let page = owner.done("history", &json!({"conversation": conversation}));
    assert_eq!(page["messages"][0]["text"], "hello");
    [create, add, receipts, info, read()]
}

/// What a group of a hundred members costs for each of them is what one of ten thousand costs.
#[test]
fn looks_at_groups_read_the_same_for_each_member() {
    // Members of all of them catch up from a channel.
    let setup = Setup::default().flag("fanout-limit", 50);
    let gateway = setup.flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    // What a user has last changed is in a record as long as this group's from here on.
    looks_at_a_group(&gateway, &mut owner, "first", 100);
    let few = looks_at_a_group(&gateway, &mut owner, "few", 100);
    for (group, members) in [("some", 1_000), ("many", 10_000)] {
        let many = looks_at_a_group(&gateway, &mut owner, group, members);
        for (look, (few, many)) in LOOKS.iter().zip(few.iter().zip(&many)) {
            // The pages of files in which a value lies make a difference of some bytes.
            assert!(
                *many <= 1.5 * few + 64.0,
                "{look}: {few} bytes with 100, {many} with {members}"
            );
        }
    }
}

/// Returns the bytes of the log that each command of a group's owner writes.
fn changes_of_a_group(
    gateway: &Gateway,
    owner: &mut Client,
    group: &str,
    members: usize,
) -> Vec<(&'static str, f64)> {
    const TIMES: usize = 8;
    make_group(owner, group, group, members - 1);
    let conversation = &format!("g:{group}");
    let first = &format!("{group}0");
    let bodies = |command: &'static str, time: usize| {
        let seq = time + 1;
        match command {
            "send" => json!({"group": group, "text": "hello"}),
            "edit" => json!({"conversation": conversation, "seq": seq, "text": "other"}),
            "react" => json!({"conversation": conversation, "seq": seq, "reaction": "x"}),
            "recall" | "delete" | "pin" | "unpin" => {
                json!({"conversation": conversation, "seq": seq})
            }
            "ack" => json!({"conversation": conversation, "read": seq}),
            "settings" => json!({"conversation": conversation, "pinned": time.is_multiple_of(2)}),
            "group_rename" => json!({"group": group, "name": format!("name {time}")}),
            "group_set" => json!({"group": group, "send": (["admins", "all"][time % 2])}),
            "group_role" => {
                json!({"group": group, "user": first, "role": (["admin", "member"][time % 2])})
            }
            _ => json!({"group": group, "members": [format!("late-{group}-{time}")]}),
        }
    };
    let commands = [
        "send",
        "ack",
        "edit",
        "react",
        "pin",
        "unpin",
        "settings",
        "delete",
        "recall",
        "group_rename",
        "group_set",
        "group_role",
        "group_add",
        "group_remove",
    ];
    let measured = commands.into_iter().map(|command| {
        let before = written(gateway);
        for time in 0..TIMES {
            owner.done(command, &bodies(command, time));
        }
        (command, (written(gateway) - before) / TIMES as f64)
    });
    measured.collect()
}

/// What a command writes does not grow with the group: of a group up to `fanout_limit` it names all members, 16
/// bytes each, and of a change of members it has one chunk of the roster. Runs have what the log has, each value
/// once, so they do not grow either.
#[test]
fn changes_of_groups_write_the_same_in_all_of_them() {
    // As docs/settings.md says: the names of so many members are in each record.
    const PUSHED: usize = 200;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    let mut of = |group: &str, members| changes_of_a_group(&gateway, &mut owner, group, members);
    let (few, pushed) = (of("few", 10), of("pushed", PUSHED - 20));
    let (some, many) = (of("some", 500), of("many", 10_000));
    for (number, (command, few)) in few.into_iter().enumerate() {
        let [pushed, some, many] = [&pushed, &some, &many].map(|all| all[number].1);
        let text = format!("{command}: {few}, {pushed}, {some} and {many} bytes");
        // A chunk of the roster has 128 members.
        let roster = match command {
            "group_role" | "group_add" | "group_remove" => 128.0 * 24.0,
            _ => 0.0,
        };
        let most = few + 16.0 * PUSHED as f64 + roster;
        assert!(pushed <= most && some <= most, "{text}");
        assert!(many <= 1.25 * some + 64.0, "{text}");
    }
}

/// A change of a large set writes what changes, and not the set.
#[test]
fn small_changes_of_large_sets_write_little() {
    const CHANGES: usize = 20;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let per_change = |act: &mut dyn FnMut(usize)| {
        let before = written(&gateway);
        (0..CHANGES).for_each(act);
        (written(&gateway) - before) / CHANGES as f64
    };
    let all: Vec<_> = (0..1_000).map(|n| format!("contact-{n:0>40}")).collect();
    alice.done("contacts", &json!({"add": all}));
    let contacts = per_change(&mut |n| {
        alice.done("contacts", &json!({"remove": [all[n]]}));
        alice.done("contacts", &json!({"add": [all[n]]}));
    });
    // The set has 50 KB. A change writes one of its small parts, and the entry of its record.
    assert!(contacts < 4_096.0, "{contacts} bytes for two changes");
    let users: Vec<_> = (0..150).map(|n| format!("user-{n}")).collect();
    alice.done("group_create", &json!({"group": "team", "members": users}));
    alice.done("send", &json!({"group": "team", "text": "hello"}));
    let like =
        |n: usize| json!({"conversation": "g:team", "seq": 1, "reaction": format!("{n:0>30}")});
    for user in &users[..100] {
        let mut client = gateway.dial().connect(user, "phone");
        client.done("react", &like(0));
        client.close();
    }
    let mut late: Vec<_> = users[100..100 + CHANGES]
        .iter()
        .map(|user| gateway.dial().connect(user, "phone"))
        .collect();
    let reactions = per_change(&mut |n| {
        late[n].done("react", &like(0));
    });
    // Who reacted before is in small parts too: the hundred of them would be more.
    assert!(reactions < 4_096.0, "{reactions} bytes for a reaction");
}
