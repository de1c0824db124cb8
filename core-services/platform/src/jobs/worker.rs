//! Runs jobs: claims what is due, keeps the leases alive, writes down the outcome.
//! Invariant: what runs is in `running` and its heart beats; what is not there
//! any more is taken over by some worker after the lease's length.
//! Refuses more at once than the process's and the kind's bounds.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{
    Failure, JobContext, Jobs, Kind, PAUSES, cron,
    lease::{Lease, Watch},
    store::{self, Claimed},
};
use crate::{
    clock::{self, UnixMicros},
    db::{self, Db},
    metrics::Metrics,
    reason::shortened,
};

/// How a worker keeps time.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many jobs the process runs at once.
    pub parallel_max: usize,
    /// How often the table is looked at when nobody wakes the worker.
    pub poll: Duration,
    /// A worker whose heart stood still for so long is dead. It beats three times as often.
    pub lease: Duration,
    /// How long a stop waits for the jobs that run.
    pub stop_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel_max: 16,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(20),
        }
    }
}

/// Tells a worker of this process that a job was committed, which spares the wait for its poll.
#[derive(Clone)]
pub struct Waker(Arc<Notify>);

impl Waker {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// What the worker's tasks share.
pub(super) struct Shared {
    db: Db,
    service: &'static str,
    jobs: Jobs,
    metrics: Arc<Metrics>,
    /// One life of one worker: a restarted process is another owner.
    owner: Uuid,
    stopping: CancellationToken,
    /// At most `parallel_max` entries. Never held across an await.
    running: Mutex<HashMap<Uuid, Running>>,
}

struct Running {
    lease: Lease,
    kind: String,
    cancelled: CancellationToken,
}

/// Runs the jobs of one service's database.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    settings: Settings,
    wake: Arc<Notify>,
    watch: Watch,
    tasks: JoinSet<()>,
}

impl Worker {
    pub fn new(
        db: Db,
        service: &'static str,
        jobs: Jobs,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                db,
                service,
                jobs,
                metrics,
                owner: Uuid::now_v7(),
                stopping: CancellationToken::new(),
                running: Mutex::default(),
            }),
            settings,
            wake: Arc::default(),
            watch: Watch::default(),
            tasks: JoinSet::new(),
        }
    }

    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Works until `stop`, then ends in order: nothing new, a while for what runs,
    /// the rest goes back into the queue.
    pub async fn run(mut self, stop: CancellationToken) {
        // Dropped with this future: a worker that is gone must not look alive.
        let _heart = AbortOnDropHandle::new(tokio::spawn(beat(
            self.shared.clone(),
            self.settings.lease / 3,
        )));
        let started = Instant::now();
        while !stop.is_cancelled() {
            // An error is a database in trouble: the next round tries again.
            match self.round(clock::now(), started.elapsed()).await {
                // Said once, by who looks after dependencies.
                Ok(()) | Err(db::Error::Away(_)) => {}
                Err(error) => {
                    let service = self.shared.service;
                    tracing::warn!(service, %error, "jobs: the database failed");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.settings.poll) => {}
                // Room for another.
                Some(_) = self.tasks.join_next() => {}
            }
        }
        self.stop().await;
    }

    /// One look at the table. `at` is the time since the start by the monotonic clock.
    pub(super) async fn round(&mut self, now: UnixMicros, at: Duration) -> Result<(), db::Error> {
        let db = &self.shared.db.clone();
        cron::tick(db, &self.shared.jobs.schedules, now).await?;
        let pulses = store::pulses(db).await?;
        for still in self.watch.look(&pulses, at, self.settings.lease) {
            if store::take_back(db, still, now).await? {
                tracing::warn!(service = self.shared.service, job = %still.job, "its worker died");
            }
        }
        while self.has_room() {
            let Some(claimed) = self.shared.claim(now).await? else {
                break;
            };
            let shared = self.shared.clone();
            self.tasks
                .spawn(async move { shared.work(claimed, now).await });
        }
        Ok(())
    }

    /// False when nothing runs; else waits for the end of one job.
    #[cfg(test)]
    pub(super) async fn tasks_join(&mut self) -> bool {
        self.tasks.join_next().await.is_some()
    }

    fn has_room(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len() < self.settings.parallel_max
    }

    async fn stop(&mut self) {
        self.shared.stopping.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.settings.stop_deadline, all).await.is_ok() {
            return;
        }
        self.tasks.shutdown().await;
        let rest: Vec<_> = self
            .shared
            .running()
            .drain()
            .map(|(_, each)| each)
            .collect();
        for running in rest {
            self.shared.release(&running.lease, &running.kind).await;
        }
    }
}

impl Shared {
    #[cfg(test)]
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Running>> {
        // Whoever panicked while holding it did no more than insert or remove.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kinds_with_room(&self) -> Vec<String> {
        let running = self.running();
        let has_room = |name: &str, kind: &Kind| {
            let busy = running.values().filter(|each| each.kind == name).count();
            busy < kind.options.parallel_max
        };
        let kinds = self.jobs.kinds.iter();
        kinds
            .filter(|(name, kind)| has_room(name, kind))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Takes a job that is due, of a kind that has room.
    pub(super) async fn claim(&self, now: UnixMicros) -> Result<Option<Claimed>, db::Error> {
        let kinds = self.kinds_with_room();
        let claimed = store::claim(&self.db, self.owner, kinds, now).await?;
        if let Some(claimed) = &claimed {
            let running = Running {
                lease: claimed.lease,
                kind: claimed.kind.clone(),
                cancelled: self.stopping.child_token(),
            };
            self.running().insert(claimed.lease.job, running);
        }
        Ok(claimed)
    }

    /// One attempt and its outcome.
    pub(super) async fn work(&self, claimed: Claimed, now: UnixMicros) {
        let Claimed { lease, kind, .. } = &claimed;
        let running = self
            .running()
            .get(&lease.job)
            .map(|each| each.cancelled.clone());
        let context = JobContext {
            db: self.db.clone(),
            now,
            attempt: lease.attempt,
            id: lease.job,
            payload: claimed.payload.clone(),
            cancelled: running.unwrap_or_else(|| self.stopping.child_token()),
            lease: *lease,
        };
        let outcome = self.attempt(kind, &context).await;
        self.settle((*lease, claimed.attempts_max), kind, outcome)
            .await;
        self.running().remove(&lease.job);
    }

    async fn attempt(&self, kind: &str, context: &JobContext) -> Result<(), Failure> {
        let Some(kind) = self.jobs.kinds.get(kind) else {
            return Err(Failure::retry("no handler"));
        };
        let run = AssertUnwindSafe(kind.handler.run(context)).catch_unwind();
        match timeout(kind.options.timeout, run).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(Failure::retry("the handler panicked")),
            Err(_) => Err(Failure::retry("the handler took too long")),
        }
    }

