//! A crowd of listeners that counts the events it gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::bail;
use trunkline_benches::crowd::{Crowd, MemberKind};

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

/// The most time until all listeners have an event.
const PATIENCE: Duration = Duration::from_secs(20);

/// The niceness of the listeners (nice(2)).
const NICE: i32 = 10;

/// The number of events that a crowd got so far, and whether it should end.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    messages: AtomicU64,
    over: AtomicBool,
}

/// Connects users, each of whom sends one command and gets its reply.
pub(crate) fn open(
    server: SocketAddr,
    (name, size): (&'static str, usize),
    command: &str,
) -> anyhow::Result<Crowd> {
    let mut crowd = Crowd::new(server, MemberKind::Sessions(name), size)?;
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

    /// Waits for a number of events, or for a silence of this length. Returns the number of events.
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
