//! `trunkline health`, and what the gateway tells a service manager.

use std::os::unix::net::UnixDatagram;

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::port;
use trunkline_tests::process::Exit;
use trunkline_tests::wait::LIMIT;

/// Asks the control port of a gateway. No setting but the address is needed.
fn ask(gateway: &Gateway, flags: &[&str]) -> Exit {
    let control = gateway.control().to_string();
    let asks = Setup::bare().environment("TRUNKLINE_CONTROL", &control);
    let mut command = asks.command("health");
    trunkline_tests::process::Process::start(command.args(flags)).ended()
}

#[test]
fn a_gateway_that_works_is_healthy_and_ready() {
    let gateway = Gateway::start();
    for (flags, said) in [(&[][..], "ok\n"), (&["--ready"], "ready\n")] {
        let exit = ask(&gateway, flags);
        assert_eq!(
            (exit.status.code(), &*exit.stdout),
            (Some(0), said),
            "{exit:#?}"
        );
    }
    // A gateway whose data folder is gone says so, and the command fails with what it says.
    std::fs::remove_dir_all(gateway.data()).expect("the folder can be removed");
    let exit = trunkline_tests::wait::until("the gateway to miss its folder", || {
        let exit = ask(&gateway, &[]);
        (exit.status.code() != Some(0)).then_some(exit)
    });
    assert_eq!(exit.status.code(), Some(1), "{exit:#?}");
    assert!(
        exit.stderr.contains("/healthz says 503: the store"),
        "{exit:#?}"
    );
    assert_eq!(ask(&gateway, &["--ready"]).status.code(), Some(1));
}

#[test]
fn nobody_and_a_stranger_at_the_address_are_named() {
    let nobody = port::keep(0).address.to_string();
    let asks = |control: &str| Setup::bare().flag("control", control).run("health");
    let exit = asks(&nobody);
    assert_eq!(exit.status.code(), Some(1), "{exit:#?}");
    assert!(
        exit.stderr.contains("does not answer at its control port"),
        "{exit:#?}"
    );
    assert!(exit.stderr.contains("--control"), "{exit:#?}");

    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = stranger.local_addr().expect("an address").to_string();
    let talks = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("a client comes");
        let _ = std::io::Read::read(&mut stream, &mut [0; 1 << 10]);
        let _ = std::io::Write::write_all(&mut stream, b"SSH-2.0-stranger\r\n");
    });
    let exit = asks(&address);
    talks.join().expect("the stranger does not panic");
    assert_eq!(exit.status.code(), Some(1), "{exit:#?}");
    assert!(exit.stderr.contains("no control port"), "{exit:#?}");

    let exit = asks("nowhere");
    assert_eq!(exit.status.code(), Some(2), "{exit:#?}");
}

#[test]
fn a_service_manager_hears_when_the_gateway_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket can be made");
    manager.set_read_timeout(Some(LIMIT)).expect("a time limit");
    let heard = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("the gateway tells");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let path = path.to_str().expect("a path in UTF-8");
    let mut gateway = Setup::default().environment("NOTIFY_SOCKET", path).start();
    assert_eq!(heard(), "READY=1\n");
    gateway.ask_to_stop();
    assert_eq!(heard(), "STOPPING=1\n");
    assert!(gateway.ended().status.success());

    // Without its socket the gateway runs all the same.
    drop(manager);
    let gateway = Setup::default().environment("NOTIFY_SOCKET", path).start();
    gateway.dial().connect("alice", "phone");
}
