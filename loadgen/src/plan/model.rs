//! The arithmetic of a plan: from the behaviour of users to the load of machines. Pure.

use super::page::Unit;
use crate::scenario::Scenario;
use crate::scenario::plan::Assumptions;

/// Seconds of a day.
pub(super) const DAY: f64 = 86_400.0;
/// Days of a year, the leap day shared out.
pub(super) const YEAR: f64 = 365.25;
/// The number of ports of a source address towards one target: Linux's range, 32768 to 60999.
pub(super) const PORTS: f64 = 28_232.0;
/// The descriptors of a process that are not connections.
pub(super) const OTHER_DESCRIPTORS: f64 = 128.0;

/// Messages of a kind, and what one of them causes.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Between two, in groups, in large groups.
    pub(super) name: String,
    /// Members of the conversation, on average.
    pub(super) members: f64,
    /// Messages per day, per second in the window, and per second at the peak.
    pub(super) day: f64,
    pub(super) window: f64,
    pub(super) peak: f64,
    /// Pushes of a message.
    pub(super) pushes: f64,
    /// Timelines that it is written to.
    pub(super) writes: f64,
    /// Receipts that readers send, before any are coalesced.
    pub(super) receipts: f64,
}

/// The figures of a plan.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) streams: Vec<Stream>,
    /// Messages per day, per second over 24 hours, in the window, and at the peak.
    pub(super) messages_day: f64,
    pub(super) day_rate: f64,
    pub(super) window_rate: f64,
    pub(super) peak_rate: f64,
    /// Mean bytes of text.
    pub(super) text: f64,
    pub(super) connections: f64,
    /// Pushes per second at the peak.
    pub(super) pushes_peak: f64,
    /// Writes to the storage per second at the peak.
    pub(super) writes_peak: f64,
    /// Reads from the storage per second at the peak.
    pub(super) reads_peak: f64,
    /// Receipts per second at the peak.
    pub(super) receipts_peak: f64,
    /// The bytes of text per day.
    pub(super) text_day: f64,
    /// The stored bytes per day.
    pub(super) stored_day: f64,
    /// The bytes of text in all kept messages.
    pub(super) text_kept: f64,
    /// The stored bytes of all kept messages, in one copy.
    pub(super) stored_kept: f64,
    /// The stored bytes of all kept messages, in all copies.
    pub(super) stored_copies: f64,
    /// The bytes of text per second in each direction, on average in the window.
    pub(super) text_rate: f64,
    /// The bytes per second on the wire from clients, at the peak.
    pub(super) in_peak: f64,
    /// The bytes per second on the wire to clients, at the peak.
    pub(super) out_peak: f64,
    pub(super) gateway: Tier,
    /// Machines of one copy.
    pub(super) storage: Tier,
    /// Machines of all copies.
    pub(super) storage_machines: f64,
}

/// The machines of a kind: the number that each resource needs.
#[derive(Clone, Debug)]
pub(super) struct Tier {
    pub(super) resources: Vec<Resource>,
}

/// A resource: how much is needed, and how much one machine has.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) need: f64,
    pub(super) each: f64,
}

impl Resource {
    /// Returns the machines for `need`, if one machine has `each` and keeps a part of it free.
    pub(super) fn new(
        assumed: &Assumptions,
        name: &'static str,
        unit: Unit,
        need: f64,
        each: f64,
    ) -> Self {
        Self {
            name,
            unit,
            need,
            each: each * (1.0 - assumed.headroom),
        }
    }

    /// Returns the machines that the resource asks for.
    pub(super) fn machines(&self) -> f64 {
        // What comes out even must not become one more by rounding.
        (self.need / self.each * (1.0 - 1e-12)).ceil()
    }
}

impl Tier {
    /// Returns the resource that asks for the most machines.
    pub(super) fn binding(&self) -> &Resource {
        let first = &self.resources[0];
        self.resources.iter().fold(first, |most, resource| {
            if resource.machines() > most.machines() {
                resource
            } else {
                most
            }
        })
    }

    /// Returns the machines that are enough for all resources; at least one.
    pub(super) fn machines(&self) -> f64 {
        self.binding().machines().max(1.0)
    }
}

