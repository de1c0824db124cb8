//! When to renew, and when to try again. Arithmetic only: no clock is read here.

use time::{Duration, OffsetDateTime};

/// The first wait after a failure. Let's Encrypt allows five failed proofs of a name in an hour.
const RETRY_FIRST: Duration = Duration::hours(1);
/// Waits double up to this.
const RETRY_MAX: Duration = Duration::hours(24);
/// No wait is longer than this part of the lifetime: its last third holds eight tries. It only
/// shortens the first wait for certificates of less than a day, which no public authority issues.
const TRIES_IN_LIFETIME: i32 = 24;
/// However short the lifetime.
const RETRY_MIN: Duration = Duration::minutes(1);
/// Renewals come earlier by up to this part of the lifetime, so that many edges do not come at once.
const JITTER_PARTS: i32 = 20;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    pub(crate) fn lifetime(&self) -> Duration {
        (self.not_after - self.not_before).max(Duration::ZERO)
    }

    /// Two thirds into the lifetime, or a little earlier: `jitter` is from 0 to 1.
    pub(crate) fn renew_at(&self, jitter: f64) -> OffsetDateTime {
        let lifetime = self.lifetime();
        self.not_before + lifetime * 2 / 3 - lifetime / JITTER_PARTS * jitter
    }
}

/// How long to wait after the last of `failures` in a row; `lifetime` is that of the certificate
/// that is still in force.
pub(crate) fn retry_after(failures: u32, lifetime: Option<Duration>) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let most = lifetime.map_or(RETRY_MAX, |lifetime| lifetime / TRIES_IN_LIFETIME);
    (RETRY_FIRST * 2_i32.pow(doublings)).min(most.clamp(RETRY_MIN, RETRY_MAX))
}

/// How long to wait after a success: with a clock that is wrong, a new certificate is due at once.
pub(crate) fn next_order_after(lifetime: Duration) -> Duration {
    let third: Duration = lifetime / 3;
    third.clamp(RETRY_MIN, RETRY_FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid_for(lifetime: Duration) -> Validity {
        let not_before = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        Validity {
            not_before,
            not_after: not_before + lifetime,
        }
    }

    #[test]
    fn renewal_is_two_thirds_in_and_jitter_only_makes_it_earlier() {
        for lifetime in [
            Duration::minutes(5),
            Duration::hours(12),
            Duration::days(6),
            Duration::days(90),
            Duration::days(398),
        ] {
            let validity = valid_for(lifetime);
            let latest = validity.renew_at(0.0);
            assert_eq!(latest, validity.not_before + lifetime * 2 / 3);
            let earliest = validity.renew_at(1.0);
            assert_eq!(latest - earliest, lifetime / 20);
            let between = validity.renew_at(0.5);
            assert!(earliest < between && between < latest, "{lifetime}");
        }
        // A certificate that ends before it begins is due at once, not in the past of all time.
        let broken = valid_for(Duration::days(-1));
        assert_eq!(broken.renew_at(1.0), broken.not_before);
    }

    #[test]
    fn waits_double_within_bounds() {
        let hours = |failures, lifetime| retry_after(failures, lifetime).whole_hours();
        let waits: Vec<i64> = (1..=7).map(|failures| hours(failures, None)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 24, 24]);
        assert_eq!(hours(u32::MAX, None), 24);
        assert_eq!(hours(0, None), 1);
        assert_eq!(hours(7, Some(Duration::days(90))), 24);
        assert_eq!(hours(7, Some(Duration::days(6))), 6);
        assert_eq!(hours(1, Some(Duration::days(1))), 1);
        let minutes = |lifetime| retry_after(7, Some(lifetime)).whole_minutes();
        assert_eq!(minutes(Duration::hours(12)), 30);
        assert_eq!(minutes(Duration::minutes(5)), 1);
        assert_eq!(minutes(Duration::ZERO), 1);
        assert_eq!(next_order_after(Duration::days(90)), Duration::hours(1));
        // Before the renewal of the shortest lifetime, which is two thirds into it.
        assert_eq!(next_order_after(Duration::minutes(6)), Duration::minutes(2));
    }
}
