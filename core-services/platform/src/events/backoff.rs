//! How long to wait after a failure.
//! Invariant: never longer than the longest, never shorter than half of what is due;
//! the rest is chance, so that many who failed together do not return together.

use std::time::Duration;

/// `failures` so far, at least one.
pub(super) fn after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let due = first.saturating_mul(1 << doublings).min(longest);
    due.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(300));
        for (failures, due) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 300),
            (u32::MAX, 300),
        ] {
            let wait = after(failures, first, longest);
            let due = Duration::from_secs(due);
            assert!(wait >= due / 2 && wait <= due, "{failures}: {wait:?}");
        }
    }
}
