//! Requests that a back end is asked about: who asks, messages, and `rpc`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use hyper::header::HeaderMap;
use parking_lot::Mutex;
use trunkline_core::exchange::{Admitted, BackCaller, BackKind, BackQuestion, BackUser, Verdict};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, Connect, ReplyBody, Rpc};

use super::Api;
use super::visitor::{OTHER_USER, Said, Visitor};
use crate::door::Payer;
use crate::problem::Problem;
use crate::server::Peer;

/// The time for which the answer of the back end of `connect` stands for further requests that say the
/// same, unless it expires before.
const REMEMBERED: Duration = Duration::from_secs(30);

/// The maximum number of such answers. At the maximum those that are over are forgotten, or else all.
const MOST_REMEMBERED: usize = 10_000;

/// The headers of a request that the back end of `connect` gets.
const PASSED: [(&str, &str); 4] = [
    ("Origin", "origin"),
    ("User-Agent", "user-agent"),
    ("Cookie", "cookie"),
    ("X-Forwarded-For", "x-forwarded-for"),
];

/// What a request says of its sender, as a number that cannot be guessed backwards.
type Claim = [u8; 32];

/// The answers of the back end of `connect` to recent requests.
#[derive(Default)]
pub(super) struct Remembered(Mutex<HashMap<Claim, (Instant, Admitted)>>);

impl Remembered {
    fn find(&self, claim: &Claim) -> Option<Admitted> {
        let known = self.0.lock();
        let (until, admitted) = known.get(claim)?;
        (Instant::now() < *until).then(|| admitted.clone())
    }

    fn keep(&self, claim: Claim, admitted: &Admitted) {
        let now = Instant::now();
        let mut known = self.0.lock();
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(claim, (now + REMEMBERED, admitted.clone()));
    }
}

