//! Admin tokens: their file, their scopes, and requests that must be refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_tests::api::{Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::{Exit, Process, program};
use trunkline_tests::wait::until;

/// Runs `trunkline admin-token`.
fn make(args: &[&str]) -> Exit {
    let mut command = Command::new(program());
    Process::start(command.arg("admin-token").args(args)).ended()
}

/// A token, and its line for the file.
pub(super) struct Made {
    pub(super) token: String,
    pub(super) line: String,
}

pub(super) fn made(name: &str, scopes: &str) -> Made {
    let exit = make(&[name, "--scopes", scopes]);
    assert!(exit.status.success(), "{exit:?}");
    let lines: Vec<_> = exit.stdout.lines().collect();
    let [token, line] = lines[..] else {
        panic!("{exit:?}")
    };
    assert!(line.starts_with(&format!("{name} {scopes} ")), "{line}");
    assert!(!exit.stdout[token.len()..].contains(token));
    Made {
        token: token.to_owned(),
        line: line.to_owned(),
    }
}

/// A gateway with a file of tokens.
struct Guarded {
    gateway: Gateway,
    file: PathBuf,
    _folder: TempDir,
}

fn write(file: &Path, made: &[&Made]) {
    let lines: String = made.iter().map(|made| format!("{}\n", made.line)).collect();
    std::fs::write(file, lines).expect("a file can be written");
}

fn guarded(made: &[&Made]) -> Guarded {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("admin-tokens");
    write(&file, made);
    let setup = Setup::default()
        .patient()
        .flag("admin-tokens", file.display());
    Guarded {
        gateway: setup.start(),
        file,
        _folder: folder,
    }
}

#[test]
fn each_route_needs_its_scope() {
    let tokens = ["read", "send", "moderate", "all"].map(|scope| (scope, made(scope, scope)));
    let both = made("both", "read,moderate");
    let file: Vec<&Made> = tokens.iter().map(|(_, made)| made).chain([&both]).collect();
    let guarded = guarded(&file);
    let admin = Api::admin(&guarded.gateway);
    for (method, path, body, scope) in [
        ("GET", "stats", None, "read"),
        ("HEAD", "events", None, "read"),
        ("GET", "sessions", None, "read"),
        ("GET", "users/bob", None, "read"),
        ("POST", "as/bob/conversations", Some("{}"), "send"),
        (
            "POST",
            "publish",
            Some("{\"topic\":\"t\",\"data\":1}"),
            "send",
        ),
        ("POST", "disconnect", Some("{\"user\":\"bob\"}"), "moderate"),
        ("POST", "revoke", Some("{\"user\":\"bob\"}"), "moderate"),
        ("POST", "users/b%20b/export", None, "all"),
        ("POST", "backup", Some("{\"target\":\"relative\"}"), "all"),
        ("GET", "backup", None, "all"),
        ("POST", "copy", None, "all"),
    ] {
        let path = format!("/admin/v1/{path}");
        let status = |api: &Api| api.ask(method, &path, body).status;
        assert_eq!(status(&admin), 401, "{path}");
        for (own, made) in &tokens {
            let allowed = *own == scope || *own == "all";
            let status = status(&admin.clone().token(&made.token));
            assert_eq!(
                status != 403 && status != 401,
                allowed,
                "{path} with {own}: {status}"
            );
        }
        let status = status(&admin.clone().token(&both.token));
        let allowed = scope == "read" || scope == "moderate";
        assert_eq!(status != 403, allowed, "{path} with both: {status}");
    }
    let refused = |reason: &str| {
        let name = format!("trunkline_admin_refused_total{{reason=\"{reason}\"}}");
        guarded.gateway.metric(&name)
    };
    assert_eq!((refused("token"), refused("scope")), (12.0, 27.0 + 7.0));
    let read = admin.clone().token(&tokens[0].1.token);
    let answer = read.ask("POST", "/admin/v1/publish", Some("{}"));
    assert!(
        answer.body.contains("has the scope read, and"),
        "{answer:?}"
    );
    let answer = admin.clone().token(&both.token);
    let answer = answer.ask("POST", "/admin/v1/publish", Some("{}"));
    assert!(
        answer.body.contains("has the scopes read,moderate, and"),
        "{answer:?}"
    );
    // What somebody has done is logged with the name, and no token is.
    guarded.gateway.logged("admin=\"both\"");
    let log = guarded.gateway.process().stderr();
    assert!(file.iter().all(|made| !log.contains(&made.token)));
}

