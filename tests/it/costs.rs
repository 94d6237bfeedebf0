//! Budgets of cost: clients whose work costs much wait beside those who live within their budgets,
//! and beside nobody else.

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_proto::frame::Opcode;
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::dial::connect_from;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::exchange_on;
use trunkline_tests::wait;

/// The length of a dear command. It costs about 8 ms, which is the work of eight seconds.
const DEAR: usize = 5 << 20;

/// Makes a gateway with one budget, of which 1 ms of work can be saved.
fn budget(setting: &str) -> Setup {
    let none = Setup::default().flag("message-bytes", "8MiB");
    none.flag(setting, "1ms").flag("cost-burst", "1s")
}

fn throttled(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("trunkline_throttled_total{{reason=\"{reason}\"}}"))
}

/// Does something while another client is served all the time.
fn beside<T>(light: &mut Client, act: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                light.done("ping", &json!({}));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let _set = wait::SetAtTheEnd(&is_over);
        act()
    })
}

/// Sends a command that costs much. Returns the reply.
fn dear(client: &mut Client) -> Value {
    let command = format!("{{\"id\":100000,\"ping\":{{}}{}}}", " ".repeat(DEAR));
    client.write_frame(Opcode::Text, command.as_bytes());
    client.reply(100_000)
}

/// Lets a client cost much until it is refused. Returns the refusal.
fn overspend(heavy: &mut Client) -> Value {
    wait::until("a refusal", || {
        dear(heavy);
        let reply = heavy.ask("ping", &json!({}));
        let refused = reply["error"].is_object().then_some(reply);
        refused.inspect(|reply| assert_eq!(error_code(reply), 111, "{reply}"))
    })
}

/// A client that was refused is served again.
fn goes_on(heavy: &mut Client) {
    wait::until("the debt to be paid", || {
        let reply = heavy.ask("ping", &json!({}));
        reply["ping"].is_object().then_some(())
    });
}

#[test]
fn a_heavy_user_waits_beside_a_light_one() {
    let gateway = budget("user-cost").start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut third = gateway.dial().connect("mike", "phone");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    beside(&mut light, || {
        let refusal = overspend(&mut heavy);
        assert_eq!(refusal["error"]["limit"], "user_cost", "{refusal}");
        let retry = refusal["error"]["retry_ms"].as_u64();
        assert!(retry.is_some_and(|ms| ms > 0), "{refusal}");
        // A client that waits still gets its messages.
        third.send("hugo", "still there?");
        assert_eq!(heavy.push_of("message")["text"], "still there?");
        goes_on(&mut heavy);
        // All connections of a user pay from one account.
        let mut other = gateway.dial().connect("hugo", "tablet");
        overspend(&mut other);
        goes_on(&mut other);
    });
    assert!(throttled(&gateway, "user_cost") >= 2.0);
    let line = gateway.logged("their work costs more than their budgets");
    assert!(
        line.contains("hugo") && line.contains("127.0.0.1"),
        "{line}"
    );
    assert!(!line.contains("lucy"), "{line}");
}

/// A debt of less than five seconds is waited for: nothing is refused.
#[test]
fn a_short_debt_only_makes_its_client_wait() {
    // A dear command is the work of two seconds now. On a slow machine too it comes sooner than its
    // debt is paid.
    let gateway = budget("user-cost").flag("user-cost", "4ms").start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    beside(&mut light, || {
        wait::until("several waits", || {
            let reply = dear(&mut heavy);
            assert!(reply["ping"].is_object(), "{reply}");
            heavy.done("ping", &json!({}));
            (throttled(&gateway, "user_cost") >= 2.0).then_some(())
        });
    });
}

/// A session that renews itself does not end, and marks are not lost, whatever the user owes.
#[test]
fn some_commands_are_let_through() {
    let gateway = budget("user-cost").start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    let conversation = light.send("hugo", "hi")["conversation"].clone();
    heavy.push_of("message");
    let commands = [
        json!({"id": 1, "ping": {}}),
        json!({"id": 2, "connect": {"user": "hugo", "device": "phone"}}),
        json!({"id": 3, "ack": {"conversation": conversation, "read": 1}}),
    ];
    let [ping, connect, ack] = beside(&mut light, || {
        wait::until("a refusal", || {
            dear(&mut heavy);
            heavy.post_raw(&commands);
            let replies = [1, 2, 3].map(|id| heavy.reply(id));
            replies[0]["error"].is_object().then_some(replies)
        })
    });
    assert_eq!(error_code(&ping), 111, "{ping}");
    assert!(connect["connect"].is_object(), "{connect}");
    assert!(ack["ack"].is_object(), "{ack}");
}

#[test]
fn alone_nobody_waits() {
    let gateway = budget("user-cost").flag("connection-cost", "1ms").start();
    let mut heavy = gateway.dial().connect("hugo", "phone");
    for _ in 0..4 {
        let reply = dear(&mut heavy);
        assert!(reply["ping"].is_object(), "{reply}");
        heavy.done("ping", &json!({}));
    }
    let reasons = ["connection_cost", "user_cost"];
    let waits = reasons.map(|reason| throttled(&gateway, reason));
    assert_eq!(waits, [0.0; 2]);
}