impl Api {
    /// Asks the back end of `connect` who sends a request.
    ///
    /// # Errors
    /// The back end refuses the request, or does not answer.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        said: &Said<'_>,
        named: Option<&str>,
        peer: Peer,
    ) -> Result<Visitor, Problem> {
        let connect = Connect {
            token: said.token.map(Into::into),
            user: said.user.or(named).map(Into::into),
            namespace: said.namespace.map(Into::into),
            device: said.device.map(Into::into),
            ..Connect::default()
        };
        let passed = passed(headers);
        let claim = claim(&connect, &passed, peer);
        let admitted = match self.remembered.find(&claim) {
            Some(admitted) => admitted,
            None => {
                if self.door.has_keys() {
                    // What the own keys refuse costs the back end nothing. A remembered answer is for the
                    // same token and names, and the token is checked below in any case.
                    Visitor::by_token(&*self.door, &self.service, said, named)?;
                }
                match self.ask_connect(&connect, passed, peer).await? {
                    Some(admitted) => {
                        self.remembered.keep(claim, &admitted);
                        admitted
                    }
                    // Nobody answered, and `on_failure` allows: the next request asks again.
                    None => Admitted::default(),
                }
            }
        };
        let grant = self.door.admit(&connect, admitted)?;
        let is = |said: Option<&str>, is: &str| said.is_none_or(|said| said == is);
        if !is(said.user, &grant.user) || !is(said.namespace, &grant.namespace) {
            return Err(Problem::new(ErrorCode::PermissionDenied, OTHER_USER));
        }
        Visitor::granted(&self.service, said, grant)?.named(named)
    }

    /// Asks the back end of `connect`. Returns `None` if it does not answer and failures are allowed.
    async fn ask_connect(
        &self,
        connect: &Connect<'_>,
        headers: Vec<(&'static str, String)>,
        peer: Peer,
    ) -> Result<Option<Admitted>, Problem> {
        let text = |text: &Option<trunkline_proto::Str<'_>>| {
            text.as_deref().unwrap_or_default().to_owned()
        };
        let user = BackUser {
            namespace: text(&connect.namespace),
            user: text(&connect.user),
            device: text(&connect.device),
        };
        let question = BackQuestion::Connect(Box::new(BackCaller {
            connect: connect.clone().into_owned(),
            address: peer.0.to_string(),
            headers: headers.into(),
        }));
        let stranger = Payer {
            user: None,
            name: "",
            namespace: "",
            address: peer.0,
        };
        let _ = self.door.book(&stranger, question.cost());
        match self.back.ask(user, question).await?.verdict {
            Verdict::Admit(admitted) => Ok(Some(admitted)),
            Verdict::Refuse(error) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Carries out a command of a visitor, once the back end that is asked about it lets it pass.
    pub(super) async fn perform(
        &self,
        visitor: &Visitor,
        command: CommandBody<'_>,
    ) -> Result<ReplyBody<'static>, Problem> {
        match command {
            CommandBody::Rpc(rpc) => self.rpc(visitor, rpc).await,
            CommandBody::Send(send) if self.back.asks(BackKind::Send) => {
                let Some(question) = BackQuestion::about_send(visitor.names().user(), &send) else {
                    return self.carry_out(visitor, &CommandBody::Send(send)).await;
                };
                let _ = self.door.book(&visitor.payer(), question.cost());
                let judged = self.back.ask(visitor.names().into(), question).await?;
                // The sender's next message is asked about when this one is stored.
                let _turn = judged.turn;
                visitor.check_again(&*self.door)?;
                let send = match (judged.question, judged.verdict) {
                    (_, Verdict::Refuse(error)) => return Err(error.into()),
                    (BackQuestion::Send { mut send, .. }, Verdict::Rewrite(text)) => {
                        send.text = Some(text.into());
                        *send
                    }
                    (BackQuestion::Send { send, .. }, _) => *send,
                    _ => send.into_owned(),
                };
                self.carry_out(visitor, &CommandBody::Send(send)).await
            }
            CommandBody::Edit(edit) if self.back.asks(BackKind::Send) => {
                let Some(question) = BackQuestion::about_edit(visitor.names().user(), &edit) else {
                    return self.carry_out(visitor, &CommandBody::Edit(edit)).await;
                };
                let _ = self.door.book(&visitor.payer(), question.cost());
                let judged = self.back.ask(visitor.names().into(), question).await?;
                let _turn = judged.turn;
                visitor.check_again(&*self.door)?;
                let edit = match (judged.question, judged.verdict) {
                    (_, Verdict::Refuse(error)) => return Err(error.into()),
                    (BackQuestion::Edit(mut edit), Verdict::Rewrite(text)) => {
                        edit.text = Some(text.into());
                        edit
                    }
                    (BackQuestion::Edit(edit), _) => edit,
                    _ => {
                        let text = "the answer belongs to another command";
                        return Err(Problem::new(ErrorCode::Internal, text));
                    }
                };
                self.carry_out(visitor, &CommandBody::Edit(edit)).await
            }
            command => self.carry_out(visitor, &command).await,
        }
    }

    /// Asks a back end on behalf of a visitor.
    async fn rpc(&self, visitor: &Visitor, rpc: Rpc<'_>) -> Result<ReplyBody<'static>, Problem> {
        let question = self.back.question(rpc)?;
        let _ = self.door.book(&visitor.payer(), question.cost());
        self.back.rpc(visitor.names().into(), question).await
    }
}

/// Returns the headers of a request that the back end of `connect` gets.
fn passed(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let one = |(name, key): (&'static str, &'static str)| {
        let values = headers.get_all(key).into_iter();
        let texts: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        let between = if key == "cookie" { "; " } else { ", " };
        (!texts.is_empty()).then(|| (name, texts.join(between)))
    };
    PASSED.into_iter().filter_map(one).collect()
}

/// Returns what a request says of its sender.
fn claim(connect: &Connect<'_>, headers: &[(&str, String)], peer: Peer) -> Claim {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    for text in [
        &connect.token,
        &connect.user,
        &connect.namespace,
        &connect.device,
    ] {
        // A missing name differs from an empty one.
        add(if text.is_some() { "1" } else { "" });
        add(text.as_deref().unwrap_or_default());
    }
    for (name, value) in headers {
        add(name);
        add(value);
    }
    add(&peer.0.to_string());
    let mut claim = Claim::default();
    claim.copy_from_slice(context.finish().as_ref());
    claim
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn requests_that_differ_are_asked_about_apart() {
        let peer = Peer(Ipv4Addr::LOCALHOST.into());
        let connect = |token: Option<&'static str>, user: Option<&'static str>| Connect {
            token: token.map(Into::into),
            user: user.map(Into::into),
            ..Connect::default()
        };
        let cookie = |value: &str| [("Cookie", value.to_owned())];
        let all = [
            claim(&connect(Some("t"), None), &[], peer),
            claim(&connect(None, Some("t")), &[], peer),
            claim(&connect(Some("t"), Some("")), &[], peer),
            claim(&connect(Some("t"), None), &cookie("a"), peer),
            claim(&connect(Some("t"), None), &cookie("b"), peer),
            claim(
                &connect(Some("t"), None),
                &[],
                Peer(Ipv4Addr::BROADCAST.into()),
            ),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "{i}");
        }
        assert_eq!(all[0], claim(&connect(Some("t"), None), &[], peer));
    }

    #[test]
    fn answers_are_remembered_up_to_a_number() {
        let remembered = Remembered::default();
        let admitted = Admitted::default();
        for number in 0..=MOST_REMEMBERED as u64 {
            let mut claim = Claim::default();
            claim[..8].copy_from_slice(&number.to_be_bytes());
            remembered.keep(claim, &admitted);
            assert_eq!(remembered.find(&claim), Some(Admitted::default()));
        }
        assert_eq!(remembered.0.lock().len(), 1);
    }
}
