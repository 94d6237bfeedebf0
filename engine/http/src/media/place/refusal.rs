//! What the log says of a failure at a store. Answers of stores have tokens and signatures in them, so their
//! texts are in no log.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::{Method, StatusCode};
use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind, HttpResponse};
use tokio::time::error::Elapsed;

/// The most bytes of an error answer that are read for its code, and the time for them.
const BYTES: usize = 64 << 10;
const TIME: Duration = Duration::from_secs(1);

/// The longest code that is shown. Those of S3 are shorter.
const LONGEST: usize = 48;

/// An answer that says no: the method of the request, the status, and the code of S3 if there is one.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    method: Method,
    status: StatusCode,
    code: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gets {}", self.method, self.status)?;
        match &self.code {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Returns the code in an error answer of S3. It has letters only: nothing else of an answer is shown.
fn code_in(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code =
        (1..=LONGEST).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_code.then(|| code.to_owned())
}

/// Returns the answer to a signed request; as an error without its text if it says no. `404` stays: it means
/// that a file is not there.
///
/// # Errors
/// The answer says no.
pub(super) async fn checked(
    method: &Method,
    answer: HttpResponse,
) -> Result<HttpResponse, HttpError> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::NOT_FOUND {
        return Ok(answer);
    }
    let body = to_bytes(Body::new(answer.into_body()), BYTES);
    let body = tokio::time::timeout(TIME, body).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let refusal = Refusal {
        method: method.clone(),
        status,
        code: code_in(&String::from_utf8_lossy(&body)),
    };
    Err(HttpError::new(HttpErrorKind::Unknown, refusal))
}

/// Returns the reason of a failure at a store that is reached by HTTP, without any text of its answers but
/// the code.
pub(in crate::media) fn reason(error: &Error) -> String {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(source) = error
            .downcast_ref::<HttpError>()
            .and_then(HttpError::source)
        {
            // Made here: a refusal, or a connection that failed.
            return source.to_string();
        }
        if error.is::<Elapsed>() {
            return "no answer in time".to_owned();
        }
        next = error.source();
    }
    let what = match error {
        Error::NotFound { .. } => "the store does not have the file, or not the bucket",
        _ => "an answer that cannot be used",
    };
    match code_in(&error.to_string()) {
        Some(code) => format!("{what} ({code})"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Generic {
            store: "S3",
            source: source.into(),
        }
    }

    #[test]
    fn nothing_of_an_answer_is_shown_but_its_code() {
        let refusal = Refusal {
            method: Method::PUT,
            status: StatusCode::FORBIDDEN,
            code: code_in("<Error><Code>InvalidToken</Code><Token-0>secret</Token-0></Error>"),
        };
        let refused = generic(HttpError::new(HttpErrorKind::Unknown, refusal));
        assert_eq!(reason(&refused), "PUT gets 403 Forbidden (InvalidToken)");
        let within = generic("status 200: <Code>SlowDown</Code><Token-0>secret</Token-0>");
        assert_eq!(reason(&within), "an answer that cannot be used (SlowDown)");
        assert_eq!(reason(&generic("secret")), "an answer that cannot be used");
        let long = format!("<Code>{}</Code>", "a".repeat(LONGEST + 1));
        for answer in [
            "<Code></Code>",
            "<Code>s3cr3t</Code>",
            "<Code>a b</Code>",
            &long,
        ] {
            assert_eq!(code_in(answer), None, "{answer}");
        }
    }
}
