//! The byte budget of fills in flight.
//!
//! Invariant: the sum of what fills hold never exceeds the hard limit, however many there are.
//! Three thresholds degrade in order: no new fills, then no keeping, then the transfer fails.

use std::sync::atomic::{AtomicU64, Ordering};

/// Fills in flight get 1/4 of the whole cache. What is finished gets the rest.
const FILL_SHARE: u64 = 4;

/// What a charge is for; each purpose may use the budget up to its own threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Start another fill: up to half, so that running fills can still grow.
    Admit,
    /// Keep growing a body that may be stored: up to three quarters.
    Keep,
    /// Carry unread bytes to clients of a body that will not be stored: all of it.
    Carry,
}

#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    /// The fills' part of a cache of `max_bytes`.
    pub(crate) fn of(max_bytes: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit: max_bytes / FILL_SHARE,
        }
    }

    /// Bytes a purpose may bring the total to.
    pub(crate) fn threshold(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Admit => self.limit / 2,
            Purpose::Keep => self.limit / 4 * 3,
            Purpose::Carry => self.limit,
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or takes nothing and answers false.
    pub(crate) fn charge(&self, bytes: u64, purpose: Purpose) -> bool {
        let threshold = self.threshold(purpose);
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= threshold);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Gives back what was charged.
    pub(crate) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_degrade_in_order() {
        let budget = Budget::of(4000);
        assert!(budget.charge(500, Purpose::Admit));
        assert!(!budget.charge(1, Purpose::Admit));
        assert!(budget.charge(250, Purpose::Keep));
        assert!(!budget.charge(1, Purpose::Keep));
        assert!(budget.charge(250, Purpose::Carry));
        assert!(!budget.charge(1, Purpose::Carry));
        assert!(
            !budget.charge(u64::MAX, Purpose::Carry),
            "a sum that overflows is refused"
        );
        assert_eq!(budget.used(), 1000);
        budget.release(1000);
        assert_eq!(budget.used(), 0);
    }
}
