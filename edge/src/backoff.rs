//! How long to wait before something is asked again that failed.
//!
//! Invariant: spread by half, so that many edges do not come back in step, and never at once.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure; doubled with each one more in a row.
    pub first: Duration,
    /// Where the doubling ends.
    pub longest: Duration,
}

impl Backoff {
    /// After so many failures in a row; none counts as one.
    pub fn after(self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let most = self.first.saturating_mul(doubled).min(self.longest);
        most.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let backoff = Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(10),
        };
        for (failures, most) in [
            (0, 0.2),
            (1, 0.2),
            (2, 0.4),
            (3, 0.8),
            (7, 10.0),
            (u32::MAX, 10.0),
        ] {
            let pause = backoff.after(failures).as_secs_f64();
            assert!((most / 2.0..=most).contains(&pause), "{failures}: {pause}");
        }
    }
}
