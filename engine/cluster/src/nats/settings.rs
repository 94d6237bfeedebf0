//! How to reach the NATS servers of a cluster, and as whom.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use thiserror::Error;

use super::names::ClusterNames;

/// The most servers that may be named.
const SERVERS_MAX: usize = 16;

/// The time in which a server must take a connection. A server that is stopped takes it in the kernel and
/// never says a word.
const CONNECT: Duration = Duration::from_secs(1);

/// The time between two pings. After three without an answer the connection is given up.
const PING: Duration = Duration::from_secs(1);

/// The shortest and the longest time before the next server is tried.
const DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// The requests that wait for the connection inside the library, at most.
const COMMANDS: usize = 256;

/// The messages of one subscription that wait inside the library, at most. Those beyond are lost, and their
/// loss is noticed. The library reads the socket until it is empty, up to some MiB, before anybody can take a
/// message: short messages are many then.
pub(crate) const SUBSCRIPTION: usize = 8_192;

/// The NATS servers of a cluster, and the proofs of who this node is.
#[derive(Clone, Default)]
pub struct NatsSettings {
    /// The URLs of the servers: `nats://[USER:PASSWORD@]HOST[:PORT]` or `tls://…`, 1 to 16. Servers that are
    /// not named are not used. Characters of the password may be escaped, such as `%40`.
    pub urls: Vec<String>,
    /// The file with the JWT of the user and the seed that signs (a `.creds` file).
    pub credentials: Option<PathBuf>,
    /// The certificates of the authorities that sign the servers' certificates, in PEM form. Without the file
    /// those of the system are used. With it connections are encrypted, or there is none: who names an authority
    /// expects it to be asked.
    pub authorities: Option<PathBuf>,
    /// The certificate of this node, for servers that ask for one.
    pub certificate: Option<NodeCertificate>,
    /// Connections are encrypted, or there is none.
    pub tls: bool,
}

/// A certificate with its key, both in PEM form.
#[derive(Clone, Debug)]
pub struct NodeCertificate {
    /// The file with the chain of certificates.
    pub chain: PathBuf,
    /// The file with the private key.
    pub key: PathBuf,
}

/// Settings that cannot be used. The text says what to change.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadSettings(pub(crate) String);

impl fmt::Debug for NatsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| shown_url(url)).collect();
        f.debug_struct("NatsSettings")
            .field("urls", &urls)
            .field("credentials", &self.credentials)
            .field("authorities", &self.authorities)
            .field("certificate", &self.certificate)
            .field("tls", &self.tls)
            .finish()
    }
}

impl NatsSettings {
    /// Checks the URLs, without a look at any file.
    ///
    /// # Errors
    /// There are none or too many, one is not the URL of a NATS server, or two name different users.
    pub fn check(&self) -> Result<(), BadSettings> {
        let urls = Self {
            urls: self.urls.clone(),
            ..Self::default()
        };
        urls.proofs(&urls.servers()?).map(|_| ())
    }

    /// Returns the addresses and the options of a connection.
    ///
    /// # Errors
    /// A URL or a file cannot be read, or two URLs name different users.
    pub(crate) fn options(
        &self,
        names: &ClusterNames,
    ) -> Result<(Vec<ServerAddr>, ConnectOptions), BadSettings> {
        let servers = self.servers()?;
        let mut options = self.proofs(&servers)?;
        let servers = servers.into_iter().map(without_user).collect();
        if let Some(file) = &self.authorities {
            has_pem(file)?;
            options = options.add_root_certificates(file.clone());
        }
        if let Some(certificate) = &self.certificate {
            has_pem(&certificate.chain)?;
            has_pem(&certificate.key)?;
            options =
                options.add_client_certificate(certificate.chain.clone(), certificate.key.clone());
        }
        let options = options
            .name(format!("trunkline {} {}", names.cluster(), names.node()))
            .custom_inbox_prefix(names.inbox())
            .require_tls(self.is_encrypted())
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .reconnect_delay_callback(delay)
            .max_reconnects(None::<usize>)
            .retry_on_initial_connect()
            // What a cluster says of its servers are addresses inside it, and a partition would add them.
            .ignore_discovered_servers()
            .client_capacity(COMMANDS)
            .subscription_capacity(SUBSCRIPTION);
        Ok((servers, options))
    }

