//! Why a question has no answer that can be used, and how answers are read.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;

use crate::dial::{NoAnswer, Pool};

/// The maximum bytes of an answer. A longer one is a failure.
pub const ANSWER_BYTES: usize = 256 << 10;

/// The time to read the body of an answer that says nothing.
const UNREAD: Duration = Duration::from_secs(1);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// No connection.
    Unreachable(String),
    /// The connection ended before the answer, or the answer is not HTTP.
    Broken(String),
    /// The answer has another status than 2xx.
    Status(u16),
    /// The answer is too long.
    TooLong,
    /// The answer is not what the gateway understands.
    Garbage(String),
    /// No answer came in time.
    Late,
}

/// The number of kinds of failures.
pub(super) const KINDS: usize = 8;

impl Failed {
    /// Returns the kind of the failure, less than [`KINDS`]. The log leaves no kind out: those who write a back
    /// end see each of their mistakes.
    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::Unreachable(_) => 0,
            Self::Broken(_) => 1,
            Self::Late => 2,
            Self::TooLong => 3,
            Self::Garbage(_) => 4,
            Self::Status(..=399) => 5,
            Self::Status(400..=499) => 6,
            Self::Status(_) => 7,
        }
    }

    /// Returns whether the back end answered, so that it is alive.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::TooLong | Self::Garbage(_) | Self::Status(..=499)
        )
    }

    /// Returns whether the answer may be a refusal that the gateway does not understand.
    pub(super) const fn may_refuse(&self) -> bool {
        matches!(self, Self::Garbage(_) | Self::Status(400..=499))
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot connect: {why}"),
            Self::Broken(why) => write!(f, "no answer: {why}"),
            Self::Status(status) => write!(f, "it answers with the status {status}"),
            Self::TooLong => write!(f, "the answer is longer than {ANSWER_BYTES} bytes"),
            Self::Garbage(why) => write!(f, "the answer cannot be used: {why}"),
            Self::Late => f.write_str("no answer came in time"),
        }
    }
}

impl From<NoAnswer> for Failed {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Unreachable(why) => Self::Unreachable(why),
            NoAnswer::Broken(why) => Self::Broken(why),
        }
    }
}

/// Sends a request to a back end and returns the body of its answer. Has no time limit of its own.
///
/// # Errors
/// There is no answer with a 2xx status of at most [`ANSWER_BYTES`].
pub(super) async fn post(pool: &Pool, request: Request<Body>) -> Result<Bytes, Failed> {
    let (response, connection) = pool.send(request).await?;
    let status = response.status();
    let body = read(response.into_body()).await?;
    pool.keep(connection);
    match status.is_success() {
        true => Ok(body),
        false => Err(Failed::Status(status.as_u16())),
    }
}

/// Sends a request whose answer is a status alone, which has to come in `time`.
///
/// # Errors
/// There is no answer with a 2xx status.
pub(super) async fn tell(
    pool: &Pool,
    request: Request<Body>,
    time: Duration,
) -> Result<(), Failed> {
    let sent = tokio::time::timeout(time, pool.send(request)).await;
    let (response, connection) = sent.map_err(|_| Failed::Late)??;
    let status = response.status();
    // The body says nothing. It is read so that the connection can be used again.
    let body = tokio::time::timeout(UNREAD, read(response.into_body())).await;
    if let Ok(Ok(_)) = body {
        pool.keep(connection);
    }
    match status.is_success() {
        true => Ok(()),
        false => Err(Failed::Status(status.as_u16())),
    }
}

/// Reads the body of an answer.
async fn read(body: Incoming) -> Result<Bytes, Failed> {
    use hyper::body::Body as _;
    if body.size_hint().lower() > ANSWER_BYTES as u64 {
        return Err(Failed::TooLong);
    }
    axum::body::to_bytes(Body::new(body), ANSWER_BYTES)
        .await
        .map_err(|error| {
            // The limit has no error of its own that can be named here.
            match error.to_string().contains("limit") {
                true => Failed::TooLong,
                false => Failed::Broken(error.to_string()),
            }
        })
}
