//! Media in a bucket: with a real store that speaks S3, and with one that misbehaves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;
use trunkline_tests::api::{self, Api, problem};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{Answer, exchange_on};
use trunkline_tests::s3::S3;
use trunkline_tests::tls::Authority;
use trunkline_tests::wait;

const MIB: usize = 1 << 20;

/// Sends a request of alice with these header lines and this body.
fn ask(gateway: &Gateway, first: &str, lines: &str, body: &[u8]) -> Answer {
    let head = format!("{first} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}");
    let length = format!(
        "X-Trunkline-User: alice\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), length.as_bytes(), body].concat();
    let stream = TcpStream::connect(gateway.http()).expect("the port is open");
    exchange_on(stream, &request)
}

fn upload(gateway: &Gateway, body: &[u8]) -> Answer {
    let lines = "Content-Type: text/plain\r\n";
    ask(gateway, "POST /api/v1/media", lines, body)
}

/// Uploads as soon as the store takes something, and returns the path.
fn uploaded(gateway: &Gateway, body: &[u8]) -> String {
    let answer = wait::until("the store to take a file", || {
        Some(upload(gateway, body)).filter(|answer| answer.status == 201)
    });
    let said = api::json(&answer);
    assert_eq!(said["size"], body.len());
    said["url"].as_str().expect("a path").to_owned()
}

fn get(gateway: &Gateway, path: &str, lines: &str) -> Answer {
    ask(gateway, &format!("GET {path}"), lines, b"")
}

/// Text of this length, of which no two parts are the same.
fn text(length: usize) -> String {
    let mut text: String = (0..length.div_ceil(8))
        .map(|i| format!("{i:07}\n"))
        .collect();
    text.truncate(length);
    text
}

#[test]
fn files_go_into_a_bucket_and_come_back() {
    let Some(store) = S3::start() else { return };
    let setup = || store.keeps_media_of(Setup::default().http(), "s3://chat/media/of");
    let gateway = setup().start();
    let small = uploaded(&gateway, b"hello world");
    let whole = get(&gateway, &small, "");
    assert_eq!((whole.status, &*whole.body), (200, "hello world"));
    let part = get(&gateway, &small, "Range: bytes=-3\r\n");
    assert_eq!((part.status, &*part.body), (206, "rld"));
    let head = ask(&gateway, &format!("HEAD {small}"), "", b"");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(head.head.contains("content-length: 11\r\n"), "{head:?}");
    let outside = get(&gateway, &small, "Range: bytes=11-\r\n");
    assert_eq!(problem(&outside), (416, 107));
    let empty = uploaded(&gateway, b"");
    assert_eq!(get(&gateway, &empty, "").status, 200);
    // In five parts, of which the last is smaller; read in more pieces.
    let large = text(25 * MIB);
    let path = uploaded(&gateway, large.as_bytes());
    let back = get(&gateway, &path, "");
    assert!(back.status == 200 && back.body == large, "{}", back.head);
    for range in [
        5 * MIB - 3..5 * MIB + 9,
        MIB - 1..3 * MIB + 1,
        25 * MIB - 1..25 * MIB,
    ] {
        let line = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
        let part = get(&gateway, &path, &line);
        assert!(part.status == 206 && part.body == large[range], "{line}");
    }
    assert_eq!(gateway.metric("trunkline_media_unreachable_total"), 0.0);
    assert_eq!(gateway.metric("trunkline_http_body_bytes"), 0.0);
    // Nothing is in a folder of the gateway.
    assert!(!gateway.data().join("media").exists());
    drop(gateway);
    // Another gateway, with the variables from the environment.
    let lines = std::fs::read_to_string(store.variables()).expect("a file");
    let setup = lines
        .lines()
        .fold(setup().without("media-s3-file"), |setup, line| {
            let (name, value) = line.split_once('=').expect("a variable");
            setup.environment(name, value)
        });
    let gateway = setup.start();
    let again = get(&gateway, &small, "");
    assert_eq!((again.status, &*again.body), (200, "hello world"));
}

#[test]
fn a_bucket_is_reached_by_tls_if_somebody_vouches_for_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(store) = S3::start_with_tls(&authority) else {
        return;
    };
    let setup = || store.keeps_media_of(Setup::default().http(), "s3://chat/media");
    let gateway = setup().start();
    let large = text(6 * MIB);
    let path = uploaded(&gateway, large.as_bytes());
    let part = get(&gateway, &path, "Range: bytes=-3\r\n");
    assert_eq!((part.status, &*part.body), (206, &large[6 * MIB - 3..]));
    assert_eq!(gateway.metric("trunkline_media_unreachable_total"), 0.0);
    // Nobody vouches for it.
    let lines = std::fs::read_to_string(store.variables()).expect("a file");
    let (own, foreign) = (authority.root(), other.root());
    let lines = lines.replace(&own.display().to_string(), &foreign.display().to_string());
    std::fs::write(store.variables(), lines).expect("a file can be written");
    let gateway = setup().start();
    assert_eq!(problem(&get(&gateway, &path, "")), (503, 115));
    let said = gateway.logged("media cannot be kept or read now");
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn what_no_message_names_is_removed_from_the_bucket() {
    let Some(store) = S3::start() else { return };
    let gateway = store
        .keeps_media_of(Setup::default().http(), "s3://chat")
        .flag("media-unnamed-life", "5s")
        .start();
    let named = uploaded(&gateway, b"named");
    let media = json!({"type": "text/plain", "url": named});
    let body = json!({"user": "bob", "media": media});
    Api::of(&gateway).user("alice").post("send", &body);
    let unnamed = uploaded(&gateway, b"unnamed");
    wait::until("the file to go", || {
        (get(&gateway, &unnamed, "").status == 404).then_some(())
    });
    assert_eq!(get(&gateway, &named, "").body, "named");
}

#[test]
fn a_store_that_is_killed_gets_503_until_it_is_back() {
    let Some(mut store) = S3::start() else { return };
    let gateway = store
        .keeps_media_of(Setup::default().http(), "s3://chat")
        .start();
    let large = text(20 * MIB);
    let path = uploaded(&gateway, large.as_bytes());
    // An upload and a download are under way.
    let mut up = TcpStream::connect(gateway.http()).expect("the port is open");
    let head = format!(
        "POST /api/v1/media HTTP/1.1\r\nHost: localhost\r\nX-Trunkline-User: alice\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        large.len()
    );
    up.write_all(head.as_bytes()).expect("the gateway reads");
    up.write_all(&large.as_bytes()[..12 * MIB])
        .expect("the gateway reads");
    let mut down = TcpStream::connect(gateway.http()).expect("the port is open");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Trunkline-User: alice\r\nConnection: close\r\n\r\n"
    );
    down.write_all(request.as_bytes())
        .expect("the gateway reads");
    let mut first = [0; 1_000];
    down.read_exact(&mut first).expect("the download begins");
    store.kill();
    // The download ends before its end.
    let mut rest = Vec::new();
    let _ = down.read_to_end(&mut rest);
    assert!(rest.len() + first.len() < large.len());
    // The gateway may answer before it has read all.
    let _ = up.write_all(&large.as_bytes()[12 * MIB..]);
    let answer = exchange_on(up, b"");
    assert_eq!(problem(&answer), (503, 115));
    assert_eq!(problem(&upload(&gateway, b"x")), (503, 115));
    assert_eq!(problem(&get(&gateway, &path, "")), (503, 115));
    assert!(gateway.metric("trunkline_media_unreachable_total") >= 3.0);
    gateway.logged("media cannot be kept or read now");
    let api = Api::of(&gateway).user("alice");
    assert_eq!(
        api.post("send", &json!({"user": "bob", "text": "hi"}))["seq"],
        1
    );
    store.start_again();
    uploaded(&gateway, b"x");
    let back = wait::until("the file to be there again", || {
        Some(get(&gateway, &path, "")).filter(|answer| answer.status == 200)
    });
    assert!(back.body == large);
    assert_eq!(
        gateway
            .process()
            .stderr()
            .matches("media cannot be kept")
            .count(),
        1
    );
}

