//! The policy language: files to an immutable model, with every error at once.
//!
//! Files are found, read and decoded (`palisade_documents`, `document`), compiled (`compile`) to what the request path reads (`model`, `routing`), and
//! followed (`watch`, `reloader`, `store`); what is at fault is replaced by what was good
//! (`salvage`, `history`). `describe` and `diff` say what policies mean to people.
//! Invariant: a policy that does not compile as a whole is never used.
//! Refuses to guess: unknown keys, missing units and ambiguous routes are errors.

mod compile;
pub mod describe;
pub mod diff;
mod document;
mod environment;
pub mod expression;
pub mod format;
pub mod history;
pub mod hosts;
mod load;
pub mod model;
pub mod reloader;
pub mod routing;
pub mod rules;
pub mod salvage;
mod schema;
pub mod store;
mod watch;

// Their home is a crate of its own; here they are named as if they were ours.
use palisade_documents::{codes, decode, field, report, walk, yaml};
pub use palisade_documents::{diagnostic, files};

pub use diagnostic::{Diagnostic, Diagnostics};
pub use files::FileFacts;
pub use load::{Loaded, Lookup, load, load_text, load_with};
pub use reloader::{Reloader, Rollback, RollbackError, Settings, StartError};
pub use schema::schema;
pub use store::{Failure, PolicyStore, Status};
pub use watch::watch;
