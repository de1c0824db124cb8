//! Route to endpoint: which one, and how its failures are remembered.
//!
//! Invariant: a cluster with endpoints always gives one. When all are ejected the ejections
//! are ignored: a guess that may work beats an answer that cannot.

mod connections;
mod descriptors;
pub mod mirror;
pub mod peer;
pub mod reflection;
mod tls;
mod translation;
mod unsent;

pub use unsent::Unsent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context;
use connections::Connections;
use descriptors::Descriptors;
use palisade_policy::model::{Cluster, Ejection};
use palisade_translate::Translator;
use pingora_core::upstreams::peer::HttpPeer;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::in_flight::{Held, InFlight};

/// Retries at once that any cluster bears: by their share alone a quiet one would have none.
const RETRIES_FREE: usize = 3;

/// Which endpoint a try went to.
#[derive(Debug, Clone)]
pub struct Pick {
    pub cluster: Arc<ClusterState>,
    pub index: usize,
}

/// Live state of a cluster. Outlives reloads while reaching its endpoints stays the same.
pub struct ClusterState {
    pub name: Arc<str>,
    pub fingerprint: u64,
    pub connect_retries: u32,
    ejection: Option<Ejection>,
    endpoints: Vec<EndpointState>,
    next: AtomicUsize,
    /// Requests of routes with a retry budget.
    under_way: InFlight,
    retrying: InFlight,
    /// For this cluster as a mirror.
    copies: InFlight,
    descriptors: Option<Descriptors>,
    _asking: Option<reflection::Asking>,
    /// Ejections are kept as milliseconds since this.
    epoch: Instant,
}

struct EndpointState {
    address: SocketAddr,
    failures: AtomicU32,
    ejected_until_ms: AtomicU64,
    /// Copied for each try; everything in it was checked at reload.
    peer: HttpPeer,
    translating_peer: Option<HttpPeer>,
}

