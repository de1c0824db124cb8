//! Bounds on clients, compiled.

use std::time::Duration;

use ipnet::IpNet;

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
    /// Requests under way, from which on routes are shed by their priority; none is no bound.
    pub requests_max: Option<usize>,
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
