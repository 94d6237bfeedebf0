//! Ending sessions: `disconnect` and `revoke`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use trunkline_core::clock::system_ms;
use trunkline_core::exchange::{Ending, Which};
use trunkline_core::request::IN_SECONDS;
use trunkline_proto::{CloseCode, ErrorCode};

use super::nodes::Did;
use super::{Admin, NotRevoked, Revoke, Scope, fields};
use crate::api::head::Head;
use crate::api::json;
use crate::problem::Problem;

/// How much the clocks of an operator and of the gateway may differ, in milliseconds.
const CLOCKS_MS: u64 = 300_000;

/// The maximum length of a token's id in bytes.
const TOKEN_ID: usize = 1_024;

/// The body of a request to end sessions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Disconnect {
    namespace: Option<String>,
    user: Option<String>,
    device: Option<String>,
    session: Option<String>,
    token_id: Option<String>,
    code: Option<u16>,
    reconnect: Option<bool>,
}

/// The number of a session, and its owner.
struct Session {
    owner: usize,
    number: u64,
}

impl Session {
    fn parse(text: &str) -> Option<Self> {
        let (owner, number) = text.split_once('-')?;
        Some(Self {
            owner: owner.parse().ok()?,
            number: u64::from_str_radix(number, 16).ok()?,
        })
    }
}

/// Ends sessions.
pub(super) async fn disconnect(
    State(admin): State<Arc<Admin>>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&head.headers, Scope::Moderate)?;
    let body = admin.read(&head.headers, body).await?;
    let asked: Disconnect = fields(&body)?;
    if asked.user.is_none() && asked.session.is_none() && asked.token_id.is_none() {
        return Err(Problem::bad("name whom to end: user, session or token_id"));
    }
    let code = asked.code.unwrap_or(CloseCode::REPLACED.0);
    if !(3_000..=4_999).contains(&code) {
        return Err(Problem::bad("code is from 3000 to 4999"));
    }
    let session = match asked.session.as_deref() {
        None => None,
        Some(session) => Some(Session::parse(session).ok_or_else(|| {
            let text = "session is no name of a session, such as 0-5eed12340000001f: see /admin/v1/sessions";
            Problem::bad(text)
        })?),
    };
    let namespace = asked.namespace.as_deref();
    let user = match asked.user.as_deref() {
        None => None,
        Some(user) => Some(admin.user(namespace.unwrap_or_default(), user)?),
    };
    let which = Which {
        namespace: namespace.map(Into::into),
        user,
        device: asked.device.as_deref().map(Into::into),
        number: session.as_ref().map(|session| session.number),
        token: { asked.token_id.as_deref() }.map(|id| admin.hands.token_mark(id)),
        issued_before_s: None,
    };
    let ending = Ending {
        code: CloseCode(code),
        reason: Why::Operator.text(),
        reconnect: asked.reconnect.unwrap_or(false),
    };
    let owner = session.map(|session| session.owner);
    let why = Why::Operator;
    let ended = admin
        .end_everywhere(&which, owner, (ending, why), None)
        .await;
    let (closed, nodes) = ended.inspect_err(|_| {
        let namespace = asked.namespace.as_deref();
        tracing::info!(
            admin = who.0,
            namespace,
            user = asked.user,
            "an operator ended sessions, but not all shards answered"
        );
    })?;
    tracing::info!(
        admin = who.0,
        namespace = asked.namespace,
        user = asked.user,
        device = asked.device,
        session = asked.session,
        code,
        closed,
        "an operator ended sessions"
    );
    Ok(closed_answer(closed, nodes))
}

/// What an order to end sessions did.
#[derive(Debug, Serialize)]
struct Closed {
    /// The number of sessions.
    closed: usize,
    /// In a cluster: which nodes did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Did>,
}

fn closed_answer(closed: usize, nodes: Option<Did>) -> Response {
    let closed = Closed { closed, nodes };
    // Texts and numbers: this does not fail.
    json::response(serde_json::to_vec(&closed).unwrap_or_default())
}

/// Why an operator ends sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// The operator says so.
    Operator,
    /// The token is revoked.
    Revoked,
    /// The user is being erased.
    Erased,
}

impl Why {
    /// Returns the reason that clients are told.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Operator => "an operator ended the session",
            Self::Revoked => "the token has been revoked: use a new one",
            Self::Erased => "the user is being erased",
        }
    }

    /// Returns what clients are told whose token is not good any more.
    pub(super) const fn ending(self) -> Ending {
        Ending {
            code: CloseCode::INVALID_TOKEN,
            reason: self.text(),
            reconnect: CloseCode::INVALID_TOKEN.reconnect(),
        }
    }
}

