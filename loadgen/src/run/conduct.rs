//! One run, from the gateway's start to the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::chaos::ChaosRunner;
use super::driven::DrivenGateway;
pub(crate) use super::driven::GatewayAccess;
use super::groups;
use super::jobs::{Crew, Surroundings};
use super::preflight::{self, Fit, Need};
use super::publish::{publish, published};
use super::signals;
use super::workers::Workers;
use crate::args::ToldArgs;
use crate::client::{Board, Measured, SendWindow};
use crate::clock::{Clock, Nanos, to_nanos};
use crate::course::Course;
use crate::debt::{Debt, DebtWatch};
use crate::events::Events;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::health::Cpu;
use crate::live::Live;
use crate::live::about::About;
use crate::output::say;
use crate::prometheus::Exporter;
use crate::report;
use crate::scenario::validate::bounds;
use crate::settings::{Gateway, RunSettings};
use crate::verdict::{self, Baseline, FaultRecord, JudgedRun, RunRecord, Sides};

/// The time between two looks of the main thread at the others.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Looks on while a run is conducted.
pub(crate) trait Watch {
    /// Prints lines about the run for people.
    fn say(&mut self, lines: &[String]) {
        say(lines);
    }
    /// Returns the title of the run in the view.
    fn title(&self, run: &RunSettings) -> String {
        format!("run {}", run.name)
    }
    /// Handles the moment when the gateway is ready and nothing is connected.
    fn begin(&mut self, _ends: GatewayAccess) {}
    /// Called every [`LOOK`] while the threads work.
    fn look(&mut self, _now: Nanos, _board: &Board) {}
    /// The threads have ended, and with them their connections.
    fn end(&mut self, _aborted: bool) {}
}

/// Tells people and programs of a run while it lasts.
struct Teller {
    /// Nothing is printed for people before the end.
    quiet: bool,
    events: Option<Events>,
}

impl Watch for Teller {
    fn say(&mut self, lines: &[String]) {
        if !self.quiet {
            say(lines);
        }
    }
    fn look(&mut self, now: Nanos, board: &Board) {
        if let Some(events) = &mut self.events {
            events.look(now, board);
        }
    }
}

/// Conducts a run and reports it.
///
/// # Errors
/// It could not start or go on.
pub(crate) fn run(run: &RunSettings, told: &ToldArgs) -> Outcome<Exit> {
    tell(run, told, |watch, live| conduct(run, watch, live))
}

/// Conducts a run by `conducted` and reports it.
///
/// # Errors
/// It could not start or go on.
pub(super) fn tell(
    run: &RunSettings,
    told: &ToldArgs,
    conducted: impl FnOnce(&mut dyn Watch, &mut Live) -> Outcome<JudgedRun>,
) -> Outcome<Exit> {
    let events = told.events.as_deref();
    let events = events.map(|path| Events::begin(path, run)).transpose()?;
    let mut teller = Teller {
        quiet: run.view.quiet || told.json || told.events_take_output(),
        events,
    };
    let mut judged = conducted(&mut teller, &mut Live::new(&run.view))?;
    let (text, mut summary) = (report::text(run, &judged), report::summary(run, &judged));
    let mut done = publish(run, &judged, "summary", &text, &summary);
    if let (Ok(()), Some(path)) = (&done, &told.junit) {
        let xml = report::junit(run, &judged);
        done = files::put(path, xml.as_bytes()).map_err(|why| files::unwritten(path, &why));
    }
    if let Err(why) = &done {
        judged.without_results(why);
        summary = report::summary(run, &judged);
    }
    if let Some(events) = teller.events {
        let ended = events.end(&judged, &summary);
        if let (Err(why), Ok(())) = (&ended, &done) {
            judged.without_results(why);
            summary = report::summary(run, &judged);
        }
        done = done.and(ended);
    }
    if told.json {
        say(&[foreign::json(&summary)]);
    } else if run.view.quiet && !told.events_take_output() {
        say(&report::verdict(&judged));
    } else if !told.events_take_output() {
        say(&report::text(run, &judged));
        say(&[format!("results: {}", run.out.display())]);
    }
    published(&judged, done)
}

