//! Starts that are refused, with an error that says why.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::port;
use trunkline_tests::process::{Exit, Process};
use trunkline_tests::wait::until;

/// A process must have ended with `code`, and its standard error must contain each of `words`.
fn check(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(code), "{exit:?}");
    assert_eq!(exit.stdout, "", "nothing is ready: {exit:?}");
    for word in words {
        assert!(
            exit.stderr.contains(word),
            "{word:?} is not in {}",
            exit.stderr
        );
    }
}

#[test]
fn a_second_gateway_on_the_folder() {
    let mut first = Gateway::start();
    let data = first.data().to_str().expect("a path in UTF-8").to_owned();
    let second = Setup::default().flag("data", &data);
    check(&second.run("serve"), 1, &[&data, "in use"]);
    let mut alice = first.dial().connect("alice", "phone");
    assert_eq!(alice.send("bob", "still here")["seq"], 1);
    first.stop();
    // The folder is free as soon as the first one has ended.
    let second = second.start_on(first.data());
    assert_eq!(
        second.dial().connect("alice", "phone").send("bob", "again")["seq"],
        2
    );
}

/// A second gateway without this setting starts, one that was told an address does not.
#[test]
fn the_default_port_of_the_client_api_is_taken() {
    // By this test, if no other program has it.
    let address = "127.0.0.1:7702";
    let _taken = TcpListener::bind(address);
    let gateway = Setup::default().without("http").start();
    gateway.dial().connect("alice", "phone").ping();
    let line = gateway.logged("default address of the client API");
    assert!(line.contains(address), "{line}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let other = Setup::default().flag("data", folder.path().join("d").display());
    check(
        &other.flag("http", address).run("serve"),
        1,
        &[address, "in use"],
    );
}

#[test]
fn a_second_gateway_on_the_port() {
    let first = Gateway::start();
    let (ws, control) = (first.ws().to_string(), first.control().to_string());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("d");
    let other = Setup::default().flag("data", data.display());
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let http = elsewhere.local_addr().expect("it is bound").to_string();
    for (flag, address) in [("listen", &ws), ("control", &control), ("http", &http)] {
        check(
            &other.clone().flag(flag, address).run("serve"),
            1,
            &[address, "in use", "another gateway", &format!("--{flag}")],
        );
        assert!(!data.exists(), "{flag}: a store was made");
    }
    // Neither attempt took a connection away from the first.
    for _ in 0..20 {
        first.dial().connect("alice", "phone").ping();
    }
}

#[test]
fn open_addresses_and_missing_authentication() {
    let base = Setup::default().flag("data", "/nonexistent/never/made");
    for flag in ["listen", "control"] {
        let setup = base.clone().flag(flag, "0.0.0.0:0");
        check(&setup.run("serve"), 2, &[flag, "0.0.0.0:0", "loopback"]);
        check(&setup.run("check-config"), 2, &[flag, "loopback"]);
    }
    check(
        &base.without("dev-auth").run("serve"),
        2,
        &["dev_auth", "--dev-auth"],
    );
}

#[test]
fn a_folder_that_cannot_be_made() {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let data = file.path().join("below").display().to_string();
    check(
        &Setup::default().flag("data", &data).run("serve"),
        1,
        &[&data],
    );
}

#[test]
fn ready_says_where_and_how() {
    let gateway = Setup::default()
        .flag("durability", "interval:50")
        .flag("shards", 3)
        .start();
    let line = gateway.ready_line();
    assert_ne!((gateway.ws().port(), gateway.control().port()), (0, 0));
    let expected = format!(
        "ready ws=ws://{}/v1/ws control=http://{} shards=3 durability=interval:50",
        gateway.ws(),
        gateway.control()
    );
    assert_eq!(line, expected);
    gateway.dial().shard(2).connect("alice", "phone").ping();
    let gateway = Setup::default().http().flag("shards", 1).start();
    let http = gateway.http();
    assert_ne!(http.port(), 0);
    let line = gateway.ready_line();
    let expected = format!(" http=http://{http} shards=1 durability=sync");
    assert!(line.ends_with(&expected), "{line}");
}

#[test]
fn a_fixed_port_is_free_again_after_a_restart() {
    let mut first = Gateway::start();
    let ws = first.ws();
    let _kept = port::keep(ws.port());
    // A connection that the gateway closes first leaves its port in TIME_WAIT.
    let client = first.dial().connect("alice", "phone");
    first.stop();
    drop(client);
    let second = Setup::default().flag("listen", ws).start_on(first.data());
    assert_eq!(second.ws(), ws);
    second.dial().connect("alice", "phone").ping();
}

/// A signal ends a slow start at once. Here the start never ends, because it reads the
/// configuration from a pipe without a writer.
#[test]
fn a_start_is_ended_by_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let pipe = folder.path().join("gateway.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
        let setup = Setup::bare().flag("config", pipe.display());
        let mut gateway = Process::start(&mut setup.command("serve"));
        let status = format!("/proc/{}/task", gateway.id());
        until("the signals to be watched", || {
            let threads = std::fs::read_dir(&status).expect("it runs");
            (threads.count() > 1).then_some(())
        });
        gateway.signal(signal);
        let exit = gateway.ended();
        check(&exit, 0, &[]);
    }
}

/// A gateway gives the C library's allocator settings, and stays the same process. An environment
/// that has some of them stays as it is.
#[test]
#[cfg(target_env = "gnu")]
fn the_allocator_gets_settings() {
    let environment = |setup: Setup| {
        let gateway = setup.start();
        let file = format!("/proc/{}/environ", gateway.process().id());
        let environment = std::fs::read_to_string(file).expect("the process runs");
        environment
            .split('\0')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let own = environment(Setup::default());
    // Some versions of glibc write an end of the string in place of the colon between two settings.
    let own = own.join(":");
    for setting in [
        "MALLOC_ARENA_MAX=16",
        "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
    ] {
        assert!(own.contains(setting), "{own:?}");
    }
    let given = environment(Setup::default().environment("MALLOC_ARENA_MAX", "3"));
    let of_allocator = |one: &&String| one.starts_with("MALLOC_") || one.starts_with("GLIBC_");
    let given: Vec<_> = given.iter().filter(of_allocator).collect();
    assert_eq!(given, ["MALLOC_ARENA_MAX=3"]);
}
