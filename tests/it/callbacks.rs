//! The callbacks `connect`, `send` and `subscribe`: back ends decide before the gateway goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{Asked, BackEnd, Says};
use trunkline_tests::client::{Client, End, error_code};
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::Process;
use trunkline_tests::scripts;
use trunkline_tests::tls::Authority;
use trunkline_tests::wait;

/// Returns the code with which the gateway closes a connection.
fn ended(client: &mut Client) -> u16 {
    match client.end() {
        End::Close(code, _) => code,
        End::Dropped => panic!("no Close frame"),
    }
}

type Seen = Arc<Mutex<Vec<Asked>>>;

/// Starts a back end that remembers what it is asked.
fn recording(answers: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> (BackEnd, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock().expect("nobody panicked").push(asked.clone());
        answers(asked)
    });
    (back, seen)
}

/// Lets messages pass, changes or refuses them by their text.
fn censor(asked: &Asked) -> Says {
    match asked.body["text"].as_str() {
        Some("bad") => Says::Json(json!({"error": {"code": 4_003, "message": "not here"}})),
        Some("no") => Says::Json(json!({"error": {"code": 103, "message": "you may not"}})),
        Some("long") => Says::Json(json!({"text": "x".repeat(70_000)})),
        Some(text) if text.contains("word") => {
            Says::Json(json!({"text": text.replace("word", "***")}))
        }
        Some("fail") => Says::Status(500),
        _ => Says::Json(json!({})),
    }
}

#[test]
fn messages_pass_are_changed_or_refused_on_every_way() {
    let (back, seen) = recording(censor);
    let gateway = back.asked_by(Setup::default().http(), &["send"]).start();
    let mut bob = gateway.dial().connect("bob", "phone");
    let message = |text: &str| json!({"user": "bob", "text": text});
    for dial in [gateway.dial(), gateway.dial().proto()] {
        let mut alice = dial.connect("alice", "phone");
        alice.done("send", &message("a word"));
        assert_eq!(bob.push_of("message")["text"], "a ***");
        assert_eq!(alice.refused("send", &message("bad")), 4_003);
        assert_eq!(alice.refused("send", &message("no")), 103);
        assert_eq!(alice.refused("send", &message("long")), 120);
        assert_eq!(alice.refused("send", &message("fail")), 120);
        let image = json!({"type": "image/png", "url": "https://h/i.png", "size": 5});
        let keyed = json!({"user": "bob", "key": "k-1", "media": image});
        alice.done("send", &keyed);
        if dial_is_first(&seen) {
            assert_eq!(bob.push_of("message")["media"], image);
        }
        // A message that is refused anyway costs the back end nothing.
        let before = seen.lock().unwrap().len();
        assert_eq!(alice.refused("send", &json!({"text": "to nobody"})), 107);
        assert_eq!(
            alice.refused("send", &json!({"user": "?", "text": "x"})),
            107
        );
        assert_eq!(seen.lock().unwrap().len(), before);
    }
    let api = Api::of(&gateway).user("alice");
    api.post("send", &message("word one"));
    assert_eq!(bob.push_of("message")["text"], "*** one");
    assert_eq!(api.refused("send", &message("bad")), (422, 4_003));
    assert_eq!(api.refused("send", &message("fail")), (503, 120));
    api.post("rtm.send", &json!({"targetID": "bob", "text": "word two"}));
    assert_eq!(bob.push_of("message")["text"], "*** two");
    let refused = api.refused("rtm.send", &json!({"targetID": "bob", "text": "no"}));
    assert_eq!(refused, (403, 103));

    let seen = seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|asked| back.is_signed(asked) && asked.path == "/send")
    );
    let first = json!({
        "namespace": "", "from": "alice", "device": "phone",
        "conversation": "u:alice:bob", "text": "a word",
    });
    assert_eq!(seen[0].body, first);
    let keyed = seen.iter().find(|asked| asked.body["key"] == "k-1");
    assert_eq!(keyed.unwrap().body["media"]["url"], "https://h/i.png");
}

/// Whether the media message was asked about once: the second time its key is known.
fn dial_is_first(seen: &Seen) -> bool {
    let seen = seen.lock().expect("nobody panicked");
    seen.iter()
        .filter(|asked| asked.body["key"] == "k-1")
        .count()
        == 1
}

