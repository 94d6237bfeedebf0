//! Certificates and keys in every accepted form, and the errors for files that cannot be used.

use std::path::Path;

use rcgen::KeyPair;
use trunkline_tests::gateway::Setup;
use trunkline_tests::tls::{Authority, Files, first_of, shown};

/// Returns the SEC1 or PKCS#1 key inside a PKCS#8 key.
fn inner(der: &[u8]) -> &[u8] {
    // The contents of the element at the front, and what stands behind it.
    fn open(der: &[u8]) -> (&[u8], &[u8]) {
        let (start, len) = match der[1] {
            len @ 0..=0x7f => (2, usize::from(len)),
            0x81 => (3, usize::from(der[2])),
            _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        };
        (&der[start..start + len], &der[start + len..])
    }
    let (_version, behind) = open(open(der).0);
    let (_algorithm, behind) = open(behind);
    open(behind).0
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in der.chunks(3) {
        let bits = part
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - part.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= part.len() { digit.into() } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn keys_of_every_form() {
    let authority = Authority::new();
    let elliptic = KeyPair::generate().expect("a key");
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let edwards = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    for (name, key, label) in [
        ("sec1", &elliptic, Some("EC PRIVATE KEY")),
        ("pkcs1", &rsa, Some("RSA PRIVATE KEY")),
        ("pkcs8-rsa", &rsa, None),
        ("pkcs8-ed25519", &edwards, None),
    ] {
        let mut files = authority.issue_for(name, key);
        if let Some(label) = label {
            let text = pem(label, inner(&key.serialize_der()));
            files.key = authority.write(&format!("{name}.key"), &text);
        }
        let gateway = Setup::default().tls(&files, &authority.trust()).start();
        let stream = authority.trust().shake(gateway.ws()).expect("a hand-shake");
        assert_eq!(shown(&stream), first_of(&files.cert), "{name}");
        gateway.dial().connect("alice", "phone").ping();
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (good, other) = (authority.issue("good"), authority.issue("other"));
    let write = |name: &str, text: &str| authority.write(name, text);
    let encrypted = write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let broken = write("broken.crt", "-----BEGIN CERTIFICATE-----\n!!!!\n");
    let no_der = write("no-der.crt", &pem("CERTIFICATE", b"no certificate"));
    let no_key = write("no-der.key", &pem("PRIVATE KEY", b"no key"));
    let empty = write("empty", "");
    let missing = Path::new("/no/such/file");
    let check = |cert: &Path, key: &Path, named: &Path, said: &str| {
        let files = Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        let setup = Setup::default().tls(&files, &authority.trust());
        for command in ["check-config", "serve"] {
            let exit = setup.run(command);
            assert_eq!(exit.status.code(), Some(2), "{said}: {exit:?}");
            let line = format!("trunkline: {}: ", named.display());
            assert!(
                exit.stderr.starts_with(&line) && exit.stderr.contains(said),
                "{said}: {}",
                exit.stderr
            );
        }
    };
    let Files { cert, key } = &good;
    check(
        missing,
        key,
        missing,
        "name a file that this process may read",
    );
    check(
        cert,
        missing,
        missing,
        "name a file that this process may read",
    );
    check(
        &empty,
        key,
        &empty,
        "no certificate in it: tls_cert takes PEM",
    );
    // The two in place of each other.
    check(key, cert, key, "no certificate in it");
    check(cert, cert, cert, "no private key in it: tls_key takes PEM");
    check(
        cert,
        &encrypted,
        &encrypted,
        "the key is encrypted: decrypt it",
    );
    check(&broken, key, &broken, "the PEM is not valid");
    check(
        &no_der,
        key,
        &no_der,
        "the first certificate cannot be read",
    );
    check(cert, &no_key, &no_key, "the key cannot be used");
    check(
        cert,
        &other.key,
        &other.key,
        "not the key of the first certificate in",
    );
    let exit = Setup::default()
        .flag("tls-cert", cert.display())
        .run("serve");
    assert_eq!(exit.status.code(), Some(2));
    assert!(exit.stderr.contains("give --tls-key FILE"), "{exit:?}");
}
