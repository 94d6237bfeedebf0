//! Each limit as a row: its value, what the value allows, and the command that raises it. Pure.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Limits, Wish, limit_for, shards_for};

/// The kernel memory of one end of an idle connection in bytes, as measured. It includes the
/// descriptor and the entry in the event loop.
const KERNEL_BYTES: u64 = 4_200;

/// The memory of the gateway or the load generator for an idle connection, in bytes.
const USER_BYTES: u64 = 800;

/// The number of connections of which one has a page of data in a buffer at any time.
const BUSY: u64 = 10;

/// The number of files, and of threads, that all other programs on the machine need.
const OTHERS: u64 = 4_096;

/// The longest median time of a disk sync that counts as fast enough.
const SYNC_SLOW: Duration = Duration::from_millis(5);

/// The verdict on a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The limit is high enough.
    Ok,
    /// The limit is too low: see the fix.
    Low,
}

/// One limit of the machine, as a row of the output.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The name of the limit.
    pub name: &'static str,
    /// The present value.
    pub now: String,
    /// What the present value allows, in words.
    pub allows: String,
    /// The number of connections that the value allows, if it limits connections.
    pub connections: Option<u64>,
    /// Whether the value is enough.
    pub verdict: Verdict,
    /// The command that raises the limit, or other advice. `None` if the limit is high enough.
    pub fix: Option<String>,
}

impl Row {
    fn new(name: &'static str, now: impl ToString, allows: impl Into<String>) -> Self {
        Self {
            name,
            now: now.to_string(),
            allows: allows.into(),
            connections: None,
            verdict: Verdict::Ok,
            fix: None,
        }
    }

    /// Sets the number of connections that the limit allows, and adds `fix` if it is less than
    /// wanted.
    fn limits(self, connections: u64, wish: &Wish, fix: impl FnOnce() -> String) -> Self {
        let row = Self {
            connections: Some(connections),
            ..self
        };
        row.holds(connections >= wish.connections, fix)
    }

    /// Sets the verdict, and adds `fix` if `holds` is false.
    fn holds(self, holds: bool, fix: impl FnOnce() -> String) -> Self {
        match holds {
            true => self,
            false => Self {
                verdict: Verdict::Low,
                fix: Some(fix()),
                ..self
            },
        }
    }
}

/// Returns the rows in the order in which they are shown.
pub(super) fn rows(limits: &Limits, wish: &Wish, sync: Option<&super::disk::Sync>) -> Vec<Row> {
    let mut rows = descriptors(limits, wish);
    rows.extend(network(limits, wish));
    rows.extend(machine(limits, wish));
    rows.extend(sync.map(disk));
    rows
}

fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

fn descriptors(limits: &Limits, wish: &Wish) -> Vec<Row> {
    let hard = limits.descriptors_hard;
    let ends = wish.ends();
    let shards = |limit| super::MAX_SHARDS as u64 * super::per_shard(limit);
    let needed = limit_for(wish.connections, super::MAX_SHARDS as u64);
    let each = match shards_for(wish.connections, hard) {
        Some(1) => "one descriptor table is enough".to_owned(),
        Some(n) => format!("{n} shards, each with a descriptor table of its own (--shards {n})"),
        None => format!("not even with {} shards", super::MAX_SHARDS),
    };
    let mut rows =
        vec![
            Row::new(
                "RLIMIT_NOFILE soft",
                count(limits.descriptors_soft),
                "the programs raise it to the hard limit themselves",
            ),
            Row::new("RLIMIT_NOFILE hard", count(hard), each).limits(shards(hard), wish, || {
                match limits.nr_open {
                    Some(most) if needed > most => {
                        format!("sysctl -w fs.nr_open={needed} && ulimit -n {needed}")
                    }
                    _ => format!("ulimit -n {needed}"),
                }
            }),
        ];
    if let Some(most) = limits.nr_open {
        let row = Row::new(
            "fs.nr_open",
            count(most),
            "root can raise the hard limit up to this",
        );
        rows.push(row.limits(shards(most), wish, || {
            format!("sysctl -w fs.nr_open={needed}")
        }));
    }
    let wanted = wish.connections * ends + OTHERS;
    if let Some(most) = limits.file_max {
        let allows = format!(
            "open files of the machine; {} in use",
            count(limits.files_used)
        );
        let left = limits.files_left().saturating_sub(OTHERS) / ends;
        rows.push(
            Row::new("fs.file-max", count(most), allows).limits(left, wish, || {
                format!("sysctl -w fs.file-max={}", wanted + limits.files_used)
            }),
        );
    }
    if let Some(most) = limits.epoll_watches {
        let row = Row::new(
            "fs.epoll.max_user_watches",
            count(most),
            "sockets of one user in event loops",
        );
        rows.push(row.limits(most.saturating_sub(OTHERS) / ends, wish, || {
            format!("sysctl -w fs.epoll.max_user_watches={wanted}")
        }));
    }
    rows
}

