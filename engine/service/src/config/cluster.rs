//! The settings of a node of a cluster: their rules, and what follows from them.

use std::path::PathBuf;

use trunkline_cluster::nats::NatsSettings;

use super::back_ends;
use super::layers::Layers;
use super::resolve::size;
use super::table::Settings;
use super::units::ByteSize;

/// The longest message of a cluster in bytes: what a node forwards fits into one message of NATS.
const MESSAGE: usize = 256 << 10;

/// A node of a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The name of the cluster.
    pub name: String,
    /// The name of the node.
    pub node: String,
    /// The NATS servers.
    pub nats: NatsSettings,
}

/// Notes every setting that a node of a cluster lacks, or cannot have yet.
pub(super) fn check(layers: &mut Layers) {
    let is_node = layers.is_given("cluster");
    for (name, missing) in [
        (
            "node",
            "missing: give --node NAME, another name for each gateway of the cluster",
        ),
        (
            "nats",
            "missing: give --nats URL[,URL…] with the NATS servers of the cluster",
        ),
    ] {
        match (is_node, layers.is_given(name)) {
            (true, false) => layers.refuse(name, missing),
            (false, true) => layers.refuse(name, "only with --cluster NAME"),
            _ => {}
        }
    }
    if !is_node {
        for name in ["nats_credentials", "nats_ca_file"] {
            if layers.is_given(name) {
                layers.refuse(name, "only with --cluster NAME");
            }
        }
        return;
    }
    let urls = layers.settings.nats.as_ref();
    if urls.is_some_and(|urls| urls.0.contains('@')) {
        // Values of settings are printed, and logged when they change.
        layers.refuse(
            "nats",
            "must not have a user or a password: give them with nats_credentials FILE",
        );
    }
    const NOT_YET: &str =
        "not with --cluster yet: each node would do it for all, or know only its own users";
    if back_ends::tells(&layers.settings) {
        let offline = layers.settings.webhooks_offline.is_some();
        layers.refuse(
            if offline {
                "webhooks_offline"
            } else {
                "webhooks_presence"
            },
            NOT_YET,
        );
    }
    if layers.is_given("message_bytes") {
        if size(layers.settings.message_bytes) > MESSAGE {
            layers.refuse("message_bytes", "too large: at most 256KiB with --cluster");
        }
    } else {
        layers.settings.message_bytes = Some(ByteSize(MESSAGE as u64));
    }
}

/// Returns the cluster that the gateway is a node of.
pub(super) fn resolve(settings: &Settings) -> Option<Cluster> {
    let text = |value: &Option<super::form::Text>| value.clone().map(|text| text.0);
    let urls = text(&settings.nats).unwrap_or_default();
    Some(Cluster {
        name: text(&settings.cluster)?,
        node: text(&settings.node)?,
        nats: nats(
            &urls,
            settings.nats_credentials.clone().map(|file| file.0),
            settings.nats_ca_file.clone().map(|file| file.0),
        ),
    })
}

/// Returns the NATS servers of a list with commas.
pub(crate) fn nats(
    urls: &str,
    credentials: Option<PathBuf>,
    authorities: Option<PathBuf>,
) -> NatsSettings {
    NatsSettings {
        urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
        tls: authorities.is_some(),
        credentials,
        authorities,
        certificate: None,
    }
}
