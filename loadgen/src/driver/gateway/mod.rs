//! The gateway's own protocol, in JSON or protobuf over WebSocket.

mod catch_up;

use compact_str::CompactString;
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection as Framing, Role};
use trunkline_proto::frame::{Opcode, write_with};
use trunkline_proto::handshake;
use trunkline_proto::message::{Command, CommandBody};

use super::websocket::{self, Masks, Payload, Upgrade};
use super::{Broken, Driver, Event, Line};
use crate::clock::Nanos;
use catch_up::CatchUp;

/// The driver of the gateway's own protocol.
#[derive(Debug)]
pub(crate) struct Trunkline {
    /// The Host header of the upgrade, for each target.
    hosts: Vec<String>,
    /// The path of the upgrade.
    path: String,
    encoding: Encoding,
    masks: Masks,
}

/// What a connection keeps: the frame that is incomplete, and where the session is in the user's
/// events.
#[derive(Debug)]
pub(crate) struct Session {
    framing: Framing,
    /// The position of the last push, as the gateway calls it; short ones need no allocation.
    position: CompactString,
    /// The fetching of missed events; `None` if there is none.
    catching_up: Option<CatchUp>,
}

impl Trunkline {
    /// Makes the driver of a thread, whose targets have these hosts.
    pub(crate) fn new(hosts: Vec<String>, path: String, encoding: Encoding, seed: u64) -> Self {
        Self {
            hosts,
            path,
            encoding,
            masks: Masks::new(seed),
        }
    }

    /// Returns the encoding of messages.
    pub(crate) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends the request for the upgrade to the target at this place.
    pub(crate) fn upgrade(&mut self, line: Line<'_, Upgrade, Session>, target: usize) {
        if let Some(upgrade) = line.opening {
            let host = self.hosts.get(target).map_or("", String::as_str);
            let (path, key) = (&self.path, upgrade.key());
            handshake::write_request(line.out, host, path, &key, self.encoding);
        }
    }

    /// Appends a command.
    pub(crate) fn command(&mut self, out: &mut Vec<u8>, id: u32, body: CommandBody<'_>) {
        let (encoding, mask) = (self.encoding, self.masks.next());
        let opcode = match encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let command = Command { id, body };
        write_with(out, opcode, mask, |out| {
            encoding.encode_command(&command, out)
        });
    }
}

impl Driver for Trunkline {
    type Opening = Upgrade;
    type Session = Session;
    type Said<'b> = Payload<'b>;

    fn begin(&mut self, random: [u8; 16]) -> (Upgrade, Session) {
        let session = Session {
            framing: Framing::new(Role::Client),
            position: CompactString::default(),
            catching_up: None,
        };
        (Upgrade::new(random), session)
    }

    fn receive<'b>(
        &mut self,
        _now: Nanos,
        line: Line<'_, Upgrade, Session>,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<Payload<'b>>>, Broken> {
        if let Some(upgrade) = line.opening.filter(|it| !it.is_done()) {
            let encoding = self.encoding;
            let done = upgrade.answer(input, |head, key| {
                handshake::parse_response(head, key, encoding)
            })?;
            return Ok(done.then_some(Event::Ready));
        }
        websocket::receive(&mut line.session.framing, &mut self.masks, input, line.out)
    }

    fn close(&mut self, line: Line<'_, Upgrade, Session>) {
        websocket::close(&mut self.masks, line.out);
    }

    fn position(session: Session) -> Option<CompactString> {
        match session.catching_up {
            Some(_) => None,
            None => Some(session.position),
        }
    }
}

impl Session {
    /// Stores the position of the last push. The first one is the position of the session's
    /// opening.
    ///
    /// The positions in answers to `send` do not count. The gateway may leave out pushes, but never
    /// answers. So a client that asked from the position of an answer would miss left-out pushes
    /// before it.
    pub(crate) fn note_position(&mut self, position: &str) {
        self.position.clear();
        self.position.push_str(position);
    }

    /// Notes that the gateway left out live pushes. Returns the position from which to fetch them;
    /// `None` while a page is under way.
    pub(crate) fn note_gap(&mut self) -> Option<CompactString> {
        CatchUp::gap(&mut self.catching_up).then(|| self.position.clone())
    }

    /// Notes that a page of missed events came. Returns whether to ask for the next page.
    pub(crate) fn note_page(&mut self, more: bool) -> bool {
        CatchUp::page(&mut self.catching_up, more)
    }

    /// The missed events cannot be fetched.
    pub(crate) fn give_up_catching_up(&mut self) {
        self.catching_up = None;
    }
}
