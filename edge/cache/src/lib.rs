//! Responses kept in memory for `pingora-cache`, and the rules of a shared cache (RFC 9111).
//!
//! Invariant: everything held, finished or still filling, is counted against one byte limit.
//! Refuses: to show a reader a truncated body as complete, and to store what a shared cache must not.

pub mod key;
pub mod rules;
pub mod vary;
pub mod cache_status;
pub mod storage;
mod budget;
mod entry;
mod fill;
mod hit;
mod backend;

pub use cache_status::cache_status;
pub use key::key;
pub use rules::{Arrival, Defaults, decide, decide_revalidated};
pub use storage::{MemoryStorage, Stats};
pub use vary::variance;
