//! Whether a shared cache may store a response, and for how long it is fresh (RFC 9111 sections 3 and 4.2).
//!
//! Invariant: what may carry one caller's data (`Set-Cookie`, `private`, an unlicensed answer to
//! credentials) is never storable. Doubt means no: malformed freshness counts as stale.
//! Reads no clock and guesses no lifetime (no Last-Modified heuristic).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora_cache::cache_control::{
    CacheControl, DELTA_SECONDS_OVERFLOW_VALUE, DirectiveKey, InterpretCacheControl,
};
use pingora_cache::{CacheMeta, NoCacheReason, RespCacheable};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::entry::content_length;
use crate::vary;

/// Not for the next hop (RFC 9111 section 3.1, RFC 9110 section 7.6.1). `Connection` names others.
const HOP_BY_HOP: [&str; 7] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

/// What a route says for responses that do not speak for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Freshness of a 200, 203, 301 or 308 without explicit lifetime; none: not stored.
    pub ttl: Option<Duration>,
    /// Seconds a stale response may be served while it is revalidated, unless the response says.
    pub stale_while_revalidate_sec: u32,
    /// Seconds a stale response may be served instead of an error, unless the response says.
    pub stale_if_error_sec: u32,
    /// The request showed who it is from by something else than `Authorization`.
    pub has_caller: bool,
    /// Bodies announced longer are not stored. Use `MemoryStorage::max_object_bytes`.
    pub max_object_bytes: Option<usize>,
}

/// What a message says of its own age: `Date` and `Age`, as they came from upstream.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    date: Option<HeaderValue>,
    age: Option<HeaderValue>,
}

impl Arrival {
    /// Of the headers of a response (a 304 too) just received.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let copy = |name: HeaderName| headers.get(name).cloned();
        Self {
            date: copy(header::DATE),
            age: copy(header::AGE),
        }
    }
}

/// Decides on the response to `request` received at `now`.
///
/// The meta's epoch lies back by the age the response arrived with (section 4.2.3), so Pingora's
/// `Age` and its freshness count from the origin, not from us.
#[must_use]
pub fn decide(
    request: &RequestHeader,
    response: &ResponseHeader,
    now: SystemTime,
    defaults: &Defaults,
) -> RespCacheable {
    match meta(request, response, now, defaults) {
        Ok(meta) => RespCacheable::Cacheable(meta),
        Err(reason) => RespCacheable::Uncacheable(reason),
    }
}

/// Decides on a stored response that a 304 has just confirmed.
///
/// Pingora merges some fields of the 304 into `merged`, but leaves the stored `Date` and `Age`: judged
/// by those, the response would arrive as old as it was before and never be fresh again. `arrival` is
/// the 304's own, taken in `upstream_response_filter` (section 4.3.4 asks to update both).
#[must_use]
pub fn decide_revalidated(
    request: &RequestHeader,
    merged: &ResponseHeader,
    arrival: &Arrival,
    now: SystemTime,
    defaults: &Defaults,
) -> RespCacheable {
    let mut response = merged.clone();
    for (name, value) in [(header::DATE, &arrival.date), (header::AGE, &arrival.age)] {
        response.remove_header(&name);
        let inserted = value
            .as_ref()
            .map(|value| response.insert_header(name, value));
        if inserted.is_some_and(|inserted| inserted.is_err()) {
            return RespCacheable::Uncacheable(NoCacheReason::InternalError);
        }
    }
    decide(request, &response, now, defaults)
}

fn meta(
    request: &RequestHeader,
    response: &ResponseHeader,
    now: SystemTime,
    defaults: &Defaults,
) -> Result<CacheMeta, NoCacheReason> {
    let control = CacheControl::from_resp_headers(response);
    storable(request, response, control.as_ref(), defaults.has_caller)?;
    if content_length(response)
        .zip(defaults.max_object_bytes)
        .is_some_and(|(length, max)| length > max)
    {
        return Err(NoCacheReason::ResponseTooLarge);
    }
    let by_default = matches!(response.status.as_u16(), 200 | 203 | 301 | 308)
        .then_some(defaults.ttl)
        .flatten();
    let lifetime = explicit_lifetime(control.as_ref(), &response.headers, now)
        .or(by_default)
        .ok_or(NoCacheReason::Custom("no-lifetime"))?
        .min(seconds(DELTA_SECONDS_OVERFLOW_VALUE));
    let age = initial_age(&response.headers, now);
    let (while_revalidate, if_error) = stale_windows(control.as_ref(), defaults);
    let epoch = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut fresh_until = epoch + lifetime;
    if fresh_until <= now {
        let validator = [header::ETAG, header::LAST_MODIFIED]
            .iter()
            .any(|name| response.headers.contains_key(name));
        if !validator && while_revalidate == 0 && if_error == 0 {
            return Err(NoCacheReason::Custom("stale-on-arrival"));
        }
        // Pingora takes the very moment of expiry for fresh.
        fresh_until = fresh_until.min(now - Duration::from_secs(1));
    }
    let mut meta = CacheMeta::new(
        fresh_until,
        now,
        while_revalidate,
        if_error,
        without_hop_by_hop(response),
    );
    if !age.is_zero() {
        meta.set_epoch_override(epoch);
    }
    Ok(meta)
}

