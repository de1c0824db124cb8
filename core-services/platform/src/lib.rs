//! What every core service stands on, in the order of a process's life:
//! settings, logs, storage, contracts, the RPC layers, the servers, the stop.
//! Invariant: nothing in here knows a domain; a service crate adds rules only.
//! Refuses to read a clock outside `clock` or the environment outside `config`.

pub mod config;
pub mod clock;
pub mod telemetry;
pub mod metrics;
pub mod db;
pub mod contracts;
pub mod validate;
pub mod errors;
pub mod token;
pub mod peer;
pub mod rpc;
pub mod listen;
pub mod health;
pub mod admin;
pub mod serve;
pub mod drain;
pub mod service;

use db::Migration;

/// The tables that the platform keeps in every service's database, oldest first.
pub const MIGRATIONS: [Migration; 0] = [];
