//! The connections of an HTTP port: their maximum number and their time limits.
//!
//! The port drops a connection that sends no complete request, or does not take its answer, when its
//! time is over. At the maximum number of connections it drops the one that was idle for longest; one whose
//! request has come whole and waits for its answer is the last to go. A request can take its connection over ([`TakeOver`]): it then waits without the memory that HTTP
//! needs, and without a time limit of the port.

mod client;
mod coming;
mod guard;
mod line;
mod open;
mod taken;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use trunkline_core::cost::Cost;
use trunkline_core::metrics::Counter;
use trunkline_core::trusted::Trusted;

use self::client::AddressSeat;
pub use self::guard::{Guard, Refusal};
use self::line::Io;
pub use self::line::Line;
pub use self::open::Progress;
use self::open::{Activity, Answering, Asked, Noted, Open};
pub use self::taken::{Held, TakeOver, Taken};
use crate::door::{Door, Payer};

/// The maximum size of a request's head in bytes, and of the memory for it. A longer head gets the
/// status 431.
const HEAD: usize = 8 << 10;

/// The maximum number of headers in a request. More get the status 431.
const HEADERS: usize = 64;

/// The pause in accepting connections after the process has run out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The cost of a connection: accepting, watching and closing it.
const CONNECTION: Cost = Cost::micros(80);

/// The cost of a TLS hand-shake.
const HAND_SHAKE: Cost = Cost::micros(140);

/// The cost of a request that the guard refuses.
const REFUSAL: Cost = Cost::micros(10);

/// Returns an address as the one that pays for work of nobody in particular.
const fn stranger(address: IpAddr) -> Payer<'static> {
    Payer {
        user: None,
        name: "",
        namespace: "",
        address,
    }
}

/// The limits of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// The most connections at a time. Beyond it the oldest silent connection is dropped.
    pub connections: usize,
    /// The time for a request, counted from the connection or the previous request, and for reading
    /// its answer.
    pub timeout: Duration,
}

/// Requests and connections that a port did not serve.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// The open connections.
    pub connections: Counter,
    /// Those of them that have memory of HTTP: a request has come, and its answer has not left.
    pub in_http: Counter,
    /// Connections dropped for a new one at the maximum number of connections, and new ones that found
    /// no room.
    pub crowded: Counter,
    /// Connections dropped because their request, or taking the answer, took too long.
    pub late: Counter,
    /// Requests of foreign pages, for foreign hosts, or without a host that can be read.
    pub refused: Counter,
    /// Connections and requests of trusted proxies that do not say who the client is.
    pub unclear: Counter,
}

/// Returns the configuration of TLS for a new connection.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// The address of the client, among the extensions of a request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The web page that a request comes from, among the extensions of a request: the page may read the
/// answer.
#[derive(Debug, Clone)]
pub struct Page(pub HeaderValue);

/// The server of a port, shared by all its connections.
pub struct Server {
    /// The name of the port, for the log.
    pub name: &'static str,
    /// Answers requests.
    pub app: Router,
    /// Judges the pages and hosts of requests.
    pub guard: Guard,
    /// Makes the answer to a request that the guard refuses.
    pub refuse: fn(Refusal) -> Response,
    /// Completes the answer to a request with this method. The routes have added all their headers.
    pub complete: fn(Response, &Method) -> Response,
    /// The limits.
    pub limits: ServerLimits,
    /// The counters.
    pub metrics: Arc<ServerMetrics>,
    /// Begins TLS connections. `None`: clients connect without TLS.
    pub tls: Option<TlsSource>,
    /// Counts the connections of each address. `None`: they are not counted.
    pub door: Option<Arc<dyn Door>>,
    /// The trusted proxies. A connection or request that comes through one of them counts for its client.
    pub proxies: Trusted,
}

/// The answer to a connection of an address that has too many of them, or is in debt.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The answer to a connection while all others wait for events: this one comes back later.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The refusal of a request of a client behind a proxy that has too many of them.
const TOO_MANY_REQUESTS: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    message: "your address has too many requests without an answer: wait for some of them",
};

