//! Who may use a route, compiled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::{ApiKeysId, ClusterId, IssuerId, Mode, Origin, ValueMatch};
use crate::expression::Expression;

/// Who may use a route.
#[derive(Debug)]
pub struct Auth {
    /// In the order in which they are tried; never empty. One that holds is enough.
    pub any_of: Vec<Credential>,
    pub mode: Mode,
    /// A request without any credential passes as anonymous; a bad one never does.
    pub optional: bool,
    /// Every one must be among the caller's scopes.
    pub scopes: Vec<String>,
    /// At least one must be among the caller's roles, where any is listed.
    pub roles: Vec<String>,
    /// Claim to upstream header; the header is always removed from what the client sent.
    pub claim_headers: Vec<(String, HeaderName)>,
    /// The token itself goes upstream in `authorization`.
    pub forward_token: bool,
    /// Fields that carry API keys: they go no further than the edge.
    pub key_headers: Vec<HeaderName>,
    /// One of the sets of API keys trades them for tokens: their callers have claims.
    pub trades_keys: bool,
}

impl Auth {
    /// The issuers whose tokens are taken.
    pub fn issuers(&self) -> impl Iterator<Item = IssuerId> {
        self.any_of
            .iter()
            .filter_map(|credential| match credential {
                Credential::Jwt(issuer) => Some(*issuer),
                _ => None,
            })
    }

    /// Whether callers may have claims.
    pub fn has_claims(&self) -> bool {
        self.trades_keys || self.issuers().next().is_some()
    }
}

/// One way to show who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Jwt(IssuerId),
    ApiKey(ApiKeysId),
    ClientCertificate(CertificateMatch),
}

/// Where an issuer tells which of its tokens are dead before they expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    pub cluster: ClusterId,
    pub on_stale: OnStale,
    /// How long nothing need be heard.
    pub stale_after: Duration,
}

/// What becomes of tokens when nobody says any more which are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStale {
    Allow,
    Deny,
}

/// A named set of API keys.
#[derive(Debug)]
pub struct ApiKeys {
    pub name: Arc<str>,
    pub origin: Origin,
    /// The request field that carries the key.
    pub header: HeaderName,
    /// By the SHA-256 of the key: nothing here can be used as one.
    pub keys: HashMap<[u8; 32], Arc<ApiKey>>,
    /// Who knows the others.
    pub introspect: Option<Introspect>,
}

/// A service that trades API keys for access tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspect {
    pub cluster: ClusterId,
    /// Of the tokens.
    pub issuer: IssuerId,
}

/// Who has a key, and what it lets them do.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub name: Arc<str>,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
}

/// A named rule about callers and requests; what is given must all hold.
#[derive(Debug)]
pub struct AccessRule {
    pub name: Arc<str>,
    pub origin: Origin,
    pub mode: Mode,
    /// Every one must be among the caller's scopes.
    pub scopes: Vec<String>,
    /// At least one must be among the caller's roles, where any is listed.
    pub roles: Vec<String>,
    /// Of the verified token; of a claim that is a list, one item.
    pub claims: Vec<(String, ValueMatch)>,
    /// The client must be in one of them, where any is listed.
    pub client_addresses: Option<Arc<AddressSet>>,
    pub client_certificate: Option<CertificateMatch>,
    /// Must be true.
    pub expression: Option<Expression>,
}

/// What a verified client certificate must be; what is given must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateMatch {
    pub subject: Option<ValueMatch>,
    pub san: Option<ValueMatch>,
    pub sha256: Option<[u8; 32]>,
}

/// Client addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSet {
    /// Sorted, none within another.
    pub ranges: Vec<IpNet>,
}
