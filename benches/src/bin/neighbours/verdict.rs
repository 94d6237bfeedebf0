//! Whether the honest users were kept whole.

use serde::Serialize;
use trunkline_benches::rounds::Verdict;

use crate::crew::Tally;
use crate::honest::Harm;
use crate::judge::Judged;
use crate::latencies::Latencies;
use crate::lingering::Lingering;

/// How many milliseconds longer than before controls after attacks may be at least.
pub(crate) const MORE_MS: f64 = 0.3;

/// How much more memory than before is returned memory.
const RETURNED: f64 = 1.2;

/// The least part of messages that arrive within a second beside many attackers.
const SHARE: f64 = 0.99;

/// The percentiles of a turn, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) longest_ms: f64,
    pub(crate) messages: u64,
}

impl Percentiles {
    /// Returns the percentiles of latencies.
    pub(crate) fn of(latencies: &Latencies) -> Self {
        Self {
            p50_ms: latencies.millis(0.5),
            p99_ms: latencies.millis(0.99),
            longest_ms: latencies.millis(1.0),
            messages: latencies.count(),
        }
    }
}

/// The memory of the gateway, in MiB.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    /// Before the attack, after its preparation.
    pub(crate) before: f64,
    /// The most, from the attack on.
    pub(crate) peak: f64,
    /// After the attacker has left.
    pub(crate) after: f64,
    /// How much of it is the index of messages that were stored since the attack began, those of
    /// the honest users too. It goes when the store writes its next run.
    pub(crate) stored: f64,
}

impl Memory {
    /// Returns whether the memory has returned, except for the index of what is stored.
    pub(crate) fn has_returned(self) -> bool {
        self.after - self.stored <= self.before * RETURNED
    }
}

/// All that was measured about one attack.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) attack: &'static str,
    pub(crate) about: &'static str,
    /// The controls of all rounds.
    pub(crate) before: Percentiles,
    /// The controls after all rounds.
    pub(crate) after: Percentiles,
    /// The attacks of all rounds.
    pub(crate) beside: Percentiles,
    /// What the rounds say.
    pub(crate) judged: Judged,
    /// What is left of the attack when it is over.
    pub(crate) lingering: Lingering,
    /// While the attacker's load went to a server that does nothing, if that was asked for.
    pub(crate) sink: Option<Percentiles>,
    /// The largest 99th percentile of a second beside the attack.
    pub(crate) worst_second_ms: f64,
    /// The part of the messages beside the attack that arrived within a second.
    pub(crate) in_time: f64,
    pub(crate) harm: Harm,
    pub(crate) memory: Memory,
    /// The cores that the gateway used beside the attack.
    pub(crate) cores: f64,
    /// The part of a processor that the attacker's own programs take, with the sink if there was one.
    pub(crate) own_cores: f64,
    pub(crate) attack_seconds: f64,
    /// How many of the attacker's commands were refused for the time being (error 111).
    pub(crate) refused: u64,
    pub(crate) attacker: Tally,
}

/// What the gateway has to keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The number of attackers. Beside several, the honest users get their share: nearly all
    /// messages arrive within a second. Beside one, they notice nothing.
    pub(crate) attackers: usize,
    /// The most memory in MiB that an attack may add.
    pub(crate) memory_mib: f64,
}

impl Figures {
    /// Returns how many times higher the 99th percentile is beside the attack.
    pub(crate) fn factor(&self) -> f64 {
        self.judged.beside_p99_ms / self.judged.control_p99_ms
    }

    /// Whether nothing is missed, and what the honest users noticed is not decided.
    pub(crate) fn is_undecided(&self, bounds: Bounds) -> bool {
        let is_open = bounds.attackers == 1 && self.judged.verdict == Verdict::Undecided;
        is_open && self.misses(bounds).is_empty()
    }

    /// Returns what the gateway did not keep, in words; nothing if the honest users were whole.
    pub(crate) fn misses(&self, bounds: Bounds) -> Vec<&'static str> {
        let (
            Harm {
                lost, disordered, ..
            },
            memory,
        ) = (self.harm, self.memory);
        let slow = self.judged.verdict == Verdict::Beyond;
        let is_alone = bounds.attackers == 1;
        let checks = [
            (is_alone && slow, "p99"),
            (!is_alone && self.in_time < SHARE, "share"),
            (is_alone && self.lingering.is_felt(), "lingers"),
            (lost > 0, "lost"),
            (disordered > 0, "order"),
            (self.harm.unanswered > 0, "unanswered"),
            (self.harm.refused > 0, "refused"),
            (self.harm.closed > 0, "closed"),
            (memory.peak > memory.before + bounds.memory_mib, "memory"),
            (!memory.has_returned(), "memory kept"),
        ];
        let missed = checks.into_iter().filter(|(missed, _)| *missed);
        missed.map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::judge::tests::RULES;
    use crate::judge::{Round, judge};

