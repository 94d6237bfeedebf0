//! The webhook `offline`: a back end is told of each message whose recipient has no device connected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{Asked, BackEnd, Says};
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::Process;
use trunkline_tests::scripts;
use trunkline_tests::wait;

pub(super) type Seen = Arc<Mutex<Vec<Asked>>>;

/// Starts a back end that remembers what it is told.
pub(super) fn recording(
    answers: impl Fn(&Asked) -> Says + Send + Sync + 'static,
) -> (BackEnd, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock().expect("nobody panicked").push(asked.clone());
        answers(asked)
    });
    (back, seen)
}

pub(super) fn ok(_: &Asked) -> Says {
    Says::Json(json!({}))
}

/// Returns the flags of a gateway that tells this back end of missed messages.
pub(super) fn setup(back: &BackEnd) -> Setup {
    back.asked_by(Setup::default(), &["offline"])
        .flag("presence-grace", "0ms")
        .flag("rate-messages", 0)
        .flag("user-rate-messages", 0)
        .flag("rate-commands", 0)
        .flag("user-rate-commands", 0)
}

/// Waits until the back end was told so often, and returns what it was told.
pub(super) fn told(seen: &Seen, count: usize) -> Vec<Asked> {
    wait::until("so many requests", || {
        let seen = seen.lock().expect("nobody panicked");
        (seen.len() >= count).then(|| seen.clone())
    })
}

pub(super) fn data(asked: &Asked) -> &Value {
    &asked.body["data"]
}

/// Returns who was told of which message: the user, and the text or the sequence.
pub(super) fn what(asked: &Asked) -> (String, String) {
    let data = data(asked);
    let user = data["user"].as_str().expect("a user");
    let text = data["message"]["text"].as_str().expect("a text");
    (user.to_owned(), text.to_owned())
}

fn id(asked: &Asked) -> &str {
    &asked.headers["webhook-id"]
}

pub(super) fn tries(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!(
        "trunkline_webhooks_tries_total{{result=\"{result}\"}}"
    ))
}

/// Waits until nothing waits to be told. So many must have been told then.
pub(super) fn settled(gateway: &Gateway, told: f64) {
    wait::until("nothing waits", || {
        let waiting = gateway.metric("trunkline_webhooks_waiting");
        (waiting == 0.0 && tries(gateway, "told") >= told).then_some(())
    });
    assert_eq!(tries(gateway, "told"), told);
}

#[test]
fn messages_to_users_without_a_device_are_told_and_others_are_not() {
    let (back, seen) = recording(ok);
    let gateway = setup(&back).http().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut carol = gateway.dial().connect("carol", "phone");
    // A request that waits is no device.
    let mut line = Api::of(&gateway)
        .user("bob")
        .begin("GET", "/api/v1/rtm.receive?lastPos=now");
    line.answer();
    let sent = alice.send("bob", "one");
    alice.send("carol", "seen");
    carol.push_of("message");
    alice.done("send", &json!({"user": "alice", "text": "a note"}));
    alice.done("send", &json!({"user": "bob", "key": "k-2", "text": "two"}));
    let image = json!({"type": "image/png", "url": "https://h/i.png", "size": 5});
    alice.done("send", &json!({"user": "bob", "media": image}));
    alice.send("dave", "last");
    let told = told(&seen, 4);
    assert!(
        told.iter()
            .all(|asked| back.is_signed(asked) && asked.path == "/offline")
    );
    let of_bob: Vec<_> = told
        .iter()
        .filter(|asked| data(asked)["user"] == "bob")
        .collect();
    assert_eq!(of_bob.len(), 3);
    let first = of_bob[0];
    let message = json!({
        "conversation": "u:alice:bob", "seq": 1, "from": "alice", "device": "phone",
        "time": sent["time"], "text": "one",
    });
    let expected = json!({"namespace": "", "user": "bob", "unread": 1, "mentioned": false, "message": message});
    assert_eq!(data(first), &expected);
    assert_eq!(first.body["type"], "message.offline");
    let time = first.body["timestamp"].as_str().expect("a time");
    assert!(
        time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T",
        "{time}"
    );
    let unread: Vec<_> = of_bob
        .iter()
        .map(|asked| data(asked)["unread"].as_u64())
        .collect();
    assert_eq!(unread, [Some(1), Some(2), Some(3)]);
    assert_eq!(data(of_bob[1])["message"]["key"], "k-2");
    assert_eq!(data(of_bob[2])["message"]["media"], image);
    let ids: HashSet<_> = told.iter().map(id).collect();
    assert_eq!(ids.len(), 4);
    // What is repeated with its key is no other message.
    alice.done("send", &json!({"user": "bob", "key": "k-2", "text": "two"}));
    // Once the messages are read, they do not count. While a device is there, nothing is told.
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.ack("u:alice:bob", &json!({"read": 3}));
    let live = alice.send("bob", "live")["time"].as_u64();
    bob.push_of("message");
    // Who leaves in the millisecond of a message counts as away: some time passes first.
    wait::until("a later time", || {
        let later = alice.send("carol", "tick")["time"].as_u64();
        (later > live.map(|live| live + 50)).then_some(())
    });
    bob.close();
    wait::until("bob is away", || {
        let page = alice.done("presence", &json!({"query": ["bob"]}));
        (page["users"][0]["online"] == false).then_some(())
    });
    alice.send("bob", "again");
    let told = self::told(&seen, 5);
    assert_eq!(what(&told[4]), ("bob".to_owned(), "again".to_owned()));
    assert_eq!(data(&told[4])["unread"], 2);
    settled(&gateway, 5.0);
    assert_eq!(seen.lock().unwrap().len(), 5);
    let log = gateway.process().stderr();
    assert!(!log.contains("again") && !log.contains("msg_"), "{log}");
}

