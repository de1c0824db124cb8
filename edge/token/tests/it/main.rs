//! One binary for all integration tests of the crate: linked once.

#![allow(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test; clippy exempts test functions but not what they call"
)]

mod attacks;
mod claims;
mod issuer_server;
mod key_sets;
mod refresh;
mod remembering;
mod reload;
mod shared_vectors;
mod signer;
#[path = "../vectors/mod.rs"]
mod vectors;
