//! Questions to back ends: programs of the operator that the gateway asks before it goes on.
//!
//! A question never blocks who asks. The answer comes to a function that the question carries: a
//! shard's puts it into the mailbox of the shard, that of a request wakes its task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use trunkline_proto::message::{Connect, Edit, ErrorReply, Json, Rpc, Send as SendBody, Subscribe};
use trunkline_proto::names::{Conversation, is_name};

use super::{ConnRef, ReplyConn};
use crate::cost::Cost;

/// The cost of asking a back end, besides the bytes of the question: writing and signing a request,
/// and reading the answer.
const ASKING: Cost = Cost::micros(120);

/// The cost of one KiB of a question.
const ASKED_KIB: Cost = Cost::micros(4);

/// A kind of question. Each has a back end of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackKind {
    /// A client opens a session.
    Connect,
    /// A client sends a message.
    Send,
    /// A client subscribes to a topic.
    Subscribe,
    /// A client asks the back end itself.
    Rpc,
}

impl BackKind {
    /// Every kind, in the order of its counters.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Send, Self::Subscribe, Self::Rpc];

    /// The name of the kind in settings, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Subscribe => "subscribe",
            Self::Rpc => "rpc",
        }
    }
}

/// The user on whose behalf a back end is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackUser {
    /// The namespace; empty without one.
    pub namespace: String,
    /// The user; empty if a `connect` names none.
    pub user: String,
    /// The device; empty if a `connect` names none.
    pub device: String,
}

