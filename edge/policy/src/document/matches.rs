//! Matches of routes, as written.

use serde::Deserialize;

use crate::field::{Either, Entries, Field, List};

/// One match: what is given must all hold. Below `all`, `any` and `not` the same keys, but no `path`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MatchDoc {
    pub(crate) path: Field<Either<PathDoc>>,
    pub(crate) methods: List<String>,
    pub(crate) headers: Field<Entries<Either<ValueDoc>>>,
    pub(crate) query: Field<Entries<Either<ValueDoc>>>,
    /// Ranges, addresses, and names of `address_sets`.
    pub(crate) client_addresses: List<String>,
    pub(crate) client_certificate: Field<CertificateDoc>,
    /// Of the token that the route's `auth` verifies.
    pub(crate) claims: Field<Entries<Either<ValueDoc>>>,
    pub(crate) all: List<MatchDoc>,
    pub(crate) any: List<MatchDoc>,
    pub(crate) not: Field<Box<MatchDoc>>,
}

impl MatchDoc {
    /// Nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            path,
            methods,
            headers,
            query,
            client_addresses,
            client_certificate,
            claims,
            all,
            any,
            not,
        } = self;
        path.is_absent()
            && methods.is_absent()
            && headers.is_absent()
            && query.is_absent()
            && client_addresses.is_absent()
            && client_certificate.is_absent()
            && claims.is_absent()
            && all.is_absent()
            && any.is_absent()
            && not.is_absent()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PathDoc {
    pub(crate) exact: Field<String>,
    pub(crate) prefix: Field<String>,
    pub(crate) template: Field<String>,
    pub(crate) regex: Field<String>,
}

/// How a header, query parameter or claim is compared; text alone is `exact`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ValueDoc {
    pub(crate) exact: Field<String>,
    pub(crate) prefix: Field<String>,
    pub(crate) suffix: Field<String>,
    pub(crate) regex: Field<String>,
    pub(crate) present: Field<bool>,
}

/// A verified client certificate; what is given must all hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CertificateDoc {
    /// The subject as RFC 4514 writes it: `CN=billing,O=Example`.
    pub(crate) subject: Field<Either<ValueDoc>>,
    /// One of the subject alternative names: DNS names, URIs, mail addresses.
    pub(crate) san: Field<Either<ValueDoc>>,
    /// SHA-256 of the certificate in DER, hex.
    pub(crate) sha256: Field<String>,
}

/// A named set of client addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AddressSetDoc {
    pub(crate) name: Field<String>,
    pub(crate) addresses: List<String>,
}
