//! The addresses of a host: looked up once at a time.
//!
//! The system's look-up blocks a thread, and a name server that does not answer holds it for a long time.
//! So a host never has more than one look-up under way, and those who ask for it wait for the same one: with
//! a thread for each host, no host holds up another.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The time for which the addresses of a host are used again.
const KNOWN: Duration = Duration::from_secs(5);

/// The addresses of a host, and when they were found.
type Found = (Instant, io::Result<Vec<SocketAddr>>);

/// The addresses of one host.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The look-up that is under way. It goes on when nobody waits for it any more.
    pending: Option<JoinHandle<Found>>,
    known: Option<(Instant, Vec<SocketAddr>)>,
}

impl Names {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self {
            host,
            port,
            state: Mutex::default(),
        }
    }

    /// Returns the addresses of the host. Has no time limit of its own.
    ///
    /// # Errors
    /// The system does not know the name.
    pub(super) async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let of = |host: String, port| (host, port).to_socket_addrs().map(Iterator::collect);
        self.look_up_by(of).await
    }

    async fn look_up_by(
        &self,
        look: impl Fn(String, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + Clone + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.state.lock().await;
        loop {
            if let Some((at, known)) = &state.known
                && at.elapsed() < KNOWN
            {
                return Ok(known.clone());
            }
            let (host, port, look) = (self.host.clone(), self.port, look.clone());
            let pending = state.pending.get_or_insert_with(|| {
                tokio::task::spawn_blocking(move || {
                    let found = look(host, port);
                    (Instant::now(), found)
                })
            });
            let ended = pending.await;
            state.pending = None;
            let (at, found) = ended.map_err(io::Error::other)?;
            if at.elapsed() >= KNOWN {
                // It ended long ago, when nobody waited for it.
                continue;
            }
            let found = found?;
            state.known = Some((at, found.clone()));
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_name_that_is_not_answered_takes_one_thread_however_often_it_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(2)
            .build()
            .unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(parking_lot::Mutex::new(gone));
        let looked = Arc::new(AtomicUsize::new(0));
        let dead = Names::new("dead.example".into(), 80);
        let alive = Names::new("alive.example".into(), 80);
        runtime.block_on(async {
            let count = Arc::clone(&looked);
            let hang = move |_: String, port| {
                count.fetch_add(1, Relaxed);
                let _ = gone.lock().recv();
                Ok(vec![SocketAddr::new([127, 0, 0, 9].into(), port)])
            };
            for _ in 0..10 {
                let asked = dead.look_up_by(hang.clone());
                let late = tokio::time::timeout(Duration::from_millis(1), asked).await;
                assert!(late.is_err());
            }
            let at_once = |_: String, port| Ok(vec![SocketAddr::new([127, 0, 0, 1].into(), port)]);
            let found = alive.look_up_by(at_once).await.unwrap();
            assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
            go.send(()).unwrap();
            let found = dead.look_up_by(hang).await.unwrap();
            assert_eq!(found, ["127.0.0.9:80".parse().unwrap()]);
            assert_eq!(looked.load(Relaxed), 1);
        });
    }

    #[test]
    fn addresses_are_not_looked_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for (host, expected) in [("127.0.0.1", "127.0.0.1:8"), ("::1", "[::1]:8")] {
            let names = Names::new(host.to_owned(), 8);
            let found = runtime.block_on(names.look_up()).unwrap();
            assert_eq!(found, [expected.parse().unwrap()]);
        }
    }
}
