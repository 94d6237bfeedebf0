//! The HTTP upgrade (RFC 6455 §4), for server and client.

use std::net::IpAddr;

use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, Request, Response, header};

use crate::encoding::Encoding;
use crate::origin::{Caller, Foreign, Page};
use crate::proxy::Proxies;

mod strict;

/// An upgrade request that the server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The path of the request, without the query.
    pub path: String,
    /// The encoding that the client's sub-protocols choose.
    pub encoding: Encoding,
    /// The web page that sends the request, if a page does, and the host that the request names.
    pub caller: Caller,
    /// Whether the client names a sub-protocol. The answer must then name it too.
    named: bool,
    accept: String,
}

/// The HTTP answer to a request that is not a valid upgrade. The connection closes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status of the answer.
    pub status: u16,
    /// What is wrong and how to correct it.
    pub message: &'static str,
}

/// The reason why a server's answer does not complete the upgrade.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The answer is not HTTP.
    #[error("the server does not answer with HTTP: {0}")]
    NotHttp(String),
    /// The answer has this status instead of 101.
    #[error("the server answers {0} to the upgrade")]
    Status(u16),
    /// This header is missing or wrong.
    #[error("the server's upgrade lacks a right {0} header")]
    Header(&'static str),
}

/// Parses an upgrade request. Returns the request and its length in bytes, or `None` while its end
/// has not arrived. `max` limits its length.
///
/// All bytes behind the request are frames, even if they arrive before the answer is sent, because
/// a server cannot tell when they were sent. A request that announces a body is refused, so every
/// party on the way agrees on where the request ends. A second request behind the first is not a
/// masked frame and fails as one.
///
/// # Errors
/// The request is not a valid upgrade. [`Rejection::response`] writes the answer.
pub fn parse_request(bytes: &[u8], max: usize) -> Result<Option<(Upgrade, usize)>, Rejection> {
    let Some((size, request)) = Request::try_parse(bytes).map_err(unreadable)? else {
        if bytes.len() >= max {
            return Err(reject(431, "the request's headers are too long"));
        }
        return Ok(None);
    };
    if size > max {
        return Err(reject(431, "the request's headers are too long"));
    }
    let headers = request.headers();
    strict::check(&bytes[..size], headers)?;
    let host = strict::host(&request)?;
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err(reject(
            426,
            "this port speaks WebSocket: send Upgrade: websocket",
        ));
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(reject(400, "send Connection: Upgrade"));
    }
    let versions = headers.get_all(header::SEC_WEBSOCKET_VERSION);
    if versions.iter().count() > 1 {
        return Err(reject(400, "send one Sec-WebSocket-Version header"));
    }
    if versions.iter().next().is_none_or(|v| v != "13") {
        return Err(reject(426, "the WebSocket version is 13"));
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key))
        .ok_or_else(|| reject(400, "send one Sec-WebSocket-Key of 16 bytes in base64"))?;
    let (encoding, named) = choose(headers)?;
    let origins = headers.get_all(header::ORIGIN).into_iter();
    let caller = Caller {
        host: Some(host),
        page: Page::of(origins.map(header::HeaderValue::as_bytes)),
    };
    Ok(Some((
        Upgrade {
            path: request.uri().path().to_owned(),
            encoding,
            caller,
            named,
            accept: derive_accept_key(key),
        },
        size,
    )))
}

/// Returns the client of an upgrade request that a trusted proxy sent from `peer`. A request whose head
/// cannot be read is the proxy's own.
///
/// # Errors
/// The headers do not name one client. [`Rejection::response`] writes the answer.
pub fn client(bytes: &[u8], proxies: &Proxies, peer: IpAddr) -> Result<IpAddr, Rejection> {
    let Ok(Some((_, request))) = Request::try_parse(bytes) else {
        return Ok(peer);
    };
    let lines = |name: &str| {
        let lines = request.headers().get_all(name).into_iter();
        lines.map(header::HeaderValue::as_bytes)
    };
    let client = proxies.client(peer, lines("x-forwarded-for"), lines("forwarded"));
    client.map_err(|unclear| reject(400, unclear.message()))
}

