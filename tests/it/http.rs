//! The client API over HTTP: commands, who asks, errors, and web pages.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde_json::{Value, json};
use trunkline_tests::api::{self, Api, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::service::Service;
use trunkline_tests::tls::Authority;
use trunkline_tests::tokens::{claims, claims_with, now};

fn gateway() -> Gateway {
    Setup::default().http().start()
}

/// Returns the next push of an event, and skips others.
fn next(client: &mut Client, event: &str) -> Value {
    loop {
        let mut push = client.push();
        if !push[event].is_null() {
            return push[event].take();
        }
    }
}

#[test]
fn messages_go_both_ways_between_requests_and_sockets() {
    let gateway = gateway();
    let mut bob = gateway.dial().connect("bob", "phone");
    let alice = Api::of(&gateway).user("alice");
    let sent = alice.post("send", &json!({"user": "bob", "text": "hello"}));
    assert_eq!(
        (&sent["conversation"], &sent["seq"], &sent["duplicate"]),
        (&json!("u:alice:bob"), &json!(1), &json!(false))
    );
    let push = bob.push_of("message");
    assert_eq!(
        (&push["text"], &push["from"], &push["device"]),
        (&json!("hello"), &json!("alice"), &json!("http"))
    );
    bob.send("alice", "hi");
    let page = alice.post("history", &json!({"conversation": "u:alice:bob"}));
    let messages = page["messages"].as_array().unwrap().iter();
    let texts: Vec<_> = messages.map(|message| &message["text"]).collect();
    assert_eq!(texts, ["hello", "hi"]);
    // The user's own sessions get what requests do.
    let mut tab = gateway.dial().connect("alice", "tab");
    let named = Api::of(&gateway)
        .user("alice")
        .header("X-Trunkline-Device", "bot");
    named.post("send", &json!({"user": "bob", "text": "again"}));
    assert_eq!(tab.push_of("message")["device"], "bot");
    // Another namespace has other users.
    let other = Api::of(&gateway)
        .user("alice")
        .header("X-Trunkline-Namespace", "org");
    let page = other.post("conversations", &json!({}));
    assert_eq!(page["conversations"], json!([]));
}

#[test]
fn every_command_has_its_path() {
    let gateway = gateway();
    let (alice, bob) = (
        Api::of(&gateway).user("alice"),
        Api::of(&gateway).user("bob"),
    );
    let mut carol = gateway.dial().connect("carol", "phone");
    let done = json!({});
    alice.post("send", &json!({"user": "bob", "text": "one"}));
    alice.post("send", &json!({"user": "bob", "text": "two"}));
    let about = json!({"conversation": "u:alice:bob", "seq": 1});
    let read = json!({"conversation": "u:alice:bob", "read": 1});
    assert_eq!(bob.post("ack", &read), done);
    let asked = json!({"conversation": "u:alice:bob", "seq": 1, "state": "read"});
    assert_eq!(alice.post("receipts", &asked)["users"][0]["user"], "bob");
    assert_eq!(bob.post("get", &about)["message"]["text"], "one");
    let synced = bob.post("sync", &json!({"since": "0", "limit": 1}));
    assert_eq!(synced["events"][0]["message"]["text"], "one");
    let react = json!({"conversation": "u:alice:bob", "seq": 1, "reaction": "like"});
    assert_eq!(bob.post("react", &react), done);
    let reactions = alice.post("reactions", &about);
    assert_eq!(reactions["reactions"][0]["reaction"], "like");
    assert_eq!(bob.post("delete", &about), done);
    let last = json!({"conversation": "u:alice:bob", "seq": 2});
    assert_eq!(alice.post("recall", &last), done);
    let group = json!({"group": "eng", "members": ["bob"], "name": "Engineering"});
    assert_eq!(alice.post("group_create", &group)["members"], 2);
    let members = json!({"group": "eng", "members": ["carol", "dave"]});
    assert_eq!(alice.post("group_add", &members)["members"], 4);
    assert_eq!(next(&mut carol, "group")["change"], "added");
    let one = json!({"group": "eng", "members": ["dave"]});
    assert_eq!(alice.post("group_remove", &one)["members"], 3);
    let name = json!({"group": "eng", "name": "Platform"});
    assert_eq!(alice.post("group_rename", &name), done);
    let info = bob.post("group_info", &json!({"group": "eng"}));
    assert_eq!(info["name"], "Platform");
    let role = json!({"group": "eng", "user": "bob", "role": "admin"});
    assert_eq!(alice.post("group_role", &role), done);
    let rules = json!({"group": "eng", "picture": "https://example.org/p", "join": "open"});
    assert_eq!(alice.post("group_set", &rules), done);
    alice.post("send", &json!({"group": "eng", "text": "to all"}));
    let pinned = json!({"conversation": "g:eng", "seq": 1});
    assert_eq!(bob.post("pin", &pinned), done);
    let info = bob.post("group_info", &json!({"group": "eng"}));
    assert_eq!(info["pins"][0]["seq"], 1);
    assert_eq!(bob.post("unpin", &pinned), done);
    assert_eq!(bob.post("group_leave", &json!({"group": "eng"})), done);
    assert_eq!(
        bob.post("group_join", &json!({"group": "eng"}))["members"],
        3
    );
    assert_eq!(bob.post("group_leave", &json!({"group": "eng"})), done);
    let archived = json!({"conversation": "u:alice:bob", "archived": true});
    assert_eq!(bob.post("settings", &archived), done);
    assert_eq!(bob.post("block", &json!({"user": "mallory"})), done);
    assert_eq!(bob.post("blocked", &json!({}))["users"], json!(["mallory"]));
    assert_eq!(bob.post("unblock", &json!({"user": "mallory"})), done);
    let listed = bob.post("conversations", &json!({}));
    assert_eq!(listed["conversations"][0]["conversation"], "u:alice:bob");
    let contacts = alice.post("contacts", &json!({"add": ["carol"]}));
    assert_eq!(contacts["contacts"][0]["online"], true);
    let presence = alice.post("presence", &json!({"query": ["carol", "bob"]}));
    assert_eq!(presence["users"][0]["online"], true);
    assert_eq!(presence["users"][1]["online"], false);
    assert_eq!(
        alice.post("typing", &json!({"conversation": "g:eng"})),
        done
    );
    assert_eq!(next(&mut carol, "typing")["user"], "alice");
    let signal = json!({"user": "carol", "data": {"ring": [1]}});
    assert_eq!(alice.post("signal", &signal)["online"], true);
    assert_eq!(next(&mut carol, "signal")["data"], json!({"ring": [1]}));
    let nobody = json!({"user": "nobody", "data": 1});
    assert_eq!(alice.post("signal", &nobody)["online"], false);
    carol.done("subscribe", &json!({"topic": "live.42"}));
    let published = alice.post("publish", &json!({"topic": "live.42", "data": [1]}));
    assert!(published["pos"].is_string());
    assert_eq!(next(&mut carol, "publication")["from"], "alice");
    // What needs a session has no path, or is refused.
    for command in ["connect", "subscribe", "unsubscribe", "nothing"] {
        assert_eq!(alice.refused(command, &json!({})), (404, 104), "{command}");
    }
    assert_eq!(
        alice.refused("contacts", &json!({"watch": true})),
        (400, 107)
    );
    assert_eq!(
        alice.refused("presence", &json!({"watch": ["bob"]})),
        (400, 107)
    );
}

#[test]
fn a_key_makes_a_request_safe_to_repeat() {
    let gateway = gateway();
    let alice = Api::of(&gateway).user("alice");
    let keyed = alice.clone().header("Idempotency-Key", "k-1");
    let body = json!({"user": "bob", "text": "once"});
    let first = keyed.post("send", &body);
    let again = keyed.post("send", &body);
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(first["pos"], again["pos"]);
    let same = json!({"user": "bob", "text": "once", "key": "k-1"});
    assert_eq!(alice.post("send", &same)["duplicate"], true);
    assert_eq!(keyed.post("send", &same)["duplicate"], true);
    let differs = json!({"user": "bob", "text": "once", "key": "k-2"});
    assert_eq!(keyed.refused("send", &differs), (400, 107));
    let reused = json!({"user": "bob", "text": "twice"});
    assert_eq!(keyed.refused("send", &reused), (409, 117));
    let group = json!({"group": "eng"});
    assert_eq!(keyed.post("group_create", &group)["duplicate"], Value::Null);
    assert_eq!(keyed.post("group_create", &group)["duplicate"], true);
    // For rtm.send too.
    let body = json!({"targetID": "bob", "text": "rtm"});
    let rtm = alice.header("Idempotency-Key", "k-3");
    assert_eq!(rtm.post("rtm.send", &body)["sequenceID"], "u:alice:bob:2");
    assert_eq!(rtm.post("rtm.send", &body)["duplicate"], true);
}

#[test]
fn rtm_send_takes_texts_and_media() {
    let gateway = gateway();
    let alice = Api::of(&gateway).user("alice");
    let sent = alice.post(
        "rtm.send",
        &json!({"sourceID": "alice", "targetID": "bob", "text": "hello"}),
    );
    assert_eq!(sent["sequenceID"], "u:alice:bob:1");
    assert_eq!(
        (&sent["seq"], &sent["duplicate"]),
        (&json!(1), &json!(false))
    );
    assert!(sent["pos"].is_string() && sent["time"].is_u64(), "{sent}");
    alice.post(
        "rtm.send",
        &json!({"targetID": "bob", "encodedMedia": "AQID"}),
    );
    let media =
        json!({"targetID": "bob", "mediaURL": "https://a.example/b", "mediaType": "video/mp4"});
    alice.post("rtm.send", &media);
    let page = alice.post("history", &json!({"conversation": "u:alice:bob"}));
    let message = |number: usize| &page["messages"][number]["media"];
    assert_eq!(
        message(1),
        &json!({"type": "application/octet-stream", "data": "AQID"})
    );
    assert_eq!(
        message(2),
        &json!({"type": "video/mp4", "url": "https://a.example/b"})
    );
    alice.post("group_create", &json!({"group": "eng", "members": ["bob"]}));
    let sent = alice.post("rtm.send", &json!({"targetID": "g:eng", "text": "all"}));
    assert_eq!(sent["conversation"], "g:eng");
    // In development mode the body may name the user.
    let anybody = Api::of(&gateway);
    let sent = anybody.post(
        "rtm.send",
        &json!({"sourceID": "carol", "targetID": "bob", "text": "x"}),
    );
    assert_eq!(sent["conversation"], "u:bob:carol");
    for (body, expected) in [
        (
            json!({"sourceID": "bob", "targetID": "bob", "text": "x"}),
            (403, 103),
        ),
        (json!({"text": "x"}), (400, 107)),
        (json!({"targetID": "bob"}), (400, 107)),
        (json!({"targetID": "bob", "text": 7}), (400, 107)),
        (json!({"targetID": "b b", "text": "x"}), (400, 107)),
        (json!({"targetID": "bob", "encodedMedia": "%"}), (400, 107)),
        (
            json!({"targetID": "bob", "encodedMedia": "AQID", "mediaURL": "https://a.example/"}),
            (400, 107),
        ),
        (json!({"targetID": "g:none", "text": "x"}), (403, 103)),
    ] {
        assert_eq!(alice.refused("rtm.send", &body), expected, "{body}");
    }
    assert_eq!(
        anybody.refused("rtm.send", &json!({"targetID": "bob", "text": "x"})),
        (401, 101)
    );
}

#[test]
fn errors_are_problems() {
    let gateway = Setup::default()
        .http()
        .flag("message-bytes", "4KiB")
        .start();
    let alice = Api::of(&gateway).user("alice");
    let bare = |api: &Api, method: &str, path: &str, body| problem(&api.ask(method, path, body));
    assert_eq!(bare(&alice, "GET", "/nothing", None), (404, 104));
    assert_eq!(bare(&alice, "POST", "/api/v1/x", Some("{}")), (404, 104));
    assert_eq!(bare(&alice, "POST", "/api/v2/send", Some("{}")), (404, 104));
    let answer = alice.ask("GET", "/api/v1/send", None);
    assert_eq!(problem(&answer), (405, 107));
    let allow = answer.head.to_ascii_lowercase();
    assert!(allow.contains("allow: post"), "{allow}");
    assert_eq!(bare(&alice, "DELETE", "/api/v1/events", None), (405, 107));
    let typed = |kind: &str| alice.clone().header("Content-Type", kind);
    let body = Some(r#"{"user":"bob","text":"x"}"#);
    let send = "/api/v1/send";
    assert_eq!(bare(&typed("text/plain"), "POST", send, body), (415, 107));
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        assert_eq!(typed(kind).ask("POST", send, body).status, 200, "{kind}");
    }
    let large = json!({"user": "bob", "text": "x".repeat(4_200)});
    assert_eq!(alice.refused("send", &large), (413, 106));
    for bad in [
        "",
        "{",
        "[]",
        "{}}",
        "{},\"ack\":{}",
        "\"x\"",
        "{\"text\":\"\\ud800\"}",
    ] {
        assert_eq!(bare(&alice, "POST", send, Some(bad)), (400, 107), "{bad}");
    }
    let unknown = json!({"conversation": "u:alice:zoe", "seq": 1});
    assert_eq!(alice.refused("get", &unknown), (404, 102));
    let strange = json!({"conversation": "u:bob:zoe", "seq": 1});
    assert_eq!(alice.refused("get", &strange), (403, 103));
    assert_eq!(alice.refused("sync", &json!({"since": "x"})), (400, 107));
    // Fields have the names of the request, not those of the command behind it.
    let detail = |api: &Api, method: &str, path: &str, body: Option<&str>| {
        let answer = api.ask(method, path, body);
        assert_eq!(problem(&answer), (400, 107), "{path}");
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        said["detail"].as_str().expect("a text").to_owned()
    };
    let poll = "/api/v1/rtm.receive?lastPos=zz";
    assert!(detail(&alice, "GET", poll, None).contains("\"lastPos\" is no position"));
    let stream = "/api/v1/events?since=zz";
    assert!(detail(&alice, "GET", stream, None).contains("\"since\" is no position"));
    let again = alice.clone().header("Last-Event-ID", "zz");
    assert!(detail(&again, "GET", stream, None).contains("\"Last-Event-ID\" is no position"));
    let rtm = |body: Value| detail(&alice, "POST", "/api/v1/rtm.send", Some(&body.to_string()));
    assert!(rtm(json!({"targetID": "a b", "text": "x"})).contains("targetID"));
    assert!(rtm(json!({"targetID": "bob"})).contains("encodedMedia"));
    // The position of another store.
    let other = Setup::default().http().start();
    let carol = Api::of(&other).user("carol");
    carol.post("send", &json!({"user": "dave", "text": "hello"}));
    let now = carol.get("rtm.receive?lastPos=now");
    let pos = now["lastPos"].as_str().expect("a position");
    assert_eq!(
        carol
            .ask("GET", &format!("/api/v1/rtm.receive?lastPos={pos}"), None)
            .status,
        200
    );
    assert_eq!(alice.refused("sync", &json!({"since": pos})), (410, 112));
    for path in [
        format!("rtm.receive?lastPos={pos}"),
        format!("rtm.receive?lastPos={pos}&wait=30s"),
        format!("events?since={pos}"),
    ] {
        let answer = alice.ask("GET", &format!("/api/v1/{path}"), None);
        assert_eq!(problem(&answer), (410, 112), "{path}");
    }
    assert_eq!(Api::of(&gateway).refused("send", &json!({})), (401, 101));
    let odd = Api::of(&gateway).user("a b");
    assert_eq!(odd.refused("send", &json!({})), (400, 107));
    let twice = alice.clone().user("bob");
    assert_eq!(twice.refused("send", &json!({})), (400, 107));
    let token = Api::of(&gateway).token("x.y.z");
    assert_eq!(token.refused("send", &json!({})), (401, 101));
    let many = gateway.metric("trunkline_http_errors_total{fault=\"client\"}");
    assert!(many >= 20.0, "{many}");
}

#[test]
fn pages_of_other_origins_are_refused_and_others_may_read() {
    let gateway = Setup::default()
        .http()
        .flag("allowed-origins", "https://chat.example")
        .start();
    let page = |origin: &str| Api::of(&gateway).user("alice").header("Origin", origin);
    let body = json!({"user": "bob", "text": "x"});
    for foreign in ["https://evil.example", "null", "http://chat.example"] {
        assert_eq!(
            page(foreign).refused("send", &body),
            (403, 103),
            "{foreign}"
        );
        let asks = page(foreign).header("Access-Control-Request-Method", "POST");
        let answer = asks.ask("OPTIONS", "/api/v1/send", None);
        assert_eq!(problem(&answer), (403, 103));
        assert!(!answer.head.contains("allow-origin"));
    }
    for known in ["https://chat.example", "http://localhost:3000"] {
        let answer = page(known).ask("POST", "/api/v1/send", Some(&body.to_string()));
        assert_eq!(answer.status, 200);
        let allowed = format!("access-control-allow-origin: {known}\r\n");
        assert!(answer.head.contains(&allowed), "{}", answer.head);
        let asks = page(known).header("Access-Control-Request-Method", "POST");
        let answer = asks.ask("OPTIONS", "/api/v1/send", None);
        assert_eq!(answer.status, 204);
        assert!(answer.head.contains(&allowed), "{}", answer.head);
        for header in ["authorization", "range", "if-none-match"] {
            assert!(answer.head.contains(header), "{}", answer.head);
        }
        // Errors can be read too.
        let answer = page(known).ask("POST", "/api/v1/none", Some("{}"));
        assert!(answer.head.contains(&allowed), "{}", answer.head);
    }
    // A name that leads to this machine is not this machine.
    let host = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n",
        gateway.http().port()
    );
    let answer = trunkline_tests::http::exchange(gateway.http(), host.as_bytes());
    assert_eq!(problem(&answer), (403, 103));
    let refused = gateway.metric("trunkline_http_refused_total{reason=\"origin\"}");
    assert_eq!(refused, 7.0);
}

