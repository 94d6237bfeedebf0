//! Gateways that ask for tokens.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

use crate::harness::{Loadgen, number, scenario, sentences};
use crate::tls::Target;

/// Starts a gateway that accepts tokens of this key. The file `private` of its folder holds the
/// signing key.
fn target(private: &[u8], public: &str) -> Target {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a file is written");
    };
    write("private", private);
    let flags = if public.is_empty() {
        ["--jwt-key=private", "--jwt-algorithm=HS256"]
    } else {
        write("public", public.as_bytes());
        ["--jwt-key=public", "--jwt-leeway=1s"]
    };
    Target::launch(folder, &flags)
}

#[test]
fn every_user_has_a_token() {
    let kinds = [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ED25519];
    let mut keys: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let key = KeyPair::generate_for(kind).expect("a key");
            (key.serialize_pem().into_bytes(), key.public_key_pem())
        })
        .collect();
    keys.push((vec![7; 32], String::new()));
    for (private, public) in keys {
        let target = target(&private, &public);
        let key = target.file("private").display().to_string();
        let flags = [
            ["--target", &target.url],
            ["--control", &target.control],
            ["--token-key", &key],
        ];
        let done = Loadgen::run(&scenario(&[]), flags.as_flattened()).done();
        let summary = done.expect(0, "ok");
        assert!(number(&summary, "counts.delivered") > 0.0, "{summary}");
    }
}

#[test]
fn tokens_that_the_gateway_does_not_take() {
    let target = target(&[7; 32], "");
    let other = target.file("other");
    std::fs::write(&other, [8; 32]).expect("a file is written");
    let other = other.display().to_string();
    let flags = ["--target", &target.url, "--token-key", &other];
    for flags in [&flags[..], &flags[..2]] {
        let done = Loadgen::run(&scenario(&[]), flags).done();
        let summary = done.expect(105, "aborted");
        let notes = sentences(&summary["notes"]);
        let said = if flags.len() == 2 {
            "\"token\""
        } else {
            "signature"
        };
        assert!(notes.contains(said), "{summary}");
    }
    let pem = target.file("pem");
    std::fs::write(&pem, "-----BEGIN PUBLIC KEY-----\n").expect("a file is written");
    let pem = pem.display().to_string();
    let flags = ["--target", &target.url, "--token-key", &pem];
    let done = Loadgen::run(&scenario(&[]), &flags).done();
    done.expect_refused(104, &["--token-key", "no private key as PEM"]);
    let done = Loadgen::run(&scenario(&[]), &["--token-key", &pem]).done();
    done.expect_refused(104, &["--token-key", "--target"]);
}
