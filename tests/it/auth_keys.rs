//! Keys of tokens in every accepted form, and the errors for settings that cannot be used.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_tests::gateway::Setup;
use trunkline_tests::tokens::{Signer, claims};

fn folder() -> TempDir {
    TempDir::with_prefix("trunkline-keys-").expect("a folder can be made")
}

/// `check-config` and `serve` must refuse a setup, with an error that begins with `start`, contains
/// `words` and shows no secret.
#[track_caller]
fn refused(setup: &Setup, start: &str, words: &[&str]) {
    for command in ["check-config", "serve"] {
        let exit = setup.run(command);
        assert_eq!(exit.status.code(), Some(2), "{exit:?}");
        let start = format!("trunkline: {start}: ");
        assert!(exit.stderr.starts_with(&start), "{start}: {}", exit.stderr);
        for word in words {
            assert!(exit.stderr.contains(word), "{word:?}: {}", exit.stderr);
        }
        assert!(!exit.stderr.contains("hunter2"), "{}", exit.stderr);
    }
}

fn setup() -> Setup {
    Setup::default().without("dev-auth")
}

#[test]
fn one_way_to_say_who_clients_are() {
    let folder = folder();
    let key = Signer::edwards().write(folder.path(), "key");
    let key = key.display();
    let both = ["--jwt-key FILE", "--dev-auth"];
    refused(&setup(), "dev_auth", &both);
    refused(&setup().flag("dev-auth", false), "dev_auth", &both);
    let given = setup().flag("jwt-key", &key);
    refused(
        &given.clone().flag("dev-auth", true),
        "dev_auth",
        &["not with"],
    );
    refused(&given.clone().flag("jwks", &key), "jwks", &["one of them"]);
    let dev = Setup::default().flag("jwt-issuer", "x");
    refused(&dev, "jwt_issuer", &["only with jwt_key or jwks"]);
    refused(
        &given.clone().flag("jwt-leeway", "1h"),
        "jwt_leeway",
        &["10m"],
    );
    refused(
        &given.clone().flag("token-bytes", "100B"),
        "token_bytes",
        &["256B"],
    );
    refused(
        &given.clone().flag("token-topics", 1_001),
        "token_topics",
        &["1000"],
    );
    let exit = given.flag("jwt-algorithm", "none").run("check-config");
    assert_eq!(exit.status.code(), Some(2));
    assert!(
        exit.stderr.contains("HS256, RS256, ES256, EdDSA"),
        "{exit:?}"
    );
}

/// Settings of tokens resolve to the same by flag, environment, file, and from what `check-config`
/// prints.
#[test]
fn settings_of_tokens() {
    let folder = folder();
    let signer = Signer::rsa();
    let key = signer.write(folder.path(), "key.pem");
    let by_flag = Setup::bare()
        .flag("jwt-key", key.display())
        .flag("jwt-algorithm", "RS256")
        .flag("jwt-audience", "chat")
        .flag("jwt-issuer", "https://id.example")
        .flag("jwt-leeway", "7s")
        .flag("token-bytes", "2KiB")
        .flag("token-topics", 9);
    let printed = by_flag.run("check-config");
    assert!(printed.status.success(), "{printed:?}");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, &printed.stdout).expect("a file can be written");
    let by_file = Setup::bare().flag("config", file.display());
    let by_environment = [
        ("TRUNKLINE_JWT_KEY", key.to_str().expect("a path in UTF-8")),
        ("TRUNKLINE_JWT_ALGORITHM", "RS256"),
        ("TRUNKLINE_JWT_AUDIENCE", "chat"),
        ("TRUNKLINE_JWT_ISSUER", "https://id.example"),
        ("TRUNKLINE_JWT_LEEWAY", "7s"),
        ("TRUNKLINE_TOKEN_BYTES", "2KiB"),
        ("TRUNKLINE_TOKEN_TOPICS", "9"),
    ];
    let by_environment = by_environment
        .into_iter()
        .fold(Setup::bare(), |setup, (name, value)| {
            setup.environment(name, value)
        });
    for setup in [by_file, by_environment] {
        assert_eq!(setup.run("check-config").stdout, printed.stdout);
    }
    assert!(printed.stdout.contains("dev_auth = false"), "{printed:?}");
}

