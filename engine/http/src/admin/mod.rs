//! The admin API: what operators see and do, on the control port.
//!
//! Each request needs a token with the scope of its route ([`Scope`]). Without a file of tokens the API
//! exists on a loopback address only. Every change is logged with the name of the token.
//!
//! - [`AdminTokens`]: the file of tokens.
//! - [`Hands`]: what the API needs of the program.
//! - The other parts are one for each group of routes.

mod act;
mod backup;
mod copy;
mod end;
mod erase;
mod export;
mod hands;
mod look;
mod metrics;
mod nodes;
mod openapi;
mod orders;
mod stream;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Router, body::Body};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use trunkline_core::call::Service;
use trunkline_core::exchange::{BackEnds, Mailbox};
use trunkline_core::ids::Ids;
use trunkline_proto::ErrorCode;
use trunkline_proto::origin::Host;

pub use self::hands::{
    BackupRefused, Erasure, ErasureState, Exported, Hands, NoCopy, NotErased, NotRevoked, Person,
    Revoke,
};
pub use self::metrics::{ADMIN_ROUTES, AdminMetrics};
pub use self::nodes::{Did, Given, Nodes};
pub use self::tokens::{AdminTokens, NewToken, Scope, Scopes};
use crate::api::body::{Bodies, ReadBody};
use crate::api::visitor::bearer;
use crate::asked::AskedBacks;
use crate::problem::Problem;
use crate::server::TakeOver;

/// The maximum number of bytes of the bodies of all requests together.
const BODIES: usize = 16 << 20;

/// The name of the operator where no tokens are needed.
const LOOPBACK: &str = "loopback";

/// Everything that the admin API needs.
pub struct AdminParts {
    /// The tokens; `None`: everybody who reaches the port may do everything.
    pub tokens: Option<AdminTokens>,
    /// Whether only this machine reaches the port.
    pub is_loopback: bool,
    /// Carries out commands.
    pub service: Service,
    /// The back ends that are asked. `None` without any.
    pub back: Option<Arc<dyn BackEnds>>,
    /// Makes the ids of users.
    pub ids: Ids,
    /// The owners of sessions: the shards, and the client API behind them.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The maximum size of a body in bytes.
    pub message_bytes: usize,
    /// The time for a request.
    pub timeout: Duration,
    /// What the program does for the API.
    pub hands: Arc<dyn Hands>,
    /// The other nodes; `None` if the gateway works alone.
    pub nodes: Option<Arc<dyn Nodes>>,
    /// The counters.
    pub metrics: Arc<AdminMetrics>,
}

/// The state that all requests share.
pub struct Admin {
    tokens: RwLock<Option<Arc<AdminTokens>>>,
    is_loopback: bool,
    /// `None` once the gateway stops.
    service: RwLock<Option<Service>>,
    back: AskedBacks,
    ids: Ids,
    mailboxes: Vec<Arc<Mailbox>>,
    bodies: Bodies,
    message_bytes: usize,
    timeout: Duration,
    hands: Arc<dyn Hands>,
    nodes: Option<Arc<dyn Nodes>>,
    metrics: Arc<AdminMetrics>,
    /// Whether an export is running.
    exporting: Arc<AtomicBool>,
    /// Whether a node takes a copy of the store.
    copying: Arc<AtomicBool>,
    /// Room for the requests that are carried out at a time.
    running: Arc<Semaphore>,
}

/// The maximum number of requests that are carried out at a time.
const REQUESTS: usize = 64;

/// Who does something: the name of the token.
struct Who(String);

