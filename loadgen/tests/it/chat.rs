//! A chat of another kind than the gateway: it passes texts on, stores nothing, and may lie. It speaks
//! the protocol of the peer `bun-chat`, and that of Centrifugo.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake;

/// What a chat does to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deceit {
    /// Nothing: an honest chat.
    None,
    /// It acknowledges the message and drops it.
    Drop,
    /// It passes the message on twice.
    Repeat,
    /// It passes the message on behind the next one of its sender to the same user.
    Swap,
    /// It changes the end of the text.
    Change,
    /// It passes the message on to another user too.
    Astray,
    /// It does not acknowledge the message.
    Silent,
    /// It acknowledges the message twice.
    Twice,
    /// It refuses the message.
    Refuse,
    /// It says something of its own beside.
    Babble,
    /// It never says that a session is open.
    Mute,
    /// It ends all connections, and takes new ones.
    Leave,
}

/// The number of the message that a chat lies about.
const LIE_AT: u64 = 50;

/// A running chat. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Chat {
    room: Arc<Room>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Room {
    deceit: Deceit,
    over: AtomicBool,
    hall: Mutex<Hall>,
}

#[derive(Debug, Default)]
struct Hall {
    /// The socket of each user, or of each channel.
    users: HashMap<String, TcpStream>,
    messages: u64,
    /// A message that waits for the next one of the same user to the same user.
    held: Option<(Way, Value)>,
}

/// From whom to whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    from: String,
    to: String,
}

impl Chat {
    /// Starts a chat on a free port.
    pub(crate) fn start(deceit: Deceit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let room = Arc::new(Room {
            deceit,
            over: AtomicBool::new(false),
            hall: Mutex::default(),
        });
        let own = Arc::clone(&room);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let room = Arc::clone(&own);
                // Ends with its socket.
                std::thread::spawn(move || serve(&room, stream));
            }
        });
        Self { room, address }
    }

    /// Returns the URL at which the chat listens.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.room.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Room {
    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Sends a text message.
fn say(to: &mut TcpStream, what: &Value) {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, what.to_string().as_bytes(), None);
    // The other end may be gone.
    let _ = to.write_all(&frame);
}

/// Serves one connection until it ends.
fn serve(room: &Room, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut input = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let (upgrade, size) = loop {
        let Ok(n @ 1..) = stream.read(&mut piece) else {
            return;
        };
        input.extend_from_slice(&piece[..n]);
        if let Some(found) = handshake::parse_request(&input, 1 << 16).expect("a right upgrade") {
            break found;
        }
    };
    let head = String::from_utf8_lossy(&input[..size]).into_owned();
    input.drain(..size);
    let mut answer = Vec::new();
    upgrade.accept(&mut answer);
    let _ = stream.write_all(&answer);
    let user = head.split("?u=").nth(1).and_then(|it| it.split(' ').next());
    let mut name = user.unwrap_or_default().to_owned();
    if let (Some(user), Ok(copy)) = (user, stream.try_clone()) {
        room.hall().users.insert(user.to_owned(), copy);
    }
    let mut framing = Connection::new(Role::Server);
    loop {
        let mut rest = &mut input[..];
        while let Some(event) = framing.receive(&mut rest, 1 << 20).expect("right frames") {
            match event {
                Event::Message(_, payload) => {
                    let said = serde_json::from_slice(&payload).expect("right JSON");
                    hear(room, &mut stream, &mut name, &said);
                }
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

/// Handles what a client says, whose name is that of its user or of its channel.
fn hear(room: &Room, stream: &mut TcpStream, name: &mut String, said: &Value) {
    let id = &said["id"];
    if said.get("connect").is_some() {
        if room.deceit == Deceit::Mute {
            return say(stream, &json!({ "error": "the chat is closed on Sundays" }));
        }
        // A ping of Centrifugo follows, which asks for an answer.
        say(
            stream,
            &json!({ "id": id, "connect": { "ping": 25, "pong": true } }),
        );
        return say(stream, &json!({}));
    }
    if let Some(channel) = said["subscribe"]["channel"].as_str() {
        channel.clone_into(name);
        let copy = stream.try_clone().expect("a socket");
        room.hall().users.insert(channel.to_owned(), copy);
        return say(stream, &json!({ "id": id, "subscribe": {} }));
    }
    if let Some(to) = said["send"]["user"].as_str() {
        let message = json!({ "message": { "text": said["send"]["text"] } });
        let answer = json!({ "id": id, "send": { "seq": 1 } });
        pass(
            room,
            stream,
            way(name, to),
            json!({ "push": message }),
            &answer,
        );
    }
    if let Some(to) = said["publish"]["channel"].as_str() {
        let data = json!({ "channel": to, "pub": { "data": said["publish"]["data"] } });
        let answer = json!({ "id": id, "publish": {} });
        pass(
            room,
            stream,
            way(name, to),
            json!({ "push": data }),
            &answer,
        );
    }
}

fn way(from: &str, to: &str) -> Way {
    Way {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// Passes a message on and acknowledges it, or lies.
fn pass(room: &Room, stream: &mut TcpStream, way: Way, mut push: Value, answer: &Value) {
    // Held until all is written, so that messages leave in the order of their arrival.
    let mut hall = room.hall();
    hall.messages += 1;
    let deceit = match hall.messages {
        LIE_AT => room.deceit,
        _ => Deceit::None,
    };
    let id = &answer["id"];
    match deceit {
        Deceit::Leave => {
            for (_, socket) in hall.users.drain() {
                let _ = socket.shutdown(Shutdown::Both);
            }
            return;
        }
        Deceit::Refuse => return say(stream, &json!({ "id": id, "error": { "code": 1 } })),
        Deceit::Silent => {}
        _ => say(stream, answer),
    }
    match deceit {
        Deceit::Twice => say(stream, answer),
        Deceit::Babble => say(stream, &json!({ "hello": "world" })),
        Deceit::Drop => return,
        Deceit::Swap => {
            hall.held = Some((way, push));
            return;
        }
        Deceit::Change => {
            let text = &mut push["push"]["message"]["text"];
            let changed = format!("{}~", text.as_str().unwrap_or_default());
            *text = changed.into();
        }
        Deceit::Astray => {
            let mut others = hall.users.iter_mut();
            let other = others.find(|(user, _)| **user != way.to && **user != way.from);
            if let Some((_, socket)) = other {
                say(socket, &push);
            }
        }
        _ => {}
    }
    let held = hall.held.take_if(|(held, _)| *held == way);
    if let Some(socket) = hall.users.get_mut(&way.to) {
        for _ in 0..1 + u8::from(deceit == Deceit::Repeat) {
            say(socket, &push);
        }
        if let Some((_, held)) = held {
            say(socket, &held);
        }
    }
}
