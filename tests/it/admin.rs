//! The admin API: numbers, sessions, acting for users, ending sessions, backups.

use serde_json::{Value, json};
use trunkline_tests::api::{Api, json as body_of, problem};
use trunkline_tests::client::End;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

fn start() -> Gateway {
    Setup::default().patient().http().start()
}

fn get(admin: &Api, path: &str) -> Value {
    admin.done("GET", &format!("/admin/v1/{path}"), None)
}

fn post(admin: &Api, path: &str, body: &Value) -> Value {
    admin.done("POST", &format!("/admin/v1/{path}"), Some(body))
}

#[test]
fn numbers_agree_with_what_clients_did() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let mut alice = gateway.dial().connect("alice", "phone");
    let _bob = gateway.dial().connect("bob", "phone");
    alice.send_all("bob", (0..20).map(|i| i.to_string()));
    alice.refused("send", &json!({"user": "bob"}));
    let stats = get(&admin, "stats");
    assert_eq!(stats["sessions"], 2, "{stats}");
    assert_eq!(stats["totals"]["messages"], 20);
    assert_eq!(stats["errors"], json!({"bad_request": 1}));
    assert_eq!(stats["store"]["health"], "ok");
    let shards = stats["shards"].as_array().expect("shards");
    let sessions = |shard: &Value| shard["sessions"].as_u64().expect("a number");
    assert_eq!((shards.len(), shards.iter().map(sessions).sum()), (2, 2));
    // Rates are of the last second: a stream shows the second in which something happened.
    let mut line = admin.begin("GET", "/admin/v1/events");
    assert!(line.head().contains("content-type: text/event-stream"));
    let mut messages = 0;
    loop {
        let (_, stats) = line.event();
        // The first second may be that of the messages above.
        let is_later = stats["totals"]["messages"].as_u64() > Some(20);
        if is_later && stats["rates"]["messages"].as_f64() > Some(0.0) {
            assert!(stats["commit"]["count"].as_u64() > Some(0), "{stats}");
            assert!(stats["commit"]["p99_us"].as_u64() > Some(0), "{stats}");
            break;
        }
        alice.send("bob", "more");
        messages += 1;
        assert!(messages < 60, "no rate: {stats}");
    }
    assert_eq!(gateway.metric("trunkline_admin_streams"), 1.0);
    drop(line);
    until("the stream to end", || {
        (gateway.metric("trunkline_admin_streams") == 0.0).then_some(())
    });
}

#[test]
fn there_are_so_many_streams_and_no_more() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let mut lines: Vec<_> = (0..16)
        .map(|_| admin.begin("GET", "/admin/v1/events"))
        .collect();
    for line in &mut lines {
        assert!(line.head().starts_with("http/1.1 200"));
    }
    let refused = admin.ask("GET", "/admin/v1/events", None);
    assert_eq!(problem(&refused), (429, 111));
    // Others are served.
    assert_eq!(get(&admin, "stats")["sessions"], 0);
}

/// Returns all sessions, page by page.
fn sessions(admin: &Api, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    for _ in 0..1_000 {
        let page = get(
            admin,
            &format!("sessions?limit={limit}{query}&after={after}"),
        );
        let sessions = page["sessions"].as_array().expect("a list");
        assert!(sessions.len() <= limit, "{page}");
        all.extend(sessions.iter().cloned());
        match page["after"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return all,
        }
    }
    panic!("the pages do not end");
}

#[test]
fn sessions_come_in_pages_each_once() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let dial = gateway.dial();
    let mut clients: Vec<_> = (0..30)
        .map(|n| dial.connect(&format!("user{}", n % 10), &format!("d{n}")))
        .collect();
    let acme = dial.clone().with("namespace", "acme");
    clients.push(acme.proto().connect("user1", "phone"));
    let mut events = Api::of(&gateway)
        .user("user1")
        .begin("GET", "/api/v1/events");
    events.head();
    let names = |sessions: &[Value]| {
        let mut names: Vec<String> = { sessions.iter() }
            .map(|session| format!("{}/{}", session["user"], session["device"]))
            .collect();
        names.sort();
        names
    };
    let whole = sessions(&admin, "", 1_000);
    assert_eq!(whole.len(), 32, "{whole:?}");
    assert_eq!(names(&sessions(&admin, "", 7)), names(&whole));
    assert_eq!(names(&sessions(&admin, "", 1)), names(&whole));
    let form = |form: &str| whole.iter().filter(|one| one["form"] == form).count();
    assert_eq!((form("json"), form("protobuf"), form("events")), (30, 1, 1));
    let named: Vec<_> = whole.iter().map(|one| one["session"].as_str()).collect();
    for client in &clients {
        assert!(named.contains(&Some(client.session())), "{named:?}");
    }
    // Three devices on sockets, and a stream; another namespace has another user of this name.
    let own = sessions(&admin, "&user=user1", 2);
    assert_eq!(own.len(), 4, "{own:?}");
    assert!(
        own.iter()
            .all(|one| one["user"] == "user1" && one["namespace"] == "")
    );
    assert_eq!(sessions(&admin, "&user=user1&namespace=acme", 9).len(), 1);
    assert_eq!(sessions(&admin, "&namespace=acme", 9).len(), 1);
    assert_eq!(sessions(&admin, "&namespace=other", 9).len(), 0);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=x",
        "usr=bob",
        "user=a%20b",
    ] {
        let answer = admin.ask("GET", &format!("/admin/v1/sessions?{bad}"), None);
        assert_eq!(problem(&answer), (400, 107), "{bad}");
    }
    let user = get(&admin, "users/user1");
    assert_eq!(
        (&user["online"], &user["devices"]),
        (&json!(true), &json!(4)),
        "{user}"
    );
    assert_eq!(user["sessions"].as_array().map(Vec::len), Some(4));
    let nobody = get(&admin, "users/nobody?namespace=acme");
    assert_eq!(
        (&nobody["online"], &nobody["sessions"]),
        (&json!(false), &json!([]))
    );
}

