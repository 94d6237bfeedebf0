//! Cells: groups of gateways that hold one log together, for `--cluster`. One cell is a cluster as in docs/cluster.md.
//! Nothing spreads namespaces over several cells yet. docs/scaling.md says where the numbers come from. Pure.

use super::figures::figure;
use super::model::{Model, Resource, Stream, Tier};
use super::page::{Figure, Section, Unit};
use crate::scenario::plan::Assumptions;
use crate::units::counted;

/// The bytes of the log for each timeline that a record enters.
const TIMELINE: f64 = 16.0;
/// The bytes of the log for a receipt, and for each reader in it, if all read a second after the message came.
const RECEIPT: f64 = 111.0;
const READER: f64 = 25.0;
/// The bytes of the log that tell the gateway of a client what became of a command.
const ANSWER: f64 = 24.0;
/// How often the store of a gateway writes a byte that it keeps.
const WRITTEN: f64 = 2.0;
/// The bytes that NATS keeps of a log on each server's disk, for gateways that were away.
const KEPT: f64 = 8.0 * 1_073_741_824.0;

/// The cells of a plan.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    /// The cells that each resource asks for.
    pub(super) tier: Tier,
    /// The gateways, and the NATS servers, of one cell.
    pub(super) gateways: f64,
    pub(super) servers: f64,
}

impl Cells {
    /// Computes the cells of a plan, with the figures about them.
    pub(super) fn of(assumed: &Assumptions, model: &Model) -> (Self, Section) {
        let gateways = f64::from(assumed.gateways_per_cell);
        let servers = f64::from(assumed.servers_per_cell);
        let rate: f64 = model
            .streams
            .iter()
            .map(|stream| stream.peak * logged(assumed, model.text, stream))
            .sum();
        let log = assumed.log_per_cell.0 / 8.0;
        let commands = model.peak_rate + model.receipts_peak;
        let held = assumed.connections_per_server as f64 * gateways;
        let pushes = assumed.deliveries_per_server.0 * gateways;
        let disk = assumed.disk_per_node.0 as f64;
        let network = assumed.network_per_server.0 / 8.0;
        let memory = model.connections * assumed.memory_per_connection.0 as f64;
        let has = assumed.memory_per_server.0 as f64 * gateways;
        let resources = [
            ("log", Unit::BytesPerSecond, rate, log),
            (
                "network of the log",
                Unit::BytesPerSecond,
                rate * (servers - 1.0 + gateways),
                network,
            ),
            (
                "commands",
                Unit::PerSecond,
                commands,
                assumed.commands_per_leader.0,
            ),
            ("connections", Unit::Count, model.connections, held),
            ("memory", Unit::Bytes, memory, has),
            ("pushes", Unit::PerSecond, model.pushes_peak, pushes),
            (
                "network out",
                Unit::BytesPerSecond,
                model.out_peak,
                network * gateways,
            ),
            ("disk", Unit::Bytes, model.stored_kept, disk),
        ];
        let resource = |(name, unit, need, each)| Resource::new(assumed, name, unit, need, each);
        let cells = Self {
            tier: Tier {
                resources: resources.map(resource).into(),
            },
            gateways,
            servers,
        };
        let section = cells.section(assumed, model, rate);
        (cells, section)
    }

    /// Returns what a cell lacks first: its resources, that which asks for the most cells first.
    pub(super) fn breaks(&self) -> Vec<&Resource> {
        let mut resources: Vec<_> = self.tier.resources.iter().collect();
        resources.sort_by(|one, other| (other.need / other.each).total_cmp(&(one.need / one.each)));
        resources
    }

    /// Returns the figures. `rate` is that of all logs together at the peak, in bytes per second.
    fn section(&self, assumed: &Assumptions, model: &Model, rate: f64) -> Section {
        let mut figures = self.logs(assumed, model, rate);
        figures.extend(self.bounds(assumed, model, rate / self.tier.machines()));
        figures.extend(self.gateway(assumed, model));
        Section {
            title: "cells, at the peak: more than one is not built",
            figures,
        }
    }

