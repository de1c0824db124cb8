//! Slowing down who guesses: by account and by network, each more with every failure.
//! Invariant: a burst gains nothing: what was checked while the lock was set in
//! between counts as refused, were it right.
//! Refuses to count what succeeds: an office behind one address is not an attack.

use std::time::Duration;

use core_platform::{
    clock::UnixMicros,
    db::{Db, On},
};

use crate::{contacts::before, error::Error, store::attempts};

/// Failures are forgotten after an hour without one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// No delay before the sixth try at one account: people mistype.
const ACCOUNT_FREE: i64 = 5;
/// A network may hold many people.
const NETWORK_FREE: i64 = 50;
const DELAY_FIRST: Duration = Duration::from_secs(1);
/// Longer would let a stranger lock an owner out for good.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// One failure in so many also sweeps what is forgotten.
const SWEEP_ONE_IN: u32 = 64;

/// At these numbers of failures in a row somebody is told, the louder the higher.
const LEVELS: [(i64, &str); 5] = [
    (7, "notice"),
    (10, "warning"),
    (15, "warning"),
    (20, "critical"),
    (25, "critical"),
];

/// Who tries.
pub(crate) struct Throttle<'a> {
    /// What is counted by account: `account` for logins, `password` for changes.
    pub(crate) scope: &'static str,
    pub(crate) account: &'a [u8],
    pub(crate) network: &'a str,
}

const NETWORK: &str = "network";

impl Throttle<'_> {
    /// # Errors
    /// [`Error::Throttled`] while either is locked.
    pub(crate) async fn check(&self, db: &Db, now: UnixMicros) -> Result<(), Error> {
        self.check_account(db, now).await?;
        if self.network.is_empty() {
            return Ok(());
        }
        refuse(
            attempts::locked_until(db, NETWORK, self.network.as_bytes()).await?,
            now,
        )
    }

    /// The same of the account alone, again: where its password turned out right.
    pub(crate) async fn check_account<'a>(
        &self,
        on: impl Into<On<'a>>,
        now: UnixMicros,
    ) -> Result<(), Error> {
        refuse(
            attempts::locked_until(on, self.scope, self.account).await?,
            now,
        )
    }

    /// Counts a failure. Returns how many there were in a row at this account.
    pub(crate) async fn fail(
        &self,
        tx: &mut core_platform::db::Tx,
        now: UnixMicros,
    ) -> Result<i64, Error> {
        let failures = count(tx, self.scope, self.account, ACCOUNT_FREE, now).await?;
        if !self.network.is_empty() {
            count(tx, NETWORK, self.network.as_bytes(), NETWORK_FREE, now).await?;
        }
        Ok(failures)
    }
}

/// What a number of failures is worth telling as.
pub(crate) fn severity(failures: i64) -> Option<&'static str> {
    let level = LEVELS.iter().find(|(at, _)| *at == failures);
    level.map(|(_, severity)| *severity)
}

/// Forgets old rows, now and then. In a transaction of its own: it touches others' rows.
pub(crate) async fn sweep(db: &Db, now: UnixMicros) -> Result<(), Error> {
    if fastrand::u32(..SWEEP_ONE_IN) == 0 {
        let mut tx = db.begin().await?;
        attempts::sweep(&mut tx, before(now, FORGOTTEN_AFTER)).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn count(
    tx: &mut core_platform::db::Tx,
    scope: &'static str,
    subject: &[u8],
    free: i64,
    now: UnixMicros,
) -> Result<i64, Error> {
    let forgotten = before(now, FORGOTTEN_AFTER);
    let failures = attempts::fail(tx, scope, subject, forgotten, now).await?;
    if let Some(delay) = delay(failures, free) {
        attempts::lock(tx, scope, subject, now + delay).await?;
    }
    Ok(failures)
}

/// Doubles with every failure beyond the free ones.
fn delay(failures: i64, free: i64) -> Option<Duration> {
    let beyond = failures.checked_sub(free).filter(|beyond| *beyond >= 0)?;
    let doublings = u32::try_from(beyond.min(20)).unwrap_or(20);
    Some((DELAY_FIRST * 2_u32.pow(doublings)).min(DELAY_MAX))
}

fn refuse(locked_until: Option<UnixMicros>, now: UnixMicros) -> Result<(), Error> {
    match locked_until.filter(|until| *until > now) {
        None => Ok(()),
        Some(until) => {
            let left = u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0);
            // Whole seconds, as `Retry-After` has them, and never none. A clock that was
            // stepped back must not make it longer than it ever is.
            let left = Duration::from_secs(left.div_ceil(1_000_000));
            Err(Error::Throttled(left.min(DELAY_MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_the_first_that_is_not_free() {
        let check = |failures: i64, expected: Option<u64>| {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(delay(failures, ACCOUNT_FREE), expected, "{failures}");
        };
        check(1, None);
        check(4, None);
        check(5, Some(1));
        check(6, Some(2));
        check(10, Some(32));
        check(14, Some(512));
        check(15, Some(900));
        check(i64::MAX, Some(900));
    }

    #[test]
    fn told_to_wait_for_whole_seconds() {
        let now = UnixMicros(1_000_000_000);
        let wait = |until: i64| match refuse(Some(UnixMicros(until)), now) {
            Err(Error::Throttled(wait)) => Some(wait.as_secs()),
            _ => None,
        };
        assert_eq!(wait(now.0), None);
        assert_eq!(wait(now.0 + 1), Some(1));
        assert_eq!(wait(now.0 + 1_000_001), Some(2));
        assert_eq!(wait(i64::MAX), Some(900));
    }
}
