//! A process that serves, and its end.
//! Invariant: the order of the end: unready, heard by those who send calls,
//! no new work, calls in flight, databases; each step has a bound.
//! Refuses to hang: what is not done at the deadline is dropped.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use core_platform::{config::Stop, db::Db, drain::Signals, health::Health, serve};
use futures::{
    FutureExt,
    future::{join_all, pending, select_all},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Folding SQLite's logs into their files; the next start would do it as well.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that runs.
pub(crate) struct Running {
    pub(crate) health: Arc<Health>,
    pub(crate) serving: JoinHandle<Result<(), serve::Error>>,
    /// The services' own, each with its name.
    pub(crate) tasks: Vec<(&'static str, JoinHandle<()>)>,
    pub(crate) admin: JoinHandle<()>,
    /// Told to the tasks: begin nothing more.
    pub(crate) stop: CancellationToken,
    /// Told to the gRPC server: send GOAWAY.
    pub(crate) closing: CancellationToken,
    pub(crate) databases: Vec<Db>,
}

impl Running {
    /// Serves until a signal, then ends in order.
    ///
    /// # Errors
    /// A part that ended by itself, or calls still in flight at the deadline.
    pub(crate) async fn until_stopped(
        mut self,
        mut signals: Signals,
        settings: Stop,
    ) -> anyhow::Result<()> {
        let probe = tokio::spawn({
            let health = self.health.clone();
            async move { health.probe().await }
        });
        let ended = tokio::select! {
            () = signals.next() => Ok(()),
            ended = &mut self.serving => Err(match ended {
                Ok(Ok(())) => anyhow!("the gRPC server ended by itself"),
                Ok(Err(error)) => error.into(),
                Err(error) => error.into(),
            }),
            name = first_ended(&mut self.tasks) => Err(anyhow!("the task `{name}` ended by itself")),
        };
        probe.abort();
        ended?;
        let forced = tokio::spawn(signals.exit_at_next());
        let outcome = self.drain(settings).await;
        self.admin.abort();
        close(&self.databases).await;
        forced.abort();
        outcome?;
        tracing::info!("stopped");
        Ok(())
    }

    async fn drain(&mut self, settings: Stop) -> anyhow::Result<()> {
        tracing::info!(
            delay_ms = settings.delay.as_millis(),
            deadline_ms = settings.deadline.as_millis(),
            "draining"
        );
        self.health.draining().await;
        // Load balancers need this long to hear of it; calls are served until then.
        tokio::time::sleep(settings.delay).await;
        self.stop.cancel();
        self.health.release_watchers().await;
        self.closing.cancel();
        let all = async {
            let (served, _) = tokio::join!(
                &mut self.serving,
                join_all(self.tasks.iter_mut().map(|(_, task)| task))
            );
            served
        };
        let drained = tokio::time::timeout(settings.deadline, all).await;
        let left = self.tasks.iter().filter(|(_, task)| !task.is_finished());
        for (name, task) in left {
            tracing::warn!(name, "was still working at the drain deadline");
            task.abort();
        }
        match drained {
            Ok(served) => Ok(served??),
            Err(_) => Err(anyhow!("calls were still in flight at the drain deadline")),
        }
    }
}

async fn first_ended(tasks: &mut [(&'static str, JoinHandle<()>)]) -> &'static str {
    if tasks.is_empty() {
        return pending().await;
    }
    let tasks = tasks.iter_mut().map(|(name, task)| task.map(|_| *name));
    select_all(tasks).await.0
}

async fn close(databases: &[Db]) {
    let closing = join_all(databases.iter().map(Db::close));
    if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::warn!("a database did not close in time; its log is read at the next start");
    }
}
