//! Back ends: programs of the operator that the gateway asks by HTTP (`docs/back-ends.md`).
//!
//! All requests run on a thread of their own, so that no shard and no request of the client API waits
//! for a back end. Every back end has its own room, connections and rest after failures: one that hangs
//! delays nobody who does not ask it.

mod breaker;
mod failed;
mod form;
mod metrics;
mod said;
mod secret;
mod target;
mod url;
mod webhooks;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use futures_util::future::OptionFuture;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use trunkline_core::exchange::{
    BackEnds, BackJob, BackKind, BackQuestion, BackUser, Deliver, Judged, SendTurn, Verdict,
};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::ErrorReply;

use self::failed::Failed;
use self::target::{Asker, NotAsked, Room, Target};

pub use self::failed::ANSWER_BYTES;
pub use self::form::Longest;
pub use self::metrics::{ANSWER_BOUNDS_MS, AnswerTimes, BackMetrics, KindNumbers};
pub use self::secret::Secret;
pub use self::target::{AT_ONCE, SHARES, WAITING, WAITING_BYTES};
pub use self::url::{BackUrl, URL_WORDS};
pub use self::webhooks::{
    FEW_REFUSED, HELD_SENDERS, HookCluster, Hooks, HooksParts, PER_RECIPIENT, REFUSED,
    TOLD_AT_ONCE, Told, Unreadable, WAITING_HOOKS, WebhookMetrics, Webhooks, Worker,
};
use crate::dial::KEPT;
pub use crate::dial::Trust;
use crate::turns::Turn;

/// The time after which a verdict is delivered again that found no room.
const AGAIN: Duration = Duration::from_millis(1);

/// The time after which a client may try again that found too many questions waiting, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// What happens to what a back end is asked about when it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The command fails with a temporary error.
    #[default]
    Deny,
    /// The command goes on as without a back end.
    Allow,
}

/// Which back ends are asked, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Callbacks {
    /// Asked before a session opens.
    pub connect: Option<BackUrl>,
    /// Asked before a message is stored.
    pub send: Option<BackUrl>,
    /// Asked before a subscription begins.
    pub subscribe: Option<BackUrl>,
    /// The back ends of `rpc`, each with the beginning of the methods that it answers.
    pub rpc: Vec<(String, BackUrl)>,
    /// The file with the certificates that vouch for back ends with `https://` addresses. `None`: those of
    /// the system.
    pub ca_file: Option<PathBuf>,
    /// The time for an answer.
    pub timeout: Duration,
    /// What happens without an answer.
    pub on_failure: OnFailure,
}

impl Callbacks {
    /// Returns whether no back end is asked about anything.
    pub fn is_empty(&self) -> bool {
        self.connect.is_none()
            && self.send.is_none()
            && self.subscribe.is_none()
            && self.rpc.is_empty()
    }

    /// Reads the certificates that vouch for these back ends and for those of webhooks; `None` if none
    /// speaks TLS.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn trust(&self, hooks: &Hooks) -> Result<Option<Trust>, String> {
        let single = [
            &self.connect,
            &self.send,
            &self.subscribe,
            &hooks.offline,
            &hooks.presence,
        ];
        let mut all = single
            .into_iter()
            .flatten()
            .chain(self.rpc.iter().map(|(_, url)| url));
        let has_tls = all.any(BackUrl::has_tls);
        has_tls
            .then(|| Trust::load(self.ca_file.as_deref(), "ca_file in the table [callbacks]"))
            .transpose()
    }

    /// Returns the number of back ends.
    fn count(&self) -> usize {
        let single = [&self.connect, &self.send, &self.subscribe];
        single.into_iter().flatten().count() + self.rpc.len()
    }

    /// Returns the number of descriptors that connections to the back ends take at most.
    pub fn descriptors(&self) -> u64 {
        // Those in use, and those that are kept.
        (self.count() * (AT_ONCE + KEPT)) as u64
    }
}

/// The back ends that answer questions.
struct Targets {
    connect: Option<Arc<Target>>,
    send: Option<Arc<Target>>,
    subscribe: Option<Arc<Target>>,
    /// By the beginning of the method, the longest first.
    rpc: Vec<(String, Arc<Target>)>,
}

/// What every request needs.
struct Shared {
    secret: RwLock<Secret>,
    timeout: Duration,
    on_failure: OnFailure,
    most: Longest,
    metrics: Arc<BackMetrics>,
    /// Makes numbers of those who ask.
    askers: RandomState,
}