impl Admin {
    /// Makes the state of the API.
    pub fn new(parts: AdminParts) -> Self {
        Self {
            tokens: RwLock::new(parts.tokens.map(Arc::new)),
            is_loopback: parts.is_loopback,
            service: RwLock::new(Some(parts.service)),
            back: AskedBacks::new(parts.back),
            ids: parts.ids,
            mailboxes: parts.mailboxes,
            bodies: Bodies::new(BODIES, Arc::default()),
            message_bytes: parts.message_bytes,
            timeout: parts.timeout,
            hands: parts.hands,
            nodes: parts.nodes,
            metrics: parts.metrics,
            exporting: Arc::default(),
            copying: Arc::default(),
            running: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    /// Takes other tokens, for requests that come from now on. Has no effect where no tokens are needed.
    pub fn take_tokens(&self, tokens: AdminTokens) {
        if let Some(in_force) = &mut *self.tokens.write() {
            *in_force = Arc::new(tokens);
        }
    }

    /// Lets go of the queues of the core: the gateway stops.
    pub fn close(&self) {
        *self.service.write() = None;
    }

    /// Returns the time for an answer of the core or of a shard. It is less than the time for the request, so
    /// that the client learns of it.
    fn patience(&self) -> Duration {
        self.timeout / 3 * 2
    }

    /// Returns what carries out commands.
    ///
    /// # Errors
    /// The gateway stops.
    fn service(&self) -> Result<Service, Problem> {
        let service = self.service.read().clone();
        service.ok_or_else(|| {
            let text = "the gateway is stopping: try again later";
            Problem::new(ErrorCode::StorageUnavailable, text)
        })
    }

    /// Lets a request in that may do what needs this scope.
    ///
    /// # Errors
    /// The token is missing, not in the file, or lacks the scope; or nobody may use the API.
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Who, Problem> {
        let tokens = self.tokens.read().clone();
        let Some(tokens) = tokens else {
            return self.admit_without_token(headers);
        };
        let refused = |text: &str| {
            self.metrics.strangers.one();
            Problem::new(ErrorCode::Unauthorized, text)
        };
        let Some(token) = bearer(headers)? else {
            return Err(refused(
                "send an admin token: Authorization: Bearer <token>",
            ));
        };
        let Some((name, scopes)) = tokens.find(token) else {
            return Err(refused(
                "the admin token is not in the file of this gateway",
            ));
        };
        if !scopes.allow(scope) {
            self.metrics.forbidden.one();
            let word = if scopes.count() == 1 {
                "scope"
            } else {
                "scopes"
            };
            let text = format!(
                "the admin token {name} has the {word} {scopes}, and this needs {}",
                scope.name()
            );
            return Err(Problem::new(ErrorCode::PermissionDenied, text));
        }
        Ok(Who(name.to_owned()))
    }

    /// Lets a request of this machine in.
    fn admit_without_token(&self, headers: &HeaderMap) -> Result<Who, Problem> {
        if !self.is_loopback {
            return Err(Problem::new(
                ErrorCode::UnknownCommand,
                "the admin API is off: set admin_tokens to a file of tokens, or control to a loopback address",
            ));
        }
        // A page of another port of this machine can send requests through a browser here.
        if !is_own_page(headers) {
            self.metrics.strangers.one();
            let text = "web pages of other origins need an admin token: set admin_tokens";
            return Err(Problem::new(ErrorCode::PermissionDenied, text));
        }
        Ok(Who(LOOPBACK.to_owned()))
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// The body is too long, of another type, or ends before its time.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, Problem> {
        self.bodies.read(headers, body, self.message_bytes).await
    }
}

/// Returns whether a request comes from no page, or from a page of this very port.
fn is_own_page(headers: &HeaderMap) -> bool {
    // The name of another page's host may lead to this machine, and `allowed_origins` may let it in.
    if let Some(host) = headers.get(header::HOST) {
        let host = host.to_str().ok().and_then(Host::parse);
        if !host.is_some_and(|(host, _)| host.is_loopback()) {
            return false;
        }
    }
    // Links and pictures of other pages have no origin, but browsers say where they come from.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let page = origin.as_bytes().strip_prefix(b"http://");
    page.is_some_and(|page| host.is_some_and(|host| page.eq_ignore_ascii_case(host)))
}

/// Reads the fields of a body.
///
/// # Errors
/// A field is missing, unknown, or has another type.
fn fields<'b, T: serde::Deserialize<'b>>(body: &'b ReadBody) -> Result<T, Problem> {
    serde_json::from_slice(body.bytes())
        .map_err(|error| Problem::bad(format!("the body is not right: {error}")))
}

/// The variable parts of a path.
struct At<T>(T);

impl<S, T> FromRequestParts<S> for At<T>
where
    S: Send + Sync,
    Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(error) => Err(Problem::bad(error.body_text())),
        }
    }
}

