//! Waiting for a condition instead of for time.

use std::time::Duration;

/// Generous: a condition that is not met by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer.
///
/// # Panics
/// After a minute without one; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
