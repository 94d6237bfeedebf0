//! Threads: `history` of a message and its replies.

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

use crate::ephemeral::three_places;

/// More replies than two pieces of the index have.
const REPLIES: u64 = 150;

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().http().flag("fanout-limit", 2);
    setup.flag("shards", 3).start()
}

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages").iter();
    messages
        .map(|one| one["seq"].as_u64().expect("a number"))
        .collect()
}

/// Reads a whole thread in pages of `limit`, forwards or backwards.
fn read(client: &mut Client, thread: &Value, limit: usize, forwards: bool) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::new();
    loop {
        let mut ask = thread.clone();
        ask["limit"] = json!(limit);
        match (forwards, all.first(), all.last()) {
            (true, _, last) => ask["after"] = json!(last.unwrap_or(&0)),
            (false, Some(first), _) => ask["before"] = json!(first),
            (false, None, _) => {}
        }
        let page = client.done("history", &ask);
        let found = seqs(&page);
        assert!(found.len() <= limit && (!found.is_empty() || page["more"] == false));
        let at = if forwards { all.len() } else { 0 };
        all.splice(at..at, found);
        if page["more"] == false {
            return all;
        }
    }
}

#[test]
fn a_thread_is_a_message_and_its_replies() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let places = three_places(&mut alice);
    let mut expected = vec![1];
    for (_, to) in &places {
        let mut ids = Vec::new();
        for number in 0..=2 * REPLIES {
            let mut ask = to.clone();
            ask["text"] = json!(format!("text {number}"));
            // Every second message replies to the first one, the others to the one before.
            match number {
                0 => {}
                number if number % 2 == 1 => ask["reply_to"] = json!(1),
                number => ask["reply_to"] = json!(number),
            }
            ids.push(alice.post("send", &ask));
        }
        for id in ids {
            assert_eq!(alice.reply(id)["error"], Value::Null);
        }
    }
    expected.extend((0..REPLIES).map(|number| 2 * number + 2));
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        for dial in [gateway.dial(), gateway.dial().proto()] {
            let mut bob = dial.connect("bob", "phone");
            for (conversation, _) in &places {
                let thread = json!({"conversation": conversation, "thread": 1});
                for (limit, forwards) in [(7, true), (64, true), (7, false), (64, false)] {
                    assert_eq!(read(&mut bob, &thread, limit, forwards), expected);
                }
                let page = bob.done("history", &thread);
                assert_eq!(seqs(&page), expected[expected.len() - 50..]);
                assert_eq!((&page["first"], &page["more"]), (&json!(1), &json!(true)));
                // A reply begins a thread of its own, and most messages have none.
                let thread = json!({"conversation": conversation, "thread": 2});
                assert_eq!(seqs(&bob.done("history", &thread)), [2, 3]);
                let thread = json!({"conversation": conversation, "thread": 3});
                assert_eq!(seqs(&bob.done("history", &thread)), [3]);
            }
        }
    }
    // A recalled message keeps its place in the thread, first or not.
    let mut alice = gateway.dial().connect("alice", "phone");
    for seq in [1, 4] {
        alice.done(
            "recall",
            &json!({"conversation": "u:alice:bob", "seq": seq}),
        );
    }
    let thread = json!({"conversation": "u:alice:bob", "thread": 1, "after": 0, "limit": 3});
    let page = Api::of(&gateway).user("bob").post("history", &thread);
    assert_eq!(seqs(&page), [1, 2, 4]);
    let recalled = [0, 2].map(|n| page["messages"][n]["recalled"].clone());
    assert_eq!(recalled, [true, true]);
}

#[test]
fn nobody_reads_a_thread_that_begins_out_of_sight() {
    for others in [&[][..], &["dave", "erin"]] {
        let gateway = gateway();
        let mut alice = gateway.dial().connect("alice", "phone");
        let create = json!({"group": "eng", "members": others, "history": "joined"});
        alice.done("group_create", &create);
        alice.done("send", &json!({"group": "eng", "text": "before"}));
        let add = json!({"group": "eng", "members": ["carol"]});
        alice.done("group_add", &add);
        alice.done(
            "send",
            &json!({"group": "eng", "text": "after", "reply_to": 1}),
        );
        let mut carol = gateway.dial().connect("carol", "phone");
        let mut mallory = gateway.dial().connect("mallory", "phone");
        let thread = |seq: u64| json!({"conversation": "g:eng", "thread": seq});
        assert_eq!(carol.refused("history", &thread(1)), 102);
        assert_eq!(seqs(&carol.done("history", &thread(2))), [2]);
        for seq in [0, 3, u64::MAX] {
            assert_eq!(carol.refused("history", &thread(seq)), 102, "{seq}");
        }
        for seq in [1, 99] {
            assert_eq!(mallory.refused("history", &thread(seq)), 103);
        }
    }
}
