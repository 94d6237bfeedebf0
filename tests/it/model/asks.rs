//! Random parts of commands.

use std::time::{Duration, SystemTime};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use trunkline_tests::wait::until;

use super::driver::USERS;

/// Waits until messages that are stored are older than a window of one millisecond.
pub(super) fn let_windows_pass() {
    let later = SystemTime::now() + Duration::from_millis(5);
    until("a later time", || (SystemTime::now() > later).then_some(()));
}

/// Returns a text, media or both, of which there are about `many`.
pub(super) fn content(random: &mut StdRng, many: u32) -> Value {
    let mut content = json!({});
    let media = random.random_bool(0.15);
    if media {
        content["media"] = match random.random_bool(0.5) {
            true => json!({"type": "image/png", "url": "https://example.org/p.png", "size": 5}),
            false => json!({"type": "image/png", "data": "AAEC"}),
        };
    }
    if !media || random.random_bool(0.5) {
        content["text"] = json!(format!("text {}", random.random_range(0..many)));
    }
    content
}

/// Returns the creation of a group with these members, and with a number of users who never connect.
pub(super) fn creation(
    random: &mut StdRng,
    group: &str,
    members: Vec<String>,
    crowd: usize,
) -> (&'static str, Value) {
    let history = if random.random_bool(0.5) {
        "all"
    } else {
        "joined"
    };
    let mut members = members;
    members.extend((0..crowd).map(|n| format!("x{n:02}")));
    (
        "group_create",
        json!({"group": group, "name": "Name", "members": members, "history": history}),
    )
}

/// Returns a random command about the rules of a group, blocked users or settings.
pub(super) fn managing(
    random: &mut StdRng,
    group: &str,
    conversation: &str,
    seq: i32,
) -> (&'static str, Value) {
    let user = *USERS.choose(random).expect("not empty");
    let begins = random.random_bool(0.6);
    let word = |random: &mut StdRng, words: &[&'static str]| *words.choose(random).expect("a word");
    match random.random_range(0..30) {
        0..6 => {
            let role = word(random, &["member", "admin", "admin", "owner"]);
            (
                "group_role",
                json!({"group": group, "user": user, "role": role}),
            )
        }
        6..11 => {
            let mut ask =
                json!({"group": group, "join": word(random, &["invite", "open", "open"])});
            for (field, words) in [
                ("send", &["all", "all", "admins"][..]),
                ("name", &["", "Name", "Other"]),
                ("picture", &["", "https://example.org/p"]),
            ] {
                if random.random_bool(0.4) {
                    ask[field] = json!(word(random, words));
                }
            }
            ("group_set", ask)
        }
        11..15 => ("group_join", json!({"group": group})),
        15..20 => {
            let pin = if begins { "pin" } else { "unpin" };
            // Seldom one of two users, which cannot be pinned.
            let conversation = if random.random_bool(0.9) {
                format!("g:{group}")
            } else {
                conversation.to_owned()
            };
            (pin, json!({"conversation": conversation, "seq": seq}))
        }
        20..24 => {
            let block = if begins { "block" } else { "unblock" };
            (block, json!({"user": user}))
        }
        _ => {
            let mut ask = json!({"conversation": conversation, "archived": begins});
            if random.random_bool(0.5) {
                ask["pinned"] = json!(random.random_bool(0.5));
            }
            if random.random_bool(0.5) {
                ask["muted_until"] = json!(random.random_range(0..3_u64) * 1_767_225_600_000);
            }
            ("settings", ask)
        }
    }
}
