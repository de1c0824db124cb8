//! The wiring of a running edge: what is started, in which order, and how it stops.
//!
//! Everything that can be wrong with flags, files and addresses is found before anything
//! listens: `Edge::prepare` binds (or takes over what another process has bound) and loads,
//! `Edge::run` serves.

mod policies;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::HeaderValue;
use palisade_acme::Pending;
use palisade_policy::{PolicyStore, Rollback};
use palisade_token::Issuers;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::acme::Acme;
use crate::config::{AccessLogTarget, RunArgs};
use crate::gateway::{Gateway, Mirrors, RefusedHeads, Streams};
use crate::handover::{self, Predecessor, Respawn, Station, TakenOver};
use crate::in_flight::InFlight;
use crate::listen::{self, Bounds, Inherited, Running, Sockets, tls::Handshakes, tls::ServerTls};
use crate::observe::access_log::AccessLog;
use crate::observe::admin::{self, Admin};
use crate::observe::metrics::Metrics;
use crate::snapshot::{JWKS_FOLDER, Snapshot};
use crate::stages::cache::ResponseCache;
use policies::{Policies, policies};

/// Idle upstream connections kept, over all endpoints.
const UPSTREAM_POOL_SIZE: usize = 1_024;
/// Tries of one request that Pingora allows at most; the cluster's own number is smaller.
const TRIES_MAX: usize = 16;
/// How long idle HTTP/1.1 connections may still bring a request after the stop signal: each gets
/// `Connection: close` with its answer, instead of a reset in answer to a request under way.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// The same once we are replaced: nothing waits for us, so only what is idle for long is closed.
const LAME_DUCK_REPLACED: Duration = Duration::from_secs(10);
/// Before the drain deadline, for the Close frames of tunnels and their answers.
const TUNNELS_FAREWELL: Duration = Duration::from_secs(2);
/// How long connections go on as before once we are replaced: one just made is not told to finish
/// before it could bring its first request.
const SETTLE: Duration = Duration::from_secs(1);
/// The name under which the admin listener is handed over.
const ADMIN: &str = "admin";

/// How long the last access lines may take to be written once everything else has ended.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// Bound, loaded, not yet serving.
pub struct Edge {
    sockets: Sockets,
    admin_listener: TcpListener,
    /// Follows the policy files; never ends.
    reloading: BoxFuture<'static, ()>,
    replacing: Replacing,
    acme: Option<Acme>,
    parts: EdgeParts,
}

/// Whom we replace, and how we are replaced.
struct Replacing {
    predecessor: Option<Predecessor>,
    /// None if the state folder cannot be used: then a restart is the only way.
    station: Option<Station>,
    respawn: Respawn,
}

/// What is shared by everything that runs.
struct EdgeParts {
    args: RunArgs,
    bounds: Arc<ArcSwap<Bounds>>,
    handshakes: Handshakes,
    tls: ServerTls,
    policies: Arc<PolicyStore<Snapshot>>,
    streams: Arc<Streams>,
    rollback: Rollback,
    issuers: Arc<Issuers>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    /// Ends the tunnels, which would outlast any deadline.
    tunnels: CancellationToken,
    /// No more questions to the admin listener; those under way are answered.
    admin_stop: CancellationToken,
    /// Empty for good where ACME is off.
    challenges: Arc<Pending>,
}

/// Where a process that replaces this one reports.
fn station(
    args: &RunArgs,
    sockets: &Sockets,
    admin_listener: &TcpListener,
    inherited: &mut Inherited,
) -> anyhow::Result<Option<Station>> {
    let mut duplicates = sockets.duplicates()?;
    duplicates.push((
        ADMIN.to_owned(),
        admin_listener.as_fd().try_clone_to_owned()?,
    ));
    let station = Station::open(&args.state, duplicates, inherited, args.upgrade_deadline());
    let station = station.inspect_err(|error| {
        let state = args.state.display();
        warn!(%state, error = format!("{error:#}"), "this process can be restarted, not replaced");
    });
    Ok(station.ok())
}

