//! Which requests may use the cache, and what is done with their answers.
//!
//! The rules of RFC 9111 and the storage are `palisade-cache`'s; here they meet a route's rule
//! and Pingora's callbacks. Runs after `admit`: a hit was judged like any other request.

use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderValue, Method};
use palisade_cache::{Arrival, Defaults, MemoryStorage};
use palisade_policy::model::CacheRule;
use pingora_cache::key::HashBinary;
use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::{CacheKey, CacheMeta, CachePhase, HttpCache, RespCacheable};
use pingora_http::{RequestHeader, ResponseHeader};

/// Largest body that is kept: one download must not push out everything else.
const OBJECT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long requests for the same key wait for the first of them to bring the answer.
const COLLAPSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The process's one cache; Pingora wants it for ever.
#[derive(Clone, Copy)]
pub struct ResponseCache {
    storage: &'static MemoryStorage,
    lock: &'static CacheKeyLockImpl,
}

impl ResponseCache {
    pub fn new(max_bytes: u64) -> Self {
        let lock: Box<CacheKeyLockImpl> = CacheLock::new_boxed(COLLAPSE_TIMEOUT);
        Self {
            storage: MemoryStorage::leak(max_bytes, OBJECT_BYTES_MAX),
            lock: Box::leak(lock),
        }
    }

    /// Let a request use it. Pingora's own bound for objects is left unset: it breaks off a transfer
    /// that turns out too large, where the storage only stops keeping it.
    pub fn enable(&self, cache: &mut HttpCache) {
        cache.enable(self.storage, None, None, Some(self.lock), None);
    }

    /// Whether an answer to this key was lately too large: better not to hold others back for it.
    pub fn is_too_large(&self, key: &CacheKey) -> bool {
        self.storage.known_too_large(key)
    }

    /// Bytes and responses held.
    pub fn size(&self) -> (u64, u64) {
        let stats = self.storage.stats();
        (stats.bytes, stats.entries)
    }

    /// Whether an answer may be stored, and how long it is fresh.
    pub fn decide(
        &self,
        request: &RequestHeader,
        response: &ResponseHeader,
        exchange: &Exchange<'_>,
    ) -> RespCacheable {
        let defaults = Defaults {
            ttl: exchange.rule.default_ttl,
            max_object_bytes: Some(self.storage.max_object_bytes()),
            ..Defaults::default()
        };
        match exchange.confirmed_by {
            Some(arrival) => palisade_cache::decide_revalidated(
                request,
                response,
                arrival,
                exchange.now,
                &defaults,
            ),
            None => palisade_cache::decide(request, response, exchange.now, &defaults),
        }
    }
}

/// What the decision needs besides the two messages.
pub struct Exchange<'a> {
    pub rule: &'a CacheRule,
    /// The 304 that confirmed a stored answer.
    pub confirmed_by: Option<&'a Arrival>,
    pub now: SystemTime,
}

/// GET and HEAD that do not ask for the origin's own word (RFC 9111, 5.2.1). Serving them past
/// the cache is always correct.
pub fn may_be_looked_up(head: &RequestHeader) -> bool {
    let method = head.method == Method::GET || head.method == Method::HEAD;
    method && !asks_for_origin(&head.headers)
}

fn asks_for_origin(headers: &HeaderMap) -> bool {
    let has = |value: &HeaderValue, directive: &str| {
        let text = value.to_str().unwrap_or("").to_ascii_lowercase();
        text.split(',')
            .any(|part| part.trim().starts_with(directive))
    };
    let values: Vec<&HeaderValue> = headers.get_all(CACHE_CONTROL).iter().collect();
    if values.is_empty() {
        return headers
            .get_all(PRAGMA)
            .iter()
            .any(|value| has(value, "no-cache"));
    }
    let refusing = ["no-cache", "no-store", "max-age=0"];
    values
        .iter()
        .any(|value| refusing.iter().any(|directive| has(value, directive)))
}

/// What an answer is stored under, before `Vary`.
pub fn key(head: &RequestHeader, encrypted: bool, host: &str) -> CacheKey {
    let [scheme, host, target] = key_parts(head, encrypted, host);
    palisade_cache::key(scheme, host, target)
}

/// Scheme, host and target.
pub fn key_parts<'a>(head: &'a RequestHeader, encrypted: bool, host: &'a str) -> [&'a str; 3] {
    let scheme = if encrypted { "https" } else { "http" };
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    [scheme, host, target]
}

/// What of the request chose this answer among others of the same key.
pub fn variance(meta: &CacheMeta, request: &RequestHeader) -> Option<HashBinary> {
    palisade_cache::variance(meta.headers(), request)
}

/// The `Cache-Status` field.
pub fn status(cache: &HttpCache, now: SystemTime) -> HeaderValue {
    let phase = cache.phase();
    let meta = cache.maybe_cache_meta();
    let stored = matches!(phase, CachePhase::Miss | CachePhase::Expired) && meta.is_some();
    palisade_cache::cache_status(phase, meta, stored, now)
}

/// For logs and metrics.
pub fn outcome(cache: &HttpCache) -> &'static str {
    match cache.phase() {
        CachePhase::Hit => "hit",
        CachePhase::Miss => "miss",
        CachePhase::Stale | CachePhase::StaleUpdating => "stale",
        CachePhase::Expired => "expired",
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => "revalidated",
        CachePhase::Disabled(_)
        | CachePhase::Bypass
        | CachePhase::Uninit
        | CachePhase::CacheKey => "bypass",
    }
}
