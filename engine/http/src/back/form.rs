//! The bodies of questions to back ends, and of their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_core::exchange::{Admitted, BackKind, BackQuestion, BackUser, Topics, Verdict};
use trunkline_core::request::IN_SECONDS;
use trunkline_proto::message::{ErrorReply, Json, Media, Send, SendExtras};
use trunkline_proto::names::is_name;
use trunkline_proto::{ErrorCode, Str};

use super::failed::Failed;

/// The codes of errors that belong to back ends.
const OWN_CODES: std::ops::RangeInclusive<u16> = 4_000..=4_999;

/// The name of errors that belong to back ends.
const OWN_NAME: &str = "back_end";

/// The maximum bytes of the text of an error. The rest is cut off.
const ERROR_TEXT: usize = 1_000;

/// The maximum number of patterns of topics in an answer.
const PATTERNS: usize = 1_000;

#[derive(Serialize)]
struct ConnectForm<'a> {
    namespace: &'a str,
    user: Option<&'a str>,
    device: Option<&'a str>,
    token: Option<&'a str>,
    address: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct SendForm<'a> {
    namespace: &'a str,
    from: &'a str,
    device: &'a str,
    conversation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<&'a Media<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Json<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mentions: &'a [Str<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
    /// The sequence of the message whose content this is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    edit: Option<u64>,
}

#[derive(Serialize)]
struct SubscribeForm<'a> {
    namespace: &'a str,
    user: &'a str,
    topic: &'a str,
}

#[derive(Serialize)]
struct RpcForm<'a> {
    namespace: &'a str,
    user: &'a str,
    device: &'a str,
    method: &'a str,
    data: &'a Json<'a>,
}

/// Returns the body of a question.
pub(super) fn body(user: &BackUser, question: &BackQuestion) -> Vec<u8> {
    let named = |name: &'_ str| (!name.is_empty()).then(|| name.to_owned());
    let body = match question {
        BackQuestion::Connect(caller) => {
            let (own, device) = (named(&user.user), named(&user.device));
            let headers = caller.headers.iter();
            serde_json::to_vec(&ConnectForm {
                namespace: &user.namespace,
                user: own.as_deref(),
                device: device.as_deref(),
                token: caller.connect.token.as_deref(),
                address: &caller.address,
                headers: headers.map(|(name, value)| (*name, &**value)).collect(),
            })
        }
        BackQuestion::Send { send, conversation } => serde_json::to_vec(&SendForm {
            namespace: &user.namespace,
            from: &user.user,
            device: &user.device,
            conversation,
            key: send.key.as_deref(),
            text: send.text.as_deref(),
            media: send.media.as_ref(),
            reply_to: extras_of(send).and_then(|extras| extras.reply_to),
            kind: extras_of(send).and_then(|extras| extras.kind.as_deref()),
            meta: extras_of(send).and_then(|extras| extras.meta.as_ref()),
            mentions: extras_of(send).map_or(&[][..], |extras| &extras.mentions[..]),
            ttl: extras_of(send).and_then(|extras| extras.ttl.as_deref()),
            edit: None,
        }),
        BackQuestion::Edit(edit) => serde_json::to_vec(&SendForm {
            namespace: &user.namespace,
            from: &user.user,
            device: &user.device,
            conversation: &edit.conversation,
            key: None,
            text: edit.text.as_deref(),
            media: edit.media.as_ref(),
            reply_to: None,
            kind: None,
            meta: edit.meta.as_ref(),
            mentions: &[],
            ttl: None,
            edit: Some(edit.seq),
        }),
        BackQuestion::Subscribe(subscribe) => serde_json::to_vec(&SubscribeForm {
            namespace: &user.namespace,
            user: &user.user,
            topic: &subscribe.topic,
        }),
        BackQuestion::Rpc(rpc) => serde_json::to_vec(&RpcForm {
            namespace: &user.namespace,
            user: &user.user,
            device: &user.device,
            method: &rpc.method,
            data: &rpc.data,
        }),
    };
    // Texts, numbers and values that were read: this does not fail.
    body.unwrap_or_default()
}

fn extras_of<'s>(send: &'s Send<'static>) -> Option<&'s SendExtras<'static>> {
    send.extras.as_deref()
}

/// An answer. Fields that the gateway does not know are left alone.
#[derive(Deserialize, Default)]
struct Answer<'a> {
    error: Option<ErrorForm>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    text: Option<String>,
    user: Option<String>,
    namespace: Option<String>,
    expires: Option<u64>,
    topics: Option<TopicsForm>,
}

