//! Who asks: the user of a request.

use std::net::{IpAddr, Ipv4Addr};

use hyper::header::{self, HeaderMap};
use trunkline_core::call::{CallError, Client, Service};
use trunkline_core::exchange::TokenMark;
use trunkline_core::ids::UserId;
use trunkline_core::request::Names;
use trunkline_proto::ErrorCode;

use crate::door::{Door, Grant, MayPublish, Payer};
use crate::problem::Problem;
use crate::server::Peer;
use crate::waiting::Stay;

/// The header with the name of the user, in development mode.
const USER: &str = "x-trunkline-user";

/// The header with the namespace of the user, in development mode.
const NAMESPACE: &str = "x-trunkline-namespace";

/// The header with the name of the device.
const DEVICE: &str = "x-trunkline-device";

/// The device of requests that name none.
const NO_DEVICE: &str = "http";

pub(super) const OTHER_USER: &str =
    "the token is for another user: leave the user and the namespace out, or name the token's";

/// The user of a request, and where the request comes from.
pub(super) struct Visitor {
    id: UserId,
    names: Names,
    /// Whether the request or the token names a device.
    has_device: bool,
    address: IpAddr,
    /// The identity of the token.
    token: TokenMark,
    /// The topics that the token allows to publish to. `None` without tokens: all topics.
    may_publish: Option<MayPublish>,
    /// When the token expires, in milliseconds since 1970 UTC. `None` without tokens.
    expires_ms: Option<u64>,
}

/// The names in the headers of a request.
pub(super) struct Said<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) device: Option<&'a str>,
    pub(super) token: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// Reads the names in the headers of a request.
    ///
    /// # Errors
    /// A header cannot be read.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            user: text(headers, USER)?,
            namespace: text(headers, NAMESPACE)?,
            device: text(headers, DEVICE)?,
            token: bearer(headers)?,
        })
    }
}

impl Visitor {
    /// Finds out who asks. `named` is the user that the request names in another place.
    ///
    /// # Errors
    /// The token is missing or not valid, or the names contradict each other or the token.
    pub(super) fn identify(
        door: &dyn Door,
        service: &Service,
        said: &Said<'_>,
        named: Option<&str>,
    ) -> Result<Self, Problem> {
        if door.needs_tokens() {
            Self::by_token(door, service, said, named)
        } else {
            Self::by_name(service, said, named)
        }
    }

    /// Finds out who asks by the token of the request.
    ///
    /// # Errors
    /// The token is missing or not valid, or the names contradict it.
    pub(super) fn by_token(
        door: &dyn Door,
        service: &Service,
        said: &Said<'_>,
        named: Option<&str>,
    ) -> Result<Self, Problem> {
        let token = said.token.ok_or_else(|| {
            let text = "send the token of the user: Authorization: Bearer <token>";
            Problem::new(ErrorCode::Unauthorized, text)
        })?;
        let grant = door.check(token)?;
        let is = |said: Option<&str>, is: &str| said.is_none_or(|said| said == is);
        if !is(said.user, &grant.user) || !is(said.namespace, &grant.namespace) {
            return Err(Problem::new(ErrorCode::PermissionDenied, OTHER_USER));
        }
        if let Some(device) = &grant.device
            && !is(said.device, device)
        {
            return Err(Problem::new(
                ErrorCode::PermissionDenied,
                "the token is for another device: leave the device out, or name the token's",
            ));
        }
        Self::granted(service, said, grant)?.named(named)
    }

    /// Returns the visitor whose names are granted.
    ///
    /// # Errors
    /// The name of the device is not valid.
    pub(super) fn granted(
        service: &Service,
        said: &Said<'_>,
        grant: Grant,
    ) -> Result<Self, Problem> {
        let device = grant.device.as_deref().or(said.device);
        let mut visitor = Self::new(service, &grant.namespace, &grant.user, device)?;
        visitor.may_publish = Some(grant.may_publish);
        visitor.expires_ms = Some(grant.expires_ms);
        visitor.token = grant.token;
        Ok(visitor)
    }

    /// Checks the token once more. Call it when the request can be found by those who end sessions: what
    /// they revoked before did not see it. Call it also after a wait that those cannot end.
    ///
    /// # Errors
    /// The token has been revoked.
    pub(super) fn check_again(&self, door: &dyn Door) -> Result<(), Problem> {
        if door.is_revoked(self.id(), self.token) {
            let text = "the token has been revoked: use a new one, which says in \"iat\" when it was issued";
            return Err(Problem::new(ErrorCode::Unauthorized, text));
        }
        Ok(())
    }

