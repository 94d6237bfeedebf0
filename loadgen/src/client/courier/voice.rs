//! What a courier says to a server and hears from it, in each protocol.

use std::sync::Arc;

use trunkline_proto::message::{CommandBody, Connect, Event, ReplyBody, Send, ServerMessage};

use super::super::connections::Connections;
use crate::clock::Nanos;
use crate::driver::Driver;
use crate::driver::gateway::Trunkline;
use crate::driver::text::{Heard, Outgoing, TextDriver};
use crate::tokens::Signer;

/// The place of the courier's connection, which is the only one.
pub(super) const DEVICE: u32 = 0;

/// The id of the command that opens the session in the gateway's own protocol.
const OPEN_ID: u32 = 1;

/// The first id of a message. Ids are numbers of messages and this.
const FIRST_ID: u32 = 2;

/// Something that the server says.
#[derive(Debug)]
pub(super) enum Word {
    /// The session is open.
    Opened,
    /// The server has taken the message with this number.
    Acked(u32),
    /// The server refuses the message with this number, and why.
    Refused(u32, String),
    /// A message with this text.
    Came(String),
}

/// The courier's end of a protocol.
pub(super) trait Voice {
    type Driver: Driver;

    /// Appends the first bytes of the connection.
    fn connect(&mut self, connections: &mut Connections<Self::Driver>);

    /// Asks for the session. Returns whether it counts as open at once.
    fn open(&mut self, connections: &mut Connections<Self::Driver>) -> bool;

    /// Returns whether the session takes another message now.
    fn has_room(&self, _connections: &Connections<Self::Driver>) -> bool {
        true
    }

    /// Appends the message with this number.
    fn send(
        &mut self,
        connections: &mut Connections<Self::Driver>,
        number: u32,
        peer: &str,
        text: &str,
    );

    /// Appends to `words` what a message of the server says.
    ///
    /// # Errors
    /// The server refuses the session or breaks the protocol.
    fn hear(
        &mut self,
        connections: &mut Connections<Self::Driver>,
        said: <Self::Driver as Driver>::Said<'_>,
        words: &mut Vec<Word>,
    ) -> Result<(), String>;

    /// Returns the time between two pings; `None` if the client sends none.
    fn ping_every(&self, _connections: &Connections<Self::Driver>) -> Option<Nanos> {
        None
    }

    /// Appends a ping.
    fn ping(&mut self, _connections: &mut Connections<Self::Driver>) {}
}

/// The gateway's own protocol.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) user: String,
    pub(super) signer: Option<Arc<Signer>>,
}

fn command(connections: &mut Connections<Trunkline>, id: u32, body: CommandBody<'_>) {
    connections.write(DEVICE, |driver, line| driver.command(line.out, id, body));
}

impl Voice for Own {
    type Driver = Trunkline;

    fn connect(&mut self, connections: &mut Connections<Trunkline>) {
        let target = connections.target_of(DEVICE);
        connections.write(DEVICE, |driver, line| driver.upgrade(line, target));
    }

    fn open(&mut self, connections: &mut Connections<Trunkline>) -> bool {
        let signer = self.signer.as_ref();
        // Without a token the gateway reports what is missing.
        let token = signer.and_then(|it| it.token(&self.user).ok());
        let connect = Connect {
            token: token.as_deref().map(Into::into),
            user: Some((&*self.user).into()),
            device: Some("d0".into()),
            ..Connect::default()
        };
        command(connections, OPEN_ID, CommandBody::Connect(connect));
        false
    }

    fn send(
        &mut self,
        connections: &mut Connections<Trunkline>,
        number: u32,
        peer: &str,
        text: &str,
    ) {
        let send = Send {
            user: Some(peer.into()),
            text: Some(text.into()),
            ..Send::default()
        };
        let id = number.wrapping_add(FIRST_ID);
        command(connections, id, CommandBody::Send(send));
    }

