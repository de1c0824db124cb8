//! The service's SQL, and nothing but.
//! Invariant: what must happen together happens in one transaction that is
//! passed in; every statement is a constant with `$n` parameters.
//! Refuses to decide: a row goes up as it is.

pub(crate) mod items;
pub(crate) mod owners;

use core_platform::db::Migration;

/// The schema, oldest first.
pub const MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "items",
    up: include_str!("../../migrations/0001_items.up.sql"),
    down: include_str!("../../migrations/0001_items.down.sql"),
}];
