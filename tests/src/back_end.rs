//! A back end for callbacks: an HTTP server that answers, or misbehaves, as a test says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::Setup;
use crate::tls::Files;

/// A request as the back end got it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, with their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The bytes of the body.
    pub raw: Vec<u8>,
    /// The body; null if it is not JSON.
    pub body: Value,
    /// The number of the connection.
    pub connection: usize,
}

/// What the back end does with a request.
#[derive(Debug, Clone)]
pub enum Says {
    /// Answers with the status 200 and this body.
    Json(Value),
    /// Answers with this status and an empty body.
    Status(u16),
    /// Writes these bytes, and closes the connection.
    Raw(Vec<u8>),
    /// Writes these bytes, and then one more each 20 ms.
    Slow(Vec<u8>),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

type Answers = dyn Fn(&Asked) -> Says + Send + Sync;

/// A running back end. It serves until the process ends.
pub struct BackEnd {
    scheme: &'static str,
    address: SocketAddr,
    folder: TempDir,
    key: hmac::Key,
    secret: String,
    connections: Arc<AtomicUsize>,
}

impl BackEnd {
    /// Starts a back end.
    ///
    /// # Panics
    /// The back end cannot listen.
    pub fn start(answers: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> Self {
        Self::open(Arc::new(answers), None)
    }

    /// Starts a back end that speaks TLS.
    ///
    /// # Panics
    /// The back end cannot listen.
    pub fn start_with_tls(
        files: &Files,
        answers: impl Fn(&Asked) -> Says + Send + Sync + 'static,
    ) -> Self {
        let certificates = CertificateDer::pem_file_iter(&files.cert).expect("a file");
        let certificates = certificates.map(|one| one.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates.collect(), key);
        let config = config.expect("they fit together");
        Self::open(Arc::new(answers), Some(Arc::new(config)))
    }

    fn open(answers: Arc<Answers>, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (answers, tls) = (Arc::clone(&answers), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, number, &*answers),
                    Some(tls) => {
                        let session = ServerConnection::new(tls).expect("a configuration");
                        serve(StreamOwned::new(session, stream), number, &*answers);
                    }
                });
            }
        });
        let bytes = [7; 32];
        let folder = TempDir::with_prefix("trunkline-back-").expect("a folder can be made");
        let secret = format!("whsec_{}", STANDARD.encode(bytes));
        std::fs::write(folder.path().join("secret"), &secret).expect("a file can be written");
        Self {
            scheme,
            address,
            folder,
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            secret,
            connections,
        }
    }

    /// Returns the address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the file with the secret.
    pub fn secret_file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Returns the secret as text.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns how many connections were opened to the back end so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns the flags that let a gateway ask this back end about some kinds of things, or tell it of
    /// them, at paths of their names.
    #[must_use]
    pub fn asked_by(&self, setup: Setup, kinds: &[&str]) -> Setup {
        let setup = setup
            .flag("callbacks-secret-file", self.secret_file().display())
            // Machines that do many things at a time are slow.
            .flag("callbacks-timeout", "20s");
        kinds.iter().fold(setup, |setup, kind| {
            let url = self.url(&format!("/{kind}"));
            match *kind {
                "rpc" => setup.flag("callbacks-rpc", format!("={url}")),
                "offline" | "presence" => setup.flag(&format!("webhooks-{kind}"), url),
                kind => setup.flag(&format!("callbacks-{kind}"), url),
            }
        })
    }

    /// Returns whether a request is signed with the secret of the back end.
    pub fn is_signed(&self, asked: &Asked) -> bool {
        let header = |name: &str| asked.headers.get(name).cloned().unwrap_or_default();
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let signature = signature.strip_prefix("v1,").unwrap_or_default();
        let signature = STANDARD.decode(signature).unwrap_or_default();
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &asked.raw].concat();
        asked.method == "POST" && hmac::verify(&self.key, &signed, &signature).is_ok()
    }
}

/// Serves one connection.
fn serve(stream: impl Read + Write, connection: usize, answers: &Answers) {
    let mut input = BufReader::new(stream);
    while let Some(asked) = read(&mut input, connection) {
        let says = answers(&asked);
        let out = input.get_mut();
        let written = match says {
            Says::Json(body) => {
                let body = body.to_string();
                let text = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                out.write_all(text.as_bytes())
            }
            Says::Status(status) => {
                let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                out.write_all(text.as_bytes())
            }
            Says::Raw(bytes) => {
                let _ = out.write_all(&bytes);
                return;
            }
            Says::Slow(bytes) => {
                let _ = out.write_all(&bytes);
                while out.write_all(b"x").is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                return;
            }
            // Until the gateway has enough.
            Says::Hang => {
                let _ = input.read(&mut [0]);
                return;
            }
            Says::Close => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// Reads a request. Returns `None` at the end of the connection.
fn read(input: &mut BufReader<impl Read>, connection: usize) -> Option<Asked> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length");
    let length = length.map_or(Ok(0), |length| length.parse()).ok()?;
    let mut raw = vec![0; length];
    input.read_exact(&mut raw).ok()?;
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    Some(Asked {
        method,
        path,
        headers,
        raw,
        body,
        connection,
    })
}
