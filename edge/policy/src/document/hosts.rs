//! Hosts, as written.

use serde::Deserialize;

use super::routes::DefaultsDoc;
use crate::field::{Either, Field, List};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostDoc {
    pub(crate) name: Field<String>,
    pub(crate) hosts: List<String>,
    pub(crate) tls: Field<HostTlsDoc>,
    pub(crate) hsts: Field<Either<HstsDoc>>,
    pub(crate) alt_svc: Field<bool>,
    pub(crate) security_headers: Field<bool>,
    /// For the routes of requests to these hosts.
    pub(crate) defaults: Field<DefaultsDoc>,
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
