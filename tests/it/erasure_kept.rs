//! What an erasure leaves: which texts stay in the files, and that a repair after it loses nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use trunkline_tests::api::{self, Api};
use trunkline_tests::gateway::Gateway;

use crate::erasure::{begin, busy_bob, completed, files_in, of_others, small, three};
use crate::store_command::{check, store};

/// What a user can put somewhere, and whether it stays in the files after an erasure, as docs/admin.md says.
const KINDS: [(&str, bool); 24] = [
    ("text", false),
    ("caption", false),
    ("inline", false),
    ("link", false),
    ("type", false),
    ("kind", false),
    ("meta", false),
    ("key", false),
    ("recalled", false),
    ("replaced", false),
    ("edited", false),
    ("editmeta", false),
    ("expiring", false),
    ("ingroup", false),
    ("tohimself", false),
    ("signal", false),
    ("published", false),
    ("groupkey", false),
    ("device", false),
    ("groupname", true),
    ("picture", true),
    ("reaction", false),
    ("contact", false),
    ("blocked", false),
];

/// Returns the word that stands for a kind.
fn word(kind: &str) -> String {
    assert!(KINDS.iter().any(|(one, _)| *one == kind), "{kind}");
    format!("zq-{kind}-qz")
}

/// Lets bob put a word of its kind wherever a user can put one.
fn everywhere(gateway: &Gateway) {
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let mut bob = dial.connect("bob", &word("device"));
    alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
    let to_alice = |mut fields: serde_json::Value| {
        fields["user"] = json!("alice");
        fields
    };
    let url = format!("https://h/{}", word("link"));
    let kind = format!("image/{}", word("type"));
    let inline = STANDARD.encode(word("inline"));
    for fields in [
        json!({"text": word("text")}),
        json!({"text": word("caption"), "media": {"type": kind, "url": url}}),
        json!({"media": {"type": "image/png", "data": inline}}),
        json!({"text": "a", "kind": word("kind"), "meta": {"a": word("meta")}}),
        json!({"text": "b", "key": word("key")}),
        json!({"text": word("recalled")}),
        json!({"text": "before"}),
        json!({"text": word("expiring"), "ttl": "1h", "reply_to": 1}),
    ] {
        bob.done("send", &to_alice(fields));
    }
    let ab = "u:alice:bob";
    bob.done("recall", &json!({"conversation": ab, "seq": 6}));
    for (text, meta) in [("replaced", "x"), ("edited", &*word("editmeta"))] {
        let edit = json!({"conversation": ab, "seq": 7, "text": word(text), "meta": {"a": meta}});
        bob.done("edit", &edit);
    }
    bob.done(
        "send",
        &json!({"group": "eng", "text": word("ingroup"), "mentions": ["alice"]}),
    );
    bob.send("bob", &word("tohimself"));
    bob.done("signal", &json!({"user": "alice", "data": word("signal")}));
    bob.done("subscribe", &json!({"topic": "live"}));
    bob.done(
        "publish",
        &json!({"topic": "live", "data": word("published")}),
    );
    let group = json!({"group": "own", "name": word("groupname"), "members": ["alice"], "key": word("groupkey")});
    bob.done("group_create", &group);
    let picture = format!("https://h/{}", word("picture"));
    bob.done("group_set", &json!({"group": "own", "picture": picture}));
    bob.done(
        "react",
        &json!({"conversation": ab, "seq": 1, "reaction": word("reaction")}),
    );
    bob.done("contacts", &json!({"add": [word("contact")]}));
    bob.done("block", &json!({"user": word("blocked")}));
}

/// Returns for each kind whether its word is in a file.
fn found(gateway: &Gateway) -> BTreeMap<&'static str, bool> {
    let files = files_in(gateway.data()).into_iter();
    let files: Vec<Vec<u8>> = files
        .map(|file| std::fs::read(file).unwrap_or_default())
        .collect();
    let is_in = |word: &str| {
        let has = |bytes: &Vec<u8>| {
            bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        };
        files.iter().any(has)
    };
    KINDS
        .iter()
        .map(|(kind, _)| (*kind, is_in(&word(kind))))
        .collect()
}

