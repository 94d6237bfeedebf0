//! Machines of a test: network namespaces on one network, whose packets can be lost.
//!
//! The test itself is in a network namespace of its own, with a second network to all machines that is never cut. A namespace is
//! that of a process that sleeps, and has no name: nothing is left of it when the test ends, for whatever reason, and two runs
//! do not meet.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod slow;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub use slow::Slow;

use crate::{alone, wait};

/// An address of the link layer that no machine has. What is sent to it goes to all machines, and none takes it.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Machines with numbers from 0 on, each in a network namespace of its own.
#[derive(Debug)]
pub struct Machines {
    machines: Vec<Keeper>,
    /// The pairs of machines whose packets from the first to the second are lost.
    mute: Mutex<BTreeSet<(usize, usize)>>,
}

/// The process that a namespace belongs to.
#[derive(Debug)]
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test with this number of machines, in a network and with mounts that only the test and its children see. Says on
/// standard error why there are none, where they cannot be made.
///
/// # Panics
/// The test fails.
pub fn with_machines(count: usize, test: impl FnOnce(Machines) + Send + 'static) {
    // The network must not reach the other tests' threads.
    let thread = std::thread::spawn(move || {
        let own = alone::mounts().and_then(|()| alone::network());
        let own = own.map_err(|errno| errno.to_string());
        match own.and_then(|()| Machines::make(count)) {
            Ok(machines) => test(machines),
            Err(why) => {
                eprintln!("skipped: no network of the test's own ({why}); root may, with iproute2");
            }
        }
    });
    if let Err(panicked) = thread.join() {
        std::panic::resume_unwind(panicked);
    }
}

/// Runs `ip` with one command a line.
fn ip(starter: &[String], commands: &str) -> Result<(), String> {
    run(starter, &["ip", "-batch", "-"], commands)
}

fn run(starter: &[String], program: &[&str], input: &str) -> Result<(), String> {
    let mut words = starter
        .iter()
        .map(String::as_str)
        .chain(program.iter().copied());
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", program.join(" "));
    let mut child = command.spawn().map_err(|why| failed(&why))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|why| failed(&why))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(&String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Sets loopback up, and lets addresses of 127.10.0.0/24 be those of other machines: a gateway in development mode listens on
/// loopback addresses only.
fn prepare(starter: &[String]) -> Result<(), String> {
    ip(starter, "link set lo up\n")?;
    ip(
        starter,
        "addr del 127.0.0.1/8 dev lo\naddr add 127.0.0.1/32 dev lo\n",
    )?;
    let allow = "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet";
    run(starter, &["sh", "-c", allow], "")
}

/// Starts a process with a network namespace of its own.
fn keeper() -> Result<Keeper, String> {
    let mut command = Command::new("unshare");
    command.args(["--net", "sleep", "1000"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().map_err(|why| format!("unshare: {why}"))?;
    let mut keeper = Keeper(child);
    let own = std::fs::read_link("/proc/thread-self/ns/net").ok();
    wait::until("a network namespace", || {
        if let Ok(Some(_)) = keeper.0.try_wait() {
            return Some(Err("unshare --net: not permitted".to_owned()));
        }
        let its = std::fs::read_link(format!("/proc/{}/ns/net", keeper.0.id())).ok();
        (its.is_some() && its != own).then_some(Ok(()))
    })?;
    Ok(keeper)
}

impl Machines {
    fn make(count: usize) -> Result<Self, String> {
        prepare(&[])?;
        ip(
            &[],
            "link add lan type bridge\nlink set lan up\nlink add desk type bridge\nlink set desk up\n\
             addr add 127.10.0.254/24 dev desk\n",
        )?;
        let mut all = Self {
            machines: Vec::new(),
            mute: Mutex::default(),
        };
        for at in 0..count {
            let machine = keeper()?;
            let id = machine.0.id();
            all.machines.push(machine);
            ip(
                &[],
                &format!(
                    "link add lan{at} type veth peer name eth0 netns {id}\nlink set lan{at} master lan up\n\
                     link add desk{at} type veth peer name eth1 netns {id}\nlink set desk{at} master desk up\n"
                ),
            )?;
            let starter = all.starter(at);
            prepare(&starter)?;
            ip(
                &starter,
                &format!(
                    "addr add {}/24 dev eth0\nlink set eth0 gso_max_segs 1 up\naddr add {}/24 dev eth1\nlink set eth1 up\n",
                    all.address(at),
                    all.near(at)
                ),
            )?;
        }
        Ok(all)
    }

    /// Returns the words that start a program on a machine, to be set before the program.
    pub fn starter(&self, at: usize) -> Vec<String> {
        let id = self.machines[at].0.id().to_string();
        ["nsenter", "-t", &id, "-n", "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Returns the address of a machine for other machines.
    pub fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, 0, 1 + at as u8)
    }

    /// Returns the address of a machine for the test. What goes there is never lost.
    pub fn near(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 10, 0, 1 + at as u8)
    }

    /// Loses without a word what each of the machines `from` sends to each of `to`.
    ///
    /// # Panics
    /// The network cannot be changed.
    pub fn mute(&self, from: &[usize], to: &[usize]) {
        let mut mute = self.mute.lock().expect("no panic");
        for from in from {
            let mut commands = String::new();
            for to in to {
                if from != to && mute.insert((*from, *to)) {
                    let address = self.address(*to);
                    commands += &format!(
                        "neigh replace {address} lladdr {NOBODY} dev eth0 nud permanent\n"
                    );
                }
            }
            ip(&self.starter(*from), &commands).expect("the network changes");
        }
    }

    /// Loses without a word what the machines `one` and the machines `other` send to each other.
    ///
    /// # Panics
    /// The network cannot be changed.
    pub fn cut(&self, one: &[usize], other: &[usize]) {
        self.mute(one, other);
        self.mute(other, one);
    }

    /// Loses nothing any more.
    ///
    /// # Panics
    /// The network cannot be changed.
    pub fn heal(&self) {
        let mut mute = self.mute.lock().expect("no panic");
        for at in 0..self.machines.len() {
            let to = mute.iter().filter(|(from, _)| *from == at);
            let delete = to.map(|(_, to)| format!("neigh del {} dev eth0\n", self.address(*to)));
            let commands: String = delete.collect();
            if !commands.is_empty() {
                ip(&self.starter(at), &commands).expect("the network changes");
            }
        }
        mute.clear();
    }
}
