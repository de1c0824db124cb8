//! When an HTTP/2 connection counts as idle.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::guard::Watch;

/// What a client must have taken since we looked last: answers wait in buffers after their request
/// has ended, and a slow client is not an idle one.
const PROGRESS_BYTES_MIN: u64 = 4 * 1024;

/// Returns when no request has run, and next to nothing was sent, for all of `silence`.
pub(super) async fn until_quiet(running: &TaskTracker, watch: &Watch, silence: Duration) {
    running.wait().await;
    loop {
        let before = watch.written();
        tokio::time::sleep(silence).await;
        if watch.written().saturating_sub(before) < PROGRESS_BYTES_MIN {
            return;
        }
    }
}
