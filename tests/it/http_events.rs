//! Events as a stream: Server-Sent Events.

use serde_json::json;
use trunkline_tests::api::{Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, claims_with, now};
use trunkline_tests::wait::until;

fn streams(gateway: &Gateway, expected: f64) {
    until("streams", || {
        (gateway.metric("trunkline_http_streams") == expected).then_some(())
    });
}

#[test]
fn a_stream_has_the_events_of_a_session() {
    let gateway = Setup::default().http().flag("presence-grace", "0s").start();
    let alice = Api::of(&gateway).user("alice");
    let bob = Api::of(&gateway).user("bob");
    let mut watcher = gateway.dial().connect("carol", "phone");
    watcher.done("presence", &json!({"watch": ["bob"]}));
    let mut stream = bob.begin("GET", "/api/v1/events");
    let head = stream.head();
    assert!(head.starts_with("http/1.1 200 ok\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream\n"), "{head}");
    // It counts as a session.
    let online = watcher.push_of("presence");
    assert_eq!(
        (&online["user"], &online["online"]),
        (&json!("bob"), &json!(true))
    );
    alice.post("send", &json!({"user": "bob", "text": "one"}));
    let (first, event) = stream.event();
    assert_eq!(event["message"]["text"], "one");
    assert_eq!(first.as_deref(), event["pos"].as_str());
    alice.post("typing", &json!({"conversation": "u:alice:bob"}));
    let (id, event) = stream.event();
    assert_eq!((id, &event["typing"]["user"]), (None, &json!("alice")));
    assert!(event["typing"]["expires_ms"].as_u64() > Some(0), "{event}");
    let stop = json!({"conversation": "u:alice:bob", "stop": true});
    alice.post("typing", &stop);
    let (id, event) = stream.event();
    assert_eq!(
        (id, &event["typing"]["stop"]),
        (None, &json!(true)),
        "{event}"
    );
    assert_eq!(event["typing"]["user"], "alice");
    let edit = json!({"conversation": "u:alice:bob", "seq": 1, "text": "one, edited"});
    alice.post("edit", &edit);
    let (first, event) = stream.event();
    let edited = &event["edit"];
    assert_eq!(
        (&edited["seq"], &edited["text"]),
        (&json!(1), &json!("one, edited"))
    );
    assert!(edited["edited"].is_u64(), "{event}");
    assert_eq!(first.as_deref(), event["pos"].as_str());
    let signal = alice.post("signal", &json!({"user": "bob", "data": [1]}));
    assert_eq!(signal["online"], true);
    assert_eq!(stream.event().1["signal"]["data"], json!([1]));
    bob.post("ack", &json!({"conversation": "u:alice:bob", "read": 1}));
    assert_eq!(stream.event().1["receipt"]["read"], 1);
    // Another device, and what the user sends.
    let mut other = bob.begin("GET", "/api/v1/events");
    other.head();
    let online = watcher.push_of("presence");
    assert_eq!(online["devices"], 2);
    bob.post("send", &json!({"user": "alice", "text": "two"}));
    assert_eq!(stream.event().1["message"]["text"], "two");
    assert_eq!(other.event().1["message"]["text"], "two");
    drop((stream, other));
    streams(&gateway, 0.0);
    until("bob to be offline", || {
        let presence = watcher.push_of("presence");
        (presence["online"] == false).then_some(())
    });
    // It goes on where it ended.
    alice.post("send", &json!({"user": "bob", "text": "three"}));
    let first = first.expect("a position");
    let resumed = bob.clone().header("Last-Event-ID", &first);
    let mut stream = resumed.begin("GET", "/api/v1/events?since=0");
    stream.head();
    assert_eq!(stream.event().1["receipt"]["read"], 1);
    assert_eq!(stream.event().1["message"]["text"], "two");
    assert_eq!(stream.event().1["message"]["text"], "three");
    let (id, event) = stream.event();
    assert_eq!(event["caught_up"]["pos"].as_str(), id.as_deref());
    alice.post("send", &json!({"user": "bob", "text": "four"}));
    assert_eq!(stream.event().1["message"]["text"], "four");
    let answer = bob.ask("GET", "/api/v1/events?since=x", None);
    assert_eq!(problem(&answer), (400, 107));
}