impl Edge {
    /// Load certificates and policies, then bind: the first thing that is wrong ends it.
    pub async fn prepare(args: RunArgs) -> anyhow::Result<Self> {
        let respawn = Respawn::new()?;
        let taken = if args.upgrade {
            handover::take_over(&args.state).await?
        } else {
            TakenOver::nothing()?
        };
        let mut inherited = taken.inherited;
        let acme = Acme::prepare(&args)?;
        let temporary = acme.as_ref().map(|acme| acme.temporary.clone());
        let handshakes = Handshakes::load(&args.certs, temporary)?;
        let metrics = Arc::new(Metrics::new().context("metrics")?);
        let issuers = Arc::new(Issuers::new(Some(args.state.join(JWKS_FOLDER))));
        let Policies {
            store: policies,
            bounds,
            streams,
            rollback,
            reloading,
        } = policies(&args, &issuers, &handshakes, metrics.clone()).await?;
        let names = policies.clone();
        let choose = move |name: &str| names.current().handshake(name).cloned();
        let challenges = acme.as_ref().and_then(|acme| acme.certificates.clone());
        let tls = ServerTls::new(&handshakes, Arc::new(choose), challenges)?;
        metrics
            .process_generation
            .set(taken.generation.number.into());
        let sockets =
            Sockets::bind(args.http, args.https, &mut inherited, taken.generation).await?;
        let admin_listener = listen::bind_tcp(ADMIN, args.admin, &mut inherited).await?;
        let station = station(&args, &sockets, &admin_listener, &mut inherited)?;
        let parts = EdgeParts {
            bounds,
            args,
            handshakes,
            tls,
            policies,
            streams,
            rollback,
            issuers,
            metrics,
            draining: Arc::new(AtomicBool::new(false)),
            tunnels: CancellationToken::new(),
            admin_stop: CancellationToken::new(),
            challenges: acme.as_ref().map(Acme::pending).unwrap_or_default(),
        };
        Ok(Self {
            sockets,
            admin_listener,
            reloading,
            replacing: Replacing {
                predecessor: taken.predecessor,
                station,
                respawn,
            },
            acme,
            parts,
        })
    }

    /// Serve until `stop` resolves or another process serves, then drain. Returns whether every
    /// request ended by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<bool> {
        let Self {
            sockets,
            admin_listener,
            reloading,
            replacing,
            acme,
            parts,
        } = self;
        let (http, https) = sockets.addresses()?;
        let admin_address = admin_listener.local_addr()?;
        let (generation, takes_quic) = (sockets.generation.number, sockets.quic_inherited);
        let log = parts.args.access_log == AccessLogTarget::Stdout;
        let dropped = parts.metrics.access_log_dropped.clone();
        let access_log = Arc::new(AccessLog::new(log, dropped).context("access log thread")?);
        let cache = ResponseCache::new(parts.args.cache_mib.saturating_mul(1024 * 1024));
        let gateway = parts.gateway(https, cache, access_log.clone())?;
        let refused_heads = Arc::new(RefusedHeads::of(&gateway));
        let proxy = Arc::new(parts.proxy(gateway));
        let mut background = JoinSet::new();
        background.spawn(reloading);
        parts.issuers.first_attempts().await;
        if let Some(predecessor) = &replacing.predecessor {
            predecessor.ready(takes_quic).await?;
        }
        let running = listen::start(
            sockets,
            &parts.tls,
            parts.bounds.clone(),
            proxy,
            parts.metrics.clone(),
            refused_heads,
        )?;
        parts.spawn_background(&mut background, cache, admin_listener, https.port());
        if let Some(predecessor) = replacing.predecessor {
            predecessor.serving().await?;
        }
        info!(%http, %https, admin = %admin_address, generation, version = env!("CARGO_PKG_VERSION"), "listening");
        handover::tell_service_manager();
        // Only now: an authority may come to check at once.
        let ordering = acme.map(|acme| {
            let metrics = parts.metrics.clone();
            let observe = move |outcome| metrics.acme_order(outcome);
            background.spawn(acme.renewer.run(observe))
        });
        let mut stop = std::pin::pin!(stop);
        let replaceable = replacing.station.is_some();
        let upgrade_deadline = parts.args.upgrade_deadline();
        let replaced = async {
            match replacing.station {
                Some(station) => station.replaced(&running.quic).await,
                None => std::future::pending().await,
            }
        };
        let replaced = tokio::select! {
            () = &mut stop => false,
            () = replaced => true,
            never = replacing.respawn.run(replaceable, upgrade_deadline) => match never {},
        };
        if let Some(ordering) = ordering {
            // Nobody could come to check any more.
            ordering.abort();
        }
        let stop = replaced.then_some(stop);
        let clean = parts.drain(&running, stop).await;
        background.abort_all();
        let _ = tokio::task::spawn_blocking(move || access_log.flush(LAST_LINES_TIMEOUT)).await;
        Ok(clean)
    }
}

