//! The service's SQL, and nothing but.
//! Invariant: what must happen together happens in one transaction that is
//! passed in; every statement is a constant with `$n` parameters.
//! Refuses to decide: a row goes up as it is.

pub(crate) mod users;
pub(crate) mod contacts;
pub(crate) mod passwords;
pub(crate) mod sessions;
pub(crate) mod refresh_tokens;
pub(crate) mod codes;
pub(crate) mod attempts;
pub(crate) mod credentials;
pub(crate) mod recovery_codes;
pub(crate) mod tickets;
pub(crate) mod preferences;
pub(crate) mod keys;
pub(crate) mod api_keys;
pub(crate) mod revocations;
pub(crate) mod roles;
pub(crate) mod relationships;
pub(crate) mod exports;

use core_platform::db::Migration;

/// The schema, oldest first.
pub const MIGRATIONS: [Migration; 9] = [
    Migration {
        version: 1,
        name: "accounts",
        up: include_str!("../../migrations/0001_accounts.up.sql"),
        down: include_str!("../../migrations/0001_accounts.down.sql"),
    },
    Migration {
        version: 2,
        name: "sessions",
        up: include_str!("../../migrations/0002_sessions.up.sql"),
        down: include_str!("../../migrations/0002_sessions.down.sql"),
    },
    Migration {
        version: 3,
        name: "signing_keys",
        up: include_str!("../../migrations/0003_signing_keys.up.sql"),
        down: include_str!("../../migrations/0003_signing_keys.down.sql"),
    },
    Migration {
        version: 20,
        name: "credentials",
        up: include_str!("../../migrations/0020_credentials.up.sql"),
        down: include_str!("../../migrations/0020_credentials.down.sql"),
    },
    Migration {
        version: 40,
        name: "keys",
        up: include_str!("../../migrations/0040_keys.up.sql"),
        down: include_str!("../../migrations/0040_keys.down.sql"),
    },
    Migration {
        version: 41,
        name: "administration",
        up: include_str!("../../migrations/0041_administration.up.sql"),
        down: include_str!("../../migrations/0041_administration.down.sql"),
    },
    Migration {
        version: 42,
        name: "relationships",
        up: include_str!("../../migrations/0042_relationships.up.sql"),
        down: include_str!("../../migrations/0042_relationships.down.sql"),
    },
    Migration {
        version: 43,
        name: "account_exports",
        up: include_str!("../../migrations/0043_account_exports.up.sql"),
        down: include_str!("../../migrations/0043_account_exports.down.sql"),
    },
    Migration {
        version: 44,
        name: "dead_signing_keys",
        up: include_str!("../../migrations/0044_dead_signing_keys.up.sql"),
        down: include_str!("../../migrations/0044_dead_signing_keys.down.sql"),
    },
];
