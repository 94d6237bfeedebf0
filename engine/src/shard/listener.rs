//! Listening sockets: one per shard on the same address, the kernel spreads the connections.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per shard; the kernel lowers it to
/// net.core.somaxconn.
const BACKLOG: i32 = 4_096;

/// Binds one of several listeners of an address (SO_REUSEPORT, socket(7)).
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<mio::net::TcpListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Finds the address to bind: a free port for port 0. Fails where somebody listens there
/// already, which the shards' shared listeners would not notice.
///
/// # Errors
/// The address is taken, or not one of this machine.
pub(crate) fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    let bound = socket.local_addr()?;
    bound
        .as_socket()
        .ok_or_else(|| io::Error::other("not an IP address"))
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