/// The histogram has each answer once, by what came of it, with the time that it took.
#[test]
fn answers_are_counted_with_their_times() {
    const SLOW: Duration = Duration::from_millis(300);
    let back = BackEnd::start(|asked| {
        if asked.body["text"] == "slow" {
            std::thread::sleep(SLOW);
        }
        censor(asked)
    });
    let gateway = back.asked_by(Setup::default(), &["send"]).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = |text: &str| json!({"user": "bob", "text": text});
    for fine in ["slow", "a", "b"] {
        alice.done("send", &text(fine));
    }
    for (bad, code) in [("no", 103), ("bad", 4_003), ("fail", 120)] {
        assert_eq!(alice.refused("send", &text(bad)), code);
    }
    let counted = |part: &str, result: &str| {
        let name = format!("trunkline_back_end_answer_seconds_{part}{{result=\"{result}\"}}");
        gateway.metric(&name)
    };
    let counts = ["answered", "refused", "failed"].map(|result| counted("count", result));
    assert_eq!(counts, [3.0, 2.0, 1.0]);
    let seconds = counted("sum", "answered");
    assert!(seconds >= SLOW.as_secs_f64(), "{seconds}");
}

#[test]
fn edits_and_the_fields_that_few_messages_have_are_asked_about() {
    let (back, seen) = recording(censor);
    let gateway = back.asked_by(Setup::default().http(), &["send"]).start();
    let mut bob = gateway.dial().connect("bob", "phone");
    for (round, dial) in [gateway.dial(), gateway.dial().proto()].iter().enumerate() {
        let seq = 2 * round as u64 + 2;
        let mut alice = dial.connect("alice", "phone");
        alice.done("send", &json!({"user": "bob", "text": "first"}));
        bob.push_of("message");
        let fields = json!({
            "text": "a word", "reply_to": 1, "kind": "text.markdown", "meta": {"n": [1, null]},
            "mentions": ["bob"], "ttl": "1h",
        });
        let mut ask = fields.clone();
        ask["user"] = json!("bob");
        alice.done("send", &ask);
        let told = bob.push_of("message");
        assert_eq!(
            (&told["text"], &told["meta"]),
            (&json!("a ***"), &fields["meta"])
        );
        let about = |mut content: Value| {
            content["conversation"] = json!("u:alice:bob");
            content["seq"] = json!(seq);
            content
        };
        // The back end changes an edit, refuses it, or lets it pass.
        let image = json!({"type": "image/png", "url": "https://h/i.png"});
        let new = json!({"text": "another word", "meta": [2], "media": image});
        alice.done("edit", &about(new.clone()));
        let told = bob.push_of("edit");
        assert_eq!(
            (&told["text"], &told["seq"]),
            (&json!("another ***"), &json!(seq))
        );
        assert_eq!((&told["meta"], &told["media"]), (&json!([2]), &image));
        assert_eq!(told["kind"], "text.markdown");
        for (text, code) in [("bad", 4_003), ("no", 103), ("long", 120), ("fail", 120)] {
            assert_eq!(
                alice.refused("edit", &about(json!({"text": text}))),
                code,
                "{text}"
            );
        }
        // Who may not edit learns so, whatever the back end says.
        let not_own = bob.refused("edit", &about(json!({"text": "word"})));
        assert_eq!(not_own, 103);
        alice.done("edit", &about(json!({"text": "fine"})));
        assert_eq!(bob.push_of("edit")["text"], "fine");

        let seen = std::mem::take(&mut *seen.lock().expect("nobody panicked"));
        assert!({ seen.iter() }.all(|asked| back.is_signed(asked) && asked.path == "/send"));
        let mut sent = fields;
        let around = json!({
            "namespace": "", "from": "alice", "device": "phone", "conversation": "u:alice:bob",
        });
        let mut edited = new;
        edited["edit"] = json!(seq);
        for body in [&mut sent, &mut edited] {
            for (name, value) in around.as_object().expect("fields") {
                body[name] = value.clone();
            }
        }
        assert_eq!(seen[1].body, sent);
        assert_eq!(seen[2].body, edited);
    }
    let api = Api::of(&gateway).user("alice");
    let edit = json!({"conversation": "u:alice:bob", "seq": 1, "text": "one word"});
    api.post("edit", &edit);
    assert_eq!(bob.push_of("edit")["text"], "one ***");
    let bad = json!({"conversation": "u:alice:bob", "seq": 1, "text": "bad"});
    assert_eq!(api.refused("edit", &bad), (422, 4_003));
}

