//! Commands of the protocol: `POST /api/v1/<command>`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::HeaderMap;
use trunkline_proto::message::CommandBody;
use trunkline_proto::{ErrorCode, Str};

use super::head::Head;
use super::visitor::{Visitor, idempotency_key};
use super::{Api, BODY_KIB, COMMAND_PATH, json};
use crate::door::Sent;
use crate::problem::Problem;

/// Answers a command.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let (path, headers) = (head.uri.path(), &head.headers);
    let name = path.strip_prefix(COMMAND_PATH).unwrap_or_default();
    let (visitor, permit) = head.enter(&api, None).await?;
    head.no_query()?;
    let body = api.read(headers, body).await?;
    let sent = match name {
        "send" => Sent::Message,
        _ => Sent::Command,
    };
    api.pay(&visitor, body.len(), sent)?;
    let text = json::command_text(name, body.bytes())?;
    let mut command = json::command(&text)?.body;
    set_key(&mut command, idempotency_key(headers)?)?;
    check_rights(&visitor, &command)?;
    let reply = api.perform(&visitor, command).await?;
    let reply = json::reply(name, reply);
    api.sent(&visitor, reply.len());
    let waits = api.unread.answer(reply.len())?;
    Ok(json::response_of((permit, waits), reply))
}

/// Lets the header stand for the key of a command that has one.
pub(crate) fn set_key<'k>(
    command: &mut CommandBody<'k>,
    header: Option<&'k str>,
) -> Result<(), Problem> {
    let (Some(header), CommandBody::Send(_) | CommandBody::GroupCreate(_)) = (header, &*command)
    else {
        return Ok(());
    };
    let key = match command {
        CommandBody::Send(send) => &mut send.key,
        CommandBody::GroupCreate(create) => &mut create.key,
        _ => return Ok(()),
    };
    if key.as_deref().is_some_and(|key| key != header) {
        let text = "the key in the body and the header Idempotency-Key differ: send one of them";
        return Err(Problem::bad(text));
    }
    *key = Some(Str::from(header));
    Ok(())
}

/// Checks what the token of the visitor allows.
fn check_rights(visitor: &Visitor, command: &CommandBody<'_>) -> Result<(), Problem> {
    match command {
        CommandBody::Publish(publish) if !visitor.may_publish(&publish.topic) => {
            let text = "the token does not allow to publish to this topic";
            Err(Problem::new(ErrorCode::PermissionDenied, text))
        }
        _ => Ok(()),
    }
}

impl Api {
    /// Reads the body of a command.
    ///
    /// # Errors
    /// See [`super::body::Bodies::read`].
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<super::body::ReadBody, Problem> {
        let most = self.limits.content.message_bytes;
        self.bodies.read(headers, body, most).await
    }

    /// Takes a request from the rates of its user, and books its cost.
    ///
    /// # Errors
    /// Nothing is left of a rate, or an account is in debt.
    pub(super) fn pay(&self, visitor: &Visitor, body: usize, sent: Sent) -> Result<(), Problem> {
        // First: what the rates refuse was read too.
        let cost = BODY_KIB.times(body >> 10);
        self.door.book(&visitor.payer(), cost)?;
        self.door.pay(visitor.id(), Sent::Body(body))?;
        Ok(self.door.pay(visitor.id(), sent)?)
    }
}