/// Asks back ends. Clones ask the same ones.
#[derive(Clone)]
pub struct Asking {
    targets: Arc<Targets>,
    shared: Arc<Shared>,
    runtime: Handle,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking(…)")
    }
}

/// The thread that asks back ends.
pub struct Back {
    asking: Asking,
    trust: Option<Trust>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Back {
    /// Starts the thread, which calls `calm` first: it lowers its priority. `most` limits the answers.
    ///
    /// Call this before any thread has a descriptor table of its own: who asks wakes the thread by a
    /// descriptor.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        callbacks: &Callbacks,
        secret: Secret,
        trust: Option<Trust>,
        (most, calm): (Longest, fn()),
    ) -> std::io::Result<Self> {
        let metrics = &Arc::<BackMetrics>::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Names of hosts are looked up on these, one at a time for each back end.
            .max_blocking_threads(callbacks.count() + Told::ALL.len())
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("back-ends".into())
            .spawn(move || {
                calm();
                // Also ends if the other end is dropped.
                drop(runtime.block_on(stopped));
                // Look-ups of names may hang: nobody waits for them.
                runtime.shutdown_background();
            })?;
        let target = |kind, url: &BackUrl| {
            let (trust, metrics) = (trust.clone(), Arc::clone(metrics));
            Arc::new(Target::new(kind, url.clone(), trust, metrics))
        };
        let one = |kind, url: &Option<BackUrl>| url.as_ref().map(|url| target(kind, url));
        let mut rpc: Vec<_> = callbacks
            .rpc
            .iter()
            .map(|(start, url)| (start.clone(), target(BackKind::Rpc, url)))
            .collect();
        rpc.sort_by_key(|(start, _)| std::cmp::Reverse(start.len()));
        let asking = Asking {
            targets: Arc::new(Targets {
                connect: one(BackKind::Connect, &callbacks.connect),
                send: one(BackKind::Send, &callbacks.send),
                subscribe: one(BackKind::Subscribe, &callbacks.subscribe),
                rpc,
            }),
            shared: Arc::new(Shared {
                secret: RwLock::new(secret),
                timeout: callbacks.timeout,
                on_failure: callbacks.on_failure,
                most,
                metrics: Arc::clone(metrics),
                askers: RandomState::new(),
            }),
            runtime: handle,
        };
        Ok(Self {
            asking,
            trust,
            stop,
            thread,
        })
    }

    /// Makes what tells back ends of missed messages and of presence; `None` if none is told of anything.
    /// Run the [`Worker`] on a thread of its own.
    ///
    /// # Errors
    /// The file with what waits cannot be read.
    pub fn webhooks(
        &self,
        hooks: &Hooks,
        parts: HooksParts,
    ) -> Result<Option<(Webhooks, Worker)>, Unreadable> {
        webhooks::make(self, hooks, parts)
    }

    /// Returns what asks the back ends.
    pub fn asking(&self) -> Asking {
        self.asking.clone()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> Arc<BackMetrics> {
        Arc::clone(&self.asking.shared.metrics)
    }

    /// Signs requests with another secret from now on.
    pub fn set_secret(&self, secret: Secret) {
        *self.asking.shared.secret.write() = secret;
    }

    /// Ends the thread. Questions on their way are refused.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the back ends panicked");
        }
    }
}

impl Asking {
    fn target(&self, question: &BackQuestion) -> Option<&Arc<Target>> {
        let targets = &*self.targets;
        match question {
            BackQuestion::Connect(_) => targets.connect.as_ref(),
            BackQuestion::Send { .. } | BackQuestion::Edit(_) => targets.send.as_ref(),
            BackQuestion::Subscribe(_) => targets.subscribe.as_ref(),
            BackQuestion::Rpc(rpc) => {
                let mut all = targets.rpc.iter();
                let found = all.find(|(start, _)| rpc.method.starts_with(&**start));
                found.map(|(_, target)| target)
            }
        }
    }
}

impl Asking {
    /// Returns who causes a question: nobody gets all of the room.
    fn asker(&self, job: &BackJob) -> Asker {
        let by = &self.shared.askers;
        match &job.question {
            // What a client says of its name is not known to be true yet.
            BackQuestion::Connect(caller) => by.hash_one(&caller.address),
            _ => by.hash_one((&job.user.namespace, &job.user.user)),
        }
    }
}

