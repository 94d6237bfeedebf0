//! Connections to a broker, in memory.

use super::*;

fn mqtt(text: &str, websocket: bool) -> Mqtt {
    let protocol: Protocol = toml::from_str(text).unwrap();
    Mqtt::new(&protocol, websocket, ("h".into(), "/mqtt".into()), 1).unwrap()
}

/// A connection over TCP, in memory.
struct Bench {
    driver: Mqtt,
    opening: Option<Opening>,
    session: Session,
    out: Vec<u8>,
}

impl Bench {
    fn new(text: &str) -> Self {
        let mut driver = mqtt(text, false);
        let (opening, session) = driver.begin([0; 16]);
        let mut bench = Self {
            driver,
            opening: Some(opening),
            session,
            out: Vec::new(),
        };
        bench.with(|driver, line| driver.connect(line, "ann"));
        bench
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Mqtt, Line<'_, Opening, Session>) -> T) -> T {
        let line = Line {
            opening: self.opening.as_mut(),
            session: &mut self.session,
            out: &mut self.out,
        };
        act(&mut self.driver, line)
    }

    /// Gives bytes of the server: the events.
    fn give(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let mut all = Vec::new();
        loop {
            let event = self.with(|driver, line| driver.receive(0, line, &mut input));
            match event {
                Ok(None) => return all,
                Ok(Some(Event::Said(mut said))) => loop {
                    match self.with(|driver, line| {
                        let heard = driver.hear(line, &mut said);
                        heard.map(|it| it.map(|it| format!("{it:?}")))
                    }) {
                        Ok(Some(heard)) => all.push(heard),
                        Ok(None) => break,
                        Err(why) => {
                            all.push(why);
                            return all;
                        }
                    }
                },
                Ok(Some(other)) => all.push(format!("{other:?}")),
                Err(broken) => {
                    all.push(broken.why);
                    return all;
                }
            }
        }
    }

    fn send(&mut self, id: u32) {
        let message = Outgoing {
            id,
            user: "ann",
            peer: "bob",
            text: "hi",
        };
        self.with(|driver, line| driver.send(line, &message));
    }
}

const CONNACK: &[u8] = b"\x20\x06\0\0\x03\x21\0\x02";
const SUBACK: &[u8] = b"\x90\x04\0\x01\0\x01";

fn open(bench: &mut Bench) {
    assert_eq!(bench.give(CONNACK), ["Ready"]);
    bench.with(|driver, line| assert!(!driver.open(line, "ann")));
    assert_eq!(bench.give(SUBACK), ["Opened"]);
    bench.opening = None;
    bench.out.clear();
}

#[test]
fn a_session_opens_whatever_the_pieces() {
    for cut in 1..CONNACK.len() {
        let mut bench = Bench::new("kind = \"mqtt\"");
        assert!(bench.out.ends_with(b"\0\x03ann"), "{:x?}", bench.out);
        assert_eq!(bench.give(&CONNACK[..cut]), [""; 0], "{cut}");
        assert_eq!(bench.give(&CONNACK[cut..]), ["Ready"], "{cut}");
        bench.with(|driver, line| driver.open(line, "ann"));
        assert_eq!(bench.give(SUBACK), ["Opened"]);
    }
    // What comes behind CONNACK is not lost.
    let mut bench = Bench::new("kind = \"mqtt\"");
    assert_eq!(bench.give(&[CONNACK, SUBACK].concat()), ["Ready", "Opened"]);
}

#[test]
fn no_more_is_under_way_than_the_server_takes() {
    let mut bench = Bench::new("kind = \"mqtt\"");
    open(&mut bench);
    for id in [11, 12, 13] {
        bench.send(id);
    }
    assert_eq!(bench.session.waiting.len(), 1);
    let sent = bench.out.len();
    assert_eq!(bench.give(b"\x40\x02\0\x02"), ["Acked(11)"]);
    assert!(bench.out.len() > sent && bench.session.waiting.is_empty());
    assert_eq!(
        bench.give(b"\x40\x02\0\x04\x40\x02\0\x03"),
        ["Acked(13)", "Acked(12)"]
    );
    assert_eq!(bench.session.room, 2);
    assert!(bench.give(b"\x40\x02\0\x02")[0].starts_with("Strange"));
    for id in 0..2 + WAITING_MAX as u32 {
        assert!(bench.driver.has_room(&bench.session));
        bench.send(id);
    }
    assert!(!bench.driver.has_room(&bench.session));
}

#[test]
fn a_message_comes_in_pieces_and_is_acknowledged() {
    let mut bench = Bench::new("kind = \"mqtt\"");
    open(&mut bench);
    let mut message = Vec::new();
    packet::publish(MqttVersion::Five, Some(5), b"u/ann", b"hello", &mut message);
    let (one, two) = message.split_at(7);
    assert_eq!(bench.give(one), [""; 0]);
    assert_eq!(bench.give(two), ["Pushed(\"hello\")"]);
    assert_eq!(bench.out, b"\x40\x02\0\x05");
    assert_eq!(bench.give(b"\x40\x03\0\x09\x97").len(), 1);
}

#[test]
fn refusals_say_what_to_do() {
    let mut bench = Bench::new("kind = \"mqtt\"");
    let refused = bench.give(b"\x20\x03\0\x87\0");
    assert!(refused[0].contains("reason 0x87"), "{refused:?}");
    let mut bench = Bench::new("kind = \"mqtt\"");
    let refused = bench.give(b"\x20\x05\0\0\x02\x24\0");
    assert!(refused[0].contains("write qos = 0"), "{refused:?}");
    let mut bench = Bench::new("kind = \"mqtt\"");
    let refused = bench.give(b"\x20\x06\0\0\x03\x13\0\x0a");
    assert!(refused[0].contains("keep_alive = \"10s\""), "{refused:?}");
    let mut bench = Bench::new("kind = \"mqtt\"\nqos = 0");
    open(&mut bench);
    bench.send(1);
    assert!(bench.session.unacked.is_empty());
    assert!(bench.give(b"\xe0\x01\x8b")[0].contains("reason 0x8b"));
}

#[test]
fn over_websocket_packets_are_in_frames() {
    let mut driver = mqtt("kind = \"mqtt\"", true);
    let (mut opening, mut session) = driver.begin([0; 16]);
    let mut out = Vec::new();
    driver.connect(
        Line {
            opening: Some(&mut opening),
            session: &mut session,
            out: &mut out,
        },
        "ann",
    );
    let request = String::from_utf8(out).unwrap();
    assert!(request.starts_with("GET /mqtt HTTP/1.1\r\n"), "{request}");
    assert!(
        request.ends_with("Sec-WebSocket-Protocol: mqtt\r\n\r\n"),
        "{request}"
    );
}

#[test]
fn an_identifier_under_way_is_not_used_again() {
    let mut session = Bench::new("kind = \"mqtt\"").session;
    session.unacked = [(4, 40), (5, 50), (7, 70)].into();
    session.last = 3;
    assert_eq!((session.next_id(), session.next_id()), (6, 8));
    session.last = u16::MAX;
    session.unacked = [(2, 20), (3, 30)].into();
    assert_eq!(session.next_id(), 4);
}
