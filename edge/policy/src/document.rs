//! The language as it is written: one type for each map, one field for each key.
//!
//! Nothing is resolved or interpreted here; defaults are the compiler's. A key that is not a
//! field here is an error.

use serde::Deserialize;

use crate::field::{At, Either, Entries, Field, List};

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) version: Field<u64>,
    pub(crate) listeners: Field<ListenersDoc>,
    pub(crate) clusters: List<ClusterDoc>,
    pub(crate) issuers: List<IssuerDoc>,
    pub(crate) limits: List<LimitDoc>,
    pub(crate) routes: List<RouteDoc>,
    pub(crate) hosts: List<HostDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenersDoc {
    pub(crate) trusted_proxies: List<String>,
    pub(crate) proxy_protocol: Field<ProxyProtocolDoc>,
    pub(crate) client_address_from: Field<ForwardedDoc>,
    pub(crate) connections: Field<ConnectionsDoc>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterDoc {
    pub(crate) name: Field<String>,
    pub(crate) endpoints: List<String>,
    pub(crate) protocol: Field<ProtocolDoc>,
    pub(crate) tls: Field<TlsDoc>,
    pub(crate) timeouts: Field<TimeoutsDoc>,
    pub(crate) connect_retries: Field<u64>,
    pub(crate) ejection: Field<Either<EjectionDoc>>,
    pub(crate) descriptors: Field<String>,
    pub(crate) unknown_json_fields: Field<UnknownFieldsDoc>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProtocolDoc {
    Http1,
    Http2,
    Grpc,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownFieldsDoc {
    Refuse,
    Ignore,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsDoc {
    pub(crate) server_name: Field<String>,
    pub(crate) ca: Field<String>,
    pub(crate) certificate: Field<String>,
    pub(crate) key: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeoutsDoc {
    pub(crate) connect: Field<String>,
    pub(crate) read: Field<String>,
    pub(crate) write: Field<String>,
    pub(crate) idle: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EjectionDoc {
    pub(crate) consecutive_failures: Field<u64>,
    pub(crate) duration: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IssuerDoc {
    pub(crate) name: Field<String>,
    pub(crate) issuer: Field<String>,
    pub(crate) audiences: List<String>,
    pub(crate) jwks: Field<JwksDoc>,
    pub(crate) algorithms: List<String>,
    pub(crate) leeway: Field<String>,
    pub(crate) require_nbf: Field<bool>,
    pub(crate) token_types: List<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JwksDoc {
    pub(crate) url: Field<String>,
    pub(crate) file: Field<String>,
    pub(crate) ca: Field<String>,
    pub(crate) refresh: Field<String>,
    pub(crate) cooldown: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitDoc {
    pub(crate) name: Field<String>,
    pub(crate) key: Field<Either<LimitKeyDoc>>,
    pub(crate) rate: Field<String>,
    pub(crate) burst: Field<u64>,
    pub(crate) keys_max: Field<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitKeyDoc {
    pub(crate) header: Field<String>,
    pub(crate) claim: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteDoc {
    pub(crate) name: Field<String>,
    pub(crate) hosts: List<String>,
    pub(crate) matches: List<MatchDoc>,
    pub(crate) plain_http: Field<bool>,
    pub(crate) auth: Field<AuthDoc>,
    pub(crate) limits: List<String>,
    pub(crate) cache: Field<CacheDoc>,
    pub(crate) request_headers: Field<HeaderEditsDoc>,
    pub(crate) response_headers: Field<HeaderEditsDoc>,
    pub(crate) request_timeout: Field<String>,
    pub(crate) request_body_max: Field<String>,
    pub(crate) cluster: Field<String>,
    pub(crate) translate: Field<bool>,
    pub(crate) websocket: Field<WebSocketDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MatchDoc {
    pub(crate) path: Field<Either<PathDoc>>,
    pub(crate) methods: List<String>,
    pub(crate) headers: Field<Entries<Either<PresenceDoc>>>,
    pub(crate) query: Field<Entries<Either<PresenceDoc>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PathDoc {
    pub(crate) exact: Field<String>,
    pub(crate) prefix: Field<String>,
    pub(crate) template: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PresenceDoc {
    pub(crate) present: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthDoc {
    pub(crate) issuer: Field<String>,
    pub(crate) optional: Field<bool>,
    pub(crate) scopes: List<String>,
    pub(crate) roles: List<String>,
    pub(crate) claim_headers: Field<Entries<String>>,
    pub(crate) forward_token: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheDoc {
    pub(crate) default_ttl: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebSocketDoc {
    pub(crate) origins: List<String>,
    pub(crate) idle_timeout: Field<String>,
    pub(crate) lifetime: Field<String>,
    pub(crate) end_with_token: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEditsDoc {
    pub(crate) remove: List<String>,
    pub(crate) set: Field<Entries<String>>,
    pub(crate) add: Field<Entries<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostDoc {
    pub(crate) name: Field<String>,
    pub(crate) hosts: List<String>,
    pub(crate) tls: Field<HostTlsDoc>,
    pub(crate) hsts: Field<Either<HstsDoc>>,
    pub(crate) alt_svc: Field<bool>,
    pub(crate) security_headers: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostTlsDoc {
    pub(crate) min_version: Field<TlsVersionDoc>,
    pub(crate) alpn: List<AlpnDoc>,
    pub(crate) client_certificates: Field<Either<ClientCertificatesDoc>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum TlsVersionDoc {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum AlpnDoc {
    #[serde(rename = "h2")]
    H2,
    #[serde(rename = "http/1.1")]
    Http11,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientCertificatesDoc {
    pub(crate) mode: Field<ClientCertificatesModeDoc>,
    pub(crate) ca: Field<String>,
    pub(crate) crl: Field<String>,
    pub(crate) forward: Field<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientCertificatesModeDoc {
    Required,
    Optional,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HstsDoc {
    pub(crate) max_age: Field<String>,
    pub(crate) include_subdomains: Field<bool>,
    pub(crate) preload: Field<bool>,
}

/// A cluster, issuer, limit, route or host: what is looked up by its name.
pub(crate) trait Named {
    /// As messages call it.
    const KIND: &'static str;

    fn name(&self) -> &Field<String>;
}

macro_rules! named {
    ($($document:ty => $kind:literal),*) => {$(
        impl Named for $document {
            const KIND: &'static str = $kind;

            fn name(&self) -> &Field<String> {
                &self.name
            }
        }
    )*};
}

named!(ClusterDoc => "cluster", IssuerDoc => "issuer", LimitDoc => "limit", RouteDoc => "route", HostDoc => "host");

/// All definitions of one kind, in order of files and lines.
pub(crate) fn all<'d, T>(
    documents: &'d [Document],
    list: impl Fn(&'d Document) -> &'d List<T> + 'd,
) -> Vec<&'d At<T>> {
    documents
        .iter()
        .flat_map(move |document| crate::field::items(list(document)))
        .collect()
}