    /// Returns whether a server without TLS is refused, also one whose URL begins with `nats://`.
    fn is_encrypted(&self) -> bool {
        self.tls || self.certificate.is_some() || self.authorities.is_some()
    }

    fn servers(&self) -> Result<Vec<ServerAddr>, BadSettings> {
        if !(1..=SERVERS_MAX).contains(&self.urls.len()) {
            let count = self.urls.len();
            return Err(BadSettings(format!(
                "{count} NATS servers are named: name 1 to {SERVERS_MAX}"
            )));
        }
        let parse = |url: &String| {
            let server = url.parse::<ServerAddr>();
            server.map_err(|why| {
                let url = shown_url(url);
                BadSettings(format!("{url} is not the URL of a NATS server: {why}"))
            })
        };
        self.urls.iter().map(parse).collect()
    }

    /// Returns options that say who this node is.
    fn proofs(&self, servers: &[ServerAddr]) -> Result<ConnectOptions, BadSettings> {
        let user = |server: &ServerAddr| {
            let (user, password) = (server.username()?, server.password());
            Some((decoded(user), password.map(decoded)))
        };
        let mut users: Vec<_> = servers.iter().filter_map(user).collect();
        users.dedup();
        if users.len() > 1 {
            return Err(BadSettings(
                "the URLs of the NATS servers have different users or passwords: give all servers the same"
                    .into(),
            ));
        }
        match (users.pop(), &self.credentials) {
            (Some(_), Some(file)) => Err(BadSettings(format!(
                "the URLs of the NATS servers have a user, and there is a credentials file, {}: use one of them",
                file.display()
            ))),
            (None, Some(file)) => credentials(file),
            (Some((user, Some(password))), None) => {
                Ok(ConnectOptions::with_user_and_password(user, password))
            }
            (Some((token, None)), None) => Ok(ConnectOptions::with_token(token)),
            (None, None) => Ok(ConnectOptions::new()),
        }
    }
}

/// Returns an address without user and password, which the options carry. The library writes addresses as they
/// are into its debug lines, at each attempt.
fn without_user(server: ServerAddr) -> ServerAddr {
    let mut url = server.clone().into_inner();
    // A URL without a host cannot have a user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    ServerAddr::from_url(url).unwrap_or(server)
}

/// Returns options with a user's JWT and the seed that signs what the servers ask to sign.
fn credentials(file: &Path) -> Result<ConnectOptions, BadSettings> {
    let options = ConnectOptions::with_credentials(&read(file)?);
    options.map_err(|why| {
        BadSettings(format!(
            "{} is no credentials file of NATS, which has a user's JWT and a seed: {why}",
            file.display()
        ))
    })
}

fn read(file: &Path) -> Result<String, BadSettings> {
    let text = std::fs::read_to_string(file);
    text.map_err(|why| {
        BadSettings(format!(
            "cannot read {}, which is for the NATS servers: {why}",
            file.display()
        ))
    })
}

/// Checks a file in PEM form now: the library reads it at each connection, and says only that TLS failed.
fn has_pem(file: &Path) -> Result<(), BadSettings> {
    if read(file)?.contains("-----BEGIN ") {
        return Ok(());
    }
    let file = file.display();
    Err(BadSettings(format!(
        "{file}, which is for the NATS servers, has nothing in PEM form: its text must have a line -----BEGIN …-----"
    )))
}

