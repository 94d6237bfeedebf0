//! Back ends and turns: users who share a back end, senders whose messages keep their order, messages that are
//! repeated, and sessions that are renewed while other answers come.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{Asked, BackEnd, Says};
use trunkline_tests::client::error_code;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::service::ms;
use trunkline_tests::tokens::{Signer, claims_with, now};
use trunkline_tests::wait;

/// Answers that a test lets go one by one, by name, and the names of the questions that have come.
#[derive(Default)]
struct Gates {
    state: Mutex<(HashSet<String>, Vec<String>)>,
    changed: Condvar,
}

impl Gates {
    /// Waits until the test opens the gate of this name.
    fn pass(&self, name: &str) {
        let mut state = self.state.lock().expect("nobody panicked");
        state.1.push(name.to_owned());
        while !state.0.contains(name) {
            state = self.changed.wait(state).expect("nobody panicked");
        }
    }

    fn open(&self, name: &str) {
        let mut state = self.state.lock().expect("nobody panicked");
        state.0.insert(name.to_owned());
        self.changed.notify_all();
    }

    fn has_come(&self, name: &str) -> bool {
        let state = self.state.lock().expect("nobody panicked");
        state.1.iter().any(|come| come == name)
    }

    fn wait_for(&self, name: &str) {
        wait::until("a question", || self.has_come(name).then_some(()));
    }
}

/// Starts a back end whose answers wait at gates. `gate` names that of a question.
fn gated(
    gate: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static,
    answer: impl Fn(&Asked) -> Value + Send + Sync + 'static,
) -> (BackEnd, Arc<Gates>) {
    let gates = Arc::new(Gates::default());
    let held = Arc::clone(&gates);
    let back = BackEnd::start(move |asked| {
        if let Some(name) = gate(asked) {
            held.pass(&name);
        }
        Says::Json(answer(asked))
    });
    (back, gates)
}

fn text_of(asked: &Asked) -> Option<String> {
    asked.body["text"].as_str().map(str::to_owned)
}

/// The texts of a conversation, in their order.
fn texts(gateway: &Gateway, user: &str, conversation: &str) -> Vec<String> {
    let api = Api::of(gateway).user(user);
    let history = api.post(
        "history",
        &json!({"conversation": conversation, "after": 0}),
    );
    let messages = history["messages"].as_array().expect("a list");
    let texts = messages.iter().map(|message| message["text"].as_str());
    texts.map(|text| text.expect("a text").to_owned()).collect()
}

