//! The connections to one server: kept and used again, each for one request at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::names::Names;
use super::trust::Trust;

/// The maximum number of connections that are kept while they have nothing to do. Further ones are
/// closed.
pub(crate) const KEPT: usize = 64;

/// The time after which an idle connection is not used again. Most servers close theirs later.
const IDLE: Duration = Duration::from_secs(20);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// The name or the address, of IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) has_tls: bool,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// No connection.
    Unreachable(String),
    /// The connection ended before the answer, or the answer is not HTTP.
    Broken(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot connect: {why}"),
            Self::Broken(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// A connection that has nothing to do.
#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    origin: Origin,
    names: Names,
    trust: Option<Trust>,
    idle: Mutex<Vec<Idle>>,
}

impl Pool {
    /// Makes a pool without connections. `trust` is for a server that speaks TLS.
    pub(crate) fn new(origin: Origin, trust: Option<Trust>) -> Self {
        Self {
            names: Names::new(origin.host.clone(), origin.port),
            trust: trust.filter(|_| origin.has_tls),
            origin,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Sends a request. Returns the head of its answer, the body to come, and the connection: [`Self::keep`]
    /// it when the body has been read. Has no time limit of its own.
    ///
    /// # Errors
    /// No answer begins.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), NoAnswer> {
        loop {
            let (mut sender, is_fresh) = match self.kept() {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            if let Err(error) = sender.ready().await {
                if is_fresh {
                    return Err(NoAnswer::Broken(error.to_string()));
                }
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    // The server closed the connection meanwhile. It has nothing of the request.
                    Some(back) if !is_fresh => request = back,
                    _ => return Err(NoAnswer::Broken(error.into_error().to_string())),
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

    /// Keeps a connection for a later request.
    pub(crate) fn keep(&self, sender: SendRequest<Body>) {
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

    async fn connect(&self) -> Result<SendRequest<Body>, NoAnswer> {
        let unreachable = |error: std::io::Error| NoAnswer::Unreachable(error.to_string());
        let addresses = self.names.look_up().await.map_err(unreachable)?;
        let stream = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        if !self.origin.has_tls {
            return begin(stream).await;
        }
        let Some(trust) = &self.trust else {
            let text = "there are no certificates that vouch for it";
            return Err(NoAnswer::Unreachable(text.to_owned()));
        };
        let name = ServerName::try_from(self.origin.host.clone());
        let name = name.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::clone(&trust.0)).connect(name, stream);
        begin(connecting.await.map_err(unreachable)?).await
    }
}

/// Begins to speak HTTP on a connection.
async fn begin(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>, NoAnswer> {
    let (sender, connection) = http1::Builder::new()
        // More than any head that is meant well.
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| NoAnswer::Broken(error.to_string()))?;
    // Ends with the connection. Its errors reach the request.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
