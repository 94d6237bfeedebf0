//! A crowd that listens, and counts what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::bail;
use trunkline_benches::crowd::{Crowd, Kind};

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

/// How long all may take to be told something.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much less those who listen are worth to the scheduler (nice(2)).
const NICE: i32 = 10;

/// What a crowd was told so far, and whether it may go.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    messages: AtomicU64,
    over: AtomicBool,
}

/// Connects so many users, each of whom says this once and is answered.
pub(crate) fn open(
    server: SocketAddr,
    (name, size): (&'static str, usize),
    command: &str,
) -> anyhow::Result<Crowd> {
    let mut crowd = Crowd::new(server, Kind::Sessions(name), size)?;
    crowd.open(AT_ONCE)?;
    crowd.say(command)?;
    let (began, mut answers) = (Instant::now(), 0);
    while answers < size as u64 {
        if began.elapsed() > PATIENCE {
            bail!("{answers} of {size} were answered");
        }
        answers += crowd.turn(Duration::from_millis(20))?;
    }
    Ok(crowd)
}

/// Listens until it is [`over`](Heard::over).
pub(crate) fn listen(crowd: &mut Crowd, heard: &Heard) -> anyhow::Result<()> {
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE)?;
    while !heard.over.load(SeqCst) {
        let told = crowd.turn(Duration::from_millis(20))?;
        heard.messages.fetch_add(told, SeqCst);
    }
    Ok(())
}

impl Heard {
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(SeqCst)
    }

    pub(crate) fn over(&self) {
        self.over.store(true, SeqCst);
    }

    /// Waits until so much was heard, or nothing more for so long; how much it was.
    pub(crate) fn settle(&self, most: u64, quiet: Duration) -> u64 {
        let mut last = (Instant::now(), self.messages());
        while last.1 < most && last.0.elapsed() < quiet {
            std::thread::sleep(Duration::from_micros(100));
            let now = self.messages();
            if now != last.1 {
                last = (Instant::now(), now);
            }
        }
        last.1
    }
}
