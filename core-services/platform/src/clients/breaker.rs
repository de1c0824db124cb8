//! A circuit breaker: a target that keeps failing is left alone for a while.
//! Invariant: while open nothing is sent; while half-open one probe is, and only
//! the probe decides. Time is an argument.
//! Refuses to judge: its user says what a failure is.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;
/// Doubled by every probe that fails.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Breaker {
    pause_min: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { pause: Duration },
}

/// A call that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Normal,
    Probe,
}

/// How a call ended, as far as the target is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Failed,
    /// Given up by its caller.
    Unknown,
}

impl Breaker {
    pub(super) fn new(pause_min: Duration) -> Self {
        Self {
            pause_min,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether a call may be sent; each pass must be settled.
    pub(super) fn enter(&mut self, now: Instant) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => Some(Pass::Normal),
            State::Open { until, pause } if until <= now => {
                self.state = State::HalfOpen { pause };
                Some(Pass::Probe)
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    pub(super) fn settle(&mut self, pass: Pass, outcome: Outcome, now: Instant) {
        match (&mut self.state, pass, outcome) {
            (State::Closed { failures }, _, Outcome::Answered) => *failures = 0,
            (State::Closed { failures }, _, Outcome::Failed) => {
                *failures += 1;
                if *failures >= FAILURES_MAX {
                    self.open(self.pause_min, now);
                }
            }
            (State::HalfOpen { .. }, Pass::Probe, Outcome::Answered) => {
                self.state = State::Closed { failures: 0 };
            }
            (State::HalfOpen { pause }, Pass::Probe, Outcome::Failed) => {
                let pause = pause.saturating_mul(2).min(PAUSE_MAX);
                self.open(pause, now);
            }
            // A probe that nobody waited for: the next call is one.
            (State::HalfOpen { pause }, Pass::Probe, Outcome::Unknown) => {
                let pause = *pause;
                self.state = State::Open { until: now, pause };
            }
            // Sent before it opened: says nothing about now.
            _ => {}
        }
    }

    fn open(&mut self, pause: Duration, now: Instant) {
        let until = now + pause;
        self.state = State::Open { until, pause };
    }

    /// For the gauge: 0 closed, 1 half-open, 2 open.
    pub(super) fn level(&self) -> i64 {
        match self.state {
            State::Closed { .. } => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(PAUSE);
        for _ in 0..FAILURES_MAX {
            let pass = breaker.enter(now).unwrap();
            breaker.settle(pass, Outcome::Failed, now);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new(PAUSE);
        for round in 0..3 * FAILURES_MAX {
            let pass = breaker.enter(now).unwrap();
            let outcome = if round % FAILURES_MAX == FAILURES_MAX - 1 {
                Outcome::Answered
            } else {
                Outcome::Failed
            };
            breaker.settle(pass, outcome, now);
        }
        assert_eq!(breaker.level(), 0);
        assert_eq!(opened(now).level(), 2);
        assert_eq!(opened(now).enter(now), None);
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.enter(now + PAUSE - Duration::from_nanos(1)), None);
        let later = now + PAUSE;
        assert_eq!(breaker.enter(later), Some(Pass::Probe));
        assert_eq!(breaker.enter(later), None, "one at a time");
        breaker.settle(Pass::Normal, Outcome::Answered, later);
        assert_eq!(breaker.level(), 1, "an old call decides nothing");
        breaker.settle(Pass::Probe, Outcome::Failed, later);
        assert_eq!(breaker.enter(later + PAUSE), None, "the pause has doubled");
        let later = later + 2 * PAUSE;
        assert_eq!(breaker.enter(later), Some(Pass::Probe));
        breaker.settle(Pass::Probe, Outcome::Answered, later);
        assert_eq!(breaker.enter(later), Some(Pass::Normal));
    }

    #[test]
    fn a_probe_given_up_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PAUSE;
        let pass = breaker.enter(later).unwrap();
        breaker.settle(pass, Outcome::Unknown, later);
        assert_eq!(breaker.enter(later), Some(Pass::Probe));
    }

    #[test]
    fn the_pause_is_bounded() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for _ in 0..20 {
            now += PAUSE_MAX;
            let pass = breaker.enter(now).unwrap();
            breaker.settle(pass, Outcome::Failed, now);
        }
        assert!(breaker.enter(now + PAUSE_MAX).is_some());
    }
}
