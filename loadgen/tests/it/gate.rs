//! `loadgen gate` with a base that is too old for the whole program that is counted.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A program that is counted. Its part `gateway` needs a function that older commits lack.
const PROGRAM: &str = r#"
mod work {
    #[inline(never)]
    pub fn counted(messages: u64) -> u64 {
        (0..messages).fold(0, |sum, message| sum ^ std::hint::black_box(message))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &*args[0] {
        "list" => println!("encode-json *gate_counts::*::counted 1000 2000"),
        "bytes" => {
            println!("message-disk {}", if engine::AGE == 0 { "7" } else { "? it is old" });
            #[cfg(feature = "gateway")]
            println!("session-disk {}", engine::bytes());
        }
        _ => println!("{}", work::counted(args[2].parse().expect("a number"))),
    }
}
"#;

/// The manifest of that program.
const MANIFEST: &str = r#"
[package]
name = "counts"
edition = "2024"

[[bin]]
name = "gate-counts"
path = "src/main.rs"

[features]
default = ["proto", "store", "gateway"]
proto = []
store = []
gateway = []
settings-file = []

[dependencies]
engine = { path = "../../engine" }
"#;

const LIMITS: &str = "\
[toolchain]
rustc = \"0\"
libc = \"0\"
processor = \"0\"

[instructions]

[bytes]
";

/// A repository that looks like a checkout of Trunkline.
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
        for package in ["loadgen", "engine/proto"] {
            checkout.write(&format!("{package}/Cargo.toml"), "");
        }
        checkout.write(".gitignore", "target\n");
        checkout.git(&["init", "--quiet"]);
        Some(checkout)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file is written");
    }

    /// Writes the manifest of a workspace with these packages.
    fn packages(&self, packages: &[&str]) {
        let text = format!("[workspace]\nresolver = \"3\"\nmembers = {packages:?}\n");
        self.write("Cargo.toml", &text);
    }

    fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .current_dir(self.folder())
            .output()
            .expect("git starts");
        assert!(done.status.success(), "git {args:?}: {}", text(&done));
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// Conducts a gate, and checks its exit code and what it says.
    #[track_caller]
    fn gate(&self, args: &[&str], code: i32, words: &[&str]) {
        let done = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .arg("gate")
            .args(args)
            .current_dir(self.folder())
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .expect("loadgen starts");
        let text = text(&done);
        assert_eq!(done.status.code(), Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
    }
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn an_older_commit_is_counted_as_far_as_the_program_can_be_built_for_it() {
    let Some(checkout) = Checkout::new() else {
        return;
    };
    checkout.packages(&["gone"]);
    checkout.write(
        "engine/Cargo.toml",
        "[package]\nname = \"engine\"\nedition = \"2024\"\n",
    );
    checkout.write("engine/src/lib.rs", "pub const AGE: u32 = 1;\n");
    checkout.commit("Name a package that is gone");
    checkout.packages(&["engine"]);
    checkout.commit("Mend it");
    checkout.write(
        "engine/src/lib.rs",
        "pub const AGE: u32 = 0;\npub fn bytes() -> u64 { 28 }\n",
    );
    checkout.packages(&["benches/counts", "engine"]);
    checkout.write("benches/counts/Cargo.toml", MANIFEST);
    checkout.write("benches/counts/src/main.rs", PROGRAM);
    checkout.write("benches/limits.toml", LIMITS);
    checkout.gate(&["--write-limits"], 0, &[]);
    checkout.commit("Count what a message costs");
    checkout.gate(
        &["--quick", "--base", "HEAD~"],
        0,
        &[
            "is not counted in session-disk: error[E0425]: cannot find function `bytes`",
            "is not counted in message-disk: it is old",
            "+0.0 %  instructions",
        ],
    );
    // Nothing can be built for the first commit, which decides nothing.
    checkout.gate(
        &["--quick", "--base", "HEAD~2"],
        0,
        &[
            "too old to be counted",
            "gone/Cargo.toml",
            "Name a later commit",
        ],
    );
}