#[test]
fn tokens_say_who_asks() {
    let service = Service::new(trunkline_tests::tokens::Signer::hmac(), Setup::http);
    let gateway = &service.gateway;
    let api = |claims: &Value| Api::of(gateway).token(&service.signer.sign(claims));
    let alice = api(&claims("alice"));
    let body = json!({"user": "bob", "text": "hello"});
    assert_eq!(alice.post("send", &body)["conversation"], "u:alice:bob");
    assert_eq!(alice.clone().user("alice").post("send", &body)["seq"], 2);
    let rtm = json!({"sourceID": "alice", "targetID": "bob", "text": "x"});
    assert_eq!(alice.post("rtm.send", &rtm)["seq"], 3);
    let other = json!({"sourceID": "bob", "targetID": "bob", "text": "x"});
    assert_eq!(alice.refused("rtm.send", &other), (403, 103));
    assert_eq!(alice.clone().user("bob").refused("send", &body), (403, 103));
    let space = alice.clone().header("X-Trunkline-Namespace", "org");
    assert_eq!(space.refused("send", &body), (403, 103));
    let phone = api(&claims_with("alice", json!({"device": "phone"})));
    assert_eq!(phone.post("send", &body)["seq"], 4);
    let device = phone.header("X-Trunkline-Device", "tab");
    assert_eq!(device.refused("send", &body), (403, 103));
    let answer = Api::of(gateway).ask("POST", "/api/v1/send", Some(&body.to_string()));
    assert_eq!(problem(&answer), (401, 101));
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("www-authenticate: bearer"), "{head}");
    let dev = Api::of(gateway).user("alice");
    assert_eq!(dev.refused("send", &body), (401, 101));
    let old = claims_with("alice", json!({"exp": now() - 10}));
    assert_eq!(api(&old).refused("send", &body), (401, 109));
    for bad in ["x", "a.b.c", ""] {
        let api = Api::of(gateway).token(bad);
        assert_eq!(api.refused("send", &body), (401, 101), "{bad}");
    }
    let basic = Api::of(gateway).header("Authorization", "Basic YTpi");
    assert_eq!(basic.refused("send", &body), (401, 101));
    // Topics are what the token says.
    let publish = |topic: &str| json!({"topic": topic, "data": 1});
    assert_eq!(alice.refused("publish", &publish("live.1")), (403, 103));
    let topics = json!({"topics": {"publish": ["live.*"]}});
    let speaker = api(&claims_with("alice", topics));
    speaker.post("publish", &publish("live.1"));
    assert_eq!(speaker.refused("publish", &publish("news")), (403, 103));
    let failures = "trunkline_token_failures_total{reason=\"expired\"}";
    assert_eq!(gateway.metric(failures), 1.0);
}

