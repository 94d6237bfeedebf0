//! The guard of the control port against requests from foreign web pages.
//!
//! The port has no passwords. A loopback address is reachable from this machine only. A web page
//! whose name resolves to this machine could still read the port through a browser here, so `Host`
//! has to name this machine. No answer allows another origin to read it: there are no CORS headers.

use axum::body::Body;
use axum::response::Response;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Version};
use trunkline_proto::origin::{Allowed, Caller, Host, Page};

/// Judges requests by their host and origin.
pub(super) struct Guard(pub(super) Allowed);

impl Guard {
    /// Returns the answer to a request that is refused; `None` if the request may be served.
    pub(super) fn refusal<B>(&self, request: &Request<B>) -> Option<Response> {
        let host = match named_host(request) {
            Ok(host) => host,
            Err(message) => return Some(answer(StatusCode::BAD_REQUEST, message)),
        };
        let origins = request.headers().get_all(header::ORIGIN).into_iter();
        let page = Page::of(origins.map(HeaderValue::as_bytes));
        let judged = self.0.admit(&Caller { host, page });
        let foreign = judged.err()?;
        Some(answer(StatusCode::FORBIDDEN, foreign.message()))
    }
}

/// Returns the host of a request: from its target if that is a whole URL, else from its `Host`
/// header. HTTP/1.0 may leave it out; no browser uses HTTP/1.0.
fn named_host<B>(request: &Request<B>) -> Result<Option<Host>, &'static str> {
    const NO_HOST: &str = "the Host header is not a host, or host:port";
    let mut lines = request.headers().get_all(header::HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) if request.version() < Version::HTTP_11 => return Ok(None),
        (Some(line), None) => line.to_str().map_err(|_| NO_HOST)?,
        _ => return Err("send one Host header"),
    };
    let named = request.uri().authority().map_or(line, |url| url.as_str());
    let host = Host::parse(named).ok_or(NO_HOST)?;
    Ok(Some(host.0))
}

fn answer(status: StatusCode, message: &str) -> Response {
    let mut answer = Response::new(Body::from(format!("{message}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // What follows is not looked at.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
