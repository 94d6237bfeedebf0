//! Asks back ends, for requests of the client API and of operators.

use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_core::exchange::{
    BackEnds, BackJob, BackKind, BackQuestion, BackUser, Judged, Verdict,
};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{ReplyBody, Rpc, RpcReply};

use crate::problem::Problem;

/// The length of the method of an `rpc` at most, in bytes.
const METHOD: usize = 255;

/// The back ends that are asked, if there are any.
pub(crate) struct AskedBacks(Option<Arc<dyn BackEnds>>);

impl AskedBacks {
    pub(crate) fn new(back: Option<Arc<dyn BackEnds>>) -> Self {
        Self(back)
    }

    /// Returns whether a back end is asked about this.
    pub(crate) fn asks(&self, kind: BackKind) -> bool {
        self.0.as_ref().is_some_and(|back| back.asks(kind))
    }

    /// Asks a back end.
    ///
    /// # Errors
    /// The gateway stops.
    pub(crate) async fn ask(
        &self,
        user: BackUser,
        question: BackQuestion,
    ) -> Result<Judged, Problem> {
        let stopping = || {
            let text = "the gateway is stopping: ask again later";
            Problem::new(ErrorCode::StorageUnavailable, text)
        };
        let back = self.0.as_ref().ok_or_else(stopping)?;
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        let deliver = Box::new(move |judged| {
            if let Some(tell) = tell.take() {
                drop(tell.send(judged));
            }
            Ok(())
        });
        let job = BackJob {
            user,
            question,
            deliver,
        };
        match back.ask(job) {
            Some(judged) => Ok(judged),
            None => told.await.map_err(|_| stopping()),
        }
    }

    /// Returns the question of an `rpc`.
    ///
    /// # Errors
    /// No back end is asked, or the method has no good length.
    pub(crate) fn question(&self, rpc: Rpc<'_>) -> Result<BackQuestion, Problem> {
        if !self.asks(BackKind::Rpc) {
            let text = "this gateway has no back ends: callbacks.rpc names them";
            return Err(Problem::new(ErrorCode::UnknownCommand, text));
        }
        if rpc.method.is_empty() || rpc.method.len() > METHOD {
            return Err(Problem::bad("a method has 1 to 255 bytes"));
        }
        Ok(BackQuestion::Rpc(rpc.into_owned()))
    }

    /// Asks the [question](Self::question) of an `rpc` on behalf of a user.
    ///
    /// # Errors
    /// The back end refuses, or does not answer.
    pub(crate) async fn rpc(
        &self,
        user: BackUser,
        question: BackQuestion,
    ) -> Result<ReplyBody<'static>, Problem> {
        match self.ask(user, question).await?.verdict {
            Verdict::Data(data) => Ok(ReplyBody::Rpc(RpcReply { data })),
            Verdict::Refuse(error) => Err(error.into()),
            _ => {
                let text = "the answer belongs to another command";
                Err(Problem::new(ErrorCode::Internal, text))
            }
        }
    }
}
