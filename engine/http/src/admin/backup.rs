//! Backups of the store: `backup`.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use trunkline_proto::ErrorCode;

use super::{Admin, BackupRefused, Scope, fields};
use crate::api::json;
use crate::problem::Problem;

/// The body of a request for a backup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    target: PathBuf,
}

/// Begins a backup.
pub(super) async fn begin(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&headers, Scope::All)?;
    let body = admin.read(&headers, body).await?;
    let Asked { target } = fields(&body)?;
    if !target.is_absolute() {
        return Err(Problem::bad(
            "target must be an absolute path on the machine of the gateway",
        ));
    }
    if target.as_os_str().as_bytes().contains(&0) {
        return Err(Problem::bad("target is no path: it has a byte of value 0"));
    }
    // The end of the service is the beginning of the stop.
    admin.service()?;
    let shown = target.display().to_string();
    let begun = admin
        .hands
        .begin_backup(target)
        .map_err(|refused| match refused {
            BackupRefused::Busy(text) => {
                Problem::with_status(StatusCode::CONFLICT, ErrorCode::TooManyRequests, text)
            }
            BackupRefused::Unavailable(text) => Problem::new(ErrorCode::StorageUnavailable, text),
        })?;
    tracing::info!(
        admin = who.0,
        target = shown,
        "an operator ordered a backup"
    );
    let mut response = answer(&begun);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Answers with the report of the last backup.
pub(super) async fn report(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    admin.admit(&headers, Scope::All)?;
    let report = admin.hands.backup_report().ok_or_else(|| {
        let text = "no backup was begun since the gateway started";
        Problem::new(ErrorCode::Unknown, text)
    })?;
    Ok(answer(&report))
}

fn answer(report: &Value) -> Response {
    json::response(report.to_string())
}
