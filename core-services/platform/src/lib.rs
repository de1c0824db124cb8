//! What every core service stands on, in the order of a process's life:
//! settings, logs, storage, contracts, the RPC layers, the servers, the stop.
//! Invariant: nothing in here knows a domain; a service crate adds rules only.
//! Refuses to read a clock outside `clock` or the environment outside `config`.

pub mod config;
pub mod clock;
pub mod telemetry;
pub mod metrics;
pub mod db;
pub mod crypto;
pub mod audit;
pub mod events;
pub mod contracts;
pub mod validate;
pub mod errors;
pub mod jobs;
pub mod saga;
pub mod idempotency;
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
pub const MIGRATIONS: [Migration; 6] = [
    Migration {
        version: 1,
        name: "events",
        up: include_str!("../migrations/0001_events.up.sql"),
        down: include_str!("../migrations/0001_events.down.sql"),
    },
    Migration {
        version: 2,
        name: "jobs",
        up: include_str!("../migrations/0002_jobs.up.sql"),
        down: include_str!("../migrations/0002_jobs.down.sql"),
    },
    Migration {
        version: 3,
        name: "sagas",
        up: include_str!("../migrations/0003_sagas.up.sql"),
        down: include_str!("../migrations/0003_sagas.down.sql"),
    },
    Migration {
        version: 4,
        name: "idempotency_keys",
        up: include_str!("../migrations/0004_idempotency_keys.up.sql"),
        down: include_str!("../migrations/0004_idempotency_keys.down.sql"),
    },
    Migration {
        version: 5,
        name: "data_keys",
        up: include_str!("../migrations/0005_data_keys.up.sql"),
        down: include_str!("../migrations/0005_data_keys.down.sql"),
    },
    Migration {
        version: 6,
        name: "audit_log",
        up: include_str!("../migrations/0006_audit_log.up.sql"),
        down: include_str!("../migrations/0006_audit_log.down.sql"),
    },
];
