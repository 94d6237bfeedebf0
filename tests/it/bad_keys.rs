//! Keys that look like keys and cannot be right are refused when they are read.

use std::path::Path;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::Exit;
use trunkline_tests::tokens::{Signer, claims};
use trunkline_tests::wait::until;

fn folder() -> TempDir {
    TempDir::with_prefix("trunkline-keys-").expect("a folder can be made")
}

fn setup() -> Setup {
    Setup::default().without("dev-auth")
}

fn write(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).expect("a file can be written");
}

/// `check-config` and `serve` must refuse a setup, with an error that names the file and contains
/// `word`.
#[track_caller]
fn refused(setup: &Setup, file: &Path, word: &str) {
    for command in ["check-config", "serve"] {
        let exit = setup.run(command);
        assert_eq!(exit.status.code(), Some(2), "{word}: {exit:?}");
        let start = format!("trunkline: {}: ", file.display());
        assert!(exit.stderr.starts_with(&start), "{word}: {}", exit.stderr);
        assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
    }
}

/// `check-config` must take a setup, with a warning that names the file and contains `word`.
#[track_caller]
fn warned(setup: &Setup, file: &Path, word: &str) {
    let exit: Exit = setup.run("check-config");
    assert!(exit.status.success(), "{word}: {exit:?}");
    let start = format!("trunkline: warning: {}: ", file.display());
    assert!(exit.stderr.starts_with(&start), "{word}: {}", exit.stderr);
    assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
}

