//! From the names of services to their parts, put together.
//! Invariant: each service has a database of its own, migrated before it starts.
//! Refuses to bind or to serve: that is `serve`.

use std::sync::Arc;

use anyhow::Context as _;
use core_platform::{
    clock,
    config::Settings,
    contracts::Contracts,
    crypto::{KeyRing, Vault},
    db::{Db, Location},
    health::Dependency,
    metrics::Metrics,
    service::{Assembled, Context},
    validate::Validator,
};
use tokio_util::sync::CancellationToken;

use crate::services::{self, Service};

/// What came of it.
pub(crate) struct Built {
    pub(crate) assembled: Assembled,
    pub(crate) databases: Vec<Db>,
    pub(crate) contracts: Arc<Contracts>,
    /// Core service and protobuf service.
    pub(crate) names: Vec<(&'static str, &'static str)>,
}

pub(crate) async fn build(
    chosen: &[Service],
    settings: &Settings,
    of_services: &services::Settings,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> anyhow::Result<Built> {
    let names: Vec<_> = chosen
        .iter()
        .map(|service| service.definition())
        .flat_map(|known| known.grpc.iter().map(|grpc| (known.name, *grpc)))
        .collect();
    let contracts = Arc::new(Contracts::new(core_proto::DESCRIPTOR_SET, &names)?);
    let validator = Arc::new(Validator::new(&contracts)?);
    let now = clock::now();
    let mut assembled = Assembled::default();
    let mut databases = Vec::with_capacity(chosen.len());
    for service in chosen {
        let known = service.definition();
        let db = open(settings, known.name).await?;
        let version = db.migrate(known.migrations, None).await;
        let version = version.with_context(|| known.name)?;
        tracing::info!(service = known.name, version, "schema");
        databases.push(db.clone());
        let dependency = Dependency::database(known.name, db.clone());
        assembled.dependencies.push(dependency);
        let ring = KeyRing::open(None, &settings.data_dir)?;
        let vault = Vault::start(&db, ring, now).await;
        let context = Context {
            db,
            vault: vault.with_context(|| known.name)?,
            metrics: metrics.clone(),
            validator: validator.clone(),
            stop: stop.clone(),
            now,
            data_dir: settings.data_dir.clone(),
        };
        let parts = service.start(of_services, context).await;
        assembled.add(parts.with_context(|| known.name)?);
    }
    Ok(Built {
        assembled,
        databases,
        contracts,
        names,
    })
}

async fn open(settings: &Settings, name: &'static str) -> anyhow::Result<Db> {
    let location = Location::Directory(settings.data_dir.clone());
    Db::open(&location, name).await.context(name)
}
