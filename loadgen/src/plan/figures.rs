//! The figures of a plan, each with its formula.

use super::model::{DAY, Model, OTHER_DESCRIPTORS, PORTS, Stream, YEAR};
use super::page::{Figure, Section, Unit};
use crate::scenario::Scenario;
use crate::scenario::plan::Assumptions;
use crate::units::{counted, grouped};

/// Returns all figures, in the order of the page.
pub(super) fn sections(scenario: &Scenario, assumed: &Assumptions, model: &Model) -> Vec<Section> {
    let section = |title, figures| Section { title, figures };
    vec![
        section("people and their messages", people(scenario, model)),
        section("fan-out, at the peak", fanout(scenario, assumed, model)),
        section("storage", storage(assumed, model)),
        section("bandwidth", bandwidth(scenario, assumed, model)),
        section("each gateway machine", each(assumed, model)),
    ]
}

/// Makes a figure.
pub(super) fn figure(
    key: impl Into<String>,
    label: impl Into<String>,
    value: f64,
    unit: Unit,
    how: impl Into<String>,
) -> Figure {
    Figure {
        key: key.into(),
        label: label.into(),
        value,
        unit,
        how: how.into(),
    }
}

fn people(scenario: &Scenario, model: &Model) -> Vec<Figure> {
    let p = &scenario.population;
    let day = p.users as f64 * p.msgs_per_user_day;
    let large = model.messages_day - day;
    let more = |text: String| match large > 0.0 {
        true => format!(" + {text} in large groups"),
        false => String::new(),
    };
    let of_large = more(Unit::Count.show(large));
    let rate_of_large = more(Unit::PerSecond.show(large / DAY));
    let window = p.window.0.as_secs_f64();
    vec![
        figure(
            "users",
            "users",
            p.users as f64,
            Unit::Count,
            "population.users",
        ),
        figure(
            "connections",
            "connections",
            model.connections,
            Unit::Count,
            format!(
                "= {} users × {} online × {} devices",
                grouped(p.users),
                p.online,
                p.devices
            ),
        ),
        figure(
            "messages_per_day",
            "messages per day",
            model.messages_day,
            Unit::Count,
            format!(
                "= {} users × {}{of_large}",
                grouped(p.users),
                p.msgs_per_user_day
            ),
        ),
        figure(
            "rate_day",
            "rate, mean of 24 hours",
            model.day_rate,
            Unit::PerSecond,
            format!(
                "= {} ÷ {} s",
                Unit::Count.show(model.messages_day),
                grouped(DAY as u64)
            ),
        ),
        figure(
            "rate_window",
            "rate, mean within the window",
            model.window_rate,
            Unit::PerSecond,
            format!(
                "= {} ÷ {} s{rate_of_large}",
                Unit::Count.show(day),
                grouped(window as u64)
            ),
        ),
        figure(
            "rate_peak",
            "rate, peak",
            model.peak_rate,
            Unit::PerSecond,
            format!(
                "= {} × {}{rate_of_large}",
                Unit::PerSecond.show(day / window),
                p.peak_factor
            ),
        ),
        figure(
            "text_bytes",
            "text of a message, mean",
            model.text,
            Unit::Bytes,
            scenario.traffic.payload.describe(),
        ),
    ]
}

fn fanout(scenario: &Scenario, assumed: &Assumptions, model: &Model) -> Vec<Figure> {
    let devices = scenario.population.devices;
    let mut figures = Vec::new();
    for stream in &model.streams {
        let name = &stream.name;
        let key = |what: &str| format!("{what}_{}", name.replace([' ', ',', '(', ')'], "_"));
        figures.push(figure(
            key("pushes_per_message"),
            format!("pushes, {name}"),
            stream.pushes,
            Unit::Count,
            format!(
                "= ({} − 1 members) × {} online × {devices} devices + {} of the sender",
                Unit::Count.show(stream.members),
                scenario.population.online,
                Unit::Count.show(devices - 1.0),
            ),
        ));
        let writes = match assumed.writes_per_message {
            Some(_) => "plan.writes_per_message".to_owned(),
            None if stream.members > assumed.fanout_limit as f64 => format!(
                "= the group's own: above {} members are no copies (plan.fanout_limit)",
                assumed.fanout_limit
            ),
            None => "= the conversation's + one for each member".into(),
        };
        figures.push(figure(
            key("writes_per_message"),
            format!("timeline writes, {name}"),
            stream.writes,
            Unit::Count,
            writes,
        ));
    }
    let of_all = |of: &dyn Fn(&Stream) -> f64| {
        let each = model.streams.iter().map(|stream| {
            let per_message = Unit::Count.show(of(stream));
            format!("{} × {per_message}", Unit::PerSecond.show(stream.peak))
        });
        format!("= {}", each.collect::<Vec<_>>().join(" + "))
    };
    figures.extend([
        figure(
            "pushes_peak",
            "pushes",
            model.pushes_peak,
            Unit::PerSecond,
            of_all(&|stream| stream.pushes),
        ),
        figure(
            "writes_peak",
            "timeline writes",
            model.writes_peak,
            Unit::PerSecond,
            of_all(&|stream| stream.writes),
        ),
        figure(
            "reads_peak",
            "timeline reads",
            model.reads_peak,
            Unit::PerSecond,
            format!(
                "= {} × {} (plan.reads_per_write)",
                Unit::PerSecond.show(model.writes_peak),
                assumed.reads_per_write
            ),
        ),
        figure(
            "receipts_peak",
            "receipts, before coalescing",
            model.receipts_peak,
            Unit::PerSecond,
            match scenario.traffic.receipts {
                true => of_all(&|stream| stream.receipts),
                false => "traffic.receipts is off".into(),
            },
        ),
    ]);
    figures
}

