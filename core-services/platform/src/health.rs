//! Is this process alive, and should it get calls?
//! Invariant: liveness (`report`) never depends on a dependency, else one slow
//! disk would restart the whole fleet; readiness hangs on the databases alone,
//! and goes red first when a stop begins.
//! Refuses to wait: a check that hangs counts as failed.

mod dependency;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use serde::Serialize;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{clock::Stopwatch, metrics::Metrics};

pub use dependency::{Check, Dependency};
use dependency::{HEALTHY, UNHEALTHY};

/// Between two looks for gRPC health; orchestrators poll no faster.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

const DEGRADED: &str = "degraded";

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Draining = 2,
}

/// The process's state and the dependencies it is judged by.
pub struct Health {
    process: &'static str,
    phase: AtomicU8,
    dependencies: Vec<Dependency>,
    metrics: Arc<Metrics>,
    since: Stopwatch,
    reporter: HealthReporter,
    /// The protobuf services whose gRPC health is told, each with the service it belongs to.
    names: Vec<(&'static str, &'static str)>,
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `healthy`, `degraded` (starting, draining, or something useful is away) or
    /// `unhealthy` (something needed is away).
    pub status: &'static str,
    pub service: &'static str,
    pub uptime_seconds: u64,
    /// Of several databases the worst is told.
    pub checks: BTreeMap<&'static str, Check>,
}

