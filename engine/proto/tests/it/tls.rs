//! Records in whatever pieces they come, and what a connection holds of them.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use trunkline_proto::tls::{ClientTls, MAX_HELD, Received, ServerTls, Side, Tls, TlsError};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn pair(version: &'static SupportedProtocolVersion) -> (ClientTls, ServerTls) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    (
        Tls::client(Arc::new(client), name).unwrap(),
        Tls::server(Arc::new(server)).unwrap(),
    )
}

/// Hands `bytes` over in pieces; the plaintext that came, what is answered, and the last result.
fn hand<S: Side>(
    to: &mut Tls<S>,
    bytes: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, Vec<u8>, Received), TlsError> {
    let (mut plain, mut out, mut last) = (Vec::new(), Vec::new(), Received::default());
    let mut buffer = vec![0; MAX_HELD + (64 << 10)];
    let mut room = buffer.clone();
    for piece in bytes.chunks(piece) {
        let held = to.resume(&mut buffer);
        let end = held + piece.len();
        buffer[held..end].copy_from_slice(piece);
        last = to.receive(&mut buffer[..end], &mut room, &mut out)?;
        plain.extend_from_slice(&room[..last.plain]);
        assert!(to.held() <= 2 * MAX_HELD);
    }
    Ok((plain, out, last))
}

fn shake(client: &mut ClientTls, server: &mut ServerTls, piece: usize) {
    let mut to_server = Vec::new();
    client
        .receive(&mut [], &mut [], &mut to_server)
        .map(|received| assert_eq!(received, Received::default()))
        .unwrap();
    while !to_server.is_empty() {
        let (_, to_client, _) = hand(server, &to_server, piece).unwrap();
        to_server = hand(client, &to_client, piece).unwrap().1;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
}

#[test]
fn whatever_the_pieces() {
    let long: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    for version in VERSIONS {
        for piece in [1, 7, 1_000, 64 << 10] {
            let (mut client, mut server) = pair(version);
            shake(&mut client, &mut server, piece);
            for text in [&b"hello"[..], &long, b""] {
                let (mut there, mut back) = (Vec::new(), Vec::new());
                client.seal(text, &mut there).unwrap();
                let (plain, answer, _) = hand(&mut server, &there, piece).unwrap();
                assert!(plain == text && answer.is_empty());
                server.seal(text, &mut back).unwrap();
                assert!(hand(&mut client, &back, piece).unwrap().0 == text);
            }
            assert_eq!((client.held(), server.held()), (0, 0), "nothing is held");
        }
    }
}

#[test]
fn both_say_that_nothing_follows() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version);
        shake(&mut client, &mut server, 64 << 10);
        let mut out = Vec::new();
        client.seal(b"last", &mut out).unwrap();
        client.close(&mut out).unwrap();
        out.extend_from_slice(b"is not read any more");
        let (plain, answer, last) = hand(&mut server, &out, 64 << 10).unwrap();
        assert!(plain == b"last" && answer.is_empty() && last.ended);
        let mut out = Vec::new();
        server.seal(b"all the same", &mut out).unwrap();
        server.close(&mut out).unwrap();
        let (plain, _, last) = hand(&mut client, &out, 64 << 10).unwrap();
        assert!(plain == b"all the same" && last.ended);
    }
}

#[test]
fn before_there_are_keys() {
    let (mut client, mut server) = pair(&TLS13);
    let mut out = Vec::new();
    assert!(matches!(
        server.seal(b"too early", &mut out),
        Err(TlsError::NoKeys)
    ));
    assert!(matches!(client.close(&mut out), Err(TlsError::NoKeys)));
    assert_eq!(out, b"");
}

#[test]
fn an_error_is_told_and_is_the_end() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version);
        shake(&mut client, &mut server, 64 << 10);
        let mut out = Vec::new();
        client.seal(b"good", &mut out).unwrap();
        let end = out.len() - 1;
        out[end] ^= 1;
        let (mut room, mut alert) = (vec![0; out.len()], Vec::new());
        let refused = server.receive(&mut out, &mut room, &mut alert);
        assert!(matches!(
            refused,
            Err(TlsError::Tls(rustls::Error::DecryptError))
        ));
        assert!(server.has_failed() && server.held() == 0);
        assert!(matches!(
            hand(&mut client, &alert, 64 << 10),
            Err(TlsError::Tls(rustls::Error::AlertReceived(_)))
        ));
        assert!(server.seal(b"more", &mut alert).is_err());
        let (plain, answer, _) = hand(&mut server, &[0x17; 99], 9).unwrap();
        assert!(plain.is_empty() && answer.is_empty());
    }
}

#[test]
fn what_is_held_is_bounded() {
    // A record's header may announce 18 KiB and no more.
    let (_, mut server) = pair(&TLS13);
    let refused = hand(&mut server, &[22, 3, 1, 0x48, 1], 5);
    assert!(matches!(refused, Err(TlsError::Tls(_))));
    // A hand-shake message may go over many records: here one of 64 KiB.
    let (_, mut server) = pair(&TLS13);
    let mut hello = vec![1, 0, 0xff, 0xff];
    hello.resize(4 + 0xffff, 0);
    let mut records = Vec::new();
    for part in hello.chunks(4_000) {
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&(part.len() as u16).to_be_bytes());
        records.extend_from_slice(part);
    }
    let taken = records.len() / 4;
    assert!(hand(&mut server, &records[..taken], 1_500).is_ok());
    let held = server.held();
    assert!(held >= taken && held <= 2 * MAX_HELD, "{held}");
    let refused = hand(&mut server, &records[taken..], 1_500);
    assert!(matches!(refused, Err(TlsError::TooLong)), "{refused:?}");
    assert_eq!(server.held(), 0);
}
