//! How many of a thing there are now: requests, retries, copies.
//!
//! Invariant: whoever entered leaves when its `Held` is dropped, however it ends. Counting never
//! waits and orders nothing: bounds that hang on it are a few off under contention.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by all who count the same.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
pub struct Held(InFlight);

impl InFlight {
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub fn enter(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    /// Unless there are so many already.
    pub fn enter_below(&self, max: usize) -> Option<Held> {
        let held = self.enter();
        (self.now() <= max).then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_entered_leaves() {
        let count = InFlight::default();
        let first = count.enter();
        let second = count.enter_below(2);
        assert!(second.is_some());
        assert!(count.enter_below(2).is_none(), "there are two");
        assert_eq!(count.now(), 2, "who was not let in has not entered");
        drop(first);
        assert!(count.enter_below(2).is_some());
        drop(second);
        assert_eq!(count.now(), 0);
    }
}