/// Returns a file with the variables of a store at an address.
pub(super) fn variables(url: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::with_prefix("trunkline-s3-").expect("a folder can be made");
    let file = folder.path().join("variables");
    let lines = format!(
        "AWS_ENDPOINT_URL={url}\nAWS_ALLOW_HTTP=true\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=s3cr3t\n"
    );
    std::fs::write(&file, lines).expect("a file can be written");
    (folder, file)
}

#[test]
fn a_store_that_misbehaves_gets_503_and_nobody_else_notices() {
    let endless = [
        b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nLast-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\nContent-Length: 10000000\r\n\r\n".to_vec(),
        vec![b'x'; 10_000_000],
    ]
    .concat();
    let page = [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n".to_vec(),
        vec![b'<'; 1_000_000],
    ]
    .concat();
    let all = [
        Says::Close,
        Says::Hang,
        Says::Status(500),
        Says::Status(301),
        Says::Raw(b"\x00\x01\x02\r\n\r\n".to_vec()),
        Says::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx".to_vec()),
        Says::Raw(endless),
        Says::Raw(page),
    ];
    let (count, says) = (all.len(), Arc::new(all));
    let number = Arc::new(AtomicUsize::new(0));
    let (which, what) = (Arc::clone(&number), Arc::clone(&says));
    let store = BackEnd::start(move |_| what[which.load(Ordering::SeqCst)].clone());
    let (_folder, file) = variables(&store.url(""));
    let gateway = Setup::default()
        .http()
        .flag("http-timeout", "6s")
        .flag("media", "s3://chat")
        .flag("media-s3-file", file.display())
        .start();
    let path = "/api/v1/media/AAAAAAAAAAAAAAAAAAAAAA";
    for i in 0..count {
        number.store(i, Ordering::SeqCst);
        let what = format!("{:.100?}", says[i]);
        let answer = get(&gateway, path, "");
        assert_eq!(problem(&answer), (503, 115), "{what}");
        if !matches!(says[i], Says::Status(_) | Says::Raw(_)) {
            assert_eq!(problem(&upload(&gateway, b"x")), (503, 115), "{what}");
        }
        let api = Api::of(&gateway).user("alice");
        api.post("send", &json!({"user": "bob", "text": "hi"}));
    }
    let log = gateway.process().stderr();
    assert_eq!(log.matches("media cannot be kept").count(), 1, "{log}");
    assert!(!log.contains("s3cr3t") && log.len() < 10_000, "{log}");
}

