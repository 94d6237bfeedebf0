//! Faults of one node: its store, its place in the cluster, and what it is told to do.

use trunkline_tests::cluster::command_at;

#[test]
fn a_cluster_that_no_node_could_join_is_not_made() {
    // Nobody listens there: the plan is looked at first.
    let nowhere = "nats://127.0.0.1:1";
    for (flag, value, why) in [
        (
            "--segment-bytes",
            "4KiB",
            "--segment-bytes: too small: at least 393216B",
        ),
        (
            "--segment-bytes",
            "2GiB",
            "--segment-bytes: 2GiB is too large",
        ),
        ("--max-bytes", "1B", "give it 64 MiB or more"),
    ] {
        let refused = command_at(nowhere, &["init", flag, value]).expect_err("it is refused");
        assert!(refused.contains(why), "{refused}");
    }
}
