//! Connections to a listener of the test's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::{Events, Poll, Token};
use trunkline_proto::Encoding;

use super::*;
use crate::clock::SECOND;
use crate::driver::gateway::{Session, Trunkline};
use crate::stats::Counters;

/// Connections of `devices` devices to a listener, with what drives them.
pub(in crate::client) struct Rig {
    poll: Poll,
    pub(in crate::client) connections: Connections<Trunkline>,
    pub(in crate::client) listener: TcpListener,
    pub(in crate::client) counters: Counters,
}

impl Rig {
    pub(in crate::client) fn new(devices: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let destination = Destination {
            address: listener.local_addr().unwrap(),
            tls: None,
        };
        let spread = Spread::of_one(vec![destination], 0);
        let driver = Trunkline::new(vec!["here".into()], "/v1/ws".into(), Encoding::Json, 1);
        Self {
            connections: Connections::new(route(), driver, registry, devices, spread),
            poll,
            listener,
            counters: Counters::default(),
        }
    }

    /// Waits for readiness until a device's event is as `wanted`.
    fn until(
        &mut self,
        device: u32,
        wanted: impl Fn(&mut Connections<Trunkline>, &Readiness) -> bool,
    ) {
        let mut events = Events::with_capacity(16);
        for _ in 0..100 {
            let patience = Some(Duration::from_secs(10));
            self.poll.poll(&mut events, patience).unwrap();
            for event in &events {
                if event.token() == Token(device as usize) && wanted(&mut self.connections, event) {
                    return;
                }
            }
        }
        panic!("device {device}: the event did not come");
    }

    /// Opens the TCP connection of a device: the gateway's end.
    fn connect(&mut self, device: u32, now: Nanos) -> TcpStream {
        self.connections.begin(now, device).unwrap();
        let (peer, _) = self.listener.accept().unwrap();
        self.until(device, |connections, event| {
            connections.progress(device, event).unwrap() == Progress::Connected
        });
        peer
    }

    /// Reads what came for a device.
    fn read(&mut self, device: u32) -> Vec<u8> {
        let mut buffer = vec![0; 4_096];
        self.until(device, |_, event| event.is_readable());
        let received = self
            .connections
            .read(device, &mut buffer, &mut self.counters);
        assert_eq!(received.ended, None);
        buffer.truncate(received.plain);
        buffer
    }
}

fn route() -> Route {
    Route {
        source: None,
        thread: 0,
        threads: 1,
        connecting_max: 2,
        seed: 1,
    }
}

/// What the driver keeps for a device.
fn session(rig: &mut Rig, device: u32) -> &mut Session {
    rig.connections.session(device).unwrap()
}

