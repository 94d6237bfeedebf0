//! The settings of a node of a cluster: their rules, and what follows from them.

use std::path::PathBuf;

use trunkline_cluster::nats::{ClusterNames, NatsSettings, NodeCertificate};

use super::layers::Layers;
use super::resolve::{range_problem, size};
use super::rules::segment_problem as segment_problem_of;
use super::table::{ROWS, Settings};
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

/// Lowers the longest message to what a node forwards, unless it is given. Call it before the rules between sizes are
/// checked.
pub(super) fn cap(layers: &mut Layers) {
    if !layers.is_given("cluster") {
        return;
    }
    if !layers.is_given("message_bytes") {
        layers.settings.message_bytes = Some(ByteSize(MESSAGE as u64));
    } else if size(layers.settings.message_bytes) > MESSAGE {
        layers.refuse("message_bytes", "too large: at most 256KiB with --cluster");
    }
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
        for name in [
            "nats_credentials",
            "nats_ca_file",
            "nats_cert_file",
            "nats_key_file",
        ] {
            if layers.is_given(name) {
                layers.refuse(name, "only with --cluster NAME");
            }
        }
        return;
    }
    for (one, other) in [
        ("nats_cert_file", "nats_key_file"),
        ("nats_key_file", "nats_cert_file"),
    ] {
        if layers.is_given(one) && !layers.is_given(other) {
            layers.refuse(other, CERTIFICATE_ALONE);
        }
    }
    check_names(layers);
}

/// Refuses names that NATS cannot have, and addresses that are none.
fn check_names(layers: &mut Layers) {
    let names = [
        ("cluster", layers.settings.cluster.clone()),
        ("node", layers.settings.node.clone()),
    ];
    for (setting, name) in names {
        let Some(name) = name else { continue };
        // The other name does not matter here.
        if let Err(error) = ClusterNames::new(&name.0, "n") {
            layers.refuse(setting, error.to_string());
        }
    }
    let Some(urls) = layers.settings.nats.clone() else {
        return;
    };
    if urls.0.contains('@') {
        // Values of settings are printed, and logged when they change.
        layers.refuse(
            "nats",
            "must not have a user or a password: give them with nats_credentials FILE",
        );
    } else if let Err(error) = nats(&urls.0, Proofs::default()).check() {
        layers.refuse("nats", error.to_string());
    }
}

/// Returns why the nodes of a cluster cannot have log files of this length (`segment_bytes`); `None` if they can.
pub(crate) fn segment_problem(bytes: ByteSize) -> Option<String> {
    let settings = Settings {
        segment_bytes: Some(bytes),
        ..Settings::default()
    };
    let rows = ROWS.iter().filter(|row| row.name == "segment_bytes");
    let mut problems = rows.filter_map(|row| range_problem(row, &settings));
    let of_range = problems.next();
    of_range.or_else(|| segment_problem_of(size(settings.segment_bytes), MESSAGE))
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
            Proofs {
                credentials: settings.nats_credentials.clone().map(|file| file.0),
                authorities: settings.nats_ca_file.clone().map(|file| file.0),
                certificate: settings.nats_cert_file.clone().map(|file| file.0),
                key: settings.nats_key_file.clone().map(|file| file.0),
            },
        ),
    })
}

/// The problem of a certificate without its key, or of a key without its certificate.
const CERTIFICATE_ALONE: &str =
    "missing: give --nats-cert-file FILE and --nats-key-file FILE together";

/// The files with which a node and the NATS servers prove to each other who they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proofs {
    /// The JWT of the user, and the seed that signs.
    pub(crate) credentials: Option<PathBuf>,
    /// The authorities of the servers.
    pub(crate) authorities: Option<PathBuf>,
    /// The certificate of the node, which needs `key`.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of `certificate`.
    pub(crate) key: Option<PathBuf>,
}

/// Returns the NATS servers of a list with commas.
pub(crate) fn nats(urls: &str, proofs: Proofs) -> NatsSettings {
    let certificate = proofs.certificate.zip(proofs.key);
    NatsSettings {
        urls: urls.split(',').map(|url| url.trim().to_owned()).collect(),
        tls: proofs.authorities.is_some(),
        credentials: proofs.credentials,
        authorities: proofs.authorities,
        certificate: certificate.map(|(chain, key)| NodeCertificate { chain, key }),
    }
}
