//! Notices every change of the files, and loads them again.
//!
//! Invariant: a change is noticed by an event of the system or, at the latest, by the next poll;
//! content that did not change is never reported. Refuses to judge what was loaded.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::diagnostic::Diagnostics;
use crate::load::{Attempt, Loaded};
use crate::salvage::LastGood;

/// Editors and copies write in several steps; after this much silence they are done.
const QUIET: Duration = Duration::from_millis(50);
/// Under constant edits a reload happens nevertheless.
const QUIET_WAIT_MAX: Duration = Duration::from_millis(250);
/// Events get lost: full queues, network file systems, a folder that was replaced.
const POLL_PERIOD: Duration = Duration::from_secs(1);
/// Folders outside of the policies that hold files policies refer to; beyond these the poll serves.
const WATCHED_FOLDERS_MAX: usize = 64;

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
    dir: PathBuf,
    changed: Arc<Notify>,
    poll: tokio::time::Interval,
    /// None where the system refuses to watch; then the poll alone serves.
    watcher: Option<RecommendedWatcher>,
    armed: Armed,
    inputs: Vec<PathBuf>,
    /// None when the set of inputs is new, and a change could have been missed.
    fingerprint: Option<u64>,
    seen: String,
    /// What files at fault are replaced by; none where one fault refuses all.
    pub(crate) good: Option<Arc<LastGood>>,
}

/// What the watcher looks at; another one is made when this changes.
#[derive(Debug, PartialEq, Eq, Default)]
struct Armed {
    /// Device and inode: a folder that was replaced has others, and events go on for the old one.
    identity: Option<(u64, u64)>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watch first, then load: a change in between is seen.
    pub(crate) async fn open(dir: PathBuf, good: Option<Arc<LastGood>>) -> (Self, Attempt) {
        let mut poll = interval(POLL_PERIOD);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self {
            dir,
            changed: Arc::new(Notify::new()),
            poll,
            watcher: None,
            armed: Armed::default(),
            inputs: Vec::new(),
            fingerprint: None,
            seen: String::new(),
            good,
        };
        watch.arm().await;
        let attempt = watch.load().await;
        watch.seen.clone_from(&attempt.seen);
        (watch, attempt)
    }

    /// Wait for content that differs from what was returned before.
    pub(crate) async fn next(&mut self) -> Attempt {
        loop {
            self.changed().await;
            let attempt = self.load().await;
            if attempt.seen != self.seen {
                self.seen.clone_from(&attempt.seen);
                return attempt;
            }
        }
    }

    async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => break,
                _ = self.poll.tick() => {
                    let seen = self.look().await;
                    if self.fingerprint != Some(seen) {
                        break;
                    }
                }
            }
        }
        let quiet = async { while timeout(QUIET, self.changed.notified()).await.is_ok() {} };
        // Running into the limit is the point of it.
        let _ = timeout(QUIET_WAIT_MAX, quiet).await;
    }

    async fn look(&self) -> u64 {
        let (dir, inputs) = (self.dir.clone(), self.inputs.clone());
        let look = move || crate::walk::fingerprint(&dir, &inputs);
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    async fn load(&mut self) -> Attempt {
        // Before the files are read: what changes afterwards differs from this.
        let seen = self.look().await;
        let (dir, good) = (self.dir.clone(), self.good.clone());
        let load = move || crate::load::attempt(&dir, good.as_deref());
        let task = tokio::task::spawn_blocking(load);
        let attempt = task
            .await
            .unwrap_or_else(|_| Attempt::failed("loading the policies failed unexpectedly"));
        self.fingerprint = (attempt.inputs == self.inputs).then_some(seen);
        self.inputs.clone_from(&attempt.inputs);
        self.arm().await;
        attempt
    }

    async fn arm(&mut self) {
        let parents = self.inputs.iter().filter_map(|path| path.parent());
        let outside: BTreeSet<_> = parents
            .filter(|parent| is_outside(parent, &self.dir))
            .collect();
        let folders = outside
            .into_iter()
            .take(WATCHED_FOLDERS_MAX)
            .map(Path::to_owned)
            .collect();
        let armed = Armed {
            identity: crate::walk::identity(&self.dir),
            folders,
        };
        if armed == self.armed && self.watcher.is_some() {
            return;
        }
        let (dir, changed) = (self.dir.clone(), self.changed.clone());
        let arm = move || (start_watcher(&dir, &armed, changed), armed);
        let Ok((watcher, armed)) = tokio::task::spawn_blocking(arm).await else {
            return;
        };
        self.armed = armed;
        self.watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(%error, dir = %self.dir.display(), "cannot watch the policies folder, polling it every second");
                None
            }
        };
    }
}

fn start_watcher(
    dir: &Path,
    armed: &Armed,
    changed: Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost.
        if event.as_ref().map_or(true, |event| is_change(event.kind)) {
            changed.notify_one();
        }
    })?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    for folder in &armed.folders {
        // One that is missing is found by the poll when it appears.
        let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
    }
    Ok(watcher)
}

fn is_outside(folder: &Path, dir: &Path) -> bool {
    let below = folder.strip_prefix(dir);
    below.map_or(true, |rest| {
        rest.components().any(|part| part == Component::ParentDir)
    })
}

/// Our own reading is an event too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
