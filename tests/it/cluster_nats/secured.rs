//! Servers that take nobody they do not know.

use std::sync::Arc;

use trunkline_cluster::nats::{
    Bell, ClusterNames, Nats, NatsSettings, NodeCertificate, StreamError, Wakes,
};
use trunkline_tests::nats::Servers;
use trunkline_tests::tls::Authority;

use super::{CLUSTER, plan};

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
