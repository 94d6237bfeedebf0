//! A running gateway: its threads, and the order in which they start and stop.

mod back_ends;
mod deciding;
mod followers;
mod readers;
mod search;
mod shards;
mod store;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use trunkline_cluster::member::{Candidate, Status};
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Mail, Mailbox, queue_with};
use trunkline_core::hub::Hub;
use trunkline_core::ids::Ids;
use trunkline_core::indexing::IndexMaker;
use trunkline_core::sequencer::{Departures, SequencerParts};
use trunkline_gateway::auth::revoked::Revocations;
use trunkline_gateway::auth::{Authority, Tokens};
use trunkline_gateway::limits::Limits;
use trunkline_gateway::shard::{Parts, Shared, descriptors};
use trunkline_gateway::tls::{Acceptor, TlsFiles, TlsWatch};
use trunkline_http::Http;
use trunkline_http::back::{Back, Secret};
use trunkline_http::waiting::Post;
use trunkline_storage::Reader;

use self::deciding::Deciding;
use self::followers::Followers;
use self::readers::{end_readers, job_queue};
use self::shards::{Seed, seed_shards};
use self::store::watch_store;
use crate::admin::{self, Bell, Exports, Program, Stats};
use crate::backup::Backups;
use crate::config::Config;
use crate::control::{self, Control};
use crate::file_sizes;
use crate::http::{self, Serving};
use crate::metrics::{Measured, Metrics};
use crate::nodes::AmongNodes;
use crate::ports::Ports;
use crate::store_watch::StoreWatch;
use crate::threads::join;

