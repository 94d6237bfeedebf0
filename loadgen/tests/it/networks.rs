//! Machines of a test: network namespaces on one bridge, and relays that take their time.
//!
//! A namespace is that of a process that sleeps, so nothing is left of it when the test is killed.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

/// The program that a namespace belongs to.
#[derive(Debug)]
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hub and machines around it, each in a network namespace of its own. The address of the hub is
/// [`HUB`].
#[derive(Debug)]
pub(crate) struct Networks {
    hub: Keeper,
    machines: Vec<Keeper>,
}

/// The address of the hub, as the machines see it.
const HUB: &str = "10.77.0.1";

/// Runs a program, and fails with what it says.
fn run(program: &str, args: &str) -> Result<(), String> {
    let done = Command::new(program)
        .args(args.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let done = done.map_err(|why| format!("{program}: {why}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program} {args}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        )),
    }
}

/// Starts a process with a network namespace of its own.
fn keeper() -> Result<Keeper, String> {
    let child = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut keeper = Keeper(child.map_err(|why| format!("unshare: {why}"))?);
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        if let Ok(Some(_)) = keeper.0.try_wait() {
            return Err("unshare --net: not permitted".into());
        }
        let its = std::fs::read_link(format!("/proc/{}/ns/net", keeper.0.id())).ok();
        if its.is_some() && its != own {
            return Ok(keeper);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("unshare --net makes no namespace".into())
}

impl Networks {
    /// Makes a hub with this many machines around it.
    ///
    /// # Errors
    /// Namespaces cannot be made here: what is missing.
    pub(crate) fn make(machines: u32) -> Result<Self, String> {
        let hub = keeper()?;
        let id = hub.0.id();
        let at = |id: u32, what: &str| run("nsenter", &format!("-t {id} -n ip {what}"));
        at(id, "link set lo up")?;
        at(id, "link add bridge0 type bridge")?;
        at(id, &format!("addr add {HUB}/24 dev bridge0"))?;
        at(id, "link set bridge0 up")?;
        let mut all = Vec::new();
        for number in 1..=machines {
            let machine = keeper()?;
            let its = machine.0.id();
            at(
                id,
                &format!("link add to{number} type veth peer name eth0 netns {its}"),
            )?;
            at(id, &format!("link set to{number} master bridge0 up"))?;
            at(its, "link set lo up")?;
            at(
                its,
                &format!("addr add 10.77.0.{}/24 dev eth0", 10 + number),
            )?;
            at(its, "link set eth0 up")?;
            all.push(machine);
        }
        Ok(Self { hub, machines: all })
    }

    /// Returns a command that starts a program on the hub.
    pub(crate) fn on_hub(&self, program: &str) -> Command {
        command(&self.hub, program)
    }

    /// Returns a command that starts a program on a machine, counted from 0.
    pub(crate) fn on(&self, machine: usize, program: &str) -> Command {
        command(&self.machines[machine], program)
    }

    /// Passes connections to the hub on to a port of its loopback. Each byte takes `delay`, both ways.
    /// Returns the address for the machines. The relay lasts as long as the test.
    pub(crate) fn relay(&self, port: u16, delay: Duration) -> SocketAddr {
        let namespace = File::open(format!("/proc/{}/ns/net", self.hub.0.id()));
        let namespace = namespace.expect("the hub is there");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
            relay_at(HUB, port, delay, &tell);
        });
        told.recv().expect("the relay listens")
    }
}

/// Passes connections on to a port of loopback, from another one. Each byte takes `delay`, both ways. Returns
/// the address. The relay lasts as long as the test.
pub(crate) fn relay(port: u16, delay: Duration) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || relay_at("127.0.0.1", port, delay, &tell));
    told.recv().expect("the relay listens")
}

fn relay_at(host: &str, port: u16, delay: Duration, tell: &mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    tell.send(listener.local_addr().expect("an address"))
        .expect("the test waits");
    for stream in listener.incoming().flatten() {
        if let Ok(to) = TcpStream::connect(("127.0.0.1", port)) {
            pass(&stream, &to, delay);
            pass(&to, &stream, delay);
        }
    }
}

fn command(keeper: &Keeper, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    let id = keeper.0.id().to_string();
    command.args(["-t", &id, "-n", "--", program]);
    command
}

/// Passes bytes on, each after a delay, until one end closes.
fn pass(from: &TcpStream, to: &TcpStream, delay: Duration) {
    let copy = |it: &TcpStream| it.try_clone().expect("a descriptor");
    let (mut from, mut to) = (copy(from), copy(to));
    let _ = to.set_nodelay(true);
    let (way, arriving) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1 << 14);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if way
                .send((Instant::now() + delay, buffer[..n].to_vec()))
                .is_err()
            {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in arriving {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
