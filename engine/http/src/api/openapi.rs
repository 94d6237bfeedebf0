//! `GET /openapi.json`: the description of the API.

use axum::response::Response;

use super::json;

/// The description, written by hand. A test compares its paths with the routes.
const TEXT: &str = include_str!("openapi.json");

/// Answers with the description.
pub(super) async fn handle() -> Response {
    json::response(TEXT.as_bytes().to_vec())
}
