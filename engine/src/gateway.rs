//! A running gateway: its threads, and the order in which they start and stop.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use crossbeam::channel;
use mio::Poll;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Job, Mail, Mailbox, QUEUE, queue};
use trunkline_core::hub::Hub;
use trunkline_core::ids::Ids;
use trunkline_core::reader;
use trunkline_core::sequencer::{Departures, Sequencer, SequencerParts};
use trunkline_gateway::auth::{Authority, Tokens};
use trunkline_gateway::shard::{Parts, Shard, ShardWaker, Shared, descriptors, listener};
use trunkline_gateway::tls::{Acceptor, TlsFiles, TlsWatch};
use trunkline_storage::{
    CommitError, Durability as StoreDurability, Opened, Options, PositionsFound, Reader,
    RecoveryReport, Store,
};

use crate::config::{Config, Durability};
use crate::control::{self, Control};
use crate::file_sizes;
use crate::log;
use crate::metrics::Metrics;
use crate::store_watch::StoreWatch;

/// Threads that read the store.
const READERS: usize = 2;

/// How long stopping waits for what a reader is in the middle of.
const LAST_READ: std::time::Duration = std::time::Duration::from_secs(2);

/// A running gateway. Dropping it leaves its threads running: call [`Gateway::stop`].
pub struct Gateway {
    listen: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    authority: Option<Arc<Authority>>,
    metrics: Arc<Metrics>,
    control: Control,
    ready: Arc<AtomicBool>,
    mailboxes: Vec<Arc<Mailbox>>,
    shards: Vec<JoinHandle<std::io::Result<()>>>,
    sequencer: JoinHandle<Result<(), CommitError>>,
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
        let tls = config.tls.as_ref().map(Acceptor::load).transpose()?;
        let tls = tls.map(Arc::new);
        let authority = authority(config)?;
        let tables = fit_limits(config)?;
        let (mailboxes, seeds) = seed_shards(config.shards, tables.private)?;
        // Behind that, so that no shard's table has it too.
        let kept = listener::keep(config.listen)
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let listen = kept.address;

        let Opened {
            writer,
            reader: store,
            ..
        } = open_store(config)?;
        let watch = watch_store(config, &store)?;
        let tls_watch = watch_certificate(tls.as_ref())?;
        let metrics = Arc::new(Metrics::new(config.shards, tls.clone()));
        let directory = Arc::new(Directory::new(store.head()));
        let limits = Arc::new(config.limits.clone());
        let hub = make_hub(config, &directory, &mailboxes);
        let counters = Arc::clone(&metrics.sequencer);
        let departures = Departures::new(Arc::clone(&hub), &config.hub, Arc::clone(&counters));
        let (to_sequencer, commands) = queue();
        let (to_readers, jobs) = channel::bounded(QUEUE);
        let sequencer = Sequencer::new(SequencerParts {
            writer,
            store: store.clone(),
            conversation_cache: config.conversation_cache,
            rules: config.messaging,
            directory: Arc::clone(&directory),
            departures,
            mailboxes: mailboxes.clone(),
            metrics: counters,
        });
        let sequencer = spawn("sequencer", move || sequencer.run(&commands))?;
        let readers = spawn_readers(
            &store,
            &jobs,
            &mailboxes,
            config.limits.content.message_bytes,
        )?;
        let shared = Shared::new(&limits, config.max_connections);
        let ready = Arc::new(AtomicBool::new(false));
        let shown = control::Shown {
            ready: Arc::clone(&ready),
            metrics: Arc::clone(&metrics),
            store: store.clone(),
        };
        let control = control::start(config, shown)?;