fn network(limits: &Limits, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(most) = limits.somaxconn {
        let row = Row::new(
            "net.core.somaxconn",
            count(most),
            "connections waiting to be accepted, per shard",
        );
        rows.push(row.holds(most >= 4_096, || "sysctl -w net.core.somaxconn=4096".into()));
    }
    let (first, last) = limits.port_range.unwrap_or((0, 0));
    let row = Row::new(
        "net.ipv4.ip_local_port_range",
        format!("{first} {last}"),
        format!(
            "{} outgoing connections per source address and target; none limits incoming ones",
            count(limits.ports())
        ),
    );
    rows.push(row.holds(limits.ports() >= 28_000, || {
        "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"".into()
    }));
    if let Some(pages @ [_, _, most]) = limits.tcp_mem {
        let row = Row::new(
            "net.ipv4.tcp_mem",
            pages.map(|n| n.to_string()).join(" "),
            format!(
                "{} of data in all buffers, if one connection in {BUSY} has a page of data",
                HumanBytes(most * 4_096)
            ),
        );
        let most = most * BUSY / wish.ends();
        rows.push(row.limits(most, wish, || {
            let needed = wish.connections * wish.ends() / BUSY;
            format!(
                "sysctl -w net.ipv4.tcp_mem=\"{} {} {needed}\"",
                needed / 2,
                needed * 3 / 4
            )
        }));
    }
    for (name, buffer, what) in [
        (
            "net.ipv4.tcp_rmem",
            limits.tcp_rmem,
            "sends faster than it is read",
        ),
        (
            "net.ipv4.tcp_wmem",
            limits.tcp_wmem,
            "reads slower than it is sent to",
        ),
    ] {
        if let Some(bytes @ [least, _, most]) = buffer {
            let row = Row::new(
                name,
                bytes.map(|n| n.to_string()).join(" "),
                format!("up to {} for a connection that {what}", HumanBytes(most)),
            );
            rows.push(row.holds(least <= 4_096, || {
                format!("sysctl -w {name}=\"4096 {} {}\"", bytes[1], bytes[2])
            }));
        }
    }
    if let Some((tracked, most)) = limits.conntrack {
        let row = Row::new(
            "net.netfilter.nf_conntrack_max",
            count(most),
            format!(
                "connections that the firewall tracks; {} now",
                count(tracked)
            ),
        );
        let needed = tracked + wish.connections * 2;
        rows.push(row.limits(most.saturating_sub(tracked), wish, || {
            format!("sysctl -w net.netfilter.nf_conntrack_max={needed}")
        }));
    }
    rows
}

fn machine(limits: &Limits, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    let each = (KERNEL_BYTES + USER_BYTES) * wish.ends();
    let free = limits.memory_available.unwrap_or(limits.memory_total);
    let row = Row::new(
        "memory",
        format!(
            "{} free of {}",
            HumanBytes(free),
            HumanBytes(limits.memory_total)
        ),
        format!(
            "{} for each connection, kernel and program",
            HumanBytes(each)
        ),
    );
    rows.push(row.limits(free / each, wish, || {
        format!(
            "plan for fewer connections (--connections {}), or add {} of memory",
            free / each,
            HumanBytes((wish.connections * each).saturating_sub(free))
        )
    }));
    if let Some(most) = limits.threads_max {
        let row = Row::new("kernel.threads-max", count(most), "threads of the machine");
        rows.push(row.holds(most >= OTHERS, || {
            format!("sysctl -w kernel.threads-max={OTHERS}")
        }));
    }
    let row = Row::new("cores", limits.cores, "one shard each by default");
    rows.push(row.holds(limits.cores >= 2, || {
        "use a machine with at least 2 cores: on one core the gateway's threads wait for each other".into()
    }));
    let row = Row::new(
        "kernel",
        &limits.kernel,
        "6.1 and later find source ports quickly",
    );
    rows.push(row.holds(at_least(&limits.kernel, (6, 1)), || {
        "install a newer kernel".into()
    }));
    let row = Row::new(
        "clock source",
        &limits.clock_source,
        "each turn of an event loop reads the clock",
    );
    let slow = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];
    rows.push(row.holds(!slow.contains(&&*limits.clock_source), || {
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource".into()
    }));
    let huge = "/sys/kernel/mm/transparent_hugepage/enabled";
    let row = Row::new(
        "transparent huge pages",
        &limits.huge_pages,
        "`always` wastes memory: many small tables each take a large page",
    );
    rows.push(row.holds(limits.huge_pages != "always", || {
        format!("echo madvise > {huge}")
    }));
    let row = Row::new(
        "swap",
        HumanBytes(limits.swap_total),
        "a shard that is swapped out stalls all its connections",
    );
    rows.push(row.holds(limits.swap_total == 0, || "swapoff -a".into()));
    rows
}

