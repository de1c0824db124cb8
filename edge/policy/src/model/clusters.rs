//! Clusters, compiled.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use palisade_translate::{Options, Translator};

use super::Origin;

/// A named group of endpoints that serve the same thing.
#[derive(Debug)]
pub struct Cluster {
    pub name: Arc<str>,
    pub origin: Origin,
    /// Never empty.
    pub endpoints: Vec<SocketAddr>,
    pub protocol: UpstreamProtocol,
    pub tls: Option<UpstreamTls>,
    pub timeouts: UpstreamTimeouts,
    /// Further tries on another endpoint after a connection could not be made.
    pub connect_retries: u32,
    pub ejection: Option<Ejection>,
    /// Present where the cluster names a descriptor set.
    pub translator: Option<Arc<Translator>>,
    /// Of the file of descriptors that the translator was made of.
    pub descriptors_sha256: Option<[u8; 32]>,
    /// Instead of a descriptor set of its own.
    pub reflection: Option<Reflection>,
    /// Changes when anything about reaching the endpoints changes; run-time state (health,
    /// pools, channels) is kept across reloads while it stays.
    pub fingerprint: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge without.
    Http2,
    /// HTTP/2 that carries gRPC: trailers matter, and errors are gRPC statuses.
    Grpc,
}

/// TLS toward the endpoints. The server name is never empty: an empty one would switch verification off.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    pub server_name: String,
    pub ca: PathBuf,
    pub ca_pem: Vec<u8>,
    pub identity: Option<ClientIdentity>,
}

/// Client certificate chain and key, PEM, checked at compile to belong together.
#[derive(Clone)]
pub struct ClientIdentity {
    pub certificates_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

#[derive(Debug, Clone)]
pub struct UpstreamTimeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// Longest silence while the response is read.
    pub read: Duration,
    /// Longest stall while the request is written.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// The endpoints themselves are asked what they serve.
#[derive(Debug, Clone)]
pub struct Reflection {
    pub refresh: Duration,
    /// Of the translator that is made of what they say.
    pub options: Options,
}

/// An endpoint that fails in a row is left out for a while.
#[derive(Debug, Clone)]
pub struct Ejection {
    /// Connect failures and 502/503/504 in a row.
    pub consecutive_failures: u32,
    pub duration: Duration,
}
