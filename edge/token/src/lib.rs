//! JSON Web Tokens, verified against JWK sets that rotate, vanish and come back.
//!
//! Two halves that never mix: [`Verifier::verify`] is synchronous, reads no clock and opens nothing;
//! [`Issuers`] owns the background tasks that read JWK sets from files and URLs.
//! Invariant: the algorithm of a check comes from the key, never from the token.
//! Refuses: HMAC, `none`, encrypted tokens, keys carried inside a token, and to guess.

mod algorithm;
mod claims;
mod fetch;
mod header;
mod issuers;
mod key_set;
mod key_store;
mod refusal;
mod saved;
mod spec;
mod strict_json;
mod verifier;

pub use algorithm::Algorithm;
pub use claims::{Claims, UnixTime, unverified_issuer};
pub use issuers::{FixedKeysError, Issuer, Issuers};
pub use key_set::{KEYS_MAX, KeySet, KeySetError};
pub use key_store::{IssuerStatus, Origin};
pub use refusal::{KeyId, Refusal};
pub use spec::{IssuerSpec, JwksSource, SpecError};
pub use verifier::{TOKEN_BYTES_MAX, Verifier, VerifierStats};
