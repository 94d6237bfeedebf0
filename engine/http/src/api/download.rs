//! `GET /api/v1/media/<id>`, and links to media.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use trunkline_core::cost::Cost;
use trunkline_core::media::{PATH, is_id};
use trunkline_proto::ErrorCode;

use super::head::Head;
use super::outstanding::Permit;
use super::visitor::Visitor;
use super::{Api, json};
use crate::door::{Payer, Sent};
use crate::media::{About, Part, essence, part};
use crate::problem::Problem;
use crate::server::{Peer, Progress};

/// The cost of finding out who may read a file.
const LOOK_UP: Cost = Cost::micros(50);

/// The time for which a link is good if nobody says how long, in seconds: ten minutes.
const LINK: u64 = 600;

/// The longest time for which a link is good, in seconds: a day.
const LONGEST_LINK: u64 = 86_400;

/// The types that a browser may show by itself. Others are saved: they could hold scripts.
const SHOWN: [&str; 6] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "text/plain",
];

/// The body of a request for a link.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    seconds: Option<u64>,
}

/// The body of an answer with a link.
#[derive(Serialize)]
struct Link {
    url: String,
    expires: u64,
}

fn no_media() -> Problem {
    Problem::with_status(
        StatusCode::NOT_FOUND,
        ErrorCode::Unknown,
        "there are no such media",
    )
}

/// Returns the seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Returns the value of a header that is text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Answers with a file, or a part of it.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    head: Head,
) -> Result<Response, Problem> {
    let (headers, peer) = (&head.headers, head.peer);
    let query = head.uri.query().unwrap_or_default();
    let linked = api.media.links.check(&id, query, now());
    let (about, visitor, permit) = match linked {
        Some(is_good) => {
            api.serve_stranger(peer)?;
            if !is_good {
                let text = "the link has expired, or is not one of this gateway: ask for another";
                return Err(Problem::new(ErrorCode::PermissionDenied, text));
            }
            (api.about(&id).await?, None, None)
        }
        None => {
            let (visitor, permit) = head.enter(&api, None).await?;
            api.door.pay(visitor.id(), Sent::Command)?;
            let about = api.allowed(&visitor, &id).await?;
            (about, Some(visitor), Some(permit))
        }
    };
    let tag = format!("\"{}\"", about.sha256);
    if text(headers, header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &tag)) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe(response.headers_mut(), &about, &tag);
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(response);
    }
    // A part of another version would not fit.
    let range = text(headers, header::RANGE)
        .filter(|_| text(headers, header::IF_RANGE).is_none_or(|version| version == tag));
    let (range, status) = match part(range, about.size) {
        Part::Whole => (0..about.size, StatusCode::OK),
        Part::Some(range) => (range, StatusCode::PARTIAL_CONTENT),
        Part::Outside => return Ok(outside(about.size)),
    };
    let count = range.end - range.start;
    let body = if head.method == Method::HEAD || count == 0 {
        Body::empty()
    } else {
        let payer = visitor
            .as_ref()
            .map_or_else(|| stranger(peer), Visitor::payer);
        // The next request learns of a debt.
        let sent = usize::try_from(count).unwrap_or(usize::MAX);
        let _ = api.door.book(&payer, Cost::of_sent(sent));
        api.media.metrics.downloads.one();
        api.file(&id, range.clone(), head.progress, permit).await?
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    describe(headers, &about, &tag);
    headers.insert(header::CONTENT_LENGTH, count.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, about.size);
        insert(headers, header::CONTENT_RANGE, &text);
    }
    Ok(response)
}

/// Answers with a link to a file, which is good for some time without a token.
pub(super) async fn link(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let (visitor, _permit) = head.enter(&api, None).await?;
    let body = api.read(&head.headers, body).await?;
    api.pay(&visitor, body.len(), Sent::Command)?;
    head.no_query()?;
    let asked: Asked = serde_json::from_slice(body.bytes())
        .map_err(|error| Problem::bad(format!("the body is not right: {error}")))?;
    let seconds = asked.seconds.unwrap_or(LINK);
    if !(1..=LONGEST_LINK).contains(&seconds) {
        let text = format!("seconds is from 1 to {LONGEST_LINK}");
        return Err(Problem::bad(text));
    }
    api.allowed(&visitor, &id).await?;
    let expires = now() + seconds;
    let query = api.media.links.query(&id, expires);
    let link = Link {
        url: format!("{PATH}{id}?{query}"),
        expires: expires * 1_000,
    };
    // Texts and numbers: this does not fail.
    Ok(json::response(
        serde_json::to_vec(&link).unwrap_or_default(),
    ))
}

