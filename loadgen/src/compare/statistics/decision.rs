//! The decision on a sample of differences: worse, better, or no difference.

use super::bootstrap::{Interval, interval};
use super::centre::hodges_lehmann;
use super::noise::floor;
use super::signed_rank::signed_rank;

/// The rule that a decision follows.
#[derive(Clone, Copy, Debug)]
pub(in crate::compare) struct Rule {
    /// The probability, 0 to 1, at which chance alone may cause a decision, in either direction.
    pub(in crate::compare) level: f64,
    /// The smallest difference that matters, in the unit of the differences.
    pub(in crate::compare) least: f64,
    pub(in crate::compare) resamples: usize,
    pub(in crate::compare) seed: u64,
}

/// The decision on a sample of differences, with the figures that it follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::compare) struct Decision {
    pub(in crate::compare) says: Says,
    /// The estimated centre of the differences.
    pub(in crate::compare) centre: f64,
    /// The interval that the true centre probably lies in.
    pub(in crate::compare) interval: Interval,
    /// The probability, 0 to 1, that chance alone causes differences at least this large.
    pub(in crate::compare) p: f64,
    /// The floor: a smaller difference is noise, or does not matter.
    pub(in crate::compare) floor: f64,
}

/// The decision in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compare) enum Says {
    /// No difference: chance alone explains the sample, or the difference is below the floor.
    Nothing,
    /// The differences are below zero, and larger than the floor.
    Below,
    /// The differences are above zero, but perhaps not larger than the floor.
    PerhapsAbove,
    /// The differences are above zero, and larger than the floor.
    Above,
}

/// Decides on `differences` by the differences `equal` between equal runs. All have one unit, and
/// zero means no difference. Returns `None` for no differences.
///
/// The answer is above or below zero if the signed-rank test says so at the rule's level and the
/// whole interval lies beyond the floor. So chance alone causes such an answer at most as often as
/// the level says. This holds for noise of any shape that is equally likely in both directions.
pub(in crate::compare) fn decide(
    differences: &[f64],
    equal: &[f64],
    rule: &Rule,
) -> Option<Decision> {
    let Rule {
        level,
        least,
        resamples,
        seed,
    } = *rule;
    let centre = hodges_lehmann(differences)?;
    let interval = interval(differences, 1.0 - level, seed, resamples)?;
    let floor = floor(equal, differences.len(), seed, resamples).max(least);
    let p = signed_rank(differences).p;
    let says = match p <= level {
        true if interval.low > floor => Says::Above,
        true if interval.high < -floor => Says::Below,
        true if interval.low > 0.0 && interval.high > floor => Says::PerhapsAbove,
        _ => Says::Nothing,
    };
    Some(Decision {
        says,
        centre,
        interval,
        p,
        floor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        level: 0.00625,
        least: 0.01,
        resamples: 2_000,
        seed: 1,
    };

    /// Decides on ten differences around `centre`, where equal runs differ by `equal`.
    fn said(centre: f64, spread: f64, equal: f64) -> Says {
        let differences: Vec<f64> = (0..10)
            .map(|i| centre + spread * (f64::from(i * 7 % 10) - 4.5) / 4.5)
            .collect();
        let equal: Vec<f64> = (0..10).map(|i| equal * f64::from(i - 5) / 5.0).collect();
        decide(&differences, &equal, &RULE).unwrap().says
    }

    #[test]
    fn each_answer() {
        assert_eq!(said(0.2, 0.05, 0.05), Says::Above);
        assert_eq!(said(-0.2, 0.05, 0.05), Says::Below);
        // Certain, and less than what matters.
        assert_eq!(said(0.005, 0.001, 0.0), Says::Nothing);
        // Certain, and the interval reaches below the floor: of what matters, and of noise.
        assert_eq!(said(0.012, 0.01, 0.0), Says::PerhapsAbove);
        assert_eq!(said(0.2, 0.05, 0.5), Says::PerhapsAbove);
        // As the same on the better side is nothing to act on.
        assert_eq!(said(-0.012, 0.01, 0.0), Says::Nothing);
        // Of both signs.
        assert_eq!(said(0.02, 0.2, 0.0), Says::Nothing);
        assert_eq!(decide(&[], &[], &RULE), None);
    }

    #[test]
    fn the_test_must_agree_with_the_interval() {
        // Nine of ten agree and the tenth is far away: the smallest p of that is 22 of 1,024.
        let mut differences = [0.1; 10];
        differences[9] = -0.3;
        let decision = decide(&differences, &[], &RULE).unwrap();
        assert!(decision.p > RULE.level, "{decision:?}");
        assert_eq!(decision.says, Says::Nothing);
    }
}