#[test]
fn members_of_groups_are_told_up_to_a_size_also_where_they_pull() {
    for fanout_limit in [200, 2] {
        let (back, seen) = recording(ok);
        let gateway = setup(&back)
            .flag("webhooks-groups-up-to", 5)
            .flag("fanout-limit", fanout_limit)
            .start();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut erin = gateway.dial().connect("erin", "phone");
        let make = |client: &mut trunkline_tests::client::Client, group: &str, members: &[&str]| {
            client.done("group_create", &json!({"group": group, "members": members}));
        };
        let send = |client: &mut trunkline_tests::client::Client, group: &str, text: &str| {
            client.done("send", &json!({"group": group, "text": text}));
        };
        make(&mut alice, "small", &["bob", "carol", "erin"]);
        make(
            &mut alice,
            "large",
            &["bob", "carol", "dave", "erin", "frank"],
        );
        send(&mut alice, "large", "too many");
        send(&mut alice, "small", "one");
        while erin.push()["message"]["text"] != "one" {}
        // One leaves and one comes: each is told of the messages that were for them.
        alice.done(
            "group_remove",
            &json!({"group": "small", "members": ["carol"]}),
        );
        alice.done("group_add", &json!({"group": "small", "members": ["dave"]}));
        send(&mut alice, "small", "two");
        send(&mut erin, "small", "three");
        alice.send("zoe", "the last");
        let told = wait::until("all of them", || {
            let seen = seen.lock().expect("nobody panicked");
            let all: Vec<_> = seen.iter().map(what).collect();
            let of = |name: &str| all.iter().filter(|(user, _)| user == name).count();
            (of("bob") >= 3 && of("dave") >= 2 && of("zoe") >= 1).then_some(all)
        });
        let mut by_user = BTreeMap::<String, Vec<String>>::new();
        for (user, text) in told {
            by_user.entry(user).or_default().push(text);
        }
        // Carol left before or after the gateway looked: she may have been told of the first message.
        let carol = by_user.remove("carol").unwrap_or_default();
        assert!(carol.is_empty() || carol == ["one"], "{carol:?}");
        let expected = json!({
            "bob": ["one", "two", "three"], "dave": ["two", "three"], "zoe": ["the last"],
        });
        assert_eq!(json!(by_user), expected, "{fanout_limit}");
        let seen = seen.lock().unwrap();
        let bob: Vec<_> = seen
            .iter()
            .filter(|asked| data(asked)["user"] == "bob")
            .collect();
        assert_eq!(data(bob[2])["unread"], 3);
        assert_eq!(data(bob[2])["message"]["conversation"], "g:small");
    }
}

/// A back end that answers 500 until it is healed.
pub(super) fn sick() -> (BackEnd, Seen, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&healed);
    let (back, seen) = recording(move |_| match now.load(Ordering::SeqCst) {
        true => Says::Json(json!({})),
        false => Says::Status(500),
    });
    (back, seen, healed)
}

