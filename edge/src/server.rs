//! The wiring of a running edge: what is started, in which order, and how it stops.
//!
//! Everything that can be wrong with flags, files and addresses is found before anything
//! listens: `Edge::prepare` binds and loads, `Edge::run` serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::HeaderValue;
use palisade_policy::{Loaded, PolicyStore, Reloader, Status};
use palisade_token::{Issuers, Verifier};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{AccessLogTarget, RunArgs};
use crate::gateway::Gateway;
use crate::listen::{self, Bounds, Sockets, tls::ServerTls};
use crate::observe::access_log::AccessLog;
use crate::observe::admin::{self, Admin};
use crate::observe::metrics::Metrics;
use crate::request_ctx::Now;
use crate::snapshot::{Parts, Snapshot};
use crate::stages::cache::ResponseCache;

/// Memory for verified tokens: about 32,000 of the usual size.
const REMEMBERED_TOKENS_BYTES: u64 = 32 * 1024 * 1024;
/// Idle upstream connections kept, over all endpoints.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// Tries of one request that Pingora allows at most; the cluster's own number is smaller.
const TRIES_MAX: usize = 16;
/// How long idle HTTP/1.1 connections may still bring a request after the stop signal: each gets
/// `Connection: close` with its answer, instead of a reset in answer to a request under way.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// What the listeners need of a policy, in their own words.
fn bounds(snapshot: &Snapshot) -> Bounds {
    let listeners = &snapshot.policy.listeners;
    Bounds {
        connections_max: listeners.connections_max,
        connections_per_address: listeners.connections_per_address,
        handshakes_max: listeners.handshakes_max,
        trusted_proxies: listeners.trusted_proxies.clone(),
        proxy_protocol: listeners.proxy_protocol,
        handshake_timeout: listeners.timeouts.handshake,
        head_timeout: listeners.timeouts.head,
        keepalive_timeout: listeners.timeouts.idle,
        ..Bounds::default()
    }
}

/// The first policy in force, what the listeners take from it, and the task that follows its files.
async fn policies(
    args: &RunArgs,
    issuers: &Arc<Issuers>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(
    Arc<PolicyStore<Snapshot>>,
    Arc<ArcSwap<Bounds>>,
    BoxFuture<'static, ()>,
)> {
    let issuers = issuers.clone();
    let verifier = Arc::new(Verifier::new(REMEMBERED_TOKENS_BYTES));
    let build = move |loaded: Loaded, previous: Option<Arc<Snapshot>>| {
        let (issuers, verifier) = (issuers.clone(), verifier.clone());
        async move {
            let now = Now::monotonic();
            let parts = Parts {
                issuers: &issuers,
                verifier: &verifier,
                previous: previous.as_deref(),
                now,
            };
            Snapshot::build(loaded.policy, parts).await
        }
    };
    let reloader = Reloader::start(args.policies.clone(), build).await?;
    let store = reloader.store();
    metrics.policy(&store.status());
    let in_force = store.clone();
    let bounds = Arc::new(ArcSwap::from_pointee(bounds(&store.current())));
    let live = bounds.clone();
    let observe = move |status: &Status| {
        metrics.policy(status);
        live.store(Arc::new(self::bounds(&in_force.current())));
    };
    Ok((
        store,
        bounds,
        Box::pin(reloader.run(observe, std::future::pending::<()>())),
    ))
}

/// How long the last access lines may take to be written once everything else has ended.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// Bound, loaded, not yet serving.
pub struct Edge {
    sockets: Sockets,
    admin_listener: TcpListener,
    /// Follows the policy files; never ends.
    reloading: BoxFuture<'static, ()>,
    parts: EdgeParts,
}

/// What is shared by everything that runs.
struct EdgeParts {
    args: RunArgs,
    bounds: Arc<ArcSwap<Bounds>>,
    tls: ServerTls,
    policies: Arc<PolicyStore<Snapshot>>,
    issuers: Arc<Issuers>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
}

impl Edge {
    /// Load certificates and policies, then bind: the first thing that is wrong ends it.
    pub async fn prepare(args: RunArgs) -> anyhow::Result<Self> {
        let tls = ServerTls::load(&args.certs)?;
        let metrics = Arc::new(Metrics::new().context("metrics")?);
        let issuers = Arc::new(Issuers::new(Some(args.state.join("jwks"))));
        let (policies, bounds, reloading) = policies(&args, &issuers, metrics.clone()).await?;
        let sockets = Sockets::bind(args.http, args.https).await?;
        let admin_listener = TcpListener::bind(args.admin)
            .await
            .with_context(|| format!("cannot listen on admin `{}`", args.admin))?;
        let parts = EdgeParts {
            bounds,
            args,
            tls,
            policies,
            issuers,
            metrics,
            draining: Arc::new(AtomicBool::new(false)),
        };
        Ok(Self {
            sockets,
            admin_listener,
            reloading,
            parts,
        })
    }

    /// Serve until `stop` resolves, then drain. Returns whether every request ended by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<bool> {
        let Self {
            sockets,
            admin_listener,
            reloading,
            parts,
        } = self;
        let (http, https) = sockets.addresses()?;
        let admin_address = admin_listener.local_addr()?;
        let log = parts.args.access_log == AccessLogTarget::Stdout;
        let dropped = parts.metrics.access_log_dropped.clone();
        let access_log = Arc::new(AccessLog::new(log, dropped).context("access log thread")?);
        let cache = ResponseCache::new(parts.args.cache_mib.saturating_mul(1024 * 1024));
        let proxy = Arc::new(parts.proxy(parts.gateway(https, cache, access_log.clone())?));
        let mut background = parts.background(cache, admin_listener);
        background.spawn(reloading);
        parts.issuers.first_attempts().await;
        let running = listen::start(
            sockets,
            &parts.tls,
            parts.bounds.clone(),
            proxy.clone(),
            parts.metrics.clone(),
        )?;
        info!(%http, %https, admin = %admin_address, version = env!("CARGO_PKG_VERSION"), "listening");
        stop.await;
        info!(open = running.open(), "draining");
        parts.draining.store(true, Ordering::Relaxed);
        running.begin_drain();
        let idle_out = async {
            tokio::time::sleep(LAME_DUCK).await;
            proxy.http_cleanup().await;
            std::future::pending::<()>().await;
        };
        let clean = tokio::select! {
            () = running.drained() => true,
            () = idle_out => false,
            () = tokio::time::sleep(parts.args.drain_deadline()) => false,
        };
        if clean {
            info!("drained");
        } else {
            warn!(
                open = running.open(),
                "drain deadline reached, the rest is cut"
            );
        }
        background.abort_all();
        let _ = tokio::task::spawn_blocking(move || access_log.flush(LAST_LINES_TIMEOUT)).await;
        Ok(clean)
    }
}

