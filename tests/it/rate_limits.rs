//! Rates of a client: a command beyond its rate is refused with 111, and the connection stays open.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

/// The burst of a rate of one per second: ten seconds' worth.
const BURST: u64 = 10;

fn limited(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"))
}

/// Sends a command many times at once, and returns how many were not refused.
fn burst(client: &mut Client, command: &str, request: &Value, count: u32) -> u64 {
    let commands: Vec<_> = (1..=count)
        .map(|id| json!({"id": 100_000 + id, command: request}))
        .collect();
    client.post_raw(&commands);
    let mut passed = 0;
    for id in 1..=count {
        let reply = client.reply(100_000 + id);
        if reply[command].is_object() {
            passed += 1;
        } else {
            assert_eq!(error_code(&reply), 111, "{reply}");
        }
    }
    passed
}

/// The number that passed must be what a rate of one per second allows, no less and no more.
fn check(passed: u64, began: Instant) {
    let most = BURST + began.elapsed().as_secs() + 2;
    assert!((BURST..=most).contains(&passed), "{passed} of {most}");
}

/// A command passes again after some time.
fn passes_again(client: &mut Client, command: &str, request: &Value) {
    wait::until("another token", || {
        client.ask(command, request)[command]
            .is_object()
            .then_some(())
    });
}

#[test]
fn commands_of_a_connection() {
    let gateway = Setup::default()
        .flag("rate-commands", 1)
        .flag("user-rate-commands", 0)
        .start();
    for encoding in [Json, Proto] {
        let began = Instant::now();
        let mut client = gateway.dial().encoding(encoding).connect("alice", "phone");
        let passed = burst(&mut client, "ping", &json!({}), 50);
        // `connect` was one too.
        check(passed + 1, began);
        passes_again(&mut client, "ping", &json!({}));
        // Another connection of the same user has an allowance of its own.
        let began = Instant::now();
        let mut other = gateway.dial().encoding(encoding).connect("alice", "tablet");
        check(burst(&mut other, "ping", &json!({}), 50) + 1, began);
    }
    assert!(limited(&gateway, "connection_commands") >= 4.0 * 30.0);
    assert_eq!(limited(&gateway, "user_commands"), 0.0);
}

/// Frames that are not JSON count too, even before `connect`, as docs/protocol.md says.
#[test]
fn what_cannot_be_read_counts() {
    let gateway = Setup::default().flag("rate-commands", 1).start();
    let began = Instant::now();
    let mut client = gateway.dial().open();
    let lines = ["{", "[]", "{}", "{\"nonsense\":{}}", "{\"send\":{}}"];
    let mut codes = Vec::new();
    for _ in 0..10 {
        client.write_frame(Opcode::Text, lines.join("\n").as_bytes());
        codes.extend(lines.map(|_| error_code(&client.stray())));
    }
    let refused = codes.iter().filter(|code| **code == 111).count() as u64;
    check(codes.len() as u64 - refused, began);
    assert_eq!(&codes[..5], [107, 107, 107, 104, 101]);
    // It may still connect, when it has calmed down.
    passes_again(&mut client, "connect", &json!({"user": "alice"}));
}

#[test]
fn messages_of_a_connection_are_not_stored_beyond_it() {
    let gateway = Setup::default()
        .flag("rate-messages", 1)
        .flag("user-rate-messages", 0)
        .start();
    let began = Instant::now();
    let mut alice = gateway.dial().connect("alice", "phone");
    let passed = burst(
        &mut alice,
        "send",
        &json!({"user": "bob", "text": "hi"}),
        50,
    );
    check(passed, began);
    assert_eq!(gateway.metric("trunkline_messages_total"), passed as f64);
    assert_eq!(
        limited(&gateway, "connection_messages"),
        (50 - passed) as f64
    );
    // Commands that are no messages are not held up.
    assert_eq!(burst(&mut alice, "ping", &json!({}), 50), 50);
    passes_again(&mut alice, "send", &json!({"user": "bob", "text": "hi"}));
}

#[test]
fn bytes_of_a_connection() {
    let gateway = Setup::default()
        .flag("rate-bytes", "1KiB")
        .flag("user-rate-bytes", "0B")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    // More than the ten seconds' worth that fit: it passes all the same, and is paid for.
    let began = Instant::now();
    alice.send("bob", &"x".repeat(15_000));
    let refused = alice.ask("ping", &json!({}));
    assert_eq!(error_code(&refused), 111);
    passes_again(&mut alice, "ping", &json!({}));
    // 5 KiB of debt at 1 KiB per second; the last tick may be cut.
    assert!(
        began.elapsed() > Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert!(limited(&gateway, "connection_bytes") > 0.0);
}

/// Connections of one user share a rate across shards; other users have their own.
#[test]
fn a_user_is_one_wherever_connected() {
    for (flag, value, command, limit) in [
        ("user-rate-messages", "1", "send", "user_messages"),
        ("user-rate-commands", "1", "ping", "user_commands"),
    ] {
        let gateway = Setup::default().flag(flag, value).start();
        let request = match command {
            "send" => json!({"user": "bob", "text": "hi"}),
            _ => json!({}),
        };
        let mut bystander = gateway.dial().shard(0).connect("carol", "phone");
        let mut alice: Vec<_> = (0..4)
            .map(|i| {
                gateway
                    .dial()
                    .shard(i % 2)
                    .connect("alice", &format!("d{i}"))
            })
            .collect();
        let began = Instant::now();
        let passed = alice
            .iter_mut()
            .map(|client| burst(client, command, &request, 20))
            .sum();
        check(passed, began);
        assert_eq!(limited(&gateway, limit), (80 - passed) as f64);
        assert_eq!(limited(&gateway, "connection_messages"), 0.0);
        check(burst(&mut bystander, command, &request, 20), began);
        passes_again(&mut alice[0], command, &request);
    }
    let gateway = Setup::default().flag("user-rate-bytes", "1KiB").start();
    let mut alice = [0, 1].map(|shard| gateway.dial().shard(shard).connect("alice", "phone"));
    alice[0].send("bob", &"x".repeat(15_000));
    assert_eq!(alice[1].refused("ping", &json!({})), 111);
    assert_eq!(limited(&gateway, "user_bytes"), 1.0);
    assert_eq!(limited(&gateway, "connection_bytes"), 0.0);
}

/// Development mode has no rate limits by default.
#[test]
fn off_by_default_in_development() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for _ in 0..20 {
        assert_eq!(burst(&mut alice, "ping", &json!({}), 1_000), 1_000);
    }
    assert_eq!(limited(&gateway, "connection_commands"), 0.0);
}

