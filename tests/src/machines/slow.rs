//! A network that loses and delays packets: threads take the place of the bridge. No kernel has to have `netem` for that.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Machines, ip};
use crate::random::Random;

/// The packets on their way, at most. Those beyond are lost.
const PACKETS: usize = 1 << 14;

/// The time between two looks whether the network is over.
const LOOK: Duration = Duration::from_millis(100);

/// The longest frame: an Ethernet header and 1500 bytes, with room.
const FRAME: usize = 2_048;

/// An address of the link layer.
type Address = [u8; 6];

/// A slow network. Dropping it makes the network fast again.
#[derive(Debug)]
pub struct Slow {
    ports: usize,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let join = |at| format!("link set lan{at} master lan\n");
        let joined = ip(&[], &(0..self.ports).map(join).collect::<String>());
        if !std::thread::panicking() {
            joined.expect("the network changes");
        }
    }
}

/// A frame on its way.
struct Frame {
    due: Instant,
    from: usize,
    bytes: Vec<u8>,
}

impl Machines {
    /// Loses this part of a hundred packets between machines, and delays the others, each way. The seed of the random numbers
    /// is printed.
    ///
    /// # Panics
    /// The network cannot be changed.
    pub fn slow(&self, loss: u64, delay: Duration) -> Slow {
        let ports = self.machines.len();
        let sockets: Vec<_> = (0..ports)
            .map(|at| Arc::new(port(&format!("lan{at}"))))
            .collect();
        let leave = |at| format!("link set lan{at} nomaster\n");
        ip(&[], &(0..ports).map(leave).collect::<String>()).expect("the network changes");
        let is_over = Arc::new(AtomicBool::new(false));
        let known = Arc::new(Mutex::new(HashMap::new()));
        let (way, arriving) = sync_channel(PACKETS);
        let (mut random, note) = Random::announced();
        eprintln!("{note}");
        let mut threads = Vec::new();
        for (from, socket) in sockets.iter().enumerate() {
            let reader = Reader {
                from,
                socket: Arc::clone(socket),
                random: Random::from_seed(random.number()),
                known: Arc::clone(&known),
                is_over: Arc::clone(&is_over),
            };
            let way = way.clone();
            threads.push(std::thread::spawn(move || reader.run(loss, delay, &way)));
        }
        threads.push(std::thread::spawn(move || {
            deliver(&sockets, &known, &arriving)
        }));
        Slow {
            ports,
            is_over,
            threads,
        }
    }
}

/// Opens a socket that has all frames of an interface.
fn port(interface: &str) -> OwnedFd {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    );
    let socket = socket.expect("root may have all frames");
    let all = getifaddrs().expect("interfaces");
    let links = all.filter(|it| it.interface_name == interface);
    let address = { links.filter_map(|it| it.address) }
        .find_map(|address| address.as_link_addr().copied())
        .expect("the interface is there");
    bind(socket.as_raw_fd(), &address).expect("its frames");
    let timeout = TimeVal::milliseconds(LOOK.as_millis() as i64);
    setsockopt(&socket, ReceiveTimeout, &timeout).expect("a socket option");
    socket
}

/// What takes the frames of one machine.
struct Reader {
    from: usize,
    socket: Arc<OwnedFd>,
    random: Random,
    known: Arc<Mutex<HashMap<Address, usize>>>,
    is_over: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self, loss: u64, delay: Duration, way: &SyncSender<Frame>) {
        let mut piece = [0; FRAME];
        while !self.is_over.load(Ordering::Relaxed) {
            let Ok(len) = recv(self.socket.as_raw_fd(), &mut piece, MsgFlags::empty()) else {
                continue;
            };
            let mut bytes = piece[..len].to_vec();
            let Some(source) = bytes.get(6..12).and_then(|it| Address::try_from(it).ok()) else {
                continue;
            };
            self.known
                .lock()
                .expect("no panic")
                .insert(source, self.from);
            if self.random.within(1, 100) <= loss {
                continue;
            }
            check(&mut bytes);
            let due = Instant::now() + delay;
            // What finds no room is lost, as in a network.
            let _ = way.try_send(Frame {
                due,
                from: self.from,
                bytes,
            });
        }
    }
}

/// Gives frames to the machines when their time has come, until all readers have ended.
fn deliver(
    sockets: &[Arc<OwnedFd>],
    known: &Mutex<HashMap<Address, usize>>,
    arriving: &Receiver<Frame>,
) {
    for frame in arriving {
        std::thread::sleep(frame.due.saturating_duration_since(Instant::now()));
        let target = frame
            .bytes
            .get(..6)
            .and_then(|it| Address::try_from(it).ok());
        let target = target.and_then(|it| known.lock().expect("no panic").get(&it).copied());
        for (at, socket) in sockets.iter().enumerate() {
            if at != frame.from && target.is_none_or(|target| target == at) {
                // What cannot be sent is lost, as in a network.
                let _ = send(socket.as_raw_fd(), &frame.bytes, MsgFlags::empty());
            }
        }
    }
}

/// Writes the checksum of a TCP segment over IPv4 into its frame: a sender leaves it to the hardware, and there is none.
fn check(frame: &mut [u8]) {
    const IPV4: [u8; 2] = [8, 0];
    const TCP: u8 = 6;
    let Some((header, packet)) = frame.split_at_mut_checked(14) else {
        return;
    };
    if header[12..] != IPV4 || packet.len() < 40 || packet[9] != TCP {
        return;
    }
    let start = usize::from(packet[0] & 15) * 4;
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if start < 20 || end > packet.len() || end < start + 20 {
        return;
    }
    let (ip, segment) = packet[..end].split_at_mut(start);
    segment[16..18].fill(0);
    let words = |bytes: &[u8]| -> u32 {
        let word =
            |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&ip[12..20]) + u32::from(TCP) + segment.len() as u32 + words(segment);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
