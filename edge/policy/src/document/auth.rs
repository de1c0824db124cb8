//! Who may use a route, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::matches::{CertificateDoc, ValueDoc};
use crate::field::{Either, Entries, Field, List};

/// `auth: none`, or who is asked for. One of `issuer`, `api_keys`, `client_certificate`, `any_of`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthDoc {
    /// Whose tokens, in `authorization: Bearer`.
    ///
    /// name; one of four
    pub(crate) issuer: Field<String>,
    /// Whose keys.
    ///
    /// name; one of four
    pub(crate) api_keys: Field<String>,
    /// The certificate of the connection, as for access rules; the host has to ask for it.
    ///
    /// map; one of four
    pub(crate) client_certificate: Field<CertificateDoc>,
    /// At most 8 of the above, one in each; the first that holds is the caller.
    ///
    /// list of maps; one of four
    pub(crate) any_of: List<CredentialDoc>,
    /// `shadow` counts and logs what would have been refused, and refuses nothing.
    ///
    /// `enforce` `shadow`; `enforce`
    pub(crate) mode: Field<ModeDoc>,
    /// No credential is no error, a bad one is; not together with `scopes` or `roles`.
    ///
    /// boolean; `false`
    pub(crate) optional: Field<bool>,
    /// All must be granted.
    ///
    /// list of text; none
    pub(crate) scopes: List<String>,
    /// One of them must be carried.
    ///
    /// list of text; any
    pub(crate) roles: List<String>,
    /// Claim to request header for upstream; removed from what clients send; `sub` is also the name
    /// of an API key and the subject of a certificate.
    ///
    /// map of text; none
    pub(crate) claim_headers: Field<Entries<String>>,
    /// `authorization` goes upstream too; for an API key that was traded, with its access token.
    ///
    /// boolean; `false`
    pub(crate) forward_token: Field<bool>,
}

/// One way to show who one is; exactly one of the keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CredentialDoc {
    /// Whose tokens.
    ///
    /// name; one of the three
    pub(crate) issuer: Field<String>,
    /// Whose keys.
    ///
    /// name; one of the three
    pub(crate) api_keys: Field<String>,
    /// What the verified certificate of the client must be.
    ///
    /// map; one of the three
    pub(crate) client_certificate: Field<CertificateDoc>,
}

/// Whether a rule refuses, or only counts and logs what it would have refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeDoc {
    Enforce,
    Shadow,
}

/// A named set of API keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeysDoc {
    /// What `auth` calls it.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// Carries the key; removed from what goes upstream, wherever a route takes keys of the set.
    ///
    /// header name; `x-api-key`
    pub(crate) header: Field<String>,
    /// The keys.
    ///
    /// list of maps; required without `introspect`
    pub(crate) keys: List<ApiKeyDoc>,
    /// Who knows the other keys, and trades each for an access token.
    ///
    /// map; nobody
    pub(crate) introspect: Field<IntrospectDoc>,
}

/// A service that is asked what a key stands for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IntrospectDoc {
    /// Serves `auth.v1.KeyService`; `protocol: grpc`.
    ///
    /// name; required
    pub(crate) cluster: Field<String>,
    /// Whose tokens the keys are traded for: by its rules, keys and revocations they are believed.
    ///
    /// name; required
    pub(crate) issuer: Field<String>,
}

/// One key: its SHA-256, or the file that holds it; never the key itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeyDoc {
    /// Whose key: the caller's `sub`, and `subject` in the log.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// Of the key, as `printf %s "$KEY" | sha256sum` prints it.
    ///
    /// 64 hex digits; this or `file`
    pub(crate) sha256: Field<String>,
    /// One line, at least 16 bytes; read again when it changes.
    ///
    /// path; this or `sha256`
    pub(crate) file: Field<String>,
    /// What the key is granted.
    ///
    /// list of text; none
    pub(crate) scopes: List<String>,
    /// What its owner is.
    ///
    /// list of text; none
    pub(crate) roles: List<String>,
}

/// A named rule about callers and requests; what is given must all hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessDoc {
    /// What routes call it.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// `shadow` counts and logs what would have been refused, and refuses nothing.
    ///
    /// `enforce` `shadow`; `enforce`
    pub(crate) mode: Field<ModeDoc>,
    /// All must be granted.
    ///
    /// list of text; none
    pub(crate) scopes: List<String>,
    /// One of them must be carried.
    ///
    /// list of text; any
    pub(crate) roles: List<String>,
    /// Claim to value, as for `headers` of a match; dots go into objects; of a list one item has to
    /// hold.
    ///
    /// map of text or map; none
    pub(crate) claims: Field<Entries<Either<ValueDoc>>>,
    /// Ranges, addresses, and names of `address_sets`.
    ///
    /// list of ranges or names; any
    pub(crate) client_addresses: List<String>,
    /// What the verified certificate of the client must be.
    ///
    /// map; any
    pub(crate) client_certificate: Field<CertificateDoc>,
    /// Must be true.
    ///
    /// CEL; none
    pub(crate) expression: Field<String>,
}
