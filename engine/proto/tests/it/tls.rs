//! TLS records that arrive in pieces of any size, and the memory that a connection holds for them.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::cipher::OutboundPlainMessage;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use trunkline_proto::tls::{ClientTls, MAX_HELD, Received, ServerTls, Side, Tls, TlsError};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn pair(version: &'static SupportedProtocolVersion) -> (ClientTls, ServerTls) {
    let (client, server) = configurations(version);
    (
        Tls::client(Arc::new(client), name()).unwrap(),
        Tls::server(Arc::new(server)).unwrap(),
    )
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn configurations(version: &'static SupportedProtocolVersion) -> (ClientConfig, ServerConfig) {
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
    (client, server)
}

/// The result of handing bytes over.
#[derive(Debug)]
struct Handed {
    plain: Vec<u8>,
    answer: Vec<u8>,
    last: Received,
}

/// Hands `bytes` over in pieces.
fn hand<S: Side>(to: &mut Tls<S>, bytes: &[u8], piece: usize) -> Result<Handed, TlsError> {
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
    Ok(Handed {
        plain,
        answer: out,
        last,
    })
}

fn shake(client: &mut ClientTls, server: &mut ServerTls, piece: usize) {
    let mut to_server = Vec::new();
    client
        .receive(&mut [], &mut [], &mut to_server)
        .map(|received| assert_eq!(received, Received::default()))
        .unwrap();
    while !to_server.is_empty() {
        let to_client = hand(server, &to_server, piece).unwrap().answer;
        to_server = hand(client, &to_client, piece).unwrap().answer;
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
                let Handed { plain, answer, .. } = hand(&mut server, &there, piece).unwrap();
                assert!(plain == text && answer.is_empty());
                server.seal(text, &mut back).unwrap();
                assert!(hand(&mut client, &back, piece).unwrap().plain == text);
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
        let Handed {
            plain,
            answer,
            last,
        } = hand(&mut server, &out, 64 << 10).unwrap();
        assert!(plain == b"last" && answer.is_empty() && last.ended);
        let mut out = Vec::new();
        server.seal(b"all the same", &mut out).unwrap();
        server.close(&mut out).unwrap();
        let Handed { plain, last, .. } = hand(&mut client, &out, 64 << 10).unwrap();
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
        let Handed { plain, answer, .. } = hand(&mut server, &[0x17; 99], 9).unwrap();
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

/// Returns a client that goes on by hand after its hand-shake: the server's end, and what makes a
/// record of a hand-shake message's part.
fn by_hand() -> (ServerTls, impl FnMut(&[u8]) -> Vec<u8>) {
    let (mut client, server) = configurations(&TLS13);
    client.enable_secret_extraction = true;
    let mut server = Tls::server(Arc::new(server)).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name()).unwrap();
    while client.wants_write() {
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        let Handed { answer, .. } = hand(&mut server, &out, 64 << 10).unwrap();
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let (mut number, secrets) = client.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
        panic!("another cipher")
    };
    let suite = TLS13_AES_256_GCM_SHA384.tls13().unwrap();
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    let record = move |payload: &[u8]| {
        let message = OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_2,
            payload: payload.into(),
        };
        number += 1;
        encrypter.encrypt(message, number - 1).unwrap().encode()
    };
    (server, record)
}

/// rustls keeps its place in what is held: whatever happens meanwhile must find that there.
#[test]
fn a_key_update_in_two_records() {
    let (mut server, mut record) = by_hand();
    let mut out = Vec::new();
    hand(&mut server, &record(&[24, 0]), 7).unwrap();
    assert!(server.held() > 0, "half of it has come");
    server.seal(b"meanwhile", &mut out).unwrap();
    let Handed { plain, .. } = hand(&mut server, &record(&[0, 1, 1]), 7).unwrap();
    assert!(plain.is_empty() && server.held() == 0);
    // With a new key, after a message that says so.
    let before = out.len();
    server.seal(b"x", &mut out).unwrap();
    let without = 5 + 1 + 1 + 16;
    assert!(out.len() - before > without, "a key update of our own");
    // The rest of a message may also never come.
    let (mut server, mut record) = by_hand();
    hand(&mut server, &record(&[24, 0, 0]), 64 << 10).unwrap();
    server.close(&mut out).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A client's bytes with some of them changed, lost or repeated: an error at worst, told to the
    /// other end, and never a word of what was not said.
    #[test]
    fn what_is_damaged_on_the_way(
        old in any::<bool>(),
        piece in 1..600usize,
        damages in prop::collection::vec((0..2_500usize, any::<u8>(), 0..3u8), 0..4),
    ) {
        let (mut client, mut server) = pair(if old { &TLS12 } else { &TLS13 });
        let (mut there, mut back, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        let (mut room, mut said) = (vec![0; 128 << 10], 0);
        client.receive(&mut [], &mut [], &mut there).unwrap();
        for round in 0..4 {
            for (at, bits, kind) in &damages {
                // Each is at a place of all that the client says.
                let Some(at) = at.checked_sub(said).filter(|at| *at < there.len()) else {
                    continue;
                };
                match kind {
                    0 => there[at] ^= bits,
                    1 => there.truncate(at),
                    _ => there.extend_from_within(at..),
                }
            }
            said += there.len();
            let Ok(Handed { plain, answer, .. }) = hand(&mut server, &there, piece) else {
                prop_assert_eq!(server.held(), 0);
                break;
            };
            heard.extend_from_slice(&plain);
            back.extend_from_slice(&answer);
            let _ = server.seal(b"from the server", &mut back);
            there.clear();
            let held = client.resume(&mut room);
            room[held..held + back.len()].copy_from_slice(&back);
            let (mut plain, end) = (vec![0; 128 << 10], held + back.len());
            if client.receive(&mut room[..end], &mut plain, &mut there).is_err() {
                break;
            }
            back.clear();
            if !client.is_handshaking() && round < 3 {
                let _ = client.seal(b"word ", &mut there);
            }
        }
        prop_assert!(b"word word word ".starts_with(&heard[..]), "{heard:?}");
    }
}
