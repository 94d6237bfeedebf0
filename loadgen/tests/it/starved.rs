//! A generator without enough processor time or descriptors ends with the reason, and its figures
//! do not count.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};

use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Loadgen, number, scenario, sentences, until};

/// The number of threads that compete for the generator's processor.
const BURNERS: usize = 20;

/// Returns the first processor that this thread may use.
fn processor() -> CpuSet {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("this thread has processors");
    let first = (0..CpuSet::count()).find(|n| allowed.is_set(*n).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.expect("one at least"))
        .expect("its number is small");
    one
}

#[test]
fn a_generator_without_a_processor_of_its_own_is_not_believed() {
    // Its threads are where they were before: the gateway is not starved.
    let fake = Fake::start(Conduct::Honest);
    // So many messages take far more than a twentieth of a processor; the limits are the defaults.
    let edits = [
        ("rate = \"200/s\"", "rate = \"5000/s\""),
        ("send_lag_p99 = \"60s\"", "send_lag_p99 = \"5ms\""),
        ("achieved_min = 0.0", "achieved_min = 0.99"),
        ("loop_stall_max = \"60s\"", "loop_stall_max = \"250ms\""),
        ("30s", "110s"),
    ];
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let starved = scope.spawn(|| {
            // Threads and children begin where their parent is.
            sched_setaffinity(Pid::from_raw(0), &processor()).expect("one of ours");
            std::thread::scope(|scope| {
                for _ in 0..BURNERS {
                    scope.spawn(|| {
                        while !over.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                    });
                }
                let target = fake.url();
                let run = Loadgen::run(&scenario(&edits), &["--target", &target]);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.done()));
                over.store(true, Ordering::Relaxed);
                done
            })
        });
        starved.join().expect("it ran")
    });
    let done = done.expect("the run ended");
    let summary = done.expect(90, "invalid");
    let faults = sentences(&summary["health"]["faults"]);
    // By its threshold and by its name.
    assert!(faults.contains("send lag p99 is"), "{faults}");
    assert!(
        faults.contains("over 5.00 ms: give the generator more CPU"),
        "{faults}"
    );
    assert!(
        done.stdout.contains("do not use these figures"),
        "{}",
        done.stdout
    );
    // And what it lacked is in the latencies: they are no prettier than its own lateness.
    for metric in ["ack", "e2e"] {
        for at in ["p50", "p99", "max"] {
            let of = |metric: &str| number(&summary, &format!("latency_us.{metric}.{at}"));
            assert!(
                of(metric) >= of("send_lag") * 0.99,
                "{metric} {at}: {summary}"
            );
        }
    }
}

#[test]
fn a_generator_that_runs_out_of_descriptors_is_not_believed() {
    let fake = Fake::start(Conduct::Honest);
    let edits = [
        ("duration = \"50ms\"", "duration = \"3s\""),
        ("connect_timeout = \"60s\"", "connect_timeout = \"20s\""),
    ];
    let run = Loadgen::run(&scenario(&edits), &["--target", &fake.url()]);
    // It was checked that there are enough; somebody takes them away while sessions are opened.
    until("a session", || {
        run.stderr().contains("sessions ").then_some(())
    });
    let table = std::fs::read_dir(format!("/proc/{}/fd", run.id())).expect("it runs");
    let numbers = table.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: BTreeSet<u64> = numbers.collect();
    // All below the lowest free one are in use, and what comes next is the lowest free one.
    let free = (0..).find(|n| !numbers.contains(n));
    let pid = rustix::process::Pid::from_raw(run.id().cast_signed());
    let none = Rlimit {
        current: free,
        maximum: free,
    };
    prlimit(pid, Resource::Nofile, none).expect("it is ours");
    let done = run.done();
    let summary = done.expect(90, "invalid");
    let faults = sentences(&summary["health"]["faults"]);
    assert!(faults.contains("of 12 sessions were opened"), "{faults}");
    let notes = sentences(&summary["notes"]);
    assert!(notes.contains("Too many open files"), "{notes}");
    let opened = number(&summary, "generator.connections");
    assert!(opened < 12.0, "{summary}");
}
