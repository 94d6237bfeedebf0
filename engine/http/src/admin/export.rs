//! Everything that the store has of a user, as lines of JSON: `users/<user>/export`.
//!
//! A thread reads the store and hands pieces to the connection, a few at a time: the memory for an export
//! does not depend on its length. The last line says that the export is whole.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_core::call::Client;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    Blocked, CommandBody, Contacts, Conversations, Presence, ReplyBody,
};

use super::act::{DEVICE, carry_out};
use super::look::InNamespace;
use super::{Admin, At, Exported, Person, Scope};
use crate::api::head::Head;
use crate::api::held::Manner;
use crate::api::json;
use crate::problem::Problem;
use crate::server::{Held, Line, TakeOver};

/// The number of pieces that wait for the client.
const PIECES: usize = 4;

/// The number of conversations, or contacts, that are read at a time.
const PAGE: u32 = 500;

/// An export or a copy that is running. There is one of each at a time.
pub(super) struct Running(Arc<AtomicBool>);

impl Running {
    pub(super) fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::SeqCst)).then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Begins an export.
pub(super) async fn handle(
    State(admin): State<Arc<Admin>>,
    At(user): At<String>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&head.headers, Scope::All)?;
    let namespace = InNamespace::of(&head.uri)?;
    admin.user(&namespace, &user)?;
    admin.read(&head.headers, body).await?;
    let running = Running::begin(&admin.exporting).ok_or_else(|| {
        let text = "another export is running: wait for its end";
        Problem::new(ErrorCode::TooManyRequests, text)
    })?;
    let person = Person { namespace, user };
    let (first, stage) = admin.known(&person, &Stage::Presence).await?;
    tracing::info!(
        admin = who.0,
        namespace = person.namespace,
        user = person.user,
        "an operator exports a user"
    );
    let manner = head.manner();
    let export = Export {
        admin,
        person,
        first,
        stage,
        _running: running,
    };
    let hold = Box::new(move |line| -> Held { Box::pin(export.hold(manner, line)) });
    Ok(TakeOver::response(hold))
}

struct Export {
    admin: Arc<Admin>,
    person: Person,
    /// The first lines.
    first: Vec<u8>,
    /// What is read after them.
    stage: Stage,
    _running: Running,
}

/// What is read next of that which the gateway knows of a user beside the records.
enum Stage {
    Presence,
    /// Contacts after this one.
    Contacts(Option<String>),
    /// Blocked users after this one.
    Blocked(Option<String>),
    /// Conversations after this place.
    Conversations(Option<String>),
    Done,
}

impl Export {
    /// Sends all lines. Without the last one, the client knows that the export is not whole.
    async fn hold(mut self, manner: Manner, mut line: Line) -> Option<Line> {
        let time = self.admin.timeout;
        let mut bytes = manner.stream_head("application/x-ndjson");
        bytes.append(&mut self.first);
        let last = match self.state(&mut line, bytes).await? {
            Err(problem) => json!({"kind": "error", "error": problem.error().message}),
            Ok(()) => self.records(&mut line).await?,
        };
        let text = format!("{last}\n");
        let sent = tokio::time::timeout(time, line.send(text.as_bytes())).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = tokio::time::timeout(time, line.end()).await;
        }
        None
    }

    /// Sends the first bytes, and what the gateway knows beside the records, a page at a time. Returns `None`
    /// if the client is gone.
    async fn state(&mut self, line: &mut Line, first: Vec<u8>) -> Option<Result<(), Problem>> {
        let mut bytes = first;
        loop {
            let sent = tokio::time::timeout(self.admin.timeout, line.send(&bytes)).await;
            sent.ok()?.ok()?;
            if matches!(self.stage, Stage::Done) {
                return Some(Ok(()));
            }
            match self.admin.known(&self.person, &self.stage).await {
                Err(problem) => return Some(Err(problem)),
                Ok(known) => (bytes, self.stage) = known,
            }
        }
    }

    /// Sends the records. Returns the last line; `None` if the client is gone.
    async fn records(&self, line: &mut Line) -> Option<Value> {
        let (give, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES);
        let (hands, person) = (Arc::clone(&self.admin.hands), self.person.clone());
        let reading = tokio::task::spawn_blocking(move || {
            hands.export(&person, &mut |piece| {
                let is_gone = match piece.is_empty() {
                    true => give.is_closed(),
                    false => give.blocking_send(piece).is_err(),
                };
                match is_gone {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        });
        loop {
            let bytes = tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => piece,
                    None => break,
                },
                // The thread must not read on for a client that has gone.
                is_gone = line.stirs() => match is_gone {
                    true => return None,
                    false => continue,
                },
            };
            let sent = tokio::time::timeout(self.admin.timeout, line.send(&bytes)).await;
            sent.ok()?.ok()?;
        }
        Some(match reading.await {
            Ok(Ok(Exported { records, damaged })) => {
                json!({"kind": "end", "records": records, "damaged": damaged})
            }
            Ok(Err(error)) => json!({"kind": "error", "error": error}),
            Err(_) => json!({"kind": "error", "error": "the export failed"}),
        })
    }
}