#[test]
fn the_order_of_a_sender_is_kept_while_others_go_on() {
    // The first messages are the slowest.
    let (back, _) = recording(|asked| {
        let text = asked.body["text"].as_str().unwrap_or_default();
        if asked.body["from"] == "alice" {
            let number: u64 = text.parse().unwrap_or(0);
            let pause = 60_u64.saturating_sub(2 * number);
            std::thread::sleep(Duration::from_millis(pause));
        }
        Says::Json(json!({}))
    });
    let gateway = back.asked_by(Setup::default(), &["send"]).start();
    let mut carol = gateway.dial().connect("carol", "phone");
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let messages: Vec<_> = (0..30)
        .map(|number| json!({"id": number + 1_000, "send": {"user": "carol", "text": number.to_string()}}))
        .collect();
    alice.post_raw(&messages);
    // Bob's messages pass meanwhile.
    for _ in 0..5 {
        bob.send("carol", "hi");
    }
    let mut texts = Vec::new();
    while texts.len() < 30 {
        let push = carol.push_of("message");
        if push["from"] == "alice" {
            texts.push(push["text"].as_str().unwrap().to_owned());
        }
    }
    let expected: Vec<_> = (0..30).map(|number: u32| number.to_string()).collect();
    assert_eq!(texts, expected);
    // What follows a message on its connection is behind it.
    alice.post_raw(&[
        json!({"id": 1, "send": {"user": "carol", "text": "last"}}),
        json!({"id": 2, "history": {"conversation": "u:alice:carol", "limit": 1}}),
    ]);
    let page = alice.reply(2);
    assert_eq!(page["history"]["messages"][0]["text"], "last");
}

#[test]
fn without_an_answer_messages_are_denied_or_allowed() {
    for (on_failure, passes) in [("deny", false), ("allow", true)] {
        let back = BackEnd::start(|_| Says::Close);
        let gateway = back
            .asked_by(Setup::default().http(), &["send", "subscribe"])
            .flag("callbacks-on-failure", on_failure)
            .start();
        let mut alice = gateway.dial().connect("alice", "phone");
        let api = Api::of(&gateway).user("alice");
        let message = json!({"user": "bob", "text": "hi"});
        // More than it takes until the back end rests.
        for _ in 0..10 {
            let sent = alice.ask("send", &message);
            let subscribed = alice.ask("subscribe", &json!({"topic": "t"}));
            let _ = alice.ask("unsubscribe", &json!({"topic": "t"}));
            if passes {
                assert!(sent["send"]["seq"].is_u64(), "{sent}");
                assert!(subscribed["subscribe"].is_object(), "{subscribed}");
            } else {
                assert_eq!((error_code(&sent), error_code(&subscribed)), (120, 120));
                assert_eq!(sent["error"]["temporary"], true);
            }
        }
        let answer = api.ask("POST", "/api/v1/send", Some(&message.to_string()));
        assert_eq!(answer.status, if passes { 200 } else { 503 });
        assert_eq!(answer.head.contains("retry-after: "), !passes, "{answer:?}");
    }
}

#[test]
fn subscriptions_are_asked_about() {
    let (back, seen) = recording(|asked| match asked.body["topic"].as_str() {
        Some("live.42") => Says::Json(json!({})),
        _ => Says::Json(json!({"error": {"code": 103, "message": "not yours"}})),
    });
    let gateway = back.asked_by(Setup::default(), &["subscribe"]).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("subscribe", &json!({"topic": "live.42"}));
    assert_eq!(alice.refused("subscribe", &json!({"topic": "other"})), 103);
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.done("publish", &json!({"topic": "live.42", "data": 1}));
    bob.done("publish", &json!({"topic": "other", "data": 2}));
    assert_eq!(alice.push_of("publication")["data"], 1);
    let seen = seen.lock().unwrap();
    let body = json!({"namespace": "", "user": "alice", "topic": "live.42"});
    assert_eq!(seen[0].body, body);
}

/// Tokens that only the back end understands.
fn doorman(asked: &Asked) -> Says {
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    match asked.body["token"].as_str() {
        Some("ticket-of-alice") => Says::Json(json!({
            "user": "alice", "namespace": "acme",
            "topics": {"subscribe": ["live.*"], "publish": ["chat"]},
        })),
        Some("short") => Says::Json(json!({"user": "alice", "expires": now + 1_500})),
        Some("nobody") => Says::Json(json!({})),
        Some("fail") => Says::Status(500),
        _ => Says::Json(json!({"error": {"code": 101, "message": "no ticket"}})),
    }
}

fn door(back: &BackEnd) -> Setup {
    let setup = Setup::default().http().without("dev-auth");
    back.asked_by(setup, &["connect"])
}

