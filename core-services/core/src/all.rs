//! `palisade-core all`: builds the parts, serves, and ends in order.
//! Invariant: readiness is the last thing to go green and the first to go red;
//! the end is bounded whatever the peers do (hyper can hang on one that never
//! answers, hyperium/hyper#4170).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use core_identity::{GRPC_SERVICES, Identity, MIGRATIONS, SERVICE, TokenSettings};
use core_platform::{
    admin, clock,
    config::Settings,
    contracts::Contracts,
    db::{Db, Location},
    drain::Signals,
    health::Health,
    listen::Listener,
    metrics::Metrics,
    rpc::{RpcLayer, Rules},
    serve, telemetry,
    validate::Validator,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{Failure, cli::ServeFlags};

/// The name of the process in health, and of its gRPC listener in metrics.
const PROCESS: &str = "core";
/// Folding the log into the database file; the next start would do it as well.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn run(flags: &ServeFlags) -> Result<(), Failure> {
    let settings = flags.process.settings().map_err(Failure::usage)?;
    let tokens = flags.tokens().map_err(Failure::usage)?;
    telemetry::init(&flags.process.log).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    runtime
        .block_on(serve_all(settings, &tokens))
        .map_err(Failure::Running)
}

async fn serve_all(settings: Settings, tokens: &TokenSettings) -> anyhow::Result<()> {
    // Before anything slow: a stop during start-up must be heard, too.
    let mut signals = Signals::catch().context("signals")?;
    let metrics = Arc::new(Metrics::new()?);
    let grpc = bind(settings.grpc, serve::CONNECTIONS_MAX, PROCESS, &metrics).await?;
    let admin = bind(settings.admin, admin::CONNECTIONS_MAX, "admin", &metrics).await?;
    let (grpc_address, admin_address) = (grpc.local_addr()?, admin.local_addr()?);

    let db = Db::open(&Location::Directory(settings.data_dir), SERVICE).await?;
    let version = db.migrate(&MIGRATIONS, None).await?;
    let identity = Identity::start(db.clone(), tokens, &metrics, clock::now()).await?;
    let services = GRPC_SERVICES.map(|name| (SERVICE, name));
    let contracts = Arc::new(Contracts::new(core_proto::DESCRIPTOR_SET, &services)?);
    let validator = Arc::new(Validator::new(&contracts)?);

    let (reporter, health_service) = tonic_health::server::health_reporter();
    let names = GRPC_SERVICES.to_vec();
    let health = Arc::new(Health::new(PROCESS, db.clone(), reporter, names).await);
    let router = admin::router(health.clone(), metrics.clone()).merge(identity.admin());
    let admin = tokio::spawn(admin::serve(admin, router));

    let routes = identity.mount(Routes::new(health_service), &validator);
    let rules = Rules::new(contracts, settings.peers, identity.verifier(), metrics);
    let stop = CancellationToken::new();
    let layer = RpcLayer(Arc::new(rules));
    let serving = serve::grpc(
        grpc,
        settings.tls,
        layer,
        routes,
        stop.clone().cancelled_owned(),
    );
    let mut serving = tokio::spawn(serving);

    tracing::info!(
        grpc = %grpc_address,
        admin = %admin_address,
        schema = version,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    health.serving().await;
    let probe = tokio::spawn({
        let health = health.clone();
        async move { health.probe().await }
    });

    tokio::select! {
        () = signals.next() => {}
        ended = &mut serving => {
            ended??;
            return Err(anyhow!("the gRPC server ended by itself"));
        }
    }
    tracing::info!(
        deadline_ms = settings.drain_deadline.as_millis(),
        "draining"
    );
    let forced = tokio::spawn(signals.exit_at_next());
    health.draining().await;
    stop.cancel();
    let drained = tokio::time::timeout(settings.drain_deadline, serving).await;
    for task in [probe, admin, forced] {
        task.abort();
    }
    close(&db).await;
    match drained {
        Ok(ended) => ended??,
        Err(_) => return Err(anyhow!("calls were still in flight at the drain deadline")),
    }
    tracing::info!("stopped");
    Ok(())
}

async fn bind(
    address: SocketAddr,
    connections_max: usize,
    name: &str,
    metrics: &Metrics,
) -> anyhow::Result<Listener> {
    let open = metrics.connections.with_label_values(&[name]);
    let bound = Listener::bind(address, connections_max, open).await;
    bound.with_context(|| format!("cannot listen on `{address}`"))
}

async fn close(db: &Db) {
    if tokio::time::timeout(CLOSE_TIMEOUT, db.close())
        .await
        .is_err()
    {
        tracing::warn!("the database did not close in time; its log is read at the next start");
    }
}