fn storable(
    request: &RequestHeader,
    response: &ResponseHeader,
    control: Option<&CacheControl>,
    has_caller: bool,
) -> Result<(), NoCacheReason> {
    let refuse = |reason| Err(NoCacheReason::Custom(reason));
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return refuse("method");
    }
    if !matches!(response.status.as_u16(), 200 | 203 | 301 | 308 | 404 | 410) {
        return refuse("status");
    }
    if CacheControl::from_req_headers(request).is_some_and(|control| control.no_store()) {
        return refuse("request-no-store");
    }
    // `private="field"` would allow the rest (5.2.2.7); section 5.2.2 permits to take it for all.
    let has = |key: &DirectiveKey| control.is_some_and(|control| control.has_directive(key));
    if has(&DirectiveKey::NoStore) || has(&DirectiveKey::Private) {
        return Err(NoCacheReason::OriginNotCache);
    }
    // Section 3.5: an answer to credentials is one caller's, unless the origin says it is not.
    let licensed = control.is_some_and(InterpretCacheControl::allow_caching_authorized_req);
    if (has_caller || request.headers.contains_key(header::AUTHORIZATION)) && !licensed {
        return refuse("authorization");
    }
    if response.headers.contains_key(header::SET_COOKIE) {
        return refuse("set-cookie");
    }
    if response.headers.contains_key(header::CONTENT_RANGE) && response.status == StatusCode::OK {
        return refuse("content-range");
    }
    match vary::fields(&response.headers) {
        Ok(_) => Ok(()),
        Err(_) => refuse("vary"),
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// The lifetime the response states (section 4.2.1); zero when it is stated badly or is `no-cache`.
fn explicit_lifetime(
    control: Option<&CacheControl>,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<Duration> {
    if let Some(control) = control {
        if control.has_directive(&DirectiveKey::NoCache) {
            return Some(Duration::ZERO);
        }
        for (key, value) in [
            (DirectiveKey::SMaxAge, control.s_maxage()),
            (DirectiveKey::MaxAge, control.max_age()),
        ] {
            if control.has_directive(&key) {
                return Some(value.ok().flatten().map_or(Duration::ZERO, seconds));
            }
        }
    }
    let mut expires = headers.get_all(header::EXPIRES).iter();
    let first = expires.next()?;
    if expires.next().is_some() {
        return Some(Duration::ZERO);
    }
    // Against the origin's own clock where it shows it, so a skewed clock does no harm.
    let since = date(headers).unwrap_or(now);
    let until = first
        .to_str()
        .ok()
        .and_then(|text| httpdate::parse_http_date(text).ok());
    Some(
        until
            .and_then(|until| until.duration_since(since).ok())
            .unwrap_or_default(),
    )
}

fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}

/// `corrected_initial_age` of section 4.2.3, without the unknown delay of the response, in seconds.
fn initial_age(headers: &HeaderMap, now: SystemTime) -> Duration {
    let apparent = date(headers)
        .and_then(|date| now.duration_since(date).ok())
        .unwrap_or_default();
    // Section 5.1: a list is read for its first member; what is no number is ignored.
    let value = headers
        .get(header::AGE)
        .and_then(|value| value.to_str().ok());
    let digits = value
        .and_then(|text| text.split(',').next())
        .map(str::trim)
        .unwrap_or_default();
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let stated = if numeric {
        digits.parse().unwrap_or(DELTA_SECONDS_OVERFLOW_VALUE)
    } else {
        0
    };
    let limit = u64::from(DELTA_SECONDS_OVERFLOW_VALUE);
    Duration::from_secs(apparent.as_secs().max(stated.into()).min(limit))
}

fn stale_windows(control: Option<&CacheControl>, defaults: &Defaults) -> (u32, u32) {
    // Section 4.2.4; `no-cache` too asks for the origin's word before every use.
    if control.is_some_and(|control| control.has_directive(&DirectiveKey::NoCache)) {
        return (0, 0);
    }
    let whole =
        |window: Duration| u32::try_from(window.as_secs()).unwrap_or(DELTA_SECONDS_OVERFLOW_VALUE);
    let while_revalidate =
        control.and_then(InterpretCacheControl::serve_stale_while_revalidate_duration);
    let if_error = control.and_then(InterpretCacheControl::serve_stale_if_error_duration);
    (
        while_revalidate.map_or(defaults.stale_while_revalidate_sec, whole),
        if_error.map_or(defaults.stale_if_error_sec, whole),
    )
}

fn without_hop_by_hop(response: &ResponseHeader) -> ResponseHeader {
    let mut stored = response.clone();
    let named: Vec<String> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        // `Connection: content-length` must not strip what frames the body or limits its use.
        .filter(|name| {
            !matches!(
                name.as_str(),
                "content-length" | "cache-control" | "vary" | "age" | "date"
            )
        })
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        stored.remove_header(name);
    }
    stored.remove_header(&header::CONNECTION);
    stored.remove_header(&header::TRANSFER_ENCODING);
    stored
}

#[cfg(test)]
mod tests;