#[test]
fn a_back_end_alone_knows_who_the_clients_are() {
    let (back, seen) = recording(doorman);
    let gateway = door(&back).start();
    let mut alice = gateway.dial().open();
    let ticket = json!({"token": "ticket-of-alice", "device": "phone"});
    let opened = alice.done("connect", &ticket);
    assert_eq!(
        (&opened["user"], &opened["device"]),
        (&json!("alice"), &json!("phone"))
    );
    assert_eq!(opened["expires"], Value::Null);
    alice.done("subscribe", &json!({"topic": "live.1"}));
    assert_eq!(alice.refused("subscribe", &json!({"topic": "chat"})), 103);
    alice.done("publish", &json!({"topic": "chat", "data": 1}));
    assert_eq!(
        alice.refused("publish", &json!({"topic": "live.1", "data": 1})),
        103
    );
    // The session can be renewed, and ends with what the back end says then.
    let renewed = alice.done("connect", &ticket);
    assert_eq!(renewed["session"], opened["session"]);

    for (token, code, close) in [
        (Some("forged"), 101, 3_500),
        (None, 101, 3_500),
        (Some("nobody"), 101, 3_500),
        (Some("fail"), 120, 3_013),
    ] {
        let mut eve = gateway.dial().open();
        let mut connect = json!({"device": "phone"});
        if let Some(token) = token {
            connect["token"] = token.into();
        }
        assert_eq!(eve.refused("connect", &connect), code, "{token:?}");
        assert_eq!(ended(&mut eve), close, "{token:?}");
    }

    let api = Api::of(&gateway).token("ticket-of-alice");
    let sent = api.post("send", &json!({"user": "bob", "text": "hi"}));
    assert_eq!(sent["conversation"], "u:alice:bob");
    // Who asks is not silently somebody else than the request says.
    for (named, status) in [("alice", 200), ("carol", 403)] {
        let named = api.clone().user(named);
        let answer = named.ask("POST", "/api/v1/conversations", Some("{}"));
        assert_eq!(answer.status, status);
    }
    for (namespace, status) in [("acme", 200), ("other", 403)] {
        let named = api.clone().header("X-Trunkline-Namespace", namespace);
        let answer = named.ask("POST", "/api/v1/conversations", Some("{}"));
        assert_eq!(answer.status, status, "{namespace}");
    }
    assert_eq!(alice.push_of("message")["device"], "http");
    let before = seen.lock().unwrap().len();
    api.post("conversations", &json!({}));
    assert_eq!(
        seen.lock().unwrap().len(),
        before,
        "the answer is remembered"
    );
    assert_eq!(
        api.refused("publish", &json!({"topic": "live.1", "data": 1})),
        (403, 103)
    );
    let forged = Api::of(&gateway).token("forged");
    assert_eq!(forged.refused("conversations", &json!({})), (401, 101));
    let none = Api::of(&gateway);
    assert_eq!(none.refused("conversations", &json!({})), (401, 101));
    let other = Api::of(&gateway).token("ticket-of-alice");
    let refused = other.refused(
        "rtm.send",
        &json!({"sourceID": "eve", "targetID": "bob", "text": "x"}),
    );
    assert_eq!(refused, (403, 103));
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|asked| back.is_signed(asked)));
    let log = gateway.process().stderr();
    assert!(
        !log.contains("ticket-of-alice") && !log.contains("forged"),
        "{log}"
    );
}

#[test]
fn a_session_ends_when_the_back_end_says() {
    let (back, _) = recording(doorman);
    let gateway = door(&back).start();
    let mut alice = gateway.dial().open();
    let opened = alice.done("connect", &json!({"token": "short"}));
    assert!(opened["expires"].is_u64(), "{opened}");
    assert_eq!(ended(&mut alice), 3_505);
}

#[test]
fn the_back_end_sees_some_headers_of_the_upgrade_and_no_others() {
    let (back, seen) = recording(|_| Says::Json(json!({"user": "alice"})));
    let gateway = back.asked_by(Setup::default(), &["connect"]).start();
    let mut stream = TcpStream::connect(gateway.ws()).unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://localhost:1\r\nUser-Agent: test/1\r\nCookie: a=b\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Secret: hunter2\r\n\
         Authorization: Bearer hunter3\r\n\r\n",
        gateway.ws()
    );
    stream.write_all(request.as_bytes()).unwrap();
    // {"id":1,"connect":{"user":"eve","device":"d"}}, masked with zeros.
    let connect = br#"{"id":1,"connect":{"user":"eve","device":"d"}}"#;
    let mut frame = vec![0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(connect);
    stream.write_all(&frame).unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\"session\"") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("\"user\":\"alice\""), "{text}");
    let seen = seen.lock().unwrap();
    let body = json!({
        "namespace": "", "user": "eve", "device": "d", "token": null, "address": "127.0.0.1",
        "headers": {
            "Origin": "http://localhost:1", "User-Agent": "test/1", "Cookie": "a=b",
            "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
        },
    });
    assert_eq!(seen[0].body, body);
}

