//! What the webhook `offline` keeps: the messages of a recipient who has many, and the place in the log.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::back_end::Says;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

use crate::webhooks::{
    check_all, data, ok, recording, send_many, settled, setup, sick, told, what,
};

const MORE: &str = "trunkline_webhooks_recipients_with_more";

const HELD: &str = "trunkline_webhooks_senders_with_more";

/// Waits until the gateway has looked through its log.
fn looked_through(gateway: &Gateway) {
    wait::until("all of the log is looked through", || {
        (gateway.metric("trunkline_webhooks_behind_bytes") == 0.0).then_some(())
    });
}

#[test]
fn what_one_recipient_has_waiting_does_not_stop_the_others() {
    const MANY: usize = 700;
    let healed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healed);
    let (back, seen) =
        recording(
            move |asked| match data(asked)["user"] == "u0" && !now.load(Ordering::SeqCst) {
                true => Says::Status(404),
                false => ok(asked),
            },
        );
    let mut gateway = setup(&back).start();
    send_many(&gateway.dial(), 1, 0..MANY);
    wait::until("the rest of them is left to the log", || {
        (gateway.metric(MORE) == 1.0).then_some(())
    });
    looked_through(&gateway);
    assert_eq!(gateway.metric("trunkline_webhooks_waiting"), 256.0);
    let mut alice = gateway.dial().connect("alice", "phone");
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    wait::until("the others are told", || {
        let seen = seen.lock().expect("nobody panicked");
        (seen.iter().filter(|asked| what(asked).0 == "bob").count() == 2).then_some(())
    });
    // Later ones come behind those in the log, and all of it survives.
    send_many(&gateway.dial(), 1, MANY..MANY + 20);
    looked_through(&gateway);
    gateway.kill();
    healed.store(true, Ordering::SeqCst);
    gateway.start_again();
    wait::until("the last one is told", || {
        let seen = seen.lock().expect("nobody panicked");
        let last = ("u0".to_owned(), (MANY + 19).to_string());
        seen.iter().any(|asked| what(asked) == last).then_some(())
    });
    wait::until("nothing is left", || {
        let waiting = gateway.metric("trunkline_webhooks_waiting");
        (waiting + gateway.metric(MORE) == 0.0).then_some(())
    });
    let mut seen = seen.lock().expect("nobody panicked").clone();
    seen.retain(|asked| what(asked).0 == "u0");
    check_all(&seen, 1, MANY + 20);
}

/// A sender can name any number of users who do not exist, and the back end may refuse all of them.
#[test]
fn refused_messages_of_one_sender_do_not_stop_those_of_others() {
    const GROUPS: usize = 24;
    const MEMBERS: usize = 450;
    let healed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healed);
    let (back, seen) = recording(move |asked| {
        let user = data(asked)["user"].as_str().unwrap_or_default();
        match user.starts_with("x-") && !now.load(Ordering::SeqCst) {
            true => Says::Status(404),
            false => ok(asked),
        }
    });
    let mut gateway = setup(&back).patient().start();
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let mut alice = gateway.dial().connect("alice", "phone");
    for group in 0..GROUPS {
        let members: Vec<_> = (0..MEMBERS).map(|n| format!("x-{group}-{n}")).collect();
        let name = format!("g{group}");
        mallory.done("group_create", &json!({"group": name, "members": members}));
        mallory.done("send", &json!({"group": name, "text": "to nobody"}));
    }
    wait::until("some of it is left to the log", || {
        (gateway.metric(HELD) == 1.0).then_some(())
    });
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let told_bob = |count: usize| {
        wait::until("the others are told", || {
            let seen = seen.lock().expect("nobody panicked");
            (seen.iter().filter(|asked| what(asked).0 == "bob").count() >= count).then_some(())
        });
    };
    told_bob(2);
    looked_through(&gateway);
    let waiting = gateway.metric("trunkline_webhooks_waiting");
    assert!(waiting <= 5_000.0, "{waiting}");
    // What is left survives, and is told once the back end takes it.
    gateway.kill();
    let file = std::fs::read_to_string(gateway.data().join("webhooks")).expect("a file");
    assert!(file.lines().any(|line| line.starts_with("held ")));
    healed.store(true, Ordering::SeqCst);
    seen.lock().expect("nobody panicked").clear();
    gateway.start_again();
    wait::until("everybody is told", || {
        let seen = seen.lock().expect("nobody panicked");
        let users: HashSet<_> = seen.iter().map(|asked| what(asked).0).collect();
        let refused = users.iter().filter(|user| user.starts_with("x-"));
        (refused.count() == GROUPS * MEMBERS).then_some(())
    });
    wait::until("nothing is left", || {
        let waiting = gateway.metric("trunkline_webhooks_waiting");
        (waiting + gateway.metric(HELD) == 0.0).then_some(())
    });
}

/// Changes the second line of the file of a stopped gateway.
fn change_place(file: &Path, change: impl Fn(&mut Vec<String>)) {
    let text = std::fs::read_to_string(file).expect("a file");
    let (head, rest) = text.split_once('\n').expect("a line");
    let (place, rest) = rest.split_once('\n').expect("a line");
    let mut fields: Vec<String> = place.split(' ').map(str::to_owned).collect();
    change(&mut fields);
    let text = format!("{head}\n{}\n{rest}", fields.join(" "));
    std::fs::write(file, text).expect("a file can be written");
}

