//! A relay between gateways and NATS servers, which can be cut.
//!
//! While a gateway is cut off, no byte passes and no connection ends: that is what a partition of a network looks
//! like. What waits in the sockets passes when the cut is mended, as what TCP sends again does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The directions in which a gateway is cut off from the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything passes.
    Nothing,
    /// What the gateway sends does not pass.
    Out,
    /// What the servers send does not pass.
    In,
    /// Nothing passes.
    Both,
}

impl Cut {
    const fn holds(self, from_gateway: bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::Out => from_gateway,
            Self::In => !from_gateway,
            Self::Both => true,
        }
    }
}

/// A relay with a port for each gateway and server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    /// The addresses in the place of the servers', for each gateway.
    addresses: Vec<Vec<SocketAddr>>,
}

#[derive(Debug)]
struct Shared {
    /// The directions that are cut of each gateway; `None` once the relay is dropped.
    cuts: Mutex<Option<Vec<Cut>>>,
    changed: Condvar,
}

impl Shared {
    fn cuts(&self) -> MutexGuard<'_, Option<Vec<Cut>>> {
        self.cuts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until a gateway is not cut off in a direction. Returns false once the relay is dropped.
    fn passes(&self, gateway: usize, is_held: impl Fn(Cut) -> bool) -> bool {
        let is_cut =
            |cuts: &mut Option<Vec<Cut>>| cuts.as_ref().is_some_and(|it| is_held(it[gateway]));
        let cuts = self.changed.wait_while(self.cuts(), is_cut);
        cuts.unwrap_or_else(|e| e.into_inner()).is_some()
    }
}

impl Relay {
    /// Starts a relay for this many gateways.
    ///
    /// # Panics
    /// No port is free.
    pub fn start(gateways: usize, servers: &[SocketAddr]) -> Self {
        let shared = Arc::new(Shared {
            cuts: Mutex::new(Some(vec![Cut::Nothing; gateways])),
            changed: Condvar::new(),
        });
        let open = |gateway: usize, server: SocketAddr| {
            let door = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = door.local_addr().expect("it is bound");
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&door, gateway, server, &shared));
            address
        };
        let addresses = (0..gateways)
            .map(|gateway| {
                servers
                    .iter()
                    .map(|server| open(gateway, *server))
                    .collect()
            })
            .collect();
        Self { shared, addresses }
    }

    /// Returns the URLs for a gateway in the place of the servers', with commas between them.
    pub fn urls(&self, gateway: usize) -> String {
        let urls = self.addresses[gateway].iter();
        urls.map(|address| format!("nats://{address}"))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Cuts a gateway off, or mends the cut.
    pub fn cut(&self, gateway: usize, cut: Cut) {
        if let Some(cuts) = self.shared.cuts().as_mut() {
            cuts[gateway] = cut;
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        *self.shared.cuts() = None;
        self.shared.changed.notify_all();
        for address in self.addresses.iter().flatten() {
            // The thread that waits for connections looks whether the relay is still there.
            let _ = TcpStream::connect(address);
        }
    }
}

/// Passes connections on to a server until the relay is dropped.
fn accept(door: &TcpListener, gateway: usize, server: SocketAddr, shared: &Arc<Shared>) {
    for from in door.incoming() {
        if !shared.passes(gateway, |cut| cut != Cut::Nothing) {
            return;
        }
        // A connection that cannot be passed on ends at once, as if the server were not there.
        if let (Ok(from), Ok(to)) = (from, TcpStream::connect(server)) {
            let both = (from.try_clone(), to.try_clone());
            if let (Ok(back_to), Ok(back_from)) = both {
                let _ = (from.set_nodelay(true), to.set_nodelay(true));
                for (from, to, from_gateway) in [(from, to, true), (back_from, back_to, false)] {
                    let shared = Arc::clone(shared);
                    std::thread::spawn(move || pump(from, to, &shared, gateway, from_gateway));
                }
            }
        }
    }
}

/// Passes bytes on in one direction until one end is over.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    gateway: usize,
    from_gateway: bool,
) {
    let mut room = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut room).unwrap_or(0);
        if !shared.passes(gateway, |cut| cut.holds(from_gateway)) || read == 0 {
            break;
        }
        if to.write_all(&room[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}
