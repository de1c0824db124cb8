//! Who may use a route, as written.

use serde::Deserialize;

use super::matches::{CertificateDoc, ValueDoc};
use crate::field::{Either, Entries, Field, List};

/// `auth: none`, or who is asked for. One of `issuer`, `api_keys`, `client_certificate`, `any_of`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthDoc {
    pub(crate) issuer: Field<String>,
    pub(crate) api_keys: Field<String>,
    pub(crate) client_certificate: Field<CertificateDoc>,
    pub(crate) any_of: List<CredentialDoc>,
    pub(crate) mode: Field<ModeDoc>,
    pub(crate) optional: Field<bool>,
    pub(crate) scopes: List<String>,
    pub(crate) roles: List<String>,
    pub(crate) claim_headers: Field<Entries<String>>,
    pub(crate) forward_token: Field<bool>,
}

/// One way to show who one is; exactly one of the keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CredentialDoc {
    pub(crate) issuer: Field<String>,
    pub(crate) api_keys: Field<String>,
    pub(crate) client_certificate: Field<CertificateDoc>,
}

/// Whether a rule refuses, or only counts and logs what it would have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeDoc {
    Enforce,
    Shadow,
}

/// A named set of API keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeysDoc {
    pub(crate) name: Field<String>,
    pub(crate) header: Field<String>,
    pub(crate) keys: List<ApiKeyDoc>,
}

/// One key: its SHA-256, or the file that holds it; never the key itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeyDoc {
    /// Who has it: the caller's subject.
    pub(crate) name: Field<String>,
    pub(crate) sha256: Field<String>,
    pub(crate) file: Field<String>,
    pub(crate) scopes: List<String>,
    pub(crate) roles: List<String>,
}

/// A named rule about callers and requests; what is given must all hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessDoc {
    pub(crate) name: Field<String>,
    pub(crate) mode: Field<ModeDoc>,
    pub(crate) scopes: List<String>,
    pub(crate) roles: List<String>,
    pub(crate) claims: Field<Entries<Either<ValueDoc>>>,
    pub(crate) client_addresses: List<String>,
    pub(crate) client_certificate: Field<CertificateDoc>,
    /// In CEL; true lets the request pass.
    pub(crate) expression: Field<String>,
}
