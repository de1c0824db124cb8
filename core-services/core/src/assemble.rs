//! From the names of services to their parts, put together.
//! Invariant: each service has a database, a vault and workers of its own; its
//! database is migrated before it starts.
//! Refuses to bind or to serve: that is `serve`.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use core_platform::{
    audit::{self, Audit},
    cache::Cache,
    clock::{self, UnixMicros},
    config,
    contracts::{Contracts, PROCESS},
    crypto::{self, Vault},
    cursor::Cursors,
    db::Db,
    events::{
        Bus, EventMetrics, Events,
        bus::{Embedded, Nats, NatsSettings},
    },
    health::Dependency,
    idempotency,
    jobs::{self, Jobs, Worker},
    metrics::Metrics,
    ops,
    policy::{self, PolicyStore},
    service::{Assembled, Context, Definition, Parts},
    telemetry::LogFilter,
    validate::Validator,
};
use tokio_util::sync::CancellationToken;

use crate::{
    databases::{Databases, EVENTS},
    services::{self, Service},
};

/// What all of it is made of.
pub(crate) struct Settings {
    pub(crate) process: config::Settings,
    pub(crate) services: services::Settings,
    pub(crate) databases: Databases,
    pub(crate) policies: Arc<PolicyStore>,
}

/// What came of it.
pub(crate) struct Built {
    pub(crate) assembled: Assembled,
    pub(crate) databases: Vec<Db>,
    /// Each service with the version of its tables.
    pub(crate) schemas: BTreeMap<&'static str, i64>,
    pub(crate) contracts: Arc<Contracts>,
    /// Core service and protobuf service.
    pub(crate) names: Vec<(&'static str, &'static str)>,
    /// What operators see of each service.
    operated: BTreeMap<&'static str, ops::Served>,
}

/// What the services of a process share.
struct Shared<'a> {
    settings: &'a Settings,
    metrics: Arc<Metrics>,
    validator: Arc<Validator>,
    bus: Bus,
    event_metrics: Arc<EventMetrics>,
    stop: CancellationToken,
    now: UnixMicros,
}

pub(crate) async fn build(
    chosen: &[Service],
    settings: &Settings,
    metrics: &Arc<Metrics>,
    filter: LogFilter,
    stop: &CancellationToken,
) -> anyhow::Result<Built> {
    let names: Vec<_> = chosen
        .iter()
        .map(|service| service.definition())
        .flat_map(|known| known.grpc.iter().map(|grpc| (known.name, *grpc)))
        .chain([(PROCESS, ops::GRPC)])
        .collect();
    let contracts = Arc::new(Contracts::new(core_proto::DESCRIPTOR_SET, &names)?);
    let mut built = Built {
        assembled: Assembled::default(),
        databases: Vec::new(),
        schemas: BTreeMap::new(),
        names,
        operated: BTreeMap::new(),
        contracts: contracts.clone(),
    };
    let bus = bus(settings, &mut built).await?;
    let dir = settings.process.policies.clone();
    let follow = policy::follow(settings.policies.clone(), dir, metrics, stop.clone())?;
    built.assembled.tasks.push(("policies", Box::pin(follow)));
    let shared = Shared {
        settings,
        metrics: metrics.clone(),
        validator: Arc::new(Validator::new(&contracts)?),
        bus,
        event_metrics: Arc::new(EventMetrics::new(metrics)?),
        stop: stop.clone(),
        now: clock::now(),
    };
    for service in chosen {
        let name = service.definition().name;
        add(*service, &shared, &mut built).await.context(name)?;
    }
    operate(filter, &shared, &mut built);
    Ok(built)
}

/// One `OpsService` for all of them, and the end of what it does to the log.
fn operate(filter: LogFilter, shared: &Shared<'_>, built: &mut Built) {
    let filter = Arc::new(filter);
    let process = ops::Process {
        version: env!("CARGO_PKG_VERSION"),
        started: shared.now,
        policies: shared.settings.policies.clone(),
        events: shared.event_metrics.clone(),
        filter: filter.clone(),
        stop: shared.stop.clone(),
    };
    let operated = std::mem::take(&mut built.operated);
    let service = ops::service(process, operated, shared.validator.clone());
    let stop = shared.stop.clone();
    let keeping = async move { filter.run(stop).await };
    let parts = Parts::default().grpc(service).task("log-filter", keeping);
    built.assembled.add(parts);
}

