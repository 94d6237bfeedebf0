//! Full disks: of a gateway, and of a NATS server.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use trunkline_tests::apart::{Apart, GATEWAYS, SERVERS, others, with_cluster_of};
use trunkline_tests::cluster::get;
use trunkline_tests::disk::Disk;
use trunkline_tests::gateway::Setup;
use trunkline_tests::nats::Servers;
use trunkline_tests::traffic::Traffic;
use trunkline_tests::wait;

/// Room for some segments of [`SEGMENT`].
const SIZE: &str = "64m";

const SEGMENT: &str = "4MiB";

/// The disks of a test, in order.
#[derive(Debug, Clone, Default)]
struct Disks(Arc<Mutex<Vec<(Disk, TempDir)>>>);

impl Disks {
    /// Adds a disk, and calls `with` with its folder.
    fn add<T>(&self, with: impl FnOnce(&Path) -> T) -> T {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::mount(folder.path(), SIZE).expect("root may mount");
        let made = with(folder.path());
        self.0.lock().expect("no panic").push((disk, folder));
        made
    }

    fn fill(&self, at: usize) {
        self.0.lock().expect("no panic")[at].0.fill();
    }

    fn empty(&self, at: usize) {
        self.0.lock().expect("no panic")[at].0.empty();
    }
}

/// Sends long messages at a node until another one says that its disk is full.
fn fill_up(apart: &Apart, traffic: &Traffic, from: usize, full: usize) {
    let text = "x".repeat(50_000);
    wait::until("a disk that is full", || {
        traffic.send_one(from, "yan", &text);
        let (status, why) = get(apart.cluster.nodes[full].control(), "/readyz");
        (status == 503 && why.contains("the disk is full")).then_some(())
    });
}

#[test]
fn a_node_with_a_full_disk_is_not_missed_and_goes_on_when_it_has_room() {
    let disks = Disks::default();
    let kept = disks.clone();
    let gateway = move |_, setup: Setup| {
        let setup = setup
            .flag("segment-bytes", SEGMENT)
            .flag("store-reserve", "0B");
        kept.add(|folder| setup.start_on(&folder.join("data")))
    };
    with_cluster_of(
        &["--segment-bytes", SEGMENT],
        |_| (),
        gateway,
        move |mut apart| {
            apart.under_way(|apart, traffic| {
                for leads in [true, false] {
                    let (leader, followers) = apart.roles();
                    let full = if leads { leader } else { followers[0] };
                    disks.fill(full);
                    fill_up(apart, traffic, others(full)[0], full);
                    apart.does_not_lead(full);
                    apart.cluster.leader(&others(full));
                    traffic.goes_on(&others(full));
                    disks.empty(full);
                    apart.heals(traffic);
                }
            });
        },
    );
}

/// The server takes no part until it is started again. The others are enough.
#[test]
fn a_server_with_a_full_disk_is_not_missed_and_goes_on_after_a_start() {
    let disks = Disks::default();
    let kept = disks.clone();
    let servers = move |servers: &Servers| {
        for at in 0..SERVERS.len() {
            kept.add(|folder| {
                std::os::unix::fs::symlink(folder, servers.store(at)).expect("a link");
            });
        }
    };
    with_cluster_of(
        &[],
        servers,
        |_, setup| setup.start(),
        move |mut apart| {
            apart.under_way(|apart, traffic| {
                for leads in [true, false] {
                    let (leader, followers) = apart.server_roles();
                    let full = if leads { leader } else { followers[0] };
                    disks.fill(full);
                    wait::until("a server that says that its disk is full", || {
                        traffic.send_one(0, "yan", &"x".repeat(50_000));
                        let said = apart.cluster.servers.process(full).stderr();
                        said.contains("no space left on device").then_some(())
                    });
                    traffic.goes_on(&GATEWAYS);
                    disks.empty(full);
                    apart.cluster.servers.kill(full);
                    apart.cluster.servers.restart(full);
                    apart.server_has_all(full);
                }
            });
        },
    );
}
