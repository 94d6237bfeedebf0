//! The pages: chat and client in JavaScript at the port of the client API, console at the control port.

use std::net::SocketAddr;
use std::process::Command;

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{self, Answer};
use trunkline_tests::process::{Process, program, workspace};
use trunkline_tests::scripts;

fn gateway() -> Gateway {
    Setup::default().http().patient().start()
}

fn ask(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
    http::exchange(address, request.as_bytes())
}

/// Returns the value of a header.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let mut lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value)
        .unwrap_or_else(|| panic!("no {name}: {}", answer.head))
}

/// Returns the paths of this port that a file names.
fn named(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for mark in [" from \"", "import \"", "src=\"", "href=\""] {
        for rest in text.split(mark).skip(1) {
            let name = rest.split('"').next().unwrap_or_default();
            match name.strip_prefix("./") {
                Some(name) => found.push(format!("{folder}/{name}")),
                None if name.starts_with('/') => found.push(name.to_owned()),
                None => {}
            }
        }
    }
    found
}

/// Follows everything that a page names. Returns the paths.
fn follow(address: SocketAddr) -> Vec<String> {
    let (mut seen, mut waiting) = (Vec::new(), vec!["/".to_owned()]);
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = ask(address, &path, "");
        assert_eq!(answer.status, 200, "{path}");
        let kind = match path.rsplit_once('.').map_or("html", |(_, kind)| kind) {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert_eq!(header(&answer, "content-type"), kind, "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        let policy = header(&answer, "content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains(concat!("un", "safe")), "{path}: {policy}");
        // Nothing comes from elsewhere, and markup has no scripts and styles but those that the policy names by their hash.
        if kind.starts_with("text/html") {
            let own =
                answer.body.matches("<style>").count() + answer.body.matches("<script>").count();
            assert_eq!(policy.matches("'sha256-").count(), own, "{path}: {policy}");
            assert!(answer.body.contains("<style>"), "{path}");
            for bad in [
                "style=\"",
                "<style ",
                " onclick=",
                "javascript:",
                "src=\"http",
            ] {
                assert!(!answer.body.contains(bad), "{path}: {bad}");
            }
        }
        waiting.extend(named(&path, &answer.body));
        let tag = header(&answer, "etag");
        let again = ask(address, &path, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((again.status, &*again.body), (304, ""), "{path}");
        assert_eq!(header(&again, "etag"), tag, "{path}");
        let other = ask(address, &path, "If-None-Match: \"other\"\r\n");
        assert_eq!(other.status, 200, "{path}");
        seen.push(path);
    }
    seen
}

#[test]
fn the_chat_page_and_the_client_are_there() {
    let gateway = gateway();
    let address = gateway.http();
    let paths = follow(address);
    for path in ["/chat/all.js", "/icon.svg"] {
        assert!(
            paths.iter().any(|one| one == path),
            "{path} is not named: {paths:?}"
        );
    }
    // The modules are there one by one too: those of the client for other pages, the others for who looks at them.
    for path in ["/client.js", "/chat/app.js", "/chat/style.css"] {
        let answer = ask(address, path, "");
        assert_eq!(answer.status, 200, "{path}");
        for path in named(path, &answer.body) {
            assert_eq!(ask(address, &path, "").status, 200, "{path}");
        }
    }
    let source = workspace().join("clients/js/client.js");
    let source = std::fs::read_to_string(source).expect("the client");
    assert_eq!(ask(address, "/client.js", "").body, source);

    let about = ask(address, "/chat/gateway.json", "");
    let about: serde_json::Value = serde_json::from_str(&about.body).expect("JSON");
    assert_eq!(about["port"], gateway.ws().port());
    assert_eq!(about["pages"], address.port());
    assert_eq!(about["tokens"], false);
    let page = ask(address, "/", "");
    let sockets = format!("connect-src 'self' ws://127.0.0.1:{}", gateway.ws().port());
    let policy = header(&page, "content-security-policy");
    assert!(policy.ends_with(&sockets), "{policy}");
    assert_eq!(ask(address, "/chat/nothing.js", "").status, 404);
    assert!(gateway.metric("trunkline_http_requests_total{route=\"pages\"}") > 15.0);
}

#[test]
fn the_console_is_there() {
    let gateway = gateway();
    let paths = follow(gateway.control());
    assert!(
        paths.iter().any(|path| path == "/console/all.js"),
        "{paths:?}"
    );
    // Pages of other ports may not read it.
    let foreign = "Origin: http://evil.example\r\n";
    assert_eq!(ask(gateway.control(), "/", foreign).status, 403);
}

/// The console says limits, closes and webhooks in words: for each name that the metrics and the numbers have.
#[test]
fn the_console_has_words_for_what_it_counts() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).expect("a file");
    let (page, words) = (read("docs/metrics.md"), read("web/console/words.js"));
    for family in ["trunkline_limited_total", "trunkline_closes_total"] {
        let heading = format!("### `{family}`\n");
        let (_, rest) = page.split_once(&heading).expect("the family");
        let part = rest.split("\n### ").next().unwrap_or_default();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
        let names = rows.filter_map(|row| row.split_once("` | ").map(|(name, _)| name));
        let names: Vec<_> = names
            .filter(|name| !["limit", "code"].contains(name))
            .collect();
        assert!(names.len() > 10, "{family}: {names:?}");
        for name in names {
            assert!(
                words.contains(&format!("\n  {name}: \"")),
                "no words for {name} of {family}"
            );
        }
    }
    let admin = read("docs/admin.md");
    let webhooks = admin.split("- `webhooks` is").nth(1).expect("the webhooks");
    let webhooks = webhooks.split("\n- ").next().unwrap_or_default();
    for name in webhooks
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains('_'))
    {
        assert!(
            words.contains(&format!("\n  {name}: \"")),
            "no words for {name}"
        );
    }
}

