//! The body of an answer of a store: of bounded length, and without long pauses.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body as RequestBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use object_store::client::{HttpError, HttpErrorKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, Sleep, sleep};

use crate::dial::Pool;

/// The longest pause within a body.
const PAUSE: Duration = Duration::from_secs(10);

/// The connection of an answer, which is used again when the body has been read.
pub(super) struct Line {
    pub(super) pool: Arc<Pool>,
    pub(super) sender: SendRequest<RequestBody>,
    /// The place among the connections.
    pub(super) turn: OwnedSemaphorePermit,
}

impl Line {
    fn give_back(self) {
        self.pool.keep(self.sender);
        drop(self.turn);
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Incoming,
    /// The bytes that may still come.
    left: u64,
    pause: Pin<Box<Sleep>>,
    /// `None`: given back, or broken.
    line: Option<Line>,
}

impl Answer {
    /// Makes the body of an answer that has at most this number of bytes.
    pub(super) fn new(body: Incoming, most: u64, line: Line) -> Self {
        let mut answer = Self {
            body,
            left: most,
            pause: Box::pin(sleep(PAUSE)),
            line: Some(line),
        };
        if answer.body.is_end_stream() {
            // Nobody will read it.
            answer.end();
        }
        answer
    }

    fn end(&mut self) {
        if let Some(line) = self.line.take() {
            line.give_back();
        }
    }

    fn fail(
        &mut self,
        kind: HttpErrorKind,
        error: Error,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        // Nothing behind this belongs to another answer.
        self.line = None;
        Poll::Ready(Some(Err(HttpError::new(kind, error))))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(bytes) else {
                    let error = Error::new(ErrorKind::InvalidData, "the answer is too long");
                    return self.fail(HttpErrorKind::Decode, error);
                };
                self.left = left;
                self.pause.as_mut().reset(Instant::now() + PAUSE);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(HttpErrorKind::Interrupted, Error::other(error))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => match self.pause.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let error = Error::new(ErrorKind::TimedOut, "the answer does not go on");
                    self.fail(HttpErrorKind::Timeout, error)
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.line.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
