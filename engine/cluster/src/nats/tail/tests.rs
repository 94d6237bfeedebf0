//! Tests of the tail without servers.

use super::super::bell::Bell;
use super::*;

fn made() -> (Tail, Tailing, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let wake = Arc::clone(&bell) as Arc<dyn Wake>;
    let names = ClusterNames::new("c", "n").unwrap();
    let (tail, tailing) = tail(&names, &Line::new(), wake);
    (tail, tailing, bell)
}

#[test]
fn a_record_that_does_not_fit_waits_for_the_reader_whatever_room_is_left() {
    let (mut tail, tailing, _) = made();
    tail.follow(1, None);
    let records = &tailing.shared.records;
    let mut order = Order::new(1);
    let long = Bytes::from(vec![0; 700 << 10]);
    let fit = ROOM.bytes / (long.len() + RECORD);
    for sequence in 1..=fit as u64 {
        order.offer(sequence, long.clone());
    }
    assert_eq!(pass_on(&mut order, records, 1), (fit, false));
    assert!(records.free() >= ROOM_MIN);
    order.offer(order.next(), long.clone());
    assert_eq!(pass_on(&mut order, records, 1), (0, true));
    assert!(matches!(
        tail.take(),
        Some(Heard::Record { sequence: 1, .. })
    ));
    assert_eq!(pass_on(&mut order, records, 1), (1, false));
}

#[test]
fn what_was_known_of_another_log_is_forgotten() {
    let (mut tail, tailing, _) = made();
    tail.follow(1, None);
    {
        let (_, condition) = &mut *tailing.shared.condition.lock();
        (condition.end, condition.checked) = (70, Some(Instant::now().into_std()));
    }
    tail.follow(5, None);
    let condition = tail.condition();
    assert_eq!((condition.end, condition.checked), (4, None));
    assert_eq!(tailing.shared.condition.lock().0, 2);
}
