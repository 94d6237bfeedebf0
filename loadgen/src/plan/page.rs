//! A plan as a page of text and as JSON, both from the same figures.

use serde_json::{Map, Value, json};

use super::cells::Cells;
use super::figures;
use super::model::{Model, Tier};
use crate::scenario::Scenario;
use crate::scenario::plan::Assumptions;
use crate::scenario::sizing::Sizing;
use crate::units::{counted, readable, readable_bytes};

/// The version of the JSON form. New fields keep the version; fields are never renamed.
const SCHEMA: u32 = 1;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A number of things.
    Count,
    /// A number of things per second.
    PerSecond,
    /// A number of bytes.
    Bytes,
    /// A number of bytes per second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Formats a figure in this unit for people.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Count => plain(value),
            Self::PerSecond => format!("{}/s", plain(value)),
            Self::Bytes => readable_bytes(value),
            Self::BytesPerSecond => format!("{}/s", readable_bytes(value)),
            Self::Seconds => format!("{} s", plain(value)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::PerSecond => "1/s",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::Seconds => "s",
        }
    }
}

/// Formats a number without needless decimals: `5`, `7.25`, `23.1`.
fn plain(value: f64) -> String {
    let text = readable(value);
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// How many resources the plan names as what breaks first.
const NAMED: usize = 3;

/// A figure with its formula.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// The figure's name in JSON, unique in a plan.
    pub(super) key: String,
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) unit: Unit,
    /// The formula with its numbers, or the scenario key that sets the figure.
    pub(super) how: String,
}

/// A heading with its figures.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) figures: Vec<Figure>,
}

/// The page of a plan.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) sections: Vec<Section>,
    pub(super) model: Model,
    /// The cells; `None` if the plan is for gateways that work alone.
    pub(super) cells: Option<Cells>,
    /// Sentences that say where the capacities come from.
    basis: Vec<String>,
    /// Lines that describe a run of the scenario.
    run: Vec<String>,
}

impl Page {
    /// Makes the plan of a scenario. `basis` names the source of `assumed`.
    pub(super) fn new(
        name: String,
        scenario: &Scenario,
        assumed: &Assumptions,
        basis: Vec<String>,
    ) -> Self {
        let model = Model::of(scenario, assumed);
        let sections = figures::sections(scenario, assumed, &model);
        Self {
            name,
            sections,
            model,
            cells: None,
            basis,
            run: Sizing::of(scenario).explain(scenario),
        }
    }

    /// Adds the cells of several gateways with one log each.
    pub(super) fn add_cells(&mut self, assumed: &Assumptions) {
        let (cells, section) = Cells::of(assumed, &self.model);
        self.sections.push(section);
        self.basis.push(
            "one cell is a cluster as in docs/cluster.md; that a service has several cells is not built. \
             plan.log_per_cell was measured with a prototype, plan.commands_per_leader is an estimate"
                .into(),
        );
        self.cells = Some(cells);
    }

    /// Returns the value of the figure `key`, if the plan has it.
    pub(super) fn figure(&self, key: &str) -> Option<f64> {
        let mut figures = self.sections.iter().flat_map(|section| &section.figures);
        let figure = figures.find(|figure| figure.key == key).map(|it| it.value);
        figure.or(match key {
            "gateway_machines" => Some(self.model.gateway.machines()),
            "nodes_for_writes" => Some(self.model.storage.resources[0].machines()),
            _ => None,
        })
    }

