//! The Palisade edge: life of a request in `README.md`, decisions in `DECISIONS.md`.
//!
//! Modules in reading order.

pub mod config;
pub mod crypto;
pub mod dev_certs;
pub mod acme;
pub mod server;
pub mod commands;
pub mod listen;
pub mod handover;
pub mod gateway;
pub mod in_flight;
pub mod request_id;
pub mod request_ctx;
pub mod snapshot;
pub mod stages;
pub mod backoff;
pub mod cluster;
pub mod identity;
pub mod rejection;
pub mod respond;
pub mod openapi;
pub mod explain;
pub mod replay;
pub mod observe;
