//! Ports that no other program gets while the process that listens there is away.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port that is kept: bound, and not listened at. Connections are refused, but the kernel gives the
/// port to no outgoing connection. Gateways and NATS servers may listen there.
#[derive(Debug)]
pub(crate) struct KeptPort {
    /// The address, with the port.
    pub(crate) address: SocketAddr,
    _socket: Socket,
}

impl KeptPort {
    /// Keeps the port of an address, or one that is free where the port is 0.
    ///
    /// # Errors
    /// Another program has the port.
    pub(crate) fn keep(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // With the second it joins a gateway's listeners; with the first a NATS server finds it free.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let address = { socket.local_addr()?.as_socket() }
            .ok_or_else(|| io::Error::other("the socket has no address"))?;
        Ok(Self {
            address,
            _socket: socket,
        })
    }

    /// Keeps a port of loopback that is free.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn any() -> io::Result<Self> {
        Self::keep(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}
