//! Clients and gateways that come to a cluster later than others.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, NODES, command, node, texts};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::nats::Servers;
use trunkline_tests::process::{Exit, Process};
use trunkline_tests::wait;

use super::admin_tokens::made as admin_token;

/// Sends a message to bob until it is acknowledged: the leader may change.
fn send_surely(client: &mut Client, text: &str) {
    let request = json!({"user": "bob", "text": text, "key": text});
    wait::until("an acknowledgement", || {
        let reply = client.ask("send", &request);
        reply["send"].is_object().then_some(())
    });
}

#[test]
fn a_client_that_knows_more_than_its_node_waits_for_the_log() {
    // The third gateway knows one NATS server, which stops for a while.
    let Some(cluster) = Cluster::start_each(3, |servers, name| match name {
        "c" => node(servers, name).flag("nats", &servers.urls()[2]),
        _ => node(servers, name),
    }) else {
        return;
    };
    let (mut alice, mut bob) = (cluster.connect(0, "alice"), cluster.connect(1, "bob"));
    alice.send("bob", "first");
    bob.push_of("message");
    cluster.has_all_of(2, 0);
    cluster.servers.pause(2);
    cluster.leader(&[0, 1]);
    send_surely(&mut alice, "second");
    let second = bob.push_of("message");
    assert_eq!(second["text"], "second");
    // Bob goes on at the third gateway, and gets what comes behind his position, once.
    let since = cluster.connect(1, "bob").pos();
    let connect = json!({"user": "bob", "device": "phone", "since": since});
    bob.close();
    let mut bob = cluster.nodes[2].dial().open();
    let id = bob.post("connect", &connect);
    cluster.servers.resume(2);
    let reply = bob.reply(id);
    assert_eq!(reply["connect"]["recovered"], true, "{reply}");
    assert_eq!(reply["connect"]["pos"], connect["since"], "{reply}");
    send_surely(&mut alice, "third");
    assert_eq!(bob.push_of("message")["text"], "third");
    let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["first", "second", "third"]);

    // No node waits for ever: the session begins all the same, and what it has seen does not come again.
    cluster.servers.pause(2);
    cluster.leader(&[0, 1]);
    send_surely(&mut alice, "fourth");
    cluster.has_all_of(1, 0);
    let since = cluster.connect(1, "bob").pos();
    let connect = json!({"user": "bob", "device": "tablet", "since": since});
    let mut bob = cluster.nodes[2].dial().open();
    let reply = bob.ask("connect", &connect);
    assert_eq!(reply["connect"]["recovered"], true, "{reply}");
    cluster.servers.resume(2);
    send_surely(&mut alice, "fifth");
    assert_eq!(bob.push_of("message")["text"], "fifth");
}

/// What a proxy does once it has passed on as much as it should.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Holds,
    Closes,
}

/// Starts a proxy for one connection that passes on so many bytes of the answer. Returns its address.
fn proxy(to: SocketAddr, most: u64, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(to).expect("a gateway");
        let (mut asks, mut asked) = (
            client.try_clone().expect("a descriptor"),
            server.try_clone().expect("a descriptor"),
        );
        let asking = std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
        let _ = std::io::copy(&mut Read::by_ref(&mut server).take(most), &mut client);
        if then == Then::Closes {
            let _ = client.shutdown(Shutdown::Both);
        }
        // Until the client goes.
        let _ = asking.join();
    });
    address
}

/// Begins to make a folder from a copy of a node's store.
fn join_from(control: SocketAddr, data: &Path) -> Process {
    let mut command = Setup::bare().command("cluster");
    command.arg("join-from").arg(format!("http://{control}"));
    command.arg("--data").arg(data);
    Process::start(&mut command)
}

/// Makes a folder from a copy of a node's store, once the node gives one.
fn joined_from(control: impl Fn() -> SocketAddr, data: &Path) -> Exit {
    wait::until("a copy", || {
        let exit = join_from(control(), data).ended();
        let is_early = ["another node takes a copy", "try again in a moment"]
            .iter()
            .any(|said| exit.stderr.contains(said));
        (!is_early).then_some(exit)
    })
}

