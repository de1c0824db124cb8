//! Waiting with an end: a test that hangs says what it waited for.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

/// Far longer than anything takes on a loaded machine, the ten-second head deadline included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition that cannot announce itself (a file, a metric).
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The future's value, or a failed test that names `what`.
pub(crate) async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, Box::pin(future)).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Ask until the answer is `Some`.
pub(crate) async fn until<T, F>(what: impl Display, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}
