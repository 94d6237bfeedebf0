//! Webhooks: muted recipients, and back ends that do not come back.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::wait;

use super::webhooks::{data, ok, recording, send_many, settled, setup, told, tries, what};

/// A time long after each test, in milliseconds since 1970.
const MUTED: u64 = 9_000_000_000_000;

#[test]
fn a_muted_recipient_is_told_of_mentions_only() {
    let (back, seen) = recording(ok);
    let gateway = setup(&back).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let members = ["bob", "carol"];
    alice.done("group_create", &json!({"group": "eng", "members": members}));
    let mut bob = gateway.dial().connect("bob", "phone");
    let mute = |until: u64| json!({"conversation": "g:eng", "muted_until": until});
    bob.done("settings", &mute(MUTED));
    bob.close();
    wait::until("bob is away", || {
        let page = alice.done("presence", &json!({"query": ["bob"]}));
        (page["users"][0]["online"] == false).then_some(())
    });
    let none: [&str; 0] = [];
    for (text, mentions) in [
        ("hush", &none[..]),
        ("you", &["bob"][..]),
        ("not you", &["carol"][..]),
        ("all", &["*"][..]),
    ] {
        let send = json!({"group": "eng", "text": text, "mentions": mentions});
        alice.done("send", &send);
    }
    alice.send("bob", "another conversation");
    told(&seen, 7);
    settled(&gateway, 7.0);
    let seen = seen.lock().unwrap();
    let of = |name: &str| {
        let of_user = seen.iter().filter(|asked| data(asked)["user"] == name);
        let shown = of_user.map(|asked| (what(asked).1, data(asked)["mentioned"] == true));
        shown.collect::<Vec<_>>()
    };
    let expected = |all: &[(&str, bool)]| {
        let owned = all.iter().map(|(text, is)| ((*text).to_owned(), *is));
        owned.collect::<Vec<_>>()
    };
    let bob = [
        ("you", true),
        ("all", true),
        ("another conversation", false),
    ];
    assert_eq!(of("bob"), expected(&bob));
    let carol = [
        ("hush", false),
        ("you", false),
        ("not you", true),
        ("all", true),
    ];
    assert_eq!(of("carol"), expected(&carol));
}

/// In a group that is pulled, and between two users.
#[test]
fn a_mute_holds_in_pulled_groups_and_between_two_users() {
    let (back, seen) = recording(ok);
    let gateway = setup(&back).flag("fanout-limit", 2).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let members = ["bob", "carol"];
    alice.done("group_create", &json!({"group": "all", "members": members}));
    let places = [
        ("g:all", json!({"group": "all"})),
        ("u:alice:bob", json!({"user": "bob"})),
    ];
    let say = |alice: &mut Client, to: &Value, text: &str, mentions: &[&str]| {
        let mut send = to.clone();
        send["text"] = json!(text);
        send["mentions"] = json!(mentions);
        alice.done("send", &send);
    };
    let mut of_carol = Vec::new();
    alice.done("send", &json!({"user": "bob", "text": "begins"}));
    while bob.push()["message"].is_null() {}
    for (conversation, _) in &places {
        let mute = json!({"conversation": conversation, "muted_until": MUTED});
        bob.done("settings", &mute);
    }
    bob.close();
    let away = |alice: &mut Client| {
        wait::until("bob is away", || {
            let page = alice.done("presence", &json!({"query": ["bob"]}));
            (page["users"][0]["online"] == false).then_some(())
        });
    };
    away(&mut alice);
    for (conversation, to) in &places {
        say(&mut alice, to, &format!("hush {conversation}"), &[]);
        say(&mut alice, to, &format!("you {conversation}"), &["bob"]);
    }
    for text in ["hush g:all", "you g:all"] {
        of_carol.push((text.to_owned(), false));
    }
    let shown = |name: &str| {
        let seen = seen.lock().unwrap();
        let of_user = seen.iter().filter(|asked| data(asked)["user"] == name);
        let shown = of_user.map(|asked| (what(asked).1, data(asked)["mentioned"] == true));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_unstable();
        shown
    };
    told(&seen, 4);
    settled(&gateway, 4.0);
    assert_eq!(shown("carol"), of_carol);
    let mentioned = ["you g:all", "you u:alice:bob"].map(|text| (text.to_owned(), true));
    assert_eq!(shown("bob"), mentioned);
    // The mute ends.
    let mut bob = gateway.dial().connect("bob", "phone");
    for (conversation, _) in &places {
        bob.done(
            "settings",
            &json!({"conversation": conversation, "muted_until": 100_000_000_000_u64}),
        );
    }
    bob.close();
    away(&mut alice);
    for (conversation, to) in &places {
        say(&mut alice, to, &format!("again {conversation}"), &[]);
    }
    told(&seen, 7);
    settled(&gateway, 7.0);
    let mut all: Vec<_> = ["again g:all", "again u:alice:bob"]
        .map(|text| (text.to_owned(), false))
        .to_vec();
    all.extend(mentioned);
    assert_eq!(shown("bob"), all);
}

#[test]
fn a_back_end_that_is_gone_does_not_keep_what_is_over() {
    const USERS: usize = 80;
    let (back, _) = recording(ok);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = setup(&back)
        .flag("webhooks-offline", format!("http://{nobody}/offline"))
        .flag("webhooks-give-up", "2s")
        .start();
    send_many(&gateway.dial(), USERS, 0..3);
    let given_up = "trunkline_webhooks_given_up_total{webhook=\"offline\"}";
    wait::until("all are given up", || {
        (gateway.metric(given_up) >= (USERS * 3) as f64).then_some(())
    });
    // The first ones are tried until the back end rests, and later one at a time.
    assert!(tries(&gateway, "unreachable") < (USERS * 3) as f64);
    settled(&gateway, 0.0);
}