    fn hear(
        &mut self,
        connections: &mut Connections<Trunkline>,
        said: <Trunkline as Driver>::Said<'_>,
        words: &mut Vec<Word>,
    ) -> Result<(), String> {
        let encoding = connections.driver().encoding();
        let mut wrong = None;
        let read = encoding.decode_server(&said, |message| match message {
            ServerMessage::Reply(reply) => match &reply.body {
                ReplyBody::Connect(_) => words.push(Word::Opened),
                ReplyBody::Send(_) => words.push(Word::Acked(reply.id.wrapping_sub(FIRST_ID))),
                ReplyBody::Error(error) => {
                    let why = format!("{} {}: {}", error.code, error.name, error.message);
                    match reply.id.checked_sub(FIRST_ID) {
                        Some(number) => words.push(Word::Refused(number, why)),
                        None => wrong = Some(format!("the gateway refuses the session: {why}")),
                    }
                }
                _ => {}
            },
            ServerMessage::Push(push) => match &push.event {
                Event::Message(message) => {
                    let text = message.text.as_deref().unwrap_or_default();
                    words.push(Word::Came(text.to_owned()));
                }
                // What was left out would look lost.
                Event::Gap(_) => wrong = Some("the gateway left out live pushes".to_owned()),
                Event::Disconnect(why) => {
                    let (code, reason) = (why.code, &why.reason);
                    wrong = Some(format!("the gateway asks to disconnect: {code} {reason}"));
                }
                _ => {}
            },
        });
        read.map_err(|why| why.to_string())?;
        wrong.map_or(Ok(()), Err)
    }
}

/// The protocol of a server that passes texts on.
#[derive(Debug)]
pub(super) struct Plain<D> {
    user: String,
    driver: std::marker::PhantomData<D>,
}

impl<D> Plain<D> {
    /// Makes the voice of this user.
    pub(super) fn new(user: String) -> Self {
        Self {
            user,
            driver: std::marker::PhantomData,
        }
    }
}

impl<D: TextDriver> Voice for Plain<D> {
    type Driver = D;

    fn connect(&mut self, connections: &mut Connections<D>) {
        connections.write(DEVICE, |driver, line| driver.connect(line, &self.user));
    }

    fn open(&mut self, connections: &mut Connections<D>) -> bool {
        let open = connections.write(DEVICE, |driver, line| driver.open(line, &self.user));
        open == Some(true)
    }

    fn has_room(&self, connections: &Connections<D>) -> bool {
        connections.has_room(DEVICE)
    }

    fn send(&mut self, connections: &mut Connections<D>, number: u32, peer: &str, text: &str) {
        let message = Outgoing {
            id: number.wrapping_add(FIRST_ID),
            user: &self.user,
            peer,
            text,
        };
        connections.write(DEVICE, |driver, line| driver.send(line, &message));
    }

    fn hear(
        &mut self,
        connections: &mut Connections<D>,
        mut said: D::Said<'_>,
        words: &mut Vec<Word>,
    ) -> Result<(), String> {
        loop {
            let heard = connections.answer(DEVICE, |driver, line| driver.hear(line, &mut said));
            let word = match heard.transpose()?.flatten() {
                None => return Ok(()),
                Some(Heard::Opened) => Word::Opened,
                Some(Heard::Acked(id)) => Word::Acked(id.wrapping_sub(FIRST_ID)),
                Some(Heard::Refused { id, why }) => match id.checked_sub(FIRST_ID) {
                    Some(number) => Word::Refused(number, why),
                    None => return Err(format!("the server refuses the session: {why}")),
                },
                Some(Heard::Pushed(text)) => Word::Came(text.into_owned()),
                Some(Heard::Pinged | Heard::Strange(_)) => continue,
            };
            words.push(word);
        }
    }

    fn ping_every(&self, connections: &Connections<D>) -> Option<Nanos> {
        connections.driver().ping_every()
    }

    fn ping(&mut self, connections: &mut Connections<D>) {
        connections.write(DEVICE, |driver, line| driver.ping(line, &self.user));
    }
}
