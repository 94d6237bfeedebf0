//! `rtm.receive`: both queues, positions, and requests that wait.

use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

fn gateway() -> Gateway {
    Setup::default().http().start()
}

fn texts(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().expect("messages");
    assert!(messages.iter().all(|entry| entry["pos"].is_string()));
    messages
        .iter()
        .map(|entry| entry["message"]["text"].as_str().unwrap_or("-"))
        .collect()
}

fn waiting(gateway: &Gateway, expected: f64) {
    until("requests that wait", || {
        (gateway.metric("trunkline_http_waiting") == expected).then_some(())
    });
}

#[test]
fn one_queue_has_everything_that_concerns_the_reader() {
    let gateway = gateway();
    let (alice, bob) = (
        Api::of(&gateway).user("alice"),
        Api::of(&gateway).user("bob"),
    );
    let empty = bob.get("rtm.receive?sourceID=bob");
    assert_eq!(
        (&empty["messages"], &empty["more"]),
        (&json!([]), &json!(false))
    );
    for text in ["one", "two", "three"] {
        alice.post("send", &json!({"user": "bob", "text": text}));
    }
    bob.post("ack", &json!({"conversation": "u:alice:bob", "read": 3}));
    let page = bob.get("rtm.receive?sourceID=bob&limit=2");
    assert_eq!(
        (texts(&page), &page["more"]),
        (vec!["one", "two"], &json!(true))
    );
    let last = page["lastPos"].as_str().unwrap();
    assert_eq!(page["messages"][1]["pos"], last);
    let page = bob.get(&format!("rtm.receive?sourceID=bob&lastPos={last}"));
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages[0]["message"]["text"], "three");
    assert_eq!(messages[1]["receipt"]["read"], 3);
    assert_eq!((messages.len(), &page["more"]), (2, &json!(false)));
    // Where now is.
    let now = bob.get("rtm.receive?sourceID=bob&lastPos=now&wait=30s");
    assert_eq!(now["messages"], json!([]));
    let now = now["lastPos"].as_str().unwrap();
    alice.post("send", &json!({"user": "bob", "text": "four"}));
    let page = bob.get(&format!("rtm.receive?sourceID=bob&lastPos={now}"));
    assert_eq!(texts(&page), ["four"]);
    // The header may stand for the reader, and must not contradict it.
    assert_eq!(
        texts(&Api::of(&gateway).get("rtm.receive?sourceID=bob&limit=1")),
        ["one"]
    );
    for (query, expected) in [
        ("sourceID=carol", (403, 103)),
        ("lastPos=x", (400, 107)),
        ("wait=61s", (400, 107)),
        ("wait=soon", (400, 107)),
        ("limit=0", (400, 107)),
        ("limit=many", (400, 107)),
        ("targetID=a%20b", (400, 107)),
        ("targetID=alice&lastPos=x", (400, 107)),
        ("targetID=g:none", (403, 103)),
    ] {
        let answer = bob.ask("GET", &format!("/api/v1/rtm.receive?{query}"), None);
        assert_eq!(problem(&answer), expected, "{query}");
    }
}

#[test]
fn one_conversation_is_read_by_its_sequences() {
    let gateway = gateway();
    let (alice, bob) = (
        Api::of(&gateway).user("alice"),
        Api::of(&gateway).user("bob"),
    );
    let empty = bob.get("rtm.receive?targetID=alice");
    assert_eq!(
        empty,
        json!({"messages": [], "lastPos": "0", "more": false})
    );
    for number in 1..=3 {
        alice.post(
            "send",
            &json!({"user": "bob", "text": format!("b{number}")}),
        );
        alice.post(
            "send",
            &json!({"user": "carol", "text": format!("c{number}")}),
        );
    }
    let page = bob.get("rtm.receive?targetID=alice&limit=2");
    assert_eq!(texts(&page), ["b1", "b2"]);
    assert_eq!(
        (&page["lastPos"], &page["more"]),
        (&json!("2"), &json!(true))
    );
    let page = bob.get("rtm.receive?targetID=alice&lastPos=2");
    assert_eq!((texts(&page), &page["lastPos"]), (vec!["b3"], &json!("3")));
    let now = alice.get("rtm.receive?targetID=carol&lastPos=now");
    assert_eq!(
        (&now["messages"], &now["lastPos"]),
        (&json!([]), &json!("3"))
    );
    let mut line = bob.begin(
        "GET",
        "/api/v1/rtm.receive?targetID=alice&lastPos=3&wait=60s",
    );
    waiting(&gateway, 1.0);
    // A message of another conversation does not end the wait.
    Api::of(&gateway)
        .user("dave")
        .post("send", &json!({"user": "bob", "text": "d1"}));
    alice.post("send", &json!({"user": "bob", "text": "b4"}));
    let page = line.answer();
    assert_eq!((texts(&page), &page["lastPos"]), (vec!["b4"], &json!("4")));
    alice.post("group_create", &json!({"group": "eng", "members": ["bob"]}));
    alice.post("send", &json!({"group": "eng", "text": "all"}));
    assert_eq!(texts(&bob.get("rtm.receive?targetID=g:eng")), ["all"]);
}