/// A client that has spent more than a quarter of its savings is read in the slow lane while another
/// client is served, and at once while it is alone.
#[test]
fn a_client_that_spends_its_savings_is_read_slowly_beside_others() {
    // A dear command costs a tenth of what can be saved. On a slow machine too it comes sooner than
    // its cost is saved again.
    let setup = budget("user-cost").flag("user-cost", "10ms");
    let gateway = setup.flag("cost-burst", "8s").start();
    let slow_reads = || gateway.metric("trunkline_slow_reads_total");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    for _ in 0..4 {
        dear(&mut heavy);
    }
    assert_eq!(slow_reads(), 0.0, "the client is alone");
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut third = gateway.dial().connect("mike", "phone");
    beside(&mut light, || {
        wait::until("reads in the slow lane", || {
            let reply = dear(&mut heavy);
            assert!(reply["ping"].is_object(), "{reply}");
            (slow_reads() >= 3.0).then_some(())
        });
        // Questions to the store and writes pass the lane too, and pushes do not wait for it.
        wait::until("a question and a write in the slow lane", || {
            dear(&mut heavy);
            let before = slow_reads();
            heavy.send("mike", "text");
            heavy.done("conversations", &json!({}));
            (slow_reads() >= before + 2.0).then_some(())
        });
        third.send("hugo", "here");
        assert_eq!(heavy.push_of("message")["text"], "here");
        // Within the budget again, the client leaves the lane.
        wait::until("the end of the lane", || {
            heavy.done("ping", &json!({}));
            let before = slow_reads();
            heavy.done("ping", &json!({}));
            (slow_reads() == before).then_some(())
        });
    });
}

/// Nothing cuts the reading of a command. One that takes long waits for the slow lane, also if its user
/// has spent nothing yet. What follows it waits behind it.
#[test]
fn a_long_command_is_read_in_the_slow_lane_beside_others() {
    /// The names of fields that the gateway ignores.
    const FIELDS: usize = 10_000;
    // So much is saved again between two commands that their user always lives within the budget.
    let setup = budget("user-cost").flag("user-cost", "100ms");
    let gateway = setup.flag("cost-burst", "8s").flag("shards", 1).start();
    let slow_reads = || gateway.metric("trunkline_slow_reads_total");
    let fields: Vec<_> = (0..FIELDS).map(|n| format!("\"x{n}\":1")).collect();
    let long = format!("{{\"id\":7,\"ping\":{{{}}}}}", fields.join(","));
    let send = |id| format!("{{\"id\":{id},\"send\":{{\"user\":\"mike\",\"text\":\"hi\"}}}}");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    let mut say = || {
        let frame = format!("{long}\n{}", send(8));
        heavy.write_frame(Opcode::Text, frame.as_bytes());
        heavy.write_frame(Opcode::Text, send(9).as_bytes());
        let [_, first, second] = [7, 8, 9].map(|id| heavy.reply(id)["send"]["seq"].as_u64());
        assert!(first.is_some() && first < second, "{first:?} {second:?}");
    };
    // Alone, nobody waits.
    say();
    assert_eq!(slow_reads(), 0.0);
    let mut light = gateway.dial().connect("lucy", "phone");
    light.ping();
    beside(&mut light, || {
        wait::until("a read in the slow lane", || {
            say();
            (slow_reads() > 0.0).then_some(())
        });
    });
}

/// Many connections of an address cost much, although each of their users spends little. They are
/// read in a lane of their own, and all come in.
/// Returns a text message in fragments of one byte.
fn in_fragments(message: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (number, byte) in message.iter().enumerate() {
        let opcode = if number == 0 { 1 } else { 0 };
        let is_last = number + 1 == message.len();
        let first = opcode | if is_last { 0x80 } else { 0 };
        // One byte of payload, masked with zeros.
        frames.extend_from_slice(&[first, 0x81, 0, 0, 0, 0, *byte]);
    }
    frames
}

/// One read of a socket may find thousands of fragments: each of them has its price.
#[test]
fn fragments_are_paid_for_by_their_number() {
    const BYTES: usize = 20_000;
    let gateway = Setup::default().start();
    let mut hugo = gateway.dial().connect("hugo", "phone");
    let spent = || gateway.metric("trunkline_cost_seconds_total{work=\"parse\"}");
    let command = format!("{{\"id\":9,\"ping\":{{}}{}}}", " ".repeat(BYTES));
    let before = spent();
    hugo.write_frame(Opcode::Text, command.as_bytes());
    hugo.reply(9);
    let whole = spent() - before;
    hugo.write(&in_fragments(command.as_bytes()));
    hugo.reply(9);
    let fragments = spent() - before - whole;
    // 60 ns each.
    let price = BYTES as f64 * 60e-9;
    assert!(
        whole < price / 4.0 && fragments > price,
        "{whole} s for a frame, {fragments} s for fragments"
    );
}

