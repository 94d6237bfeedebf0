//! The examples of docs/admin.md, played with curl on a gateway in the order of the page.

use std::process::Command;

use serde_json::{Value, json};
use trunkline_tests::process::{program, workspace};
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, now};

/// One example of the page.
struct Example {
    command: String,
    /// The answer that the page shows behind the last command of a block.
    answer: Option<Value>,
}

fn examples() -> Vec<Example> {
    let page = std::fs::read_to_string(workspace().join("docs/admin.md")).expect("the page");
    let (mut found, mut language) = (Vec::<Example>::new(), None);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) => found.push(Example {
                command: line.to_owned(),
                answer: None,
            }),
            (None, Some("json")) => {
                let example = found.last_mut().expect("a command is before it");
                example.answer = Some(serde_json::from_str(line).expect("JSON"));
            }
            _ => {}
        }
    }
    found
}

/// An answer must have the fields of the one on the page, however deep. Objects without fields on the page
/// may have some.
fn same_fields(shown: &Value, is: &Value, place: &str) {
    match (shown, is) {
        (Value::Object(shown), Value::Object(is)) if !shown.is_empty() => {
            let names = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(names(shown), names(is), "{place}");
            for (name, value) in shown {
                same_fields(value, &is[name], &format!("{place}.{name}"));
            }
        }
        (Value::Array(shown), Value::Array(is)) => {
            if let (Some(shown), Some(is)) = (shown.first(), is.first()) {
                same_fields(shown, is, place);
            }
        }
        _ => {}
    }
}

#[test]
fn every_example_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(program())
        .args(["admin-token", "page", "--scopes", "all"])
        .output()
        .expect("it runs");
    let made = String::from_utf8(made.stdout).expect("text");
    let (token, line) = made.split_once('\n').expect("two lines");
    let file = folder.path().join("tokens");
    std::fs::write(&file, line).expect("a file can be written");
    let service = Service::new(Signer::hmac(), |setup| {
        setup.patient().flag("admin-tokens", file.display())
    });
    let _bob = service.connect("bob", json!({"iat": now(), "jti": "t-0"}));
    let examples = examples();
    let mut answers = 0;
    for Example { command, answer } in &examples {
        assert!(
            command.contains("http://127.0.0.1:7701/admin/v1/"),
            "{command}"
        );
        let backups = format!("{}/", folder.path().display());
        let here = service.gateway.control().to_string();
        let command = command
            .replace("127.0.0.1:7701", &here)
            .replace("/backups/", &backups)
            .replace("curl ", "curl -sS ");
        let run = Command::new("sh")
            .args(["-c", &command])
            .env("TOKEN", token)
            .output()
            .expect("curl is there");
        let printed = String::from_utf8_lossy(&run.stdout);
        if command.contains("/events") {
            // The stream goes on until curl has enough.
            assert_eq!(run.status.code(), Some(28), "{run:?}");
            assert!(printed.starts_with("data: {"), "{printed}");
            continue;
        }
        assert!(run.status.success(), "{command}: {run:?}");
        if command.contains("/export") {
            let last = printed.lines().last().unwrap_or_default();
            assert!(last.contains("\"kind\":\"end\""), "{printed}");
            continue;
        }
        let value: Value = serde_json::from_str(&printed).expect("JSON");
        assert!(value["status"].is_null(), "{command}: {value}");
        if let Some(answer) = answer {
            answers += 1;
            same_fields(answer, &value, &command);
        }
    }
    assert_eq!((examples.len(), answers), (16, 7));
}
