//! What an identity service tells the edge besides its keys: which tokens are dead before they
//! expire.
//!
//! Invariant: a request asks only what is known here; nobody waits for the service but the task
//! that listens to it. What was heard is forgotten when it no longer matters, and never sooner.

mod follower;
mod followers;
mod messages;
mod revoked;
mod shards;

pub use followers::{Followed, Followers, Source};
pub use revoked::Revoked;