impl Server {
    /// Accepts and serves connections. Dropping the future ends all of them.
    pub async fn run(self, listener: TcpListener) -> Infallible {
        let server = Arc::new(self);
        let began = Instant::now();
        let (mut tasks, mut open) = (JoinSet::new(), Open::default());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        server.begin(stream, address, began, &mut tasks, &mut open);
                        // Many connections may wait to be accepted. Each one can send its request
                        // before the next ones take its place.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, port = server.name, "the port cannot accept: pausing");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(ended) = tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    open.remove(id);
                    server.metrics.connections.set(open.len() as u64);
                }
            }
        }
    }

    /// Serves a new connection in a task of its own, if there is room for it.
    fn begin(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        began: Instant,
        tasks: &mut JoinSet<()>,
        open: &mut Open,
    ) {
        let address = address.ip();
        let proxies = self.proxies.now();
        let is_proxy = proxies.trusts(address);
        let mut seat = None;
        if !is_proxy {
            let Some(taken) = self.enter(address) else {
                let _ = stream.try_write(TOO_MANY);
                return;
            };
            seat = taken;
        }
        // Last: a connection that does not come in takes no other one's place.
        if open.len() >= self.limits.connections {
            self.metrics.crowded.one();
            if !open.drop_oldest() {
                let _ = stream.try_write(NO_ROOM);
                return;
            }
        }
        // Answers are written in one piece. Waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new(began));
        let server = Arc::clone(self);
        let talks = Arc::clone(&activity);
        let task = if is_proxy {
            tasks.spawn(server.talk_to_proxy(stream, address, proxies.speak_first(), talks))
        } else {
            let peer = client::Peer::Client(address);
            tasks.spawn(server.talk(stream, seat, peer, talks))
        };
        open.insert(task, activity);
        self.metrics.connections.set(open.len() as u64);
    }

    /// Counts a connection of a client, and books its cost. Returns `None` if the client may not
    /// connect now; the inner `None` if clients are not counted.
    #[allow(clippy::option_option)] // The outer one: the client may not connect.
    fn enter(&self, address: IpAddr) -> Option<Option<AddressSeat>> {
        let Some(door) = &self.door else {
            return Some(None);
        };
        let seat = AddressSeat::take(door, address)?;
        let cost = match &self.tls {
            Some(_) => CONNECTION + HAND_SHAKE,
            None => CONNECTION,
        };
        door.book(&stranger(address), cost).ok()?;
        Some(Some(seat))
    }

    /// Serves one connection of a trusted proxy until it ends.
    async fn talk_to_proxy(
        self: Arc<Self>,
        mut stream: TcpStream,
        proxy: IpAddr,
        speaks_first: bool,
        activity: Arc<Activity>,
    ) {
        if !speaks_first {
            let peer = client::Peer::Proxy(proxy);
            return self.talk(stream, None, peer, activity).await;
        }
        let named = client::of_preamble(&mut stream);
        let client = match tokio::time::timeout(self.limits.timeout, named).await {
            Ok(Ok(client)) => client.unwrap_or(proxy),
            Ok(Err(error)) => {
                tracing::debug!(%error, %proxy, port = self.name, "a trusted proxy is not understood");
                return self.metrics.unclear.one();
            }
            Err(_) => return self.metrics.late.one(),
        };
        let Some(seat) = self.enter(client) else {
            let _ = stream.try_write(TOO_MANY);
            return;
        };
        let peer = client::Peer::Client(client);
        self.talk(stream, seat, peer, activity).await;
    }

    /// Serves one connection until it ends. The future keeps what it is called with, and nothing twice: very many
    /// of them wait.
    fn talk(
        self: Arc<Self>,
        stream: TcpStream,
        seat: Option<AddressSeat>,
        peer: client::Peer,
        activity: Arc<Activity>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut line = Line::new(Io::Plain(stream), &activity);
        async move {
            if let Some(tls) = &self.tls {
                let until = Instant::now() + self.limits.timeout;
                if !self.in_time(until, line.hello_comes()).await {
                    return;
                }
                match Box::pin(self.shake(tls(), line, &activity, until)).await {
                    Some(begun) => line = begun,
                    None => return,
                }
            }
            loop {
                let until = activity.last() + self.limits.timeout;
                if !self.in_time(until, line.head_comes()).await {
                    break;
                }
                // In a box: the memory of HTTP goes while no request is there, or one holds the connection.
                let serving = Box::pin(self.serve(line, peer, &activity));
                let Some((free, taken)) = serving.await else {
                    break;
                };
                line = free;
                if let Some(take_over) = taken {
                    activity.hold();
                    let Some(back) = take_over(line).await else {
                        break;
                    };
                    activity.go_on();
                    line = back;
                }
            }
            drop(seat);
        }
    }

    /// Returns whether something comes before its time is over.
    async fn in_time(&self, until: Instant, coming: impl Future<Output = bool>) -> bool {
        let came = tokio::time::timeout_at(until, coming).await;
        came.unwrap_or_else(|_| {
            self.metrics.late.one();
            false
        })
    }

    /// Begins TLS on a connection. Returns `None` if the client does not.
    async fn shake(
        &self,
        tls: Arc<ServerConfig>,
        line: Line,
        activity: &Arc<Activity>,
        until: Instant,
    ) -> Option<Line> {
        let accept = TlsAcceptor::from(tls).accept(line.into_plain()?);
        match tokio::time::timeout_at(until, accept).await {
            Ok(stream) => Some(Line::new(Io::Tls(Box::new(stream.ok()?)), activity)),
            Err(_) => {
                self.metrics.late.one();
                None
            }
        }
    }

    /// Serves a request of a connection. Returns the connection when it is answered, or when the request takes it over;
    /// `None` if it has ended.
    async fn serve(
        &self,
        line: Line,
        peer: client::Peer,
        activity: &Arc<Activity>,
    ) -> Option<(Line, Option<Taken>)> {
        let _in_http = InHttp::new(&self.metrics);
        activity.begin();
        let slot = Arc::new(Mutex::new(None));
        let service = service_fn(|request| self.answer(request, peer, activity, Arc::clone(&slot)));
        let connection = http1::Builder::new()
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            // The one time limit below covers this step too.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(line), service);
        let mut connection = Some(connection);
        loop {
            let until = activity.last() + self.limits.timeout;
            let step = std::future::poll_fn(|context| {
                let Some(talking) = &mut connection else {
                    return Poll::Ready(None);
                };
                if Pin::new(talking).poll(context).is_ready() {
                    // The client causes the errors. It has gone, or a status tells it the reason.
                    return Poll::Ready(None);
                }
                let taken: Option<Taken> = slot.lock().take();
                if taken.is_some() || activity.is_between_requests() {
                    return Poll::Ready(Some(taken));
                }
                Poll::Pending
            });
            tokio::select! {
                taken = step => {
                    let taken = taken?;
                    let parts = connection.take()?.into_parts();
                    let line = parts.io.into_inner();
                    return line.with_unread(&parts.read_buf).map(|line| (line, taken));
                }
                () = tokio::time::sleep_until(until) => {
                    if activity.last() + self.limits.timeout <= Instant::now() {
                        self.metrics.late.one();
                        return None;
                    }
                }
            }
        }
    }

    /// Returns the answer to a request. The future ends never if the request takes its connection over:
    /// the slot has the rest then.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: client::Peer,
        activity: &Arc<Activity>,
        slot: Arc<Mutex<Option<Taken>>>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let asked = Asked::new(activity);
        let answering = Answering::new(activity);
        let admitted = self.admit(peer, &request);
        let (refuse, complete) = (self.refuse, self.complete);
        let method = request.method().clone();
        let answer = admitted.map(|(address, page, seat)| {
            let mut request = request.map(|body| Noted::new(body, activity));
            let extensions = request.extensions_mut();
            extensions.insert(Peer(address));
            extensions.insert(Progress::new(Arc::clone(activity)));
            if let Some(page) = page {
                extensions.insert(Page(page));
            }
            let app = TowerToHyperService::new(self.app.clone());
            (app.call(request), seat)
        });
        async move {
            let (mut response, seat) = match answer {
                Ok((answer, seat)) => (complete(answer.await?, &method), seat),
                Err(refusal) => (refuse(refusal), None),
            };
            drop(asked);
            let Some(take_over) = response.extensions_mut().remove::<TakeOver>() else {
                return Ok(client::keep(response, seat, answering));
            };
            *slot.lock() = take_over.take().map(|taken| -> Taken {
                Box::new(move |line| {
                    let held = taken(line);
                    if seat.is_none() {
                        return held;
                    }
                    Box::pin(async move {
                        let back = held.await;
                        drop(seat);
                        back
                    })
                })
            });
            std::future::pending().await
        }
    }

    /// Returns the client of a request, the page that sent it, and the seat of a client behind a proxy.
    ///
    /// # Errors
    /// The request may not be served.
    fn admit(
        &self,
        peer: client::Peer,
        request: &Request<Incoming>,
    ) -> Result<(IpAddr, Option<HeaderValue>, Option<AddressSeat>), Refusal> {
        let address = client::of_request(&self.proxies.now(), peer, request)
            .inspect_err(|_| self.metrics.unclear.one())?;
        let page = self.guard.judge(request).inspect_err(|_| {
            self.metrics.refused.one();
            if let Some(door) = &self.door {
                // The next connection or request learns of a debt.
                let _ = door.book(&stranger(address), REFUSAL);
            }
        })?;
        let (client::Peer::Proxy(_), Some(door)) = (peer, &self.door) else {
            return Ok((address, page, None));
        };
        let seat = AddressSeat::take(door, address).ok_or(TOO_MANY_REQUESTS)?;
        Ok((address, page, Some(seat)))
    }
}

/// A connection that has memory of HTTP, in the counters while it exists.
struct InHttp<'a>(&'a Counter);

impl<'a> InHttp<'a> {
    fn new(metrics: &'a ServerMetrics) -> Self {
        metrics.in_http.set(metrics.in_http.get() + 1);
        Self(&metrics.in_http)
    }
}

impl Drop for InHttp<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Returns whether a status is that of an error.
pub fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