/// A start on a full disk, and a repair, leave positions that the store refuses.
#[test]
fn after_a_position_that_the_store_refuses_nothing_is_left_out() {
    for moved in [0, 5, -3] {
        let (back, seen) = recording(ok);
        let folder = tempfile::tempdir().expect("a folder");
        let (data, kept) = (folder.path().join("data"), folder.path().join("kept"));
        let file = data.join("webhooks");
        let mut gateway = setup(&back).start_on(&data);
        for text in ["one", "two"] {
            gateway.dial().connect("alice", "phone").send("bob", text);
        }
        told(&seen, 2);
        settled(&gateway, 2.0);
        gateway.stop();
        std::fs::copy(&file, &kept).expect("it is there");
        let mut plain = Setup::default().start_on(&data);
        for text in ["three", "four"] {
            plain.dial().connect("alice", "phone").send("bob", text);
        }
        plain.stop();
        std::fs::copy(&kept, &file).expect("it is there");
        change_place(&file, |fields| {
            assert!(fields.len() == 4 && fields[1].contains('-'), "{fields:?}");
            // The proof of another epoch.
            let (_, address) = fields[1].split_once('-').expect("a proof");
            fields[1] = format!("00000000-{address}");
            let raw: i64 = fields[2].parse().expect("a number");
            fields[2] = (raw + moved).to_string();
        });
        seen.lock().expect("nobody panicked").clear();
        let mut gateway = setup(&back).start_on(&data);
        gateway.logged("may be told again");
        let told = wait::until("the later ones are told", || {
            let seen = seen.lock().expect("nobody panicked");
            let texts: Vec<_> = seen.iter().map(|asked| what(asked).1).collect();
            texts.contains(&"four".to_owned()).then_some(texts)
        });
        assert!(
            told.ends_with(&["three", "four"].map(str::to_owned)),
            "{told:?}"
        );
        // Not much comes again.
        assert!(moved < 0 || !told.contains(&"one".to_owned()), "{told:?}");
        gateway.stop();
        // A place behind the end of the log: it has lost its end, and all that is left was looked at.
        change_place(&file, |fields| {
            fields[1] = "00000000-1".to_owned();
            fields[2] = u64::MAX.to_string();
        });
        seen.lock().expect("nobody panicked").clear();
        let gateway = setup(&back).start_on(&data);
        gateway.dial().connect("alice", "phone").send("bob", "five");
        let told = self::told(&seen, 1);
        assert_eq!(what(&told[0]).1, "five");
    }
}

#[test]
fn the_numbers_of_webhooks_are_in_the_stats() {
    let (back, seen) = recording(|asked| match data(asked)["user"] == "carol" {
        true => ok(asked),
        false => Says::Close,
    });
    let gateway = setup(&back).start();
    let shown = |gateway: &Gateway| {
        Api::admin(gateway).done("GET", "/admin/v1/stats", None)["webhooks"].clone()
    };
    let first = shown(&gateway);
    assert_eq!(first["offline_circuit"], "closed");
    assert_eq!(first["presence_circuit"], "off");
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("carol", "hello");
    told(&seen, 1);
    settled(&gateway, 1.0);
    // Each of them fails once: the back end rests.
    for number in 0..5 {
        alice.send(&format!("bob{number}"), "one");
    }
    let stats = wait::until("the back end rests", || {
        let stats = shown(&gateway);
        (stats["offline_circuit"] == "open").then_some(stats)
    });
    assert_eq!((&stats["backlog"], &stats["told"]), (&json!(5), &json!(1)));
    let number = |name: &str| stats[name].as_u64().expect("a number");
    assert!(
        number("failed") >= 5 && number("tried") == number("failed") + 1,
        "{stats}"
    );
    assert_eq!((number("given_up"), number("recipients_with_more")), (0, 0));
    let plain = Setup::default().start();
    assert_eq!(shown(&plain), serde_json::Value::Null);
}

/// The newest content of a message is lost while the message waits for the back end. It is counted as what cannot be
/// decoded, and hides no other message of its recipient.
#[test]
fn a_message_that_is_damaged_while_it_waits_is_counted_and_hides_no_other() {
    let (back, seen, healed) = sick();
    let gateway = setup(&back).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for text in ["one", "two", "three", "four"] {
        alice.send("bob", text);
    }
    let mark = "edited while it waits ";
    let edit = json!({"conversation": "u:alice:bob", "seq": 2, "text": mark.repeat(40)});
    alice.done("edit", &edit);
    told(&seen, 1);
    looked_through(&gateway);
    let log = gateway.data().join("log-0000000000000000.seg");
    let mut bytes = std::fs::read(&log).expect("the log");
    let places: Vec<usize> = (0..bytes.len() - mark.len())
        .filter(|at| bytes[*at..].starts_with(mark.as_bytes()))
        .collect();
    assert!(places.len() >= 40, "{}", places.len());
    for at in places {
        bytes[at] ^= 1;
        let file = OpenOptions::new().write(true).open(&log).expect("the log");
        file.write_all_at(&bytes[at..=at], at as u64)
            .expect("a byte");
    }
    let before = seen.lock().expect("nobody panicked").len();
    healed.store(true, Ordering::SeqCst);
    let dropped = |reason| {
        gateway.metric(&format!(
            "trunkline_webhooks_dropped_total{{reason=\"{reason}\"}}"
        ))
    };
    wait::until("what is damaged is given up", || {
        (dropped("undecodable") >= 1.0).then_some(())
    });
    settled(&gateway, 3.0);
    assert_eq!((dropped("undecodable"), dropped("unseen")), (1.0, 0.0));
    let seen = seen.lock().expect("nobody panicked");
    let later: Vec<_> = seen[before..].iter().map(|asked| what(asked).1).collect();
    for text in ["one", "three", "four"] {
        assert!(later.iter().any(|one| one == text), "{text}: {later:?}");
    }
}
