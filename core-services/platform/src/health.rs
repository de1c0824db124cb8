//! Is this process alive, and should it get calls?
//! Invariant: liveness (`report`) never depends on a dependency, else one slow
//! disk would restart the whole fleet; readiness hangs on the databases alone,
//! and goes red first when a stop begins.
//! Refuses to wait: a check that hangs counts as failed.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use futures::future::join_all;
use serde::Serialize;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{clock::Stopwatch, db::Db};

/// A dependency that answers slower than this serves nobody.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks for gRPC health; orchestrators poll no faster.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

const HEALTHY: &str = "healthy";
const DEGRADED: &str = "degraded";
const UNHEALTHY: &str = "unhealthy";

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Draining = 2,
}

type Asked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something outside of the process that it works with.
pub struct Dependency {
    /// As in `/health`: `database`, `redis`, `nats`, or what the service calls it.
    name: &'static str,
    /// The service that can't answer without it; none where all go on, with less.
    needed_by: Option<&'static str>,
    ask: Box<dyn Fn() -> Asked + Send + Sync>,
}

impl Dependency {
    /// The database without which `service` answers nothing.
    pub fn database(service: &'static str, db: Db) -> Self {
        let ask = move || {
            let db = db.clone();
            let ping = async move { db.ping().await.map_err(|error| error.to_string()) };
            Box::pin(ping) as Asked
        };
        Self {
            name: "database",
            needed_by: Some(service),
            ask: Box::new(ask),
        }
    }

    /// What is missed when it is away, but not needed to answer: a cache, a broker, a mail server.
    /// The text of a failure goes to the log.
    pub fn useful<F>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name,
            needed_by: None,
            ask: Box::new(move || Box::pin(ask())),
        }
    }

    async fn check(&self) -> Check {
        let since = Stopwatch::start();
        let failure = match tokio::time::timeout(CHECK_TIMEOUT, (self.ask)()).await {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(cause),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if let Some(cause) = &failure {
            tracing::debug!(
                dependency = self.name,
                service = self.needed_by,
                cause,
                "check failed"
            );
        }
        Check {
            status: if failure.is_none() {
                HEALTHY
            } else {
                UNHEALTHY
            },
            latency_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The process's state and the dependencies it is judged by.
pub struct Health {
    process: &'static str,
    phase: AtomicU8,
    dependencies: Vec<Dependency>,
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

/// One dependency's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub status: &'static str,
    pub latency_ms: u64,
}

impl Check {
    fn failed(self) -> bool {
        self.status != HEALTHY
    }
}

impl Health {
    /// `names`: core service and protobuf service, such as `auth.v1.AuthService`. Not serving yet.
    pub async fn new(
        process: &'static str,
        dependencies: Vec<Dependency>,
        reporter: HealthReporter,
        names: Vec<(&'static str, &'static str)>,
    ) -> Self {
        let health = Self {
            process,
            phase: AtomicU8::new(Phase::Starting as u8),
            dependencies,
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

    /// Keeps gRPC health in step with readiness until the process drains.
    pub async fn probe(&self) {
        let mut last = BTreeMap::new();
        while self.phase() != Phase::Draining {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let down = self.down().await;
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
        self.phase() == Phase::Serving && self.down().await.is_empty()
    }

    /// The services that lack what they need.
    async fn down(&self) -> Vec<&'static str> {
        let needed = self.dependencies.iter().filter_map(|dependency| {
            let service = dependency.needed_by?;
            Some(async move { dependency.check().await.failed().then_some(service) })
        });
        join_all(needed).await.into_iter().flatten().collect()
    }

    /// What `/health` says.
    pub async fn report(&self) -> Report {
        let asked = self.dependencies.iter().map(|dependency| async move {
            let check = dependency.check().await;
            (dependency, check)
        });
        let mut status = match self.phase() {
            Phase::Serving => HEALTHY,
            _ => DEGRADED,
        };
        let mut checks: BTreeMap<_, Check> = BTreeMap::new();
        for (dependency, check) in join_all(asked).await {
            let worst = checks.entry(dependency.name).or_insert(check);
            if check.failed() {
                worst.status = check.status;
                status = match dependency.needed_by {
                    None if status != UNHEALTHY => DEGRADED,
                    _ => UNHEALTHY,
                };
            }
            worst.latency_ms = worst.latency_ms.max(check.latency_ms);
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
        let database = Dependency::database("t", db.clone());
        let names = vec![("t", Named::NAME)];
        (
            Health::new("core", vec![database], reporter, names).await,
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

    #[tokio::test]
    async fn what_is_only_useful_degrades() {
        let reporter = HealthReporter::new();
        let dependencies = vec![
            Dependency::useful("nats", async || Err("refused".to_owned())),
            Dependency::useful("redis", async || Ok(())),
        ];
        let health = Health::new("core", dependencies, reporter, Vec::new()).await;
        health.serving().await;
        let report = health.report().await;
        assert_eq!(report.status, "degraded");
        assert_eq!(report.checks["nats"].status, "unhealthy");
        assert_eq!(report.checks["redis"].status, "healthy");
        assert!(health.ready().await, "calls are still answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_has_failed() {
        let hangs = Dependency::useful("nats", std::future::pending);
        let health = Health::new("core", vec![hangs], HealthReporter::new(), Vec::new()).await;
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
        let health = Health::new("core", databases, HealthReporter::new(), Vec::new()).await;
        health.serving().await;
        two.close().await;
        assert_eq!(health.down().await, ["two"]);
        let report = health.report().await;
        assert_eq!(report.status, "unhealthy");
        assert_eq!(report.checks["database"].status, "unhealthy");
    }
}