/// A client that opens a session, as its back end sees it.
#[derive(Debug)]
pub struct Caller {
    /// The command. The session opens with it.
    pub connect: Connect<'static>,
    /// The address of the connection; empty if it is not known.
    pub address: String,
    /// The headers of the upgrade that the back end gets: name and value.
    pub headers: Arc<[(&'static str, String)]>,
}

/// A question to a back end.
#[derive(Debug)]
pub enum BackQuestion {
    /// May this session open, and whose is it?
    Connect(Box<Caller>),
    /// May this message be sent, and with which text?
    Send {
        /// The message.
        send: Box<SendBody<'static>>,
        /// The id of the conversation.
        conversation: String,
    },
    /// May the content of this message be replaced, and with which text? The back end of messages is
    /// asked.
    Edit(Box<Edit<'static>>),
    /// May the user subscribe to this topic?
    Subscribe(Subscribe<'static>),
    /// A question of the client's own.
    Rpc(Rpc<'static>),
}

impl BackQuestion {
    /// Asks about a message of a user. Returns `None` for a message without content, or without one recipient
    /// whose name is valid: the gateway refuses it itself.
    pub fn about_send(user: &str, send: &SendBody<'_>) -> Option<Self> {
        let to = match (&send.user, &send.group) {
            (Some(other), None) => Conversation::between(user, other),
            (None, Some(group)) => Conversation::Group(group),
            _ => return None,
        };
        let mut named = [&send.user, &send.group].into_iter().flatten();
        if !named.all(|name| is_name(name)) || send.text.is_none() && send.media.is_none() {
            return None;
        }
        Some(Self::Send {
            conversation: to.text().to_string(),
            send: Box::new(send.clone().into_owned()),
        })
    }

    /// Asks about an edit of a user. Returns `None` for an edit in a conversation whose name is not valid,
    /// or of two other users: the gateway refuses it itself.
    pub fn about_edit(user: &str, edit: &Edit<'_>) -> Option<Self> {
        if edit.text.is_none() && edit.media.is_none() {
            return None;
        }
        match Conversation::parse(&edit.conversation)? {
            Conversation::Direct(one, other) if user != one && user != other => None,
            _ => Some(Self::Edit(Box::new(edit.clone().into_owned()))),
        }
    }

    /// Returns the kind of the question.
    pub const fn kind(&self) -> BackKind {
        match self {
            Self::Connect(_) => BackKind::Connect,
            Self::Send { .. } | Self::Edit(_) => BackKind::Send,
            Self::Subscribe(_) => BackKind::Subscribe,
            Self::Rpc(_) => BackKind::Rpc,
        }
    }

    /// Returns about how many bytes the question has.
    pub fn bytes(&self) -> usize {
        /// The names, and what stands around them.
        const AROUND: usize = 512;
        let len = |text: &Option<trunkline_proto::Str<'_>>| text.as_ref().map_or(0, |t| t.len());
        AROUND
            + match self {
                Self::Connect(caller) => {
                    let headers = caller.headers.iter().map(|(_, value)| value.len());
                    let said = &caller.connect;
                    let names = len(&said.user) + len(&said.namespace) + len(&said.device);
                    // The question has the names twice.
                    len(&said.token) + len(&said.since) + 2 * names + headers.sum::<usize>()
                }
                Self::Send { send, .. } => {
                    let media = send.media.as_ref();
                    let data = media.and_then(|media| media.data.as_ref());
                    let url = media.map_or(0, |media| media.mime.len() + len(&media.url));
                    let extras = send.extras.as_deref();
                    let extras = extras.map_or(0, |extras| {
                        let meta = extras.meta.as_ref().map_or(0, |meta| meta.as_str().len());
                        let mentions = extras.mentions.iter();
                        len(&extras.kind) + meta + mentions.map(|name| name.len()).sum::<usize>()
                    });
                    let content = len(&send.text) + data.map_or(0, |data| data.len());
                    content + len(&send.key) + url + extras
                }
                Self::Edit(edit) => {
                    let media = edit.media.as_ref();
                    let data = media.and_then(|media| media.data.as_ref());
                    let url = media.map_or(0, |media| media.mime.len() + len(&media.url));
                    let meta = edit.meta.as_ref().map_or(0, |meta| meta.as_str().len());
                    len(&edit.text) + url + meta + data.map_or(0, |data| data.len())
                }
                Self::Subscribe(subscribe) => subscribe.topic.len() + len(&subscribe.since),
                Self::Rpc(rpc) => rpc.method.len() + rpc.data.as_str().len(),
            }
    }

    /// Returns the cost of asking, for the client that causes the question.
    pub fn cost(&self) -> Cost {
        ASKING + ASKED_KIB.times(self.bytes() >> 10)
    }
}

/// The names and rights that a back end gives to a session. Each may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The user.
    pub user: Option<String>,
    /// The namespace; empty for none.
    pub namespace: Option<String>,
    /// When the session ends, in milliseconds since 1970 UTC.
    pub expires: Option<u64>,
    /// The patterns of the topics to subscribe and to publish to.
    pub topics: Option<Topics>,
}

/// Patterns of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// The topics to subscribe to.
    pub subscribe: Vec<String>,
    /// The topics to publish to.
    pub publish: Vec<String>,
}

/// What a back end decides.
#[derive(Debug)]
pub enum Verdict {
    /// The command goes on as the client sent it.
    Pass,
    /// The session may open.
    Admit(Admitted),
    /// The message may be sent, with this text.
    Rewrite(String),
    /// The answer to a question of the client's own.
    Data(Json<'static>),
    /// The command is refused, with this error for the client.
    Refuse(ErrorReply<'static>),
}

impl Verdict {
    /// Returns about how many bytes the verdict has.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Admit(_) => 256,
            Self::Rewrite(text) => text.len(),
            Self::Data(data) => data.as_str().len(),
            Self::Refuse(error) => error.message.len(),
        }
    }
}

/// The turn of a sender, whose next message is asked about when this is dropped: drop it once the message
/// is on its way to the sequencer. So messages of a sender keep their order, whichever way they come.
#[derive(Default)]
pub struct SendTurn(Option<Box<dyn std::any::Any + Send>>);

impl SendTurn {
    /// Makes a turn that lasts as long as `held`.
    pub fn new(held: impl Send + 'static) -> Self {
        Self(Some(Box::new(held)))
    }

    /// Returns whether anybody waits for its end.
    pub const fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for SendTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendTurn").field(&self.is_held()).finish()
    }
}

/// A question with its verdict.
#[derive(Debug)]
pub struct Judged {
    /// The question.
    pub question: BackQuestion,
    /// The verdict.
    pub verdict: Verdict,
    /// The turn of the sender of a message.
    pub turn: SendTurn,
}

/// The verdict on a question of a connection, as mail to its shard.
#[derive(Debug)]
pub struct BackMail {
    /// The connection.
    pub conn: ConnRef,
    /// The client's id for the command.
    pub id: u32,
    /// The question with its verdict.
    pub judged: Judged,
}

impl BackMail {
    /// Makes the mail to a connection.
    pub const fn new(to: &ReplyConn, judged: Judged) -> Self {
        Self {
            conn: to.conn,
            id: to.id,
            judged,
        }
    }

    /// Returns the memory that the mail keeps, in bytes.
    pub fn bytes(&self) -> usize {
        self.judged.question.bytes() + self.judged.verdict.bytes()
    }
}

/// Takes the verdict, on the thread that asks back ends, without waiting. Gives it back while there is no
/// room for it: it is to be delivered again a little later.
pub type Deliver = Box<dyn FnMut(Judged) -> Result<(), Box<Judged>> + Send>;

/// A question on its way.
pub struct BackJob {
    /// On whose behalf the back end is asked.
    pub user: BackUser,
    /// The question.
    pub question: BackQuestion,
    /// Takes the verdict.
    pub deliver: Deliver,
}

impl fmt::Debug for BackJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Texts and tokens are in no log.
        f.debug_struct("BackJob")
            .field("kind", &self.question.kind())
            .finish_non_exhaustive()
    }
}

