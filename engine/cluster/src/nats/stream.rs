//! The stream that has the log: what it must be like, and what the servers say of it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::names::ClusterNames;

/// The most bytes of a record with its headers.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;

/// The most bytes of a record. The rest of the message is for headers.
pub const RECORD_MAX: usize = MESSAGE_MAX - (1 << 10);

/// The time in which a server recognises a message by its id. Nobody sets ids: the shorter, the less it keeps.
const DUPLICATES: Duration = Duration::from_secs(1);

/// The numbers of replicas that make sense.
const REPLICAS: [u8; 3] = [1, 3, 5];

/// The least bytes of a log: one that forgets within minutes is a mistake.
const BYTES_MIN: u64 = 64 << 20;

/// The most bytes of a log: the servers count no further.
const BYTES_MAX: u64 = i64::MAX as u64;

/// A stream to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// The servers that have the stream: 1, 3 or 5. With 3 it outlives one of them, with 5 two.
    pub replicas: u8,
    /// The bytes of the log, at least 64 MiB. Beyond that the oldest records go.
    pub max_bytes: u64,
}

/// What the servers say of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// The time at which the stream was created, as the servers write it. Another time is another stream.
    pub created: String,
    /// The sequence of the oldest record. One more than `last` without records.
    pub first: u64,
    /// The sequence of the newest record; 0 if there never was one.
    pub last: u64,
    /// The bytes of all records on a disk.
    pub bytes: u64,
    /// The most bytes of all records.
    pub max_bytes: u64,
    /// The servers that have the stream, by plan.
    pub replicas: u8,
    /// The server that orders the records. `None` while they elect it, and for a server without a cluster.
    pub leader: Option<String>,
    /// The other servers that have the stream, and whether they have all of it.
    pub followers: Vec<Follower>,
}

/// A server that has the stream and does not order it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    /// The name of the server.
    pub name: String,
    /// The server has all records.
    pub is_current: bool,
}

/// A failure of a question about the stream.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StreamError {
    /// The plan of a new stream cannot be right.
    #[error("{0}")]
    Plan(String),
    /// There is such a stream already.
    #[error("the stream {0} is there already: use it, or give the cluster another name")]
    Exists(String),
    /// There is no such stream.
    #[error(
        "there is no stream {0} on the NATS servers: create the cluster (trunkline cluster init), or look why the stream is gone"
    )]
    Absent(String),
    /// The stream is not as it must be.
    #[error("the stream {name} is not as a log must be: {}", .differences.join("; "))]
    Differs {
        /// The name of the stream.
        name: String,
        /// The differences, each as `SETTING is THIS, and must be THAT`.
        differences: Vec<String>,
    },
    /// The servers have no room for the log.
    #[error(
        "the NATS servers have no room for the log: {text} (error {code}). The jetstream settings of each server need a max_file_store \
         above --max-bytes with some room beside, and a disk that has it; with --replicas N, N servers. Or give a smaller --max-bytes"
    )]
    NoRoom {
        /// The code of the server's error.
        code: u32,
        /// The text of the server's error.
        text: String,
    },
    /// A server refuses.
    #[error("the NATS server refuses: {text} (error {code})")]
    Refused {
        /// The code of the server's error.
        code: u32,
        /// The text of the server's error.
        text: String,
    },
    /// The servers do not take the longest record.
    #[error("{0}")]
    Length(String),
    /// Nobody answers.
    #[error(
        "no answer of the NATS servers: {0}; look whether they run, have JetStream, and have a majority"
    )]
    Silent(String),
    /// An answer of another form.
    #[error("the NATS server answers what is not understood ({0}): use version 2.12 or later")]
    Unclear(String),
}

/// The error of the JetStream API for a stream that does not exist.
pub(crate) const STREAM_NOT_FOUND: u32 = 10_059;

/// The errors of the JetStream API where a stream or a record has no room: no suitable servers, and a lack of resources,
/// memory or files, of the servers or of the account.
const NO_ROOM: [u32; 6] = [10_002, 10_005, 10_023, 10_028, 10_047, 10_077];

impl StreamError {
    /// Returns the error of a server that refuses.
    pub(crate) fn refused(code: u32, text: String) -> Self {
        match NO_ROOM.contains(&code) {
            true => Self::NoRoom { code, text },
            false => Self::Refused { code, text },
        }
    }
}

