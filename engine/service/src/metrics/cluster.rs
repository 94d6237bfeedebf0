//! The text of the counters of a node of a cluster.

use super::families::{Families, Written};
use super::text::Exporter;

impl Exporter {
    /// Writes the counters of the node. All are 0 in a gateway that works alone.
    pub(super) fn cluster(&self, to: &mut Families<'_, '_>) -> Written {
        let node = self.metrics.node.get();
        let numbers = node.map(|node| node.numbers()).unwrap_or_default();
        for (name, help, value) in [
            (
                "trunkline_cluster_leader",
                "1 if this node leads its cluster, 0 if it follows or works alone",
                numbers.leads.into(),
            ),
            (
                "trunkline_cluster_epoch",
                "The epoch of the cluster, which is another one with each leader",
                numbers.epoch,
            ),
            (
                "trunkline_cluster_applied",
                "The number of the last group of the cluster's log that this node has taken",
                numbers.applied,
            ),
            (
                "trunkline_cluster_sequence",
                "The sequence of the last record of the stream that this node has looked at",
                numbers.sequence,
            ),
            (
                "trunkline_cluster_lag_records",
                "Records that are known to be in the stream and that this node has not looked at",
                numbers.lag,
            ),
            (
                "trunkline_cluster_lag_seconds",
                "Seconds for which such records have been there without a moment in which this node had them all",
                numbers.lag_seconds,
            ),
            (
                "trunkline_cluster_waiting_batches",
                "Batches of commands of this node that the leader has not answered",
                numbers.waiting,
            ),
        ] {
            to.gauge(name, help, value)?;
        }
        for (name, help, value) in [
            (
                "trunkline_cluster_groups",
                "Groups of the cluster's log that this node has taken",
                numbers.groups,
            ),
            (
                "trunkline_cluster_group_bytes",
                "Bytes of these groups: their records and what they tell beside them",
                numbers.group_bytes,
            ),
            (
                "trunkline_cluster_published",
                "Groups that this node has published as the leader",
                numbers.published,
            ),
            (
                "trunkline_cluster_takeovers",
                "Times that this node began to lead",
                numbers.takeovers,
            ),
            (
                "trunkline_cluster_rejected",
                "Records of this node that the NATS servers refused, or did not answer in time",
                numbers.rejected,
            ),
            (
                "trunkline_cluster_forwarded_bytes",
                "Bytes of commands that this node has forwarded to the leader",
                numbers.forwarded_bytes,
            ),
        ] {
            to.counter(name, help, value)?;
        }
        to.labelled(
            (
                "trunkline_cluster_skipped",
                "Records of the stream that do not count, by the reason",
            ),
            "reason",
            numbers.skipped(),
        )
    }
    /// Writes the counters of what the node and others tell each other about their users.
    pub(super) fn ephemeral(&self, to: &mut Families<'_, '_>) -> Written {
        let node = self.metrics.node.get();
        let ephemeral = node.map(|node| node.ephemeral()).unwrap_or_default();
        for (name, help, value) in [
            (
                "trunkline_cluster_other_nodes",
                "Other nodes from which messages about their users come",
                ephemeral.nodes,
            ),
            (
                "trunkline_cluster_devices_elsewhere",
                "Devices of users at other nodes, as this node knows them",
                ephemeral.devices,
            ),
        ] {
            to.gauge(name, help, value)?;
        }
        for (name, help, value) in [
            (
                "trunkline_cluster_users_told",
                "Users of whom other nodes were told because they came or left",
                ephemeral.told,
            ),
            (
                "trunkline_cluster_user_lists",
                "Lists of all users of this node that other nodes asked for",
                ephemeral.lists,
            ),
            (
                "trunkline_cluster_user_messages_missed",
                "Messages about users of other nodes that did not come",
                ephemeral.missed,
            ),
            (
                "trunkline_cluster_devices_lost",
                "Devices of users at other nodes for which this node had no room",
                ephemeral.devices_lost,
            ),
            (
                "trunkline_cluster_events_passed",
                "Typing and signals for users of other nodes that this node has passed on",
                ephemeral.passed,
            ),
            (
                "trunkline_cluster_events_heard",
                "Typing and signals of other nodes that came for users of this one",
                ephemeral.heard,
            ),
            (
                "trunkline_cluster_events_refused",
                "Times that an event between nodes found no room and was dropped",
                ephemeral.refused,
            ),
            (
                "trunkline_cluster_topic_questions_failed",
                "Questions about topics to other nodes that got no answer",
                ephemeral.topics_failed,
            ),
        ] {
            to.counter(name, help, value)?;
        }
        Ok(())
    }
}
