//! A network that loses packets and takes its time.

use std::time::Duration;

use trunkline_tests::apart::{GATEWAYS, with_cluster};

#[test]
fn a_network_that_loses_each_fifth_packet_loses_no_message() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            let slow = apart.machines.slow(20, Duration::from_millis(50));
            // Acknowledged or not: clients hear something.
            for _ in 0..3 {
                traffic.is_answered(&GATEWAYS);
            }
            drop(slow);
            apart.heals(traffic);
        });
    });
}