/// Conducts a run.
///
/// # Errors
/// The run cannot start or go on.
pub(crate) fn conduct(
    run: &RunSettings,
    watch: &mut dyn Watch,
    live: &mut Live,
) -> Outcome<JudgedRun> {
    watch.say(&report::header(run));
    let stop = Arc::new(AtomicBool::new(false));
    signals::end_in_order(&stop)?;
    let crew = Crew::new(run);
    // The machine is judged before a gateway is started on it.
    let fit = fit(run, &crew, run.sizing.sessions)?;
    bounds::sendable(&run.scenario, &run.sizing).map_err(Failure::scenario)?;
    make_folder(run, watch)?;
    let exporter = exporter(run, watch)?;
    let mut driven = DrivenGateway::start(run)?;
    watch.say(&[driven.announcement()]);
    driven.answers()?;
    let baseline = Baseline::look(driven.own.used(), driven.metrics(run)?);
    let cpu_before = Cpu::look();
    watch.begin(driven.access());
    let mut show = Show {
        course: Course::begin(driven.access().pid),
        watch,
        live,
        exporter,
        debt: None,
    };
    let ended = drive(run, &crew, fit, &mut driven, &mut show, &stop)?;
    let cpu = Cpu::between(cpu_before, Cpu::look());
    let aborted = stop.load(Ordering::Relaxed);
    let Show { course, watch, .. } = show;
    watch.end(aborted);
    let after = driven.asked(run);
    let metrics = after.as_deref().unwrap_or_default();
    let sides = Sides::look(driven.own.used(), &baseline, metrics);
    let targets = driven.urls_of_each();
    let stopped = driven.own.stop();

    let record = RunRecord {
        measured: ended.measured,
        targets,
        agents: Vec::new(),
        between: None,
        faults: ended.faults,
        cpu,
        course,
        sides,
        debt: ended.debt.filter(|_| !aborted),
        aborted,
    };
    let mut judged = verdict::judge(run, record);
    for why in [after.map(|_| ()), stopped]
        .into_iter()
        .filter_map(Result::err)
    {
        unfinished(&mut judged, why);
    }
    Ok(judged)
}

/// Takes a good verdict back because of a failure after the run.
pub(super) fn unfinished(judged: &mut JudgedRun, why: String) {
    judged.notes.push(why);
    if judged.exit == Exit::Ok {
        judged.exit = Exit::Aborted;
    }
}

/// Returns how this many connections of a run fit on this machine.
///
/// # Errors
/// The machine cannot carry the run.
pub(super) fn fit(run: &RunSettings, crew: &Crew<'_>, connections: u64) -> Outcome<Fit> {
    preflight::check(&Need {
        connections,
        threads: crew.threads(),
        most_threads: groups::most_threads(run),
        source: run.source,
        target: run.gateway.address()?,
        tls: run.gateway.has_tls(),
        gateway: match &run.gateway {
            Gateway::Targets { .. } => None,
            Gateway::Local(setup) => Some(setup.shards),
            Gateway::Cluster(setup) => Some(setup.gateway.shards),
        },
    })
}

/// Makes the folder of the results. Removes the results of an earlier run.
pub(super) fn make_folder(run: &RunSettings, watch: &mut dyn Watch) -> Outcome<()> {
    let folder = run.out.display();
    let replaced = report::make_room(&run.out)?;
    if replaced {
        watch.say(&[format!(
            "{folder}: the results of an earlier run are replaced"
        )]);
    }
    Ok(())
}

/// Returns a listener for Prometheus, if the options ask for one.
pub(super) fn exporter(run: &RunSettings, watch: &mut dyn Watch) -> Outcome<Option<Exporter>> {
    let exporter = run.view.prometheus.map(Exporter::start).transpose()?;
    if let Some(exporter) = &exporter {
        watch.say(&[format!("metrics: {}", exporter.url())]);
    }
    Ok(exporter)
}

/// Everything that looks on while the threads work.
pub(super) struct Show<'a> {
    pub(super) course: Course,
    pub(super) watch: &'a mut dyn Watch,
    pub(super) live: &'a mut Live,
    pub(super) exporter: Option<Exporter>,
    /// Asks what the gateway owes, where it can be asked.
    pub(super) debt: Option<DebtWatch>,
}

