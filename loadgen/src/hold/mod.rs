//! `loadgen hold`: opens many sessions and measures memory and CPU for each.
//!
//! A hold is a run like any other, with the same client, schedule, checks and verdict. The memory
//! of both sides and of the kernel is read before, with all sessions idle, with messages flowing,
//! and after all sessions have ended.

mod plan;
mod probe;
mod report;
mod watch;

use crate::args::HoldArgs;
use crate::exit::{Exit, Outcome};
use crate::foreign;
use crate::live::Live;
use crate::output::say;
use crate::report::verdict;
use crate::run::conduct::conduct;
use crate::run::publish::{publish, published};
use crate::verdict::JudgedRun;

use watch::Watcher;

/// Conducts a hold and reports it.
///
/// # Errors
/// The run cannot start or go on.
pub(crate) fn run(args: &HoldArgs) -> Outcome<Exit> {
    let (run, times) = plan::resolve(args)?;
    let mut watcher = Watcher::new(times, run.sizing.sessions, args.json || run.view.quiet);
    let mut live = Live::new(&run.view);
    let mut judged = conduct(&run, &mut watcher, &mut live)?;
    let seen = watcher.seen;
    let told = |judged: &JudgedRun| {
        (
            report::text(&run, judged, &seen),
            report::json(&run, judged, &seen),
        )
    };
    let (mut text, mut json) = told(&judged);
    let done = publish(&run, &judged, "hold", &text, &json);
    if let Err(why) = &done {
        judged.without_results(why);
        (text, json) = told(&judged);
    }
    if args.json {
        say(&[foreign::json(&json)]);
    } else if run.view.quiet {
        say(&verdict(&judged));
    } else {
        say(&text);
        say(&[format!("results: {}", run.out.display())]);
    }
    published(&judged, done)
}
