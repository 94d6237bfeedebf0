//! The `connect` command.

use trunkline_core::exchange::unnamed_device;
use trunkline_core::ids::Ids;
use trunkline_core::position;
use trunkline_core::request::Names;
use trunkline_core::store::{Epochs, Position, TimelineId};
use trunkline_proto::message::Connect;
use trunkline_proto::names::is_name;
use trunkline_proto::{CloseCode, ErrorCode};

use super::Session;
use crate::auth::Grant;

/// The error of a `connect`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConnectError {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'static str,
    /// The code with which the connection closes after the error. `None`: it stays open.
    pub(crate) close: Option<CloseCode>,
}

const fn error(code: ErrorCode, message: &'static str) -> ConnectError {
    ConnectError {
        code,
        message,
        close: None,
    }
}

/// Returns the key under which the position of a session's device is kept. Returns `None` if the client
/// does not ask for that.
pub(crate) fn device_key(
    request: &Connect<'_>,
    ids: &Ids,
    session: &Session,
) -> Option<TimelineId> {
    let device = session.names.device();
    request.resume.then(|| ids.device(session.id, device))
}

/// The data of the gateway that opening a session needs.
pub(crate) struct Context<'a> {
    /// Derives ids from names.
    pub(crate) ids: &'a Ids,
    /// Proves positions.
    pub(crate) epochs: &'a Epochs,
    /// The number of the shard.
    pub(crate) shard: usize,
    /// The session's number in its shard.
    pub(crate) number: u64,
}

/// A session that a `connect` opens.
pub(crate) struct Opened {
    /// The session. [`Session::begin`] makes it live.
    pub(crate) session: Session,
    /// The position from which the session continues. `None`: the client named none.
    pub(crate) since: Option<Position>,
}

/// Opens the session that a `connect` asks for. The names come from `grant`; in development mode, where
/// there is no grant, from the client.
///
/// # Errors
/// The client has to change its `connect`.
pub(crate) fn open(
    request: &Connect<'_>,
    grant: Option<&Grant>,
    context: &Context<'_>,
) -> Result<Opened, ConnectError> {
    const NAMES: &str = "a user, device or namespace is 1 to 64 bytes of [A-Za-z0-9._@-]";
    let granted = grant.map(|grant| &*grant.user);
    let Some(user) = granted.or(request.user.as_deref()) else {
        return Err(match request.token {
            Some(_) => ConnectError {
                close: Some(CloseCode::INVALID_TOKEN),
                ..error(
                    ErrorCode::Unauthorized,
                    "this gateway runs in development mode and takes no tokens: send \"user\"",
                )
            },
            None => error(
                ErrorCode::BadRequest,
                "connect needs a \"user\" in development mode",
            ),
        });
    };
    let named = request.namespace.as_deref().unwrap_or_default();
    let namespace = grant.map_or(named, |grant| &*grant.namespace);
    let bound = grant.and_then(|grant| grant.device.as_deref());
    let device = bound.or(request.device.as_deref());
    if !is_name(user)
        || device.is_some_and(|device| !is_name(device))
        || !(namespace.is_empty() || is_name(namespace))
    {
        return Err(error(ErrorCode::BadRequest, NAMES));
    }
    if request.resume && device.is_none() {
        return Err(error(
            ErrorCode::BadRequest,
            "\"resume\" needs a \"device\": positions are kept for each",
        ));
    }
    let since = match &request.since {
        None => None,
        Some(since) => Some(
            position::since(context.epochs, since)
                .map_err(|(code, message)| error(code, message))?,
        ),
    };
    let session = Session {
        id: context.ids.user(namespace, user),
        names: match device {
            Some(device) => Names::new(user, device, namespace),
            None => {
                let device = unnamed_device("d", context.shard, context.number);
                Names::new(user, &device, namespace)
            }
        },
        number: context.number,
        live_from: Position::ZERO,
        catching_up: false,
        expires: 0,
    };
    Ok(Opened { session, since })
}
