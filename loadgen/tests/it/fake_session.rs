//! A connection of the fake gateway, and what it stores.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use trunkline_proto::frame::{Opcode, write_close, write_with};
use trunkline_proto::message::{
    self, Event, Message, Push, Reply, ReplyBody, Send, ServerMessage, SyncReply,
};
use trunkline_proto::names::Conversation;
use trunkline_proto::{CloseCode, Encoding};

/// A connection of the fake gateway, with its session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) encoding: Encoding,
    pub(crate) stream: Option<TcpStream>,
    pub(crate) user: String,
    pub(crate) device: String,
    /// Whether the connection is refused with close 3013 at its `connect`.
    pub(crate) overloaded: bool,
    /// Whether the session continues from the position of an earlier one.
    pub(crate) is_back: bool,
    gap: RefCell<Option<Gap>>,
    /// Whether the fake has closed the connection. Later input is ignored, as by a real gateway.
    over: Cell<bool>,
}

/// The events around a gap of a slow session.
#[derive(Debug, Default)]
struct Gap {
    /// Every event since the gap began, as frames: dropped ones and pushed ones. `sync` returns all
    /// of them.
    events: Vec<Vec<u8>>,
}

/// The number of pushes that a gap replaces.
const LEFT_OUT: usize = 5;

/// The number of events in a page of `sync`: so small that a gap needs several pages.
const PAGE: usize = 2;

impl Session {
    pub(crate) fn new(encoding: Encoding, stream: Option<TcpStream>) -> Self {
        Self {
            encoding,
            stream,
            user: String::new(),
            device: String::new(),
            overloaded: false,
            is_back: false,
            gap: RefCell::default(),
            over: Cell::default(),
        }
    }

    /// Begins a gap: the next [`LEFT_OUT`] events are not pushed.
    pub(crate) fn begin_gap(&self) {
        *self.gap.borrow_mut() = Some(Gap::default());
    }

    /// Answers a `sync`. The page lacks its first message if `forgets` returns true.
    pub(crate) fn sync(&self, to: &Self, id: u32, since: &str, mut forgets: impl FnMut() -> bool) {
        let gap = self.gap.borrow();
        let events = &gap.as_ref().expect("a gap came before").events;
        // Positions in a gap are numbers; that before it is one of the log.
        let from = since.parse().unwrap_or(0_usize);
        let page = &events[from..events.len().min(from + PAGE)];
        let mut pushes = Vec::new();
        for event in page {
            let read = self.encoding.decode_server(event, |message| match message {
                ServerMessage::Push(push) => pushes.push(push),
                ServerMessage::Reply(reply) => panic!("kept a reply: {reply:?}"),
            });
            read.expect("what this fake wrote");
        }
        let message = pushes
            .iter()
            .position(|p| matches!(p.event, Event::Message(_)));
        if let Some(at) = message
            && forgets()
        {
            pushes.remove(at);
        }
        let reached = from + page.len();
        let reply = SyncReply {
            events: pushes,
            pos: reached.to_string().into(),
            more: reached < events.len(),
        };
        to.reply(id, ReplyBody::Sync(reply));
    }

    fn say(&self, message: &ServerMessage<'_>) {
        let opcode = match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let mut out = Vec::new();
        write_with(&mut out, opcode, None, |out| {
            self.encoding.encode_server(message, out);
        });
        // The client may be gone.
        let _ = self.stream.as_ref().map(|mut s| s.write_all(&out));
    }

    /// Returns whether the fake has closed the connection.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Tells the client to reconnect, and closes the connection with `code`.
    pub(crate) fn hang_up(&self, code: CloseCode) {
        self.over.set(true);
        let event = Event::Disconnect(message::Disconnect {
            code: code.0,
            reason: "the fake hangs up".into(),
            reconnect: true,
            delay_ms: [0, 20],
        });
        self.say(&ServerMessage::Push(Push { pos: None, event }));
        let mut out = Vec::new();
        write_close(&mut out, code, "", None);
        if let Some(mut stream) = self.stream.as_ref() {
            let _ = stream.write_all(&out);
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    pub(crate) fn reply(&self, id: u32, body: ReplyBody<'_>) {
        if id != 0 {
            self.say(&ServerMessage::Reply(Reply { id, body }));
        }
    }

    /// Pushes a missed event to a session that reconnected. The device may have got the event
    /// before.
    pub(crate) fn push_missed(&self, event: Event<'_>, pos: &str) {
        let pos = Some(pos.into());
        self.say(&ServerMessage::Push(Push { pos, event }));
    }

    pub(crate) fn push(&self, event: Event<'_>, pos: &str) {
        let pos = Some(pos.into());
        let push = ServerMessage::Push(Push { pos, event });
        let mut gap = self.gap.borrow_mut();
        let Some(gap) = &mut *gap else {
            return self.say(&push);
        };
        let mut bytes = Vec::new();
        self.encoding.encode_server(&push, &mut bytes);
        gap.events.push(bytes);
        match gap.events.len() {
            ..LEFT_OUT => {}
            LEFT_OUT => {
                let pos = || "0".into();
                let event = Event::Gap(message::Gap { pos: pos() });
                self.say(&ServerMessage::Push(Push { pos: None, event }));
            }
            _ => self.say(&push),
        }
    }
}

/// A stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    pub(crate) from: String,
    pub(crate) device: String,
    pub(crate) text: String,
}

impl Stored {
    pub(crate) fn new(session: &Session, conversation: String, send: &Send<'_>, seq: u64) -> Self {
        Self {
            conversation,
            seq,
            from: session.user.clone(),
            device: session.device.clone(),
            text: send.text.as_deref().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        Message {
            conversation: (&*self.conversation).into(),
            seq: self.seq,
            from: (&*self.from).into(),
            device: (&*self.device).into(),
            time: 1,
            text: Some((&*self.text).into()),
            ..Message::default()
        }
    }
}

/// Returns the id of the conversation between two users.
pub(crate) fn conversation(one: &str, other: &str) -> String {
    let mut name = Vec::new();
    Conversation::between(one, other).write(&mut name);
    String::from_utf8(name).expect("names are ASCII")
}
