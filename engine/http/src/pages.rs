//! The web pages that the ports serve, embedded in the program: chat, console, and the client in JavaScript.

mod bundle;
mod served;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hyper::header::{self, HeaderMap};
use trunkline_proto::origin::Host;

pub(crate) use self::served::Served;

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
    file!("/chat/chat.js", SCRIPT, "web/chat/chat.js"),
    file!("/chat/compose.js", SCRIPT, "web/chat/compose.js"),
    file!("/chat/conversation.js", SCRIPT, "web/chat/conversation.js"),
    file!(
        "/chat/conversations.js",
        SCRIPT,
        "web/chat/conversations.js"
    ),
    file!("/chat/dialogs.js", SCRIPT, "web/chat/dialogs.js"),
    file!("/chat/drafts.js", SCRIPT, "web/chat/drafts.js"),
    file!("/chat/first.js", SCRIPT, "web/chat/first.js"),
    file!("/chat/list.js", SCRIPT, "web/chat/list.js"),
    file!("/chat/mentions.js", SCRIPT, "web/chat/mentions.js"),
    file!("/chat/menus.js", SCRIPT, "web/chat/menus.js"),
    file!("/chat/message.js", SCRIPT, "web/chat/message.js"),
    file!("/chat/outbox.js", SCRIPT, "web/chat/outbox.js"),
    file!("/chat/people.js", SCRIPT, "web/chat/people.js"),
    file!("/chat/pictures.js", SCRIPT, "web/chat/pictures.js"),
    file!("/chat/pins.js", SCRIPT, "web/chat/pins.js"),
    file!("/chat/store.js", SCRIPT, "web/chat/store.js"),
    file!("/chat/style.css", STYLE, "web/chat/style.css"),
    file!("/shared/base.css", STYLE, "web/shared/base.css"),
    file!("/shared/dom.js", SCRIPT, "web/shared/dom.js"),
    file!("/shared/start.js", SCRIPT, "web/shared/start.js"),
    file!("/shared/tab.js", SCRIPT, "web/shared/tab.js"),
    file!("/client.js", SCRIPT, "clients/js/client.js"),
    file!(
        "/client/commands.js",
        SCRIPT,
        "clients/js/client/commands.js"
    ),
    file!("/client/delays.js", SCRIPT, "clients/js/client/delays.js"),
    file!("/client/events.js", SCRIPT, "clients/js/client/events.js"),
    file!("/client/marks.js", SCRIPT, "clients/js/client/marks.js"),
    file!(
        "/client/timeline.js",
        SCRIPT,
        "clients/js/client/timeline.js"
    ),
    file!("/client/values.js", SCRIPT, "clients/js/client/values.js"),
];

/// The path of the first module of the chat page, and that of all of them in one file.
pub(crate) const CHAT_PROGRAM: [&str; 2] = ["/chat/app.js", "/chat/all.js"];

/// The same of the console.
const CONSOLE_PROGRAM: [&str; 2] = ["/console/app.js", "/console/all.js"];

/// What the control port serves.
const CONSOLE: &[File] = &[
    file!("/", HTML, "web/console/index.html"),
    file!("/icon.svg", PICTURE, "web/shared/icon.svg"),
    file!("/console/app.js", SCRIPT, "web/console/app.js"),
    file!("/console/format.js", SCRIPT, "web/console/format.js"),
    file!("/console/plot.js", SCRIPT, "web/console/plot.js"),
    file!("/console/plots.js", SCRIPT, "web/console/plots.js"),
    file!("/console/sessions.js", SCRIPT, "web/console/sessions.js"),
    file!("/console/stream.js", SCRIPT, "web/console/stream.js"),
    file!("/console/style.css", STYLE, "web/console/style.css"),
    file!("/console/words.js", SCRIPT, "web/console/words.js"),
    file!("/shared/base.css", STYLE, "web/shared/base.css"),
    file!("/shared/dom.js", SCRIPT, "web/shared/dom.js"),
    file!("/shared/start.js", SCRIPT, "web/shared/start.js"),
    file!("/shared/tab.js", SCRIPT, "web/shared/tab.js"),
];

/// A file of the repository.
pub(crate) struct File {
    pub(crate) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

/// Returns where a page opens WebSockets, for its policy: at this port of the host that the request names.
pub(crate) fn sockets(asked: &HeaderMap, port: u16, has_tls: bool) -> String {
    let host = asked.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| {
        Host::parse(host)?;
        let end = host.rfind(':').filter(|_| !host.ends_with(']'));
        Some(&host[..end.unwrap_or(host.len())])
    });
    let scheme = if has_tls { "wss:" } else { "ws:" };
    match host {
        // A policy cannot name an IPv6 address.
        Some(host) if !host.contains('[') => format!(" {scheme}//{host}:{port}"),
        _ => format!(" {scheme}"),
    }
}

/// Returns the routes of the console.
pub fn console() -> Router {
    served(CONSOLE, CONSOLE_PROGRAM, "").fold(Router::new(), |router, (path, served)| {
        let answer = move |asked: HeaderMap| async move { served.answer(&asked, "") };
        router.route(path, get(answer))
    })
}

/// Returns all that a port serves, with the paths: its files, and the whole program of its page. `about` is what the page is
/// told of the gateway, as JSON.
pub(crate) fn served(
    files: &'static [File],
    [first, whole]: [&'static str; 2],
    about: &str,
) -> impl Iterator<Item = (&'static str, Arc<Served>)> {
    let own = move |file: &'static File| (file.path, Arc::new(Served::new(file, files, about)));
    let program = (whole, Arc::new(Served::program(first, files)));
    files.iter().map(own).chain([program])
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn with_host(host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers
    }

    #[test]
    fn a_page_may_connect_to_the_sockets_of_its_host_only() {
        let place = |host, has_tls| sockets(&with_host(host), 7700, has_tls).trim().to_owned();
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
