//! Searches for messages that the gateway no longer keeps, and by users whose name somebody else had.

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::wait;

use crate::erasure::{begin, completed};
use crate::gone_messages::short_lived;
use crate::search::{indexed, setup, texts};

#[test]
fn nothing_is_found_beyond_the_life_of_messages() {
    let mut gateway = short_lived(setup()).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
    alice.send("bob", "needle of two");
    alice.done(
        "send",
        &json!({"group": "eng", "text": "needle of a group"}),
    );
    indexed(&mut alice, "alice", 1);
    for conversation in ["u:alice:bob", "g:eng"] {
        wait::until("the first message is gone", || {
            for _ in 0..20 {
                alice.send("carol", &"x".repeat(4_000));
            }
            let reply = alice.ask("get", &json!({"conversation": conversation, "seq": 1}));
            (reply["error"]["code"] == 102).then_some(())
        });
    }
    // The index learns of it some minutes later. Until then its hits lead to no message.
    for (number, restarted) in [(2, false), (3, true)] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut alice = gateway.dial().connect("alice", "laptop");
        let mut bob = gateway.dial().proto().connect("bob", "laptop");
        indexed(&mut alice, "alice", number);
        for client in [&mut alice, &mut bob] {
            assert_eq!(texts(client, "needle"), [""; 0]);
        }
        let only = json!({"text": "needle", "conversation": "u:alice:bob"});
        let by_request = Api::of(&gateway).user("bob").post("search", &only);
        assert_eq!(by_request["messages"], json!([]), "{by_request}");
    }
}

#[test]
fn a_new_user_of_an_erased_name_finds_nothing_of_before() {
    let mut gateway = setup()
        .patient()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let group = json!({"group": "eng", "members": ["bob"], "history": "all"});
    alice.done("group_create", &group);
    alice.send("bob", "needle of alice");
    bob.send("alice", "needle of bob");
    bob.send("bob", "needle to himself");
    let in_group = |text: &str| json!({"group": "eng", "text": text});
    alice.done("send", &in_group("needle of alice in the group"));
    bob.done("send", &in_group("needle of bob in the group"));
    indexed(&mut alice, "alice", 1);
    assert_eq!(texts(&mut bob, "needle").len(), 5);
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    let of_alice = ["needle of alice in the group", "needle of alice"];
    for (number, restarted) in [(2, false), (4, true)] {
        if restarted {
            gateway.kill();
            gateway.start_again();
            alice = gateway.dial().connect("alice", "phone");
        }
        let mut new = gateway.dial().proto().connect("bob", "tablet");
        indexed(&mut alice, "alice", number);
        indexed(&mut new, "bob", number + 1);
        assert_eq!(texts(&mut new, "needle"), [""; 0]);
        assert_eq!(texts(&mut alice, "needle"), of_alice);
        let of_group = json!({"text": "needle", "conversation": "g:eng"});
        assert_eq!(new.refused("search", &of_group), 103);
    }
    // What the new one says and hears is found, and nothing else.
    let mut new = gateway.dial().connect("bob", "tablet");
    alice.send("bob", "needle for the new one");
    new.send("alice", "needle of the new one");
    indexed(&mut alice, "alice", 6);
    let both = ["needle of the new one", "needle for the new one"];
    assert_eq!(texts(&mut new, "needle"), both);
    assert_eq!(texts(&mut alice, "needle"), [&both[..], &of_alice].concat());
}