/// The client as a page gets it: Node.js imports it from the port.
#[test]
fn the_client_that_is_served_works() {
    let Some(mut node) = scripts::node() else {
        return;
    };
    let gateway = gateway();
    let script = r#"
        import { createRequire } from "node:module";
        import { mkdtempSync, mkdirSync, writeFileSync } from "node:fs";
        import { dirname, join } from "node:path";
        const [base, ws, folder] = process.argv.slice(1);
        const files = ["client.js", "client/commands.js", "client/delays.js", "client/events.js", "client/marks.js", "client/timeline.js", "client/values.js"];
        for (const file of files) {
          mkdirSync(dirname(join(folder, file)), { recursive: true });
          writeFileSync(join(folder, file), await (await fetch(`${base}/${file}`)).text());
        }
        writeFileSync(join(folder, "package.json"), '{"type":"module"}');
        const { Trunkline } = await import(join(folder, "client.js"));
        const WebSocket = globalThis.WebSocket ?? createRequire(join(process.cwd(), "x.js"))("ws");
        const alice = new Trunkline(ws, { user: "alice", WebSocket });
        console.log(JSON.stringify(await alice.send({ user: "bob", text: "from a page" })));
        alice.close();
    "#;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let exit = Process::start(
        node.args(["--input-type=module", "--eval", script])
            .arg(format!("http://{}", gateway.http()))
            .arg(format!("ws://{}", gateway.ws()))
            .arg(folder.path()),
    )
    .ended();
    assert!(exit.status.success(), "{exit:?}");
    assert!(exit.stdout.contains("u:alice:bob"), "{exit:?}");
}

/// Lets a script drive Chromium over the pages of a gateway. Returns what it says; `None` without Chromium or Node.js.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn browse(script: &str) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &&str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output();
        found.is_ok_and(|found| found.status.success())
    };
    let (Some(browser), Some(mut node)) = (names.into_iter().find(is_there), scripts::node())
    else {
        println!("skipped: there is no Chromium, or no Node.js");
        return None;
    };
    let gateway = gateway();
    let mut process = Process::start(
        node.env("TRUNKLINE_BIN", program())
            .arg(workspace().join("web/test").join(script))
            .arg(browser)
            .arg(format!("http://{}", gateway.http()))
            .arg(format!("http://{}", gateway.control())),
    );
    // Each part of a long script says that it is done, so that waiting is bounded for each.
    let mut said = String::new();
    while let Some(line) = process.line() {
        said += &line;
        said.push('\n');
    }
    let exit = process.ended();
    assert!(exit.status.success(), "{said}{}", exit.stderr);
    Some(said)
}

/// Two people chat in a browser, and the console shows them.
#[test]
fn people_chat_in_a_browser() {
    browse("browser.js");
}

/// A user signs in, makes a group, attaches a file, reacts, takes back, tries again and leaves with the keyboard alone.
#[test]
fn the_keyboard_alone_is_enough() {
    browse("keys.js");
}

/// The gateway is killed under open pages, lines are cut, and a user has two windows: nothing is lost, doubled or counted twice.
#[test]
fn the_chat_page_comes_back() {
    browse("away.js");
}

/// The gateway ends sessions for good, by an expired token or an operator: messages without an answer wait for their user.
#[test]
fn messages_wait_for_their_user_beyond_a_token() {
    browse("tokens.js");
}

/// Answers and events overtake each other: each unread message counts once.
#[test]
fn each_unread_message_counts_once_in_a_browser() {
    browse("unread.js");
}

/// An operator signs in, ends a session, and sees a gateway go and come back.
#[test]
fn the_console_in_the_hands_of_an_operator() {
    browse("operator.js");
}

/// axe-core finds nothing in any state of the pages that keeps people out.
#[test]
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn the_pages_are_for_everybody() {
    let modules = std::env::var("NODE_PATH").unwrap_or_default();
    if !std::path::Path::new(&modules).join("axe-core").exists() {
        println!("skipped: npm could not install axe-core");
        return;
    }
    let said = browse("axe.js").unwrap_or("found 0 violations".into());
    assert!(said.contains("found 0 violations"), "{said}");
}

/// A conversation of many messages has few rows in the page, and all of them can be reached.
#[test]
fn many_messages_have_few_rows_in_a_browser() {
    browse("many.js");
}