#[test]
fn a_stream_has_the_users_own_settings() {
    let gateway = Setup::default().http().start();
    let alice = Api::of(&gateway).user("alice");
    let bob = Api::of(&gateway).user("bob");
    alice.post("send", &json!({"user": "bob", "text": "one"}));
    let [mut of_alice, mut of_bob] = [&alice, &bob].map(|user| user.begin("GET", "/api/v1/events"));
    of_alice.head();
    of_bob.head();
    let muted = 4_102_444_800_000_u64;
    let chosen = json!({"conversation": "u:alice:bob", "muted_until": muted, "pinned": true});
    assert_eq!(bob.post("settings", &chosen), json!({}));
    let (id, event) = of_bob.event();
    assert_eq!(id.as_deref(), event["pos"].as_str());
    let told = &event["settings"];
    assert_eq!(
        (&told["conversation"], &told["muted_until"], &told["pinned"]),
        (&json!("u:alice:bob"), &json!(muted), &json!(true)),
        "{event}"
    );
    // They are the user's own: the next event of the other user is a message.
    bob.post("send", &json!({"user": "alice", "text": "two"}));
    assert_eq!(of_alice.event().1["message"]["text"], "two");
    let entry = |user: &Api| user.post("conversations", &json!({}))["conversations"][0].clone();
    let (own, others) = (entry(&bob), entry(&alice));
    assert_eq!(
        (&own["muted_until"], &own["pinned"]),
        (&json!(muted), &json!(true)),
        "{own}"
    );
    assert!(others.get("pinned").is_none(), "{others}");
}

#[test]
fn many_missed_events_come_in_order_and_none_twice() {
    const MESSAGES: usize = 350;
    let gateway = Setup::default().http().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let bob = Api::of(&gateway).user("bob");
    let half = MESSAGES / 2;
    alice.send_all("bob", (0..half).map(|number| number.to_string()));
    let mut stream = bob.begin("GET", "/api/v1/events?since=0");
    alice.send_all("bob", (half..MESSAGES).map(|number| number.to_string()));
    stream.head();
    let mut next = 0;
    while next < MESSAGES {
        let (_, event) = stream.event();
        if let Some(text) = event["message"]["text"].as_str() {
            assert_eq!(text, next.to_string());
            next += 1;
        }
    }
}

#[test]
fn a_silent_stream_gets_comments() {
    let gateway = Setup::default()
        .http()
        .flag("ping-interval", "100ms")
        .start();
    let mut stream = Api::of(&gateway).user("bob").begin("GET", "/api/v1/events");
    stream.head();
    until("a comment", || (stream.line() == ": ping").then_some(()));
}

#[test]
fn streams_are_told_when_the_gateway_stops() {
    let mut gateway = Setup::default().http().start();
    let mut stream = Api::of(&gateway).user("bob").begin("GET", "/api/v1/events");
    stream.head();
    streams(&gateway, 1.0);
    gateway.stop();
    let (_, event) = stream.event();
    let disconnect = &event["disconnect"];
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!(3001), &json!(true))
    );
    stream.ended();
}

#[test]
fn streams_count_as_sessions_and_end_with_their_token() {
    let service = Service::new(Signer::hmac(), |setup| {
        setup.http().flag("connections-per-user", 2)
    });
    let gateway = &service.gateway;
    let token = |seconds: u64| {
        let claims = claims_with("bob", json!({"exp": now() + seconds}));
        service.signer.sign(&claims)
    };
    let api = |seconds| Api::of(gateway).token(&token(seconds));
    let mut stream = api(3_600).begin("GET", "/api/v1/events");
    stream.head();
    let dial = gateway.dial().with("token", token(3_600));
    let client = dial.connect("bob", "phone");
    let answer = api(3_600).ask("GET", "/api/v1/events", None);
    assert_eq!(problem(&answer), (413, 106));
    client.close();
    let mut short = until("room for a session", || {
        let mut stream = api(2).begin("GET", "/api/v1/events");
        stream.head().starts_with("http/1.1 200").then_some(stream)
    });
    let (_, event) = short.event();
    let disconnect = &event["disconnect"];
    assert_eq!(
        (&disconnect["code"], &disconnect["reconnect"]),
        (&json!(3505), &json!(false))
    );
    short.ended();
}
