//! A turn serves sessions with short input first: before clients that send in small pieces, before
//! those who have no session yet, and before readers.

use serde_json::{Value, json};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

/// Starts a gateway with one shard, and a group of three.
fn start() -> (Gateway, Client) {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let members = json!({"group": "team", "members": ["bob", "carol"]});
    alice.done("group_create", &members);
    (gateway, alice)
}

fn message() -> Value {
    json!({"group": "team", "text": "hi"})
}

fn seq(client: &mut Client, id: u32) -> u64 {
    let reply = client.reply(id);
    reply["send"]["seq"].as_u64().expect("a sequence")
}

#[test]
fn a_message_in_small_pieces_waits_for_whole_ones() {
    let (gateway, mut alice) = start();
    let mut bob = gateway.dial().connect("bob", "phone");
    let command = json!({"id": 9, "send": message()}).to_string();
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, command.as_bytes(), Some([1; 4]));
    let (last, first) = frame.split_last().expect("a frame has bytes");
    bob.write(first);
    wait::until("the first piece to be held", || {
        (gateway.metric("trunkline_held_bytes") > 0.0).then_some(())
    });
    // One turn finds both, that of bob first.
    gateway.process().pause();
    bob.write(&[*last]);
    let id = alice.post("send", &message());
    gateway.process().resume();
    let (whole, in_pieces) = (seq(&mut alice, id), seq(&mut bob, 9));
    assert!(whole < in_pieces, "{whole} {in_pieces}");
}

/// Each byte of a message that comes in tiny pieces for long does not cost a turn.
#[test]
fn tiny_pieces_of_a_message_are_read_together() {
    /// The bytes that come one by one, and those of a round.
    const PIECES: usize = 4_000;
    const ROUND: usize = 8;
    let (gateway, mut alice) = start();
    let mut bob = gateway.dial().connect("bob", "phone");
    let text = "x".repeat(PIECES + 100);
    let command = json!({"id": 9, "send": {"group": "team", "text": text}}).to_string();
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, command.as_bytes(), Some([1; 4]));
    let (begin, rest) = frame.split_at(frame.len() - PIECES);
    let reads = || gateway.metric("trunkline_reads_total");
    bob.write(begin);
    let mut rest = rest.iter();
    // The first three bytes are read one by one. On a slow machine a tick may be over with each byte for
    // some rounds.
    wait::until("a round whose bytes are read together", || {
        let before = reads();
        for _ in 0..ROUND {
            bob.write(&[*rest.next().expect("enough bytes")]);
            // The gateway has read a ping of another client: it has had a turn.
            alice.ping();
        }
        (reads() - before - ROUND as f64 <= 3.0).then_some(())
    });
    bob.write(rest.as_slice());
    seq(&mut bob, 9);
}

#[test]
fn who_has_no_session_waits_for_sessions() {
    let (gateway, mut alice) = start();
    let mut carol = gateway.dial().open();
    gateway.process().pause();
    carol.post_raw(&[
        json!({"id": 1, "connect": {"user": "carol", "device": "phone"}}),
        json!({"id": 2, "send": message()}),
    ]);
    let id = alice.post("send", &message());
    gateway.process().resume();
    let (session, newcomer) = (seq(&mut alice, id), seq(&mut carol, 2));
    assert!(session < newcomer, "{session} {newcomer}");
}

/// A reader that a shard wakes does not take the processor from the shard.
#[cfg(target_os = "linux")]
#[test]
fn readers_have_a_lower_priority_than_shards() {
    let gateway = Setup::default().flag("shards", 1).start();
    let tasks = format!("/proc/{}/task", gateway.process().id());
    let niceness = |name: &str| -> Option<i32> {
        let threads = std::fs::read_dir(&tasks).expect("the threads of the gateway");
        let is_named = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let mut paths = threads.filter_map(|thread| Some(thread.ok()?.path()));
        let stat = std::fs::read_to_string(paths.find(is_named)?.join("stat")).ok()?;
        // Behind the name, which may hold anything, stand the state and 15 numbers before the niceness.
        let (_, behind) = stat.rsplit_once(") ")?;
        behind.split(' ').nth(16)?.parse().ok()
    };
    wait::until("the readers to have their priority", || {
        // There is nothing beyond 19, which a niced test may be close to.
        let expected = (niceness("shard-0")? + 5).min(19);
        let all = ["reader-0", "reader-1"].map(niceness);
        (all == [Some(expected); 2]).then_some(())
    });
}
