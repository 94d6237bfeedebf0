//! Acting for users: `as` and `publish`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use hyper::header::HeaderMap;
use serde::Deserialize;
use trunkline_core::call::{Client, no_answer};
use trunkline_core::exchange::BackUser;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, ReplyBody};

use super::look::InNamespace;
use super::{Admin, At, Scope, fields};
use crate::api::COMMANDS;
use crate::api::command::set_key;
use crate::api::json;
use crate::api::visitor::idempotency_key;
use crate::problem::Problem;

/// The device of a user for whom an operator acts.
pub(super) const DEVICE: &str = "admin";

/// The publisher of a publication that names no user.
const PUBLISHER: &str = "admin";

/// Carries out a command.
///
/// # Errors
/// The error that the user would get, or no answer came in time.
pub(super) async fn carry_out(
    admin: &Admin,
    client: &Client<'_>,
    command: &CommandBody<'_>,
) -> Result<ReplyBody<'static>, Problem> {
    let answer = tokio::time::timeout(admin.patience(), client.answer(command));
    let carried = answer.await.map_err(|_| no_answer())?;
    Ok(carried.reply?)
}

/// Carries out a command for a user, or asks the back end of `rpc` as the user.
async fn perform(
    admin: &Admin,
    (namespace, user): (&str, &str),
    command: CommandBody<'_>,
) -> Result<ReplyBody<'static>, Problem> {
    // After the body: the stop of the gateway waits for all who have the service.
    let service = admin.service()?;
    let rpc = match command {
        CommandBody::Rpc(rpc) => rpc,
        command => {
            let client = service.client(namespace, user, DEVICE)?;
            return carry_out(admin, &client, &command).await;
        }
    };
    // Checks the names.
    service.client(namespace, user, DEVICE)?;
    drop(service);
    let question = admin.back.question(rpc)?;
    let user = BackUser {
        namespace: namespace.to_owned(),
        user: user.to_owned(),
        device: DEVICE.to_owned(),
    };
    let answer = admin.back.rpc(user, question);
    let answer = tokio::time::timeout(admin.patience(), answer).await;
    answer.map_err(|_| no_answer())?
}

/// Carries out a command for a user.
pub(super) async fn command(
    State(admin): State<Arc<Admin>>,
    At((user, name)): At<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&headers, Scope::Send)?;
    if !COMMANDS.contains(&&*name) {
        let text = format!("there is no command {name:?} for requests");
        return Err(Problem::new(ErrorCode::UnknownCommand, text));
    }
    let namespace = InNamespace::of(&uri)?;
    let body = admin.read(&headers, body).await?;
    let text = json::command_text(&name, body.bytes())?;
    let mut command = json::command(&text)?.body;
    set_key(&mut command, idempotency_key(&headers)?)?;
    let reply = perform(&admin, (&namespace, &user), command).await;
    // Also without an answer: the command may have been carried out.
    tracing::info!(
        admin = who.0,
        namespace,
        user,
        command = name,
        done = reply.is_ok(),
        "an operator acted for a user"
    );
    Ok(json::response(json::reply(&name, reply?)))
}

/// What a publication has besides the fields of the command.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Publisher {
    namespace: String,
    user: Option<String>,
}

/// Publishes to a topic.
pub(super) async fn publish(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    const NAME: &str = "publish";
    let who = admin.admit(&headers, Scope::Send)?;
    let body = admin.read(&headers, body).await?;
    let service = admin.service()?;
    let publisher: Publisher = fields(&body)?;
    let user = publisher.user.as_deref().unwrap_or(PUBLISHER);
    let client = service.client(&publisher.namespace, user, DEVICE)?;
    let text = json::command_text(NAME, body.bytes())?;
    let command = json::command(&text)?.body;
    let reply = carry_out(&admin, &client, &command).await;
    let topic = match &command {
        CommandBody::Publish(publish) => &*publish.topic,
        _ => "",
    };
    tracing::info!(
        admin = who.0,
        namespace = publisher.namespace,
        topic,
        done = reply.is_ok(),
        "an operator published to a topic"
    );
    Ok(json::response(json::reply(NAME, reply?)))
}
