//! Ports that are chosen before a gateway listens on them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketType, bind, socket};

/// A port that is kept: bound, not listening. Connections to it are refused, the kernel gives it to
/// nobody who asks for a free one, and a gateway may listen there.
#[derive(Debug)]
pub struct Kept {
    /// The address, with the port.
    pub address: SocketAddr,
    _socket: OwnedFd,
}

/// Keeps a port of 127.0.0.1 that a gateway has at the moment, or with 0 one that nobody has.
///
/// # Panics
/// Another process has the port.
pub fn keep(port: u16) -> Kept {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    // With the first it joins a gateway's listeners, with the second a gateway finds it free.
    set_socket_reuseport(&socket, true).expect("a socket option");
    set_socket_reuseaddr(&socket, true).expect("a socket option");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    bind(&socket, &address).expect("the port can be shared");
    let bound = rustix::net::getsockname(&socket).expect("it is bound");
    let address = SocketAddr::try_from(bound).expect("an IP address");
    Kept {
        address,
        _socket: socket,
    }
}
