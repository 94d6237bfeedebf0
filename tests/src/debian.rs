//! A Debian of a test: a root folder with mounts and a network of its own. What the test changes in it
//! vanishes with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::process::{Exit, Process};
use crate::wait;

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

/// The same with systemd as its first process, in namespaces of its own: what a unit asks for is in force. The kernel gives a
/// folder a new root only if it is a mount, and takes the old one away once nothing of it is needed any more.
const BOOT: &str = r#"
set -e
tree="$1" folder="$2"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
ip link set lo up
cd "$folder/root"
mkdir -p old
pivot_root . old
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /dev
for device in null zero full random urandom tty; do
    touch "/dev/$device"
    mount --bind "/old/dev/$device" "/dev/$device"
done
mkdir /dev/pts /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
umount -l /old
echo mounted
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal --show-status=0
"#;

/// A running Debian. Programs in it share only processes and processors with the machine.
#[derive(Debug)]
pub struct Debian {
    // It ends first: the mounts go with it, and the folder can be removed.
    holder: Process,
    folder: TempDir,
    /// Whether systemd runs in it, and its mounts have a root of their own.
    is_booted: bool,
}

impl Debian {
    /// Mounts a Debian. `None` where that is not possible: the line that says why is on standard output.
    #[allow(clippy::print_stdout, reason = "says why a test does nothing")]
    pub fn new() -> Option<Self> {
        Self::mount(&[])
            .map_err(|why| println!("skipped: {why}"))
            .ok()
    }

    /// Boots a Debian with systemd, which gets copies of files of the machine at absolute paths. `None` where that is not possible:
    /// the line that says why is on standard output.
    #[allow(clippy::print_stdout, reason = "says why a test does nothing")]
    pub fn booted(files: &[(&Path, &str)]) -> Option<Self> {
        Self::boot(files)
            .map_err(|why| println!("skipped: {why}"))
            .ok()
    }

    fn boot(files: &[(&Path, &str)]) -> Result<Self, String> {
        let has_systemd = std::env::var_os(TREE)
            .is_some_and(|tree| Path::new(&tree).join("lib/systemd/systemd").exists());
        if !has_systemd {
            return Err(format!("{TREE} names no Debian with systemd"));
        }
        let separate = [
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
            "--fork",
            "--kill-child",
        ];
        let debian = Self::start(BOOT, &separate, files)?;
        wait::until("systemd to be ready", || {
            let state = debian.run("systemctl is-system-running || true").stdout;
            // Some units of a machine fail in a namespace.
            ["running", "degraded"]
                .contains(&state.trim())
                .then_some(())
        });
        Ok(debian)
    }

    fn mount(files: &[(&Path, &str)]) -> Result<Self, String> {
        Self::start(HOLD, &[], files)
    }

    /// Starts the script that mounts the tree, in namespaces of its own.
    fn start(script: &str, separate: &[&str], files: &[(&Path, &str)]) -> Result<Self, String> {
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
        for (file, path) in files {
            let to = folder
                .path()
                .join("upper")
                .join(path.trim_start_matches('/'));
            let parent = to.parent().expect("a path of a file");
            std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
            std::fs::copy(file, &to).map_err(|error| error.to_string())?;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "private"]);
        command.args(separate).args(["sh", "-c", script, "sh"]);
        let mut holder = Process::start(command.arg(tree).arg(folder.path()));
        match holder.line() {
            Some(_) => Ok(Self {
                holder,
                folder,
                is_booted: !separate.is_empty(),
            }),
            None => Err(format!(
                "no Debian can be mounted: {}",
                holder.ended().stderr.trim()
            )),
        }
    }

    /// Returns the command that runs a program in the Debian, as its root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match self.is_booted {
            true => self.outside("env"),
            false => self.outside("chroot"),
        };
        if !self.is_booted {
            command.arg(self.folder.path().join("root"));
        }
        command.arg(program);
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
        command.args([&target, "--mount", "--net"]);
        if self.is_booted {
            let processes = format!("--pid=/proc/{}/ns/pid_for_children", self.holder.id());
            command.args([&processes, "--uts", "--ipc", "--cgroup"]);
        }
        command.args(["--", program]);
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