    /// Returns what goes through logs.
    fn logs(&self, assumed: &Assumptions, model: &Model, rate: f64) -> Vec<Figure> {
        let cells = self.tier.machines();
        let (bytes, per_second) = (Unit::Bytes, Unit::BytesPerSecond);
        let (message, each) = (rate / model.peak_rate, rate / cells);
        let others = self.servers - 1.0;
        vec![
            figure(
                "log_bytes_per_message",
                "log for a message",
                message,
                bytes,
                format!(
                    "= its text + {} + {TIMELINE} B a timeline + its receipts + {ANSWER} B an answer",
                    bytes.show(assumed.record_overhead.0 as f64)
                ),
            ),
            figure(
                "log_peak",
                "all logs together",
                rate,
                per_second,
                format!(
                    "= {} × {}",
                    Unit::PerSecond.show(model.peak_rate),
                    bytes.show(message)
                ),
            ),
            figure(
                "log_peak_per_cell",
                "log of a cell, to each gateway",
                each,
                per_second,
                format!("= {} ÷ {} cells", per_second.show(rate), counted(cells)),
            ),
            figure(
                "log_out_per_cell",
                "out of the NATS server that leads",
                each * (others + self.gateways),
                per_second,
                format!(
                    "= {} × ({others} other servers + {} gateways)",
                    per_second.show(each),
                    self.gateways
                ),
            ),
        ]
    }

    /// Returns what one gateway of a cell carries, and what is left for the others when it dies.
    fn gateway(&self, assumed: &Assumptions, model: &Model) -> [Figure; 4] {
        let gateways = self.tier.machines() * self.gateways;
        let held = model.connections / gateways;
        let memory = assumed.memory_per_connection.0 as f64;
        let others = (self.gateways - 1.0).max(1.0);
        let opens = assumed.sessions_per_server.0;
        let stored = model.stored_day / model.messages_day;
        let rate = model.peak_rate / self.tier.machines();
        let shown = |value: f64| counted(value.ceil());
        [
            figure(
                "sessions_per_gateway",
                "sessions of a gateway",
                held.ceil(),
                Unit::Count,
                format!(
                    "= {} ÷ {} gateways",
                    shown(model.connections),
                    counted(gateways)
                ),
            ),
            figure(
                "memory_per_gateway",
                "memory of a gateway's sessions",
                held * memory,
                Unit::Bytes,
                format!("= {} × {}", shown(held), Unit::Bytes.show(memory)),
            ),
            figure(
                "written_per_gateway",
                "written to a gateway's disk",
                rate * stored * WRITTEN,
                Unit::BytesPerSecond,
                format!(
                    "= {} of a cell × {} stored × {WRITTEN}: in order of time, then sorted",
                    Unit::PerSecond.show(rate),
                    Unit::Bytes.show(stored)
                ),
            ),
            figure(
                "back_seconds",
                "a gateway dies: all back after",
                held / others / opens,
                Unit::Seconds,
                format!(
                    "= {} ÷ {others} other gateways ÷ {} opened on each",
                    shown(held),
                    Unit::PerSecond.show(opens)
                ),
            ),
        ]
    }

    /// Returns how far a cell reaches, with a log of `each` bytes per second.
    fn bounds(&self, assumed: &Assumptions, model: &Model, each: f64) -> [Figure; 3] {
        let (bytes, per_second) = (Unit::Bytes, Unit::BytesPerSecond);
        let disk = assumed.disk_per_node.0 as f64;
        let (cells, log) = (self.tier.machines(), &self.tier.resources[0]);
        [
            figure(
                "away_seconds",
                "a gateway may be away for",
                KEPT / each,
                Unit::Seconds,
                format!(
                    "= {} ÷ {}; after that it takes a copy of another one",
                    bytes.show(KEPT),
                    per_second.show(each)
                ),
            ),
            figure(
                "days_on_disk",
                "days on a gateway's disk",
                disk * cells / model.stored_day,
                Unit::Count,
                format!(
                    "= {} × {} cells ÷ {} a day",
                    bytes.show(disk),
                    counted(cells),
                    bytes.show(model.stored_day)
                ),
            ),
            figure(
                "logs_of_one_namespace",
                "logs of one namespace for all",
                (2.0 * log.need / log.each * (1.0 - 1e-12)).ceil(),
                Unit::Count,
                format!(
                    "= 2 × {} ÷ {}: a message between two cells is in both logs",
                    per_second.show(log.need),
                    per_second.show(log.each)
                ),
            ),
        ]
    }
}

/// Returns the bytes of the log that a message takes, with its receipts and the answers to its sender and its
/// readers.
fn logged(assumed: &Assumptions, text: f64, stream: &Stream) -> f64 {
    let readers = stream.receipts / 2.0;
    let timelines = (stream.writes - 1.0).max(0.0);
    let record = text + assumed.record_overhead.0 as f64 + TIMELINE * timelines;
    record + RECEIPT * readers.min(1.0) + READER * readers + ANSWER * (1.0 + stream.receipts)
}