#[test]
fn what_stays_in_the_files_is_what_the_page_says() {
    let gateway = small().start();
    everywhere(&gateway);
    let before = found(&gateway);
    for kind in [
        "text", "caption", "inline", "meta", "edited", "expiring", "reaction", "contact",
    ] {
        assert!(before[kind], "{kind}: {before:?}");
    }
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    let expected: BTreeMap<_, _> = KINDS.into_iter().collect();
    assert_eq!(found(&gateway), expected);
}

/// The store counts its runs anew then. A value that only a run has must not be taken for an old one.
#[test]
fn a_repair_of_a_lost_manifest_after_an_erasure_loses_no_value() {
    let mut gateway = small().start();
    let [mut alice, mut bob, mut carol] = three(&gateway);
    alice.done("contacts", &json!({"add": ["carol", "dave"]}));
    busy_bob(&gateway, &mut alice, &mut bob, &mut carol);
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    let seen = |gateway: &Gateway| {
        let [mut alice, _, mut carol] = three(gateway);
        let messages = of_others(&mut alice, &mut carol);
        let api = Api::of(gateway).user("alice");
        let values = [
            ("contacts", json!({})),
            ("conversations", json!({})),
            ("group_info", json!({"group": "eng"})),
        ];
        let values = values.map(|(command, body)| api.post(command, &body));
        let mut contacts = values[0].clone();
        for contact in contacts["contacts"].as_array_mut().expect("contacts") {
            // When they were there last changes with each look.
            *contact = contact["user"].clone();
        }
        let mut conversations = values[1].clone();
        // The place after the page, with a proof of this start.
        conversations["cursor"].take();
        (messages, contacts, conversations, values[2].clone())
    };
    let before = seen(&gateway);
    assert!(!before.0.is_empty() && before.1["contacts"].as_array().map(Vec::len) == Some(2));
    for lost in [false, true] {
        gateway.stop();
        let manifest = gateway.data().join("manifest");
        match lost {
            true => std::fs::remove_file(&manifest).expect("it is there"),
            false => {
                let mut bytes = std::fs::read(&manifest).expect("it is there");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&manifest, bytes).expect("it can be written");
            }
        }
        let exit = store("repair", gateway.data(), &[]);
        check(&exit, 0, &["repaired"]);
        gateway.start_again();
        assert_eq!(seen(&gateway), before, "{lost}: {exit:?}");
    }
    let answer = Api::admin(&gateway).ask("GET", "/admin/v1/users/bob", None);
    assert!(api::json(&answer)["erasure"]["ended"].is_u64());
}

/// The list of blocked users is longer than what goes at a time.
#[test]
fn a_new_user_of_the_name_blocks_nobody() {
    let mut gateway = small().start();
    let [mut alice, mut bob, mut carol] = three(&gateway);
    let api = Api::of(&gateway).user("bob");
    let mut names: Vec<String> = (0..70).map(|number| format!("other-{number:02}")).collect();
    names.push("alice".to_owned());
    for name in &names {
        bob.done("block", &json!({"user": name}));
    }
    carol.done("block", &json!({"user": "alice"}));
    let to_bob = json!({"user": "bob", "text": "are you there"});
    assert_eq!(alice.refused("send", &to_bob), 103);
    let listed = api.post("blocked", &json!({"limit": 100}));
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(names.len()));
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    for killed in [false, true] {
        if killed {
            gateway.kill();
            gateway.start_again();
            [alice, _, _] = three(&gateway);
        }
        let api = Api::of(&gateway).user("bob");
        assert_eq!(api.post("blocked", &json!({}))["users"], json!([]));
        alice.done("send", &to_bob);
        let to_carol = json!({"user": "carol", "text": "are you there"});
        assert_eq!(
            alice.refused("send", &to_carol),
            103,
            "carol's own block stays"
        );
    }
}

