//! The control port has limits, and no client keeps an operator's probe out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::wait;

const LATE: &str = "trunkline_control_refused_total{reason=\"time\"}";
const CROWDED: &str = "trunkline_control_refused_total{reason=\"connections\"}";

fn say(control: SocketAddr, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(control).expect("the control port listens");
    stream.write_all(words.as_bytes()).expect("it reads");
    stream
        .set_read_timeout(Some(wait::LIMIT))
        .expect("not zero");
    stream
}

/// Reads to the end of the connection and returns the bytes.
fn end_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // Dropped with something unread, it ends with a reset.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).expect("text")
}

fn answers(gateway: &Gateway) {
    let health = http::get(gateway.control(), "/healthz");
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
}

#[test]
fn half_requests_end_and_keep_nobody_out() {
    let gateway = Setup::default().flag("control-timeout", "500ms").start();
    let half = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Half:";
    let mut streams = Vec::new();
    for i in 0..1_000 {
        let words = if i % 2 == 0 { half } else { "" };
        streams.push(say(gateway.control(), words));
        if i % 100 == 0 {
            answers(&gateway);
        }
    }
    answers(&gateway);
    for stream in &mut streams {
        assert_eq!(end_of(stream), "");
    }
    answers(&gateway);
    assert!(gateway.metric(CROWDED) >= 1_000.0 - 64.0);
}

/// The oldest silent connection is closed for a new one; a connection with a request is not.
#[test]
fn where_there_are_too_many_the_oldest_silent_one_goes() {
    let gateway = Setup::default()
        .flag("control-connections", "4")
        .flag("control-timeout", "1h")
        .start();
    let control = gateway.control();
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first = say(control, "");
    let mut talker = say(control, "");
    let ask = |talker: &mut TcpStream| {
        talker.write_all(request.as_bytes()).expect("it reads");
        let mut answer = [0; 12];
        talker.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = Vec::new();
        while !rest.ends_with(b"ready\n") {
            let mut byte = [0];
            talker.read_exact(&mut byte).expect("the rest");
            rest.extend(byte);
        }
    };
    let mut silent = vec![say(control, "GET"), say(control, "")];
    ask(&mut talker);
    // Four there are: each new one takes the place of the oldest that has said nothing since.
    let _fifth = say(control, "");
    assert_eq!(end_of(&mut first), "");
    ask(&mut talker);
    silent.push(say(control, ""));
    assert_eq!(end_of(&mut silent[0]), "");
    ask(&mut talker);
    answers(&gateway);
    assert_eq!(end_of(&mut silent[1]), "");
    ask(&mut talker);
    assert!(gateway.metric(CROWDED) >= 3.0);
}

#[test]
fn each_step_of_a_request_has_its_time() {
    let gateway = Setup::default().flag("control-timeout", "300ms").start();
    let control = gateway.control();
    let whole = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (words, answer) in [
        ("", ""),
        ("G", ""),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n", ""),
        // Kept alive, and silent.
        (whole, "HTTP/1.1 200"),
        (&format!("{whole}GET /metrics"), "HTTP/1.1 200"),
        // A body that does not come.
        (
            "GET /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200",
        ),
    ] {
        let found = end_of(&mut say(control, words));
        assert!(found.starts_with(answer), "{words}: {found}");
        assert_eq!(found.is_empty(), answer.is_empty(), "{words}: {found}");
    }
    assert!(gateway.metric(LATE) >= 4.0);
    // One that asks for much and takes nothing.
    let mut greedy = TcpStream::connect(control).expect("the control port listens");
    greedy
        .set_write_timeout(Some(wait::LIMIT))
        .expect("not zero");
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut written = Ok(());
    while written.is_ok() {
        written = greedy.write_all(ask.as_bytes());
    }
    answers(&gateway);
}

#[test]
fn heads_are_short() {
    let gateway = Gateway::start();
    let control = gateway.control();
    let head = |more: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    for more in [
        format!("X: {}\r\n", "x".repeat(9_000)),
        "X: y\r\n".repeat(100),
    ] {
        let answer = end_of(&mut say(control, &head(&more)));
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    // Not even its end need come.
    let endless = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let answer = end_of(&mut say(control, &endless));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let close = head("Connection: close\r\n");
    assert!(end_of(&mut say(control, &close)).starts_with("HTTP/1.1 200"));
}
