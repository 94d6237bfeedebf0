//! The preflight check: whether this machine can carry a run, before anything is started.

use std::net::SocketAddr;

use crate::exit::{Failure, Outcome};
use crate::health::descriptor_limit;
use crate::local_gateway::doctor::{self, Limits};
use crate::scenario::network::Network;
use crate::units::grouped;

/// Descriptors of a table that are kept for other things than connections and event loops.
const RESERVED: u64 = 128;

/// Descriptors of an event loop. The loops of all threads are in every table, as they are made
/// before each thread gets a table of its own.
const PER_THREAD: u64 = 2;

/// The memory of one end of a connection in bytes: 3.0 KB of kernel memory, as measured, and the
/// rest for the program.
const BYTES_PER_END: u64 = 4 << 10;

/// Additional memory of one end of a TLS connection in bytes.
const TLS_BYTES_PER_END: u64 = 4 << 10;

/// Open files and threads that are left to the rest of the machine.
const OTHERS: u64 = 4_096;

/// The most threads of a generator.
pub(crate) const MAX_THREADS: u32 = 256;

/// The needs of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) connections: u64,
    pub(crate) threads: u32,
    /// The most threads that the run can use; `None` without a limit.
    pub(crate) most_threads: Option<u32>,
    pub(crate) source: Option<Network>,
    pub(crate) target: SocketAddr,
    /// Connections use TLS.
    pub(crate) tls: bool,
    /// The gateway that is started on this machine, with its number of shards if that is set.
    pub(crate) gateway: Option<Option<u32>>,
}

/// The distribution of a run's connections on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    /// Whether each thread needs its own descriptor table.
    pub(crate) private_tables: bool,
    /// The addresses to connect from; the kernel chooses without.
    pub(crate) source: Option<Network>,
}

/// Checks the limits of the machine.
///
/// # Errors
/// The machine cannot carry the run (exit 94): everything that is missing, each with the command
/// that helps.
pub(crate) fn check(need: &Need) -> Outcome<Fit> {
    let limits = Limits {
        descriptors_hard: descriptor_limit(),
        ..Limits::read()
    };
    fit(&limits, need).map_err(|missing| Failure::preflight(missing.join("\n")))
}

/// Returns the number of generator threads for this many connections: one per core, or more if
/// their descriptor tables need it.
pub(crate) fn threads_for(connections: u64, limit: u64, cores: u32) -> u32 {
    let most = (cores..MAX_THREADS).find(|&threads| connections <= room(limit, threads));
    most.unwrap_or(MAX_THREADS)
}

/// Returns how many connections one descriptor table has room for.
fn usable(limit: u64, threads: u32) -> u64 {
    limit.saturating_sub(RESERVED + PER_THREAD * u64::from(threads))
}

/// Returns how many connections the descriptor tables of all threads have room for.
fn room(limit: u64, threads: u32) -> u64 {
    usable(limit, threads) * u64::from(threads)
}

