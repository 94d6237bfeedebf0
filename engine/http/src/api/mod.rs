//! The client API: its routes, and what all requests have in common.

mod back;
pub(crate) mod body;
pub(crate) mod command;
mod download;
mod events;
pub(crate) mod head;
pub(crate) mod held;
pub(crate) mod json;
mod openapi;
mod outstanding;
mod pages;
mod receive;
mod send;
mod unread;
mod upload;
pub(crate) mod visitor;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use trunkline_core::call::{Carried, Service, no_answer};
use trunkline_core::cost::Cost;
use trunkline_core::exchange::{BackEnds, BackKind, first_number};
use trunkline_core::ids::UserId;
use trunkline_core::request::ContentLimits;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::CommandBody;

use self::back::Remembered;
use self::body::Bodies;
use self::outstanding::Outstanding;
pub(crate) use self::pages::Sockets;
use self::unread::Unread;
use self::visitor::{Said, Visitor};
use crate::asked::AskedBacks;
use crate::door::{Door, Payer};
use crate::limits::HttpLimits;
use crate::media::Media;
use crate::metrics::{HttpMetrics, Route};
use crate::problem::Problem;
use crate::server::{Page, Peer, TakeOver};
use crate::turns::Turns;
use crate::waiting::Waiting;

/// The commands of the protocol that have a path of their own.
pub const COMMANDS: [&str; 34] = [
    "send",
    "ack",
    "receipts",
    "sync",
    "history",
    "get",
    "conversations",
    "search",
    "group_create",
    "group_add",
    "group_remove",
    "group_leave",
    "group_rename",
    "group_role",
    "group_set",
    "group_join",
    "pin",
    "unpin",
    "block",
    "unblock",
    "blocked",
    "settings",
    "group_info",
    "edit",
    "recall",
    "delete",
    "react",
    "reactions",
    "contacts",
    "presence",
    "typing",
    "signal",
    "publish",
    "rpc",
];

/// The beginning of the paths of commands.
const COMMAND_PATH: &str = "/api/v1/";

/// The cost of a request besides its command: reading the head, the identity, and the answer.
const REQUEST: Cost = Cost::micros(25);

/// The cost of checking a token.
const TOKEN: Cost = Cost::micros(30);

/// The cost of one KiB of a body: reading and decoding it.
const BODY_KIB: Cost = Cost::micros(4);

/// The time after which a stream or a waiting request asks again that found too many other questions
/// waiting.
const BUSY: Duration = Duration::from_millis(100);

/// The time between two looks whether all answers have left, when the gateway stops.
const LOOK: Duration = Duration::from_millis(10);

/// The limits of the client API, and what its pages need to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiLimits {
    pub(crate) content: ContentLimits,
    pub(crate) http: HttpLimits,
    pub(crate) sockets: Sockets,
}

/// The pages that streams have in memory as values at a time. Nobody waits for a client while having one: the page
/// is text first.
const PAGES: usize = 8;

/// The pages of one user among them.
const PAGES_OF_USER: usize = 2;

/// The state that all requests share.
pub(crate) struct Api {
    service: Service,
    door: Arc<dyn Door>,
    waiting: Arc<Waiting>,
    limits: ApiLimits,
    metrics: Arc<HttpMetrics>,
    outstanding: Outstanding,
    media: Arc<Media>,
    bodies: Bodies,
    unread: Unread,
    /// The room for pages of events that are values and not text yet: thousands of small blocks of memory each.
    pages: Turns<UserId>,
    back: AskedBacks,
    remembered: Remembered,
    /// The number of the next stream.
    streams: AtomicU64,
    /// The number of requests that have no answer yet, without those that hold their connection.
    busy: AtomicU64,
}