/// Stores put tokens and what was signed into their answers.
#[test]
fn the_log_has_the_code_of_an_answer_and_no_other_text_of_it() {
    let store = BackEnd::start(|asked| {
        let body = "<Error><Code>InvalidToken</Code><Message>m3ssage</Message>\
                    <Token-0>t0ken</Token-0><StringToSign>s1gned</StringToSign></Error>";
        let status = if asked.method == "PUT" {
            "400 Bad Request"
        } else {
            "403 Forbidden"
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Says::Raw([head.as_bytes(), body.as_bytes()].concat())
    });
    let (_folder, file) = variables(&store.url(""));
    let start = || {
        Setup::default()
            .http()
            .flag("log", "trace")
            .flag("media", "s3://chat")
            .flag("media-s3-file", file.display())
            .start()
    };
    let path = "/api/v1/media/AAAAAAAAAAAAAAAAAAAAAA";
    for (is_upload, said) in [
        (true, "PUT gets 400 Bad Request (InvalidToken)"),
        (false, "GET gets 403 Forbidden (InvalidToken)"),
    ] {
        let gateway = start();
        let answer = match is_upload {
            true => upload(&gateway, b"x"),
            false => get(&gateway, path, ""),
        };
        assert_eq!(problem(&answer), (503, 115));
        gateway.logged(said);
        let log = gateway.process().stderr();
        for text in ["t0ken", "s1gned", "m3ssage", "s3cr3t", "AAAAAAAA"] {
            assert!(!log.contains(text), "{text}: {log}");
        }
    }
}

#[test]
fn a_bucket_that_cannot_be_meant_is_refused_at_the_start() {
    let said = |setup: Setup| {
        let exit = setup.run("serve");
        assert!(!exit.status.success(), "{exit:?}");
        exit.stderr
    };
    let setup = || Setup::default().http().flag("data", "/tmp/never");
    let (_folder, file) = variables("http://127.0.0.1:1");
    let plain = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, plain.replace("AWS_ALLOW_HTTP=true", "")).expect("a file");
    let with = |place: &str| {
        setup()
            .flag("media", place)
            .flag("media-s3-file", file.display())
    };
    assert!(said(with("s3://chat")).contains("AWS_ALLOW_HTTP=true"));
    assert!(said(with("s3://c")).contains("s3://bucket/prefix"));
    assert!(said(with("gs://chat")).contains("a folder, or s3://bucket/prefix"));
}