/// Returns how often two stretches of channels stand beside each other in the files: a channel is a number of 128 bits,
/// seven in each byte, and one comes again within a few bytes, the same one or any.
fn stretches_of_channels(gateway: &Gateway, is_same: bool) -> usize {
    let long = |bytes: &[u8]| {
        let more = bytes.iter().take_while(|byte| **byte >= 0x80).count();
        (16..=18).contains(&more).then_some(more + 1)
    };
    let in_file = |bytes: &[u8]| {
        let starts = 1..bytes.len();
        let starts = starts.filter(|at| bytes[at - 1] < 0x80);
        let twice = starts.filter(|at| {
            let number = long(&bytes[*at..]).and_then(|len| bytes.get(*at..*at + len));
            number.is_some_and(|number| {
                let behind = &bytes[at + number.len()..];
                let behind = &behind[..behind.len().min(40)];
                match is_same {
                    true => behind.windows(number.len()).any(|part| part == number),
                    false => (0..behind.len()).any(|at| long(&behind[at..]).is_some()),
                }
            })
        });
        twice.count()
    };
    let files = files_in(gateway.data()).into_iter();
    files
        .map(|file| in_file(&std::fs::read(file).unwrap_or_default()))
        .sum()
}

/// Others took a user out of a large group again and again. The erasure removes what the store has of it, whenever the
/// gateway is killed meanwhile.
#[test]
fn where_a_user_was_in_large_groups_leaves_the_files() {
    let mut gateway = small().flag("fanout-limit", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for group in ["eng", "ops"] {
        let create = json!({"group": group, "members": ["bob", "carol"]});
        alice.done("group_create", &create);
    }
    let bob = json!({"group": "eng", "members": ["bob"]});
    for n in 0..8 * 66 + 3 {
        if n % 40 == 0 {
            alice.send("bob", &"p".repeat(9_000));
        }
        alice.done("group_remove", &bob);
        alice.done("group_add", &bob);
    }
    let before = stretches_of_channels(&gateway, true);
    assert!(before > 1_000, "{before}");
    begin(&gateway, "bob");
    for _ in 0..4 {
        gateway.kill();
        gateway.start_again();
    }
    completed(&gateway, "bob");
    assert_eq!(stretches_of_channels(&gateway, true), 0, "of {before}");
    let mut alice = gateway.dial().connect("alice", "phone");
    let info = alice.done("group_info", &json!({"group": "eng"}));
    assert_eq!(info["count"], 2, "{info}");
}

/// Others took a user out of large groups before the erasure: no record of the user has set those values.
#[test]
fn open_windows_that_others_closed_leave_the_files() {
    const GROUPS: usize = 40;
    let gateway = small().flag("fanout-limit", 1).start();
    let bob = json!(["bob"]);
    // Each owner is in one group: only values of bob have several channels.
    let owners = || (0..GROUPS).map(|n| (n, Api::of(&gateway).user(&format!("owner-{n}"))));
    for (n, owner) in owners() {
        owner.post(
            "group_create",
            &json!({"group": format!("g{n}"), "members": bob}),
        );
    }
    for (n, owner) in owners() {
        owner.post(
            "group_remove",
            &json!({"group": format!("g{n}"), "members": bob}),
        );
    }
    let before = stretches_of_channels(&gateway, false);
    assert!(before > GROUPS, "{before}");
    begin(&gateway, "bob");
    completed(&gateway, "bob");
    assert_eq!(stretches_of_channels(&gateway, false), 0, "of {before}");
    let owner = Api::of(&gateway).user("owner-7");
    let info = owner.post("group_info", &json!({"group": "g7"}));
    assert_eq!(info["count"], 1, "{info}");
}
