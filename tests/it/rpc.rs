//! `rpc`: clients ask back ends over their connections, and over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use trunkline_tests::api::{Api, json as json_of, problem};
use trunkline_tests::back_end::{Asked, BackEnd, Says};
use trunkline_tests::client::error_code;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

/// Answers with what came, or with an error for methods that end with it.
fn echo(asked: &Asked) -> Says {
    let method = asked.body["method"].as_str().unwrap_or_default();
    match method.rsplit('.').next() {
        Some("refuse") => Says::Json(json!({"error": {"code": 4_001, "message": "no such order"}})),
        Some("odd") => Says::Json(json!({"error": {"code": 103, "message": "odd"}})),
        _ => Says::Json(json!({"data": {"path": asked.path, "asked": asked.body}})),
    }
}

fn gateway(back: &BackEnd) -> Gateway {
    back.asked_by(Setup::default().http(), &["rpc"]).start()
}

#[test]
fn a_question_reaches_the_back_end_and_its_answer_the_client() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock().expect("nobody panicked").push(asked.clone());
        echo(asked)
    });
    let gateway = gateway(&back);
    let question = json!({"method": "orders.list", "data": {"open": [true, null, "ä"]}});
    let expected = json!({
        "namespace": "", "user": "alice", "device": "phone",
        "method": "orders.list", "data": {"open": [true, null, "ä"]},
    });
    for dial in [gateway.dial(), gateway.dial().proto()] {
        let mut alice = dial.connect("alice", "phone");
        let answer = alice.done("rpc", &question);
        assert_eq!(answer["data"]["asked"], expected);
        // Without an id the client gets errors only.
        alice.post_raw(&[json!({"rpc": question})]);
        let refuse = json!({"rpc": {"method": "orders.refuse", "data": 1}});
        alice.post_raw(&[refuse]);
        let error = alice.error();
        assert_eq!(error_code(&error), 4_001);
        assert_eq!(error["error"]["message"], "no such order");
    }
    let alice = Api::of(&gateway).user("alice");
    let answer = alice.post("rpc", &question);
    assert_eq!(answer["data"]["asked"]["device"], "http");
    let refused = alice.refused("rpc", &json!({"method": "refuse", "data": null}));
    assert_eq!(refused, (422, 4_001));
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|asked| back.is_signed(asked)));
    let mut changed = seen[0].clone();
    changed.raw.push(b' ');
    assert!(!back.is_signed(&changed), "a check that cannot fail");
    // Connections are kept: far fewer of them than questions.
    assert!(back.connections() < seen.len(), "{}", back.connections());
    let mut ids: Vec<_> = seen
        .iter()
        .map(|asked| &asked.headers["webhook-id"])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), seen.len());
}

#[test]
fn an_operator_asks_as_a_user() {
    let back = BackEnd::start(echo);
    let gateway = gateway(&back);
    let admin = Api::admin(&gateway);
    let ask = |user: &str, question: &Value| {
        let path = format!("/admin/v1/as/{user}/rpc?namespace=acme");
        admin.ask("POST", &path, Some(&question.to_string()))
    };
    let question = json!({"method": "orders.list", "data": {"open": true}});
    let answer = ask("alice", &question);
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "namespace": "acme", "user": "alice", "device": "admin",
        "method": "orders.list", "data": {"open": true},
    });
    assert_eq!(json_of(&answer)["data"]["asked"], expected);
    let refused = ask("alice", &json!({"method": "refuse", "data": null}));
    assert_eq!(problem(&refused), (422, 4_001));
    for (user, method) in [("a%20b", "m"), ("alice", ""), ("alice", &*"m".repeat(256))] {
        let answer = ask(user, &json!({"method": method, "data": 0}));
        assert_eq!(problem(&answer), (400, 107), "{user} {method}");
    }
    let plain = Setup::default().start();
    let path = "/admin/v1/as/alice/rpc";
    let answer = Api::admin(&plain).ask("POST", path, Some(&question.to_string()));
    assert_eq!(problem(&answer), (404, 104));
}

#[test]
fn the_longest_beginning_of_a_method_wins() {
    let back = BackEnd::start(echo);
    let routes = format!(
        "={},orders.={},orders.old.={}",
        back.url("/all"),
        back.url("/orders"),
        back.url("/old?x=1")
    );
    let gateway = back
        .asked_by(Setup::default(), &[])
        .flag("callbacks-rpc", routes)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for (method, path) in [
        ("orders.list", "/orders"),
        ("orders.old.list", "/old?x=1"),
        ("orders", "/all"),
        ("x", "/all"),
    ] {
        let answer = alice.done("rpc", &json!({"method": method, "data": 0}));
        assert_eq!(answer["data"]["path"], path, "{method}");
    }
}

