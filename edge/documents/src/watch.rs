//! Notices every change of a folder.
//!
//! Invariant: a change is noticed by an event of the system or, at the latest, by the next poll.
//! Refuses to read the files: who watches does that, and says what was seen before.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

/// Editors and copies write in several steps; after this much silence they are done.
const QUIET: Duration = Duration::from_millis(50);
/// Under constant edits a reload happens nevertheless.
const QUIET_WAIT_MAX: Duration = Duration::from_millis(250);
/// Events get lost: full queues, network file systems, a folder that was replaced.
const POLL_PERIOD: Duration = Duration::from_secs(1);
/// Folders outside of the watched one that hold files its documents refer to; beyond these the poll serves.
const WATCHED_FOLDERS_MAX: usize = 64;

/// A watched folder.
pub struct Changes {
    dir: PathBuf,
    changed: Arc<Notify>,
    poll: tokio::time::Interval,
    /// None where the system refuses to watch; then the poll alone serves.
    watcher: Option<RecommendedWatcher>,
    armed: Armed,
    inputs: Vec<PathBuf>,
    /// None when the set of inputs is new, and a change could have been missed.
    fingerprint: Option<u64>,
}

/// What the watcher looks at; another one is made when this changes.
#[derive(Debug, PartialEq, Eq, Default)]
struct Armed {
    /// Device and inode: a folder that was replaced has others, and events go on for the old one.
    identity: Option<(u64, u64)>,
    folders: BTreeSet<PathBuf>,
}

impl Changes {
    /// Watched from now on, so that a change after the first reading is seen.
    pub async fn of(dir: PathBuf) -> Self {
        let mut poll = interval(POLL_PERIOD);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = Self {
            dir,
            changed: Arc::new(Notify::new()),
            poll,
            watcher: None,
            armed: Armed::default(),
            inputs: Vec::new(),
            fingerprint: None,
        };
        changes.arm().await;
        changes
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Wait until something may have changed, and for a moment of quiet then.
    pub async fn next(&mut self) {
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

    /// What the folder looks like; to be taken before its files are read.
    pub async fn look(&self) -> u64 {
        let (dir, inputs) = (self.dir.clone(), self.inputs.clone());
        let look = move || crate::walk::fingerprint(&dir, &inputs);
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// The folder was read when it looked like this, and the documents refer to these files.
    pub async fn was_read(&mut self, look: u64, inputs: &[PathBuf]) {
        self.fingerprint = (inputs == self.inputs).then_some(look);
        self.inputs = inputs.to_vec();
        self.arm().await;
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
