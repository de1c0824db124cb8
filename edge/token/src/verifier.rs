//! Checks a token against an issuer, and remembers the good ones.
//!
//! Invariant: a remembered token is only believed for the same rules, the same key set and a time within
//! its own bounds; `now` is the caller's and no clock is read here.
//! Refuses: to remember refusals. They cost an attacker nothing to make and would push out good tokens.

use crate::claims::{Claims, UnixTime};
use crate::header;
use crate::issuers::Issuer;
use crate::key_set::KeySet;
use crate::refusal::{KeyId, Refusal};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::Expiry;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest token read. Header sections of common servers end at 8 KiB; checking starts with hashing it all.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A token is looked at again after this long even if it is valid for years.
const REMEMBERED_AGE_MAX: Duration = Duration::from_secs(3600);

/// The least an entry is charged, which bounds their number at `bytes_max` / 1 KiB.
const ENTRY_BYTES_MIN: u32 = 1024;

/// A parsed claim takes several times its text: a map node, two strings, their slack.
const PARSED_FACTOR: u32 = 6;

type Key = [u8; 32];

struct Remembered {
    claims: Arc<Claims>,
    generation: u64,
    /// How long the entry is worth its memory; validity is decided by the claims and `now`.
    keep: Duration,
    bytes: u32,
}

struct KeepFor;

impl Expiry<Key, Arc<Remembered>> for KeepFor {
    fn expire_after_create(
        &self,
        _: &Key,
        value: &Arc<Remembered>,
        _: Instant,
    ) -> Option<Duration> {
        Some(value.keep)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        value: &Arc<Remembered>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.keep)
    }
}

/// How well remembering works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierStats {
    /// Tokens answered from memory.
    pub hits: u64,
    /// Tokens that were checked in full, whatever came out.
    pub misses: u64,
    /// Tokens remembered now, approximately.
    pub entries: u64,
}

/// Checks tokens. One per process; cheap to share behind an `Arc`.
pub struct Verifier {
    remembered: Cache<Key, Arc<Remembered>, ahash::RandomState>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Verifier {
    /// Remembers verified tokens in about `bytes_max` bytes, one per KiB at most.
    pub fn new(bytes_max: u64) -> Self {
        let remembered = Cache::builder()
            .name("verified tokens")
            .max_capacity(bytes_max)
            .weigher(|_, value: &Arc<Remembered>| value.bytes)
            .expire_after(KeepFor)
            .build_with_hasher(ahash::RandomState::new());
        Self {
            remembered,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Checks `token`, the text after `Bearer `, as one of `issuer` at `now`.
    ///
    /// A token seen before costs one SHA-256 and one lookup. On a refusal that
    /// [`Refusal::wants_refetch`], `issuer.refetch().await` and one more try may help.
    ///
    /// # Errors
    /// The first reason found, in this order: size, keys loaded, shape, header, key, signature, claims, times.
    pub fn verify(
        &self,
        issuer: &Issuer,
        token: &str,
        now: UnixTime,
    ) -> Result<Arc<Claims>, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let current = issuer.store.current();
        let current = current.as_ref().ok_or(Refusal::NoKeys)?;
        let key = remember_key(issuer.identity, token);
        if let Some(known) = self.remembered.get(&key)
            && known.generation == current.generation
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            known.claims.check_times(issuer.spec.leeway, now)?;
            return Ok(Arc::clone(&known.claims));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let (claims, payload_bytes) = check(issuer, &current.keys, token, now)?;
        let claims = Arc::new(claims);
        let left = claims.expires_at.as_secs().saturating_sub(now.as_secs());
        let keep = Duration::from_secs(left).saturating_add(issuer.spec.leeway);
        let entry = Remembered {
            claims: Arc::clone(&claims),
            generation: current.generation,
            keep: keep.min(REMEMBERED_AGE_MAX),
            bytes: ENTRY_BYTES_MIN.saturating_add(PARSED_FACTOR.saturating_mul(payload_bytes)),
        };
        self.remembered.insert(key, Arc::new(entry));
        Ok(claims)
    }

    /// Counters since the start.
    pub fn stats(&self) -> VerifierStats {
        VerifierStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.remembered.entry_count(),
        }
    }
}

/// Collision resistant, for the token is chosen by the other side and an equal key means "verified".
fn remember_key(identity: u64, token: &str) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&identity.to_le_bytes());
    context.update(token.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// The full check. Returns the claims and the size of their text.
fn check(
    issuer: &Issuer,
    keys: &KeySet,
    token: &str,
    now: UnixTime,
) -> Result<(Claims, u32), Refusal> {
    let spec = &issuer.spec;
    let (signed, signature) = token.rsplit_once('.').ok_or(SEGMENTS)?;
    let (header, payload) = signed.split_once('.').ok_or(SEGMENTS)?;
    // Five segments are an encrypted token (RFC 7516), which has no signer.
    if payload.contains('.') {
        return Err(SEGMENTS);
    }
    let header = header::read(
        &decode(header, "header is not base64url")?,
        &spec.token_types,
    )?;
    if !spec.algorithms.contains(&header.algorithm) {
        return Err(Refusal::UnsupportedAlgorithm);
    }
    let kid = header.kid.as_deref();
    let key = keys
        .select(kid, header.algorithm)
        .ok_or_else(|| Refusal::UnknownKey {
            kid: kid.map(KeyId::new),
        })?;
    if key.algorithm != header.algorithm {
        return Err(Refusal::AlgorithmMismatch);
    }
    let signature = decode(signature, "signature is not base64url")?;
    if !key.verify(signed.as_bytes(), &signature) {
        return Err(Refusal::BadSignature);
    }
    let payload = decode(payload, "claims are not base64url")?;
    let claims = Claims::read(&payload, spec)?;
    claims.check_times(spec.leeway, now)?;
    let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    Ok((claims, payload_bytes))
}

const SEGMENTS: Refusal = Refusal::Malformed("not three segments");

/// RFC 7515 section 2: no padding. Stray last bits are refused too, or one token would have several spellings.
fn decode(segment: &str, fault: &'static str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| Refusal::Malformed(fault))
}
