//! Contact lists, with the presence of each contact.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

fn setup() -> Setup {
    Setup::default()
        .flag("shards", 3)
        .flag("presence-grace", "0s")
}

/// Returns the names of the contacts that a reply lists.
fn names(reply: &Value) -> Vec<&str> {
    let contacts = reply["contacts"].as_array().expect("contacts");
    let name = |contact: &Value| contact["user"].as_str().map(str::len);
    assert!(contacts.iter().all(|contact| name(contact).is_some()));
    contacts
        .iter()
        .filter_map(|contact| contact["user"].as_str())
        .collect()
}

fn change(client: &mut Client, add: &[&str], remove: &[&str]) -> Value {
    client.done("contacts", &json!({"add": add, "remove": remove}))
}

fn silent(client: &mut Client) {
    client.ping();
    assert_eq!(client.waiting(), Vec::<Value>::new());
}

#[test]
fn they_are_kept_for_all_devices() {
    let mut gateway = setup().start();
    let mut phone = gateway.dial().shard(0).connect("alice", "phone");
    let mut tablet = gateway.dial().shard(1).proto().connect("alice", "tablet");
    assert_eq!(names(&phone.done("contacts", &json!({}))), [""; 0]);
    let reply = change(&mut phone, &["dave", "bob", "dave"], &["nobody"]);
    let shown: Vec<_> = ["bob", "dave"]
        .map(|user| json!({"user": user, "online": false}))
        .into();
    assert_eq!(reply, json!({"contacts": shown, "more": false}));
    assert_eq!(
        names(&change(&mut tablet, &["carol"], &["bob"])),
        ["carol", "dave"]
    );
    // Named in both, one is none in the end.
    let reply = change(&mut phone, &["erin"], &["erin"]);
    assert_eq!(names(&reply), ["carol", "dave"]);
    // Neither the other device nor the chosen contacts get a push.
    let mut dave = gateway.dial().since("0").connect("dave", "phone");
    for client in [&mut phone, &mut tablet, &mut dave] {
        silent(client);
    }
    let page = tablet.done("sync", &json!({"since": "0"}));
    assert_eq!(page["events"], json!([]));
    // Whatever becomes of the gateway.
    for kill in [false, true] {
        if kill {
            gateway.kill();
        } else {
            gateway.stop();
        }
        gateway.start_again();
        for encoding in [Json, Proto] {
            let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
            let reply = alice.done("contacts", &json!({}));
            assert_eq!(names(&reply), ["carol", "dave"]);
            alice.close();
        }
    }
    let mut alice = gateway.dial().connect("alice", "phone");
    let reply = change(&mut alice, &[], &["carol", "dave"]);
    assert_eq!(names(&reply), [""; 0]);
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(names(&bob.done("contacts", &json!({}))), [""; 0]);
}

#[test]
fn they_can_be_watched() {
    let gateway = setup().start();
    for (shard, encoding) in [(0, Json), (1, Proto)] {
        let dial = gateway.dial().shard(shard).encoding(encoding);
        let user = format!("alice{shard}");
        let mut other = gateway.dial().shard(2).connect(&user, "other");
        let mut alice = dial.connect(&user, "phone");
        let bob = gateway.dial().connect("bob", "phone");
        change(&mut alice, &["bob", "carol"], &[]);
        let reply = alice.done("contacts", &json!({"watch": true}));
        let contacts = &reply["contacts"];
        assert_eq!(names(&reply), ["bob", "carol"]);
        assert_eq!(contacts[0]["online"], true);
        assert!(contacts[0]["last_seen"].is_u64());
        assert_eq!(contacts[1]["online"], false);
        bob.close();
        let push = alice.push_of("presence");
        assert_eq!(
            (&push["user"], &push["online"]),
            (&json!("bob"), &json!(false))
        );
        let reply = alice.done("contacts", &json!({"remove": ["bob"]}));
        assert_eq!(names(&reply), ["carol"]);
        // Removing a contact does not end the watch.
        let bob = gateway.dial().connect("bob", "phone");
        assert_eq!(alice.push_of("presence")["online"], true);
        alice.done("presence", &json!({"unwatch": ["bob"]}));
        bob.close();
        let carol = gateway.dial().connect("carol", "phone");
        assert_eq!(alice.push_of("presence")["user"], "carol");
        carol.close();
        assert_eq!(alice.push_of("presence")["online"], false);
        silent(&mut alice);
        // This one did not ask.
        silent(&mut other);
    }
}

#[test]
fn so_many_and_not_more() {
    let gateway = setup().flag("max-watches", 5).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let users = |from: usize, to: usize| (from..to).map(|i| format!("u{i}")).collect::<Vec<_>>();
    // In one command.
    let many = json!({"add": users(0, 600), "remove": users(0, 401)});
    assert_eq!(alice.refused("contacts", &many), 106);
    // In all; of what is too much, nothing is added.
    let all = alice.done("contacts", &json!({"add": users(0, 1_000)}));
    assert_eq!(names(&all).len(), 1_000);
    let more = json!({"add": users(990, 1_001), "remove": ["u0"]});
    let reply = alice.done("contacts", &more);
    assert_eq!(names(&reply).len(), 1_000);
    assert_eq!(alice.refused("contacts", &json!({"add": ["v", "w"]})), 106);
    let reply = alice.done("contacts", &json!({}));
    assert_eq!(names(&reply).len(), 1_000);
    assert!(!names(&reply).contains(&"v"));
    // They are more than one connection may watch.
    assert_eq!(alice.refused("contacts", &json!({"watch": true})), 106);
    let fewer = alice.done("contacts", &json!({"remove": users(6, 1_001)}));
    assert_eq!(names(&fewer).len(), 5);
    alice.done("contacts", &json!({"watch": true}));
    for bad in ["", "a b", &"x".repeat(65)] {
        for field in ["add", "remove"] {
            let request = json!({field: ["bob", bad]});
            assert_eq!(alice.refused("contacts", &request), 107);
        }
    }
}

#[test]
fn namespaces_do_not_meet() {
    let gateway: Gateway = setup().start();
    let mut ours = gateway.dial().connect("alice", "phone");
    let acme = gateway.dial().with("namespace", "acme");
    let mut theirs = acme.connect("alice", "phone");
    change(&mut ours, &["bob"], &[]);
    assert_eq!(names(&change(&mut theirs, &["carol"], &[])), ["carol"]);
    let _bob = acme.connect("bob", "phone");
    let reply = ours.done("contacts", &json!({"watch": true}));
    assert_eq!(names(&reply), ["bob"]);
    assert_eq!(reply["contacts"][0]["online"], false);
    silent(&mut ours);
}
