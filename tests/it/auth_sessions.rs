//! Sessions end with their token, and go on with another one.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::End;
use trunkline_tests::service::{EXPIRED, INVALID, Service, ms};
use trunkline_tests::tokens::{Signer, claims, claims_with, now};
use trunkline_tests::wait::until;

/// Rights belong to a session: the next session in its slot of the table has none of them.
#[test]
fn rights_end_with_their_session() {
    let service = Service::new(Signer::hmac(), |setup| setup.flag("shards", 1));
    let topics = json!({"subscribe": ["*"], "publish": ["*"]});
    let news = json!({"topic": "news"});
    for _ in 0..3 {
        let mut alice = service.connect("alice", json!({"topics": topics}));
        alice.done("subscribe", &news);
        let mut other = service.connect("bob", json!({}));
        assert_eq!(other.refused("subscribe", &news), 103);
        alice.close();
        until("the session to end", || {
            (service.gateway.metric("trunkline_sessions") == 1.0).then_some(())
        });
        let mut next = service.connect("carol", json!({}));
        assert_eq!(next.refused("subscribe", &news), 103);
        next.close();
        other.close();
        until("the sessions to end", || {
            (service.gateway.metric("trunkline_connections") == 0.0).then_some(())
        });
    }
}

#[test]
fn a_session_ends_with_its_token() {
    let service = Service::start();
    let lives = |seconds: u64| json!({"exp": now() + seconds});
    let mut others = [
        service.connect("carol", json!({})),
        service.connect("dave", lives(1_000)),
    ];
    // Sessions that continue from a position end with their token too, in both encodings.
    let pos = others[0].pos();
    let soon = lives(6);
    let token = service.signer.sign(&claims_with("alice", soon.clone()));
    let dial = service.gateway.dial().with("token", token).since(&pos);
    let mut short = vec![
        service.connect_in(Proto, "alice", soon.clone()),
        dial.connect("alice", "tablet"),
    ];
    for client in &mut short {
        assert_eq!(client.opening()["expires"], ms(&soon));
        let push = client.push_of("disconnect");
        assert_eq!(
            push,
            json!({"code": 3505, "reason": "the token has expired", "reconnect": false, "delay_ms": [0, 0]})
        );
        assert_eq!(
            client.end(),
            End::Close(3505, "the token has expired".into())
        );
        assert!(now() >= ms(&soon) / 1_000, "it ends too early");
    }
    for client in &mut others {
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new());
    }
    let closes = "trunkline_closes_total{code=\"3505\"}";
    assert_eq!(service.gateway.metric(closes), 2.0);
}

/// The leeway is for tokens that open sessions and for those that end them.
#[test]
fn clocks_may_differ() {
    let service = Service::new(Signer::hmac(), |setup| setup.flag("jwt-leeway", "5m"));
    let mut late = service.connect("alice", json!({"exp": now() - 200}));
    let mut early = service.connect("bob", json!({"nbf": now() + 200}));
    late.ping();
    early.ping();
    let token = service
        .signer
        .sign(&claims_with("alice", json!({"exp": now() - 301})));
    service.refuses(&token, EXPIRED, "expired");
    let token = service
        .signer
        .sign(&claims_with("alice", json!({"nbf": now() + 400})));
    service.refuses(&token, INVALID, "not_yet");
}

#[test]
fn another_token_renews_a_session() {
    let service = Service::new(Signer::hmac(), |setup| setup.flag("shards", 1));
    let sign = |user: &str, others| service.signer.sign(&claims_with(user, others));
    let soon = now() + 6;
    let mut renewed = service.connect("alice", json!({"exp": soon}));
    // One that ends later than the first token of the other does.
    let mut witness = service.connect("bob", json!({"exp": soon + 1}));
    let later = now() + 1_000;
    let reply = renewed.done(
        "connect",
        &json!({"token": sign("alice", json!({"exp": later}))}),
    );
    assert_eq!(reply["expires"], later * 1_000);
    assert_eq!(reply["session"], renewed.session());
    assert_eq!(reply["unsubscribed"], Value::Null);
    assert!(matches!(witness.end(), End::Close(3505, _)));
    renewed.ping();
    assert_eq!(renewed.waiting(), Vec::<Value>::new());
    // To an earlier end too.
    let soon = json!({"exp": now() + 1});
    renewed.done("connect", &json!({"token": sign("alice", soon)}));
    assert!(matches!(renewed.end(), End::Close(3505, _)));
    assert_eq!(service.gateway.metric("trunkline_tokens_total"), 4.0);
}

#[test]
fn what_renews_no_session() {
    let service = Service::start();
    let sign = |user: &str, others| service.signer.sign(&claims_with(user, others));
    let mut alice = service.connect(
        "alice",
        json!({"ns": "acme", "topics": {"subscribe": ["a"]}}),
    );
    let acme = |others: Value| {
        let mut all = json!({"ns": "acme"});
        for (name, value) in others.as_object().expect("an object") {
            all[name] = value.clone();
        }
        all
    };
    for (token, code) in [
        (sign("bob", acme(json!({}))), 103),
        (sign("alice", json!({})), 103),
        (sign("alice", json!({"ns": "other"})), 103),
        (sign("alice", acme(json!({"device": "tablet"}))), 103),
        (sign("alice", acme(json!({"exp": now() - 1}))), 109),
        (sign("alice", acme(json!({"nbf": now() + 99}))), 101),
        (
            Signer::edwards().sign(&claims_with("alice", acme(json!({})))),
            101,
        ),
        ("x".into(), 101),
    ] {
        let request = json!({"token": token});
        assert_eq!(alice.refused("connect", &request), code, "{request}");
    }
    assert_eq!(alice.refused("connect", &json!({"user": "alice"})), 101);
    assert_eq!(alice.refused("connect", &json!({})), 101);
    // The session goes on as before.
    alice.done("subscribe", &json!({"topic": "a"}));
    assert_eq!(alice.waiting(), Vec::<Value>::new());
}