#[test]
fn a_request_waits_for_what_comes() {
    let gateway = gateway();
    let alice = Api::of(&gateway).user("alice");
    let bob = Api::of(&gateway).user("bob");
    let now = bob.get("rtm.receive?lastPos=now");
    let path = |last: &Value, wait: &str| {
        let last = last["lastPos"].as_str().unwrap();
        format!("/api/v1/rtm.receive?lastPos={last}&wait={wait}")
    };
    let mut line = bob.begin("GET", &path(&now, "60s"));
    waiting(&gateway, 1.0);
    // Who waits is not online.
    let presence = alice.post("presence", &json!({"query": ["bob"]}));
    assert_eq!(presence["users"][0]["online"], false);
    let signal = alice.post("signal", &json!({"user": "bob", "data": 1}));
    assert_eq!(signal["online"], false);
    alice.post("send", &json!({"user": "bob", "text": "one"}));
    let page = line.answer();
    assert_eq!(texts(&page), ["one"]);
    // The connection goes on, and many wait for the same.
    line.send(&bob, "GET", &path(&page, "60s"));
    let mut others: Vec<_> = (0..3)
        .map(|_| bob.begin("GET", &path(&page, "60s")))
        .collect();
    waiting(&gateway, 4.0);
    let mut socket = gateway.dial().connect("carol", "phone");
    socket.send("bob", "two");
    for line in others.iter_mut().chain([&mut line]) {
        assert_eq!(texts(&line.answer()), ["two"]);
    }
    // The time is over.
    let page = bob.get("rtm.receive?lastPos=now");
    line.send(&bob, "GET", &path(&page, "50ms"));
    let empty = line.answer();
    assert_eq!(
        (&empty["messages"], &empty["more"]),
        (&json!([]), &json!(false))
    );
    // A request that closes its connection.
    let closing = bob.clone().header("Connection", "close");
    let mut last = closing.begin("GET", &path(&empty, "60s"));
    waiting(&gateway, 1.0);
    alice.post("send", &json!({"user": "bob", "text": "three"}));
    assert_eq!(texts(&last.answer()), ["three"]);
    last.ended();
    // The next request may come before the answer.
    let page = bob.get("rtm.receive?lastPos=now");
    line.send(&bob, "GET", &path(&page, "60s"));
    waiting(&gateway, 1.0);
    line.send(&bob, "GET", "/api/v1/rtm.receive?limit=1");
    alice.post("send", &json!({"user": "bob", "text": "four"}));
    assert_eq!(texts(&line.answer()), ["four"]);
    assert_eq!(texts(&line.answer()), ["one"]);
    waiting(&gateway, 0.0);
}

#[test]
fn clients_that_go_and_gateways_that_stop_end_the_wait() {
    let mut gateway = gateway();
    let bob = Api::of(&gateway).user("bob");
    let wait = "/api/v1/rtm.receive?lastPos=0&wait=60s";
    let gone = bob.begin("GET", wait);
    let mut stays = bob.begin("GET", wait);
    waiting(&gateway, 2.0);
    drop(gone);
    waiting(&gateway, 1.0);
    gateway.stop();
    let page = stays.answer();
    assert_eq!(page["messages"], json!([]));
}

