//! Measures messages between two users, alone and beside ephemeral events.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures::{self, median};
use trunkline_benches::metering::remark_between;
use trunkline_benches::open_loop::{self, Control, Latencies, Traffic, millis};
use trunkline_benches::talk::Talk;

use crate::listening::{self, Heard};
use crate::topic::{self, SUBSCRIBE};
use crate::{Args, Gateway};

/// The time before counting.
const WARM: Duration = Duration::from_millis(500);

/// The silence after which all events count as delivered.
const SETTLE: Duration = Duration::from_secs(2);

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

const WATCH: &str = r#"{"id":2,"presence":{"watch":["flapping"]}}"#;

/// The ephemeral events beside the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beside {
    name: &'static str,
    flapping: bool,
    publishing: Option<Publishing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publishing {
    /// Publications at the rate of the command line.
    Steadily,
    /// Each publication follows once all subscribers have the one before.
    WithoutPause,
}

/// Each kind is measured after a measurement of messages alone.
const BESIDE: [Beside; 4] = [
    Beside {
        name: "a user who comes and goes",
        flapping: true,
        publishing: None,
    },
    Beside {
        name: "a topic",
        flapping: false,
        publishing: Some(Publishing::Steadily),
    },
    Beside {
        name: "both",
        flapping: true,
        publishing: Some(Publishing::Steadily),
    },
    Beside {
        name: "a topic without a pause",
        flapping: false,
        publishing: Some(Publishing::WithoutPause),
    },
];

const QUIET: Beside = Beside {
    name: "nothing",
    flapping: false,
    publishing: None,
};

/// One measurement.
struct Measured {
    latencies: Latencies,
    /// The ephemeral pushes per second, and how many of them were dropped.
    pushes: f64,
    dropped: f64,
    /// The cores that the gateway used.
    cores: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let gateway = Gateway::start(args).context("the gateway")?;
    let address = gateway.peer.address;
    let mut crowd = Crowd::new(address, MemberKind::Sessions("l"), args.sessions)?;
    crowd.open(AT_ONCE)?;
    let mut watchers = listening::open(address, ("w", args.watchers), WATCH)?;
    let mut subscribers = listening::open(address, ("s", args.subscribers), SUBSCRIBE)?;
    let heard = Heard::default();
    let before = gateway.peer.reading(args.segment_bytes)?;
    let mut rows: Vec<Vec<[Measured; 2]>> = BESIDE.iter().map(|_| Vec::new()).collect();
    std::thread::scope(|scope| {
        let listening = [&mut watchers, &mut subscribers]
            .map(|crowd| scope.spawn(|| listening::listen(crowd, &heard)));
        let measured = (|| {
            for _ in 0..args.rounds {
                for (row, beside) in rows.iter_mut().zip(BESIDE) {
                    let quiet = measure(args, &gateway, (&mut crowd, &heard), QUIET)?;
                    row.push([
                        quiet,
                        measure(args, &gateway, (&mut crowd, &heard), beside)?,
                    ]);
                }
            }
            anyhow::Ok(())
        })();
        heard.over();
        for listening in listening {
            let listened = listening.join();
            listened.map_err(|_| anyhow::anyhow!("it panicked"))??;
        }
        measured
    })?;
    let after = gateway.peer.reading(args.segment_bytes)?;
    print(args, &rows);
    let remark = remark_between(&before, &after).context("no store")?;
    println!("store: {}", remark.text);
    if args.steady_or_fail && !remark.steady {
        bail!("the store was not steady");
    }
    Ok(())
}

fn measure(
    args: &Args,
    gateway: &Gateway,
    (crowd, heard): (&mut Crowd, &Heard),
    beside: Beside,
) -> anyhow::Result<Measured> {
    let traffic = Traffic {
        name: "l",
        rate: args.rate,
        bytes: args.bytes,
    };
    let (control, over) = (Control::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flapping = beside
            .flapping
            .then(|| scope.spawn(|| flap(args, gateway, &over)));
        let publishing = beside.publishing.map(|how| {
            let over = &over;
            scope.spawn(move || publish(args, gateway, (how, heard), over))
        });
        let sending = scope.spawn(|| open_loop::run(crowd, traffic, &control));
        std::thread::sleep(WARM);
        let (start, cpu) = (Instant::now(), gateway.peer.cpu_seconds());
        let before = topic::counted(gateway);
        control.count(true);
        std::thread::sleep(args.time());
        control.count(false);
        let (time, cpu) = (start.elapsed(), gateway.peer.cpu_seconds() - cpu);
        let after = topic::counted(gateway);
        over.store(true, SeqCst);
        control.end();
        let panicked = |_| anyhow::anyhow!("it panicked");
        for other in flapping.into_iter().chain(publishing) {
            other.join().map_err(panicked)??;
        }
        let latencies = sending.join().map_err(panicked)??;
        let (before, after) = (before?, after?);
        Ok(Measured {
            latencies,
            pushes: (after[0] - before[0]) / time.as_secs_f64(),
            dropped: after[1] - before[1],
            cores: cpu / time.as_secs_f64(),
        })
    })
}