    /// Returns the plan as lines of text for people.
    pub(super) fn text(&self) -> Vec<String> {
        let mut lines = vec![format!("loadgen plan {}: the whole service", self.name)];
        for section in &self.sections {
            lines.push(String::new());
            lines.push(section.title.to_uppercase());
            for figure in &section.figures {
                let value = figure.unit.show(figure.value);
                lines.push(format!(
                    "  {:<34} {value:>16}  {}",
                    figure.label, figure.how
                ));
            }
        }
        lines.push(String::new());
        lines.push("MACHINES".into());
        lines.extend(self.basis.iter().map(|line| format!("  {line}")));
        let copies = self.model.storage_machines / self.model.storage.machines();
        for (name, tier) in self.tiers() {
            for resource in &tier.resources {
                let machines = resource.machines();
                let binds = if resource.name == tier.binding().name {
                    "  <- binds"
                } else {
                    ""
                };
                lines.push(format!(
                    "  {:<34} {:>16}  = {} ÷ {}{binds}",
                    format!("{name}, by {}", resource.name),
                    counted(machines),
                    resource.unit.show(resource.need),
                    resource.unit.show(resource.each)
                ));
            }
        }
        lines.push(format!(
            "  {:<34} {:>16}  {} gateway machines + {} storage nodes × {copies} copies",
            "all",
            counted(self.model.gateway.machines() + self.model.storage_machines),
            counted(self.model.gateway.machines()),
            counted(self.model.storage.machines()),
        ));
        if let Some(cells) = &self.cells {
            let count = cells.tier.machines();
            lines.push(format!(
                "  {:<34} {:>16}  {} cells of {} gateways, which keep what is stored, and {} NATS servers",
                "all, in cells",
                counted(count * (cells.gateways + cells.servers)),
                counted(count),
                cells.gateways,
                cells.servers,
            ));
            let breaks = cells.breaks();
            let each = breaks.iter().take(NAMED).map(|resource| {
                let cells = counted(resource.machines());
                format!("{} ({cells} cells)", resource.name)
            });
            let each: Vec<_> = each.collect();
            lines.push(format!("  what breaks first: {}", each.join(", ")));
        }
        lines.push(String::new());
        lines.push("A RUN OF THIS SCENARIO".into());
        lines.extend(self.run.iter().map(|line| format!("  {line}")));
        lines
    }

    fn tiers(&self) -> Vec<(&'static str, &Tier)> {
        let mut tiers = vec![
            ("gateway", &self.model.gateway),
            ("storage, one copy", &self.model.storage),
        ];
        tiers.extend(self.cells.iter().map(|cells| ("cells", &cells.tier)));
        tiers
    }

    /// Returns the plan as JSON for programs.
    pub(super) fn json(&self) -> Value {
        let figures = self.sections.iter().flat_map(|section| {
            section.figures.iter().map(|figure| {
                let value = json!({
                    "value": figure.value,
                    "unit": figure.unit.name(),
                    "formula": figure.how,
                });
                (figure.key.clone(), value)
            })
        });
        let tier = |tier: &Tier, machines: f64| {
            let by: Map<String, Value> = tier
                .resources
                .iter()
                .map(|resource| {
                    let value = json!({
                        "need": resource.need,
                        "each": resource.each,
                        "unit": resource.unit.name(),
                        "machines": resource.machines(),
                    });
                    (resource.name.replace(' ', "_"), value)
                })
                .collect();
            json!({
                "machines": machines,
                "binds": tier.binding().name.replace(' ', "_"),
                "by": by,
            })
        };
        let cells = self.cells.as_ref().map(|cells| {
            let breaks = cells.breaks().into_iter();
            let breaks = breaks.map(|resource| resource.name.replace(' ', "_"));
            json!({
                "cells": tier(&cells.tier, cells.tier.machines()),
                "breaks": breaks.collect::<Vec<_>>(),
                "gateways": cells.tier.machines() * cells.gateways,
                "nats_servers": cells.tier.machines() * cells.servers,
            })
        });
        let mut page = json!({
            "schema": SCHEMA,
            "scenario": self.name,
            "basis": self.basis,
            "figures": figures.collect::<Map<_, _>>(),
            "gateway": tier(&self.model.gateway, self.model.gateway.machines()),
            "storage": {
                "one_copy": tier(&self.model.storage, self.model.storage.machines()),
                "machines": self.model.storage_machines,
            },
            "run": self.run,
        });
        if let (Some(cells), Some(page)) = (cells, page.as_object_mut()) {
            page.insert("cluster".into(), cells);
        }
        page
    }
}