#[derive(Deserialize)]
struct ErrorForm {
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TopicsForm {
    subscribe: Vec<String>,
    publish: Vec<String>,
}

/// The limits of what a back end may answer, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Longest {
    /// The maximum size of a message to a client.
    pub message: usize,
    /// The maximum length of the text of a message.
    pub text: usize,
}

/// Reads the answer to a question. `most` limits what it may have.
///
/// # Errors
/// The answer cannot be used.
pub(super) fn verdict(kind: BackKind, body: &[u8], most: Longest) -> Result<Verdict, Failed> {
    let garbage = |why: &str| Failed::Garbage(why.to_owned());
    let text = std::str::from_utf8(body).map_err(|_| garbage("it is not UTF-8"))?;
    let answer: Answer<'_> = match text.trim() {
        "" => Answer::default(),
        // The text of the error may repeat what the answer has: only the place is told.
        text => serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let why =
                format!("it is not the JSON that is expected, at line {line}, column {column}");
            Failed::Garbage(why)
        })?,
    };
    if let Some(error) = answer.error {
        return refusal(kind, error).map(Verdict::Refuse);
    }
    match kind {
        BackKind::Rpc => {
            let data = answer
                .data
                .ok_or_else(|| garbage("it has neither data nor error"))?;
            // The error has names of fields in it, which the log must not have.
            let data = Json::parse(data.get()).map_err(|_| {
                garbage("its data is no JSON for clients: a name stands twice, or it is nested too deep")
            })?;
            if data.as_str().len() + AROUND_DATA > most.message {
                return Ok(Verdict::Refuse(ErrorReply::new(
                    ErrorCode::LimitExceeded,
                    "the answer of the back end is longer than limits.message_bytes",
                )));
            }
            Ok(Verdict::Data(data.into_owned()))
        }
        // The client is not to blame for the text of another program.
        BackKind::Send
            if answer
                .text
                .as_ref()
                .is_some_and(|text| text.len() > most.text) =>
        {
            Err(garbage("its text is longer than limits.text_bytes"))
        }
        BackKind::Send => Ok(answer.text.map_or(Verdict::Pass, Verdict::Rewrite)),
        BackKind::Subscribe => Ok(Verdict::Pass),
        BackKind::Connect => {
            let bad_user = answer.user.as_deref().is_some_and(|user| !is_name(user));
            let space = answer.namespace.as_deref().unwrap_or_default();
            if bad_user || !(space.is_empty() || is_name(space)) {
                return Err(garbage(
                    "a user or namespace is not 1 to 64 bytes of [A-Za-z0-9._@-]",
                ));
            }
            if { answer.expires }.is_some_and(|expires| IN_SECONDS.contains(&expires)) {
                return Err(garbage("its expires is not in milliseconds since 1970"));
            }
            let topics = answer.topics.map(|topics| Topics {
                subscribe: topics.subscribe,
                publish: topics.publish,
            });
            let patterns = topics.as_ref();
            if patterns.is_some_and(|all| all.subscribe.len() + all.publish.len() > PATTERNS) {
                return Err(garbage("it has more than 1,000 patterns of topics"));
            }
            Ok(Verdict::Admit(Admitted {
                user: answer.user,
                namespace: answer.namespace,
                expires: answer.expires,
                topics,
            }))
        }
    }
}

/// The bytes around the data of an `rpc` reply.
const AROUND_DATA: usize = 64;

