//! Media: uploads, downloads, who may read them, links, and what becomes of files that no message
//! names.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trunkline_tests::api::{self, Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{Answer, exchange_on};
use trunkline_tests::wait;

fn setup() -> Setup {
    Setup::default().http()
}

/// Sends a request with these header lines and this body, and returns the answer.
fn ask(gateway: &Gateway, first: &str, lines: &str, body: &[u8]) -> Answer {
    let head = format!("{first} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}");
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), length.as_bytes(), body].concat();
    let stream = TcpStream::connect(gateway.http()).expect("the port is open");
    exchange_on(stream, &request)
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let start = format!("{name}: ");
    let line = answer
        .head
        .lines()
        .find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {name}: {answer:?}"))
}

/// Uploads a text as a user, and returns its path.
pub(super) fn upload(gateway: &Gateway, user: &str, text: &str) -> String {
    let lines = format!("X-Trunkline-User: {user}\r\nContent-Type: text/plain\r\n");
    let answer = ask(gateway, "POST /api/v1/media", &lines, text.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    let said = api::json(&answer);
    assert_eq!(said["size"], text.len());
    assert_eq!(said["type"], "text/plain");
    said["url"].as_str().expect("a path").to_owned()
}

/// Returns the status and the body of a download.
pub(super) fn download(gateway: &Gateway, user: &str, path: &str) -> (u16, String) {
    let api = Api::of(gateway).user(user);
    let answer = api.ask("GET", path, None);
    (answer.status, answer.body)
}

fn send(gateway: &Gateway, user: &str, to: Value, url: &str) {
    let mut body = to;
    body["media"] = json!({"type": "text/plain", "url": url});
    Api::of(gateway).user(user).post("send", &body);
}

/// Returns the files of media.
fn files(folder: &Path) -> Vec<PathBuf> {
    let inside = std::fs::read_dir(folder).expect("a folder");
    let paths = inside.map(|entry| entry.expect("an entry").path());
    // What says whose place it is.
    let paths = paths.filter(|path| !path.ends_with("trunkline-owner"));
    let each = paths.map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    each.flatten().collect()
}

#[test]
fn a_file_comes_back_whole_and_in_parts() {
    let gateway = setup().start();
    let path = upload(&gateway, "alice", "hello world");
    let get = |lines: &str| {
        let lines = format!("X-Trunkline-User: alice\r\n{lines}");
        ask(&gateway, &format!("GET {path}"), &lines, b"")
    };
    let whole = get("");
    assert_eq!((whole.status, &*whole.body), (200, "hello world"));
    let sum = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    assert_eq!(header(&whole, "etag"), format!("\"{sum}\""));
    assert_eq!(header(&whole, "content-type"), "text/plain");
    assert_eq!(header(&whole, "content-disposition"), "inline");
    assert_eq!(header(&whole, "x-content-type-options"), "nosniff");
    assert_eq!(header(&whole, "cache-control"), "private, no-cache");
    let head = ask(
        &gateway,
        &format!("HEAD {path}"),
        "X-Trunkline-User: alice\r\n",
        b"",
    );
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(header(&head, "content-length"), "11");
    for (lines, status, body, range) in [
        ("Range: bytes=0-4\r\n", 206, "hello", "bytes 0-4/11"),
        ("Range: bytes=6-\r\n", 206, "world", "bytes 6-10/11"),
        ("Range: bytes=-3\r\n", 206, "rld", "bytes 8-10/11"),
        ("Range: bytes=0-1,3-4\r\n", 200, "hello world", ""),
        (
            "Range: bytes=0-4\r\nIf-Range: \"other\"\r\n",
            200,
            "hello world",
            "",
        ),
    ] {
        let part = get(lines);
        assert_eq!((part.status, &*part.body), (status, body), "{lines}");
        if !range.is_empty() {
            assert_eq!(header(&part, "content-range"), range, "{lines}");
        }
    }
    let outside = get("Range: bytes=11-\r\n");
    assert_eq!(problem(&outside), (416, 107));
    assert_eq!(header(&outside, "content-range"), "bytes */11");
    let known = get(&format!("If-None-Match: \"x\", W/\"{sum}\"\r\n"));
    assert_eq!((known.status, &*known.body), (304, ""));
    // A form, with a name that wants to leave the folder.
    let form = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../a b.html\"\r\n\
                Content-Type: text/html\r\n\r\n<script>\r\n--xyz--\r\n";
    let lines = "X-Trunkline-User: alice\r\nContent-Type: multipart/form-data; boundary=xyz\r\n";
    let answer = ask(&gateway, "POST /api/v1/media", lines, form.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    let path = api::json(&answer)["url"]
        .as_str()
        .expect("a path")
        .to_owned();
    let page = ask(
        &gateway,
        &format!("GET {path}"),
        "X-Trunkline-User: alice\r\n",
        b"",
    );
    assert_eq!(page.body, "<script>");
    let saved = "attachment; filename*=UTF-8''a%20b.html";
    assert_eq!(header(&page, "content-disposition"), saved);
    // An empty file.
    let empty = upload(&gateway, "alice", "");
    assert_eq!(download(&gateway, "alice", &empty), (200, String::new()));
    for path in ["/api/v1/media/x", "/api/v1/media/AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(download(&gateway, "alice", path).0, 404, "{path}");
    }
    assert_eq!(gateway.metric("trunkline_media_uploads_total"), 3.0);
}

#[test]
fn the_uploader_and_the_members_of_conversations_may_read() {
    let mut gateway = setup().start();
    let api = |user: &str| Api::of(&gateway).user(user);
    let path = upload(&gateway, "alice", "secret");
    let may = |gateway: &Gateway, user: &str| download(gateway, user, &path).0;
    assert_eq!(may(&gateway, "alice"), 200);
    assert_eq!(may(&gateway, "bob"), 403);
    // Mallory has learned the id, and gains nothing by naming it.
    send(&gateway, "mallory", json!({"user": "mallory"}), &path);
    send(&gateway, "mallory", json!({"user": "eve"}), &path);
    assert_eq!((may(&gateway, "mallory"), may(&gateway, "eve")), (403, 403));
    // On a socket, with a whole URL.
    let mut alice = gateway.dial().connect("alice", "phone");
    let url = format!("https://chat.example{path}");
    let media = json!({"type": "text/plain", "url": url});
    alice.done("send", &json!({"user": "bob", "media": media}));
    assert_eq!((may(&gateway, "bob"), may(&gateway, "carol")), (200, 403));
    // Bob passes it on, to a group that grows and shrinks.
    api("bob").post(
        "group_create",
        &json!({"group": "eng", "members": ["carol"]}),
    );
    let rtm = json!({"targetID": "g:eng", "mediaURL": path});
    api("bob").post("rtm.send", &rtm);
    assert_eq!((may(&gateway, "carol"), may(&gateway, "dave")), (200, 403));
    api("bob").post("group_add", &json!({"group": "eng", "members": ["dave"]}));
    assert_eq!(may(&gateway, "dave"), 200);
    api("bob").post(
        "group_remove",
        &json!({"group": "eng", "members": ["dave"]}),
    );
    assert_eq!(may(&gateway, "dave"), 403);
    // The same names in another organisation are others.
    let other = api("alice").header("X-Trunkline-Namespace", "org");
    assert_eq!(other.ask("GET", &path, None).status, 404);
    let stranger = Api::of(&gateway).ask("GET", &path, None);
    assert_eq!(problem(&stranger), (401, 101));
    gateway.kill();
    let gateway = setup().start_on(gateway.data());
    for (user, status) in [("alice", 200), ("bob", 200), ("carol", 200), ("eve", 403)] {
        assert_eq!(may(&gateway, user), status, "{user}");
    }
}

#[test]
fn media_that_no_message_names_any_more_are_the_uploaders_again() {
    let gateway = setup().start();
    let api = Api::of(&gateway).user("alice");
    for (to, conversation) in [
        (json!({"user": "bob"}), "u:alice:bob"),
        (json!({"group": "eng"}), "g:eng"),
    ] {
        if conversation == "g:eng" {
            api.post("group_create", &json!({"group": "eng", "members": ["bob"]}));
        }
        let path = upload(&gateway, "alice", "a picture");
        for _ in 0..3 {
            send(&gateway, "alice", to.clone(), &path);
        }
        let about = |seq: u64, mut more: Value| {
            more["conversation"] = json!(conversation);
            more["seq"] = json!(seq);
            more
        };
        // Another URL of the same file counts as the same.
        let whole = json!({"type": "text/plain", "url": format!("https://chat.example{path}")});
        api.post("edit", &about(1, json!({"media": whole})));
        api.post("edit", &about(2, json!({"text": "without"})));
        api.post("recall", &about(3, json!({})));
        assert_eq!(
            download(&gateway, "bob", &path).0,
            200,
            "one message names it"
        );
        api.post("edit", &about(1, json!({"text": "without"})));
        assert_eq!(download(&gateway, "bob", &path).0, 403);
        assert_eq!(download(&gateway, "alice", &path).0, 200);
        // An edit can name it again.
        let media = json!({"type": "text/plain", "url": path});
        api.post("edit", &about(2, json!({"media": media})));
        assert_eq!(download(&gateway, "bob", &path).0, 200);
        api.post("recall", &about(2, json!({})));
        assert_eq!(download(&gateway, "bob", &path).0, 403);
        // So it is with a message that expires.
        let mut ephemeral = to.clone();
        ephemeral["ttl"] = json!("1s");
        send(&gateway, "alice", ephemeral, &path);
        wait::until("the message has expired", || {
            (download(&gateway, "bob", &path).0 == 403).then_some(())
        });
    }
}

#[test]
fn links_are_good_without_a_token_until_they_expire() {
    let gateway = setup().start();
    let path = upload(&gateway, "alice", "picture");
    let ask = |user: &str, seconds: u64| {
        let body = json!({"seconds": seconds}).to_string();
        let api = Api::of(&gateway).user(user);
        api.ask("POST", &format!("{path}/link"), Some(&body))
    };
    let stranger = |url: &str| Api::of(&gateway).ask("GET", url, None);
    let url = |answer: &Answer| {
        api::json(answer)["url"]
            .as_str()
            .expect("a link")
            .to_owned()
    };
    let link = url(&ask("alice", 600));
    assert_eq!(
        (stranger(&link).status, &*stranger(&link).body),
        (200, "picture")
    );
    let other = upload(&gateway, "alice", "other");
    let moved = link.replace(&path, &other);
    for forged in [
        &moved,
        &link.replace("expires=", "expires=9"),
        &format!("{path}?signature=AA"),
    ] {
        assert_eq!(problem(&stranger(forged)), (403, 103), "{forged}");
    }
    let short = url(&ask("alice", 1));
    wait::until("the link to expire", || {
        (stranger(&short).status == 403).then_some(())
    });
    assert_eq!(problem(&ask("bob", 600)), (403, 103));
    for seconds in [0, 86_401] {
        assert_eq!(problem(&ask("alice", seconds)), (400, 107));
    }
}

#[test]
fn a_form_may_have_a_file_of_the_largest_size() {
    let gateway = setup().flag("media-max", "1MiB").start();
    let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
    let file = "x".repeat(1 << 20);
    let body = [&head[..], file.as_bytes(), b"\r\n--b--\r\n"].concat();
    let lines = "X-Trunkline-User: alice\r\nContent-Type: multipart/form-data; boundary=b\r\n";
    let answer = ask(&gateway, "POST /api/v1/media", lines, &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let url = api::json(&answer)["url"].clone();
    let path = url.as_str().expect("a path");
    assert_eq!(download(&gateway, "alice", path), (200, file));
}

#[test]
fn files_have_a_size_and_a_type() {
    let gateway = setup()
        .flag("media-max", "1MiB")
        .flag("media-types", "image/*,text/plain")
        .start();
    let media = gateway.data().join("media");
    let post = |lines: &str, body: &[u8]| {
        let lines = format!("X-Trunkline-User: alice\r\n{lines}");
        problem(&ask(&gateway, "POST /api/v1/media", &lines, body))
    };
    let long = vec![b'x'; (1 << 20) + 1];
    assert_eq!(post("Content-Type: text/plain\r\n", &long), (413, 106));
    let form = |name: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        [head.as_bytes(), body, b"\r\n--b--\r\n"].concat()
    };
    let lines = "Content-Type: multipart/form-data; boundary=b\r\n";
    assert_eq!(post(lines, &form("file", "image/png", &long)), (413, 106));
    assert_eq!(post(lines, &form("file", "text/html", b"x")), (415, 107));
    assert_eq!(post(lines, &form("picture", "image/png", b"x")), (400, 107));
    assert_eq!(post(lines, b"--b--\r\n"), (400, 107));
    assert_eq!(
        post(lines, &form("file", "image/png", b"x")[..80]),
        (400, 107)
    );
    // What is around the file has a limit of its own: the gateway keeps it until it knows where the file begins.
    let around = "x".repeat(200 << 10);
    let with_head = form("file", &format!("image/png\r\nX-Long: {around}"), b"x");
    let before = [around.as_bytes(), b"\r\n", &form("file", "image/png", b"x")].concat();
    assert_eq!(post(lines, &with_head), (400, 107));
    assert_eq!(post(lines, &before), (400, 107));
    for kind in ["text/html", "image", "application/octet-stream"] {
        assert_eq!(post(&format!("Content-Type: {kind}\r\n"), b"x"), (415, 107));
    }
    let coded = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    assert_eq!(post(coded, b"x"), (415, 107));
    // Chunks have no length in advance.
    let mut chunked =
        b"POST /api/v1/media HTTP/1.1\r\nHost: localhost\r\nX-Trunkline-User: alice\r\n\
        Content-Type: image/png\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            .to_vec();
    for _ in 0..17 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let stream = TcpStream::connect(gateway.http()).expect("the port is open");
    assert_eq!(problem(&exchange_on(stream, &chunked)), (413, 106));
    // A client that goes in the middle.
    let mut stream = TcpStream::connect(gateway.http()).expect("the port is open");
    stream
        .write_all(&chunked[..400_000])
        .expect("the gateway reads");
    drop(stream);
    // Nothing of all this stays.
    wait::until("the rests to go", || files(&media).is_empty().then_some(()));
    upload(&gateway, "alice", &"x".repeat(1 << 20));
    assert_eq!(files(&media).len(), 2);
}

/// A file is never whole in memory: bodies in memory have a limit that is far below.
#[test]
fn a_large_file_goes_through_piece_by_piece() {
    let gateway = setup().flag("http-body-bytes", "1MiB").start();
    let text: String = (0..1_500_000).map(|i| format!("{i:07}\n")).collect();
    let path = upload(&gateway, "alice", &text);
    let (status, body) = download(&gateway, "alice", &path);
    assert!(status == 200 && body == text, "{status} {}", body.len());
    assert_eq!(gateway.metric("trunkline_http_body_bytes"), 0.0);
}

#[test]
fn what_no_message_names_is_removed() {
    let gateway = setup().flag("media-unnamed-life", "5s").start();
    let named = upload(&gateway, "alice", "named");
    send(&gateway, "alice", json!({"user": "bob"}), &named);
    let unnamed = upload(&gateway, "alice", "unnamed");
    wait::until("the file to go", || {
        (download(&gateway, "alice", &unnamed).0 == 404).then_some(())
    });
    wait::until("it to be counted", || {
        (gateway.metric("trunkline_media_removed_total") == 1.0).then_some(())
    });
    assert_eq!(download(&gateway, "bob", &named), (200, "named".to_owned()));
    assert_eq!(files(&gateway.data().join("media")).len(), 2);
}

/// A place that cannot be reached fails requests for media, and nothing else.
#[test]
fn an_unreachable_place_gets_503() {
    let gateway = setup().start();
    let path = upload(&gateway, "alice", "hello");
    let (media, away) = (gateway.data().join("media"), gateway.data().join("away"));
    std::fs::rename(&media, &away).expect("the folder can be moved");
    std::fs::write(&media, "no folder").expect("a file can be written");
    let lines = "X-Trunkline-User: alice\r\nContent-Type: text/plain\r\n";
    let answer = ask(&gateway, "POST /api/v1/media", lines, b"x");
    assert_eq!(problem(&answer), (503, 115));
    assert_eq!(header(&answer, "retry-after"), "1");
    assert_eq!(download(&gateway, "alice", &path).0, 503);
    assert!(gateway.metric("trunkline_media_unreachable_total") >= 2.0);
    gateway.logged("media cannot be kept or read now");
    let sent = Api::of(&gateway)
        .user("alice")
        .post("send", &json!({"user": "bob", "text": "hi"}));
    assert_eq!(sent["seq"], 1);
    std::fs::remove_file(&media).expect("the file can be removed");
    std::fs::rename(&away, &media).expect("the folder can be moved");
    assert_eq!(
        download(&gateway, "alice", &path),
        (200, "hello".to_owned())
    );
}

#[test]
fn an_export_names_the_files_of_the_user_and_no_others() {
    let gateway = setup().start();
    let lines = |user: &str| -> Vec<Value> {
        let path = format!("/admin/v1/users/{user}/export");
        let answer = Api::admin(&gateway).ask("POST", &path, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.body.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let mut urls: Vec<_> = (0..3)
        .map(|number| upload(&gateway, "alice", &format!("of alice {number}")))
        .collect();
    upload(&gateway, "bob", "of bob");
    let exported = lines("alice");
    assert_eq!(exported.last().expect("a last line")["kind"], "end");
    let media = exported.iter().filter(|line| line["kind"] == "media");
    let media: Vec<_> = media.map(|line| &line["value"]).collect();
    let mut found: Vec<_> = media
        .iter()
        .map(|file| {
            let all = (&file["type"], &file["size"], &file["name"]);
            assert_eq!(all, (&json!("text/plain"), &json!(10), &Value::Null));
            assert_eq!(file["sha256"].as_str().map(str::len), Some(64));
            file["url"].as_str().expect("an address").to_owned()
        })
        .collect();
    urls.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, urls);
    // Another gateway uses the place, or a backup was restored: the records are whole all the same.
    let owner = gateway.data().join("media").join("trunkline-owner");
    std::fs::write(&owner, "shared").expect("it can be written");
    let exported = lines("alice");
    assert_eq!(exported.last().expect("a last line")["kind"], "end");
    let media: Vec<_> = exported
        .iter()
        .filter(|line| line["kind"] == "media")
        .collect();
    assert!(
        media.len() == 1 && media[0]["error"].is_string(),
        "{media:?}"
    );
    std::fs::remove_file(&owner).expect("it can be removed");
    let carol = lines("carol");
    assert!(
        carol.iter().all(|line| line["kind"] != "media"),
        "{carol:?}"
    );
}
