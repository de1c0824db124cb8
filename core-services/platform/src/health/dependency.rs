//! What a process works with, asked whether it answers.
//! Invariant: every check, whoever wanted it, is told to `dependency_up`, and to the log
//! once when its outcome is another.
//! Refuses to wait: a check that hangs counts as failed.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{clock::Stopwatch, db::Db, metrics::Metrics, reason::shortened};

/// A dependency that answers slower than this serves nobody.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) const HEALTHY: &str = "healthy";
pub(super) const UNHEALTHY: &str = "unhealthy";

type Asked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something outside of the process that it works with.
pub struct Dependency {
    /// As in `/health`: `database`, `redis`, `nats`, or what the service calls it.
    pub(super) name: &'static str,
    /// Whose it is: a service, or the process.
    pub(super) service: &'static str,
    /// Can't the service answer without it? Else all go on, with less.
    pub(super) is_needed: bool,
    ask: Box<dyn Fn() -> Asked + Send + Sync>,
    /// Whether it answered when it was last asked.
    answered: Mutex<Option<bool>>,
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
            service,
            is_needed: true,
            ask: Box::new(ask),
            answered: Mutex::default(),
        }
    }

    /// What is missed when it is away, but not needed to answer: a cache, a broker, a mail server.
    /// The text of a failure is shown to operators.
    pub fn useful<F>(
        service: &'static str,
        name: &'static str,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name,
            service,
            is_needed: false,
            ask: Box::new(move || Box::pin(ask())),
            answered: Mutex::default(),
        }
    }

    pub(super) async fn check(&self, metrics: &Metrics) -> Check {
        let since = Stopwatch::start();
        let failure = match tokio::time::timeout(CHECK_TIMEOUT, (self.ask)()).await {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(cause),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let cause = failure.map(|cause| shortened(&cause));
        self.tell(cause.as_deref(), metrics);
        Check {
            status: if cause.is_none() { HEALTHY } else { UNHEALTHY },
            latency_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            cause,
        }
    }

    fn tell(&self, cause: Option<&str>, metrics: &Metrics) {
        let (service, dependency) = (self.service, self.name);
        let answers = cause.is_none();
        let up = &metrics.dependency_up;
        up.with_label_values(&[service, dependency])
            .set(i64::from(answers));
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answered.replace(answers);
        drop(answered);
        match (before, cause) {
            (Some(false), None) => tracing::info!(dependency, service, "a dependency is back"),
            (None | Some(true), Some(cause)) => {
                tracing::warn!(dependency, service, cause, "a dependency is away");
            }
            _ => {}
        }
    }
}

/// One dependency's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub status: &'static str,
    pub latency_ms: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Check {
    pub(super) fn failed(&self) -> bool {
        self.status != HEALTHY
    }
}
