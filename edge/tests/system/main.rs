//! The edge in front of the real core services, with the policies that ship.
//!
//! One binary of many modules. Every test starts a `palisade-core` and a `palisade` of its own on
//! free ports, ends both by SIGTERM, and then looks through all they ever printed for secrets.
//! Refuses mocks: what is not one of the two binaries is the client.

mod harness;
#[path = "../it/client/mod.rs"]
#[allow(
    dead_code,
    reason = "the clients of the edge's own tests, which use all of them"
)]
mod client;
#[path = "../it/upstream/pattern.rs"]
#[allow(dead_code, reason = "as far as the clients need it")]
mod pattern;
mod upstream {
    pub(crate) use super::pattern;
}

mod accounts;
mod connection;
mod forwarder;

mod flows;
mod story;
mod sign_in;
mod grpc;
mod logs;
mod crash;
mod freeze;
mod keys;
mod revoked;
mod drain;
mod edits;
mod docs;
