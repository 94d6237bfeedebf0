//! When certificates are valid, and what there is to say of that.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::store_command::utc::utc;

/// A certificate that expires within this time, in seconds, is warned of.
const SOON: i64 = 14 * DAY;

const DAY: i64 = 86_400;

/// What a chain says of the time in which it can be used.
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// When the server's own certificate expires, in seconds since 1970 UTC, if that can be read.
    pub(super) expires: Option<i64>,
    /// What clients may refuse it for, and what would mend that.
    pub(super) warnings: Vec<String>,
}

/// Looks at each certificate of a chain at a time in seconds since 1970 UTC.
pub(super) fn examine(chain: &[CertificateDer<'_>], now: i64) -> Validity {
    let mut found = Validity::default();
    for (i, certificate) in chain.iter().enumerate() {
        let name = match i {
            0 => "the certificate".to_owned(),
            i => format!("certificate {} of the chain", i + 1),
        };
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            let warning = format!("when {name} is valid cannot be read");
            found.warnings.push(warning);
            continue;
        };
        let validity = parsed.validity();
        let [from, to] = [validity.not_before, validity.not_after].map(|time| time.timestamp());
        if i == 0 {
            found.expires = Some(to);
        }
        found.warnings.extend(warning(&name, (from, to), now));
    }
    found
}

/// What is to be said of a certificate that is valid from one time up to another.
fn warning(name: &str, (from, to): (i64, i64), now: i64) -> Option<String> {
    let date = |seconds: i64| utc(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    if now > to {
        let ago = days(now - to);
        Some(format!(
            "{name} expired on {} UTC, {ago} ago, and clients refuse it: renew it, and send SIGHUP \
             to a running gateway",
            date(to)
        ))
    } else if now < from {
        let ahead = days(from - now);
        Some(format!(
            "{name} is not valid before {} UTC, {ahead} from now, and clients refuse it until then: \
             use one that is valid, or set the clock of this machine",
            date(from)
        ))
    } else if to - now < SOON {
        let left = days(to - now);
        Some(format!(
            "{name} expires on {} UTC, {left} from now: renew it, and send SIGHUP to a running \
             gateway",
            date(to)
        ))
    } else {
        None
    }
}

/// A time as people say it.
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
        let validity = (NEW_YEAR, NEW_YEAR + 90 * DAY);
        let said = |now: i64| warning("the certificate", validity, now).unwrap_or_default();
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
            ["when certificate 2 of the chain is valid cannot be read"]
        );
    }
}
