//! Errors as `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use trunkline_core::call::CallError;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::ErrorReply;

use crate::door::{Beyond, Refused};
use crate::server::Refusal;

/// The content type of errors.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error as clients get it: a status, and the error of the protocol.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    error: CallError,
}

/// The body of an error.
#[derive(Serialize)]
struct Form<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: u16,
    name: &'a str,
    temporary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_ms: Option<u64>,
}

impl Problem {
    /// Makes an error. Its status follows from its code.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        ErrorReply::new(code, detail.into()).into()
    }

    /// Makes an error with a status of its own.
    pub fn with_status(status: StatusCode, code: ErrorCode, detail: impl Into<String>) -> Self {
        let error = ErrorReply::new(code, detail.into());
        Self { status, error }
    }

    /// Returns the code that fits a status, for errors that HTTP has and the protocol does not.
    pub const fn code_of(status: StatusCode) -> ErrorCode {
        match status {
            StatusCode::FORBIDDEN => ErrorCode::PermissionDenied,
            StatusCode::NOT_FOUND => ErrorCode::UnknownCommand,
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::LimitExceeded,
            StatusCode::SERVICE_UNAVAILABLE => ErrorCode::StorageUnavailable,
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
            _ => ErrorCode::BadRequest,
        }
    }

    /// Returns the error of the protocol.
    pub const fn error(&self) -> &CallError {
        &self.error
    }

    /// Makes the error of a request that lacks something, or has something in a wrong form.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    /// Makes the error of a method that a path does not have. [`naming_methods`] says which it has.
    pub fn other_method(method: &Method) -> Self {
        let text = format!("this path has no {method}");
        Self::with_status(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadRequest, text)
    }

    /// Makes the error of a client that exceeds a limit.
    pub fn beyond(beyond: Beyond) -> Self {
        let text = "more than the limits allow was sent: wait a little";
        ErrorReply::beyond(beyond.limit, beyond.retry_ms, text).into()
    }

    /// Calls a field of the protocol by the name that the request has for it, in the text for people.
    #[must_use]
    pub fn calling(mut self, field: &str, name: &str) -> Self {
        let (field, name) = (format!("\"{field}\""), format!("\"{name}\""));
        self.error.message = self.error.message.replace(&field, &name).into();
        self
    }

    /// Returns the status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the whole seconds after which the request may succeed; `None` if nobody knows.
    fn retry_after(&self) -> Option<u64> {
        match self.error.retry_ms {
            Some(retry) => Some(retry.div_ceil(1_000).max(1)),
            None => matches!(self.status.as_u16(), 429 | 503).then_some(1),
        }
    }

    pub(crate) fn body(&self) -> String {
        let title = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => "method not allowed".to_owned(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type".to_owned(),
            _ => self.error.name.replace('_', " "),
        };
        let form = Form {
            kind: "about:blank",
            title: &title,
            status: self.status.as_u16(),
            detail: &self.error.message,
            code: self.error.code,
            name: &self.error.name,
            temporary: self.error.temporary,
            limit: self.error.limit.as_deref(),
            retry_ms: self.error.retry_ms,
        };
        // Texts and numbers: this does not fail.
        serde_json::to_string(&form).unwrap_or_default()
    }
}

/// Returns the status of an error of the protocol.
fn status(code: u16) -> StatusCode {
    match code {
        101 | 109 => StatusCode::UNAUTHORIZED,
        102 | 104 => StatusCode::NOT_FOUND,
        103 => StatusCode::FORBIDDEN,
        106 => StatusCode::PAYLOAD_TOO_LARGE,
        107 => StatusCode::BAD_REQUEST,
        111 => StatusCode::TOO_MANY_REQUESTS,
        112 => StatusCode::GONE,
        114 | 117 | 118 | 119 => StatusCode::CONFLICT,
        115 | 120 => StatusCode::SERVICE_UNAVAILABLE,
        116 => StatusCode::INSUFFICIENT_STORAGE,
        // A refusal of the operator's own programs.
        4000..=4999 => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let status = status(error.code);
        Self { status, error }
    }
}

impl From<Beyond> for Problem {
    fn from(beyond: Beyond) -> Self {
        Self::beyond(beyond)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::new(refused.code, refused.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// Makes the answer to a request that the guard of a port refuses. The connection ends with it: what follows is not
/// looked at.
pub fn refuse(refusal: Refusal) -> Response {
    let code = Problem::code_of(refusal.status);
    let problem = Problem::with_status(refusal.status, code, refusal.message);
    let mut answer = problem.into_response();
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// Names the methods of a path in the answer to a request with another one: `curl` does not show the header `Allow`.
/// Other answers stay as they are.
pub fn naming_methods(response: Response, method: &Method) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW);
    let Some(methods) = allowed.and_then(|line| line.to_str().ok()) else {
        return response;
    };
    let methods = methods.replace(',', " or ");
    let text = format!("this path has no {method}: use {methods}");
    let named = Problem::with_status(response.status(), ErrorCode::BadRequest, text);
    // All other headers stay: those for a page of another origin among them.
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    head.headers.insert(header::CONTENT_TYPE, kind);
    Response::from_parts(head, Body::from(named.body()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_status_and_its_form() {
        for (code, expected) in [
            (ErrorCode::Internal, 500),
            (ErrorCode::Unauthorized, 401),
            (ErrorCode::Unknown, 404),
            (ErrorCode::PermissionDenied, 403),
            (ErrorCode::UnknownCommand, 404),
            (ErrorCode::LimitExceeded, 413),
            (ErrorCode::BadRequest, 400),
            (ErrorCode::TokenExpired, 401),
            (ErrorCode::TooManyRequests, 429),
            (ErrorCode::PositionExpired, 410),
            (ErrorCode::RecallWindowPassed, 409),
            (ErrorCode::StorageUnavailable, 503),
            (ErrorCode::StorageFull, 507),
            (ErrorCode::KeyReused, 409),
            (ErrorCode::NameTaken, 409),
            (ErrorCode::EditWindowPassed, 409),
            (ErrorCode::BackEndUnavailable, 503),
        ] {
            let problem = Problem::new(code, "why");
            assert_eq!(problem.status().as_u16(), expected, "{code:?}");
        }
        let body = Problem::new(ErrorCode::PermissionDenied, "no \"way\"").body();
        assert_eq!(
            body,
            r#"{"type":"about:blank","title":"permission denied","status":403,"detail":"no \"way\"","code":103,"name":"permission_denied","temporary":false}"#
        );
    }

    #[test]
    fn clients_learn_when_to_try_again() {
        let beyond = |retry_ms| Beyond {
            limit: "user_cost",
            retry_ms,
        };
        for (retry_ms, seconds) in [(0, "1"), (100, "1"), (1_000, "1"), (1_001, "2")] {
            let response = Problem::beyond(beyond(retry_ms)).into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
        let response = Problem::new(ErrorCode::Unknown, "no").into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        let response = Problem::new(ErrorCode::TokenExpired, "no").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
