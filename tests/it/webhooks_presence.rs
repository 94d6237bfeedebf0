//! The webhook `presence`: a back end is told of users who come, and of those who have left.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait;

pub(super) type Seen = Arc<Mutex<Vec<Value>>>;

pub(super) fn recording() -> (BackEnd, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        assert_eq!(asked.path, "/presence");
        kept.lock()
            .expect("nobody panicked")
            .push(asked.body.clone());
        Says::Json(json!({}))
    });
    (back, seen)
}

/// Waits until the back end was told so often of a user. Returns whether the user was online each time.
pub(super) fn told(seen: &Seen, user: &str, count: usize) -> Vec<bool> {
    wait::until("so many changes", || {
        let seen = seen.lock().expect("nobody panicked");
        let of_user = seen.iter().filter(|body| body["data"]["user"] == user);
        let found: Vec<_> = of_user.map(|body| body["data"]["online"] == true).collect();
        (found.len() >= count).then_some(found)
    })
}

#[test]
fn a_user_who_comes_and_one_who_has_left_are_told_once() {
    let (back, seen) = recording();
    let gateway = back
        .asked_by(Setup::default().http(), &["presence"])
        .flag("presence-grace", "300ms")
        .start();
    let phone = gateway.dial().connect("alice", "phone");
    let laptop = gateway.dial().shard(1).connect("alice", "laptop");
    assert_eq!(told(&seen, "alice", 1), [true]);
    phone.close();
    // A stream of events is a session too.
    let bob = Api::of(&gateway).user("bob");
    let mut line = bob.begin("GET", "/api/v1/events");
    assert!(line.head().starts_with("http/1.1 200"));
    assert_eq!(told(&seen, "bob", 1), [true]);
    drop(line);
    laptop.close();
    assert_eq!(told(&seen, "alice", 2), [true, false]);
    assert_eq!(told(&seen, "bob", 2), [true, false]);
    let seen = seen.lock().unwrap();
    let gone = seen
        .iter()
        .rfind(|body| body["data"]["user"] == "alice")
        .unwrap();
    assert_eq!(gone["type"], "presence.changed");
    let data = gone["data"].as_object().unwrap();
    let mut names: Vec<_> = data.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["devices", "last_seen", "namespace", "online", "user"]
    );
    assert_eq!(
        (&data["devices"], &data["namespace"]),
        (&json!(0), &json!(""))
    );
    assert!(data["last_seen"].is_u64());
}

#[test]
fn a_reconnect_within_the_grace_time_is_no_change() {
    let (back, seen) = recording();
    let gateway = back
        .asked_by(Setup::default(), &["presence"])
        .flag("presence-grace", "1h")
        .start();
    for _ in 0..5 {
        gateway.dial().connect("alice", "phone").close();
    }
    let _alice = gateway.dial().connect("alice", "phone");
    let _bob = gateway.dial().connect("bob", "phone");
    told(&seen, "bob", 1);
    assert_eq!(told(&seen, "alice", 1), [true]);
}
