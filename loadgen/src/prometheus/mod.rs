//! The metrics of a run for Prometheus: `--prometheus ADDR`.
//!
//! A separate thread listens and reads the board. Scrapers never hold up a run: it answers a few
//! connections at a time, each with a deadline, and the run waits for none.

mod page;
mod serve;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::Board;
use crate::clock::{Clock, Nanos};
use crate::exit::{Failure, Outcome};
use crate::health::{Cpu, CpuTimes};
use crate::live::about::About;

/// The run whose metrics are served.
#[derive(Debug)]
struct Exposed {
    about: About,
    board: Arc<Board>,
    clock: Clock,
    /// The process of a gateway that was started for the run.
    gateway: Option<u32>,
    /// The CPU times when the run began.
    cpu: CpuTimes,
    /// The time at which the run ended; `None` before.
    ended: Option<Nanos>,
}

/// The state that the threads of the listener share.
#[derive(Debug, Default)]
struct Shared {
    /// The run; `None` before its threads begin.
    run: Mutex<Option<Exposed>>,
    over: AtomicBool,
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Option<Exposed>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener for scrapers. Dropping it ends the listener.
#[derive(Debug)]
pub(crate) struct Exporter {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address cannot be listened on (exit 94).
    pub(crate) fn start(address: SocketAddr) -> Outcome<Self> {
        let fail = |why: std::io::Error| {
            let more = match why.kind() {
                std::io::ErrorKind::AddrInUse => {
                    ": another program listens there; take another port, or 0 for any that is free"
                }
                _ => "",
            };
            Failure::preflight(format!("--prometheus {address}: {why}{more}"))
        };
        let listener = TcpListener::bind(address).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("prometheus".into())
            .spawn(move || serve::accept(&listener, &own))
            .map_err(fail)?;
        Ok(Self {
            shared,
            address,
            thread: Some(thread),
        })
    }

    /// Returns the URL to scrape.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Serves the metrics of a run from now on.
    pub(crate) fn show(&self, about: About, board: Arc<Board>, clock: Clock, gateway: Option<u32>) {
        *self.shared.run() = Some(Exposed {
            about,
            board,
            clock,
            gateway,
            cpu: Cpu::look(),
            ended: None,
        });
    }

    /// Notes the process of the gateway that was started for the run.
    pub(crate) fn gateway_is(&self, gateway: Option<u32>) {
        if let Some(run) = &mut *self.shared.run() {
            run.gateway = gateway;
        }
    }

    /// Notes that the run has ended. Its last figures can still be scraped.
    pub(crate) fn end(&self) {
        if let Some(run) = &mut *self.shared.run() {
            run.ended = Some(run.clock.now());
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener. A listener on all addresses is reached on loopback.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