#[test]
fn wrong_tokens_are_refused() {
    let one = made("ops", "all");
    let guarded = guarded(&[&one]);
    let admin = Api::admin(&guarded.gateway);
    let hash = one.line.rsplit(' ').next().expect("a hash");
    for header in [
        format!("Bearer {hash}"),
        format!("Bearer {}x", one.token),
        format!("Bearer {}", &one.token[1..]),
        format!("Basic {}", one.token),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        one.token.clone(),
    ] {
        let answer = admin.clone().header("Authorization", &header);
        let answer = answer.ask("GET", "/admin/v1/stats", None);
        assert_eq!(problem(&answer), (401, 101), "{header}");
        assert!(
            answer
                .head
                .to_ascii_lowercase()
                .contains("www-authenticate: bearer")
        );
    }
    let twice = admin.clone().token(&one.token).token(&one.token);
    assert_eq!(twice.ask("GET", "/admin/v1/stats", None).status, 400);
    // Other paths of the port need no token, and /backup has its own proof.
    assert_eq!(admin.ask("GET", "/metrics", None).status, 200);
    assert_eq!(
        admin
            .clone()
            .token(&one.token)
            .ask("GET", "/backup", None)
            .status,
        401
    );
}

#[test]
fn the_file_is_read_again() {
    let (first, second) = (made("first", "read"), made("second", "read"));
    let guarded = guarded(&[&first]);
    let admin = Api::admin(&guarded.gateway);
    let status = |made: &Made| {
        let api = admin.clone().token(&made.token);
        api.ask("GET", "/admin/v1/stats", None).status
    };
    assert_eq!((status(&first), status(&second)), (200, 401));
    let mut stream = admin
        .clone()
        .token(&first.token)
        .begin("GET", "/admin/v1/events");
    stream.head();
    stream.event();
    let reloads = |result: &str| {
        let name = format!("trunkline_admin_token_reloads_total{{result=\"{result}\"}}");
        guarded.gateway.metric(&name)
    };
    let reload = |result: &str, count: f64| {
        guarded.gateway.process().signal(Signal::SIGHUP);
        until("the file to be read", || {
            (reloads(result) == count).then_some(())
        });
    };
    std::fs::write(&guarded.file, "second read 12\n").expect("a file can be written");
    reload("failed", 1.0);
    guarded.gateway.logged("admin-tokens:1: ");
    assert_eq!((status(&first), status(&second)), (200, 401));
    write(&guarded.file, &[&second]);
    reload("ok", 1.0);
    assert_eq!((status(&first), status(&second)), (401, 200));
    // A stream whose token is gone ends.
    until("the stream to end", || {
        (guarded.gateway.metric("trunkline_admin_streams") == 0.0).then_some(())
    });
}

#[test]
fn bad_files_and_arguments_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, "# ops\nops everything 12\n").expect("a file can be written");
    for subcommand in ["serve", "check-config"] {
        let exit = Setup::default()
            .patient()
            .flag("admin-tokens", file.display())
            .run(subcommand);
        assert_eq!(exit.status.code(), Some(2), "{exit:?}");
        for words in ["tokens:2: ", "\"everything\" is no scope", "admin_tokens"] {
            assert!(exit.stderr.contains(words), "{exit:?}");
        }
    }
    let missing = Setup::default()
        .patient()
        .flag("admin-tokens", "/nowhere")
        .run("check-config");
    assert!(
        missing
            .stderr
            .contains("cannot read the admin tokens in /nowhere"),
        "{missing:?}"
    );
    for (args, words) in [
        (&["ops"][..], "--scopes"),
        (&["ops", "--scopes", "write"], "\"write\" is no scope"),
        (&["o/ps", "--scopes", "read"], "no name"),
    ] {
        let exit = make(args);
        assert!(
            !exit.status.success() && exit.stderr.contains(words),
            "{exit:?}"
        );
        assert_eq!(exit.stdout, "");
    }
}

#[test]
fn without_a_file_the_api_is_for_this_machine_only() {
    let gateway = Setup::default().patient().start();
    gateway.logged("the admin API needs no token");
    let admin = Api::admin(&gateway);
    assert_eq!(admin.ask("GET", "/admin/v1/stats", None).status, 200);
    // A page of this very port may ask. One of another port of this machine may not, though the port's
    // guard lets it in.
    let here = format!("http://{}", gateway.control());
    for (origin, status) in [
        (&*here, 200),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:3000", 403),
        ("https://evil.example", 403),
    ] {
        let api = admin.clone().header("Origin", origin);
        let answer = api.ask("POST", "/admin/v1/disconnect", Some("{\"user\":\"bob\"}"));
        assert_eq!(answer.status, status, "{origin}: {}", answer.body);
    }
    // On another address there is no API without a file, and the other routes stay.
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), "0123456789abcdef0123456789abcdef").expect("it can be written");
    let open = Setup::default()
        .patient()
        .without("dev-auth")
        .flag("jwt-key", key.path().display())
        .flag("jwt-algorithm", "HS256")
        .flag("control", "0.0.0.0:0")
        .start();
    open.logged("the admin API is off");
    let port = open.control().port();
    let address = ([127, 0, 0, 1], port).into();
    let answer = http::get(address, "/admin/v1/stats");
    assert_eq!(problem(&answer), (404, 104));
    assert!(answer.body.contains("admin_tokens"), "{answer:?}");
    assert_eq!(http::get(address, "/healthz").status, 200);
}