#[test]
fn a_user_does_not_take_all_turns_of_a_back_end() {
    let mallory = |asked: &Asked| (asked.body["user"] == "mallory").then(|| "mallory".to_owned());
    let (back, gates) = gated(mallory, |_| json!({"data": 1}));
    let setup = Setup::default()
        .http()
        .flag("rate-commands", 0)
        .flag("user-rate-commands", 0);
    let gateway = back.asked_by(setup, &["rpc"]).start();
    let question = json!({"method": "m", "data": 0});
    // More than a back end is asked at a time, and more than a user may have waiting.
    let mut greedy: Vec<_> = (0..10)
        .map(|i| gateway.dial().connect("mallory", &format!("d{i}")))
        .collect();
    let asked: Vec<Vec<u32>> = greedy
        .iter_mut()
        .map(|client| (0..32).map(|_| client.post("rpc", &question)).collect())
        .collect();
    let turned_away = || gateway.metric("trunkline_callbacks_turned_away_total{callback=\"rpc\"}");
    wait::until("mallory's questions to wait", || {
        let waiting = gateway.metric("trunkline_callbacks_waiting");
        (waiting == 256.0 && turned_away() == 64.0).then_some(())
    });
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.done("rpc", &question)["data"], 1);
    assert_eq!(
        Api::of(&gateway).user("bob").post("rpc", &question)["data"],
        1
    );
    gates.open("mallory");
    let mut refused = 0;
    for (client, ids) in greedy.iter_mut().zip(asked) {
        for id in ids {
            let answer = client.reply(id);
            if answer["rpc"].is_null() {
                assert_eq!(error_code(&answer), 111, "{answer}");
                assert_eq!(answer["error"]["limit"], "callbacks");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 64);
}

/// Whichever way they come: on two connections, and over HTTP.
#[test]
fn messages_of_a_sender_keep_their_order_while_others_go_on() {
    let slow = |asked: &Asked| text_of(asked).filter(|text| text == "first");
    let (back, gates) = gated(slow, |_| json!({}));
    let gateway = back.asked_by(Setup::default().http(), &["send"]).start();
    let dial = gateway.dial();
    let (mut phone, mut laptop) = (
        dial.connect("alice", "phone"),
        dial.connect("alice", "laptop"),
    );
    let message = |text: &str| json!({"user": "bob", "text": text});
    let first = phone.post("send", &message("first"));
    gates.wait_for("first");
    let second = laptop.post("send", &message("second"));
    let waiting = |count: f64| {
        wait::until("a question to wait", || {
            (gateway.metric("trunkline_callbacks_waiting") == count).then_some(())
        });
    };
    waiting(2.0);
    std::thread::scope(|scope| {
        let api = Api::of(&gateway).user("alice");
        let third = scope.spawn(move || api.post("send", &message("third")));
        waiting(3.0);
        // Others do not wait.
        dial.connect("carol", "phone").send("bob", "hi");
        gates.open("first");
        third.join().expect("an answer");
    });
    assert!(phone.reply(first)["send"]["seq"].is_u64());
    assert!(laptop.reply(second)["send"]["seq"].is_u64());
    assert_eq!(
        texts(&gateway, "bob", "u:alice:bob"),
        ["first", "second", "third"]
    );
}

/// With `allow` a message passes while its back end rests, but not before an earlier one of its sender.
#[test]
fn a_message_that_passes_unasked_does_not_overtake_those_of_its_sender() {
    let gates = Arc::new(Gates::default());
    let held = Arc::clone(&gates);
    let back = BackEnd::start(move |asked| match asked.body["text"].as_str() {
        Some("fail") => Says::Close,
        Some("first") => {
            held.pass("first");
            Says::Json(json!({}))
        }
        _ => Says::Json(json!({})),
    });
    let setup = Setup::default()
        .http()
        .flag("callbacks-on-failure", "allow");
    let gateway = back.asked_by(setup, &["send"]).start();
    let dial = gateway.dial();
    let (mut phone, mut laptop, mut tablet, mut carol) = (
        dial.connect("alice", "phone"),
        dial.connect("alice", "laptop"),
        dial.connect("alice", "tablet"),
        dial.connect("carol", "phone"),
    );
    let message = |text: &str| json!({"user": "bob", "text": text});
    let first = phone.post("send", &message("first"));
    gates.wait_for("first");
    // The back end begins to rest. Whoever has nothing on the way passes at once.
    for _ in 0..8 {
        carol.done("send", &message("fail"));
    }
    // A connection sends its next message when the one before has its answer.
    let waiting = |count: f64| {
        wait::until("the messages to wait", || {
            (gateway.metric("trunkline_callbacks_waiting") == count).then_some(())
        });
    };
    let second = laptop.post("send", &message("second"));
    waiting(2.0);
    let third = tablet.post("send", &message("third"));
    waiting(3.0);
    gates.open("first");
    assert!(phone.reply(first)["send"]["seq"].is_u64());
    assert!(laptop.reply(second)["send"]["seq"].is_u64());
    assert!(tablet.reply(third)["send"]["seq"].is_u64());
    assert_eq!(
        texts(&gateway, "bob", "u:alice:bob"),
        ["first", "second", "third"]
    );
    waiting(0.0);
}

#[test]
fn a_repeated_message_is_the_stored_one_whatever_the_back_end_makes_of_it_now() {
    let count = Mutex::new(0);
    let back = BackEnd::start(move |asked| {
        let mut count = count.lock().expect("nobody panicked");
        *count += 1;
        let text = format!(
            "{} ({count})",
            asked.body["text"].as_str().unwrap_or_default()
        );
        Says::Json(json!({"text": text}))
    });
    let gateway = back.asked_by(Setup::default().http(), &["send"]).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let message = json!({"user": "bob", "text": "hi", "key": "k-1"});
    let first = alice.done("send", &message);
    assert_eq!(first["duplicate"], false);
    let again = alice.done("send", &message);
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&json!(true), &first["seq"])
    );
    let api = Api::of(&gateway).user("alice");
    let again = api.post("send", &message);
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&json!(true), &first["seq"])
    );
    assert_eq!(texts(&gateway, "bob", "u:alice:bob"), ["hi (1)"]);
    // To somebody else it is another message.
    let other = json!({"user": "carol", "text": "hi", "key": "k-1"});
    assert_eq!(alice.refused("send", &other), 117);
}