/// A gateway with tokens listens on any address, and has rate limits by default.
#[test]
fn tokens_may_come_from_anywhere() {
    let folder = folder();
    let signer = Signer::ecdsa();
    let key = signer.write(folder.path(), "key");
    let anywhere = ["listen", "control"]
        .into_iter()
        .fold(setup(), |setup, flag| setup.flag(flag, "0.0.0.0:0"));
    for flag in ["listen", "control", "http"] {
        let here = setup().flag("dev-auth", true).flag(flag, "0.0.0.0:0");
        let exit = here.run("serve");
        let refused = format!("{flag}: ");
        assert!(exit.stderr.contains("not a loopback address"), "{exit:?}");
        assert!(exit.stderr.contains(&refused), "{exit:?}");
    }
    let checked = anywhere.tokens(&signer, &key).run("check-config");
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        checked.stdout.contains("listen = \"0.0.0.0:0\""),
        "{checked:?}"
    );
    assert!(
        checked.stdout.contains("rate_messages = 100"),
        "{checked:?}"
    );
}

#[test]
fn keys_that_cannot_be_used() {
    let folder = folder();
    let write = |name: &str, text: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file can be written");
        file
    };
    let check = |file: &Path, algorithm: Option<&str>, words: &[&str]| {
        let setup = setup().flag("jwt-key", file.display());
        let setup = match algorithm {
            Some(name) => setup.flag("jwt-algorithm", name),
            None => setup,
        };
        refused(&setup, &file.display().to_string(), words);
    };
    let missing = Path::new("/no/such/key");
    let long = write("long", &vec![0; 1 << 20]);
    check(&long, Some("HS256"), &["shorter than 1 MiB"]);
    check(missing, None, &["name a file that this process may read"]);
    let hs256 = Some("HS256");
    let empty = write("empty", b"");
    check(
        &empty,
        None,
        &["no public key", "jwt_algorithm = \"HS256\""],
    );
    check(&empty, hs256, &["at least 32 bytes"]);
    check(&write("short", b"hunter2"), hs256, &["at least 32 bytes"]);
    let secret = b"hunter2, hunter2 and once again hunter2";
    check(&write("unsaid", secret), None, &["if the file is a secret"]);
    let line = [&secret[..], b"\n"].concat();
    check(&write("line", &line), hs256, &["ends with a line break"]);

    let rsa = Signer::rsa();
    let public = rsa.public();
    let pem = write("rsa.pem", &public);
    check(&pem, hs256, &["which anybody may know"]);
    check(
        &pem,
        Some("ES256"),
        &["is for RS256, and jwt_algorithm says ES256"],
    );
    let jwks = json!({"keys": [rsa.jwk("1")]}).to_string();
    let set = write("jwks.json", jwks.as_bytes());
    check(&set, hs256, &["this looks like a public key"]);
    check(&set, None, &["no public key as PEM"]);
    // The same as bytes.
    let ssh = format!("ssh-ed25519 {}", "A".repeat(60));
    check(
        &write("ssh", ssh.as_bytes()),
        hs256,
        &["looks like a public key"],
    );
    let der = [&[0x30, 0x2a][..], &[7; 42]].concat();
    check(&write("der", &der), hs256, &["looks like a public key"]);

    let mut private = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let file = write("private", private.as_bytes());
    check(&file, None, &["a private key is in it", "openssl pkey"]);
    private.push_str(&String::from_utf8(public).expect("PEM is text"));
    check(&write("two", private.as_bytes()), None, &["a private key"]);
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let file = write("p384", p384.public_key_pem().as_bytes());
    check(&file, None, &["the key is of another kind", "P-256"]);
    for (name, text) in [
        (
            "certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        (
            "broken",
            "-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        ),
        ("half", "-----BEGIN PUBLIC KEY-----\nAAAA\n"),
    ] {
        check(
            &write(name, text.as_bytes()),
            None,
            &["no public key in it"],
        );
    }
    let nothing = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    check(
        &write("nothing", nothing.as_bytes()),
        None,
        &["cannot be read"],
    );
}

