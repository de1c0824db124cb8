//! Calls to other services: one channel for each, in this process or by mutual TLS.
//! Invariant: a caller can't tell which it is; deadline, request id, trace, the
//! user's token and the service's own go along with every call.
//! Refuses to send what can't be answered in time, what the breaker holds back,
//! and a second try of what isn't declared idempotent.

mod target;
mod addresses;
mod methods;
mod breaker;
mod budget;
mod call;

use std::{collections::HashMap, sync::Arc, time::Duration};

use prost_reflect::DescriptorPool;
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::{config::MeshTls, memory::Dialer, metrics::Metrics, service_token::Signer};
pub use addresses::{Resolve, System};
pub use call::Channel;
pub use target::{Target, TargetError, variable};

use addresses::{Addresses, Lookup};
use call::{Link, Upstream};
use methods::Methods;

/// A connection that isn't up by then is tried elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Finds peers that vanished without closing.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a service is.
#[derive(Clone)]
pub enum Route {
    /// In this process.
    Memory(Dialer),
    /// Behind an address.
    Network(Target),
}

/// How patient the clients are; the default is for production.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Names are looked up this often; after a failed call at most ten times as often.
    pub lookup: Duration,
    /// How long a breaker stays open at first.
    pub breaker_pause: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(10),
            breaker_pause: Duration::from_secs(1),
        }
    }
}

/// What all channels of one calling service share.
pub struct Clients {
    routes: HashMap<String, Route>,
    tls: Option<ClientTlsConfig>,
    resolver: Arc<dyn Resolve>,
    tuning: Tuning,
    shared: Arc<Shared>,
}

struct Shared {
    signer: Signer,
    methods: Methods,
    metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is not said where service `{0}` is\nhint: set {variable}", variable = variable(.0))]
    Unknown(String),
    #[error("service `{0}` has an address, but there are no certificates to call it with")]
    NoTls(String),
    #[error("service `{service}`: {source}")]
    Transport {
        service: String,
        source: tonic::transport::Error,
    },
}

impl Clients {
    /// Calls as `signer`'s service; `pool` holds the descriptors of all services.
    pub fn new(
        signer: Signer,
        pool: &DescriptorPool,
        metrics: Arc<Metrics>,
        routes: HashMap<String, Route>,
    ) -> Self {
        Self {
            routes,
            tls: None,
            resolver: Arc::new(System),
            tuning: Tuning::default(),
            shared: Arc::new(Shared {
                signer,
                methods: Methods::new(pool),
                metrics,
            }),
        }
    }

    /// The certificate to call with, and the authority of those called.
    #[must_use]
    pub fn tls(mut self, tls: &MeshTls) -> Self {
        let config = ClientTlsConfig::new()
            .identity(tls.identity.clone())
            .ca_certificate(tls.client_ca.clone());
        self.tls = Some(config);
        self
    }

    /// Looks names up in another way.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    /// A channel to a service, for its generated client; clones share connections,
    /// breaker and budget. Connects when it is first used.
    ///
    /// # Errors
    /// The service's address is not known, or can't be used.
    pub fn channel(&self, service: &str) -> Result<Channel, Error> {
        let route = self
            .routes
            .get(service)
            .ok_or_else(|| Error::Unknown(service.to_owned()))?;
        let link = match route {
            Route::Memory(dialer) => Link::One(dialer.channel(self.shared.signer.service())),
            Route::Network(target) => self.link(service, target)?,
        };
        let upstream = Upstream::new(service, link, self.tuning.breaker_pause, &self.shared);
        Ok(Channel::new(upstream))
    }

    fn link(&self, service: &str, target: &Target) -> Result<Link, Error> {
        let tls = self
            .tls
            .clone()
            .ok_or_else(|| Error::NoTls(service.to_owned()))?;
        let wrong = |source| Error::Transport {
            service: service.to_owned(),
            source,
        };
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        let tls = tls.domain_name(host);
        let endpoint = endpoint(target.to_string(), tls.clone()).map_err(wrong)?;
        if !target.balanced {
            return Ok(Link::One(endpoint.connect_lazy()));
        }
        let origin = target.origin();
        let connect = move |address: std::net::SocketAddr| {
            // Nothing in it can fail that did not above.
            let endpoint = endpoint_of(address, tls.clone())?;
            Some(endpoint.origin(origin.clone()?).connect_lazy())
        };
        Ok(Link::Many(Addresses::follow(Lookup {
            resolver: self.resolver.clone(),
            host: target.host.clone(),
            port: target.port,
            every: self.tuning.lookup,
            connect: Box::new(connect),
        })))
    }
}

fn endpoint_of(address: std::net::SocketAddr, tls: ClientTlsConfig) -> Option<Endpoint> {
    endpoint(format!("https://{address}"), tls).ok()
}

fn endpoint(uri: String, tls: ClientTlsConfig) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::new(uri)?
        .tls_config(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}
