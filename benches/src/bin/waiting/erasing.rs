//! The erasure of a user who has sent very many messages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use trunkline_benches::blast::{self, CHAT, Plan};
use trunkline_benches::peer::Peer;

/// The time of one piece of the messages.
const PIECE: Duration = Duration::from_secs(1);

/// The messages in flight while they are stored.
const WINDOW: usize = 64;

/// The most time until a user is erased.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// The number of users whose erasure is not complete.
const RUNNING: &str = "trunkline_admin_erasures_running";

/// An erasure under way.
pub(crate) struct Erasure {
    began: Instant,
    messages: u64,
}

/// Lets a user send messages, and begins to erase the user.
///
/// # Errors
/// The gateway does not store the messages, or refuses the erasure.
pub(crate) fn begin(gateway: &Peer, round: usize, messages: u64) -> anyhow::Result<Erasure> {
    let name = format!("gone{round}x");
    let plan = Plan {
        server: gateway.address,
        path: "/v1/ws".into(),
        hello: format!(r#"{{"id":1,"connect":{{"user":"{name}{{id}}","device":"d"}}}}"#),
        message: format!(
            r#"{{"id":{{n}},"send":{{"user":"{name}{{peer}}","text":"{}"}}}}"#,
            "x".repeat(120)
        ),
        counts: CHAT,
        connections: 2,
        window: WINDOW,
        others: 1,
        duration: PIECE,
    };
    let stored = || gateway.metric("trunkline_messages_total");
    // The two talk to each other, and one of them is erased.
    let enough = stored()? + 2.0 * messages as f64;
    while stored()? < enough {
        blast::run(&plan)?;
    }
    let control = gateway.control()?;
    let mut stream = TcpStream::connect(control)?;
    let request = format!(
        "DELETE /admin/v1/users/{name}0 HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 202") {
        bail!("the gateway does not erase the user: {answer}");
    }
    Ok(Erasure {
        began: Instant::now(),
        messages,
    })
}

impl Erasure {
    /// Waits until the user is erased. Returns what to say about it.
    ///
    /// # Errors
    /// It takes too long.
    pub(crate) fn end(self, gateway: &Peer) -> anyhow::Result<String> {
        let measured = self.began.elapsed();
        let is_running = || -> anyhow::Result<bool> {
            Ok(gateway.metric(RUNNING).context("the state of erasures")? > 0.0)
        };
        let was_over = !is_running()?;
        while is_running()? {
            if self.began.elapsed() > PATIENCE {
                bail!("the user is not erased after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let messages = self.messages;
        Ok(match was_over {
            true => format!(
                "the erasure of {messages} messages was over before the end of the turn of {:.0} s",
                measured.as_secs_f64()
            ),
            false => format!(
                "the erasure of {messages} messages took {:.0} s, {:.0} s of them in the turn",
                self.began.elapsed().as_secs_f64(),
                measured.as_secs_f64()
            ),
        })
    }
}
