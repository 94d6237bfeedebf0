use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use trunkline_storage::TimelineId;

use super::round::AHEAD;
use super::*;

const QUANTUM: Cost = Cost::micros(100);

/// The number of an entry, and its user.
type Numbered = (u64, u32);

fn form(entries: usize, bytes: usize) -> Form {
    Form {
        quantum: QUANTUM,
        entries,
        bytes,
        weights: Arc::default(),
    }
}

fn open() -> FairQueue<Numbered> {
    FairQueue::new(form(usize::MAX, usize::MAX))
}

fn flow(user: u64) -> Flow {
    Flow {
        namespace: NamespaceId(user >> 32),
        user: TimelineId(u128::from(user) << 64),
    }
}

/// Returns a user of another namespace than the default one.
const fn of_namespace(namespace: u64, user: u64) -> u64 {
    namespace << 32 | user
}

fn entry(user: u64, number: u32, micros: u64) -> Entry<Numbered> {
    Entry {
        flow: flow(user),
        cost: Cost::micros(micros),
        bytes: 10,
        item: (user, number),
    }
}

fn fill(queue: &mut FairQueue<Numbered>, user: u64, count: u32, micros: u64) {
    for number in 0..count {
        queue.push(entry(user, number, micros));
    }
}

fn pop(queue: &mut FairQueue<Numbered>) -> u64 {
    queue.pop().unwrap().item.0
}

/// Serves a number of entries. Returns the microseconds that each user got.
fn serve(queue: &mut FairQueue<Numbered>, count: usize) -> HashMap<u64, u64> {
    let mut served = HashMap::new();
    for _ in 0..count {
        let entry = queue.pop().unwrap();
        *served.entry(entry.item.0).or_default() += u64::from(entry.cost.as_nanos()) / 1_000;
    }
    served
}

/// Checks that nothing but capacity within the limits is left.
fn check_empty(queue: &FairQueue<Numbered>) {
    assert!(queue.is_empty() && queue.users() == 0 && queue.bytes() == 0);
    assert!(queue.users.is_empty() && queue.user_of.is_empty());
    assert!(queue.namespaces.is_empty() && queue.namespace_of.is_empty());
    assert!(queue.waiting.capacity() <= KEPT && queue.user_of.capacity() <= KEPT);
}

#[test]
fn whoever_asks_much_waits_behind_itself() {
    let mut queue = open();
    fill(&mut queue, 1, 1_000, 50);
    // The first turn of a newcomer.
    assert_eq!([(); 2].map(|()| pop(&mut queue)), [1, 1]);
    fill(&mut queue, 2, 1, 50);
    assert_eq!(pop(&mut queue), 2, "a user with nothing queued goes first");
    fill(&mut queue, 3, 100, 50);
    let next = [(); 6].map(|()| pop(&mut queue));
    assert_eq!(next, [3, 3, 1, 1, 3, 3], "for one turn, and then in turn");
}

#[test]
fn users_get_the_same_cost_whatever_their_entries_cost() {
    let mut queue = open();
    for (user, micros) in [(1, 7), (2, 40), (3, 330), (4, 99)] {
        fill(&mut queue, user, 100_000 / micros as u32, micros);
    }
    let served = serve(&mut queue, 3_000);
    let (least, most) = (served.values().min(), served.values().max());
    assert!(most.unwrap() - least.unwrap() <= 330 + 100, "{served:?}");
}

#[test]
fn namespaces_share_by_weight_however_many_users_they_have() {
    let mut form = form(usize::MAX, usize::MAX);
    let acme = NamespaceId(7);
    form.weights = Arc::new(Weights::new(0, [(acme, 3)]));
    assert_eq!(form.weights.of(NamespaceId(8)), 1);
    let mut queue = FairQueue::new(form);
    for user in 0..50 {
        fill(&mut queue, user, 100, 20);
    }
    let one = of_namespace(7, 1);
    fill(&mut queue, one, 4_000, 20);
    let served = serve(&mut queue, 4_000);
    let (of_acme, all) = (served[&one], served.values().sum::<u64>());
    assert!(of_acme.abs_diff(all * 3 / 4) <= 400, "{of_acme} of {all}");
}

