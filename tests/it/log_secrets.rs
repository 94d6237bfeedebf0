//! What no line of the log has, at any level: texts, tokens and signatures. Clients, back ends, a store of
//! media and operators do all that they can do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::api::{self, Api};
use trunkline_tests::back_end::{Asked, BackEnd, Says};
use trunkline_tests::gateway::Setup;
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, claims_with};
use trunkline_tests::wait::until;

use crate::admin_tokens::made;

/// What every text has.
const TEXT: &str = "swordfish";

/// The key of the store of media, which signs requests to it.
const KEY: &str = "s3cr3t-k3y";

/// The answer of a store that has no files.
const EMPTY: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>chat</Name>\
    <Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";

type Seen = Arc<Mutex<Vec<Asked>>>;

fn text(what: &str) -> String {
    format!("{TEXT} {what}")
}

/// Starts a back end for callbacks and webhooks, some of whose answers are refusals or failures.
fn back_end(seen: &Seen) -> BackEnd {
    let seen = Arc::clone(seen);
    BackEnd::start(move |asked| {
        seen.lock().expect("nobody panicked").push(asked.clone());
        let whole = String::from_utf8_lossy(&asked.raw).into_owned();
        let says = |word: &str| whole.contains(word);
        match &*asked.path {
            _ if says("refuse-it") => {
                Says::Json(json!({"error": {"code": 4_001, "message": text("why")}}))
            }
            _ if says("garbage-it") => {
                Says::Raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{TEXT}").into())
            }
            _ if says("head-it") => Says::Raw(format!("{TEXT}\r\n\r\n").into()),
            _ if says("fail-it") => Says::Status(500),
            "/rpc" => Says::Json(json!({"data": text("answer")})),
            _ => Says::Json(json!({})),
        }
    })
}

/// Starts a store that speaks S3 as far as small files need it.
fn store(seen: &Seen) -> BackEnd {
    let (seen, files) = (Arc::clone(seen), Mutex::new(HashMap::new()));
    BackEnd::start(move |asked| {
        seen.lock().expect("nobody panicked").push(asked.clone());
        let mut files = files.lock().expect("nobody panicked");
        let path = asked.path.clone();
        let (status, body) = match &*asked.method {
            "PUT" => {
                files.insert(path, asked.raw.clone());
                ("200 OK", Vec::new())
            }
            "DELETE" => ("204 No Content", Vec::new()),
            // The list of all files, which has none.
            _ if path.contains("list-type=2") => ("200 OK", EMPTY.as_bytes().to_vec()),
            _ => match files.get(&path) {
                Some(bytes) => ("200 OK", bytes.clone()),
                None => ("404 Not Found", text("not here").into_bytes()),
            },
        };
        let (status, part, body) = part_of(asked, status, body);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: \"a\"\r\nLast-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\n{part}\
             Content-Length: {length}\r\n\r\n"
        );
        Says::Raw([head.as_bytes(), &body].concat())
    })
}

/// Returns the part of a file that a request asks for: the status, the line that says which part, and the bytes.
fn part_of(asked: &Asked, status: &'static str, body: Vec<u8>) -> (&'static str, String, Vec<u8>) {
    let range = asked.headers.get("range").filter(|_| status == "200 OK");
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else {
        return (status, String::new(), body);
    };
    let first: usize = first.parse().expect("a number");
    let last = last.parse().unwrap_or(usize::MAX).min(body.len() - 1);
    let line = format!("Content-Range: bytes {first}-{last}/{}\r\n", body.len());
    ("206 Partial Content", line, body[first..=last].to_vec())
}

