//! A client of the client API over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use serde_json::Value;

use crate::dial::connect_from;
use crate::gateway::Gateway;
use crate::http::{self, Answer};
use crate::wait::LIMIT;

/// A client that opens a connection for each request.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    /// The address to connect from; `None`: the kernel chooses one.
    from: Option<Ipv4Addr>,
    /// The bytes to send first on each connection.
    preamble: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// A connection on which several requests follow each other.
#[derive(Debug)]
pub struct Line(BufReader<TcpStream>);

impl Api {
    /// Returns a client of a gateway, without any header.
    pub fn of(gateway: &Gateway) -> Self {
        Self::at(gateway.http())
    }

    /// Returns a client of an address, without any header.
    pub const fn at(address: SocketAddr) -> Self {
        Self {
            address,
            from: None,
            preamble: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Returns an operator of a gateway, without a token.
    pub fn admin(gateway: &Gateway) -> Self {
        Self::at(gateway.control())
    }

    /// Connects from this address of the machine.
    #[must_use]
    pub const fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = Some(address);
        self
    }

    /// Sends these bytes first on each connection.
    #[must_use]
    pub fn preamble(mut self, bytes: &[u8]) -> Self {
        self.preamble = bytes.to_vec();
        self
    }

    fn connect(&self) -> TcpStream {
        let stream = match self.from {
            None => TcpStream::connect(self.address),
            Some(from) => connect_from(from, self.address),
        };
        let mut stream = stream.expect("the port is open");
        stream.write_all(&self.preamble).expect("the server reads");
        stream
    }

    /// Adds a header to all requests.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Acts as a user, in development mode.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.header("X-Trunkline-User", user)
    }

    /// Sends a token with all requests.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Returns the text of a request.
    fn text(&self, method: &str, path: &str, body: Option<&str>, closes: bool) -> String {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if closes {
            text.push_str("Connection: close\r\n");
        }
        if let Some(body) = body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text + "\r\n" + body.unwrap_or_default()
    }

    /// Sends a request, and returns the answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        http::exchange_on(
            self.connect(),
            self.text(method, path, body, true).as_bytes(),
        )
    }

    /// Sends a command, and returns its reply.
    ///
    /// # Panics
    /// The command fails.
    pub fn post(&self, command: &str, body: &Value) -> Value {
        let path = format!("/api/v1/{command}");
        let answer = self.ask("POST", &path, Some(&body.to_string()));
        assert_eq!(answer.status, 200, "{command} {body}: {}", answer.body);
        json(&answer)
    }

    /// Sends a command that fails. Returns the status and the code.
    pub fn refused(&self, command: &str, body: &Value) -> (u16, u64) {
        let path = format!("/api/v1/{command}");
        let answer = self.ask("POST", &path, Some(&body.to_string()));
        problem(&answer)
    }

    /// Gets a path below `/api/v1/`, and returns the answer.
    ///
    /// # Panics
    /// The answer is an error.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/v1/{path}"), None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        json(&answer)
    }

    /// Sends a request with a body of JSON to a path, or one without a body, and returns the answer.
    ///
    /// # Panics
    /// The answer is an error.
    pub fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string);
        let answer = self.ask(method, path, body.as_deref());
        assert!(answer.status < 300, "{method} {path}: {}", answer.body);
        json(&answer)
    }

    /// Opens a connection and sends a request, without waiting for its answer.
    ///
    /// # Panics
    /// The gateway takes no connection.
    pub fn begin(&self, method: &str, path: &str) -> Line {
        let stream = self.connect();
        stream.set_read_timeout(Some(LIMIT)).expect("not zero");
        let mut line = Line(BufReader::new(stream));
        line.send(self, method, path);
        line
    }
}

impl Line {
    /// Sends a further request.
    ///
    /// # Panics
    /// The gateway has closed the connection.
    pub fn send(&mut self, api: &Api, method: &str, path: &str) {
        let text = api.text(method, path, None, false);
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).expect("the server reads");
    }

    /// Reads one line without its end. Returns an empty string at the end of the connection too.
    ///
    /// # Panics
    /// No line comes.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line comes");
        line.trim_end().to_owned()
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return head;
            }
            head.push_str(&line.to_ascii_lowercase());
            head.push('\n');
        }
    }

    /// Reads a whole answer with a body of JSON.
    ///
    /// # Panics
    /// There is none.
    pub fn answer(&mut self) -> Value {
        let head = self.head();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok());
        let length = length.unwrap_or_else(|| panic!("no length: {head:?}"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body comes");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Reads the next event of a stream: its position and its data. Comments and positions without data
    /// are skipped.
    ///
    /// # Panics
    /// No event comes.
    pub fn event(&mut self) -> (Option<String>, Value) {
        let (mut id, mut data) = (None, None);
        loop {
            let mut line = String::new();
            let count = self.0.read_line(&mut line).expect("a line comes");
            assert!(count > 0, "the stream has ended");
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(text).expect("JSON"));
            } else if line.is_empty() {
                if let Some(data) = data.take() {
                    return (id, data);
                }
                id = None;
            }
        }
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    /// Something comes before it.
    pub fn ended(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("it ends");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

/// Returns the body of an answer.
///
/// # Panics
/// It is not JSON.
pub fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Returns the status and the code of an error.
///
/// # Panics
/// It is not a problem in the form of RFC 9457.
pub fn problem(answer: &Answer) -> (u16, u64) {
    let head = answer.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/problem+json"),
        "{answer:?}"
    );
    let body = json(answer);
    assert_eq!(body["type"], "about:blank", "{body}");
    assert_eq!(body["status"], answer.status, "{body}");
    for field in ["title", "detail", "name"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert!(body["temporary"].is_boolean(), "{body}");
    (answer.status, body["code"].as_u64().expect("a code"))
}