#[test]
fn the_api_speaks_tls_with_the_certificate_of_the_gateway() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let trust = authority.trust();
    let gateway = Setup::default().http().tls(&files, &trust).start();
    let line = gateway.ready_line();
    assert!(line.contains(" http=https://"), "{line}");
    let body = r#"{"user":"bob","text":"x"}"#;
    let (host, length) = (gateway.http(), body.len());
    let request = format!(
        "POST /api/v1/send HTTP/1.1\r\nHost: {host}\r\nX-Trunkline-User: alice\r\nContent-Length: {length}\r\n\r\n{body}\
         GET /api/v1/rtm.receive?wait=1s HTTP/1.1\r\nHost: {host}\r\nX-Trunkline-User: carol\r\nConnection: close\r\n\r\n"
    );
    // Without TLS, nothing is read as a request.
    let mut plain = std::net::TcpStream::connect(host).expect("the port is open");
    plain.write_all(request.as_bytes()).expect("it reads");
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    let mut stream = trust.connect(host);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers come");
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    // Not twice: what came without TLS was not carried out.
    let sent = "\"conversation\":\"u:alice:bob\",\"seq\":1,";
    assert!(answers.contains(sent), "{answers}");
    assert!(answers.contains("{\"messages\":[],"), "{answers}");
}

