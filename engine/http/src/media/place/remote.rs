//! The client of a store that is reached by HTTP: the connections to it, their time, and what they answer.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::answer::{Answer, Line};
use super::refusal;
use crate::dial::{NoAnswer, Origin, Pool, Trust};

/// The maximum number of requests to the store at a time. Further ones wait, within their time.
pub(super) const AT_ONCE: usize = 64;

/// The maximum number of servers: the store, and those that give out credentials.
const SERVERS: usize = 8;

/// The time until the head of an answer, with the body of the request.
const HEAD: Duration = Duration::from_secs(10);

/// The pauses before a request is sent again that changes nothing more when it comes twice.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The most bytes of an answer without a range: a list, what is known of a file, or an error.
const ANSWER: u64 = 2 << 20;

/// The client of a store. Clones share their connections.
#[derive(Clone)]
pub(super) struct Remote(Arc<Shared>);

struct Shared {
    trust: Option<Trust>,
    pools: Mutex<HashMap<Origin, Arc<Pool>>>,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote(…)")
    }
}

impl HttpConnector for Remote {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Remote {
    fn call<'a, 'f>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(self.ask(request))
    }
}

fn broken(error: NoAnswer) -> HttpError {
    let kind = match error {
        NoAnswer::Unreachable(_) => HttpErrorKind::Connect,
        NoAnswer::Broken(_) => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}

fn wrong(text: &'static str) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(text))
}

impl Remote {
    /// Makes a client without connections. `trust` vouches for servers that speak TLS.
    pub(super) fn new(trust: Option<Trust>) -> Self {
        Self(Arc::new(Shared {
            trust,
            pools: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }))
    }

    /// Sends a request, again if the first time fails and another does no harm.
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let may_repeat = parts.method != Method::POST;
        let mut pauses = PAUSES.iter().filter(|_| may_repeat);
        loop {
            let answer = tokio::time::timeout(HEAD, self.ask_once(&parts, body.clone())).await;
            let answer = answer.unwrap_or_else(|_| {
                let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(HttpError::new(HttpErrorKind::Timeout, error))
            });
            let has_failed = match &answer {
                Ok(answer) => {
                    let status = answer.status();
                    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
                }
                Err(error) => error.kind() != HttpErrorKind::Unknown,
            };
            match pauses.next() {
                Some(pause) if has_failed => tokio::time::sleep(*pause).await,
                // The services that give out credentials are asked without a signature. The status of their
                // answers says how to go on.
                _ if !parts.headers.contains_key(header::AUTHORIZATION) => return answer,
                _ => return refusal::checked(&parts.method, answer?).await,
            }
        }
    }

    async fn ask_once(
        &self,
        parts: &Parts,
        body: HttpRequestBody,
    ) -> Result<HttpResponse, HttpError> {
        let turn = Arc::clone(&self.0.turns).acquire_owned().await;
        let turn = turn.map_err(|_| wrong("the gateway is stopping"))?;
        let pool = self.pool(&parts.uri)?;
        let mut request = Request::new(Body::new(body));
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        let host = host_of(&parts.uri).ok_or_else(|| wrong("an address without a host"))?;
        request.headers_mut().insert(header::HOST, host);
        let path = parts.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let (answer, sender) = pool.send(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let range = parts
            .headers
            .get(header::RANGE)
            .filter(|_| head.status.is_success());
        let most = range.map_or(Some(ANSWER), length_of);
        let most = most.ok_or_else(|| wrong("a range that cannot be read"))?;
        let line = Line { pool, sender, turn };
        let body = HttpResponseBody::new(Answer::new(body, most, line));
        Ok(HttpResponse::from_parts(head, body))
    }

    /// Returns the connections to the server of an address.
    fn pool(&self, uri: &Uri) -> Result<Arc<Pool>, HttpError> {
        let has_tls = uri.scheme_str() == Some("https");
        let host = uri
            .host()
            .ok_or_else(|| wrong("an address without a host"))?;
        let origin = Origin {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if has_tls { 443 } else { 80 }),
            has_tls,
        };
        let mut pools = self.0.pools.lock();
        if let Some(pool) = pools.get(&origin) {
            return Ok(Arc::clone(pool));
        }
        if pools.len() >= SERVERS {
            pools.clear();
        }
        let pool = Arc::new(Pool::new(origin.clone(), self.0.trust.clone()));
        pools.insert(origin, Arc::clone(&pool));
        Ok(pool)
    }
}

/// Returns the value of the header `Host`, as signatures have it: without the usual port.
fn host_of(uri: &Uri) -> Option<HeaderValue> {
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let host = uri.host()?;
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::from_str(&format!("{host}:{port}")).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

/// Returns the number of bytes that a request asks for by `bytes=first-last`.
fn length_of(range: &HeaderValue) -> Option<u64> {
    let (first, last) = range
        .to_str()
        .ok()?
        .strip_prefix("bytes=")?
        .split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_as_signatures_have_them() {
        for (uri, host) in [
            ("http://127.0.0.1:8333/chat/a", "127.0.0.1:8333"),
            ("http://[::1]:8333/a", "[::1]:8333"),
            ("http://store.example:80/a", "store.example"),
            ("https://store.example:443/a", "store.example"),
            ("https://store.example/a", "store.example"),
            ("https://store.example:80/a", "store.example:80"),
        ] {
            assert_eq!(host_of(&uri.parse().unwrap()).unwrap(), host, "{uri}");
        }
    }

    #[test]
    fn the_length_of_a_range_is_known() {
        let of = |text| length_of(&HeaderValue::from_static(text));
        assert_eq!((of("bytes=0-0"), of("bytes=10-19")), (Some(1), Some(10)));
        assert_eq!((of("bytes=2-1"), of("bytes=1-")), (None, None));
    }
}
