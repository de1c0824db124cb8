//! Rate limits, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::{Mode, Origin};

/// A named rate limit (GCRA).
#[derive(Debug, Clone)]
pub struct Limit {
    pub name: Arc<str>,
    pub origin: Origin,
    pub mode: Mode,
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
