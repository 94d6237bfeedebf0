//! Certificates that clients would refuse: the gateway warns and serves with them.

use std::path::Path;

use nix::sys::signal::Signal;
use trunkline_tests::gateway::Setup;
use trunkline_tests::tls::{Authority, Files};
use trunkline_tests::wait::until;

const EXPIRY: &str = "trunkline_tls_certificate_expiry_seconds";

/// `check-config` takes the files and prints no warning, or this one.
#[track_caller]
fn said(setup: &Setup, file: &Path, words: &[&str]) {
    let exit = setup.run("check-config");
    assert!(exit.status.success(), "{exit:?}");
    if words.is_empty() {
        assert_eq!(exit.stderr, "");
        return;
    }
    let start = format!("trunkline: warning: {}: ", file.display());
    assert!(exit.stderr.starts_with(&start), "{}", exit.stderr);
    assert_eq!(exit.stderr.lines().count(), 1, "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
    }
}

#[test]
fn out_of_their_time() {
    let authority = Authority::new();
    let good = authority.issue("good");
    let old = authority.issue_between("old", [2001, 2002]);
    let early = authority.issue_between("early", [2999, 3000]);
    let with = |files: &Files| Setup::default().tls(files, &authority.trust());
    said(&with(&good), &good.cert, &[]);
    said(
        &with(&old),
        &old.cert,
        &[
            "expired on 2002-01-01 00:00:00 UTC",
            "days ago",
            "clients refuse it",
        ],
    );
    said(
        &with(&early),
        &early.cert,
        &["not valid before 2999-01-01 00:00:00 UTC", "days from now"],
    );
    // At the start and when it is read again the log says so, and the metric follows.
    let mut gateway = with(&old).start();
    let log_has = |gateway: &trunkline_tests::gateway::Gateway, word: &str| {
        until("the log to say so", || {
            gateway.process().stderr().contains(word).then_some(())
        });
    };
    log_has(&gateway, "expired on 2002-01-01");
    assert_eq!(gateway.metric(EXPIRY), 1_009_843_200.0);
    std::fs::copy(&early.key, &old.key).expect("a file can be written");
    std::fs::copy(&early.cert, &old.cert).expect("a file can be written");
    gateway.process().signal(Signal::SIGHUP);
    until("the metric to follow", || {
        (gateway.metric(EXPIRY) == 32_503_680_000.0).then_some(())
    });
    log_has(&gateway, "not valid before 2999-01-01");
    assert_eq!(
        gateway.metric("trunkline_tls_reloads_total{result=\"ok\"}"),
        1.0
    );
    // Files that cannot be used leave the metric as it is.
    std::fs::copy(&good.cert, &old.cert).expect("a file can be written");
    gateway.process().signal(Signal::SIGHUP);
    until("the files to be read", || {
        (gateway.metric("trunkline_tls_reloads_total{result=\"failed\"}") == 1.0).then_some(())
    });
    assert_eq!(gateway.metric(EXPIRY), 32_503_680_000.0);
    gateway.stop();
}

/// A certificate that expires while the gateway runs is logged once, at that time.
#[test]
fn its_end_while_the_gateway_runs() {
    let authority = Authority::new();
    let files = authority.issue_until("short", std::time::Duration::from_secs(6));
    let gateway = Setup::default().tls(&files, &authority.trust()).start();
    let words = format!("{}: the certificate expired on", files.cert.display());
    let line = until("the log to say so", || {
        let stderr = gateway.process().stderr();
        let line = stderr.lines().find(|line| line.contains(&words));
        line.map(str::to_owned)
    });
    assert!(line.contains("ERROR"), "{line}");
}

#[test]
fn what_else_is_in_their_files() {
    let authority = Authority::new();
    let (good, other) = (authority.issue("good"), authority.issue("other"));
    let read = |file: &Path| std::fs::read_to_string(file).expect("a file can be read");
    let (cert, key) = (read(&good.cert), read(&good.key));
    let with = |cert: &Path, key: &Path| {
        let files = Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        Setup::default().tls(&files, &authority.trust())
    };
    // A key where everybody reads, a certificate where nobody looks for one.
    let both = authority.write("both.pem", &format!("{cert}{key}"));
    said(&with(&both, &good.key), &both, &["a private key is in it"]);
    said(&with(&good.cert, &both), &both, &["a certificate is in it"]);
    // One file for both is a custom.
    said(&with(&both, &both), &both, &[]);
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let openssl = authority.write("openssl.key", &format!("{parameters}{key}"));
    said(&with(&good.cert, &openssl), &openssl, &[]);

    let refused = |cert: &Path, key: &Path, file: &Path, word: &str| {
        for command in ["check-config", "serve"] {
            let exit = with(cert, key).run(command);
            assert_eq!(exit.status.code(), Some(2), "{word}: {exit:?}");
            let start = format!("trunkline: {}: ", file.display());
            assert!(exit.stderr.starts_with(&start), "{}", exit.stderr);
            assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
        }
    };
    let two = authority.write("two.key", &format!("{key}{}", read(&other.key)));
    refused(&good.cert, &two, &two, "2 private keys are in it");
    let marked = authority.write("marked.crt", &format!("\u{feff}{cert}"));
    refused(&marked, &good.key, &marked, "byte order mark (UTF-8");
    let marked = authority.write("marked.key", &format!("\u{feff}{key}"));
    refused(&good.cert, &marked, &marked, "byte order mark (UTF-8");
    let long = authority.write("long.crt", &"x".repeat(1 << 20));
    refused(&long, &good.key, &long, "shorter than 1 MiB");
}

/// Text of another form is named as that, and not as a bad setting.
#[test]
fn configurations_of_another_form() {
    let folder = tempfile::TempDir::with_prefix("trunkline-toml-").expect("a folder can be made");
    let file = folder.path().join("gateway.toml");
    let text = "dev_auth = true\n";
    let wide = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let marked = std::iter::once(0xfeff).chain(text.encode_utf16());
        marked.flat_map(bytes).collect()
    };
    for (bytes, word) in [
        (
            format!("\u{feff}{text}").into_bytes(),
            "byte order mark (UTF-8: EF BB BF)",
        ),
        (wide(u16::to_le_bytes), "byte order mark (UTF-16: FF FE)"),
        (wide(u16::to_be_bytes), "byte order mark (UTF-16: FE FF)"),
        (
            [text.as_bytes(), b"# \xe9\n"].concat(),
            "line 2 is not UTF-8",
        ),
        (vec![b'#'; 1 << 20], "shorter than 1 MiB"),
    ] {
        std::fs::write(&file, bytes).expect("a file can be written");
        let exit = Setup::bare()
            .flag("config", file.display())
            .run("check-config");
        assert_eq!(exit.status.code(), Some(2), "{word}: {exit:?}");
        let start = format!("trunkline: {}: ", file.display());
        assert!(exit.stderr.starts_with(&start), "{}", exit.stderr);
        assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
    }
}
