//! The client API over HTTP: what `trunkline_http` needs of the gateway.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use trunkline_core::call::{Parts as CallParts, Service};
use trunkline_core::cost::Cost;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Admitted, BackEnds, ToReaders, ToSequencer, TokenMark};
use trunkline_core::hub::Hub;
use trunkline_core::ids::{DeviceMark, UserId};
use trunkline_core::media::Access;
use trunkline_gateway::auth as gateway;
use trunkline_gateway::auth::{Act, Auth, Authority, Refusal};
use trunkline_gateway::guests::{Guest, GuestSent, Guests, Reached};
use trunkline_gateway::shard::Shared;
use trunkline_gateway::shard::descriptors::Tables;
use trunkline_gateway::shard::listener::Claimed;
use trunkline_gateway::tls::Acceptor;
use trunkline_http::back::Back;
use trunkline_http::server::TlsSource;
use trunkline_http::waiting::Post;
use trunkline_http::{
    Beyond, Door, Grant, Http, HttpParts, MediaOwner, MediaParts, Payer, Refused, Sent,
};
use trunkline_proto::message::Connect;
use trunkline_storage::{Health, Reader};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::ports::without_http;
use crate::threads::let_shards_go_first;

/// The parts of the running gateway that the client API uses.
pub(crate) struct Serving<'a> {
    pub(crate) config: &'a Config,
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    pub(crate) store: &'a Reader,
    pub(crate) directory: &'a Arc<Directory>,
    pub(crate) hub: &'a Arc<Hub>,
    pub(crate) sequencer: &'a ToSequencer,
    pub(crate) readers: &'a ToReaders,
    pub(crate) shared: &'a Shared,
    pub(crate) authority: Option<&'a Arc<Authority>>,
    pub(crate) tls: Option<&'a Arc<Acceptor>>,
    pub(crate) back: Option<&'a Back>,
    /// The number of connections to the client API at most.
    pub(crate) http_room: usize,
    pub(crate) metrics: &'a Metrics,
}

impl Serving<'_> {
    /// Returns what carries out commands for callers in this process.
    pub(crate) fn service(&self) -> Service {
        let parts = CallParts {
            limits: self.config.limits.content,
            directory: Arc::clone(self.directory),
            hub: Arc::clone(self.hub),
            sequencer: self.sequencer.clone(),
            readers: self.readers.clone(),
        };
        Service::new(self.store, parts)
    }

    /// Returns who owns the place of media: this gateway, or its cluster if the place is a bucket. A folder is that of one node.
    pub(crate) fn media_owner(&self) -> MediaOwner {
        let (data, place) = (&self.config.data, &self.config.media);
        let node = self.metrics.node.get();
        let node = node.filter(|_| place.folder().is_none()).cloned();
        match node.and_then(|node| Some((node.log()?, node))) {
            Some((log, node)) => MediaOwner::cluster(data, log, move || node.numbers().leads),
            None => MediaOwner::gateway(data),
        }
    }

    /// Returns the back ends that are asked; `None` without any.
    pub(crate) fn back_ends(&self) -> Option<Arc<dyn BackEnds>> {
        self.back
            .map(|back| -> Arc<dyn BackEnds> { Arc::new(back.asking()) })
    }
}

/// Starts the client API with its address and its mailbox. Returns `None` if the API is off, or if nobody gave an
/// address and another program has the default one.
///
/// # Errors
/// Another process listens at the address, or a thread cannot be started.
pub(crate) fn start(
    serving: &Serving<'_>,
    taken: Option<(Claimed, Post)>,
) -> anyhow::Result<Option<Http>> {
    let config = serving.config;
    let Some((claimed, post)) = taken else {
        return Ok(None);
    };
    let address = claimed.address();
    let listener = match claimed.listen() {
        Ok(listener) => listener,
        Err(error) => return without_http(config, address, &error).map(|()| None),
    };
    let tls = serving.tls.map(|acceptor| -> TlsSource {
        let acceptor = Arc::clone(acceptor);
        Arc::new(move || acceptor.config())
    });
    let metrics = serving.metrics;
    let guests = Guests::new(
        serving.shared.clone(),
        serving.authority.cloned(),
        Arc::clone(&metrics.guests),
    );
    let mut limits = config.http_limits;
    limits.server.connections = serving.http_room;
    let http = Http::start(HttpParts {
        listener,
        post,
        sockets: serving.listen.port(),
        shards: config.shards,
        service: serving.service(),
        directory: Arc::clone(serving.directory),
        hub: Arc::clone(serving.hub),
        content: config.limits.content,
        door: Arc::new(Visitors {
            guests,
            hub: Arc::clone(serving.hub),
            auth: config.auth.clone(),
        }),
        back: serving.back_ends(),
        origins: config.limits.origins.clone(),
        proxies: config.limits.proxies.clone(),
        tls,
        media: media(serving)?,
        limits,
        metrics: Arc::clone(&metrics.http),
        calm: let_shards_go_first,
    });
    http.context("cannot start the threads of the client API")
        .map(Some)
}

