//! What a rule asks of a request beyond host and path, compiled.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::{AddressSet, CertificateMatch, Regex};

/// Conditions of a rule; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Any method when empty.
    pub methods: Vec<Method>,
    /// Of several fields of a name one is enough.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Names and values are compared after percent-decoding.
    pub query: Vec<(String, ValueMatch)>,
    pub client_addresses: Option<Arc<AddressSet>>,
    pub client_certificate: Option<CertificateMatch>,
    /// By path with dots, of the token that the route's `auth` verifies.
    pub claims: Vec<(String, ValueMatch)>,
    pub all: Vec<Conditions>,
    /// One must hold, where there are any.
    pub any: Vec<Conditions>,
    pub not: Option<Box<Conditions>>,
}

/// How a value is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
    Present,
}

impl Conditions {
    /// Conditions that the Gateway API does not know and that rank last: addresses, certificate,
    /// each claim, each of `all`, `any` and `not`.
    pub fn others(&self) -> usize {
        usize::from(self.client_addresses.is_some())
            + usize::from(self.client_certificate.is_some())
            + self.claims.len()
            + self.all.len()
            + usize::from(!self.any.is_empty())
            + usize::from(self.not.is_some())
    }

    /// Whether a token has to be read to know if they hold.
    pub fn ask_for_claims(&self) -> bool {
        let mut below = self.all.iter().chain(&self.any).chain(self.not.as_deref());
        !self.claims.is_empty() || below.any(Self::ask_for_claims)
    }
}

/// As the language writes it.
impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "`{text}`"),
            Self::Prefix(text) => write!(f, "prefix `{text}`"),
            Self::Suffix(text) => write!(f, "suffix `{text}`"),
            Self::Regex(regex) => write!(f, "regex `{}`", regex.as_str()),
            Self::Present => f.write_str("any value"),
        }
    }
}