impl Api {
    pub(crate) fn new(
        service: Service,
        door: Arc<dyn Door>,
        waiting: Arc<Waiting>,
        limits: ApiLimits,
        media: Arc<Media>,
        metrics: Arc<HttpMetrics>,
        back: Option<Arc<dyn BackEnds>>,
    ) -> Self {
        Self {
            back: AskedBacks::new(back),
            remembered: Remembered::default(),
            service,
            door,
            waiting,
            outstanding: Outstanding::new(limits.http.per_user),
            media,
            bodies: Bodies::new(limits.http.bodies, Arc::clone(&metrics.bodies)),
            unread: Unread::new(limits.http.unread, Arc::clone(&metrics)),
            pages: Turns::new(PAGES, PAGES_OF_USER),
            limits,
            metrics,
            streams: AtomicU64::new(first_number()),
            busy: AtomicU64::new(0),
        }
    }

    /// Waits until no request is on its way.
    pub(crate) async fn quiet(&self) {
        loop {
            let held = self.metrics.polls.get() + self.metrics.streams.get();
            if held + self.busy.load(Relaxed) == 0 {
                // The last answers may be in the connections' buffers: let them leave.
                return tokio::time::sleep(5 * LOOK).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The time for the answer of the core. It is less than the time for a request, so that a client
    /// learns of it.
    fn patience(&self) -> Duration {
        self.limits.http.server.timeout / 3 * 2
    }

    /// Carries out a command of a visitor, and books its cost.
    async fn carry_out(
        &self,
        visitor: &Visitor,
        command: &CommandBody<'_>,
    ) -> Result<trunkline_proto::message::ReplyBody<'static>, Problem> {
        let client = visitor.client(&self.service)?;
        let answer = tokio::time::timeout(self.patience(), client.answer(command));
        let Ok(Carried { reply, cost }) = answer.await else {
            return Err(no_answer().into());
        };
        // The next request learns of a debt.
        let _ = self.door.book(&visitor.payer(), cost);
        Ok(reply?)
    }

    /// Books the cost of a request without a user on its address.
    ///
    /// # Errors
    /// The address is in debt.
    fn serve_stranger(&self, peer: Peer) -> Result<(), Problem> {
        let stranger = Payer {
            user: None,
            name: "",
            namespace: "",
            address: peer.0,
        };
        Ok(self.door.book(&stranger, REQUEST)?)
    }

    /// Books the cost of an answer of this number of bytes.
    fn sent(&self, visitor: &Visitor, bytes: usize) {
        // The next request learns of a debt.
        let _ = self.door.book(&visitor.payer(), Cost::of_sent(bytes));
    }

    /// Finds out who asks. `named` is the user that the request names in another place than the headers.
    ///
    /// # Errors
    /// The token is missing or not valid, the names contradict each other, a back end refuses the request,
    /// or the address is in debt.
    async fn identify(
        &self,
        headers: &HeaderMap,
        peer: Peer,
        named: Option<&str>,
    ) -> Result<Visitor, Problem> {
        let stranger = Payer {
            user: None,
            name: "",
            namespace: "",
            address: peer.0,
        };
        self.door.book(&stranger, Cost::NONE)?;
        let visitor = match Said::read(headers) {
            Ok(said) if self.back.asks(BackKind::Connect) => {
                self.admit(headers, &said, named, peer).await
            }
            Ok(said) => Visitor::identify(&*self.door, &self.service, &said, named),
            Err(problem) => Err(problem),
        };
        let mut visitor = visitor.inspect_err(|_| {
            // The next request learns of a debt.
            let _ = self.door.book(&stranger, REQUEST + TOKEN);
        })?;
        visitor.come_from(peer);
        // Before all that may refuse the request: a refusal is not free.
        let token = match self.door.needs_tokens() {
            true => TOKEN,
            false => Cost::NONE,
        };
        self.door.book(&visitor.payer(), REQUEST + token)?;
        Ok(visitor)
    }
}

/// Returns the routes.
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new()
        .route("/api/v1/rtm.send", post(send::handle))
        .route("/api/v1/rtm.receive", get(receive::handle))
        .route("/api/v1/events", get(events::handle))
        .route("/api/v1/media", post(upload::handle))
        .route("/api/v1/media/{id}", get(download::handle))
        .route("/api/v1/media/{id}/link", post(download::link))
        .route("/openapi.json", get(openapi::handle));
    for command in COMMANDS {
        router = router.route(&format!("{COMMAND_PATH}{command}"), post(command::handle));
    }
    pages::add(router, api)
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(Arc::clone(api), around))
        .with_state(Arc::clone(api))
}