/// Returns the routes.
pub fn router(admin: &Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/v1/stats", get(look::stats))
        .route("/admin/v1/events", get(stream::handle))
        .route("/admin/v1/sessions", get(look::sessions))
        .route(
            "/admin/v1/users/{user}",
            get(look::user).delete(erase::handle),
        )
        .route("/admin/v1/openapi.json", get(openapi::handle))
        .route("/admin/v1/users/{user}/export", post(export::handle))
        .route("/admin/v1/as/{user}/{command}", post(act::command))
        .route("/admin/v1/publish", post(act::publish))
        .route("/admin/v1/disconnect", post(end::disconnect))
        .route("/admin/v1/revoke", post(end::revoke))
        .route("/admin/v1/backup", get(backup::report).post(backup::begin))
        .route("/admin/v1/copy", post(copy::handle))
        .method_not_allowed_fallback(other_method)
        .route("/admin/{*rest}", any(unknown))
        .layer(middleware::from_fn_with_state(Arc::clone(admin), around))
        .with_state(Arc::clone(admin))
}

/// Counts requests, and carries each out in a task of its own: a change that has begun ends, also if its
/// client goes away.
async fn around(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A request goes on when its connection has ended: the number of connections does not bound them.
    let Ok(permit) = Arc::clone(&admin.running).try_acquire_owned() else {
        let text = "too many admin requests at a time: wait for the answer of some of them";
        return Problem::new(ErrorCode::TooManyRequests, text).into_response();
    };
    let carried = async move {
        let response = next.run(request).await;
        drop(permit);
        response
    };
    let served = tokio::spawn(carried).await;
    let mut response = served.unwrap_or_else(|_| {
        Problem::new(ErrorCode::Internal, "the request failed").into_response()
    });
    admin.metrics.answered(&method, &path, began.elapsed());
    // A request that holds its connection writes its own head.
    if response.extensions().get::<TakeOver>().is_none() {
        let fresh = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    }
    response
}

async fn unknown(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(ErrorCode::UnknownCommand, format!("there is no {path}"))
}

async fn other_method(method: Method) -> Problem {
    Problem::other_method(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_port_act_without_a_token() {
        let headers = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:7701"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        assert!(is_own_page(&headers(None)));
        assert!(is_own_page(&headers(Some("http://127.0.0.1:7701"))));
        for other in [
            "http://127.0.0.1:3000",
            "http://localhost:7701",
            "null",
            "https://127.0.0.1:7701",
            "",
        ] {
            assert!(!is_own_page(&headers(Some(other))), "{other}");
        }
    }

    #[test]
    fn names_of_other_hosts_and_requests_of_other_pages_do_not_act() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter();
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        // The page of a name that leads to this machine.
        let evil = [("host", "evil.example:7701")];
        assert!(!is_own_page(&headers(&evil)));
        let same = [
            ("host", "evil.example:7701"),
            ("origin", "http://evil.example:7701"),
        ];
        assert!(!is_own_page(&headers(&same)));
        for (site, own) in [
            ("cross-site", false),
            ("same-site", false),
            ("same-origin", true),
            ("none", true),
        ] {
            let all = [("host", "localhost:7701"), ("sec-fetch-site", site)];
            assert_eq!(is_own_page(&headers(&all)), own, "{site}");
        }
    }
}
