//! The numbers of the gateway each second, as Server-Sent Events: `events`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::time::MissedTickBehavior;
use trunkline_proto::ErrorCode;

use super::{Admin, AdminMetrics, Scope};
use crate::api::head::Head;
use crate::api::held::Manner;
use crate::problem::Problem;
use crate::server::{Held, Line, TakeOver};

/// The time between two events.
const SECOND: Duration = Duration::from_secs(1);

/// The maximum number of streams. The control port has to have connections for other requests.
const STREAMS: u64 = 16;

/// Counts one stream more while it exists.
struct Counted(Arc<AdminMetrics>);

impl Counted {
    fn new(metrics: &Arc<AdminMetrics>) -> Self {
        metrics.streams.set(metrics.streams.get() + 1);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let streams = &self.0.streams;
        streams.set(streams.get().saturating_sub(1));
    }
}

/// Begins a stream.
pub(super) async fn handle(
    State(admin): State<Arc<Admin>>,
    head: Head,
) -> Result<Response, Problem> {
    const KIND: &str = "text/event-stream";
    admin.admit(&head.headers, Scope::Read)?;
    if head.method == Method::HEAD {
        // A stream has a body.
        let mut response = Response::new(Body::empty());
        let kind = HeaderValue::from_static(KIND);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    if admin.metrics.streams.get() >= STREAMS {
        let text =
            format!("there are {STREAMS} streams, and there may be no more: close one of them");
        return Err(Problem::new(ErrorCode::TooManyRequests, text));
    }
    let counted = Counted::new(&admin.metrics);
    let (manner, headers) = (head.manner(), head.headers);
    let hold =
        Box::new(move |line| -> Held { Box::pin(hold(admin, counted, manner, headers, line)) });
    Ok(TakeOver::response(hold))
}

/// Sends the numbers until the client goes, does not read, or has a token no more.
async fn hold(
    admin: Arc<Admin>,
    _counted: Counted,
    manner: Manner,
    headers: HeaderMap,
    mut line: Line,
) -> Option<Line> {
    let mut bytes = manner.stream_head("text/event-stream");
    let mut ticks = tokio::time::interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if admin.admit(&headers, Scope::Read).is_err() {
                    break;
                }
                let stats = admin.hands.stats();
                bytes.extend_from_slice(format!("data: {stats}\n\n").as_bytes());
                let sent = tokio::time::timeout(admin.timeout, line.send(&bytes));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return None;
                }
                bytes.clear();
            }
            is_gone = line.stirs() => if is_gone {
                return None;
            }
        }
    }
    let _ = tokio::time::timeout(admin.timeout, line.end()).await;
    None
}