fn fit(limits: &Limits, need: &Need) -> Result<Fit, Vec<String>> {
    let Need { connections, .. } = *need;
    let spread = need.target.ip().is_loopback() && need.target.is_ipv4();
    let source = need
        .source
        .or_else(|| (spread && connections > limits.ports() / 2).then_some(Network::LOOPBACK));
    let missing: Vec<String> = [
        descriptors(limits, need),
        gateway_descriptors(limits, need),
        files(limits, need),
        ports(limits, connections, source),
        memory(limits, need),
        threads(limits, need),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    Ok(Fit {
        private_tables: connections > usable(limits.descriptors_hard, need.threads),
        source,
    })
}

/// Returns the shell command that raises the descriptor limit. Above fs.nr_open, that limit of the
/// kernel is raised first.
fn raise_descriptors(limits: &Limits, to: u64) -> String {
    match limits.nr_open {
        Some(most) if to > most => format!("sysctl -w fs.nr_open={to} && ulimit -n {to}"),
        _ => format!("ulimit -n {to}"),
    }
}

fn descriptors(limits: &Limits, need: &Need) -> Option<String> {
    let Need { connections, .. } = *need;
    let room = room(limits.descriptors_hard, need.threads);
    if connections <= room {
        return None;
    }
    let each = connections.div_ceil(u64::from(need.threads));
    let command = raise_descriptors(
        limits,
        each + limits.descriptors_hard - usable(limits.descriptors_hard, need.threads),
    );
    let threads = threads_for(connections, limits.descriptors_hard, need.threads);
    let usable = need.most_threads.is_none_or(|most| threads <= most);
    let or = match usable && connections <= self::room(limits.descriptors_hard, threads) {
        true => format!(", or use --threads {threads}"),
        false => String::new(),
    };
    Some(format!(
        "{} connections need a descriptor each, and {} threads have {} together: raise the limit as root \
         ({command}){or}",
        grouped(connections),
        need.threads,
        grouped(room),
    ))
}

fn gateway_descriptors(limits: &Limits, need: &Need) -> Option<String> {
    let Need { connections, .. } = *need;
    let shards = need.gateway?.map_or(limits.cores, u64::from);
    let needed = doctor::shards_for(connections, limits.descriptors_hard);
    if needed.is_some_and(|needed| needed <= shards) {
        return None;
    }
    let command = raise_descriptors(limits, doctor::limit_for(connections, shards));
    let or = needed.map_or(String::new(), |shards| {
        format!(", or use --shards {shards}")
    });
    Some(format!(
        "{} connections do not fit into the descriptor tables of the gateway's {shards} shards: \
         raise the limit as root ({command}){or}",
        grouped(connections),
    ))
}

/// Returns the number of ends of a connection on this machine: 2 with a gateway here, otherwise 1.
fn ends(need: &Need) -> u64 {
    need.connections * if need.gateway.is_some() { 2 } else { 1 }
}

fn files(limits: &Limits, need: &Need) -> Option<String> {
    let needed = ends(need) + OTHERS;
    if needed > limits.files_left() {
        return Some(format!(
            "{} connections need {} open files on this machine, and {} are left: \
             sysctl -w fs.file-max={}",
            grouped(need.connections),
            grouped(needed),
            grouped(limits.files_left()),
            limits.files_used + needed
        ));
    }
    let watches = limits.epoll_watches.unwrap_or(u64::MAX);
    (needed > watches).then(|| {
        format!(
            "{} connections need {} entries in event loops, and a user may have {}: \
             sysctl -w fs.epoll.max_user_watches={needed}",
            grouped(need.connections),
            grouped(needed),
            grouped(watches)
        )
    })
}

fn ports(limits: &Limits, connections: u64, source: Option<Network>) -> Option<String> {
    let ports = limits.ports() * source.map_or(1, |network| u64::from(network.len()));
    (connections > ports).then(|| {
        format!(
            "{} connections need a source port each, and there are {}: add source addresses \
             (--source 127.0.0.0/8), or sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
            grouped(connections),
            grouped(ports)
        )
    })
}

fn memory(limits: &Limits, need: &Need) -> Option<String> {
    let tls = if need.tls { TLS_BYTES_PER_END } else { 0 };
    let each = (BYTES_PER_END + tls) * ends(need) / need.connections.max(1);
    let memory = need.connections.saturating_mul(each);
    let free = limits.memory_available.unwrap_or(u64::MAX);
    (memory > free).then(|| {
        format!(
            "{} connections take about {} MiB here, and {} MiB are free: use fewer \
             (--connections {}), or a larger machine",
            grouped(need.connections),
            grouped(memory >> 20),
            grouped(free >> 20),
            free / each.max(1)
        )
    })
}

fn threads(limits: &Limits, need: &Need) -> Option<String> {
    let shards = u64::from(need.gateway.flatten().unwrap_or(0));
    let needed = u64::from(need.threads) + shards + OTHERS;
    let most = limits.threads_max.unwrap_or(u64::MAX);
    (needed > most).then(|| {
        format!("{needed} threads may be needed, and the machine has {most}: sysctl -w kernel.threads-max={needed}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Limits {
        Limits {
            descriptors_hard: 20_000,
            nr_open: Some(1_048_576),
            file_max: Some(2_500_000),
            port_range: Some((32_768, 60_999)),
            memory_available: Some(8 << 30),
            ..Limits::default()
        }
    }

    fn need(connections: u64, threads: u32) -> Need {
        Need {
            connections,
            threads,
            most_threads: None,
            source: None,
            target: SocketAddr::from(([127, 0, 0, 1], 7700)),
            tls: false,
            gateway: Some(Some(64)),
        }
    }

    #[test]
    fn what_fits_says_how() {
        let check = |connections| fit(&machine(), &need(connections, 2));
        let plain = Fit {
            private_tables: false,
            source: None,
        };
        assert_eq!(check(2_000), Ok(plain));
        let spread = Fit {
            source: Some(Network::LOOPBACK),
            ..plain
        };
        assert_eq!(check(15_000), Ok(spread));
        let private = Fit {
            private_tables: true,
            ..spread
        };
        assert_eq!(check(30_000), Ok(private));
        assert_eq!(fit(&machine(), &need(1_000_000, 52)), Ok(private));
        assert_eq!(threads_for(1_000_000, 20_000, 2), 51);
        assert_eq!(threads_for(10_000, 20_000, 2), 2);
    }

    #[test]
    fn what_does_not_fit_names_the_fix() {
        let refused = |limits: Limits, need: Need| fit(&limits, &need).unwrap_err().join("\n");
        let said = refused(machine(), need(50_000, 2));
        assert!(said.contains("--threads 3"), "{said}");
        assert!(said.contains("ulimit -n 25132"), "{said}");
        let small = Need {
            gateway: Some(Some(2)),
            ..need(50_000, 3)
        };
        assert!(refused(machine(), small).contains("--shards 3"));
        let memory_available = Some(1 << 20);
        let poor = || Limits {
            memory_available,
            ..machine()
        };
        assert!(refused(poor(), need(1_000, 2)).contains("--connections 128"));
        let sealed = Need {
            tls: true,
            ..need(1_000, 2)
        };
        assert!(refused(poor(), sealed).contains("--connections 64"));
        let file_max = Some(100_000);
        let closed = Limits {
            file_max,
            ..machine()
        };
        assert!(refused(closed, need(90_000, 5)).contains("sysctl -w fs.file-max=184096"));
        let source = Some("127.0.0.1/32".parse().unwrap());
        let narrow = Need {
            source,
            ..need(30_000, 2)
        };
        assert!(refused(machine(), narrow).contains("--source"));
        // More than one thing may be missing.
        let said = fit(&machine(), &need(400_000_000, 256)).unwrap_err();
        assert!(said.len() >= 4, "{said:?}");
        assert!(said[0].contains("fs.nr_open"), "{said:?}");
    }
}