/// Commands that send and edit messages. Some of them are refused.
fn of_messages() -> Vec<(&'static str, Value)> {
    let ab = "u:alice:bob";
    let image = json!({"type": "image/png", "data": STANDARD.encode(text("inline"))});
    vec![
        (
            "send",
            json!({"user": "bob", "text": text("hello"), "key": text("key")}),
        ),
        (
            "send",
            json!({"user": "bob", "text": text("caption"), "media": image}),
        ),
        (
            "send",
            json!({"user": "carol", "text": text("meta"), "kind": "swordfish.kind", "meta": {"a": text("meta")}}),
        ),
        (
            "send",
            json!({"user": "bob", "text": text("reply"), "reply_to": 1, "mentions": ["bob"], "ttl": "1h"}),
        ),
        ("send", json!({"user": "bob", "text": text("refuse-it")})),
        ("send", json!({"user": "bob", "text": text("garbage-it")})),
        ("send", json!({"user": "bob", "text": text("head-it")})),
        ("send", json!({"user": "bob", "text": text("fail-it")})),
        (
            "send",
            json!({"user": "bob", "text": text(&"long".repeat(30_000))}),
        ),
        (
            "edit",
            json!({"conversation": ab, "seq": 1, "text": text("edited")}),
        ),
        (
            "edit",
            json!({"conversation": ab, "seq": 1, "text": text("refuse-it")}),
        ),
    ]
}

/// Other commands, and some that are not in their form.
fn of_others() -> Vec<(&'static str, Value)> {
    let ab = "u:alice:bob";
    vec![
        (
            "react",
            json!({"conversation": ab, "seq": 1, "reaction": TEXT}),
        ),
        ("recall", json!({"conversation": ab, "seq": 2})),
        ("delete", json!({"conversation": ab, "seq": 3})),
        ("history", json!({"conversation": ab})),
        ("get", json!({"conversation": ab, "seq": 1})),
        ("sync", json!({"since": "0"})),
        ("conversations", json!({})),
        (
            "receipts",
            json!({"conversation": ab, "seq": 1, "state": "read"}),
        ),
        ("ack", json!({"conversation": ab, "read": 1})),
        ("contacts", json!({"add": ["bob"]})),
        ("presence", json!({"query": ["bob"], "watch": ["bob"]})),
        (
            "group_create",
            json!({"group": "g", "name": text("name"), "members": ["bob"]}),
        ),
        (
            "group_rename",
            json!({"group": "g", "name": text("other name")}),
        ),
        (
            "group_set",
            json!({"group": "g", "picture": "https://h/swordfish.png"}),
        ),
        ("group_info", json!({"group": "g"})),
        ("send", json!({"group": "g", "text": text("to all")})),
        ("pin", json!({"conversation": "g:g", "seq": 1})),
        ("typing", json!({"conversation": ab})),
        (
            "signal",
            json!({"user": "bob", "data": {"sdp": text("signal")}}),
        ),
        (
            "subscribe",
            json!({"topic": "live", "since": text("since")}),
        ),
        ("subscribe", json!({"topic": "live"})),
        (
            "publish",
            json!({"topic": "live", "data": {"x": text("publication")}}),
        ),
        (
            "rpc",
            json!({"method": "m", "data": {"x": text("question")}}),
        ),
        ("rpc", json!({"method": "m", "data": text("refuse-it")})),
        ("rpc", json!({"method": "m", "data": text("garbage-it")})),
        ("rpc", json!({"method": "m", "data": text("head-it")})),
        // Not in their form.
        ("send", json!({"user": {"a": text("x")}, "text": text("x")})),
        ("send", json!({"user": text("x"), "text": [text("x")]})),
        (
            "history",
            json!({"conversation": text("x"), "after": text("x")}),
        ),
        ("swordfish", json!({"text": text("x")})),
    ]
}

/// Commands with texts wherever a text may be.
fn commands() -> Vec<(&'static str, Value)> {
    [of_messages(), of_others()].concat()
}

