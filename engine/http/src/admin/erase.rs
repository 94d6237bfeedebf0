//! Erasing a user: `DELETE users/<user>`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::HeaderMap;
use hyper::{StatusCode, Uri};
use trunkline_core::exchange::Which;
use trunkline_proto::ErrorCode;

use super::end::Why;
use super::look::InNamespace;
use super::{Admin, At, Erasure, NotErased, Person, Scope};
use crate::api::json;
use crate::problem::Problem;

/// Begins an erasure, and ends the sessions of the user. A repetition while it is under way changes nothing.
pub(super) async fn handle(
    State(admin): State<Arc<Admin>>,
    At(user): At<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let who = admin.admit(&headers, Scope::All)?;
    let namespace = InNamespace::of(&uri)?;
    let id = admin.user(&namespace, &user)?;
    admin.read(&headers, body).await?;
    let person = Person { namespace, user };
    // It is carried out also if no answer comes.
    tracing::info!(
        admin = who.0,
        namespace = person.namespace,
        user = person.user,
        "an operator erases a user"
    );
    admin.begin_erasure(person.clone()).await?;
    let which = Which {
        user: Some(id),
        ..Which::default()
    };
    let why = Why::Erased;
    let ended = admin.end_everywhere(&which, None, (why.ending(), why), None);
    let (closed, _) = ended.await?;
    tracing::info!(admin = who.0, closed, "sessions of an erased user ended");
    let erasure = admin.erasure(person).await?;
    let text = serde_json::to_vec(&erasure).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, json::response(text)).into_response())
}

impl Admin {
    async fn begin_erasure(&self, person: Person) -> Result<(), Problem> {
        let (hands, service) = (Arc::clone(&self.hands), self.service()?);
        // Two writes to the disk.
        let began = tokio::task::spawn_blocking(move || hands.begin_erasure(&person, &service));
        let failed = NotErased::Failed("the thread failed".to_owned());
        began
            .await
            .unwrap_or(Err(failed))
            .map_err(|error| match error {
                NotErased::Busy(text) => Problem::new(ErrorCode::TooManyRequests, text),
                NotErased::Full(text) => Problem::with_status(
                    StatusCode::INSUFFICIENT_STORAGE,
                    ErrorCode::StorageFull,
                    text,
                ),
                NotErased::Failed(text) => Problem::new(ErrorCode::StorageUnavailable, text),
            })
    }

    /// Returns how far the erasure of a user is; `None` if there was none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) async fn erasure(&self, person: Person) -> Result<Option<Erasure>, Problem> {
        let hands = Arc::clone(&self.hands);
        let looked = tokio::task::spawn_blocking(move || hands.erasure(&person)).await;
        let failed = Err("the thread failed".to_owned());
        let found = looked.unwrap_or(failed);
        found.map_err(|text| Problem::new(ErrorCode::StorageUnavailable, text))
    }
}
