//! The events of the platform on real servers: one contract for every pairing of bus
//! and database.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;
mod contract;
mod outage;