impl Admin {
    /// Returns lines of what the gateway knows of a user beside the records, a page of it, and what comes
    /// after them: presence, then contacts, then blocked users, then conversations with their marks.
    async fn known(&self, person: &Person, stage: &Stage) -> Result<(Vec<u8>, Stage), Problem> {
        let service = self.service()?;
        let client = service.client(&person.namespace, &person.user, DEVICE)?;
        let mut lines = Vec::new();
        let next = match stage {
            Stage::Presence => {
                let query = Presence {
                    query: vec![(&*person.user).into()],
                    ..Presence::default()
                };
                let presence = self.reply(&client, "presence", CommandBody::Presence(query));
                push(&mut lines, "presence", &presence.await?["users"]);
                Stage::Contacts(None)
            }
            Stage::Contacts(after) => {
                let asked = Contacts {
                    after: after.as_deref().map(Into::into),
                    limit: Some(PAGE),
                    ..Contacts::default()
                };
                let reply = self.reply(&client, "contacts", CommandBody::Contacts(asked));
                let reply = reply.await?;
                push(&mut lines, "contact", &reply["contacts"]);
                let last = reply["contacts"].as_array().and_then(|list| list.last());
                match (reply["more"] == true, last) {
                    (true, Some(last)) => Stage::Contacts(last["user"].as_str().map(str::to_owned)),
                    _ => Stage::Blocked(None),
                }
            }
            Stage::Blocked(after) => {
                let asked = Blocked {
                    after: after.as_deref().map(Into::into),
                    limit: Some(PAGE),
                };
                let reply = self.reply(&client, "blocked", CommandBody::Blocked(asked));
                let reply = reply.await?;
                push(&mut lines, "blocked", &reply["users"]);
                let last = reply["users"].as_array().and_then(|list| list.last());
                match (reply["more"] == true, last) {
                    (true, Some(last)) => Stage::Blocked(last.as_str().map(str::to_owned)),
                    _ => Stage::Conversations(None),
                }
            }
            Stage::Conversations(after) => {
                let asked = Conversations {
                    after: after.as_deref().map(Into::into),
                    limit: Some(PAGE),
                };
                let command = CommandBody::Conversations(asked);
                let reply = self.reply(&client, "conversations", command).await?;
                push(&mut lines, "conversation", &reply["conversations"]);
                match (reply["more"] == true, reply["cursor"].as_str()) {
                    (true, Some(cursor)) if !cursor.is_empty() => {
                        Stage::Conversations(Some(cursor.to_owned()))
                    }
                    _ => Stage::Done,
                }
            }
            Stage::Done => Stage::Done,
        };
        Ok((lines, next))
    }

    /// Returns the reply to a command as JSON.
    async fn reply(
        &self,
        client: &Client<'_>,
        name: &str,
        command: CommandBody<'_>,
    ) -> Result<Value, Problem> {
        let reply: ReplyBody<'static> = carry_out(self, client, &command).await?;
        let read = serde_json::from_slice(&json::reply(name, reply));
        read.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))
    }
}

/// Appends a line for each value of a list.
fn push(lines: &mut Vec<u8>, kind: &str, list: &Value) {
    for value in list.as_array().into_iter().flatten() {
        let line = json!({"kind": kind, "value": value});
        lines.extend_from_slice(format!("{line}\n").as_bytes());
    }
}
