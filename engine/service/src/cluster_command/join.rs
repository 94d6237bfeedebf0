//! `trunkline cluster join-from`: the data folder of a new node, from a copy of a running node's store.

use std::future::poll_fn;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::{Body, Bytes};
use axum::http::Uri;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use indicatif::HumanBytes;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use trunkline_cluster::member::COMPANIONS;
use trunkline_storage::Store;

use crate::print;

/// The path of the request.
const PATH: &str = "/admin/v1/copy";

/// The most time for the head of the answer, and between two pieces of the copy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum size of an answer that refuses, in bytes.
const REFUSAL: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct JoinFromArgs {
    /// Control port of a running node, such as http://10.0.0.1:7701
    #[arg(value_name = "URL")]
    url: String,
    /// Data folder of the new node: must not exist, or be empty. The folder that it is in must exist
    #[arg(long, env = "TRUNKLINE_DATA", value_name = "DIR")]
    data: PathBuf,
    /// File with the admin token, on one line: it needs the scope all. On a loopback address a node without admin_tokens
    /// needs none
    #[arg(
        long,
        env = "TRUNKLINE_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
    /// Admin token itself. Other users of this machine can see it: --token-file hides it
    #[arg(
        long,
        env = "TRUNKLINE_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
}

impl JoinFromArgs {
    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the admin token in {}", file.display()))?;
        Ok(Some(text.trim().to_owned()))
    }
}

pub(super) fn run(args: &JoinFromArgs) -> anyhow::Result<()> {
    let address = address(&args.url)?;
    let token = args.token()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the runtime of the request")?;
    let body = runtime.block_on(ask(&address, token.as_deref()))?;
    let mut copy = Copy {
        runtime,
        body,
        piece: Bytes::new(),
    };
    let began = Instant::now();
    let received = Store::receive_copy(&args.data, &COMPANIONS, &mut copy, &mut |_| ())
        .with_context(|| format!("cannot take a copy of the store of {}", args.url))?;
    print::text(&format!(
        "the store of a new node is in {}: {} in {} files, {:.1} s. Start it with trunkline serve --cluster NAME --nats … \
         --node NAME --data {}\n",
        args.data.display(),
        HumanBytes(received.bytes),
        received.files,
        began.elapsed().as_secs_f64(),
        args.data.display(),
    ))?;
    Ok(())
}

/// Returns the host and port of a control port.
fn address(url: &str) -> anyhow::Result<String> {
    let uri: Option<Uri> = url.parse().ok();
    let is_plain = |uri: &Uri| uri.scheme_str() == Some("http") && uri.path() == "/";
    let authority = uri
        .filter(is_plain)
        .and_then(|uri| uri.authority().cloned());
    match authority.filter(|it| it.port().is_some() && !it.as_str().contains('@')) {
        Some(authority) => Ok(authority.to_string()),
        None => bail!(
            "{url:?} is no control port of a node: name it like http://10.0.0.1:7701. It speaks plain HTTP, so the way there \
             must be private"
        ),
    }
}

/// Asks a node for a copy. Returns the body of its answer.
async fn ask(address: &str, token: Option<&str>) -> anyhow::Result<Incoming> {
    let failed = || format!("the control port {address} did not answer");
    let asked = async {
        let stream = TcpStream::connect(address).await.with_context(|| {
            format!(
                "nothing answers at {address}: name the control port of a node, and let its setting control be an address that \
                 this machine reaches"
            )
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .with_context(failed)?;
        // It runs while the body is read.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(PATH)
            .header(HOST, address);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Body::empty())
            .context("the admin token has signs that no token has")?;
        sender.send_request(request).await.with_context(failed)
    };
    let answer = tokio::time::timeout(TIMEOUT, asked)
        .await
        .map_err(|_| anyhow::anyhow!("{} within {TIMEOUT:?}", failed()))??;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer.into_body());
    }
    let body = Body::new(answer.into_body());
    let body = axum::body::to_bytes(body, REFUSAL)
        .await
        .with_context(failed)?;
    bail!(
        "the node at {address} gives no copy: {}",
        why(status, &body)
    )
}

/// Returns what a node says against a copy.
fn why(status: StatusCode, body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = body["detail"].as_str();
    text.map_or_else(
        || format!("{status}. Is it the control port of a gateway of this version?"),
        str::to_owned,
    )
}

/// The body of an answer, which is read by a thread that may wait.
struct Copy {
    runtime: Runtime,
    body: Incoming,
    piece: Bytes,
}

impl Read for Copy {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let body = &mut self.body;
            let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            let next = async { tokio::time::timeout(TIMEOUT, frame).await };
            let next = self.runtime.block_on(next);
            match next.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
                None => return Ok(0),
                Some(frame) => {
                    let frame = frame.map_err(io::Error::other)?;
                    self.piece = frame.into_data().unwrap_or_default();
                }
            }
        }
        let count = to.len().min(self.piece.len());
        to[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_port_is_named_by_a_url_of_plain_http() {
        assert_eq!(address("http://10.0.0.1:7701").unwrap(), "10.0.0.1:7701");
        assert_eq!(address("http://a.example:1/").unwrap(), "a.example:1");
        assert_eq!(address("http://[::1]:7701").unwrap(), "[::1]:7701");
        for other in [
            "10.0.0.1:7701",
            "https://10.0.0.1:7701",
            "http://10.0.0.1",
            "http://10.0.0.1:7701/admin",
            "http://me@10.0.0.1:7701",
            "",
        ] {
            let refused = address(other).unwrap_err().to_string();
            assert!(refused.contains("is no control port"), "{other}: {refused}");
        }
    }
}
