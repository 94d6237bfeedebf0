//! The load beside the messages: waiting clients, a back end that hangs, and metrics that are
//! read each second.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;
use trunkline_benches::peer::Peer;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::held::{Held, Kind};
use crate::measure::Got;
use crate::sample;

/// The most time until all connections wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// The part of the clients after which the memory is read first. What the gateway needs to let clients in is
/// there then, and does not count for each.
const FIRST: usize = 10;

/// The time in which a server and its memory settle.
const SETTLE: Duration = Duration::from_secs(1);

/// What is beside the messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Polls that wait.
    pub(crate) polls: usize,
    /// Streams of events.
    pub(crate) streams: usize,
    /// Clients that ask the back end that hangs.
    pub(crate) asking: usize,
    /// Whether the metrics are read each second.
    pub(crate) reads_metrics: bool,
}

impl Load {
    /// Returns each part of this load by itself, with its name.
    pub(crate) fn parts(self) -> Vec<(&'static str, Self)> {
        let none = Self {
            polls: 0,
            streams: 0,
            asking: 0,
            reads_metrics: false,
        };
        let (polls, streams, asking) = (self.polls, self.streams, self.asking);
        let parts = [
            ("polls", Self { polls, ..none }),
            ("streams", Self { streams, ..none }),
            ("asking", Self { asking, ..none }),
            (
                "metrics",
                Self {
                    reads_metrics: self.reads_metrics,
                    ..none
                },
            ),
        ];
        let is_something =
            |load: &Self| load.polls + load.streams + load.asking > 0 || load.reads_metrics;
        let parts = parts.into_iter().filter(|(_, load)| is_something(load));
        parts.collect()
    }
}

/// The resident memory of the gateway for each waiting client, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) poll: f64,
    pub(crate) stream: f64,
}

/// What is beside the messages, until it is closed.
pub(crate) struct Beside {
    load: Load,
    held: Vec<Held>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
    answers: Arc<AtomicU64>,
    /// `None`: it was not measured.
    pub(crate) memory: Option<Memory>,
}

/// Starts a back end that takes questions and never answers. It hangs until the process ends.
pub(crate) fn hanging() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let mut all: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming().flatten() {
            // Those that the gateway has given up are closed.
            all.retain(|stream| {
                let _ = stream.set_nonblocking(true);
                !matches!((&*stream).read(&mut [0; 4_096]), Ok(0))
            });
            all.push(stream);
        }
    });
    Ok(address)
}

impl Beside {
    /// Opens all polls and streams at a server, and begins to ask its back end and to read its metrics. With `weighs`,
    /// measures the server's memory for each poll and stream, which takes some seconds more.
    ///
    /// # Errors
    /// The server does not let as many wait.
    pub(crate) fn begin(server: &Peer, load: Load, weighs: bool) -> anyhow::Result<Self> {
        let http = server.http()?;
        let mut held = Vec::new();
        let polls = Kind::Polls(sample::now(http)?);
        let mut open = |kind: Kind, name: &str, count: usize| {
            let first = if weighs { count / FIRST } else { 0 };
            let mut before = 0.0;
            if weighs {
                held.push(Held::open(http, kind.clone(), 0..first));
                wait(server, name, first)?;
                std::thread::sleep(SETTLE);
                before = server.resident()? as f64;
            }
            held.push(Held::open(http, kind, first..count));
            wait(server, name, count)?;
            if !weighs {
                return Ok(0.0);
            }
            std::thread::sleep(SETTLE);
            let grown = server.resident()? as f64 - before;
            anyhow::Ok(grown / (count - first).max(1) as f64)
        };
        let memory = Memory {
            poll: open(polls, "trunkline_http_waiting", load.polls)?,
            stream: open(Kind::Streams, "trunkline_http_streams", load.streams)?,
        };
        std::thread::sleep(SETTLE);
        let over = Arc::<AtomicBool>::default();
        let answers = Arc::<AtomicU64>::default();
        let mut threads: Vec<_> = (0..load.asking)
            .map(|number| {
                let over = Arc::clone(&over);
                let (address, answers) = (server.address, Arc::clone(&answers));
                std::thread::spawn(move || ask(address, number, (&over, &answers)))
            })
            .collect();
        let (control, told) = (server.control()?, Arc::clone(&over));
        if load.reads_metrics {
            threads.push(std::thread::spawn(move || read_metrics(control, &told)));
        }
        Ok(Self {
            load,
            held,
            over,
            threads,
            answers,
            memory: weighs.then_some(memory),
        })
    }

    /// Returns what all polls and streams have received so far.
    pub(crate) fn got(&self) -> Got {
        Got {
            ends: self.held.iter().map(Held::ends).sum::<u64>() as f64,
            answers: self.answers.load(Relaxed) as f64,
        }
    }

    /// Ends all of it, and checks that everybody waited until now.
    ///
    /// # Errors
    /// Somebody did not wait, or could not ask.
    pub(crate) fn end(self, server: &Peer) -> anyhow::Result<()> {
        // Some are between two requests.
        let is_enough = |waiting: f64, count: usize| waiting >= count as f64 * 0.98;
        let polls = server.metric("trunkline_http_waiting")?;
        let streams = server.metric("trunkline_http_streams")?;
        if !is_enough(polls, self.load.polls) || !is_enough(streams, self.load.streams) {
            bail!("at the end only {polls} polls and {streams} streams wait");
        }
        self.over.store(true, SeqCst);
        for thread in self.threads {
            match thread.join() {
                Ok(ran) => ran?,
                Err(_) => bail!("a thread panicked"),
            }
        }
        self.held.into_iter().try_for_each(Held::close)?;
        wait(server, "trunkline_http_connections", 0)
    }
}

/// Waits until a number of a server's metrics is what it should be.
fn wait(server: &Peer, name: &str, count: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let found = server.metric(name)?;
        if found == count as f64 {
            break;
        }
        if start.elapsed() > PATIENCE {
            bail!("{name} is {found} after {PATIENCE:?}, and not {count}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Asks the back end that hangs again and again. The gateway answers with an error: in time, or at once while it lets
/// the back end rest because it has failed.
fn ask(
    server: SocketAddr,
    number: usize,
    (over, answers): (&AtomicBool, &AtomicU64),
) -> anyhow::Result<()> {
    let hello = json!({"user": format!("asking{number}"), "device": "d"});
    let mut talk = Talk::greet(server, Ipv4Addr::new(127, 0, 2, 1), &hello)?;
    let question = json!({"method": "hang", "data": number});
    while !over.load(SeqCst) {
        let answer = talk.answer("rpc", &question)?;
        if answer["error"]["code"] != 120 {
            bail!("the back end hangs, and the gateway answers {answer}");
        }
        answers.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn read_metrics(control: SocketAddr, over: &AtomicBool) -> anyhow::Result<()> {
    while !over.load(SeqCst) {
        scrape::text(control)?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
