//! What an identity service tells the edge besides its keys: which tokens are dead before they
//! expire, and which tokens stand for API keys.
//!
//! Invariant: the stages ask only what is known here; who waits for the service is the task that
//! listens to it, and a request whose API key nobody has asked about.

mod dead_keys;
mod follower;
mod followers;
mod introspection;
mod messages;
mod revoked;
mod shards;

pub use followers::{Followed, Followers, Source};
pub use introspection::{Digest, Introspected, Introspector, Key};
pub use revoked::Revoked;
