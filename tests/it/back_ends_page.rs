//! docs/back-ends.md: its settings are read, and its examples have the form of what back ends get.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline_tests::back_end::{BackEnd, Says};
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::workspace;
use trunkline_tests::wait;

fn page() -> String {
    std::fs::read_to_string(workspace().join("docs/back-ends.md")).expect("a page")
}

/// Returns the blocks of code in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let own = blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")));
    own.map(str::to_owned).collect()
}

fn fields(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[test]
fn the_settings_of_the_page_are_read() {
    let page = page();
    let settings = blocks(&page, "toml").remove(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, settings.clone() + "\n").unwrap();
    let make = blocks(&page, "sh").remove(0);
    let made = std::process::Command::new("sh")
        .args(["-ec", &make])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    let setup = Setup::bare().flag("config", file.display());
    let printed = setup.run("check-config");
    assert!(printed.status.success(), "{printed:?}");
    // What is printed has all of it, with an absolute path.
    let table: toml::Table = printed.stdout.parse().unwrap();
    let wanted: toml::Table = settings.parse().unwrap();
    for name in ["callbacks", "webhooks"] {
        for (key, value) in wanted[name].as_table().unwrap() {
            let found = &table[name][key];
            match key.as_str() {
                "secret_file" => assert!(found.as_str().unwrap().ends_with("/webhook.secret")),
                _ => assert_eq!(found, value, "{key}"),
            }
        }
    }
}

/// The questions of the page, in its order, have the fields that back ends get.
#[test]
fn the_questions_of_the_page_have_the_fields_that_back_ends_get() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock()
            .unwrap()
            .push((asked.path.clone(), asked.body.clone()));
        Says::Json(json!({"data": 1}))
    });
    let kinds = ["connect", "send", "subscribe", "rpc"];
    let gateway = back.asked_by(Setup::default(), &kinds).start();
    let mut alice = gateway.dial().with("token", "t").connect("alice", "phone");
    alice.done("send", &json!({"user": "bob", "key": "c-1", "text": "hi"}));
    alice.done("subscribe", &json!({"topic": "live.42"}));
    alice.done(
        "rpc",
        &json!({"method": "orders.list", "data": {"open": true}}),
    );
    let seen = seen.lock().unwrap();
    let examples = blocks(&page(), "json").into_iter();
    let examples = examples.map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
    // The answer to `connect` is the only example that is no question.
    let questions: Vec<_> = examples
        .filter(|one| one.get("expires").is_none() && one.get("type").is_none())
        .collect();
    assert_eq!(questions.len(), kinds.len());
    for ((kind, question), (path, body)) in kinds.iter().zip(&questions).zip(seen.iter()) {
        assert_eq!(path, &format!("/{kind}"));
        assert_eq!(fields(body), fields(question), "{kind}");
    }
}

/// The webhooks of the page have the fields that back ends get.
#[test]
fn the_webhooks_of_the_page_have_the_fields_that_back_ends_get() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let back = BackEnd::start(move |asked| {
        kept.lock().unwrap().push(asked.body.clone());
        Says::Json(json!({}))
    });
    let gateway = back
        .asked_by(Setup::default(), &["offline", "presence"])
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("send", &json!({"user": "bob", "text": "hi"}));
    let examples = blocks(&page(), "json").into_iter();
    let examples = examples.map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
    let examples: Vec<_> = examples.filter(|one| one.get("type").is_some()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let told = wait::until("a webhook", || {
            let seen = seen.lock().unwrap();
            seen.iter()
                .find(|one| one["type"] == example["type"])
                .cloned()
        });
        assert_eq!(fields(&told), fields(&example));
        assert_eq!(fields(&told["data"]), fields(&example["data"]));
        if let Some(message) = told["data"].get("message") {
            assert_eq!(fields(message), fields(&example["data"]["message"]));
        }
    }
}
