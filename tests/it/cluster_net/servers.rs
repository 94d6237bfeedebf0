//! NATS servers that are cut from each other.

use trunkline_tests::apart::{Apart, GATEWAYS, SERVERS, others, with_cluster};
use trunkline_tests::wait;

/// Waits until a server has given up a connection to another one.
fn gives_up_a_route(apart: &Apart, before: usize) {
    wait::until("a route that is given up", || {
        (given_up(apart) > before).then_some(())
    });
}

/// Returns how many connections between servers have been given up.
fn given_up(apart: &Apart) -> usize {
    let said = |at: usize| apart.cluster.servers.process(at).stderr();
    let lost = |at: usize| said(at).matches("Router connection closed").count();
    (0..SERVERS.len()).map(lost).sum()
}

/// A gateway on the side of one server answers nothing, and the other side goes on.
#[test]
fn the_side_with_two_servers_goes_on() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            for leads_stream in [true, false] {
                let (first, [second, _]) = apart.server_roles();
                let server = if leads_stream { first } else { second };
                let (leader, followers) = apart.roles();
                // The gateway that leads goes with the server that leads, and a follower with the other one.
                let gateway = if leads_stream { leader } else { followers[1] };
                let small = [GATEWAYS[gateway], SERVERS[server]];
                let servers = others(server).map(|at| SERVERS[at]);
                let large = [others(gateway), servers].concat();
                apart.machines.cut(&small, &large);
                apart.does_not_lead(gateway);
                apart.cluster.leader(&others(gateway));
                traffic.goes_on(&others(gateway));
                apart.is_not_ready(gateway);
                traffic.is_refused(&[gateway]);
                apart.heals(traffic);
            }
        });
    });
}

#[test]
fn three_servers_alone_acknowledge_nothing() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            apart.machines.cut(&SERVERS, &SERVERS);
            let before = traffic.acknowledged();
            for at in GATEWAYS {
                let why = apart.is_not_ready(at);
                assert!(why.contains("nobody leads"), "{why}");
            }
            traffic.is_refused(&GATEWAYS);
            traffic.is_refused(&GATEWAYS);
            // What was on its way when the servers were cut may have reached two of them.
            let after = traffic.acknowledged();
            for (before, after) in before.into_iter().zip(after) {
                assert!(after <= before + 1, "{before} then, {after} now");
            }
            apart.heals(traffic);
        });
    });
}

#[test]
fn servers_of_which_one_cannot_speak_to_another_one() {
    with_cluster(|mut apart| {
        apart.under_way(|apart, traffic| {
            for leads in [true, false] {
                let (leader, [second, third]) = apart.server_roles();
                let (mute, deaf) = match leads {
                    true => (leader, second),
                    false => (second, third),
                };
                let before = given_up(apart);
                apart.machines.mute(&[SERVERS[mute]], &[SERVERS[deaf]]);
                gives_up_a_route(apart, before);
                apart.heals(traffic);
            }
        });
    });
}