/// The errors of the JetStream API for another last sequence than expected.
pub(crate) const WRONG_LAST: [u32; 2] = [10_071, 10_164];

/// An error in an answer of the JetStream API.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(default)]
    pub(crate) err_code: u32,
    #[serde(default)]
    pub(crate) description: String,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
    #[serde(default)]
    created: String,
    config: Option<Value>,
    state: Option<State>,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    name: String,
    #[serde(default)]
    current: bool,
}

impl StreamPlan {
    /// Checks the plan.
    pub(crate) fn check(self) -> Result<(), StreamError> {
        let Self {
            replicas,
            max_bytes,
        } = self;
        if !REPLICAS.contains(&replicas) {
            return Err(StreamError::Plan(format!(
                "{replicas} replicas are no majority more than fewer are: use 1, 3 or 5"
            )));
        }
        if max_bytes < BYTES_MIN {
            return Err(StreamError::Plan(format!(
                "a log of {max_bytes} bytes forgets too soon: give it 64 MiB or more ({BYTES_MIN} bytes)"
            )));
        }
        if max_bytes > BYTES_MAX {
            return Err(StreamError::Plan(format!(
                "a log of {max_bytes} bytes is more than NATS servers can count: give it at most {BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// Returns the request that creates the stream.
    pub(crate) fn request(self, names: &ClusterNames) -> Vec<u8> {
        let mut config = settings(names);
        config["name"] = names.stream().into();
        config["num_replicas"] = self.replicas.into();
        config["max_bytes"] = self.max_bytes.into();
        config["duplicate_window"] = nanos(DUPLICATES);
        config.to_string().into_bytes()
    }
}

fn nanos(time: Duration) -> Value {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into()
}

/// Returns the settings that each log has. A server that does not name one of them has zero, `false` or
/// nothing there.
fn settings(names: &ClusterNames) -> Value {
    json!({
        "subjects": [names.log()],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "max_msg_size": MESSAGE_MAX,
        "allow_direct": true,
        "deny_delete": true,
        "deny_purge": true,
        "sealed": false,
        "no_ack": false,
        "allow_rollup_hdrs": false,
        "allow_msg_ttl": false,
        "republish": { "src": names.log(), "dest": names.live() },
    })
}

/// Returns how a stream differs from what a log must be like.
fn differences(names: &ClusterNames, config: &Value) -> Vec<String> {
    let wanted = settings(names);
    let wanted = wanted.as_object().into_iter().flatten();
    let mut found: Vec<_> = wanted
        .filter_map(|(name, wanted)| {
            let is = config.get(name).unwrap_or(&Value::Null);
            let is_zero = *wanted == json!(false) || *wanted == json!(0);
            let fits = is == wanted || is.is_null() && is_zero;
            (!fits).then(|| format!("{name} is {is}, and must be {wanted}"))
        })
        .collect();
    for name in ["mirror", "sources", "subject_transform"] {
        if let Some(is) = config.get(name).filter(|it| !it.is_null()) {
            found.push(format!("{name} is {is}, and must not be there"));
        }
    }
    found
}

/// Reads an answer about the stream, and checks the stream's settings.
pub(crate) fn read(names: &ClusterNames, answer: &[u8]) -> Result<StreamInfo, StreamError> {
    let (info, differences) = read_any(names, answer)?;
    if differences.is_empty() {
        return Ok(info);
    }
    let name = names.stream();
    Err(StreamError::Differs { name, differences })
}

/// Reads an answer about the stream. Returns with it how its settings differ from those of a log.
pub(crate) fn read_any(
    names: &ClusterNames,
    answer: &[u8],
) -> Result<(StreamInfo, Vec<String>), StreamError> {
    let unclear = |why: &str| StreamError::Unclear(why.to_owned());
    let answer: Answer = serde_json::from_slice(answer).map_err(|why| unclear(&why.to_string()))?;
    if let Some(error) = answer.error {
        return Err(match error.err_code {
            STREAM_NOT_FOUND => StreamError::Absent(names.stream()),
            code => StreamError::refused(code, error.description),
        });
    }
    let (Some(config), Some(state)) = (answer.config, answer.state) else {
        return Err(unclear("no config or no state"));
    };
    // Its birth tells a stream from another of the same name: none is not another one.
    if answer.created.is_empty() {
        return Err(unclear("no time of creation"));
    }
    let number = |name: &str| config.get(name).and_then(Value::as_i64).unwrap_or_default();
    let (leader, followers) = match answer.cluster {
        Some(cluster) => (cluster.leader, cluster.replicas),
        None => (None, Vec::new()),
    };
    let followers = followers.into_iter().map(|it| Follower {
        name: it.name,
        is_current: it.current,
    });
    let info = StreamInfo {
        created: answer.created,
        first: state.first_seq,
        last: state.last_seq,
        bytes: state.bytes,
        // A stream without a bound has -1.
        max_bytes: u64::try_from(number("max_bytes")).unwrap_or(u64::MAX),
        replicas: u8::try_from(number("num_replicas")).unwrap_or(u8::MAX),
        leader: leader.filter(|it| !it.is_empty()),
        followers: followers.collect(),
    };
    Ok((info, differences(names, &config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ClusterNames {
        ClusterNames::new("c", "n").unwrap()
    }

    fn plan() -> StreamPlan {
        StreamPlan {
            replicas: 3,
            max_bytes: 1 << 30,
        }
    }

    /// The answer of a server that has made the stream, changed.
    fn answer(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut config: Value = serde_json::from_slice(&plan().request(&names())).unwrap();
        // The server leaves such out.
        config.as_object_mut().unwrap().remove("no_ack");
        change(&mut config);
        let answer = json!({
            "type": "io.nats.jetstream.api.v1.stream_info_response",
            "created": "2026-11-30T14:28:57.2Z",
            "config": config,
            "state": { "messages": 3, "bytes": 7, "first_seq": 2, "last_seq": 4 },
            "cluster": { "name": "x", "leader": "a", "replicas": [{ "name": "b", "current": true }] },
        });
        answer.to_string().into_bytes()
    }

    #[test]
    fn a_stream_as_it_was_planned_is_right() {
        let info = read(&names(), &answer(|_| ())).unwrap();
        assert_eq!((info.first, info.last, info.bytes), (2, 4, 7));
        assert_eq!((info.replicas, info.max_bytes), (3, 1 << 30));
        assert_eq!(info.leader.as_deref(), Some("a"));
        assert!(info.followers[0].is_current);
    }

    #[test]
    fn a_stream_that_could_lose_or_hide_records_is_refused() {
        for (name, value) in [
            ("deny_delete", json!(false)),
            ("deny_purge", Value::Null),
            ("retention", json!("workqueue")),
            ("storage", json!("memory")),
            ("discard", json!("new")),
            ("max_age", json!(1)),
            ("max_msgs", json!(9)),
            ("no_ack", json!(true)),
            ("sealed", json!(true)),
            ("subjects", json!(["trunkline.c.log", "other"])),
            ("republish", Value::Null),
            ("mirror", json!({ "name": "x" })),
            ("allow_direct", json!(false)),
        ] {
            let read = read(&names(), &answer(|config| config[name] = value.clone()));
            let said = read.unwrap_err().to_string();
            assert!(
                said.contains(&format!("{name} is {value}, and must")),
                "{said}"
            );
        }
    }

    #[test]
    fn errors_of_the_server_are_told_apart() {
        let said = |code: u32| {
            let answer =
                json!({ "error": { "code": 404, "err_code": code, "description": "why" } });
            read(&names(), answer.to_string().as_bytes()).unwrap_err()
        };
        assert_eq!(
            said(STREAM_NOT_FOUND),
            StreamError::Absent("TRUNKLINE_c".into())
        );
        let refused = StreamError::Refused {
            code: 10_008,
            text: "why".into(),
        };
        assert_eq!(said(10_008), refused);
        let unborn = String::from_utf8(answer(|_| ())).unwrap();
        let unborn = unborn.replace("\"created\"", "\"x\"").into_bytes();
        for bytes in [&unborn[..], b"{}", b"", b"[]", b"\xff"] {
            let unclear = read(&names(), bytes);
            assert!(matches!(unclear, Err(StreamError::Unclear(_))), "{bytes:?}");
        }
    }

    #[test]
    fn plans_that_cannot_be_right_are_refused() {
        assert_eq!(plan().check(), Ok(()));
        for (replicas, max_bytes) in [
            (2, 1 << 30),
            (0, 1 << 30),
            (3, BYTES_MIN - 1),
            (3, BYTES_MAX + 1),
        ] {
            let plan = StreamPlan {
                replicas,
                max_bytes,
            };
            assert!(
                matches!(plan.check(), Err(StreamError::Plan(_))),
                "{plan:?}"
            );
        }
    }
}