fn storage(assumed: &Assumptions, model: &Model) -> Vec<Figure> {
    let years = format!("{} years × {YEAR} days", assumed.years);
    let bytes = |value: f64| Unit::Bytes.show(value);
    vec![
        figure(
            "text_per_day",
            "text per day",
            model.text_day,
            Unit::Bytes,
            format!(
                "= {} × {}",
                Unit::Count.show(model.messages_day),
                bytes(model.text)
            ),
        ),
        figure(
            "text_kept",
            format!("text in {} years", assumed.years),
            model.text_kept,
            Unit::Bytes,
            format!("= {} × {years}", bytes(model.text_day)),
        ),
        figure(
            "stored_per_day",
            "stored per day",
            model.stored_day,
            Unit::Bytes,
            format!(
                "= each text + {} (plan.record_overhead) + {} a member's timeline",
                bytes(assumed.record_overhead.0 as f64),
                bytes(assumed.reference_bytes.0 as f64)
            ),
        ),
        figure(
            "stored_kept",
            format!("stored in {} years", assumed.years),
            model.stored_kept,
            Unit::Bytes,
            format!("= {} × {years}", bytes(model.stored_day)),
        ),
        figure(
            "stored_copies",
            "the same in all copies",
            model.stored_copies,
            Unit::Bytes,
            format!(
                "= {} × {} (plan.replication)",
                bytes(model.stored_kept),
                assumed.replication
            ),
        ),
    ]
}

fn bandwidth(scenario: &Scenario, assumed: &Assumptions, model: &Model) -> Vec<Figure> {
    let per_second = |value: f64| Unit::PerSecond.show(value);
    let wire = Unit::Bytes.show(assumed.wire_overhead.0 as f64);
    let size = format!("({} + {wire})", Unit::Bytes.show(model.text));
    vec![
        figure(
            "text_rate",
            "text, mean in the window, each way",
            model.text_rate,
            Unit::BytesPerSecond,
            format!(
                "= {} × {}",
                per_second(model.window_rate),
                Unit::Bytes.show(model.text)
            ),
        ),
        figure(
            "in_peak",
            "in, at the peak",
            model.in_peak,
            Unit::BytesPerSecond,
            format!(
                "= {} × {size} + {} receipts × {wire}",
                per_second(model.peak_rate),
                per_second(model.receipts_peak)
            ),
        ),
        figure(
            "out_peak",
            "out, at the peak",
            model.out_peak,
            Unit::BytesPerSecond,
            format!(
                "= {} × {size} + ({} replies + {} receipts × {} devices) × {wire}",
                per_second(model.pushes_peak),
                per_second(model.peak_rate),
                per_second(model.receipts_peak),
                scenario.population.devices
            ),
        ),
    ]
}

fn each(assumed: &Assumptions, model: &Model) -> Vec<Figure> {
    let machines = model.gateway.machines();
    let held = model.connections / machines;
    let over = format!("÷ {} machines", counted(machines));
    let count = |value: f64| counted(value.ceil());
    let memory = assumed.memory_per_connection;
    vec![
        figure(
            "connections_per_machine",
            "connections",
            held.ceil(),
            Unit::Count,
            format!("= {} {over}", count(model.connections)),
        ),
        figure(
            "rate_per_machine",
            "messages, mean within the window",
            model.window_rate / machines,
            Unit::PerSecond,
            format!("= {} {over}", Unit::PerSecond.show(model.window_rate)),
        ),
        figure(
            "memory_per_machine",
            "memory of connections",
            held * memory.0 as f64,
            Unit::Bytes,
            format!(
                "= {} × {} (gateway and kernel)",
                count(held),
                Unit::Bytes.show(memory.0 as f64)
            ),
        ),
        figure(
            "descriptors_per_machine",
            "descriptors",
            held.ceil() + OTHER_DESCRIPTORS,
            Unit::Count,
            format!("= {} + {OTHER_DESCRIPTORS} others (ulimit -n)", count(held)),
        ),
        figure(
            "proxy_addresses_per_machine",
            "addresses of a proxy before it",
            (held / PORTS).ceil(),
            Unit::Count,
            format!(
                "= {} ÷ {} ports; none if clients connect directly",
                count(held),
                grouped(PORTS as u64)
            ),
        ),
        figure(
            "storm_seconds",
            "until all are back after a storm",
            held / assumed.sessions_per_server.0,
            Unit::Seconds,
            format!(
                "= {} ÷ {} opened on each",
                count(held),
                Unit::PerSecond.show(assumed.sessions_per_server.0)
            ),
        ),
    ]
}
