//! The port of the client API: its threads, and how they start and stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use trunkline_core::call::Service;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::BackEnds;
use trunkline_core::hub::Hub;
use trunkline_core::request::ContentLimits;
use trunkline_core::trusted::Trusted;
use trunkline_proto::origin::Allowed;

use crate::api::{self, Api, ApiLimits};
use crate::door::Door;
use crate::limits::HttpLimits;
use crate::media::{Media, MediaParts, sweep};
use crate::metrics::HttpMetrics;
use crate::problem;
use crate::server::{Guard, Server, TlsSource};
use crate::waiting::{Carrier, Post, Waiting};

/// The time for answers that are on their way when the gateway stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The most threads that wait for the files of media, and for names of hosts.
const BLOCKING: usize = 16;

/// Everything that the port of the client API needs.
pub struct HttpParts {
    /// Listens at the address of the port, and does not block.
    pub listener: std::net::TcpListener,
    /// The mailbox, whose number is that behind the last shard.
    pub post: Post,
    /// The port of the WebSockets, which the chat page connects to.
    pub sockets: u16,
    /// The number of shards.
    pub shards: usize,
    /// Carries out commands.
    pub service: Service,
    /// The sessions of all users.
    pub directory: Arc<Directory>,
    /// The ephemeral state of the gateway.
    pub hub: Arc<Hub>,
    /// The limits of commands and pages.
    pub content: ContentLimits,
    /// Tokens, rates and budgets.
    pub door: Arc<dyn Door>,
    /// The pages that may use the port.
    pub origins: Allowed,
    /// The trusted proxies.
    pub proxies: Trusted,
    /// The configuration of TLS; `None` without TLS.
    pub tls: Option<TlsSource>,
    /// The back ends that are asked. `None` without any.
    pub back: Option<Arc<dyn BackEnds>>,
    /// The media of clients.
    pub media: MediaParts,
    /// The limits.
    pub limits: HttpLimits,
    /// The counters.
    pub metrics: Arc<HttpMetrics>,
    /// What each thread of the port does first: it lowers its priority.
    pub calm: fn(),
}

/// The running port of the client API.
pub struct Http {
    address: SocketAddr,
    has_tls: bool,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    carrier: Carrier,
}

impl Http {
    /// Serves the port.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(parts: HttpParts) -> std::io::Result<Self> {
        let listener = parts.listener;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // They read and write media, look up who may read them, and where their place is.
            .max_blocking_threads(BLOCKING)
            .build()?;
        let patience = parts.limits.server.timeout / 3 * 2;
        let media = Media::new(parts.media, patience, Arc::clone(&parts.metrics.media));
        let media = Arc::new(media);
        let waiting = Arc::new(Waiting::new(parts.directory, parts.hub, parts.shards));
        let carrier = Carrier::start(&parts.post, &waiting, parts.calm)?;
        let has_tls = parts.tls.is_some();
        let content = parts.content;
        let api = Arc::new(Api::new(
            parts.service,
            Arc::clone(&parts.door),
            waiting,
            ApiLimits {
                content,
                http: parts.limits,
                sockets: api::Sockets {
                    port: parts.sockets,
                    pages: address.port(),
                    has_tls,
                },
            },
            Arc::clone(&media),
            Arc::clone(&parts.metrics),
            parts.back,
        ));
        let server = Server {
            name: "http",
            app: api::router(&api),
            guard: Guard(parts.origins),
            refuse: problem::refuse,
            complete: problem::naming_methods,
            limits: parts.limits.server,
            metrics: Arc::clone(&parts.metrics.server),
            tls: parts.tls,
            door: Some(parts.door),
            proxies: parts.proxies,
        };
        let (stop, stopped) = oneshot::channel();
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut serving = std::pin::pin!(server.run(listener));
            let stopped = std::pin::pin!(stopped);
            tokio::spawn(sweep(media));
            tokio::select! {
                never = &mut serving => match never {},
                _ = stopped => {}
            }
            // Answers on their way leave, and streams say good-bye.
            let _ = tokio::time::timeout(LAST_ANSWERS, async {
                tokio::select! {
                    never = &mut serving => match never {},
                    () = api.quiet() => {}
                }
            })
            .await;
            Ok::<_, std::io::Error>(())
        };
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(move || {
                (parts.calm)();
                if let Err(error) = runtime.block_on(serving) {
                    tracing::error!(%error, "the port of the client API failed");
                }
                // The look-up of a name may hang: nobody waits for it.
                runtime.shutdown_timeout(LAST_ANSWERS);
            })?;
        Ok(Self {
            address,
            has_tls,
            stop,
            thread,
            carrier,
        })
    }

    /// Returns the address of the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether clients connect with TLS.
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Stops the port: answers what is on its way, tells streams to reconnect, and ends its threads.
    pub fn stop(self) {
        self.carrier.stop();
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the client API panicked");
        }
    }
}
