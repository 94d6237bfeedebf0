//! The packets of loopback with the times that the kernel gave them (packet(7)).
//!
//! The time stamps of packets come from the kernel, not from either end. They check the latencies that a
//! client reports.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};

/// The size of the socket's buffer for packets that are not read yet, in bytes.
const ROOM: usize = 256 << 20;

/// The most bytes of an IPv4 packet.
const PACKET: usize = 64 << 10;

/// A TCP packet with a payload.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The time at which the kernel passed the packet on, in nanoseconds since 1970.
    pub at: u64,
    /// The address of the sender.
    pub from: SocketAddrV4,
    /// The address of the receiver.
    pub to: SocketAddrV4,
    /// The sequence number of the first byte of the payload, modulo 2^32.
    pub sequence: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A running capture, in a thread of its own.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Packet>>>,
}

impl Capture {
    /// Starts to capture the TCP packets from and to a port.
    ///
    /// # Errors
    /// The kernel refuses. A capture needs root or CAP_NET_RAW.
    pub fn start(port: u16) -> anyhow::Result<Self> {
        // A socket for one protocol, not for all, gets each packet once, on reception.
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthIp,
        )
        .context("a packet socket takes root (CAP_NET_RAW)")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
        let wait = TimeVal::new(0, 20_000);
        setsockopt(&socket, sockopt::ReceiveTimeout, &wait)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || read(&socket, port, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Stops the capture and returns the packets, oldest first.
    ///
    /// # Errors
    /// Reading failed.
    pub fn end(self) -> anyhow::Result<Vec<Packet>> {
        self.stop.store(true, Ordering::Relaxed);
        let packets = self.thread.join();
        packets.map_err(|_| anyhow::anyhow!("the capture panicked"))?
    }
}

fn read(socket: &OwnedFd, port: u16, stop: &AtomicBool) -> anyhow::Result<Vec<Packet>> {
    let (mut packets, mut buffer) = (Vec::new(), vec![0; PACKET]);
    let mut control = nix::cmsg_space!(TimeSpec);
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        );
        let (bytes, at) = match received {
            // No packet came for a while, so all packets before the end are read.
            Err(Errno::EAGAIN) if stop.load(Ordering::Relaxed) => return Ok(packets),
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(why) => return Err(why).context("a packet cannot be read"),
            Ok(received) => {
                let times = received.cmsgs()?.find_map(|message| match message {
                    ControlMessageOwned::ScmTimestampns(time) => Some(time),
                    _ => None,
                });
                (received.bytes, times.context("a packet without a time")?)
            }
        };
        let at = at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64;
        if let Some(packet) = parse(&buffer[..bytes], at)
            && (packet.from.port() == port || packet.to.port() == port)
        {
            packets.push(packet);
        }
    }
}

/// Parses a TCP packet over IPv4 (RFC 791, RFC 9293); `None` if it has no payload.
fn parse(bytes: &[u8], at: u64) -> Option<Packet> {
    const TCP: u8 = 6;
    let word = |from: usize| {
        Some(u16::from_be_bytes([
            *bytes.get(from)?,
            *bytes.get(from + 1)?,
        ]))
    };
    let long = |from: usize| Some(u32::from(word(from)?) << 16 | u32::from(word(from + 2)?));
    if *bytes.get(9)? != TCP {
        return None;
    }
    let tcp = usize::from(bytes[0] & 15) * 4;
    let data = tcp + usize::from(*bytes.get(tcp + 12)? >> 4) * 4;
    let payload = bytes.get(data..usize::from(word(2)?))?;
    let address = |ip, port| Some(SocketAddrV4::new(Ipv4Addr::from(long(ip)?), word(port)?));
    (!payload.is_empty()).then_some(Packet {
        at,
        from: address(12, tcp)?,
        to: address(16, tcp + 2)?,
        sequence: long(tcp + 4)?,
        payload: payload.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_apart() {
        let mut bytes = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 2, 127, 0, 0, 1,
        ];
        // Ports 1000 and 80, sequence 7, a header with twelve bytes of options.
        bytes.extend([
            0x03, 0xe8, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x80, 0x18, 0, 0, 0, 0, 0, 0,
        ]);
        bytes.extend([1; 12]);
        bytes.extend(b"data");
        bytes[3] = bytes.len() as u8;
        // The padding of a short packet is not part of its payload.
        bytes.extend([0; 2]);
        let packet = parse(&bytes, 5).unwrap();
        assert_eq!((packet.sequence, &*packet.payload), (7, &b"data"[..]));
        assert_eq!(packet.from.to_string(), "127.0.0.2:1000");
        assert_eq!(packet.to.to_string(), "127.0.0.1:80");
        bytes[9] = 17;
        assert!(parse(&bytes, 5).is_none());
        assert!(parse(&[0x45], 5).is_none());
    }
}
