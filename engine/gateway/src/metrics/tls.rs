//! The counters of TLS.

use rustls::{AlertDescription, Error, InvalidMessage};
use trunkline_core::metrics::Counter;
use trunkline_proto::tls::TlsError;

/// A reason for which a TLS connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The client sent HTTP without TLS.
    Http,
    /// The client sent something that is neither TLS nor HTTP.
    NotTls,
    /// Client and gateway have no version, cipher suite or protocol in common.
    Incompatible,
    /// The client refused the certificate.
    Certificate,
    /// The client gave up for another reason.
    Alert,
    /// The client sent a record or hand-shake message that is too long.
    TooLong,
    /// The client sent bytes that cannot be decrypted, or that break the protocol.
    Broken,
    /// The client left during the hand-shake.
    Left,
    /// The hand-shake was not complete in time.
    Time,
}

impl TlsFailure {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 9] = [
        Self::Http,
        Self::NotTls,
        Self::Incompatible,
        Self::Certificate,
        Self::Alert,
        Self::TooLong,
        Self::Broken,
        Self::Left,
        Self::Time,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::TooLong => "too_long",
            Self::Broken => "broken",
            Self::Left => "left",
            Self::Time => "time",
        }
    }

    /// Returns the reason for an error. `first`: the client had sent nothing before.
    pub fn of(error: &TlsError, first: bool) -> Self {
        use AlertDescription as Alert;
        let TlsError::Tls(error) = error else {
            return Self::TooLong;
        };
        match error {
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(
                InvalidMessage::MessageTooLarge | InvalidMessage::HandshakePayloadTooLarge,
            ) => Self::TooLong,
            Error::InvalidMessage(_) if first => Self::NotTls,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::BadCertificateStatusResponse,
            ) => Self::Certificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Broken,
        }
    }
}

/// The counters of the thread that reads the TLS files for all shards.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// The number of times that the files were read again.
    pub reloaded: Counter,
    /// The number of times that the files were read again and could not be used.
    pub reload_failed: Counter,
}

#[cfg(test)]
mod tests {
    use super::TlsFailure;

    #[test]
    fn each_has_its_counter() {
        for (i, failure) in TlsFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, i, "{}", failure.name());
        }
    }
}
