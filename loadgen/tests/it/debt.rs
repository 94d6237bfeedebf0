//! Work that a server puts off: a control port tells of it, and a run judges it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::chat::{Chat, Deceit};
use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Done, Loadgen, number, scenario, sentences};

/// Returns a control port whose answer to the request with a number, from 0, has these metrics.
pub(crate) fn control(metrics: impl Fn(u64) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    // Ends with the tests.
    std::thread::spawn(move || {
        for (asked, stream) in (0..).zip(listener.incoming()) {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request);
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{}", metrics(asked));
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

/// Returns the metrics of a gateway that owes this many MiB.
pub(crate) fn ours(mib: u64) -> String {
    let [log, runs] = [mib / 4, mib - mib / 4].map(|it| it << 20);
    format!("trunkline_store_waiting_bytes {log}\ntrunkline_store_merge_due_bytes {runs}\n")
}

/// Runs a scenario of a second against a gateway with such a control port.
fn run(control: &str, more: &[&str]) -> Done {
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    let args = [&["--target", &*url, "--control", control][..], more].concat();
    Loadgen::run(&scenario(&[]), &args).done()
}

#[test]
fn work_that_only_grows_is_a_run_that_is_not_steady() {
    let done = run(&control(|asked| ours(asked * 8)), &[]);
    let summary = done.expect(0, "ok");
    let debt = &summary["debt"];
    assert_eq!(debt["steady"], false, "{summary}");
    assert_eq!(debt["seconds"], Value::Null, "nothing was done: {debt}");
    assert!(number(&summary, "debt.after") > number(&summary, "debt.before"));
    assert_eq!(number(&summary, "debt.after") % f64::from(8 << 20), 0.0);
    let shown = &done.stdout;
    for words in [
        "NOT STEADY    not steady: the gateway put off work",
        "trunkline_store_waiting_bytes + trunkline_store_merge_due_bytes",
    ] {
        assert!(shown.contains(words), "no {words} in {shown}");
    }
    assert!(sentences(&summary["not_steady"]).contains("not steady"));
    let page = std::fs::read_to_string(done.results().join("report.html")).expect("a report");
    assert!(page.contains("<li>not steady: the gateway put off"));
}

#[test]
fn work_that_does_not_grow_is_steady() {
    let done = run(&control(|_| ours(64)), &[]);
    let summary = done.expect(0, "ok");
    assert_eq!(summary["debt"]["steady"], true, "{summary}");
    assert_eq!(number(&summary, "debt.most"), f64::from(64 << 20));
    assert!(!done.stdout.contains("NOT STEADY"), "{}", done.stdout);
    assert!(
        done.stdout.contains("put-off work  "),
        "the figures are shown: {}",
        done.stdout
    );
    assert!(
        done.stdout.contains("64 MiB at the most"),
        "{}",
        done.stdout
    );
}

#[test]
fn find_max_takes_no_rate_that_is_put_off() {
    let fake = Fake::start(Conduct::Honest);
    let (url, control) = (fake.url(), control(|asked| ours(asked * 8)));
    let line =
        "find-max SCENARIO --no-tui --out out --from 200/s --to 200/s --duration 1s --confirm 0";
    let args: Vec<_> = line.split(' ').collect();
    let to = ["--target", &*url, "--control", &*control];
    let done = Loadgen::start(&scenario(&[]), &[&args[..], &to].concat()).done();
    let shown = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.code, Some(99), "{shown}");
    assert!(shown.contains("not steady: the gateway put off"), "{shown}");
    assert!(shown.contains("found         no rate holds"), "{shown}");
    let table = std::fs::read_to_string(done.results().join("find-max.json")).expect("a table");
    let table: Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!(table["rate"], Value::Null);
    let first = &table["trials"][0];
    assert_eq!(
        (&first["steady"], &first["verdict"]),
        (&false.into(), &"ok".into())
    );
    assert!(first["worst_second"].is_number() || first["worst_second"].is_null());
}

#[test]
fn a_run_that_shall_be_steady_goes_on_until_it_is() {
    // It grows for the first three seconds, and then everything is done again and again.
    let metrics = |asked: u64| match asked {
        0..12 => ours(asked * 8),
        _ => ours(asked % 2 * 8),
    };
    let done = run(&control(metrics), &["--steady=60s"]);
    let summary = done.expect(0, "ok");
    let sent_for = number(&summary, "sending_seconds");
    assert!((1.5..60.0).contains(&sent_for), "{sent_for}");
    assert_eq!(summary["debt"]["steady"], true, "{summary}");
    assert_eq!(summary["until_steady"], true);
    let attempted = number(&summary, "counts.attempted");
    assert_eq!(number(&summary, "counts.acknowledged"), attempted);
    assert!((attempted / sent_for - 200.0).abs() < 60.0, "{summary}");
    // It ends at the latest when it was told, without a figure.
    let done = run(&control(|asked| ours(asked * 8)), &["--steady=2s"]);
    let summary = done.expect(93, "inconclusive");
    assert!(sentences(&summary["doubts"]).contains("not steady"));
    let out = done.results();
    let again = Loadgen::start("", &["check", out.to_str().expect("a path")]).done();
    assert_eq!(again.code, Some(93), "{}{}", again.stdout, again.stderr);
    // Of a gateway that does not tell, nothing is known.
    let silent = control(|_| "trunkline_sessions 0\n".to_owned());
    let summary = run(&silent, &["--steady=2s"]).expect(93, "inconclusive");
    assert!(sentences(&summary["doubts"]).contains("is not known"));
}

#[test]
fn another_server_owes_what_its_metric_says() {
    let metrics = |asked: u64| {
        format!(
            "jobs_waiting{{queue=\"a\"}} {}\njobs_waiting{{queue=\"b\"}} 5\n",
            asked * 3
        )
    };
    let control = control(metrics);
    let chat = Chat::start(Deceit::None);
    let url = chat.url();
    let to = [
        "--target",
        &*url,
        "--protocol",
        "bun-chat",
        "--control",
        &*control,
    ];
    let with = |more: &[&str]| Loadgen::run(&scenario(&[]), &[&to[..], more].concat()).done();
    let done = with(&["--debt", "jobs_waiting"]);
    let summary = done.expect(0, "ok");
    assert_eq!(summary["debt"]["steady"], false, "{summary}");
    assert!(done.stdout.contains("of jobs_waiting)"), "{}", done.stdout);
    assert!(!sentences(&summary["not_checked"]).contains("puts off"));
    let unknown = with(&["--debt", "jobs_waitin"]);
    assert_eq!(unknown.code, Some(94), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("did you mean `jobs_waiting`?"),
        "{}",
        unknown.stderr
    );
    // Without a name nothing is known, and that is said.
    let summary = with(&[]).expect(0, "ok");
    assert_eq!(summary["debt"], Value::Null);
    assert!(sentences(&summary["not_checked"]).contains("the server puts off"));
}

#[test]
fn what_cannot_become_steady_is_refused() {
    let target = ["--target", "ws://127.0.0.1:9/v1/ws"];
    let control = [&target[..], &["--control", "http://127.0.0.1:9"]].concat();
    let stairs = scenario(&[(
        "executor = \"constant-arrival-rate\"\nstart_after = \"connect\"\nduration = \"1s\"\nrate = \"200/s\"",
        "executor = \"staircase\"\nstart_after = \"connect\"\nstart_rate = \"100/s\"\nstep = \"50/s\"\nsteps = 2\nhold = \"1s\"",
    )]);
    for (text, args, words) in [
        (
            scenario(&[]),
            [&target[..], &["--steady"]].concat(),
            "--control",
        ),
        (
            scenario(&[]),
            [&control[..], &["--steady=1s"]].concat(),
            "sends for 1s at the least",
        ),
        (
            stairs,
            [&control[..], &["--steady"]].concat(),
            "constant-arrival-rate",
        ),
        (
            scenario(&[]),
            vec!["--steady", "--chaos", "kill-gateway@1s"],
            "leave the chaos out",
        ),
        (
            scenario(&[]),
            [&control[..], &["--protocol", "bun-chat", "--steady"]].concat(),
            "--debt",
        ),
    ] {
        Loadgen::run(&text, &args)
            .done()
            .expect_refused(104, &[words]);
    }
}
