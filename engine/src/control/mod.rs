//! The control port: health and metrics over HTTP.
//!
//! One thread with a runtime of its own, away from the message path.

mod health;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::oneshot;
use trunkline_storage::Reader;

use crate::metrics::{Exporter, Metrics};

/// What the control port shows.
#[derive(Clone)]
pub(crate) struct Shown {
    /// Clients can connect.
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Reader,
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

/// Binds the port and serves it.
///
/// # Errors
/// The address cannot be bound, or the thread not be started.
pub(crate) fn start(address: SocketAddr, shown: Shown) -> anyhow::Result<Control> {
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("cannot listen on the control address {address}"))?;
    let address = listener
        .local_addr()
        .context("the control port has no address")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the control port's runtime")?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let served = runtime.block_on(serve(listener, shown, stopped));
            if let Err(error) = served {
                tracing::error!(%error, "the control port failed");
            }
        })
        .context("cannot start the control thread")?;
    Ok(Control {
        address,
        stop,
        thread,
    })
}

async fn serve(
    listener: std::net::TcpListener,
    shown: Shown,
    stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = axum::serve(listener, app);
    // Whoever still has a connection open here is not waited for.
    tokio::select! {
        served = server => served,
        _ = stopped => Ok(()),
    }
}

async fn healthz(State(shown): State<Shown>) -> impl IntoResponse {
    health::healthz(&shown.store.health(), shown.store.run_failure().as_deref())
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    health::readyz(
        shown.ready.load(Ordering::SeqCst),
        &shown.store.health(),
        shown.store.run_failure().as_deref(),
    )
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = Exporter {
        metrics: shown.metrics,
        store: shown.store,
    }
    .text();
    ([(header::CONTENT_TYPE, TYPE)], text)
}