#[test]
fn sets_that_cannot_be_used() {
    let folder = folder();
    let check = |text: &str, words: &[&str]| {
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, text).expect("a file can be written");
        let setup = setup().flag("jwks", file.display());
        refused(&setup, &file.display().to_string(), words);
    };
    check("", &["not a set of keys", "line 1"]);
    check("{\"keys\": 7, \"k\": \"hunter2\"}", &["not a set of keys"]);
    check("[]", &["not a set of keys"]);
    check("{\"keys\": []}", &["has no key that tokens"]);
    let only = |key: Value, words: &[&str]| check(&json!({"keys": [key]}).to_string(), words);
    let with = |field: &str, value: Value| {
        let mut key = Signer::rsa().jwk("1");
        key[field] = value;
        key
    };
    only(with("kid", json!(null)), &["key 1: no \"kid\""]);
    only(with("use", json!("enc")), &["\"use\""]);
    only(with("key_ops", json!(["sign"])), &["\"key_ops\""]);
    only(with("alg", json!("PS256")), &["\"alg\"", "than RS256"]);
    only(with("n", json!("AQAB")), &["2,048 to 8,192 bits"]);
    only(
        with("n", json!("!")),
        &["the numbers of the key cannot be read"],
    );
    only(with("kty", json!("XYZ")), &["\"kty\""]);
    only(
        json!({"kid": "1", "kty": "oct", "k": "aHVudGVyMg"}),
        &["at least 32 bytes"],
    );
    only(
        json!({"kid": "1", "kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        &["the key is not valid"],
    );
    only(
        json!({"kid": "1", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        &["the key is not valid"],
    );
    only(json!(7), &["not a key"]);
    let twice = [Signer::hmac().jwk("1"), Signer::edwards().jwk("1")];
    check(
        &json!({"keys": twice}).to_string(),
        &["key 2 (\"kid\" \"1\"): another key has the same \"kid\""],
    );
    let many: Vec<_> = (0..1_001).map(|i| json!({"kid": i.to_string()})).collect();
    check(&json!({"keys": many}).to_string(), &["more than 1000 keys"]);
}

/// Keys and tokens that `openssl` makes are taken.
#[test]
fn keys_of_openssl() {
    let folder = folder();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(folder.path())
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if !openssl(&["version"]) {
        return;
    }
    let kinds: [(&str, &[&str]); 3] = [
        ("RSA", &["rsa_keygen_bits:3072"]),
        ("EC", &["ec_paramgen_curve:prime256v1"]),
        ("ED25519", &[]),
    ];
    for (kind, options) in kinds {
        let mut make = vec!["genpkey", "-algorithm", kind, "-out", "private.pem"];
        for option in options {
            make.extend(["-pkeyopt", option]);
        }
        assert!(openssl(&make), "{kind}");
        let public = [
            "pkey",
            "-in",
            "private.pem",
            "-pubout",
            "-out",
            "public.pem",
        ];
        assert!(openssl(&public), "{kind}");
        let file = folder.path().join("public.pem");
        let exit = setup().flag("jwt-key", file.display()).run("check-config");
        assert!(exit.status.success(), "{kind}: {exit:?}");
    }
    let weak = [
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:1024",
        "-out",
        "weak.pem",
    ];
    assert!(openssl(&weak));
    assert!(openssl(&[
        "pkey", "-in", "weak.pem", "-pubout", "-out", "weak.pub"
    ]));
    let file = folder.path().join("weak.pub");
    let words = ["2,048 to 8,192 bits"];
    refused(
        &setup().flag("jwt-key", file.display()),
        &file.display().to_string(),
        &words,
    );
    // A secret of random bytes, as the README makes it.
    assert!(openssl(&["rand", "-out", "secret", "32"]));
    let file = folder.path().join("secret");
    let secret = std::fs::read(&file).expect("a file");
    let signer = Signer::hmac_with(&secret);
    let gateway = setup().tokens(&signer, &file).start();
    let dial = gateway.dial().with("token", signer.sign(&claims("alice")));
    dial.connect("alice", "phone").ping();
}