#[test]
fn what_was_recalled_or_deleted_meanwhile_is_not_told() {
    let (back, seen, healed) = sick();
    let gateway = setup(&back).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for text in ["oops", "fine"] {
        alice.send("bob", text);
    }
    alice.send("carol", "hidden");
    alice.send("dave", "first");
    wait::until("tries of all", || {
        (tries(&gateway, "status") >= 3.0).then_some(())
    });
    let edit = json!({"conversation": "u:alice:dave", "seq": 1, "text": "edited"});
    alice.done("edit", &edit);
    alice.done("recall", &json!({"conversation": "u:alice:bob", "seq": 1}));
    let mut carol = gateway.dial().connect("carol", "phone");
    carol.done(
        "delete",
        &json!({"conversation": "u:alice:carol", "seq": 1}),
    );
    healed.store(true, Ordering::SeqCst);
    let before = seen.lock().unwrap().len();
    let unseen = "trunkline_webhooks_dropped_total{reason=\"unseen\"}";
    wait::until("both are dropped", || {
        (gateway.metric(unseen) >= 2.0).then_some(())
    });
    settled(&gateway, 2.0);
    let seen = seen.lock().unwrap();
    let later: Vec<_> = seen[before..].iter().map(what).collect();
    for (user, text) in [("bob", "fine"), ("dave", "edited")] {
        let found = (user.to_owned(), text.to_owned());
        assert!(later.contains(&found), "{later:?}");
    }
    wait::until("nothing is old", || {
        (gateway.metric("trunkline_webhooks_oldest_seconds") == 0.0).then_some(())
    });
}

/// Sends messages to the users `u0`, `u1` and so on, by turns. The text is the number for the user.
pub(super) fn send_many(dial: &Dial, users: usize, each: std::ops::Range<usize>) {
    let mut alice = dial.connect("alice", "phone");
    for user in 0..users {
        let texts = each.clone().map(|number| number.to_string());
        alice.send_all(&format!("u{user}"), texts);
    }
}

/// Checks that each of these users was told of each number at least once, each number with one id, and
/// the numbers in their order if repetitions do not count.
pub(super) fn check_all(seen: &[Asked], users: usize, numbers: usize) {
    let mut ids = HashMap::new();
    let mut next = HashMap::<String, usize>::new();
    for asked in seen {
        let (user, text) = what(asked);
        let number: usize = text.parse().expect("a number");
        let before = ids.insert((user.clone(), number), id(asked).to_owned());
        assert!(
            before.is_none_or(|before| before == id(asked)),
            "{user} {number}"
        );
        let next = next.entry(user.clone()).or_default();
        assert!(number <= *next, "{user}: {number} before {next}");
        *next = (*next).max(number + 1);
    }
    assert_eq!(ids.len(), users * numbers);
    let all: HashSet<_> = ids.values().collect();
    assert_eq!(all.len(), ids.len());
    assert!(next.len() == users && next.values().all(|next| *next == numbers));
}

#[test]
fn none_of_ten_thousand_is_missing_after_kills_and_each_has_one_id() {
    const USERS: usize = 100;
    const NUMBERS: usize = 100;
    let (back, seen) = recording(ok);
    let mut gateway = setup(&back).start();
    std::thread::scope(|threads| {
        let dial = gateway.dial();
        let sending = threads.spawn(move || send_many(&dial, USERS, 0..NUMBERS));
        told(&seen, USERS * NUMBERS / 10);
        sending.join().expect("all are stored");
    });
    for part in [3, 6] {
        let told = told(&seen, USERS * NUMBERS * part / 10);
        assert!(told.len() < USERS * NUMBERS, "told before the kill");
        gateway.kill();
        gateway.start_again();
    }
    told(&seen, USERS * NUMBERS);
    wait::until("nothing waits", || {
        let behind = gateway.metric("trunkline_webhooks_behind_bytes");
        let waiting = gateway.metric("trunkline_webhooks_waiting");
        (behind + waiting == 0.0).then_some(())
    });
    check_all(&seen.lock().unwrap(), USERS, NUMBERS);
    // After a stop in order nothing is told twice.
    let before = seen.lock().unwrap().len();
    gateway.stop();
    gateway.start_again();
    gateway
        .dial()
        .connect("alice", "phone")
        .send("u0", &NUMBERS.to_string());
    let told = told(&seen, before + 1);
    assert_eq!(what(&told[before]), ("u0".to_owned(), NUMBERS.to_string()));
}

