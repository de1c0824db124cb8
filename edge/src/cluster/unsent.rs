//! A translated call whose connection went away before anything was sent on it, and whose endpoint
//! cannot be connected to again.
//!
//! Invariant: to Pingora that is a connection that failed, though it was told of one: nobody has heard
//! of the call, so another endpoint may.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// What becomes of one call. Told once.
#[derive(Debug, Default)]
pub(super) struct Fate {
    is_unsent: AtomicBool,
    told: Notify,
}

impl Fate {
    /// The call's connection ends, with [`Unsent`] as the reason.
    pub(super) fn tell_unsent(&self) {
        self.is_unsent.store(true, Ordering::Release);
        self.told.notify_one();
    }

    pub(super) async fn unsent(&self) {
        self.told.notified().await;
    }

    /// What the end of the connection means.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_unsent.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, Unsent));
        }
        Ok(())
    }
}

/// The cause of the error that the request ends with.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint went away before the call was sent")]
pub struct Unsent;

impl Unsent {
    /// Whether it is what is behind a reader's or writer's error.
    pub fn is(error: &(dyn std::error::Error + 'static)) -> bool {
        let error = error.downcast_ref::<io::Error>();
        error
            .and_then(io::Error::get_ref)
            .is_some_and(|cause| cause.is::<Self>())
    }
}
