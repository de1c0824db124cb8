//! The policy language: files to an immutable model, with every error at once.
//!
//! Files are found and read (`walk`, `files`), parsed and decoded (`yaml`, `decode`, `field`,
//! `document`), compiled (`compile`) to what the request path reads (`model`, `routing`), and
//! followed (`watch`, `reloader`, `store`).
//! Invariant: a policy that does not compile as a whole is never used.
//! Refuses to guess: unknown keys, missing units and ambiguous routes are errors.

mod codes;
mod compile;
mod decode;
pub mod diagnostic;
mod document;
mod environment;
pub mod expression;
mod field;
mod hints;
pub mod files;
pub mod format;
pub mod hosts;
mod load;
pub mod model;
pub mod reloader;
pub mod routing;
pub mod rules;
mod schema;
pub mod store;
mod walk;
mod watch;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use files::FileFacts;
pub use load::{Loaded, load, load_with};
pub use reloader::{Reloader, StartError};
pub use schema::schema;
pub use store::{Facts, Failure, PolicyStore, Status};
pub use watch::watch;