    pub(crate) const ALONE: Bounds = Bounds {
        attackers: 1,
        memory_mib: 512.0,
    };

    fn percentiles(p99_ms: f64) -> Percentiles {
        Percentiles {
            p50_ms: p99_ms / 3.0,
            p99_ms,
            longest_ms: 2.0 * p99_ms,
            messages: 1_000,
        }
    }

    /// Rounds with these milliseconds in each message, of the control and beside the attack.
    fn judged_of<const ROUNDS: usize>(controls: [u32; ROUNDS], beside_micros: u32) -> Judged {
        let round = |control| Round {
            control: vec![control * 1_000; 100],
            beside: vec![beside_micros; 100],
            sink: None,
        };
        judge(&controls.map(round), RULES)
    }

    /// Rounds whose control is 1 ms.
    fn judged(beside_micros: u32) -> Judged {
        judged_of([1; 6], beside_micros)
    }

    /// Figures of a gateway that kept everybody whole.
    pub(crate) fn whole() -> Figures {
        Figures {
            attack: "test",
            about: "nothing",
            before: percentiles(1.0),
            after: percentiles(1.0),
            beside: percentiles(1.2),
            judged: judged(1_200),
            lingering: Lingering::default(),
            sink: None,
            worst_second_ms: 1.4,
            in_time: 1.0,
            harm: Harm::default(),
            memory: Memory {
                before: 12.0,
                peak: 80.0,
                after: 14.0,
                stored: 0.0,
            },
            cores: 0.5,
            own_cores: 0.2,
            attack_seconds: 4.0,
            refused: 0,
            attacker: Tally::default(),
        }
    }

    #[test]
    fn a_little_slower_is_whole() {
        assert_eq!(whole().misses(ALONE), [""; 0]);
    }

    #[test]
    fn rounds_beyond_the_bound_are_a_miss() {
        let mut figures = whole();
        figures.judged = judged(1_310);
        assert_eq!(figures.misses(ALONE), ["p99"]);
        assert!((figures.factor() - 1.31).abs() < 1e-9);
    }

    #[test]
    fn an_attack_that_is_felt_in_later_controls_lingers() {
        let mut figures = whole();
        figures.lingering.last_control_p99_ms = 5.0;
        assert_eq!(figures.misses(ALONE), ["lingers"]);
    }

    #[test]
    fn what_is_not_decided_is_no_miss_and_not_whole() {
        let mut figures = whole();
        assert!(!figures.is_undecided(ALONE));
        figures.judged = judged_of([], 0);
        assert!(figures.is_undecided(ALONE));
        figures.harm.lost = 1;
        assert!(!figures.is_undecided(ALONE));
    }

    #[test]
    fn many_attackers_leave_the_honest_their_share() {
        let many = Bounds {
            attackers: 50,
            ..ALONE
        };
        let mut figures = whole();
        figures.judged = judged(100_000);
        assert_eq!(figures.misses(many), [""; 0]);
        figures.in_time = 0.98;
        assert_eq!(figures.misses(many), ["share"]);
    }

    #[test]
    fn harm_of_any_kind_is_a_miss() {
        let one = |harm| Figures { harm, ..whole() }.misses(ALONE);
        let none = Harm::default();
        assert_eq!(one(Harm { lost: 1, ..none }), ["lost"]);
        let disordered = 1;
        assert_eq!(one(Harm { disordered, ..none }), ["order"]);
        let unanswered = 1;
        assert_eq!(one(Harm { unanswered, ..none }), ["unanswered"]);
        assert_eq!(one(Harm { refused: 1, ..none }), ["refused"]);
        assert_eq!(one(Harm { closed: 1, ..none }), ["closed"]);
    }

    #[test]
    fn memory_is_bounded_and_returns() {
        let mut figures = whole();
        figures.memory.peak = 525.0;
        assert_eq!(figures.misses(ALONE), ["memory"]);
        figures.memory.after = 14.5;
        assert_eq!(figures.misses(ALONE), ["memory", "memory kept"]);
        figures.memory.stored = 0.2;
        assert_eq!(figures.misses(ALONE), ["memory"]);
    }
}
