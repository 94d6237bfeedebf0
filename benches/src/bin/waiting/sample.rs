//! Answers of the gateway, which the sink gives too.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use trunkline_benches::peer::Peer;
use trunkline_benches::talk::Talk;
use trunkline_benches::waiting_sink::Answers;

/// The silence after which a stream gets a comment, at both servers. It is the gateway's default.
pub(crate) const PING: Duration = Duration::from_secs(25);

/// The time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the gateway for one answer of each kind.
///
/// # Errors
/// The gateway does not answer.
pub(crate) fn answers(gateway: &Peer) -> anyhow::Result<Answers> {
    let http = gateway.http()?;
    let pos = now(http)?;
    let poll = format!("/api/v1/rtm.receive?lastPos={pos}&wait=1s");
    let is_poll_whole = |answer: &str| answer.ends_with('}');
    let is_begun = |answer: &str| answer.contains("\r\n\r\n") && answer.ends_with("\n\n");
    let metrics = gateway.metrics()?;
    let (_, metrics) = metrics
        .split_once("\r\n\r\n")
        .context("/metrics has no body")?;
    Ok(Answers {
        poll: ask(http, &poll, is_poll_whole)?,
        stream: ask(http, "/api/v1/events", |answer| {
            is_begun(answer) && answer.contains("\nid: ")
        })?,
        metrics: metrics.to_owned(),
        reply: reply(gateway.address)?,
        ping: PING.as_secs_f64(),
    })
}

/// Returns the position after the last event.
///
/// # Errors
/// The server does not say.
pub(crate) fn now(http: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET /api/v1/rtm.receive?lastPos=now HTTP/1.1\r\nHost: {http}\r\nX-Trunkline-User: poll0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let pos = answer
        .split_once("\"lastPos\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (pos, _) = pos.with_context(|| format!("no position in {answer:?}"))?;
    Ok(pos.to_owned())
}

/// Asks for something, and returns the answer once it is whole.
fn ask(http: SocketAddr, target: &str, is_whole: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {http}\r\nX-Trunkline-User: sample\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            bail!("{target} has no whole answer");
        }
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        if is_whole(&text) {
            if !text.starts_with("HTTP/1.1 200") {
                bail!("{target}: {text}");
            }
            return Ok(text.into_owned());
        }
    }
}

/// Returns the fields of the reply to a question whose back end hangs, behind the id.
fn reply(server: SocketAddr) -> anyhow::Result<String> {
    let hello = json!({"user": "asking", "device": "d"});
    let mut talk = Talk::greet(server, Ipv4Addr::LOCALHOST, &hello)?;
    let answer = talk.answer("rpc", &json!({"method": "hang", "data": 0}))?;
    let rest = json!({"error": answer["error"]}).to_string();
    Ok(rest.trim_start_matches('{').to_owned())
}
