//! The metrics of a gateway: `GET /metrics` on its control port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use fnv::FnvHashMap;

use crate::foreign::safe_line;

/// The time limit for an answer of the control port.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time limit for the answer whether a gateway is ready.
const SOON: Duration = Duration::from_secs(1);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// The counters and gauges of a gateway, by name with labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(FnvHashMap<String, f64>);

impl Metrics {
    /// Returns a metric by its name with its labels: `a_total` or `a_total{b="c"}`.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Returns whether a counter has fallen since `before`, which means that the gateway was
    /// started again.
    pub(crate) fn began_again(&self, before: &Self) -> bool {
        let counters = before.0.iter().filter(|(name, _)| {
            let family = name.split('{').next().unwrap_or_default();
            family.ends_with("_total")
        });
        counters
            .into_iter()
            .any(|(name, value)| self.get(name).is_none_or(|now| now < *value))
    }

    /// Returns the sum of metrics; `None` if one is missing. A name without labels stands for all
    /// samples of that name.
    pub(crate) fn sum_of(&self, names: &[String]) -> Option<f64> {
        names.iter().map(|name| self.all_of(name)).sum()
    }

    fn all_of(&self, name: &str) -> Option<f64> {
        let labelled = |key: &str| key.strip_prefix(name).is_some_and(|it| it.starts_with('{'));
        let found = self
            .0
            .iter()
            .filter(|(key, _)| *key == name || labelled(key));
        found.map(|(_, value)| *value).reduce(|a, b| a + b)
    }

    /// Returns the names of all metrics, without labels, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let names = self
            .0
            .keys()
            .map(|it| it.split('{').next().unwrap_or_default());
        let names: std::collections::BTreeSet<_> = names.collect();
        names.into_iter().collect()
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }
}

/// Parses `http://HOST:PORT` into an address.
///
/// # Errors
/// The text has another form, or its host is not found.
pub(crate) fn address(url: &str) -> Result<SocketAddr, String> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| !rest.contains('/'))
        .ok_or_else(|| format!("`{url}` is not a control port: write http://HOST:PORT"))?;
    let mut found = host
        .to_socket_addrs()
        .map_err(|why| format!("`{url}`: {why}"))?;
    found
        .next()
        .ok_or_else(|| format!("`{url}` has no address"))
}

/// Asks the control port of a gateway for its metrics.
///
/// # Errors
/// The control port cannot be reached, or its answer is not that of a gateway.
pub(crate) fn metrics(control: SocketAddr) -> Result<Metrics, String> {
    let metrics = exposed(control)?;
    match metrics.0.keys().any(|name| name.starts_with("trunkline_")) {
        true => Ok(metrics),
        false => Err(format!(
            "no metrics at http://{control}/metrics: the answer has no metric of a gateway"
        )),
    }
}

/// Asks a server of any kind for its metrics in the format of Prometheus.
///
/// # Errors
/// The server cannot be reached, or its answer is not as expected.
pub(crate) fn exposed(control: SocketAddr) -> Result<Metrics, String> {
    let fail = |why: &str| format!("no metrics at http://{control}/metrics: {why}");
    let answer = get(control, "/metrics", PATIENCE).map_err(|why| fail(&in_words(&why)))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .filter(|(head, _)| head.starts_with("HTTP/"))
        .ok_or_else(|| fail("the answer is not HTTP"))?;
    if head.split(' ').nth(1) != Some("200") {
        let line = safe_line(head.lines().next().unwrap_or(""));
        return Err(fail(&format!("the answer is `{line}`")));
    }
    Ok(Metrics::parse(body))
}

/// Returns whether a gateway says that it is ready.
pub(crate) fn is_ready(control: SocketAddr) -> bool {
    let answer = get(control, "/readyz", SOON).unwrap_or_default();
    answer.split(' ').nth(1) == Some("200")
}

/// Asks a control port, and returns the whole answer.
fn get(control: SocketAddr, path: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&control, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0: the answer ends with the connection and is not chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {control}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns why there is no answer, in words. The operating system reports a timeout as "would
/// block".
fn in_words(why: &std::io::Error) -> String {
    use std::io::ErrorKind::{InvalidData, TimedOut, WouldBlock};
    match why.kind() {
        TimedOut | WouldBlock => format!("no answer within {} s", PATIENCE.as_secs()),
        InvalidData => "the answer is not text".into(),
        _ => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_with_their_labels() {
        let text = "# HELP a b\na_total 12\nb_total{event=\"x\"} 3.5\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.get("a_total"), Some(12.0));
        assert_eq!(metrics.get("b_total{event=\"x\"}"), Some(3.5));
        assert_eq!(metrics.get("c"), None);
        let more = Metrics::parse("a 1\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\nb 5\n");
        let sum =
            |names: &[&str]| more.sum_of(&names.iter().map(|it| (*it).into()).collect::<Vec<_>>());
        assert_eq!(sum(&["a"]), Some(6.0));
        assert_eq!(sum(&["a{x=\"2\"}", "b"]), Some(8.0));
        assert_eq!(
            (sum(&["a", "c"]), more.names()),
            (None, vec!["a", "ab", "b"])
        );
    }

    #[test]
    fn a_counter_that_falls_tells_of_another_process() {
        let parse = |text: &str| Metrics::parse(text);
        let before = parse("a_total 12\nb_total{event=\"x\"} 3\nc 5\n");
        for (after, again) in [
            ("a_total 12\nb_total{event=\"x\"} 4\nc 1\n", false),
            ("a_total 12\nb_total{event=\"x\"} 2\nc 5\n", true),
            ("a_total 13\nc 5\n", true),
        ] {
            assert_eq!(parse(after).began_again(&before), again, "{after}");
        }
    }

    #[test]
    fn what_answers_something_else_is_no_control_port() {
        let good = "HTTP/1.1 200 OK\r\n\r\ntrunkline_a 1\n";
        for (answer, words) in [
            (good, None),
            ("", Some("answer is not HTTP")),
            ("220 mail\r\n\r\n", Some("answer is not HTTP")),
            (
                "HTTP/1.1 404 \x1b[2J\r\n\r\nx",
                Some(r"`HTTP/1.1 404 \u{1b}[2J`"),
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nup 1\n",
                Some("no metric of a gateway"),
            ),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let read = stream.read(&mut request).unwrap();
                assert!(read > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let found = metrics(address);
            server.join().unwrap();
            match (found, words) {
                (Ok(_), None) => {}
                (Err(why), Some(words)) => {
                    assert!(why.contains(words), "{why}");
                }
                (found, _) => panic!("{answer}: {found:?}"),
            }
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("http://127.0.0.1:7701/").unwrap().port(), 7701);
        for bad in ["127.0.0.1:7701", "http://127.0.0.1", "http://127.0.0.1:1/x"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
