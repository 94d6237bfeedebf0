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
