//! Bounds on clients, as written.

use serde::Deserialize;

use crate::field::{Field, List};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenersDoc {
    pub(crate) trusted_proxies: List<String>,
    pub(crate) proxy_protocol: Field<ProxyProtocolDoc>,
    pub(crate) client_address_from: Field<ForwardedDoc>,
    pub(crate) connections: Field<ConnectionsDoc>,
    pub(crate) requests: Field<RequestsDoc>,
    pub(crate) timeouts: Field<ListenerTimeoutsDoc>,
    pub(crate) rates: Field<RatesDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProxyProtocolDoc {
    Off,
    Required,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForwardedDoc {
    XForwardedFor,
    Forwarded,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConnectionsDoc {
    pub(crate) max: Field<u64>,
    pub(crate) per_address: Field<u64>,
    pub(crate) handshakes: Field<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestsDoc {
    pub(crate) max: Field<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerTimeoutsDoc {
    pub(crate) handshake: Field<String>,
    pub(crate) head: Field<String>,
    pub(crate) idle: Field<String>,
    pub(crate) body: Field<String>,
    pub(crate) write: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RatesDoc {
    pub(crate) request_body: Field<String>,
    pub(crate) response: Field<String>,
    pub(crate) grace: Field<String>,
}
