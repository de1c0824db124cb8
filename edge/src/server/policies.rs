//! From a folder of policies to what is in force: loaded, tested, joined with what lives, followed.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use palisade_policy::model::Policy;
use palisade_policy::{Loaded, PolicyStore, Reloader, Rollback, Settings, Status};
use palisade_token::{Issuers, Verifier};

use crate::config::RunArgs;
use crate::explain::cases;
use crate::gateway::Streams;
use crate::identity::Followers;
use crate::listen::{Bounds, tls::Handshakes};
use crate::observe::metrics::Metrics;
use crate::request_ctx::Now;
use crate::snapshot::{Parts, Snapshot};

/// Memory for verified tokens: about 32,000 of the usual size.
const REMEMBERED_TOKENS_BYTES: u64 = 32 * 1024 * 1024;

/// What the listeners need of a policy, in their own words.
fn bounds(snapshot: &Snapshot, h2c: bool) -> Bounds {
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
        h2c,
        ..Bounds::default()
    }
}

/// The policy in force, and what follows it.
pub(super) struct Policies {
    pub(super) store: Arc<PolicyStore<Snapshot>>,
    pub(super) bounds: Arc<ArcSwap<Bounds>>,
    pub(super) streams: Arc<Streams>,
    pub(super) rollback: Rollback,
    /// Follows the policy files; never ends.
    pub(super) reloading: BoxFuture<'static, ()>,
}

/// The first policy in force, what is taken from it, and the task that follows its files.
pub(super) async fn policies(
    args: &RunArgs,
    issuers: &Arc<Issuers>,
    handshakes: &Handshakes,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Policies> {
    let (issuers, handshakes) = (issuers.clone(), handshakes.clone());
    let verifier = Arc::new(Verifier::new(REMEMBERED_TOKENS_BYTES));
    let followers = Arc::new(Followers::default());
    let build = move |loaded: Loaded, previous: Option<Arc<Snapshot>>| {
        let (issuers, verifier) = (issuers.clone(), verifier.clone());
        let (handshakes, followers) = (handshakes.clone(), followers.clone());
        async move {
            let now = Now::monotonic();
            let policy = Arc::new(loaded.policy);
            tested(policy.clone(), now).await?;
            let parts = Parts {
                issuers: &issuers,
                followers: &followers,
                handshakes: &handshakes,
                verifier: &verifier,
                previous: previous.as_deref(),
                now,
            };
            Snapshot::build(policy, parts).await
        }
    };
    let settings = Settings {
        dir: args.policies.clone(),
        strict: args.strict,
        history: Some(args.state.join("policies")),
    };
    let reloader = Reloader::start(settings, build).await?;
    let (store, rollback) = (reloader.store(), reloader.rollback());
    let streams = Arc::new(Streams::new(args.drain_deadline(), metrics.clone()));
    metrics.policy(&store.status());
    let in_force = store.clone();
    let h2c = args.http_h2c;
    let bounds = Arc::new(ArcSwap::from_pointee(bounds(&store.current(), h2c)));
    let (live, begun) = (bounds.clone(), streams.clone());
    let observe = move |status: &Status| {
        metrics.policy(status);
        let snapshot = in_force.current();
        live.store(Arc::new(self::bounds(&snapshot, h2c)));
        begun.review(&snapshot);
    };
    Ok(Policies {
        store,
        bounds,
        streams,
        rollback,
        reloading: Box::pin(reloader.run(observe, std::future::pending::<()>())),
    })
}

/// Policies come into force when their tests pass. They are run ahead of all that lives: what is
/// refused has changed nothing.
async fn tested(policy: Arc<Policy>, now: std::time::Instant) -> anyhow::Result<()> {
    if policy.tests.is_empty() {
        return Ok(());
    }
    let running = tokio::task::spawn_blocking(move || {
        let snapshot = Snapshot::offline(policy, None, now)?;
        match cases::run(&snapshot, "").failures() {
            None => Ok(()),
            Some(failures) => Err(anyhow::anyhow!("tests of the policies failed\n{failures}")),
        }
    });
    running.await.context("the tests of the policies")?
}