/// Changes the DER inside a PEM text, and returns it as PEM.
fn changed(pem: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> String {
    let text = std::str::from_utf8(pem).expect("PEM is text");
    let inside: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = BASE64_STANDARD.decode(inside).expect("base64");
    change(&mut der);
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn one_key_as_pem() {
    let folder = folder();
    let file = folder.path().join("key.pem");
    let check = |pem: &str, word: &str| {
        write(&file, pem.as_bytes());
        refused(&setup().flag("jwt-key", file.display()), &file, word);
    };
    let ecdsa = Signer::ecdsa().public();
    let off = changed(&ecdsa, |der| *der.last_mut().expect("a point") ^= 1);
    check(&off, "not on the curve P-256");
    let edwards = Signer::edwards().public();
    let point = |bytes: [u8; 32]| {
        changed(&edwards, |der| {
            let at = der.len() - 32;
            der[at..].copy_from_slice(&bytes);
        })
    };
    let mut two = [0; 32];
    two[0] = 2;
    check(&point(two), "not a point of the curve Ed25519");
    check(&point([0; 32]), "small order");
    // The exponent stands at the end: 65537, in three bytes.
    let rsa = Signer::rsa().public();
    let exponent = |bytes: [u8; 3]| {
        changed(&rsa, |der| {
            let at = der.len() - 3;
            assert_eq!(der[at..], [1, 0, 1]);
            der[at..].copy_from_slice(&bytes);
        })
    };
    check(&exponent([0, 0, 1]), "exponent of an RSA key");
    check(&exponent([1, 0, 0]), "exponent of an RSA key");
    let even = changed(&rsa, |der| {
        let at = der.len() - 6;
        der[at] &= 0xfe;
    });
    check(&even, "is even");
    // A key and another one: which of them is meant?
    let text = String::from_utf8(ecdsa).expect("PEM is text");
    check(&text.repeat(2), "2 public keys are in it");
    check(
        &format!("\u{feff}{text}"),
        "byte order mark (UTF-8: EF BB BF)",
    );
    let wide: Vec<u8> = std::iter::once('\u{feff}')
        .chain(text.chars())
        .flat_map(|c| (c as u16).to_le_bytes())
        .collect();
    write(&file, &wide);
    refused(
        &setup().flag("jwt-key", file.display()),
        &file,
        "byte order mark (UTF-16",
    );
    // Something else beside it is said.
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write(&file, format!("{other}{text}").as_bytes());
    warned(
        &setup().flag("jwt-key", file.display()),
        &file,
        "(CERTIFICATE)",
    );
}

#[test]
fn secrets_with_a_byte_order_mark() {
    let folder = folder();
    let file = folder.path().join("secret");
    let with = setup()
        .flag("jwt-key", file.display())
        .flag("jwt-algorithm", "HS256");
    let text = "a secret that an editor has written";
    write(&file, format!("\u{feff}{text}").as_bytes());
    refused(&with, &file, "byte order mark (UTF-8");
    let wide: Vec<u8> = std::iter::once('\u{feff}')
        .chain(text.chars())
        .flat_map(|c| (c as u16).to_le_bytes())
        .collect();
    write(&file, &wide);
    refused(&with, &file, "byte order mark (UTF-16");
    // Bytes by chance are no text.
    for start in [&[0xef, 0xbb, 0xbf][..], &[0xff, 0xfe], &[0xfe, 0xff]] {
        write(&file, &[start, &[0x93; 40]].concat());
        let exit = with.run("check-config");
        assert!(exit.status.success(), "{exit:?}");
    }
}

#[test]
fn keys_of_a_set_that_are_passed_over() {
    let folder = folder();
    let file = folder.path().join("jwks.json");
    let good = Signer::edwards();
    let mut other = Signer::rsa().jwk("other");
    other["use"] = json!("enc");
    let set = json!({"keys": [good.jwk("1"), other]});
    write(&file, set.to_string().as_bytes());
    let with = setup().flag("jwks", file.display());
    warned(
        &with,
        &file,
        "key 2 (\"kid\" \"other\"): not for signatures",
    );
    let gateway = with.start();
    let token = good.sign_by("1", &claims("alice"));
    gateway
        .dial()
        .with("token", token)
        .connect("alice", "phone")
        .ping();
    until("the log to say so", || {
        gateway
            .process()
            .stderr()
            .contains("not for signatures")
            .then_some(())
    });
}

/// A set with one key that cannot be right does not replace one that was good.
#[test]
fn bad_keys_replace_no_good_ones() {
    let folder = folder();
    let file = folder.path().join("jwks.json");
    let good = Signer::ecdsa();
    let put = |keys: Vec<Value>| write(&file, json!({"keys": keys}).to_string().as_bytes());
    put(vec![good.jwk("1")]);
    let mut gateway = setup().flag("jwks", file.display()).start();
    let failed = |gateway: &trunkline_tests::gateway::Gateway| {
        gateway.metric("trunkline_token_key_reloads_total{result=\"failed\"}")
    };
    let flip = |key: &Value, name: &str| {
        let mut key = key.clone();
        let text = key[name].as_str().expect("text");
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
        *bytes.last_mut().expect("bytes") ^= 1;
        key[name] = json!(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        key
    };
    let with = |key: Value, name: &str, value: Value| {
        let mut key = key;
        key[name] = value;
        key
    };
    let fresh = Signer::ecdsa().jwk("2");
    let bad = [
        (flip(&fresh, "y"), "not on the curve"),
        (with(Signer::rsa().jwk("2"), "e", json!("AQ")), "exponent"),
        (flip(&Signer::rsa().jwk("2"), "n"), "is even"),
        (
            with(
                Signer::edwards().jwk("2"),
                "x",
                json!("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ),
            "not a point",
        ),
        (with(fresh.clone(), "d", json!("AAAA")), "a private key"),
    ];
    for (i, (key, word)) in bad.into_iter().enumerate() {
        put(vec![fresh.clone(), with(key, "kid", json!("bad"))]);
        gateway.process().signal(Signal::SIGHUP);
        until("the keys to be read", || {
            (failed(&gateway) == (i + 1) as f64).then_some(())
        });
        let token = good.sign_by("1", &claims("alice"));
        gateway
            .dial()
            .with("token", token)
            .connect("alice", "phone")
            .ping();
        until("the log to say why", || {
            let said = gateway.process().stderr();
            (said.contains("key 2 (\"kid\" \"bad\")") && said.contains(word)).then_some(())
        });
    }
    assert_eq!(
        gateway.metric("trunkline_token_key_reloads_total{result=\"ok\"}"),
        0.0
    );
    gateway.stop();
}
