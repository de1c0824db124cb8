//! Tests of policies, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Either, Entries, Field, Json, List};

/// A request, and what is to become of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestDoc {
    /// Shown where the test fails.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// That nobody sent.
    ///
    /// map; required
    pub(crate) request: Field<TestRequestDoc>,
    /// When, as `2026-01-31T12:00:00Z`.
    ///
    /// text; now
    pub(crate) at: Field<String>,
    /// What is given must hold, the rest is free.
    ///
    /// map; required
    pub(crate) expect: Field<ExpectDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestRequestDoc {
    /// Upper case.
    ///
    /// text; `GET`
    pub(crate) method: Field<String>,
    /// `https://host/path`, by the encrypted listener with the handshake that the host asks for, or
    /// `http://host/path`.
    ///
    /// text; required
    pub(crate) url: Field<String>,
    /// Name to value.
    ///
    /// map of text; none
    pub(crate) headers: Field<Entries<String>>,
    /// The address that connects; what trusted proxies say is believed as ever.
    ///
    /// text; `127.0.0.1`
    pub(crate) client: Field<String>,
    /// Of a token that counts as verified: of the issuer that `iss` names, of any without it.
    ///
    /// map; none
    pub(crate) claims: Field<Json>,
    /// Of a client that counts as verified for the host.
    ///
    /// map; none
    pub(crate) certificate: Field<TestCertificateDoc>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TestCertificateDoc {
    /// As RFC 4514 writes it.
    ///
    /// text; empty
    pub(crate) subject: Field<String>,
    /// DNS names, URIs and mail addresses.
    ///
    /// list of text; none
    pub(crate) sans: List<String>,
    /// Of the DER form, 64 hex digits.
    ///
    /// text; none
    pub(crate) sha256: Field<String>,
}

/// What is given must hold; the rest is free.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExpectDoc {
    /// This one took the request, whatever became of it there.
    ///
    /// name; free
    pub(crate) route: Field<String>,
    /// Of an answer of the edge's own.
    ///
    /// 100 to 599; free
    pub(crate) status: Field<u64>,
    /// The stable name of such an answer.
    ///
    /// text; free
    pub(crate) code: Field<String>,
    /// Where such an answer points.
    ///
    /// text; free
    pub(crate) location: Field<String>,
    /// The request goes there.
    ///
    /// name; free
    pub(crate) cluster: Field<String>,
    /// These count the request, and no others.
    ///
    /// list of names; free
    pub(crate) limits: List<String>,
    /// Whether the request may be answered from memory.
    ///
    /// `true` `false`; free
    pub(crate) cache: Field<bool>,
    /// Path and query as the cluster gets them.
    ///
    /// text; free
    pub(crate) upstream_path: Field<String>,
    /// Fields as the cluster gets them: text, `{ present: true }` or `{ present: false }`.
    ///
    /// map of text or map; free
    pub(crate) upstream_headers: Field<Entries<Either<ExpectedFieldDoc>>>,
    /// Fields that the edge puts into the answer, in the same way.
    ///
    /// map of text or map; free
    pub(crate) response_headers: Field<Entries<Either<ExpectedFieldDoc>>>,
    /// Codes of refusals that only count: these, and no others.
    ///
    /// list of text; free
    pub(crate) shadow: List<String>,
}

/// Text alone is the value.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExpectedFieldDoc {
    /// Whether there is such a field.
    ///
    /// `true` `false`; required
    pub(crate) present: Field<bool>,
}
