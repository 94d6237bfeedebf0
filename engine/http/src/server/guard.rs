//! The guard of a port against requests from foreign web pages.
//!
//! A loopback address is reachable from this machine only. A web page whose name resolves to this
//! machine could still read the port through a browser here, so `Host` has to name this machine.

use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Version};
use trunkline_proto::origin::{Allowed, Caller, Host, Page};

/// Judges requests by their host and origin.
pub struct Guard(pub Allowed);

/// The refusal of a request.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The reason, for people.
    pub message: &'static str,
}

impl Guard {
    /// Judges a request. Returns the origin of the page that sent it, which may read the answer; `None`
    /// if no page sent it.
    ///
    /// # Errors
    /// The request may not be served.
    pub fn judge<B>(&self, request: &Request<B>) -> Result<Option<HeaderValue>, Refusal> {
        if !is_plainly_chunked(request) {
            return Err(Refusal {
                status: StatusCode::NOT_IMPLEMENTED,
                message: "the only Transfer-Encoding here is chunked: send the body without another coding",
            });
        }
        let host = named_host(request).map_err(|message| Refusal {
            status: StatusCode::BAD_REQUEST,
            message,
        })?;
        let origins = request.headers().get_all(header::ORIGIN).into_iter();
        let page = Page::of(origins.map(HeaderValue::as_bytes));
        let judged = self.0.admit(&Caller { host, page });
        judged.map_err(|foreign| Refusal {
            status: StatusCode::FORBIDDEN,
            message: foreign.message(),
        })?;
        Ok(request.headers().get(header::ORIGIN).cloned())
    }
}

/// Returns whether the body of a request has no other transfer coding than chunks. The gateway would read the bytes
/// of another coding as if they were the body (RFC 9112, 6.1).
fn is_plainly_chunked<B>(request: &Request<B>) -> bool {
    let lines = request.headers().get_all(header::TRANSFER_ENCODING);
    let mut lines = lines.iter();
    let is_chunked = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"chunked");
    lines.next().is_none_or(is_chunked) && lines.next().is_none()
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