/// Returns the time before an attempt: short at first, for most servers are back or replaced at once.
fn delay(attempts: usize) -> Duration {
    let doubled = DELAYS.0 * (1 << attempts.saturating_sub(1).min(4));
    doubled.min(DELAYS.1)
}

/// Returns the URL without user and password.
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// Returns a part of a URL with its escaped bytes, such as `%40`, as what they stand for.
fn decoded(part: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &NatsSettings) -> String {
        let names = ClusterNames::new("c", "n").unwrap();
        let refused = settings.options(&names).err();
        refused.map_or_else(String::new, |why| why.to_string())
    }

    fn with_urls(urls: &[&str]) -> NatsSettings {
        NatsSettings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..NatsSettings::default()
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_what_to_change() {
        let missing = Some(PathBuf::from("/nowhere/file"));
        let bad = |change: &dyn Fn(&mut NatsSettings)| {
            let mut settings = with_urls(&["nats://u:p@h"]);
            change(&mut settings);
            refusal(&settings)
        };
        assert_eq!(refusal(&with_urls(&["nats://u:p@a", "nats://u:p@b:1"])), "");
        assert_eq!(
            bad(&|it| it.urls.clear()),
            "0 NATS servers are named: name 1 to 16"
        );
        let said = refusal(&with_urls(&["nats://u:p@a", "nats://u:q@b"]));
        assert!(said.contains("different users"), "{said}");
        let said = bad(&|it| it.credentials = missing.clone());
        assert!(said.contains("use one of them"), "{said}");
        let said = bad(&|it| it.authorities = missing.clone());
        assert!(said.starts_with("cannot read /nowhere/file"), "{said}");
        let said = refusal(&with_urls(&["nats://u:secret@h:port"]));
        assert!(said.starts_with("nats://h:port is not"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let shown = format!("{:?}", with_urls(&["nats://user:secret@h:4222"]));
        assert!(shown.contains("nats://h:4222"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_the_library_may_write_has_no_password() {
        let names = ClusterNames::new("c", "n").unwrap();
        let urls = ["nats://alice:secret@h:4222", "tls://alice:secret@[::1]"];
        let (servers, _) = with_urls(&urls).options(&names).unwrap();
        let shown = format!("{servers:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("alice"),
            "{shown}"
        );
        assert_eq!((servers[0].host(), servers[0].port()), ("h", 4222));
        assert!(servers[1].tls_required());
        let (servers, _) = with_urls(&["nats://:secret@h"]).options(&names).unwrap();
        assert!(!format!("{servers:?}").contains("secret"));
        let (servers, _) = with_urls(&["nats://secret@h"]).options(&names).unwrap();
        assert!(!format!("{servers:?}").contains("secret"));
    }

    #[test]
    fn who_names_an_authority_a_certificate_or_tls_gets_no_connection_without() {
        let file = || PathBuf::from("x.pem");
        let is_encrypted = |change: &dyn Fn(&mut NatsSettings)| {
            let mut settings = with_urls(&["nats://h"]);
            change(&mut settings);
            settings.is_encrypted()
        };
        assert!(!is_encrypted(&|_| ()));
        assert!(is_encrypted(&|it| it.tls = true));
        assert!(is_encrypted(&|it| it.authorities = Some(file())));
        assert!(is_encrypted(&|it| it.certificate = Some(NodeCertificate {
            chain: file(),
            key: file(),
        })));
    }

    #[test]
    fn what_a_url_escapes_is_what_it_stands_for() {
        for (part, text) in [("a%40b%3A", "a@b:"), ("50%", "50%"), ("%zz", "%zz")] {
            assert_eq!(decoded(part), text);
        }
    }

    #[test]
    fn attempts_come_after_10_to_100_ms() {
        let delays = [0, 1, 2, 3, 4, 5, 50, usize::MAX].map(|it| delay(it).as_millis());
        assert_eq!(delays, [10, 10, 20, 40, 80, 100, 100, 100]);
    }
}