impl BackEnds for Asking {
    fn asks(&self, kind: BackKind) -> bool {
        match kind {
            BackKind::Connect => self.targets.connect.is_some(),
            BackKind::Send => self.targets.send.is_some(),
            BackKind::Subscribe => self.targets.subscribe.is_some(),
            BackKind::Rpc => !self.targets.rpc.is_empty(),
        }
    }

    fn timeout(&self) -> Duration {
        // First for the turn of the question, then for the answer.
        2 * self.shared.timeout
    }

    fn ask(&self, job: BackJob) -> Option<Judged> {
        let kind = job.question.kind();
        let Some(target) = self.target(&job.question) else {
            let text = "no back end answers this method: callbacks.rpc names none for it";
            return Some(Judged {
                question: job.question,
                verdict: Verdict::Refuse(ErrorReply::new(ErrorCode::UnknownCommand, text)),
                turn: SendTurn::default(),
            });
        };
        let asker = self.asker(&job);
        let mut passes = false;
        let room = match target.enter(asker, job.question.bytes()) {
            Ok(room) => room,
            Err(why) => {
                self.shared.metrics.turned_away(kind);
                let mut verdict = self.shared.without(kind, why);
                let is_message = matches!((kind, &verdict), (BackKind::Send, Verdict::Pass));
                // It would overtake those that the sender has on their way.
                passes = is_message && target.in_order.has(asker);
                let room = passes.then(|| target.pass(asker, job.question.bytes()));
                if let Some(Some(room)) = room {
                    room
                } else {
                    if passes {
                        verdict = Verdict::Refuse(too_many());
                    }
                    return Some(Judged {
                        verdict,
                        question: job.question,
                        turn: SendTurn::default(),
                    });
                }
            }
        };
        let pending = Pending {
            kind,
            rest: Some((job.question, job.deliver)),
            _room: room,
        };
        // Its place is behind all that came before it, whichever task runs first.
        let line = (kind == BackKind::Send).then(|| target.in_order.take(asker, 1));
        let line = OptionFuture::from(line);
        if passes {
            let passing = async move {
                let order = line.await;
                pending.deliver(Verdict::Pass, turn_of(order)).await;
            };
            self.runtime.spawn(passing);
            return None;
        }
        let request = Outgoing {
            body: Vec::new(),
            shared: Arc::clone(&self.shared),
            target: Arc::clone(target),
            asker,
        };
        self.runtime.spawn(request.run(job.user, pending, line));
        None
    }
}

impl Shared {
    /// Returns the verdict on a question that its back end was not asked.
    fn without(&self, kind: BackKind, why: NotAsked) -> Verdict {
        if kind != BackKind::Rpc && self.on_failure == OnFailure::Allow {
            return Verdict::Pass;
        }
        Verdict::Refuse(match why {
            NotAsked::Full => too_many(),
            NotAsked::Resting => fails(),
        })
    }

    /// Returns the verdict on a question that its back end did not answer.
    fn failed(&self, kind: BackKind, why: &Failed) -> Verdict {
        let allows = kind != BackKind::Rpc && self.on_failure == OnFailure::Allow;
        if allows && !why.may_refuse() {
            return Verdict::Pass;
        }
        Verdict::Refuse(fails())
    }
}

fn too_many() -> ErrorReply<'static> {
    let text = "too many questions to the back end wait: try again";
    ErrorReply::beyond("callbacks", RETRY_MS, text)
}

/// Returns the turn of a sender, which ends when the message is on its way into the store.
fn turn_of(order: Option<Turn<Asker>>) -> SendTurn {
    order.map_or_else(SendTurn::default, SendTurn::new)
}

fn fails() -> ErrorReply<'static> {
    let text = "the back end that has to be asked fails or does not answer: try again later";
    ErrorReply::new(ErrorCode::BackEndUnavailable, text)
}

/// A question that waits for its verdict. It gets one in any case.
struct Pending {
    kind: BackKind,
    rest: Option<(BackQuestion, Deliver)>,
    _room: Room,
}

