//! The requests about backups: one begins a backup, the other tells about the last one.
//!
//! Both need a proof that the caller may read the data folder ([`proof`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::backup::{NotBegun, proof};

/// The path of both requests.
pub(crate) const PATH: &str = "/backup";

/// The maximum size of a request's body in bytes: a path and its JSON.
pub(super) const BODY: usize = 16 << 10;

/// The body of the request for a backup.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The folder of the backup, an absolute path.
    pub(crate) target: PathBuf,
}

/// The body of the answer to a request that was refused.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The reason, and what to do.
    pub(crate) error: String,
}

/// Begins a backup.
pub(super) async fn begin(State(shown): State<Shown>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = unproved(&shown, &headers) {
        return refusal;
    }
    if !shown.ready.load(Ordering::SeqCst) {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway is starting or stopping",
        );
    }
    let order = match serde_json::from_slice::<Order>(&body) {
        Ok(order) if order.target.is_absolute() => order,
        Ok(_) => {
            return refused(
                StatusCode::BAD_REQUEST,
                "\"target\" must be an absolute path",
            );
        }
        Err(_) => {
            return refused(
                StatusCode::BAD_REQUEST,
                "the body must be JSON: {\"target\":\"/path/of/the/backup\"}",
            );
        }
    };
    match Arc::clone(&shown.backups).begin(order.target) {
        Ok(report) => (StatusCode::ACCEPTED, Json(report)).into_response(),
        Err(no) => {
            let status = match no {
                NotBegun::Busy(_) => StatusCode::CONFLICT,
                NotBegun::Stopping | NotBegun::NoThread(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refused(status, &no.to_string())
        }
    }
}

/// Tells about the last backup.
pub(super) async fn report(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    if let Some(refusal) = unproved(&shown, &headers) {
        return refusal;
    }
    match shown.backups.report() {
        Some(report) => Json(report).into_response(),
        None => refused(
            StatusCode::NOT_FOUND,
            "no backup was begun since the gateway started",
        ),
    }
}

/// Returns the answer to a request without the right proof; `None` if the proof is right.
fn unproved(shown: &Shown, headers: &HeaderMap) -> Option<Response> {
    let given = headers.get(header::AUTHORIZATION);
    if given.is_some_and(|given| given.as_bytes() == proof(shown.store.key()).as_bytes()) {
        return None;
    }
    Some(refused(
        StatusCode::UNAUTHORIZED,
        "a backup needs the proof that the caller may read the data folder of this gateway: use `trunkline store backup --data DIR` with this gateway's folder",
    ))
}

fn refused(status: StatusCode, error: &str) -> Response {
    let error = error.to_owned();
    (status, Json(Refusal { error })).into_response()
}