fn disk(sync: &super::disk::Sync) -> Row {
    let row = Row::new(
        "disk sync",
        format!("{:.2} ms, 99 % in {:.2} ms", ms(sync.half), ms(sync.most)),
        format!(
            "{:.0} batches of messages/s in {}",
            1.0 / sync.half.as_secs_f64().max(1e-6),
            sync.folder.display()
        ),
    );
    row.holds(sync.half <= SYNC_SLOW, || {
        "use a faster disk for --data, or serve with --durability interval:10".into()
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns whether a kernel's release is at least this version. A release that cannot be read
/// counts as new enough.
fn at_least(release: &str, version: (u32, u32)) -> bool {
    let mut parts = release.split(['.', '-']).map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= version,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a machine where nothing is in the way of a million connections with both ends on it.
    fn good() -> Limits {
        Limits {
            descriptors_soft: 20_000,
            descriptors_hard: 20_000,
            file_max: Some(2_500_000),
            files_used: 1_000,
            nr_open: Some(1_048_576),
            epoll_watches: Some(5_000_000),
            somaxconn: Some(4_096),
            port_range: Some((32_768, 60_999)),
            tcp_mem: Some([288_000, 384_000, 576_000]),
            tcp_rmem: Some([4_096, 131_072, 33_554_432]),
            tcp_wmem: Some([4_096, 16_384, 4_194_304]),
            conntrack: Some((10, 2_000_000)),
            threads_max: Some(100_000),
            memory_total: 24 << 30,
            memory_available: Some(22 << 30),
            swap_total: 0,
            cores: 2,
            kernel: "6.18.44-x".into(),
            clock_source: "tsc".into(),
            huge_pages: "madvise".into(),
        }
    }

    fn wish(connections: u64) -> Wish {
        Wish {
            connections,
            both_ends: true,
        }
    }

    /// Returns the rows that are low, with their fixes.
    fn low(limits: &Limits, connections: u64) -> Vec<(&'static str, String)> {
        let rows = rows(limits, &wish(connections), None);
        let low = rows.into_iter().filter(|row| row.verdict == Verdict::Low);
        low.map(|row| (row.name, row.fix.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn a_good_machine_has_nothing_to_mend() {
        assert_eq!(low(&good(), 1_000_000), []);
    }

    #[test]
    fn each_limit_is_named_with_its_command() {
        type Change = fn(&mut Limits);
        let changes: [(Change, &str, &str); 14] = [
            (
                |l| l.descriptors_hard = 4_096,
                "RLIMIT_NOFILE hard",
                "ulimit -n 8803",
            ),
            (
                |l| l.nr_open = Some(4_096),
                "fs.nr_open",
                "sysctl -w fs.nr_open=",
            ),
            (
                |l| l.file_max = Some(1_000_000),
                "fs.file-max",
                "sysctl -w fs.file-max=2005096",
            ),
            (
                |l| l.epoll_watches = Some(9_000),
                "fs.epoll.max_user_watches",
                "=2004096",
            ),
            (|l| l.somaxconn = Some(128), "net.core.somaxconn", "=4096"),
            (
                |l| l.port_range = Some((1, 9)),
                "net.ipv4.ip_local_port_range",
                "1024 65535",
            ),
            (
                |l| l.tcp_mem = Some([1, 2, 3]),
                "net.ipv4.tcp_mem",
                "200000\"",
            ),
            (
                |l| l.tcp_rmem = Some([8_192; 3]),
                "net.ipv4.tcp_rmem",
                "4096 8192",
            ),
            (
                |l| l.conntrack = Some((0, 65_536)),
                "net.netfilter.nf_conntrack_max",
                "=2000000",
            ),
            (
                |l| l.memory_available = Some(1 << 30),
                "memory",
                "--connections 107374",
            ),
            (|l| l.kernel = "5.4.0".into(), "kernel", "newer"),
            (
                |l| l.clock_source = "hpet".into(),
                "clock source",
                "echo tsc",
            ),
            (
                |l| l.huge_pages = "always".into(),
                "transparent huge pages",
                "echo madvise",
            ),
            (|l| l.swap_total = 1, "swap", "swapoff"),
        ];
        for (change, name, fix) in changes {
            let mut limits = good();
            change(&mut limits);
            let low = low(&limits, 1_000_000);
            assert_eq!(low.len(), 1, "{name}: {low:?}");
            assert!(
                low[0].0 == name && low[0].1.contains(fix),
                "{name}: {low:?}"
            );
        }
    }

    #[test]
    fn a_slow_disk_is_low() {
        let sync = |ms| super::super::disk::Sync {
            folder: "d".into(),
            half: Duration::from_millis(ms),
            most: Duration::from_millis(ms),
        };
        assert_eq!(disk(&sync(1)).verdict, Verdict::Ok);
        assert_eq!(disk(&sync(6)).verdict, Verdict::Low);
    }
}