impl Pending {
    /// Delivers a verdict. Who is to take it may be busy: then this task waits, and no other one.
    async fn deliver(mut self, verdict: Verdict, turn: SendTurn) {
        let Some((question, mut deliver)) = self.rest.take() else {
            return;
        };
        let mut judged = Judged {
            question,
            verdict,
            turn,
        };
        while let Err(back) = deliver(judged) {
            judged = *back;
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((question, mut deliver)) = self.rest.take() {
            let text = "the gateway is stopping: ask again later";
            let verdict = Verdict::Refuse(ErrorReply::new(ErrorCode::StorageUnavailable, text));
            let turn = SendTurn::default();
            let _ = deliver(Judged {
                question,
                verdict,
                turn,
            });
        }
    }
}

/// A request on its way.
struct Outgoing {
    body: Vec<u8>,
    shared: Arc<Shared>,
    target: Arc<Target>,
    asker: Asker,
}

impl Outgoing {
    /// Asks, and delivers the verdict. `line` is the place of a message behind the earlier ones of its sender.
    async fn run(
        mut self,
        user: BackUser,
        pending: Pending,
        line: impl Future<Output = Option<Turn<Asker>>>,
    ) {
        let kind = pending.kind;
        let target = Arc::clone(&self.target);
        let (mut line, mut order) = (pin!(line), None);
        let waited = tokio::time::timeout(self.shared.timeout, async {
            order = Some(line.as_mut().await);
            target.at_once.take(self.asker, 1).await
        });
        let turn = match waited.await {
            Ok(turn) if target.admits() => turn,
            waited => {
                // The back end has done nothing wrong if others take all turns.
                let why = match waited {
                    Ok(_) => NotAsked::Resting,
                    Err(_) => NotAsked::Full,
                };
                self.shared.metrics.turned_away(kind);
                let verdict = self.shared.without(kind, why);
                let order = match order {
                    Some(order) => order,
                    // Those before it are asked about, or pass, within their own time.
                    None if matches!(verdict, Verdict::Pass) => line.await,
                    None => None,
                };
                return pending.deliver(verdict, turn_of(order)).await;
            }
        };
        let began = Instant::now();
        let question = pending.rest.as_ref().map(|(question, _)| question);
        let asking = tokio::time::timeout(self.shared.timeout, self.ask(&user, question));
        let answer = asking.await.unwrap_or(Err(Failed::Late));
        drop(turn);
        let verdict = answer.and_then(|body| form::verdict(kind, &body, self.shared.most));
        let (metrics, time) = (&self.shared.metrics, began.elapsed());
        let verdict = match verdict {
            Ok(verdict) => {
                metrics.answered(kind, matches!(verdict, Verdict::Refuse(_)), time);
                self.target.succeeded();
                verdict
            }
            Err(why) => {
                metrics.failed(kind, time);
                self.target.failed(&why);
                self.shared.failed(kind, &why)
            }
        };
        pending.deliver(verdict, turn_of(order.flatten())).await;
    }

    /// Sends the request, and returns the body of the answer.
    async fn ask(
        &mut self,
        user: &BackUser,
        question: Option<&BackQuestion>,
    ) -> Result<bytes::Bytes, Failed> {
        // Not before its turn: waiting questions have no second copy.
        self.body = question.map_or_else(Vec::new, |question| form::body(user, question));
        let request = self.request()?;
        failed::post(&self.target.pool, request).await
    }

    /// Makes the signed request.
    fn request(&mut self) -> Result<Request<Body>, Failed> {
        let id = random_id()?;
        let body = std::mem::take(&mut self.body);
        let secret = self.shared.secret.read();
        signed(&secret, &self.target.url, &id, body)
    }
}

/// Returns an id that no other request has.
fn random_id() -> Result<String, Failed> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Failed::Broken("the system has no random numbers".to_owned()))?;
    Ok(id_of(u128::from_be_bytes(random)))
}

/// Returns the id of a request with this number.
fn id_of(number: u128) -> String {
    format!("msg_{number:032x}")
}

/// Returns a signed request.
fn signed(
    secret: &Secret,
    url: &BackUrl,
    id: &str,
    body: Vec<u8>,
) -> Result<Request<Body>, Failed> {
    let unsigned = |_| Failed::Broken("a request cannot be made".to_owned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    let signature = secret.sign(id, seconds, &body);
    Request::builder()
        .method(Method::POST)
        .uri(url.path())
        .header(header::HOST, url.authority())
        .header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )
        .header(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION"))),
        )
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signature)
        .body(Body::from(body))
        .map_err(unsigned)
}
