//! The store through Pingora's storage trait and under its state machine.

#![allow(
    clippy::unwrap_used,
    reason = "a failed step is a failed test, in helpers too"
)]

mod fixture;
mod bodies;
mod upkeep;
mod limits;
mod http_cache;
