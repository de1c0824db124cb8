//! The events of the platform on real servers: one contract for every pairing of bus
//! and database, and 10,000 events under SIGKILL.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;
mod contract;
mod outage;
mod crash;
