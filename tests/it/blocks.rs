//! Blocked users: what they send does not arrive, and the one who blocks looks offline to them.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

fn gateway() -> Gateway {
    Setup::default()
        .flag("shards", 3)
        .flag("presence-grace", "0s")
        .http()
        .start()
}

fn block(client: &mut Client, user: &str) {
    assert_eq!(client.done("block", &json!({"user": user})), json!({}));
}

fn unblock(client: &mut Client, user: &str) {
    assert_eq!(client.done("unblock", &json!({"user": user})), json!({}));
}

/// What a user can do to reach Alice.
fn attempts() -> [(&'static str, Value); 6] {
    let own = "u:alice:mallory";
    [
        ("send", json!({"user": "alice", "text": "you"})),
        ("signal", json!({"user": "alice", "data": {"call": "ring"}})),
        ("typing", json!({"conversation": own})),
        ("typing", json!({"conversation": own, "stop": true})),
        (
            "react",
            json!({"conversation": own, "seq": 1, "reaction": "rage"}),
        ),
        (
            "edit",
            json!({"conversation": own, "seq": 1, "text": "you"}),
        ),
    ]
}

fn silent(client: &mut Client) {
    client.ping();
    let pushes = client.waiting();
    let from_mallory = |push: &Value| push.to_string().contains("mallory");
    assert!(!pushes.iter().any(from_mallory), "{pushes:?}");
}

#[test]
fn nothing_of_a_blocked_user_arrives() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut mallory = gateway.dial().shard(1).proto().connect("mallory", "phone");
    let first = json!({"user": "alice", "text": "hello", "key": "k"});
    mallory.done("send", &first);
    assert_eq!(alice.push_of("message")["text"], "hello");
    assert_eq!(alice.refused("block", &json!({"user": "alice"})), 107);
    assert_eq!(alice.refused("block", &json!({"user": "no name"})), 107);
    for _ in 0..2 {
        block(&mut alice, "mallory");
    }
    for restart in [false, true] {
        if restart {
            gateway.kill();
            gateway.start_again();
            alice = gateway.dial().shard(2).connect("alice", "phone");
            mallory = gateway.dial().shard(0).connect("mallory", "phone");
        }
        for (command, asked) in attempts() {
            assert_eq!(mallory.refused(command, &asked), 103, "{command}");
            let api = Api::of(&gateway).user("mallory");
            assert_eq!(api.refused(command, &asked), (403, 103), "{command}");
        }
        silent(&mut alice);
        assert_eq!(mallory.done("send", &first)["duplicate"], true);
        let history = alice.done("history", &json!({"conversation": "u:alice:mallory"}));
        assert_eq!(history["messages"].as_array().map(Vec::len), Some(1));
        let listed = alice.done("blocked", &json!({}));
        assert_eq!(listed, json!({"users": ["mallory"], "more": false}));
    }
    // What was said before is still theirs, and the other way nothing is blocked.
    let about = json!({"conversation": "u:alice:mallory", "seq": 1});
    assert_eq!(mallory.done("get", &about)["message"]["text"], "hello");
    alice.send("mallory", "no");
    assert_eq!(mallory.push_of("message")["text"], "no");
    alice.done("typing", &json!({"conversation": "u:alice:mallory"}));
    assert_eq!(mallory.push_of("typing")["user"], "alice");
    // A group of both stays.
    alice.done(
        "group_create",
        &json!({"group": "eng", "members": ["mallory"]}),
    );
    // No new group brings them together, unless the one who blocks wants it.
    let with = json!({"group": "mine", "members": ["bob", "alice"]});
    assert_eq!(mallory.refused("group_create", &with), 103);
    mallory.done(
        "group_create",
        &json!({"group": "mine", "members": ["bob"]}),
    );
    assert_eq!(mallory.refused("group_add", &with), 103);
    mallory.done(
        "group_add",
        &json!({"group": "mine", "members": ["bob", "carol"]}),
    );
    mallory.done("send", &json!({"group": "eng", "text": "all"}));
    assert_eq!(alice.push_of("message")["text"], "all");
    mallory.done("recall", &about);
    assert_eq!(alice.push_of("recall")["seq"], 1);
    unblock(&mut alice, "mallory");
    unblock(&mut alice, "mallory");
    assert_eq!(alice.done("blocked", &json!({}))["users"], json!([]));
    mallory.done("send", &json!({"user": "alice", "text": "again"}));
    assert_eq!(alice.push_of("message")["text"], "again");
    assert_eq!(mallory.done("signal", &attempts()[1].1)["online"], true);
    assert_eq!(alice.push_of("signal")["user"], "mallory");
}

/// Returns how a user looks to a client.
fn seen(client: &mut Client, user: &str) -> Value {
    let reply = client.done("presence", &json!({"query": [user]}));
    reply["users"][0].clone()
}

