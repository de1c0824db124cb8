//! Calls between services, over real TLS sockets and within the process.

#![allow(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test; clippy exempts test functions but not what they call"
)]

mod world;
mod node;
mod access;
mod deadlines;
mod retries;
mod addresses;
