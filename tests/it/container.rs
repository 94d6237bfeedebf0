//! The Dockerfile: the steps of its second stage, played in a Debian of its own.

use std::collections::BTreeMap;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use trunkline_tests::debian::Debian;
use trunkline_tests::dial::Dial;
use trunkline_tests::process::{Process, loadgen, program, workspace};
use trunkline_tests::scripts;
use trunkline_tests::tokens::{Signer, claims};

/// Returns the instructions of the Dockerfile, each as its name and its arguments.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(workspace().join("Dockerfile")).expect("the Dockerfile");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let instructions = joined.lines().filter(|line| !line.trim().is_empty());
    let split = |line: &str| {
        let (name, rest) = line.split_once(' ').expect("an instruction with arguments");
        (name.to_owned(), rest.trim().to_owned())
    };
    instructions.map(split).collect()
}

/// Returns an array of strings in JSON.
fn words(json: &str) -> Vec<String> {
    let array: Value = serde_json::from_str(json).expect("an array in JSON");
    let words = array.as_array().expect("an array").iter();
    words
        .map(|word| word.as_str().expect("a string").to_owned())
        .collect()
}

/// What the image says about its containers.
#[derive(Default)]
struct Image {
    user: String,
    environment: BTreeMap<String, String>,
    entry: Vec<String>,
    arguments: Vec<String>,
    health: Vec<String>,
}

impl Image {
    /// Plays an instruction of the second stage in the Debian.
    fn play(&mut self, debian: &Debian, name: &str, rest: &str) {
        match name {
            "RUN" => {
                debian.done(rest);
            }
            "COPY" => copy(debian, rest),
            "USER" => rest.clone_into(&mut self.user),
            "ENV" => {
                let each = rest.split_whitespace().map(|pair| pair.split_once('='));
                let each = each.map(|pair| pair.expect("name=value"));
                let each = each.map(|(name, value)| (name.to_owned(), value.to_owned()));
                self.environment.extend(each);
            }
            "ENTRYPOINT" => self.entry = words(rest),
            "CMD" => self.arguments = words(rest),
            "HEALTHCHECK" => {
                let (_, command) = rest.split_once("CMD ").expect("a command");
                self.health = words(command);
            }
            "VOLUME" => {
                for folder in words(rest) {
                    debian.done(&format!("test -d {folder}"));
                }
            }
            "EXPOSE" => assert_eq!(rest, "7700 7702"),
            other => panic!("this test does not know {other}: teach it"),
        }
    }

    /// Returns the command that runs in a container, with what `docker run` adds to the environment.
    fn command(&self, debian: &Debian, words: &[String], added: &[(&str, &str)]) -> Command {
        let (user, group) = self.user.split_once(':').expect("user:group");
        let mut command = debian.command("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups"]);
        command
            .args(["--no-new-privs", "--bounding-set=-all", "--"])
            .args(words);
        command.envs(&self.environment).envs(added.iter().copied());
        command
    }
}

/// Copies from the first stage: the programs are those that are built here.
fn copy(debian: &Debian, rest: &str) {
    let mut words: Vec<_> = rest.split_whitespace().collect();
    assert_eq!(words.remove(0), "--from=build");
    let to = words.pop().expect("a place");
    for from in words {
        let (name, file) = from
            .rsplit_once('/')
            .map_or(("", from), |(_, name)| (name, from));
        let file = match from.strip_prefix("/src/target/release/") {
            Some("trunkline") => program(),
            Some("loadgen") => loadgen(),
            _ => file.as_ref(),
        };
        let to = if to.ends_with('/') {
            format!("{to}{name}")
        } else {
            to.to_owned()
        };
        debian.done(&format!("mkdir -p $(dirname {to})"));
        debian.copy(file, &to);
    }
}

/// Where Docker mounts the secret of the compose file.
const SECRET: &str = "/run/secrets/token_key";

/// Returns what `deploy/compose.yaml` says; `None` where Python has nothing that reads YAML.
fn composed() -> Option<Value> {
    scripts::yaml(&workspace().join("deploy/compose.yaml"))
}

/// Returns the settings that the compose file gives the gateway, as environment variables.
fn settings_of(file: &Value) -> Vec<(&str, &str)> {
    let pairs = file["services"]["trunkline"]["environment"].as_object();
    let pairs = pairs.expect("an environment").iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str().expect("a text")))
        .collect()
}