#[test]
fn operators_act_for_users() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let mut bob = gateway.dial().connect("bob", "phone");
    let sent = post(
        &admin,
        "as/bot/send",
        &json!({"user": "bob", "text": "hello", "key": "k"}),
    );
    assert_eq!(sent["conversation"], "u:bob:bot");
    let push = bob.push_of("message");
    assert_eq!(
        (&push["from"], &push["text"]),
        (&json!("bot"), &json!("hello"))
    );
    let again = admin.clone().header("Idempotency-Key", "k");
    let again = post(
        &again,
        "as/bot/send",
        &json!({"user": "bob", "text": "hello"}),
    );
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(1), &json!(true))
    );
    let history = post(
        &admin,
        "as/bob/history",
        &json!({"conversation": "u:bob:bot"}),
    );
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(1));
    // Another namespace has another bob.
    let other = post(&admin, "as/bob/conversations?namespace=acme", &json!({}));
    assert_eq!(other["conversations"], json!([]));
    for (path, status, code) in [
        ("as/bob/connect", 404, 104),
        ("as/bob/admin", 404, 104),
        ("as/b%20b/send", 400, 107),
        ("as/bob/send?name=x", 400, 107),
    ] {
        let answer = admin.ask("POST", &format!("/admin/v1/{path}"), Some("{}"));
        assert_eq!(problem(&answer), (status, code), "{path}");
    }
    gateway.logged("an operator acted for a user");
    assert!(!gateway.process().stderr().contains("hello"));
}

#[test]
fn operators_publish() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.done("subscribe", &json!({"topic": "live.42"}));
    for (user, from) in [(json!(null), "admin"), (json!("news"), "news")] {
        let body = json!({"namespace": "", "user": user, "topic": "live.42", "data": {"goal": 1}});
        post(&admin, "publish", &body);
        let push = bob.push_of("publication");
        assert_eq!(
            (&push["from"], &push["data"]),
            (&json!(from), &json!({"goal": 1}))
        );
    }
    // Subscribers of another namespace hear nothing.
    let body = json!({"namespace": "acme", "topic": "live.42", "data": 2});
    post(&admin, "publish", &body);
    bob.ping();
    assert_eq!(bob.waiting(), Vec::<Value>::new());
    let bad = admin.ask("POST", "/admin/v1/publish", Some("{\"topic\":\"live.42\"}"));
    assert_eq!(problem(&bad), (400, 107));
}

/// A name that an operator knows from before a restart ends nobody else's session.
#[test]
fn sessions_have_other_names_after_a_restart() {
    let mut gateway = Setup::default().patient().http().flag("shards", 1).start();
    let name = |gateway: &Gateway, user: &str| {
        let page = get(&Api::admin(gateway), &format!("sessions?user={user}"));
        page["sessions"][0]["session"].clone()
    };
    let socket = gateway
        .dial()
        .connect("alice", "phone")
        .session()
        .to_owned();
    let mut events = Api::of(&gateway).user("bob").begin("GET", "/api/v1/events");
    events.head();
    let stream = name(&gateway, "bob");
    gateway.kill();
    gateway.start_again();
    let mut carol = gateway.dial().connect("carol", "phone");
    let mut events = Api::of(&gateway)
        .user("dave")
        .begin("GET", "/api/v1/events");
    events.head();
    let admin = Api::admin(&gateway);
    let disconnect = |session: &Value| {
        post(&admin, "disconnect", &json!({"session": session}))["closed"].clone()
    };
    assert_eq!(disconnect(&json!(socket)), 0);
    assert_eq!(disconnect(&stream), 0);
    carol.ping();
    assert_eq!(disconnect(&json!(carol.session())), 1);
    assert_eq!(disconnect(&name(&gateway, "dave")), 1);
}

