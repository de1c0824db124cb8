//! Tests of policies, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Either, Entries, Field, Json, List};

/// A request, and what is to become of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestDoc {
    pub(crate) name: Field<String>,
    pub(crate) request: Field<TestRequestDoc>,
    /// As RFC 3339 writes it.
    pub(crate) at: Field<String>,
    pub(crate) expect: Field<ExpectDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestRequestDoc {
    pub(crate) method: Field<String>,
    pub(crate) url: Field<String>,
    pub(crate) headers: Field<Entries<String>>,
    pub(crate) client: Field<String>,
    /// Of a token that counts as verified.
    pub(crate) claims: Field<Json>,
    /// Of a client that counts as verified.
    pub(crate) certificate: Field<TestCertificateDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestCertificateDoc {
    pub(crate) subject: Field<String>,
    pub(crate) sans: List<String>,
    pub(crate) sha256: Field<String>,
}

/// What is given must hold; the rest is free.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExpectDoc {
    pub(crate) route: Field<String>,
    /// Of an answer of the edge's own.
    pub(crate) status: Field<u64>,
    pub(crate) code: Field<String>,
    pub(crate) location: Field<String>,
    pub(crate) cluster: Field<String>,
    pub(crate) limits: List<String>,
    pub(crate) cache: Field<bool>,
    pub(crate) upstream_path: Field<String>,
    pub(crate) upstream_headers: Field<Entries<Either<ExpectedFieldDoc>>>,
    pub(crate) response_headers: Field<Entries<Either<ExpectedFieldDoc>>>,
    pub(crate) shadow: List<String>,
}

/// Text alone is the value.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExpectedFieldDoc {
    pub(crate) present: Field<bool>,
}
