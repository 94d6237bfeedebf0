//! `GET /openapi.json`: the description of the API.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::{Api, json};
use crate::problem::Problem;
use crate::server::Peer;

/// The description, written by hand. A test compares its paths with the routes.
const TEXT: &str = include_str!("openapi.json");

/// Answers with the description.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    api.serve_stranger(peer)?;
    Ok(json::response(TEXT.as_bytes().to_vec()))
}
