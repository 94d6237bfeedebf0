//! The control port's connections: their maximum number and their time limits.
//!
//! The port asks for no password, so no client may lock others out. The port drops a connection
//! that sends no complete request, or does not take its answer, when its time is over. At the
//! maximum number of connections it drops the one that was idle for longest. A new connection
//! always gets in.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::guard::Guard;
use crate::config::ControlLimits;
use crate::metrics::ControlMetrics;

/// The maximum size of a request's head in bytes, and of the memory for it. A longer head gets the
/// status 431.
const HEAD: usize = 8 << 10;

/// The maximum number of headers in a request. More get the status 431.
const HEADERS: usize = 64;

/// The pause in accepting connections after the process has run out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The server of the control port, shared by all its connections.
pub(super) struct Server {
    pub(super) app: Router,
    pub(super) guard: Guard,
    pub(super) limits: ControlLimits,
    pub(super) metrics: Arc<ControlMetrics>,
}

/// The time of a connection's last activity: its start, or its last complete request.
struct Activity {
    began: Instant,
    /// The last activity in microseconds since `began`.
    last: AtomicU64,
}

/// The open connections, by the ids of their tasks.
#[derive(Default)]
struct Open(BTreeMap<Id, (AbortHandle, Arc<Activity>)>);

impl Server {
    /// Accepts and serves connections. Dropping the future ends all of them.
    pub(super) async fn run(self, listener: TcpListener) -> Infallible {
        let server = Arc::new(self);
        let began = Instant::now();
        let (mut tasks, mut open) = (JoinSet::new(), Open::default());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if open.0.len() >= server.limits.connections {
                            open.drop_oldest();
                            server.metrics.crowded.one();
                        }
                        let activity = Arc::new(Activity { began, last: AtomicU64::new(0) });
                        activity.now();
                        let talk = Arc::clone(&server).talk(stream, Arc::clone(&activity));
                        let task = tasks.spawn(talk);
                        open.0.insert(task.id(), (task, activity));
                        // Many connections may wait to be accepted. Each one can send its request
                        // before the next ones take its place.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control port cannot accept: pausing");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    open.0.remove(&id);
                }
            }
        }
    }

    /// Serves one connection until it ends.
    async fn talk(self: Arc<Self>, stream: TcpStream, activity: Arc<Activity>) {
        let app = TowerToHyperService::new(self.app.clone());
        let (server, asked) = (Arc::clone(&self), Arc::clone(&activity));
        let service = service_fn(move |request: Request<Incoming>| {
            asked.now();
            let refusal = server.guard.refusal(&request);
            if refusal.is_some() {
                server.metrics.refused.one();
            }
            let answer = refusal.is_none().then(|| app.call(request));
            async move {
                match (refusal, answer) {
                    (Some(refusal), _) => Ok(refusal),
                    (None, Some(answer)) => answer.await,
                    (None, None) => Ok(axum::response::Response::default()),
                }
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            // The one time limit below covers this step too.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            let until = activity.last() + self.limits.timeout;
            tokio::select! {
                // The client causes these errors. It has gone, or a status tells it the reason.
                _ = &mut connection => return,
                () = tokio::time::sleep_until(until) => {
                    if activity.last() + self.limits.timeout <= Instant::now() {
                        self.metrics.late.one();
                        return;
                    }
                }
            }
        }
    }
}

impl Activity {
    fn now(&self) {
        let since = self.began.elapsed().as_micros();
        self.last
            .store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.last.load(Relaxed))
    }
}

impl Open {
    /// Drops the connection that was idle for longest.
    fn drop_oldest(&mut self) {
        let oldest = self
            .0
            .iter()
            .min_by_key(|(_, (_, activity))| activity.last());
        if let Some((&id, _)) = oldest
            && let Some((task, _)) = self.0.remove(&id)
        {
            task.abort();
        }
    }
}
