//! A policy with the run-time state it needs: what one request reads from start to end.
//!
//! The policy is new with each reload; clusters' health, limits' counters, keys and remembered
//! tokens are taken over from the snapshot before, wherever their fingerprint is the same.

mod documents;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue};
use palisade_policy::hosts::{HostTable, TlsVersion};
use palisade_policy::model::{ClusterId, IssuerId, LimitId, LimitUse, Mode, Policy, Route};
use palisade_token::{Issuer, Issuers, Verifier};

use crate::cluster::reflection::Reflected;
use crate::cluster::{self, ClusterState};
use crate::identity::{Followed, Followers, Introspector, Revoked, Source};
use crate::listen::tls::{ClientTrust, Demands, Handshake, Handshakes};
use crate::stages::rate_limit::LimitState;
use crate::stages::sanitize;
use documents::Documents;

/// Below the state folder: the last good key sets of token issuers.
pub const JWKS_FOLDER: &str = "jwks";
/// Memory for verified tokens where only a few are looked at.
const OFFLINE_TOKENS_BYTES: u64 = 1024 * 1024;

/// Immutable; the states inside are shared with earlier and later snapshots.
pub struct Snapshot {
    pub policy: Arc<Policy>,
    pub verifier: Arc<Verifier>,
    /// Fields that a client may never set.
    pub reserved_headers: HashSet<HeaderName>,
    /// Of this policy's routes.
    pub documents: Documents,
    clusters: Vec<Arc<ClusterState>>,
    limits: Vec<Arc<LimitState>>,
    /// By the limits of a route.
    limit_policies: HashMap<Vec<LimitUse>, HeaderValue>,
    issuers: Vec<Arc<Issuer>>,
    /// Of the issuers whose revocations are followed.
    revocations: HashMap<IssuerId, Followed>,
    /// Of the sets of API keys that are traded for tokens, by cluster.
    introspectors: HashMap<ClusterId, Arc<Introspector>>,
    /// By `HostId`.
    handshakes: Vec<Arc<Handshake>>,
}

/// What a snapshot is built with besides its policy.
pub struct Parts<'a> {
    pub issuers: &'a Issuers,
    pub followers: &'a Followers,
    pub handshakes: &'a Handshakes,
    pub verifier: &'a Arc<Verifier>,
    pub previous: Option<&'a Snapshot>,
    pub now: Instant,
}

impl Snapshot {
    /// Join a policy with the state it inherits. When it fails, nothing that lives has changed.
    pub async fn build(policy: Arc<Policy>, parts: Parts<'_>) -> anyhow::Result<Self> {
        let inherited = |fingerprint: u64| {
            let previous = parts.previous?;
            previous
                .clusters
                .iter()
                .find(|state| state.fingerprint == fingerprint)
                .cloned()
        };
        let mut clusters = Vec::with_capacity(policy.clusters.len());
        for cluster in &policy.clusters {
            let state = match inherited(cluster.fingerprint) {
                Some(state) => state,
                None => Arc::new(ClusterState::new(cluster)?),
            };
            clusters.push(state);
        }
        let limits = policy.limits.iter().map(|limit| {
            let same = |state: &&Arc<LimitState>| {
                state.fingerprint == limit.fingerprint && state.name == limit.name
            };
            let kept = parts
                .previous
                .and_then(|previous| previous.limits.iter().find(same));
            kept.cloned()
                .unwrap_or_else(|| Arc::new(LimitState::new(limit, parts.now)))
        });
        let limits: Vec<_> = limits.collect();
        let limit_policies = limit_policies(&policy, &limits);
        let handshakes = handshakes(&policy.hosts, parts.handshakes)?;
        let mut sources = sources(&policy)?;
        let introspectors = introspectors(&policy, parts.previous)?;
        parts.issuers.reconcile(&policy.issuers).await?;
        let issuers: Vec<_> = policy
            .issuers
            .iter()
            .filter_map(|spec| parts.issuers.get(&spec.name))
            .collect();
        hand_over(&policy, &issuers, &mut sources);
        let revoked = parts.followers.reconcile(sources).await;
        Ok(Self {
            verifier: parts.verifier.clone(),
            reserved_headers: reserved_headers(&policy),
            documents: Documents::default(),
            clusters,
            limits,
            limit_policies,
            issuers,
            revocations: followed(&policy, &revoked),
            introspectors,
            handshakes,
            policy,
        })
    }