/// Returns the route of a path, for the counters.
fn route_of(path: &str) -> Route {
    match path {
        "/api/v1/rtm.send" => Route::Send,
        "/api/v1/rtm.receive" => Route::Receive,
        "/api/v1/events" => Route::Events,
        "/api/v1/media" => Route::Media,
        "/openapi.json" => Route::OpenApi,
        path if path.starts_with(trunkline_core::media::PATH) => Route::Media,
        path if pages::are_at(path) => Route::Pages,
        _ => match path.strip_prefix(COMMAND_PATH) {
            Some(command) if COMMANDS.contains(&command) => Route::Command,
            _ => Route::Other,
        },
    }
}

/// Counts one request more while it has no answer.
struct Busy(Arc<Api>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// Does what all requests have in common: counters, pages of other origins, and the stop.
async fn around(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let page = request.extensions().get::<Page>().cloned();
    let route = route_of(request.uri().path());
    api.busy.fetch_add(1, Relaxed);
    let busy = Busy(Arc::clone(&api));
    let mut response = if api.waiting.is_stopping() {
        let text = "the gateway is stopping: try again later";
        let mut response = Problem::new(ErrorCode::StorageUnavailable, text).into_response();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    } else if is_preflight(&request) {
        let peer = request.extensions().get::<Peer>().copied();
        let paid = peer.map_or(Ok(()), |peer| api.serve_stranger(peer));
        paid.map_or_else(IntoResponse::into_response, |()| preflight())
    } else {
        // In a task of its own: a client that goes away meanwhile still pays for its work, and the work
        // still counts as a request of its user.
        let served = tokio::spawn(async move {
            let _busy = busy;
            next.run(request).await
        });
        served.await.unwrap_or_else(|_| {
            Problem::new(ErrorCode::Internal, "the request failed").into_response()
        })
    };
    // A request that holds its connection writes its own head.
    let is_held = response.extensions().get::<TakeOver>().is_some();
    if let (Some(page), false) = (page, is_held) {
        for (name, value) in cors(&page) {
            response.headers_mut().insert(name, value);
        }
    }
    let status = response.status();
    api.metrics
        .answered(route, status.as_u16(), began.elapsed());
    if status.is_server_error() {
        tracing::debug!(?route, %status, "a request of the client API failed");
    }
    response
}

/// Returns whether a browser asks what a page of another origin may do.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns the answer to such a question. The guard of the port has let the page in.
fn preflight() -> Response {
    const HEADERS: &str = "authorization, content-type, idempotency-key, if-none-match, if-range, \
         last-event-id, range, x-trunkline-user, x-trunkline-namespace, x-trunkline-device";
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static(HEADERS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    let hour = HeaderValue::from_static("3600");
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, hour);
    response
}

/// Returns the headers that let a page read an answer.
fn cors(page: &Page) -> [(HeaderName, HeaderValue); 3] {
    let exposed = HeaderValue::from_static(
        "retry-after, etag, accept-ranges, content-range, content-disposition",
    );
    [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, page.0.clone()),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed),
        (header::VARY, HeaderValue::from_static("origin")),
    ]
}

async fn unknown(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Problem {
    if let Err(problem) = api.serve_stranger(peer) {
        return problem;
    }
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(ErrorCode::UnknownCommand, format!("there is no {path}"))
}

async fn other_method(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    method: Method,
) -> Problem {
    if let Err(problem) = api.serve_stranger(peer) {
        return problem;
    }
    Problem::other_method(&method)
}
