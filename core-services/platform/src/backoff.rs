//! How long to wait before the next try.
//! Invariant: one formula for all, "full jitter" of the AWS Architecture Blog's
//! "Exponential Backoff And Jitter": anything from nothing to what is due, so that
//! those who failed together come back spread out, not in waves.
//! Refuses to count or to sleep: its user does.

use std::time::Duration;

/// Beyond it any `longest` is reached.
const DOUBLINGS_MAX: i64 = 31;

#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Due after the first failure; doubled by each further one.
    pub first: Duration,
    /// Never is more due.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after so many failures; fewer than one counts as one.
    pub fn after(self, failures: impl Into<i64>) -> Duration {
        self.due(failures.into()).mul_f64(fastrand::f64())
    }

    fn due(self, failures: i64) -> Duration {
        let doublings = failures.saturating_sub(1).clamp(0, DOUBLINGS_MAX);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
    };

    #[test]
    fn doubles_up_to_the_longest() {
        for (failures, due) in [
            (i64::MIN, 1),
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 300),
            (i64::MAX, 300),
        ] {
            assert_eq!(BACKOFF.due(failures).as_secs(), due, "{failures}");
        }
    }

    #[test]
    fn anything_up_to_what_is_due() {
        for failures in [1_u32, 5, u32::MAX] {
            let due = BACKOFF.due(failures.into());
            let waits: Vec<_> = (0..200).map(|_| BACKOFF.after(failures)).collect();
            assert!(waits.iter().all(|wait| *wait <= due), "{failures}");
            assert!(waits.iter().any(|wait| *wait < due / 4), "{failures}");
            assert!(waits.iter().any(|wait| *wait > due * 3 / 4), "{failures}");
        }
    }
}
