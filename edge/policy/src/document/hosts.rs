//! Hosts, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::routes::DefaultsDoc;
use crate::field::{Either, Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostDoc {
    /// For errors and `explain`.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// As for routes; a pattern belongs to one entry.
    ///
    /// list of hosts; every host
    pub(crate) hosts: List<String>,
    /// What handshakes for these hosts must prove.
    ///
    /// map; see its keys
    pub(crate) tls: Field<HostTlsDoc>,
    /// `strict-transport-security`; off because browsers remember it and it can't be taken back.
    ///
    /// `off` or map; `off`
    pub(crate) hsts: Field<Either<HstsDoc>>,
    /// Answers over TCP tell of HTTP/3; never where client certificates are asked for.
    ///
    /// boolean; `true`
    pub(crate) alt_svc: Field<bool>,
    /// `x-content-type-options: nosniff` and `referrer-policy: strict-origin-when-cross-origin`.
    ///
    /// boolean; `true`
    pub(crate) security_headers: Field<bool>,
    /// What routes have under these hosts that do not say otherwise.
    ///
    /// map; none
    pub(crate) defaults: Field<DefaultsDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostTlsDoc {
    /// `1.2` is what Mozilla calls intermediate, `1.3` modern.
    ///
    /// `1.2` `1.3`; `1.2`
    pub(crate) min_version: Field<TlsVersionDoc>,
    /// What is spoken over TCP, what we like best first.
    ///
    /// list of `h2` `http/1.1`; both, `h2` first
    pub(crate) alpn: List<AlpnDoc>,
    /// Whether clients show a certificate, and whose.
    ///
    /// `off` or map; `off`
    pub(crate) client_certificates: Field<Either<ClientCertificatesDoc>>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum TlsVersionDoc {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum AlpnDoc {
    #[serde(rename = "h2")]
    H2,
    #[serde(rename = "http/1.1")]
    Http11,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientCertificatesDoc {
    /// Without a certificate there is no connection; or it is asked for and may be missing.
    ///
    /// `required` `optional`; required
    pub(crate) mode: Field<ClientCertificatesModeDoc>,
    /// PEM of the authorities; the system's are not used.
    ///
    /// path; required
    pub(crate) ca: Field<String>,
    /// PEM of revocation lists, one for each authority of a chain below the roots; whose status
    /// they don't tell, or tell in a list past its end, is refused.
    ///
    /// path; none
    pub(crate) crl: Field<String>,
    /// Upstreams are told the certificate in `client-cert` and the rest of the chain in
    /// `client-cert-chain` (RFC 9440); both are always removed from what clients send.
    ///
    /// boolean; `false`
    pub(crate) forward: Field<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientCertificatesModeDoc {
    Required,
    Optional,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HstsDoc {
    /// How long browsers remember it.
    ///
    /// duration, 0s to 3650d; `730d`
    pub(crate) max_age: Field<String>,
    /// For the names below as well.
    ///
    /// boolean; `false`
    pub(crate) include_subdomains: Field<bool>,
    /// For the lists of browsers; needs `include_subdomains` and a year.
    ///
    /// boolean; `false`
    pub(crate) preload: Field<bool>,
}
