//! `Cache-Status` (RFC 9211): one word to the client on what the cache did and why.
//!
//! Invariant: always a valid structured-field item list member; never the key or an inner address.

use std::time::SystemTime;

use http::HeaderValue;
use pingora_cache::{CacheMeta, CachePhase, NoCacheReason};

/// The value for a response served in `phase`.
///
/// `meta` is that of the response where there is one (`HttpCache::maybe_cache_meta`), for the
/// remaining freshness in seconds, negative when stale; `stored` says whether it went into the cache.
#[must_use]
pub fn cache_status(
    phase: CachePhase,
    meta: Option<&CacheMeta>,
    stored: bool,
    now: SystemTime,
) -> HeaderValue {
    let (mut text, fresh) = match phase {
        CachePhase::Hit => ("palisade; hit".to_owned(), true),
        CachePhase::Stale => ("palisade; hit; detail=stale".to_owned(), true),
        CachePhase::StaleUpdating => ("palisade; hit; detail=stale-updating".to_owned(), true),
        CachePhase::Miss => ("palisade; fwd=uri-miss".to_owned(), false),
        CachePhase::Expired => ("palisade; fwd=stale".to_owned(), false),
        CachePhase::Revalidated => ("palisade; fwd=stale; fwd-status=304".to_owned(), true),
        CachePhase::RevalidatedNoCache(reason) => (
            format!(
                "palisade; fwd=stale; fwd-status=304; detail={}",
                detail(reason)
            ),
            false,
        ),
        CachePhase::Bypass | CachePhase::Disabled(NoCacheReason::NeverEnabled) => {
            ("palisade; fwd=bypass".to_owned(), false)
        }
        CachePhase::Disabled(reason) => (
            format!("palisade; fwd=miss; detail={}", detail(reason)),
            false,
        ),
        // A request that ended before it was looked up.
        CachePhase::Uninit | CachePhase::CacheKey => ("palisade; fwd=request".to_owned(), false),
    };
    if let (true, Some(meta)) = (fresh, meta) {
        text.push_str(&format!("; ttl={}", ttl_seconds(meta.fresh_until(), now)));
    }
    if stored {
        text.push_str("; stored");
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("palisade"))
}

/// Whole seconds left, negative since expiry. RFC 9651 integers have 15 digits; a time has fewer.
fn ttl_seconds(fresh_until: SystemTime, now: SystemTime) -> i64 {
    let whole = |seconds: u64| {
        i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .min(999_999_999_999_999)
    };
    match fresh_until.duration_since(now) {
        Ok(left) => whole(left.as_secs()),
        Err(past) => -whole(past.duration().as_secs()),
    }
}

/// A token where the reason can be one, else a string of what is printable in it.
fn detail(reason: NoCacheReason) -> String {
    let text = reason.as_str();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(token) {
        return text.to_owned();
    }
    let safe = text
        .chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'));
    format!("\"{}\"", safe.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_http::ResponseHeader;
    use std::time::Duration;

    #[test]
    fn reasons_are_tokens_or_clean_strings() {
        let cases = [
            (NoCacheReason::ResponseTooLarge, "ResponseTooLarge"),
            (NoCacheReason::Custom("set-cookie"), "set-cookie"),
            (NoCacheReason::Custom("a \"b\"\n\\"), "\"a b\""),
            (NoCacheReason::Custom("1st"), "\"1st\""),
            (NoCacheReason::Custom(""), "\"\""),
        ];
        for (reason, expected) in cases {
            let found = cache_status(
                CachePhase::Disabled(reason),
                None,
                false,
                SystemTime::UNIX_EPOCH,
            );
            assert_eq!(found, format!("palisade; fwd=miss; detail={expected}"));
        }
    }

    #[test]
    fn golden() {
        use CachePhase as P;
        use NoCacheReason as N;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let meta = |until: u64| {
            let until = SystemTime::UNIX_EPOCH + Duration::from_secs(until);
            let header = ResponseHeader::build(200, None).unwrap();
            CacheMeta::new(until, SystemTime::UNIX_EPOCH, 0, 0, header)
        };
        let (fresh, stale) = (Some(meta(1_000_030)), Some(meta(999_995)));
        let (fresh, stale) = (fresh.as_ref(), stale.as_ref());
        let uncached = P::RevalidatedNoCache(N::OriginNotCache);
        let cases = [
            (P::Hit, fresh, false, "palisade; hit; ttl=30"),
            (P::Hit, None, false, "palisade; hit"),
            (
                P::Stale,
                stale,
                false,
                "palisade; hit; detail=stale; ttl=-5",
            ),
            (
                P::StaleUpdating,
                stale,
                false,
                "palisade; hit; detail=stale-updating; ttl=-5",
            ),
            (P::Miss, fresh, true, "palisade; fwd=uri-miss; stored"),
            (P::Miss, None, false, "palisade; fwd=uri-miss"),
            (P::Expired, fresh, true, "palisade; fwd=stale; stored"),
            (
                P::Revalidated,
                fresh,
                true,
                "palisade; fwd=stale; fwd-status=304; ttl=30; stored",
            ),
            (
                uncached,
                stale,
                false,
                "palisade; fwd=stale; fwd-status=304; detail=OriginNotCache",
            ),
            (P::Bypass, None, false, "palisade; fwd=bypass"),
            (
                P::Disabled(N::NeverEnabled),
                None,
                false,
                "palisade; fwd=bypass",
            ),
            (P::Uninit, None, false, "palisade; fwd=request"),
        ];
        for (phase, meta, stored, expected) in cases {
            assert_eq!(
                cache_status(phase, meta, stored, now),
                expected,
                "{phase:?}"
            );
        }
    }
}