impl Show<'_> {
    /// Notes that the threads begin to work.
    pub(super) fn begin(&mut self, about: About, clock: Clock, board: &Arc<Board>) {
        if let Some(exporter) = &self.exporter {
            let pid = self.course.gateway();
            exporter.show(about.clone(), Arc::clone(board), clock, pid);
        }
        self.live.begin(about);
    }

    /// Ends sending if the run shall be steady, and is.
    pub(super) fn end_if_steady(&self, run: &RunSettings, clock: Clock, board: &Board) {
        if let (Some(least), Some(debt), Some(from)) = (run.steady, &self.debt, board.sending())
            && clock.now() >= from + to_nanos(least)
            && debt.keeps_up(from)
        {
            board.end_sending(clock.now());
        }
    }

    /// Looks at the board. Returns whether the user wants the run to end.
    pub(super) fn look(&mut self, clock: Clock, board: &Board) -> bool {
        // A gateway that was started again is another process.
        let gateway = self.course.gateway();
        if let Some(exporter) = &self.exporter {
            exporter.gateway_is(gateway);
        }
        let quit = self.live.look(clock.now(), board, gateway);
        self.watch.look(clock.now(), board);
        self.course.look(clock.now(), || board.total());
        quit
    }

    /// Notes that the threads have ended.
    pub(super) fn end(&mut self, clock: Clock, board: &Board) {
        self.live.end(clock.now(), board);
        if let Some(exporter) = &self.exporter {
            exporter.end();
        }
        self.course.end(clock.now(), board.total());
    }
}

/// The results of a run's threads.
struct Ended {
    /// The measurements of each thread.
    measured: Vec<Measured>,
    /// The faults of the gateway during the run.
    faults: Vec<FaultRecord>,
    /// The work that the gateway put off, where it is known.
    debt: Option<Debt>,
}

/// Returns a watch of what the gateway owes, where that can be asked for. A gateway that is started again
/// owes something else.
pub(super) fn watch_debt(
    run: &RunSettings,
    gateway: &DrivenGateway,
    clock: Clock,
) -> Outcome<Option<DebtWatch>> {
    let mut faults = run.scenario.chaos.actions.iter();
    let again = faults.any(|it| it.action.starts_again());
    let controls = gateway.controls();
    match again || run.debt.is_empty() || controls.is_empty() {
        true => Ok(None),
        false => DebtWatch::start(controls, &run.debt, clock).map(Some),
    }
}

/// Runs the threads to their end, shows their progress, and breaks the gateway if the scenario asks
/// for it.
fn drive(
    run: &RunSettings,
    crew: &Crew<'_>,
    fit: Fit,
    gateway: &mut DrivenGateway,
    show: &mut Show<'_>,
    stop: &Arc<AtomicBool>,
) -> Outcome<Ended> {
    let sending = Duration::from_secs_f64(run.sizing.sending(&run.scenario));
    let sending = to_nanos(sending);
    let mut chaos = ChaosRunner::new(&run.scenario.chaos, sending, &mut gateway.own)?;
    let loops = Workers::loops(crew)?;
    let board = Arc::new(crew.board());
    let clock = Clock::start();
    let surroundings = Surroundings {
        fit,
        ends: &gateway.ends,
        clock,
        board: &board,
    };
    let about = About::of(
        run,
        show.watch.title(run),
        &gateway.urls(),
        &crew.steps_of_one(),
    );
    let jobs = (0..crew.threads()).map(|thread| crew.job(thread, &surroundings));
    let workers = Workers::start(jobs, loops, clock, stop)?;
    show.begin(about, clock, &board);
    show.debt = watch_debt(run, gateway, clock)?;
    let mut broken = Ok(None);
    while !workers.are_finished() {
        if broken.is_ok() {
            broken = chaos.look(clock, &board, &mut gateway.own, &mut show.course);
        }
        if broken.is_err() {
            // The gateway is no more: there is nothing left to measure.
            stop.store(true, Ordering::Relaxed);
        }
        let soon = broken.as_ref().ok().copied().flatten();
        std::thread::sleep(soon.map_or(LOOK, |soon| soon.min(LOOK)));
        if show.look(clock, &board) {
            stop.store(true, Ordering::Relaxed);
        }
        show.end_if_steady(run, clock, &board);
    }
    show.end(clock, &board);
    let measured = workers.join()?;
    broken?;
    chaos.finish(clock, &board, &mut gateway.own, &mut show.course)?;
    let sending = measured.iter().map(|it| it.sending);
    let sending = sending.fold(SendWindow::NONE, SendWindow::with);
    let debt = show.debt.take();
    Ok(Ended {
        debt: debt.and_then(|it| it.finish(sending, clock, stop)),
        measured,
        faults: chaos.into_faults(),
    })
}
