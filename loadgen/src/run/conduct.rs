//! One run, from the gateway's start to the verdict.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use trunkline_proto::Encoding;

use super::chaos::Blows;
use super::groups::{self, ThreadGroups};
use super::preflight::{self, Fit, Need};
use super::signals;
use crate::check::Checker;
use crate::client::{self, Board, Job, Loop, Measured, Step};
use crate::clock::{Clock, Nanos, to_nanos};
use crate::control_port;
use crate::course::Course;
use crate::curve::Curve;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign::{json, shown};
use crate::health::{Cpu, Process};
use crate::live::Live;
use crate::live::about::About;
use crate::local_gateway::LocalGateway;
use crate::output::{self, say};
use crate::population::{Part, Population};
use crate::prometheus::Exporter;
use crate::random::mix;
use crate::report;
use crate::scenario::validate::bounds;
use crate::scenario::{ABRUPT, AWAY, Executor, Kind, WireEncoding};
use crate::schedule::text::Texts;
use crate::schedule::{Arrivals, Churn, ChurnShape, Ramp, Senders, Storm, Work};
use crate::settings::{Gateway, RunSettings, Target, parse_target};
use crate::tls::Trust;
use crate::verdict::{self, FaultRecord, JudgedRun, Sides};

/// Connections being opened at one time, all threads together, where the scenario says nothing.
const CONNECTING_MAX: u32 = 512;

/// How often the main thread looks at the others.
const LOOK: Duration = Duration::from_millis(50);

/// How long a target may take to accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which gateway a run has, for those who look at it from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// The process, if it is the run's own.
    pub(crate) pid: Option<u32>,
    /// The control port, where one is known.
    pub(crate) control: Option<SocketAddr>,
}

/// Looks on while a run is conducted.
pub(crate) trait Watch {
    /// Says something about the run to people.
    fn say(&mut self, lines: &[String]) {
        say(lines);
    }
    /// What the run is called where it is shown.
    fn title(&self, run: &RunSettings) -> String {
        format!("run {}", run.name)
    }
    /// The gateway stands, and nothing is connected.
    fn begin(&mut self, _ends: Ends) {}
    /// Every [`LOOK`] while the threads work.
    fn look(&mut self, _now: Nanos, _board: &Board) {}
    /// The threads have ended, and with them their connections.
    fn end(&mut self, _aborted: bool) {}
}

/// Nobody looks.
struct Unwatched;
impl Watch for Unwatched {}

/// Conducts a run and reports it.
///
/// # Errors
/// It could not start or go on.
pub(crate) fn run(run: &RunSettings) -> Outcome<Exit> {
    let mut live = Live::new(run.view.no_tui, run.view.color);
    let mut judged = conduct(run, &mut Unwatched, &mut live)?;
    let (mut text, summary) = (report::text(run, &judged), report::summary(run, &judged));
    let done = publish(run, &judged, "summary", &text, &summary);
    if let Err(why) = &done {
        judged.without_results(why);
        text = report::text(run, &judged);
    }
    say(&text);
    say(&[format!("results: {}", run.out.display())]);
    published(&judged, done)
}

