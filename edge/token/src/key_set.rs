//! A JWK set (RFC 7517) read into keys that verify.
//!
//! Invariant: every key kept is public, asymmetric, strong enough, meant for signatures, and bound to
//! one algorithm; a key id names one key.
//! A key that does not fit is left out with a note, since issuers publish encryption keys and new kinds
//! beside good ones. Refuses: a set with repeated key ids or members, or with no usable key at all:
//! an emptied set is far more often an issuer's accident than a wish to lock everybody out.

use crate::algorithm::{Algorithm, VerifyingKey};
use crate::refusal::KeyId;
use crate::strict_json;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;
use thiserror::Error;

/// Largest document read. 64 RSA-4096 keys with certificates stay below it; a hostile issuer must not fill memory.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Most entries of a set. Big issuers publish under ten.
pub const KEYS_MAX: usize = 64;

/// Longest key id kept. Thumbprints and UUIDs stay below 64.
pub(crate) const KID_BYTES_MAX: usize = 256;

/// Bounds of an RSA modulus: below, it can be factored; above, one check costs milliseconds.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// Members that only a private key has (RFC 7518 sections 6.2.2, 6.3.2, 6.4; RFC 8037 section 2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a document is no usable key set.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// The document is over its bound.
    #[error("key set is larger than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not strict JSON: syntax, depth or a repeated member.
    #[error("key set is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no array `keys` (RFC 7517 section 5.1).
    #[error("key set has no array `keys`")]
    NoArray,
    /// More than [`KEYS_MAX`] entries.
    #[error("key set has `{0}` entries, {KEYS_MAX} at most are read")]
    TooMany(usize),
    /// Two usable keys share a key id: which one is meant cannot be known.
    #[error("key set has kid `{0}` twice")]
    DuplicateKid(KeyId),
    /// Nothing is left to verify with; the notes say why each entry was left out.
    #[error("key set has no usable key{}", .0.iter().map(|note| format!("; {note}")).collect::<String>())]
    NoUsableKey(Vec<String>),
}

/// The usable keys of one JWK set.
pub struct KeySet {
    by_kid: HashMap<String, VerifyingKey>,
    without_kid: Vec<VerifyingKey>,
    notes: Vec<String>,
}

impl KeySet {
    /// Reads a JWK set for an issuer that allows `allowed`.
    ///
    /// A key's algorithm is its `alg`, else what its curve implies. RSA fits two algorithms, so an RSA key
    /// without `alg` is usable only if `allowed` holds exactly one RSA algorithm, which it is then bound to.
    ///
    /// # Errors
    /// See [`KeySetError`]; the whole document is refused.
    pub fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let mut top = strict_json::object(document)?;
        let Some(Value::Array(entries)) = top.remove("keys") else {
            return Err(KeySetError::NoArray);
        };
        if entries.len() > KEYS_MAX {
            return Err(KeySetError::TooMany(entries.len()));
        }
        let mut set = Self {
            by_kid: HashMap::with_capacity(entries.len()),
            without_kid: Vec::new(),
            notes: Vec::new(),
        };
        for (position, entry) in entries.iter().enumerate() {
            set.add(position, entry, allowed)?;
        }
        if set.is_empty() {
            return Err(KeySetError::NoUsableKey(set.notes));
        }
        Ok(set)
    }

    fn add(
        &mut self,
        position: usize,
        entry: &Value,
        allowed: &[Algorithm],
    ) -> Result<(), KeySetError> {
        let kid = entry.get("kid").and_then(Value::as_str);
        match read_key(entry, allowed) {
            Ok(key) => match kid {
                None => self.without_kid.push(key),
                Some(kid) => {
                    if self.by_kid.insert(kid.to_owned(), key).is_some() {
                        return Err(KeySetError::DuplicateKid(KeyId::new(kid)));
                    }
                }
            },
            Err(reason) => {
                let kid = kid.map_or("(none)".to_owned(), |kid| KeyId::new(kid).to_string());
                self.notes
                    .push(format!("key {position}, kid `{kid}`: {reason}"));
            }
        }
        Ok(())
    }

    /// Takes out the key that `kid` names. True if there was one.
    pub(crate) fn remove(&mut self, kid: &str) -> bool {
        self.by_kid.remove(kid).is_some()
    }

    /// How many keys verify.
    pub fn len(&self) -> usize {
        self.by_kid.len() + self.without_kid.len()
    }

    /// Never true for a set that [`KeySet::parse`] returned and no key was taken out of.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One line per entry that was left out, with the reason.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The key that `kid` names, whatever its algorithm; without `kid`, the only key of `algorithm`.
    /// Trying several keys in turn would let the token choose.
    pub(crate) fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerifyingKey> {
        if let Some(kid) = kid {
            return self.by_kid.get(kid);
        }
        let mut fitting = self
            .by_kid
            .values()
            .chain(&self.without_kid)
            .filter(|key| key.algorithm == algorithm);
        let only = fitting.next()?;
        fitting.next().is_none().then_some(only)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("keys", &self.len())
            .field("notes", &self.notes)
            .finish()
    }
}

