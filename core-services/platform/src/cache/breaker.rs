//! Whether it is worth asking.
//! Invariant: after `FAILURES_MAX` failures in a row only one call in each `PAUSE`
//! finds out whether there is an answer again, whoever else would ask.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const FAILURES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// Nobody asks before.
    opens_at: Option<Instant>,
}

impl Breaker {
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.with(|state| match state.opens_at {
            Some(at) if now < at => false,
            Some(_) => {
                state.opens_at = Some(now + PAUSE);
                true
            }
            None => true,
        })
    }

    pub(super) fn answered(&self) {
        self.with(|state| *state = State::default());
    }

    pub(super) fn failed(&self, now: Instant) {
        self.with(|state| {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURES_MAX {
                state.opens_at = Some(now + PAUSE);
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in here can panic half way.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_call_a_second_while_there_is_no_answer() {
        let breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits(now));
            breaker.failed(now);
        }
        assert!(!breaker.admits(now));
        let later = now + PAUSE;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "the first is still out");
        breaker.failed(later);
        assert!(!breaker.admits(later));
        assert!(breaker.admits(later + PAUSE));
        breaker.answered();
        assert!(breaker.admits(later) && breaker.admits(later));
    }
}