#[test]
fn more_than_may_wait_stay_in_the_log_until_there_is_room() {
    // One message each: nobody has more than a share of the places.
    const USERS: usize = 10_500;
    const NUMBERS: usize = 1;
    let (back, seen, healed) = sick();
    let mut gateway = setup(&back).start();
    send_many(&gateway.dial(), USERS, 0..NUMBERS);
    let waiting = "trunkline_webhooks_waiting";
    wait::until("as many wait as may", || {
        (gateway.metric(waiting) >= 10_000.0).then_some(())
    });
    wait::until("the rest is in the log", || {
        (gateway.metric("trunkline_webhooks_behind_bytes") > 0.0).then_some(())
    });
    assert!(gateway.metric(waiting) < 10_500.0);
    // A stop in order keeps it all.
    gateway.stop();
    let tried: HashMap<_, _> = {
        let seen = seen.lock().unwrap();
        seen.iter()
            .map(|asked| (what(asked), id(asked).to_owned()))
            .collect()
    };
    seen.lock().unwrap().clear();
    healed.store(true, Ordering::SeqCst);
    gateway.start_again();
    told(&seen, USERS * NUMBERS);
    let seen = seen.lock().unwrap();
    check_all(&seen, USERS, NUMBERS);
    for asked in seen.iter() {
        assert!(
            tried
                .get(&what(asked))
                .is_none_or(|before| before == id(asked))
        );
    }
}

fn hostile(asked: &Asked) -> Says {
    let big = |head: &str| {
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(10_000_000, b'x');
        bytes
    };
    match data(asked)["user"].as_str() {
        Some("h500") => Says::Status(500),
        Some("h404") => Says::Status(404),
        Some("hhang") => Says::Hang,
        Some("hclose") => Says::Close,
        Some("hgarbage") => Says::Raw(b"\x00\xffwhat is HTTP?\r\n\r\n".to_vec()),
        Some("hhead") => Says::Slow(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
        // The status is all that counts of these.
        Some("hbig") => Says::Raw(big("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")),
        Some("hendless") => Says::Raw(big("HTTP/1.1 202 x\r\n\r\n")),
        Some("hslow") => Says::Slow(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec()),
        Some("hhtml") => Says::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<html>a-secret-word</html>".to_vec(),
        ),
        _ => ok(asked),
    }
}

#[test]
fn a_hostile_back_end_is_tried_again_and_nobody_else_notices() {
    const BAD: [&str; 6] = ["h500", "h404", "hhang", "hclose", "hgarbage", "hhead"];
    const GOOD: [&str; 4] = ["hbig", "hendless", "hslow", "hhtml"];
    let (back, seen) = recording(hostile);
    let gateway = setup(&back).flag("callbacks-timeout", "500ms").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    for user in BAD.into_iter().chain(GOOD).chain(["fine"]) {
        for text in ["one", "two"] {
            alice.send(user, text);
        }
        // Others go on meanwhile.
        alice.send("bob", user);
        assert_eq!(bob.push_of("message")["text"], user);
    }
    wait::until("the good ones are told", || {
        (tries(&gateway, "told") >= 10.0).then_some(())
    });
    wait::until("the bad ones are tried again", || {
        let seen = seen.lock().expect("nobody panicked");
        let tries = |user: &&str| {
            seen.iter()
                .filter(|asked| data(asked)["user"] == **user)
                .count()
        };
        BAD.iter().all(|user| tries(user) >= 2).then_some(())
    });
    let seen = seen.lock().unwrap();
    for user in BAD {
        // The first message of each is told again and again, and the second one waits.
        let of_user: Vec<_> = seen
            .iter()
            .filter(|asked| data(asked)["user"] == user)
            .collect();
        assert!(
            of_user
                .iter()
                .all(|asked| what(asked).1 == "one" && id(asked) == id(of_user[0]))
        );
    }
    for user in GOOD {
        let of_user = seen.iter().filter(|asked| data(asked)["user"] == user);
        let mut texts: Vec<_> = of_user.map(|asked| what(asked).1).collect();
        // An overloaded machine may fail a good answer within its time.
        texts.dedup();
        assert_eq!(texts, ["one", "two"], "{user}");
    }
    let waiting = gateway.metric("trunkline_webhooks_waiting");
    assert_eq!((tries(&gateway, "told"), waiting), (10.0, 12.0));
    for result in ["status", "broken", "late"] {
        assert!(tries(&gateway, result) >= 1.0, "{result}");
    }
    let log = gateway.process().stderr();
    let lines = log
        .lines()
        .filter(|line| line.contains("a back end is not told"))
        .count();
    assert!((1..=4).contains(&lines), "{log}");
    assert!(
        !log.contains("secret-word") && !log.contains("msg_") && !log.contains("v1,"),
        "{log}"
    );
}

