//! The connections to one back end: kept and used again, each for one request at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::tls::Trust;
use super::url::BackUrl;

/// The maximum number of connections that are kept while they have nothing to do. Further ones are
/// closed.
const KEPT: usize = 64;

/// The time after which an idle connection is not used again. Most servers close theirs later.
const IDLE: Duration = Duration::from_secs(20);

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

impl Failed {
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

/// A connection that has nothing to do.
#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// The connections to one back end.
#[derive(Debug)]
pub(super) struct Pool {
    url: BackUrl,
    trust: Option<Trust>,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// Makes a pool without connections. `trust` is for a back end that speaks TLS.
    pub(super) fn new(url: BackUrl, trust: Option<Trust>) -> Self {
        Self {
            trust: trust.filter(|_| url.has_tls()),
            url,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) const fn url(&self) -> &BackUrl {
        &self.url
    }

    /// Sends a request and returns the body of its answer. Has no time limit of its own.
    ///
    /// # Errors
    /// There is no answer with a 2xx status of at most [`ANSWER_BYTES`].
    pub(super) async fn post(&self, request: Request<Body>) -> Result<Bytes, Failed> {
        let (response, sender) = self.send(request).await?;
        let status = response.status();
        let body = read(response.into_body()).await?;
        self.keep(sender);
        match status.is_success() {
            true => Ok(body),
            false => Err(Failed::Status(status.as_u16())),
        }
    }

    /// Sends a request whose answer is a status alone, which has to come in `time`.
    ///
    /// # Errors
    /// There is no answer with a 2xx status.
    pub(super) async fn tell(&self, request: Request<Body>, time: Duration) -> Result<(), Failed> {
        let sent = tokio::time::timeout(time, self.send(request)).await;
        let (response, sender) = sent.unwrap_or(Err(Failed::Late))?;
        let status = response.status();
        // The body says nothing. It is read so that the connection can be used again.
        let body = tokio::time::timeout(UNREAD, read(response.into_body())).await;
        if let Ok(Ok(_)) = body {
            self.keep(sender);
        }
        match status.is_success() {
            true => Ok(()),
            false => Err(Failed::Status(status.as_u16())),
        }
    }

    /// Sends a request. Returns the answer without its body, and the connection.
    async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Failed> {
        loop {
            let (mut sender, is_fresh) = match self.kept() {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            if let Err(error) = sender.ready().await {
                if is_fresh {
                    return Err(Failed::Broken(error.to_string()));
                }
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    // The back end closed the connection meanwhile. It has nothing of the request.
                    Some(back) if !is_fresh => request = back,
                    _ => return Err(Failed::Broken(error.into_error().to_string())),
                },
            }
        }
    }

    /// Takes a connection that can be used again.
    fn kept(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        while let Some(last) = idle.pop() {
            if !last.sender.is_closed() && last.since.elapsed() < IDLE {
                return Some(last.sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() >= KEPT {
            idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < IDLE);
        }
        if idle.len() < KEPT {
            let since = Instant::now();
            idle.push(Idle { sender, since });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Failed> {
        let unreachable = |error: std::io::Error| Failed::Unreachable(error.to_string());
        let address = (self.url.host(), self.url.port());
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        let Some(trust) = &self.trust else {
            return begin(stream).await;
        };
        let name = ServerName::try_from(self.url.host().to_owned());
        let name = name.map_err(|error| Failed::Unreachable(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::clone(&trust.0)).connect(name, stream);
        begin(connecting.await.map_err(unreachable)?).await
    }
}

/// Begins to speak HTTP on a connection.
async fn begin(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>, Failed> {
    let (sender, connection) = http1::Builder::new()
        // More than any head that is meant well.
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Failed::Broken(error.to_string()))?;
    // Ends with the connection. Its errors reach the request.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
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
