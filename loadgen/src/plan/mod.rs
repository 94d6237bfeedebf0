//! `loadgen plan`: the machines for the whole service of a scenario, with every input, formula and
//! result.

mod cells;
mod figures;
mod measured;
mod model;
mod page;
mod published;
#[cfg(test)]
mod tests;

use crate::args::PlanArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::foreign;
use crate::output::say;
use crate::scenario::load;

/// Computes a plan and prints it.
///
/// # Errors
/// Exit 104: the scenario is wrong, the results of `--measured` do not count, or there is nothing
/// to compare with.
pub(crate) fn run(args: &PlanArgs) -> Outcome<Exit> {
    let mut loaded = load::load(args.scenario())?;
    if let Some(compress) = args.compress {
        loaded.compress(compress, false)?;
    }
    let mut assumed = loaded.scenario.plan.clone();
    let mut basis = vec!["what each carries is the scenario's [plan]".to_owned()];
    for folder in &args.measured {
        basis.push(measured::apply(folder, &mut assumed)?);
    }
    if assumed.headroom > 0.0 {
        basis.push(format!(
            "{} % of it are kept free",
            assumed.headroom * 100.0
        ));
    }
    let mut page = page::Page::new(loaded.name, &loaded.scenario, &assumed, basis);
    if args.cluster {
        page.add_cells(&assumed);
    }
    let lines = if args.explain.is_some() {
        published::explain(&page).ok_or_else(|| {
            let names = published::names().join(", ");
            Failure::scenario(format!(
                "no estimate is published for `{}`; there are some for {names}",
                page.name
            ))
        })?
    } else if args.json {
        vec![foreign::json(&page.json())]
    } else {
        page.text()
    };
    say(&lines);
    Ok(Exit::Ok)
}