        let parts = |index| Parts {
            index,
            shards: config.shards,
            mailbox: Arc::clone(&mailboxes[index]),
            listen,
            tls: tls.clone(),
            authority: authority.clone(),
            room: tables.per_shard,
            shared: shared.clone(),
            limits: Arc::clone(&limits),
            ids: Ids(store.key()),
            epochs: store.epochs().clone(),
            directory: Arc::clone(&directory),
            hub: Arc::clone(&hub),
            metrics: Arc::clone(&metrics.shards[index]),
            sequencer: to_sequencer.clone(),
            readers: to_readers.clone(),
        };
        let grown = seeds.into_iter().enumerate();
        let shards = grown
            .map(|(index, seed)| seed.grow(parts(index)))
            .collect::<anyhow::Result<_>>()?;
        drop(kept);
        ready.store(true, Ordering::SeqCst);
        tracing::info!(%listen, control = %control.address(), data = %config.data.display(), "ready");
        Ok(Self {
            listen,
            tls,
            authority,
            metrics,
            control,
            ready,
            mailboxes,
            shards,
            sequencer,
            readers,
            store,
            watch,
            tls_watch,
        })
    }

    /// Where WebSockets connect.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether they connect with TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the keys of tokens again, for tokens that come from now on. Sessions live on. A file
    /// that cannot be used changes nothing. Says which in the log and in /metrics, and whether the
    /// keys are in force. A gateway that was started without tokens stays without them.
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
    /// live on. A file that cannot be used changes nothing. Says which in the log and in /metrics, and
    /// whether the certificate is in force. A gateway that was started without TLS stays without it.
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

    /// Counts a reading of the configuration file.
    pub(crate) fn count_reload(&self, is_good: bool) {
        let metrics = &self.metrics.config;
        let counter = if is_good {
            &metrics.reloaded
        } else {
            &metrics.reload_failed
        };
        counter.one();
    }

    /// Where HTTP is served.
    pub fn control(&self) -> SocketAddr {
        self.control.address()
    }

    /// Stops: no new connections, what is in flight is answered, clients are told to reconnect
    /// later, the store is synced.
    ///
    /// # Errors
    /// The store failed while the gateway ran or now: what was acknowledged is safe, the reason
    /// should be looked at before the next start. Or a thread failed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.ready.store(false, Ordering::SeqCst);
        let connections = self.metrics.connections();
        for mailbox in &self.mailboxes {
            mailbox.put_waiting(Mail::Drain { connections });
        }
        for shard in self.shards {
            join(shard)?.context("a shard's event loop failed")?;
        }
        // With the shards went the last senders: what is queued is finished, then these end.
        let synced = join(self.sequencer)?;
        end_readers(self.readers)?;
        self.control.stop();
        self.watch.stop();
        if let Some(watch) = self.tls_watch {
            watch.stop();
        }
        drop(self.store);
        synced.map_err(|error| {
            let what = if error.is_final() {
                "the store failed; what was acknowledged before that is safe"
            } else {
                "the store could not be closed in order"
            };
            anyhow::Error::new(error).context(what)
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// A shard's thread that waits for what the shard is made of.
struct Seed {
    index: usize,
    parts: channel::Sender<Parts>,
    told: channel::Receiver<std::io::Result<()>>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// Makes the event loops, and the threads with the descriptor tables they are to have.
fn seed_shards(
    shards: usize,
    private_tables: bool,
) -> anyhow::Result<(Vec<Arc<Mailbox>>, Vec<Seed>)> {
    // All of them before the first table is unshared: see `descriptors::unshare_table`.
    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..shards {
        let poll = Poll::new().context("cannot make an event loop")?;
        let waker = ShardWaker::new(&poll).context("cannot make a waker")?;
        mailboxes.push(Arc::new(Mailbox::new(Box::new(waker))));
        polls.push(poll);
    }
    let mut seeds = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let (give, parts) = channel::bounded(1);
        let (tell, told) = channel::bounded(1);
        let thread = spawn(&format!("shard-{index}"), move || {
            run_shard(poll, private_tables, &parts, &tell)
        })?;
        seeds.push(Seed {
            index,
            parts: give,
            told,
            thread,
        });
    }
    for seed in &seeds {
        seed.hear()
            .context("cannot give the shards descriptor tables of their own")?;
    }
    Ok((mailboxes, seeds))
}

/// The life of a shard's thread: its descriptor table, its listener, its loop.
fn run_shard(
    poll: Poll,
    private_table: bool,
    parts: &channel::Receiver<Parts>,
    tell: &channel::Sender<std::io::Result<()>>,
) -> std::io::Result<()> {
    let table = if private_table {
        descriptors::unshare_table()
    } else {
        Ok(())
    };
    let _ = tell.send(table);
    // Without parts the gateway does not start after all.
    let Ok(parts) = parts.recv() else {
        return Ok(());
    };
    let shard = match Shard::open(poll, parts) {
        Ok(shard) => shard,
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    let _ = tell.send(Ok(()));
    shard.run().inspect_err(|error| {
        // Its clients are lost, and nobody else can serve them.
        tracing::error!(%error, "a shard's event loop failed: ending the process");
        log::abort();
    })
}

impl Seed {
    fn hear(&self) -> anyhow::Result<()> {
        let told = self.told.recv();
        Ok(told.with_context(|| format!("shard {} ended while it started", self.index))??)
    }

    /// Makes the shard; once this returns it listens.
    fn grow(self, parts: Parts) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
        let listen = parts.listen;
        // A thread that is gone is reported by `hear`.
        let _ = self.parts.send(parts);
        self.hear()
            .with_context(|| format!("cannot listen on {listen}"))?;
        Ok(self.thread)
    }
}

/// Reads the keys of tokens, where tokens say who clients are.
fn authority(config: &Config) -> anyhow::Result<Option<Arc<Authority>>> {
    let tokens = config.auth.tokens();
    let authority = tokens.map(|tokens| Authority::load(tokens, config.limits.of_a_token()));
    Ok(authority.transpose()?.map(Arc::new))
}

/// Sees to it that the process's limits let the gateway work, and says what they leave.
///
/// # Errors
/// They do not let it work.
fn fit_limits(config: &Config) -> anyhow::Result<descriptors::Tables> {
    let control = config.control_limits.connections;
    let own = descriptors::own_need(config.shards, control, &config.data);
    let tables = descriptors::plan(config.max_connections, own)?;
    report(config, &tables);
    file_sizes::check(config)?;
    Ok(tables)
}

fn watch_certificate(tls: Option<&Arc<Acceptor>>) -> anyhow::Result<Option<TlsWatch>> {
    let watch = tls.map(|tls| TlsWatch::start(Arc::clone(tls))).transpose();
    watch.context("cannot start the thread that watches the certificate")
}

fn watch_store(config: &Config, store: &Reader) -> anyhow::Result<StoreWatch> {
    let reserve = config.store_reserve as u64;
    StoreWatch::start(store.clone(), config.data.clone(), reserve)
        .context("cannot start the thread that watches the store")
}

/// Says how the connections are to fit.
fn report(config: &Config, tables: &descriptors::Tables) {
    let room = if tables.private {
        tables.per_shard * config.shards
    } else {
        tables.per_shard
    };
    if tables.private {
        tracing::info!(
            limit = tables.limit,
            shards = config.shards,
            room,
            set_aside = tables.reserved,
            "max_connections is over the descriptor limit: each shard has a descriptor table of its own"
        );
    }
    if room < config.max_connections {
        tracing::warn!(
            room,
            max_connections = config.max_connections,
            limit = tables.limit,
            set_aside = tables.reserved,
            "descriptors run out first: raise the limit (ulimit -Hn) or the shards"
        );
    }
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

fn spawn_readers(
    store: &Reader,
    jobs: &channel::Receiver<Job>,
    mailboxes: &[Arc<Mailbox>],
    message_bytes: usize,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let one = |i| {
        let (store, jobs, mailboxes) = (store.clone(), jobs.clone(), mailboxes.to_vec());
        spawn(&format!("reader-{i}"), move || {
            reader::run(&store, &jobs, &mailboxes, message_bytes)
        })
    };
    (0..READERS).map(one).collect()
}

/// Waits for the readers, who drop what is in their queue now that nobody waits for it. One that is
/// in the middle of a long answer is left to the end of the process: it changes nothing.
fn end_readers(readers: Vec<JoinHandle<()>>) -> anyhow::Result<()> {
    let until = Instant::now() + LAST_READ;
    for reader in readers {
        while !reader.is_finished() && Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if reader.is_finished() {
            join(reader)?;
        } else {
            tracing::warn!("a reader is still at work for a client that is gone: not waiting");
        }
    }
    Ok(())
}

fn open_store(config: &Config) -> anyhow::Result<Opened> {
    let options = Options {
        durability: match config.durability {
            Durability::Sync => StoreDurability::Sync,
            Durability::Interval(every) => StoreDurability::Interval(every),
            Durability::Os => StoreDurability::Os,
        },
        runs: true,
        sync_life: config.sync_life,
        key_life: Some(config.idempotency_window),
        message_life: config.message_life,
        cache_bytes: config.store_cache,
        segment_bytes: config.segment_bytes as u64,
        reserve_bytes: config.store_reserve as u64,
        max_record_bytes: config.max_record_bytes(),
        ..Options::default()
    };
    // What the gateway knows is in the store: nothing has to be replayed.
    let opened =
        Store::open(&config.data, options, &mut |_| ()).context("cannot open the store")?;
    report_store(&config.data, &opened.report);
    report_positions(&config.data, &opened.report);
    Ok(opened)
}

/// Says what opening the store found, and who may look at it.
fn report_store(data: &Path, report: &RecoveryReport) {
    tracing::info!(
        created = report.created,
        records = report.records,
        bytes = report.bytes,
        took_ms = report.duration.as_millis() as u64,
        "store open"
    );
    if let Some(torn) = &report.torn {
        let copies: Vec<_> = torn
            .copies
            .iter()
            .map(|c| c.display().to_string())
            .collect();
        tracing::warn!(
            position = torn.position.0,
            bytes = torn.bytes,
            copies = %copies.join(", "),
            copies_incomplete = torn.copies_incomplete,
            "the log had an unfinished end, which nobody was told is stored: cut off"
        );
    }
    let mode = std::fs::metadata(data).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            data = %data.display(),
            mode = format_args!("{:04o}", mode & 0o7777),
            "other users of this machine may look at the data folder, where messages are plain \
             text: `chmod -R go= ` it unless that is wanted"
        );
    }
}

/// Says what became of positions that clients keep, where it is not what they expect.
fn report_positions(data: &Path, report: &RecoveryReport) {
    let file = data.join("epochs");
    let file = file.display();
    match report.positions {
        PositionsFound::Kept => {}
        PositionsFound::None if report.created => {}
        PositionsFound::None => tracing::warn!(
            "positions that were given out before this start are refused with 112: the store is of \
             an earlier version, was repaired with a loss, or {file} was removed"
        ),
        PositionsFound::Damaged => tracing::warn!(
            "positions that were given out before this start are refused with 112: {file} was \
             damaged and is made again"
        ),
    }
    if !report.positions_stored {
        tracing::warn!(
            "{file} cannot be written: the disk is full. Positions that are given out from now on \
             are refused after the next start: free some space and restart"
        );
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread {name} panicked"))
}
