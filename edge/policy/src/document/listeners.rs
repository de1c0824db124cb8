//! Bounds on clients, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenersDoc {
    /// `10.0.0.0/8`, `fd00::/8` or one address, at most 256: peers whose word about their client is
    /// believed.
    ///
    /// list of ranges; none
    pub(crate) trusted_proxies: List<String>,
    /// TCP connections begin with a PROXY protocol header, version 1 or 2; only trusted proxies may
    /// connect. QUIC has no such header and stays as it is.
    ///
    /// `off` `required`; `off`
    pub(crate) proxy_protocol: Field<ProxyProtocolDoc>,
    /// The one field in which trusted proxies name the client; the other is removed unread.
    ///
    /// `x_forwarded_for` `forwarded`; `x_forwarded_for`
    pub(crate) client_address_from: Field<ForwardedDoc>,
    /// How many connections may be open.
    ///
    /// map; see its keys
    pub(crate) connections: Field<ConnectionsDoc>,
    /// How many requests may be under way.
    ///
    /// map; see its keys
    pub(crate) requests: Field<RequestsDoc>,
    /// How long connections may take over things.
    ///
    /// map; see its keys
    pub(crate) timeouts: Field<ListenerTimeoutsDoc>,
    /// How slow bodies may be.
    ///
    /// map; see its keys
    pub(crate) rates: Field<RatesDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProxyProtocolDoc {
    Off,
    Required,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForwardedDoc {
    XForwardedFor,
    Forwarded,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConnectionsDoc {
    /// Open at once, over all listeners.
    ///
    /// 1 to 10,000,000; `10000`
    pub(crate) max: Field<u64>,
    /// Of them from one IPv4 address or IPv6 /64; trusted proxies have no such bound.
    ///
    /// 1 to 10,000,000; `1000`
    pub(crate) per_address: Field<u64>,
    /// Of them in the PROXY header or the TLS handshake, and as many in the QUIC handshake; one
    /// address has a quarter of these places.
    ///
    /// 1 to 10,000,000; `1000`
    pub(crate) handshakes: Field<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestsDoc {
    /// Requests under way at once, open WebSocket connections not counted; beyond 70 % of it
    /// requests of routes with `priority: low` are answered 503, beyond 85 % `normal`, beyond 95 %
    /// `high`, beyond it all.
    ///
    /// 10 to 10,000,000; no bound
    pub(crate) max: Field<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerTimeoutsDoc {
    /// For PROXY header and handshake together.
    ///
    /// duration, 1s to 1h; `10s`
    pub(crate) handshake: Field<String>,
    /// For one request head.
    ///
    /// duration, 1s to 1h; `10s`
    pub(crate) head: Field<String>,
    /// Silence between two requests.
    ///
    /// duration, 1s to 1h; `60s`
    pub(crate) idle: Field<String>,
    /// Silence within a request body, until the answer begins.
    ///
    /// duration, 1s to 1h; `60s`
    pub(crate) body: Field<String>,
    /// For a client to take one piece of an answer (at most 64 KiB).
    ///
    /// duration, 1s to 1h; `60s`
    pub(crate) write: Field<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RatesDoc {
    /// Bytes each second, on average over the time in which a request body was waited for; a slower
    /// one is answered 408. Not for streams of messages (gRPC, JSON lines), and not once the answer has
    /// begun.
    ///
    /// size or `off`; `240B`
    pub(crate) request_body: Field<String>,
    /// A piece of an answer must be taken in its length by this rate, but no sooner than `grace`
    /// and no later than `timeouts.write`.
    ///
    /// size or `off`; `240B`
    pub(crate) response: Field<String>,
    /// Nobody is judged by less time than this.
    ///
    /// duration, 1s to 1h; `10s`
    pub(crate) grace: Field<String>,
}