#[test]
fn a_node_joins_from_a_copy_where_the_log_has_no_beginning_any_more() {
    const MESSAGES: usize = 90;
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let follower = (leader + 1) % NODES.len();
    let mut alice = cluster.connect(0, "alice");
    let mut bob = cluster.connect(1, "bob");
    let long = "x".repeat(40 << 10);
    for number in 0..MESSAGES {
        alice.send("bob", &format!("{number} {long}"));
    }
    for _ in 0..MESSAGES {
        bob.push_of("message");
    }
    let since = bob.pos();
    (0..NODES.len()).for_each(|at| cluster.has_all_of(at, leader));
    // As if the log had taken more than it has room for: all but the last record go.
    let mut raw = cluster.servers.client(0);
    let about = raw.ask("$JS.API.STREAM.INFO.TRUNKLINE_chat", b"");
    let room = about["config"]["max_bytes"].clone();
    let mut config = about["config"].clone();
    for bytes in [json!(100 << 10), room] {
        config["max_bytes"] = bytes;
        let set = raw.ask(
            "$JS.API.STREAM.UPDATE.TRUNKLINE_chat",
            config.to_string().as_bytes(),
        );
        assert!(set["error"].is_null(), "{set}");
    }
    let first = &raw.ask("$JS.API.STREAM.INFO.TRUNKLINE_chat", b"")["state"]["first_seq"];
    assert!(first.as_u64() > Some(1), "{first}");
    let folder = tempfile::tempdir().expect("a folder");

    // Without a copy there is no way in.
    let late = node(&cluster.servers, "late").flag("data", folder.path().join("late").display());
    let refused = late.run("serve");
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("join-from"), "{}", refused.stderr);

    // While messages come, from a leader and from a follower.
    let mut joined = Vec::new();
    for from in [leader, follower] {
        let name = format!("n{from}");
        let data = folder.path().join(&name);
        let mut copying = join_from(cluster.nodes[from].control(), &data);
        let mut sent = 0;
        while copying.is_running() {
            alice.send("bob", "meanwhile");
            sent += 1;
        }
        let exit = copying.ended();
        assert!(exit.status.success(), "{}", exit.stderr);
        let said = format!("the store of a new node is in {}", data.display());
        assert!(exit.stdout.contains(&said), "{}", exit.stdout);
        assert!(sent > 0, "the path goes on");
        joined.push(node(&cluster.servers, &name).start_on(&data));
    }
    for gateway in &joined {
        alice.send("bob", "to the end");
        let wanted = cluster.nodes[leader].metric("trunkline_cluster_applied");
        cluster.has_all_of(1, leader);
        wait::until("groups", || {
            let applied = gateway.metric("trunkline_cluster_applied");
            (applied >= wanted).then_some(())
        });
        let mut reader = gateway.dial().connect("bob", "laptop");
        let newest = json!({"conversation": "u:alice:bob", "limit": 100});
        let pages = [&mut bob, &mut reader].map(|client| client.done("history", &newest));
        assert_eq!(pages[0], pages[1]);
        assert_eq!(
            texts(&pages[1]).last().map(String::as_str),
            Some("to the end")
        );
        // A position of another node, from before the copy, is good.
        let dial = gateway.dial().since(&since);
        let (missed, _) = dial.connect("bob", "phone").caught_up();
        let first = missed[0]["message"]["text"].as_str().expect("a text");
        assert!(first.starts_with("0 x"), "{}", &first[..9]);
        // What comes to the new node reaches all.
        reader.send("alice", "from a new node");
        assert_eq!(alice.push_of("message")["text"], "from a new node");
    }
}

#[test]
fn a_copy_that_ends_early_leaves_nothing_and_a_second_one_is_whole() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let mut alice = cluster.connect((leader + 1) % NODES.len(), "alice");
    let long = "x".repeat(40 << 10);
    for _ in 0..300 {
        alice.send("bob", &long);
    }
    cluster.has_all_of(leader, (leader + 1) % NODES.len());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("d");
    let partial = folder.path().join("d.partial");
    // The receiver dies in the middle.
    let control = cluster.nodes[leader].control();
    let mut copying = join_from(proxy(control, 5 << 20, Then::Holds), &data);
    wait::until("the beginning of a copy", || {
        let names = std::fs::read_dir(&partial).ok()?;
        (names.count() > 0).then_some(())
    });
    let second = join_from(control, &folder.path().join("second")).ended();
    assert!(
        second.stderr.contains("another node takes a copy"),
        "{}",
        second.stderr
    );
    copying.kill();
    assert!(!data.exists());
    // What it left is no folder of a node.
    let half = folder.path().join("half");
    std::fs::rename(&partial, &half).expect("a folder");
    let left = node(&cluster.servers, "d").flag("data", half.display());
    let refused = left.run("serve");
    assert!(!refused.status.success(), "{}", refused.stdout);

    // The sender dies in the middle, or at the last moment.
    for most in [0, 100, 5 << 20, 10 << 20] {
        let exit = joined_from(|| proxy(control, most, Then::Closes), &data);
        assert!(!exit.status.success(), "{most}: {}", exit.stdout);
        assert!(!data.exists() && !partial.exists(), "{most}");
    }

    let exit = joined_from(|| control, &data);
    assert!(exit.status.success(), "{}", exit.stderr);
    let exit = joined_from(|| control, &data);
    assert!(
        exit.stderr.contains("is no empty folder"),
        "{}",
        exit.stderr
    );
    let joined = node(&cluster.servers, "d").start_on(&data);
    cluster.is_ready(leader);
    let mut bob = joined.dial().connect("bob", "phone");
    let page = bob.done(
        "history",
        &json!({"conversation": "u:alice:bob", "limit": 100}),
    );
    assert!(texts(&page).iter().all(|text| *text == long));
}

