//! A Debian of a test: a root folder with mounts and a network of its own. What the test changes in it
//! vanishes with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::process::{Exit, Process};

/// The environment variable with the folder of a minimal Debian, as debootstrap makes it.
const TREE: &str = "TRUNKLINE_TEST_DEBIAN";

/// Mounts the tree below a folder for changes, gives it what programs expect, and keeps it there.
const HOLD: &str = r#"
set -e
tree="$1" folder="$2"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
mount --rbind /dev "$folder/root/dev"
mount -t tmpfs tmpfs "$folder/root/run"
ip link set lo up
echo mounted
exec sleep infinity
"#;

/// A running Debian. Programs in it share only processes and processors with the machine.
#[derive(Debug)]
pub struct Debian {
    // It ends first: the mounts go with it, and the folder can be removed.
    holder: Process,
    folder: TempDir,
}

impl Debian {
    /// Mounts a Debian. `None` where that is not possible: the line that says why is on standard output.
    #[allow(clippy::print_stdout, reason = "says why a test does nothing")]
    pub fn new() -> Option<Self> {
        match Self::mount() {
            Ok(debian) => Some(debian),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    fn mount() -> Result<Self, String> {
        let tree = std::env::var_os(TREE).ok_or(format!(
            "{TREE} names no Debian: tests/run makes one with debootstrap, as root"
        ))?;
        if !Path::new(&tree).join("made").exists() {
            return Err(format!(
                "{TREE} names no complete Debian: tests/run makes one with debootstrap, as root"
            ));
        }
        if !rustix::process::geteuid().is_root() {
            return Err("only root can mount a Debian".to_owned());
        }
        let folder =
            TempDir::with_prefix("trunkline-debian-").map_err(|error| error.to_string())?;
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(folder.path().join(name)).map_err(|error| error.to_string())?;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "sh", "-c"]);
        command.args([HOLD, "sh"]).arg(tree).arg(folder.path());
        let mut holder = Process::start(&mut command);
        match holder.line() {
            Some(_) => Ok(Self { holder, folder }),
            None => Err(format!(
                "no Debian can be mounted: {}",
                holder.ended().stderr.trim()
            )),
        }
    }

    /// Returns the command that runs a program in the Debian, as its root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.outside("chroot");
        command.arg(self.folder.path().join("root")).arg(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Returns the command that runs a program of the machine with the mounts and the network of the Debian.
    fn outside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.holder.id());
        command.args([&target, "--mount", "--net", "--", program]);
        command
    }

    /// Runs a script in the Debian, as its root, and waits for its end.
    pub fn run(&self, script: &str) -> Exit {
        let mut command = self.command("sh");
        Process::start(command.args(["-ec", script])).ended()
    }

    /// Runs a script in the Debian that has to succeed. Returns what it prints.
    ///
    /// # Panics
    /// The script fails.
    pub fn done(&self, script: &str) -> String {
        let exit = self.run(script);
        assert!(exit.status.success(), "{script}: {exit:#?}");
        exit.stdout
    }

    /// Copies a file of the machine, with its mode, to an absolute path of the Debian.
    ///
    /// # Panics
    /// The file cannot be copied.
    pub fn copy(&self, file: &Path, to: &str) {
        let mut command = self.outside("cp");
        command
            .args(["--preserve=mode"])
            .arg(file)
            .arg(self.path(to));
        let exit = Process::start(&mut command).ended();
        assert!(exit.status.success(), "{exit:#?}");
    }

    /// Writes a file of the Debian.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        let mut command = self.command("sh");
        command.args(["-ec", "cat > \"$0\"", path]);
        let (mut shell, mut input) = Process::start_with_input(&mut command);
        input
            .write_all(text.as_bytes())
            .expect("a shell that reads");
        drop(input);
        let exit = shell.ended();
        assert!(exit.status.success(), "{exit:#?}");
    }

    /// Returns the path of a file of the Debian for programs with its mounts.
    fn path(&self, path: &str) -> PathBuf {
        let root = self.folder.path().join("root");
        root.join(path.trim_start_matches('/'))
    }

    /// Does something on a thread in the network of the Debian, where 127.0.0.1 is its own.
    ///
    /// # Panics
    /// The thread cannot enter the network, or panics.
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let network = format!("/proc/{}/ns/net", self.holder.id());
        let network = File::open(network).expect("the holder runs");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter a network");
                what()
            });
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
