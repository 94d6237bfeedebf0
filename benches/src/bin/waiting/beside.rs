//! The load beside the messages: waiting clients, a back end that hangs, and metrics that are
//! read each second.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use trunkline_benches::peer::Peer;
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::held::{Held, Kind};

/// The clients that ask the back end that hangs.
const ASKING: usize = 16;

/// The most time until all connections wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time in which the memory of the gateway settles.
const SETTLE: Duration = Duration::from_secs(2);

/// The number of waiting clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) polls: usize,
    pub(crate) streams: usize,
}

/// The resident memory of the gateway for each waiting client, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) poll: f64,
    pub(crate) stream: f64,
}

/// What is beside the messages, until it is closed.
pub(crate) struct Beside {
    held: Vec<Held>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
    pub(crate) memory: Memory,
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
    /// Lets everybody wait, and begins to ask and to read metrics.
    ///
    /// # Errors
    /// The gateway does not let as many wait.
    pub(crate) fn begin(gateway: &Peer, counts: Counts) -> anyhow::Result<Self> {
        let (http, server) = (gateway.http()?, gateway.address);
        let before = gateway.resident()? as f64;
        let polls = Held::open(http, Kind::Polls(now(http)?), counts.polls);
        wait(gateway, "trunkline_http_waiting", counts.polls)?;
        let with_polls = gateway.resident()? as f64;
        let streams = Held::open(http, Kind::Streams, counts.streams);
        wait(gateway, "trunkline_http_streams", counts.streams)?;
        let with_all = gateway.resident()? as f64;
        let over = Arc::<AtomicBool>::default();
        let mut threads: Vec<_> = (0..ASKING)
            .map(|number| {
                let over = Arc::clone(&over);
                std::thread::spawn(move || ask(server, number, &over))
            })
            .collect();
        let (control, told) = (gateway.control()?, Arc::clone(&over));
        threads.push(std::thread::spawn(move || read_metrics(control, &told)));
        Ok(Self {
            held: vec![polls, streams],
            over,
            threads,
            memory: Memory {
                poll: (with_polls - before) / counts.polls.max(1) as f64,
                stream: (with_all - with_polls) / counts.streams.max(1) as f64,
            },
        })
    }

    /// Ends all of it, and checks that everybody waited until now.
    ///
    /// # Errors
    /// Somebody did not wait, or could not ask.
    pub(crate) fn end(self, gateway: &Peer, counts: Counts) -> anyhow::Result<()> {
        // Some are between two requests.
        let is_enough = |waiting: f64, count: usize| waiting >= count as f64 * 0.98;
        let polls = gateway.metric("trunkline_http_waiting")?;
        let streams = gateway.metric("trunkline_http_streams")?;
        if !is_enough(polls, counts.polls) || !is_enough(streams, counts.streams) {
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
        wait(gateway, "trunkline_http_connections", 0)
    }
}

/// Waits until a number of the gateway's metrics is what it should be, and then for its memory to settle.
fn wait(gateway: &Peer, name: &str, count: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let found = gateway.metric(name)?;
        if found == count as f64 {
            break;
        }
        if start.elapsed() > PATIENCE {
            bail!("{name} is {found} after {PATIENCE:?}, and not {count}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(SETTLE);
    Ok(())
}

/// Returns the position after the last event.
fn now(http: SocketAddr) -> anyhow::Result<String> {
    use std::io::Write;
    let mut stream = TcpStream::connect(http)?;
    let request = format!(
        "GET /api/v1/rtm.receive?lastPos=now HTTP/1.1\r\nHost: {http}\r\nX-Trunkline-User: poll0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let pos = answer
        .split_once("\"lastPos\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (pos, _) = pos.with_context(|| format!("no position in {answer:?}"))?;
    Ok(pos.to_owned())
}

/// Asks the back end that hangs again and again. The gateway answers with an error in time.
fn ask(server: SocketAddr, number: usize, over: &AtomicBool) -> anyhow::Result<()> {
    let hello = json!({"user": format!("asking{number}"), "device": "d"});
    let mut talk = Talk::greet(server, Ipv4Addr::new(127, 0, 2, 1), &hello)?;
    let question = json!({"method": "hang", "data": number});
    while !over.load(SeqCst) {
        let answer = talk.answer("rpc", &question)?;
        if answer["error"]["code"] != 120 {
            bail!("the back end hangs, and the gateway answers {answer}");
        }
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