/// What a peer reads at once.
fn heard(peer: &mut TcpStream) -> String {
    let mut bytes = [0; 4_096];
    let read = peer.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[test]
fn connections_are_counted_while_they_open_and_until_they_are_taken() {
    let mut rig = Rig::new(3);
    for device in 0..2 {
        assert!(!rig.connections.is_full());
        rig.connections.begin(0, device).unwrap();
    }
    assert!(rig.connections.is_full());
    assert_eq!(
        (rig.connections.alive(), rig.connections.connecting()),
        (2, 2)
    );
    let ended = rig.connections.take(1).unwrap();
    assert_eq!(ended.state, ConnectionState::Connecting);
    assert!(rig.connections.take(1).is_none());
    assert_eq!(
        (rig.connections.alive(), rig.connections.connecting()),
        (1, 1)
    );
}

#[test]
fn a_connection_is_overdue_once_and_only_while_it_opens() {
    let mut rig = Rig::new(3);
    rig.connections.begin(0, 0).unwrap();
    rig.connections.begin(SECOND, 1).unwrap();
    rig.connections.begin(2 * SECOND, 2).unwrap();
    let timeout = 10 * SECOND;
    assert_eq!(rig.connections.overdue(10 * SECOND - 1, timeout), None);
    assert_eq!(rig.connections.overdue(10 * SECOND, timeout), Some(0));
    rig.connections.take(0);
    // Begun again, it has its time again.
    rig.connections.take(1);
    rig.connections.begin(9 * SECOND, 1).unwrap();
    assert_eq!(rig.connections.overdue(13 * SECOND, timeout), Some(2));
    rig.connections.take(2);
    assert_eq!(rig.connections.overdue(13 * SECOND, timeout), None);
    assert_eq!(rig.connections.overdue(19 * SECOND, timeout), Some(1));
}

#[test]
fn a_session_opens_step_by_step_and_is_closed_with_a_frame() {
    let mut rig = Rig::new(1);
    let mut peer = rig.connect(0, 5);
    assert_eq!(rig.connections.connected(7, 0), Some(5));
    rig.connections
        .write(0, |driver, line| driver.upgrade(line, 0));
    assert_eq!(rig.connections.take_dirty(), [0]);
    rig.connections.flush(0, &mut rig.counters).unwrap();
    let request = heard(&mut peer);
    assert!(request.starts_with("GET /v1/ws HTTP/1.1\r\n"), "{request}");
    assert_eq!(rig.counters.bytes_out, request.len() as u64);
    let parsed = trunkline_proto::handshake::parse_request(request.as_bytes(), 8_192);
    let (upgrade, _) = parsed.unwrap().unwrap();
    let mut answer = Vec::new();
    upgrade.accept(&mut answer);
    answer.extend_from_slice(b"frames");
    // The answer comes in two pieces, and frames follow it.
    let (head, rest) = answer.split_at_mut(20);
    let (mut head, mut rest) = (head, rest);
    assert!(matches!(rig.connections.event(8, 0, &mut head), Ok(None)));
    assert!(head.is_empty());
    let ready = rig.connections.event(8, 0, &mut rest);
    assert!(matches!(ready, Ok(Some(Event::Ready))), "{ready:?}");
    assert_eq!(rest, b"frames");
    assert!(rig.connections.opened(0).is_none(), "nobody asked yet");
    assert_eq!(rig.connections.authenticate(9, 0), Some(7));
    assert_eq!(rig.connections.connecting(), 1);
    let opened = rig.connections.opened(0).unwrap();
    assert_eq!((opened.begun, opened.asked), (5, 9));
    assert!(rig.connections.is_open(0));
    assert_eq!(
        (rig.connections.alive(), rig.connections.connecting()),
        (1, 0)
    );
    session(&mut rig, 0).note_position("4096");
    rig.connections.leave(0);
    assert_eq!(rig.connections.state(0), Some(ConnectionState::Leaving));
    let ended = rig.connections.take(0).unwrap();
    assert_eq!(ended.position.as_deref(), Some("4096"));
    assert_eq!(rig.connections.alive(), 0);
}

#[test]
fn a_refusal_says_why_and_when_to_come_again() {
    let mut rig = Rig::new(1);
    let mut peer = rig.connect(0, 0);
    rig.connections.connected(0, 0);
    rig.connections
        .write(0, |driver, line| driver.upgrade(line, 0));
    peer.write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\nlater")
        .unwrap();
    let mut answer = rig.read(0);
    let broken = rig
        .connections
        .event(0, 0, &mut &mut answer[..])
        .unwrap_err();
    assert!(broken.why.ends_with(": later"), "{broken:?}");
    assert_eq!(broken.refused.unwrap().retry_after, Some(3));
}

#[test]
fn no_position_is_gone_on_from_while_missed_events_are_fetched() {
    let mut rig = Rig::new(1);
    rig.connections.begin(0, 0).unwrap();
    session(&mut rig, 0).note_position("12");
    assert_eq!(session(&mut rig, 0).note_gap().as_deref(), Some("12"));
    assert_eq!(session(&mut rig, 0).note_gap(), None, "a page is under way");
    assert_eq!(rig.connections.take(0).unwrap().position, None);
    rig.connections.begin(0, 0).unwrap();
    session(&mut rig, 0).note_position("12");
    session(&mut rig, 0).note_gap();
    session(&mut rig, 0).give_up_catching_up();
    assert_eq!(
        rig.connections.take(0).unwrap().position.as_deref(),
        Some("12")
    );
}
