//! `POST /api/v1/media`: takes a file of a client, piece by piece.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use multer::Multipart;
use serde::Serialize;
use trunkline_core::ids::UserId;
use trunkline_core::media::PATH;
use trunkline_proto::ErrorCode;

use super::head::Head;
use super::visitor::Visitor;
use super::{Api, BODY_KIB, json};
use crate::door::{Beyond, Sent};
use crate::media::{About, Media, Unreachable, Writer};
use crate::problem::Problem;
use crate::server::Progress;
use crate::turns::Turn;

/// The type of a file whose upload names none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The type that `curl -d` sends if nobody says another one. It is that of no file.
const FIELDS: &str = "application/x-www-form-urlencoded";

/// The most bytes of a form around its file.
const FORM: u64 = 64 << 10;

/// The longest name of a file that is kept, in bytes.
const NAME: usize = 255;

/// What an upload is told for which the disk has no room.
const NO_ROOM: &str = "the disk has too little room for media: free some, or upload later";

/// The longest pause of an upload whose user has nothing left of the rate of bytes.
const PAUSE: Duration = Duration::from_secs(1);

/// The body of an answer.
#[derive(Serialize)]
struct Answer<'a> {
    url: String,
    #[serde(rename = "type")]
    kind: &'a str,
    size: u64,
    sha256: &'a str,
}

impl From<Unreachable> for Problem {
    fn from(failure: Unreachable) -> Self {
        let (code, text) = match failure {
            Unreachable::Full => (ErrorCode::StorageFull, NO_ROOM),
            Unreachable::Away => (
                ErrorCode::StorageUnavailable,
                "the place of media cannot be reached now: try again later",
            ),
        };
        Self::new(code, text)
    }
}

/// A file that is being uploaded.
struct Upload<'a> {
    api: &'a Api,
    visitor: &'a Visitor,
    writer: Writer,
    progress: Progress,
    hash: Context,
    size: u64,
}

/// What a request says of its file.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    kind: String,
    name: Option<String>,
}

/// Takes a file.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    let (visitor, _permit) = head.enter(&api, None).await?;
    api.door.pay(visitor.id(), Sent::Command)?;
    head.no_query()?;
    let media = &api.media;
    if body.size_hint().lower() > media.limits.most + FORM {
        return Err(too_large(media));
    }
    if media.is_lost() {
        let text = "the folder of the store is missing, and nothing is stored: try again later";
        return Err(Problem::new(ErrorCode::StorageUnavailable, text));
    }
    if !media.has_room() {
        return Err(Unreachable::Full.into());
    }
    let kind = content_type(&head.headers)?;
    let boundary = multer::parse_boundary(&kind).ok();
    let id = Media::new_id()?;
    let _room = api
        .room(&visitor, body.size_hint().exact(), &head.progress)
        .await?;
    let mut upload = Upload {
        api: &api,
        visitor: &visitor,
        writer: media.store.begin(&id),
        progress: head.progress,
        hash: Context::new(&SHA256),
        size: 0,
    };
    let taken = match boundary {
        Some(boundary) => upload.form(body, boundary).await,
        None => upload.raw(kind, body).await,
    };
    let ended = match taken {
        Ok(said) => upload.end(&id, said).await,
        Err(problem) => Err(problem),
    };
    let about = match ended {
        Ok(about) => about,
        Err(problem) => {
            upload.writer.abort();
            return Err(problem);
        }
    };
    media.metrics.uploads.one();
    media.metrics.uploaded_bytes.add(about.size);
    let answer = Answer {
        url: format!("{PATH}{id}"),
        kind: &about.kind,
        size: about.size,
        sha256: &about.sha256,
    };
    // Texts and numbers: this does not fail.
    let mut response = json::response(serde_json::to_vec(&answer).unwrap_or_default());
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(at) = HeaderValue::from_str(&answer.url) {
        response.headers_mut().insert(header::LOCATION, at);
    }
    Ok(response)
}

