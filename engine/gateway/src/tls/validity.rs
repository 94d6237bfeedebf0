//! Checks when certificates are valid, and warns before they expire.

use rustls::pki_types::CertificateDer;
use trunkline_core::clock::utc;

use super::der::{self, Period};

/// The time before the end of a certificate in which the gateway warns, in seconds: 14 days.
const SOON: i64 = 14 * DAY;

const DAY: i64 = 86_400;

/// When the certificates of a chain are valid.
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// When the server's own certificate expires, in seconds since 1970 UTC. `None`: unknown.
    pub(super) expires: Option<i64>,
    /// The reasons for which clients may refuse the chain, and what to do.
    pub(super) warnings: Vec<String>,
    /// When each certificate is valid.
    pub(super) spans: Vec<Span>,
}

/// A certificate, and the first and last second in which it is valid, since 1970 UTC.
#[derive(Debug)]
pub(super) struct Span {
    /// The name of the certificate in log lines.
    pub(super) name: String,
    from: i64,
    to: i64,
}

/// The stage of a certificate at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The certificate is not valid yet.
    Early,
    /// The certificate is valid for at least 14 days more.
    Valid,
    /// The certificate expires within 14 days.
    Soon,
    /// The certificate expires within a day.
    LastDay,
    /// The certificate has expired.
    Expired,
}

impl Span {
    /// Returns the stage at a time in seconds since 1970 UTC.
    pub(super) fn stage(&self, now: i64) -> Stage {
        match self.to.saturating_sub(now) {
            ..0 => Stage::Expired,
            _ if now < self.from => Stage::Early,
            0..DAY => Stage::LastDay,
            DAY..SOON => Stage::Soon,
            _ => Stage::Valid,
        }
    }

    /// Returns the warning about this certificate at a time in seconds since 1970 UTC. Returns `None` if
    /// the certificate is valid for at least 14 days more.
    pub(super) fn warning(&self, now: i64) -> Option<String> {
        let Self { name, from, to } = self;
        let date = |seconds: i64| utc(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
        if now > *to {
            let ago = days(now - to);
            Some(format!(
                "{name} expired on {} UTC, {ago} ago, and clients refuse it: renew it, and send \
                 SIGHUP to a running gateway",
                date(*to)
            ))
        } else if now < *from {
            let ahead = days(from - now);
            Some(format!(
                "{name} is not valid before {} UTC, {ahead} from now, and clients refuse it until \
                 then: use one that is valid, or set the clock of this machine",
                date(*from)
            ))
        } else if to - now < SOON {
            let left = days(to - now);
            Some(format!(
                "{name} expires on {} UTC, {left} from now: renew it, and send SIGHUP to a running \
                 gateway",
                date(*to)
            ))
        } else {
            None
        }
    }
}

/// Checks each certificate of a chain at a time in seconds since 1970 UTC.
pub(super) fn examine(chain: &[CertificateDer<'_>], now: i64) -> Validity {
    let mut found = Validity::default();
    for (i, certificate) in chain.iter().enumerate() {
        let name = match i {
            0 => "the certificate".to_owned(),
            i => format!("certificate {} of the chain", i + 1),
        };
        let Some(Period { from, to }) = der::period(certificate) else {
            let warning = format!("the time in which {name} is valid cannot be read");
            found.warnings.push(warning);
            continue;
        };
        if i == 0 {
            found.expires = Some(to);
        }
        let span = Span { name, from, to };
        found.warnings.extend(span.warning(now));
        found.spans.push(span);
    }
    found
}

/// Returns a duration in days, or in hours below one day, as text.
fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => format!("{} hours", seconds / 3_600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01 00:00:00 UTC.
    const NEW_YEAR: i64 = 1_767_225_600;

    #[test]
    fn what_is_said_and_when() {
        let span = Span {
            name: "the certificate".to_owned(),
            from: NEW_YEAR,
            to: NEW_YEAR + 90 * DAY,
        };
        let said = |now: i64| span.warning(now).unwrap_or_default();
        for (now, words) in [
            (
                NEW_YEAR - 1,
                "not valid before 2026-01-01 00:00:00 UTC, 0 hours from now",
            ),
            (
                NEW_YEAR - 3 * DAY,
                "not valid before 2026-01-01 00:00:00 UTC, 3 days from now",
            ),
            (
                NEW_YEAR + 76 * DAY + 1,
                "expires on 2026-04-01 00:00:00 UTC, 13 days from now",
            ),
            (
                NEW_YEAR + 90 * DAY,
                "expires on 2026-04-01 00:00:00 UTC, 0 hours from now",
            ),
            (
                NEW_YEAR + 90 * DAY + 1,
                "expired on 2026-04-01 00:00:00 UTC, 0 hours ago",
            ),
            (
                NEW_YEAR + 91 * DAY,
                "expired on 2026-04-01 00:00:00 UTC, 1 day ago",
            ),
            (i64::MAX, "expired on"),
        ] {
            assert!(said(now).contains(words), "{now}: {}", said(now));
        }
        for good in [NEW_YEAR, NEW_YEAR + 76 * DAY] {
            assert_eq!(said(good), "", "{good}");
        }
    }

    #[test]
    fn stages_of_a_life() {
        let to = NEW_YEAR + 90 * DAY;
        let span = |from, to| Span {
            name: String::new(),
            from,
            to,
        };
        for (now, expected) in [
            (i64::MIN, Stage::Early),
            (NEW_YEAR - 1, Stage::Early),
            (NEW_YEAR, Stage::Valid),
            (to - SOON, Stage::Valid),
            (to - SOON + 1, Stage::Soon),
            (to - DAY + 1, Stage::LastDay),
            (to, Stage::LastDay),
            (to + 1, Stage::Expired),
            (i64::MAX, Stage::Expired),
        ] {
            assert_eq!(span(NEW_YEAR, to).stage(now), expected, "{now}");
        }
        // One that is never valid is expired, whatever it says of its beginning.
        assert_eq!(span(to, NEW_YEAR).stage(NEW_YEAR + 1), Stage::Expired);
    }

    #[test]
    fn a_chain_with_something_that_is_no_certificate() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["gateway".into()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2050, 2, 3);
        let leaf = leaf.self_signed(&pair).unwrap();
        let chain = [leaf.der().clone(), CertificateDer::from(vec![0x30, 0])];
        let found = examine(&chain, NEW_YEAR);
        assert_eq!(found.expires, Some(2_527_459_200));
        assert_eq!(
            found.warnings,
            ["the time in which certificate 2 of the chain is valid cannot be read"]
        );
    }
}
