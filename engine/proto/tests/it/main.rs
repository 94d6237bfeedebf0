//! Tests of the public interface, one module per subject.

#[cfg(test)]
mod bad_commands;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod encodings;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod framing_errors;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod generators;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod handshake_client;
#[cfg(test)]
mod handshake_strict;
#[cfg(test)]
mod interoperable;
#[cfg(test)]
mod origin;
#[cfg(test)]
mod page;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod server_examples;
#[cfg(test)]
mod sizes;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls;
#[cfg(test)]
mod wire;
