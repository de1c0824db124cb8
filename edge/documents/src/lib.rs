//! Folders of YAML documents: what the edge's policies and the core services' are both read by.
//!
//! Files are found and read (`walk`, `files`), parsed and decoded (`yaml`, `decode`, `field`), and
//! followed (`watch`); what is wrong is collected with its place (`report`) and told (`diagnostic`, `codes`, `hints`).
//! Invariant: one fault hides no other, and nothing read is unbounded.
//! Refuses to know what a document means.

pub mod codes;
pub mod decode;
pub mod diagnostic;
pub mod field;
pub mod files;
mod hints;
pub mod report;
pub mod walk;
pub mod watch;
pub mod yaml;
