//! Revoked tokens: their sessions end at once, and they are refused from then on, also after a crash.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::service::{INVALID, Service};
use trunkline_tests::tokens::{Signer, claims_with, now};
use trunkline_tests::wait::until;

fn service() -> Service {
    Service::new(Signer::hmac(), |setup| setup.patient().http())
}

fn revoke(gateway: &Gateway, body: &Value) -> u64 {
    let admin = Api::admin(gateway);
    let answer = admin.done("POST", "/admin/v1/revoke", Some(body));
    answer["closed"].as_u64().expect("a number")
}

/// The session must end because its token was revoked.
#[track_caller]
fn ended(client: &mut Client) {
    let push = client.push_of("disconnect");
    assert_eq!(
        (&push["code"], &push["reconnect"]),
        (&json!(3500), &json!(false))
    );
    assert!(matches!(client.end(), End::Close(3500, _)));
}

fn lives(client: &mut Client) {
    client.ping();
    assert!(client.is_open());
}

#[test]
fn tokens_of_a_user_from_before_a_time_are_revoked() {
    let mut service = service();
    let token = |claims: Value| service.signer.sign(&claims_with("bob", claims));
    let (old, fresh) = (now() - 100, now() - 10);
    let tokens = [
        token(json!({"iat": old})),
        token(json!({})),
        token(json!({"iat": fresh})),
        token(json!({"iat": old, "ns": "acme"})),
    ];
    let mut clients: Vec<_> = { tokens.iter() }
        .map(|token| {
            service
                .gateway
                .dial()
                .with("token", &**token)
                .connect("bob", "phone")
        })
        .collect();
    let api = |token: &str| Api::of(&service.gateway).token(token);
    let mut events = api(&tokens[0]).begin("GET", "/api/v1/events");
    events.head();
    let mut poll = api(&tokens[0]).begin("GET", "/api/v1/rtm.receive?lastPos=&wait=60s");
    until("the request to wait", || {
        (service.gateway.metric("trunkline_http_waiting") == 1.0).then_some(())
    });
    let before = (now() - 50) * 1_000;
    // Two sessions on sockets, and a stream.
    let asked = json!({"namespace": "", "user": "bob", "issued_before": before});
    assert_eq!(revoke(&service.gateway, &asked), 3);
    ended(&mut clients[0]);
    ended(&mut clients[1]);
    lives(&mut clients[2]);
    lives(&mut clients[3]);
    loop {
        let (_, event) = events.event();
        if !event["disconnect"].is_null() {
            assert_eq!(event["disconnect"]["code"], 3500, "{event}");
            break;
        }
    }
    assert!(poll.head().starts_with("http/1.1 401"));
    let check = |service: &Service| {
        for (token, good) in tokens.iter().zip([false, false, true, true]) {
            if good {
                service
                    .gateway
                    .dial()
                    .with("token", &**token)
                    .connect("bob", "phone")
                    .close();
            } else {
                service.refuses(token, INVALID, "revoked");
            }
            let answer = Api::of(&service.gateway).token(token);
            let answer = answer.ask("POST", "/api/v1/conversations", Some("{}"));
            assert_eq!(answer.status == 200, good, "{answer:?}");
            if !good {
                assert_eq!(problem(&answer), (401, 101));
            }
        }
    };
    check(&service);
    let user = Api::admin(&service.gateway).done("GET", "/admin/v1/users/bob", None);
    assert_eq!(user["revoked_before"], before, "{user}");
    drop((clients, events, poll));
    service.gateway.kill();
    service.gateway.start_again();
    check(&service);
}

