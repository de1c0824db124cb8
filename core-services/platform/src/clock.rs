//! The one place that reads the wall clock.
//! Invariant: decisions take the time as an argument; only the edges of a
//! process (an RPC arriving, start-up) call `now`.

use std::{
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, the way the database keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// Whole seconds, rounded down: what JWT calls a `NumericDate` (RFC 7519 section 2).
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The nanoseconds past `seconds()`, below 1,000,000,000.
    pub fn subsecond_nanos(self) -> i32 {
        // Below 10^9 by construction, so it fits.
        i32::try_from(self.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0)
    }
}

impl Add<Duration> for UnixMicros {
    type Output = Self;

    /// Saturates: a far future is as good as a farther one.
    fn add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for UnixMicros {
    type Output = Self;

    /// Saturates, too.
    fn sub(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// The time now. A clock set before 1970 reads as 1970, which lets no token in.
#[allow(
    clippy::disallowed_methods,
    reason = "the one reader of the wall clock"
)]
pub fn now() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMicros(0) + since
}

/// A stopwatch, for durations in logs and metrics only.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "measures, decides nothing")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_into_seconds_and_nanos() {
        for (micros, seconds, nanos) in [
            (0, 0, 0),
            (1_500_000, 1, 500_000_000),
            (999_999, 0, 999_999_000),
            (-1, -1, 999_999_000),
        ] {
            let at = UnixMicros(micros);
            assert_eq!(
                (at.seconds(), at.subsecond_nanos()),
                (seconds, nanos),
                "{micros}"
            );
        }
    }

    #[test]
    fn sums_and_differences_saturate() {
        assert_eq!(
            UnixMicros(5) + Duration::from_secs(1),
            UnixMicros(1_000_005)
        );
        assert_eq!(UnixMicros(i64::MAX) + Duration::MAX, UnixMicros(i64::MAX));
        assert_eq!(
            UnixMicros(1_000_005) - Duration::from_secs(1),
            UnixMicros(5)
        );
        assert_eq!(UnixMicros(i64::MIN) - Duration::MAX, UnixMicros(i64::MIN));
    }
}
