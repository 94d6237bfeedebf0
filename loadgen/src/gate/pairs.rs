//! Pairs of runs: the gateways of both builds in turns, driven by this generator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::args::GateArgs;
use crate::compare;
use crate::exit::{Exit, Failure, Outcome};
use crate::random;

/// The runs that may be repeated because the generator was not healthy, for each pair.
const AGAIN: u32 = 2;

/// What is run.
pub(super) struct Plan<'a> {
    pub(super) args: &'a GateArgs,
    /// The programs with the gateways of both builds.
    pub(super) new: PathBuf,
    pub(super) old: PathBuf,
    /// The folder for the results.
    pub(super) out: PathBuf,
}

/// The verdict of `compare` on the runs.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) exit: Exit,
    pub(super) text: Vec<String>,
    pub(super) json: Value,
    pub(super) conclusion: String,
    pub(super) folder: PathBuf,
}

/// Runs all pairs, and compares them. Which build goes first in a pair is chance.
///
/// # Errors
/// A run could not be made; the message says which one.
pub(super) fn run(plan: &Plan<'_>, tell: impl Fn(&str)) -> Outcome<Compared> {
    let folder = fresh(&plan.out)?;
    let pairs = plan.args.pairs;
    let mut again = AGAIN * pairs;
    let mut sides: [Vec<PathBuf>; 2] = [Vec::new(), Vec::new()];
    for pair in 1..=pairs {
        let mut builds = [("old", &plan.old, 0), ("new", &plan.new, 1)];
        if random::mix(plan.args.seed ^ (u64::from(pair) << 32)) & 1 == 1 {
            builds.reverse();
        }
        for (name, program, side) in builds {
            tell(&format!("pair {pair} of {pairs}: {name}"));
            let out = folder.join(name).join(format!("{pair:03}"));
            while one(plan, program, &out)? == Exit::Invalid.code() {
                if again == 0 {
                    return Err(Failure {
                        exit: Exit::Invalid,
                        message: format!(
                            "{}: the generator was not healthy in too many runs: the machine is too busy for figures",
                            out.display()
                        ),
                    });
                }
                again -= 1;
                tell("the generator was not healthy: the run is made again");
            }
            sides[side].push(out);
        }
    }
    let [old, new] = sides;
    let judged = compare::builds(&old, &new)?;
    Ok(Compared {
        exit: judged.exit,
        text: judged.text,
        json: judged.json,
        conclusion: judged.conclusion,
        folder,
    })
}

/// Makes one run, and returns its exit code.
fn one(plan: &Plan<'_>, gateway: &Path, out: &Path) -> Outcome<u8> {
    let fail = |why: String| Failure::aborted(format!("the run of {}: {why}", out.display()));
    // Not this very program: the build of the checkout may have taken its place.
    let mut command = Command::new(&plan.new);
    command
        .args(["run", &plan.args.scenario, "--quiet", "--gateway"])
        .arg(gateway)
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(duration) = &plan.args.duration {
        let millis = duration.0.as_millis();
        command.args(["--duration", &format!("{millis}ms")]);
    }
    let done = command.output().map_err(|why| fail(why.to_string()))?;
    let code = done.status.code().and_then(|code| u8::try_from(code).ok());
    let good = [Exit::Ok, Exit::Threshold, Exit::Invalid, Exit::Violation].map(Exit::code);
    match code {
        Some(code) if good.contains(&code) => Ok(code),
        _ => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(fail(format!("{}\n{}", done.status, said.trim_end())))
        }
    }
}

/// Makes a new folder for the results of this gate.
fn fresh(out: &Path) -> Outcome<PathBuf> {
    let fail = |why: std::io::Error| Failure::aborted(format!("{}: {why}", out.display()));
    std::fs::create_dir_all(out).map_err(fail)?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_or(0, |it| it.as_secs());
    let folder = out.join(format!("{seconds}-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(fail)?;
    Ok(folder)
}