/// Conducts a run.
///
/// # Errors
/// It could not start or go on.
pub(crate) fn conduct(
    run: &RunSettings,
    watch: &mut dyn Watch,
    live: &mut Live,
) -> Outcome<JudgedRun> {
    watch.say(&report::header(run));
    let stop = Arc::new(AtomicBool::new(false));
    signals::end_in_order(&stop)?;
    // The machine is judged before a gateway is started on it.
    let assumed = run.gateway.address()?;
    let population = population(run);
    let threads = groups::usable_threads(run, &population);
    let sessions = run.sizing.sessions;
    let fit = preflight::check(&Need {
        connections: sessions,
        threads,
        most_threads: groups::most_threads(run),
        source: run.source,
        target: assumed,
        tls: run.gateway.has_tls(),
        gateway: match &run.gateway {
            Gateway::Target { .. } => None,
            Gateway::Local(setup) => Some(setup.shards),
        },
    })?;
    bounds::sendable(&run.scenario, &run.sizing).map_err(Failure::scenario)?;
    make_folder(run, watch)?;
    let exporter = exporter(run, watch)?;
    let mut local = match &run.gateway {
        Gateway::Target { .. } => None,
        Gateway::Local(setup) => Some(LocalGateway::start(room(run), setup)?),
    };
    let (url, control, tls) = match (&local, &run.gateway) {
        (Some(local), _) => (local.url.clone(), Some(local.control), local.trust()?),
        (None, Gateway::Target { url, control, tls }) => (url.clone(), *control, tls.clone()),
        (None, Gateway::Local(_)) => return Err(Failure::aborted("no gateway was started")),
    };
    let target = parse_target(&url).map_err(Failure::scenario)?;
    watch.say(&[format!(
        "gateway: {url}{}",
        local
            .as_ref()
            .map_or("", |_| " (local, started for this run)")
    )]);

    if local.is_none() {
        answers(&target, &url)?;
    }
    let before = control
        .map(control_port::metrics)
        .transpose()
        .map_err(|why| {
            Failure::preflight(format!(
                "{why}; name the control port of the gateway at --target, or leave --control out"
            ))
        })?;
    let gateway_before = local.as_ref().map(LocalGateway::used);
    let generator_before = Process::look(std::process::id());
    let cpu_before = Cpu::look();
    let pid = local.as_ref().map(LocalGateway::pid);
    watch.begin(Ends { pid, control });
    let mut course = Course::begin(pid);
    let (measured, happened) = drive(
        run,
        &population,
        (threads, fit),
        (&target, &tls, local.as_mut()),
        &stop,
        (watch, &mut course, live),
        (&url, pid, exporter.as_ref()),
    )?;
    let cpu = Cpu::between(cpu_before, Cpu::look());
    let aborted = stop.load(Ordering::Relaxed);
    watch.end(aborted);
    // A gateway that was started again has another control port.
    let control = local.as_ref().map(|local| local.control).or(control);
    let after = control.map(control_port::metrics).transpose();
    let sides = Sides::look(
        local.as_ref(),
        (gateway_before, generator_before),
        before.as_ref(),
        after.as_ref().ok(),
    );
    let stopped = local.map_or(Ok(()), |mut local| local.stop());

    let mut judged = verdict::judge(run, measured, (cpu, course, happened), sides, aborted);
    for why in [after.map(|_| ()), stopped]
        .into_iter()
        .filter_map(Result::err)
    {
        judged.notes.push(why);
        judged.exit = if judged.exit == Exit::Ok {
            Exit::Aborted
        } else {
            judged.exit
        };
    }
    Ok(judged)
}

/// Makes the folder of the results, without those of an earlier run.
fn make_folder(run: &RunSettings, watch: &mut dyn Watch) -> Outcome<()> {
    let folder = run.out.display();
    let replaced = report::make_room(&run.out)?;
    if replaced {
        watch.say(&[format!(
            "{folder}: the results of an earlier run are replaced"
        )]);
    }
    Ok(())
}

/// A listener for Prometheus, where one is asked for.
fn exporter(run: &RunSettings, watch: &mut dyn Watch) -> Outcome<Option<Exporter>> {
    let exporter = run.view.prometheus.map(Exporter::start).transpose()?;
    if let Some(exporter) = &exporter {
        watch.say(&[format!("metrics: {}", exporter.url())]);
    }
    Ok(exporter)
}

/// Connections that a gateway of the run's own has room for.
fn room(run: &RunSettings) -> u64 {
    // Those who come back may be there before the gateway has noticed that they had left.
    let twice = if run.scenario.has_returns() { 2 } else { 1 };
    run.sizing.sessions * twice
}

/// Whether anything listens at the target: nothing else need be tried if not.
fn answers(target: &Target, url: &str) -> Outcome<()> {
    TcpStream::connect_timeout(&target.address, PATIENCE)
        .map(drop)
        .map_err(|why| {
            Failure::preflight(format!(
                "nothing answers at {url}: {why}; start the gateway, or leave --target out to have one started"
            ))
        })
}

fn population(run: &RunSettings) -> Population {
    let p = &run.scenario.population;
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    Population {
        run: report::short_name(nanos ^ u64::from(std::process::id()) << 40),
        users: u32::try_from(run.sizing.users).unwrap_or(u32::MAX),
        online: u32::try_from(run.sizing.online_users).unwrap_or(u32::MAX),
        devices_milli: (p.devices * 1000.0).round() as u32,
        contacts: run.scenario.traffic.contacts,
        seed: run.scenario.seed,
    }
}

