//! Is this process alive, and should it get calls?
//! Invariant: liveness (`report`) never depends on a dependency, else one slow
//! disk would restart the whole fleet; readiness does, and goes red first
//! when a stop begins.
//! Refuses to wait: a check that hangs counts as failed.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde::Serialize;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{clock::Stopwatch, db::Db};

/// A database that answers slower than this serves nobody.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks for gRPC health; orchestrators poll no faster.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Draining = 2,
}

/// The process's state and the dependency it is judged by.
pub struct Health {
    service: &'static str,
    phase: AtomicU8,
    database: Db,
    since: Stopwatch,
    reporter: HealthReporter,
    /// The protobuf services whose gRPC health is told.
    names: Vec<&'static str>,
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `healthy`, `degraded` (starting or draining) or `unhealthy` (a check failed).
    pub status: &'static str,
    pub service: &'static str,
    pub uptime_seconds: u64,
    pub checks: Checks,
}

#[derive(Debug, Serialize)]
pub struct Checks {
    pub database: Check,
}

/// One dependency's answer.
#[derive(Debug, Serialize)]
pub struct Check {
    pub status: &'static str,
    pub latency_ms: u64,
}

impl Health {
    /// `names`: the protobuf services, such as `auth.v1.AuthService`. Not serving yet.
    pub async fn new(
        service: &'static str,
        database: Db,
        reporter: HealthReporter,
        names: Vec<&'static str>,
    ) -> Self {
        let health = Self {
            service,
            phase: AtomicU8::new(Phase::Starting as u8),
            database,
            since: Stopwatch::start(),
            reporter,
            names,
        };
        health.tell(ServingStatus::NotServing).await;
        health
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Listeners are bound, the schema is current.
    pub async fn serving(&self) {
        self.phase.store(Phase::Serving as u8, Ordering::Release);
        self.tell(ServingStatus::Serving).await;
    }

    /// A stop began: red at once, before any connection is told to go away.
    pub async fn draining(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
        self.tell(ServingStatus::NotServing).await;
        // Ends the watch streams, which would keep their connections open until the deadline.
        let mut reporter = self.reporter.clone();
        for name in self.names() {
            reporter.clear_service_status(name).await;
        }
    }

    /// Keeps gRPC health in step with readiness until the process drains.
    pub async fn probe(&self) {
        let mut last = true;
        while self.phase() != Phase::Draining {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let ready = self.ready().await;
            if ready != last && self.phase() == Phase::Serving {
                tracing::warn!(ready, "readiness changed");
                let status = if ready {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                self.tell(status).await;
                last = ready;
            }
        }
    }

    /// Should calls be sent here?
    pub async fn ready(&self) -> bool {
        self.phase() == Phase::Serving && self.check_database().await.status == "healthy"
    }

    /// What `/health` says.
    pub async fn report(&self) -> Report {
        let database = self.check_database().await;
        let status = match (database.status, self.phase()) {
            ("healthy", Phase::Serving) => "healthy",
            ("healthy", _) => "degraded",
            _ => "unhealthy",
        };
        let uptime_seconds = self.since.elapsed().as_secs();
        Report {
            status,
            service: self.service,
            uptime_seconds,
            checks: Checks { database },
        }
    }

    async fn check_database(&self) -> Check {
        let since = Stopwatch::start();
        let answered = tokio::time::timeout(CHECK_TIMEOUT, self.database.ping()).await;
        let status = if matches!(answered, Ok(Ok(()))) {
            "healthy"
        } else {
            "unhealthy"
        };
        let latency_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Check { status, latency_ms }
    }

    async fn tell(&self, status: ServingStatus) {
        for name in self.names() {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// The empty name stands for the whole server.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().chain([""])
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Request, server::NamedService};
    use tonic_health::pb::{HealthCheckRequest, health_server::Health as _};
    use tonic_health::server::HealthService;

    use super::*;
    use crate::db::Location;

    struct Named;

    impl NamedService for Named {
        const NAME: &'static str = "t.v1.T";
    }

    async fn health(dir: &tempfile::TempDir) -> (Health, Db, HealthService) {
        let db = Db::open(&Location::Directory(dir.path().join("data")), "t")
            .await
            .unwrap();
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        (
            Health::new("core", db.clone(), reporter, vec![Named::NAME]).await,
            db,
            service,
        )
    }

    async fn grpc(service: &HealthService) -> Option<i32> {
        let request = HealthCheckRequest {
            service: Named::NAME.to_owned(),
        };
        Some(
            service
                .check(Request::new(request))
                .await
                .ok()?
                .into_inner()
                .status,
        )
    }

    #[tokio::test]
    async fn follows_the_life_of_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (health, _db, service) = health(&dir).await;
        assert_eq!(
            (health.ready().await, health.report().await.status),
            (false, "degraded")
        );
        assert_eq!(grpc(&service).await, Some(2));
        health.serving().await;
        assert_eq!(
            (health.ready().await, health.report().await.status),
            (true, "healthy")
        );
        assert_eq!(grpc(&service).await, Some(1));
        health.draining().await;
        assert_eq!(
            (health.ready().await, health.report().await.status),
            (false, "degraded")
        );
        assert_eq!(grpc(&service).await, None);
    }

    #[tokio::test]
    async fn a_lost_database_makes_it_unready() {
        let dir = tempfile::tempdir().unwrap();
        let (health, db, _service) = health(&dir).await;
        health.serving().await;
        db.close().await;
        let report = health.report().await;
        assert_eq!(
            (report.status, report.checks.database.status),
            ("unhealthy", "unhealthy")
        );
        assert!(!health.ready().await);
    }

    #[tokio::test]
    async fn watchers_hear_the_drain_and_are_let_go() {
        use futures::StreamExt;
        let dir = tempfile::tempdir().unwrap();
        let (health, _db, service) = health(&dir).await;
        health.serving().await;
        let request = HealthCheckRequest {
            service: Named::NAME.to_owned(),
        };
        let mut watch = service
            .watch(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
        health.draining().await;
        assert_eq!(watch.next().await.unwrap().unwrap().status, 2);
        assert!(watch.next().await.is_none());
    }
}