impl ClusterState {
    pub fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::build(cluster, true)
    }

    /// For decisions about requests that nobody sends on: translation, which needs a runtime, is left out.
    pub fn offline(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::build(cluster, false)
    }

    fn build(cluster: &Cluster, translating: bool) -> anyhow::Result<Self> {
        let peers = peer::Templates::new(cluster)?;
        let descriptors = Descriptors::of(cluster);
        let mut asked = Vec::new();
        let mut endpoints = Vec::with_capacity(cluster.endpoints.len());
        for (index, address) in cluster.endpoints.iter().enumerate() {
            let mut endpoint = EndpointState {
                address: *address,
                failures: AtomicU32::new(0),
                ejected_until_ms: AtomicU64::new(0),
                peer: peers.direct(*address),
                translating_peer: None,
            };
            if let Some(descriptors) = descriptors.clone().filter(|_| translating) {
                asked.push(own_calls(cluster, *address)?);
                let connections = Connections::new(cluster, *address)
                    .with_context(|| format!("cluster `{}`", cluster.name))?;
                let peer = peers.translating(descriptors, connections, index);
                endpoint.translating_peer = Some(peer);
            }
            endpoints.push(endpoint);
        }
        let asking = match (&descriptors, &cluster.reflection) {
            (Some(Descriptors::Reflected(reflected)), Some(rule)) if translating => {
                let (name, reflected) = (cluster.name.clone(), reflected.clone());
                Some(reflection::ask(name, rule.clone(), asked, reflected))
            }
            _ => None,
        };
        Ok(Self {
            name: cluster.name.clone(),
            fingerprint: cluster.fingerprint,
            connect_retries: cluster.connect_retries,
            ejection: cluster.ejection.clone(),
            endpoints,
            next: AtomicUsize::new(0),
            under_way: InFlight::default(),
            retrying: InFlight::default(),
            copies: InFlight::default(),
            descriptors,
            _asking: asking,
            epoch: crate::request_ctx::Now::monotonic(),
        })
    }

    /// Round robin over the endpoints that are not ejected; another one than `last` where there is one.
    pub fn pick(self: &Arc<Self>, last: Option<usize>, now: Instant) -> Option<Pick> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        self.from(start, last, now)
    }

    /// What `pick` would say now; nobody loses a turn by it.
    pub fn peek(self: &Arc<Self>, now: Instant) -> Option<Pick> {
        self.from(self.next.load(Ordering::Relaxed), None, now)
    }

    fn from(self: &Arc<Self>, start: usize, last: Option<usize>, now: Instant) -> Option<Pick> {
        let count = self.endpoints.len();
        let order = (0..count).map(|step| start.wrapping_add(step) % count);
        let now_ms = self.since_epoch_ms(now);
        let mut fallback = None;
        for index in order {
            let endpoint = self.endpoints.get(index)?;
            let ejected = endpoint.ejected_until_ms.load(Ordering::Relaxed) > now_ms;
            if !ejected && last != Some(index) {
                return Some(Pick {
                    cluster: self.clone(),
                    index,
                });
            }
            // Better the same endpoint again than an ejected one, better an ejected one than none.
            if fallback.is_none() || !ejected {
                fallback = Some(index);
            }
        }
        fallback.map(|index| Pick {
            cluster: self.clone(),
            index,
        })
    }

    /// How to reach an endpoint: as Pingora's peer, directly or through the translation.
    pub fn peer(&self, index: usize, translate: bool) -> Option<HttpPeer> {
        let endpoint = self.endpoints.get(index)?;
        if translate {
            endpoint.translating_peer.clone()
        } else {
            Some(endpoint.peer.clone())
        }
    }

    /// What requests are translated by, as soon as there is something.
    pub fn translator(&self) -> Option<Arc<Translator>> {
        self.descriptors.as_ref()?.translator()
    }

    /// Where the endpoints are asked for it.
    pub fn reflected(&self) -> Option<&reflection::Reflected> {
        match &self.descriptors {
            Some(Descriptors::Reflected(reflected)) => Some(reflected),
            _ => None,
        }
    }

    pub fn address(&self, index: usize) -> Option<SocketAddr> {
        self.endpoints.get(index).map(|endpoint| endpoint.address)
    }

    /// The endpoint answered like one that works.
    pub fn succeeded(&self, index: usize) {
        if let Some(endpoint) = self.endpoints.get(index)
            && endpoint.failures.load(Ordering::Relaxed) != 0
        {
            endpoint.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A connection failed, or the answer was 502, 503 or 504. True when this ejected the endpoint.
    pub fn failed(&self, index: usize, now: Instant) -> bool {
        let (Some(endpoint), Some(rule)) = (self.endpoints.get(index), &self.ejection) else {
            return false;
        };
        let failures = endpoint.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < rule.consecutive_failures {
            return false;
        }
        endpoint.failures.store(0, Ordering::Relaxed);
        let length_ms = u64::try_from(rule.duration.as_millis()).unwrap_or(u64::MAX);
        let until = self.since_epoch_ms(now).saturating_add(length_ms);
        endpoint.ejected_until_ms.store(until, Ordering::Relaxed);
        true
    }

    /// A request whose retries are bounded goes here.
    pub fn enter(&self) -> Held {
        self.under_way.enter()
    }

    /// A place for one retry, if there are not so many already: a cluster that fails because it has
    /// too much to do must not get more.
    pub fn enter_retry(&self, budget_percent: u32) -> Option<Held> {
        let percent = usize::try_from(budget_percent).unwrap_or(0);
        let share = self.under_way.now().saturating_mul(percent) / 100;
        self.retrying.enter_below(share.max(RETRIES_FREE))
    }

    /// Address of each endpoint, and whether it is in use.
    pub fn health(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, bool)> {
        let now_ms = self.since_epoch_ms(now);
        self.endpoints.iter().map(move |endpoint| {
            (
                endpoint.address,
                endpoint.ejected_until_ms.load(Ordering::Relaxed) <= now_ms,
            )
        })
    }

    fn since_epoch_ms(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }
}

/// How the edge itself calls a cluster in gRPC: with the trust and the certificate that requests
/// go there with.
pub fn endpoints(cluster: &Cluster) -> anyhow::Result<Vec<Endpoint>> {
    let addresses = cluster.endpoints.iter();
    addresses
        .map(|address| own_calls(cluster, *address))
        .collect()
}

fn own_calls(cluster: &Cluster, address: SocketAddr) -> anyhow::Result<Endpoint> {
    let scheme = if cluster.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let timeouts = &cluster.timeouts;
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .context("endpoint address")?
        .connect_timeout(timeouts.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(timeouts.idle);
    if let Some(tls) = &cluster.tls {
        let mut config = ClientTlsConfig::new()
            .domain_name(&tls.server_name)
            .ca_certificate(Certificate::from_pem(&tls.ca_pem));
        if let Some(identity) = &tls.identity {
            config = config.identity(Identity::from_pem(
                &identity.certificates_pem,
                &identity.key_pem,
            ));
        }
        endpoint = endpoint
            .tls_config(config)
            .context("tls toward the endpoint")?;
    }
    Ok(endpoint)
}

impl std::fmt::Debug for ClusterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterState({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_policy::model::{Origin, UpstreamProtocol, UpstreamTimeouts};
    use std::time::Duration;

    pub(super) fn policy(endpoints: Vec<SocketAddr>, failures: u32, idle: Duration) -> Cluster {
        Cluster {
            name: "test".into(),
            origin: Origin {
                file: "clusters.yaml".into(),
                line: 1,
            },
            endpoints,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            timeouts: UpstreamTimeouts {
                connect: Duration::from_secs(1),
                read: Duration::from_secs(1),
                write: Duration::from_secs(1),
                idle,
            },
            connect_retries: 1,
            ejection: Some(Ejection {
                consecutive_failures: failures,
                duration: Duration::from_secs(10),
            }),
            translator: None,
            descriptors_sha256: None,
            reflection: None,
            fingerprint: 7,
        }
    }

    fn cluster(endpoints: u16, failures: u32) -> Arc<ClusterState> {
        let endpoints = (0..endpoints)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], 1000 + port)))
            .collect();
        let cluster = policy(endpoints, failures, Duration::from_secs(1));
        Arc::new(ClusterState::new(&cluster).unwrap())
    }

    fn picks(cluster: &Arc<ClusterState>, count: usize, now: Instant) -> Vec<usize> {
        (0..count)
            .map(|_| cluster.pick(None, now).unwrap().index)
            .collect()
    }

    #[test]
    fn turns_are_taken() {
        let cluster = cluster(3, 5);
        let now = cluster.epoch;
        assert_eq!(picks(&cluster, 6, now), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn looking_ahead_takes_no_turn() {
        let cluster = cluster(3, 5);
        let now = cluster.epoch;
        for expected in [0, 1, 2, 0] {
            assert_eq!(cluster.peek(now).unwrap().index, expected);
            assert_eq!(cluster.peek(now).unwrap().index, expected);
            assert_eq!(picks(&cluster, 1, now), [expected]);
        }
    }

    #[test]
    fn another_try_goes_elsewhere_where_there_is_one() {
        let two = cluster(2, 5);
        for last in [0, 1, 0, 1] {
            assert_eq!(two.pick(Some(last), two.epoch).unwrap().index, 1 - last);
        }
        let one = cluster(1, 5);
        assert_eq!(one.pick(Some(0), one.epoch).unwrap().index, 0);
    }

    #[test]
    fn failures_in_a_row_eject_for_a_while() {
        let cluster = cluster(2, 3);
        let now = cluster.epoch;
        assert!(!cluster.failed(0, now));
        assert!(!cluster.failed(0, now));
        cluster.succeeded(0);
        assert!(!cluster.failed(0, now));
        assert!(!cluster.failed(0, now));
        assert!(cluster.failed(0, now), "third in a row");
        assert_eq!(picks(&cluster, 3, now), [1, 1, 1]);
        let later = now + Duration::from_secs(10);
        assert!(picks(&cluster, 2, later).contains(&0));
    }

    #[test]
    fn retries_are_a_share_of_what_is_under_way() {
        let cluster = cluster(1, 1);
        let quiet: Vec<Held> = (0..4).map_while(|_| cluster.enter_retry(20)).collect();
        assert_eq!(quiet.len(), 3);
        let requests: Vec<Held> = (0..20).map(|_| cluster.enter()).collect();
        assert!(cluster.enter_retry(19).is_none());
        let fourth = cluster.enter_retry(20);
        assert!(fourth.is_some());
        assert!(cluster.enter_retry(20).is_none());
        drop(fourth);
        assert!(cluster.enter_retry(20).is_some());
        drop(requests);
        assert!(cluster.enter_retry(99).is_none(), "three are left");
    }

    #[test]
    fn all_ejected_is_as_good_as_none() {
        let cluster = cluster(2, 1);
        let now = cluster.epoch;
        assert!(cluster.failed(0, now) && cluster.failed(1, now));
        let mut both = picks(&cluster, 4, now);
        both.sort_unstable();
        both.dedup();
        assert_eq!(both, [0, 1]);
    }
}