#[test]
fn subscriptions_that_a_new_token_does_not_allow_end() {
    let service = Service::start();
    let publish = json!({"publish": ["*"]});
    let mut publisher = service.connect("bob", json!({"topics": publish}));
    let topics = ["live.1", "live.2", "chat", "news"];
    for encoding in [Json, Proto] {
        let all = json!({"topics": {"subscribe": ["*"], "publish": ["*"]}});
        let mut alice = service.connect_in(encoding, "alice", all);
        let mut stays = service.connect("carol", json!({"topics": {"subscribe": ["*"]}}));
        for topic in topics {
            alice.done("subscribe", &json!({"topic": topic}));
            stays.done("subscribe", &json!({"topic": topic}));
        }
        let fewer = json!({"topics": {"subscribe": ["live.2", "ne*"], "publish": ["live.*"]}});
        let token = service.signer.sign(&claims_with("alice", fewer));
        let reply = alice.done("connect", &json!({"token": token}));
        assert_eq!(reply["unsubscribed"], json!(["chat", "live.1"]));
        for topic in topics {
            publisher.done("publish", &json!({"topic": topic, "data": topic}));
        }
        for topic in topics {
            assert_eq!(stays.push_of("publication")["topic"], topic);
        }
        for topic in ["live.2", "news"] {
            assert_eq!(alice.push_of("publication")["topic"], topic);
        }
        alice.ping();
        assert_eq!(alice.waiting(), Vec::<Value>::new());
        for topic in ["live.1", "chat"] {
            assert_eq!(alice.refused("unsubscribe", &json!({"topic": topic})), 102);
            assert_eq!(alice.refused("subscribe", &json!({"topic": topic})), 103);
        }
        assert_eq!(
            alice.refused("publish", &json!({"topic": "chat", "data": 1})),
            103
        );
        // And back: what has ended does not begin by itself.
        let token = service.signer.sign(&claims_with(
            "alice",
            json!({"topics": {"subscribe": ["*"]}}),
        ));
        let reply = alice.done("connect", &json!({"token": token}));
        assert_eq!(reply["unsubscribed"], Value::Null);
        publisher.done("publish", &json!({"topic": "chat", "data": 1}));
        stays.push_of("publication");
        alice.ping();
        assert_eq!(alice.waiting(), Vec::<Value>::new());
        alice.done("subscribe", &json!({"topic": "chat"}));
        // None at all.
        let token = service.signer.sign(&claims("alice"));
        let reply = alice.done("connect", &json!({"token": token}));
        assert_eq!(reply["unsubscribed"], json!(["chat", "live.2", "news"]));
        alice.close();
        stays.close();
    }
}

#[test]
fn keys_are_read_again() {
    let service = Service::start();
    let gateway = &service.gateway;
    let reload = |result: &str| {
        let name = format!("trunkline_token_key_reloads_total{{result={result:?}}}");
        let before = gateway.metric(&name);
        gateway.process().signal(Signal::SIGHUP);
        until("the keys to be read", || {
            (gateway.metric(&name) == before + 1.0).then_some(())
        });
    };
    let fresh = Signer::edwards();
    let mut old = service.connect("alice", json!({}));
    let [old_token, new_token] =
        [&service.signer, &fresh].map(|signer| signer.sign(&claims("bob")));
    let takes = |token: &str| {
        let dial = gateway.dial().with("token", token);
        dial.connect("bob", "phone").ping();
    };
    service.refuses(&new_token, INVALID, "signature");
    fresh.write(service.folder.path(), "key");
    // The gateway has not been asked to read the new key yet.
    takes(&old_token);
    reload("ok");
    takes(&new_token);
    service.refuses(&old_token, INVALID, "signature");
    // A session lives as long as its token, and continues with a new one.
    old.ping();
    assert_eq!(
        old.refused(
            "connect",
            &json!({"token": service.signer.sign(&claims("alice"))})
        ),
        101
    );
    old.done("connect", &json!({"token": fresh.sign(&claims("alice"))}));
    // What cannot be used changes nothing.
    for bad in [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        std::fs::write(&service.key, bad).expect("a file can be written");
        reload("failed");
        takes(&new_token);
    }
    std::fs::remove_file(&service.key).expect("a file can be removed");
    reload("failed");
    takes(&new_token);
    old.ping();
    let mut gateway = service.gateway;
    let log = gateway.stop().stderr;
    let line = "keeping the keys of tokens that were read before";
    assert_eq!(log.matches(line).count(), 3, "{log}");
    assert!(log.contains("keys of tokens read again"), "{log}");
}
