//! The fake gateway: its sockets and threads. `fake_world` decides what it answers, and where it
//! lies.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake;
use trunkline_proto::message::Command;

use crate::fake_conduct::Conduct;
use crate::fake_log::Busy;
use crate::fake_session::Session;
use crate::fake_world::World;

/// A running fake gateway. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Fake {
    shared: Arc<Shared>,
    /// The addresses at which it listens; the first is its own, the others are like further nodes.
    addresses: Vec<SocketAddr>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The state of the fake. Its lock is held while pushes are written, so they leave in the order
    /// of the decisions.
    world: Mutex<World>,
    /// Every socket, so that all can be cut.
    sockets: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn cut_all(&self) {
        let sockets = self.sockets.lock().unwrap_or_else(|e| e.into_inner());
        for socket in sockets.iter() {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Fake {
    /// Starts a fake on a free port.
    pub(crate) fn start(conduct: Conduct) -> Self {
        Self::start_nodes(conduct, 1)
    }

    /// Starts a fake on this many free ports: nodes of a cluster that share everything.
    pub(crate) fn start_nodes(conduct: Conduct, nodes: usize) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(conduct)),
            sockets: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners: Vec<_> = (0..nodes).map(listen).collect();
        let address = |it: &TcpListener| it.local_addr().expect("a listener has an address");
        let addresses = listeners.iter().map(address).collect();
        let listeners = listeners.into_iter().map(|it| Self::listen(&shared, it));
        Self {
            listeners: listeners.collect(),
            shared,
            addresses,
        }
    }

    fn listen(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
        let own = Arc::clone(shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let Ok(copy) = stream.try_clone() else {
                    continue;
                };
                let mut sockets = own.sockets.lock().unwrap_or_else(|e| e.into_inner());
                sockets.push(copy);
                let shared = Arc::clone(&own);
                // Ends with its socket.
                std::thread::spawn(move || serve(&shared, stream));
            }
        })
    }

    /// Returns the URL at which the fake listens.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.addresses[0])
    }

    /// Returns the URLs of all nodes, with commas between them.
    pub(crate) fn urls(&self) -> String {
        let urls = self.addresses.iter().map(|it| format!("ws://{it}/v1/ws"));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Sends a Pong, which has no effect, on every connection, and cuts all connections.
    pub(crate) fn die_talking(&self) {
        let mut pong = Vec::new();
        write_frame(&mut pong, Opcode::Pong, b"", None);
        let sockets = self.shared.sockets.lock();
        for mut socket in sockets.unwrap_or_else(|e| e.into_inner()).iter() {
            // The probe's connection is gone by now.
            let _ = socket.write_all(&pong);
        }
        self.shared.cut_all();
    }

    /// Returns the number of sends that have arrived.
    pub(crate) fn sends(&self) -> u64 {
        self.shared.world().sends
    }

    /// Returns the number of lies that the fake has told.
    pub(crate) fn lies(&self) -> u64 {
        self.shared.world().lies
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for (address, thread) in self.addresses.iter().zip(self.listeners.drain(..)) {
            // Wakes the listener.
            let _ = TcpStream::connect(address);
            let _ = thread.join();
        }
        self.shared.cut_all();
    }
}

/// Serves one connection until it ends.
fn serve(shared: &Shared, mut stream: TcpStream) {
    let conduct = shared.world().conduct;
    if conduct == Conduct::Refuse {
        let _ = stream.shutdown(Shutdown::Both);
        return;
    }
    let _ = stream.set_nodelay(true);
    let mut input = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let upgrade = loop {
        let Ok(n @ 1..) = stream.read(&mut piece) else {
            return;
        };
        input.extend_from_slice(&piece[..n]);
        if conduct == Conduct::Silent {
            input.clear();
            continue;
        }
        match handshake::parse_request(&input, 1 << 16) {
            Ok(Some((upgrade, size))) => {
                input.drain(..size);
                break upgrade;
            }
            Ok(None) => {}
            Err(why) => panic!("a broken upgrade: {why:?}"),
        }
    };
    let mut answer = Vec::new();
    let busy = shared.world().is_busy();
    if busy == Some(Busy::Http) {
        let head =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        return;
    }
    upgrade.accept(&mut answer);
    if stream.write_all(&answer).is_err() {
        return;
    }
    let mut session = Session::new(upgrade.encoding, stream.try_clone().ok());
    session.overloaded = busy == Some(Busy::Close);
    let mut framing = Connection::new(Role::Server);
    loop {
        let mut rest = &mut input[..];
        while let Some(event) = framing.receive(&mut rest, 1 << 20).expect("right frames") {
            match event {
                Event::Message(_, payload) => upgrade.encoding.decode_commands(&payload, |c| {
                    command(shared, &mut session, &c.expect("a right command"));
                }),
                Event::Close(..) => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
        match stream.read(&mut piece) {
            Ok(n @ 1..) => input = piece[..n].to_vec(),
            _ => return,
        }
    }
}

fn command(shared: &Shared, session: &mut Session, command: &Command<'_>) {
    if session.is_over() {
        return;
    }
    let mut world = shared.world();
    world.command(session, command);
    match world.outage() {
        // Everybody waits for the lock meanwhile: this gateway neither reads nor answers.
        Some(Conduct::Pause) => std::thread::sleep(PAUSE),
        Some(Conduct::Die) => shared.cut_all(),
        _ => {}
    }
}

/// How long [`Conduct::Pause`] stops the fake.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