/// Events expire with the oldest log, for everybody. A reader who names no position begins with what is left.
#[test]
fn the_first_question_begins_with_the_oldest_event_that_is_kept() {
    let gateway = Setup::default()
        .http()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .flag("sync-life", "2s")
        .flag("idempotency-window", "1s")
        .start();
    let api = |user: &str| Api::of(&gateway).user(user);
    let (alice, bob) = (api("alice"), api("bob"));
    alice.post("send", &json!({"user": "bob", "text": "long ago"}));
    until("the first events expire", || {
        for _ in 0..20 {
            alice.post("send", &json!({"user": "carol", "text": "x".repeat(4_000)}));
        }
        let answer = bob.ask("GET", "/api/v1/rtm.receive?lastPos=0", None);
        (answer.status == 410).then_some(())
    });
    assert_eq!(bob.refused("sync", &json!({"since": "0"})), (410, 112));
    alice.post("send", &json!({"user": "bob", "text": "now"}));
    for path in ["rtm.receive", "rtm.receive?wait=30s"] {
        let page = bob.get(path);
        assert_eq!(texts(&page), ["now"], "{path}");
        let last = page["lastPos"].as_str().expect("a position");
        let next = bob.get(&format!("rtm.receive?lastPos={last}"));
        assert_eq!(next["messages"], json!([]), "{path}");
    }
    let page = bob.post("sync", &json!({"since": "oldest"}));
    assert_eq!(page["events"][0]["message"]["text"], "now", "{page}");
    // Somebody who has no event waits for the first one.
    let dave = api("dave");
    let page = std::thread::scope(|scope| {
        let asking = scope.spawn(|| dave.get("rtm.receive?wait=60s"));
        waiting(&gateway, 1.0);
        alice.post("send", &json!({"user": "dave", "text": "hello"}));
        asking.join().expect("no panic")
    });
    assert_eq!(texts(&page), ["hello"]);
}

/// After the restore of a backup a reader may know later sequences than there are: it is told.
#[test]
fn a_sequence_behind_the_last_message_is_refused() {
    let gateway = gateway();
    let alice = Api::of(&gateway).user("alice");
    let receive = |target: &str, after: u64| {
        let path = format!("/api/v1/rtm.receive?targetID={target}&lastPos={after}");
        [path.clone(), format!("{path}&wait=30s")].map(|path| alice.ask("GET", &path, None))
    };
    alice.post("group_create", &json!({"group": "eng", "members": ["bob"]}));
    for target in ["bob", "g:eng"] {
        for answer in receive(target, 1) {
            assert_eq!(problem(&answer), (410, 112), "{target}");
        }
    }
    alice.post("send", &json!({"user": "bob", "text": "one"}));
    alice.post("send", &json!({"group": "eng", "text": "one"}));
    for target in ["bob", "g:eng"] {
        let at_once = alice.get(&format!("rtm.receive?targetID={target}&lastPos=1"));
        assert_eq!(at_once["messages"], json!([]), "{target}");
        for answer in receive(target, 2) {
            assert_eq!(problem(&answer), (410, 112), "{target}");
        }
    }
}

/// In development mode the user may be named in a query or a body that cannot be read: that is the error then.
#[test]
fn fields_of_a_wrong_type_are_named_in_development_mode_too() {
    let gateway = gateway();
    let api = Api::of(&gateway);
    for path in [
        "rtm.receive?sourceID=bob&limit=-1",
        "rtm.receive?sourceID=bob&limit=x",
        "rtm.receive?sourceID=bob&sourceID=bob",
        "events?sourceID=bob&since=1&since=2",
    ] {
        let answer = api.ask("GET", &format!("/api/v1/{path}"), None);
        assert_eq!(problem(&answer), (400, 107), "{path}");
    }
    let body = r#"{"sourceID":"alice","targetID":5,"text":"x"}"#;
    let answer = api.ask("POST", "/api/v1/rtm.send", Some(body));
    assert_eq!(problem(&answer), (400, 107));
    let answer = api.ask("GET", "/api/v1/rtm.receive?limit=1", None);
    assert_eq!(problem(&answer), (401, 101));
}
