//! A minimal server with the gateway's structure, to measure the cost of the structure.
//!
//! It has one event loop and one writing thread. It writes a message to a log and syncs it before
//! it acknowledges and pushes the message, in JSON. Its only state is a counter: it has no
//! conversations, index, keys or limits, it reads nothing back, and it ignores invalid input.
//! Clients connect to `/?u=NUMBER`, and use the protocol of the Bun chat.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use serde::Deserialize;
use slab::Slab;
use trunkline_proto::frame::{self, Opcode, write_with};
use trunkline_proto::{handshake, mask};

use crate::raw;

/// The size of the log in bytes. It is zeroed before the first message, so that a sync changes no
/// metadata of the file system. After its end, writing begins again at its start.
const LOG: usize = 64 << 20;

/// The bytes before each message in the log, in place of lengths, times and names.
const HEADER: [u8; 36] = [0; 36];

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// A message and the place of its bytes in the batch.
struct Message {
    conn: usize,
    id: u64,
    from: u32,
    to: u32,
    seq: u64,
    text: std::ops::Range<usize>,
}

/// The messages of a turn of the loop.
#[derive(Default)]
struct Batch {
    messages: Vec<Message>,
    texts: Vec<u8>,
}

/// The batches that are on disk, for the loop to acknowledge.
struct Done {
    batches: Mutex<Vec<Batch>>,
    awake: AtomicBool,
    waker: Waker,
}

#[derive(Deserialize)]
struct Command<'a> {
    id: u64,
    #[serde(borrow)]
    send: Send<'a>,
}

#[derive(Deserialize)]
struct Send<'a> {
    user: &'a str,
    text: &'a str,
}

struct Conn {
    stream: TcpStream,
    user: u32,
    upgraded: bool,
    /// The bytes of an incomplete request or frame.
    partial: Vec<u8>,
    out: Vec<u8>,
}

/// Serves until the process is killed, with the log in `folder`. The first line that it prints has
/// the address.
pub fn run(folder: &Path) -> ExitCode {
    match serve(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => raw::fail("prototype", &error),
    }
}

fn serve(folder: &Path) -> io::Result<()> {
    let poll = Poll::new()?;
    let done = Arc::new(Done {
        batches: Mutex::default(),
        awake: AtomicBool::new(true),
        waker: Waker::new(poll.registry(), WAKE)?,
    });
    let log = File::create(folder.join("prototype.log"))?;
    log.write_all_at(&vec![0; LOG], 0)?;
    log.sync_all()?;
    let (to, commands) = bounded(1_024);
    let back = Arc::clone(&done);
    std::thread::spawn(move || {
        if let Err(error) = sequence(&log, &commands, &back) {
            raw::fail("prototype", &error);
            std::process::exit(1);
        }
    });
    let mut listener = raw::listen()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    raw::say_ready(listener.local_addr()?)?;
    let shard = Shard {
        poll,
        listener,
        conns: Slab::new(),
        users: HashMap::new(),
        batch: Batch::default(),
        dirty: Vec::new(),
    };
    shard.run(&to, &done)
}

/// Writes each batch, syncs it, and passes it to the loop.
fn sequence(log: &File, commands: &Receiver<Batch>, done: &Done) -> io::Result<()> {
    let (mut seq, mut at, mut bytes) = (0, 0, Vec::new());
    while let Ok(first) = commands.recv() {
        bytes.clear();
        let mut batches = Vec::new();
        for mut batch in std::iter::once(first).chain(commands.try_iter()) {
            for message in &mut batch.messages {
                seq += 1;
                message.seq = seq;
                let text = &batch.texts[message.text.clone()];
                bytes.extend_from_slice(&HEADER);
                bytes.extend_from_slice(&crc32c::crc32c(text).to_le_bytes());
                bytes.extend_from_slice(text);
            }
            batches.push(batch);
        }
        if at + bytes.len() > LOG {
            at = 0;
        }
        log.write_all_at(&bytes, at as u64)?;
        log.sync_data()?;
        at += bytes.len();
        if let Ok(mut waiting) = done.batches.lock() {
            waiting.append(&mut batches);
        }
        if !done.awake.swap(true, SeqCst) {
            done.waker.wake()?;
        }
    }
    Ok(())
}

struct Shard {
    poll: Poll,
    listener: TcpListener,
    conns: Slab<Conn>,
    users: HashMap<u32, usize>,
    batch: Batch,
    dirty: Vec<usize>,
}