/// Runs the threads and shows how far they are.
fn drive(
    run: &RunSettings,
    population: &Population,
    (threads, fit): (u32, Fit),
    (target, tls, mut gateway): (&Target, &Option<Trust>, Option<&mut LocalGateway>),
    stop: &Arc<AtomicBool>,
    (watch, course, live): (&mut dyn Watch, &mut Course, &mut Live),
    (url, pid, exporter): (&str, Option<u32>, Option<&Exporter>),
) -> Outcome<(Vec<Measured>, Vec<FaultRecord>)> {
    let mut blows = Blows::new(&run.scenario.chaos, gateway.as_deref_mut())?;
    // All loops before the first thread has a descriptor table of its own: what is made later
    // would be written to in somebody else's.
    let loops = (0..threads)
        .map(|_| Loop::new())
        .collect::<std::io::Result<Vec<_>>>();
    let loops = loops.map_err(|why| Failure::preflight(format!("cannot make an epoll: {why}")))?;
    let numbers: BTreeMap<&str, usize> = run
        .scenario
        .scenarios
        .keys()
        .enumerate()
        .map(|(i, name)| (&**name, i))
        .collect();
    let board = Arc::new(Board::new(
        numbers.len(),
        threads,
        run.scenario.traffic.groups.is_some(),
    ));
    let clock = Clock::start();
    let mut workers = Vec::new();
    let mut about = About::default();
    for (thread, event_loop) in (0..threads).zip(loops) {
        let job = job(
            run,
            population,
            (thread, threads),
            fit,
            (target, tls),
            (clock, &board, &numbers),
        );
        if thread == 0 {
            about = About::of(run, watch.title(run), url, &job.steps);
        }
        let stop = Arc::clone(stop);
        let worker = std::thread::Builder::new()
            .name(format!("client-{thread}"))
            .spawn(move || client::run(job, event_loop, &stop))
            .map_err(|why| Failure::aborted(format!("cannot start a thread: {why}")))?;
        workers.push(worker);
    }
    if let Some(exporter) = exporter {
        exporter.show(about.clone(), Arc::clone(&board), clock, pid);
    }
    live.begin(about);
    let mut broken = Ok(None);
    while !workers.iter().all(JoinHandle::is_finished) {
        if broken.is_ok() {
            broken = blows.look(clock, &board, gateway.as_deref_mut(), course);
        }
        if broken.is_err() {
            // The gateway is no more: there is nothing left to measure.
            stop.store(true, Ordering::Relaxed);
        }
        // One that was started again is another process.
        if let Some(exporter) = exporter {
            exporter.gateway_is(course.gateway());
        }
        let soon = broken.as_ref().ok().copied().flatten();
        std::thread::sleep(soon.map_or(LOOK, |soon| soon.min(LOOK)));
        if live.look(clock.now(), &board, course.gateway()) {
            stop.store(true, Ordering::Relaxed);
        }
        watch.look(clock.now(), &board);
        course.look(clock.now(), || board.total());
    }
    live.end(clock.now(), &board);
    if let Some(exporter) = exporter {
        exporter.end();
    }
    course.end(clock.now(), board.total());
    let mut measured = Vec::new();
    for worker in workers {
        measured.push(
            worker
                .join()
                .map_err(|_| Failure::aborted("a thread panicked"))??,
        );
    }
    broken?;
    blows.finish(clock, &board, gateway, course)?;
    Ok((measured, blows.happened))
}

fn job(
    run: &RunSettings,
    population: &Population,
    (thread, threads): (u32, u32),
    fit: Fit,
    (target, tls): (&Target, &Option<Trust>),
    (clock, board, numbers): (Clock, &Arc<Board>, &BTreeMap<&str, usize>),
) -> Job {
    let scenario = &run.scenario;
    let part = population.part(thread, threads);
    let groups = ThreadGroups::new(run, &part);
    let seed = mix(scenario.seed ^ u64::from(thread) << 32);
    let steps = scenario.scenarios.iter().map(|(name, executor)| {
        let number = numbers[&**name];
        let after = executor
            .start_after
            .as_deref()
            .map(|before| numbers[before]);
        let delay = executor.start_time.map_or(0, |time| to_nanos(time.0));
        let seed = mix(seed ^ number as u64);
        let (duration, work) = work(run, executor, (&part, &groups), threads, (number, seed));
        Step {
            number,
            after,
            delay,
            duration,
            work,
        }
    });
    let checks = &scenario.checks;
    let read_back = checks.history;
    Job {
        steps: steps.collect(),
        thread,
        threads,
        clock,
        checker: Checker::new(
            part.clone(),
            Arc::clone(&groups.members),
            Texts::new(&population.run, scenario.seed, &scenario.traffic.payload),
        ),
        board: Arc::clone(board),
        target: target.address,
        host: target.host.clone(),
        path: target.path.clone(),
        tls: tls.clone(),
        signer: run.signer.clone(),
        source: fit.source,
        encoding: match scenario.client.encoding {
            WireEncoding::Json => Encoding::Json,
            WireEncoding::Proto => Encoding::Proto,
        },
        connecting_max: (scenario.client.connecting_max.unwrap_or(CONNECTING_MAX) / threads).max(1)
            as usize,
        connect_timeout: to_nanos(scenario.client.connect_timeout.0.0),
        reconnect_timeout: to_nanos(scenario.client.reconnect_timeout.0.0),
        chaos: !scenario.chaos.is_empty(),
        receipts: scenario
            .traffic
            .receipts
            .then(|| to_nanos(scenario.traffic.read_after.0)),
        drain: to_nanos(checks.drain.0),
        read_back_every: read_back.whole.checked_div(read_back.part).unwrap_or(0),
        private_table: fit.private_tables,
        seed,
    }
}

