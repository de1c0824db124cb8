//! Tells the edge and the services which tokens are dead, as it happens.
//! Invariant: who has taken in a batch has missed nothing up to its cursor, whatever
//! replica told it; a stream that is silent for longer than `HEARTBEAT` is broken.
//! Refuses to keep what no longer matters: when the last token is dead, so is its entry.

use std::time::Duration;

use core_platform::{
    clock,
    db::{self, Db},
};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::store::revocations::{self, RevocationRow};

/// Some revocation was written in this process. A hint, given before the commit: the
/// look-out looks more often for a while. The truth is the table.
pub(crate) static WRITTEN: Notify = Notify::const_new();

/// Looks follow each other at the shortest after a write and slow down to the longest,
/// which is how late another replica's revocations are heard of.
const LOOK_SHORTEST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(250);
/// The look-out is quiet for so long when the database is away.
const AWAY: Duration = Duration::from_secs(1);
/// A stream that has nothing to tell says so.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Entries in one message, some 60 bytes each.
const BATCH_MAX: i64 = 500;

/// Entries in order, and how far they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) cursor: i64,
    pub(crate) revocations: Vec<RevocationRow>,
}

/// The newest number is looked up once for all streams of a process.
#[derive(Clone)]
pub(crate) struct Revocations {
    db: Db,
    newest: watch::Receiver<i64>,
    stop: CancellationToken,
}

/// Looks for the newest number until `stop`.
pub(crate) struct LookOut {
    db: Db,
    newest: watch::Sender<i64>,
    stop: CancellationToken,
}

impl Revocations {
    pub(crate) fn new(db: &Db, stop: &CancellationToken) -> (Self, LookOut) {
        let (sender, receiver) = watch::channel(0);
        let revocations = Self {
            db: db.clone(),
            newest: receiver,
            stop: stop.clone(),
        };
        let look_out = LookOut {
            db: db.clone(),
            newest: sender,
            stop: stop.clone(),
        };
        (revocations, look_out)
    }

    /// The newest number, as it changes.
    pub(crate) fn newest(&self) -> watch::Receiver<i64> {
        self.newest.clone()
    }

    /// What came into force after `after` and matters still, then each as it comes, until
    /// the process stops. The first batch comes at once, be it empty.
    pub(crate) async fn watch(
        &self,
        after: i64,
    ) -> Result<BoxStream<'static, Result<Batch, db::Error>>, db::Error> {
        // Numbers that were never given: the database is an older copy. All of it again.
        let after = if after > revocations::newest(&self.db).await? {
            0
        } else {
            after
        };
        let watcher = Watcher {
            db: self.db.clone(),
            newest: self.newest.clone(),
            stop: self.stop.clone(),
            after,
            is_first: true,
        };
        let batches = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher: Watcher = watcher?;
            match watcher.next().await {
                Ok(batch) => batch.map(|batch| (Ok(batch), Some(watcher))),
                // The stream ends with it; who listens comes back with the cursor.
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(batches.boxed())
    }
}

/// One stream.
struct Watcher {
    db: Db,
    newest: watch::Receiver<i64>,
    stop: CancellationToken,
    after: i64,
    is_first: bool,
}

impl Watcher {
    /// The next batch; `None` when the process stops.
    async fn next(&mut self) -> Result<Option<Batch>, db::Error> {
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            self.newest.mark_unchanged();
            let found = revocations::after(&self.db, self.after, clock::now(), BATCH_MAX).await?;
            if let Some(last) = found.last() {
                self.after = last.seq;
            }
            if self.is_first || !found.is_empty() {
                self.is_first = false;
                return Ok(Some(self.batch(found)));
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                changed = self.newest.changed() => if changed.is_err() {
                    // The look-out went first: the process stops.
                    return Ok(None);
                },
                () = tokio::time::sleep(HEARTBEAT) => return Ok(Some(self.batch(Vec::new()))),
            }
        }
    }

    fn batch(&self, revocations: Vec<RevocationRow>) -> Batch {
        Batch {
            cursor: self.after,
            revocations,
        }
    }
}

impl LookOut {
    pub(crate) async fn run(self) {
        let mut wait = LOOK_SHORTEST;
        while !self.stop.is_cancelled() {
            let written = WRITTEN.notified();
            match revocations::newest(&self.db).await {
                Ok(newest) => {
                    let is_new = self.newest.send_if_modified(|known| {
                        let is_new = *known != newest;
                        *known = newest;
                        is_new
                    });
                    if is_new {
                        wait = LOOK_SHORTEST;
                    }
                }
                // Said once, by who looks after dependencies.
                Err(db::Error::Away(_)) => wait = AWAY,
                Err(error) => {
                    tracing::warn!(%error, "revocations cannot be read");
                    wait = AWAY;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = written => wait = LOOK_SHORTEST,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LOOK_LONGEST),
            }
        }
    }
}
