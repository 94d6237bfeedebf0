//! Requests that take their connection over.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use parking_lot::Mutex;

use super::Line;

/// What goes on with a connection that a request has taken over. The future returns the connection for
/// further requests, or `None` if it has ended.
pub type Taken = Box<dyn FnOnce(Line) -> Held + Send>;

/// The time in which a request holds its connection.
pub type Held = Pin<Box<dyn Future<Output = Option<Line>> + Send>>;

/// The wish of a request to take its connection over, among the extensions of its response. The rest of
/// the response is not sent.
#[derive(Clone)]
pub struct TakeOver(Arc<Mutex<Option<Taken>>>);

impl TakeOver {
    /// Returns the response of a request that takes its connection over.
    pub fn response(taken: Taken) -> Response {
        let mut response = Response::new(Body::empty());
        let wish = Self(Arc::new(Mutex::new(Some(taken))));
        response.extensions_mut().insert(wish);
        response
    }

    pub(super) fn take(&self) -> Option<Taken> {
        self.0.lock().take()
    }
}