async fn bus(settings: &Settings, built: &mut Built) -> anyhow::Result<Bus> {
    let events = core_platform::events::Settings::default();
    let (name, bus) = if let Some(url) = &settings.process.backends.nats {
        let nats = NatsSettings {
            url: url.expose().to_owned(),
            name: "palisade-core".to_owned(),
            ca: None,
            identity: None,
            replicas: 1,
        };
        (
            "nats",
            Bus::Nats(Box::new(Nats::connect(&nats, &events).await?)),
        )
    } else {
        let db = open(settings, EVENTS).await?;
        built.databases.push(db.clone());
        (EVENTS, Bus::Embedded(Embedded::open(db, &events).await?))
    };
    let asked = bus.clone();
    let dependency = Dependency::useful(PROCESS, name, move || {
        let bus = asked.clone();
        async move { bus.ping().await.map_err(|error| error.to_string()) }
    });
    built.assembled.dependencies.push(dependency);
    Ok(bus)
}

async fn add(service: Service, shared: &Shared<'_>, built: &mut Built) -> anyhow::Result<()> {
    let Shared { settings, .. } = shared;
    let known = service.definition();
    let (name, migrations) = (known.name, known.migrations);
    let db = open(settings, name).await?;
    built.databases.push(db.clone());
    let version = db.migrate(migrations, None).await?;
    built.schemas.insert(name, version);
    let process = &settings.process;
    let ring = (process.keyring.as_deref(), process.data_dir.as_path());
    let vault = Vault::open(&db, ring, shared.now).await?;
    let cache = cache(known, &vault, shared, built)?;
    let (audit, cursors) = (Audit::new(&vault)?, Cursors::new(&vault)?);
    let context = Context {
        db: db.clone(),
        vault: vault.clone(),
        cache,
        policies: settings.policies.clone(),
        metrics: shared.metrics.clone(),
        validator: shared.validator.clone(),
        jobs: own_jobs(&vault, name, &shared.metrics)?,
        stop: shared.stop.clone(),
        now: shared.now,
        data_dir: process.data_dir.clone(),
    };
    let mut parts = service.start(&settings.services, context).await?;
    let dependency = Dependency::database(name, db.clone());
    built.assembled.dependencies.push(dependency);

    let jobs = match parts.take_jobs() {
        Some(jobs) => jobs,
        None => own_jobs(&vault, name, &shared.metrics)?,
    };
    let keeping = jobs::Settings::default();
    let worker = Worker::new(db.clone(), name, jobs, shared.metrics.clone(), keeping);
    let consumers = parts.take_consumers();
    let places = consumers.iter().map(|one| (one.name, one.domains()));
    let operated = ops::Served {
        db: db.clone(),
        tables: migrations,
        audit,
        cursors,
        consumers: places.collect(),
        entities: parts.take_entities(),
    };
    built.operated.insert(name, operated);
    let events = Events {
        db,
        bus: shared.bus.clone(),
        metrics: shared.event_metrics.clone(),
        service: name,
        settings: core_platform::events::Settings::default(),
    };
    let consuming = events.run(consumers, shared.stop.clone());
    let tasks = &mut built.assembled.tasks;
    tasks.push(("jobs", Box::pin(worker.run(shared.stop.clone()))));
    tasks.push(("events", Box::pin(consuming)));
    built.assembled.add(parts);
    Ok(())
}

fn cache(
    known: &'static Definition,
    vault: &Vault,
    shared: &Shared<'_>,
    built: &mut Built,
) -> anyhow::Result<Cache> {
    let Some(url) = &shared.settings.process.backends.redis else {
        return Ok(Cache::local(known.name, &shared.metrics));
    };
    let server = (url.expose(), known.redis_database);
    let cache = Cache::before_redis(known.name, server, vault, &shared.metrics)?;
    let asked = cache.clone();
    let dependency = Dependency::useful(known.name, "redis", move || {
        let cache = asked.clone();
        async move { cache.ping().await }
    });
    built.assembled.dependencies.push(dependency);
    let keeping = cache.clone().run(shared.stop.clone());
    built.assembled.tasks.push(("cache", Box::pin(keeping)));
    Ok(cache)
}

/// What the platform does in every service's database.
fn own_jobs(vault: &Vault, service: &'static str, metrics: &Metrics) -> anyhow::Result<Jobs> {
    let mut jobs = Jobs::new()?;
    audit::register(&mut jobs, Audit::new(vault)?, service, metrics)?;
    idempotency::register(&mut jobs)?;
    crypto::register(&mut jobs, vault.clone())?;
    Ok(jobs)
}

async fn open(settings: &Settings, name: &'static str) -> anyhow::Result<Db> {
    let location = settings
        .databases
        .location(name, &settings.process.data_dir);
    let opened = Db::open(&location, name).await;
    opened.with_context(|| format!("database `{location}`"))
}