fn too_large(media: &Media) -> Problem {
    let text = format!("a file has at most {} bytes (media_max)", media.limits.most);
    Problem::new(ErrorCode::LimitExceeded, text)
}

fn other_type(text: impl Into<String>) -> Problem {
    Problem::with_status(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::BadRequest,
        text,
    )
}

/// Returns the type of a body.
fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let coding = headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(other_type("send the file without a Content-Encoding"));
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(UNKNOWN_TYPE.to_owned());
    };
    let kind = kind.to_str().unwrap_or_default();
    check_form(kind)?;
    let name = kind.split(';').next().unwrap_or_default().trim();
    if name.eq_ignore_ascii_case(FIELDS) {
        return Err(other_type(
            "the Content-Type is that of a form's fields, which curl sends with -d: name the type of the file, and send \
             its bytes as they are (curl --data-binary @file -H 'Content-Type: image/png')",
        ));
    }
    Ok(kind.to_owned())
}

/// Checks that a text is a media type.
fn check_form(kind: &str) -> Result<(), Problem> {
    if crate::media::is_type(kind) {
        return Ok(());
    }
    Err(other_type(
        "the Content-Type is not a media type, such as image/png",
    ))
}

/// Returns the last part of a name of a file, without signs that no name has.
fn file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut kept: String = last.chars().filter(|c| !c.is_control()).collect();
    while kept.len() > NAME {
        kept.pop();
    }
    (!kept.is_empty()).then_some(kept)
}

impl Api {
    /// Waits for room in memory for a body, whose length may be known.
    ///
    /// # Errors
    /// Other uploads take too long.
    async fn room(
        &self,
        visitor: &Visitor,
        whole: Option<u64>,
        progress: &Progress,
    ) -> Result<Turn<UserId>, Problem> {
        let piece = self.media.store.piece();
        let bytes = whole.map_or(piece, |whole| {
            usize::try_from(whole).unwrap_or(piece).min(piece)
        });
        let room = self.media.room.take(visitor.id(), bytes);
        let room = tokio::time::timeout(self.patience(), room).await;
        // The gateway did not read: the client's time was not running.
        progress.waited();
        room.map_err(|_| {
            let retry_ms = PAUSE.as_millis() as u64;
            let limit = "uploads";
            Beyond { limit, retry_ms }.into()
        })
    }
}

