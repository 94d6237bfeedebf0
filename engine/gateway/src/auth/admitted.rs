//! What a back end grants to a session.

use trunkline_core::clock::system_ms;
use trunkline_core::exchange::{Admitted, Topics};
use trunkline_proto::message::Connect;
use trunkline_proto::names::is_name;

use super::claims::Grant;
use super::refusal::Refusal;
use super::rights::{Rights, is_pattern};

const NO_NAME: Refusal = Refusal::claims(
    "who is it? Neither the back end nor \"connect\" names a user: 1 to 64 bytes of [A-Za-z0-9._@-]",
);
const BAD_TOPICS: Refusal = Refusal::claims(
    "the \"topics\" of the back end are not names of topics, or the beginning of a name and a *",
);

impl Grant {
    /// The `expires_ms` of a grant that never expires.
    pub const NEVER: u64 = u64::MAX;

    /// Returns when the grant expires, in milliseconds since 1970 UTC. `None`: never.
    pub fn expires(&self) -> Option<u64> {
        Some(self.expires_ms).filter(|at| *at != Self::NEVER)
    }

    /// Makes the grant of a back end's answer to a `connect`. What the answer does not say follows from
    /// `token`, the grant of the client's token, or else from the `connect`. `all_topics`: a session
    /// whose topics nobody names may use all of them.
    ///
    /// # Errors
    /// Nobody names the user, or the grant has expired.
    pub fn admitted(
        admitted: Admitted,
        token: Option<Self>,
        connect: &Connect<'_>,
        all_topics: bool,
    ) -> Result<Self, Refusal> {
        let known = token.as_ref();
        let user = admitted.user.as_deref();
        let user = user.or(known.map(|grant| &*grant.user));
        let user = user.or(connect.user.as_deref()).ok_or(NO_NAME)?;
        let namespace = admitted.namespace.as_deref();
        let namespace = namespace.or(known.map(|grant| &*grant.namespace));
        let namespace = namespace.or(connect.namespace.as_deref());
        let namespace = namespace.unwrap_or_default();
        if !is_name(user) || !(namespace.is_empty() || is_name(namespace)) {
            return Err(NO_NAME);
        }
        let expires = admitted.expires.or(known.map(|grant| grant.expires_ms));
        let expires_ms = expires.unwrap_or(Self::NEVER);
        // A token has been checked, with the leeway of its clock.
        if admitted.expires.is_some_and(|at| at <= system_ms()) {
            return Err(Refusal::EXPIRED);
        }
        let rights = match (admitted.topics, known) {
            (Some(topics), _) => rights(&topics)?,
            (None, Some(grant)) => grant.rights.clone(),
            (None, None) if all_topics => Rights::new(["*"].into_iter(), ["*"].into_iter()),
            (None, None) => Rights::default(),
        };
        Ok(Self {
            user: user.into(),
            namespace: namespace.into(),
            device: known.and_then(|grant| grant.device.clone()),
            expires_ms,
            token: known.map(|grant| grant.token).unwrap_or_default(),
            rights,
        })
    }
}

fn rights(topics: &Topics) -> Result<Rights, Refusal> {
    let mut all = topics.subscribe.iter().chain(&topics.publish);
    if !all.all(|pattern| is_pattern(pattern)) {
        return Err(BAD_TOPICS);
    }
    let [subscribe, publish] = [&topics.subscribe, &topics.publish].map(|list| list.iter());
    Ok(Rights::new(
        subscribe.map(String::as_str),
        publish.map(String::as_str),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Act;

    fn connect(user: Option<&'static str>) -> Connect<'static> {
        Connect {
            user: user.map(Into::into),
            ..Connect::default()
        }
    }

    fn token() -> Grant {
        Grant {
            user: "alice".into(),
            namespace: "acme".into(),
            device: Some("phone".into()),
            expires_ms: Grant::NEVER - 1,
            token: trunkline_core::exchange::TokenMark::default(),
            rights: Rights::new(["live.*"].into_iter(), std::iter::empty()),
        }
    }

    #[test]
    fn the_back_end_comes_before_the_token_and_the_token_before_the_client() {
        let nothing = Admitted::default;
        let grant = Grant::admitted(nothing(), None, &connect(Some("eve")), false).unwrap();
        assert_eq!((&*grant.user, grant.expires()), ("eve", None));
        assert!(grant.rights.is_empty());
        let grant = Grant::admitted(nothing(), Some(token()), &connect(Some("eve")), false);
        assert_eq!(grant.unwrap(), token());
        let said = Admitted {
            user: Some("bob".to_owned()),
            namespace: Some(String::new()),
            expires: Some(system_ms() + 60_000),
            topics: Some(Topics {
                subscribe: vec!["news".to_owned()],
                publish: vec![],
            }),
        };
        let grant = Grant::admitted(said, Some(token()), &connect(None), true).unwrap();
        assert_eq!((&*grant.user, &*grant.namespace), ("bob", ""));
        assert!(grant.rights.allow(Act::Subscribe, "news"));
        assert!(!grant.rights.allow(Act::Subscribe, "live.1"));
        assert!(grant.expires().is_some() && grant.device.as_deref() == Some("phone"));
    }

    #[test]
    fn what_nobody_says_is_refused_or_left_out() {
        let nothing = Admitted::default;
        assert_eq!(
            Grant::admitted(nothing(), None, &connect(None), true),
            Err(NO_NAME)
        );
        let grant = Grant::admitted(nothing(), None, &connect(Some("eve")), true).unwrap();
        assert!(grant.rights.allow(Act::Publish, "any"));
        let over = Admitted {
            expires: Some(5),
            ..nothing()
        };
        let grant = Grant::admitted(over, None, &connect(Some("eve")), true);
        assert_eq!(grant, Err(Refusal::EXPIRED));
        let bad = Admitted {
            topics: Some(Topics {
                subscribe: vec!["a*b".to_owned()],
                publish: vec![],
            }),
            ..nothing()
        };
        let grant = Grant::admitted(bad, None, &connect(Some("eve")), true);
        assert_eq!(grant, Err(BAD_TOPICS));
    }
}
