//! Tests of the whole of Trunkline, and their helpers.
//!
//! - [`gateway`]: a real `trunkline serve`, started, stopped, killed and started again;
//! - [`client`]: a blocking client that keeps every message until the test asks for it;
//! - [`crowd`]: many users who connect and never read;
//! - [`memory`]: what of a gateway is resident, at its peak and now;
//! - [`http`]: the control port;
//! - [`api`]: the client API over HTTP;
//! - [`back_end`]: a back end for callbacks;
//! - [`service`]: a gateway with tokens;
//! - [`tls`]: certificates, and clients that trust them;
//! - [`tokens`]: tokens, and keys to sign them with;
//! - [`wait`]: conditions, with a limit;
//! - [`port`]: ports that are chosen before they are used;
//! - [`neighbours`]: two users who chat and must not notice what the rest of a test does;
//! - [`reverse_proxy`]: nginx and HAProxy in front of a gateway;
//! - [`s3`]: a store that speaks S3;
//! - [`nats`]: NATS servers;
//! - [`cluster`]: three gateways with one log;
//! - [`apart`]: three gateways and three NATS servers, each on a machine of its own;
//! - [`machines`]: network namespaces, whose packets can be lost;
//! - [`traffic`]: messages to all nodes of a cluster while something fails, and what became of them;
//! - [`alone`], [`disk`], [`clock`]: mounts and a network of a test's own, disks that fill up, wrong clocks;
//! - [`relay`]: a relay between gateways and NATS servers, which can be cut;
//! - [`scripts`]: Python and Node.js for clients in other languages.
//!
//! Helpers are for tests only: they panic, with what they saw, where a test would fail.

pub mod alone;
pub mod apart;
pub mod api;
pub mod back_end;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod crowd;
pub mod debian;
pub mod dial;
pub mod disk;
pub mod gateway;
pub mod http;
pub mod machines;
pub mod memory;
pub mod nats;
pub mod neighbours;
pub mod port;
pub mod process;
pub mod random;
pub mod relay;
pub mod reverse_proxy;
pub mod s3;
pub mod scripts;
pub mod service;
pub mod tls;
pub mod tokens;
pub mod traffic;
pub mod wait;
