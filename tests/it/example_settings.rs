//! `deploy/trunkline.toml`, the file with every setting in a comment, is one that the gateway takes.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use trunkline_tests::gateway::Setup;
use trunkline_tests::process::{Process, program, workspace};
use trunkline_tests::tls::Authority;
use trunkline_tests::tokens::Signer;

/// Returns the file with every key in force, except those in `without`, and with its paths in `folder`.
fn in_force(folder: &Path, without: &[&str]) -> String {
    let file = workspace().join("deploy/trunkline.toml");
    let text = std::fs::read_to_string(file).expect("the file");
    let lines = text.lines().map(|line| {
        let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        let key = key.filter(|rest| {
            !without
                .iter()
                .any(|key| rest.starts_with(&format!("{key} = ")))
        });
        key.unwrap_or(line).to_owned() + "\n"
    });
    let folder = folder.to_str().expect("a path in UTF-8");
    lines
        .collect::<String>()
        .replace("/etc/trunkline", folder)
        .replace("/var/lib/trunkline", folder)
}

/// The keys of a node of a cluster.
const CLUSTER: [&str; 7] = [
    "cluster",
    "node",
    "nats",
    "nats_credentials",
    "nats_ca_file",
    "nats_cert_file",
    "nats_key_file",
];

/// The keys that a node of a cluster cannot have, or not with the values of the example.
const NOT_IN_A_CLUSTER: [&str; 6] = [
    "search",
    "message_bytes",
    "offline",
    "presence",
    "give_up",
    "groups_up_to",
];

/// Makes the files that the example names.
fn make_files(folder: &Path) {
    let authority = Authority::new();
    let files = authority.issue("server");
    let copy = |from: &Path, to: &str| std::fs::copy(from, folder.join(to)).map(drop);
    copy(&files.cert, "fullchain.pem").expect("a certificate");
    copy(&files.key, "privkey.pem").expect("its key");
    copy(&authority.root(), "back-ends.pem").expect("an authority");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(folder.join(name), text).expect("a file can be written");
    };
    let signer = Signer::ecdsa();
    write("token.key", &[7; 32]);
    let keys = json!({"keys": [signer.jwk("a")]});
    write("jwks.json", keys.to_string().as_bytes());
    let secret = format!("whsec_{}\n", BASE64_STANDARD.encode([7; 32]));
    write("webhook.secret", secret.as_bytes());
    write("media.env", b"AWS_REGION=eu-central-1\n");
    let admin = format!("ops read {}\n", "0a".repeat(32));
    write("admin-tokens", admin.as_bytes());
}

/// Returns the keys that `check-config` prints for a file, with their tables.
fn taken(folder: &Path, text: &str) -> BTreeSet<String> {
    let file = folder.join("trunkline.toml");
    std::fs::write(&file, text).expect("a file can be written");
    let exit = Setup::bare()
        .flag("config", file.display())
        .run("check-config");
    assert!(exit.status.success(), "{exit:#?}");
    let printed: toml::Table = exit.stdout.parse().expect("TOML");
    let keys = printed.into_iter().flat_map(|(name, value)| match value {
        toml::Value::Table(table) if name == "callbacks" || name == "webhooks" => {
            let keys = table.into_iter().map(|(key, _)| format!("{name}_{key}"));
            keys.collect::<Vec<_>>()
        }
        _ => vec![name],
    });
    keys.collect()
}

#[test]
fn every_key_can_be_in_force() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    make_files(folder.path());
    let settings = Process::start(std::process::Command::new(program()).arg("settings")).ended();
    let settings: Value = serde_json::from_str(&settings.stdout).expect("JSON");
    let settings = settings.as_array().expect("an array").iter();
    let mut all: BTreeSet<_> = settings
        .map(|setting| setting["name"].as_str().expect("a name").to_owned())
        .collect();
    assert!(all.len() > 90, "{}", all.len());
    // Keys of tokens come from one of two files, and a set says its algorithms itself.
    let taken =
        |without: &[&[&str]]| taken(folder.path(), &in_force(folder.path(), &without.concat()));
    let with_key = taken(&[&["jwks"], &CLUSTER]);
    let with_set = taken(&[&["jwt_key", "jwt_algorithm"], &CLUSTER]);
    let in_cluster = taken(&[&["jwks"], &NOT_IN_A_CLUSTER]);
    let both: BTreeSet<_> = [with_key, with_set, in_cluster]
        .into_iter()
        .flatten()
        .collect();
    for missing in ["jwt_key", "jwt_algorithm", "jwks"] {
        assert!(both.contains(missing), "{missing}");
    }
    all.retain(|name| !both.contains(name));
    assert!(all.is_empty(), "not in the file: {all:?}");
}

#[test]
fn without_a_change_the_file_sets_nothing() {
    let file = workspace().join("deploy/trunkline.toml");
    let text = std::fs::read_to_string(&file).expect("the file");
    let table: toml::Table = text.parse().expect("TOML");
    let set: Vec<_> = table
        .iter()
        .filter(|(_, value)| value.as_table().is_none_or(|table| !table.is_empty()))
        .collect();
    assert!(set.is_empty(), "{set:?}");
    let printed =
        Process::start(std::process::Command::new(program()).args(["settings", "--toml"]));
    assert_eq!({ printed }.ended().stdout, text);
}