/// Returns the content of an error 111: the name of the limit's setting, and the time to wait.
fn told(reply: &Value) -> (String, Duration) {
    let error = &reply["error"];
    assert_eq!(error["code"], 111, "{reply}");
    let limit = error["limit"].as_str().expect("a limit");
    let retry = error["retry_ms"].as_u64().expect("a time");
    (limit.to_owned(), Duration::from_millis(retry))
}

/// Sends until the gateway refuses, and waits for the stated time. After that the gateway accepts
/// the command.
fn refused_and_back(client: &mut Client, command: &str, request: &Value, limit: &str) {
    let (named, retry) = wait::until("a refusal", || {
        let reply = client.ask(command, request);
        reply["error"].is_object().then(|| told(&reply))
    });
    assert_eq!(named, limit);
    assert!(
        !retry.is_zero() && retry <= Duration::from_secs(20),
        "{retry:?}"
    );
    std::thread::sleep(retry);
    let reply = client.ask(command, request);
    assert!(
        reply[command].is_object(),
        "{limit} after {retry:?}: {reply}"
    );
}

#[test]
fn refusals_say_which_limit_and_how_long() {
    for (flag, limit, command, request) in [
        ("rate-commands", "rate_commands", "ping", json!({})),
        (
            "user-rate-commands",
            "user_rate_commands",
            "ping",
            json!({}),
        ),
        (
            "rate-messages",
            "rate_messages",
            "send",
            json!({"user": "bob", "text": "x"}),
        ),
        (
            "user-rate-messages",
            "user_rate_messages",
            "send",
            json!({"user": "bob", "text": "x"}),
        ),
        (
            "rate-bytes",
            "rate_bytes",
            "send",
            json!({"user": "bob", "text": "x".repeat(900)}),
        ),
        (
            "user-rate-bytes",
            "user_rate_bytes",
            "send",
            json!({"user": "bob", "text": "x".repeat(900)}),
        ),
    ] {
        let (most, burst) = if flag.ends_with("bytes") {
            ("1KiB", "2s")
        } else {
            ("2", "1s")
        };
        let gateway = Setup::default()
            .flag(flag, most)
            .flag("rate-burst", burst)
            .start();
        for encoding in [Json, Proto] {
            let dial = gateway.dial().encoding(encoding);
            let mut client = dial.connect(&format!("{encoding:?}"), "phone");
            refused_and_back(&mut client, command, &request, limit);
        }
    }
}

#[test]
fn refusals_that_no_rate_causes() {
    let gateway = Setup::default().flag("max-pages", 1).start();
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).connect("alice", "phone");
        client.send("bob", "hello");
        let typing = json!({"conversation": "u:alice:bob"});
        refused_and_back(&mut client, "typing", &typing, "typing");
        let get = json!({"conversation": "u:alice:bob", "seq": 1});
        let asked: Vec<_> = (1..=200)
            .map(|id| json!({"id": 9_000 + id, "get": get}))
            .collect();
        client.post_raw(&asked);
        let replies: Vec<_> = (1..=200).map(|id| client.reply(9_000 + id)).collect();
        let refused = replies.iter().find(|reply| reply["error"].is_object());
        assert_eq!(told(refused.expect("too many at a time")).0, "max_pages");
        // What only learns that it may not, and typing that asks for the members, count as pages too.
        client.done("group_create", &json!({"group": format!("{encoding:?}")}));
        let own = format!("g:{encoding:?}");
        for (command, fields) in [
            ("get", json!({"conversation": "g:nobody", "seq": 1})),
            ("history", json!({"conversation": "g:nobody"})),
            ("typing", json!({"conversation": own})),
        ] {
            let asked: Vec<_> = (1..=200)
                .map(|id| json!({"id": 9_200 + id, command: fields}))
                .collect();
            client.post_raw(&asked);
            let replies: Vec<_> = (1..=200).map(|id| client.reply(9_200 + id)).collect();
            let is_beyond = |reply: &Value| {
                reply["error"]["code"] == 111 && reply["error"]["limit"] == "max_pages"
            };
            assert!(
                replies.iter().any(is_beyond),
                "{command}: {:?}",
                replies[199]
            );
        }
    }
}
