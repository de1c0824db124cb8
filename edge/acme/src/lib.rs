//! Certificates by ACME (RFC 8555): ordered, proved, renewed early, kept as files.
//!
//! The only crate that knows the protocol. It writes `NAME.pem` and `NAME.key` into the folder the
//! edge watches and opens no listener: the edge asks [`Pending`] for the answer to a challenge.
//! Invariant: nothing on disk is replaced before its successor has proved usable.
//! Refuses: wildcards and addresses (they need other challenges), directories without TLS.

mod settings;
mod pending;
mod schedule;
mod certificate;
mod files;
mod http_client;
mod order;
mod standing;
mod renewer;

pub use pending::Pending;
pub use renewer::{Outcome, Renewer};
pub use settings::{ChallengeType, DirectoryUrl, Name, Settings, SetupError};
