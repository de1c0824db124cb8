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
pub(crate) mod preferences;
pub(crate) mod keys;

use core_platform::db::Migration;

/// The schema, oldest first.
pub const MIGRATIONS: [Migration; 3] = [
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
];
