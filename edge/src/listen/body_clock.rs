//! How long a request body was waited for: the time in which we asked and the client had nothing.
//!
//! Time in which the upstream takes no more is not in it, so a client is never blamed for that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by whoever reads and whoever judges.
#[derive(Debug, Default)]
pub struct BodyClock(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    before: Duration,
    since: Option<Instant>,
}

impl BodyClock {
    /// After each look for more of the body.
    pub(super) fn looked(&self, found_nothing: bool) {
        let mut waiting = self.waiting();
        if found_nothing {
            waiting.since.get_or_insert_with(Instant::now);
        } else if let Some(since) = waiting.since.take() {
            waiting.before += since.elapsed();
        }
    }

    /// All of it so far, the wait under way included.
    pub fn waited(&self) -> Duration {
        let waiting = self.waiting();
        waiting.before
            + waiting
                .since
                .map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Never contended: one task reads and judges. Whole after every statement that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_time_without_data_counts() {
        let clock = BodyClock::default();
        let second = Duration::from_secs(1);
        clock.looked(true);
        tokio::time::advance(second).await;
        assert_eq!(clock.waited(), second);
        clock.looked(true);
        tokio::time::advance(second).await;
        clock.looked(false);
        assert_eq!(clock.waited(), 2 * second);
        // The upstream is slow: nobody looks.
        tokio::time::advance(60 * second).await;
        clock.looked(false);
        assert_eq!(clock.waited(), 2 * second);
    }
}
