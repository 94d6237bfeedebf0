//! A backup that the running gateway makes, ordered on its control port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::body::Body;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use trunkline_storage::StoreKey;

use super::super::progress::Progress;
use crate::backup::{Made, Report, State, proof};
use crate::control::{self, Refusal};

/// The time between two questions about the progress.
const PERIOD: Duration = Duration::from_millis(100);

/// The most time for an answer of the control port.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of an answer in bytes.
const ANSWER: usize = 64 << 10;

/// An order to a running gateway.
pub(super) struct Order<'a> {
    /// The folder of the store.
    pub(super) data: &'a Path,
    /// The folder of the backup, an absolute path.
    pub(super) target: &'a Path,
    /// The address of the gateway's control port.
    pub(super) control: SocketAddr,
    pub(super) key: StoreKey,
}

impl Order<'_> {
    /// Lets the gateway make the backup, and waits for its end. Fails if the backup is not where this process looks.
    pub(super) fn carry_out(&self, progress: &mut Progress) -> anyhow::Result<Made> {
        let target = self.target.display();
        // The gateway refuses a folder that it sees with something in it.
        let was_there = self.has_content() == Some(true);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot start the runtime of the requests")?;
        let made = runtime.block_on(self.wait(progress))?;
        if was_there || self.has_content() == Some(false) {
            bail!(
                "the gateway made the backup, but {target} is another folder for it than for you: its service has a private \
                 /tmp, which vanishes with the next stop, or it runs in a container. Name a folder that both see, such as \
                 one in /var/backups/trunkline, which the Debian package makes"
            );
        }
        Ok(made)
    }

    /// Returns whether the folder of the backup has something in it, as this process sees it; `None` if it may not look.
    fn has_content(&self) -> Option<bool> {
        match std::fs::read_dir(self.target) {
            Ok(mut entries) => Some(entries.next().is_some()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(_) => Some(false),
        }
    }

    async fn wait(&self, progress: &mut Progress) -> anyhow::Result<Made> {
        let body = serde_json::to_vec(&control::Order {
            target: self.target.to_path_buf(),
        });
        let body =
            body.with_context(|| format!("{}: the path must be UTF-8", self.target.display()))?;
        let begun: Report = self.ask(Method::POST, body).await?;
        let mut report = begun.clone();
        loop {
            match report.state {
                State::Running {
                    done_bytes,
                    total_bytes,
                } => progress.show(done_bytes, total_bytes),
                State::Complete(made) => return Ok(made),
                State::Failed { error } => bail!("{error}"),
            }
            tokio::time::sleep(PERIOD).await;
            report = self.ask(Method::GET, Vec::new()).await.context(
                "the backup was begun, but its end is not known: look at the log of the gateway",
            )?;
            if report.number != begun.number {
                bail!(
                    "another backup has begun since: the log of the gateway says how this one ended"
                );
            }
        }
    }

    /// Sends a request and returns its answer.
    async fn ask<T: DeserializeOwned>(&self, method: Method, body: Vec<u8>) -> anyhow::Result<T> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(method, body)).await;
        let (status, answer) =
            asked.map_err(|_| anyhow!("{} did not answer within {TIMEOUT:?}", self.control))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).with_context(|| self.is_other());
        }
        match serde_json::from_slice::<Refusal>(&answer) {
            Ok(_) if status == StatusCode::UNAUTHORIZED => bail!(
                "the gateway at {} serves another store than {}: give --control the address of the gateway that has this one open",
                self.control,
                self.data.display()
            ),
            Ok(Refusal { error }) => bail!("{error}"),
            Err(_) => bail!("{} ({status})", self.is_other()),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let stream = TcpStream::connect(self.control).await.with_context(|| {
            format!(
                "{} is open in a gateway, but nothing answers at its control port {}: give --control the address in the gateway's line \"ready\"",
                self.data.display(),
                self.control
            )
        })?;
        let failed = || format!("the control port {} did not answer", self.control);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .with_context(failed)?;
        let request = Request::builder()
            .method(method)
            .uri(control::BACKUP)
            .header(HOST, self.control.to_string())
            .header(AUTHORIZATION, proof(self.key))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))?;
        let answered = async {
            let answer = sender.send_request(request).await.with_context(failed)?;
            let status = answer.status();
            let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER).await;
            Ok((status, body.with_context(failed)?.to_vec()))
        };
        tokio::pin!(answered);
        tokio::select! {
            answer = &mut answered => answer,
            // The connection ends with its answer in memory, or without one.
            _ = connection => answered.await,
        }
    }

    fn is_other(&self) -> String {
        format!(
            "{} is no control port of a gateway that can make backups: give --control the address of the gateway that has {} open",
            self.control,
            self.data.display()
        )
    }
}
