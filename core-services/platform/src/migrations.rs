//! The tables that the platform keeps in every service's database.
//! Invariant: a number belongs to one step for ever; steps never look at each other's tables.

use crate::db::Migration;

macro_rules! step {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!("../migrations/", $file, ".up.sql")),
            down: include_str!(concat!("../migrations/", $file, ".down.sql")),
        }
    };
}

/// Oldest first.
pub const MIGRATIONS: [Migration; 6] = [
    step!(1, "events", "0001_events"),
    step!(2, "jobs", "0002_jobs"),
    step!(3, "sagas", "0003_sagas"),
    step!(4, "idempotency_keys", "0004_idempotency_keys"),
    step!(5, "data_keys", "0005_data_keys"),
    step!(6, "audit_log", "0006_audit_log"),
];