/// A thread's part of an executor, and how long it lasts.
fn work(
    run: &RunSettings,
    executor: &Executor,
    (part, groups): (&Part, &ThreadGroups),
    threads: u32,
    (number, seed): (usize, u64),
) -> (Nanos, Work) {
    match executor.executor {
        Kind::Churn => return churn(executor, part, threads, seed),
        Kind::ReconnectStorm => {
            let fraction = executor.fraction.unwrap_or(1.0);
            let storm = Storm::new(number, fraction, part.devices(), seed);
            return (0, Work::Storm(storm));
        }
        _ => {}
    }
    if executor.executor == Kind::RampingConnections {
        let stages = executor.stages.as_deref().unwrap_or_default();
        let sessions = run.sizing.sessions;
        let stages: Vec<_> = stages
            .iter()
            .map(|stage| {
                let part = stage.target.of(sessions) as f64 / sessions.max(1) as f64;
                (to_nanos(stage.duration.0), part)
            })
            .collect();
        let duration = stages.iter().map(|(duration, _)| duration).sum();
        return (duration, Work::Ramp(Ramp::new(&stages, part.devices())));
    }
    let traffic = &run.scenario.traffic;
    let senders = Senders {
        key_every: traffic.key_every,
        skew: traffic.sender_skew.map(|zipf| zipf.0),
    };
    let curve = executor.curve(&run.sizing, run.scenario.population.peak_factor);
    // Validation admits only what has a course.
    let curve = curve.unwrap_or_else(|| Curve::constant(0.0, 0.0));
    let duration = to_nanos(Duration::from_secs_f64(curve.seconds()));
    let curve = curve.scaled(1.0 / f64::from(threads));
    let arrivals = Arrivals::new(curve, part, senders, seed);
    (duration, groups.work(arrivals, part, duration, seed))
}

/// A thread's part of a churn.
fn churn(executor: &Executor, part: &Part, threads: u32, seed: u64) -> (Nanos, Work) {
    let duration = executor.duration.map_or(0, |span| to_nanos(span.0));
    let shape = ChurnShape {
        rate: executor.rate.map_or(0.0, |rate| rate.0) / f64::from(threads),
        duration,
        away: to_nanos(executor.away.unwrap_or(AWAY).0),
        abrupt: executor.abrupt.unwrap_or(ABRUPT),
    };
    (
        duration,
        Work::Churn(Churn::new(shape, part.devices(), seed)),
    )
}

/// Writes the results into the run's folder: `name.json`, `name.txt`, and what goes with them.
///
/// # Errors
/// A file could not be written whole.
pub(crate) fn publish(
    run: &RunSettings,
    judged: &JudgedRun,
    name: &str,
    text: &[String],
    summary: &serde_json::Value,
) -> Outcome<()> {
    let written = write(run, judged, name, text, summary);
    if written.is_err() {
        // They tell a verdict that does not stand. Either may not be there.
        for file in [format!("{name}.txt"), "report.html".to_owned()] {
            let _ = std::fs::remove_file(run.out.join(file));
        }
    }
    written
}

fn write(
    run: &RunSettings,
    judged: &JudgedRun,
    name: &str,
    text: &[String],
    summary: &serde_json::Value,
) -> Outcome<()> {
    let put = |name: &str, bytes: &[u8]| {
        let path = run.out.join(name);
        files::put(&path, bytes).map_err(|why| files::unwritten(&path, &why))
    };
    // The scenario tells whose folder it is, and the summary that the results are whole: first and last.
    let lock = toml::to_string(&run.scenario)
        .map_err(|why| Failure::aborted(format!("cannot write the scenario down: {why}")))?;
    put("scenario.lock.toml", lock.as_bytes())?;
    report::keep(run, judged)?;
    if !judged.violations.is_empty() {
        let mut evidence = Vec::new();
        for checker in &judged.checkers {
            checker
                .write_evidence(&mut evidence)
                .map_err(|why| files::unwritten(&run.out.join("violations.jsonl"), &why))?;
        }
        put("violations.jsonl", &evidence)?;
    }
    let text = shown(&(text.join("\n") + "\n"));
    put(&format!("{name}.txt"), text.as_bytes())?;
    report::page_of(&run.out, summary)?;
    put(&format!("{name}.json"), (json(summary) + "\n").as_bytes())
}

/// The exit code of a run whose results were published, or were not: a broken promise is told all the
/// same, and nothing else counts without its files.
pub(crate) fn published(judged: &JudgedRun, published: Outcome<()>) -> Outcome<Exit> {
    match published {
        Err(failure) if judged.exit == Exit::Violation => {
            output::complain(&format!("loadgen: {failure}"));
            Ok(Exit::Violation)
        }
        published => published.map(|()| judged.exit),
    }
}
