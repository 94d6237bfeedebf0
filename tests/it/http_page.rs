//! The examples of docs/http.md, played with curl on a gateway in the order of the page.

use std::process::Command;

use serde_json::Value;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::workspace;

/// One example of the page.
struct Example {
    command: String,
    /// The answer that the page shows behind the last command of a block.
    answer: Option<Value>,
}

/// Returns the examples of the page.
fn examples() -> Vec<Example> {
    let page = std::fs::read_to_string(workspace().join("docs/http.md")).expect("the page");
    let (mut found, mut language) = (Vec::<Example>::new(), None);
    for line in page.lines() {
        match (line.strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, Some("sh")) => found.push(Example {
                command: line.to_owned(),
                answer: None,
            }),
            (None, Some("json")) => {
                let answer: Value = serde_json::from_str(line).expect("JSON");
                // The example of an error follows no command.
                if let (Some(example), true) = (found.last_mut(), answer["status"].is_null()) {
                    example.answer = Some(answer);
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the names of the fields of an object.
fn fields(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[test]
fn every_example_works() {
    let gateway = Setup::default().http().start();
    let examples = examples();
    assert!(examples.len() >= 10, "only {}", examples.len());
    let (mut answers, mut media) = (0, None);
    for Example { command, answer } in examples {
        let here = gateway.http().to_string();
        assert!(command.contains("http://127.0.0.1:7702/"), "{command}");
        let command = command
            .replace("127.0.0.1:7702", &here)
            .replace("<id>", media.as_deref().unwrap_or_default())
            .replace("curl ", "curl -sS ");
        let run = Command::new("sh").args(["-c", &command]).output();
        let run = run.expect("curl is there");
        let printed = String::from_utf8_lossy(&run.stdout);
        if command.contains("/events") {
            // The stream goes on until curl has enough.
            assert_eq!(run.status.code(), Some(28), "{run:?}");
            assert!(printed.contains("\ndata: {\"pos\":"), "{printed}");
            continue;
        }
        assert!(run.status.success(), "{command}: {run:?}");
        let value: Value = serde_json::from_str(&printed).expect("JSON");
        assert!(value["status"].is_null(), "{command}: {value}");
        if !value["sha256"].is_null() {
            let url = value["url"].as_str().expect("the path of the file");
            media = url.rsplit('/').next().map(str::to_owned);
        }
        if let Some(answer) = answer {
            answers += 1;
            // rtm.receive: the last command of its block finds nothing.
            assert_eq!(fields(&value), fields(&answer), "{command}");
        }
    }
    assert_eq!(answers, 5);
}
