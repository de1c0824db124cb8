//! What a core service is given to stand on, and what it gives to be run.
//! Invariant: a service never learns which others share its process; all it
//! touches of the outside arrives in its `Context`.
//! Refuses domain knowledge: the binary says which services there are.

use std::{convert::Infallible, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use axum::{Router, response::IntoResponse};
use http::Request;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tower::Service;

use crate::{
    cache::Cache,
    clock::UnixMicros,
    crypto::Vault,
    db::{Db, Migration},
    events::Consumer,
    health::Dependency,
    jobs::Jobs,
    metrics::Metrics,
    ops::Entities,
    policy::PolicyStore,
    token::Verifier,
    validate::Validator,
};

/// What is known of a service before it starts.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name of its database, of its metrics' `service` label, and in logs.
    pub name: &'static str,
    /// The protobuf services it answers, such as `auth.v1.AuthService`.
    pub grpc: &'static [&'static str],
    /// Its own tables, oldest first; the platform's are not among them.
    pub migrations: &'static [Migration],
    /// The number of its database in Redis.
    pub redis_database: u8,
}

/// What a service is given.
pub struct Context {
    /// Its own database, migrated.
    pub db: Db,
    /// Seals what names a person.
    pub vault: Vault,
    pub cache: Cache,
    pub policies: Arc<PolicyStore>,
    pub metrics: Arc<Metrics>,
    pub validator: Arc<Validator>,
    /// The platform's own; a service that has some adds them and gives all back.
    pub jobs: Jobs,
    /// Cancelled when no more work may be begun; see [`Parts::task`].
    pub stop: CancellationToken,
    /// When the process started.
    pub now: UnixMicros,
    /// Where files may be put that are no database.
    pub data_dir: PathBuf,
}

/// A task that runs beside the calls.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Adds one protobuf service to the routes.
type Mount = Box<dyn FnOnce(&mut RoutesBuilder) + Send>;

/// What a service gives. A part that it has none of is left out.
#[derive(Default)]
pub struct Parts {
    mounts: Vec<Mount>,
    admin: Router,
    tasks: Vec<(&'static str, Work)>,
    consumers: Vec<Consumer>,
    entities: Vec<Entities>,
    jobs: Option<Jobs>,
    dependencies: Vec<Dependency>,
    verifier: Option<Verifier>,
}

impl Parts {
    /// Answers a protobuf service of its definition.
    #[must_use]
    pub fn grpc<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.mounts.push(Box::new(move |routes| {
            routes.add_service(service);
        }));
        self
    }

    /// Adds paths to the operators' listener.
    #[must_use]
    pub fn admin(mut self, router: Router) -> Self {
        self.admin = self.admin.merge(router);
        self
    }

    /// Runs beside the calls. It ends soon after `Context::stop` is cancelled, and
    /// never before: a task that ends by itself ends the process.
    #[must_use]
    pub fn task(
        mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.tasks.push((name, Box::pin(work)));
        self
    }

    /// Handles events of some types.
    #[must_use]
    pub fn consumer(mut self, consumer: Consumer) -> Self {
        self.consumers.push(consumer);
        self
    }

    /// Tells other services' read models of what there is of one type.
    #[must_use]
    pub fn entities(mut self, entities: Entities) -> Self {
        self.entities.push(entities);
        self
    }

    /// The jobs of its context, with its own added.
    #[must_use]
    pub fn jobs(mut self, jobs: Jobs) -> Self {
        self.jobs = Some(jobs);
        self
    }

    /// For the one who runs them.
    pub fn take_consumers(&mut self) -> Vec<Consumer> {
        std::mem::take(&mut self.consumers)
    }

    /// For the one who answers for them.
    pub fn take_entities(&mut self) -> Vec<Entities> {
        std::mem::take(&mut self.entities)
    }

    /// For the one who runs them.
    pub fn take_jobs(&mut self) -> Option<Jobs> {
        self.jobs.take()
    }

    /// Something outside that is worth a line in `/health`.
    #[must_use]
    pub fn dependency(mut self, dependency: Dependency) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Checks the access tokens of every call to this process, as only the service
    /// that issues them can without asking another.
    #[must_use]
    pub fn verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }
}

/// The parts of all services of a process, put together.
#[derive(Default)]
pub struct Assembled {
    pub routes: RoutesBuilder,
    pub admin: Router,
    pub tasks: Vec<(&'static str, Work)>,
    pub dependencies: Vec<Dependency>,
    pub verifier: Option<Verifier>,
}

impl Assembled {
    pub fn add(&mut self, parts: Parts) {
        for mount in parts.mounts {
            mount(&mut self.routes);
        }
        self.admin = std::mem::take(&mut self.admin).merge(parts.admin);
        self.tasks.extend(parts.tasks);
        self.dependencies.extend(parts.dependencies);
        self.verifier = self.verifier.take().or(parts.verifier);
    }
}