    /// A policy with fresh state, to decide about requests that nobody sent: no task is started,
    /// nothing is fetched, no handshake is prepared. Keys are those on this machine: in the files
    /// that issuers name, and saved below `state`.
    pub fn offline(
        policy: Arc<Policy>,
        state: Option<&Path>,
        now: Instant,
    ) -> anyhow::Result<Self> {
        let clusters = policy.clusters.iter();
        let clusters = clusters.map(|cluster| Ok(Arc::new(ClusterState::offline(cluster)?)));
        let limits = policy.limits.iter();
        let limits: Vec<_> = limits
            .map(|limit| Arc::new(LimitState::new(limit, now)))
            .collect();
        let jwks = state.map(|state| state.join(JWKS_FOLDER));
        let issuers = policy.issuers.iter();
        let issuers = issuers.map(|spec| Ok(Issuer::offline(spec.clone(), jwks.as_deref())?));
        Ok(Self {
            verifier: Arc::new(Verifier::new(OFFLINE_TOKENS_BYTES)),
            reserved_headers: reserved_headers(&policy),
            documents: Documents::default(),
            clusters: clusters.collect::<anyhow::Result<_>>()?,
            limit_policies: limit_policies(&policy, &limits),
            limits,
            issuers: issuers.collect::<anyhow::Result<_>>()?,
            // Nobody is listened to.
            revocations: HashMap::new(),
            introspectors: HashMap::new(),
            handshakes: Vec::new(),
            policy,
        })
    }

    pub fn cluster(&self, id: ClusterId) -> Option<&Arc<ClusterState>> {
        self.clusters.get(id.0)
    }

    pub fn limit(&self, id: LimitId) -> Option<&Arc<LimitState>> {
        self.limits.get(id.0)
    }

    pub fn issuer(&self, id: IssuerId) -> Option<&Arc<Issuer>> {
        self.issuers.get(id.0)
    }

    /// What is known of an issuer's dead tokens, where somebody tells.
    pub fn revocations(&self, id: IssuerId) -> Option<&Followed> {
        self.revocations.get(&id)
    }

    /// Who is asked about API keys, where somebody is.
    pub fn introspector(&self, id: ClusterId) -> Option<&Arc<Introspector>> {
        self.introspectors.get(&id)
    }

    /// By the cluster that tells of them.
    pub fn revoked(&self) -> impl Iterator<Item = (&str, &Revoked)> {
        self.revocations.iter().filter_map(|(id, followed)| {
            let rule = self.policy.revocations.get(id)?;
            let cluster = self.clusters.get(rule.cluster.0)?;
            Some((&*cluster.name, &*followed.revoked))
        })
    }

    /// The handshake of a server name: by the rules that requests for the same host are judged by.
    pub fn handshake(&self, server_name: &str) -> Option<&Arc<Handshake>> {
        let host = self.policy.hosts.find(server_name);
        self.handshakes.get(host.id.0)
    }

    pub fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.iter()
    }

    /// Another one whenever endpoints have told other descriptors.
    pub fn descriptors_version(&self) -> u64 {
        let reflected = self
            .clusters
            .iter()
            .filter_map(|cluster| cluster.reflected());
        reflected.map(Reflected::version).sum()
    }

    pub fn limits(&self) -> impl Iterator<Item = &Arc<LimitState>> {
        self.limits.iter()
    }

    /// The `RateLimit-Policy` field of a route with limits.
    pub fn rate_limit_policy(&self, route: &Route) -> Option<&HeaderValue> {
        self.limit_policies.get(&route.limits)
    }
}

/// The clusters that tell of dead tokens.
fn sources(policy: &Policy) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for rule in policy.revocations.values() {
        let Some(cluster) = policy.clusters.get(rule.cluster.0) else {
            continue;
        };
        if sources.iter().all(|other| other.cluster != cluster.name) {
            sources.push(Source {
                cluster: cluster.name.clone(),
                fingerprint: cluster.fingerprint,
                endpoints: cluster::endpoints(cluster)?,
                issuers: Vec::new(),
            });
        }
    }
    Ok(sources)
}