#[test]
fn a_token_is_revoked_by_its_id() {
    let mut service = service();
    let token = |id: &str| service.signer.sign(&claims_with("bob", json!({"jti": id})));
    let tokens = ["t-1", "t-2"].map(token);
    let open = |service: &Service, token: &str| {
        service
            .gateway
            .dial()
            .with("token", token)
            .connect("bob", "phone")
    };
    let [mut one, mut other] = [&tokens[0], &tokens[1]].map(|token| open(&service, token));
    let admin = Api::admin(&service.gateway);
    let disconnect = |id: &str| {
        admin.done(
            "POST",
            "/admin/v1/disconnect",
            Some(&json!({"token_id": id})),
        )["closed"]
            .clone()
    };
    assert_eq!(disconnect("t-3"), 0);
    assert_eq!(disconnect("t-2"), 1);
    assert!(matches!(other.end(), End::Close(3503, _)));
    // A disconnect revokes nothing.
    let mut other = open(&service, &tokens[1]);
    let until = (now() + 3_600) * 1_000;
    let asked = json!({"token_id": "t-1", "until": until});
    assert_eq!(revoke(&service.gateway, &asked), 1);
    ended(&mut one);
    lives(&mut other);
    service.refuses(&tokens[0], INVALID, "revoked");
    // A session that renews its token has the newer one.
    let reply = other.ask("connect", &json!({"token": tokens[0]}));
    assert_eq!(reply["error"]["code"], 101, "{reply}");
    lives(&mut other);
    drop(other);
    service.gateway.kill();
    service.gateway.start_again();
    service.refuses(&tokens[0], INVALID, "revoked");
    open(&service, &tokens[1]).close();
    // The file has no id and no name.
    let file = std::fs::read_to_string(service.gateway.data().join("revocations"));
    let file = file.expect("the file is there");
    assert!(file.lines().count() == 2 && !file.contains("t-1") && !file.contains("bob"));
}

/// A revocation is in force until it ends. The file keeps it: the clock may be wrong.
#[test]
fn a_revocation_ends() {
    let mut service = service();
    let token = service
        .signer
        .sign(&claims_with("bob", json!({"jti": "t-1"})));
    let soon = now() + 3;
    let asked = json!({"token_id": "t-1", "until": soon * 1_000});
    revoke(&service.gateway, &asked);
    if now() < soon {
        let api = Api::of(&service.gateway).token(&token);
        let answer = api.ask("POST", "/api/v1/conversations", Some("{}"));
        assert!(answer.status == 401 || now() >= soon, "{answer:?}");
    }
    until("the revocation to end", || {
        let api = Api::of(&service.gateway).token(&token);
        let answer = api.ask("POST", "/api/v1/conversations", Some("{}"));
        (answer.status == 200).then_some(())
    });
    assert!(now() >= soon);
    service.gateway.stop();
    service.gateway.start_again();
    let file = std::fs::read_to_string(service.gateway.data().join("revocations"));
    assert_eq!(file.expect("it is there").lines().count(), 2);
    let api = Api::of(&service.gateway).token(&token);
    let answer = api.ask("POST", "/api/v1/conversations", Some("{}"));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A backup has the revocations too: its tokens stay revoked where it is restored.
#[test]
fn a_backup_keeps_tokens_revoked() {
    let service = service();
    let token = service
        .signer
        .sign(&claims_with("bob", json!({"iat": now() - 9})));
    revoke(&service.gateway, &json!({"user": "bob"}));
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("backup");
    let admin = Api::admin(&service.gateway);
    let order = json!({"target": target});
    admin.done("POST", "/admin/v1/backup", Some(&order));
    until("the backup to be complete", || {
        let report = admin.done("GET", "/admin/v1/backup", None);
        (report["state"] == "complete").then_some(())
    });
    let setup = Setup::default()
        .patient()
        .http()
        .tokens(&service.signer, &service.key);
    let restored = setup.start_on(&target);
    let api = Api::of(&restored).token(&token);
    let answer = api.ask("POST", "/api/v1/conversations", Some("{}"));
    assert_eq!(problem(&answer), (401, 101));
}

#[test]
fn requests_that_revoke_nothing_say_why() {
    let service = service();
    let development = Setup::default().patient().start();
    for (gateway, body) in [
        (&service.gateway, json!({})),
        (&service.gateway, json!({"user": "bob", "token_id": "t-1"})),
        (&service.gateway, json!({"token_id": ""})),
        (
            &service.gateway,
            json!({"token_id": "t-1", "issued_before": 1}),
        ),
        (
            &service.gateway,
            json!({"token_id": "t-1", "namespace": "acme"}),
        ),
        (&service.gateway, json!({"user": "b b"})),
        (
            &service.gateway,
            json!({"user": "bob", "issued_before": -1}),
        ),
        (&service.gateway, json!({"user": "bob", "before": 1})),
        // Seconds in place of milliseconds.
        (
            &service.gateway,
            json!({"token_id": "t-1", "until": now() + 3_600}),
        ),
        (
            &service.gateway,
            json!({"user": "bob", "until": now() + 3_600}),
        ),
        (&service.gateway, json!({"token_id": "t-1", "until": 0})),
        (
            &service.gateway,
            json!({"user": "bob", "issued_before": now()}),
        ),
        (&development, json!({"user": "bob"})),
    ] {
        let text = body.to_string();
        let answer = Api::admin(gateway).ask("POST", "/admin/v1/revoke", Some(&text));
        assert_eq!(problem(&answer), (400, 107), "{text}");
    }
}

/// A damaged file of revocations stops the start: without it, revoked tokens would be good again.
#[test]
fn a_damaged_file_stops_the_start() {
    let mut service = service();
    revoke(&service.gateway, &json!({"user": "bob"}));
    service.gateway.stop();
    let file = service.gateway.data().join("revocations");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("user ", "usr ")).expect("it can be written");
    let setup = Setup::default()
        .patient()
        .tokens(&service.signer, &service.key);
    let exit = setup
        .flag("data", service.gateway.data().display())
        .run("serve");
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
    for words in ["revocations: line 2 is damaged", "from a backup"] {
        assert!(exit.stderr.contains(words), "{exit:?}");
    }
}