#[test]
fn what_a_back_end_is_not_told_in_time_is_given_up() {
    let (back, _) = recording(ok);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = setup(&back)
        .flag(
            "webhooks-offline",
            format!("http://{nobody}/offline?key=a-secret-word"),
        )
        .flag("webhooks-give-up", "2s")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let given_up = "trunkline_webhooks_given_up_total{webhook=\"offline\"}";
    wait::until("both are given up", || {
        (gateway.metric(given_up) >= 2.0).then_some(())
    });
    assert!(tries(&gateway, "unreachable") >= 2.0);
    let line = gateway.logged("giving up");
    assert!(line.contains("offline") && !line.contains("bob"), "{line}");
    assert!(!gateway.process().stderr().contains("a-secret-word"));
    settled(&gateway, 0.0);
}

#[test]
fn another_store_begins_at_its_end_and_without_the_webhook_nothing_is_kept() {
    let (back, seen, healed) = sick();
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut gateway = setup(&back).start_on(&one);
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "of one");
    wait::until("a try", || (tries(&gateway, "status") >= 1.0).then_some(()));
    gateway.stop();
    // The file of one store in the folder of another one, which has a message at the same place.
    let mut plain = Setup::default().start_on(&two);
    plain.dial().connect("alice", "phone").send("bob", "of two");
    plain.stop();
    let file = std::fs::read_to_string(one.join("webhooks")).unwrap();
    assert!(
        file.contains("u:alice:bob") && !file.contains("of one"),
        "{file}"
    );
    std::fs::copy(one.join("webhooks"), two.join("webhooks")).unwrap();
    seen.lock().unwrap().clear();
    healed.store(true, Ordering::SeqCst);
    let mut gateway = setup(&back).start_on(&two);
    gateway.logged("going on at its end");
    gateway.dial().connect("alice", "phone").send("bob", "new");
    let told = told(&seen, 1);
    assert_eq!(what(&told[0]), ("bob".to_owned(), "new".to_owned()));
    gateway.stop();
    // Without the webhook the file goes, and a later start begins at the end.
    let mut plain = Setup::default().start_on(&two);
    assert!(!two.join("webhooks").exists());
    plain
        .dial()
        .connect("alice", "phone")
        .send("bob", "meanwhile");
    plain.stop();
    let mut gateway = setup(&back).start_on(&two);
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "later");
    let told = self::told(&seen, 2);
    assert_eq!(what(&told[1]), ("bob".to_owned(), "later".to_owned()));
    gateway.stop();
    // A damaged file is not taken for an empty one.
    std::fs::write(two.join("webhooks"), "trunkline webhooks 2\nposi").unwrap();
    let exit = setup(&back).flag("data", two.display()).run("serve");
    assert!(
        !exit.status.success() && exit.stderr.contains("remove it"),
        "{exit:?}"
    );
    assert!(exit.stderr.contains("webhooks"), "{exit:?}");
}

#[test]
fn standardwebhooks_from_pypi_verifies_each_try() {
    let Some(mut python) = scripts::python() else {
        return;
    };
    let (back, seen) = recording(ok);
    let gateway = setup(&back).start();
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "ein Wörtchen");
    let asked = told(&seen, 1).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, &asked.raw).unwrap();
    let script = "import json, sys\n\
                  from standardwebhooks import Webhook\n\
                  secret, headers, body = sys.argv[1], json.loads(sys.argv[2]), open(sys.argv[3]).read()\n\
                  print(Webhook(secret).verify(body, headers)['data']['message']['text'])\n\
                  try:\n    Webhook(secret).verify(body + ' ', headers)\n\
                  except Exception:\n    print('forged')\n";
    let headers = serde_json::to_string(&asked.headers).unwrap();
    python
        .args(["-c", script, back.secret(), &headers])
        .arg(&body);
    let exit = Process::start(&mut python).ended();
    assert_eq!(exit.stdout, "ein Wörtchen\nforged\n", "{exit:#?}");
}