impl Api {
    /// Returns what is known of a file.
    ///
    /// # Errors
    /// There is no such file, or the place of media cannot be reached.
    async fn about(&self, id: &str) -> Result<About, Problem> {
        if !is_id(id) {
            return Err(no_media());
        }
        let about = self.media.store.about(id).await?;
        about.ok_or_else(no_media)
    }

    /// Returns what is known of a file that a visitor may read.
    ///
    /// # Errors
    /// There is no such file, the visitor may not read it, or a store cannot be read.
    async fn allowed(&self, visitor: &Visitor, id: &str) -> Result<About, Problem> {
        self.door.book(&visitor.payer(), LOOK_UP)?;
        let about = self.about(id).await?;
        if about.namespace != visitor.names().namespace() {
            return Err(no_media());
        }
        let (may, cost) = self.media.may_read(id, &about, visitor.id()).await?;
        // The next request learns of a debt.
        let _ = self.door.book(&visitor.payer(), cost);
        if !may {
            let text = "only the uploader may read these media, and members of a conversation in \
                        which a message names them";
            return Err(Problem::new(ErrorCode::PermissionDenied, text));
        }
        Ok(about)
    }

    /// Returns a part of a file as a body, which is read piece by piece as the client takes it. The
    /// request counts for its user until then.
    async fn file(
        &self,
        id: &str,
        range: Range<u64>,
        mut progress: Progress,
        permit: Option<Permit>,
    ) -> Result<Body, Problem> {
        let pieces = self.media.store.read(id, range).await?;
        Ok(Body::from_stream(pieces.inspect(move |piece| {
            let _counts = &permit;
            progress.moved(piece.as_ref().map_or(0, |piece| piece.len()));
        })))
    }
}

const fn stranger(peer: Peer) -> Payer<'static> {
    Payer {
        user: None,
        name: "",
        namespace: "",
        address: peer.0,
    }
}

/// Returns whether a list of versions names one.
fn names(tags: &str, tag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Returns the answer to a request for bytes that a file does not have.
fn outside(size: u64) -> Response {
    let text = format!("the file has {size} bytes");
    let problem = Problem::with_status(
        StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::BadRequest,
        text,
    );
    let mut response = problem.into_response();
    let range = format!("bytes */{size}");
    insert(response.headers_mut(), header::CONTENT_RANGE, &range);
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Writes the headers of a file.
fn describe(headers: &mut HeaderMap, about: &About, tag: &str) {
    insert(headers, header::CONTENT_TYPE, &about.kind);
    insert(headers, header::ETAG, tag);
    insert(headers, header::CONTENT_DISPOSITION, &disposition(about));
    for (name, value) in [
        (header::ACCEPT_RANGES, "bytes"),
        // Others may not read it, and the reader may lose the right to.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Returns whether a browser shows a file or saves it, and under which name.
fn disposition(about: &About) -> String {
    let kind = essence(&about.kind);
    let is_shown =
        SHOWN.contains(&&*kind) || kind.starts_with("audio/") || kind.starts_with("video/");
    let mut text = String::from(if is_shown { "inline" } else { "attachment" });
    if let Some(name) = &about.name {
        // RFC 8187: UTF-8, everything else than these signs by its bytes.
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shown_and_what_may_hold_scripts_is_saved() {
        let of = |kind: &str, name: Option<&str>| {
            disposition(&About {
                namespace: String::new(),
                owner: "alice".to_owned(),
                kind: kind.to_owned(),
                name: name.map(str::to_owned),
                size: 1,
                sha256: String::new(),
                uploaded: None,
            })
        };
        assert_eq!(of("image/PNG", None), "inline");
        assert_eq!(of("text/plain; charset=utf-8", None), "inline");
        for kind in ["image/svg+xml", "text/html", "application/pdf"] {
            assert_eq!(of(kind, None), "attachment", "{kind}");
        }
        assert_eq!(
            of("video/mp4", Some("a \"b\"\u{e4};.mp4")),
            "inline; filename*=UTF-8''a%20%22b%22%C3%A4%3B.mp4"
        );
    }

    #[test]
    fn versions_are_found_in_lists() {
        assert!(names("\"a\", W/\"b\"", "\"b\"") && names("*", "\"b\""));
        assert!(!names("\"a\"", "\"b\"") && !names("b", "\"b\""));
    }
}
