//! Gateways without NATS.

use serde_json::json;
use trunkline_tests::apart::{GATEWAYS, SERVERS, others, with_cluster};

/// The clients of the node stay, and read.
#[test]
fn a_gateway_cut_from_all_servers_is_not_missed_and_comes_back() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            for leads in [true, false] {
                let (leader, followers) = apart.roles();
                let cut = if leads { leader } else { followers[0] };
                apart.machines.cut(&[cut], &SERVERS);
                apart.does_not_lead(cut);
                apart.is_not_ready(cut);
                let next = apart.cluster.leader(&others(cut));
                traffic.goes_on(&others(cut));
                traffic.is_refused(&[cut]);
                let mut reader = apart.cluster.connect(cut, "dora");
                let about = json!({"conversation": "u:dora:una"});
                assert!(reader.done("history", &about)["last"].as_u64() > Some(0));
                assert_ne!(next, cut);
                apart.heals(traffic);
            }
        });
    });
}

/// One way of a connection is enough to end it.
#[test]
fn a_gateway_that_hears_and_cannot_speak_or_speaks_and_cannot_hear() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            for leads in [true, false] {
                for hears in [true, false] {
                    let (leader, followers) = apart.roles();
                    let cut = if leads { leader } else { followers[0] };
                    match hears {
                        true => apart.machines.mute(&[cut], &SERVERS),
                        false => apart.machines.mute(&SERVERS, &[cut]),
                    }
                    apart.does_not_lead(cut);
                    apart.is_not_ready(cut);
                    apart.cluster.leader(&others(cut));
                    traffic.goes_on(&others(cut));
                    apart.heals(traffic);
                }
            }
            traffic.goes_on(&GATEWAYS);
        });
    });
}