#[test]
fn hostile_requests_are_refused() {
    let ops = made("ops", "all");
    let guarded = guarded(&[&ops]);
    let gateway = &guarded.gateway;
    let admin = Api::admin(gateway).token(&ops.token);
    let large = json!({"user": "bob", "device": "x".repeat(2 << 20)}).to_string();
    for (method, path, body, status, code) in [
        ("GET", "/admin/v1/nothing", None, 404, 104),
        ("POST", "/admin/v2/stats", Some("{}"), 404, 104),
        ("GET", "/admin/v1/users/", None, 404, 104),
        ("GET", "/admin/v1/disconnect", None, 405, 107),
        ("POST", "/admin/v1/stats", Some("{}"), 405, 107),
        ("PUT", "/admin/v1/users/bob", Some("{}"), 405, 107),
        ("POST", "/admin/v1/disconnect", Some(&*large), 413, 106),
        (
            "POST",
            "/admin/v1/disconnect",
            Some("{\"user\":\"bob\""),
            400,
            107,
        ),
        ("POST", "/admin/v1/disconnect", Some("[]"), 400, 107),
        ("POST", "/admin/v1/revoke", Some("{\"user\":7}"), 400, 107),
        (
            "POST",
            "/admin/v1/as/bob/send",
            Some("{}},\"x\":{"),
            400,
            107,
        ),
        ("GET", "/admin/v1/users/%ff", None, 400, 107),
    ] {
        let answer = admin.ask(method, path, body);
        assert_eq!(
            problem(&answer),
            (status, code),
            "{method} {path}: {answer:?}"
        );
        let allow = answer.head.to_ascii_lowercase().contains("\r\nallow: ");
        assert_eq!(allow, status == 405, "{answer:?}");
    }
    for (name, value) in [
        ("Content-Type", "text/plain"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Encoding", "gzip"),
    ] {
        let api = admin
            .clone()
            .header(name, value)
            .header("Content-Type", "application/json");
        let api = if name == "Content-Type" {
            admin.clone().header(name, value)
        } else {
            api
        };
        let answer = api.ask("POST", "/admin/v1/disconnect", Some("{\"user\":\"bob\"}"));
        assert_eq!(problem(&answer), (415, 107), "{name}: {value}");
    }
    // A body that is announced and too long is refused before it comes.
    let announced = format!(
        "POST /admin/v1/disconnect HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999\r\n\r\n",
        gateway.control(),
        ops.token
    );
    assert_eq!(
        http::exchange(gateway.control(), announced.as_bytes()).status,
        413
    );
    // Two lengths, and a length beside chunks, which a proxy may understand in another way.
    for smuggled in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2\r\nTransfer-Encoding: xchunked",
    ] {
        let request = format!(
            "POST /admin/v1/disconnect HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{smuggled}\r\nConnection: close\r\n\r\n{{}}",
            gateway.control(),
            ops.token
        );
        let answer = http::exchange(gateway.control(), request.as_bytes());
        assert_eq!(answer.status, 400, "{smuggled}: {answer:?}");
    }
    // Another host in the request: a page whose name resolves to this machine.
    let rebound = format!(
        "GET /admin/v1/stats HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        ops.token
    );
    assert_eq!(
        http::exchange(gateway.control(), rebound.as_bytes()).status,
        403
    );
    let stats: Value = admin.done("GET", "/admin/v1/stats", None);
    assert_eq!(stats["ready"], true);
}

/// Requests that come slowly hold nobody up, and their connections end.
#[test]
fn slow_requests_end() {
    let ops = made("ops", "all");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    write(&file, &[&ops]);
    let gateway = Setup::default()
        .patient()
        .flag("admin-tokens", file.display())
        .flag("control-timeout", "1s")
        .start();
    let parts = [
        "POST /admin/v1/discon".to_owned(),
        format!(
            "POST /admin/v1/disconnect HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 9\r\n\r\n{{",
            gateway.control(),
            ops.token
        ),
    ];
    for part in parts {
        use std::io::{Read, Write};
        let mut slow = std::net::TcpStream::connect(gateway.control()).expect("it is open");
        slow.write_all(part.as_bytes()).expect("the server reads");
        let admin = Api::admin(&gateway).token(&ops.token);
        admin.done("GET", "/admin/v1/stats", None);
        let mut rest = Vec::new();
        // It ends, with an answer or without.
        let _ = slow.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 200"));
    }
    let late = gateway.metric("trunkline_control_refused_total{reason=\"time\"}");
    assert_eq!(late, 2.0);
}

/// A wrong argument is one, as for all other commands.
#[test]
fn wrong_arguments_end_with_2_and_say_what_is_right() {
    for (args, words) in [
        (["x", "--scopes", "write"], "read, send, moderate and all"),
        (["a b", "--scopes", "read"], "1 to 64 bytes"),
        (["x", "--scopes", ""], "scope"),
    ] {
        let exit = make(&args);
        assert_eq!(exit.status.code(), Some(2), "{exit:?}");
        assert!(
            exit.stdout.is_empty() && exit.stderr.contains(words),
            "{exit:?}"
        );
    }
}
