//! OpenAPI documents of what a translator takes, and a page to read and try them.
//!
//! Invariant: a document says only what the descriptors, the rules in them and the caller's
//! [`Terms`] say; nothing is fetched and nothing is guessed. Refuses to know routes and policies:
//! whoever has them chooses the operations.

mod comments;
mod document;
mod examples;
mod operation;
mod parameters;
mod paths;
mod pattern;
mod responses;
mod rules;
mod schema;
mod terms;
pub mod viewer;
mod well_known;

pub use document::{Contact, Document, Info, Operation, Version, document};
pub use paths::{Mount, sample};
pub use terms::{Quota, Scheme, Terms};
