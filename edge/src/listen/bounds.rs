//! What a client may hold, and for how long. Live: a connection keeps what was in force when it came.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Connections over all listeners.
    pub connections_max: usize,
    /// Of them, from one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    /// Of them, not yet through their handshake.
    pub handshakes_max: usize,
    /// Proxies of ours: without a bound by address, and heard with the PROXY protocol.
    pub trusted_proxies: Vec<IpNet>,
    /// TCP connections begin with a PROXY header, and only trusted proxies may connect.
    pub proxy_protocol: bool,
    /// From accept to the end of the PROXY header and the TLS or QUIC handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last; from accept for the first request.
    pub head_timeout: Duration,
    /// Silence between two requests.
    pub keepalive_timeout: Duration,
    /// Requests on one HTTP/1.1 connection: frees what it has accumulated.
    pub keepalive_requests_max: u32,
    /// Request streams at once on one h2 or h3 connection.
    pub streams_max: u32,
    /// Header list of one request in bytes, names and values and 32 for each (RFC 9113, 6.5.2).
    pub header_list_bytes_max: u32,
    /// Whether the plain listener takes HTTP/2 by prior knowledge (RFC 9113, 3.3).
    pub h2c: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address: 1_000,
            handshakes_max: 1_000,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(60),
            keepalive_requests_max: 100_000,
            streams_max: 100,
            header_list_bytes_max: 16 * 1024,
            h2c: false,
        }
    }
}

impl Bounds {
    /// Whether this canonical address is one of our proxies.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|range| range.contains(&peer))
    }
}