/// A running gateway. Dropping it leaves its threads running: call [`Gateway::stop`].
pub struct Gateway {
    listen: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    authority: Option<Arc<Authority>>,
    back: Option<Back>,
    followers: Followers,
    metrics: Arc<Metrics>,
    control: Control,
    admin: admin::Served,
    http: Option<Http>,
    backups: Arc<Backups>,
    ready: Arc<AtomicBool>,
    mailboxes: Vec<Arc<Mailbox>>,
    shards: Vec<JoinHandle<std::io::Result<()>>>,
    deciding: Deciding,
    readers: Vec<JoinHandle<()>>,
    store: Reader,
    watch: StoreWatch,
    tls_watch: Option<TlsWatch>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens the store, binds the addresses and starts the threads. Returns once clients can
    /// connect.
    ///
    /// # Errors
    /// The store does not open, an address cannot be bound, a thread cannot be started.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_with(config, None)
    }

    /// Starts a gateway as [`start`](Self::start) does. `maker` makes the index for searches.
    ///
    /// # Errors
    /// Those of `start`; searches are on, and there is no `maker`.
    pub fn start_with(config: &Config, maker: Option<&dyn IndexMaker>) -> anyhow::Result<Self> {
        let tls = acceptor(config)?;
        let authority = authority(config)?;
        let tables = fit_limits(config)?;
        // Before the tables are private: shards wake its thread.
        let back = back_ends::start(config)?;
        let (mut mailboxes, seeds) = seed_shards(config.shards, tables.private)?;
        // After the tables are private, so that no shard's table has a copy of them.
        let ports = Ports::take(config)?;
        // To the other threads, the client API is one more shard.
        let post = ports.http.as_ref().map(|_| Post::default());
        mailboxes.extend(post.iter().map(|post| Arc::clone(post.mailbox())));
        let listen = ports.listen.address;

        let (mut candidate, opened) = deciding::open(config)?;
        let (writer, store) = (opened.writer, opened.reader);
        let watch = watch_store(config, &store)?;
        let revoked = Revoked::find(config, &store, (authority.as_deref(), candidate.as_ref()))?;
        let tls_watch = watch_certificate(tls.as_ref())?;
        let directory = Arc::new(Directory::new(store.head()));
        let limits = Arc::new(config.limits.clone());
        let hub = make_hub(config, &directory, &mailboxes);
        let metrics = make_metrics(config, &tables, tls.as_ref(), back.as_ref(), &watch);
        let (indexing, metrics) = search::make(config, &store, &hub.clock, (maker, metrics))?;
        let counters = Arc::clone(&metrics.sequencer);
        let departures = Departures::new(Arc::clone(&hub), &config.hub, Arc::clone(&counters));
        let (to_sequencer, commands) = queue_with(Arc::clone(&counters.waiting_bytes));
        let weights = Arc::new(config.weights.resolve(&Ids(store.key())));
        let (to_readers, jobs) = job_queue(Arc::clone(&weights));
        let parts = SequencerParts {
            writer,
            log: deciding::log(candidate.as_mut()),
            store: store.clone(),
            conversation_cache: config.conversation_cache,
            rules: config.messaging,
            directory: Arc::clone(&directory),
            departures,
            mailboxes: mailboxes.clone(),
            weights,
            metrics: counters,
        };
        let deciding = Deciding::start(candidate, parts, (&to_sequencer, commands), &metrics)?;
        let readers = indexing.readers(config, &store, &jobs, &mailboxes, &hub.clock)?;
        let serving = Serving {
            config,
            listen,
            store: &store,
            directory: &directory,
            hub: &hub,
            sequencer: &to_sequencer,
            readers: &to_readers,
            shared: &Shared::new(&limits, config.max_connections, Arc::clone(&metrics.pushes)),
            authority: authority.as_ref(),
            tls: tls.as_ref(),
            back: back.as_ref(),
            http_room: http::room(config.http_limits.server.connections, &tables),
            metrics: &metrics,
        };
        let followers = Followers::start(&serving, indexing, revoked.among.as_ref())?;
        let http = http::start(&serving, ports.http.zip(post))?;
        let shown = control::Shown::new(&store, &metrics);
        let (ready, backups) = (Arc::clone(&shown.ready), Arc::clone(&shown.backups));
        let owners = &mailboxes[..config.shards + usize::from(http.is_some())];
        let admin = make_admin(&serving, &shown, revoked, owners)?;
        let control = control::start(config, ports.control, shown, &admin)?;

        let place = Place {
            mailboxes: &mailboxes,
            listen,
            room: tables.per_shard,
            limits: &limits,
        };
        let shards = grow_shards(seeds, &serving, &place)?;
        drop(ports.listen);
        ready.store(true, Ordering::SeqCst);
        tracing::info!(%listen, control = %control.address(), http = http.as_ref().map(|http| tracing::field::display(http.address())), data = %config.data.display(), "ready");
        Ok(Self {
            listen,
            tls,
            authority,
            back,
            followers,
            metrics,
            control,
            admin,
            http,
            backups,
            ready,
            mailboxes,
            shards,
            deciding,
            readers,
            store,
            watch,
            tls_watch,
        })
    }

    /// Returns the address that takes WebSockets.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Returns what is known of the gateway as a node of a cluster; `None` if it works alone.
    pub(crate) fn node(&self) -> Option<&Status> {
        self.deciding.status()
    }

    /// Returns whether WebSockets connect with TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the keys of tokens again, for tokens that come from now on. Sessions stay open. A file
    /// that cannot be used changes nothing.
    ///
    /// Returns whether the new keys are in force. The log and /metrics report the result. A gateway
    /// that was started without tokens stays without them.
    pub fn reload_keys(&self, tokens: &Tokens) -> bool {
        let Some(authority) = &self.authority else {
            return false;
        };
        match authority.reload(tokens) {
            Ok(keys) => {
                self.metrics.keys.reloaded.one();
                tracing::info!(keys, "keys of tokens read again");
                true
            }
            Err(error) => {
                self.metrics.keys.reload_failed.one();
                tracing::error!(%error, "keeping the keys of tokens that were read before");
                false
            }
        }
    }

    /// Reads the certificate and its key again, for connections that begin from now on. Connections
    /// stay open. A file that cannot be used changes nothing.
    ///
    /// Returns whether the new certificate is in force. The log and /metrics report the result. A
    /// gateway that was started without TLS stays without it.
    pub fn reload_certificate(&self, files: &TlsFiles) -> bool {
        let Some(tls) = &self.tls else {
            return false;
        };
        match tls.reload(files) {
            Ok(()) => {
                self.metrics.tls.reloaded.one();
                tracing::info!("certificate and key read again: new connections get them");
                true
            }
            Err(error) => {
                self.metrics.tls.reload_failed.one();
                tracing::error!(%error, "keeping the certificate and key that were read before");
                false
            }
        }
    }

    /// Reads the secret that signs requests to back ends again. A file that cannot be used changes
    /// nothing.
    ///
    /// Returns whether the new secret is in force. The log reports the result.
    pub fn reload_secret(&self, file: &Path) -> bool {
        let Some(back) = &self.back else {
            return false;
        };
        match Secret::load(file) {
            Ok(secret) => {
                back.set_secret(secret);
                tracing::info!("the secret of the back ends read again");
                true
            }
            Err(error) => {
                tracing::error!(%error, "keeping the secret of the back ends that was read before");
                false
            }
        }
    }

    /// Reads the tokens of operators again, for requests that come from now on. A file that cannot be used
    /// changes nothing.
    ///
    /// Returns whether the new tokens are in force. The log and /metrics report the result.
    pub(crate) fn reload_admin_tokens(&self, file: &Path) -> bool {
        let metrics = &self.metrics.admin;
        match admin::read_tokens(file) {
            Ok(tokens) => {
                metrics.reloaded.one();
                tracing::info!(tokens = tokens.count(), "admin tokens read again");
                self.admin.admin.take_tokens(tokens);
                true
            }
            Err(error) => {
                metrics.reload_failed.one();
                tracing::error!(%error, "keeping the admin tokens that were read before");
                false
            }
        }
    }

    /// Counts an attempt to read the configuration file again.
    pub(crate) fn count_reload(&self, is_good: bool) {
        let metrics = &self.metrics.config;
        let counter = if is_good {
            &metrics.reloaded
        } else {
            &metrics.reload_failed
        };
        counter.one();
    }

    /// Returns the address of the control port, which serves HTTP.
    pub fn control(&self) -> SocketAddr {
        self.control.address()
    }

    /// Returns the address of the client API over HTTP; `None` without one.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Http::address)
    }

    /// Stops the gateway in order:
    ///
    /// 1. It takes no new connections.
    /// 2. It answers all commands that it has received.
    /// 3. It tells the clients to reconnect later.
    /// 4. It syncs the store.
    ///
    /// # Errors
    /// The store failed, now or while the gateway ran, or a thread failed. Acknowledged messages
    /// are safe. Find the reason before the next start.
    pub fn stop(self) -> anyhow::Result<()> {
        self.ready.store(false, Ordering::SeqCst);
        self.deciding.leave();
        self.admin.admin.close();
        if let Some(orders) = self.admin.orders {
            orders.stop()?;
        }
        let erasures = self.admin.erasures.end();
        if let Some(http) = self.http {
            http.stop();
        }
        let connections = self.metrics.connections();
        for mailbox in &self.mailboxes[..self.shards.len()] {
            mailbox.put_waiting(Mail::Drain { connections });
        }
        for shard in self.shards {
            join(shard)?.context("a shard's event loop failed")?;
        }
        // Clients do not wait for the disk or the bucket of an erasure.
        erasures.join();
        // The shards and the erasures held the last senders. These threads finish what is queued, and then
        // end.
        let synced = self.deciding.end()?;
        // After the last message is stored.
        self.followers.stop()?;
        if let Some(back) = self.back {
            back.stop();
        }
        end_readers(self.readers)?;
        self.backups.stop();
        self.control.stop();
        self.watch.stop();
        if let Some(watch) = self.tls_watch {
            watch.stop();
        }
        drop((self.store, self.backups));
        synced.map_err(|error| {
            let what = if error.is_final() {
                "the store failed; messages that were acknowledged before that are safe"
            } else {
                "the store could not be closed in order"
            };
            anyhow::Error::new(error).context(what)
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Reads the keys of tokens; `None` if clients name themselves without tokens.
fn authority(config: &Config) -> anyhow::Result<Option<Arc<Authority>>> {
    let tokens = config.auth.tokens();
    let authority = tokens.map(|tokens| Authority::load(tokens, config.limits.of_a_token()));
    Ok(authority.transpose()?.map(Arc::new))
}

/// Which tokens are revoked.
struct Revoked {
    /// Those of this gateway; `None` without keys for tokens.
    here: Option<Arc<Revocations>>,
    /// What a node of a cluster shares with the others.
    among: Option<AmongNodes>,
}

impl Revoked {
    /// Reads what is revoked, and takes what the cluster keeps of it. Clients may connect after that.
    fn find(
        config: &Config,
        store: &Reader,
        (authority, candidate): (Option<&Authority>, Option<&Candidate>),
    ) -> anyhow::Result<Self> {
        let here = admin::revocations(config, store, authority)?;
        let among = AmongNodes::join(candidate, here.as_ref())?;
        Ok(Self { here, among })
    }
}

/// Makes the admin API, and starts the thread of the erasures. `owners` are the mailboxes of those who have
/// sessions: the shards, and the client API if it has started.
fn make_admin(
    serving: &Serving<'_>,
    shown: &control::Shown,
    Revoked { here, among }: Revoked,
    owners: &[Arc<Mailbox>],
) -> anyhow::Result<admin::Served> {
    let (metrics, ready) = (Arc::clone(&shown.metrics), Arc::clone(&shown.ready));
    let bell = Arc::<Bell>::default();
    let of_cluster = among.as_ref().map(AmongNodes::erasures);
    let erasures = admin::start_erasures(serving, (here.clone(), of_cluster), &bell)?;
    let program = Program {
        stats: Arc::new(Stats::new(metrics, serving.store.clone(), ready)),
        revoked: here,
        among,
        backups: Arc::clone(&shown.backups),
        exports: Exports::new(serving),
        store: serving.store.clone(),
        bell,
        node: shown.metrics.node.get().cloned(),
    };
    admin::of(serving, program, owners, erasures)
}

/// Raises the limits of the process as far as the gateway needs, and logs what they allow.
///
/// # Errors
/// The gateway cannot work within the limits.
fn fit_limits(config: &Config) -> anyhow::Result<descriptors::Tables> {
    let control = config.control_limits.connections;
    let http = config.http_limits.server.connections;
    let http = config.http.map_or(0, |_| http::quarter(http));
    let own = descriptors::own_need(config.shards, control, &config.data);
    let back_ends = config.callbacks.descriptors() + config.webhooks.descriptors();
    let search = if config.search {
        search::DESCRIPTORS
    } else {
        0
    };
    let own = own + back_ends + config.media.descriptors() + search;
    let mut tables = descriptors::plan(config.max_connections, own + http as u64)?;
    if tables.private {
        // The client API is in another table than the shards.
        let apart = descriptors::plan(config.max_connections, own)?;
        tables = descriptors::Tables {
            private: true,
            ..apart
        };
    }
    report(config, &tables);
    file_sizes::check(config)?;
    Ok(tables)
}

fn watch_certificate(tls: Option<&Arc<Acceptor>>) -> anyhow::Result<Option<TlsWatch>> {
    let watch = tls.map(|tls| TlsWatch::start(Arc::clone(tls))).transpose();
    watch.context("cannot start the thread that watches the certificate")
}

/// Logs how many connections the descriptor limit allows.
fn report(config: &Config, tables: &descriptors::Tables) {
    let room = if tables.private {
        tables.per_shard * config.shards
    } else {
        tables.per_shard
    };
    let is_short = room < config.max_connections;
    let text = match (tables.private, is_short) {
        (false, false) => return,
        (true, false) => {
            "max_connections is over the descriptor limit: each shard has a descriptor table of its own"
        }
        (_, true) => {
            "the descriptor limit allows fewer connections than max_connections, also if each shard has a descriptor table of its own: raise the limit (ulimit -Hn) or the number of shards"
        }
    };
    let (limit, shards, set_aside) = (tables.limit, config.shards, tables.reserved);
    let max_connections = config.max_connections;
    // Nobody who tries a gateway asked for as many connections as the default allows.
    if is_short && config.max_connections_is_given {
        tracing::warn!(room, max_connections, limit, shards, set_aside, "{text}");
    } else {
        tracing::info!(room, max_connections, limit, shards, set_aside, "{text}");
    }
}

/// What shards need besides the parts that they share with the client API.
struct Place<'a> {
    mailboxes: &'a [Arc<Mailbox>],
    /// The address to listen on.
    listen: SocketAddr,
    /// The number of connections of one shard at most.
    room: usize,
    limits: &'a Arc<Limits>,
}

/// Gives the shards their parts. They listen once this returns.
fn grow_shards(
    seeds: Vec<Seed>,
    serving: &Serving<'_>,
    place: &Place<'_>,
) -> anyhow::Result<Vec<JoinHandle<std::io::Result<()>>>> {
    let parts = |index: usize| Parts {
        index,
        shards: serving.config.shards,
        mailbox: Arc::clone(&place.mailboxes[index]),
        listen: place.listen,
        tls: serving.tls.cloned(),
        authority: serving.authority.cloned(),
        is_development: serving.config.auth.is_development(),
        back_ends: serving.back_ends(),
        room: place.room,
        shared: serving.shared.clone(),
        limits: Arc::clone(place.limits),
        ids: Ids(serving.store.key()),
        epochs: serving.store.epochs().clone(),
        directory: Arc::clone(serving.directory),
        hub: Arc::clone(serving.hub),
        metrics: Arc::clone(&serving.metrics.shards[index]),
        sequencer: serving.sequencer.clone(),
        readers: serving.readers.clone(),
    };
    let seeds = seeds.into_iter().enumerate();
    seeds.map(|(index, seed)| seed.grow(parts(index))).collect()
}

/// Returns the hub of the shards that own these mailboxes.
fn make_hub(config: &Config, directory: &Arc<Directory>, mailboxes: &[Arc<Mailbox>]) -> Arc<Hub> {
    let directory = Arc::clone(directory);
    let mailboxes = mailboxes.to_vec();
    Arc::new(Hub::new(
        &config.hub,
        config.max_connections,
        directory,
        mailboxes,
    ))
}

/// Returns the counters of a gateway.
fn make_metrics(
    config: &Config,
    tables: &descriptors::Tables,
    acceptor: Option<&Arc<Acceptor>>,
    back: Option<&Back>,
    watch: &StoreWatch,
) -> Metrics {
    Metrics::new(Measured {
        shards: config.shards,
        tables,
        acceptor: acceptor.map(Arc::clone),
        back,
        free: watch.free(),
    })
}

/// Returns what takes TLS connections; `None` without a certificate.
fn acceptor(config: &Config) -> anyhow::Result<Option<Arc<Acceptor>>> {
    let acceptor = config.tls.as_ref().map(Acceptor::load).transpose()?;
    Ok(acceptor.map(Arc::new))
}
