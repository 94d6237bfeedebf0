//! A topic with very many subscribers, and a topic with more publications than can be delivered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};
use trunkline_proto::Encoding::Json;
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake::{key_from, parse_response, write_request};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Setup;
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait::{LIMIT, until};

const TOPIC: &str = "live.42";
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// A subscriber that sends all its commands at once, so that many connect quickly.
struct Subscriber {
    stream: TcpStream,
    framing: Connection,
    /// The bytes of the gateway's answer to the upgrade; empty once it is read.
    upgrade: Option<Vec<u8>>,
    /// Messages of the gateway that no call has returned yet, newest first.
    said: Vec<Value>,
}

impl Subscriber {
    fn connect(gateway: SocketAddr, user: &str) -> Self {
        let mut stream = TcpStream::connect(gateway).expect("the gateway listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut bytes = Vec::new();
        let key = key_from(*b"not very random.");
        write_request(&mut bytes, "localhost", "/v1/ws", &key, Json);
        for command in [
            json!({"id": 1, "connect": {"user": user, "device": "phone"}}),
            json!({"id": 2, "subscribe": {"topic": TOPIC}}),
        ] {
            let text = command.to_string();
            write_frame(&mut bytes, Opcode::Text, text.as_bytes(), MASK);
        }
        stream.write_all(&bytes).expect("the gateway reads");
        Self {
            stream,
            framing: Connection::new(Role::Client),
            upgrade: Some(Vec::new()),
            said: Vec::new(),
        }
    }

    /// Waits for the next message of the gateway and returns it.
    fn hear(&mut self) -> Value {
        let key = key_from(*b"not very random.");
        let mut piece = [0; 4 << 10];
        while self.said.is_empty() {
            let read = self.stream.read(&mut piece).expect("something is said");
            assert_ne!(read, 0, "the gateway ended it");
            let mut bytes = piece[..read].to_vec();
            if let Some(mut head) = self.upgrade.take() {
                head.append(&mut bytes);
                match parse_response(&head, &key, Json).expect("an upgrade") {
                    None => self.upgrade = Some(head),
                    Some(size) => bytes = head.split_off(size),
                }
            }
            let mut input = &mut bytes[..];
            while let Some(event) = self.framing.receive(&mut input, 1 << 20).expect("frames") {
                match event {
                    Event::Message(_, payload) => {
                        let said = serde_json::from_slice(&payload).expect("JSON");
                        self.said.push(said);
                    }
                    // They are spread over their interval, and some come soon.
                    Event::Ping(payload) => {
                        let mut pong = Vec::new();
                        write_frame(&mut pong, Opcode::Pong, &payload, MASK);
                        self.stream.write_all(&pong).expect("the gateway reads");
                    }
                    other => panic!("{other:?}"),
                }
            }
            self.said.reverse();
        }
        self.said.pop().expect("there is something")
    }
}

/// Every subscriber gets every publication, and users who exchange messages do not notice.
#[test]
fn ten_thousand_subscribers() {
    const SUBSCRIBERS: usize = 10_000;
    const THREADS: usize = 4;
    const PUBLICATIONS: u64 = 5;
    let began = Instant::now();
    let gateway = Setup::default().flag("shards", 2).start();
    let mut neighbours = Neighbours::of(&gateway, "large-topic");
    let mut publisher = gateway.dial().connect("publisher", "phone");
    let mut parts: Vec<Vec<Subscriber>> = std::thread::scope(|scope| {
        let part = |part: usize| {
            let address = gateway.ws();
            let connect = move |i| Subscriber::connect(address, &format!("s{part}-{i}"));
            scope.spawn(move || (0..SUBSCRIBERS / THREADS).map(connect).collect())
        };
        let parts: Vec<_> = (0..THREADS).map(part).collect();
        let done = parts.into_iter().map(|part| part.join());
        done.map(|part| part.expect("all are connected")).collect()
    });
    let mut all: Vec<_> = parts.iter_mut().flatten().collect();
    for subscriber in &mut all {
        assert!(subscriber.hear()["connect"].is_object());
        assert!(subscriber.hear()["subscribe"].is_object());
    }
    for i in 0..PUBLICATIONS {
        publisher.done("publish", &json!({"topic": TOPIC, "data": i}));
        neighbours.chat();
    }
    for subscriber in &mut all {
        for i in 0..PUBLICATIONS {
            let push = subscriber.hear();
            assert_eq!(push["push"]["publication"]["data"], i, "{push}");
        }
    }
    let told = gateway.metric("trunkline_pushes_total{event=\"passing\"}");
    assert_eq!(told, (SUBSCRIBERS as u64 * PUBLICATIONS) as f64);
    println!("that took {:?}", began.elapsed());
}

/// The last publication finds no room, and no later event would show its loss. All subscribers must
/// still learn of it.
#[test]
fn the_last_is_not_lost_in_silence() {
    const SUBSCRIBERS: usize = 40;
    let gateway = Setup::default().flag("outbox-bytes", "64MiB").start();
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|i| gateway.dial().shard(1).connect(&format!("s{i}"), "phone"))
        .collect();
    for subscriber in &mut subscribers {
        subscriber.done("subscribe", &json!({"topic": TOPIC}));
    }
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut published = 0;
    while gateway.metric("trunkline_limited_total{limit=\"passing\"}") == 0.0 {
        for _ in 0..6 {
            let publish = |i: u64| json!({"publish": {"topic": TOPIC, "data": i}});
            let numbers = published..published + 1_000;
            alice.post_raw(&numbers.map(publish).collect::<Vec<_>>());
            published += 1_000;
        }
        alice.ping();
        assert!(published < 100_000, "all of it is told");
    }
    // The last publication that some of the subscribers have got so far.
    let mut heard: Vec<Option<Value>> = vec![None; 10];
    until("everybody to know how it ended", || {
        let knows = |(subscriber, heard): (&mut Client, &mut Option<Value>)| {
            subscriber.ping();
            if let Some(push) = subscriber.waiting().pop() {
                *heard = Some(push);
            }
            heard.as_ref().is_some_and(|push| {
                push["gap"].is_object() || push["publication"]["data"] == published - 1
            })
        };
        let all: Vec<_> = subscribers.iter_mut().zip(&mut heard).map(knows).collect();
        all.iter().all(|knows| *knows).then_some(())
    });
}
