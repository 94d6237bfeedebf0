//! The addresses that the gateway listens on. They are taken before the store is opened: a start that cannot have one
//! of them makes no folder.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use trunkline_gateway::shard::listener::{self, Claimed, Kept};

use crate::config::Config;

/// The addresses of a gateway that starts.
pub(crate) struct Ports {
    /// The address for the shards.
    pub(crate) listen: Kept,
    /// The address of the control port.
    pub(crate) control: Claimed,
    /// The address of the client API; `None` without one.
    pub(crate) http: Option<Claimed>,
}

impl Ports {
    /// Takes the addresses.
    ///
    /// # Errors
    /// One of them cannot be had. The error names the setting and says what to do.
    pub(crate) fn take(config: &Config) -> anyhow::Result<Self> {
        let (listen, control) = (config.listen, config.control);
        let listen =
            listener::keep(listen).map_err(|error| cannot_listen("listen", listen, &error))?;
        let control =
            listener::claim(control).map_err(|error| cannot_listen("control", control, &error))?;
        let http = match config.http.map(|at| (at, listener::claim(at))) {
            None => None,
            Some((_, Ok(claimed))) => Some(claimed),
            Some((at, Err(error))) => {
                without_http(config, at, &error)?;
                None
            }
        };
        Ok(Self {
            listen,
            control,
            http,
        })
    }
}

/// Says that the gateway goes on without the client API, whose address another program has: a second gateway on a
/// machine starts as it does where there is no client API.
///
/// # Errors
/// Somebody gave the address, or it cannot be had for another reason.
pub(crate) fn without_http(
    config: &Config,
    address: SocketAddr,
    error: &Error,
) -> anyhow::Result<()> {
    if error.kind() != ErrorKind::AddrInUse || config.http_is_given {
        return Err(cannot_listen("http", address, error));
    }
    tracing::warn!(
        %address,
        "another program has the default address of the client API: starting without the API; set http to another address, or to off"
    );
    Ok(())
}

/// Returns the error of an address that cannot be had, for people.
pub(crate) fn cannot_listen(setting: &str, address: SocketAddr, error: &Error) -> anyhow::Error {
    let fix = match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "another process has this port, such as another gateway: stop it, or give another address with --{setting}"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!(
                "no interface of this machine has this address: give another one with --{setting}"
            )
        }
        ErrorKind::PermissionDenied => {
            format!("this user may not use this port: give one from 1024 on with --{setting}")
        }
        _ => format!("give another address with --{setting}"),
    };
    anyhow::anyhow!("cannot listen on {address}: {error}: {fix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_is_named_with_its_setting_and_a_fix() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        for (kind, words) in [
            (ErrorKind::AddrInUse, "another gateway"),
            (ErrorKind::AddrNotAvailable, "no interface"),
            (ErrorKind::PermissionDenied, "from 1024 on"),
            (ErrorKind::OutOfMemory, "another address"),
        ] {
            let said = cannot_listen("control", address, &kind.into()).to_string();
            for word in ["127.0.0.1:80", "--control", words] {
                assert!(said.contains(word), "{said}");
            }
        }
    }
}
