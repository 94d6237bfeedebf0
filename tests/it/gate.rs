//! `loadgen gate`: instructions and bytes against limits, in checkouts of a few files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use trunkline_tests::process::{gate_counts, loadgen};

const LIMITS: &str = "\
[toolchain]
rustc = \"0\"
libc = \"0\"
processor = \"0\"

[instructions]
encode-json = 1.0

[bytes]
";

/// A repository that looks like a checkout, with limits of what this build takes.
struct Checkout(TempDir);

impl Checkout {
    /// Makes it. Returns `None` without valgrind or git.
    #[allow(clippy::print_stdout, reason = "says why a test does nothing")]
    fn new() -> Option<Self> {
        for tool in ["valgrind", "git"] {
            if Command::new(tool).arg("--version").output().is_err() {
                println!("skipped: no {tool} (Debian's package of that name has it)");
                return None;
            }
        }
        let checkout = Self(tempfile::tempdir().expect("a folder"));
        for package in ["", "loadgen/", "engine/proto/"] {
            checkout.write(&format!("{package}Cargo.toml"), "");
        }
        checkout.write("benches/limits.toml", LIMITS);
        checkout.git(&["init", "--quiet"]);
        let written = checkout.gate(&["--write-limits", "--only", "encode-json"]);
        assert!(written.status.success(), "{}", text(&written));
        checkout.commit("Limit what a message costs");
        Some(checkout)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file is written");
    }

    fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .current_dir(self.0.path())
            .output()
            .expect("git starts");
        assert!(done.status.success(), "git {args:?}: {}", text(&done));
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(loadgen());
        command
            .arg("gate")
            .arg("--program")
            .arg(gate_counts())
            .args(args)
            .current_dir(self.0.path());
        command
    }

    fn gate(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("loadgen starts")
    }

    fn limits(&self) -> String {
        std::fs::read_to_string(self.path("benches/limits.toml")).expect("limits")
    }

    /// Makes the limit this part of what it is.
    fn scale(&self, part: f64) {
        let limits = self.limits();
        let line = limits
            .lines()
            .find(|line| line.starts_with("encode-json"))
            .expect("a limit");
        let limit: f64 = line
            .split_once("= ")
            .expect("a limit")
            .1
            .parse()
            .expect("a number");
        let scaled = format!("encode-json = {:.1}", limit * part);
        self.write("benches/limits.toml", &limits.replace(line, &scaled));
    }
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[track_caller]
fn check(output: &Output, code: i32, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// Makes a `valgrind` that lets one subject do a part more work.
fn planted(folder: &Path, subject: &str, percent: u32) -> std::ffi::OsString {
    let own = folder.join("bin");
    std::fs::create_dir_all(&own).expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path)
        .map(|folder| folder.join("valgrind"))
        .find(|file| file.is_file())
        .expect("valgrind is there");
    let script = format!(
        "#!/bin/sh\n\
         all=$#; number=0\n\
         case \"$*\" in *' work {subject} '*) more={percent};; *) more=0;; esac\n\
         for word in \"$@\"; do\n\
         number=$((number + 1))\n\
         [ $number = $all ] && [ $more != 0 ] && word=$((word * (100 + more) / 100))\n\
         set -- \"$@\" \"$word\"\n\
         done\n\
         shift $all\n\
         exec {} \"$@\"\n",
        real.display()
    );
    let file = own.join("valgrind");
    std::fs::write(&file, script).expect("a script");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a script");
    let mut folders = vec![own];
    folders.extend(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("a path")
}

#[test]
fn three_percent_more_work_in_encode_are_caught() {
    let Some(checkout) = Checkout::new() else {
        return;
    };
    let quick = ["--quick", "--only", "encode-json"];
    check(&checkout.gate(&quick), 0, &["gate: ok (exit code 0)"]);
    let slow = |percent| {
        checkout
            .command(&quick)
            .env("PATH", planted(checkout.0.path(), "encode-json", percent))
            .output()
            .expect("loadgen starts")
    };
    check(
        &slow(3),
        92,
        &[
            "encode-json takes",
            "3.0 % more than",
            "\"Limit what a message costs\"",
            "gate: regression (exit code 92)",
        ],
    );
    // The script itself changes nothing.
    check(&slow(0), 0, &[]);
}

#[test]
fn a_limit_is_raised_only_with_a_reason() {
    let Some(checkout) = Checkout::new() else {
        return;
    };
    let quick = ["--quick", "--only", "encode-json"];
    // A lower limit than what there is: the commit that set it is named.
    checkout.scale(0.9);
    checkout.commit("Lower the limit");
    check(
        &checkout.gate(&quick),
        92,
        &["11.1 % more", "\"Lower the limit\""],
    );
    checkout.scale(1.0 / 0.9);
    check(&checkout.gate(&quick), 92, &["that is not committed"]);
    checkout.commit("Raise the limit");
    check(
        &checkout.gate(&quick),
        92,
        &["\"Raise the limit\"", "does not say why"],
    );
    checkout.git(&[
        "commit",
        "--quiet",
        "--amend",
        "--message",
        "Raise the limit\n\nencode-json rises, because replies carry the time of the gateway.",
    ]);
    check(&checkout.gate(&quick), 0, &[]);
}

#[test]
fn limits_of_another_compiler_decide_nothing() {
    let Some(checkout) = Checkout::new() else {
        return;
    };
    let limits = checkout.limits();
    let line = limits
        .lines()
        .find(|line| line.starts_with("rustc"))
        .expect("a compiler");
    checkout.write(
        "benches/limits.toml",
        &limits.replace(line, "rustc = \"1.2.3\""),
    );
    checkout.commit("Take another compiler");
    let quick = ["--quick", "--only", "encode-json"];
    check(
        &checkout.gate(&quick),
        93,
        &["rustc 1.2.3, here", "--base REV"],
    );
}

#[test]
fn what_is_missing_is_named_with_what_helps() {
    let folder = tempfile::tempdir().expect("a folder");
    let gate = |args: &[&str], path: Option<&Path>| {
        let mut command = Command::new(loadgen());
        command.arg("gate").args(args).current_dir(folder.path());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        command.output().expect("loadgen starts")
    };
    check(
        &gate(&["--quick"], None),
        104,
        &["in no checkout of Trunkline"],
    );
    for package in ["", "loadgen/", "engine/proto/"] {
        let file = folder.path().join(format!("{package}Cargo.toml"));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, "").expect("a file");
    }
    check(
        &gate(&["--quick"], None),
        104,
        &["benches/limits.toml", "--limits"],
    );
    std::fs::create_dir_all(folder.path().join("benches")).expect("a folder");
    std::fs::write(folder.path().join("benches/limits.toml"), LIMITS).expect("a file");
    check(&gate(&[], None), 104, &["--base REV", "--quick"]);
    check(
        &gate(&["--quick", "--base", "nothing"], None),
        104,
        &["neither a folder with a checkout of Trunkline nor a commit"],
    );
    check(
        &gate(&["--quick"], Some(folder.path())),
        94,
        &["apt-get install valgrind"],
    );
}

#[test]
fn everything_that_is_counted_has_a_limit() {
    let ask = |verb: &str| {
        let asked = Command::new(gate_counts())
            .arg(verb)
            .output()
            .expect("it starts");
        let said = String::from_utf8(asked.stdout).expect("text");
        let names = said.lines().filter_map(|line| line.split(' ').next());
        names
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let file = trunkline_tests::process::workspace().join("benches/limits.toml");
    let limits = std::fs::read_to_string(file).expect("the limits");
    let limits: toml::Table = limits.parse().expect("a file of limits");
    for (section, verb) in [("instructions", "list"), ("bytes", "bytes")] {
        let table = limits[section].as_table().expect("a section");
        assert_eq!(
            table
                .keys()
                .cloned()
                .collect::<std::collections::BTreeSet<_>>(),
            ask(verb)
        );
    }
}
