//! A copy of the store for a new node of the cluster: `copy`.
//!
//! A thread reads the store and hands pieces to the connection, a few at a time. The form of the bytes says where they
//! end, and what is wrong if they do not: `trunkline cluster join-from` reads them.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use tokio::sync::mpsc;
use trunkline_proto::ErrorCode;

use super::export::Running;
use super::{Admin, NoCopy, Scope};
use crate::api::head::Head;
use crate::api::held::Manner;
use crate::problem::Problem;
use crate::server::{Held, Line, TakeOver};

/// The number of pieces that wait for the client: each has a MiB at most.
const PIECES: usize = 2;

/// A copy that is on its way. There is one at a time.
struct Copy {
    admin: Arc<Admin>,
    name: String,
    _running: Running,
}

/// Begins a copy.
pub(super) async fn handle(
    State(admin): State<Arc<Admin>>,
    head: Head,
) -> Result<Response, Problem> {
    let who = admin.admit(&head.headers, Scope::All)?;
    // The end of the service is the beginning of the stop.
    admin.service()?;
    admin.hands.can_copy().map_err(|no| match no {
        NoCopy::NoNode(text) => Problem::new(ErrorCode::UnknownCommand, text),
        NoCopy::NotYet(text) => Problem::new(ErrorCode::StorageUnavailable, text),
    })?;
    let running = Running::begin(&admin.copying).ok_or_else(|| {
        let text = "another node takes a copy: wait for its end";
        Problem::with_status(StatusCode::CONFLICT, ErrorCode::TooManyRequests, text)
    })?;
    tracing::info!(admin = who.0, "a node takes a copy of the store");
    let manner = head.manner();
    let copy = Copy {
        admin,
        name: who.0,
        _running: running,
    };
    let hold = Box::new(move |line| -> Held { Box::pin(copy.hold(manner, line)) });
    Ok(TakeOver::response(hold))
}

impl Copy {
    /// Sends everything. The connection ends then, and the receiver knows whether it has all.
    async fn hold(self, manner: Manner, mut line: Line) -> Option<Line> {
        let time = self.admin.timeout;
        let head = manner.stream_head("application/octet-stream");
        let sent = tokio::time::timeout(time, line.send(&head)).await;
        sent.ok()?.ok()?;
        let (give, mut pieces) = mpsc::channel::<Vec<u8>>(PIECES);
        let hands = Arc::clone(&self.admin.hands);
        let reading = tokio::task::spawn_blocking(move || {
            hands.copy(&mut |piece| match give.blocking_send(piece.to_vec()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        while let Some(bytes) = pieces.recv().await {
            let sent = tokio::time::timeout(time, line.send(&bytes)).await;
            sent.ok()?.ok()?;
        }
        let admin = &self.name;
        match reading.await {
            Ok(Ok(bytes)) => tracing::info!(admin, bytes, "the copy of the store is sent"),
            Ok(Err(error)) => tracing::error!(admin, error, "the copy of the store failed"),
            Err(_) => tracing::error!(admin, "the thread of a copy panicked"),
        }
        let _ = tokio::time::timeout(time, line.end()).await;
        None
    }
}
