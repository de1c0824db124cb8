//! `palisade-core all` and `palisade-core serve`: builds the parts of the chosen
//! services, serves them, and ends in order.
//! Invariant: readiness is the last thing to go green and the first to go red;
//! the end is bounded whatever the peers do (hyper can hang on one that never
//! answers, hyperium/hyper#4170).

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, anyhow};
use core_platform::{
    admin, config,
    contracts::PROCESS,
    drain::Signals,
    health::Health,
    listen::Listener,
    metrics::Metrics,
    rpc::{RpcLayer, Rules},
    serve, service_token,
    telemetry::{self, LogFilter, Telemetry},
    token::Verifier,
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

pub(crate) fn run(chosen: &[Service], flags: &ServeFlags) -> Result<(), Failure> {
    let settings = flags.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let _entered = runtime.enter();
    let otlp = settings.process.backends.otlp.as_deref();
    let Telemetry { filter, spans } =
        telemetry::init(&flags.process.log, otlp).map_err(Failure::usage)?;
    runtime.block_on(async {
        let served = serve(chosen, settings, filter).await;
        if let Some(spans) = spans {
            spans.flush().await;
        }
        served.map_err(Failure::Running)
    })
}

async fn serve(chosen: &[Service], settings: Settings, filter: LogFilter) -> anyhow::Result<()> {
    // Before anything slow: a stop during start-up must be heard, too.
    let signals = Signals::catch().context("signals")?;
    let metrics = Arc::new(Metrics::new()?);
    let (grpc, admin) = listeners(&settings.process, &metrics).await?;
    let (grpc_address, admin_address) = (grpc.local_addr()?, admin.local_addr()?);

    let stop = CancellationToken::new();
    let built = assemble::build(chosen, &settings, &metrics, filter, &stop).await?;
    let Built {
        assembled,
        databases,
        schemas,
        contracts,
        names,
        ..
    } = built;
    let verifier = match assembled.verifier {
        Some(own) => own,
        None => followed(&settings).await?,
    };
    let policies = settings.policies;
    let settings = settings.process;

    let peers = settings.peers.clone();
    let mut rules =
        Rules::new(contracts, peers, verifier, metrics.clone()).policies(policies.clone());
    if let Some(tokens) = service_tokens(&settings, &names).await? {
        rules = rules.services(tokens);
    }

    let (reporter, health_service) = tonic_health::server::health_reporter();
    let dependencies = assembled.dependencies;
    let health = Health::new(PROCESS, dependencies, metrics.clone(), reporter, names).await;
    let health = Arc::new(health);
    let router = admin::router(admin::Shown {
        health: health.clone(),
        metrics,
        policies,
        version: env!("CARGO_PKG_VERSION"),
        schemas: schemas.clone(),
    });
    let router = router.merge(assembled.admin);
    let admin = tokio::spawn(admin::serve(admin, router));

    let routes: Routes = assembled.routes.routes().add_service(health_service);
    let layer = RpcLayer(Arc::new(rules));
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
        ?schemas,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    health.serving().await;
    running.until_stopped(signals, settings.stop).await
}

/// Checks access tokens by the keys of identity elsewhere.
async fn followed(settings: &Settings) -> anyhow::Result<Verifier> {
    let tokens = settings.services.tokens();
    let settings = &settings.process;
    let keys = settings.token_keys.clone().ok_or_else(|| {
        anyhow!(
            "none of these services can check access tokens\n\
             hint: --token-keys, such as http://127.0.0.1:8100/.well-known/jwks.json, or serve identity, too"
        )
    })?;
    // What the URL said last, for a start while it is away.
    let state = Some(settings.data_dir.join("token-keys"));
    let followed = Verifier::followed(&tokens.issuer, &tokens.audience, keys, state).await;
    followed.context("--token-keys")
}

/// Checks the tokens of other services for those that answer here.
async fn service_tokens(
    settings: &config::Settings,
    names: &[(&'static str, &'static str)],
) -> anyhow::Result<Option<service_token::Verifier>> {
    let Some(file) = settings.service_keys.clone() else {
        return Ok(None);
    };
    let services: BTreeSet<&str> = names.iter().map(|(service, _)| *service).collect();
    let services: Vec<&str> = services.into_iter().collect();
    let verifier = service_token::Verifier::followed(&settings.trust_domain, &services, file).await;
    Ok(Some(verifier.context("--service-keys")?))
}

fn spawned(
    (name, work): (&'static str, core_platform::service::Work),
) -> (&'static str, JoinHandle<()>) {
    (name, tokio::spawn(work))
}

/// For calls, and for operators.
async fn listeners(
    settings: &config::Settings,
    metrics: &Metrics,
) -> anyhow::Result<(Listener, Listener)> {
    let grpc = bind(settings.grpc, serve::CONNECTIONS_MAX, PROCESS, metrics).await?;
    let admin = bind(settings.admin, admin::CONNECTIONS_MAX, "admin", metrics).await?;
    Ok((grpc, admin))
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
