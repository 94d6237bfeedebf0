//! The control port: health, metrics, backups and the admin API over HTTP.
//!
//! One thread with its own runtime serves it, apart from the message path.

mod accept;
mod backup;
mod health;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::oneshot;
use trunkline_core::trusted::Trusted;
use trunkline_gateway::shard::listener::Claimed;
use trunkline_http::problem::{self, Problem};
use trunkline_http::server::{Guard, Server};
use trunkline_http::{admin, pages};
use trunkline_proto::ErrorCode;
use trunkline_storage::Reader;

pub(crate) use self::backup::{Order, PATH as BACKUP, Refusal};
pub(crate) use self::health::Condition;
use crate::admin::{SECOND, Served, Stats};
use crate::backup::Backups;
use crate::config::Config;
use crate::metrics::{Exporter, Metrics};
use crate::ports::cannot_listen;
use crate::threads::let_shards_go_first;

/// The sources of what the control port shows.
#[derive(Clone)]
pub(crate) struct Shown {
    /// Whether clients can connect.
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Reader,
    pub(crate) backups: Arc<Backups>,
}

impl Shown {
    /// Returns the sources of a gateway that is not ready yet.
    pub(crate) fn new(store: &Reader, metrics: &Arc<Metrics>) -> Self {
        let backups = Backups::new(store.clone(), Arc::clone(&metrics.backups));
        Self {
            ready: Arc::new(AtomicBool::new(false)),
            metrics: Arc::clone(metrics),
            store: store.clone(),
            backups: Arc::new(backups),
        }
    }
}

/// The running control thread.
pub(crate) struct Control {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and ends the thread.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
    }
}

/// Listens at the address that was taken, and serves the port.
///
/// # Errors
/// Another process listens there, or the thread cannot be started.
pub(crate) fn start(
    config: &Config,
    claimed: Claimed,
    shown: Shown,
    admin: &Served,
) -> anyhow::Result<Control> {
    let address = claimed.address();
    let listener =
        { claimed.listen() }.map_err(|error| cannot_listen("control", address, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the control port's runtime")?;
    let mut allowed = config.limits.origins.clone();
    allowed.loopback = address.ip().is_loopback();
    let server = Server {
        name: "control",
        guard: Guard(allowed),
        refuse: problem::refuse,
        complete: problem::naming_methods,
        tls: None,
        door: None,
        // Operators, and what they scrape with, come directly.
        proxies: Trusted::default(),
        limits: config.control_limits,
        metrics: Arc::clone(&shown.metrics.control),
        app: router(shown)
            .merge(admin::router(&admin.admin))
            .merge(pages::console())
            .fallback(unknown)
            .method_not_allowed_fallback(other_method),
    };
    let stats = Arc::clone(&admin.stats);
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let_shards_go_first();
            let served = runtime.block_on(serve(listener, server, stopped, stats));
            if let Err(error) = served {
                tracing::error!(%error, "the control port failed");
            }
            // The stop waits for no thread that still waits for a shard or for the disk.
            runtime.shutdown_background();
        })
        .context("cannot start the control thread")?;
    Ok(Control {
        address,
        stop,
        thread,
    })
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(BACKUP, get(backup::report).post(backup::begin))
        .layer(DefaultBodyLimit::max(backup::BODY))
        .with_state(shown)
}

/// Answers a request to a path that there is not.
async fn unknown(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(ErrorCode::UnknownCommand, format!("there is no {path}"))
}

/// Answers a request with a method that its path does not have.
async fn other_method(method: Method) -> Problem {
    Problem::other_method(&method)
}

async fn serve(
    listener: std::net::TcpListener,
    server: Server,
    stopped: oneshot::Receiver<()>,
    stats: Arc<Stats>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let sampling = async {
        let mut seconds = tokio::time::interval(SECOND);
        loop {
            seconds.tick().await;
            stats.sample();
        }
    };
    // The end of the thread waits for no open connection.
    tokio::select! {
        never = server.run(listener) => match never {},
        () = sampling => Ok(()),
        _ = stopped => Ok(()),
    }
}

async fn healthz(State(shown): State<Shown>) -> impl IntoResponse {
    health::healthz(&Condition::of(&shown.store))
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    health::readyz(
        shown.ready.load(Ordering::SeqCst),
        &Condition::of(&shown.store),
        shown.metrics.node.get().and_then(|node| node.trouble()),
    )
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> impl IntoResponse {
    let form = accept::form(&headers);
    let text = Exporter {
        metrics: shown.metrics,
        store: shown.store,
    }
    .text(form);
    let vary = (header::VARY, "Accept");
    ([(header::CONTENT_TYPE, form.content_type()), vary], text)
}