/// A gateway with keys for tokens whose back end is asked too.
fn with_keys(back: &BackEnd, kinds: &[&str]) -> (Gateway, Signer, tempfile::TempDir) {
    let folder = trunkline_tests::service::folder();
    let signer = Signer::edwards();
    let key = signer.write(folder.path(), "key.pem");
    let setup = back.asked_by(Setup::default().http(), kinds);
    let gateway = setup.tokens(&signer, &key).flag("jwt-leeway", "0s").start();
    (gateway, signer, folder)
}

/// The first `connect` passes, the second one waits at a gate.
fn renewals(asked: &Asked, token: &str) -> Option<String> {
    (asked.path == "/connect" && asked.body["token"] == token).then(|| "renewal".to_owned())
}

#[test]
fn a_renewal_keeps_what_its_token_grants_while_the_answer_to_rpc_comes() {
    let second = Arc::new(Mutex::new(String::new()));
    let token = Arc::clone(&second);
    let gate = move |asked: &Asked| match asked.path.as_str() {
        "/rpc" => Some("rpc".to_owned()),
        _ => renewals(asked, &token.lock().expect("nobody panicked")),
    };
    let (back, gates) = gated(gate, |asked| match asked.path.as_str() {
        "/rpc" => json!({"data": 1}),
        _ => json!({}),
    });
    let (gateway, signer, _folder) = with_keys(&back, &["connect", "rpc"]);
    let first = signer.sign(&claims_with("alice", json!({"exp": now() + 600})));
    let claims = claims_with("alice", json!({"exp": now() + 1_200}));
    let renewed = signer.sign(&claims);
    second.lock().expect("nobody panicked").clone_from(&renewed);
    let mut alice = gateway.dial().header("Cookie", "a=b").open();
    alice.done("connect", &json!({"token": first, "device": "phone"}));
    let question = alice.post("rpc", &json!({"method": "m", "data": 0}));
    gates.wait_for("rpc");
    let renewal = alice.post("connect", &json!({"token": renewed, "device": "phone"}));
    gates.wait_for("renewal");
    gates.open("rpc");
    assert_eq!(alice.reply(question)["rpc"]["data"], 1);
    gates.open("renewal");
    assert_eq!(alice.reply(renewal)["connect"]["expires"], ms(&claims));
}

#[test]
fn a_session_that_expires_while_its_renewal_waits_goes_on() {
    let second = Arc::new(Mutex::new(String::new()));
    let token = Arc::clone(&second);
    let (back, gates) = gated(
        move |asked| renewals(asked, &token.lock().expect("nobody panicked")),
        |_| json!({}),
    );
    let (gateway, signer, _folder) = with_keys(&back, &["connect"]);
    let expires = now() + 10;
    let first = signer.sign(&claims_with("alice", json!({"exp": expires})));
    let renewed = signer.sign(&claims_with("alice", json!({"exp": now() + 1_200})));
    second.lock().expect("nobody panicked").clone_from(&renewed);
    let mut alice = gateway.dial().open();
    let opened = alice.done("connect", &json!({"token": first, "device": "phone"}));
    let renewal = alice.post("connect", &json!({"token": renewed, "device": "phone"}));
    gates.wait_for("renewal");
    // Two seconds beyond, also for a gateway that looks at its clock a little later.
    wait::until("the token to expire", || {
        (now() > expires + 2).then_some(())
    });
    gates.open("renewal");
    let renewed = alice.reply(renewal);
    assert_eq!(
        renewed["connect"]["session"], opened["session"],
        "{renewed}"
    );
    alice.ping();
}

#[test]
fn a_renewal_has_the_headers_of_the_upgrade() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock()
            .expect("nobody panicked")
            .push(asked.body.clone());
        Says::Json(json!({"user": "alice"}))
    });
    let setup = Setup::default().without("dev-auth");
    let gateway = back.asked_by(setup, &["connect"]).start();
    let mut alice = gateway.dial().header("Cookie", "a=b").open();
    for token in ["one", "two", "three"] {
        alice.done("connect", &json!({"token": token, "device": "phone"}));
    }
    let seen = seen.lock().expect("nobody panicked");
    assert_eq!(seen.len(), 3);
    for (asked, token) in seen.iter().zip(["one", "two", "three"]) {
        assert_eq!(asked["token"], token);
        assert_eq!(asked["headers"]["Cookie"], "a=b", "{asked}");
        assert_eq!(asked["address"], "127.0.0.1");
    }
}
