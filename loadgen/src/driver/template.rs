//! Any server that passes text over WebSocket, in the words of a scenario.

use std::sync::Arc;

use compact_str::CompactString;
use trunkline_proto::connection::{Connection as Framing, Role};
use trunkline_proto::frame::{Opcode, write_with};
use trunkline_proto::handshake::parse_response_for;

use super::text::{Heard, Outgoing, TextDriver};
use super::websocket::{self, Masks, Payload, Upgrade};
use super::{Broken, Driver, Event, Line};
use crate::clock::Nanos;
use crate::scenario::protocol::wording::Wording;
use crate::scenario::protocol::words::{Filling, Words};

/// The driver of a described protocol.
#[derive(Debug)]
pub(crate) struct Template {
    wording: Arc<Wording>,
    /// The Host header of the upgrade.
    host: String,
    /// The path of the target, for a template without one.
    path: String,
    masks: Masks,
}

/// A message of the server, and how far it has been looked at.
#[derive(Debug)]
pub(crate) struct Said<'b> {
    payload: Payload<'b>,
    step: Step,
    /// Where to look for the next match.
    at: usize,
    /// Whether anything in the message is described.
    known: bool,
}

/// What is looked for next in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ping,
    Opened,
    Pushed,
    Acked,
    Refused,
    Done,
}

impl Template {
    /// Makes the driver of a thread.
    pub(crate) fn new(wording: Arc<Wording>, host: String, path: String, seed: u64) -> Self {
        Self {
            wording,
            host,
            path,
            masks: Masks::new(seed),
        }
    }
}

/// Appends a text message.
fn say(words: &Words, with: &Filling<'_>, masks: &mut Masks, out: &mut Vec<u8>) {
    write_with(out, Opcode::Text, masks.next(), |out| {
        words.write(with, out)
    });
}

/// Returns whether a message, or one of its lines, is this one.
fn is_or_has_line(message: &[u8], wanted: &[u8]) -> bool {
    let mut lines = message.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii() == wanted)
}

impl Driver for Template {
    type Opening = Upgrade;
    type Session = Framing;
    type Said<'b> = Said<'b>;

    fn begin(&mut self, random: [u8; 16]) -> (Upgrade, Framing) {
        (Upgrade::new(random), Framing::new(Role::Client))
    }

    fn receive<'b>(
        &mut self,
        _now: Nanos,
        line: Line<'_, Upgrade, Framing>,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<Said<'b>>>, Broken> {
        if let Some(upgrade) = line.opening.filter(|it| !it.is_done()) {
            let offered = self.wording.upgrade.subprotocol.as_deref();
            let parse = |head: &[u8], key: &str| parse_response_for(head, key, offered);
            let done = upgrade.answer(input, parse)?;
            return Ok(done.then_some(Event::Ready));
        }
        let event = websocket::receive(line.session, &mut self.masks, input, line.out)?;
        Ok(event.map(|event| event.map(Said::new)))
    }

    fn close(&mut self, line: Line<'_, Upgrade, Framing>) {
        websocket::close(&mut self.masks, line.out);
    }

    fn position(_session: Framing) -> Option<CompactString> {
        None
    }
}

impl<'b> Said<'b> {
    fn new(payload: Payload<'b>) -> Self {
        Self {
            payload,
            step: Step::Ping,
            at: 0,
            known: false,
        }
    }
}

impl TextDriver for Template {
    fn connect(&mut self, line: Line<'_, Upgrade, Framing>, user: &str) {
        if let Some(upgrade) = line.opening {
            let (host, path) = (&self.host, &self.path);
            let words = &self.wording.upgrade;
            words.write(host, path, &upgrade.key(), user, line.out);
        }
    }

    fn open(&mut self, line: Line<'_, Upgrade, Framing>, user: &str) -> bool {
        let with = Filling {
            user,
            ..Filling::default()
        };
        for words in &self.wording.open {
            say(words, &with, &mut self.masks, line.out);
        }
        self.wording.opened.is_none()
    }

    fn send(&mut self, line: Line<'_, Upgrade, Framing>, message: &Outgoing<'_>) {
        let with = Filling {
            user: message.user,
            peer: message.peer,
            text: message.text,
            id: message.id,
        };
        say(&self.wording.send, &with, &mut self.masks, line.out);
    }