/// The headers of an upgrade request that programs behind the server may see, as they are called
/// there, and what stands between several of them.
const PASSED: [(&str, &str, &str); 4] = [
    ("Origin", "origin", ", "),
    ("User-Agent", "user-agent", ", "),
    ("Cookie", "cookie", "; "),
    ("X-Forwarded-For", "x-forwarded-for", ", "),
];

/// Returns the headers `Origin`, `User-Agent`, `Cookie` and `X-Forwarded-For` of an upgrade request that
/// [`parse_request`] has accepted, each with its name. Bytes that are not UTF-8 are replaced.
pub fn passed_headers(request: &[u8]) -> Vec<(&'static str, String)> {
    let Ok(Some((_, request))) = Request::try_parse(request) else {
        return Vec::new();
    };
    let headers = request.headers();
    let passed = |(name, key, between): (&'static str, &'static str, &'static str)| {
        let values = headers.get_all(key).into_iter();
        let texts: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!texts.is_empty()).then(|| (name, texts.join(between)))
    };
    PASSED.into_iter().filter_map(passed).collect()
}

impl Upgrade {
    /// Appends the answer that completes the handshake.
    pub fn accept(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(self.accept.as_bytes());
        if self.named {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(self.encoding.subprotocol().as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl Rejection {
    /// The answer for a path that the server does not serve.
    pub const NOT_FOUND: Self = Self {
        status: 404,
        message: "nothing is here: the WebSocket path is /v1/ws",
    };
    /// The answer if there is no room for another connection.
    pub const UNAVAILABLE: Self = Self {
        status: 503,
        message: "no room for another connection now: try again later",
    };

    /// The answer if an address has reached its limit of connections.
    pub const TOO_MANY: Self = Self {
        status: 429,
        message: "your address has too many connections: close some of them",
    };

    /// The answer to plain HTTP on a TLS address.
    pub const TLS_ONLY: Self = Self {
        status: 400,
        message: "this port speaks TLS: connect with wss://",
    };

    /// Returns the answer to a page or a host that is not allowed.
    pub const fn foreign(why: Foreign) -> Self {
        reject(403, why.message())
    }

    /// Appends the HTTP answer. The connection closes after it.
    pub fn response(&self, out: &mut Vec<u8>) {
        self.response_after(out, None);
    }

    /// Appends the HTTP answer, with the number of seconds after which to try again, if any.
    pub fn response_after(&self, out: &mut Vec<u8>, seconds: Option<u64>) {
        let retry = seconds.map_or_else(String::new, |s| format!("Retry-After: {s}\r\n"));
        let (reason, extra) = match self.status {
            400 => ("Bad Request", ""),
            403 => ("Forbidden", ""),
            404 => ("Not Found", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\n"),
            417 => ("Expectation Failed", ""),
            426 => (
                "Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
            429 => ("Too Many Requests", ""),
            431 => ("Request Header Fields Too Large", ""),
            _ => ("Service Unavailable", ""),
        };
        // 426 must name the protocol in Upgrade, and Upgrade must stand in Connection
        // (RFC 9110 §7.8, §15.5.22).
        let connection = if self.status == 426 {
            "close, Upgrade"
        } else {
            "close"
        };
        out.extend_from_slice(
            format!(
                "HTTP/1.1 {} {reason}\r\n{extra}{retry}Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{}\n",
                self.status,
                self.message.len() + 1,
                self.message
            )
            .as_bytes(),
        );
    }
}

/// Returns the answer to a request that tungstenite's parser refuses. The parser also checks the
/// method and the version.
fn unreadable(error: tungstenite::Error) -> Rejection {
    match error {
        tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod) => {
            reject(405, "a WebSocket upgrade is a GET request")
        }
        tungstenite::Error::Capacity(CapacityError::TooManyHeaders) => {
            reject(431, "the request has more than 124 headers")
        }
        _ => reject(400, "the request is not HTTP/1.1"),
    }
}

const fn reject(status: u16, message: &'static str) -> Rejection {
    Rejection { status, message }
}

/// Returns whether the comma-separated list in a header's lines contains `token`, in any case.
fn lists(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&[u8]> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?.as_bytes();
    lines.next().is_none().then_some(line)
}

fn is_key(key: &[u8]) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut bytes = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
}

/// Returns the first sub-protocol of the client's list that the server knows, and whether the
/// client named any.
fn choose(headers: &HeaderMap) -> Result<(Encoding, bool), Rejection> {
    let mut offered = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).peekable();
    if offered.peek().is_none() {
        return Ok((Encoding::default(), false));
    }
    offered
        .find_map(Encoding::from_subprotocol)
        .map(|encoding| (encoding, true))
        .ok_or_else(|| {
            reject(
                400,
                "offer the sub-protocol trunkline.v1.json or trunkline.v1.proto, or none",
            )
        })
}

/// Appends a client's upgrade request. `key` is the Sec-WebSocket-Key. The request offers the
/// sub-protocol of `encoding` only.
pub fn write_request(out: &mut Vec<u8>, host: &str, path: &str, key: &str, encoding: Encoding) {
    write_request_for(out, host, path, key, Some(encoding.subprotocol()), &[]);
}

/// Appends a client's upgrade request to any server, with the sub-protocol that it offers, if any,
/// and further headers, each a name and a value. Names and values are without line breaks.
pub fn write_request_for(
    out: &mut Vec<u8>,
    host: &str,
    path: &str,
    key: &str,
    subprotocol: Option<&str>,
    headers: &[(&str, &str)],
) {
    for part in [
        "GET ",
        path,
        " HTTP/1.1\r\nHost: ",
        host,
        "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
        key,
        "\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    let offered = subprotocol.map(|it| ("Sec-WebSocket-Protocol", it));
    for (name, value) in headers.iter().copied().chain(offered) {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Makes a Sec-WebSocket-Key from 16 random bytes.
pub fn key_from(random: [u8; 16]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(random)
}

/// Parses the server's answer to an upgrade with this key and encoding. Returns its length in
/// bytes, or `None` while its end has not arrived. Frames may follow the answer.
///
/// # Errors
/// The server did not upgrade.
pub fn parse_response(
    bytes: &[u8],
    key: &str,
    encoding: Encoding,
) -> Result<Option<usize>, ResponseError> {
    let chosen = |given: Option<&[u8]>| given == Some(encoding.subprotocol().as_bytes());
    parse_chosen(bytes, key, chosen)
}

/// Parses the answer of any server to an upgrade with this key, which offered this sub-protocol, if
/// any. The server may choose it or none (RFC 6455 §4.2.2). Returns the length of the answer in
/// bytes, or `None` while its end has not arrived.
///
/// # Errors
/// The server did not upgrade.
pub fn parse_response_for(
    bytes: &[u8],
    key: &str,
    offered: Option<&str>,
) -> Result<Option<usize>, ResponseError> {
    let chosen = |given: Option<&[u8]>| given.is_none() || given == offered.map(str::as_bytes);
    parse_chosen(bytes, key, chosen)
}

/// Parses an answer whose sub-protocol `chosen` judges.
fn parse_chosen(
    bytes: &[u8],
    key: &str,
    chosen: impl FnOnce(Option<&[u8]>) -> bool,
) -> Result<Option<usize>, ResponseError> {
    let Some((size, response)) =
        Response::try_parse(bytes).map_err(|e| ResponseError::NotHttp(e.to_string()))?
    else {
        return Ok(None);
    };
    if response.status() != 101 {
        return Err(ResponseError::Status(response.status().as_u16()));
    }
    let headers = response.headers();
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err(ResponseError::Header("Upgrade"));
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(ResponseError::Header("Connection"));
    }
    if only(headers, header::SEC_WEBSOCKET_ACCEPT)
        != Some(derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(ResponseError::Header("Sec-WebSocket-Accept"));
    }
    let several = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let given = only(headers, header::SEC_WEBSOCKET_PROTOCOL);
    if several.iter().count() > 1 || !chosen(given) {
        return Err(ResponseError::Header("Sec-WebSocket-Protocol"));
    }
    // We offer no extension; one the server uses all the same would change the framing
    // (RFC 6455 §4.1).
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ResponseError::Header("Sec-WebSocket-Extensions"));
    }
    Ok(Some(size))
}
