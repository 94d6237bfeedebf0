//! `GET openapi.json`: the description of the admin API.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::header::HeaderMap;

use super::{Admin, Scope};
use crate::api::json;
use crate::problem::Problem;

/// The description, written by hand. A test compares its paths with the routes.
const TEXT: &str = include_str!("openapi.json");

/// Answers with the description.
pub(super) async fn handle(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    admin.admit(&headers, Scope::Read)?;
    Ok(json::response(TEXT.as_bytes().to_vec()))
}
