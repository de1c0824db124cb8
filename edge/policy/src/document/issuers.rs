//! Token issuers, as written.

use serde::Deserialize;

use crate::field::{Field, List};

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
