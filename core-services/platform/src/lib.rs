//! What every core service stands on, in the order of a process's life:
//! settings, logs, storage, contracts, the RPC layers, the servers, the stop.
//! Invariant: nothing in here knows a domain; a service crate adds rules only.
//! Refuses to read a clock outside `clock` or the environment outside `config`.

pub mod config;
pub mod clock;
pub mod backoff;
pub mod telemetry;
pub mod metrics;
pub mod db;
pub mod events;
pub mod crypto;
pub mod audit;
pub mod cursor;
pub mod pages;
pub mod cache;
pub mod contracts;
pub mod validate;
pub mod errors;
pub mod jobs;
pub mod saga;
pub mod idempotency;
pub mod token;
pub mod service_token;
pub mod peer;
pub mod deadline;
pub mod rpc;
mod accepted;
pub mod listen;
pub mod memory;
pub mod clients;
pub mod health;
pub mod admin;
pub mod serve;
pub mod drain;
pub mod policy;
pub mod service;
pub mod ops;

mod migrations;
mod reason;

pub use migrations::MIGRATIONS;