#[test]
fn methods_without_a_back_end_and_bad_ones_are_refused() {
    let back = BackEnd::start(echo);
    let route = format!("orders.={}", back.url("/rpc"));
    let gateway = back
        .asked_by(Setup::default().http(), &[])
        .flag("callbacks-rpc", route)
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let question = |method: &str| json!({"method": method, "data": 0});
    assert_eq!(alice.refused("rpc", &question("users.list")), 104);
    assert_eq!(alice.refused("rpc", &question("")), 107);
    assert_eq!(alice.refused("rpc", &question(&"x".repeat(256))), 107);
    // A code that is none of a back end's is a failure of the back end.
    assert_eq!(alice.refused("rpc", &question("orders.odd")), 120);
    let api = Api::of(&gateway).user("alice");
    assert_eq!(api.refused("rpc", &question("users.list")), (404, 104));
    let without = Setup::default().http().start();
    let mut bob = without.dial().connect("bob", "phone");
    assert_eq!(bob.refused("rpc", &question("orders.list")), 104);
    let api = Api::of(&without).user("bob");
    assert_eq!(api.refused("rpc", &question("orders.list")), (404, 104));
}

/// A gate that a back end waits at.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let mut open = self.open.lock().expect("nobody panicked");
        while !*open {
            open = self.opened.wait(open).expect("nobody panicked");
        }
    }

    fn open(&self) {
        *self.open.lock().expect("nobody panicked") = true;
        self.opened.notify_all();
    }
}

#[test]
fn answers_come_as_they_are_ready_and_32_may_be_outstanding() {
    let gate = Arc::new(Gate::default());
    let (held, waiting) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&waiting);
    let back = BackEnd::start(move |asked| {
        if asked.body["method"] == "slow" {
            counted.fetch_add(1, Ordering::SeqCst);
            held.wait();
        }
        echo(asked)
    });
    let gateway = gateway(&back);
    let mut alice = gateway.dial().connect("alice", "phone");
    let slow = json!({"method": "slow", "data": 0});
    let slow: Vec<_> = (0..31).map(|_| alice.post("rpc", &slow)).collect();
    // The last of 32 overtakes the others.
    let fast = json!({"method": "fast", "data": 0});
    assert_eq!(alice.done("rpc", &fast)["data"]["asked"]["method"], "fast");
    let last = alice.post("rpc", &json!({"method": "slow", "data": 1}));
    let refused = alice.ask("rpc", &fast);
    assert_eq!(error_code(&refused), 111);
    assert_eq!(refused["error"]["limit"], "rpc");
    // Nothing else waits, on this connection or on others.
    alice.ping();
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.send("alice", "hi");
    assert_eq!(bob.done("rpc", &fast)["data"]["asked"]["user"], "bob");
    wait::until("all questions are there", || {
        (waiting.load(Ordering::SeqCst) == 32).then_some(())
    });
    gate.open();
    for id in slow.into_iter().chain([last]) {
        let answer = alice.reply(id);
        assert_eq!(answer["rpc"]["data"]["asked"]["method"], "slow");
    }
    alice.done("rpc", &fast);
    assert_eq!(
        gateway.metric("trunkline_limited_total{limit=\"rpcs\"}"),
        1.0
    );
    assert_eq!(gateway.metric("trunkline_callbacks_waiting"), 0.0);
}

/// A client that leaves, and a gateway that stops, wait for nobody.
#[test]
fn who_leaves_gets_no_answer_and_a_stopping_gateway_refuses_what_waits() {
    let back = BackEnd::start(|asked| match asked.body["data"].as_bool() {
        Some(true) => Says::Hang,
        _ => echo(asked),
    });
    let setup = back.asked_by(Setup::default(), &["rpc"]);
    let mut gateway = setup.flag("callbacks-timeout", "1s").start();
    let hang = json!({"method": "x", "data": true});
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.post("rpc", &hang);
    alice.close();
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(bob.refused("rpc", &hang), 120);
    let waits = bob.post("rpc", &hang);
    gateway.ask_to_stop();
    let answer = bob.reply(waits);
    assert_eq!(error_code(&answer), 120, "{answer}");
    assert!(gateway.ended().status.success());
}