/// Returns what the client API needs for media.
///
/// # Errors
/// The place of media cannot be opened.
fn media(serving: &Serving<'_>) -> anyhow::Result<MediaParts> {
    let config = serving.config;
    let (store, place, data) = (
        serving.store.clone(),
        config.media.clone(),
        config.data.clone(),
    );
    let health = serving.store.clone();
    let opened = place.open(config.media_s3_file.as_deref());
    Ok(MediaParts {
        place: opened.map_err(anyhow::Error::msg)?,
        limits: config.media_limits.clone(),
        owner: serving.media_owner(),
        access: Access::new(serving.store, &serving.hub.clock),
        // The disk of the store is to keep room for messages. Another disk may be filled.
        free_bytes: Box::new(move || {
            let disk = |folder: &Path| std::fs::metadata(folder).map(|of| of.dev());
            match place.folder() {
                Some(folder) if disk(folder)? == disk(&data)? => store.free_bytes(),
                _ => Ok(u64::MAX),
            }
        }),
        clock: Arc::clone(&serving.hub.clock),
        is_lost: Box::new(move || matches!(health.health(), Health::Lost { .. })),
    })
}

/// Returns the number of connections to the client API at most that share a table of descriptors with
/// shards: a quarter of the descriptors, if that is less than the setting.
pub(crate) fn quarter(connections: usize) -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let quarter = limit.map_or(usize::MAX, |(_, hard)| {
        usize::try_from(hard / 4).unwrap_or(usize::MAX)
    });
    connections.min(quarter)
}

/// Returns the number of connections to the client API at most. If shards have tables of descriptors of
/// their own, the client API has the rest of the gateway's table.
pub(crate) fn room(connections: usize, tables: &Tables) -> usize {
    let quarter = quarter(connections);
    if !tables.private {
        return quarter;
    }
    let rest = tables.limit.saturating_sub(tables.reserved);
    let rest = usize::try_from(rest).unwrap_or(usize::MAX);
    connections.min(rest).max(quarter)
}

/// The guests of the gateway, as the client API asks for them.
struct Visitors {
    guests: Guests,
    hub: Arc<Hub>,
    auth: Auth,
}

impl Visitors {
    fn grant(&self, grant: gateway::Grant) -> Grant {
        let expires = grant.expires();
        let leeway = self.guests.leeway_ms();
        let rights = grant.rights;
        Grant {
            token: grant.token,
            user: grant.user.into(),
            namespace: grant.namespace.into(),
            device: grant.device.map(Into::into),
            expires_ms: expires.map_or(u64::MAX, |at| at.saturating_add(leeway)),
            may_publish: Box::new(move |topic| rights.allow(Act::Publish, topic)),
        }
    }
}

fn refused(refusal: Refusal) -> Refused {
    Refused {
        code: refusal.code(),
        message: refusal.message,
    }
}

fn beyond(reached: Reached) -> Beyond {
    Beyond {
        limit: reached.limit,
        retry_ms: u64::try_from(reached.retry.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Door for Visitors {
    fn needs_tokens(&self) -> bool {
        self.guests.need_tokens() || self.auth == Auth::BackEnd
    }

    fn has_keys(&self) -> bool {
        self.guests.need_tokens()
    }

    fn admit(&self, said: &Connect<'_>, admitted: Admitted) -> Result<Grant, Refused> {
        let all_topics = self.auth.is_development();
        let grant = self.guests.admit(said, admitted, all_topics);
        Ok(self.grant(grant.map_err(refused)?))
    }

    fn check(&self, token: &str) -> Result<Grant, Refused> {
        let grant = self.guests.check(token).map_err(refused)?;
        Ok(self.grant(grant))
    }

    fn is_revoked(&self, user: UserId, token: TokenMark) -> bool {
        self.guests.is_revoked(user, token)
    }

    fn enter_address(&self, address: IpAddr) -> bool {
        self.guests.enter_address(address)
    }

    fn leave_address(&self, address: IpAddr) {
        self.guests.leave_address(address);
    }

    fn enter_session(&self, user: UserId, device: DeviceMark) -> bool {
        let elsewhere = self.hub.devices_elsewhere(user, device);
        self.guests.enter_session(user, elsewhere)
    }

    fn leave_session(&self, user: UserId) {
        self.guests.leave_session(user);
    }

    fn pay(&self, user: UserId, sent: Sent) -> Result<(), Beyond> {
        let sent = match sent {
            Sent::Body(bytes) => GuestSent::Body(bytes),
            Sent::Message => GuestSent::Message,
            Sent::Command => GuestSent::Command,
        };
        self.guests.pay(user, sent).map_err(beyond)
    }

    fn book(&self, payer: &Payer<'_>, cost: Cost) -> Result<(), Beyond> {
        let guest = Guest {
            user: payer.user,
            name: payer.name,
            namespace: payer.namespace,
            address: payer.address,
        };
        self.guests.book(&guest, cost).map_err(beyond)
    }
}
