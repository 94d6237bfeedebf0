//! What the gateway tells a service manager, such as systemd: sd_notify(3).
//!
//! The manager names a socket in the environment. Without one nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable with the socket of the service manager.
const SOCKET: &str = "NOTIFY_SOCKET";

/// A state of the gateway that a service manager waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Clients can connect.
    Ready,
    /// The gateway stops in order.
    Stopping,
}

/// Tells the service manager about the state, if there is one. It never waits for the manager; a
/// failure is a line of the log.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    let text = match state {
        State::Ready => "READY=1\n",
        State::Stopping => "STOPPING=1\n",
    };
    if let Err(error) = send(&socket, text) {
        tracing::warn!(%error, socket = %socket.display(), ?state, "cannot tell the service manager: it waits until its own limit");
    }
}

/// Sends a text to a socket. A name that begins with `@` is in the abstract namespace (unix(7)).
fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives the one text that was sent.
    fn heard(manager: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn a_socket_with_a_path_and_one_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\n").unwrap();
        assert_eq!(heard(&manager), "READY=1\n");

        let name = format!("trunkline-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1\n").unwrap();
        assert_eq!(heard(&manager), "STOPPING=1\n");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        assert!(send(path.as_os_str(), "READY=1\n").is_err());
        let _manager = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "READY=1\n").err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