#[test]
fn the_description_names_every_path() {
    let gateway = gateway();
    let answer = Api::of(&gateway).ask("GET", "/openapi.json", None);
    assert_eq!(answer.status, 200);
    let described = api::json(&answer);
    assert!(described["openapi"].as_str().unwrap().starts_with("3."));
    let paths = described["paths"].as_object().expect("paths");
    let page = trunkline_tests::process::workspace().join("docs/http.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for path in paths.keys() {
        let shown = path.replace("{id}", "<id>");
        assert!(
            page.contains(shown.trim_start_matches("/api/v1/")),
            "{path}"
        );
        // A path that exists knows another method, or refuses what is missing.
        let status = Api::of(&gateway).ask("PATCH", path, None).status;
        assert_eq!(status, 405, "{path}");
    }
    for path in [
        "/api/v1/rtm.send",
        "/api/v1/rtm.receive",
        "/api/v1/events",
        "/api/v1/media",
        "/api/v1/media/{id}",
        "/api/v1/media/{id}/link",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert_eq!(paths.len(), 34 + 7);
}

/// Returns the nice values of a process's threads, by their names.
fn priorities(gateway: &Gateway) -> BTreeMap<String, i32> {
    let folder = format!("/proc/{}/task", gateway.process().id());
    let tasks = std::fs::read_dir(folder).expect("threads");
    let of = |task: std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        // The 19th field of all, and the 17th behind the name.
        let nice = rest.split_whitespace().nth(16)?.parse().ok()?;
        Some((name.to_owned(), nice))
    };
    let paths = tasks.map(|task| task.expect("a thread").path());
    paths.filter_map(of).collect()
}

#[test]
fn threads_of_http_have_a_lower_priority_than_shards() {
    let back = BackEnd::start(|_| Says::Close);
    let gateway = back.asked_by(Setup::default().http(), &["rpc"]).start();
    let nice = priorities(&gateway);
    let shard = nice.iter().find(|(name, _)| name.starts_with("shard"));
    let (_, shard) = shard.unwrap_or_else(|| panic!("{nice:?}"));
    for name in ["http", "http-events", "back-ends", "control"] {
        assert_eq!(
            nice.get(name),
            Some(&(shard + 5).min(19)),
            "{name}: {nice:?}"
        );
    }
}
