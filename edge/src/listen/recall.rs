//! Ends a request under way for a reason that lies outside of its connection.
//!
//! Its next read fails, and Pingora always has one pending while it proxies. On h2 and h3 that is
//! the session's (`timed_body`); on HTTP/1.1 the stream's, here.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The cause of the error that a recalled request ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request was recalled")]
pub struct Recalled;

impl Recalled {
    /// For a reader: Pingora passes it on as the cause of its own error.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, self)
    }

    /// Whether it is what is behind a reader's error.
    pub fn is(error: &(dyn std::error::Error + 'static)) -> bool {
        let error = error.downcast_ref::<io::Error>();
        error
            .and_then(io::Error::get_ref)
            .is_some_and(|cause| cause.is::<Self>())
    }
}

/// Of an HTTP/1.1 connection: what recalls the request that it is about.
#[derive(Debug, Default)]
pub struct Recall {
    /// Most connections never have one, and must not lock for it.
    is_armed: AtomicBool,
    waiting: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
}

impl Recall {
    /// From now on, reads fail once the token is cancelled.
    pub fn arm(&self, token: CancellationToken) {
        *self.waiting() = Some(Box::pin(token.cancelled_owned()));
        self.is_armed.store(true, Ordering::Release);
    }

    /// The request has ended.
    pub fn disarm(&self) {
        self.is_armed.store(false, Ordering::Release);
        *self.waiting() = None;
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_armed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut waiting = self.waiting();
        match waiting.as_mut() {
            Some(waiting) => waiting.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Pin<Box<WaitForCancellationFutureOwned>>>> {
        // Never contended: one task reads and arms. Whole after every statement that could panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
