//! Gateways that speak TLS: one of the run's own, and one that runs already.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Loadgen, number, scenario, sentences};

/// A gateway that no run has started. Dropping it ends it.
pub(crate) struct Target {
    child: Child,
    folder: TempDir,
    pub(crate) url: String,
    pub(crate) control: String,
}

impl Target {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let own = own.expect("a certificate");
        let file = |name| folder.path().join(name);
        std::fs::write(file("cert"), own.cert.pem()).expect("a file is written");
        std::fs::write(file("key"), own.signing_key.serialize_pem()).expect("a file is written");
        let flags = ["--dev-auth", "--tls-cert", "cert", "--tls-key", "key"];
        Self::launch(folder, &flags)
    }

    /// Starts a gateway with these flags, in a folder that holds the files that they name and its
    /// data.
    pub(crate) fn launch(folder: TempDir, flags: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let (child, [url, control]) = Self::spawn(folder.path(), [free, free], flags);
        Self {
            child,
            folder,
            url,
            control,
        }
    }

    /// The same, by a command that starts the program with the arguments behind its own.
    pub(crate) fn launch_by(command: Command, folder: TempDir, flags: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let (child, [url, control]) = Self::spawn_by(command, folder.path(), [free, free], flags);
        Self {
            child,
            folder,
            url,
            control,
        }
    }

    /// Kills the gateway, and starts it again at the same addresses with its data.
    pub(crate) fn kill_and_start_again(&mut self, flags: &[&str]) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let at = |url: &str| {
            let host = url.split("//").nth(1).unwrap_or(url);
            host.split('/').next().unwrap_or(host).to_owned()
        };
        let (listen, control) = (at(&self.url), at(&self.control));
        let (child, _) = Self::spawn(self.folder.path(), [&listen, &control], flags);
        self.child = child;
    }

    /// Starts a gateway in a folder. Returns its process, and the URLs of its ports.
    fn spawn(folder: &Path, addresses: [&str; 2], flags: &[&str]) -> (Child, [String; 2]) {
        let command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        Self::spawn_by(command, folder, addresses, flags)
    }

    /// The same, by a command that starts the program with the arguments behind its own.
    fn spawn_by(
        mut command: Command,
        folder: &Path,
        [listen, control]: [&str; 2],
        flags: &[&str],
    ) -> (Child, [String; 2]) {
        let mut child = command
            .args(["__gateway", &std::process::id().to_string()])
            .args(["serve", "--listen", listen, "--control", control])
            .args(["--http", "off", "--data", "data"])
            .args(flags)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a gateway starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("text");
        let word = |key: &str| {
            let mut words = line.split_whitespace();
            let found = words.find_map(|word| word.strip_prefix(key));
            found.expect("the gateway is ready").to_owned()
        };
        let urls = [word("ws="), word("control=")];
        (child, urls)
    }

    fn cert(&self) -> String {
        self.file("cert").display().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_gateway_that_runs_already() {
    let target = Target::start();
    assert!(target.url.starts_with("wss://127.0.0.1:"), "{}", target.url);
    let cert = target.cert();
    for encoding in ["json", "proto"] {
        let flags = [
            ["--target", &target.url],
            ["--tls-ca", &cert],
            ["--control", &target.control],
            ["--encoding", encoding],
        ];
        let done = Loadgen::run(&scenario(&[]), flags.as_flattened()).done();
        let summary = done.expect(0, "ok");
        assert!(number(&summary, "counts.delivered") > 0.0, "{summary}");
        let metrics = summary["metrics"].as_object().expect("a map");
        for (name, both) in metrics {
            assert_eq!(both["gateway"], both["generator"], "{name}: {summary}");
        }
    }
}

#[test]
fn a_gateway_that_is_not_trusted() {
    let (target, other) = (Target::start(), Target::start());
    let flags = ["--target", &target.url, "--tls-ca", &other.cert()];
    let done = Loadgen::run(&scenario(&[]), &flags).done();
    let summary = done.expect(105, "aborted");
    let notes = sentences(&summary["notes"]);
    assert!(notes.contains("TLS: invalid peer certificate"), "{summary}");
    // A target without TLS is refused if the URL asks for TLS, and the reverse.
    let plain = target.url.replace("wss://", "ws://");
    let done = Loadgen::run(&scenario(&[]), &["--target", &plain]).done();
    let summary = done.expect(105, "aborted");
    let notes = sentences(&summary["notes"]);
    assert!(notes.contains("connect with wss://"), "{summary}");
    let ca = target.cert();
    let done = Loadgen::run(&scenario(&[]), &["--target", &plain, "--tls-ca", &ca]).done();
    done.expect_refused(104, &["--tls-ca", "does not use TLS"]);
}

/// Memory of a session is looked at with TLS as without, and is more.
#[test]
fn sessions_are_held_with_tls() {
    let flags = "hold --tls --connections 400 --for 1s --rate 100/s --out out \
                 --health achieved_min=0,send_lag_p99=60s,loop_stall_max=60s,steal_max=1";
    let done = Loadgen::start("", &flags.split(' ').collect::<Vec<_>>()).done();
    let hold = done.expect_in("out/hold.json", 0, "ok");
    assert!(done.stdout.contains("gateway: wss://127.0.0.1:"), "{hold}");
    assert_eq!(number(&hold, "hold.gateway_sessions"), 400.0, "{hold}");
    assert_eq!(number(&hold, "counts.lost"), 0.0, "{hold}");
    assert!(number(&hold, "counts.delivered") > 0.0, "{hold}");
    for end in ["gateway", "generator"] {
        let bytes = number(&hold, &format!("hold.bytes_per_connection.idle.{end}"));
        assert!((1_000.0..40_000.0).contains(&bytes), "{end}: {hold}");
    }
    assert_eq!(done.left_behind(), 0, "no key stays on the disk");
}