/// Each source gets the issuers that it may speak of, and no other.
fn hand_over(policy: &Policy, issuers: &[Arc<Issuer>], sources: &mut [Source]) {
    for (id, rule) in &policy.revocations {
        let cluster = policy.clusters.get(rule.cluster.0);
        let source = cluster.and_then(|cluster| {
            let mut sources = sources.iter_mut();
            sources.find(|source| source.cluster == cluster.name)
        });
        if let (Some(source), Some(issuer)) = (source, issuers.get(id.0)) {
            source.issuers.push(issuer.clone());
        }
    }
}

fn introspectors(
    policy: &Policy,
    previous: Option<&Snapshot>,
) -> anyhow::Result<HashMap<ClusterId, Arc<Introspector>>> {
    let mut introspectors = HashMap::new();
    for rule in policy
        .api_keys
        .iter()
        .filter_map(|set| set.introspect.as_ref())
    {
        let Some(cluster) = policy.clusters.get(rule.cluster.0) else {
            continue;
        };
        let inherited = previous.and_then(|previous| {
            let mut all = previous.introspectors.values();
            all.find(|other| other.fingerprint == cluster.fingerprint)
        });
        let introspector = match inherited {
            Some(same) => same.clone(),
            None => {
                let endpoints = cluster::endpoints(cluster)?;
                let (name, fingerprint) = (cluster.name.clone(), cluster.fingerprint);
                Arc::new(Introspector::new(name, fingerprint, &endpoints))
            }
        };
        introspectors.entry(rule.cluster).or_insert(introspector);
    }
    Ok(introspectors)
}

fn followed(
    policy: &Policy,
    revoked: &HashMap<Arc<str>, Arc<Revoked>>,
) -> HashMap<IssuerId, Followed> {
    let rules = policy.revocations.iter();
    rules
        .filter_map(|(id, rule)| {
            let cluster = policy.clusters.get(rule.cluster.0)?;
            let followed = Followed {
                revoked: revoked.get(&cluster.name)?.clone(),
                on_stale: rule.on_stale,
                stale_after: rule.stale_after,
            };
            Some((*id, followed))
        })
        .collect()
}

fn reserved_headers(policy: &Policy) -> HashSet<HeaderName> {
    let auths = policy
        .routes
        .routes()
        .flat_map(Route::all)
        .filter_map(|route| route.auth.as_ref());
    let claims = auths.flat_map(|auth| auth.claim_headers.iter().map(|(_, name)| name.clone()));
    sanitize::reserved_headers(claims)
}

/// One for each set of demands: hosts that ask for the same share tickets.
fn handshakes(table: &HostTable, make: &Handshakes) -> anyhow::Result<Vec<Arc<Handshake>>> {
    let mut made: HashMap<_, Arc<Handshake>> = HashMap::new();
    let mut handshakes = Vec::with_capacity(table.hosts().len());
    for host in table.hosts() {
        let clients = host.client_certificates.as_ref();
        let key = (
            host.min_version,
            &host.alpn,
            clients.map(|clients| clients.trust_domain),
        );
        if let Some(same) = made.get(&key) {
            handshakes.push(same.clone());
            continue;
        }
        let handshake = Arc::new(make.build(Demands {
            tls13_only: host.min_version == TlsVersion::Tls13,
            alpn: host.alpn.clone(),
            clients: clients.map(|clients| ClientTrust {
                verifier: clients.verifier.clone(),
                domain: clients.trust_domain.0,
            }),
        })?);
        made.insert(key, handshake.clone());
        handshakes.push(handshake);
    }
    Ok(handshakes)
}

fn limit_policies(
    policy: &Policy,
    limits: &[Arc<LimitState>],
) -> HashMap<Vec<LimitUse>, HeaderValue> {
    let with_limits = policy
        .routes
        .routes()
        .flat_map(Route::all)
        .filter(|route| !route.limits.is_empty());
    with_limits
        .filter_map(|route| {
            let enforced = route.limits.iter();
            let enforced = enforced.filter(|limit| limit.mode == Mode::Enforce);
            let states = enforced.filter_map(|limit| limits.get(limit.id.0));
            let members: Vec<&str> = states.map(|state| state.policy.as_str()).collect();
            if members.is_empty() {
                return None;
            }
            let value = HeaderValue::from_str(&members.join(", ")).ok()?;
            Some((route.limits.clone(), value))
        })
        .collect()
}