    /// Writes the outcome down. If that fails the lease ends by itself, as nobody
    /// keeps it alive any more, and the job is attempted again.
    async fn settle(
        &self,
        (lease, attempts_max): (Lease, i64),
        kind: &str,
        outcome: Result<(), Failure>,
    ) {
        let now = clock::now();
        let written = match outcome {
            Ok(()) => self.done(&lease, now).await,
            Err(_) if self.stopping.is_cancelled() => {
                return self.release(&lease, kind).await;
            }
            Err(Failure::LeaseLost) => Ok("lost"),
            Err(Failure::Retry { after, reason }) if lease.attempt < attempts_max => {
                let after = after.unwrap_or_else(|| PAUSES.after(lease.attempt));
                tracing::warn!(service = self.service, kind, job = %lease.job, reason, "job failed, will be tried again");
                self.postponed(&lease, &reason, now + after).await
            }
            Err(Failure::Retry { reason, .. } | Failure::Permanent(reason)) => {
                tracing::error!(service = self.service, kind, job = %lease.job, reason, "job failed for good");
                self.failed(&lease, &reason, now).await
            }
        };
        self.count(kind, &lease, written);
    }

    async fn done(&self, lease: &Lease, now: UnixMicros) -> Result<&'static str, db::Error> {
        let mut tx = self.db.begin().await?;
        // False: the handler finished it itself, in the transaction of its effects.
        store::finish(&mut tx, lease, now).await?;
        tx.commit().await?;
        Ok("done")
    }

    async fn postponed(
        &self,
        lease: &Lease,
        reason: &str,
        run_at: UnixMicros,
    ) -> Result<&'static str, db::Error> {
        let mut tx = self.db.begin().await?;
        let held = store::postpone(&mut tx, lease, &shortened(reason), run_at).await?;
        tx.commit().await?;
        Ok(if held { "retry" } else { "lost" })
    }

    async fn failed(
        &self,
        lease: &Lease,
        reason: &str,
        now: UnixMicros,
    ) -> Result<&'static str, db::Error> {
        let mut tx = self.db.begin().await?;
        let held = store::fail(&mut tx, lease, &shortened(reason), now).await?;
        tx.commit().await?;
        Ok(if held { "failed" } else { "lost" })
    }

    async fn release(&self, lease: &Lease, kind: &str) {
        let released = async {
            let mut tx = self.db.begin().await?;
            let held = store::release(&mut tx, lease).await?;
            tx.commit().await?;
            Ok(if held { "released" } else { "lost" })
        };
        self.count(kind, lease, released.await);
    }

    fn count(&self, kind: &str, lease: &Lease, written: Result<&'static str, db::Error>) {
        let status = written.unwrap_or_else(|error| {
            tracing::warn!(service = self.service, kind, job = %lease.job, %error, "the outcome could not be written");
            "lost"
        });
        self.metrics
            .jobs
            .with_label_values(&[self.service, kind, status])
            .inc();
    }

    /// Shows that the worker lives, tells jobs whose lease was lost, measures the queue.
    pub(super) async fn pulse(&self, now: UnixMicros) -> Result<(), db::Error> {
        let jobs: Vec<_> = self.running().keys().copied().collect();
        if !jobs.is_empty() {
            store::beat(&self.db, self.owner, jobs.clone(), now).await?;
            for lost in store::lost(&self.db, self.owner, jobs).await? {
                if let Some(running) = self.running().get(&lost) {
                    running.cancelled.cancel();
                }
            }
        }
        self.measure(now).await
    }

    async fn measure(&self, now: UnixMicros) -> Result<(), db::Error> {
        let (queued, oldest) = store::depth(&self.db).await?;
        let waited = oldest.map_or(0, |oldest| now.seconds() - oldest.seconds());
        let service = &[self.service];
        let metrics = &self.metrics;
        metrics.jobs_queued.with_label_values(service).set(queued);
        metrics
            .jobs_oldest_seconds
            .with_label_values(service)
            .set(waited.max(0));
        Ok(())
    }

    /// Nobody can say what waits: no number is better than an old one.
    fn unknown(&self) {
        for gauges in [&self.metrics.jobs_queued, &self.metrics.jobs_oldest_seconds] {
            // Fails where there is none, which is what it is for.
            let _ = gauges.remove_label_values(&[self.service]);
        }
    }
}

async fn beat(shared: Arc<Shared>, every: Duration) {
    loop {
        if let Err(error) = shared.pulse(clock::now()).await {
            shared.unknown();
            if !matches!(error, db::Error::Away(_)) {
                tracing::warn!(service = shared.service, %error, "jobs: no heartbeat");
            }
        }
        tokio::time::sleep(every).await;
    }
}
