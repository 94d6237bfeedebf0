//! What routes need of the head of a request: who sent it, from which page, and what it asks for.

use axum::extract::{FromRequestParts, Query};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Method, Uri, Version};
use serde::de::DeserializeOwned;
use trunkline_proto::ErrorCode;

use super::Api;
use super::held::Manner;
use super::outstanding::Permit;
use super::visitor::Visitor;
use crate::problem::Problem;
use crate::server::{Page, Peer, Progress};

/// The head of a request.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The address of the client.
    pub(crate) peer: Peer,
    /// The progress of the body, or of a long answer.
    pub(crate) progress: Progress,
    version: Version,
    page: Option<Page>,
}

/// Reads the fields of the query of a request.
///
/// # Errors
/// A field has another form, stands there twice, or is not known.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let read = Query::try_from_uri(uri);
    let Query(fields) = read.map_err(|error| {
        let text = error.body_text();
        // The sentence of the library says nothing more.
        let why = text
            .split_once("query string: ")
            .map_or(&*text, |(_, why)| why);
        Problem::bad(format!("the query is not right: {why}"))
    })?;
    Ok(fields)
}

impl<S: Send + Sync> FromRequestParts<S> for Head {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(ErrorCode::Internal, "the request has no connection");
        Ok(Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            peer: { parts.extensions.get::<Peer>().copied() }.ok_or_else(missing)?,
            progress: { parts.extensions.get::<Progress>().cloned() }.ok_or_else(missing)?,
            version: parts.version,
            page: parts.extensions.get::<Page>().cloned(),
        })
    }
}

impl Head {
    /// Reads the fields of the query.
    ///
    /// # Errors
    /// A field has another form.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        query(&self.uri)
    }

    /// Checks that a request whose fields are in its body has none in its query.
    ///
    /// # Errors
    /// There is a query.
    pub(super) fn no_query(&self) -> Result<(), Problem> {
        if self.uri.query().is_none_or(str::is_empty) {
            return Ok(());
        }
        Err(Problem::bad(
            "this path takes no fields behind a \"?\": put them into the body",
        ))
    }

    /// Returns what an answer that holds the connection needs to know.
    pub(crate) fn manner(&self) -> Manner {
        Manner::of(self.version, &self.headers, self.page.as_ref())
    }

    /// Returns what was found out of who asks, and what the request says. Where both fail in development mode,
    /// the user may be named in what could not be read: then that is the error.
    ///
    /// # Errors
    /// The request does not say who asks, or what it says is not valid.
    pub(super) fn known<V, A>(
        api: &Api,
        who: Result<V, Problem>,
        asked: Result<A, Problem>,
    ) -> Result<(V, Result<A, Problem>), Problem> {
        match (who, asked) {
            (Err(_), Err(unread)) if !api.door.needs_tokens() => Err(unread),
            (who, asked) => Ok((who?, asked)),
        }
    }

    /// Finds out who asks. `named` is the user that the request names in another place than the headers.
    ///
    /// # Errors
    /// See [`Api::identify`].
    pub(super) async fn visitor(&self, api: &Api, named: Option<&str>) -> Result<Visitor, Problem> {
        api.identify(&self.headers, self.peer, named).await
    }

    /// Finds out who asks, and counts the request for its user.
    ///
    /// # Errors
    /// See [`Api::identify`]; or the user has too many requests without an answer.
    pub(super) async fn enter(
        &self,
        api: &Api,
        named: Option<&str>,
    ) -> Result<(Visitor, Permit), Problem> {
        let visitor = self.visitor(api, named).await?;
        let permit = api.outstanding.enter(visitor.id())?;
        Ok((visitor, permit))
    }
}
