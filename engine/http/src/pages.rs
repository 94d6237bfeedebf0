//! The web pages that the ports serve, embedded in the program: chat, console, and the client in JavaScript.

use aws_lc_rs::digest;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use trunkline_proto::origin::Host;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Names a file of the repository with the path at which it is served.
macro_rules! file {
    ($path:literal, $kind:expr, $source:literal) => {
        File {
            path: $path,
            kind: $kind,
            text: include_str!(concat!("../../../", $source)),
        }
    };
}

/// What the port of the client API serves.
pub(crate) const CHAT: &[File] = &[
    file!("/", HTML, "web/chat/index.html"),
    file!("/icon.svg", PICTURE, "web/shared/icon.svg"),
    file!("/chat/app.js", SCRIPT, "web/chat/app.js"),
    file!("/chat/compose.js", SCRIPT, "web/chat/compose.js"),
    file!(
        "/chat/conversations.js",
        SCRIPT,
        "web/chat/conversations.js"
    ),
    file!("/chat/dialogs.js", SCRIPT, "web/chat/dialogs.js"),
    file!("/chat/list.js", SCRIPT, "web/chat/list.js"),
    file!("/chat/message.js", SCRIPT, "web/chat/message.js"),
    file!("/chat/pictures.js", SCRIPT, "web/chat/pictures.js"),
    file!("/chat/store.js", SCRIPT, "web/chat/store.js"),
    file!("/chat/style.css", STYLE, "web/chat/style.css"),
    file!("/shared/base.css", STYLE, "web/shared/base.css"),
    file!("/shared/dom.js", SCRIPT, "web/shared/dom.js"),
    file!("/client.js", SCRIPT, "clients/js/client.js"),
    file!(
        "/client/commands.js",
        SCRIPT,
        "clients/js/client/commands.js"
    ),
    file!("/client/delays.js", SCRIPT, "clients/js/client/delays.js"),
    file!("/client/events.js", SCRIPT, "clients/js/client/events.js"),
    file!("/client/marks.js", SCRIPT, "clients/js/client/marks.js"),
    file!("/client/values.js", SCRIPT, "clients/js/client/values.js"),
];

/// What the control port serves.
const CONSOLE: &[File] = &[
    file!("/", HTML, "web/console/index.html"),
    file!("/icon.svg", PICTURE, "web/shared/icon.svg"),
    file!("/console/app.js", SCRIPT, "web/console/app.js"),
    file!("/console/format.js", SCRIPT, "web/console/format.js"),
    file!("/console/plot.js", SCRIPT, "web/console/plot.js"),
    file!("/console/sessions.js", SCRIPT, "web/console/sessions.js"),
    file!("/console/stream.js", SCRIPT, "web/console/stream.js"),
    file!("/console/style.css", STYLE, "web/console/style.css"),
    file!("/shared/base.css", STYLE, "web/shared/base.css"),
    file!("/shared/dom.js", SCRIPT, "web/shared/dom.js"),
];

/// What a page may load and do. The places that it may connect to follow.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'";

/// A file that is served as it is.
pub(crate) struct File {
    pub(crate) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

impl File {
    /// Returns the tag of the content.
    fn tag(&self) -> HeaderValue {
        let hash = digest::digest(&digest::SHA256, self.text.as_bytes());
        let hex = hash
            .as_ref()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"));
        let tag = format!("\"{}\"", hex.collect::<String>());
        HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }

    /// Returns the answer to a request. `policy` says what the page may do.
    pub(crate) fn answer(&self, asked: &HeaderMap, policy: HeaderValue) -> Response {
        let tag = self.tag();
        let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| {
            let known = known.to_str().unwrap_or_default().split(',');
            { known }.any(|one| one.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
        });
        let mut response = match known {
            true => Response::new(Body::empty()),
            false => Response::new(Body::from(self.text)),
        };
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let fixed = |value: &'static str| HeaderValue::from_static(value);
        let headers: [(HeaderName, HeaderValue); 7] = [
            (header::CONTENT_TYPE, fixed(self.kind)),
            (header::ETAG, tag),
            // The next version of the gateway has other files.
            (header::CACHE_CONTROL, fixed("no-cache")),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (header::REFERRER_POLICY, fixed("no-referrer")),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                fixed("same-origin"),
            ),
        ];
        response.headers_mut().extend(headers);
        response
    }
}

/// Returns the policy of a page that opens WebSockets to this port of the host that the request names.
pub(crate) fn policy_with_sockets(asked: &HeaderMap, port: u16, has_tls: bool) -> HeaderValue {
    let host = asked.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| {
        Host::parse(host)?;
        let end = host.rfind(':').filter(|_| !host.ends_with(']'));
        Some(&host[..end.unwrap_or(host.len())])
    });
    let scheme = if has_tls { "wss:" } else { "ws:" };
    let place = match host {
        // A policy cannot name an IPv6 address.
        Some(host) if !host.contains('[') => format!("{scheme}//{host}:{port}"),
        _ => scheme.to_owned(),
    };
    let policy = HeaderValue::try_from(format!("{POLICY} {place}"));
    policy.unwrap_or_else(|_| HeaderValue::from_static(POLICY))
}

/// Returns the routes of the console.
pub fn console() -> Router {
    CONSOLE.iter().fold(Router::new(), |router, file| {
        let answer = move |asked: HeaderMap| async move {
            file.answer(&asked, HeaderValue::from_static(POLICY))
        };
        router.route(file.path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_host(host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers
    }

    #[test]
    fn a_page_may_connect_to_the_sockets_of_its_host_only() {
        let place = |host, has_tls| {
            let policy = policy_with_sockets(&with_host(host), 7700, has_tls);
            let policy = policy.to_str().unwrap().to_owned();
            policy.rsplit_once(' ').unwrap().1.to_owned()
        };
        assert_eq!(place("localhost:7702", false), "ws://localhost:7700");
        assert_eq!(
            place("chat.example.org", true),
            "wss://chat.example.org:7700"
        );
        assert_eq!(place("127.0.0.1:7702", false), "ws://127.0.0.1:7700");
        assert_eq!(place("[::1]:7702", false), "ws:");
        assert_eq!(place("a b; script-src *", false), "ws:");
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let file = &CHAT[0];
        let policy = HeaderValue::from_static(POLICY);
        let first = file.answer(&HeaderMap::new(), policy.clone());
        assert_eq!(first.status(), StatusCode::OK);
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(
            file.answer(&asked, policy.clone()).status(),
            StatusCode::NOT_MODIFIED
        );
        asked.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(file.answer(&asked, policy).status(), StatusCode::OK);
    }

    #[test]
    fn pages_name_only_files_that_are_served() {
        for files in [CHAT, CONSOLE] {
            let paths: Vec<_> = files.iter().map(|file| file.path).collect();
            for file in files {
                let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let marks = [" from \"", "src=\"", "href=\"", "import \"", "import(\""];
                for mark in marks {
                    for rest in file.text.split(mark).skip(1) {
                        let name = rest.split('"').next().unwrap_or_default();
                        let path = match name.strip_prefix("./") {
                            Some(name) => format!("{folder}/{name}"),
                            None => name.to_owned(),
                        };
                        let is_path = path.starts_with('/');
                        assert!(!is_path || paths.contains(&&*path), "{}: {path}", file.path);
                    }
                }
            }
        }
    }
}
