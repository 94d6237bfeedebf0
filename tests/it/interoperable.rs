//! JSON that readers understand differently is refused everywhere.

use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::error_code;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::neighbours::Neighbours;

#[test]
fn refused_wherever_it_stands() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "json");
    let mut client = gateway.dial().connect("mallory", "pc");
    let values = [
        (r#""\ud800""#, "surrogate"),
        (r#"["a\udc00"]"#, "surrogate"),
        (r#"{"\ud83dx":1}"#, "surrogate"),
        ("1e400", "binary64"),
        ("[-1e309]", "binary64"),
        (r#"{"a":1,"b":{},"a":2}"#, "twice"),
        (r#"{"a":1,"\u0061":2}"#, "twice"),
    ];
    let mut id = 1_000;
    for (value, word) in values {
        for command in [
            format!(r#""signal":{{"user":"bob","data":{value}}}"#),
            format!(r#""publish":{{"topic":"t","data":{{"x":[{value}]}}}}"#),
            format!(r#""send":{{"user":"bob","text":"x","meta":{value}}}"#),
            format!(r#""send":{{"user":"bob","media":{{"type":"a/b","url":"u","x":{value}}}}}"#),
            format!(r#""ping":{{}},"later":{value}"#),
        ] {
            id += 1;
            let text = format!("{{\"id\":{id},{command}}}");
            client.write_frame(Opcode::Text, text.as_bytes());
            let reply = client.reply(id);
            assert_eq!(error_code(&reply), 107, "{text}: {reply}");
            let message = reply["error"]["message"].as_str().expect("a text");
            assert!(message.contains(word), "{text}: {message}");
        }
        // The text of the same value in protobuf.
        let mut proto = gateway.dial().proto().connect("mallory", "pc");
        let command =
            json!({"id": 7, "publish": {"topic": "t", "data": "?".repeat(value.len() - 2)}});
        let mut frame = Vec::new();
        Json.decode_commands(command.to_string().as_bytes(), |command| {
            Proto.encode_command(&command.expect("a command"), &mut frame);
        });
        // As long, at the very end.
        let at = frame.len() - value.len();
        frame[at..].copy_from_slice(value.as_bytes());
        proto.write_frame(Opcode::Binary, &frame);
        let reply = proto.reply(7);
        assert_eq!(error_code(&reply), 107, "{value}: {reply}");
        let message = reply["error"]["message"].as_str().expect("a text");
        assert!(
            message.starts_with("publish.data") && message.contains(word),
            "{message}"
        );
    }
    for text in [
        r#"{"id":5,"id":6,"ping":{}}"#,
        r#"{"id":5,"ping":{},"\u0069d":5}"#,
    ] {
        client.write_frame(Opcode::Text, text.as_bytes());
        let stray = client.stray();
        assert_eq!(error_code(&stray), 107, "{text}: {stray}");
    }
    // What every reader reads arrives as it is.
    let mut bob = gateway.dial().connect("bob", "phone");
    let data = json!({"n": 9_007_199_254_740_993_u64, "é": "\u{1f600}\u{0}", "x": [1e-300]});
    client.done("signal", &json!({"user": "bob", "data": data}));
    assert_eq!(bob.push_of("signal")["data"], data);
    neighbours.chat();
}

/// Errors are in plain words, in both encodings.
#[test]
fn words_of_errors() {
    let gateway = Gateway::start();
    let mut client = gateway.dial().connect("mallory", "pc");
    for (text, expected) in [
        (
            r#"{"id":1001,"send":{"user":"bob","text":5}}"#,
            "send.text: a text is needed, found a number",
        ),
        (
            r#"{"id":1002,"receipts":{"conversation":"g:e","seq":1}}"#,
            r#"receipts.state: one of "read", "delivered", "unread" is needed, found nothing"#,
        ),
        (
            r#"{"id":1003,"history":{"conversation":"g:e","limit":-5}}"#,
            "history.limit: a whole number from 0 to 4294967295 is needed, found -5",
        ),
        (
            r#"{"id":1004,"ping":{}"#,
            "not JSON: a comma or } is needed at byte 20, found the end",
        ),
    ] {
        client.write_frame(Opcode::Text, text.as_bytes());
        let error = client.error();
        let message = error["error"]["message"].as_str().expect("a text");
        assert!(message.ends_with(expected), "{text}: {message}");
    }
}