#[test]
fn a_debt_is_paid_with_turns() {
    let mut queue = open();
    fill(&mut queue, 1, 2, 1_000);
    fill(&mut queue, 2, 100, 50);
    assert_eq!(pop(&mut queue), 1);
    let before = (0..).take_while(|_| pop(&mut queue) == 2).count();
    // 900 µs of debt are 9 turns, and user 2 has one more as a newcomer.
    assert_eq!(before, 20);
    // What turns out to be dearer is a debt as well.
    let mut queue = open();
    fill(&mut queue, 1, 100, 50);
    fill(&mut queue, 2, 100, 50);
    assert_eq!(pop(&mut queue), 1);
    queue.charge(flow(1).user, Cost::micros(350));
    queue.charge(flow(9).user, Cost::micros(350));
    assert_eq!(pop(&mut queue), 2, "before the rest of the turn");
    let before = (0..).take_while(|_| pop(&mut queue) == 2).count();
    assert_eq!(before, 7);
}

#[test]
fn alone_a_user_has_no_debts() {
    let mut queue = open();
    fill(&mut queue, 1, 3, 4_000_000);
    serve(&mut queue, 2);
    fill(&mut queue, 2, 3, 60);
    let next = [(); 3].map(|()| pop(&mut queue));
    assert_eq!(next, [2, 2, 1]);
}

#[test]
fn newcomers_without_end_starve_nobody() {
    let mut queue = open();
    fill(&mut queue, 1, 1_000, 50);
    serve(&mut queue, 2);
    let (mut old, mut new) = (0, 0);
    for user in 2..2_000 {
        fill(&mut queue, user, 1, 50);
        match pop(&mut queue) {
            1 => old += 1,
            _ => new += 1,
        }
    }
    assert!(new / (old + 1) < 2 * AHEAD as usize, "{old} of {new}");
    assert!(new / old >= AHEAD as usize - 1, "{old} of {new}");
    assert!(queue.users.len() < 600, "users who have gone are forgotten");
    serve(&mut queue, 998);
    check_empty(&queue);
}

#[test]
fn entries_without_cost_use_up_a_turn() {
    let mut queue = open();
    fill(&mut queue, 1, 5_000, 0);
    fill(&mut queue, 2, 5_000, 0);
    let served = (0..3_000).filter(|_| pop(&mut queue) == 1).count();
    assert_eq!(served, 2_000, "turns of 1,000");
}

#[test]
fn the_bound_is_taken_from_the_largest() {
    let mut queue = FairQueue::new(form(usize::MAX, 1_000));
    let fill = |queue: &mut FairQueue<Numbered>, user| {
        (0..)
            .take_while(|_| queue.try_push(entry(user, 0, 1)).is_ok())
            .count()
    };
    assert_eq!(fill(&mut queue, 1), 50, "half of it");
    assert_eq!(fill(&mut queue, 2), 25, "half of the rest");
    assert!(!queue.has_room(flow(1), 10) && queue.has_room(flow(3), 10));
    assert_eq!(
        fill(&mut queue, 3),
        5,
        "the fifth of the namespace is for others"
    );
    assert_eq!(fill(&mut queue, of_namespace(1, 1)), 10);
    assert_eq!(queue.bytes(), 900);
    // Of the largest, half must go before it has room again.
    queue.retain(flow(1).user, |_| false);
    assert_eq!(queue.bytes(), 400);
    assert!(queue.has_room(flow(1), 10) && queue.has_room(flow(2), 10));
    assert!(!queue.has_room(flow(1), 601));
    queue.retain(flow(2).user, |_| false);
    queue.retain(flow(3).user, |_| false);
    queue.retain(flow(of_namespace(1, 1)).user, |_| false);
    check_empty(&queue);
    assert!(
        queue.has_room(flow(1), 5_000),
        "an empty queue takes anything"
    );
}

