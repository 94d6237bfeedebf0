//! Answers of requests that hold their connection: their bytes.

use std::time::Duration;

use axum::response::IntoResponse;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{StatusCode, Version};

use super::cors;
use super::unread::Unread;
use crate::problem::Problem;
use crate::server::{Line, Page};

/// What a request says about its connection, and who may read the answer.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// Whether further requests may follow on the connection.
    keeps: bool,
    /// The page that may read the answer, in a box: most requests come from none.
    page: Option<Box<HeaderValue>>,
}

impl Manner {
    /// Returns the manner of a request.
    pub(crate) fn of(version: Version, headers: &HeaderMap, page: Option<&Page>) -> Self {
        let closes = headers.get_all(header::CONNECTION).iter().any(|line| {
            let words = line.to_str().unwrap_or("close").split(',');
            { words }.any(|word| word.trim().eq_ignore_ascii_case("close"))
        });
        // HTTP has not read such a body to its end: its rest must not count as the next request.
        let has_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers
                .get(header::CONTENT_LENGTH)
                .is_some_and(|length| length.as_bytes() != b"0");
        Self {
            keeps: version >= Version::HTTP_11 && !closes && !has_body,
            page: page.map(|page| Box::new(page.0.clone())),
        }
    }

    /// Sends an answer, which the client has some time to take. Returns the connection for further requests.
    pub(super) async fn answer(
        &self,
        mut line: Line,
        answer: Result<Vec<u8>, Problem>,
        (unread, time): (&Unread, Duration),
    ) -> Option<Line> {
        let bytes = match answer {
            Ok(body) => self.bytes(StatusCode::OK, "application/json", &HeaderMap::new(), &body),
            Err(problem) => {
                let body = problem.body();
                let kind = crate::problem::CONTENT_TYPE;
                let response = problem.into_response();
                self.bytes(response.status(), kind, response.headers(), body.as_bytes())
            }
        };
        unread.send(&mut line, bytes, time).await.ok()?;
        if self.keeps {
            return Some(line);
        }
        let _ = tokio::time::timeout(time, line.end()).await;
        None
    }

    /// Returns an answer with a body as bytes.
    fn bytes(&self, status: StatusCode, kind: &str, more: &HeaderMap, body: &[u8]) -> Vec<u8> {
        let mut head = self.head(status, kind);
        for (name, value) in more {
            if name != header::CONTENT_TYPE {
                push_header(&mut head, name.as_str(), value.as_bytes());
            }
        }
        push_header(
            &mut head,
            "content-length",
            body.len().to_string().as_bytes(),
        );
        if !self.keeps {
            push_header(&mut head, "connection", b"close");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(body);
        head
    }

    /// Returns the head of a stream that ends with its connection.
    pub(crate) fn stream_head(&self, kind: &str) -> Vec<u8> {
        let mut head = self.head(StatusCode::OK, kind);
        push_header(&mut head, "connection", b"close");
        // nginx would collect the events before it passes them on.
        push_header(&mut head, "x-accel-buffering", b"no");
        head.extend_from_slice(b"\r\n");
        head
    }

    fn head(&self, status: StatusCode, kind: &str) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        )
        .into_bytes();
        push_header(&mut head, "content-type", kind.as_bytes());
        push_header(&mut head, "cache-control", b"no-store");
        if let Some(page) = &self.page {
            for (name, value) in cors(&Page((**page).clone())) {
                push_header(&mut head, name.as_str(), value.as_bytes());
            }
        }
        head
    }
}

fn push_header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(version: Version, connection: &str) -> Manner {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(connection) {
            headers.insert(header::CONNECTION, value);
        }
        let page = Page(HeaderValue::from_static("https://chat.example"));
        Manner::of(version, &headers, Some(&page))
    }

    #[test]
    fn answers_are_http() {
        let manner = manner(Version::HTTP_11, "keep-alive");
        let answer = manner.bytes(StatusCode::OK, "text/plain", &HeaderMap::new(), b"hi");
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
             access-control-allow-origin: https://chat.example\r\n\
             access-control-expose-headers: retry-after, etag, accept-ranges, content-range, content-disposition\r\nvary: origin\r\n\
             content-length: 2\r\n\r\nhi"
        );
    }

    #[test]
    fn connections_stay_open_unless_the_request_says_otherwise() {
        for (version, connection, keeps) in [
            (Version::HTTP_11, "", true),
            (Version::HTTP_11, "Keep-Alive", true),
            (Version::HTTP_11, "upgrade, Close", false),
            (Version::HTTP_10, "keep-alive", false),
        ] {
            assert_eq!(manner(version, connection).keeps, keeps, "{connection}");
        }
    }
}
