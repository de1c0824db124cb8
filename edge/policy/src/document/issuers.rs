//! Token issuers, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Field, List};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IssuerDoc {
    /// What `auth` calls it.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// `iss`, compared byte by byte.
    ///
    /// text; required
    pub(crate) issuer: Field<String>,
    /// A token names one of them in `aud`.
    ///
    /// list of text; required
    pub(crate) audiences: List<String>,
    /// Where its keys are; `url` or `file`.
    ///
    /// map; required
    pub(crate) jwks: Field<JwksDoc>,
    /// What its tokens may be signed with.
    ///
    /// list of `RS256` `PS256` `ES256` `EdDSA`; required
    pub(crate) algorithms: List<String>,
    /// Clock difference tolerated at `exp` and `nbf`.
    ///
    /// duration, 0s to 5m; `30s`
    pub(crate) leeway: Field<String>,
    /// `nbf` must be there.
    ///
    /// boolean; `false`
    pub(crate) require_nbf: Field<bool>,
    /// Accepted `typ`; where given, it must be there.
    ///
    /// list of text; any usual
    pub(crate) token_types: List<String>,
    /// Where it tells which of its tokens are dead before they expire.
    ///
    /// map; nowhere
    pub(crate) revocations: Field<RevocationsDoc>,
}

/// Sessions, API keys and users whose tokens must not be believed any more.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RevocationsDoc {
    /// Serves `auth.v1.KeyService`; `protocol: grpc`.
    ///
    /// name; required
    pub(crate) cluster: Field<String>,
    /// What becomes of tokens after `stale_after`; `deny` is 503, and until the first word, too.
    ///
    /// `allow` `deny`; `allow`
    pub(crate) on_stale: Field<OnStaleDoc>,
    /// How long nothing need be heard.
    ///
    /// duration, 10s to 1h; `30s`
    pub(crate) stale_after: Field<String>,
}

/// Whether tokens are believed of which nobody says any more that they are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnStaleDoc {
    Allow,
    Deny,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JwksDoc {
    /// Https; http for localhost, 127.0.0.1 and [::1] only; no credentials in it.
    ///
    /// URL; this or `file`
    pub(crate) url: Field<String>,
    /// May appear later than the policy.
    ///
    /// path; this or `url`
    pub(crate) file: Field<String>,
    /// PEM of authorities trusted beside the system's, for `url`.
    ///
    /// path; none
    pub(crate) ca: Field<String>,
    /// How often the keys are read again.
    ///
    /// duration, 1s to 1d; `10m`, file `2s`
    pub(crate) refresh: Field<String>,
    /// How often at most an unknown key id makes them be read at once.
    ///
    /// duration, 1s to 1d; `30s`
    pub(crate) cooldown: Field<String>,
}
