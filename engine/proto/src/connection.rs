//! RFC 6455 framing of one connection: bytes in, messages and control frames out.
//!
//! The state takes two words while nothing is incomplete, so an idle connection owns no buffer. The
//! connection unmasks a frame that is whole in the input in place and lends it to the caller. It
//! copies only frames that are cut off at the end of the input, and fragments. The buffer grows
//! with the bytes that arrive, never by the length that a header announces.

use std::borrow::Cow;

use crate::error::CloseCode;
use crate::frame::{self, FrameError, Header, MAX_HEADER, Opcode};
use crate::mask;

/// The end of a connection: server or client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The server's end; it requires masked frames.
    Server,
    /// The client's end; it requires unmasked frames.
    Client,
}

/// The kind of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A text message, in UTF-8.
    Text,
    /// A binary message of any bytes.
    Binary,
}

impl MessageKind {
    /// Returns the opcode of the first frame of a message of this kind.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A message or control frame of the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A whole message. Text is valid UTF-8.
    Message(MessageKind, Cow<'b, [u8]>),
    /// A ping. The caller answers it with a pong of the same payload.
    Ping(Cow<'b, [u8]>),
    /// A pong: the answer to a ping, or a heartbeat.
    Pong(Cow<'b, [u8]>),
    /// A close frame with its code and reason. The code is `None` if the frame has none. Nothing
    /// after it is read.
    Close(Option<CloseCode>, String),
}

/// The reading half of one connection.
///
/// Call [`Connection::receive`] with each piece of input until it returns `None`, then drop that
/// input. The connection discards all input after an error or a close frame.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    done: bool,
    /// The numbers of [`Received`]: as fields of their own they take no room.
    frames: u16,
    copied: u32,
    partial: Option<Box<Partial>>,
}

/// How much work reading was, since somebody asked last. A number that is beyond its type stays at
/// the largest value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// The number of frames that began.
    pub frames: u16,
    /// The bytes that were copied, because their frame or message was not whole in the input.
    pub copied: u32,
}

/// The bytes from which on the first piece of a message or of a TLS record gets a buffer with [`ROOM`].
pub(crate) const LARGE: usize = 4 << 10;

/// The least room for an incomplete message with a large first piece. An allocator that maps blocks of
/// this size gives their memory back to the kernel: a crowd may send half of its messages and leave.
pub(crate) const ROOM: usize = 32 << 10;

/// A frame or message that is incomplete.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; MAX_HEADER],
    header_len: usize,
    frame: Option<Incoming>,
    control: Vec<u8>,
    message: Option<Message>,
}

/// A frame whose payload has not arrived in full.
#[derive(Debug)]
struct Incoming {
    header: Header,
    received: usize,
}

/// A message with some copied payload.
#[derive(Debug)]
struct Message {
    kind: MessageKind,
    payload: Vec<u8>,
    /// The number of bytes of a text that are known to be valid UTF-8.
    valid: usize,
    /// Whether the frame that is being received is the last one of the message.
    last: bool,
}

