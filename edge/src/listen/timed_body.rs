//! A request of HTTP/2 or HTTP/3 whose body has a clock, which may itself have a deadline, or that
//! can be recalled.
//!
//! Pingora reads these bodies without any deadline; HTTP/1.1 it reads with one, and its clock is in
//! `stream`. Wraps the session of a request and is itself a custom session of Pingora's.

mod session;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, Result};
use tokio_util::sync::CancellationToken;

use super::{BodyClock, Recalled};

/// What the error of a request is that must have ended.
pub const DEADLINE_EXCEEDED: ErrorType = ErrorType::Custom("DeadlineExceeded");

/// Put the timed session in the place of `session`, before anything was read. After `ends_at` its
/// reads fail.
pub fn wrap(
    session: &mut ServerSession,
    silence_max: Duration,
    ends_at: Option<Instant>,
) -> Arc<BodyClock> {
    replace(session, Some(silence_max), ends_at, None)
}

/// The same for a session whose reads fail once `recall` is cancelled.
pub fn wrap_recallable(session: &mut ServerSession, recall: CancellationToken) {
    replace(session, None, None, Some(recall));
}

fn replace(
    session: &mut ServerSession,
    silence_max: Option<Duration>,
    ends_at: Option<Instant>,
    recall: Option<CancellationToken>,
) -> Arc<BodyClock> {
    let clock = Arc::new(BodyClock::default());
    // Stands in for an instant; nothing of it is ever called.
    let placeholder = ServerSession::new_custom(Box::new(()));
    let timed = TimedBody {
        inner: std::mem::replace(session, placeholder),
        clock: clock.clone(),
        silence_max,
        ends_at,
        recall,
    };
    *session = ServerSession::new_custom(Box::new(timed));
    clock
}

struct TimedBody {
    inner: ServerSession,
    clock: Arc<BodyClock>,
    silence_max: Option<Duration>,
    ends_at: Option<Instant>,
    recall: Option<CancellationToken>,
}

/// Cancel safe as far as `read` is.
async fn ending<T>(ends_at: Option<Instant>, read: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(ends_at) = ends_at else {
        return read.await;
    };
    let ended = tokio::time::timeout_at(ends_at.into(), read).await;
    ended.unwrap_or_else(|_| {
        let what = "the request's deadline has passed";
        Err(Error::explain(DEADLINE_EXCEEDED, what).into_down())
    })
}

/// Cancel safe as far as `read` is.
async fn recallable<T>(
    recall: Option<&CancellationToken>,
    read: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(recall) = recall else {
        return read.await;
    };
    tokio::select! {
        biased;
        () = recall.cancelled() => {
            let what = "the request was recalled";
            Err(Error::because(ErrorType::ReadError, what, Recalled.into_io()).into_down())
        }
        read = read => read,
    }
}

/// A piece of the body. Cancel safe as far as `read` is.
async fn timed(
    clock: &BodyClock,
    silence_max: Option<Duration>,
    read: impl Future<Output = Result<Option<Bytes>>>,
) -> Result<Option<Bytes>> {
    let mut read = pin!(read);
    let looking = poll_fn(|cx| {
        let found = read.as_mut().poll(cx);
        clock.looked(found.is_pending());
        found
    });
    let Some(limit) = silence_max else {
        return looking.await;
    };
    match tokio::time::timeout(limit, looking).await {
        Ok(found) => found,
        Err(_) => {
            let what = "no more of the request body came";
            Err(Error::explain(ErrorType::ReadTimedout, what).into_down())
        }
    }
}