    /// Checks the user that a request names in another place than the headers.
    ///
    /// # Errors
    /// It is another user.
    pub(super) fn named(self, named: Option<&str>) -> Result<Self, Problem> {
        if named.is_some_and(|named| named != self.names.user()) {
            return Err(Problem::new(ErrorCode::PermissionDenied, OTHER_USER));
        }
        Ok(self)
    }

    fn by_name(service: &Service, said: &Said<'_>, named: Option<&str>) -> Result<Self, Problem> {
        let user = match (said.user, named) {
            (Some(header), Some(named)) if header != named => {
                return Err(Problem::new(
                    ErrorCode::PermissionDenied,
                    "sourceID and X-Trunkline-User name different users",
                ));
            }
            (header, named) => header.or(named),
        };
        let user = user.ok_or_else(|| {
            let text = match said.token {
                Some(_) => {
                    "this gateway runs in development mode and takes no tokens: send the header X-Trunkline-User"
                }
                None => "who asks? In development mode send the header X-Trunkline-User: <name>",
            };
            Problem::new(ErrorCode::Unauthorized, text)
        })?;
        let namespace = said.namespace.unwrap_or_default();
        Ok(Self::new(service, namespace, user, said.device)?)
    }

    fn new(
        service: &Service,
        namespace: &str,
        user: &str,
        device: Option<&str>,
    ) -> Result<Self, CallError> {
        let has_device = device.is_some();
        let device = device.unwrap_or(NO_DEVICE);
        let client = service.client(namespace, user, device)?;
        Ok(Self {
            id: client.id(),
            names: Names::new(user, device, namespace),
            has_device,
            address: Ipv4Addr::LOCALHOST.into(),
            token: TokenMark::default(),
            may_publish: None,
            expires_ms: None,
        })
    }

    /// Notes where the request comes from.
    pub(super) const fn come_from(&mut self, peer: Peer) {
        self.address = peer.0;
    }

    /// Gives a device to a visitor that named none.
    pub(super) fn name_device(&mut self, device: &str) {
        if !self.has_device {
            self.names = Names::new(self.names.user(), device, self.names.namespace());
            self.has_device = true;
        }
    }

    /// Returns the visitor as a caller of the core.
    pub(super) fn client<'s>(&self, service: &'s Service) -> Result<Client<'s>, CallError> {
        let names = &self.names;
        service.client(names.namespace(), names.user(), names.device())
    }

    /// Returns the user, namespace and address whose accounts pay for the request.
    pub(super) fn payer(&self) -> Payer<'_> {
        Payer {
            user: Some(self.id),
            name: self.names.user(),
            namespace: self.names.namespace(),
            address: self.address,
        }
    }

    pub(super) const fn id(&self) -> UserId {
        self.id
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    /// Returns who waits, as operators see it. `number` is that of a stream; `None`: a request.
    pub(super) fn stay(&self, number: Option<u64>) -> Stay {
        Stay {
            names: self.names.clone(),
            address: self.address,
            token: self.token,
            number,
        }
    }

    /// Returns when the token expires, in milliseconds since 1970 UTC.
    pub(super) const fn expires_ms(&self) -> Option<u64> {
        self.expires_ms
    }

    /// Returns whether the visitor may publish to a topic.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        self.may_publish.as_ref().is_none_or(|may| may(topic))
    }

    /// Forgets the rights of the token, which a request that waits does not need.
    pub(super) fn forget_rights(&mut self) {
        if self.may_publish.is_some() {
            self.may_publish = Some(Box::new(|_| false));
        }
    }
}

/// Returns a header that may occur once.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => match line.to_str() {
            Ok(line) => Ok(Some(line.trim())),
            Err(_) => Err(Problem::bad(format!("the header {name} is not ASCII"))),
        },
        _ => Err(Problem::bad(format!("the header {name} occurs twice"))),
    }
}

/// Returns the token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(line) = text(headers, header::AUTHORIZATION.as_str())? else {
        return Ok(None);
    };
    let (scheme, token) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        let text = "the header Authorization has to be: Bearer <token>";
        return Err(Problem::new(ErrorCode::Unauthorized, text));
    }
    Ok(Some(token.trim()))
}

/// Returns the idempotency key in the headers.
///
/// # Errors
/// The header occurs twice, or is not ASCII.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    text(headers, "idempotency-key")
}

/// Returns the position of the last event that a stream has delivered.
///
/// # Errors
/// The header occurs twice, or is not ASCII.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let id = text(headers, "last-event-id")?;
    Ok(id.filter(|id| !id.is_empty()))
}