/// The compose file fits the image, the unit of systemd, and the settings that there are.
#[test]
fn the_compose_file_fits_the_image() {
    let Some(file) = composed() else { return };
    let service = &file["services"]["trunkline"];
    let steps = instructions();
    let of_image = |wanted: &str| {
        let found = steps.iter().rfind(|(name, _)| name == wanted);
        &*found.unwrap_or_else(|| panic!("no {wanted}")).1
    };
    let list = |value: &Value| -> Vec<String> {
        let list = value.as_array().expect("a list").iter();
        list.map(|one| one.as_str().expect("a text").to_owned())
            .collect()
    };
    assert!(
        workspace()
            .join("deploy")
            .join(service["build"].as_str().expect("a folder"))
            .join("Dockerfile")
            .exists()
    );
    // What clients use is open, and the control port for this machine only.
    let mut ports: Vec<_> = of_image("EXPOSE")
        .split(' ')
        .map(|port| format!("{port}:{port}"))
        .collect();
    ports.push("127.0.0.1:7701:7701".to_owned());
    assert_eq!(list(&service["ports"]), ports);
    assert_eq!(
        list(&service["volumes"]),
        [format!("data:{}", words(of_image("VOLUME"))[0])]
    );
    assert!(file["volumes"].get("data").is_some());
    let secrets = list(&service["secrets"]);
    assert_eq!(secrets, ["token_key"]);
    assert_eq!(SECRET.rsplit('/').next(), Some("token_key"));
    assert_eq!(file["secrets"]["token_key"]["file"], "../token.key");
    assert_eq!(
        (&service["read_only"], list(&service["cap_drop"])),
        (&Value::Bool(true), vec!["ALL".to_owned()])
    );
    let unit = std::fs::read_to_string(workspace().join("deploy/debian/trunkline.service"));
    let unit = unit.expect("the unit");
    let same = |key: &str, value: String| {
        assert!(
            unit.contains(&format!("\n{key}={value}\n")),
            "{key}={value}"
        )
    };
    same(
        "TimeoutStopSec",
        service["stop_grace_period"]
            .as_str()
            .expect("a time")
            .to_owned(),
    );
    same("LimitNOFILE", service["ulimits"]["nofile"].to_string());

    // The gateway takes these settings, with a key in the place of the secret.
    let folder = tempfile::tempdir().expect("a folder can be made");
    let key = folder.path().join("token.key");
    std::fs::write(&key, "a secret that only the test knows").expect("a file can be written");
    let mut command = Command::new(program());
    command.arg("check-config").env_clear();
    command.env("TRUNKLINE_DATA", folder.path());
    for (name, value) in settings_of(&file) {
        assert!(name.starts_with("TRUNKLINE_"), "{name}");
        match value {
            SECRET => command.env(name, &key),
            value => command.env(name, value),
        };
    }
    let exit = Process::start(&mut command).ended();
    assert!(exit.status.success(), "{exit:?}");
    assert!(
        exit.stdout.contains("\ncontrol = \"0.0.0.0:7701\"\n"),
        "{exit:?}"
    );
}

#[test]
fn the_image_runs_a_gateway_as_nobody_in_particular() {
    let Some(debian) = Debian::new() else { return };
    let steps = instructions();
    let stages: Vec<_> = steps
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| name == "FROM")
        .collect();
    let [(0, (_, first)), (second, (_, base))] = stages[..] else {
        panic!("two stages: {stages:?}");
    };
    // The oldest Rust that builds the workspace.
    let rust = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"), "-");
    assert!(
        first.starts_with(rust) && first.ends_with(" AS build"),
        "{first}"
    );
    // The Debian of the tests is of this kind.
    assert!(
        base.starts_with("debian:") && base.ends_with("-slim"),
        "{base}"
    );
    let build = &steps[..second]
        .iter()
        .rfind(|(name, _)| name == "RUN")
        .expect("a build")
        .1;
    assert!(build.contains(
        " build --release --locked --package trunkline-program --package trunkline-loadgen"
    ));

    let mut image = Image::default();
    for (name, rest) in &steps[second + 1..] {
        image.play(&debian, name, rest);
    }
    assert!(
        image.user.parse::<u32>().is_err() && !image.user.starts_with('0'),
        "{}",
        image.user
    );
    // A secret, as docker mounts it.
    let secret = "a secret that only the test knows";
    debian.write("/run/token_key", secret);
    debian.done(&format!(
        "chown {} /run/token_key && chmod 0400 /run/token_key",
        image.user
    ));
    let composed = composed();
    let added: Vec<_> = match &composed {
        Some(file) => settings_of(file)
            .into_iter()
            .map(|(name, value)| match value {
                SECRET => (name, "/run/token_key"),
                value => (name, value),
            })
            .collect(),
        None => vec![
            ("TRUNKLINE_JWT_KEY", "/run/token_key"),
            ("TRUNKLINE_JWT_ALGORITHM", "HS256"),
            ("TRUNKLINE_CONTROL", "0.0.0.0:7701"),
        ],
    };
    let words: Vec<_> = image
        .entry
        .iter()
        .chain(&image.arguments)
        .cloned()
        .collect();
    let mut gateway = Process::start(&mut image.command(&debian, &words, &added));
    let Some(line) = gateway.line() else {
        panic!("{:#?}", gateway.ended());
    };
    assert!(line.starts_with("ready ws=ws://0.0.0.0:7700/"), "{line}");
    let check = Process::start(&mut image.command(&debian, &image.health, &added)).ended();
    assert!(check.status.success(), "{check:#?}");
    let token = Signer::hmac_with(secret.as_bytes()).sign(&claims("alice"));
    let address = "127.0.0.1:7700".parse().expect("an address");
    let dial = Dial::new(address).with("token", token);
    let mut alice = debian.inside(|| dial.connect("alice", "phone"));
    alice.send("bob", "from a container");
    drop(alice);
    gateway.signal(Signal::SIGTERM);
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:#?}");
    let check = Process::start(&mut image.command(&debian, &image.health, &added)).ended();
    assert_eq!(check.status.code(), Some(1), "{check:#?}");
}

#[test]
fn hadolint_is_content() {
    let python = std::env::var_os("TRUNKLINE_TEST_PYTHON").map(std::path::PathBuf::from);
    let hadolint = python.and_then(|python| Some(python.parent()?.join("hadolint")));
    let Some(hadolint) = hadolint.filter(|tool| tool.exists()) else {
        println!("skipped: no hadolint (pip has it; tests/run installs it)");
        return;
    };
    let mut command = Command::new(hadolint);
    let exit = Process::start(command.arg(workspace().join("Dockerfile"))).ended();
    assert_eq!(
        (exit.status.code(), &*exit.stdout),
        (Some(0), ""),
        "{exit:#?}"
    );
}
