//! `palisade-core all` and `palisade-core serve`: builds the parts of the chosen
//! services, serves them, and ends in order.
//! Invariant: readiness is the last thing to go green and the first to go red;
//! the end is bounded whatever the peers do (hyper can hang on one that never
//! answers, hyperium/hyper#4170).

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, anyhow};
use core_platform::{
    admin,
    drain::Signals,
    health::Health,
    listen::Listener,
    metrics::Metrics,
    rpc::{RpcLayer, Rules},
    serve, telemetry,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    Failure,
    assemble::{self, Built, Settings},
    cli::ServeFlags,
    services::Service,
    stop::Running,
};

/// The name of the process in health, and of its gRPC listener in metrics.
const PROCESS: &str = "core";

pub(crate) fn run(chosen: &[Service], flags: &ServeFlags) -> Result<(), Failure> {
    let settings = flags.settings()?;
    telemetry::init(&flags.process.log).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    runtime
        .block_on(serve(chosen, settings))
        .map_err(Failure::Running)
}

async fn serve(chosen: &[Service], settings: Settings) -> anyhow::Result<()> {
    // Before anything slow: a stop during start-up must be heard, too.
    let signals = Signals::catch().context("signals")?;
    let metrics = Arc::new(Metrics::new()?);
    let grpc = bind(settings.process.grpc, serve::CONNECTIONS_MAX, PROCESS, &metrics).await?;
    let admin = bind(settings.process.admin, admin::CONNECTIONS_MAX, "admin", &metrics).await?;
    let (grpc_address, admin_address) = (grpc.local_addr()?, admin.local_addr()?);

    let stop = CancellationToken::new();
    let built = assemble::build(chosen, &settings, &metrics, &stop).await?;
    let settings = settings.process;
    let Built {
        assembled,
        databases,
        contracts,
        names,
    } = built;
    let verifier = assembled
        .verifier
        .ok_or_else(|| anyhow!("none of these services can check access tokens"))?;

    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::new(PROCESS, assembled.dependencies, reporter, names).await;
    let health = Arc::new(health);
    let router = admin::router(health.clone(), metrics.clone()).merge(assembled.admin);
    let admin = tokio::spawn(admin::serve(admin, router));

    let routes: Routes = assembled.routes.routes().add_service(health_service);
    let layer = RpcLayer(Arc::new(Rules::new(
        contracts,
        settings.peers,
        verifier,
        metrics,
    )));
    let closing = CancellationToken::new();
    let serving = serve::grpc(
        grpc,
        settings.tls,
        layer,
        routes,
        closing.clone().cancelled_owned(),
    );
    let running = Running {
        health: health.clone(),
        serving: tokio::spawn(serving),
        tasks: assembled.tasks.into_iter().map(spawned).collect(),
        admin,
        stop,
        closing,
        databases,
    };
    tracing::info!(
        grpc = %grpc_address,
        admin = %admin_address,
        services = ?chosen,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    health.serving().await;
    running.until_stopped(signals, settings.stop).await
}

fn spawned(
    (name, work): (&'static str, core_platform::service::Work),
) -> (&'static str, JoinHandle<()>) {
    (name, tokio::spawn(work))
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