#[test]
fn sessions_that_wait_for_a_back_end_keep_nobody_waiting() {
    let (back, seen) = recording(|asked| match asked.body["user"].as_str() {
        Some(user) if user.starts_with("slow") => Says::Hang,
        _ => Says::Json(json!({})),
    });
    let gateway = back
        .asked_by(Setup::default(), &["connect"])
        .flag("callbacks-timeout", "3s")
        .start();
    let mut waiting: Vec<_> = (0..12)
        .map(|number| {
            let mut client = gateway.dial().open();
            let user = format!("slow{number}");
            // What follows waits behind it.
            client.post_raw(&[
                json!({"id": 1, "connect": {"user": user}}),
                json!({"id": 2, "ping": {}}),
            ]);
            client
        })
        .collect();
    wait::until("all of them are asked about", || {
        (seen.lock().unwrap().len() >= 12).then_some(())
    });
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.ping();
    for client in &mut waiting {
        assert_eq!(error_code(&client.reply(1)), 120);
        assert_eq!(ended(client), 3_013);
    }
    bob.send("carol", "hi");
}

/// The library of the specification verifies what the gateway signs.
#[test]
fn standardwebhooks_from_pypi_verifies_the_signatures() {
    let Some(mut python) = scripts::python() else {
        return;
    };
    let (back, seen) = recording(|_| Says::Json(json!({})));
    let gateway = back.asked_by(Setup::default(), &["send"]).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "ein Wörtchen");
    let asked = seen.lock().unwrap()[0].clone();
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, &asked.raw).unwrap();
    let script = "import json, sys\n\
                  from standardwebhooks import Webhook\n\
                  secret, headers, body = sys.argv[1], json.loads(sys.argv[2]), open(sys.argv[3]).read()\n\
                  print(Webhook(secret).verify(body, headers)['text'])\n\
                  try:\n    Webhook(secret).verify(body + ' ', headers)\n\
                  except Exception:\n    print('forged')\n";
    let headers = serde_json::to_string(&asked.headers).unwrap();
    python
        .args(["-c", script, back.secret(), &headers])
        .arg(&body);
    let exit = Process::start(&mut python).ended();
    assert_eq!(exit.stdout, "ein Wörtchen\nforged\n", "{exit:#?}");
}

#[test]
fn the_secret_is_read_again() {
    let (back, seen) = recording(|_| Says::Json(json!({})));
    let gateway = back.asked_by(Setup::default(), &["send"]).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    assert!(back.is_signed(&seen.lock().unwrap()[0]));
    let reload = || gateway.process().signal(Signal::SIGHUP);
    std::fs::write(back.secret_file(), "whsec_bad").unwrap();
    reload();
    let said = gateway.logged("keeping the secret");
    assert!(said.contains("24") || said.contains("base64"), "{said}");
    alice.send("bob", "two");
    assert!(back.is_signed(&seen.lock().unwrap()[1]));
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(back.secret_file(), other).unwrap();
    reload();
    gateway.logged("the secret of the back ends read again");
    alice.send("bob", "three");
    assert!(!back.is_signed(&seen.lock().unwrap()[2]));
}

#[test]
fn back_ends_with_tls_show_a_certificate_that_is_trusted() {
    let authority = Authority::new();
    let files = authority.issue("back");
    let back = BackEnd::start_with_tls(&files, |_| Says::Json(json!({})));
    let setup = back.asked_by(Setup::default(), &["send"]);
    let trusting = setup
        .clone()
        .flag("callbacks-ca-file", authority.root().display());
    let gateway = trusting.start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    alice.send("bob", "two");
    assert_eq!(back.connections(), 1, "it is kept");

    let other = Authority::new();
    let doubting = setup.flag("callbacks-ca-file", other.root().display());
    let gateway = doubting.start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let refused = alice.refused("send", &json!({"user": "bob", "text": "three"}));
    assert_eq!(refused, 120);
    let said = gateway.logged("a back end fails");
    assert!(said.contains("certificate"), "{said}");
}
