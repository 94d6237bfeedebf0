//! Why a token opens no session.

use trunkline_proto::{CloseCode, ErrorCode};

/// What is wrong with a token, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// It is longer than `token_bytes`.
    TooLong,
    /// It is no token.
    Malformed,
    /// It is signed with an algorithm that its key is not for, `none` among them.
    Algorithm,
    /// It names no key, or one that is not there.
    Key,
    /// The signature is not the key's.
    Signature,
    /// It has run out.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// It is for somebody else.
    Audience,
    /// It is of somebody else.
    Issuer,
    /// A claim is missing, or not as it should be.
    Claims,
    /// `connect` says something else than the token.
    Contradicted,
    /// Another one of the same connection was checked in the same turn.
    TooMany,
}

impl Reason {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::Audience,
        Self::Issuer,
        Self::Claims,
        Self::Contradicted,
        Self::TooMany,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Claims => "claims",
            Self::Contradicted => "contradicted",
            Self::TooMany => "too_many",
        }
    }
}

/// A token that is refused, and what the client is told: nothing of what the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// As it is counted.
    pub reason: Reason,
    /// For people.
    pub message: &'static str,
}

impl Refusal {
    pub(super) const TOO_LONG: Self = Self::new(
        Reason::TooLong,
        "the token is longer than this gateway takes: token_bytes",
    );
    pub(super) const MALFORMED: Self = Self::new(
        Reason::Malformed,
        "the token is no JSON Web Token: three parts in base64url with a dot between them",
    );
    pub(super) const ALGORITHM: Self = Self::new(
        Reason::Algorithm,
        "the token is not signed with the algorithm that this gateway's key is for",
    );
    pub(super) const NO_KEY: Self = Self::new(
        Reason::Key,
        "the token does not say which key it is signed with (\"kid\")",
    );
    pub(super) const UNKNOWN_KEY: Self = Self::new(
        Reason::Key,
        "the token is signed with a key that this gateway does not know (\"kid\")",
    );
    pub(super) const SIGNATURE: Self = Self::new(
        Reason::Signature,
        "the token's signature is not that of this gateway's key",
    );
    pub(super) const EXPIRED: Self = Self::new(
        Reason::Expired,
        "the token has expired: connect with a new one",
    );
    pub(super) const NOT_YET: Self =
        Self::new(Reason::NotYet, "the token is not valid yet (\"nbf\")");
    pub(super) const AUDIENCE: Self =
        Self::new(Reason::Audience, "the token is for somebody else (\"aud\")");
    pub(super) const ISSUER: Self = Self::new(
        Reason::Issuer,
        "the token is of an issuer that this gateway does not take (\"iss\")",
    );
    pub(crate) const MISSING: Self = Self::new(Reason::Missing, "connect needs a \"token\"");
    pub(crate) const OTHER_USER: Self = Self::new(
        Reason::Contradicted,
        "the token is another user's: \"user\" and \"namespace\" may be left out",
    );
    pub(crate) const OTHER_DEVICE: Self = Self::new(
        Reason::Contradicted,
        "the token is for another device: \"device\" may be left out",
    );

    pub(crate) const TOO_MANY: Self = Self::new(
        Reason::TooMany,
        "one token at a time: wait for the answer to the one before",
    );

    const fn new(reason: Reason, message: &'static str) -> Self {
        Self { reason, message }
    }

    pub(super) const fn claims(message: &'static str) -> Self {
        Self::new(Reason::Claims, message)
    }

    /// The code of the error reply.
    pub const fn code(&self) -> ErrorCode {
        match self.reason {
            Reason::Expired => ErrorCode::TokenExpired,
            Reason::Contradicted => ErrorCode::PermissionDenied,
            Reason::TooMany => ErrorCode::TooManyRequests,
            _ => ErrorCode::Unauthorized,
        }
    }

    /// What a connection without a session is closed with; `None`: it may try again.
    pub const fn close(&self) -> Option<CloseCode> {
        match self.reason {
            Reason::Expired => Some(CloseCode::TOKEN_EXPIRED),
            Reason::Contradicted | Reason::TooMany => None,
            _ => Some(CloseCode::INVALID_TOKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn each_has_its_counter() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.name());
        }
    }
}
