//! Errors over HTTP that name their fix, and mistakes that would go unnoticed without one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};
use trunkline_tests::api::{Api, json, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::Setup;
use trunkline_tests::http::{Answer, exchange};
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, claims_with};
use trunkline_tests::wait::{self, LIMIT};

/// An answer must be an error with this status and with all of these words in its `detail`.
fn says(answer: &Answer, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    let detail = json(answer)["detail"].to_string();
    for word in words {
        assert!(detail.contains(word), "{word:?} is not in {detail}");
    }
}

#[test]
fn fields_that_nobody_reads_are_named() {
    let gateway = Setup::default().http().start();
    let alice = Api::of(&gateway).user("alice");
    let get = |query: &str| alice.ask("GET", &format!("/api/v1/{query}"), None);
    for (query, words) in [
        ("rtm.receive?lastpos=now", ["lastpos", "lastPos"]),
        ("rtm.receive?sourceID=alice&foo=1", ["foo", "sourceID"]),
        (
            "rtm.receive?limit=many",
            ["limit", "the query is not right"],
        ),
        ("rtm.receive?wait=1m", ["wait", "30s"]),
        ("rtm.receive?wait=61s", ["60s", "500ms"]),
        ("events?sinc=0", ["sinc", "since"]),
    ] {
        let answer = get(query);
        says(&answer, 400, &words);
        assert!(!answer.body.contains("eserialize"), "{answer:?}");
    }
    for wait in ["1ms", "0", "0s", "1"] {
        let path = format!("rtm.receive?wait={wait}&limit=1");
        assert_eq!(get(&path).status, 200, "{wait}");
    }
    let post = |path: &str, body: &str| alice.ask("POST", path, Some(body));
    let message = "{\"user\":\"bob\",\"text\":\"hi\"}";
    let rtm = "{\"targetID\":\"bob\",\"text\":\"hi\"}";
    for (path, body) in [
        ("/api/v1/send?text=hi", message),
        ("/api/v1/conversations?limit=5", "{}"),
        ("/api/v1/rtm.send?key=k", rtm),
        ("/api/v1/media?name=a.png", "x"),
        ("/api/v1/media/x/link?seconds=5", "{}"),
    ] {
        says(&post(path, body), 400, &["body"]);
    }
    // Nothing was sent by them.
    assert_eq!(post("/api/v1/send?", message).status, 200);
    let page = alice.post("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(page["last"], 1);
    let admin = Api::admin(&gateway);
    for path in ["sessions?usr=bob", "users/bob?name=x"] {
        let answer = admin.ask("GET", &format!("/admin/v1/{path}"), None);
        says(&answer, 400, &["the query is not right", "unknown field"]);
    }
}

/// In development mode the user may be in the query.
#[test]
fn a_wrong_query_is_said_to_be_wrong_also_where_it_names_the_user() {
    let gateway = Setup::default().http().start();
    let api = Api::of(&gateway);
    let path = "/api/v1/rtm.receive?sourceID=bob&lastpos=0";
    says(&api.ask("GET", path, None), 400, &["lastpos"]);
}

#[test]
fn another_method_gets_the_names_of_those_that_there_are() {
    let gateway = Setup::default().http().start();
    let (api, admin) = (Api::of(&gateway).user("alice"), Api::admin(&gateway));
    for (api, method, path, allowed) in [
        (&api, "GET", "/api/v1/send", "use POST"),
        (&api, "GET", "/api/v1/media", "use POST"),
        (&api, "POST", "/api/v1/rtm.receive", "use GET or HEAD"),
        (&api, "PUT", "/api/v1/events", "use GET or HEAD"),
        (&admin, "GET", "/admin/v1/revoke", "use POST"),
        (&admin, "POST", "/admin/v1/users/bob", "DELETE"),
        (&admin, "POST", "/metrics", "use GET or HEAD"),
        (&admin, "DELETE", "/healthz", "use GET or HEAD"),
    ] {
        let answer = api.ask(method, path, Some(""));
        says(&answer, 405, &[method, allowed]);
        assert!(
            answer.head.to_lowercase().contains("\r\nallow: "),
            "{answer:?}"
        );
    }
}

/// A page of another origin may read which methods there are.
#[test]
fn another_method_keeps_the_headers_for_pages() {
    let gateway = Setup::default().http().start();
    let page = "http://localhost:3000";
    let api = Api::of(&gateway).user("alice").header("Origin", page);
    let answer = api.ask("PUT", "/api/v1/events", Some(""));
    says(&answer, 405, &["use GET or HEAD"]);
    let allowed = format!("access-control-allow-origin: {page}\r\n");
    assert!(answer.head.contains(&allowed), "{answer:?}");
}

#[test]
fn every_path_of_the_control_port_has_errors_in_one_form() {
    let gateway = Setup::default().start();
    let admin = Api::admin(&gateway);
    let foreign = admin.clone().header("Origin", "https://evil.example");
    for (answer, status) in [
        (admin.ask("GET", "/nope", None), 404),
        (admin.ask("GET", "/admin/v1/nope", None), 404),
        (admin.ask("POST", "/metrics", Some("")), 405),
        (foreign.ask("GET", "/metrics", None), 403),
    ] {
        assert_eq!(problem(&answer).0, status);
        let head = answer.head.to_lowercase();
        assert!(
            head.contains("content-type: application/problem+json"),
            "{answer:?}"
        );
    }
    let two = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(problem(&exchange(gateway.control(), two)).0, 400);
}

#[test]
fn media_in_the_forms_that_curl_sends_by_mistake() {
    let gateway = Setup::default().http().start();
    let alice = Api::of(&gateway).user("alice");
    let form = "application/x-www-form-urlencoded";
    for kind in [form, "Application/X-WWW-Form-URLEncoded; charset=utf-8"] {
        let api = alice.clone().header("Content-Type", kind);
        let answer = api.ask("POST", "/api/v1/media", Some(""));
        says(&answer, 415, &["--data-binary", "Content-Type"]);
    }
    let bad = json!({"targetID": "bob", "encodedMedia": "a*b"});
    let answer = alice.ask("POST", "/api/v1/rtm.send", Some(&bad.to_string()));
    says(&answer, 400, &["encodedMedia", "groups of four"]);
    assert!(!answer.body.contains("offset"), "{answer:?}");
}

#[test]
fn times_in_seconds_where_milliseconds_are_due_are_refused() {
    let gateway = Setup::default().http().start();
    let mut socket = gateway.dial().connect("alice", "phone");
    socket.send("bob", "hi");
    let api = Api::of(&gateway).user("alice");
    let mute = |until: u64| json!({"conversation": "u:alice:bob", "muted_until": until});
    for until in [1_000_000_000, 1_796_003_870, 99_999_999_999] {
        assert_eq!(socket.refused("settings", &mute(until)), 107, "{until}");
        let answer = api.ask("POST", "/api/v1/settings", Some(&mute(until).to_string()));
        says(&answer, 400, &["muted_until", "milliseconds since 1970"]);
    }
    for until in [0, 1, 100_000_000_000, 4_102_444_800_000] {
        socket.done("settings", &mute(until));
    }
}

#[test]
fn tokens_for_others_say_which_setting_decides() {
    let detail = |audience: Option<&str>, issuer: Option<&str>, claims: Value| {
        let service = Service::new(Signer::edwards(), |setup| {
            let mut setup = setup.http();
            for (flag, value) in [("jwt-audience", audience), ("jwt-issuer", issuer)] {
                if let Some(value) = value {
                    setup = setup.flag(flag, value);
                }
            }
            setup
        });
        let token = service.signer.sign(&claims_with("alice", claims));
        let api = Api::of(&service.gateway).token(&token);
        let answer = api.ask("POST", "/api/v1/conversations", None);
        assert_eq!(problem(&answer).0, 401);
        json(&answer)["detail"].to_string()
    };
    let none = detail(None, None, json!({"aud": "chat"}));
    assert!(
        none.contains("set jwt_audience") && none.contains("leave"),
        "{none}"
    );
    let missing = detail(Some("chat"), None, json!({}));
    assert!(missing.contains("names no audience"), "{missing}");
    let other = detail(Some("chat"), None, json!({"aud": "mail"}));
    assert!(
        other.contains("another audience") && other.contains("jwt_audience"),
        "{other}"
    );
    // Who has no token may not learn which audience that is.
    assert!(!other.contains("chat"), "{other}");
    let issuer = detail(None, Some("https://id"), json!({}));
    assert!(issuer.contains("jwt_issuer"), "{issuer}");
    let old = detail(None, None, json!({"exp": 1}));
    assert!(
        old.contains("use a new one") && !old.contains("connect"),
        "{old}"
    );
}

/// One line a minute, which the unit tests of the back ends look into.
#[test]
fn each_kind_of_failure_of_a_back_end_is_error_120_and_the_log_has_a_line_a_minute() {
    let back = BackEnd::start(|asked| match asked.body["text"].as_str() {
        Some("500") => Says::Status(500),
        Some("404") => Says::Status(404),
        Some("list") => Says::Json(json!([1])),
        Some("long") => Says::Json(json!({"text": "x".repeat(70_000)})),
        Some("close") => Says::Close,
        _ => Says::Json(json!({})),
    });
    let gateway = back.asked_by(Setup::default().http(), &["send"]).start();
    let alice = Api::of(&gateway).user("alice");
    let send = |text: &str| {
        let body = json!({"user": "bob", "text": text}).to_string();
        alice.ask("POST", "/api/v1/send", Some(&body))
    };
    let began = std::time::Instant::now();
    for text in ["500", "list", "404", "close", "long", "500"] {
        let answer = send(text);
        says(&answer, 503, &["fails or does not answer"]);
        assert_eq!(problem(&answer).1, 120);
    }
    let lines = || {
        let log = gateway.process().stderr();
        let lines = log.lines().filter(|line| line.contains("a back end fails"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = gateway.logged("a back end fails");
    assert!(
        first.contains("failures=1") && first.contains("the status 500"),
        "{first}"
    );
    // The others come together, a minute later.
    let minutes = began.elapsed().as_secs() / 60;
    assert!(lines().len() as u64 <= minutes + 1, "{:?}", lines());
    assert_eq!(send("fine").status, 200);
}

/// A back end of `connect` that says seconds would end each session as soon as it opens.
#[test]
fn an_end_of_sessions_in_seconds_is_a_failure_of_the_back_end() {
    let back = BackEnd::start(|_| Says::Json(json!({"user": "alice", "expires": 1_796_003_870})));
    let setup = Setup::default().http().without("dev-auth");
    let gateway = back.asked_by(setup, &["connect"]).start();
    let mut alice = gateway.dial().open();
    assert_eq!(alice.refused("connect", &json!({"token": "t"})), 120);
    let api = Api::of(&gateway).token("t");
    assert_eq!(api.refused("conversations", &json!({})), (503, 120));
    gateway.logged("not in milliseconds since 1970");
}

/// docs/http.md: a client that closes its half of the connection has gone.
#[test]
fn a_client_that_closes_its_half_waits_no_longer() {
    let gateway = Setup::default().http().start();
    let mut stream = TcpStream::connect(gateway.http()).expect("the port is open");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    let request =
        b"GET /api/v1/rtm.receive?sourceID=bob&wait=60s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    stream.write_all(request).expect("the server reads");
    let waiting = || gateway.metric("trunkline_http_waiting");
    wait::until("a request to wait", || (waiting() == 1.0).then_some(()));
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the gateway closes");
    assert!(all.is_empty(), "{all:?}");
    wait::until("nobody to wait", || (waiting() == 0.0).then_some(()));
}