/// One entry as a key, or why it is left out.
fn read_key(entry: &Value, allowed: &[Algorithm]) -> Result<VerifyingKey, &'static str> {
    let Value::Object(entry) = entry else {
        return Err("not an object");
    };
    match entry.get("kid") {
        None => {}
        Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => {}
        Some(_) => return Err("`kid` is not a string of at most 256 bytes"),
    }
    let kty = text(entry, "kty")?.ok_or("`kty` is missing")?;
    if kty == "oct" {
        return Err("symmetric keys are never used");
    }
    if PRIVATE_MEMBERS.iter().any(|name| entry.contains_key(*name)) {
        return Err("holds private members: the issuer published its private key, rotate it");
    }
    check_purpose(entry)?;
    let algorithm = pin_algorithm(entry, kty, allowed)?;
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => read_rsa(entry, algorithm),
        Algorithm::Es256 => VerifyingKey::p256(&coordinate(entry, "x")?, &coordinate(entry, "y")?)
            .ok_or("the point is not on P-256"),
        Algorithm::EdDsa => {
            VerifyingKey::ed25519(&coordinate(entry, "x")?).ok_or("not an Ed25519 public key")
        }
    }
}

/// RFC 7517 sections 4.2 and 4.3: a key for encryption must not verify signatures.
fn check_purpose(entry: &Map<String, Value>) -> Result<(), &'static str> {
    match text(entry, "use")? {
        None | Some("sig") => {}
        Some(_) => return Err("`use` is not `sig`"),
    }
    match entry.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|op| op == "verify") => Ok(()),
        Some(_) => Err("`key_ops` has no `verify`"),
    }
}

fn pin_algorithm(
    entry: &Map<String, Value>,
    kty: &str,
    allowed: &[Algorithm],
) -> Result<Algorithm, &'static str> {
    let named = match text(entry, "alg")? {
        Some(name) => Some(Algorithm::from_jose(name).ok_or("`alg` is not supported")?),
        None => None,
    };
    let implied = match (kty, text(entry, "crv")?) {
        ("RSA", _) => None,
        ("EC", Some("P-256")) => Some(Algorithm::Es256),
        ("OKP", Some("Ed25519")) => Some(Algorithm::EdDsa),
        ("EC" | "OKP", _) => return Err("the curve is not supported"),
        _ => return Err("`kty` is not supported"),
    };
    let algorithm = match (named, implied) {
        (Some(named), Some(implied)) if named == implied => named,
        (None, Some(implied)) => implied,
        (Some(named), None) if named.is_rsa() => named,
        (None, None) => only_rsa(allowed)
            .ok_or("RSA without `alg`, and the issuer allows not exactly one RSA algorithm")?,
        _ => return Err("`alg` does not fit `kty` and `crv`"),
    };
    if !allowed.contains(&algorithm) {
        return Err("the issuer's algorithms do not include the key's");
    }
    Ok(algorithm)
}

fn only_rsa(allowed: &[Algorithm]) -> Option<Algorithm> {
    let mut rsa = allowed
        .iter()
        .copied()
        .filter(|algorithm| algorithm.is_rsa());
    let first = rsa.next()?;
    rsa.all(|other| other == first).then_some(first)
}

fn read_rsa(
    entry: &Map<String, Value>,
    algorithm: Algorithm,
) -> Result<VerifyingKey, &'static str> {
    let n = bytes(entry, "n")?;
    let e = bytes(entry, "e")?;
    // RFC 7518 section 2 wants the minimum of octets; encoders that keep the sign byte are common.
    let n = strip_zeros(&n);
    let e = strip_zeros(&e);
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return Err("the RSA modulus is under 2048 bits");
    }
    if bits > RSA_BITS_MAX {
        return Err("the RSA modulus is over 8192 bits");
    }
    // With e = 1 anything is a signature of itself; an even one is no RSA; a long one is a slow check.
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || e == [1] || e.len() > 4 {
        return Err("the RSA exponent is not an odd number from 3 to 2^32");
    }
    VerifyingKey::rsa(algorithm, n, e).ok_or("not an RSA public key")
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    match entry.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member that must be a string is not"),
    }
}

fn bytes(entry: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let encoded = text(entry, name)?.ok_or("a member of the key is missing")?;
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| "a member of the key is not base64url without padding")
}

fn coordinate(entry: &Map<String, Value>, name: &str) -> Result<[u8; 32], &'static str> {
    bytes(entry, name)?
        .try_into()
        .map_err(|_| "a coordinate is not 32 bytes long")
}