/// Shards with descriptor tables of their own wake the thread of the back ends too.
#[test]
fn shards_with_tables_of_their_own_ask_back_ends() {
    let back = BackEnd::start(echo);
    let setup = back.asked_by(Setup::default(), &["rpc"]);
    let gateway = setup
        .descriptors(1_024)
        .flag("max-connections", 1_500)
        .flag("control-connections", 8)
        .start();
    gateway.logged("descriptor table of its own");
    for shard in 0..2 {
        let mut alice = gateway.dial().shard(shard).connect("alice", "phone");
        for n in 0..20 {
            let answer = alice.done("rpc", &json!({"method": "x", "data": n}));
            assert_eq!(answer["data"]["asked"]["data"], n);
        }
    }
}

fn hostile(asked: &Asked) -> Says {
    let big = || {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n".to_vec();
        bytes.resize(10_000_000, b'x');
        bytes
    };
    match asked.body["method"].as_str() {
        Some("h.500") => Says::Status(500),
        Some("h.redirect") => Says::Status(302),
        Some("h.hang") => Says::Hang,
        Some("h.close") => Says::Close,
        Some("h.garbage") => Says::Raw(b"\x00\xffwhat is HTTP?\r\n\r\n".to_vec()),
        Some("h.html") => Says::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<html>a-secret-word</html>".to_vec(),
        ),
        Some("h.big") => Says::Raw(big()),
        // Endless, without a length.
        Some("h.endless") => {
            let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            bytes.resize(10_000_000, b'x');
            Says::Raw(bytes)
        }
        Some("h.half") => Says::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
        _ => echo(asked),
    }
}

#[test]
fn a_hostile_back_end_is_a_failure_that_nobody_else_notices() {
    const WAYS: [&str; 9] = [
        "h.500",
        "h.redirect",
        "h.hang",
        "h.close",
        "h.garbage",
        "h.html",
        "h.big",
        "h.endless",
        "h.half",
    ];
    let back = BackEnd::start(hostile);
    let routes: Vec<_> = WAYS
        .iter()
        .map(|way| format!("{way}={}", back.url("/hostile")))
        .chain([format!("good={}", back.url("/good"))])
        .collect();
    let gateway = back
        .asked_by(Setup::default(), &[])
        .flag("callbacks-rpc", routes.join(","))
        .flag("callbacks-timeout", "500ms")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let question = |method: &str| json!({"method": method, "data": "a-secret-word"});
    for way in WAYS {
        for _ in 0..5 {
            let answer = alice.ask("rpc", &question(way));
            assert_eq!(error_code(&answer), 120, "{way}: {answer}");
        }
    }
    let failed = "trunkline_callbacks_failed_total{callback=\"rpc\"}";
    let failures = gateway.metric(failed);
    // An overloaded machine may fail a good answer within this time.
    assert!(failures >= 45.0, "{failures}");
    // Five of them have failed five times in a row. The others answer, if badly: what one client asks must
    // not make a back end rest for all.
    assert_eq!(gateway.metric("trunkline_callbacks_resting"), 5.0);
    let answer = alice.ask("rpc", &question("h.hang"));
    assert_eq!(error_code(&answer), 120);
    // The others do not notice.
    let good = wait::until("the good back end answers", || {
        let answer = alice.ask("rpc", &question("good"));
        answer["error"].is_null().then_some(answer)
    });
    assert_eq!(good["rpc"]["data"]["path"], "/good");
    let log = gateway.logged("a back end fails");
    let all = gateway.process().stderr();
    let lines = all.lines().filter(|line| line.contains("a back end fails"));
    assert!(lines.count() <= 10, "one line for each back end: {log}");
    assert!(!all.contains("a-secret-word"), "{all}");
}

#[test]
fn a_back_end_that_comes_back_is_asked_again() {
    let good = Arc::new(Mutex::new(false));
    let is_good = Arc::clone(&good);
    let back = BackEnd::start(move |asked| match *is_good.lock().unwrap() {
        true => echo(asked),
        false => Says::Status(503),
    });
    let gateway = gateway(&back);
    let mut alice = gateway.dial().connect("alice", "phone");
    let question = json!({"method": "x", "data": 0});
    let away = "trunkline_callbacks_turned_away_total{callback=\"rpc\"}";
    wait::until("it rests, and is not asked", || {
        assert_eq!(alice.refused("rpc", &question), 120);
        (gateway.metric(away) > 0.0).then_some(())
    });
    *good.lock().unwrap() = true;
    let answer: Value = wait::until("it answers again", || {
        let answer = alice.ask("rpc", &question);
        answer["error"].is_null().then_some(answer)
    });
    assert!(answer["rpc"]["data"].is_object());
    assert_eq!(gateway.metric("trunkline_callbacks_resting"), 0.0);
    gateway.logged("the back end answers again");
}