impl EdgeParts {
    /// Returns when the last connection has ended, or the deadline is over; whether it was the first.
    ///
    /// With `stop` we were replaced, and it may still come: then idle connections wait no longer.
    async fn drain<S>(&self, running: &Running, mut stop: Option<Pin<&mut S>>) -> bool
    where
        S: Future<Output = ()>,
    {
        info!(open = running.open(), replaced = stop.is_some(), "draining");
        self.draining.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + self.args.drain_deadline();
        let idle_out = async {
            let lame_duck = LAME_DUCK_REPLACED.min(self.args.drain_deadline() / 2);
            let mut stopped = stop.is_none();
            if let Some(stop) = stop.as_mut() {
                running.stop_accepting();
                self.admin_stop.cancel();
                stopped = timeout(SETTLE, stop.as_mut()).await.is_ok();
            }
            running.begin_drain();
            if let Some(stop) = stop.as_mut().filter(|_| !stopped) {
                stopped = timeout(lame_duck, stop.as_mut()).await.is_ok();
            }
            if stopped {
                self.tunnels.cancel();
            }
            tokio::time::sleep(LAME_DUCK).await;
            running.close_idle();
            if let Some(stop) = stop.as_mut().filter(|_| !stopped) {
                // Nobody waits for this process, so tunnels may use all of its time but what
                // their farewell takes.
                let _ = timeout_at(deadline - TUNNELS_FAREWELL, stop.as_mut()).await;
                self.tunnels.cancel();
            }
            std::future::pending::<()>().await;
        };
        let clean = tokio::select! {
            () = running.drained() => true,
            () = idle_out => false,
            () = tokio::time::sleep_until(deadline) => false,
        };
        if clean {
            info!("drained");
        } else {
            warn!(
                open = running.open(),
                "drain deadline reached, the rest is cut"
            );
        }
        clean
    }

    fn gateway(
        &self,
        https: SocketAddr,
        cache: ResponseCache,
        access_log: Arc<AccessLog>,
    ) -> anyhow::Result<Gateway> {
        Ok(Gateway {
            policies: self.policies.clone(),
            streams: self.streams.clone(),
            metrics: self.metrics.clone(),
            access_log,
            cache,
            draining: self.draining.clone(),
            tunnels: self.tunnels.clone(),
            https_port: https.port(),
            alt_svc: HeaderValue::from_str(&format!("h3=\":{}\"; ma=86400", https.port()))?,
            in_flight: InFlight::default(),
            mirrors: Mirrors::new(),
            acme: self.challenges.clone(),
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
        proxy
    }

    /// Certificate reload and admin listener: ended with the process.
    fn spawn_background(
        &self,
        tasks: &mut JoinSet<()>,
        cache: ResponseCache,
        admin_listener: TcpListener,
        https_port: u16,
    ) {
        let metrics = self.metrics.clone();
        let watch = self.handshakes.clone();
        tasks.spawn(watch.watch(move |_| metrics.certificate_errors.inc()));
        let admin = Admin {
            policies: self.policies.clone(),
            rollback: self.rollback.clone(),
            metrics: self.metrics.clone(),
            issuers: self.issuers.clone(),
            certificates: self.handshakes.certificates.clone(),
            cache,
            draining: self.draining.clone(),
            https_port,
        };
        let router = admin::router(Arc::new(admin));
        let stop = self.admin_stop.clone().cancelled_owned();
        let serving = axum::serve(admin_listener, router).with_graceful_shutdown(stop);
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                error!(%error, "admin listener ended");
            }
        });
    }
}