/// The back ends of a gateway.
pub trait BackEnds: Send + Sync + fmt::Debug {
    /// Returns whether a back end is asked about this.
    fn asks(&self, kind: BackKind) -> bool;

    /// Returns the time within which every verdict comes: the time for an answer, and that of waiting for
    /// the turn of the question.
    fn timeout(&self) -> Duration;

    /// Asks a back end. Does not wait. Returns the verdict if it is clear at once: no back end
    /// answers this question, too many questions wait, or the back end rests after failures. Otherwise
    /// [`BackJob::deliver`] gets the verdict later, in any case.
    fn ask(&self, job: BackJob) -> Option<Judged>;
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{Json, Media};

    use super::*;

    /// What a client sends counts, whichever field it stands in: the room for questions is bounded in bytes.
    #[test]
    fn the_bytes_of_a_question_are_those_that_its_client_sent() {
        const LENGTH: usize = 100_000;
        let long = "x".repeat(LENGTH);
        let text = || Some(long.clone().into());
        let send = |send: SendBody<'static>| BackQuestion::Send {
            send: Box::new(send),
            conversation: "u:alice:bob".to_owned(),
        };
        let caller = |connect: Connect<'static>, header: &str| {
            BackQuestion::Connect(Box::new(Caller {
                connect,
                address: "192.0.2.7".to_owned(),
                headers: [("Cookie", header.to_owned())].into(),
            }))
        };
        let media = Media {
            mime: "image/png".into(),
            data: None,
            url: text(),
            size: None,
        };
        let data = format!("\"{long}\"");
        let data = Json::parse(&data).unwrap().into_owned();
        let all = [
            send(SendBody {
                text: text(),
                ..SendBody::default()
            }),
            send(SendBody {
                key: text(),
                ..SendBody::default()
            }),
            send(SendBody {
                media: Some(media),
                ..SendBody::default()
            }),
            caller(
                Connect {
                    token: text(),
                    ..Connect::default()
                },
                "",
            ),
            caller(Connect::default(), &long),
            BackQuestion::Subscribe(Subscribe {
                topic: long.clone().into(),
                ..Subscribe::default()
            }),
            BackQuestion::Rpc(Rpc {
                method: "m".into(),
                data,
            }),
        ];
        for question in all {
            let bytes = question.bytes();
            let kind = question.kind();
            assert!(
                (LENGTH..LENGTH + 1_000).contains(&bytes),
                "{kind:?}: {bytes}"
            );
            assert!(
                question.cost() > ASKING + ASKED_KIB.times(LENGTH / 1_025),
                "{kind:?}"
            );
        }
        let small = send(SendBody::default()).bytes();
        assert!((1..1_000).contains(&small), "{small}");
    }
}
