//! Tests of more queries than the readers can answer.

use serde_json::{Value, json};
use trunkline_tests::client::{End, error_code};
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait::until;

/// Beyond the limit of queries, the gateway refuses further queries and recoveries. Each one gets
/// an answer, and once there is room again everything works as before.
#[test]
fn more_than_may_wait() {
    const ASKERS: usize = 40;
    const EACH: u32 = 250;
    let gateway = Setup::default().flag("shards", 1).flag("max-pages", EACH);
    let gateway = gateway.start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let since = alice.pos();
    alice.send_all("bob", (0..60).map(|i| format!("message {i}")));
    let mut askers: Vec<_> = (0..ASKERS)
        .map(|i| gateway.dial().connect("bob", &format!("d{i}")))
        .collect();
    let questions: Vec<_> = (1..=EACH)
        .map(|i| json!({"id": 10_000 + i, "sync": {"since": since, "limit": 60}}))
        .collect();
    let mut turned_away = 0;
    until("somebody to be turned away", || {
        // Recoveries come between the queries.
        let mut back: Vec<_> = askers.iter().map(|_| gateway.dial().open()).collect();
        let connect = json!({"id": 1, "connect": {"user": "bob", "device": "d", "since": since}});
        for (asker, back) in askers.iter_mut().zip(&mut back) {
            asker.post_raw(&questions);
            back.post_raw(std::slice::from_ref(&connect));
        }
        let mut refused = 0;
        for asker in &mut askers {
            for i in 1..=EACH {
                let reply = asker.reply(10_000 + i);
                match reply["sync"]["events"].as_array() {
                    Some(events) => assert_eq!(events.len(), 60),
                    None => {
                        assert_eq!(error_code(&reply), 111, "{reply}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 0, "all of them had room");
        for mut client in back {
            if client.replies().is_empty() {
                let told = client.push_of("disconnect");
                assert_eq!(
                    (&told["code"], &told["reconnect"]),
                    (&json!(3_013), &json!(true))
                );
                assert!(matches!(client.end(), End::Close(3_013, _)));
                turned_away += 1;
            } else {
                assert_eq!(client.push_of("message")["text"], "message 0");
            }
        }
        (turned_away > 0).then_some(())
    });
    let closed = gateway.metric("trunkline_closes_total{code=\"3013\"}");
    assert_eq!(closed, f64::from(turned_away));
    let page = alice.done("sync", &json!({"since": since, "limit": 60}));
    assert_eq!(page["events"].as_array().map(Vec::len), Some(60));
    let mut bob = gateway.dial().since(&since).connect("bob", "phone");
    assert_eq!(bob.push_of("message")["text"], json!("message 0"));
    assert_ne!(bob.push(), Value::Null);
}

/// Ten connections of one user ask for 32 lists of all members of a large group each. A stranger's
/// page of messages comes before most of them.
#[test]
fn a_stranger_does_not_wait_for_long_lists() {
    const LISTS: u32 = 32;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut owner = gateway.dial().connect("owner", "pc");
    owner.done("group_create", &json!({"group": "all"}));
    for part in 0..3 {
        let members: Vec<_> = (0..1_000)
            .map(|n| format!("member-{}", part * 1_000 + n))
            .collect();
        owner.done("group_add", &json!({"group": "all", "members": members}));
    }
    owner.done("send", &json!({"group": "all", "text": "hello"}));
    owner.send("stranger", "hello");
    let mut askers: Vec<_> = (0..10)
        .map(|i| gateway.dial().connect("owner", &format!("d{i}")))
        .collect();
    let lists: Vec<_> = (1..=LISTS)
        .map(|i| json!({"id": 10_000 + i, "receipts": {"conversation": "g:all", "seq": 1, "state": "unread"}}))
        .collect();
    let mut stranger = gateway.dial().connect("stranger", "pc");
    for asker in &mut askers {
        asker.post_raw(&lists);
    }
    // One list is answered: the readers are at work.
    let first = askers[0].reply(10_001);
    assert_eq!(first["receipts"]["counts"]["members"], 3_000, "{first}");
    let read = || gateway.metric("trunkline_cost_seconds_total{work=\"read\"}");
    let before = read();
    let page = stranger.done("history", &json!({"conversation": "u:owner:stranger"}));
    let spent = read() - before;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
    for (n, asker) in askers.iter_mut().enumerate() {
        for i in (1 + u32::from(n == 0))..=LISTS {
            let reply = asker.reply(10_000 + i);
            if reply["receipts"].is_null() {
                // The user is over its budget beside the stranger.
                assert_eq!(error_code(&reply), 111, "{reply}");
            } else {
                assert_eq!(reply["receipts"]["counts"]["members"], 3_000, "{reply}");
            }
        }
    }
    let all = read() - before;
    assert!(
        spent < all / 10.0,
        "{spent} of {all} s of work came before the page"
    );
}

/// Ten connections of one user search for a word in 300 conversations and in long texts that are slow to
/// compare. A stranger's page of messages comes before most of them.
#[test]
fn a_stranger_does_not_wait_for_searches() {
    const SEARCHES: u32 = 8;
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("search", true)
        .flag("rate-messages", 0)
        .flag("user-rate-messages", 0)
        .start();
    let mut owner = gateway.dial().connect("owner", "pc");
    for number in 0..300 {
        let text = format!("needle {number}");
        owner.post("send", &json!({"user": format!("u{number}"), "text": text}));
    }
    // One character becomes 18 when a text is folded.
    let long = "\u{fdfa}".repeat(1_000);
    for _ in 0..50 {
        owner.send("owner", &format!("needle {long}"));
    }
    owner.send("stranger", "hello");
    until("the index to have all", || {
        let found = owner.ask("search", &json!({"text": "hello"}));
        let found = found["search"]["messages"].as_array()?.len();
        (found == 1).then_some(())
    });
    let mut askers: Vec<_> = (0..10)
        .map(|i| gateway.dial().connect("owner", &format!("d{i}")))
        .collect();
    let searches: Vec<_> = (1..=SEARCHES)
        .map(|i| json!({"id": 10_000 + i, "search": {"text": "needle", "limit": 100}}))
        .collect();
    let mut stranger = gateway.dial().connect("stranger", "pc");
    for asker in &mut askers {
        asker.post_raw(&searches);
    }
    // One search is answered: the readers are at work.
    let is_found = |reply: &Value| {
        let found = reply["search"]["messages"].as_array();
        found.is_some_and(|found| !found.is_empty()) && reply["search"]["next"].is_string()
    };
    let first = askers[0].reply(10_001);
    assert!(is_found(&first), "{first}");
    let read = || gateway.metric("trunkline_cost_seconds_total{work=\"read\"}");
    let before = read();
    let page = stranger.done("history", &json!({"conversation": "u:owner:stranger"}));
    let spent = read() - before;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
    for (n, asker) in askers.iter_mut().enumerate() {
        for i in (1 + u32::from(n == 0))..=SEARCHES {
            let reply = asker.reply(10_000 + i);
            if reply["search"].is_null() {
                // The user is over its budget beside the stranger.
                assert_eq!(error_code(&reply), 111, "{reply}");
            } else {
                assert!(is_found(&reply), "{reply}");
            }
        }
    }
    let all = read() - before;
    assert!(
        spent < all / 10.0,
        "{spent} of {all} s of work came before the page"
    );
}