/// Returns the error for the client.
fn refusal(kind: BackKind, error: ErrorForm) -> Result<ErrorReply<'static>, Failed> {
    let known = ErrorCode::ALL
        .into_iter()
        .find(|one| one.code() == error.code);
    let mut message = error.message;
    if message.len() > ERROR_TEXT {
        let end = (0..=ERROR_TEXT)
            .rev()
            .find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or_default());
    }
    match known {
        _ if OWN_CODES.contains(&error.code) => Ok(ErrorReply {
            code: error.code,
            name: OWN_NAME.into(),
            message: Str::from(message),
            temporary: false,
            limit: None,
            retry_ms: None,
        }),
        Some(code) if kind != BackKind::Rpc => Ok(ErrorReply::new(code, message)),
        // A refusal all the same, with a code that no client knows.
        None if kind != BackKind::Rpc => Ok(ErrorReply::new(ErrorCode::PermissionDenied, message)),
        _ => Err(Failed::Garbage(format!(
            "the code {} of its error is none of a back end: these are 4000 to 4999",
            error.code,
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Longest = Longest {
        message: 64 << 10,
        text: 1 << 10,
    };

    fn read(kind: BackKind, body: &str) -> Result<Verdict, Failed> {
        verdict(kind, body.as_bytes(), MOST)
    }

    #[test]
    fn answers_of_each_kind() {
        assert!(matches!(read(BackKind::Send, "{}"), Ok(Verdict::Pass)));
        assert!(matches!(read(BackKind::Subscribe, " "), Ok(Verdict::Pass)));
        let Ok(Verdict::Rewrite(text)) = read(BackKind::Send, r#"{"text":"b","more":1}"#) else {
            panic!("a text");
        };
        assert_eq!(text, "b");
        let Ok(Verdict::Data(data)) = read(BackKind::Rpc, r#"{"data":{"a":[1]}}"#) else {
            panic!("data");
        };
        assert_eq!(data.as_str(), r#"{"a":[1]}"#);
        let body = r#"{"user":"al","expires":1767225600000,"topics":{"subscribe":["a*"]}}"#;
        let Ok(Verdict::Admit(admitted)) = read(BackKind::Connect, body) else {
            panic!("names");
        };
        assert_eq!(admitted.user.as_deref(), Some("al"));
        assert_eq!(admitted.expires, Some(1_767_225_600_000));
        assert_eq!(admitted.namespace, None);
        assert_eq!(admitted.topics.unwrap().subscribe, ["a*"]);
    }

    #[test]
    fn errors_are_of_the_back_end_or_of_the_protocol() {
        let error = |kind, code: u16| {
            let body = format!(r#"{{"error":{{"code":{code},"message":"no"}}}}"#);
            match read(kind, &body) {
                Ok(Verdict::Refuse(error)) => Some((error.code, error.name.to_string())),
                _ => None,
            }
        };
        let own = |code| Some((code, "back_end".to_owned()));
        assert_eq!(error(BackKind::Rpc, 4_000), own(4_000));
        assert_eq!(error(BackKind::Send, 4_999), own(4_999));
        assert_eq!(
            error(BackKind::Connect, 103),
            Some((103, "permission_denied".to_owned()))
        );
        for code in [103, 3_999, 5_000, 0] {
            assert_eq!(error(BackKind::Rpc, code), None, "{code}");
        }
        // A refusal with a code that no client knows is one all the same.
        let denied = Some((103, "permission_denied".to_owned()));
        assert_eq!(error(BackKind::Send, 3_500), denied);
        assert_eq!(error(BackKind::Connect, 5_001), denied);
        let long = "ä".repeat(ERROR_TEXT);
        let body = format!(r#"{{"error":{{"code":4000,"message":"x{long}"}}}}"#);
        let Ok(Verdict::Refuse(error)) = read(BackKind::Rpc, &body) else {
            panic!("an error");
        };
        assert_eq!(error.message.len(), ERROR_TEXT - 1);
    }

    #[test]
    fn garbage_is_a_failure_that_shows_nothing_of_it() {
        for (kind, body) in [
            (BackKind::Rpc, "<html>secret</html>"),
            (BackKind::Rpc, "{}"),
            (BackKind::Rpc, "[]"),
            (BackKind::Rpc, r#"{"data":{"a":1,"a":2}}"#),
            (BackKind::Send, r#"{"text":5}"#),
            (BackKind::Connect, r#"{"user":"not a secret"}"#),
            (BackKind::Connect, r#"{"expires":-1}"#),
            (BackKind::Connect, r#"{"expires":1767225600}"#),
        ] {
            let Err(failed) = read(kind, body) else {
                panic!("{body}");
            };
            assert!(!failed.to_string().contains("secret"), "{failed}");
        }
        assert!(verdict(BackKind::Send, b"\xff", MOST).is_err());
        let text = |bytes| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
        assert!(read(BackKind::Send, &text(MOST.text)).is_ok());
        let failed = read(BackKind::Send, &text(MOST.text + 1)).unwrap_err();
        assert!(failed.to_string().contains("text_bytes"), "{failed}");
        let long = format!(r#"{{"data":"{}"}}"#, "x".repeat(MOST.message));
        let Ok(Verdict::Refuse(error)) = read(BackKind::Rpc, &long) else {
            panic!("too long");
        };
        assert_eq!(error.code, 106);
    }
}
