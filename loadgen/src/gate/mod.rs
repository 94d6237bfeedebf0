//! `loadgen gate`: says whether a checkout is slower than it may be, for CI.
//!
//! 1. [`counts`] counts instructions under valgrind, and bytes. They have no noise. [`limits`] has what
//!    each may be, and [`history`] the commits that said so.
//! 2. [`pairs`] runs the gateways of two builds in turns, and `compare` judges them.
//!
//! [`checkout`] finds and builds what is measured, [`program`] what is counted, also in part for an old commit;
//! [`judge`] decides without I/O, [`page`] prints.

mod checkout;
mod counts;
mod history;
mod judge;
mod limits;
mod page;
mod pairs;
mod program;

use std::path::{Path, PathBuf};

use crate::args::GateArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::output::say;

use checkout::Checkout;
use counts::{Counts, Lacking};
use history::History;
use judge::{Base, Judged};
use limits::Limits;

/// How often a count that is above its limit is made again.
const AGAIN: usize = 2;

/// Conducts the gate, and prints the result.
///
/// # Errors
/// Something is missing or wrong, and nothing was decided: the commands say what helps.
pub(crate) fn run(args: &GateArgs) -> Outcome<Exit> {
    if args.base.is_none() && !args.quick && !args.write_limits {
        return Err(Failure::scenario(
            "the gate runs two builds in turns: name the other one with --base REV, or leave the runs out with --quick",
        ));
    }
    let teller = Teller { quiet: args.json };
    let here = Checkout::here()?;
    let file = args.limits.clone().unwrap_or_else(|| here.limits());
    let limits = Limits::read(&file)?;
    let base = args
        .base
        .as_deref()
        .map(|base| here.base(base))
        .transpose()?;
    let measured = measure(args, &here, Lacking::Fails(&file), &teller)?;
    if args.write_limits {
        return write_limits(&file, &measured);
    }
    let measured = measure_again(args, &here, &file, &limits, measured, &teller)?;
    let history = History::read(&here, &file, base.as_ref().and_then(Checkout::commit));
    let mut unbuilt = None;
    let foundation = match &base {
        None => None,
        Some(base) => match measure_base(args, base, &measured, &teller) {
            Ok(counts) => Some(Base {
                commit: base.name().to_owned(),
                limits: Limits::read(&base.limits()).ok(),
                counts,
            }),
            // Only limits of another compiler need the counts of the base.
            Err(why) if measured.toolchain == limits.toolchain => {
                unbuilt = Some(why.message);
                None
            }
            Err(why) => return Err(why),
        },
    };
    let is_whole = args.only.is_empty();
    let mut judged = judge::judge(&measured, &limits, &history, foundation.as_ref(), is_whole);
    if let Some(base) = &foundation {
        let not_counted = base.counts.not_counted().into_iter();
        judged
            .notes
            .extend(not_counted.map(|what| format!("{} is not counted in {what}", base.commit)));
    }
    judged
        .notes
        .extend(unbuilt.map(|why| format!("the base is not counted: {why}")));
    if let (Some(base), false) = (&base, args.quick) {
        say_unless(&teller, "building both gateways");
        let plan = pairs::Plan {
            args,
            new: here.build("loadgen")?,
            old: base.build("loadgen")?,
            out: here.results(),
        };
        let compared = pairs::run(&plan, |line| say_unless(&teller, line))?;
        judged.exit = judge::worse(judged.exit, compared.exit);
        judged.compared = Some(compared);
    }
    print(args, &judged);
    Ok(judged.exit)
}

/// Tells people what the gate is doing.
struct Teller {
    quiet: bool,
}

fn say_unless(teller: &Teller, line: &str) {
    if !teller.quiet {
        say(&[format!("gate: {line}")]);
    }
}

/// Counts the instructions and bytes of the base, as far as it has what this checkout has. `--program` names that of
/// this checkout.
fn measure_base(
    args: &GateArgs,
    base: &Checkout,
    measured: &Counts,
    teller: &Teller,
) -> Outcome<Counts> {
    let args = GateArgs {
        program: None,
        ..args.clone()
    };
    measure(&args, base, Lacking::IsLeftOut(measured), teller)
}

/// Counts the instructions and bytes of a checkout.
fn measure(
    args: &GateArgs,
    checkout: &Checkout,
    lacking: Lacking<'_>,
    teller: &Teller,
) -> Outcome<Counts> {
    counts::check_valgrind()?;
    let built = match &args.program {
        Some(program) => program::Built::whole(program.clone()),
        None => {
            let of = checkout.name();
            say_unless(
                teller,
                &format!("building the program that is counted, of {of}"),
            );
            program::build(checkout)?
        }
    };
    say_unless(teller, "counting instructions and bytes");
    let toolchain = checkout.toolchain()?;
    counts::measure(&built, &args.only, toolchain, lacking)
}

/// Counts again what is above its limit, at most [`AGAIN`] times, and keeps the least: threads that wait for each other
/// only add to a count.
fn measure_again(
    args: &GateArgs,
    here: &Checkout,
    file: &Path,
    limits: &Limits,
    mut measured: Counts,
    teller: &Teller,
) -> Outcome<Counts> {
    for _ in 0..AGAIN {
        let above = judge::above(&measured, limits);
        if above.is_empty() {
            break;
        }
        say_unless(
            teller,
            &format!("counting again: {} above the limit", above.join(", ")),
        );
        let args = GateArgs {
            only: above,
            ..args.clone()
        };
        let again = measure(&args, here, Lacking::Fails(file), &Teller { quiet: true });
        measured.lower(&again?);
    }
    Ok(measured)
}

fn write_limits(file: &Path, measured: &Counts) -> Outcome<Exit> {
    let text = limits::text(file)?;
    let text = limits::with(&text, measured);
    files::put(file, text.as_bytes()).map_err(|why| files::unwritten(file, &why))?;
    say(&[format!(
        "{}: the limits are what was measured now. Say in the message of the commit why each one that rises does, by its name",
        file.display()
    )]);
    Ok(Exit::Ok)
}

fn print(args: &GateArgs, judged: &Judged) {
    if args.json {
        say(&[foreign::json(&page::json(judged))]);
    } else {
        say(&page::text(judged));
    }
}

/// Returns a path for people: relative to the current folder where it is below that.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
