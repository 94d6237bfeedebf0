//! Tests of the messages that each device must get, and of their order.

use super::super::Violation;
use super::{Bench, SHAPES, Shape};

#[test]
fn each_device_of_each_member_is_owed_each_message() {
    for shape in SHAPES {
        for left_out in Bench::new(shape, &[]).owed(0) {
            let mut bench = Bench::new(shape, &[]);
            let (whole, sent) = (bench.send(), bench.send());
            bench.deliver(whole, 1, &[]);
            bench.deliver(sent, 2, &[left_out]);
            assert!(!bench.settled());
            bench.close();
            bench.history(&[(whole, 1), (sent, 2)]);
            // History does not make up for a session that was there.
            let counters = bench.check(&[(Violation::Lost, 1)]);
            assert_eq!((counters.lost, counters.delivered), (1, 1));
            assert_eq!(counters.recovered, 0);
            // Conversation, message and device are named.
            let [line] = &bench.evidence()[..] else {
                panic!("one violation")
            };
            assert_eq!(line["conversation"], bench.id());
            let detail = line["detail"].as_str().expect("words");
            let name = bench.device_name(left_out);
            let named = format!("did not reach 1 device(s): {name}");
            assert!(detail.contains("message 2 (sequence 2)"), "{detail}");
            assert!(detail.ends_with(&named), "{detail}");
            // In a pair all events are evidence. In a group the events of that device and of a
            // witness are.
            let events = line["events"].as_array().expect("a list").iter();
            let of = |device: u32| move |e: &&serde_json::Value| e["device"] == device;
            assert_eq!(events.clone().filter(of(left_out)).count(), 1, "{line}");
            let most = if shape == Shape::Pair { 9 } else { 7 };
            assert!(events.count() <= most, "{line}");
        }
    }
}

#[test]
fn who_is_offline_is_owed_nothing() {
    for shape in SHAPES {
        let all = Bench::new(shape, &[]).others();
        for (offline, to_offline) in [(&all[..1], 0), (&all[..], 1)] {
            let mut bench = Bench::new(shape, offline);
            let sent = bench.send();
            bench.push_all(sent, 1, offline);
            bench.ack(sent, 1);
            assert!(bench.settled());
            bench.close();
            let counters = bench.check(&[]);
            assert_eq!((counters.to_offline, counters.delivered), (to_offline, 1));
        }
    }
}

#[test]
fn each_device_is_owed_it_once_and_in_order() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let [first, second] = bench.devices(1);
        let (one, two) = (bench.send(), bench.send());
        bench.deliver(one, 1, &[first]);
        bench.deliver(two, 2, &[]);
        // Too late for one, twice for the other.
        bench.push(first, one, 1);
        bench.push(second, two, 2);
        bench.push(second, one, 1);
        assert!(bench.settled());
        let counters = bench.check(&[(Violation::Duplicated, 2), (Violation::Reordered, 1)]);
        assert_eq!((counters.reordered, counters.duplicated), (1, 2));
        for line in bench.evidence() {
            let device = match line["kind"] == "reordered" {
                true => first,
                false => second,
            };
            let detail = line["detail"].as_str().expect("words");
            assert!(detail.contains(&bench.device_name(device)), "{detail}");
        }
    }
}

#[test]
fn a_message_that_came_too_late_may_come_too_late_for_each_device() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let devices = bench.devices(1);
        let (one, two) = (bench.send(), bench.send());
        bench.deliver(one, 1, &devices);
        bench.deliver(two, 2, &[]);
        // Too late for both of a member's devices, and twice for one of them.
        for device in [devices[0], devices[1], devices[0]] {
            bench.push(device, one, 1);
        }
        let counters = bench.check(&[(Violation::Duplicated, 1), (Violation::Reordered, 2)]);
        assert_eq!((counters.reordered, counters.duplicated), (2, 1));
    }
}

#[test]
fn who_is_no_member_is_told_nothing() {
    for shape in SHAPES {
        let mut bench = Bench::new(shape, &[]);
        let sent = bench.send();
        bench.ack(sent, 1);
        bench.push(bench.outsider(), sent, 1);
        assert!(!bench.settled(), "nobody else had it for that");
        bench.push_all(sent, 1, &[]);
        // Nor is the device that sent it, though its user is one.
        let next = bench.send();
        bench.ack(next, 2);
        bench.push(bench.sender(0), next, 2);
        bench.push_all(next, 2, &[]);
        let counters = bench.check(&[(Violation::Unexpected, 2)]);
        assert_eq!((counters.unexpected, counters.delivered), (2, 2));
        let detail = bench.evidence()[0]["detail"].to_string();
        assert!(detail.contains("and is no member"), "{detail}");
    }
}

#[test]
fn large_groups_name_some_and_keep_little() {
    let mut bench = Bench::new(Shape::Group(500), &[]);
    let sent = bench.send();
    bench.ack(sent, 1);
    let missing: Vec<_> = (300..400).flat_map(|nth| bench.devices(nth)).collect();
    bench.push_all(sent, 1, &missing);
    bench.close();
    let counters = bench.check(&[(Violation::Lost, 1)]);
    assert_eq!(counters.group_pushes, 999 - 200);
    let line = &bench.evidence()[0];
    let detail = line["detail"].as_str().expect("words");
    assert!(detail.contains("did not reach 200 device(s): "), "{detail}");
    assert_eq!(detail.matches("/d").count(), 8, "{detail}");
    // Sent, acknowledged, and that somebody got it.
    let events = line["events"].as_array().expect("a list");
    assert_eq!(events.len(), 3, "{line}");
}
