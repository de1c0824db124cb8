//! Notices every change of the files, and loads them again.
//!
//! Invariant: content that did not change is never reported. Refuses to judge what was loaded.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use palisade_documents::watch::Changes;

use crate::diagnostic::Diagnostics;
use crate::load::{Attempt, Loaded};
use crate::salvage::LastGood;

/// Call `on_change` with the content of `dir` at once, and again whenever it changed, until
/// `stop` is ready. A folder that cannot be read is an error like any other.
pub async fn watch(
    dir: PathBuf,
    mut on_change: impl FnMut(Result<Loaded, Diagnostics>) + Send,
    stop: impl Future,
) {
    let (mut watch, first) = Watch::open(dir, None).await;
    on_change(first.outcome);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            changed = watch.next() => on_change(changed.outcome),
        }
    }
}

/// A watched folder.
pub(crate) struct Watch {
    changes: Changes,
    seen: String,
    /// What files at fault are replaced by; none where one fault refuses all.
    pub(crate) good: Option<Arc<LastGood>>,
}

impl Watch {
    /// Watch first, then load: a change in between is seen.
    pub(crate) async fn open(dir: PathBuf, good: Option<Arc<LastGood>>) -> (Self, Attempt) {
        let mut watch = Self {
            changes: Changes::of(dir).await,
            seen: String::new(),
            good,
        };
        let attempt = watch.load().await;
        watch.seen.clone_from(&attempt.seen);
        (watch, attempt)
    }

    /// Wait for content that differs from what was returned before.
    pub(crate) async fn next(&mut self) -> Attempt {
        loop {
            self.changes.next().await;
            let attempt = self.load().await;
            if attempt.seen != self.seen {
                self.seen.clone_from(&attempt.seen);
                return attempt;
            }
        }
    }

    async fn load(&mut self) -> Attempt {
        // Before the files are read: what changes afterwards differs from this.
        let look = self.changes.look().await;
        let (dir, good) = (self.changes.dir().to_owned(), self.good.clone());
        let load = move || crate::load::attempt(&dir, good.as_deref());
        let task = tokio::task::spawn_blocking(load);
        let attempt = task
            .await
            .unwrap_or_else(|_| Attempt::failed("loading the policies failed unexpectedly"));
        self.changes.was_read(look, &attempt.inputs).await;
        attempt
    }
}