/// Starts a back end that tells when it is asked, and lets each question pass when it may go on.
fn waiting() -> (BackEnd, Receiver<()>, Sender<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let (asked, may_go_on) = (Mutex::new(asked), Arc::new(Mutex::new(may_go_on)));
    let back = BackEnd::start(move |_| {
        let _ = asked.lock().expect("no panic").send(());
        let _ = may_go_on.lock().expect("no panic").recv();
        Says::Json(json!({}))
    });
    (back, is_asked, go_on)
}

/// A message that waits for a back end while its token is revoked is not stored.
#[test]
fn a_message_of_a_token_that_is_revoked_while_a_back_end_is_asked_is_not_stored() {
    let (back, is_asked, go_on) = waiting();
    let service = Service::new(Signer::hmac(), |setup| {
        back.asked_by(setup.patient().http(), &["send"])
    });
    let api = |user: &str, id: &str| {
        let token = service.signer.sign(&claims_with(user, json!({"jti": id})));
        Api::of(&service.gateway).token(&token)
    };
    go_on.send(()).expect("the back end waits");
    let first = json!({"user": "alice", "text": "first"});
    api("bob", "t-1").post("send", &first);
    is_asked.recv().expect("the back end is asked");
    let edit = json!({"conversation": "u:alice:bob", "seq": 1, "text": "too late"});
    let send = json!({"user": "alice", "text": "too late"});
    for (command, fields, id) in [("edit", edit, "t-2"), ("send", send, "t-3")] {
        let bob = api("bob", id);
        let refused = std::thread::scope(|scope| {
            let asking = scope.spawn(|| bob.refused(command, &fields));
            is_asked.recv().expect("the back end is asked");
            revoke(&service.gateway, &json!({"token_id": id}));
            go_on.send(()).expect("the back end waits");
            asking.join().expect("no panic")
        });
        assert_eq!(refused, (401, 101), "{command}");
    }
    let alice = api("alice", "t-4");
    let history = alice.post("history", &json!({"conversation": "u:alice:bob"}));
    let messages = history["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 1, "{history}");
    assert_eq!(messages[0]["text"], "first", "{history}");
}

/// A session that waits for a back end has no place among those that end: its token is looked at again.
#[test]
fn a_token_that_is_revoked_while_a_back_end_is_asked_opens_nothing() {
    let (back, is_asked, go_on) = waiting();
    let service = Service::new(Signer::hmac(), |setup| {
        back.asked_by(setup.patient(), &["connect"])
    });
    let token = service.signer.sign(&claims_with("bob", json!({})));
    let mut client = service.gateway.dial().open();
    client.post("connect", &json!({"token": token, "device": "phone"}));
    is_asked.recv().expect("the back end is asked");
    assert_eq!(revoke(&service.gateway, &json!({"user": "bob"})), 0);
    go_on.send(()).expect("the back end waits");
    ended(&mut client);
    assert_eq!(service.failures("revoked"), 1.0);
}