    fn hear<'s>(
        &mut self,
        line: Line<'_, Upgrade, Framing>,
        said: &'s mut Said<'_>,
    ) -> Result<Option<Heard<'s>>, String> {
        let wording = &*self.wording;
        let Said {
            payload,
            step,
            at,
            known,
        } = said;
        loop {
            let next = match *step {
                Step::Ping => {
                    *step = Step::Opened;
                    if let Some((when, answer)) = &wording.pong
                        && is_or_has_line(payload, when)
                    {
                        *known = true;
                        say(answer, &Filling::default(), &mut self.masks, line.out);
                        return Ok(Some(Heard::Pinged));
                    }
                    continue;
                }
                Step::Opened => {
                    *step = Step::Pushed;
                    let opened = wording.opened.as_ref().filter(|_| line.opening.is_some());
                    if opened.is_some_and(|it| it.find(payload, 0).is_some()) {
                        *known = true;
                        return Ok(Some(Heard::Opened));
                    }
                    continue;
                }
                Step::Pushed => {
                    if let Some(found) = wording.pushed.find(payload, *at) {
                        (*at, *known) = (found.next, true);
                        return Ok(Some(Heard::Pushed(found.value)));
                    }
                    Step::Acked
                }
                Step::Acked => {
                    let acked = wording.acked.as_ref();
                    if let Some(found) = acked.and_then(|it| it.find(payload, *at)) {
                        (*at, *known) = (found.next, true);
                        return Ok(Some(match found.value.parse() {
                            Ok(id) => Heard::Acked(id),
                            Err(_) => Heard::strange(payload),
                        }));
                    }
                    Step::Refused
                }
                Step::Refused => {
                    let refused = wording.refused.as_ref();
                    if let Some(found) = refused.and_then(|it| it.find(payload, *at)) {
                        (*at, *known) = (found.next, true);
                        return Ok(Some(match found.value.parse() {
                            Ok(id) => Heard::refused(id, payload),
                            Err(_) => Heard::strange(payload),
                        }));
                    }
                    Step::Done
                }
                Step::Done => {
                    let strange = !std::mem::replace(known, true) && !payload.is_empty();
                    return Ok(strange.then(|| Heard::strange(payload)));
                }
            };
            (*step, *at) = (next, 0);
        }
    }

    fn ping_every(&self) -> Option<Nanos> {
        self.wording.ping.as_ref().map(|(_, every)| *every)
    }

    fn ping(&mut self, line: Line<'_, Upgrade, Framing>, user: &str) {
        let with = Filling {
            user,
            ..Filling::default()
        };
        if let Some((words, _)) = &self.wording.ping {
            say(words, &with, &mut self.masks, line.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::protocol::Protocol;

    /// A session of a template, in memory.
    struct Bench {
        driver: Template,
        opening: Option<Upgrade>,
        session: Framing,
        out: Vec<u8>,
    }

    impl Bench {
        fn new(protocol: &str) -> Self {
            let protocol: Protocol = toml::from_str(protocol).unwrap();
            let wording = Wording::compile(&protocol).unwrap();
            let mut driver = Template::new(wording.into(), "h".into(), "/".into(), 1);
            let (opening, session) = driver.begin([7; 16]);
            Self {
                driver,
                opening: Some(opening),
                session,
                out: Vec::new(),
            }
        }

        /// Returns what one message of the server says.
        fn hear(&mut self, message: &str) -> Vec<String> {
            let mut said = Said::new(message.as_bytes().to_vec().into());
            let mut all = Vec::new();
            loop {
                let line = Line {
                    opening: self.opening.as_mut(),
                    session: &mut self.session,
                    out: &mut self.out,
                };
                match self.driver.hear(line, &mut said).unwrap() {
                    Some(heard) => all.push(format!("{heard:?}")),
                    None => return all,
                }
            }
        }
    }

    #[test]
    fn a_message_says_what_the_template_describes() {
        let mut bench = Bench::new(
            r#"
            kind = "template"
            opened = { contains = '"connect"' }
            send = '{"id":{id},"to":"{peer}","text":"{text}"}'
            acked = { contains = '"ok"', id = '/id' }
            refused = { contains = '"error"', id = '/id' }
            pushed = { contains = '"push"', text = '/push/text' }
            ping = { pong = '{}', when = '{}' }
            "#,
        );
        assert_eq!(bench.hear("{\"id\":1,\"connect\":{}}"), ["Opened"]);
        bench.opening = None;
        assert!(bench.hear("{\"id\":1,\"connect\":{}}")[0].starts_with("Strange"));
        assert_eq!(bench.hear("{\"id\":5,\"ok\":1}"), ["Acked(5)"]);
        assert_eq!(bench.hear("{\"push\":{\"text\":\"a\"}}"), ["Pushed(\"a\")"]);
        let refused = bench.hear("{\"id\":5,\"error\":\"no\"}");
        assert!(refused[0].starts_with("Refused { id: 5"), "{refused:?}");
        let lines = "{\"id\":6,\"ok\":1}\n{\"push\":{\"text\":\"b\"}}\n{}\n{\"id\":7,\"ok\":1}";
        let all = bench.hear(lines);
        assert_eq!(all, ["Pinged", "Pushed(\"b\")", "Acked(6)", "Acked(7)"]);
        assert!(!bench.out.is_empty());
        assert!(bench.hear("{\"id\":\"x\",\"ok\":1}")[0].starts_with("Strange"));
        assert!(bench.hear("hello")[0].starts_with("Strange"));
        assert_eq!(bench.hear(""), [""; 0]);
    }
}