#[test]
fn operators_end_sessions() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let dial = gateway.dial();
    let mut phone = dial.connect("bob", "phone");
    let mut tablet = dial.connect("bob", "tablet");
    let mut laptop = dial.connect("bob", "laptop");
    let mut events = Api::of(&gateway).user("bob").begin("GET", "/api/v1/events");
    events.head();
    let mut other = dial
        .clone()
        .with("namespace", "acme")
        .connect("bob", "phone");
    let mut alice = dial.connect("alice", "phone");
    let disconnect = |body: &Value| post(&admin, "disconnect", body)["closed"].clone();

    assert_eq!(disconnect(&json!({"user": "bob", "device": "watch"})), 0);
    let asked = json!({"namespace": "", "user": "bob", "device": "phone", "session": null,
        "token_id": null, "code": 4100, "reconnect": true});
    assert_eq!(disconnect(&asked), 1);
    let push = phone.push_of("disconnect");
    assert_eq!(
        (&push["code"], &push["reconnect"]),
        (&json!(4100), &json!(true))
    );
    assert!(matches!(phone.end(), End::Close(4100, _)));

    let session = laptop.session().to_owned();
    assert_eq!(disconnect(&json!({"session": session, "user": "alice"})), 0);
    assert_eq!(disconnect(&json!({"session": session})), 1);
    assert_eq!(disconnect(&json!({"session": session})), 0);
    let push = laptop.push_of("disconnect");
    assert_eq!(
        (&push["code"], &push["reconnect"]),
        (&json!(3503), &json!(false))
    );
    assert_eq!(push["delay_ms"], json!([0, 0]));
    assert!(matches!(laptop.end(), End::Close(3503, _)));

    assert_eq!(disconnect(&json!({"user": "bob"})), 2);
    assert!(matches!(tablet.end(), End::Close(3503, _)));
    loop {
        let (_, event) = events.event();
        if !event["disconnect"].is_null() {
            assert_eq!(event["disconnect"]["code"], 3503, "{event}");
            break;
        }
    }
    events.ended();
    for client in [&mut other, &mut alice] {
        client.ping();
        assert!(client.is_open());
    }
    for bad in [
        json!({}),
        json!({"namespace": "acme"}),
        json!({"user": "bob", "code": 1000}),
        json!({"user": "bob", "code": 5000}),
        json!({"session": "x"}),
        json!({"user": "bob", "sesion": "0-1"}),
    ] {
        let answer = admin.ask("POST", "/admin/v1/disconnect", Some(&bad.to_string()));
        assert_eq!(problem(&answer), (400, 107), "{bad}");
    }
    assert_eq!(gateway.metric("trunkline_admin_ended_sessions_total"), 4.0);
}

/// More sessions than one slice of an order ends, found by slices and by their user.
#[test]
fn all_sessions_of_a_user_end_however_many_there_are() {
    let gateway = Setup::default().patient().flag("shards", 1).start();
    let admin = Api::admin(&gateway);
    let mut clients: Vec<_> = (0..70)
        .map(|n| gateway.dial().connect("bob", &format!("d{n}")))
        .collect();
    let closed = post(&admin, "disconnect", &json!({"user": "bob"}));
    assert_eq!(closed, json!({"closed": 70}));
    for client in &mut clients {
        assert!(matches!(client.end(), End::Close(3503, _)));
    }
    assert_eq!(sessions(&admin, "", 100), Vec::<Value>::new());
}

#[test]
fn operators_order_backups() {
    let gateway = start();
    let admin = Api::admin(&gateway);
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "kept");
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("backup");
    let none = admin.ask("GET", "/admin/v1/backup", None);
    assert_eq!(problem(&none), (404, 102));
    let begun = admin.ask(
        "POST",
        "/admin/v1/backup",
        Some(&json!({"target": target}).to_string()),
    );
    assert_eq!((begun.status, &body_of(&begun)["number"]), (202, &json!(1)));
    until("the backup to be complete", || {
        (get(&admin, "backup")["state"] == "complete").then_some(())
    });
    let restored = Setup::default().patient().start_on(&target);
    let history = Api::admin(&restored).done(
        "POST",
        "/admin/v1/as/bob/history",
        Some(&json!({"conversation": "u:alice:bob"})),
    );
    assert_eq!(history["messages"][0]["text"], "kept");
    for bad in [
        json!({}),
        json!({"target": "backup"}),
        json!({"target": "/x", "to": "/y"}),
    ] {
        let answer = admin.ask("POST", "/admin/v1/backup", Some(&bad.to_string()));
        assert_eq!(problem(&answer), (400, 107), "{bad}");
    }
}