/// The body of a request to revoke tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Revoked {
    namespace: Option<String>,
    user: Option<String>,
    issued_before: Option<u64>,
    token_id: Option<String>,
    until: Option<u64>,
}

/// Revokes tokens, and ends their sessions.
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&head.headers, Scope::Moderate)?;
    let body = admin.read(&head.headers, body).await?;
    let asked: Revoked = fields(&body)?;
    let (revoke, which) = admin.revocation(&asked)?;
    let revoked = admin.revoke(revoke).await?;
    tracing::info!(
        admin = who.0,
        namespace = asked.namespace,
        user = asked.user,
        issued_before = asked.issued_before,
        by_token_id = asked.token_id.is_some(),
        "an operator revoked tokens"
    );
    // After the revocation is in force: a session that opens meanwhile is among those that end.
    let why = Why::Revoked;
    let ended = admin.end_everywhere(&which, None, (why.ending(), why), revoked);
    let (closed, nodes) = ended.await?;
    tracing::info!(admin = who.0, closed, "sessions with revoked tokens ended");
    Ok(closed_answer(closed, nodes))
}

impl Admin {
    /// Ends the sessions of this node whose tokens another node has revoked.
    ///
    /// # Errors
    /// A shard does not answer in time. Some sessions may be ended.
    pub async fn end_revoked(&self, which: &Which) -> Result<usize, Problem> {
        self.end(which, None, Why::Revoked.ending()).await
    }

    /// Makes durable that tokens are revoked. Returns what other nodes take.
    pub(super) async fn revoke(&self, revoke: Revoke) -> Result<Option<String>, Problem> {
        let hands = Arc::clone(&self.hands);
        // The disk may be slow: other requests go on.
        let revoked = tokio::task::spawn_blocking(move || hands.revoke(&revoke)).await;
        let failed = NotRevoked::Failed("the thread failed".to_owned());
        revoked.unwrap_or(Err(failed)).map_err(|error| match error {
            NotRevoked::NoTokens => Problem::bad(
                "this gateway has no keys for tokens (jwt_key or jwks), so it knows no tokens that it could \
                 revoke: where a back end names the clients, let it refuse them, and end their sessions \
                 with disconnect",
            ),
            NotRevoked::Full(text) => {
                Problem::with_status(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::StorageFull, text)
            }
            NotRevoked::Failed(text) => {
                tracing::error!(error = text, "tokens could not be revoked");
                Problem::new(ErrorCode::StorageUnavailable, text)
            }
        })
    }

    /// Returns what a request revokes, and the sessions that end.
    fn revocation(&self, asked: &Revoked) -> Result<(Revoke, Which), Problem> {
        let until_ms = asked.until;
        if until_ms.is_some_and(|until| until <= system_ms()) {
            let text = "until is over, so this revokes nothing: it is in milliseconds since 1970";
            return Err(Problem::bad(text));
        }
        match (asked.user.as_deref(), asked.token_id.as_deref()) {
            (Some(user), None) => {
                let namespace = asked.namespace.as_deref().unwrap_or_default();
                let user = self.user(namespace, user)?;
                let before_ms = asked.issued_before.unwrap_or_else(system_ms);
                if before_ms < IN_SECONDS.end {
                    let text =
                        "no token is as old as issued_before: it is in milliseconds since 1970";
                    return Err(Problem::bad(text));
                }
                if before_ms > system_ms().saturating_add(CLOCKS_MS) {
                    let text = "issued_before is in the future: it is in milliseconds since 1970";
                    return Err(Problem::bad(text));
                }
                let which = Which {
                    user: Some(user),
                    issued_before_s: Some(before_ms.div_ceil(1_000)),
                    ..Which::default()
                };
                let revoke = Revoke::User {
                    user,
                    before_ms,
                    until_ms,
                };
                Ok((revoke, which))
            }
            (None, Some(id))
                if asked.issued_before.is_none()
                    && asked.namespace.as_deref().is_none_or(str::is_empty) =>
            {
                if id.is_empty() || id.len() > TOKEN_ID {
                    let text = format!("token_id has 1 to {TOKEN_ID} bytes");
                    return Err(Problem::bad(text));
                }
                let which = Which {
                    token: Some(self.hands.token_mark(id)),
                    ..Which::default()
                };
                let id = id.to_owned();
                Ok((Revoke::Token { id, until_ms }, which))
            }
            _ => Err(Problem::bad(
                "name the user, with issued_before if wanted, or a token_id, with until if wanted",
            )),
        }
    }
}
