//! Everything that the store has of a user, as lines of JSON: `users/<user>/export`.
//!
//! A thread reads the store and hands pieces to the connection, a few at a time: the memory for an export
//! does not depend on its length. The last line says that the export is whole.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::HeaderMap;
use hyper::{Uri, Version};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline_core::call::Client;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, Contacts, Conversations, Presence, ReplyBody};

use super::act::{DEVICE, carry_out};
use super::look::InNamespace;
use super::{Admin, At, Exported, Person, Scope};
use crate::api::held::Manner;
use crate::api::json;
use crate::problem::Problem;
use crate::server::{Held, Line, Page, TakeOver};

/// The number of pieces that wait for the client.
const PIECES: usize = 4;

/// The number of conversations, or contacts, that are read at a time.
const PAGE: u32 = 500;

/// An export that is running. There is one at a time.
struct Running(Arc<AtomicBool>);

impl Running {
    fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
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
    page: Option<Extension<Page>>,
    version: Version,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&headers, Scope::All)?;
    let namespace = InNamespace::of(&uri)?;
    admin.user(&namespace, &user)?;
    admin.read(&headers, body).await?;
    let running = Running::begin(&admin.exporting).ok_or_else(|| {
        let text = "another export is running: wait for its end";
        Problem::new(ErrorCode::TooManyRequests, text)
    })?;
    let person = Person { namespace, user };
    let first = admin.state_of(&person).await?;
    tracing::info!(
        admin = who.0,
        namespace = person.namespace,
        user = person.user,
        "an operator exports a user"
    );
    let page = page.as_ref().map(|page| &page.0);
    let manner = Manner::of(version, &headers, page);
    let export = Export {
        admin,
        person,
        first,
        _running: running,
    };
    let hold = Box::new(move |line| -> Held { Box::pin(export.hold(manner, line)) });
    Ok(TakeOver::response(hold))
}

struct Export {
    admin: Arc<Admin>,
    person: Person,
    first: Vec<u8>,
    _running: Running,
}

impl Export {
    /// Sends all lines. Without the last one, the client knows that the export is not whole.
    async fn hold(self, manner: Manner, mut line: Line) -> Option<Line> {
        let time = self.admin.timeout;
        let mut bytes = manner.stream_head("application/x-ndjson");
        bytes.extend_from_slice(&self.first);
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
            let sent = tokio::time::timeout(time, line.send(&bytes)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return None;
            }
            bytes.clear();
            tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => bytes = piece,
                    None => break,
                },
                // The thread must not read on for a client that has gone.
                is_gone = line.stirs() => if is_gone {
                    return None;
                },
            }
        }
        let last = match reading.await {
            Ok(Ok(Exported { records, damaged })) => {
                json!({"kind": "end", "records": records, "damaged": damaged})
            }
            Ok(Err(error)) => json!({"kind": "error", "error": error}),
            Err(_) => json!({"kind": "error", "error": "the export failed"}),
        };
        let text = format!("{last}\n");
        let sent = tokio::time::timeout(time, line.send(text.as_bytes())).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = tokio::time::timeout(time, line.end()).await;
        }
        None
    }
}

impl Admin {
    /// Returns the lines of what the gateway knows of a user beside the records: presence, contacts, and
    /// conversations with their marks.
    async fn state_of(&self, person: &Person) -> Result<Vec<u8>, Problem> {
        let service = self.service()?;
        let client = service.client(&person.namespace, &person.user, DEVICE)?;
        let mut lines = Vec::new();
        let query = Presence {
            query: vec![(&*person.user).into()],
            ..Presence::default()
        };
        let presence = self.reply(&client, "presence", CommandBody::Presence(query));
        push(&mut lines, "presence", &presence.await?["users"]);
        let mut after: Option<String> = None;
        loop {
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
                (true, Some(last)) => after = last["user"].as_str().map(str::to_owned),
                _ => break,
            }
        }
        let mut after: Option<String> = None;
        loop {
            let asked = Conversations {
                after: after.as_deref().map(Into::into),
                limit: Some(PAGE),
            };
            let reply = self.reply(&client, "conversations", CommandBody::Conversations(asked));
            let reply = reply.await?;
            push(&mut lines, "conversation", &reply["conversations"]);
            match (reply["more"] == true, reply["cursor"].as_str()) {
                (true, Some(cursor)) if !cursor.is_empty() => after = Some(cursor.to_owned()),
                _ => return Ok(lines),
            }
        }
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
