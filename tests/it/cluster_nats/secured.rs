//! Servers that take nobody they do not know.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use trunkline_cluster::nats::{
    Bell, ClusterNames, Nats, NatsSettings, NodeCertificate, StreamError, Wakes,
};
use trunkline_tests::cluster;
use trunkline_tests::nats::Servers;
use trunkline_tests::tls::Authority;
use trunkline_tests::wait;

use super::{CLUSTER, plan};

/// A key of NATS: what it is for, and the seed.
struct Key {
    kind: u8,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;

impl Key {
    fn new(kind: u8, seed: u8) -> Self {
        let seed = [seed; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
        Self { kind, seed, pair }
    }

    fn public(&self) -> String {
        let mut bytes = vec![self.kind];
        bytes.extend_from_slice(self.pair.public_key().as_ref());
        checked(bytes)
    }

    /// Returns the seed in the form that a credentials file has it.
    fn secret(&self) -> String {
        let mut bytes = vec![18 << 3 | self.kind >> 5, (self.kind & 31) << 3];
        bytes.extend_from_slice(&self.seed);
        checked(bytes)
    }

    /// Returns a JWT in which this key says something of another.
    fn says(&self, of: &Self, nats: &Value) -> String {
        let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = encoded(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
        let claims = json!({
            "jti": "x", "iat": 1_700_000_000, "iss": self.public(), "sub": of.public(), "name": "tests",
            "nats": nats,
        });
        let said = format!("{head}.{}", encoded(&claims));
        let signature = self.pair.sign(said.as_bytes());
        format!(
            "{said}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())
        )
    }
}

/// Returns bytes with their CRC-16 (XMODEM) in base 32.
fn checked(mut bytes: Vec<u8>) -> String {
    let mut crc = 0_u16;
    for byte in &bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc = crc << 1 ^ if carry { 0x1021 } else { 0 };
        }
    }
    bytes.extend_from_slice(&crc.to_le_bytes());
    let bit = |index: usize| {
        bytes
            .get(index / 8)
            .is_some_and(|it| it >> (7 - index % 8) & 1 == 1)
    };
    let digit = |start: usize| {
        let value = (start..start + 5).fold(0, |value, index| value << 1 | usize::from(bit(index)));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[value])
    };
    (0..bytes.len() * 8).step_by(5).map(digit).collect()
}

/// Connects and asks for the stream, which is not there. Returns the error.
fn asked(settings: &NatsSettings) -> StreamError {
    let names = ClusterNames::new(CLUSTER, "a").expect("names");
    let wake = Arc::new(Bell::default()) as Arc<_>;
    let (_nats, ends) = Nats::start(settings, &names, Wakes::all(&wake)).expect("a thread");
    ends.streams.open().expect_err("there is no stream")
}

