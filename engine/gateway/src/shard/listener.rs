//! Listening sockets. Each shard has one on the same address, and the kernel spreads the connections.

use std::io;
use std::net::{Shutdown, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// The number of connections of a shard that may wait to be accepted. The kernel lowers it to
/// net.core.somaxconn.
const BACKLOG: i32 = 4_096;

/// Binds a listener of an address that several listeners share (SO_REUSEPORT, socket(7)).
///
/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<mio::net::TcpListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Keeps an address for the gateway until its shards listen there. The socket is bound, so that no other
/// process gets the address. It does not listen, so that no client waits in vain.
#[derive(Debug)]
pub struct Kept {
    /// The address, with the port that the kernel chose.
    pub address: SocketAddr,
    _socket: Socket,
}

/// Takes an address, with a free port for port 0. While the result lives, the shards can listen there and
/// no other process can. Drop the result once they listen.
///
/// # Errors
/// Another process listens there, which the shared listeners of the shards would not notice; or the
/// address is not one of this machine.
pub fn keep(address: SocketAddr) -> io::Result<Kept> {
    let (mut address, mut socket) = (address, open(address)?);
    socket.bind(&address.into())?;
    let _free = if address.port() == 0 {
        // The end of listening frees a port that the kernel chose. It keeps a port that was named.
        address = address_of(&socket)?;
        let named = open(address)?;
        named.bind(&address.into())?;
        Some(std::mem::replace(&mut socket, named))
    } else {
        None
    };
    // The bind failed if another process listens, shared or not. It does not fail for a process that is
    // at this very line: of the two only one can listen.
    socket.listen(1)?;
    // From here on, a bind fails for all sockets that do not share the address (socket(7)).
    socket.set_reuse_address(false)?;
    socket.set_reuse_port(true)?;
    // Ends the listening; the socket stays bound.
    socket.shutdown(Shutdown::Read)?;
    Ok(Kept {
        address,
        _socket: socket,
    })
}

/// An address that a port of one listener has. Its socket does not listen yet, so that no client waits in vain.
#[derive(Debug)]
pub struct Claimed {
    address: SocketAddr,
    socket: Socket,
}

/// Takes an address for a port of one listener, with a free port for port 0.
///
/// # Errors
/// Another process listens there, or the address is not one of this machine.
pub fn claim(address: SocketAddr) -> io::Result<Claimed> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    let address = address_of(&socket)?;
    Ok(Claimed { address, socket })
}

impl Claimed {
    /// Returns the address, with the port that the kernel chose.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens at the address. The listener does not block.
    ///
    /// # Errors
    /// Another process that took the address at the same moment listens there.
    pub fn listen(self) -> io::Result<std::net::TcpListener> {
        self.socket.listen(BACKLOG)?;
        self.socket.set_nonblocking(true)?;
        Ok(self.socket.into())
    }
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let bound = socket.local_addr()?.as_socket();
    bound.ok_or_else(|| io::Error::other("not an IP address"))
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted gateway may listen while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn is_taken<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_kept_address_is_nobody_elses_and_the_shards_share_it() {
        let kept = keep(local()).unwrap();
        let address = kept.address;
        assert_ne!(address.port(), 0);
        // TcpListener sets SO_REUSEADDR, another gateway takes the address as this one.
        is_taken(TcpListener::bind(address));
        is_taken(keep(address));
        // No socket listens yet.
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let shards = [bind(address).unwrap(), bind(address).unwrap()];
        is_taken(keep(address));
        drop(kept);
        is_taken(keep(address));
        is_taken(TcpListener::bind(address));
        // Every connection comes to a shard.
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).unwrap();
            let accepted = || shards.iter().find_map(|shard| shard.accept().ok());
            let peer = stream.local_addr().unwrap();
            let mut found = accepted();
            while found.is_none() {
                found = accepted();
            }
            assert_eq!(found.map(|(_, from)| from), Some(peer));
            io::Write::write_all(&mut stream, b"x").unwrap();
        }
        drop(shards);
        keep(address).unwrap();
    }

    #[test]
    fn a_claimed_address_listens_later_and_one_that_others_have_is_refused() {
        let claimed = claim(local()).unwrap();
        let address = claimed.address();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let late = claim(address).unwrap();
        let listener = claimed.listen().unwrap();
        TcpStream::connect(address).unwrap();
        is_taken(claim(address));
        is_taken(late.listen());
        drop(listener);
    }

    /// One of several processes that take an address at once gets it.
    #[test]
    fn an_address_that_many_take_at_once() {
        const TAKERS: usize = 4;
        for _ in 0..200 {
            let address = keep(local()).unwrap().address;
            let start = std::sync::Barrier::new(TAKERS);
            let kept: Vec<_> = std::thread::scope(|scope| {
                let take = || {
                    start.wait();
                    keep(address)
                };
                let takers: Vec<_> = (0..TAKERS).map(|_| scope.spawn(take)).collect();
                let taken = takers.into_iter().map(|taker| taker.join().unwrap());
                taken.collect()
            });
            let (kept, refused): (Vec<_>, Vec<_>) = kept.into_iter().partition(Result::is_ok);
            assert_eq!(kept.len(), 1, "{refused:?}");
            refused.into_iter().for_each(is_taken);
            // The one that got the address can use it.
            drop([bind(address).unwrap(), bind(address).unwrap()]);
        }
    }

    #[test]
    fn a_listener_that_shares_the_address_is_found() {
        let shard = bind(keep(local()).unwrap().address).unwrap();
        is_taken(keep(shard.local_addr().unwrap()));
    }
}
