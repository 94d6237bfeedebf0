//! Clients that send a part of what a connection begins with, and no more: once they are gone, the gateway is as small as
//! it was.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::memory::{comes_back, resident, unstored};
use trunkline_tests::tls::Authority;
use trunkline_tests::wait::{self, LIMIT};

/// The connections of a storm.
const CONNECTIONS: usize = 2_000;

/// A part of a request's head.
const HALF: &[u8] = b"GET / HTTP/1.1\r\nX: a\r\n";

/// Returns a gateway that gives everybody time, and has room for the connections.
fn patient() -> Setup {
    let setup = Setup::default().http().patient();
    let setup = setup.flag("shards", 1);
    setup.flag("control-connections", CONNECTIONS + 100)
}

/// The bytes that a connection takes at most, in a debug build. A buffer of HTTP would take more.
const TAKES: f64 = 6.0 * 1_024.0;

/// The bytes that may stay of a connection, besides a fifth of all.
const STAYS: f64 = 1_024.0;

/// Lets connections to a port say this, wait for a byte of an answer if one is to come, and do no more. Checks what each of
/// them takes while it is there, and that nearly nothing is left when all are gone.
fn storm(gateway: &Gateway, port: SocketAddr, said: &[u8], is_answered: bool) {
    let ballast = gateway.data().join("ballast");
    wait::until("the reserve", || ballast.exists().then_some(()));
    let descriptors = || gateway.metric("process_open_fds") as usize;
    let open = |connections: usize| {
        let before = descriptors();
        let sockets: Vec<_> = (0..connections)
            .map(|_| {
                let mut socket = TcpStream::connect(port).expect("the port is open");
                socket.set_read_timeout(Some(LIMIT)).expect("not zero");
                socket.write_all(said).expect("it is taken");
                if is_answered {
                    socket.read_exact(&mut [0]).expect("an answer");
                }
                socket
            })
            .collect();
        wait::until("all to be there", || {
            (descriptors() >= before + connections).then_some(())
        });
        (sockets, before)
    };
    let gone = |before: usize| {
        wait::until("nobody to be there", || {
            (descriptors() <= before).then_some(())
        });
    };
    let (sockets, few) = open(3);
    drop(sockets);
    gone(few);
    let (before, begun) = (unstored(gateway), resident(gateway));
    let (sockets, few) = open(CONNECTIONS);
    let each = (resident(gateway) - begun) / CONNECTIONS as f64;
    assert!(each < TAKES, "{each} bytes for each connection");
    drop(sockets);
    gone(few);
    comes_back(gateway, before, CONNECTIONS as f64 * STAYS);
}

#[test]
fn half_requests_to_the_client_api() {
    let gateway = patient().start();
    storm(&gateway, gateway.http(), HALF, false);
}

#[test]
fn half_requests_to_the_control_port() {
    let gateway = patient().start();
    storm(&gateway, gateway.control(), HALF, false);
}

/// Between two requests a connection has no buffer.
#[test]
fn connections_that_stay_after_an_answer() {
    let gateway = patient().start();
    let request = b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    storm(&gateway, gateway.http(), request, true);
}

#[test]
fn half_upgrades() {
    let gateway = patient().start();
    let half = b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n";
    storm(&gateway, gateway.ws(), half, false);
}

/// The header of a TLS record with the beginning of a hand-shake, and a part of the record.
#[test]
fn half_tls_records() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let gateway = patient().tls(&files, &authority.trust()).start();
    let mut half = vec![22, 3, 1, 2, 0];
    half.resize(100, 1);
    for port in [gateway.http(), gateway.ws()] {
        storm(&gateway, port, &half, false);
    }
}
