//! The outside world of the services, played on free ports of this machine for tests:
//! a mail relay and an SMS gateway, which record what they get, a provider to sign in at, and
//! (no server) an authenticator with a passkey.
//! Invariant: they speak the protocol of the real thing, on real sockets; a fault is one
//! the real thing has, and is switched while they run.
//! Refuses to be started anywhere but on the loopback address, or linked into a service.

mod oidc;
mod passkey;
mod record;
mod sms;
mod smtp;

pub use oidc::{OidcFault, Person, Provider};
pub use passkey::{Authenticator, CeremonyFault};
pub use sms::{Gateway, ShortMessage};
pub use smtp::{Mail, Relay};

/// What goes wrong, from the next command or request on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Connections are closed without a word.
    Refuse,
    /// Connections are kept, and nothing is ever said.
    Stall,
    /// "Try again later": 451 in SMTP, 503 in HTTP.
    Temporary,
    /// "Never": 550 in SMTP, 400 in HTTP.
    Permanent,
    /// The message is taken, and the connection cut before that is said.
    Cut,
}
