//! The end of all nodes, and nodes that stop or wait because of what others say.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use trunkline_tests::cluster::{Cluster, NODES, command, command_at, get, node};
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::nats::Servers;
use trunkline_tests::wait;

/// Sends messages until the gateway goes. Returns the errors among the replies.
fn send_until_the_end(dial: &Dial, user: &str, has_begun: &AtomicBool) -> Vec<Value> {
    let mut client = dial.connect(user, "phone");
    let mut errors = Vec::new();
    for number in 0.. {
        let request = json!({"user": "dora", "text": format!("{number}")});
        let reply = client
            .try_post("send", &request)
            .and_then(|id| client.replies().remove(&id));
        match reply {
            Some(reply) if reply["send"].is_object() => has_begun.store(true, Ordering::Relaxed),
            Some(reply) => errors.push(reply),
            None => break,
        }
    }
    errors
}

/// One of them leads until the others have what they need. Before, each gave the lead to the next one, which gave it away too,
/// and clients got error 115 after ten seconds.
#[test]
fn all_nodes_that_stop_at_once_answer_what_they_have_received() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let begun = NODES.map(|_| AtomicBool::new(false));
    let dials: Vec<_> = cluster.nodes.iter().map(Gateway::dial).collect();
    let errors = std::thread::scope(|scope| {
        let senders: Vec<_> = { dials.iter().zip(&begun).zip(NODES) }
            .map(|((dial, begun), name)| scope.spawn(move || send_until_the_end(dial, name, begun)))
            .collect();
        wait::until("messages at all nodes", || {
            begun
                .iter()
                .all(|it| it.load(Ordering::Relaxed))
                .then_some(())
        });
        for gateway in &cluster.nodes {
            gateway.ask_to_stop();
        }
        let joined = senders.into_iter().map(|it| it.join().expect("a sender"));
        joined.flatten().collect::<Vec<_>>()
    });
    // The last leader may end before it hears of each command: such a client, which has one under way, sends it again.
    assert!(errors.len() <= NODES.len(), "{errors:?}");
    for error in errors {
        assert_eq!(error["error"]["code"], 115, "{error}");
    }
    for gateway in &mut cluster.nodes {
        let exit = gateway.ended();
        assert!(exit.status.success(), "{}", exit.stderr);
    }
    // Nothing that was acknowledged is lost: all have the same.
    for gateway in &mut cluster.nodes {
        gateway.start_again();
    }
    for at in 0..NODES.len() {
        cluster.is_ready(at);
    }
    let leader = cluster.leader(&[0, 1, 2]);
    for at in 0..NODES.len() {
        cluster.has_all_of(at, leader);
    }
}

/// Their clients are not kept until nobody hopes for an answer any more.
#[test]
fn nodes_without_nats_servers_end() {
    let Some(mut cluster) = Cluster::start_with(1, |setup| setup.flag("drain-timeout", "1h"))
    else {
        return;
    };
    let mut clients: Vec<_> = (0..NODES.len())
        .map(|at| cluster.connect(at, NODES[at]))
        .collect();
    cluster.leader(&[0, 1, 2]);
    cluster.servers.kill(0);
    let asked: Vec<_> = { clients.iter_mut() }
        .map(|client| client.post("send", &json!({"user": "dora", "text": "hi"})))
        .collect();
    for gateway in &cluster.nodes {
        gateway.ask_to_stop();
    }
    for (client, id) in clients.iter_mut().zip(asked) {
        let reply = client.reply(id);
        assert_eq!(reply["error"]["code"], 115, "{reply}");
    }
    for gateway in &mut cluster.nodes {
        assert!(gateway.ended().status.success());
    }
}

#[test]
fn of_two_gateways_with_one_name_the_younger_stops() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let name = NODES[1];
    let twin = node(&cluster.servers, name).start();
    twin.logged("another gateway is the node b of this cluster");
    let (status, why) = get(twin.control(), "/readyz");
    assert!(status == 503 && why.contains("--node"), "{status} {why}");
    cluster.is_ready(1);
    // A gateway that was killed comes back at once, whatever was heard of it before.
    cluster.nodes[1].kill();
    cluster.nodes[1].start_again();
    cluster.is_ready(1);
    let mut alice = cluster.connect(1, "alice");
    alice.send("bob", "hi");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => std::fs::copy(entry.path(), to).map(drop).expect("a copy"),
        }
    }
}

/// The other nodes have stopped, and say what they have.
#[test]
fn an_empty_node_does_not_go_on_with_an_old_copy_of_the_log() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let mut alice = cluster.connect(leader, "alice");
    alice.send("bob", "one");
    let folder = tempfile::tempdir().expect("a folder");
    let (store, old) = (cluster.servers.store(0), folder.path().join("old"));
    cluster.servers.kill(0);
    copy_folder(&store, &old);
    cluster.servers.restart(0);
    cluster.leader(&[0, 1, 2]);
    let reply = wait::until("a leader", || {
        let reply = alice.ask("send", &json!({"user": "bob", "text": "two"}));
        reply["send"].is_object().then_some(reply)
    });
    assert!(reply["send"]["seq"].as_u64() > Some(1), "{reply}");
    for at in 0..NODES.len() {
        cluster.has_all_of(at, leader);
    }
    cluster.nodes[2].kill();
    cluster.servers.kill(0);
    std::fs::remove_dir_all(&store).expect("it can be removed");
    copy_folder(&old, &store);
    cluster.servers.restart(0);
    for at in [0, 1] {
        cluster.nodes[at].logged("the node has stopped");
    }
    let new = node(&cluster.servers, NODES[2]).start();
    new.logged("the log ends at group");
    let (status, why) = get(new.control(), "/readyz");
    assert!(status == 503 && why.contains("old copy"), "{status} {why}");
    assert!(new.metric("trunkline_cluster_leader") == 0.0);
}

#[test]
fn a_log_without_room_says_what_to_change() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let init = ["init", "--replicas", "1", "--max-bytes", "1024GiB"];
    let refused = command(&servers, &init).expect_err("there is no room");
    assert!(refused.contains("max_file_store"), "{refused}");
}

/// Copies bytes between two connections until one ends. Ends both, once, before the acknowledgement of the first record passes.
fn relay(mut from: TcpStream, mut to: TcpStream, has_cut: &AtomicBool) {
    const ACKNOWLEDGED: &[u8] = b"\"seq\":1}";
    let mut bytes = [0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let some = &bytes[..len];
        let is_it = some
            .windows(ACKNOWLEDGED.len())
            .any(|it| it == ACKNOWLEDGED);
        if is_it && !has_cut.swap(true, Ordering::SeqCst) || to.write_all(some).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_cluster_whose_first_acknowledgement_is_lost_is_made() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    let server = servers.urls()[0].replace("nats://", "");
    let has_cut = Arc::<AtomicBool>::default();
    let cuts = Arc::clone(&has_cut);
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let server = TcpStream::connect(&server).expect("the server listens");
            let again = |it: &TcpStream| it.try_clone().expect("a second handle");
            for (from, to) in [(again(&client), again(&server)), (server, client)] {
                let cuts = Arc::clone(&cuts);
                std::thread::spawn(move || relay(from, to, &cuts));
            }
        }
    });
    let init = ["init", "--replicas", "1", "--max-bytes", "1GiB"];
    command_at(&url, &init).expect("a cluster");
    assert!(
        has_cut.load(Ordering::SeqCst),
        "the acknowledgement was lost"
    );
    let again = command(&servers, &init).expect_err("it is there");
    assert!(again.contains("is there already"), "{again}");
}