/// Does all of it on sockets, in both encodings.
fn on_sockets(service: &Service) {
    for encoding in [Json, Proto] {
        let mut alice = service.connect_in(encoding, "alice", json!({}));
        let mut bob = service.connect_in(encoding, "bob", json!({}));
        for (command, body) in commands() {
            if encoding == Proto && command == "swordfish" {
                continue;
            }
            // Some bodies cannot be said in protobuf.
            let is_odd = body["user"].is_object() || body["text"].is_array();
            if encoding == Proto && (is_odd || body["after"].is_string()) {
                continue;
            }
            alice.ask(command, &body);
        }
        bob.ping();
        bob.close();
        let broken = format!("{{\"id\":1,\"send\":{{\"text\":\"{TEXT}\"");
        let opcode = if encoding == Json {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        alice.write_frame(opcode, broken.as_bytes());
        let wrong = if encoding == Json {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        alice.write_frame(wrong, TEXT.as_bytes());
        alice.end();
    }
    let upgrade = format!(
        "GET /v1/ws?token={TEXT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TEXT}\r\n\
         Cookie: {TEXT}={TEXT}\r\nConnection: close\r\n\r\n"
    );
    trunkline_tests::http::exchange(service.gateway.ws(), upgrade.as_bytes());
    let mut client = service.gateway.dial().open();
    client.ask("connect", &json!({"token": TEXT, "device": "phone"}));
    client.end();
}

/// Does all of it over HTTP. Returns the signature of a link.
fn over_http(service: &Service, token: &str) -> String {
    let api = Api::of(&service.gateway).token(token);
    for (command, body) in commands() {
        api.ask(
            "POST",
            &format!("/api/v1/{command}"),
            Some(&body.to_string()),
        );
    }
    let media = STANDARD.encode(text("media"));
    for body in [
        json!({"targetID": "bob", "text": text("rtm")}),
        json!({"targetID": "bob", "encodedMedia": media}),
        json!({"targetID": "bob", "mediaURL": format!("https://h/{TEXT}")}),
        json!({"sourceID": "mallory", "targetID": "bob", "text": text("rtm")}),
    ] {
        api.ask("POST", "/api/v1/rtm.send", Some(&body.to_string()));
    }
    api.ask(
        "POST",
        "/api/v1/send",
        Some(&format!("{{\"text\":\"{TEXT}\"")),
    );
    for path in [
        "rtm.receive?limit=5",
        "rtm.receive?targetID=bob",
        "rtm.receive?lastPos=swordfish",
        "swordfish?swordfish=swordfish",
    ] {
        api.ask("GET", &format!("/api/v1/{path}"), None);
    }
    let mut stream = api.begin("GET", "/api/v1/events?since=0");
    stream.head();
    let plain = api.clone().header("Content-Type", "text/plain");
    let answer = plain.ask("POST", "/api/v1/media", Some(&text("uploaded")));
    assert_eq!(answer.status, 201, "{answer:?}");
    let path = api::json(&answer)["url"]
        .as_str()
        .expect("a path")
        .to_owned();
    assert_eq!(api.ask("GET", &path, None).status, 200);
    let link = api.ask("POST", &format!("{path}/link"), None);
    let link = api::json(&link)["url"].as_str().expect("a link").to_owned();
    let nobody = Api::of(&service.gateway);
    assert_eq!(nobody.ask("GET", &link, None).status, 200);
    let (_, query) = link.split_once('?').expect("a query");
    let signature = { query.split('&') }
        .filter_map(|part| part.split_once('='))
        .max_by_key(|(_, value)| value.len());
    let signature = signature.expect("a signature").1.to_owned();
    assert!(signature.len() >= 20, "{link}");
    let forged = link.replace(&signature, &"swordfish".repeat(4));
    assert_ne!(nobody.ask("GET", &forged, None).status, 200);
    for wrong in [TEXT, &format!("{token}{TEXT}")] {
        let api = Api::of(&service.gateway).token(wrong);
        assert_eq!(api.ask("POST", "/api/v1/conversations", None).status, 401);
    }
    signature
}

/// Does what operators do.
fn as_operator(service: &Service, token: &str) {
    let admin = Api::at(service.gateway.control()).token(token);
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        let answer = admin.ask(method, &format!("/admin/v1/{path}"), body.as_deref());
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
    };
    ask("GET", "stats", None);
    ask("GET", "sessions", None);
    ask("GET", "users/alice", None);
    let body = json!({"user": "bob", "text": text("as alice")});
    ask("POST", "as/alice/send", Some(body));
    let body = json!({"topic": "live", "data": text("published")});
    ask("POST", "publish", Some(body));
    let body = json!({"user": "dave", "token_id": text("id")});
    ask("POST", "disconnect", Some(body));
    ask("POST", "revoke", Some(json!({"token_id": text("id")})));
    ask("POST", "users/alice/export", None);
    ask("DELETE", "users/alice", None);
    let wrong = Api::at(service.gateway.control()).token(TEXT);
    assert_eq!(wrong.ask("GET", "/admin/v1/stats", None).status, 401);
    until("the erasure to end", || {
        let shown = admin.done("GET", "/admin/v1/users/alice", None);
        (shown["erasure"]["state"] == "complete").then_some(())
    });
}

/// Returns the signatures of requests: those of webhooks and callbacks, and those of S3.
fn signatures(seen: &Seen) -> Vec<String> {
    let seen = seen.lock().expect("nobody panicked");
    let mut found = Vec::new();
    for asked in seen.iter() {
        if let Some(signature) = asked.headers.get("webhook-signature") {
            let (_, signature) = signature.split_once(',').expect("a version");
            found.push(signature.to_owned());
        }
        if let Some(line) = asked.headers.get("authorization") {
            let (_, signature) = line.split_once("Signature=").expect("a signature");
            found.push(signature.to_owned());
        }
    }
    found
}

#[test]
fn no_level_of_the_log_has_texts_tokens_or_signatures() {
    let (asked, stored) = (Seen::default(), Seen::default());
    let (back, store) = (back_end(&asked), store(&stored));
    let folder = tempfile::tempdir().expect("a folder");
    let (variables, admins) = (
        folder.path().join("variables"),
        folder.path().join("admins"),
    );
    let url = store.url("");
    let lines = format!(
        "AWS_ENDPOINT_URL={url}\nAWS_ALLOW_HTTP=true\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY={KEY}\n"
    );
    std::fs::write(&variables, lines).expect("a file can be written");
    let operator = made("ops", "all");
    std::fs::write(&admins, format!("{}\n", operator.line)).expect("a file can be written");
    let kinds = ["connect", "send", "subscribe", "rpc", "offline", "presence"];
    let mut service = Service::new(Signer::hmac(), |setup: Setup| {
        back.asked_by(setup.http().patient(), &kinds)
            .flag("log", "trace")
            .flag("presence-grace", "0ms")
            .flag("media", "s3://chat")
            .flag("media-s3-file", variables.display())
            .flag("admin-tokens", admins.display())
    });
    let token = service.signer.sign(&claims_with("alice", json!({})));
    on_sockets(&service);
    let link = over_http(&service, &token);
    as_operator(&service, &operator.token);
    until("a webhook of each kind", || {
        let asked = asked.lock().expect("nobody panicked");
        let has = |path: &str| asked.iter().any(|asked| asked.path == path);
        (has("/offline") && has("/presence")).then_some(())
    });
    service.gateway.stop();
    let log = service.gateway.process().stderr();
    // All levels are there, and what may be.
    for there in ["TRACE", "DEBUG", "INFO", "alice", "ops"] {
        assert!(log.contains(there), "{there}: {log}");
    }
    let mut secrets = signatures(&asked);
    let of_callbacks = secrets.len();
    secrets.extend(signatures(&stored));
    assert!(of_callbacks > 10 && secrets.len() > of_callbacks + 2);
    secrets.extend(token.split('.').skip(1).map(str::to_owned));
    let others = [TEXT, KEY, &link, &operator.token, back.secret()];
    secrets.extend(others.map(str::to_owned));
    let inside = ["inline", "media"].map(|what| STANDARD.encode(text(what)));
    secrets.extend(inside);
    for secret in secrets {
        let found = log.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "{secret}: {found:?}");
    }
}