impl EdgeParts {
    fn gateway(
        &self,
        https: SocketAddr,
        cache: ResponseCache,
        access_log: Arc<AccessLog>,
    ) -> anyhow::Result<Gateway> {
        Ok(Gateway {
            policies: self.policies.clone(),
            metrics: self.metrics.clone(),
            access_log,
            cache,
            draining: self.draining.clone(),
            https_port: https.port(),
            alt_svc: HeaderValue::from_str(&format!("h3=\":{}\"; ma=86400", https.port()))?,
        })
    }

    fn proxy(&self, gateway: Gateway) -> HttpProxy<Gateway> {
        let conf = ServerConf {
            threads: self.args.worker_threads(),
            upstream_keepalive_pool_size: UPSTREAM_POOL_SIZE,
            max_retries: TRIES_MAX,
            ..ServerConf::default()
        };
        let mut proxy = HttpProxy::new(gateway, Arc::new(conf));
        proxy.handle_init_modules();
        let mut h2 = default_h2_options();
        let bounds = self.bounds.load();
        h2.max_concurrent_streams(bounds.streams_max)
            .max_header_list_size(bounds.header_list_bytes_max)
            .initial_window_size(1024 * 1024)
            .initial_connection_window_size(8 * 1024 * 1024);
        proxy.h2_options = Some(h2);
        let mut options = pingora_core::apps::HttpServerOptions::default();
        options.h2_idle_timeout = Some(bounds.keepalive_timeout);
        proxy.server_options = Some(options);
        proxy
    }

    /// Certificate reload and admin listener: ended with the process.
    fn background(&self, cache: ResponseCache, admin_listener: TcpListener) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let metrics = self.metrics.clone();
        let certificates = self.tls.certificates.clone();
        tasks.spawn(async move {
            certificates
                .watch(move |_| metrics.certificate_errors.inc())
                .await
        });
        let admin = Admin {
            policies: self.policies.clone(),
            metrics: self.metrics.clone(),
            issuers: self.issuers.clone(),
            certificates: self.tls.certificates.clone(),
            cache,
            draining: self.draining.clone(),
        };
        let router = admin::router(Arc::new(admin));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(admin_listener, router).await {
                error!(%error, "admin listener ended");
            }
        });
        tasks
    }
}
