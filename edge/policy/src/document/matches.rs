//! Matches of routes, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Either, Entries, Field, List};

/// One match: what is given must all hold. Below `all`, `any` and `not` the same keys, but no `path`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MatchDoc {
    /// `/x` is exact, as is `{ exact: /x }`.
    ///
    /// text or map; required, but not below `all`, `any` and `not`
    pub(crate) path: Field<Either<PathDoc>>,
    /// GET does not include HEAD.
    ///
    /// list of `GET` `HEAD` `POST` `PUT` `DELETE` `PATCH` `OPTIONS`; every method
    pub(crate) methods: List<String>,
    /// Name to value; of several fields of the name one must hold; at most 16.
    ///
    /// map of text or map; none
    pub(crate) headers: Field<Entries<Either<ValueDoc>>>,
    /// The same for parameters, compared after percent-decoding; at most 16.
    ///
    /// map of text or map; none
    pub(crate) query: Field<Entries<Either<ValueDoc>>>,
    /// Ranges, addresses, names of `address_sets`, at most 256; one must hold the client's address.
    ///
    /// list of ranges or names; every client
    pub(crate) client_addresses: List<String>,
    /// What the verified certificate of the connection says: `subject` (value, as RFC 4514 writes
    /// it: `CN=billing,O=Example`), `san` (value, one of the DNS names, URIs and mail addresses),
    /// `sha256` (64 hex digits, of the DER form); what is given must hold.
    ///
    /// map; none
    pub(crate) client_certificate: Field<CertificateDoc>,
    /// Claim of the verified token to value; needs a token in the route's `auth`; `realm.plan` is a
    /// claim within a claim, of a list one item must hold; at most 16. A token that is missing or
    /// does not hold matches nothing: the request goes on to other matches.
    ///
    /// map of text or map; none
    pub(crate) claims: Field<Entries<Either<ValueDoc>>>,
    /// More conditions, all of which must hold.
    ///
    /// list of maps; none
    pub(crate) all: List<MatchDoc>,
    /// Conditions of which one must hold.
    ///
    /// list of maps; none
    pub(crate) any: List<MatchDoc>,
    /// Conditions that must not hold, taken together.
    ///
    /// map; none
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

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PathDoc {
    /// The path is this.
    ///
    /// text; one of the four
    pub(crate) exact: Field<String>,
    /// Whole segments: `/v1` takes `/v1` and `/v1/x`, but not `/v10`.
    ///
    /// text; one of the four
    pub(crate) prefix: Field<String>,
    /// `/users/{id}` has one segment for each variable.
    ///
    /// text; one of the four
    pub(crate) template: Field<String>,
    /// The whole path; named groups are variables; tried last.
    ///
    /// regular expression; one of the four
    pub(crate) regex: Field<String>,
}

/// How a header, query parameter or claim is compared; text alone is `exact`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ValueDoc {
    /// The value is this; text alone is the same.
    ///
    /// text; one of the five
    pub(crate) exact: Field<String>,
    /// The value begins with it.
    ///
    /// text; one of the five
    pub(crate) prefix: Field<String>,
    /// The value ends with it.
    ///
    /// text; one of the five
    pub(crate) suffix: Field<String>,
    /// The whole value.
    ///
    /// regular expression; one of the five
    pub(crate) regex: Field<String>,
    /// It is there, with any value.
    ///
    /// boolean; one of the five
    pub(crate) present: Field<bool>,
}

/// A verified client certificate; what is given must all hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CertificateDoc {
    /// The subject as RFC 4514 writes it: `CN=billing,O=Example`.
    ///
    /// text or map; any
    pub(crate) subject: Field<Either<ValueDoc>>,
    /// One of the subject alternative names: DNS names, URIs, mail addresses.
    ///
    /// text or map; any
    pub(crate) san: Field<Either<ValueDoc>>,
    /// SHA-256 of the certificate in DER.
    ///
    /// 64 hex digits; any
    pub(crate) sha256: Field<String>,
}

/// A named set of client addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AddressSetDoc {
    /// Not an address.
    ///
    /// name; required
    pub(crate) name: Field<String>,
    /// Ranges and addresses, at most 4,096.
    ///
    /// list of ranges; required
    pub(crate) addresses: List<String>,
}
