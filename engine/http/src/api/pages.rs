//! The chat page, the client in JavaScript, and what the page needs to know of the gateway.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use hyper::header::HeaderMap;

use super::{Api, json};
use crate::pages::{CHAT, CHAT_PROGRAM, Served, served, sockets};
use crate::problem::Problem;
use crate::server::Peer;

/// The path of what the page needs to know.
pub(super) const ABOUT: &str = "/chat/gateway.json";

/// Where the WebSockets of the gateway and its pages are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sockets {
    pub(crate) port: u16,
    /// The port of the pages. A page that comes from another one comes through a proxy.
    pub(crate) pages: u16,
    pub(crate) has_tls: bool,
}

/// Returns whether a path is that of a page.
pub(super) fn are_at(path: &str) -> bool {
    path == ABOUT || path == CHAT_PROGRAM[1] || CHAT.iter().any(|file| file.path == path)
}

/// Adds the routes.
pub(super) fn add(mut router: Router<Arc<Api>>, api: &Api) -> Router<Arc<Api>> {
    let known = about_gateway(api);
    for (path, served) in served(CHAT, CHAT_PROGRAM, &known) {
        let answer = move |state, peer, headers| page(served, state, peer, headers);
        router = router.route(path, get(answer));
    }
    router.route(ABOUT, get(about))
}

async fn page(
    served: Arc<Served>,
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    api.serve_stranger(peer)?;
    let Sockets { port, has_tls, .. } = api.limits.sockets;
    Ok(served.answer(&asked, &sockets(&asked, port, has_tls)))
}

/// Returns where the WebSockets are, and whether clients need tokens, as JSON.
fn about_gateway(api: &Api) -> String {
    let Sockets { port, pages, .. } = api.limits.sockets;
    let tokens = api.door.needs_tokens();
    let version = env!("CARGO_PKG_VERSION");
    format!(r#"{{"port":{port},"pages":{pages},"tokens":{tokens},"version":"{version}"}}"#)
}

async fn about(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    api.serve_stranger(peer)?;
    Ok(json::response(about_gateway(&api).into_bytes()))
}