/// TLS with certificates of both sides, and a user with a password in the URL.
#[test]
fn certificates_and_passwords_are_shown_to_the_servers() {
    let authority = Authority::new();
    let of_server = authority.issue("server");
    let of_node = authority.issue("node");
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n\
         authorization {{ user: node, password: \"p@ss:word\" }}\n",
        of_server.cert.display(),
        of_server.key.display(),
        authority.root().display()
    );
    let Some(servers) = Servers::start_with(1, &tls) else {
        return;
    };
    let url = |user: &str| servers.urls()[0].replace("nats://", &format!("tls://{user}@"));
    let settings = |user: &str| NatsSettings {
        urls: vec![url(user)],
        authorities: Some(authority.root()),
        certificate: Some(NodeCertificate {
            chain: of_node.cert.clone(),
            key: of_node.key.clone(),
        }),
        ..NatsSettings::default()
    };
    let right = settings("node:p%40ss%3Aword");
    let absent = asked(&right);
    assert!(matches!(absent, StreamError::Absent(_)), "{absent}");
    let names = ClusterNames::new(CLUSTER, "a").expect("names");
    let wake = Arc::new(Bell::default()) as Arc<_>;
    let (_nats, ends) = Nats::start(&right, &names, Wakes::all(&wake)).expect("a thread");
    ends.streams.create(plan(1)).expect("a stream");
    // Who is not known is told that, and not that nobody is there.
    let wrong = asked(&settings("node:wrong")).to_string();
    assert!(wrong.contains("authorization violation"), "{wrong}");
    assert!(!wrong.contains("wrong"), "{wrong}");
    let mut stranger = settings("node:p%40ss%3Aword");
    let other = Authority::new();
    stranger.authorities = Some(other.root());
    let stranger = asked(&stranger).to_string();
    assert!(
        stranger.contains("no NATS server can be reached"),
        "{stranger}"
    );
}

/// The settings of a gateway and the flags of the commands that show its certificate.
#[test]
fn gateways_and_commands_show_a_certificate() {
    let authority = Authority::new();
    let of_server = authority.issue("server");
    let of_node = authority.issue("node");
    let root = authority.root();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n",
        of_server.cert.display(),
        of_server.key.display(),
        root.display()
    );
    let Some(servers) = Servers::start_with(1, &tls) else {
        return;
    };
    let files = [
        ("nats-ca-file", &root),
        ("nats-cert-file", &of_node.cert),
        ("nats-key-file", &of_node.key),
    ];
    let flags = |count: usize| {
        let flags = files[..count].iter();
        let flags = flags.map(|(name, file)| format!("--{name}={}", file.display()));
        flags.collect::<Vec<_>>()
    };
    let init = |flags: &[String]| {
        let args = ["init", "--replicas=1", "--max-bytes=1GiB"];
        let args = args.into_iter().chain(flags.iter().map(String::as_str));
        cluster::command(&servers, &args.collect::<Vec<_>>())
    };
    let alone = init(&flags(2)).expect_err("a certificate without its key");
    assert!(alone.contains("--nats-key-file"), "{alone}");
    init(&flags(1)).expect_err("the servers ask for a certificate");
    init(&flags(3)).expect("a cluster");
    let setup = files
        .iter()
        .fold(cluster::node(&servers, "a"), |setup, (name, file)| {
            setup.flag(name, file.display())
        });
    let gateway = setup.start();
    wait::until("a node that is ready", || {
        let (status, _) = cluster::get(gateway.control(), "/readyz");
        (status == 200).then_some(())
    });
    gateway
        .dial()
        .connect("alice", "phone")
        .send("bob", "hello");
}

/// A user with a JWT, which an account signed, which an operator signed.
#[test]
fn a_credentials_file_says_who_a_node_is() {
    let (operator, account, user) = (
        Key::new(OPERATOR, 1),
        Key::new(ACCOUNT, 2),
        Key::new(USER, 3),
    );
    // JetStream of servers with an operator needs one of these.
    let system = Key::new(ACCOUNT, 5);
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_operator = operator.says(&operator, &json!({ "type": "operator", "version": 2 }));
    let claims = json!({ "type": "account", "version": 2, "limits": limits });
    let of_account = operator.says(&account, &claims);
    let bare = json!({ "type": "account", "version": 2 });
    let of_system = operator.says(&system, &bare);
    let of_user = account.says(
        &user,
        &json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }),
    );
    let (account, system) = (account.public(), system.public());
    let trust = format!(
        "operator: \"{of_operator}\"\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {account}: \"{of_account}\", {system}: \"{of_system}\" }}\n",
    );
    let Some(servers) = Servers::start_with(1, &trust) else {
        return;
    };
    let file = |name: &str, seed: &str| -> PathBuf {
        let path = servers.store(0).join(name);
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).expect("a file");
        path
    };
    let settings = |file: PathBuf| NatsSettings {
        urls: servers.urls(),
        credentials: Some(file),
        ..NatsSettings::default()
    };
    let absent = asked(&settings(file("right.creds", &user.secret())));
    assert!(matches!(absent, StreamError::Absent(_)), "{absent}");
    // Another's key under this user's JWT.
    let stolen = Key::new(USER, 4);
    let refused = asked(&settings(file("stolen.creds", &stolen.secret()))).to_string();
    assert!(refused.contains("authorization violation"), "{refused}");
    let names = ClusterNames::new(CLUSTER, "a").expect("names");
    let wake = Arc::new(Bell::default()) as Arc<_>;
    let torn = settings(file("torn.creds", "SUAX"));
    let torn = Nats::start(&torn, &names, Wakes::all(&wake)).expect_err("no seed");
    assert!(torn.to_string().contains("torn.creds"), "{torn}");
}