/// Lets a user come and go until the end.
fn flap(args: &Args, gateway: &Gateway, over: &AtomicBool) -> anyhow::Result<()> {
    let pause = Duration::from_secs_f64(1.0 / args.changes);
    while !over.load(SeqCst) {
        let user = Talk::start(gateway.peer.address, "flapping")?;
        std::thread::sleep(pause);
        drop(user);
        std::thread::sleep(pause);
    }
    Ok(())
}

fn publish(
    args: &Args,
    gateway: &Gateway,
    (how, heard): (Publishing, &Heard),
    over: &AtomicBool,
) -> anyhow::Result<()> {
    let mut publisher = Talk::start(gateway.peer.address, "publisher")?;
    let (publication, start) = (topic::publication(args), Instant::now());
    let before = heard.messages();
    for n in 0u32.. {
        if over.load(SeqCst) {
            break;
        }
        match how {
            Publishing::Steadily => {
                let due = Duration::from_secs_f64(f64::from(n) / args.publications);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
            Publishing::WithoutPause => {
                let all = u64::from(n) * args.subscribers as u64;
                heard.settle(before + all, SETTLE);
            }
        }
        publisher.tell("publish", &publication)?;
    }
    Ok(())
}

fn print(args: &Args, rows: &[Vec<[Measured; 2]>]) {
    println!(
        "Latency of {} messages/s among {} users, beside a user with {} watchers who comes or goes \
         {} times a second,\nand {} publications/s to {} subscribers; medians of {} rounds of {} s, \
         each behind one without, from the time\na message should have been sent to its push",
        figures::grouped(args.rate as u64),
        figures::grouped(args.sessions as u64),
        figures::grouped(args.watchers as u64),
        args.changes,
        args.publications,
        figures::grouped(args.subscribers as u64),
        args.rounds,
        args.seconds
    );
    let mut lines = Vec::new();
    let all = rows.iter().flatten().map(|[quiet, _]| quiet).collect();
    lines.push(line(QUIET.name, all, [f64::NAN; 2]));
    for (row, beside) in rows.iter().zip(BESIDE) {
        let ratio = |quantile| {
            let of = |[quiet, loud]: &[Measured; 2]| {
                millis(&loud.latencies.e2e, quantile) / millis(&quiet.latencies.e2e, quantile)
            };
            median(row.iter().map(of).collect())
        };
        let loud = row.iter().map(|[_, loud]| loud).collect();
        lines.push(line(beside.name, loud, [ratio(0.5), ratio(0.99)]));
    }
    let head = [
        "beside", "p50 ms", "p99 ms", "p99.9 ms", "× p50", "× p99", "lag p99", "pushes/s",
        "dropped", "cores",
    ];
    println!("{}", figures::table(&head, &lines));
}

fn line(name: &str, measured: Vec<&Measured>, ratios: [f64; 2]) -> Vec<String> {
    let middle = |of: &dyn Fn(&Measured) -> f64| {
        median(measured.iter().map(|measured| of(measured)).collect())
    };
    let at = |quantile| {
        let millis = middle(&|measured| millis(&measured.latencies.e2e, quantile));
        format!("{millis:.2}")
    };
    let lag = middle(&|measured| millis(&measured.latencies.lag, 0.99));
    vec![
        name.to_owned(),
        at(0.5),
        at(0.99),
        at(0.999),
        figures::short(ratios[0]),
        figures::short(ratios[1]),
        format!("{lag:.2}"),
        figures::short(middle(&|measured| measured.pushes)),
        figures::short(middle(&|measured| measured.dropped)),
        format!("{:.2}", middle(&|measured| measured.cores)),
    ]
}