impl Health {
    /// `names`: core service and protobuf service, such as `auth.v1.AuthService`. Not serving yet.
    pub async fn new(
        process: &'static str,
        dependencies: Vec<Dependency>,
        metrics: Arc<Metrics>,
        reporter: HealthReporter,
        names: Vec<(&'static str, &'static str)>,
    ) -> Self {
        let health = Self {
            process,
            phase: AtomicU8::new(Phase::Starting as u8),
            dependencies,
            metrics,
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

    /// Listeners are bound, the schemas are current.
    pub async fn serving(&self) {
        self.phase.store(Phase::Serving as u8, Ordering::Release);
        self.tell(ServingStatus::Serving).await;
    }

    /// A stop began: red at once, before any connection is told to go away.
    pub async fn draining(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
        self.tell(ServingStatus::NotServing).await;
    }

    /// Ends the watch streams, which would keep their connections open until the deadline.
    pub async fn release_watchers(&self) {
        let mut reporter = self.reporter.clone();
        for (_, name) in self.names() {
            reporter.clear_service_status(name).await;
        }
    }

    /// Keeps gRPC health in step with readiness, and the metrics with all dependencies, until
    /// the process drains.
    pub async fn probe(&self) {
        let mut last = BTreeMap::new();
        while self.phase() != Phase::Draining {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let down = self.down(|_| true).await;
            for (service, name) in self.names() {
                // The process as a whole is as ready as `/ready` says.
                let ready = match service {
                    "" => down.is_empty(),
                    service => !down.contains(&service),
                };
                let status = if ready {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                let changed = last.insert(name, ready).unwrap_or(true) != ready;
                if changed && self.phase() == Phase::Serving {
                    tracing::warn!(name, ready, "readiness changed");
                    self.reporter.set_service_status(name, status).await;
                }
            }
        }
    }

    /// Should calls be sent here?
    pub async fn ready(&self) -> bool {
        self.phase() == Phase::Serving && self.down(|asked| asked.is_needed).await.is_empty()
    }

    /// The services that lack what they need, of those that are asked.
    async fn down(&self, is_asked: impl Fn(&Dependency) -> bool) -> Vec<&'static str> {
        let asked = self.dependencies.iter().filter(|one| is_asked(one));
        let checks = asked.map(|dependency| async move {
            let is_missed = dependency.check(&self.metrics).await.failed() && dependency.is_needed;
            is_missed.then_some(dependency.service)
        });
        join_all(checks).await.into_iter().flatten().collect()
    }

    /// What `/health` says.
    pub async fn report(&self) -> Report {
        let asked = self.dependencies.iter().map(|dependency| async move {
            let check = dependency.check(&self.metrics).await;
            (dependency, check)
        });
        let mut status = match self.phase() {
            Phase::Serving => HEALTHY,
            _ => DEGRADED,
        };
        let mut checks: BTreeMap<_, Check> = BTreeMap::new();
        for (dependency, check) in join_all(asked).await {
            if check.failed() {
                status = match dependency.is_needed {
                    false if status != UNHEALTHY => DEGRADED,
                    _ => UNHEALTHY,
                };
            }
            let worst = checks.entry(dependency.name).or_insert(check.clone());
            worst.latency_ms = worst.latency_ms.max(check.latency_ms);
            if check.failed() {
                (worst.status, worst.cause) = (check.status, check.cause);
            }
        }
        Report {
            status,
            service: self.process,
            uptime_seconds: self.since.elapsed().as_secs(),
            checks,
        }
    }

    async fn tell(&self, status: ServingStatus) {
        for (_, name) in self.names() {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// The empty name stands for the whole server.
    fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.names.iter().copied().chain([("", "")])
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Request, server::NamedService};
    use tonic_health::pb::{HealthCheckRequest, health_server::Health as _};
    use tonic_health::server::HealthService;

    use super::*;
    use crate::db::{Db, Location};

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
        let database = Dependency::database("t", db.clone());
        let names = vec![("t", Named::NAME)];
        let metrics = Arc::new(Metrics::new().unwrap());
        (
            Health::new("core", vec![database], metrics, reporter, names).await,
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
        assert_eq!(grpc(&service).await, Some(2));
        health.release_watchers().await;
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
            (report.status, report.checks["database"].status),
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
        health.release_watchers().await;
        assert!(watch.next().await.is_none());
    }

    fn core(dependencies: Vec<Dependency>) -> impl Future<Output = Health> {
        let metrics = Arc::new(Metrics::new().unwrap());
        Health::new(
            "core",
            dependencies,
            metrics,
            HealthReporter::new(),
            Vec::new(),
        )
    }

    #[tokio::test]
    async fn what_is_only_useful_degrades() {
        let dependencies = vec![
            Dependency::useful("core", "nats", async || Err("refused".to_owned())),
            Dependency::useful("t", "redis", async || Ok(())),
        ];
        let health = core(dependencies).await;
        health.serving().await;
        let report = health.report().await;
        assert_eq!(report.status, "degraded");
        assert_eq!(report.checks["nats"].status, "unhealthy");
        assert_eq!(report.checks["nats"].cause.as_deref(), Some("refused"));
        assert_eq!(report.checks["redis"].status, "healthy");
        assert_eq!(report.checks["redis"].cause, None);
        assert!(health.ready().await, "calls are still answered");
    }

    #[tokio::test(start_paused = true)]
    async fn the_metrics_follow_without_anybody_asking() {
        let (answers, asked) = tokio::sync::watch::channel(true);
        let redis = Dependency::useful("t", "redis", move || {
            let answers = *asked.borrow();
            async move { answers.then_some(()).ok_or_else(|| "refused".to_owned()) }
        });
        let health = Arc::new(core(vec![redis]).await);
        health.serving().await;
        let up = health
            .metrics
            .dependency_up
            .with_label_values(&["t", "redis"]);
        let probing = tokio::spawn({
            let health = health.clone();
            async move { health.probe().await }
        });
        for is_up in [true, false, true] {
            answers.send_replace(is_up);
            core_testing::eventually("the probe", async || {
                (up.get() == i64::from(is_up)).then_some(())
            })
            .await;
        }
        health.draining().await;
        probing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_has_failed() {
        let hangs = Dependency::useful("core", "nats", std::future::pending);
        let health = core(vec![hangs]).await;
        assert_eq!(health.report().await.checks["nats"].status, "unhealthy");
    }

    #[tokio::test]
    async fn one_lost_database_of_two_is_told_of_its_own_service() {
        let dir = tempfile::tempdir().unwrap();
        let open = async |name| {
            let location = Location::Directory(dir.path().join("data"));
            Db::open(&location, name).await.unwrap()
        };
        let (one, two) = (open("one").await, open("two").await);
        let databases = vec![
            Dependency::database("one", one),
            Dependency::database("two", two.clone()),
        ];
        let health = core(databases).await;
        health.serving().await;
        two.close().await;
        assert_eq!(health.down(|_| true).await, ["two"]);
        let report = health.report().await;
        assert_eq!(report.status, "unhealthy");
        assert_eq!(report.checks["database"].status, "unhealthy");
    }
}