#[test]
fn a_copy_is_given_to_operators_and_by_nodes_alone() {
    let alone = Gateway::start();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("d");
    let exit = join_from(alone.control(), &data).ended();
    assert!(
        exit.stderr.contains("is no node of a cluster"),
        "{}",
        exit.stderr
    );
    let (reading, all) = (admin_token("reading", "read"), admin_token("all", "all"));
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("{}\n{}\n", reading.line, all.line)).expect("a file");
    let setup = Setup::default().flag("admin-tokens", tokens.display());
    let guarded = setup.start();
    for (token, said) in [
        (None, "send an admin token"),
        (Some(&reading.token), "needs all"),
        (Some(&all.token), "is no node of a cluster"),
    ] {
        let mut command = Setup::bare().command("cluster");
        command.args([
            "join-from",
            &format!("http://{}", guarded.control()),
            "--data",
        ]);
        command.arg(&data);
        if let Some(token) = token {
            let file = folder.path().join("token");
            std::fs::write(&file, format!("{token}\n")).expect("a file");
            command.arg("--token-file").arg(file);
        }
        let exit = Process::start(&mut command).ended();
        assert!(exit.stderr.contains(said), "{}", exit.stderr);
    }
    assert!(!data.exists());
}

#[test]
fn a_gateway_that_worked_alone_is_the_beginning_of_a_cluster() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let first = folder.path().join("first");
    let mut alone = Setup::default().start_on(&first);
    let mut alice = alone.dial().connect("alice", "phone");
    let bob = alone.dial().connect("bob", "phone");
    let since = bob.pos();
    bob.close();
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let data = first.display().to_string();
    let init = [
        "init",
        "--replicas",
        "1",
        "--max-bytes",
        "1GiB",
        "--from",
        &data,
    ];
    let refused = command(&servers, &init).expect_err("the gateway runs");
    assert!(refused.contains("in use"), "{refused}");
    // Another epoch of positions.
    alone.stop();
    alone.start_again();
    let mut alice = alone.dial().connect("alice", "phone");
    alice.send("bob", "three");
    let later = alice.opening()["pos"]
        .as_str()
        .expect("a position")
        .to_owned();
    alone.stop();
    let said = command(&servers, &init).expect("a cluster");
    assert!(said.contains("begins with the store in"), "{said}");
    let again = command(&servers, &init).expect_err("it is there");
    assert!(again.contains("is there already"), "{again}");
    let refused = Setup::default().flag("data", &data).run("serve");
    assert!(
        refused.stderr.contains("one of several"),
        "{}",
        refused.stderr
    );

    // An empty folder is not enough any more.
    let empty = node(&servers, "b").flag("data", folder.path().join("empty").display());
    let refused = empty.run("serve");
    assert!(refused.stderr.contains("join-from"), "{}", refused.stderr);
    let first = node(&servers, "a").start_on(&first);
    let second = folder.path().join("second");
    let exit = joined_from(|| first.control(), &second);
    assert!(exit.status.success(), "{}", exit.stderr);
    let nodes = vec![first, node(&servers, "b").start_on(&second)];
    let cluster = Cluster { servers, nodes };
    (0..2).for_each(|at| cluster.is_ready(at));
    let mut alice = cluster.connect(0, "alice");
    for at in [0, 1] {
        alice.send("bob", &format!("by way of {at}"));
        cluster.has_all_of(1, 0);
        // Positions from before, of both lives, are good at both nodes.
        for (since, first) in [(&since, "one"), (&later, "three")] {
            let dial = cluster.nodes[at].dial().since(since);
            let mut bob = dial.connect("bob", "phone");
            let (missed, _) = bob.caught_up();
            assert_eq!(missed[0]["message"]["text"], first, "at {at}");
            bob.close();
        }
        let mut bob = cluster.connect(at, "bob");
        let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
        let texts = texts(&page);
        assert_eq!(texts[..3], ["one", "two", "three"]);
        assert_eq!(texts.last(), Some(&format!("by way of {at}")));
        bob.send("alice", "back");
        assert_eq!(alice.push_of("message")["text"], "back");
    }
}
