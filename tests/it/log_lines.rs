//! Lines of the log about single connections, and what no line ever contains.

use std::io::{Read, pipe};
use std::net::TcpStream;

use serde_json::json;
use tempfile::TempDir;
use trunkline_proto::frame::Opcode;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::Process;
use trunkline_tests::tokens::{Signer, claims, claims_with, now};
use trunkline_tests::wait::until;

/// Waits for a line with all these words.
#[track_caller]
fn line(gateway: &Gateway, words: &[&str]) {
    until(&format!("a line with {words:?}"), || {
        let said = gateway.process().stderr();
        let has = |line: &str| words.iter().all(|word| line.contains(word));
        said.lines().any(has).then_some(())
    });
}

#[test]
fn refused_tokens_and_the_end_of_each_connection() {
    let folder = TempDir::with_prefix("trunkline-log-").expect("a folder can be made");
    let signer = Signer::edwards();
    let key = signer.write(folder.path(), "key");
    let gateway = Setup::default()
        .tokens(&signer, &key)
        .flag("log", "trace")
        .start();
    let good = signer.sign(&claims_with("alice", json!({"ns": "acme"})));
    let old = signer.sign(&claims_with("alice", json!({"exp": now() - 3_600})));
    let foreign = Signer::edwards().sign(&claims("mallory"));
    let refused = |token: &str| {
        let mut client = gateway.dial().open();
        client.ask("connect", &json!({"token": token, "device": "phone"}));
        client.end();
    };
    refused(&old);
    refused(&foreign);
    refused("nonsense");
    for reason in ["expired", "signature", "malformed"] {
        let reason = format!("reason=\"{reason}\"");
        line(
            &gateway,
            &["DEBUG", "token refused", "address=\"127.0.0.1:", &reason],
        );
    }
    line(
        &gateway,
        &["TRACE", "connection closed", "by=\"gateway\"", "code=3505"],
    );
    line(
        &gateway,
        &["TRACE", "connection closed", "by=\"gateway\"", "code=3500"],
    );

    let dial = gateway.dial().with("token", &*good);
    let who = [
        "user=\"alice\"",
        "namespace=\"acme\"",
        "address=\"127.0.0.1:",
    ];
    // Connections closed by the client, closed by the gateway, and ended without a close.
    let mut client = dial.connect("alice", "one");
    client.send("bob", "swordfish");
    // A token that does not renew the session.
    client.ask("connect", &json!({"token": foreign}));
    line(
        &gateway,
        &["token refused", "user=\"alice\"", "reason=\"signature\""],
    );
    client.close();
    let ends = [
        &[
            "connection closed",
            "by=\"client\"",
            "code=1000",
            "device=\"one\"",
        ],
        &who[..],
    ];
    line(&gateway, &ends.concat());
    let mut client = dial.connect("alice", "two");
    client.write_frame(Opcode::Binary, b"swordfish");
    client.end();
    let ends = [
        &[
            "connection closed",
            "by=\"gateway\"",
            "code=1003",
            "device=\"two\"",
        ],
        &who[..],
    ];
    line(&gateway, &ends.concat());
    drop(dial.connect("alice", "three"));
    line(
        &gateway,
        &[
            "ended without a close",
            "with a session",
            "user=\"alice\"",
            "device=\"three\"",
        ],
    );
    drop(gateway.dial().open());
    line(&gateway, &["ended without a close", "before connect"]);
    http::get(gateway.ws(), "/swordfish");
    line(&gateway, &["upgrade refused", "status=426"]);

    silent_on(&gateway.process().stderr(), &[&good, &old, &foreign]);
}

/// Nothing that a client sent is in the log: no text, no token, no signature.
#[track_caller]
fn silent_on(said: &str, tokens: &[&str]) {
    assert!(!said.contains("swordfish"), "{said}");
    for token in tokens {
        for part in token.split('.').filter(|part| part.len() > 40) {
            assert!(!said.contains(part), "{said}");
        }
    }
}

/// A reader that is stopped: its pipe is full, and then the queue. Nothing waits for it but lines.
#[test]
fn a_reader_of_the_log_that_stands_still() {
    let folder = TempDir::with_prefix("trunkline-log-").expect("a folder can be made");
    let setup = Setup::default()
        .flag("log", "trace")
        .flag("data", folder.path().join("data").display());
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut process = Process::start_with(
        &mut setup.command("serve"),
        std::process::Stdio::piped(),
        writer,
    );
    let ready = process.line().expect("it gets ready");
    let address = |name: &str| {
        let word = ready.split(' ').find_map(|word| word.strip_prefix(name));
        let word = word.and_then(|url| url.split('/').nth(2));
        word.and_then(|address| address.parse().ok())
            .expect("an address")
    };
    let (ws, control) = (address("ws="), address("control="));
    // Each connection that ends is a line.
    let lost = "trunkline_log_lines_lost_total";
    until("lines to be lost", || {
        for _ in 0..50 {
            drop(TcpStream::connect(ws).expect("the gateway listens"));
        }
        (http::metric(control, lost) > 0.0).then_some(())
    });
    assert_eq!(http::get(control, "/readyz").status, 200);
    // Once somebody reads, all that waited comes, and how many lines did not.
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("text");
        said
    });
    until("the queue to have room", || {
        let before = http::metric(control, lost);
        drop(TcpStream::connect(ws).expect("the gateway listens"));
        let accepted = http::metric(control, "trunkline_accepted_total");
        until("it to end", || {
            let open = http::metric(control, "trunkline_connections");
            (open == 0.0 && http::metric(control, "trunkline_accepted_total") >= accepted)
                .then_some(())
        });
        (http::metric(control, lost) == before).then_some(())
    });
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let exit = process.ended();
    assert!(exit.status.success(), "{exit:?}");
    let said = reading.join().expect("readers do not panic");
    assert!(
        said.contains("standard error took no lines"),
        "{}",
        said.len()
    );
    assert!(said.contains("nobody read it"), "{}", said.len());
}
