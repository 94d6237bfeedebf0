//! Reads the body of a request.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::body::{Body, HttpBody};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use trunkline_proto::ErrorCode;

use crate::problem::Problem;

/// The bytes of the bodies that all requests hold together.
pub(crate) struct Bodies {
    most: usize,
    held: Arc<AtomicUsize>,
}

/// A body in memory. Its bytes count until this is dropped.
#[derive(Debug)]
pub(crate) struct ReadBody {
    bytes: Vec<u8>,
    held: Held,
}

/// Bytes that count.
#[derive(Debug)]
struct Held {
    count: usize,
    all: Arc<AtomicUsize>,
}

impl Held {
    fn add(&mut self, count: usize) {
        self.all.fetch_add(count, Relaxed);
        self.count += count;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.count, Relaxed);
    }
}

impl ReadBody {
    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the length as it was sent.
    pub(super) const fn len(&self) -> usize {
        self.held.count
    }
}

impl Bodies {
    /// Makes the limit of all bodies together: `most` bytes. `held` counts them.
    pub(crate) const fn new(most: usize, held: Arc<AtomicUsize>) -> Self {
        Self { most, held }
    }

    /// Reads a body of JSON. An empty body stands for an empty object.
    ///
    /// # Errors
    /// The body has more than `most` bytes, is of another type, or ends before its time, or all bodies
    /// together are too large.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        most: usize,
    ) -> Result<ReadBody, Problem> {
        check_type(headers)?;
        if body.size_hint().lower() > most as u64 {
            return Err(too_large(most));
        }
        let mut held = Held {
            count: 0,
            all: Arc::clone(&self.held),
        };
        let whole = body.size_hint().exact();
        let mut bytes = Vec::new();
        let mut body = pin!(body);
        loop {
            let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(|_| Problem::bad("the body ended before its time"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if held.count + data.len() > most {
                return Err(too_large(most));
            }
            held.add(data.len());
            if self.held.load(Relaxed) > self.most {
                let text = "the bodies of all requests take too much memory: try again";
                return Err(Problem::new(ErrorCode::StorageUnavailable, text));
            }
            bytes.extend_from_slice(&data);
        }
        // A connection that is dropped ends its bodies without an error.
        if whole.is_some_and(|whole| whole != held.count as u64) {
            return Err(Problem::bad("the body ended before its time"));
        }
        if bytes.is_empty() {
            bytes.extend_from_slice(b"{}");
        }
        Ok(ReadBody { bytes, held })
    }
}

fn too_large(most: usize) -> Problem {
    let text = format!("a body has at most {most} bytes (message_bytes)");
    Problem::new(ErrorCode::LimitExceeded, text)
}

/// Checks that a body is JSON by its type. `curl -d` says that it is a form: that is let through, and
/// what is no JSON fails later.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = kind.to_str().unwrap_or("?");
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_known = matches!(
        &*essence,
        "application/json" | "application/x-www-form-urlencoded"
    );
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let is_encoded = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_known && is_utf8 && !is_encoded {
        return Ok(());
    }
    Err(Problem::with_status(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::BadRequest,
        "the body has to be application/json in UTF-8, without a Content-Encoding",
    ))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn read(bodies: &Bodies, body: &str, most: usize) -> Result<ReadBody, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let body = Body::from(body.to_owned());
        runtime.block_on(bodies.read(&HeaderMap::new(), body, most))
    }

    #[test]
    fn bodies_have_a_limit_each_and_together() {
        let bodies = Bodies::new(10, Arc::default());
        let first = read(&bodies, "12345", 5).unwrap();
        assert_eq!((first.bytes(), first.len()), (&b"12345"[..], 5));
        let status = |read: Result<ReadBody, Problem>| read.unwrap_err().status().as_u16();
        assert_eq!(status(read(&bodies, "123456", 5)), 413);
        assert_eq!(status(read(&bodies, "123456", 6)), 503);
        drop(first);
        assert_eq!(read(&bodies, "123456", 6).unwrap().len(), 6);
        assert_eq!(read(&bodies, "", 6).unwrap().bytes(), b"{}");
        assert_eq!(bodies.held.load(Relaxed), 0);
    }

    #[test]
    fn other_types_are_refused() {
        for (kind, is_good) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/x-www-form-urlencoded", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(check_type(&headers).is_ok(), is_good, "{kind}");
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert!(check_type(&headers).is_err());
        }
        assert!(check_type(&HeaderMap::new()).is_ok());
    }
}
