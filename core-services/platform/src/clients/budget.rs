//! How many retries a target is worth (gRFC A6, retry throttling).
//! Invariant: over time at most one retry for ten calls that went well, so that
//! retries can't keep an overloaded target down.
//! Refuses to read a clock: only calls refill it.

/// Thousandths of a retry.
const FULL: u32 = 10_000;
const FAILURE: u32 = 1_000;
/// A tenth of what a failure costs: the ten per cent.
const SUCCESS: u32 = 100;

#[derive(Debug)]
pub(super) struct Budget(u32);

impl Budget {
    pub(super) fn full() -> Self {
        Self(FULL)
    }

    pub(super) fn succeeded(&mut self) {
        self.0 = (self.0 + SUCCESS).min(FULL);
    }

    /// Counts a failure; whether it may be tried again.
    pub(super) fn failed(&mut self) -> bool {
        self.0 = self.0.saturating_sub(FAILURE);
        self.0 > FULL / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_successes_pay_for_a_retry() {
        let mut budget = Budget::full();
        let retries = (0..100).filter(|_| budget.failed()).count();
        assert_eq!(retries, 4);
        // From nothing: more than half of it, and what the next failure takes.
        for _ in 0..60 {
            budget.succeeded();
        }
        assert!(!budget.failed(), "half full is not enough");
        for _ in 0..11 {
            budget.succeeded();
        }
        assert!(budget.failed());
        assert!(!budget.failed());
        // Ten for each of the two failures.
        for _ in 0..20 {
            budget.succeeded();
        }
        assert!(budget.failed());
    }
}
