//! Bytes on the wire and on the disk: exact numbers, the same in each run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use trunkline_proto::Encoding;

use crate::TEXT;
use crate::client::{Client, To};
use crate::gateway::{ONLINE, Own};

/// The messages that are counted.
const MESSAGES: u64 = 64;

/// The messages before those. After them all sequences have three digits and two bytes as protobuf, and all positions
/// five digits.
const BEFORE: u64 = 130;

/// The sessions that are counted.
const SESSIONS: u64 = 64;

/// The rounds of sessions. The log has fewest bytes where all of a round are stored with one commit, which is
/// a matter of time.
const ROUNDS: u64 = 5;

/// The time in which the gateway stores when users were last seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two looks at the metrics.
const LOOK: Duration = Duration::from_millis(20);

/// A number of bytes, or in one line why there is none: a gateway failed, or it was not the same for each message.
type Number = Result<u64, String>;

/// Measures all numbers: their names, and bytes for each message or session.
pub(crate) fn measure() -> [(&'static str, Number); 6] {
    let json = Bytes::of(message(Encoding::Json));
    let proto = Bytes::of(message(Encoding::Proto));
    let session = Bytes::of(session());
    [
        ("message-wire-json", json.wire),
        ("message-wire-proto", proto.wire),
        ("message-disk", json.disk),
        ("group-message-disk", group_message().map_err(line)),
        ("session-wire", session.wire),
        ("session-disk", session.disk),
    ]
}

/// Bytes for each message or session.
struct Bytes {
    wire: Number,
    disk: Number,
}

impl Bytes {
    /// Neither is there if what measures both failed.
    fn of(measured: anyhow::Result<Self>) -> Self {
        measured.unwrap_or_else(|why| {
            let why = line(why);
            Self {
                wire: Err(why.clone()),
                disk: Err(why),
            }
        })
    }
}

fn line(why: anyhow::Error) -> String {
    format!("{why:#}").lines().collect::<Vec<_>>().join(" ")
}

/// Counts the bytes of a message of 120 bytes from one user to another, both online. On the wire: the
/// command, its reply and the push, with the headers of their frames. On the disk: what the log keeps,
/// with the frame of a commit.
fn message(encoding: Encoding) -> anyhow::Result<Bytes> {
    let own = Own::start()?;
    let mut both = [own.client("alice", encoding)?, own.client("bob", encoding)?];
    let text = "x".repeat(TEXT);
    let play = |both: &mut [Client; 2], messages| -> anyhow::Result<u64> {
        let before: u64 = both.iter().map(|client| client.bytes).sum();
        let [alice, bob] = both;
        for _ in 0..messages {
            alice.send(To::User("bob"), &text)?;
            bob.push()?;
        }
        Ok(both.iter().map(|client| client.bytes).sum::<u64>() - before)
    };
    play(&mut both, BEFORE)?;
    let log = log_bytes(own.gateway.control())?;
    let wire = play(&mut both, MESSAGES)?;
    let disk = log_bytes(own.gateway.control())? - log;
    own.gateway.stop()?;
    Ok(Bytes {
        wire: of_each("bytes on the wire", wire, MESSAGES).map_err(line),
        disk: of_each("bytes on the disk", disk, MESSAGES).map_err(line),
    })
}

/// Counts the bytes that the log keeps of a message of 120 bytes to a group of 33 members.
fn group_message() -> anyhow::Result<u64> {
    let own = Own::start()?;
    let mut alice = own.client("alice", Encoding::Json)?;
    let members: Vec<String> = (0..ONLINE).map(|member| format!("m{member:02}")).collect();
    alice.make_group("team", &members)?;
    let text = "x".repeat(TEXT);
    let mut play = |messages| -> anyhow::Result<()> {
        for _ in 0..messages {
            alice.send(To::Group("team"), &text)?;
        }
        Ok(())
    };
    play(BEFORE)?;
    let log = log_bytes(own.gateway.control())?;
    play(MESSAGES)?;
    let disk = log_bytes(own.gateway.control())? - log;
    own.gateway.stop()?;
    of_each("bytes on the disk", disk, MESSAGES)
}

/// Counts the bytes of a session without messages. On the wire: the hand-shake, `connect` and its reply.
/// On the disk: what the log keeps when it has ended.
fn session() -> anyhow::Result<Bytes> {
    let own = Own::start()?;
    let control = own.gateway.control();
    let (mut wire, mut least) = (0, Ok(u64::MAX));
    for round in 1..=ROUNDS {
        let log = log_bytes(control)?;
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            sessions.push(own.client(&format!("user{number:02}"), Encoding::Json)?);
        }
        // The first positions are shorter than later ones.
        wire = sessions
            .iter()
            .map(|client| client.bytes)
            .max()
            .unwrap_or_default();
        drop(sessions);
        least = least.and_then(|least| {
            await_last_seen(control, round * SESSIONS)?;
            Ok(least.min(log_bytes(control)? - log))
        });
    }
    own.gateway.stop()?;
    Ok(Bytes {
        wire: Ok(wire),
        disk: least.map(|least| least.div_ceil(SESSIONS)).map_err(line),
    })
}

/// Waits until the gateway has stored when this many sessions ended.
fn await_last_seen(control: SocketAddr, sessions: u64) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while number(control, "trunkline_last_seen_stored_total")? < sessions {
        ensure!(
            Instant::now() < until,
            "the gateway stores no last-seen times"
        );
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Divides bytes by a number of messages or sessions that have as many each.
fn of_each(what: &str, bytes: u64, number: u64) -> anyhow::Result<u64> {
    if !bytes.is_multiple_of(number) {
        bail!("{bytes} {what} are not the same for each of {number}");
    }
    Ok(bytes / number)
}

/// Returns the bytes that were written to the log.
fn log_bytes(control: SocketAddr) -> anyhow::Result<u64> {
    number(control, "trunkline_store_written_bytes_total")
}

/// Reads one number of `/metrics`.
fn number(control: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(control)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let mut lines = answer.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let number = number.with_context(|| format!("/metrics has no {name}"))?;
    let number: f64 = number.trim().parse().context("a number of /metrics")?;
    Ok(number as u64)
}