#[test]
fn entries_are_bounded_as_bytes_are() {
    let mut queue = FairQueue::new(form(4, usize::MAX));
    for (user, fits) in [(1, true), (1, true), (1, false), (2, true), (2, false)] {
        assert_eq!(queue.try_push(entry(user, 0, 1)).is_ok(), fits, "{user}");
    }
    assert!(queue.try_push(entry(of_namespace(1, 1), 0, 1)).is_ok());
    assert!(queue.try_push(entry(of_namespace(2, 1), 0, 1)).is_err());
    assert_eq!((queue.len(), queue.users()), (4, 3));
}

#[test]
fn memory_returns() {
    let mut queue = open();
    for user in 0..20_000 {
        fill(&mut queue, user, 1, 200);
    }
    serve(&mut queue, 20_000);
    check_empty(&queue);
    // One user stays, and the others leave memory all the same.
    fill(&mut queue, 0, 20_000, 200);
    for user in 1..20_000 {
        fill(&mut queue, user, 1, 200);
    }
    serve(&mut queue, 30_000);
    assert_eq!((queue.users(), queue.users.len()), (1, 1));
    assert!(queue.user_of.capacity() <= KEPT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes: nothing is lost, each user's order is kept, a user with entries waits
    /// a bounded cost, and an empty queue has forgotten everything.
    #[test]
    fn nothing_is_lost_and_nobody_starves(
        steps in vec((0u64..6, 0u64..3, 0u64..400, any::<bool>()), 1..100)
    ) {
        let mut queue = open();
        let mut expected: HashMap<u64, VecDeque<u32>> = HashMap::new();
        // The cost that was served while a user waited, and nothing of it was served.
        let mut passed: HashMap<u64, u64> = HashMap::new();
        for (number, (user, namespace, micros, pops)) in steps.into_iter().enumerate() {
            let user = of_namespace(namespace, user);
            queue.push(entry(user, number as u32, micros));
            expected.entry(user).or_default().push_back(number as u32);
            if !pops {
                continue;
            }
            let entry = queue.pop().unwrap();
            let (served, number) = entry.item;
            prop_assert_eq!(expected.get_mut(&served).unwrap().pop_front(), Some(number));
            expected.retain(|_, numbers| !numbers.is_empty());
            prop_assert_eq!(queue.users(), expected.len());
            passed.retain(|user, _| *user != served && expected.contains_key(user));
            for user in expected.keys().filter(|user| **user != served) {
                let passed = passed.entry(*user).or_default();
                *passed += u64::from(entry.cost.as_nanos()) / 1_000;
                // Twice: 5 other users and 2 other namespaces, each with a turn and the rest of an
                // entry, for as many turns as an own entry costs; and those ahead.
                prop_assert!(*passed <= 2 * AHEAD * 8 * 500 * 5, "{} waited {}", user, passed);
            }
        }
        let left: usize = expected.values().map(VecDeque::len).sum();
        prop_assert_eq!((queue.len(), queue.bytes()), (left, 10 * left));
        while let Some(entry) = queue.pop() {
            let (user, number) = entry.item;
            prop_assert_eq!(expected.get_mut(&user).unwrap().pop_front(), Some(number));
        }
        check_empty(&queue);
    }

    /// Users who always have entries get the same, within two turns and two entries.
    #[test]
    fn busy_users_share_alike(costs in vec(1u64..500, 2..6), pops in 1usize..200) {
        let mut queue = open();
        for (user, micros) in costs.iter().enumerate() {
            fill(&mut queue, user as u64, 200, *micros);
        }
        let served = serve(&mut queue, pops);
        let of = |user: usize| served.get(&(user as u64)).copied().unwrap_or_default();
        for (user, micros) in costs.iter().enumerate() {
            for (other, other_micros) in costs.iter().enumerate() {
                let most = of(other) + 2 * (100 + micros) + other_micros;
                prop_assert!(of(user) <= most, "{:?} got {:?}", costs, served);
            }
        }
    }
}