impl Upload<'_> {
    /// Takes a body that is the file.
    async fn raw(&mut self, kind: String, body: Body) -> Result<Said, Problem> {
        self.check_type(&kind)?;
        let whole = body.size_hint().exact();
        self.take(body.into_data_stream(), |_| {
            Problem::bad("the body ended before its time")
        })
        .await?;
        // A connection that is dropped ends its bodies without an error.
        if whole.is_some_and(|whole| whole != self.size) {
            return Err(Problem::bad("the body ended before its time"));
        }
        Ok(Said { kind, name: None })
    }

    /// Takes a form with one file in the field `file`.
    async fn form(&mut self, body: Body, boundary: String) -> Result<Said, Problem> {
        let bad = |error: multer::Error| Problem::bad(format!("the form cannot be read: {error}"));
        let most = self.api.media.limits.most;
        let limit = multer::SizeLimit::new().whole_stream(most + FORM);
        let constraints = multer::Constraints::new().size_limit(limit);
        let taken = Arc::<AtomicU64>::default();
        let stream = piece_by_piece(body.into_data_stream(), Arc::clone(&taken));
        let mut form = Multipart::with_constraints(stream, boundary, constraints);
        let mut said = None;
        while let Some(field) = form.next_field().await.map_err(bad)? {
            if said.is_some() || field.name() != Some("file") {
                return Err(Problem::bad("send one file, in a field with the name file"));
            }
            let kind = field.content_type().map(ToString::to_string);
            let kind = kind.unwrap_or_else(|| UNKNOWN_TYPE.to_owned());
            check_form(&kind)?;
            self.check_type(&kind)?;
            let name = field.file_name().and_then(file_name);
            let field = field.inspect(|piece| {
                let bytes = piece.as_ref().map_or(0, Bytes::len);
                taken.fetch_add(bytes as u64, Ordering::Relaxed);
            });
            self.take(field, bad).await?;
            said = Some(Said { kind, name });
        }
        said.ok_or_else(|| Problem::bad("send one file, in a field with the name file"))
    }

    fn check_type(&self, kind: &str) -> Result<(), Problem> {
        if self.api.media.limits.types.allow(kind) {
            return Ok(());
        }
        Err(other_type(
            "files of this type are not taken here (media_types)",
        ))
    }

    /// Takes the bytes of a file.
    async fn take<E>(
        &mut self,
        mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
        bad: impl Fn(E) -> Problem,
    ) -> Result<(), Problem> {
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(&bad)?;
            self.size += piece.len() as u64;
            if self.size > self.api.media.limits.most {
                return Err(too_large(&self.api.media));
            }
            self.pay(piece.len()).await?;
            self.progress.moved(piece.len());
            self.hash.update(&piece);
            if self.writer.write(&piece).await? {
                // Nor when the place of media takes its time.
                self.progress.waited();
            }
        }
        Ok(())
    }

    /// Takes bytes from the rate of the user, and books their cost. An upload that is too fast for the
    /// rate waits.
    async fn pay(&mut self, bytes: usize) -> Result<(), Problem> {
        let door = &self.api.door;
        let cost = BODY_KIB.times(bytes.div_ceil(1 << 10));
        // The next request learns of a debt.
        let _ = door.book(&self.visitor.payer(), cost);
        while let Err(beyond) = door.pay(self.visitor.id(), Sent::Body(bytes)) {
            let retry = Duration::from_millis(beyond.retry_ms);
            tokio::time::sleep(retry.clamp(Duration::from_millis(1), PAUSE)).await;
            // The gateway does not read: the client's time is not running.
            self.progress.waited();
        }
        Ok(())
    }

    /// Ends the file, and notes what is known of it.
    async fn end(&mut self, id: &str, said: Said) -> Result<About, Problem> {
        self.writer.end().await?;
        self.progress.waited();
        let digest = self.hash.clone().finish();
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let names = self.visitor.names();
        let about = About {
            namespace: names.namespace().to_owned(),
            owner: names.user().to_owned(),
            kind: said.kind,
            name: said.name,
            size: self.size,
            sha256: digits.collect(),
            uploaded: Some(self.api.media.steady()),
        };
        self.api.media.store.note(id, &about).await?;
        Ok(about)
    }
}

/// Returns the body of a form for its reader, which keeps what is not the file's: after each piece the reader has to look at
/// it, and beyond [`FORM`] bytes that are not among those `taken` from the file, the body ends with an error.
fn piece_by_piece(
    mut body: BodyDataStream,
    taken: Arc<AtomicU64>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let (mut given, mut looks) = (0, false);
    stream::poll_fn(move |context| {
        // The reader asks for more until there is none for now, and looks only then.
        if std::mem::take(&mut looks) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if given - taken.load(Ordering::Relaxed) > FORM {
            let text = format!("it has more than {} KiB besides the file", FORM >> 10);
            return Poll::Ready(Some(Err(io::Error::other(text))));
        }
        let next = ready!(body.poll_next_unpin(context));
        Poll::Ready(next.map(|piece| {
            let piece = piece.map_err(io::Error::other)?;
            looks = true;
            given += piece.len() as u64;
            Ok(piece)
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_have_no_folders_and_no_control_signs() {
        for (name, expected) in [
            ("a.png", Some("a.png")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\x\\a b.png", Some("a b.png")),
            ("a\r\nb", Some("ab")),
            ("", None),
            ("folder/", None),
        ] {
            assert_eq!(file_name(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(
            file_name(&"\u{e4}".repeat(200)).map(|name| name.len()),
            Some(254)
        );
    }
}