impl Model {
    /// Computes the plan of a whole service.
    pub(super) fn of(scenario: &Scenario, assumed: &Assumptions) -> Self {
        let p = &scenario.population;
        let streams = streams(scenario, assumed);
        let sum = |of: &dyn Fn(&Stream) -> f64| streams.iter().map(of).sum::<f64>();
        let text = scenario.traffic.payload.mean();
        let (record, reference, wire) = (
            assumed.record_overhead.0 as f64,
            assumed.reference_bytes.0 as f64,
            assumed.wire_overhead.0 as f64,
        );
        let connections = p.users as f64 * p.online * p.devices;
        let (messages_day, window_rate, peak_rate) =
            (sum(&|s| s.day), sum(&|s| s.window), sum(&|s| s.peak));
        let pushes_peak = sum(&|s| s.peak * s.pushes);
        let writes_peak = sum(&|s| s.peak * s.writes);
        let receipts_peak = sum(&|s| s.peak * s.receipts);
        let reads_peak = writes_peak * assumed.reads_per_write;
        let text_day = messages_day * text;
        let stored_day = sum(&|s| s.day * (text + record + (s.writes - 1.0).max(0.0) * reference));
        let kept = YEAR * assumed.years;
        let copies = f64::from(assumed.replication);
        let in_peak = peak_rate * (text + wire) + receipts_peak * wire;
        // Pushes, a reply to each message, and receipts to the devices of other members.
        let out_peak =
            pushes_peak * (text + wire) + peak_rate * wire + receipts_peak * p.devices * wire;
        let gateway = gateway(
            assumed,
            &GatewayLoad {
                connections,
                messages: peak_rate,
                pushes: pushes_peak,
                incoming: in_peak,
                outgoing: out_peak,
            },
        );
        let storage = storage(
            assumed,
            &StorageLoad {
                writes: writes_peak,
                reads: reads_peak / copies,
                bytes: stored_day * kept,
            },
        );
        Self {
            messages_day,
            day_rate: messages_day / DAY,
            window_rate,
            peak_rate,
            text,
            connections,
            pushes_peak,
            writes_peak,
            reads_peak,
            receipts_peak,
            text_day,
            stored_day,
            text_kept: text_day * kept,
            stored_kept: stored_day * kept,
            stored_copies: stored_day * kept * copies,
            text_rate: window_rate * text,
            in_peak,
            out_peak,
            gateway,
            storage_machines: storage.machines() * copies,
            storage,
            streams,
        }
    }
}

fn streams(scenario: &Scenario, assumed: &Assumptions) -> Vec<Stream> {
    let p = &scenario.population;
    let day = p.users as f64 * p.msgs_per_user_day;
    let window = day / p.window.0.as_secs_f64();
    let limit = assumed.fanout_limit as f64;
    let to_groups = scenario.traffic.groups.as_ref().map_or(0.0, |g| g.share);
    let mut streams = Vec::new();
    // `copied` members have the message in timelines of their own, beside the conversation's.
    let mut stream = |name: String, members: f64, copied: f64, (day, window, peak)| {
        let readers = (members - 1.0) * p.online;
        let counts = scenario.traffic.receipts && members <= limit;
        streams.push(Stream {
            name,
            members,
            day,
            window,
            peak,
            // The sender's other devices get it too.
            pushes: readers * p.devices + (p.devices - 1.0),
            writes: assumed.writes_per_message.unwrap_or(1.0 + copied),
            receipts: if counts { 2.0 * readers } else { 0.0 },
        });
    };
    let part = |part: f64| (day * part, window * part, window * part * p.peak_factor);
    if to_groups < 1.0 {
        stream("between two".into(), 2.0, 2.0, part(1.0 - to_groups));
    }
    if let Some(groups) = &scenario.traffic.groups {
        if to_groups > 0.0 {
            let members = groups.size.mean();
            let copied = groups.size.mean_up_to(limit);
            let name = format!("in groups of {}", groups.size);
            stream(name, members, copied, part(to_groups));
        }
        for large in &groups.large {
            let size = large.size as f64;
            let rate = large.count as f64 * large.rate.0;
            let copied = if size <= limit { size } else { 0.0 };
            let name = format!("in groups of {}", crate::units::grouped(large.size));
            stream(name, size, copied, (rate * DAY, rate, rate));
        }
    }
    streams
}

/// The load of all gateway machines together at the peak.
struct GatewayLoad {
    connections: f64,
    /// Messages per second.
    messages: f64,
    /// Pushes per second.
    pushes: f64,
    /// The bytes per second from clients.
    incoming: f64,
    /// The bytes per second to clients.
    outgoing: f64,
}

/// Returns the gateway machines for a load.
fn gateway(assumed: &Assumptions, load: &GatewayLoad) -> Tier {
    let resource = |name, unit, need, each| Resource::new(assumed, name, unit, need, each);
    let network = assumed.network_per_server.0 / 8.0;
    let memory = load.connections * assumed.memory_per_connection.0 as f64;
    Tier {
        resources: vec![
            resource(
                "connections",
                Unit::Count,
                load.connections,
                assumed.connections_per_server as f64,
            ),
            resource(
                "messages",
                Unit::PerSecond,
                load.messages,
                assumed.messages_per_server.0,
            ),
            resource(
                "pushes",
                Unit::PerSecond,
                load.pushes,
                assumed.deliveries_per_server.0,
            ),
            resource("network in", Unit::BytesPerSecond, load.incoming, network),
            resource("network out", Unit::BytesPerSecond, load.outgoing, network),
            resource(
                "memory",
                Unit::Bytes,
                memory,
                assumed.memory_per_server.0 as f64,
            ),
        ],
    }
}

/// The load of the machines of one copy of the storage.
struct StorageLoad {
    /// Writes per second at the peak.
    writes: f64,
    /// Reads per second at the peak.
    reads: f64,
    /// The bytes of all kept messages.
    bytes: f64,
}

/// Returns the machines of one copy of the storage.
fn storage(assumed: &Assumptions, load: &StorageLoad) -> Tier {
    let resource = |name, unit, need, each| Resource::new(assumed, name, unit, need, each);
    Tier {
        resources: vec![
            resource(
                "writes",
                Unit::PerSecond,
                load.writes,
                assumed.writes_per_node.0,
            ),
            resource(
                "reads",
                Unit::PerSecond,
                load.reads,
                assumed.reads_per_node.0,
            ),
            resource(
                "disk",
                Unit::Bytes,
                load.bytes,
                assumed.disk_per_node.0 as f64,
            ),
        ],
    }
}
