//! The compiled policy: what the stages read on the request path.
//!
//! Everything is parsed, resolved and sorted: names have become indices into the
//! vectors of `Policy`, strings have become header names, ranges and matchers.
//! Nothing here changes after compile, and nothing here holds run-time state.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use palisade_token::IssuerSpec;
use palisade_translate::Translator;

use crate::hosts::HostTable;
use crate::routing::RouteTable;

/// One immutable set of rules. A request reads exactly one from start to end.
#[derive(Debug)]
pub struct Policy {
    /// What clients may hold, and whose word about them is taken.
    pub listeners: Listeners,
    /// Routes by host, path and the rest, in order of precedence.
    pub routes: RouteTable,
    /// Named groups of endpoints; `ClusterId` is the position.
    pub clusters: Vec<Cluster>,
    /// Token issuers; `IssuerId` is the position.
    pub issuers: Vec<IssuerSpec>,
    /// Rate limits; `LimitId` is the position.
    pub limits: Vec<Limit>,
    /// What handshakes and answers of each host need.
    pub hosts: HostTable,
}

/// Bounds on connections and on slow clients, for all listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// Peers that are proxies of ours: what they say about their client is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// TCP connections begin with a PROXY protocol header, and only trusted proxies may connect.
    pub proxy_protocol: bool,
    /// The one field in which trusted proxies name the client.
    pub client_address_from: ForwardedField,
    /// Open at once, over all listeners.
    pub connections_max: usize,
    /// Open at once from one IPv4 address or IPv6 /64; trusted proxies have no such bound.
    pub connections_per_address: usize,
    /// Connections at once whose handshake has not ended.
    pub handshakes_max: usize,
    pub timeouts: ListenerTimeouts,
    pub rates: Rates,
}

/// Which request field names the client of a trusted proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From accept to the end of the PROXY header and the TLS or QUIC handshake.
    pub handshake: Duration,
    /// For one request head.
    pub head: Duration,
    /// Silence between two requests.
    pub idle: Duration,
    /// Silence within a request body.
    pub body: Duration,
    /// Longest time in which a client takes one piece of an answer.
    pub write: Duration,
}

/// Slowest clients that are served, in bytes each second; none: as slow as they like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Average of a request body over the time in which it was waited for.
    pub request_body: Option<u64>,
    /// Average of each piece of an answer.
    pub response: Option<u64>,
    /// Nobody is judged by less time than this.
    pub grace: Duration,
}

/// Position in `Policy::clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub usize);

/// Position in `Policy::issuers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IssuerId(pub usize);

/// Position in `Policy::limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitId(pub usize);

/// Where in the files a thing is defined: shown by errors and by `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Path relative to the policies folder.
    pub file: Arc<str>,
    /// 1-based line of the definition's `name`.
    pub line: u32,
}

/// What happens to the requests that one rule matches.
#[derive(Debug)]
pub struct Route {
    /// Unique name: the `http_route` label of every metric and log line.
    pub name: Arc<str>,
    pub origin: Origin,
    /// Served on the plain-text listener too, instead of a redirect to https.
    pub plain_http: bool,
    pub auth: Option<Auth>,
    /// All must allow the request; taken in this order.
    pub limits: Vec<LimitId>,
    pub cache: Option<CacheRule>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// From the end of the request head to the end of the response; none is no bound.
    pub request_timeout: Option<Duration>,
    /// Largest request body in bytes; a larger one is answered 413.
    pub request_body_max: u64,
    pub cluster: ClusterId,
    /// REST and JSON become gRPC calls by the cluster's descriptors; requests that are gRPC already pass as they are.
    pub translate: bool,
    /// WebSocket connections are taken, on these terms.
    pub websocket: Option<WebSocket>,
}

/// On which terms a route takes WebSocket connections.
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// Web origins (RFC 6454, 6.2) whose pages may open one; any where none is listed.
    pub origins: Vec<String>,
    /// Longest silence in both directions together.
    pub idle_timeout: Duration,
    /// From the upgrade to the end.
    pub lifetime: Duration,
    /// The connection ends when the caller's token does.
    pub end_with_token: bool,
}

/// Who may use a route.
#[derive(Debug)]
pub struct Auth {
    pub issuer: IssuerId,
    /// A request without a token passes as anonymous; a bad token never does.
    pub optional: bool,
    /// Every one must be among the token's scopes.
    pub scopes: Vec<String>,
    /// At least one must be among the token's roles, where any is listed.
    pub roles: Vec<String>,
    /// Claim to upstream header; the header is always removed from what the client sent.
    pub claim_headers: Vec<(String, HeaderName)>,
    /// The token itself goes upstream in `authorization`.
    pub forward_token: bool,
}

/// When an answer may be kept and given to others.
#[derive(Debug, Clone)]
pub struct CacheRule {
    /// Freshness for answers that carry no explicit lifetime; none: such answers are not stored.
    pub default_ttl: Option<Duration>,
}

/// Changes to a header block, in this order: remove, set, add.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Conditions of a rule beyond host and path; all must hold.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Any method when empty.
    pub methods: Vec<Method>,
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Names and values are compared after percent-decoding.
    pub query: Vec<(String, ValueMatch)>,
}

/// How a header or query value is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Present,
}

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

/// An endpoint that fails in a row is left out for a while.
#[derive(Debug, Clone)]
pub struct Ejection {
    /// Connect failures and 502/503/504 in a row.
    pub consecutive_failures: u32,
    pub duration: Duration,
}

/// A named rate limit (GCRA).
#[derive(Debug, Clone)]
pub struct Limit {
    pub name: Arc<str>,
    pub origin: Origin,
    pub key: LimitKey,
    /// Requests each `period`.
    pub requests: u32,
    pub period: Duration,
    /// Requests at once for a key that was idle; at least 1.
    pub burst: u32,
    /// Most keys tracked at once.
    pub keys_max: u64,
    /// Changes when the quota or the key does; counters are kept across reloads while it stays.
    pub fingerprint: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// IPv4 address, or the /64 of an IPv6 address.
    ClientAddress,
    /// Issuer and subject of the verified token; the client address where there is none.
    Caller,
    /// The header's values; requests without it share one key.
    Header(HeaderName),
    /// A claim of the verified token; requests without it share one key.
    Claim(String),
}
