//! Whether this machine can carry the run, before anything is started.

use std::net::SocketAddr;

use crate::exit::{Failure, Outcome};
use crate::health::{descriptor_limit, memory_available, port_range};
use crate::scenario::network::Network;
use crate::units::grouped;

/// Descriptors of a table that are not connections.
const RESERVED: u64 = 256;

/// Memory of a connection at both ends, kernel and user: measured 3.0 KB of kernel memory per
/// end, and room for both programs.
const BYTES_PER_CONNECTION: u64 = 8 << 10;

/// How the connections fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    /// Each thread needs a descriptor table of its own.
    pub(crate) private_tables: bool,
    /// Where connections come from; `None` leaves it to the kernel.
    pub(crate) source: Option<Network>,
}

/// The limits of this machine.
#[derive(Debug, Clone, Copy)]
struct Machine {
    descriptors: u64,
    ports: u64,
    memory: u64,
}

/// Checks the limits.
///
/// # Errors
/// Exit 94, with the exact fix.
pub(crate) fn check(
    connections: u64,
    threads: u32,
    source: Option<Network>,
    target: SocketAddr,
) -> Outcome<Fit> {
    let machine = Machine {
        descriptors: descriptor_limit(),
        ports: port_range(),
        memory: memory_available(),
    };
    fit(machine, connections, threads, source, target).map_err(Failure::preflight)
}

fn fit(
    machine: Machine,
    connections: u64,
    threads: u32,
    source: Option<Network>,
    target: SocketAddr,
) -> Result<Fit, String> {
    let usable = machine.descriptors.saturating_sub(RESERVED);
    let room = usable * u64::from(threads);
    if connections > room {
        return Err(format!(
            "{} connections need {} descriptors, and {threads} threads have {}: raise the limit \
             (ulimit -Hn {}), or use --threads {}",
            grouped(connections),
            grouped(connections),
            grouped(room),
            connections + RESERVED,
            connections.div_ceil(usable.max(1))
        ));
    }
    let spread = target.ip().is_loopback() && target.is_ipv4();
    let source =
        source.or_else(|| (spread && connections > machine.ports / 2).then_some(Network::LOOPBACK));
    let ports = machine.ports * source.map_or(1, |network| u64::from(network.len()));
    if connections > ports {
        return Err(format!(
            "{} connections need as many source ports, and there are {}: add source addresses \
             (--source 127.0.0.0/8), or widen net.ipv4.ip_local_port_range",
            grouped(connections),
            grouped(ports)
        ));
    }
    let memory = connections * BYTES_PER_CONNECTION;
    if memory > machine.memory {
        return Err(format!(
            "{} connections take about {} MiB at both ends, and {} MiB are free: use fewer \
             (--connections)",
            grouped(connections),
            grouped(memory >> 20),
            grouped(machine.memory >> 20)
        ));
    }
    Ok(Fit {
        private_tables: connections > usable,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        descriptors: 20_000,
        ports: 28_232,
        memory: 8 << 30,
    };

    fn check(machine: Machine, connections: u64, threads: u32) -> Result<Fit, String> {
        fit(
            machine,
            connections,
            threads,
            None,
            SocketAddr::from(([127, 0, 0, 1], 7700)),
        )
    }

    #[test]
    fn what_fits_says_how() {
        let plain = Fit {
            private_tables: false,
            source: None,
        };
        assert_eq!(check(MACHINE, 2_000, 2), Ok(plain));
        let spread = Fit {
            source: Some(Network::LOOPBACK),
            ..plain
        };
        assert_eq!(check(MACHINE, 15_000, 2), Ok(spread));
        let private = Fit {
            private_tables: true,
            ..spread
        };
        assert_eq!(check(MACHINE, 30_000, 2), Ok(private));
    }

    #[test]
    fn what_does_not_fit_names_the_fix() {
        let refused = |machine, connections| check(machine, connections, 2).unwrap_err();
        assert!(refused(MACHINE, 50_000).contains("--threads 3"));
        assert!(
            refused(
                Machine {
                    memory: 1 << 20,
                    ..MACHINE
                },
                1_000
            )
            .contains("--connections")
        );
        let source = Some("127.0.0.1/32".parse().unwrap());
        let target = SocketAddr::from(([127, 0, 0, 1], 7700));
        assert!(
            fit(MACHINE, 30_000, 2, source, target)
                .unwrap_err()
                .contains("--source")
        );
    }
}