/// Each piece of an upgrade request makes the gateway read all of it again, and is paid for.
#[test]
fn looks_at_an_incomplete_request_are_paid_for() {
    const LOOKS: usize = 20;
    const BYTES: usize = 6_000;
    let gateway = Setup::default().flag("handshake-timeout", "10m").start();
    let spent = || gateway.metric("trunkline_cost_seconds_total{work=\"parse\"}");
    let reads = || gateway.metric("trunkline_reads_total");
    let mut stream = connect_from(Ipv4Addr::LOCALHOST, gateway.ws()).expect("it listens");
    let begin = format!("GET /v1/ws HTTP/1.1\r\nX-Long: {}", "x".repeat(BYTES));
    let mut say = |bytes: &[u8]| {
        let before = reads();
        stream.write_all(bytes).expect("the gateway reads");
        wait::until("a read", || (reads() > before).then_some(()));
    };
    say(begin.as_bytes());
    let before = spent();
    for _ in 0..LOOKS {
        say(b"x");
    }
    // 24 ns for 16 bytes.
    let price = (LOOKS * BYTES / 16) as f64 * 24e-9;
    wait::until("all looks to be paid for", || {
        (spent() - before >= price).then_some(())
    });
}

#[test]
fn newcomers_of_an_address_that_spends_much_are_read_slowly_beside_others() {
    // An address saves the work of a fifth of a second: 2 ms.
    let setup = budget("address-cost").flag("address-cost", "10ms");
    let gateway = setup.flag("shards", 1).start();
    let elsewhere = gateway.dial().from(Ipv4Addr::new(127, 0, 0, 2));
    let slow_reads = || gateway.metric("trunkline_slow_reads_total");
    let mut light = gateway.dial().connect("lucy", "phone");
    beside(&mut light, || {
        wait::until("reads of newcomers in the slow lane", || {
            for _ in 0..20 {
                // Sessions of an address in debt have a lane too.
                elsewhere.open().close();
            }
            (slow_reads() >= 20.0).then_some(())
        });
    });
}

#[test]
fn without_budgets_nobody_waits() {
    let gateway = budget("user-cost").flag("user-cost", "0ms").start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    beside(&mut light, || {
        for _ in 0..4 {
            let reply = dear(&mut heavy);
            assert!(reply["ping"].is_object(), "{reply}");
            heavy.done("ping", &json!({}));
        }
    });
    let spent = gateway.metric("trunkline_cost_seconds_total{work=\"parse\"}");
    assert!(spent > 0.01, "{spent}");
}

#[test]
fn a_connection_waits_and_another_of_its_user_does_not() {
    let gateway = budget("connection-cost").start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = gateway.dial().connect("hugo", "phone");
    let mut other = gateway.dial().connect("hugo", "tablet");
    beside(&mut light, || {
        let refusal = overspend(&mut heavy);
        assert_eq!(refusal["error"]["limit"], "connection_cost", "{refusal}");
        other.done("ping", &json!({}));
        goes_on(&mut heavy);
    });
    assert!(throttled(&gateway, "connection_cost") >= 1.0);
}

#[test]
fn an_address_waits_beside_another() {
    let gateway = budget("address-cost").start();
    let elsewhere = gateway.dial().from(Ipv4Addr::new(127, 0, 0, 2));
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = elsewhere.connect("hugo", "phone");
    beside(&mut light, || {
        let refusal = overspend(&mut heavy);
        assert_eq!(refusal["error"]["limit"], "address_cost", "{refusal}");
        // Newcomers of the address wait, and come in.
        let mut new = elsewhere.connect("nina", "phone");
        goes_on(&mut new);
        goes_on(&mut heavy);
    });
    let line = gateway.logged("their work costs more than their budgets");
    assert!(line.contains("127.0.0.2"), "{line}");
}

#[test]
fn newcomers_of_an_address_in_debt_take_no_room() {
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let gateway = budget("address-cost")
        .flag("max-opening", 8)
        .flag("shards", 1)
        .start();
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = gateway.dial().from(ELSEWHERE).connect("hugo", "phone");
    let come = || connect_from(ELSEWHERE, gateway.ws()).expect("the gateway listens");
    beside(&mut light, || {
        wait::until("a newcomer who is turned away", || {
            overspend(&mut heavy);
            let waiting = come();
            // No upgrade: a gateway without a debt says so.
            let answer = exchange_on(come(), b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n");
            drop(waiting);
            (answer.status == 429).then_some(answer)
        })
    });
    // Others come in at any time.
    gateway.dial().connect("nina", "phone").close();
}

#[test]
fn a_namespace_waits_beside_another() {
    let gateway = budget("namespace-cost").start();
    let large = gateway.dial().with("namespace", "large");
    let mut light = gateway.dial().connect("lucy", "phone");
    let mut heavy = large.connect("hugo", "phone");
    beside(&mut light, || {
        let refusal = overspend(&mut heavy);
        assert_eq!(refusal["error"]["limit"], "namespace_cost", "{refusal}");
        // Another user of the namespace pays from the same account.
        let mut other = large.connect("otto", "phone");
        overspend(&mut other);
        goes_on(&mut other);
        goes_on(&mut heavy);
    });
}
