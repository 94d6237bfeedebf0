//! The file size limit of the process counts as a full disk and does not end the process.

use serde_json::json;
use trunkline_tests::api::{Api, problem};
use trunkline_tests::client::error_code;
use trunkline_tests::gateway::Setup;
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, claims_with};
use trunkline_tests::{http, wait};

/// Returns a gateway with segments of 144 KiB.
fn small() -> Setup {
    let setup = Setup::default().flag("message-bytes", "16KiB");
    setup
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
}

#[test]
fn a_write_over_it_is_refused_until_it_is_raised() {
    let mut gateway = Setup::default().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "stored");
    gateway.process().limit_files(Some(4096));
    let lost = json!({"user": "bob", "text": "lost", "key": "k"});
    for _ in 0..3 {
        let reply = alice.ask("send", &lost);
        assert_eq!(error_code(&reply), 116, "{reply}");
        assert_eq!(reply["error"]["temporary"], true, "{reply}");
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 503)] {
        let answer = http::get(gateway.control(), path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let words = ["full", "log-", "ulimit -f"];
        let named = words.iter().all(|word| answer.body.contains(word));
        assert!(named, "{path}: {answer:?}");
    }
    gateway.logged("the disk is full");
    let history = json!({"conversation": "u:alice:bob"});
    assert_eq!(alice.done("history", &history)["last"], 1);

    gateway.process().limit_files(None);
    // The gateway must become ready again by itself: clients do not send to a gateway that is not
    // ready.
    wait::until("the gateway to be ready", || {
        (http::get(gateway.control(), "/readyz").status == 200).then_some(())
    });
    gateway.logged("the store takes messages again");
    let sent = alice.done("send", &lost);
    assert_eq!(
        (&sent["seq"], &sent["duplicate"]),
        (&json!(2), &json!(false))
    );
    gateway.stop();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.done("history", &history)["last"], 2);
}

#[test]
fn a_segment_that_does_not_fit_under_it_is_said_at_the_start() {
    // 64 KiB, where a segment takes 144.
    let data = tempfile::tempdir().expect("a folder can be made");
    let data = data.path().join("data");
    let exit = small()
        .file_blocks(128)
        .flag("data", data.display())
        .run("serve");
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
    for word in ["65536", "147456", "ulimit -f", "segment_bytes"] {
        assert!(exit.stderr.contains(word), "{word}: {exit:?}");
    }

    // A store that is there can be read, and takes what its segment has room for.
    let mut gateway = small().start_on(&data);
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "stored");
    gateway.stop();
    let mut gateway = small().file_blocks(128).start_on(&data);
    gateway.logged("the file size limit (ulimit -f) is below");
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = json!({"user": "bob", "text": "x".repeat(4_000)});
    let refused = (0..100).find_map(|_| {
        let reply = alice.ask("send", &text);
        (!reply["send"].is_object()).then_some(reply)
    });
    let refused = refused.expect("the limit is reached");
    assert_eq!(error_code(&refused), 116, "{refused}");
    let history = json!({"conversation": "u:alice:bob", "limit": 1});
    let last = alice.done("history", &history)["last"].clone();
    gateway.stop();
    // Without the limit all of it is there, and it goes on.
    let gateway = small().start_on(&data);
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(alice.done("history", &history)["last"], last);
    let next = alice.send("bob", "more")["seq"].clone();
    assert_eq!(next.as_u64(), last.as_u64().map(|last| last + 1));
}

#[test]
fn media_and_revocations_that_do_not_fit_are_told_as_a_full_disk() {
    let service = Service::new(Signer::hmac(), |setup| setup.patient().http());
    let gateway = &service.gateway;
    let alice = Api::of(gateway).token(&service.signer.sign(&claims_with("alice", json!({}))));
    let file = "x".repeat(20_000);
    let upload = || alice.ask("POST", "/api/v1/media", Some(&file));
    let revoke = |number: usize| {
        let body = json!({"token_id": format!("token-{number}")});
        let body = body.to_string();
        Api::admin(gateway).ask("POST", "/admin/v1/revoke", Some(&body))
    };
    assert_eq!(revoke(0).status, 200);
    gateway.process().limit_files(Some(4096));
    assert_eq!(problem(&upload()), (507, 116));
    // The first ones fit into the file.
    let refused = (1..=4096).map(&revoke).find(|answer| answer.status != 200);
    let refused = refused.expect("each of them takes some bytes");
    assert_eq!(problem(&refused), (507, 116));
    let erase = Api::admin(gateway).ask("DELETE", "/admin/v1/users/bob?namespace=", None);
    assert_eq!(problem(&erase), (507, 116));

    gateway.process().limit_files(None);
    assert_eq!(upload().status, 201);
    assert_eq!(revoke(5_000).status, 200);
}