impl Shard {
    fn run(mut self, to: &Sender<Batch>, done: &Done) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 64 << 10];
        let take = || {
            done.batches
                .lock()
                .map(|mut waiting| std::mem::take(&mut *waiting))
        };
        loop {
            let mut batches = take().unwrap_or_default();
            let mut timeout = Some(std::time::Duration::ZERO);
            if batches.is_empty() {
                done.awake.store(false, SeqCst);
                batches = take().unwrap_or_default();
                if batches.is_empty() {
                    timeout = None;
                }
            }
            for batch in &batches {
                self.publish(batch);
            }
            self.flush()?;
            self.poll.poll(&mut events, timeout)?;
            done.awake.store(true, SeqCst);
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => self.accept()?,
                    Token(at) => self.read(at, &mut buffer)?,
                }
            }
            if !self.batch.messages.is_empty() {
                // If the other thread ends, the process ends.
                let _ = to.send(std::mem::take(&mut self.batch));
            }
            self.flush()?;
        }
    }

    fn publish(&mut self, batch: &Batch) {
        for message in &batch.messages {
            let seq = message.seq;
            self.say(message.conn, |out| {
                let _ = write!(out, r#"{{"id":{},"send":{{"seq":{seq}}}}}"#, message.id);
            });
            let Some(&to) = self.users.get(&message.to) else {
                continue;
            };
            let text = &batch.texts[message.text.clone()];
            self.say(to, |out| {
                let from = message.from;
                let _ = write!(
                    out,
                    r#"{{"push":{{"message":{{"from":"{from}","seq":{seq},"text":""#
                );
                out.extend_from_slice(text);
                out.extend_from_slice(br#""}}}"#);
            });
        }
    }

    fn say(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(conn) = self.conns.get_mut(at) {
            if conn.out.is_empty() {
                self.dirty.push(at);
            }
            write_with(&mut conn.out, Opcode::Text, None, write);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        for at in self.dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(at) else {
                continue;
            };
            match conn.stream.write(&conn.out) {
                Ok(sent) if sent == conn.out.len() => conn.out.clear(),
                // A client has fewer messages in flight than a socket's buffer holds.
                Ok(_) => return Err(io::Error::other("a client does not read")),
                Err(_) => conn.out.clear(),
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(mut stream) = raw::accept(&self.listener)? {
            let entry = self.conns.vacant_entry();
            self.poll
                .registry()
                .register(&mut stream, Token(entry.key()), Interest::READABLE)?;
            entry.insert(Conn {
                stream,
                user: 0,
                upgraded: false,
                partial: Vec::new(),
                out: Vec::new(),
            });
        }
        Ok(())
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let Some(conn) = self.conns.get_mut(at) else {
                return Ok(());
            };
            let read = match conn.stream.read(buffer) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(_) | Err(_) => {
                    let mut conn = self.conns.remove(at);
                    self.users.remove(&conn.user);
                    return self.poll.registry().deregister(&mut conn.stream);
                }
            };
            if conn.partial.is_empty() {
                let used = self.input(at, &mut buffer[..read]);
                self.conns[at]
                    .partial
                    .extend_from_slice(&buffer[used..read]);
            } else {
                let mut input = std::mem::take(&mut conn.partial);
                input.extend_from_slice(&buffer[..read]);
                let used = self.input(at, &mut input);
                input.drain(..used);
                self.conns[at].partial = input;
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes the complete frames of the input. Returns how many bytes they have.
    fn input(&mut self, at: usize, input: &mut [u8]) -> usize {
        let conn = &mut self.conns[at];
        if !conn.upgraded {
            let Ok(Some((upgrade, used))) = handshake::parse_request(input, 8 << 10) else {
                return 0;
            };
            let head = String::from_utf8_lossy(&input[..used]);
            let user = head
                .split_once("?u=")
                .and_then(|(_, rest)| rest.split(' ').next());
            conn.user = user.and_then(|user| user.parse().ok()).unwrap_or_default();
            conn.upgraded = true;
            self.users.insert(conn.user, at);
            upgrade.accept(&mut conn.out);
            self.dirty.push(at);
            return used;
        }
        let mut used = 0;
        while let Ok(Some((header, len))) = frame::parse_header(&input[used..]) {
            let payload = used + len..used + len + header.len as usize;
            let Some(payload) = input.get_mut(payload) else {
                break;
            };
            used += len + payload.len();
            if let Some(key) = header.mask {
                mask::apply(payload, key, 0);
            }
            if let Ok(command) = serde_json::from_slice::<Command<'_>>(payload) {
                let start = self.batch.texts.len();
                self.batch
                    .texts
                    .extend_from_slice(command.send.text.as_bytes());
                self.batch.messages.push(Message {
                    conn: at,
                    id: command.id,
                    from: conn.user,
                    to: command.send.user.parse().unwrap_or_default(),
                    seq: 0,
                    text: start..self.batch.texts.len(),
                });
            }
        }
        used
    }
}