#[test]
fn who_blocks_looks_like_a_user_who_never_connected() {
    let gateway = gateway();
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut watchers = [
        gateway.dial().shard(0).connect("mallory", "phone"),
        gateway.dial().shard(1).proto().connect("mallory", "tablet"),
    ];
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    let watch = json!({"watch": ["alice"]});
    for client in watchers.iter_mut().chain([&mut bob]) {
        assert_eq!(client.done("presence", &watch)["users"][0]["online"], true);
    }
    block(&mut alice, "mallory");
    let hidden = json!({"user": "alice", "online": false, "devices": 0});
    for client in &mut watchers {
        assert_eq!(
            client.push_of("presence"),
            hidden,
            "the user seems to leave"
        );
        assert_eq!(seen(client, "alice"), hidden);
    }
    // Other devices come and go unseen, for those who watched before and for those who watch again.
    assert_eq!(watchers[1].done("presence", &watch)["users"][0], hidden);
    let contacts = json!({"add": ["alice"], "watch": true});
    let contact = json!({"user": "alice", "online": false});
    assert_eq!(
        watchers[1].done("contacts", &contacts)["contacts"][0],
        contact
    );
    let tablet = gateway.dial().shard(2).connect("alice", "tablet");
    assert_eq!(bob.push_of("presence")["devices"], 2);
    tablet.close();
    assert_eq!(bob.push_of("presence")["devices"], 1);
    for client in &mut watchers {
        silent(client);
        assert_eq!(seen(client, "alice"), hidden);
    }
    let api = Api::of(&gateway).user("mallory");
    let asked = api.post("presence", &json!({"query": ["alice", "bob"]}));
    assert_eq!(asked["users"][0], hidden);
    assert_eq!(asked["users"][1]["online"], true);
    // A third user sees nothing of all this.
    silent(&mut bob);
    assert_eq!(seen(&mut bob, "alice")["online"], true);
    // After the end of the block both see the user again.
    unblock(&mut alice, "mallory");
    for client in &mut watchers {
        let shown = client.push_of("presence");
        assert_eq!(
            (&shown["online"], &shown["devices"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(seen(client, "alice")["online"], true);
    }
    alice.close();
    for client in watchers.iter_mut().chain([&mut bob]) {
        assert_eq!(client.push_of("presence")["online"], false);
    }
    // When a user who blocks was last seen is nobody's business either.
    let mut alice = gateway.dial().connect("alice", "phone");
    block(&mut alice, "mallory");
    alice.close();
    wait::until("the user to be gone", || {
        (seen(&mut bob, "alice")["online"] == false).then_some(())
    });
    assert!(seen(&mut bob, "alice")["last_seen"].is_u64());
    for client in &mut watchers {
        assert_eq!(seen(client, "alice"), hidden);
    }
}

#[test]
fn a_list_of_a_thousand_and_not_more() {
    let gateway = Setup::default().start();
    let mut alice = gateway.dial().encoding(Json).connect("alice", "phone");
    for number in 0..1_000 {
        alice.post("block", &json!({"user": format!("user-{number:04}")}));
    }
    let one_more = json!({"user": "one-more"});
    wait::until("the list to be full", || {
        let blocked = alice.done("blocked", &json!({"after": "user-0998"}));
        (blocked["users"] == json!(["user-0999"])).then_some(())
    });
    assert_eq!(alice.refused("block", &one_more), 106);
    let page = alice.done("blocked", &json!({"limit": 3, "after": "user-0100"}));
    let expected = json!({"users": ["user-0101", "user-0102", "user-0103"], "more": true});
    assert_eq!(page, expected);
    unblock(&mut alice, "user-0500");
    block(&mut alice, "one-more");
    let mut again = gateway.dial().encoding(Proto).connect("alice", "tablet");
    let page = again.done("blocked", &json!({"limit": 500}));
    let first = json!("one-more");
    assert_eq!(page["users"][0], first);
    assert_eq!(page["users"].as_array().map(Vec::len), Some(500));
    assert_eq!(alice.refused("blocked", &json!({"limit": 0})), 107);
    assert_eq!(alice.refused("blocked", &json!({"after": "a b"})), 107);
}

/// A page ends before a message would be longer than the gateway's limit.
#[test]
fn a_page_of_blocked_users_fits() {
    let gateway = Setup::default().flag("message-bytes", "1KiB").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for number in 0..40 {
        block(&mut alice, &format!("{number:0>60}"));
    }
    let (mut after, mut found) = (String::new(), 0);
    loop {
        let mut asked = json!({"limit": 40});
        if !after.is_empty() {
            asked["after"] = json!(after);
        }
        let page = alice.done("blocked", &asked);
        let users = page["users"].as_array().expect("users");
        assert!(!users.is_empty() && users.len() < 20, "{page}");
        found += users.len();
        users
            .last()
            .expect("one")
            .as_str()
            .expect("text")
            .clone_into(&mut after);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(found, 40);
}

/// Namespaces do not meet: a user of one blocks nobody of another.
#[test]
fn blocks_stay_in_their_namespace() {
    let gateway = gateway();
    let acme = gateway.dial().with("namespace", "acme");
    let mut alice = acme.clone().connect("alice", "phone");
    block(&mut alice, "mallory");
    let mut stranger = gateway.dial().connect("mallory", "phone");
    stranger.send("alice", "to another one");
    let mut mallory = acme.connect("mallory", "phone");
    let asked = json!({"user": "alice", "text": "to this one"});
    assert_eq!(mallory.refused("send", &asked), 103);
}

/// Only the store knows whether a signal passes. The sender notices nothing of the question.
#[test]
fn signals_that_the_store_is_asked_about_have_the_limits_of_others() {
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("max-pages", 1)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut mallory = gateway.dial().connect("mallory", "phone");
    block(&mut alice, "mallory");
    mallory.send("bob", "first");
    // They are more and larger than pages may be, and none waits behind a page.
    let mut ids = Vec::new();
    let large = json!({"user": "alice", "data": "x".repeat(500_000)});
    for n in 0..40 {
        ids.push(match n % 10 {
            0 => mallory.post("signal", &large),
            _ => mallory.post("signal", &json!({"user": "alice", "data": n})),
        });
    }
    for id in ids {
        assert_eq!(mallory.reply(id)["error"]["code"], 103);
    }
    silent(&mut alice);
    unblock(&mut alice, "mallory");
    for n in 0..20 {
        mallory.post("signal", &json!({"user": "alice", "data": n}));
    }
    for n in 0..20 {
        assert_eq!(alice.push()["signal"]["data"], n);
    }
}