impl Connection {
    /// Makes a connection whose handshake is complete.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            done: false,
            frames: 0,
            copied: 0,
            partial: None,
        }
    }

    /// Returns how much work reading was since the last call. One call of [`Connection::receive`] may
    /// read thousands of fragments of a message.
    #[inline]
    pub fn take_received(&mut self) -> Received {
        Received {
            frames: std::mem::take(&mut self.frames),
            copied: std::mem::take(&mut self.copied),
        }
    }

    /// Returns whether nothing is incomplete. The connection then owns no buffer.
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Drops what is incomplete, and discards all further input.
    pub fn abandon(&mut self) {
        self.done = true;
        self.partial = None;
    }

    /// Returns how many bytes the connection holds for what is incomplete.
    #[inline]
    pub fn buffered(&self) -> usize {
        self.buffered_by(Vec::capacity)
    }

    /// Returns how many bytes the connection holds for what is incomplete. `memory` says how many bytes
    /// of memory the buffer of a message takes.
    #[inline]
    pub fn buffered_by(&self, memory: impl Fn(&Vec<u8>) -> usize) -> usize {
        self.partial.as_ref().map_or(0, |p| {
            size_of::<Partial>()
                + p.control.capacity()
                + p.message.as_ref().map_or(0, |m| memory(&m.payload))
        })
    }

    /// Returns the buffer of the message that is incomplete, if some of its bytes were copied.
    pub fn incomplete(&mut self) -> Option<&mut Vec<u8>> {
        let message = self.partial.as_mut()?.message.as_mut()?;
        Some(&mut message.payload).filter(|payload| !payload.is_empty())
    }

    /// Reads the next event from `input` and moves `input` past it. Returns `None` when the input
    /// is used up. `max` limits the bytes of one message, all fragments together.
    ///
    /// # Errors
    /// The peer broke RFC 6455 or the limit. Close with [`FrameError::close_code`].
    pub fn receive<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        max: usize,
    ) -> Result<Option<Event<'b>>, FrameError> {
        let result = self.advance(input, max);
        match &result {
            Err(_) | Ok(Some(Event::Close(..))) => {
                self.done = true;
                self.partial = None;
                *input = &mut [];
            }
            Ok(_) if self.partial.as_ref().is_some_and(|p| p.is_empty()) => self.partial = None,
            Ok(_) => {}
        }
        result
    }

    fn advance<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        max: usize,
    ) -> Result<Option<Event<'b>>, FrameError> {
        loop {
            if self.done {
                *input = &mut [];
            }
            if input.is_empty() {
                return Ok(None);
            }
            if self.partial.as_ref().is_none_or(|p| p.frame.is_none()) {
                let Some(header) = self.next_header(input)? else {
                    return Ok(None);
                };
                self.frames = self.frames.saturating_add(1);
                self.check(&header, max)?;
                if let Some(event) = self.take_whole(&header, input)? {
                    return Ok(Some(event));
                }
                self.begin(header);
            }
            if let Some(event) = self.continue_frame(input)? {
                return Ok(Some(event));
            }
        }
    }

    /// Reads the next header, from the input and from what an earlier input left of the header.
    fn next_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, FrameError> {
        let held = self.partial.as_ref().map_or(0, |p| p.header_len);
        if held == 0
            && let Some((header, size)) = frame::parse_header(input)?
        {
            skip(input, size);
            return Ok(Some(header));
        }
        let partial = self.partial.get_or_insert_default();
        while let Some(&byte) = input.first() {
            partial.header[partial.header_len] = byte;
            partial.header_len += 1;
            skip(input, 1);
            if let Some((header, _)) = frame::parse_header(&partial.header[..partial.header_len])? {
                partial.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks a header against the frames before it and against the limit.
    fn check(&self, header: &Header, max: usize) -> Result<(), FrameError> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(FrameError::NotMasked),
            (Role::Client, Some(_)) => return Err(FrameError::Masked),
            _ => {}
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        let open = self.partial.as_ref().and_then(|p| p.message.as_ref());
        match (header.opcode, open) {
            (Opcode::Continuation, None) => return Err(FrameError::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(FrameError::ExpectedContinuation);
            }
            _ => {}
        }
        let before = open.map_or(0, |m| m.payload.len());
        if header.len > max.saturating_sub(before) as u64 {
            return Err(FrameError::TooBig);
        }
        Ok(())
    }

    /// Takes a payload that is whole in the input, without a copy: the fast path.
    fn take_whole<'b>(
        &mut self,
        header: &Header,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<'b>>, FrameError> {
        let kind = match header.opcode {
            Opcode::Text if header.fin => Some(MessageKind::Text),
            Opcode::Binary if header.fin => Some(MessageKind::Binary),
            opcode if opcode.is_control() => None,
            _ => return Ok(None),
        };
        let Ok(len) = usize::try_from(header.len) else {
            return Ok(None);
        };
        if len > input.len() {
            return Ok(None);
        }
        let (payload, rest) = std::mem::take(input).split_at_mut(len);
        *input = rest;
        if let Some(key) = header.mask {
            mask::apply(payload, key, 0);
        }
        let Some(kind) = kind else {
            return control_event(header.opcode, Cow::Borrowed(payload)).map(Some);
        };
        if kind == MessageKind::Text && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(FrameError::Utf8);
        }
        Ok(Some(Event::Message(kind, Cow::Borrowed(payload))))
    }

    fn begin(&mut self, header: Header) {
        let partial = self.partial.get_or_insert_default();
        let kind = match header.opcode {
            Opcode::Text => Some(MessageKind::Text),
            Opcode::Binary => Some(MessageKind::Binary),
            _ => None,
        };
        if let Some(kind) = kind {
            partial.message = Some(Message {
                kind,
                payload: Vec::new(),
                valid: 0,
                last: header.fin,
            });
        } else if let (Opcode::Continuation, Some(message)) =
            (header.opcode, partial.message.as_mut())
        {
            message.last = header.fin;
        }
        partial.frame = Some(Incoming {
            header,
            received: 0,
        });
    }

    /// Copies the input's part of the frame that is being received. Returns an event if the frame
    /// completes one.
    fn continue_frame<'b>(
        &mut self,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<'b>>, FrameError> {
        let Some(partial) = self.partial.as_mut() else {
            return Ok(None);
        };
        let Some(frame) = partial.frame.as_mut() else {
            return Ok(None);
        };
        let Header {
            opcode, mask, len, ..
        } = frame.header;
        let left = usize::try_from(len).unwrap_or(usize::MAX) - frame.received;
        let here = left.min(input.len());
        let (piece, rest) = std::mem::take(input).split_at_mut(here);
        *input = rest;
        if let Some(key) = mask {
            mask::apply(piece, key, frame.received);
        }
        frame.received += piece.len();
        self.copied = self.copied.saturating_add(piece.len() as u32);
        let complete = piece.len() == left;
        if complete {
            partial.frame = None;
        }
        if opcode.is_control() {
            partial.control.extend_from_slice(piece);
            if !complete {
                return Ok(None);
            }
            let payload = std::mem::take(&mut partial.control);
            return control_event(opcode, Cow::Owned(payload)).map(Some);
        }
        let Some(message) = partial.message.as_mut() else {
            return Ok(None);
        };
        if message.payload.capacity() == 0 && piece.len() >= LARGE {
            message.payload.reserve_exact(piece.len().max(ROOM));
        }
        message.payload.extend_from_slice(piece);
        let whole = complete && message.last;
        message.check_text(whole)?;
        if !whole {
            return Ok(None);
        }
        let message = partial.message.take();
        Ok(message.map(|m| Event::Message(m.kind, Cow::Owned(m.payload))))
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }
}

impl Message {
    /// Checks that the copied text is UTF-8. Fails at the first invalid byte, before the message is
    /// whole.
    fn check_text(&mut self, whole: bool) -> Result<(), FrameError> {
        if self.kind == MessageKind::Binary {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.payload[self.valid..]) {
            Ok(_) => self.valid = self.payload.len(),
            // A character cut in two is no error before the end of the message.
            Err(error) if error.error_len().is_none() && !whole => {
                self.valid += error.valid_up_to()
            }
            Err(_) => return Err(FrameError::Utf8),
        }
        Ok(())
    }
}

fn control_event(opcode: Opcode, payload: Cow<'_, [u8]>) -> Result<Event<'_>, FrameError> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        _ => {
            let (code, reason) = match &*payload {
                [] => return Ok(Event::Close(None, String::new())),
                [_] => return Err(FrameError::ShortClose),
                [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
            };
            if !code.is_valid_on_wire() {
                return Err(FrameError::CloseCode);
            }
            let reason = std::str::from_utf8(reason).map_err(|_| FrameError::Utf8)?;
            Event::Close(Some(code), reason.to_owned())
        }
    })
}

fn skip(input: &mut &mut [u8], count: usize) {
    *input = &mut std::mem::take(input)[count..];
}
